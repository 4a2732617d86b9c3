/*
 * fork + exec with a gate in between. The child does nothing until it is let through, so that its
 * existence can be made durable first; when the supervisor dies before that, the gate is closed and
 * the child ends without having run. One gate serves many children (one fdatasync for all).
 */
#pragma once

#include "run/protocol.h"

#include <sys/types.h>

struct gate {
	int wait_fd, open_fd; /* a pipe */
};

/* The name a child has in /proc until its exec. */
#define SPAWN_GATE_NAME "plimsoll-gate"

int gate_create(struct gate *ret_gate) MUST_CHECK; /* 0 or a negative errno */

/* Let `n` children through. */
int gate_open(struct gate *gate, size_t n) MUST_CHECK;

/* Whoever waits still ends without having run. */
void gate_close(struct gate *gate);

/* Fork a child that waits at the gate, then becomes the request's command in a session of its own.
 * `ret_status_fd` (non-blocking) ends without a byte when its exec has succeeded, else it gives one
 * struct spawn_failure. Negative errno: no child. */
int spawn_child(const struct protocol_request *request, const struct gate *gate, pid_t *ret_pid,
		int *ret_status_fd) MUST_CHECK;

enum spawn_step {
	SPAWN_STEP_SESSION,
	SPAWN_STEP_STDIN,
	SPAWN_STEP_LOG,
	SPAWN_STEP_NICE,
	SPAWN_STEP_CWD,
	SPAWN_STEP_EXEC,
};

struct spawn_failure {
	int step; /* enum spawn_step */
	int code; /* errno */
};

/* What to tell the user; the caller frees it. */
char *spawn_failure_text(const struct protocol_request *request,
			 const struct spawn_failure *failure);
