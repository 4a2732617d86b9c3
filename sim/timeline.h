/*
 * What the events of a scenario do to the state, and what the sensors show from moment to moment.
 * All calls: lock held.
 */
#pragma once

#include "sim/state.h"

/* "lost", "no-driver", …: the word of a scenario file. */
const char *timeline_event_name(enum sim_event_type type);
int timeline_event_from_name(const char *name, enum sim_event_type *ret_type) MUST_CHECK;

/* Let one event happen. */
void timeline_happen(struct sim_state *state, const struct sim_event *event);

/* Sensors: what was set by an event, else what follows from the load. */
uint32_t timeline_temperature_c(const struct sim_state *state, const struct sim_gpu *gpu);
uint32_t timeline_power_mw(const struct sim_state *state, const struct sim_gpu *gpu);
uint32_t timeline_fan_percent(const struct sim_state *state, const struct sim_gpu *gpu);

/* min(100, the sum of the loads). */
uint32_t timeline_busy_percent(const struct sim_state *state, const struct sim_gpu *gpu);
