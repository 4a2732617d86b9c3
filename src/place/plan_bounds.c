/*
 * Bounds: each says of a state of the search that nothing can come of it, see plan_search.c. They
 * are asked at every node, so each is a pass over the GPUs or less.
 */
#include "place/plan_search.h"

/* Shares of a move between the GPUs that a service leaves. */
#define MOVE_SHARES 720720

/* What is left to be placed: from position `k` on, and aside from `aside` on. */
struct rest {
	size_t k, aside;
	uint64_t bytes, allowed, smallest;
};

static void find_rest(const struct search *s, size_t k, struct rest *rest)
{
	size_t n = s->core->n;

	*rest = (struct rest){.k = MIN_OF(k, n), .aside = k > n ? k - n : 0};
	rest->bytes = s->rest_bytes[rest->k] + s->aside_bytes;
	rest->allowed = s->rest_allowed[rest->k];
	rest->smallest = s->rest_smallest[rest->k];
	/* The lightest of those aside is the last. */
	if (rest->aside < s->n_aside)
		rest->smallest =
		    MIN_OF(rest->smallest, s->core->items[s->aside[s->n_aside - 1]].size);
	for (size_t a = rest->aside; a < s->n_aside; a++)
		rest->allowed |= s->allowed[s->aside[a]];
}

/* Of the room of GPU `g`, what those aside from a position on can fill. */
static uint64_t room_to_fill(const struct search *s, const struct rest *left, size_t g)
{
	const uint64_t *sums;

	if (!s->unit || (moves_count(s) && left->k < s->core->n))
		return s->room[g];
	sums = s->sums + (moves_count(s) ? left->aside : left->k) * s->sums_words;
	return search_largest_sum(sums, s->room[g] / s->unit) * s->unit;
}

/* Is there room for all that is left? Counts what GPUs have that can take at least the smallest;
 * of those not in use yet the largest, as many as may be opened. */
static bool is_room_enough(const struct search *s, const struct rest *left)
{
	uint64_t fresh[PLAN_GPUS_MAX], sum = 0;
	size_t n_fresh = 0;

	for (uint64_t rest = left->allowed & ~s->sealed; rest; rest &= rest - 1) {
		size_t g = (size_t)__builtin_ctzll(rest);

		if (s->room[g] < left->smallest)
			continue;
		if (s->limits->used_max != UINT_MAX && s->unused >> g & 1)
			fresh[n_fresh++] = room_to_fill(s, left, g);
		else
			sum += room_to_fill(s, left, g);
	}
	for (unsigned more = s->used < s->limits->used_max ? s->limits->used_max - s->used : 0;
	     more > 0 && n_fresh > 0; more--) {
		size_t best = 0;

		for (size_t f = 1; f < n_fresh; f++)
			best = fresh[f] > fresh[best] ? f : best;
		sum += fresh[best];
		fresh[best] = fresh[--n_fresh];
	}
	return sum >= left->bytes;
}

/* Can the GPUs hold so many of a size? */
static bool can_hold(const struct search *s, const struct rest *left, uint64_t size,
		     uint64_t wanted)
{
	uint64_t held = 0;

	for (uint64_t rest = left->allowed & ~s->sealed; rest; rest &= rest - 1) {
		size_t g = (size_t)__builtin_ctzll(rest);

		if (s->room[g] >= size)
			held += s->room[g] < 2 * size ? 1 : s->room[g] / size;
		if (held >= wanted)
			return true;
	}
	return false;
}

/* The items of at least some size, for the sizes that come next, the heaviest first. */
static bool are_numbers_enough(const struct search *s, const struct rest *left)
{
	size_t k = left->k, a = left->aside, n = s->core->n;
	uint64_t wanted = 0;
	unsigned checks = 0;

	/* Groups are not in the order of sizes. */
	if (s->groups && k >= s->n_heavy && k < s->n_chosen)
		return true;
	n = s->groups && k < n ? s->n_heavy : n;
	while ((k < n || a < s->n_aside) && checks < 3) {
		uint64_t of_k = k < n ? s->core->items[s->order[k]].size : 0;
		uint64_t of_a = a < s->n_aside ? s->core->items[s->aside[a]].size : 0;
		uint64_t size = MAX_OF(of_k, of_a);

		if (size == 0)
			break;
		for (; k < n && s->core->items[s->order[k]].size == size; k++)
			wanted += s->core->items[s->order[k]].count;
		for (; a < s->n_aside && s->core->items[s->aside[a]].size == size; a++)
			wanted += s->core->items[s->aside[a]].count;
		checks++;
		if (!can_hold(s, left, size, wanted))
			return false;
	}
	return true;
}

uint64_t search_fewest_leaving(const struct search *s, size_t k, size_t g, uint64_t over)
{
	uint64_t n = 0;

	for (size_t i = s->first_held[g]; i != SIZE_MAX && over > 0; i = s->next_held[i]) {
		if (s->at[i] < k)
			continue;
		over -= MIN_OF(over, s->core->items[i].size);
		n++;
	}
	return over > 0 ? PLAN_SERVICES_MAX + 1 : n;
}

void search_find_later(struct search *s)
{
	s->later_moves[s->core->m] = 0;
	for (size_t r = s->core->m; r-- > 0;) {
		size_t g = s->ranked[r];
		uint64_t held = s->held[s->n_single][g].one;

		s->later_moves[r] = s->later_moves[r + 1];
		if (held > s->room[g])
			s->later_moves[r] +=
			    (unsigned)search_fewest_leaving(s, s->n_single, g, held - s->room[g]);
	}
}

/*
 * Shares of moves that GPU `g` costs at least: what is held there is more than its room by so much
 * that, the heaviest first, so many have to leave. A service on several GPUs may leave all of them
 * with one move, which is then shared among them; any number of those may be among them.
 */
static uint64_t shares_leaving(const struct search *s, size_t k, size_t g)
{
	const struct held *held = &s->held[k][g];
	uint64_t over, best, n = 0;

	if (held->one + held->several <= s->room[g])
		return 0;
	over = held->one + held->several - s->room[g];
	best = search_fewest_leaving(s, k, g, over) * MOVE_SHARES;
	for (size_t j = 0; j < s->n_several && over > 0; j++) {
		const struct core_item *item = &s->core->items[s->several[j]];

		if (s->at[s->several[j]] < k || !(item->today >> g & 1))
			continue;
		over -= MIN_OF(over, item->size);
		n++;
		best = MIN_OF(best, n * (MOVE_SHARES / s->shared_by[g]) +
					search_fewest_leaving(s, k, g, over) * MOVE_SHARES);
	}
	return best;
}

/* The most that those still to choose may gain by leaving: of each GPU so many as have to leave it,
 * and as many more as there are moves to spare. */
static int64_t most_gain(const struct search *s, size_t k, const uint64_t *shares, uint64_t spare)
{
	unsigned left[PLAN_GPUS_MAX] = {};
	int64_t sum = 0;

	for (size_t n = 0; n < s->n_gains; n++) {
		size_t g = s->gains[n].gpu;

		if (s->gains[n].at < k ||
		    (left[g] + 1) * (MOVE_SHARES / s->shared_by[g]) > shares[g] + spare)
			continue;
		left[g]++;
		sum += s->gains[n].gain;
	}
	return sum;
}

/* Moves and preference: what may be moved is worth it only if enough of what is preferred can still
 * be had. */
static bool are_moves_enough(const struct search *s, size_t k, int64_t *ret_gain)
{
	uint64_t shares[PLAN_GPUS_MAX] = {}, sum = 0, most;
	unsigned moves = s->moves + s->rest_moves[MIN_OF(k, s->core->n)];

	if (moves > s->limits->moves_max)
		return false;
	most = (uint64_t)(s->limits->moves_max - moves) * MOVE_SHARES;
	for (size_t g = 0; g < s->core->m && k < s->core->n; g++) {
		shares[g] = shares_leaving(s, MAX_OF(k, s->n_forced), g);
		sum += shares[g];
	}
	if (sum > most)
		return false;
	if (preference_counts(s))
		*ret_gain = most_gain(s, k, shares, most - sum);
	return true;
}

/* What those aside cannot have any more of what they like: the GPU is full, or someone is there. */
static int64_t preference_lost(const struct search *s, const struct rest *left)
{
	int64_t lost = 0;

	for (size_t a = left->aside; a < s->n_aside; a++) {
		size_t i = s->aside[a];

		if (s->choosy[i])
			lost += s->best_preference[i] -
				core_best_preference(&s->core->items[i], search_where_to(s, i));
	}
	return lost;
}

bool search_is_hope(const struct search *s, size_t k)
{
	struct rest rest;
	int64_t gain = 0;

	find_rest(s, k, &rest);
	if (moves_count(s) && !are_moves_enough(s, k, &gain))
		return false;
	if (preference_counts(s) && s->preference + s->rest_preference[rest.k] +
					    s->aside_preference - preference_lost(s, &rest) + gain <
					s->limits->preference_min)
		return false;
	if (!is_room_enough(s, &rest))
		return false;
	return k < s->n_forced || are_numbers_enough(s, &rest);
}
