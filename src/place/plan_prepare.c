/*
 * What is known of a question before anything is placed: where items may be, in which order they
 * are, what nothing tells apart, and tables that the bounds look into.
 */
#include "place/plan_search.h"

/* Sums of sizes are looked up when they come to no more units than this. */
#define UNITS_MAX 32768

/* Words of sums that take as long as a node. */
#define WORDS_A_NODE 256

bool search_same_item(const struct search *s, size_t a, size_t b)
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
		may_miss += core_best_preference(&s->core->items[i], s->allowed[i]);
	for (size_t i = 0; i < s->core->n && may_miss >= 0; i++) {
		const struct core_item *item = &s->core->items[i];
		int64_t best = core_best_preference(&s->core->items[i], s->allowed[i]);

		if (item->count > 1 || item->on_demand)
			continue;
		for (uint64_t rest = s->allowed[i]; rest; rest &= rest - 1)
			if (best - item->preference[__builtin_ctzll(rest)] > may_miss)
				s->allowed[i] &= ~(rest & -rest);
	}
	return may_miss >= 0;
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

/* What is heavy for the GPUs there are gets its place at once: much hangs on it. */
static bool is_light(const struct search *s, uint64_t size)
{
	uint64_t sum = 0;

	for (size_t g = 0; g < s->core->m; g++)
		sum += s->limits->room[g];
	return size * s->light_part * s->core->m < sum;
}

/* It may be put aside: it either stays as it is, or leaves with all its copies. */
static bool can_wait(const struct search *s, size_t i)
{
	const struct core_item *item = &s->core->items[i];

	return !item->on_demand && item->size > 0 &&
	       (item->today == 0 || item->stay == item->count) &&
	       count_bits(item->today) <= item->count && is_light(s, item->size);
}

/* GPUs by how much is held there beyond their room: where something has to leave comes first. */
static void rank_gpus(struct search *s)
{
	int64_t over[PLAN_GPUS_MAX];

	for (size_t g = 0; g < s->core->m; g++)
		over[g] = -(int64_t)s->room[g];
	for (size_t i = 0; i < s->core->n; i++)
		for (uint64_t rest = is_held(s, i) ? s->core->items[i].today : 0; rest;
		     rest &= rest - 1)
			over[__builtin_ctzll(rest)] += (int64_t)s->core->items[i].size;
	for (size_t g = 0; g < s->core->m; g++) {
		s->rank[g] = 0;
		for (size_t h = 0; h < s->core->m; h++)
			s->rank[g] += over[h] > over[g] || (over[h] == over[g] && h < g);
		s->ranked[s->rank[g]] = g;
	}
}

/* Those that may wait come in groups: first who is nowhere or on several GPUs, then who is on one,
 * GPU by GPU, so that what stays there is known as a whole before the next. */
static void order_those_that_wait(struct search *s)
{
	size_t group[PLAN_SERVICES_MAX];

	rank_gpus(s);
	for (size_t k = s->n_heavy; k < s->n_chosen; k++) {
		const struct core_item *item = &s->core->items[s->order[k]];
		size_t i = s->order[k], at = k;

		group[i] = is_held(s, i) && item->count == 1
			       ? 1 + s->rank[__builtin_ctzll(item->today)]
			       : 0;
		s->n_single -= group[i] > 0;
		for (; at > s->n_heavy && group[s->order[at - 1]] > group[i]; at--)
			s->order[at] = s->order[at - 1];
		s->order[at] = i;
	}
}

/* Those on demand have no size and hinder few: they come when it is said who stays. */
enum turn { TURN_FORCED, TURN_HEAVY, TURN_WAITS, TURN_ON_DEMAND, TURN_COUNT };

static enum turn turn_of(const struct search *s, size_t i)
{
	if (count_bits(s->allowed[i]) == s->core->items[i].count)
		return TURN_FORCED;
	if (s->core->items[i].on_demand)
		return TURN_ON_DEMAND;
	return moves_count(s) && can_wait(s, i) ? TURN_WAITS : TURN_HEAVY;
}

static void find_order(struct search *s)
{
	size_t n = 0, from[TURN_COUNT];

	for (enum turn turn = 0; turn < TURN_COUNT; turn++) {
		from[turn] = n;
		for (size_t i = 0; i < s->core->n; i++)
			if (turn_of(s, i) == turn) {
				s->may_wait[i] = turn == TURN_WAITS;
				s->order[n++] = i;
			}
	}
	s->n_forced = from[TURN_HEAVY];
	s->n_heavy = from[TURN_WAITS];
	s->n_chosen = from[TURN_ON_DEMAND];
	s->n_single = s->n_chosen;
	if (s->groups)
		order_those_that_wait(s);
	for (size_t k = 0; k < n; k++)
		s->at[s->order[k]] = k;
}

/* Does it like some of the GPUs it may use more than others? */
static bool is_choosy(const struct search *s, size_t i)
{
	const struct core_item *item = &s->core->items[i];
	uint64_t allowed = s->allowed[i];

	if (!preference_counts(s) || item->on_demand)
		return false;
	for (uint64_t rest = allowed; rest; rest &= rest - 1)
		if (item->preference[__builtin_ctzll(rest)] !=
		    item->preference[__builtin_ctzll(allowed)])
			return true;
	return false;
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
		s->best_preference[i] = core_best_preference(&s->core->items[i], s->allowed[i]);
		s->rest_preference[k] = s->rest_preference[k + 1] + s->best_preference[i];
		s->choosy[i] = is_choosy(s, i);
		s->same_as_before[i] = k > s->n_forced && search_same_item(s, s->order[k - 1], i);
	}
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

static void find_held(struct search *s)
{
	for (size_t g = 0; g < s->core->m; g++)
		s->first_held[g] = SIZE_MAX;
	for (size_t i = 0; i < s->core->n; i++)
		if (is_held(s, i) && s->core->items[i].stay > 1)
			s->several[s->n_several++] = i;
	for (size_t i = s->core->n; i-- > 0;)
		if (is_held(s, i) && s->core->items[i].stay == 1) {
			size_t *first = &s->first_held[__builtin_ctzll(s->core->items[i].today)];

			s->next_held[i] = *first;
			*first = i;
		}
}

static void look_at_moves(struct search *s)
{
	size_t n = s->core->n;

	s->held = mem_calloc(n + 1, sizeof *s->held);
	for (size_t g = 0; g < s->core->m; g++)
		s->shared_by[g] = 1;
	for (size_t k = n; k-- > 0;) {
		size_t i = s->order[k];
		const struct core_item *item = &s->core->items[i];

		s->rest_moves[k] = s->rest_moves[k + 1] + cannot_stay(s, i);
		memcpy(s->held[k], s->held[k + 1], s->core->m * sizeof **s->held);
		for (uint64_t rest = is_held(s, i) ? item->today : 0; rest; rest &= rest - 1) {
			size_t g = (size_t)__builtin_ctzll(rest);

			if (item->stay == 1)
				s->held[k][g].one += item->size;
			else
				s->held[k][g].several += item->size;
			s->shared_by[g] = MAX_OF(s->shared_by[g], item->stay);
		}
	}
	find_held(s);
}

/* Items that could take each other's place, wherever they are: nothing but their size, and what
 * they are allowed and like, says where they may be. */
static void find_twins(struct search *s)
{
	for (size_t i = 0; i < s->core->n; i++) {
		const struct core_item *it = &s->core->items[i];
		bool plain =
		    it->size > 0 && it->count == 1 && !it->exclusive && s->limits->must[i] == 0;

		for (size_t w = 0; w < PLAN_WORDS; w++)
			plain &= it->not_with[w] == 0;
		s->twin[i] = plain ? i : SIZE_MAX;
		for (size_t k = 0; k < i && plain && s->twin[i] == i; k++) {
			const struct core_item *other = &s->core->items[k];

			if (s->twin[k] == k && other->size == it->size &&
			    s->allowed[k] == s->allowed[i] &&
			    (!preference_counts(s) ||
			     memcmp(other->preference, it->preference, sizeof it->preference) == 0))
				s->twin[i] = k;
		}
	}
}

/* The largest number of bytes of which all sizes are a multiple. */
static void find_unit(struct search *s)
{
	uint64_t unit = 0, most = 0;

	for (size_t i = 0; i < s->core->n; i++)
		for (uint64_t a = unit, b = s->core->items[i].size; b || (unit = a, false);) {
			uint64_t rest = a % b;

			a = b;
			b = rest;
		}
	for (size_t g = 0; g < s->core->m; g++)
		most = MAX_OF(most, s->limits->room[g]);
	if (unit == 0 || most / unit >= UNITS_MAX)
		return;
	s->unit = unit;
	s->sums_words = most / unit / 64 + 1;
	s->sums = mem_alloc((s->core->n + 1) * s->sums_words * sizeof *s->sums);
}

/* Adds to the sums in `to` those with one more item. */
static void add_sums(const struct search *s, uint64_t *to, size_t item)
{
	uint64_t units = s->core->items[item].size / s->unit;
	size_t by = units / 64, bits = units % 64, words = s->sums_words;

	if (by >= words)
		return;
	if (bits == 0)
		for (size_t w = words; w-- > by;)
			to[w] |= to[w - by];
	else {
		for (size_t w = words - 1; w > by; w--)
			to[w] |= to[w - by] << bits | to[w - by - 1] >> (64 - bits);
		to[by] |= to[0] << bits;
	}
}

void search_find_sums_at(struct search *s, const size_t *order, size_t n, uint64_t *sums)
{
	size_t words = s->sums_words;

	s->work += n * words / WORDS_A_NODE;
	memset(sums + n * words, 0, words * sizeof *sums);
	sums[n * words] = 1;
	for (size_t a = n; a-- > 0;) {
		uint64_t *to = sums + a * words;

		memcpy(to, to + words, words * sizeof *to);
		add_sums(s, to, order[a]);
	}
}

void search_find_sums(struct search *s, const size_t *order, size_t n)
{
	search_find_sums_at(s, order, n, s->sums);
}

bool search_prepare(struct search *s)
{
	if (!find_allowed(s) || (preference_counts(s) && !drop_disliked(s)))
		return false;
	find_order(s);
	find_columns(s);
	look_ahead(s);
	if (moves_count(s)) {
		look_at_moves(s);
		look_at_gains(s);
		find_twins(s);
	}
	find_unit(s);
	if (s->unit && !moves_count(s))
		search_find_sums(s, s->order, s->core->n);
	return true;
}
