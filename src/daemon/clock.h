/*
 * The time, as sched is told it: both clocks, and how far apart they were when the store was last
 * written. So a clock that is set, also while no daemon runs, changes no duration (sched_clock()).
 */
#pragma once

#include "daemon/daemon.h"

struct clock;

struct clock *clock_create(struct daemon *daemon);
void clock_destroy(struct clock *clock);

/* Right after all that sched gets back. */
int clock_restore(struct clock *clock, struct error *err) MUST_CHECK;

/* Realtime, for every call of sched that may change something. Sched has seen it then, and may have
 * changed what is to be stored: not from within a commit. */
int64_t clock_now_ms(struct clock *clock);

/* For the tick, as in rules.h: in one unit with what the step changed. */
bool clock_is_due(const struct clock *clock);
int clock_put(struct clock *clock, struct error *err) MUST_CHECK;
void clock_stored(struct clock *clock);
