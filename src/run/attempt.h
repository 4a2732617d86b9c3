/*
 * One attempt as the supervisor knows it, its states as a table, and its rendering as protocol
 * events. Private to the supervisor.
 *
 *	starting  forked, waiting at the gate, or on its way through exec
 *	running   exec has succeeded
 *	ending    its leader is over, others of its session or its cgroup are not yet
 *	ended     all over; waiting for the acknowledgement
 *	failed    nothing of it ever ran; waiting for the acknowledgement
 */
#pragma once

#include "run/idtable.h"
#include "run/protocol.h"

#include <stdbool.h>
#include <sys/types.h>
#include <uv.h>

enum attempt_state {
	ATTEMPT_STARTING,
	ATTEMPT_RUNNING,
	ATTEMPT_ENDING,
	ATTEMPT_ENDED,
	ATTEMPT_FAILED,
	ATTEMPT_N_STATES,
};

enum attempt_event {
	ATTEMPT_EXEC_DONE,   /* its exec has succeeded */
	ATTEMPT_EXEC_FAILED, /* it could not be started */
	ATTEMPT_LEADER_OVER, /* its first process has ended */
	ATTEMPT_GROUP_EMPTY, /* no process of its group is left */
	ATTEMPT_N_EVENTS,
};

struct supervisor;

struct attempt {
	struct idtable_node by_id;  /* under `id` */
	struct idtable_node by_pid; /* under `pid_text`, while starting or running */
	struct supervisor *supervisor;
	char *id;
	char pid_text[16];
	enum attempt_state state;

	pid_t pid; /* leads its own session and process group */
	uint64_t start_time;
	int64_t started_at, ended_at;
	uint64_t gate;     /* the number of its gate; 0: written by a version without */
	bool adopted;      /* not our child: started by a supervisor before this one */
	bool at_the_gate;  /* adopted before its exec */
	bool unwatched;    /* adopted, and no descriptor to be had for it yet */
	bool term_sent;    /* to what is left of its group, see ENDING */
	int64_t ending_at; /* monotonic, when its leader was over */

	bool lost; /* how it ended is unknown; else wait status in: */
	int wait_status;
	int fail_errno;
	char *fail_text;
	bool never_ran;      /* its supervisor was killed before its gate was opened */
	bool fail_as_task;   /* it was the task's process already, see protocol.h */
	bool fail_transient; /* also when its errno does not say so */

	bool has_peak_ram, has_cpu, has_oom_base;
	uint64_t peak_ram_bytes, ram_bytes;
	double cpu_seconds;
	unsigned processes; /* at the last sample */
	unsigned stragglers;
	uint64_t oom_base, oom_kills;
	bool has_cgroup_peak;
	uint64_t cgroup_peak_bytes;

	char *bounds;   /* what of its cgroup holds it to its grant; NULL: nothing, or not known */
	char *cgroup;   /* its path; NULL: it has none, or it is empty and gone */
	char *log_path; /* NULL: none */
	uint64_t log_cap_bytes;
	uid_t log_owner; /* whom the task runs as; LOG_ANY_OWNER: as the supervisor */

	struct protocol_request *request; /* until it is started */
	int watch_fd; /* what hinders its exec comes here; its pidfd when adopted; -1: not open */
	uv_poll_t *poll;   /* on watch_fd */
	bool exit_pending; /* adopted: over, but its parent has not reaped it yet */
};

struct attempt *attempt_create(const char *id);
void attempt_destroy(struct attempt *attempt); /* not in any table, poll closed */

/* The next state; -1: the event means nothing in this state (a bug, ignored by the caller). */
int attempt_next_state(enum attempt_state state, enum attempt_event event);

static inline bool attempt_is_over(const struct attempt *attempt)
{
	return attempt->state == ATTEMPT_ENDED || attempt->state == ATTEMPT_FAILED;
}

/* `started`, `ended` or `failed`, by state; NULL while starting. New reference. */
json_t *attempt_event(const struct attempt *attempt);
json_t *attempt_list_item(const struct attempt *attempt);
json_t *attempt_usage_item(const struct attempt *attempt);
