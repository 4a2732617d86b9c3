/*
 * The daemon's turn: everything that happened is in sched; now decide, make it durable in one
 * commit, and only then answer the clients, tell the listeners and start processes.
 *
 * When the commit fails (disk full) nothing is done: submits of the turn are taken back and refused
 * with 503, and the turn is tried again after a second.
 */
#pragma once

#include "daemon/daemon.h"

int tick_create(struct daemon *daemon, struct tick **ret_tick, struct error *err) MUST_CHECK;
void tick_destroy(struct tick *tick);

/* Something happened: have a turn once all that came in with it has been read. */
void tick_request(struct tick *tick);

/* Do tasks start so fast (TICK_MOVING of them in a second) that time taken from the loop is taken
 * from them? A night's training runs on whatever else the daemon does. */
#define TICK_MOVING 5
bool tick_is_moving(const struct tick *tick);

/* An answer that has to wait for the commit. */
enum tick_reply_type {
	TICK_TASK,
	TICK_BATCH,
	TICK_RULES,
	TICK_CANCELED,
	TICK_FORGOTTEN,
	TICK_SERVICES
};
struct tick_reply {
	struct api_request *request;
	enum tick_reply_type type;
	uint64_t id;
	bool is_submit;
	bool is_new;    /* a submit to be taken back when the commit fails */
	size_t skipped; /* rows of a batch not submitted */
	bool is_change; /* of a batch: how many of its tasks it was done to is told */
	unsigned changed;
	struct sched_canceled canceled; /* of TICK_CANCELED */
};
void tick_reply_after(struct tick *tick, const struct tick_reply *reply);
