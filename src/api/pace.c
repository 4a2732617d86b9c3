/* See pace.h. */
#include "api/pace.h"

#include "util/cleanup.h"

static void refill(struct pace *pace, int64_t now_us)
{
	int64_t passed_us = MAX_OF(now_us - pace->seen_us, (int64_t)0);

	if (passed_us < 1000) /* rounding would eat it */
		return;
	/* The first time, and after a long while, it is full. */
	passed_us =
	    MIN_OF(passed_us, (int64_t)(PACE_BURST_US + PACE_DEBT_US) * 100 / PACE_SHARE_PERCENT);
	pace->credit_us =
	    MIN_OF(pace->credit_us + passed_us * PACE_SHARE_PERCENT / 100, (int64_t)PACE_BURST_US);
	pace->seen_us = now_us;
}

void pace_charge(struct pace *pace, int64_t cost_us, int64_t now_us)
{
	refill(pace, now_us);
	pace->credit_us = MAX_OF(pace->credit_us - cost_us, -(int64_t)PACE_DEBT_US);
}

uint64_t pace_wait_ms(struct pace *pace, int64_t now_us)
{
	refill(pace, now_us);
	if (pace->credit_us > 0)
		return 0;
	return (uint64_t)(-pace->credit_us * 100 / PACE_SHARE_PERCENT / 1000) + 1;
}
