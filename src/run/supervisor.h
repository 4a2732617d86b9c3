/*
 * The inside of plimsoll-supervisor: one struct, four files around it. supervisor.c starts, ends
 * and remembers attempts; watch.c looks after what runs (reaping, groups, adopted ones); sample.c
 * measures it and keeps logs within their caps; conn.c speaks the protocol with whoever connects.
 * Private to src/run.
 */
#pragma once

#include "host/host.h"
#include "run/attempt.h"
#include "run/cgroup.h"
#include "run/gate.h"
#include "run/journal.h"

#include <sys/resource.h>
#include <uv.h>

#define SUPERVISOR_CONNECTIONS_MAX 64
#define SUPERVISOR_ATTEMPTS_MAX    100000

struct conn;

struct supervisor {
	uv_loop_t loop;
	struct host *host;
	struct journal *journal;
	struct gates gates;
	bool records_lost; /* found at the start; told once */
	struct cgroups cgroups;
	struct rlimit own_files; /* of descriptors, as we were given it: the tasks' own */
	char *state_dir;
	struct idtable attempts; /* by id; owns them */
	struct idtable pids;     /* starting, running and ending ones by pid */
	size_t n_live;           /* starting, running and ending ones */
	size_t n_ending;         /* ending ones, and adopted ones not reaped yet */

	struct {
		struct attempt **items;
		size_t n, room;
	} batch; /* accepted, not forked yet */
	struct conn *conns;
	size_t n_conns;

	uv_pipe_t listener;
	uv_signal_t sigchld, sigterm, sigint, sighup;
	uv_check_t check;   /* after each round of reading: start what was asked for */
	uv_idle_t again;    /* keeps the loop turning while the batch is not empty */
	uv_prepare_t flush; /* before each wait: write what is to be said */
	uv_timer_t sampler; /* 1 s, while anything lives */
	uv_timer_t trimmer; /* 100 ms, likewise */
	uv_timer_t ender;   /* 100 ms, while anything is ending */
	uv_timer_t idle;    /* leave when nobody is connected and nothing runs */
	uint64_t idle_ms;
	bool quitting;
	bool journal_failing; /* something waits in memory for the disk */
};

struct supervisor_setup {
	int listen_fd; /* taken */
	const char *state_dir, *journal_path, *gates_path;
	uint64_t idle_ms;
};

/* --- supervisor.c --- */

/* Everything ready to run; adopts what the journal holds. What had to be skipped in the journal is
 * told in `ret_warnings`. */
int supervisor_init(struct supervisor *supervisor, const struct supervisor_setup *setup,
		    struct strings *ret_warnings, struct error *err) MUST_CHECK;
void supervisor_run(struct supervisor *supervisor);
void supervisor_finish(struct supervisor *supervisor);

/* Carry out one start, signal or ack; takes what it needs out of the request. Refusals as error. */
int supervisor_start(struct supervisor *supervisor, struct protocol_request *request,
		     struct attempt **ret_known, struct error *err) MUST_CHECK;
void supervisor_signal(struct supervisor *supervisor, const char *id, int signal);
void supervisor_ack(struct supervisor *supervisor, const char *id);

/* Drive the state table; on its way to a new state do what belongs to it. */
void supervisor_event(struct supervisor *supervisor, struct attempt *attempt,
		      enum attempt_event event);

/* Stop when there is no reason to stay; call after anything that may have removed one. */
void supervisor_settle(struct supervisor *supervisor);

/* --- watch.c --- */

int watch_init(struct supervisor *supervisor, struct error *err) MUST_CHECK;

/* Follow a child whose gate was opened: what comes on its status pipe. */
void watch_child(struct attempt *attempt);

/* Follow a process that is not our child; it may be over already. */
void watch_adopted(struct attempt *attempt);

/* Try again to follow one that is `unwatched`. */
void watch_again(struct attempt *attempt);

/* To its group, and to whatever else is in its session or its cgroup. Returns the number of
 * processes left there, zombies not counted, found before the signal was sent; signal 0 only
 * counts. */
unsigned watch_signal_session(struct attempt *attempt, int signal);

/* Its leader is over: end what is left of its group. */
void watch_ending(struct attempt *attempt);

/* Its cgroup, once it is empty; what was counted there is kept. True: it has none now. */
bool watch_remove_cgroup(struct attempt *attempt);

/* Stop following, close what is open. */
void watch_forget(struct attempt *attempt);

struct attempt *watch_find_pid(const struct supervisor *supervisor, pid_t pid);

/* --- sample.c --- */

void sample_init(struct supervisor *supervisor);

/* Something lives: once a second from now on its use is measured, and its log looked at. */
void sample_start(struct supervisor *supervisor);

/* --- conn.c --- */

int conn_listen(struct supervisor *supervisor, int listen_fd, struct error *err) MUST_CHECK;

/* To everybody who has said hello; takes the reference. */
void conn_broadcast(struct supervisor *supervisor, json_t *event);

/* Does anybody want usage events? */
bool conn_wants_usage(const struct supervisor *supervisor);
void conn_broadcast_usage(struct supervisor *supervisor, json_t *event);

void conn_flush(struct supervisor *supervisor);
void conn_close_all(struct supervisor *supervisor);
