/*
 * The steps are those that frameworks take: a model's weights at once, then activations in blocks
 * of a pool. A text names the step that failed, not what would have come behind it; so a step that
 * is small beside what was there counts for less than the growth so far.
 */
#include "place/oom.h"

#include "place/ledger.h"
#include "place/saturate.h"
#include "util/size.h"

/* On top of what is known to be needed: allocators round up. */
#define MARGIN_PERCENT 5
/* Where what is known is that it was too little. */
#define GROWTH_PERCENT 50
/* On top of what something held that grew no more: that of a kind measured once or twice. */
#define SETTLED_PERCENT 10
/* So much of a grant in use: the grant was the cap, or it had grown to it. */
#define CAPPED_PERCENT 90
/* A step below this part of what it had is one of many. */
#define SMALL_STEP 4
/* A CUDA context and a framework's own, where nobody said what it had. */
#define CONTEXT_BYTES (512 * MIB)

/* Its own words are of that moment, the sample may be of an earlier one, or of a higher use. */
static uint64_t had_of(const struct oom_facts *facts)
{
	return facts->own_bytes ? facts->own_bytes : facts->used_bytes;
}

static bool is_capped(const struct oom_facts *facts)
{
	uint64_t most = MAX_OF(facts->own_bytes, facts->used_bytes);

	return facts->granted_bytes > 0 && most / CAPPED_PERCENT >= facts->granted_bytes / 100;
}

uint64_t oom_floor(const struct oom_facts *facts)
{
	uint64_t wanted = saturate_add(had_of(facts), facts->requested_bytes);

	return is_capped(facts) ? MAX_OF(wanted, facts->granted_bytes) : wanted;
}

uint64_t oom_next(const struct oom_facts *facts)
{
	uint64_t granted = facts->granted_bytes, step = facts->requested_bytes;
	uint64_t had = had_of(facts), next;

	if (facts->settled)
		return saturate_add_percent(had, SETTLED_PERCENT);
	if (step == 0) {
		next = saturate_add_percent(
		    MAX_OF(MAX_OF(facts->used_bytes, facts->own_bytes), granted), GROWTH_PERCENT);
		return facts->growing ? MAX_OF(next, ledger_doubt(granted)) : next;
	}
	next = saturate_add_percent(saturate_add(had, step), MARGIN_PERCENT);
	if (had == 0)
		next = saturate_add(next, CONTEXT_BYTES);
	if (step < had / SMALL_STEP)
		next = MAX_OF(next, saturate_add_percent(had, GROWTH_PERCENT));
	if (is_capped(facts))
		next = MAX_OF(next, saturate_add_percent(granted, GROWTH_PERCENT));
	/* The sample was older than its last steps, or others took the room. */
	if (next <= granted)
		next = MAX_OF(MIN_OF(saturate_add(granted, step),
				     saturate_add_percent(granted, GROWTH_PERCENT)),
			      saturate_add_percent(granted, MARGIN_PERCENT));
	return next;
}
