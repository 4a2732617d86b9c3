/*
 * The objective, taken apart: the best value of the first part is found and proved, becomes a limit
 * of the search, and so on. A part with a number (use, GPUs, moves, preference) is searched from
 * its bound upward in growing steps, since the bound is often met. The placement found last is
 * always at hand, so that only what is better than it has to be looked for, and it is the answer
 * when the work is used up. The last parts are lists, a service at a time from the heaviest down:
 * each asks whether a better one is there for this service while all before it keep theirs. They
 * break ties, so each question has little work and no answer is an answer, too; what then is plain
 * to see, plan_swap.c does.
 */
#include "place/plan_priv.h"

#include <limits.h>

struct levels {
	const struct core *core;
	struct core_run *run;
	struct core_limits limits;
	uint8_t (*need)[PLAN_GPUS_MAX]; /* in the limits from find_lists() on */
	uint64_t *sets, *scratch;       /* the best placement */
	struct core_value value;
	uint64_t lists_max; /* work: the lists end here; 0: they have not begun */
};

/* A part of the objective that is a number, least is best. */
struct number {
	uint64_t (*get)(const struct levels *levels);
	void (*limit)(struct levels *levels, uint64_t most);
};

/* No single question may use up more than this part of the work that is left. */
#define WORK_PART 2
/* Nodes before luck is tried. */
#define WORK_SOON 60000
/* Nodes for the lists: for one question, for all. */
#define WORK_LIST  500
#define WORK_LISTS 10000

/* What the search does not find soon is left to luck before it goes on. */
static enum core_found ask(struct levels *levels, uint64_t work_max)
{
	struct core_run *run = levels->run;
	uint64_t soon = MIN_OF(work_max, WORK_SOON * core_work_of_node(levels->core));
	enum core_found found;

	found = core_find(levels->core, &levels->limits, soon, &run->work, levels->scratch);
	if (found != CORE_GAVE_UP || soon == work_max)
		return found;
	memcpy(levels->scratch, levels->sets, levels->core->n * sizeof *levels->sets);
	if (core_guess(levels->core, &levels->limits, levels->scratch))
		return CORE_FOUND;
	return core_find(levels->core, &levels->limits, work_max - soon, &run->work,
			 levels->scratch);
}

static enum core_found ask_list(struct levels *levels)
{
	const struct core *core = levels->core;
	struct core_run *run = levels->run;
	uint64_t most = core_work_of_begin(core) + WORK_LIST * core_work_of_node(core);

	if (run->work >= levels->lists_max)
		return CORE_GAVE_UP;
	return core_find(core, &levels->limits, MIN_OF(most, levels->lists_max - run->work),
			 &run->work, levels->scratch);
}

static enum core_found try(struct levels *levels)
{
	struct core_run *run = levels->run;
	uint64_t left = run->work < run->work_max ? run->work_max - run->work : 0;
	bool lists = levels->lists_max > 0;
	size_t bytes = levels->core->n * sizeof *levels->sets;
	enum core_found found;

	memcpy(levels->scratch, levels->sets, bytes);
	found = lists ? ask_list(levels) : ask(levels, left / WORK_PART);
	if (found == CORE_FOUND) {
		memcpy(levels->sets, levels->scratch, bytes);
		core_value(levels->core, levels->sets, &levels->value);
	}
	run->proved &= lists || found != CORE_GAVE_UP;
	run->settled &= found != CORE_GAVE_UP;
	return found;
}

static void minimise(struct levels *levels, const struct number *number, uint64_t lowest)
{
	uint64_t step = 0;

	while (lowest < number->get(levels)) {
		uint64_t best = number->get(levels);
		uint64_t at = lowest + MIN_OF(step, (best - 1 - lowest) / 2);

		number->limit(levels, at);
		if (try(levels) != CORE_FOUND)
			lowest = at + 1;
		step = step * 2 + 1;
	}
	number->limit(levels, number->get(levels));
}

/* --- the numbers --------------------------------------------------------------------------- */

static uint64_t get_use(const struct levels *levels)
{
	return levels->value.use;
}

static void limit_use(struct levels *levels, uint64_t most)
{
	for (size_t g = 0; g < levels->core->m; g++)
		levels->limits.room[g] = core_room(levels->core, g, (unsigned)most);
}

static uint64_t get_used(const struct levels *levels)
{
	return levels->value.used;
}

static void limit_used(struct levels *levels, uint64_t most)
{
	levels->limits.used_max = (unsigned)most;
}

static uint64_t get_moves(const struct levels *levels)
{
	return levels->value.moves;
}

static void limit_moves(struct levels *levels, uint64_t most)
{
	levels->limits.moves_max = (unsigned)most;
}

/* Of the preferences: how far below the best that services could have each for itself. */
static int64_t most_preference(const struct core *core)
{
	int64_t sum = 0;

	for (size_t i = 0; i < core->n; i++)
		sum += core_best_preference(&core->items[i], core->items[i].allowed);
	return sum;
}

static uint64_t get_missed(const struct levels *levels)
{
	return (uint64_t)(most_preference(levels->core) - levels->value.preference);
}

static void limit_missed(struct levels *levels, uint64_t most)
{
	levels->limits.preference_min = most_preference(levels->core) - (int64_t)most;
}

static const struct number use = {get_use, limit_use}, used = {get_used, limit_used},
			   moves = {get_moves, limit_moves}, missed = {get_missed, limit_missed};

/* The use at which all the room there is would do. */
static uint64_t lowest_use(const struct core *core)
{
	uint64_t needed = 0, low = 0, high = core_use_max(core);

	for (size_t i = 0; i < core->n; i++)
		needed += core->items[i].size * core->items[i].count;
	while (low < high) {
		uint64_t at = (low + high) / 2, room = 0;

		for (size_t g = 0; g < core->m; g++)
			room += core_room(core, g, (unsigned)at);
		if (room >= needed)
			high = at;
		else
			low = at + 1;
	}
	return low;
}

static void find_numbers(struct levels *levels)
{
	const struct core *core = levels->core;

	switch (core->problem->objective) {
	case PLAN_BALANCE:
	case PLAN_OBJECTIVE_COUNT:
		minimise(levels, &use, lowest_use(core));
		minimise(levels, &moves, 0);
		break;
	case PLAN_PACK:
		minimise(levels, &used, 0);
		minimise(levels, &moves, 0);
		minimise(levels, &use, lowest_use(core));
		break;
	case PLAN_FEWEST_MOVES:
		minimise(levels, &moves, 0);
		minimise(levels, &use, lowest_use(core));
		break;
	}
	if (!core->any_today)
		levels->limits.moves_max = UINT_MAX;
	if (core->any_preference)
		minimise(levels, &missed, 0);
}

/* --- the lists ----------------------------------------------------------------------------- */

static uint64_t class_mask(const struct core *core, unsigned class)
{
	uint64_t mask = 0;

	for (size_t g = 0; g < core->m; g++)
		if (core->gpus[g].speed_class == class)
			mask |= (uint64_t)1 << g;
	return mask;
}

/* As many GPUs of each class as can be, the fastest first. */
static void find_class(struct levels *levels, size_t item)
{
	const struct core *core = levels->core;
	uint8_t *need = levels->need[item];
	unsigned left = core->items[item].count;

	for (unsigned class = 0; class < core->n_classes; class ++) {
		uint64_t mask = class_mask(core, class);
		uint64_t allowed = levels->limits.allowed[item] & mask;
		unsigned most = MIN_OF(left, (unsigned)__builtin_popcountll(allowed));

		while (most > (unsigned)__builtin_popcountll(levels->sets[item] & mask)) {
			need[class] = (uint8_t)most;
			if (try(levels) == CORE_FOUND)
				break;
			most--;
		}
		need[class] = (uint8_t)__builtin_popcountll(levels->sets[item] & mask);
		left -= need[class];
	}
}

static void find_class_of_one(struct levels *levels, size_t item)
{
	const struct core *core = levels->core;
	uint64_t allowed = levels->limits.allowed[item];

	for (unsigned class = 0; class < core->n_classes; class ++) {
		uint64_t mask = class_mask(core, class) & allowed;

		if (mask == 0)
			continue;
		levels->limits.allowed[item] = mask;
		if (levels->sets[item] & mask || try(levels) == CORE_FOUND)
			return;
	}
}

/* The set with the lowest GPUs. */
static void find_lowest(struct levels *levels, size_t item)
{
	uint64_t *must = &levels->limits.must[item], *allowed = &levels->limits.allowed[item];

	for (uint64_t rest = *allowed; rest; rest &= rest - 1) {
		uint64_t bit = rest & -rest;

		if (*must == levels->sets[item])
			break;
		*must |= bit;
		if (levels->sets[item] & bit || try(levels) == CORE_FOUND)
			continue;
		*must &= ~bit;
		*allowed &= ~bit;
	}
	*allowed = *must = levels->sets[item];
}

/* How much an item on demand likes a GPU: less is better. */
static bool is_liked_more(const struct levels *levels, const uint64_t *loads, size_t item, size_t a,
			  size_t b)
{
	const struct core *core = levels->core;
	const struct core_item *it = &core->items[item];
	uint64_t left_a = core_room(core, a, UINT_MAX) - loads[a];
	uint64_t left_b = core_room(core, b, UINT_MAX) - loads[b];

	if (it->preference[a] != it->preference[b])
		return it->preference[a] > it->preference[b];
	if (core->problem->objective == PLAN_PACK && (loads[a] > 0) != (loads[b] > 0))
		return loads[a] > 0;
	return left_a != left_b ? left_a > left_b : a < b;
}

static void place_on_demand(struct levels *levels, size_t item)
{
	uint64_t *must = &levels->limits.must[item], *allowed = &levels->limits.allowed[item];
	uint64_t loads[PLAN_GPUS_MAX], left = *allowed;

	core_loads(levels->core, levels->sets, loads);
	while (left && (unsigned)__builtin_popcountll(*must) < levels->core->items[item].count) {
		size_t best = (size_t)__builtin_ctzll(left);
		uint64_t bit;

		for (uint64_t rest = left; rest; rest &= rest - 1) {
			size_t g = (size_t)__builtin_ctzll(rest);

			best = is_liked_more(levels, loads, item, g, best) ? g : best;
		}
		bit = (uint64_t)1 << best;
		left &= ~bit;
		*must |= bit;
		if ((levels->sets[item] & *must) != *must && try(levels) != CORE_FOUND) {
			*must &= ~bit;
			*allowed &= ~bit;
		}
	}
	*allowed = *must = levels->sets[item];
}

/* What each has now it keeps. */
static void keep_class(struct levels *levels, size_t item)
{
	const struct core *core = levels->core;

	for (unsigned class = 0; class < core->n_classes; class ++) {
		uint64_t mask = class_mask(core, class);

		levels->need[item][class] =
		    (uint8_t)__builtin_popcountll(levels->sets[item] & mask);
		if (core->items[item].count == 1 && levels->sets[item] & mask)
			levels->limits.allowed[item] = core->items[item].allowed & mask;
	}
}

static void find_classes(struct levels *levels)
{
	const struct core *core = levels->core;

	levels->limits.need = levels->need;
	for (size_t i = 0; i < core->n; i++) {
		if (core->items[i].on_demand)
			continue;
		if (core->items[i].count == 1)
			find_class_of_one(levels, i);
		else
			find_class(levels, i);
	}
	core_swap(core, &levels->limits, levels->sets);
	for (size_t i = 0; i < core->n; i++)
		if (!core->items[i].on_demand)
			keep_class(levels, i);
}

static void swap_again(struct levels *levels)
{
	const struct core *core = levels->core;

	core_swap(core, &levels->limits, levels->sets);
	for (size_t i = 0; i < core->n; i++)
		if (!core->items[i].on_demand) {
			keep_class(levels, i);
			levels->limits.allowed[i] = levels->limits.must[i] = levels->sets[i];
		}
}

static void find_lists(struct levels *levels)
{
	const struct core *core = levels->core;

	/* And two questions a service are begun. */
	levels->lists_max = levels->run->work + WORK_LISTS * core_work_of_node(levels->core) +
			    2 * levels->core->n * core_work_of_begin(levels->core);
	if (core->n_classes > 1)
		find_classes(levels);
	for (size_t i = 0; i < core->n; i++)
		if (!core->items[i].on_demand)
			find_lowest(levels, i);
	/* A lower index may have made room on a faster GPU. */
	if (core->n_classes > 1)
		swap_again(levels);
	for (size_t i = 0; i < core->n; i++)
		if (core->items[i].on_demand)
			place_on_demand(levels, i);
}

/* --- all of it ----------------------------------------------------------------------------- */

static void levels_init(struct levels *levels, const struct core *core, struct core_run *run,
			uint64_t *sets)
{
	size_t room = MAX_OF(core->n, 1);

	*levels = (struct levels){.core = core, .run = run, .sets = sets};
	levels->scratch = mem_calloc(room, sizeof *levels->scratch);
	levels->limits = (struct core_limits){
	    .moves_max = UINT_MAX,
	    .used_max = UINT_MAX,
	    .preference_min = INT64_MIN,
	    .allowed = mem_calloc(room, sizeof(uint64_t)),
	    .must = mem_calloc(room, sizeof(uint64_t)),
	};
	levels->need = mem_alloc(room * sizeof *levels->need);
	memset(levels->need, CORE_NO_NEED, room * sizeof *levels->need);
	for (size_t i = 0; i < core->n; i++)
		levels->limits.allowed[i] = core->items[i].allowed;
	limit_use(levels, UINT_MAX);
}

static void levels_finish(struct levels *levels)
{
	free(levels->scratch);
	free(levels->limits.allowed);
	free(levels->limits.must);
	free(levels->need);
}

enum core_found core_fits(const struct core *core, struct core_run *run, uint64_t *sets)
{
	struct levels levels;
	enum core_found found;

	memset(sets, 0, core->n * sizeof *sets);
	levels_init(&levels, core, run, sets);
	found = try(&levels);
	levels_finish(&levels);
	return found;
}

enum core_found core_solve(const struct core *core, struct core_run *run, uint64_t *sets)
{
	struct levels levels;
	enum core_found found;

	memset(sets, 0, core->n * sizeof *sets);
	levels_init(&levels, core, run, sets);
	found = try(&levels);
	if (found == CORE_FOUND) {
		find_numbers(&levels);
		find_lists(&levels);
	}
	levels_finish(&levels);
	return found;
}
