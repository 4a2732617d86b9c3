/*
 * Standing by a batch until it has ended: a progress line on a terminal, one line for each start in
 * a pipe, the question after a failure, Ctrl-C, and a daemon that goes away and comes back.
 */
#pragma once

#include "api/client.h"

#include <stdint.h>

enum follow_end {
	FOLLOW_ENDED,  /* *ret_result is the batch's result */
	FOLLOW_LEFT,   /* Ctrl-C: it goes on without us (said so) */
	FOLLOW_ASKING, /* it waits for an answer that nobody can give here (said so) */
};

/* What is to be followed: a batch that is there, or one that is submitted once we listen, so that
 * not even its first start is missed. */
struct follow_target {
	uint64_t batch; /* 0: submit() */
	/* Submits over a connection of its own and tells the new batch's record (a new reference).
	 */
	int (*submit)(void *data, json_t **ret_batch, struct error *err);
	void *data;
	bool all_tasks; /* in the result; otherwise those that failed or were lost */
};

/* Follow it and return the verb's exit code; *ret_result (NULL when it has not ended) is the
 * caller's. */
int follow_and_collect(struct api_client **client, const struct follow_target *target,
		       json_t **ret_result);

/* What `batch` and `wait` do with a batch: follow it, print its result (as JSON, or for people) and
 * return the verb's exit code. */
int follow_and_report(struct api_client **client, const struct follow_target *target, bool as_json);
