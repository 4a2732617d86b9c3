/*
 * How much of the loop's time requests may take while tasks start one after the other:
 * PACE_SHARE_PERCENT of it, saved up to PACE_BURST_US. The queue's own work has the rest, whatever
 * clients do. What bears work itself (a submit that was accepted) is not charged by the caller.
 *
 * Times are microseconds of any clock that goes forward; costs are CPU time.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#define PACE_SHARE_PERCENT 3
#define PACE_BURST_US      20000
#define PACE_DEBT_US       30000 /* more is forgiven: nobody waits longer than 1 s for it */

struct pace {
	int64_t credit_us;
	int64_t seen_us; /* when it was counted last */
};

void pace_charge(struct pace *pace, int64_t cost_us, int64_t now_us);

/* 0: go on; else so many milliseconds until there is credit again. */
uint64_t pace_wait_ms(struct pace *pace, int64_t now_us);
