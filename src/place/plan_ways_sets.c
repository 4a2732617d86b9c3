/*
 * Services that load on demand or go to the CPU, alone or a few together. What fits no GPU even
 * alone is in every set. With those one more is tried first, then the fewest more, of these the
 * least bytes, among the services of the lowest priorities that do together. What can be told from
 * sums alone is not asked. When the work is used up, what does together is thinned out instead: a
 * way out, if not proved to be the smallest.
 */
#include "place/plan_ways.h"

#include "util/size.h"

/* Sets that are passed over in the time of one search node. */
#define STEPS_A_NODE 64
/* Services of a set that are named; of more the rest is counted. */
#define NAMES_MAX 8

struct yield {
	struct ways *ways;
	enum plan_action action;
	size_t able[PLAN_SERVICES_MAX], n; /* that may be asked and need not be, the first first */
	size_t set[PLAN_SERVICES_MAX];     /* those that must be asked, then those tried */
	size_t n_must;
	uint64_t over; /* bytes that the rest of a set must come to, at least */
	/* Of the choice among the first of `able`: */
	uint64_t least[PLAN_SERVICES_MAX + 1], most[PLAN_SERVICES_MAX + 1]; /* from there on */
	size_t n_able, best[PLAN_SERVICES_MAX];
	uint64_t best_bytes;
	uint64_t steps, work_max;
};

static bool is_in(const size_t *set, size_t n, size_t service)
{
	for (size_t i = 0; i < n; i++)
		if (set[i] == service)
			return true;
	return false;
}

/* False: one that fits nowhere cannot be asked. */
static bool find_musts(struct yield *yield, const size_t *able, size_t n)
{
	const struct plan_problem *problem = yield->ways->problem;

	for (size_t i = 0; i < n; i++)
		if (plan_fits_alone(problem, &problem->services[able[i]]))
			yield->able[yield->n++] = able[i];
		else
			yield->set[yield->n_must++] = able[i];
	for (size_t i = 0; i < problem->n_services; i++)
		if (!plan_fits_alone(problem, &problem->services[i]) &&
		    !is_in(yield->set, yield->n_must, i))
			return false;
	return true;
}

static void find_over(struct yield *yield)
{
	const struct plan_problem *problem = yield->ways->problem;
	uint64_t needed = 0, room = 0;

	for (size_t i = 0; i < problem->n_services; i++)
		if (!problem->services[i].on_demand && !is_in(yield->set, yield->n_must, i))
			needed += ways_bytes_of(&problem->services[i]);
	for (size_t g = 0; g < problem->n_gpus; g++)
		if (problem->gpus[g].usable)
			room += plan_below_line(&problem->gpus[g]);
	yield->over = needed > room ? needed - room : 0;
}

static uint64_t bytes_at(const struct yield *yield, size_t i)
{
	return ways_bytes_of(&yield->ways->problem->services[yield->able[i]]);
}

static void apply(const struct yield *yield, struct plan_variant *variant, const size_t *set,
		  size_t n)
{
	plan_variant_init(variant, yield->ways->problem);
	for (size_t i = 0; i < n; i++)
		if (yield->action == PLAN_CPU)
			variant->absent[set[i]] = true;
		else
			variant->services[set[i]].on_demand = true;
}

static bool yield_fits(const struct yield *yield, const size_t *set, size_t n)
{
	auto_variant struct plan_variant variant;

	apply(yield, &variant, set, n);
	return ways_fit(yield->ways, &variant);
}

/* What of a service that loads on demand may be there all the same. */
static void add_room_left(const struct plan_variant *variant, const struct plan_way *way,
			  size_t service, struct text *text)
{
	const struct plan_service *s = &variant->problem.services[service];
	const struct plan_place *place = &way->places[service];
	uint64_t left = UINT64_MAX, stay;

	for (size_t i = 0; i < place->n; i++) {
		size_t g = place->gpus[i];

		left = MIN_OF(left, plan_below_line(&variant->gpus[g]) - way->planned_bytes[g]);
	}
	text_printf(text, "; %s are left for %s on ", SIZE_TEXT(left), s->name);
	plan_gpu_names(&variant->problem, place->gpus, place->n, text);
	stay = ways_models_in_room(s, left);
	if (stay == 0)
		return;
	text_add(text, ": of its models ");
	ways_add_model_names(s, stay, text);
	text_printf(text, " may stay (%s with what they share)",
		    SIZE_TEXT(ways_bytes_of_models(s, stay)));
}

static void add_names(const struct plan_problem *problem, const size_t *set, size_t n,
		      struct text *text)
{
	size_t named = n > NAMES_MAX + 1 ? NAMES_MAX : n;

	for (size_t i = 0; i < named; i++) {
		const struct plan_service *s = &problem->services[set[i]];

		text_printf(text, "%s%s (%s)",
			    i == 0       ? ""
			    : i + 1 == n ? " and "
					 : ", ",
			    s->name, SIZE_TEXT(s->vram_bytes));
	}
	if (named < n)
		text_printf(text, " and %zu more", n - named);
}

static void add_yield_way(const struct yield *yield, const size_t *set, size_t n)
{
	auto_variant struct plan_variant variant;
	auto_free struct plan_change *changes = mem_calloc(n, sizeof *changes);
	auto_text struct text text = {};
	struct plan_way *way;

	apply(yield, &variant, set, n);
	for (size_t i = 0; i < n; i++)
		changes[i] =
		    (struct plan_change){.action = yield->action,
					 .service = set[i],
					 .model = SIZE_MAX,
					 .gpu = SIZE_MAX,
					 .bytes = variant.problem.services[set[i]].vram_bytes};
	way = ways_add(yield->ways, &variant, changes, n);
	if (!way)
		return;
	add_names(&variant.problem, set, n, &text);
	if (yield->action == PLAN_CPU)
		text_printf(&text, " run%s on the CPU", n == 1 ? "s" : "");
	else
		text_printf(&text, " load%s on demand", n == 1 ? "s" : "");
	ways_add_landing(&variant, way, &text);
	if (yield->action == PLAN_ON_DEMAND && n == 1)
		add_room_left(&variant, way, set[0], &text);
	ways_set_reason(way, &text);
}

/* Do those that must, and `n` more in `set` behind them? */
static bool does(struct yield *yield, size_t n)
{
	return yield_fits(yield, yield->set, yield->n_must + n);
}

static bool is_used_up(struct yield *yield)
{
	struct core_run *look = &yield->ways->look;

	if (++yield->steps % STEPS_A_NODE == 0)
		look->work++;
	if (look->work < yield->work_max)
		return false;
	look->proved = false;
	return true;
}

/* Of all sets of `left` more from `from` on, the one with the least bytes that does. */
static void try_sets(struct yield *yield, size_t from, size_t n, size_t left, uint64_t bytes)
{
	if (left == 0) {
		if (does(yield, n)) {
			yield->best_bytes = bytes;
			memcpy(yield->best, yield->set, (yield->n_must + n) * sizeof *yield->best);
		}
		return;
	}
	for (size_t i = from; i + left <= yield->n_able && !is_used_up(yield); i++) {
		uint64_t with = bytes + bytes_at(yield, i);

		if (with + (left - 1) * yield->least[i + 1] >= yield->best_bytes ||
		    with + (left - 1) * yield->most[i + 1] < yield->over)
			continue;
		yield->set[yield->n_must + n] = yield->able[i];
		try_sets(yield, i + 1, n + 1, left - 1, with);
	}
}

/* All of the first `n_able` do: without those that need not be asked, the lightest first, so that
 * few remain. As many at once as will go. */
static size_t thin_out(struct yield *yield)
{
	size_t left[PLAN_SERVICES_MAX], n = yield->n_able, step = n;

	for (size_t i = 0; i < n; i++) {
		size_t k = i;

		for (; k > 0 && bytes_at(yield, left[k - 1]) > bytes_at(yield, i); k--)
			left[k] = left[k - 1];
		left[k] = i;
	}
	for (size_t i = 0; i < n;) {
		size_t more = 0;

		step = MIN_OF(step, n - i);
		for (size_t k = 0; k < n; k++)
			if (k < i || k >= i + step)
				yield->set[yield->n_must + more++] = yield->able[left[k]];
		if (does(yield, more)) {
			n -= step;
			memmove(&left[i], &left[i + step], (n - i) * sizeof *left);
		} else if (step > 1) {
			step /= 2;
		} else {
			i++;
		}
	}
	for (size_t i = 0; i < n; i++)
		yield->set[yield->n_must + i] = yield->able[left[i]];
	return n;
}

/* The fewest of the first `n_able` that do; of these the least bytes. One alone does not. */
static void add_set(struct yield *yield, size_t n_able)
{
	const struct core_run *look = &yield->ways->look;
	size_t n = 2;

	yield->n_able = n_able;
	yield->least[n_able] = yield->most[n_able] = 0;
	for (size_t i = n_able; i-- > 0;) {
		uint64_t bytes = bytes_at(yield, i);

		yield->least[i] = i + 1 == n_able ? bytes : MIN_OF(bytes, yield->least[i + 1]);
		yield->most[i] = MAX_OF(bytes, yield->most[i + 1]);
	}
	yield->best_bytes = UINT64_MAX;
	/* The other half is for thinning out. */
	yield->work_max = look->work + (look->work_max - MIN_OF(look->work, look->work_max)) / 2;
	for (; n <= n_able && yield->best_bytes == UINT64_MAX && !is_used_up(yield); n++)
		try_sets(yield, 0, 0, n, 0);
	if (yield->best_bytes == UINT64_MAX)
		add_yield_way(yield, yield->set, yield->n_must + thin_out(yield));
	else
		add_yield_way(yield, yield->best, yield->n_must + n - 1);
}

/* How many of `able`, all of the lowest priorities, do together; 0: all of them do not. */
static size_t find_lowest(struct yield *yield)
{
	const struct plan_service *services = yield->ways->problem->services;

	for (size_t n = 0; n < yield->n; n++) {
		yield->set[yield->n_must + n] = yield->able[n];
		if (n + 1 < yield->n &&
		    services[yield->able[n]].priority == services[yield->able[n + 1]].priority)
			continue;
		if (does(yield, n + 1))
			return n + 1;
	}
	return 0;
}

void ways_find_sets(struct ways *ways, enum plan_action action, size_t most)
{
	struct yield yield = {.ways = ways, .action = action};
	size_t able[PLAN_SERVICES_MAX], n_able = ways_list_able(ways, action, able);
	size_t lowest, first_alone = SIZE_MAX, first = ways->plan->n_ways;
	bool fits[PLAN_SERVICES_MAX] = {};

	if (n_able == 0 || !find_musts(&yield, able, n_able))
		return;
	find_over(&yield);
	if (yield.n_must > 0 && does(&yield, 0)) {
		add_yield_way(&yield, yield.set, yield.n_must);
		return;
	}
	lowest = find_lowest(&yield);
	if (lowest == 0)
		return;
	for (size_t i = 0; i < yield.n; i++) {
		yield.set[yield.n_must] = yield.able[i];
		fits[i] = bytes_at(&yield, i) >= yield.over && does(&yield, 1);
		if (fits[i] && first_alone == SIZE_MAX)
			first_alone = i;
	}
	/* Those of the lowest priorities that do together: one of them alone is best. */
	if (first_alone >= lowest)
		add_set(&yield, lowest);
	for (size_t i = 0; i < yield.n && ways->plan->n_ways < first + most; i++)
		if (fits[i]) {
			yield.set[yield.n_must] = yield.able[i];
			add_yield_way(&yield, yield.set, yield.n_must + 1);
		}
}
