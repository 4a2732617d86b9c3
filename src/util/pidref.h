/*
 * A process is known by (pid, start time) and, while it lives, by a pidfd: never by a bare pid,
 * which the kernel may have given to somebody else since.
 */
#pragma once

#include "util/error.h"

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

struct pidref {
	pid_t pid;
	uint64_t start_time; /* clock ticks since boot, field 22 of /proc/<pid>/stat; 0 = unknown */
	int fd;              /* pidfd, -1 when not open */
};

#define PIDREF_NONE ((struct pidref){.fd = -1})

/* Start time of a pid. -ESRCH when there is no such process. */
int pid_start_time(pid_t pid, uint64_t *ret_start_time) MUST_CHECK;

/* Open a pidfd and verify the start time after it: the reference names that process or fails with
 * -ESRCH. `start_time` 0 accepts whoever has the pid now. */
int pidref_open(pid_t pid, uint64_t start_time, struct pidref *ret_ref) MUST_CHECK;

/* Does (pid, start time) still run? A zombie counts as ended. */
bool pid_is_alive(pid_t pid, uint64_t start_time);

int pidref_signal(const struct pidref *ref, int signal) MUST_CHECK;

void pidref_finish(struct pidref *ref);
