/*
 * Why nothing of a batch runs although something of it waits: asked of the daemon once that has
 * lasted a moment, over a connection of its own (the follower's is busy with its stream).
 */
#pragma once

#include "util/jsonx.h"

struct api_client;

struct idle {
	struct api_client *client;
	int64_t since_ms;  /* monotonic; 0 = something runs, or nothing waits */
	int64_t next_ms;   /* when to ask again */
	char reason[1024]; /* the newest; "" while there is none to tell */
};

/* Look at the batch's newest record. Returns true when `reason` says something else than before;
 * that only its numbers changed does not count. */
bool idle_look(struct idle *idle, const json_t *batch);

void idle_finish(struct idle *idle);
