/*
 * fork + exec with a gate in between, see gate.h.
 */
#pragma once

#include "run/gate.h"
#include "run/protocol.h"

#include <sys/resource.h>
#include <sys/types.h>

/* The name a child has in /proc until its exec. */
#define SPAWN_GATE_NAME "plimsoll-gate"

/* How one ends that has not become its command. */
#define SPAWN_EXIT_NOT_STARTED 127

struct spawn {
	const struct protocol_request *request;
	const struct gate *gate;
	const char *private_dir;        /* where a private log (log_owner) must lie */
	int cgroup_fd;                  /* to be born in; -1: in ours */
	const struct rlimit *own_files; /* RLIMIT_NOFILE of the task; NULL: as we have it */
};

struct spawned {
	pid_t pid;
	int status_fd;   /* see spawn_child() */
	int cgroup_code; /* 0, or the errno for which it is not in the cgroup asked for */
};

/* Fork a child that waits at the gate, then becomes the request's command in a session of its own.
 * The status pipe (non-blocking) ends without a byte when its exec has succeeded, else it gives one
 * struct spawn_failure. Negative errno: no child. */
int spawn_child(const struct spawn *spawn, struct spawned *ret_spawned) MUST_CHECK;

enum spawn_step {
	SPAWN_STEP_SESSION,
	SPAWN_STEP_STDIN,
	SPAWN_STEP_LOG,
	SPAWN_STEP_TTY,
	SPAWN_STEP_LIMIT,
	SPAWN_STEP_USER,
	SPAWN_STEP_NICE,
	SPAWN_STEP_CWD,
	SPAWN_STEP_EXEC,
};

struct spawn_failure {
	int step;   /* enum spawn_step */
	int code;   /* errno */
	int detail; /* SPAWN_STEP_LIMIT: which RLIMIT_x */
};

/* Is it about this task: its files, its limits, its user's? Else no start of the kind would have
 * succeeded just then. */
bool spawn_failure_is_of_task(const struct protocol_request *request,
			      const struct spawn_failure *failure);

/* A log of our own choice has no folder: it was there when the start was asked for, whoever asks
 * again makes it again. */
bool spawn_log_folder_is_gone(const struct protocol_request *request,
			      const struct spawn_failure *failure);

/* What to tell the user; the caller frees it. */
char *spawn_failure_text(const struct protocol_request *request,
			 const struct spawn_failure *failure);
