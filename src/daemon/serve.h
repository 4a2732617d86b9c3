/* The daemon, as `plimsoll serve` starts it. */
#pragma once

#include "util/error.h"

#include <stdbool.h>
#include <stdint.h>

struct daemon_options {
	bool background; /* started by a client: says when it is ready through ready_fd */
	bool system;  /* for the whole machine: all users are answered, tasks run as their senders.
			 Needs root; lies in the system's folders (util/paths.h) */
	int ready_fd; /* write end of a pipe (api/start.h), -1 = none; closed by daemon_run() */
	unsigned interval_ms;   /* between GPU samples; 0 = 1000 */
	uint64_t log_cap_bytes; /* of one attempt's log; 0 = 64 MiB */
	int64_t stop_grace_ms;  /* from SIGTERM to SIGKILL of a canceled task; 0 = 10 s */
};

/* Runs until SIGTERM, SIGINT or POST /v1/shutdown; tasks run on after it. -EBUSY: another daemon
 * works on the same state. */
int daemon_run(const struct daemon_options *options, struct error *err) MUST_CHECK;
