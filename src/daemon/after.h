/* What a task waits for: as JSON, and what of it is not in memory any more. */
#pragma once

#include "daemon/daemon.h"
#include "daemon/submit_parse.h"
#include "util/jsonx.h"

/* {"tasks": [id...], "batches": [id...]}. */
json_t *after_items_to_json(const struct sched_after_item *items, size_t n);
/* That, with "on" and "any"; null for NULL. */
json_t *after_to_json(const struct sched_after *after);

/* Back. The caller frees the items; 0 and NULL when there are none. */
size_t after_items_load(const json_t *json, struct sched_after_item **ret_items);
/* One allocation, items and all; NULL when it waits for nothing. */
struct sched_after *after_load(const json_t *json);

/* Fill in how those that are no more in sched's memory have ended. What is nowhere stays as it is:
 * sched refuses it. */
int after_look_up(struct daemon *daemon, struct submit *submit, struct error *err) MUST_CHECK;
/* The same for what is left of it for a task that is about to be restored. */
int after_look_up_left(struct daemon *daemon, struct sched_task *task,
		       struct error *err) MUST_CHECK;
