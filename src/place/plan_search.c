/*
 * Is there a placement within the limits? Depth first: what has no choice first, then from the
 * heaviest item down; the GPUs where the item was before, then where least is left. A branch ends
 * when one of these says that it holds no placement:
 *
 *  - room: the rest is more than what is left on the GPUs that still can take some of it; where
 *    the sums that the rest can make are known, so much of each GPU as one of them fills;
 *  - number: of the items of at least some size, more are left than GPUs can hold of that size;
 *  - moves: what would stay on a GPU is more than its room, and the fewest that must leave it, over
 *    all GPUs, are more than may move;
 *  - preference: even with the best of each the sum stays below what is asked for.
 *
 * When moves count, a lighter item first chooses only whether it stays where it is; those that
 * leave (or were nowhere) are put aside and get their GPUs when all have chosen. Which leave
 * decides about moves, and much less has to be tried than with all the GPUs they could go to.
 *
 * This is done in two manners that take turns. Where few have to move, it is best to let heavy ones
 * say the same, and to go GPU by GPU, where most is too much first: only who leaves it is tried,
 * the others stay all at once. Where many have to, heavy ones get their places at once, and the
 * light ones choose from the heaviest down. When moves do not count, a search item by item takes
 * turns with one GPU by GPU (plan_fill.c). Each turn is four times as long as the last, so that the
 * better one is not kept waiting for long; the idea is from Gomes and Selman, "Algorithm
 * portfolios", Artificial Intelligence 126, 2001.
 *
 * Nothing comes to a GPU that something of the same kind and size has left: with the other one in
 * its place there was a move less, so such a placement is never one of the fewest moves.
 *
 * Of placements that differ only in the names of things one is looked at. GPUs between which
 * nothing tells any more (the same room left, the same to all items to come) are tried once, the
 * lowest first; items between which nothing tells are put in the order of their GPUs. Both rules
 * keep, of all placements that are one but for the names, the first in the order of items and GPUs:
 * so they may be used together.
 */
#include "place/plan_search.h"

/* Nodes of the first searches when moves count, and how much more the next ones get. */
#define NODES_AT_ONCE 2000
#define NODES_MORE    4

bool search_may_go(const struct search *s, size_t item, size_t g)
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

uint64_t search_where_to(const struct search *s, size_t item)
{
	uint64_t left = 0, may = s->allowed[item];
	size_t twin = s->twin[item];

	/* It has left. */
	if (s->is_aside[item] && s->core->items[item].count == 1)
		may &= ~s->core->items[item].today;
	for (uint64_t rest = may; rest && s->is_aside[item] && twin != SIZE_MAX; rest &= rest - 1) {
		size_t g = (size_t)__builtin_ctzll(rest);

		if (s->left[g][twin / 64] >> twin % 64 & 1)
			may &= ~bit(g);
	}
	for (uint64_t rest = may; rest; rest &= rest - 1)
		if (search_may_go(s, item, (size_t)__builtin_ctzll(rest)))
			left |= rest & -rest;
	return left;
}

/* Does nothing tell two GPUs apart, for all that is still to be placed? */
bool search_alike(const struct search *s, size_t a, size_t b)
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
static void list_gpus(struct search *s, struct search_choice *choice)
{
	size_t item = choice->item;
	uint64_t left = search_where_to(s, item);

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

			if (g != best && (choice->at < s->n_forced || !search_alike(s, g, best)))
				continue;
			choice->like_before[choice->n] = choice->n > n;
			choice->gpus[choice->n++] = g;
			left &= ~bit(g);
		}
	}
}

void search_put(struct search *s, size_t item, size_t g)
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

void search_take_back(struct search *s, size_t item, size_t g, const struct search_undo *undo)
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

/* Are two items that nothing tells apart in the order of their GPUs? Those aside come in the same
 * order as they would have. */
static bool is_in_order(const struct search *s, const struct search_choice *choice)
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
		if (!search_same_item(s, before, choice->item))
			return true;
	}
	return __builtin_ctzll(s->sets[choice->item]) >= __builtin_ctzll(s->sets[before]);
}

/* All copies of an item are placed: keep to the rules for the set as a whole, and go on. */
static enum core_found place_next_item(struct search *s, const struct search_choice *choice)
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
	found = search_go_on(s, choice->at + 1);
	s->moves -= moved;
	return found;
}

enum core_found search_place_copies(struct search *s, const struct search_choice *choice,
				    unsigned left, size_t from)
{
	size_t item = choice->item;
	struct search_undo undo = search_note(s);

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
		search_put(s, item, g);
		found = search_place_copies(s, choice, left - 1, p + 1);
		if (found == CORE_FOUND)
			return found;
		search_take_back(s, item, g, &undo);
		if (found == CORE_GAVE_UP)
			return found;
		if (s->limits->must[item] >> g & 1)
			break; /* it must be in the set, and no other comes before it */
	}
	return CORE_NONE;
}

/* One of those aside gets its GPU. */
static enum core_found place_aside(struct search *s, size_t k)
{
	struct search_choice choice;
	const struct core_item *it;
	enum core_found found;

	choice.item = s->aside[k - s->core->n];
	choice.at = k;
	it = &s->core->items[choice.item];
	list_gpus(s, &choice);
	s->aside_bytes -= it->size * it->count;
	s->aside_preference -= s->best_preference[choice.item];
	found = search_place_copies(s, &choice, it->count, 0);
	s->aside_bytes += it->size * it->count;
	s->aside_preference += s->best_preference[choice.item];
	return found;
}

/* Everything is placed: do the sums keep to their limits? */
static bool is_within(const struct search *s)
{
	return s->moves <= s->limits->moves_max && s->preference >= s->limits->preference_min;
}

enum core_found search_go_on(struct search *s, size_t k)
{
	struct search_choice choice;

	if (k == s->core->n + s->n_aside)
		return is_within(s) ? CORE_FOUND : CORE_NONE;
	if (++s->work > s->work_max)
		return CORE_GAVE_UP;
	if (k == s->core->n && s->unit && moves_count(s))
		search_find_sums(s, s->aside, s->n_aside);
	if (k == s->n_single && k < s->n_chosen)
		search_find_later(s);
	if (!search_is_hope(s, k))
		return CORE_NONE;
	if (s->fills && k == s->n_forced)
		return search_fill(s);
	if (k >= s->core->n)
		return place_aside(s, k);
	choice.at = k;
	choice.item = s->order[k];
	if (k >= s->n_single && k < s->n_chosen)
		return search_choose_group(s, k);
	if (s->may_wait[choice.item])
		return search_stay_or_leave(s, choice.item, k);
	list_gpus(s, &choice);
	return search_place_copies(s, &choice, s->core->items[choice.item].count, 0);
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

/* How a search goes about it. What one is at a loss with is often plain to the other, so they take
 * turns, and each turn may take longer. */
struct manner {
	bool fills, groups;
	unsigned light_part;
};

/* One search, for at most so many nodes. */
static enum core_found search_once(const struct core *core, const struct core_limits *limits,
				   const struct manner *manner, uint64_t nodes, uint64_t *work,
				   uint64_t *sets)
{
	auto_free struct search *s = mem_calloc(1, sizeof *s);
	enum core_found found;

	s->core = core;
	s->limits = limits;
	s->light_part = manner->light_part;
	s->groups = manner->groups;
	s->work_max = nodes;
	s->empty = s->unused = core->m == 64 ? UINT64_MAX : bit(core->m) - 1;
	memcpy(s->room, limits->room, sizeof s->room);
	take_hints(s, sets);
	found = search_prepare(s) ? CORE_FOUND : CORE_NONE;
	s->fills = manner->fills && search_can_fill(s);
	if (found == CORE_FOUND)
		found = manner->fills && !s->fills ? CORE_GAVE_UP : search_go_on(s, 0);
	*work += core_work_of_begin(core) + s->work * core_work_of_node(core);
	free(s->held);
	free(s->sums);
	if (found == CORE_FOUND)
		memcpy(sets, s->sets, core->n * sizeof *sets);
	return found;
}

enum core_found core_find(const struct core *core, const struct core_limits *limits,
			  uint64_t work_max, uint64_t *work, uint64_t *sets)
{
	static const struct manner plain[] = {{.light_part = 1}, {.fills = true}},
				   moving[] = {{.light_part = 2, .groups = true},
					       {.light_part = 4}};
	const struct manner *manners = limits->moves_max == UINT_MAX ? plain : moving;
	const uint64_t begin = core_work_of_begin(core), end = *work + work_max;
	enum core_found found = CORE_GAVE_UP;
	uint64_t nodes = NODES_AT_ONCE;

	for (unsigned n = 0; found == CORE_GAVE_UP && *work + begin < end; n++) {
		uint64_t left = (end - *work - begin) / core_work_of_node(core);

		found = search_once(core, limits, &manners[n % 2], MIN_OF(nodes, left), work, sets);
		nodes *= n % 2 ? NODES_MORE : 1;
	}
	return found;
}
