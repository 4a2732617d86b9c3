/* What a running simulation looks like, for people and for tests. */
#pragma once

#include "sim/state.h"
#include "util/jsonx.h"
#include "util/text.h"

/* {"time_seconds", "time_scale", "gpus": [{"index", "uuid", "name", "total_bytes",
 * "reserved_bytes", "used_bytes", "peak_used_bytes", "peak_at_seconds", "oom_count",
 * "tasks_started", "utilization_percent", "lost", "hung", "processes": [{"pid", "name",
 * "used_bytes", "percent", "done_seconds"}]}]}. Takes the lock.
 * `new_peaks`: those told next are of the time from here on. */
json_t *status_json(struct sim_state *state, bool new_peaks);

/* A line per GPU and per process. */
void status_text(struct sim_state *state, struct text *to);
