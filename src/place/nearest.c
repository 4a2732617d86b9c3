/*
 * A set of GPUs costs, in this order: the sum of its tiers, the sum of the distances between its
 * members, the sum of their ranks. All sets are tried where there are few of them (16 GPUs of which
 * 8 are wanted: 12,870). Beyond that each GPU in turn is taken as the first and the cheapest next
 * one is added until there are enough: where near is near for all (boards, switches, NUMA nodes: a
 * tree), that finds the best set too.
 */
#include "place/nearest.h"

#include "place/fit.h"

#include <string.h>

#define SETS_MAX 20000

struct cost {
	uint64_t tier, distance, rank;
};

struct search {
	const struct ledger *ledger;
	const size_t *ranked;
	const unsigned *tiers; /* of `ranked` */
	size_t n, want;
	size_t set[PLACE_GPUS_MAX], best[PLACE_GPUS_MAX]; /* positions in `ranked`, ascending */
	struct cost best_cost;
	bool found;
};

static bool cheaper(const struct cost *a, const struct cost *b)
{
	if (a->tier != b->tier)
		return a->tier < b->tier;
	if (a->distance != b->distance)
		return a->distance < b->distance;
	return a->rank < b->rank;
}

/* What is not known counts as far as can be. */
static uint64_t distance(const struct ledger *ledger, size_t a, size_t b)
{
	enum gpu_link link = ledger_link(ledger, a, b);

	return link == GPU_LINK_UNKNOWN ? GPU_LINK_SYSTEM : (uint64_t)link;
}

static struct cost cost_with(const struct search *s, struct cost cost, size_t n, size_t added)
{
	cost.tier += s->tiers[added];
	cost.rank += added;
	for (size_t i = 0; i < n; i++)
		cost.distance += distance(s->ledger, s->ranked[s->set[i]], s->ranked[added]);
	return cost;
}

static void keep_set(struct search *s, struct cost cost)
{
	if (s->found && !cheaper(&cost, &s->best_cost))
		return;
	s->found = true;
	s->best_cost = cost;
	memcpy(s->best, s->set, s->want * sizeof *s->best);
}

static void try_all(struct search *s, size_t n, size_t from, struct cost cost)
{
	if (n == s->want) {
		keep_set(s, cost);
		return;
	}
	for (size_t i = from; i + (s->want - n) <= s->n; i++) {
		struct cost with = cost_with(s, cost, n, i);

		if (s->found && !cheaper(&with, &s->best_cost))
			continue; /* it only grows */
		s->set[n] = i;
		try_all(s, n + 1, i + 1, with);
	}
}

static bool in_set(const struct search *s, size_t n, size_t position)
{
	for (size_t i = 0; i < n; i++)
		if (s->set[i] == position)
			return true;
	return false;
}

static void try_each_first(struct search *s)
{
	for (size_t first = 0; first < s->n; first++) {
		struct cost cost = cost_with(s, (struct cost){}, 0, first);

		s->set[0] = first;
		for (size_t n = 1; n < s->want; n++) {
			struct cost next = {};
			size_t added = s->n;

			for (size_t i = 0; i < s->n; i++) {
				struct cost with;

				if (in_set(s, n, i))
					continue;
				with = cost_with(s, cost, n, i);
				if (added == s->n || cheaper(&with, &next)) {
					next = with;
					added = i;
				}
			}
			s->set[n] = added;
			cost = next;
		}
		keep_set(s, cost);
	}
}

/* Ways to choose k of n, at most SETS_MAX + 1. */
static size_t n_sets(size_t n, size_t k)
{
	size_t sets = 1;

	for (size_t i = 0; i < k && sets <= SETS_MAX; i++)
		sets = sets * (n - i) / (i + 1);
	return sets;
}

static int by_position(const void *a, const void *b)
{
	size_t x = *(const size_t *)a, y = *(const size_t *)b;

	return (x > y) - (x < y);
}

void nearest_choose(const struct ledger *ledger, const struct place_request *request,
		    const size_t *ranked, size_t n_ranked, size_t want, size_t *ret_gpus)
{
	auto_free unsigned *tiers = mem_calloc(n_ranked, sizeof *tiers);
	struct search s = {
	    .ledger = ledger, .ranked = ranked, .tiers = tiers, .n = n_ranked, .want = want};

	for (size_t i = 0; i < n_ranked; i++)
		tiers[i] = fit_tier(&ledger->gpus[ranked[i]], request);
	if (n_sets(n_ranked, want) <= SETS_MAX)
		try_all(&s, 0, 0, (struct cost){});
	else
		try_each_first(&s);
	qsort(s.best, want, sizeof *s.best, by_position);
	for (size_t i = 0; i < want; i++)
		ret_gpus[i] = ranked[s.best[i]];
}

enum gpu_link nearest_farthest(const struct ledger *ledger, const size_t *gpus, size_t n)
{
	enum gpu_link farthest = GPU_LINK_UNKNOWN;

	for (size_t i = 0; i < n; i++)
		for (size_t j = 0; j < i; j++) {
			enum gpu_link link = ledger_link(ledger, gpus[i], gpus[j]);

			if (link == GPU_LINK_UNKNOWN)
				return GPU_LINK_UNKNOWN;
			farthest = MAX_OF(farthest, link);
		}
	return farthest;
}
