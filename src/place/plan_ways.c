/*
 * Ways out, when nothing fits. Each is a changed problem (a variant) that the search says has a
 * placement, and the least change of its kind: a service or a few that load on demand or go to the
 * CPU, single models of one service, one service that shrinks, one GPU that is replaced. What may
 * be asked of a service grows with its size, so sizes are found by halving, to the byte. The best
 * placement of the variant is then worked out as for any problem.
 */
#include "place/plan_priv.h"
#include "util/size.h"

#include <assert.h>

#define BYTES_MAX ((uint64_t)1 << 48)
/* Nodes in the choice of models. */
#define CHOICE_WORK 100000

/* So many of a kind at most; there is room for PLAN_WAYS_MAX together. */
#define ON_DEMAND_WAYS 3
#define MODEL_WAYS     1
#define CPU_WAYS       1
#define SHRINK_WAYS    2
#define BIGGER_WAYS    1
static_assert(ON_DEMAND_WAYS + MODEL_WAYS + CPU_WAYS + SHRINK_WAYS + BIGGER_WAYS <= PLAN_WAYS_MAX,
	      "all kinds have room");

/* The problem with changes. */
struct variant {
	struct plan_problem problem;
	struct plan_service *services;
	struct plan_gpu *gpus;
	bool absent[PLAN_SERVICES_MAX];
};

struct ways {
	const struct plan_problem *problem;
	struct core_run *run;
	struct plan *plan;
	uint64_t
	    shrink[PLAN_SERVICES_MAX]; /* what it must give up; UINT64_MAX: that does not help */
	bool shrink_known[PLAN_SERVICES_MAX];
};

static void variant_init(struct variant *variant, const struct plan_problem *problem)
{
	*variant = (struct variant){.problem = *problem};
	variant->services = mem_alloc(MAX_OF(problem->n_services, 1) * sizeof *variant->services);
	variant->gpus = mem_alloc(MAX_OF(problem->n_gpus, 1) * sizeof *variant->gpus);
	memcpy(variant->services, problem->services,
	       problem->n_services * sizeof *variant->services);
	memcpy(variant->gpus, problem->gpus, problem->n_gpus * sizeof *variant->gpus);
	variant->problem.services = variant->services;
	variant->problem.gpus = variant->gpus;
}

static void variant_finish(struct variant *variant)
{
	free(variant->services);
	free(variant->gpus);
}
#define auto_variant CLEANUP(variant_finish)

static bool variant_fits(struct ways *ways, const struct variant *variant)
{
	auto_core struct core *core = NULL;
	auto_free uint64_t *sets = mem_calloc(variant->problem.n_services + 1, sizeof *sets);

	if (core_create(&variant->problem, variant->absent, &core, NULL) < 0)
		return false;
	return core_fits(core, ways->run, sets) == CORE_FOUND;
}

/* What it comes to: "GPU 0 then holds 19.46 GiB (81 %), ..." */
static void add_landing(const struct variant *variant, const struct plan_way *way,
			struct text *text)
{
	text_add(text, "; then");
	for (size_t g = 0; g < variant->problem.n_gpus; g++) {
		const struct plan_gpu *gpu = &variant->gpus[g];
		uint64_t used = way->planned_bytes[g] + gpu->foreign_bytes;

		if (!gpu->usable || gpu->total_bytes == 0)
			continue;
		text_printf(text, "%s GPU %u holds %s (%.0f %%)",
			    text_ends_with(text->data, "then") ? "" : ",", gpu->index,
			    SIZE_TEXT(used), 100.0 * (double)used / (double)gpu->total_bytes);
	}
}

/* The variant's best placement as a way; NULL when it was not found after all, or there are
 * enough. */
static struct plan_way *add_way(struct ways *ways, const struct variant *variant,
				const struct plan_change *changes, size_t n)
{
	const struct plan_problem *problem = &variant->problem;
	struct plan *plan = ways->plan;
	auto_core struct core *core = NULL;
	auto_free uint64_t *sets = mem_calloc(problem->n_services + 1, sizeof *sets);
	struct plan_way *way;

	if (plan->n_ways == PLAN_WAYS_MAX || n > PLAN_MODELS_MAX ||
	    core_create(problem, variant->absent, &core, NULL) < 0 ||
	    core_solve(core, ways->run, sets) != CORE_FOUND)
		return NULL;
	if (!plan->ways)
		plan->ways = mem_calloc(PLAN_WAYS_MAX, sizeof *plan->ways);
	way = &plan->ways[plan->n_ways++];
	memcpy(way->changes, changes, n * sizeof *changes);
	way->n_changes = n;
	way->places = mem_calloc(problem->n_services, sizeof *way->places);
	way->planned_bytes = mem_calloc(MAX_OF(problem->n_gpus, 1), sizeof *way->planned_bytes);
	plan_fill(core, sets, way->places, way->planned_bytes);
	return way;
}

static void set_reason(struct plan_way *way, const struct text *text)
{
	(void)snprintf(way->reason, sizeof way->reason, "%s", text->data);
}

/* --- models -------------------------------------------------------------------------------- */

/* Which models stay: the most of them, of these the most bytes, within `room`. */
struct models {
	const struct plan_model *models;
	size_t order[PLAN_MODELS_MAX], n, wanted; /* from the largest down */
	uint64_t room, best_bytes, best_set;
	unsigned work;
};

static int by_bytes(const void *a, const void *b, void *data)
{
	const struct plan_model *models = data;
	uint64_t x = models[*(const size_t *)a].bytes, y = models[*(const size_t *)b].bytes;

	return x != y ? (x > y ? -1 : 1) : *(const size_t *)a < *(const size_t *)b ? -1 : 1;
}

static void choose_models(struct models *m, size_t at, size_t left, uint64_t bytes, uint64_t set)
{
	if (left == 0) {
		if (m->best_set == 0 || bytes > m->best_bytes) {
			m->best_bytes = bytes;
			m->best_set = set;
		}
		return;
	}
	for (size_t i = at; i + left <= m->n && m->best_bytes < m->room; i++) {
		uint64_t own = m->models[m->order[i]].bytes;

		if (++m->work > CHOICE_WORK && m->best_set)
			return;
		/* The rest are no larger: `left` of this size are the most there can be. */
		if (m->best_set && bytes + left * own <= m->best_bytes)
			return;
		if (bytes + own <= m->room)
			choose_models(m, i + 1, left - 1, bytes + own,
				      set | (uint64_t)1 << m->order[i]);
	}
}

/* The set of models that may stay in `room`, what they have in common included; 0: none. */
static uint64_t models_in_room(const struct plan_service *service, uint64_t room)
{
	struct models m = {.models = service->models, .n = service->n_models};
	uint64_t sum = 0, base = service->shared_bytes, smallest = 0;

	for (size_t i = 0; i < m.n; i++) {
		m.order[i] = i;
		sum += service->models[i].bytes;
	}
	/* What is not said to be a model's stays, too. */
	base = MAX_OF(base, service->vram_bytes > sum ? service->vram_bytes - sum : 0);
	if (m.n == 0 || base > room)
		return 0;
	m.room = room - base;
	qsort_r(m.order, m.n, sizeof *m.order, by_bytes, (void *)(uintptr_t)service->models);
	for (size_t i = m.n; i-- > 0; m.wanted++) {
		smallest += service->models[m.order[i]].bytes;
		if (smallest > m.room)
			break;
	}
	if (m.wanted == 0)
		return 0;
	choose_models(&m, 0, m.wanted, 0, 0);
	return m.best_set;
}

static uint64_t bytes_of_models(const struct plan_service *service, uint64_t set)
{
	uint64_t sum = 0, all = 0;

	for (size_t i = 0; i < service->n_models; i++) {
		all += service->models[i].bytes;
		sum += set >> i & 1 ? service->models[i].bytes : 0;
	}
	return sum + MAX_OF(service->shared_bytes,
			    service->vram_bytes > all ? service->vram_bytes - all : 0);
}

static void add_model_names(const struct plan_service *service, uint64_t set, struct text *text)
{
	size_t n = (size_t)__builtin_popcountll(set), k = 0;

	for (size_t i = 0; i < service->n_models; i++)
		if (set >> i & 1) {
			text_printf(text, "%s%s",
				    k == 0       ? ""
				    : k + 1 == n ? " and "
						 : ", ",
				    service->models[i].name);
			k++;
		}
}

/* --- sets of services ---------------------------------------------------------------------- */

/* On demand or to the CPU: which services may, and how the least is found. */
struct yield {
	struct ways *ways;
	enum plan_action action;
	size_t able[PLAN_SERVICES_MAX], n; /* by priority, then by bytes, the least first */
	size_t set[PLAN_SERVICES_MAX], best[PLAN_SERVICES_MAX];
	uint64_t best_bytes;
};

static uint64_t bytes_of(const struct plan_service *service)
{
	uint64_t bytes;

	return __builtin_mul_overflow(service->vram_bytes,
				      (uint64_t)service->gpus * service->replicas, &bytes)
		   ? UINT64_MAX / PLAN_SERVICES_MAX
		   : MIN_OF(bytes, UINT64_MAX / PLAN_SERVICES_MAX);
}

static int by_yielding(const void *a, const void *b, void *data)
{
	const struct plan_service *services = data;
	const struct plan_service *x = &services[*(const size_t *)a];
	const struct plan_service *y = &services[*(const size_t *)b];

	if (x->priority != y->priority)
		return x->priority < y->priority ? -1 : 1;
	if (bytes_of(x) != bytes_of(y))
		return bytes_of(x) < bytes_of(y) ? -1 : 1;
	return strcmp(x->name, y->name);
}

static bool may_yield(const struct plan_service *service)
{
	return !service->keep && !service->on_demand && service->vram_bytes > 0;
}

static void yield_init(struct yield *yield, struct ways *ways, enum plan_action action)
{
	const struct plan_problem *problem = ways->problem;

	*yield = (struct yield){.ways = ways, .action = action};
	for (size_t i = 0; i < problem->n_services; i++)
		if (may_yield(&problem->services[i]) &&
		    (action != PLAN_CPU || problem->services[i].cpu_fallback))
			yield->able[yield->n++] = i;
	qsort_r(yield->able, yield->n, sizeof *yield->able, by_yielding,
		(void *)(uintptr_t)problem->services);
}

static void apply(const struct yield *yield, struct variant *variant, const size_t *set, size_t n)
{
	variant_init(variant, yield->ways->problem);
	for (size_t i = 0; i < n; i++)
		if (yield->action == PLAN_CPU)
			variant->absent[set[i]] = true;
		else
			variant->services[set[i]].on_demand = true;
}

static bool yield_fits(const struct yield *yield, const size_t *set, size_t n)
{
	auto_variant struct variant variant;

	apply(yield, &variant, set, n);
	return variant_fits(yield->ways, &variant);
}

/* What of a service that loads on demand may be there all the same. */
static void add_room_left(const struct variant *variant, const struct plan_way *way, size_t service,
			  struct text *text)
{
	const struct plan_service *s = &variant->problem.services[service];
	const struct plan_place *place = &way->places[service];
	uint64_t left = UINT64_MAX, stay;

	for (size_t i = 0; i < place->n; i++) {
		size_t g = place->gpus[i];

		left = MIN_OF(left, plan_below_line(&variant->gpus[g]) - way->planned_bytes[g]);
	}
	text_printf(text, "; %s %s left for %s on ", SIZE_TEXT(left), "are", s->name);
	plan_gpu_names(&variant->problem, place->gpus, place->n, text);
	stay = models_in_room(s, left);
	if (stay == 0)
		return;
	text_add(text, ": of its models ");
	add_model_names(s, stay, text);
	text_printf(text, " may stay (%s with what %s)", SIZE_TEXT(bytes_of_models(s, stay)),
		    "they share");
}

static void add_yield_way(const struct yield *yield, const size_t *set, size_t n)
{
	auto_variant struct variant variant;
	struct plan_change changes[PLAN_MODELS_MAX];
	auto_text struct text text = {};
	struct plan_way *way;

	apply(yield, &variant, set, n);
	for (size_t i = 0; i < n && i < PLAN_MODELS_MAX; i++) {
		const struct plan_service *s = &variant.problem.services[set[i]];

		changes[i] = (struct plan_change){.action = yield->action,
						  .service = set[i],
						  .model = SIZE_MAX,
						  .gpu = SIZE_MAX,
						  .bytes = s->vram_bytes};
		text_printf(&text, "%s%s (%s)",
			    i == 0       ? ""
			    : i + 1 == n ? " and "
					 : ", ",
			    s->name, SIZE_TEXT(s->vram_bytes));
	}
	way = add_way(yield->ways, &variant, changes, n);
	if (!way)
		return;
	if (yield->action == PLAN_CPU)
		text_printf(&text, " run%s on the CPU", n == 1 ? "s" : "");
	else
		text_printf(&text, " load%s on demand", n == 1 ? "s" : "");
	add_landing(&variant, way, &text);
	if (yield->action == PLAN_ON_DEMAND && n == 1)
		add_room_left(&variant, way, set[0], &text);
	set_reason(way, &text);
}

/* Of all sets of `left` more from `from` on, the one with the least bytes that does. */
static void try_sets(struct yield *yield, size_t n_able, size_t from, size_t n, size_t left,
		     uint64_t bytes)
{
	const struct plan_service *services = yield->ways->problem->services;
	struct core_run *run = yield->ways->run;

	if (left == 0) {
		if (bytes < yield->best_bytes && yield_fits(yield, yield->set, n)) {
			yield->best_bytes = bytes;
			memcpy(yield->best, yield->set, n * sizeof *yield->best);
		}
		return;
	}
	for (size_t i = from; i + left <= n_able && run->work < run->work_max; i++) {
		uint64_t with = bytes + bytes_of(&services[yield->able[i]]);

		if (with >= yield->best_bytes)
			continue;
		yield->set[n] = yield->able[i];
		try_sets(yield, n_able, i + 1, n + 1, left - 1, with);
	}
}

/* The fewest of the first `n_able` that do; of these the least bytes. One alone does not. */
static void add_set(struct yield *yield, size_t n_able)
{
	for (size_t n = 2; n <= n_able && n <= PLAN_MODELS_MAX; n++) {
		yield->best_bytes = UINT64_MAX;
		try_sets(yield, n_able, 0, 0, n, 0);
		if (yield->best_bytes == UINT64_MAX)
			continue;
		add_yield_way(yield, yield->best, n);
		return;
	}
}

static void find_yielding(struct ways *ways, enum plan_action action, size_t most)
{
	const struct plan_service *services = ways->problem->services;
	struct yield yield;
	bool fits[PLAN_SERVICES_MAX] = {};
	size_t n = 0, first_alone = SIZE_MAX, first = ways->plan->n_ways;

	yield_init(&yield, ways, action);
	for (size_t i = 0; i < yield.n; i++) {
		fits[i] = yield_fits(&yield, &yield.able[i], 1);
		if (fits[i] && first_alone == SIZE_MAX)
			first_alone = i;
	}
	/* Those of the lowest priorities that do together: one of them alone is best. */
	for (; n < yield.n; n++) {
		if (n + 1 < yield.n &&
		    services[yield.able[n]].priority == services[yield.able[n + 1]].priority)
			continue;
		if (yield_fits(&yield, yield.able, n + 1))
			break;
	}
	if (n == yield.n)
		return;
	if (first_alone > n)
		add_set(&yield, n + 1);
	for (size_t i = 0; i < yield.n && ways->plan->n_ways < first + most; i++)
		if (fits[i])
			add_yield_way(&yield, &yield.able[i], 1);
}

/* --- shrinking ----------------------------------------------------------------------------- */

static bool fits_shrunk(struct ways *ways, size_t service, uint64_t bytes)
{
	auto_variant struct variant variant;

	variant_init(&variant, ways->problem);
	variant.services[service].vram_bytes -= bytes;
	return variant_fits(ways, &variant);
}

/* The least that a service must give up, when that is less than `below`. */
static uint64_t least_shrink(struct ways *ways, size_t service, uint64_t below)
{
	const struct plan_service *s = &ways->problem->services[service];
	uint64_t low = 0, high = MIN_OF(s->vram_bytes, below - 1);

	/* Does not fit with `low`, does with `high`. */
	if (high == 0 || !fits_shrunk(ways, service, high))
		return UINT64_MAX;
	while (high - low > 1) {
		uint64_t at = low + (high - low) / 2;

		if (fits_shrunk(ways, service, at))
			high = at;
		else
			low = at;
	}
	return high;
}

static void add_shrink_way(struct ways *ways, size_t service, uint64_t bytes)
{
	const struct plan_service *s = &ways->problem->services[service];
	struct plan_change change = {PLAN_SHRINK, service, SIZE_MAX, SIZE_MAX, bytes};
	auto_variant struct variant variant;
	auto_text struct text text = {};
	struct plan_way *way;

	variant_init(&variant, ways->problem);
	variant.services[service].vram_bytes -= bytes;
	way = add_way(ways, &variant, &change, 1);
	if (!way)
		return;
	text_printf(&text, "%s gives up %s of %s", s->name, SIZE_TEXT(bytes),
		    SIZE_TEXT(s->vram_bytes));
	add_landing(&variant, way, &text);
	set_reason(way, &text);
}

/* The services that would have to give up least, of those alike the one that yields first. */
static void find_shrinking(struct ways *ways)
{
	const struct plan_service *services = ways->problem->services;
	struct yield yield;
	size_t chosen = SIZE_MAX;

	yield_init(&yield, ways, PLAN_SHRINK);
	for (size_t k = 0; k < SHRINK_WAYS; k++) {
		uint64_t best = UINT64_MAX;
		size_t last = chosen;

		chosen = SIZE_MAX;
		for (size_t n = 0; n < yield.n; n++) {
			size_t i = yield.able[n];

			if (i == last)
				continue;
			if (!ways->shrink_known[i]) {
				uint64_t least = least_shrink(ways, i, best);

				if (least == UINT64_MAX)
					continue;
				ways->shrink[i] = least;
				ways->shrink_known[i] = true;
			}
			if (ways->shrink[i] < best) {
				best = ways->shrink[i];
				chosen = i;
			}
		}
		/* Giving up all is no shrinking. */
		if (chosen == SIZE_MAX || best == services[chosen].vram_bytes)
			return;
		add_shrink_way(ways, chosen, best);
	}
}

/* --- single models ------------------------------------------------------------------------- */

static void add_model_way(struct ways *ways, size_t service, uint64_t stay)
{
	const struct plan_service *s = &ways->problem->services[service];
	struct plan_change changes[PLAN_MODELS_MAX];
	auto_variant struct variant variant;
	auto_text struct text text = {};
	struct plan_way *way;
	uint64_t leave = 0, largest = 0;
	size_t n = 0;

	for (size_t m = 0; m < s->n_models; m++)
		if (!(stay >> m & 1)) {
			leave |= (uint64_t)1 << m;
			largest = MAX_OF(largest, s->models[m].bytes);
			changes[n++] = (struct plan_change){.action = PLAN_ON_DEMAND,
							    .service = service,
							    .model = m,
							    .gpu = SIZE_MAX,
							    .bytes = s->models[m].bytes};
		}
	variant_init(&variant, ways->problem);
	variant.services[service].vram_bytes = bytes_of_models(s, stay);
	variant.services[service].load_bytes =
	    MAX_OF(s->load_bytes, bytes_of_models(s, 0) + largest);
	way = add_way(ways, &variant, changes, n);
	if (!way)
		return;
	text_printf(&text, "of %s, ", s->name);
	add_model_names(s, leave, &text);
	text_printf(&text, " load%s on demand and ", n == 1 ? "s" : "");
	add_model_names(s, stay, &text);
	text_printf(&text, " stay (%s with what they share)", SIZE_TEXT(bytes_of_models(s, stay)));
	add_landing(&variant, way, &text);
	set_reason(way, &text);
}

/* The services with models for which that helps, those that yield first first. */
static void find_models(struct ways *ways)
{
	const struct plan_problem *problem = ways->problem;
	struct yield yield;
	size_t added = 0;

	yield_init(&yield, ways, PLAN_ON_DEMAND);
	for (size_t i = 0; i < yield.n && added < MODEL_WAYS; i++) {
		size_t service = yield.able[i];
		const struct plan_service *s = &problem->services[service];
		uint64_t stay;

		if (s->n_models < 2)
			continue;
		ways->shrink[service] = least_shrink(ways, service, UINT64_MAX);
		ways->shrink_known[service] = true;
		if (ways->shrink[service] == UINT64_MAX)
			continue;
		stay = models_in_room(s, s->vram_bytes - ways->shrink[service]);
		if (stay == 0)
			continue;
		add_model_way(ways, service, stay);
		added++;
	}
}

/* --- a larger GPU -------------------------------------------------------------------------- */

/* GPU `g` with another size. Its reserve stays, and is not less a part of it than the default, 5 %,
 * unless it was before. */
static void replace_gpu(struct plan_gpu *gpu, uint64_t total)
{
	uint64_t reserve = gpu->total_bytes - MIN_OF(gpu->load_line_bytes, gpu->total_bytes);

	if (reserve >= gpu->total_bytes / 20)
		reserve = MAX_OF(reserve, total / 20);
	gpu->total_bytes = total;
	gpu->load_line_bytes = total - MIN_OF(reserve, total);
}

static bool fits_replaced(struct ways *ways, size_t g, uint64_t total)
{
	auto_variant struct variant variant;

	variant_init(&variant, ways->problem);
	replace_gpu(&variant.gpus[g], total);
	return variant_fits(ways, &variant);
}

/* The smallest total of GPU `g` that does, when that is below `below`; else UINT64_MAX. */
static uint64_t least_total(struct ways *ways, size_t g, uint64_t below)
{
	uint64_t low = ways->problem->gpus[g].total_bytes, high = below - 1;

	if (high <= low || !fits_replaced(ways, g, high))
		return UINT64_MAX;
	while (high - low > 1) {
		uint64_t at = low + (high - low) / 2;

		if (fits_replaced(ways, g, at))
			high = at;
		else
			low = at;
	}
	return high;
}

static void find_bigger(struct ways *ways)
{
	const struct plan_problem *problem = ways->problem;
	struct plan_change change = {PLAN_BIGGER_GPU, SIZE_MAX, SIZE_MAX, SIZE_MAX, BYTES_MAX};
	auto_variant struct variant variant;
	auto_text struct text text = {};
	struct plan_way *way;

	for (size_t g = 0; g < problem->n_gpus; g++) {
		const struct plan_gpu *gpus = problem->gpus;
		uint64_t least, below = change.bytes;

		/* Of two for which the same would do, the one of the lower index. */
		if (change.gpu != SIZE_MAX && gpus[g].index < gpus[change.gpu].index)
			below++;
		if (!problem->gpus[g].usable || problem->gpus[g].total_bytes == 0)
			continue;
		least = least_total(ways, g, below);
		if (least == UINT64_MAX)
			continue;
		change.bytes = least;
		change.gpu = g;
	}
	variant_init(&variant, problem);
	if (change.gpu == SIZE_MAX)
		return;
	replace_gpu(&variant.gpus[change.gpu], change.bytes);
	way = add_way(ways, &variant, &change, 1);
	if (!way)
		return;
	text_printf(&text, "GPU %u has %s instead of %s", problem->gpus[change.gpu].index,
		    SIZE_TEXT(change.bytes), SIZE_TEXT(problem->gpus[change.gpu].total_bytes));
	add_landing(&variant, way, &text);
	set_reason(way, &text);
}

void plan_find_ways(const struct plan_problem *problem, struct core_run *run, struct plan *plan)
{
	struct core_run own = {.work_max = run->work_max, .proved = true};
	struct ways ways = {.problem = problem, .run = &own, .plan = plan};

	find_yielding(&ways, PLAN_ON_DEMAND, ON_DEMAND_WAYS);
	find_models(&ways);
	find_yielding(&ways, PLAN_CPU, CPU_WAYS);
	find_shrinking(&ways);
	find_bigger(&ways);
	run->work += own.work;
}
