/*
 * What a task is expected to take on a GPU: the estimate, or, where nothing was ever learned, a
 * guess that grows with the VRAM asked for; and how GPUs are shared.
 *
 * The model of execution (of the simulator, of `auto` and of the yardsticks alike): tasks on a GPU
 * whose utilisations add up to u > 100 % all progress at 100/u of their speed.
 */
#pragma once

#include "place/place.h"

struct forecast {
	bool known;  /* a task of its very kind has ended, on this GPU model or on one from which
			that  follows. Else the work is a guess: for the order only, never told */
	bool hinted; /* what its hint means was learned */
	double work_seconds; /* alone on that GPU; > 0 always */
	double deviation_seconds;
	bool utilization_known;     /* measured: may be so before the first of its kind has ended */
	bool utilization_exact;     /* and not just a floor */
	double utilization_percent; /* 1..100 */
};

/* `gpu` indexes ledger->gpus; FORECAST_CPU = on the CPU. */
#define FORECAST_CPU ((size_t)-1)
struct forecast forecast_task(const struct ledger *ledger, const struct estimates *estimates,
			      const struct place_task *task, size_t gpu);

/* Is it known of everything that runs on this GPU? */
bool forecast_is_known_on(const struct place_view *view, size_t gpu);

/* Work still to come, given how much is done: the mean of what is left of a log-normal duration
 * that has lasted so far, so a task that overruns its estimate is expected to go on for a while. */
double forecast_remaining(const struct forecast *forecast, double done_seconds);

/* Has it done all the work that was known of it, and goes on? */
bool forecast_is_overdue(const struct forecast *forecast, double done_seconds);

struct forecast_share {
	double remaining_seconds, utilization_percent;
};

/* When does a task that starts now beside `shares` end? Seconds from now. Nothing else starts. */
double forecast_end(const struct forecast_share *shares, size_t n, double work_seconds,
		    double utilization_percent);

/* The shares of what runs on a GPU: at most `room` of them; returns how many. */
size_t forecast_shares(const struct place_view *view, size_t gpu, struct forecast_share *shares,
		       size_t room);
