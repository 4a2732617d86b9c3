/*
 * Long answers: tasks by the thousand, made in slices of a few milliseconds between the loop's
 * other work, as fast as the client takes them and no faster. What a list is made of is read when
 * it is written: a list is a walk through the queue, not a photograph of it.
 */
#pragma once

#include "daemon/daemon.h"

enum list_order {
	LIST_QUEUE,  /* all that has not ended, then what has, the newest first */
	LIST_OLDEST, /* by id */
	LIST_NEWEST,
};

/* Which tasks, and how many of them. */
struct list_query {
	enum list_order order;
	unsigned states;           /* SCHED_STATE_BIT()s; 0 = all */
	struct store_query stored; /* the other conditions; its strings are the request's */
	uint64_t limit, offset;
	uint64_t ended; /* at most so many that have ended, in LIST_QUEUE */
	bool lines;     /* one task a line and nothing else */
};

/* From a request's query: state, batch, kind, user, name, since, until, limit, offset, ended,
 * order, after, format. */
int list_query_read(const struct api_request *request, struct list_query *ret_query,
		    struct error *err) MUST_CHECK;
/* "waiting,running" as a set; NULL gives 0. */
int list_states_read(const char *text, unsigned *ret_states, struct error *err) MUST_CHECK;

struct listings *listings_create(struct daemon *daemon);
void listings_destroy(struct listings *listings);

/* Answer with the list. `head` stands before the tasks, `tail` after them: "{\"batch\": ...,
 * \"tasks\": [", "], \"summary\": ...}"; taken; NULL = those of GET /v1/tasks. */
void listing_begin(struct listings *listings, struct api_request *request,
		   const struct list_query *query, char *head, char *tail);
