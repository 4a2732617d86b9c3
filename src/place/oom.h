/*
 * What an attempt that ran out of GPU memory tells: what it wanted at least, which is measured, and
 * what is worth a try next, which is a guess. The two are kept apart: only what was measured may
 * keep a task from room that is there, or overrule what somebody said. Pure.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

/* Of one GPU. 0 = not known. */
struct oom_facts {
	uint64_t granted_bytes;   /* 0 = all there was, too */
	uint64_t used_bytes;      /* the largest sample */
	uint64_t own_bytes;       /* what it had when it asked, by its own words */
	uint64_t requested_bytes; /* what it asked for then */
	bool settled; /* it was stopped when its use had long stood still: it wants no more */
	bool growing; /* it did not fall, it was stopped beyond its grant, and nothing of its kind
			 was measured at more: it might have gone on */
};

/*
 * What it wanted at least: what it had and what it asked for. The grant is a part of it only where
 * the use came near it, for then it was what held the task. 0: nothing is known.
 */
uint64_t oom_floor(const struct oom_facts *facts);

/*
 * What to ask for next: that and a margin; half as much again as what it had where its last step
 * was small beside it (more would have followed) or the grant held it; and more than was granted in
 * any case. Without a size, half as much again as what it had or was granted; the most that its
 * grant may have been too small by (ledger_doubt()) where it was stopped while it grew; and where
 * it had settled, that and a margin. 0: nothing is known.
 */
uint64_t oom_next(const struct oom_facts *facts);
