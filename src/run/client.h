/*
 * The daemon's side of plimsoll-supervisor, on a libuv loop. Nothing here blocks: every call only
 * queues, answers come through the callbacks, always from the loop, never from inside a call.
 *
 * The client connects to the supervisor's socket; when nobody listens there it starts the program
 * (which goes into a session of its own and outlives the daemon) and tries again. When the
 * connection breaks it comes back with a growing delay (50 ms to 2 s), learns from the supervisor
 * what became of everything, and sends again what was not confirmed. Starting one attempt id twice
 * is harmless.
 *
 * What the daemon must do:
 *   - make the attempt durable in its own store before supervisor_client_start();
 *   - after a restart, call supervisor_client_expect() for every attempt its store holds as started
 *     but not ended, before the loop runs: each is then answered by on_started, on_ended,
 *     on_failed, or on_unknown;
 *   - in on_ended and on_failed make the end durable, then supervisor_client_ack(). Either may be
 *     called again for the same attempt until the acknowledgement has arrived: take the first.
 */
#pragma once

#include "run/bound.h"
#include "util/error.h"
#include "util/limits.h"

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>
#include <uv.h>

struct supervisor_client;

enum supervisor_how {
	SUPERVISOR_EXITED,   /* exit_code is valid */
	SUPERVISOR_SIGNALED, /* signal is valid */
	SUPERVISOR_LOST,     /* over; how is unknown */
};

struct supervisor_started {
	const char *attempt;
	pid_t pid;           /* leader of its own session and process group */
	uint64_t start_time; /* as in struct pidref */
	int64_t started_at;  /* ms since 1970 */
	bool adopted;        /* started by an earlier supervisor */
	const char
	    *bounds; /* what of its cgroup holds it to its grant; NULL: nothing, or adopted */
};

struct supervisor_ended {
	const char *attempt;
	enum supervisor_how how;
	int exit_code;
	int signal;
	bool may_run_on;              /* lost, and nobody can tell whether it is over at all */
	int64_t started_at, ended_at; /* ms since 1970 */
	bool has_peak_ram, has_cpu, has_cgroup_peak;
	uint64_t peak_ram_bytes; /* of its processes together, sampled each second, at least the
				    largest one's true peak */
	/* As the kernel counted it for the attempt's own cgroup, its file cache included: an upper
	 * bound. Known where the memory controller is handed down to us. */
	uint64_t cgroup_peak_bytes;
	double cpu_seconds; /* with a cgroup: of all its processes, else of those waited for */
	unsigned
	    stragglers; /* processes of its session or cgroup that outlived it and were ended */
	/* Kills by the kernel's out-of-memory killer, in the attempt's own cgroup where that is
	 * counted, else in ours meanwhile: evidence for host-oom. */
	bool has_oom_kills; /* somebody counted them */
	unsigned oom_kills;
};

struct supervisor_failed {
	const char *attempt;
	int code;         /* positive errno */
	const char *text; /* what and why: "command not found: ..." */
	bool transient;   /* something was short: the same start may succeed later */
	bool as_task;     /* it was short for this task and its user, not for everybody */
	bool never_ran;   /* nothing failed, its supervisor was killed before it could run */
};

struct supervisor_usage {
	const char *attempt;
	uint64_t ram_bytes;
	double cpu_seconds;
	unsigned processes;
};

/* All may be NULL. Strings live until the callback returns. From inside any of them every function
 * below may be called. */
struct supervisor_callbacks {
	/* Connected, and everything the supervisor knows has been reported. After every reconnect
	 * again. */
	void (*on_synced)(void *arg);
	/* Not connected (also: the supervisor cannot be started). The client goes on trying; called
	 * once per outage. */
	void (*on_trouble)(void *arg, const char *text);
	void (*on_started)(void *arg, const struct supervisor_started *started);
	void (*on_ended)(void *arg, const struct supervisor_ended *ended);
	/* It could not be started and nothing of it ran. */
	void (*on_failed)(void *arg, const struct supervisor_failed *failed);
	/* An expected attempt the supervisor has never heard of: it did not run, and starting it
	 * (again) is safe. */
	void (*on_unknown)(void *arg, const char *attempt);
	/* Once a second for each attempt running. */
	void (*on_usage)(void *arg, const struct supervisor_usage *usage);
	void *arg;
};

struct supervisor_options {
	const char *runtime_dir; /* NULL: paths_runtime_dir() */
	const char *state_dir;   /* NULL: paths_state_dir(); handed to the supervisor as well */
	const char *program;     /* NULL: paths_find_helper(SUPERVISOR_PROGRAM) */
	struct supervisor_callbacks callbacks;
};

/* Whom a task runs as, see "user" in protocol.h. */
struct supervisor_user {
	uid_t uid;
	gid_t gid;
	const gid_t *groups; /* the supplementary ones */
	size_t n_groups;
	struct limits limits;
};

struct supervisor_start {
	const char *attempt; /* "<task>.<number>", unique for ever */
	char *const *argv;   /* NULL-terminated, at least one; found along the PATH of `env` */
	char *const *env;    /* NULL-terminated "K=V": all of it, nothing is inherited */
	const char *cwd;
	mode_t umask;
	const char *log_path; /* NULL: output is thrown away. Its folder must exist */
	/* The log lies in a folder of the daemon's own, which the user cannot enter: it is opened
	 * as the supervisor and given to the user. False: opened as the user. Only matters with a
	 * `user`. */
	bool log_is_private;
	uint64_t log_cap_bytes; /* 0: none. Above it the middle of the log is cut out, see log.h */
	const char *tty; /* "/dev/pts/N", its terminal, for `run -t`; NULL: none. Excludes a log */
	const struct supervisor_user *user; /* NULL: as the supervisor itself */
	int nice;                           /* added to the supervisor's own */
	const struct bound *bound;          /* NULL: none */
};

/* Connects as soon as `loop` runs. Options are copied. */
int supervisor_client_create(uv_loop_t *loop, const struct supervisor_options *options,
			     struct supervisor_client **ret_client, struct error *err) MUST_CHECK;

/* Closes the connection and the handles; the supervisor and its processes live on. No callback is
 * called any more; memory is freed by the loop's next turns (run it until uv_loop_alive() is
 * false before uv_loop_close()). NULL is fine. */
void supervisor_client_destroy(struct supervisor_client *client);

/* -E2BIG: the request is larger than PROTOCOL_LINE_MAX; -EINVAL: what is no start. Both at once,
 * before anything is sent. */
int supervisor_client_start(struct supervisor_client *client, const struct supervisor_start *start,
			    struct error *err) MUST_CHECK;

void supervisor_client_expect(struct supervisor_client *client, const char *attempt);

/* To all its processes: to its session and, where it has one, to its cgroup. While there is no
 * connection it is kept and sent after the next sync; for an attempt that is over it does nothing.
 */
void supervisor_client_signal(struct supervisor_client *client, const char *attempt, int signal);

void supervisor_client_ack(struct supervisor_client *client, const char *attempt);
