/*
 * Where hardly more room is left than is needed, a GPU is filled as a whole before the next: bin
 * completion, after Korf, "A new algorithm for optimal bin packing", AAAI 2002. The heaviest item
 * without a place gets a GPU, and what comes to it there must leave no more of it empty than all
 * GPUs together may. Which sums of sizes can be made of the items to come is known, so that no set
 * is begun which cannot fill the GPU so far; the last ones are filled by what is left or not at
 * all. Where much room is left, this is slow: there is too much that would do.
 */
#include "place/plan_search.h"

/* Words of sums, in all. */
#define WORDS_MAX 65536

struct fill {
	struct search *s;
	size_t items[PLAN_SERVICES_MAX], n; /* the heaviest first */
	unsigned left[PLAN_SERVICES_MAX];   /* copies without a place, of these */
	uint64_t open;                      /* GPUs not filled yet */
	uint64_t empty;                     /* units that may still stay empty */
	uint64_t *sums;                     /* of each GPU being filled, of its items from one on */
	size_t n_open;
};

/* A GPU being filled, and the items that may come. */
struct filling {
	size_t g, items[PLAN_SERVICES_MAX], n;
	uint64_t *sums;
};

static enum core_found fill_next(struct fill *fill);

static void find_candidates(struct fill *fill, struct filling *filling)
{
	struct search *s = fill->s;
	size_t order[PLAN_SERVICES_MAX];

	filling->n = 0;
	for (size_t a = 0; a < fill->n; a++)
		if (fill->left[a] > 0 && search_where_to(s, fill->items[a]) &
					     ~s->sets[fill->items[a]] & bit(filling->g)) {
			order[filling->n] = fill->items[a];
			filling->items[filling->n++] = a;
		}
	filling->sums = fill->sums + (s->core->m - fill->n_open) * (fill->n + 1) * s->sums_words;
	search_find_sums_at(s, order, filling->n, filling->sums);
}

static enum core_found close_gpu(struct fill *fill, const struct filling *filling, uint64_t units)
{
	enum core_found found;

	if (units > fill->empty)
		return CORE_NONE;
	fill->open &= ~bit(filling->g);
	fill->empty -= units;
	fill->n_open--;
	found = fill_next(fill);
	fill->n_open++;
	fill->empty += units;
	fill->open |= bit(filling->g);
	return found;
}

/* What comes to the GPU, of the candidates from `from` on? Of those that nothing tells apart, the
 * first. */
static enum core_found fill_up(struct fill *fill, const struct filling *filling, size_t from)
{
	struct search *s = fill->s;
	struct search_undo undo = search_note(s);
	uint64_t units = s->room[filling->g] / s->unit;

	if (++s->work > s->work_max)
		return CORE_GAVE_UP;
	for (size_t c = from; c < filling->n; c++) {
		size_t a = filling->items[c], item = fill->items[a];
		enum core_found found;

		if (search_largest_sum(filling->sums + c * s->sums_words, units) + fill->empty <
		    units)
			break;
		if ((c > from && search_same_item(s, fill->items[filling->items[c - 1]], item)) ||
		    !search_may_go(s, item, filling->g))
			continue;
		search_put(s, item, filling->g);
		fill->left[a]--;
		found = fill_up(fill, filling, c + 1);
		if (found == CORE_FOUND)
			return found;
		fill->left[a]++;
		search_take_back(s, item, filling->g, &undo);
		if (found == CORE_GAVE_UP)
			return found;
	}
	return close_gpu(fill, filling, units);
}

/* Has each what it needs among the GPUs that are open? */
static bool can_all_go_on(const struct fill *fill)
{
	const struct search *s = fill->s;

	for (size_t a = 0; a < fill->n; a++)
		if (fill->left[a] > 0 && count_bits(s->allowed[fill->items[a]] & fill->open &
						    ~s->sets[fill->items[a]]) < fill->left[a])
			return false;
	return true;
}

/* Preference: with the best for each that is open, may the sum be what is asked for? */
static bool is_liked_enough(const struct fill *fill)
{
	const struct search *s = fill->s;
	int64_t sum = s->preference;

	for (size_t a = 0; a < fill->n && preference_counts(s); a++) {
		const struct core_item *item = &s->core->items[fill->items[a]];
		int64_t best = INT_MIN;

		if (fill->left[a] == 0)
			continue;
		for (uint64_t rest = search_where_to(s, fill->items[a]) & fill->open; rest;
		     rest &= rest - 1)
			best = MAX_OF(best, (int64_t)item->preference[__builtin_ctzll(rest)]);
		sum += best * fill->left[a];
	}
	return sum >= s->limits->preference_min;
}

/* The heaviest without a place gets a GPU: of those between which nothing tells, one. */
static enum core_found fill_next(struct fill *fill)
{
	struct search *s = fill->s;
	struct search_undo undo = search_note(s);
	struct filling filling;
	size_t a = 0, item;
	uint64_t tried = 0;

	while (a < fill->n && fill->left[a] == 0)
		a++;
	if (a == fill->n)
		return search_go_on(s, s->n_chosen);
	if (!can_all_go_on(fill) || !is_liked_enough(fill))
		return CORE_NONE;
	item = fill->items[a];
	for (uint64_t rest = search_where_to(s, item) & fill->open & ~s->sets[item]; rest;
	     rest &= rest - 1) {
		enum core_found found;
		bool again = false;

		filling.g = (size_t)__builtin_ctzll(rest);
		for (uint64_t before = tried; before && !again; before &= before - 1)
			again = search_alike(s, (size_t)__builtin_ctzll(before), filling.g);
		if (again)
			continue;
		tried |= bit(filling.g);
		search_put(s, item, filling.g);
		fill->left[a]--;
		find_candidates(fill, &filling);
		found = fill_up(fill, &filling, 0);
		if (found == CORE_FOUND)
			return found;
		fill->left[a]++;
		search_take_back(s, item, filling.g, &undo);
		if (found == CORE_GAVE_UP)
			return found;
	}
	return CORE_NONE;
}

bool search_can_fill(const struct search *s)
{
	size_t n = s->n_chosen - s->n_forced;

	for (size_t k = s->n_forced; k < s->n_chosen; k++)
		if (s->core->items[s->order[k]].size == 0)
			return false;
	return s->unit && n > 0 && !moves_count(s) && !s->core->any_exclusive &&
	       s->limits->used_max == UINT_MAX && !s->limits->need &&
	       s->core->m * (n + 1) * s->sums_words <= WORDS_MAX;
}

enum core_found search_fill(struct search *s)
{
	size_t n = s->n_chosen - s->n_forced;
	auto_free struct fill *fill = mem_alloc(sizeof *fill);
	auto_free uint64_t *sums = mem_alloc(s->core->m * (n + 1) * s->sums_words * sizeof *sums);
	uint64_t needed = 0, units = 0;

	*fill = (struct fill){.s = s, .n = n, .sums = sums, .n_open = s->core->m};
	for (size_t a = 0; a < n; a++) {
		size_t item = s->order[s->n_forced + a];

		fill->items[a] = item;
		fill->left[a] = s->core->items[item].count;
		needed += s->core->items[item].size / s->unit * fill->left[a];
	}
	for (size_t g = 0; g < s->core->m; g++) {
		fill->open |= bit(g);
		units += s->room[g] / s->unit;
	}
	if (needed > units)
		return CORE_NONE;
	fill->empty = units - needed;
	return fill_next(fill);
}
