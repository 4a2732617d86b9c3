/*
 * Is there a placement within the limits? Depth first: what has no choice first, then from the
 * heaviest item down; the GPUs where the item was before, then where least is left. A branch ends
 * when one of these says that it holds no placement:
 *
 *  - room: the rest is more than what is left on the GPUs that still can take some of it;
 *  - number: of the items of at least some size, more are left than GPUs can hold of that size;
 *  - moves: what would stay on a GPU is more than its room, and the fewest that must leave it, over
 *    all GPUs, are more than may move;
 *  - preference: even with the best of each the sum stays below what is asked for.
 *
 * When moves count, a lighter item first chooses only whether it stays where it is; those that
 * leave (or were nowhere) are put aside and get their GPUs when all have chosen. Which leave
 * decides about moves, and much less has to be tried than with all the GPUs they could go to.
 *
 * Of placements that differ only in the names of things one is looked at. GPUs between which
 * nothing tells any more (the same room left, the same to all items to come) are tried once, the
 * lowest first; items between which nothing tells are put in the order of their GPUs. Both rules
 * keep, of all placements that are one but for the names, the first in the order of items and GPUs:
 * so they may be used together.
 */
#include "place/plan_priv.h"

#include <limits.h>

/* Shares of a move between the GPUs that a service leaves. */
#define MOVE_SHARES 720720

/* Lighter than this part of a GPU, and it may be put aside. */
#define LIGHT_PART 4

/* Bytes of services on one GPU, and of those on several, and the next position of each kind. */
struct held {
	uint64_t one, several;
	size_t next_one, next_several;
};

/* What leaving its GPU may gain in preference for the item at a position. */
struct gain {
	size_t at, gpu;
	int64_t gain;
};

struct search {
	const struct core *core;
	const struct core_limits *limits;
	uint64_t allowed[PLAN_SERVICES_MAX];        /* those with room for it, alone */
	size_t order[PLAN_SERVICES_MAX], n_forced;  /* items as they are placed */
	uint64_t rest_bytes[PLAN_SERVICES_MAX + 1]; /* from this position on */
	uint64_t rest_allowed[PLAN_SERVICES_MAX + 1];
	uint64_t rest_smallest[PLAN_SERVICES_MAX + 1]; /* of those with a size */
	int64_t rest_preference[PLAN_SERVICES_MAX + 1];
	bool same_as_before[PLAN_SERVICES_MAX]; /* items: nothing tells it from the one before */
	bool may_wait[PLAN_SERVICES_MAX];       /* items that may be put aside */
	int64_t best_preference[PLAN_SERVICES_MAX];
	/* Of each GPU, the items held there, in their order: the bytes from a position on. */
	struct held (*held)[PLAN_GPUS_MAX];
	unsigned shared_by[PLAN_GPUS_MAX];
	unsigned rest_moves[PLAN_SERVICES_MAX + 1]; /* of items that cannot stay */
	struct gain gains[PLAN_SERVICES_MAX];       /* the largest first */
	size_t n_gains;
	unsigned column[PLAN_GPUS_MAX]; /* GPUs of one number are the same to all items */
	uint64_t hints[PLAN_SERVICES_MAX];
	/* The state. */
	uint64_t room[PLAN_GPUS_MAX];
	uint64_t members[PLAN_GPUS_MAX][PLAN_WORDS];
	uint64_t empty, unused, sealed; /* GPUs: nothing on it; no bytes on it; held alone */
	uint64_t sets[PLAN_SERVICES_MAX];
	size_t aside[PLAN_SERVICES_MAX], n_aside;
	bool is_aside[PLAN_SERVICES_MAX];
	uint64_t aside_bytes;
	int64_t aside_preference;
	unsigned moves, used;
	int64_t preference;
	uint64_t work, work_max;
};

/* One item being placed: its GPUs in the order they are tried. */
struct choice {
	size_t item, at; /* position in the order, or beyond it in `aside` */
	size_t gpus[PLAN_GPUS_MAX];
	bool like_before[PLAN_GPUS_MAX]; /* nothing tells it from the one before in `gpus` */
	size_t n;
};

static uint64_t bit(size_t n)
{
	return (uint64_t)1 << n;
}

static unsigned count_bits(uint64_t mask)
{
	return (unsigned)__builtin_popcountll(mask);
}

static bool has_needs(const struct search *s, size_t item)
{
	return s->limits->need && s->core->items[item].count > 1;
}

static bool moves_count(const struct search *s)
{
	return s->limits->moves_max != UINT_MAX;
}

static bool preference_counts(const struct search *s)
{
	return s->limits->preference_min != INT64_MIN;
}

/* The sum of the best `count` preferences among the GPUs allowed. */
static int64_t best_preference(const struct search *s, size_t item)
{
	const struct core_item *it = &s->core->items[item];
	uint64_t left = s->allowed[item];
	int64_t sum = 0;

	if (it->on_demand)
		return 0;
	for (unsigned k = 0; k < it->count && left; k++) {
		size_t best = (size_t)__builtin_ctzll(left);

		for (uint64_t rest = left; rest; rest &= rest - 1) {
			size_t g = (size_t)__builtin_ctzll(rest);

			if (it->preference[g] > it->preference[best])
				best = g;
		}
		sum += it->preference[best];
		left &= ~bit(best);
	}
	return sum;
}

static bool same_item(const struct search *s, size_t a, size_t b)
{
	const struct core_item *x = &s->core->items[a], *y = &s->core->items[b];
	const struct core_limits *limits = s->limits;

	if (x->size != y->size || x->count != y->count || x->exclusive != y->exclusive ||
	    x->on_demand != y->on_demand || s->allowed[a] != s->allowed[b] ||
	    limits->must[a] != limits->must[b])
		return false;
	if (s->core->any_not_with)
		for (size_t w = 0; w < PLAN_WORDS; w++)
			if (x->not_with[w] || y->not_with[w])
				return false;
	if (moves_count(s) && (x->today != y->today || x->stay != y->stay))
		return false;
	if (preference_counts(s) && memcmp(x->preference, y->preference, sizeof x->preference) != 0)
		return false;
	return !has_needs(s, a) || memcmp(limits->need[a], limits->need[b], PLAN_GPUS_MAX) == 0;
}

/* Are two GPUs the same to an item, whatever is on them? */
static bool same_to_item(const struct search *s, size_t item, size_t a, size_t b)
{
	const struct core_item *it = &s->core->items[item];
	const struct core_limits *limits = s->limits;

	if (((s->allowed[item] >> a ^ s->allowed[item] >> b) & 1) ||
	    ((limits->must[item] >> a ^ limits->must[item] >> b) & 1))
		return false;
	if (moves_count(s) && ((it->today >> a ^ it->today >> b) & 1))
		return false;
	if (preference_counts(s) && it->preference[a] != it->preference[b])
		return false;
	return !has_needs(s, item) || s->core->gpus[a].speed_class == s->core->gpus[b].speed_class;
}

static void find_columns(struct search *s)
{
	size_t first[PLAN_GPUS_MAX], n = 0;

	for (size_t g = 0; g < s->core->m; g++) {
		size_t c = 0;

		for (; c < n; c++) {
			bool same = true;

			for (size_t k = s->n_forced; k < s->core->n && same; k++)
				same = same_to_item(s, s->order[k], first[c], g);
			if (same)
				break;
		}
		if (c == n)
			first[n++] = g;
		s->column[g] = (unsigned)c;
	}
}

static bool find_allowed(struct search *s)
{
	for (size_t i = 0; i < s->core->n; i++) {
		const struct core_item *item = &s->core->items[i];

		for (uint64_t rest = s->limits->allowed[i]; rest; rest &= rest - 1)
			if (s->room[__builtin_ctzll(rest)] >= item->size)
				s->allowed[i] |= rest & -rest;
		if (count_bits(s->allowed[i]) < item->count || s->limits->must[i] & ~s->allowed[i])
			return false;
	}
	return true;
}

/* When so little may be missed of what is preferred, a service that wants one GPU cannot use those
 * where it alone would miss more. */
static bool drop_disliked(struct search *s)
{
	int64_t may_miss = -s->limits->preference_min;

	for (size_t i = 0; i < s->core->n; i++)
		may_miss += best_preference(s, i);
	for (size_t i = 0; i < s->core->n && may_miss >= 0; i++) {
		const struct core_item *item = &s->core->items[i];
		int64_t best = best_preference(s, i);

		if (item->count > 1 || item->on_demand)
			continue;
		for (uint64_t rest = s->allowed[i]; rest; rest &= rest - 1)
			if (best - item->preference[__builtin_ctzll(rest)] > may_miss)
				s->allowed[i] &= ~(rest & -rest);
	}
	return may_miss >= 0;
}

static void find_order(struct search *s)
{
	size_t n = 0;

	for (int pass = 0; pass < 2; pass++) {
		for (size_t i = 0; i < s->core->n; i++) {
			bool forced = count_bits(s->allowed[i]) == s->core->items[i].count;

			if (forced == (pass == 0))
				s->order[n++] = i;
		}
		if (pass == 0)
			s->n_forced = n;
	}
}

static void look_ahead(struct search *s)
{
	size_t n = s->core->n;

	s->rest_bytes[n] = s->rest_allowed[n] = 0;
	s->rest_smallest[n] = UINT64_MAX;
	s->rest_preference[n] = 0;
	for (size_t k = n; k-- > 0;) {
		size_t i = s->order[k];
		const struct core_item *item = &s->core->items[i];

		s->rest_bytes[k] = s->rest_bytes[k + 1] + item->size * item->count;
		s->rest_allowed[k] = s->rest_allowed[k + 1] | s->allowed[i];
		s->rest_smallest[k] = item->size > 0 ? MIN_OF(item->size, s->rest_smallest[k + 1])
						     : s->rest_smallest[k + 1];
		s->best_preference[i] = best_preference(s, i);
		s->rest_preference[k] = s->rest_preference[k + 1] + s->best_preference[i];
		s->same_as_before[i] = k > s->n_forced && same_item(s, s->order[k - 1], i);
	}
}

/* Does it cost a move when the item leaves any one of the GPUs it is on? Those that have to leave
 * are counted apart. */
static bool is_held(const struct search *s, size_t i)
{
	const struct core_item *item = &s->core->items[i];

	return !item->on_demand && item->stay > 0 && count_bits(item->today) == item->stay &&
	       (s->allowed[i] & item->today) == item->today;
}

static bool cannot_stay(const struct search *s, size_t i)
{
	const struct core_item *item = &s->core->items[i];

	return !item->on_demand && count_bits(s->allowed[i] & item->today) < item->stay;
}

/* Until it has left, an item held on one GPU counts with what it likes that one; what it may gain
 * by leaving is kept apart, since not all of them can leave. */
static void look_at_gains(struct search *s)
{
	for (size_t k = s->core->n; k-- > 0;) {
		size_t i = s->order[k], at;
		const struct core_item *item = &s->core->items[i];
		int64_t gain = 0;

		if (is_held(s, i) && item->count == 1 && item->stay == 1 && k >= s->n_forced)
			gain =
			    s->best_preference[i] - item->preference[__builtin_ctzll(item->today)];
		s->rest_preference[k] = s->rest_preference[k + 1] + s->best_preference[i] - gain;
		if (gain == 0)
			continue;
		for (at = s->n_gains++; at > 0 && s->gains[at - 1].gain < gain; at--)
			s->gains[at] = s->gains[at - 1];
		s->gains[at] = (struct gain){k, (size_t)__builtin_ctzll(item->today), gain};
	}
}

/* What is heavy for the GPUs there are gets its place at once: much hangs on it. */
static bool is_light(const struct search *s, uint64_t size)
{
	uint64_t sum = 0;

	for (size_t g = 0; g < s->core->m; g++)
		sum += s->limits->room[g];
	return size * LIGHT_PART * s->core->m < sum;
}

static void look_at_moves(struct search *s)
{
	size_t n = s->core->n;

	s->held = mem_calloc(n + 1, sizeof *s->held);
	for (size_t g = 0; g < s->core->m; g++) {
		s->shared_by[g] = 1;
		s->held[n][g].next_one = s->held[n][g].next_several = n;
	}
	for (size_t k = n; k-- > 0;) {
		size_t i = s->order[k];
		const struct core_item *item = &s->core->items[i];

		s->rest_moves[k] = s->rest_moves[k + 1] + cannot_stay(s, i);
		memcpy(s->held[k], s->held[k + 1], s->core->m * sizeof **s->held);
		for (uint64_t rest = is_held(s, i) ? item->today : 0; rest; rest &= rest - 1) {
			size_t g = (size_t)__builtin_ctzll(rest);

			if (item->stay == 1) {
				s->held[k][g].one += item->size;
				s->held[k][g].next_one = k;
			} else {
				s->held[k][g].several += item->size;
				s->held[k][g].next_several = k;
			}
			s->shared_by[g] = MAX_OF(s->shared_by[g], item->stay);
		}
		s->may_wait[i] = k >= s->n_forced && !item->on_demand && item->size > 0 &&
				 (item->today == 0 || item->stay == item->count) &&
				 count_bits(item->today) <= item->count && is_light(s, item->size);
	}
}

/* --- bounds -------------------------------------------------------------------------------- */

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
	/* The lightest is the last. */
	if (rest->aside < s->n_aside)
		rest->smallest =
		    MIN_OF(rest->smallest, s->core->items[s->aside[s->n_aside - 1]].size);
	for (size_t a = rest->aside; a < s->n_aside; a++)
		rest->allowed |= s->allowed[s->aside[a]];
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
			fresh[n_fresh++] = s->room[g];
		else
			sum += s->room[g];
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

/* Of the services on GPU `g` alone, the heaviest first, how many make up `over`. */
static uint64_t fewest_leaving(const struct search *s, size_t k, size_t g, uint64_t over)
{
	uint64_t n = 0;

	for (size_t j = s->held[k][g].next_one; j < s->core->n && over > 0;
	     j = s->held[j + 1][g].next_one) {
		over -= MIN_OF(over, s->held[j][g].one - s->held[j + 1][g].one);
		n++;
	}
	return over > 0 ? PLAN_SERVICES_MAX : n;
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
	best = fewest_leaving(s, k, g, over) * MOVE_SHARES;
	for (size_t j = held->next_several; j < s->core->n && over > 0;
	     j = s->held[j + 1][g].next_several) {
		over -= MIN_OF(over, s->held[j][g].several - s->held[j + 1][g].several);
		n++;
		best = MIN_OF(best, n * (MOVE_SHARES / s->shared_by[g]) +
					fewest_leaving(s, k, g, over) * MOVE_SHARES);
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
	for (size_t g = 0; g < s->core->m && k >= s->n_forced && k < s->core->n; g++) {
		shares[g] = shares_leaving(s, k, g);
		sum += shares[g];
	}
	if (sum > most)
		return false;
	if (preference_counts(s))
		*ret_gain = most_gain(s, k, shares, most - sum);
	return true;
}

static bool is_hope(const struct search *s, size_t k)
{
	struct rest rest;
	int64_t gain = 0;

	find_rest(s, k, &rest);
	if (moves_count(s) && !are_moves_enough(s, k, &gain))
		return false;
	if (preference_counts(s) &&
	    s->preference + s->rest_preference[rest.k] + s->aside_preference + gain <
		s->limits->preference_min)
		return false;
	if (!is_room_enough(s, &rest))
		return false;
	return k < s->n_forced || are_numbers_enough(s, &rest);
}

/* --- placing ------------------------------------------------------------------------------- */

static bool may_go(const struct search *s, size_t item, size_t g)
{
	const struct core_item *it = &s->core->items[item];

	if (it->size > s->room[g] || s->sealed >> g & 1)
		return false;
	if (it->exclusive && !(s->empty >> g & 1))
		return false;
	if (it->size > 0 && s->unused >> g & 1 && s->used >= s->limits->used_max)
		return false;
	if (s->core->any_not_with)
		for (size_t w = 0; w < PLAN_WORDS; w++)
			if (it->not_with[w] & s->members[g][w])
				return false;
	return true;
}

/* Does nothing tell two GPUs apart, for all that is still to be placed? */
static bool alike(const struct search *s, size_t a, size_t b)
{
	if (s->column[a] != s->column[b] || s->room[a] != s->room[b] ||
	    (s->empty >> a & 1) != (s->empty >> b & 1) ||
	    (s->unused >> a & 1) != (s->unused >> b & 1))
		return false;
	return !s->core->any_not_with || s->empty >> a & 1;
}

static bool try_before(const struct search *s, size_t item, size_t a, size_t b)
{
	const struct core_item *it = &s->core->items[item];
	unsigned x, y;

	x = s->limits->must[item] >> a & 1;
	y = s->limits->must[item] >> b & 1;
	if (x != y)
		return x > y;
	x = s->hints[item] >> a & 1;
	y = s->hints[item] >> b & 1;
	if (x != y)
		return x > y;
	x = it->today >> a & 1;
	y = it->today >> b & 1;
	if (moves_count(s) && x != y)
		return x > y;
	if (s->room[a] != s->room[b])
		return s->room[a] < s->room[b];
	return a < b;
}

/* GPUs alike stand one behind the other, the lowest first, where the one of them stands that is to
 * be tried first. */
static void list_gpus(struct search *s, struct choice *choice)
{
	size_t item = choice->item;
	uint64_t left = 0, may = s->allowed[item];

	/* It has left. */
	if (s->is_aside[item] && s->core->items[item].count == 1)
		may &= ~s->core->items[item].today;
	for (uint64_t rest = may; rest; rest &= rest - 1)
		if (may_go(s, item, (size_t)__builtin_ctzll(rest)))
			left |= rest & -rest;
	choice->n = 0;
	while (left) {
		size_t best = (size_t)__builtin_ctzll(left), n = choice->n;

		for (uint64_t rest = left & (left - 1); rest; rest &= rest - 1) {
			size_t g = (size_t)__builtin_ctzll(rest);

			if (try_before(s, item, g, best))
				best = g;
		}
		for (uint64_t rest = left; rest; rest &= rest - 1) {
			size_t g = (size_t)__builtin_ctzll(rest);

			if (g != best && (choice->at < s->n_forced || !alike(s, g, best)))
				continue;
			choice->like_before[choice->n] = choice->n > n;
			choice->gpus[choice->n++] = g;
			left &= ~bit(g);
		}
	}
}

static void put(struct search *s, size_t item, size_t g)
{
	const struct core_item *it = &s->core->items[item];

	s->room[g] -= it->size;
	s->members[g][item / 64] |= bit(item % 64);
	s->sets[item] |= bit(g);
	if (it->exclusive)
		s->sealed |= bit(g);
	if (it->size > 0 && s->unused >> g & 1) {
		s->unused &= ~bit(g);
		s->used++;
	}
	s->empty &= ~bit(g);
	if (!it->on_demand)
		s->preference += it->preference[g];
}

struct undo {
	uint64_t empty, unused, sealed;
	unsigned used;
};

static void take_back(struct search *s, size_t item, size_t g, const struct undo *undo)
{
	const struct core_item *it = &s->core->items[item];

	s->room[g] += it->size;
	s->members[g][item / 64] &= ~bit(item % 64);
	s->sets[item] &= ~bit(g);
	s->sealed = undo->sealed;
	s->unused = undo->unused;
	s->used = undo->used;
	s->empty = undo->empty;
	if (!it->on_demand)
		s->preference -= it->preference[g];
}

static enum core_found place_item(struct search *s, size_t k);

/* Are two items that nothing tells apart in the order of their GPUs? Those aside come in the same
 * order as they would have. */
static bool is_in_order(const struct search *s, const struct choice *choice)
{
	size_t n = s->core->n, before;

	if (choice->at < n) {
		if (!s->same_as_before[choice->item])
			return true;
		before = s->order[choice->at - 1];
		if (s->is_aside[before])
			return true;
	} else {
		if (choice->at == n || !s->same_as_before[choice->item])
			return true;
		before = s->aside[choice->at - n - 1];
		if (!same_item(s, before, choice->item))
			return true;
	}
	return __builtin_ctzll(s->sets[choice->item]) >= __builtin_ctzll(s->sets[before]);
}

/* All copies of an item are placed: keep to the rules for the set as a whole, and go on. */
static enum core_found place_next_item(struct search *s, const struct choice *choice)
{
	size_t item = choice->item;
	const struct core_item *it = &s->core->items[item];
	enum core_found found;
	bool moved;

	if (!is_in_order(s, choice))
		return CORE_NONE;
	if (has_needs(s, item)) {
		uint8_t have[PLAN_GPUS_MAX] = {};

		for (uint64_t rest = s->sets[item]; rest; rest &= rest - 1)
			have[s->core->gpus[__builtin_ctzll(rest)].speed_class]++;
		for (size_t c = 0; c < s->core->n_classes; c++)
			if (s->limits->need[item][c] != CORE_NO_NEED &&
			    s->limits->need[item][c] != have[c])
				return CORE_NONE;
	}
	moved = !it->on_demand && !s->is_aside[item] && core_has_moved(it, s->sets[item]);
	s->moves += moved;
	found = place_item(s, choice->at + 1);
	s->moves -= moved;
	return found;
}

static enum core_found place_copies(struct search *s, const struct choice *choice, unsigned left,
				    size_t from)
{
	size_t item = choice->item;
	struct undo undo = {s->empty, s->unused, s->sealed, s->used};

	if (left == 0)
		return (s->limits->must[item] & ~s->sets[item]) ? CORE_NONE
								: place_next_item(s, choice);
	for (size_t p = from; p + left <= choice->n; p++) {
		size_t g = choice->gpus[p];
		enum core_found found;

		if (choice->like_before[p] && !(s->sets[item] >> choice->gpus[p - 1] & 1))
			continue;
		if (s->core->items[item].size > 0 && s->unused >> g & 1 &&
		    s->used >= s->limits->used_max)
			continue;
		put(s, item, g);
		found = place_copies(s, choice, left - 1, p + 1);
		if (found == CORE_FOUND)
			return found;
		take_back(s, item, g, &undo);
		if (found == CORE_GAVE_UP)
			return found;
		if (s->limits->must[item] >> g & 1)
			break; /* it must be in the set, and no other comes before it */
	}
	return CORE_NONE;
}

/* The item leaves its GPU, or had none; where it goes is seen later. */
static enum core_found put_aside(struct search *s, size_t item, size_t k)
{
	const struct core_item *it = &s->core->items[item];
	enum core_found found;

	if ((s->allowed[item] & ~it->today) == 0)
		return CORE_NONE;
	s->aside[s->n_aside++] = item;
	s->is_aside[item] = true;
	s->aside_bytes += it->size * it->count;
	s->aside_preference += s->best_preference[item];
	s->moves += it->stay > 0;
	found = place_item(s, k + 1);
	if (found == CORE_FOUND)
		return found;
	s->moves -= it->stay > 0;
	s->aside_preference -= s->best_preference[item];
	s->aside_bytes -= it->size * it->count;
	s->is_aside[item] = false;
	s->n_aside--;
	return found;
}

/* Can it stay where it is? In `ret_choice`, when it can. */
static bool can_stay(const struct search *s, struct choice *ret_choice)
{
	const struct core_item *it = &s->core->items[ret_choice->item];

	if (it->today == 0 || it->today & ~s->allowed[ret_choice->item])
		return false;
	for (uint64_t rest = it->today; rest; rest &= rest - 1) {
		size_t g = (size_t)__builtin_ctzll(rest);

		if (!may_go(s, ret_choice->item, g))
			return false;
		ret_choice->like_before[ret_choice->n] = false;
		ret_choice->gpus[ret_choice->n++] = g;
	}
	return ret_choice->n == it->count;
}

/* Which first? As it was before; else the heaviest leave while more is held there than there is
 * room. */
static bool is_to_leave(const struct search *s, const struct choice *stay)
{
	uint64_t hint = s->hints[stay->item], today = s->core->items[stay->item].today;

	if (hint)
		return (hint & today) != today;
	return s->held[stay->at][stay->gpus[0]].one > s->room[stay->gpus[0]];
}

/* Stay or leave. Of items that nothing tells apart, the first leave. */
static enum core_found stay_or_leave(struct search *s, size_t item, size_t k)
{
	struct choice stay;
	bool may_leave = !s->same_as_before[item] || s->is_aside[s->order[k - 1]], leave_first;
	bool may_stay;
	enum core_found found = CORE_NONE;

	stay.item = item;
	stay.at = k;
	stay.n = 0;
	may_stay = can_stay(s, &stay);
	leave_first = !may_stay || is_to_leave(s, &stay);
	for (int turn = 0; turn < 2 && found == CORE_NONE; turn++) {
		if ((turn == 0) == leave_first)
			found = may_leave ? put_aside(s, item, k) : CORE_NONE;
		else if (may_stay)
			found = place_copies(s, &stay, s->core->items[item].count, 0);
	}
	return found;
}

/* One of those aside gets its GPU. */
static enum core_found place_aside(struct search *s, size_t k)
{
	struct choice choice;
	const struct core_item *it;
	enum core_found found;

	choice.item = s->aside[k - s->core->n];
	choice.at = k;
	it = &s->core->items[choice.item];
	list_gpus(s, &choice);
	s->aside_bytes -= it->size * it->count;
	s->aside_preference -= s->best_preference[choice.item];
	found = place_copies(s, &choice, it->count, 0);
	s->aside_bytes += it->size * it->count;
	s->aside_preference += s->best_preference[choice.item];
	return found;
}

/* Everything is placed: do the sums keep to their limits? */
static bool is_within(const struct search *s)
{
	return s->moves <= s->limits->moves_max && s->preference >= s->limits->preference_min;
}

static enum core_found place_item(struct search *s, size_t k)
{
	struct choice choice;

	if (k == s->core->n + s->n_aside)
		return is_within(s) ? CORE_FOUND : CORE_NONE;
	if (++s->work > s->work_max)
		return CORE_GAVE_UP;
	if (!is_hope(s, k))
		return CORE_NONE;
	if (k >= s->core->n)
		return place_aside(s, k);
	choice.at = k;
	choice.item = s->order[k];
	if (s->may_wait[choice.item])
		return stay_or_leave(s, choice.item, k);
	list_gpus(s, &choice);
	return place_copies(s, &choice, s->core->items[choice.item].count, 0);
}

/* A placement that moves more than may move says nothing about who should. */
static void take_hints(struct search *s, const uint64_t *sets)
{
	unsigned moves = 0;

	for (size_t i = 0; i < s->core->n && moves_count(s); i++)
		moves +=
		    !s->core->items[i].on_demand && core_has_moved(&s->core->items[i], sets[i]);
	if (moves <= s->limits->moves_max)
		memcpy(s->hints, sets, s->core->n * sizeof *sets);
}

enum core_found core_find(const struct core *core, const struct core_limits *limits,
			  uint64_t work_max, uint64_t *work, uint64_t *sets)
{
	auto_free struct search *s = mem_calloc(1, sizeof *s);
	enum core_found found;

	s->core = core;
	s->limits = limits;
	s->work_max = work_max;
	s->empty = s->unused = core->m == 64 ? UINT64_MAX : bit(core->m) - 1;
	memcpy(s->room, limits->room, sizeof s->room);
	take_hints(s, sets);
	if (!find_allowed(s) || (preference_counts(s) && !drop_disliked(s)))
		return CORE_NONE;
	find_order(s);
	find_columns(s);
	look_ahead(s);
	if (moves_count(s)) {
		look_at_moves(s);
		look_at_gains(s);
	}
	found = place_item(s, 0);
	*work += s->work;
	free(s->held);
	if (found == CORE_FOUND)
		memcpy(sets, s->sets, core->n * sizeof *sets);
	return found;
}
