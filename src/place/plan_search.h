/*
 * What the parts of the search share: plan_search.c places, plan_prepare.c looks at the question
 * before, plan_bounds.c says when a branch holds nothing.
 */
#pragma once

#include "place/plan_priv.h"

#include <limits.h>

/* Bytes of services on one GPU, and of those on several. */
struct held {
	uint64_t one, several;
};

/* What leaving its GPU may gain in preference for the item at a position. */
struct gain {
	size_t at, gpu;
	int64_t gain;
};

struct search {
	const struct core *core;
	const struct core_limits *limits;
	uint64_t allowed[PLAN_SERVICES_MAX];       /* those with room for it, alone */
	size_t order[PLAN_SERVICES_MAX], n_forced; /* items as they are placed */
	size_t at[PLAN_SERVICES_MAX];              /* the position of an item in that */
	size_t n_heavy;  /* from this position on, all may wait: they are in groups */
	size_t n_single; /* and from this one on, all are on one GPU, which is their group */
	size_t n_chosen; /* up to this one; then come those on demand */
	size_t ranked[PLAN_GPUS_MAX], rank[PLAN_GPUS_MAX]; /* GPUs in the order of groups */
	bool fills;                                        /* GPU by GPU, not item by item */
	bool groups;         /* those that wait choose GPU by GPU, not from the heaviest down */
	unsigned light_part; /* lighter than this part of a GPU, and it may be put aside */
	uint64_t rest_bytes[PLAN_SERVICES_MAX + 1]; /* from this position on */
	uint64_t rest_allowed[PLAN_SERVICES_MAX + 1];
	uint64_t rest_smallest[PLAN_SERVICES_MAX + 1]; /* of those with a size */
	int64_t rest_preference[PLAN_SERVICES_MAX + 1];
	bool same_as_before[PLAN_SERVICES_MAX]; /* items: nothing tells it from the one before */
	bool may_wait[PLAN_SERVICES_MAX];       /* items that may be put aside */
	int64_t best_preference[PLAN_SERVICES_MAX];
	bool choosy[PLAN_SERVICES_MAX]; /* likes some GPUs more than others */
	/* Of each GPU, the items held there: the bytes from a position on. */
	struct held (*held)[PLAN_GPUS_MAX];
	/* Those held on one GPU, a list for each GPU; on several. The heaviest first; SIZE_MAX:
	 * end. */
	size_t first_held[PLAN_GPUS_MAX], next_held[PLAN_SERVICES_MAX];
	size_t several[PLAN_SERVICES_MAX], n_several;
	unsigned shared_by[PLAN_GPUS_MAX];
	unsigned rest_moves[PLAN_SERVICES_MAX + 1]; /* of items that cannot stay */
	struct gain gains[PLAN_SERVICES_MAX];       /* the largest first */
	size_t n_gains;
	unsigned column[PLAN_GPUS_MAX]; /* GPUs of one number are the same to all items */
	uint64_t hints[PLAN_SERVICES_MAX];
	size_t
	    twin[PLAN_SERVICES_MAX]; /* the first that could take its place; SIZE_MAX: none can */
	uint64_t unit;               /* of all sizes; 0: none that would help */
	uint64_t *sums; /* of those aside from a position on, a bit for each sum that some have */
	size_t sums_words;
	unsigned later_moves[PLAN_GPUS_MAX + 1]; /* at the least, from a group on */
	/* The state. */
	uint64_t left[PLAN_GPUS_MAX][PLAN_WORDS]; /* twins of what has left the GPU */
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

static inline uint64_t bit(size_t n)
{
	return (uint64_t)1 << n;
}

static inline unsigned count_bits(uint64_t mask)
{
	return (unsigned)__builtin_popcountll(mask);
}

static inline bool has_needs(const struct search *s, size_t item)
{
	return s->limits->need && s->core->items[item].count > 1;
}

static inline bool moves_count(const struct search *s)
{
	return s->limits->moves_max != UINT_MAX;
}

static inline bool preference_counts(const struct search *s)
{
	return s->limits->preference_min != INT64_MIN;
}

/* Could two items change places, whatever is on the GPUs? */
bool search_same_item(const struct search *s, size_t a, size_t b);

/* Everything above "The state". False: there is no placement. */
bool search_prepare(struct search *s);
/* All sums that can be made of `n` items in that order, of each position on: in s->sums; in `sums`,
 * with room for one more than `n`. */
void search_find_sums(struct search *s, const size_t *order, size_t n);
void search_find_sums_at(struct search *s, const size_t *order, size_t n, uint64_t *sums);
/* The largest one of at most so many units. */
static inline uint64_t search_largest_sum(const uint64_t *sums, uint64_t units)
{
	size_t w = units / 64;

	if (sums[w] << (63 - units % 64))
		return units - (uint64_t)__builtin_clzll(sums[w] << (63 - units % 64));
	while (sums[--w] == 0)
		;
	return w * 64 + 63 - (uint64_t)__builtin_clzll(sums[w]);
}

/* An item comes to a GPU; goes again, then all is as it was noted before. */
struct search_undo {
	uint64_t empty, unused, sealed;
	unsigned used;
};
static inline struct search_undo search_note(const struct search *s)
{
	return (struct search_undo){s->empty, s->unused, s->sealed, s->used};
}
void search_put(struct search *s, size_t item, size_t g);
void search_take_back(struct search *s, size_t item, size_t g, const struct search_undo *undo);

/* Places what comes from a position on. */
enum core_found search_go_on(struct search *s, size_t k);

/* One item being placed: its GPUs in the order they are tried. */
struct search_choice {
	size_t item, at; /* position in the order, or beyond it in `aside` */
	size_t gpus[PLAN_GPUS_MAX];
	bool like_before[PLAN_GPUS_MAX]; /* nothing tells it from the one before in `gpus` */
	size_t n;
};

/* Places so many copies of an item on the GPUs of its choice from one on, and goes on. */
enum core_found search_place_copies(struct search *s, const struct search_choice *choice,
				    unsigned left, size_t from);

/* plan_leave.c: the item at position `k` stays or leaves; all of the group that begins there. Then
 * it goes on. */
enum core_found search_stay_or_leave(struct search *s, size_t item, size_t k);
enum core_found search_choose_group(struct search *s, size_t k);

/* plan_fill.c: places all that is not forced, GPU by GPU, and goes on with those on demand. Can it?
 */
bool search_can_fill(const struct search *s);
enum core_found search_fill(struct search *s);

/* Does nothing tell two GPUs apart, for all that is still to be placed? */
bool search_alike(const struct search *s, size_t a, size_t b);

/* Is there a place for one more copy of an item on a GPU? On which is there, given that it has left
 * those it was on if it is aside? */
bool search_may_go(const struct search *s, size_t item, size_t g);
uint64_t search_where_to(const struct search *s, size_t item);

/* The GPU of the service at a position from `n_single` on. */
static inline size_t search_today(const struct search *s, size_t k)
{
	return (size_t)__builtin_ctzll(s->core->items[s->order[k]].today);
}

/* How many have to leave the GPUs from each group on, now that the first group is to choose. */
void search_find_later(struct search *s);

/* Of the services on GPU `g` alone that have still to choose, how many make up `over`, at the
 * least. */
uint64_t search_fewest_leaving(const struct search *s, size_t k, size_t g, uint64_t over);

/* May there be a placement below this state, in which position `k` is next? */
bool search_is_hope(const struct search *s, size_t k);
