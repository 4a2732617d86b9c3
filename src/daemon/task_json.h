/* Tasks, batches and summaries as the JSON of DESIGN §7. All return new references. */
#pragma once

#include "sched/sched.h"
#include "util/jsonx.h"

/* `reason` is shown for it (a waiting task's is worked out elsewhere); NULL = the task's own. */
json_t *task_to_json(const struct sched_task *task, const char *reason);

/* Beside what it said, what it asks for at this moment: request.vram_source and
 * request.asks_vram_bytes. */
void task_json_add_ask(const struct sched_ask *ask, json_t *task);

/* ["retry:2", "alone", "fail"] */
json_t *rungs_to_json(const struct sched_rung *rungs, size_t n);

/* The request alone. `all`: every member; else only what differs from a request that says nothing,
 * which is what the store keeps. */
json_t *request_to_json(const struct place_request *request, bool all);

/* `eta_seconds` negative = unknown. */
json_t *batch_to_json(const struct sched_batch *batch, double eta_seconds);

json_t *summary_to_json(const struct sched_summary *summary);
