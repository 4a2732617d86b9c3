/*
 * Ways out, when nothing fits. Each is a changed problem (a variant) that the search says has a
 * placement, and the least change of its kind: a service or a few that load on demand or go to the
 * CPU, single models of one service, one service that shrinks, one GPU that is replaced. What may
 * be asked of a service grows with its size, so sizes are found by halving, to the byte. The best
 * placement of the variant is then worked out as for any problem.
 *
 * Half of the work that may be spent is for looking, half for the placements. Each kind has its
 * share, and what is left of the shares before; each placement, too. One question may not use up
 * more than the first question of a placement may, so that what was found is found again.
 */
#include "place/plan_ways.h"

#include "util/size.h"

#include <assert.h>

/* So many of a kind at most; there is room for PLAN_WAYS_MAX together. */
#define ON_DEMAND_WAYS 3
#define MODEL_WAYS     1
#define CPU_WAYS       1
#define SHRINK_WAYS    2
#define BIGGER_WAYS    1
static_assert(ON_DEMAND_WAYS + MODEL_WAYS + CPU_WAYS + SHRINK_WAYS + BIGGER_WAYS <= PLAN_WAYS_MAX,
	      "all kinds have room");

/* Services that a variant with its core is made of in the time of one search node. */
#define SERVICES_A_NODE 4
#define NOT_WITH_A_NODE 32

void plan_variant_init(struct plan_variant *variant, const struct plan_problem *problem)
{
	*variant = (struct plan_variant){.problem = *problem};
	variant->services = mem_alloc(MAX_OF(problem->n_services, 1) * sizeof *variant->services);
	variant->gpus = mem_alloc(MAX_OF(problem->n_gpus, 1) * sizeof *variant->gpus);
	memcpy(variant->services, problem->services,
	       problem->n_services * sizeof *variant->services);
	memcpy(variant->gpus, problem->gpus, problem->n_gpus * sizeof *variant->gpus);
	variant->problem.services = variant->services;
	variant->problem.gpus = variant->gpus;
}

void plan_variant_finish(struct plan_variant *variant)
{
	free(variant->services);
	free(variant->gpus);
}

bool ways_fit(struct ways *ways, const struct plan_variant *variant)
{
	struct core_run *look = &ways->look;
	struct core_run question = {.proved = true};
	auto_core struct core *core = NULL;
	auto_free uint64_t *sets = mem_calloc(variant->problem.n_services + 1, sizeof *sets);
	enum core_found found;

	look->work += ways->variant_work;
	if (look->work >= look->work_max) {
		look->proved = false;
		return false;
	}
	if (core_create(&variant->problem, variant->absent, &core, NULL) < 0)
		return false;
	question.work_max = MIN_OF(look->work_max - look->work, ways->make_max / PLAN_WAYS_MAX);
	found = core_fits(core, &question, sets);
	look->work += question.work;
	look->proved &= question.proved;
	return found == CORE_FOUND;
}

void ways_add_landing(const struct plan_variant *variant, const struct plan_way *way,
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

struct plan_way *ways_add(struct ways *ways, const struct plan_variant *variant,
			  const struct plan_change *changes, size_t n)
{
	const struct plan_problem *problem = &variant->problem;
	struct plan *plan = ways->plan;
	struct core_run own = {.proved = true};
	auto_core struct core *core = NULL;
	auto_free uint64_t *sets = mem_calloc(problem->n_services + 1, sizeof *sets);
	struct plan_way *way;
	enum core_found found;

	if (plan->n_ways == PLAN_WAYS_MAX || core_create(problem, variant->absent, &core, NULL) < 0)
		return NULL;
	ways->n_made = MIN_OF(ways->n_made + 1, (size_t)PLAN_WAYS_MAX);
	ways->make.work_max = ways->make_max / PLAN_WAYS_MAX * ways->n_made;
	own.work_max = ways->make.work_max - MIN_OF(ways->make.work, ways->make.work_max);
	found = core_solve(core, &own, sets);
	ways->make.work += own.work;
	if (found != CORE_FOUND)
		return NULL;
	if (!plan->ways)
		plan->ways = mem_calloc(PLAN_WAYS_MAX, sizeof *plan->ways);
	way = &plan->ways[plan->n_ways++];
	way->changes = mem_calloc(n, sizeof *changes);
	memcpy(way->changes, changes, n * sizeof *changes);
	way->n_changes = n;
	way->proved = ways->look.proved && own.proved;
	way->places = mem_calloc(problem->n_services, sizeof *way->places);
	way->planned_bytes = mem_calloc(MAX_OF(problem->n_gpus, 1), sizeof *way->planned_bytes);
	plan_fill(core, sets, way->places, way->planned_bytes);
	return way;
}

void ways_set_reason(struct plan_way *way, const struct text *text)
{
	(void)snprintf(way->reason, sizeof way->reason, "%s", text->data);
}

/* --- who may be asked ---------------------------------------------------------------------- */

uint64_t ways_bytes_of(const struct plan_service *service)
{
	return MIN_OF(service->vram_bytes, PLAN_BYTES_MAX) *
	       MIN_OF((uint64_t)service->gpus * service->replicas, (uint64_t)PLAN_GPUS_MAX + 1);
}

static int by_yielding(const void *a, const void *b, void *data)
{
	const struct plan_service *services = data;
	const struct plan_service *x = &services[*(const size_t *)a];
	const struct plan_service *y = &services[*(const size_t *)b];
	uint64_t bytes_x = ways_bytes_of(x), bytes_y = ways_bytes_of(y);

	if (x->priority != y->priority)
		return x->priority < y->priority ? -1 : 1;
	if (bytes_x != bytes_y)
		return bytes_x < bytes_y ? -1 : 1;
	return strcmp(x->name, y->name);
}

static bool may_yield(const struct plan_service *service)
{
	return !service->keep && !service->on_demand && service->vram_bytes > 0;
}

size_t ways_list_able(const struct ways *ways, enum plan_action action,
		      size_t able[PLAN_SERVICES_MAX])
{
	const struct plan_problem *problem = ways->problem;
	size_t n = 0;

	for (size_t i = 0; i < problem->n_services; i++)
		if (may_yield(&problem->services[i]) &&
		    (action != PLAN_CPU || problem->services[i].cpu_fallback))
			able[n++] = i;
	qsort_r(able, n, sizeof *able, by_yielding, (void *)(uintptr_t)problem->services);
	return n;
}

/* --- shrinking ----------------------------------------------------------------------------- */

static bool fits_shrunk(struct ways *ways, size_t service, uint64_t bytes)
{
	auto_variant struct plan_variant variant;

	plan_variant_init(&variant, ways->problem);
	variant.services[service].vram_bytes -= bytes;
	return ways_fit(ways, &variant);
}

uint64_t ways_least_shrink(struct ways *ways, size_t service, uint64_t below)
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
	auto_variant struct plan_variant variant;
	auto_text struct text text = {};
	struct plan_way *way;

	plan_variant_init(&variant, ways->problem);
	variant.services[service].vram_bytes -= bytes;
	way = ways_add(ways, &variant, &change, 1);
	if (!way)
		return;
	text_printf(&text, "%s gives up %s of %s", s->name, SIZE_TEXT(bytes),
		    SIZE_TEXT(s->vram_bytes));
	ways_add_landing(&variant, way, &text);
	ways_set_reason(way, &text);
}

/* The services that would have to give up least, of those alike the one that yields first. */
static void find_shrinking(struct ways *ways)
{
	const struct plan_service *services = ways->problem->services;
	size_t able[PLAN_SERVICES_MAX], n_able = ways_list_able(ways, PLAN_SHRINK, able);
	size_t chosen = SIZE_MAX;

	for (size_t k = 0; k < SHRINK_WAYS; k++) {
		uint64_t best = UINT64_MAX;
		size_t last = chosen;

		chosen = SIZE_MAX;
		for (size_t n = 0; n < n_able; n++) {
			size_t i = able[n];

			if (i == last)
				continue;
			if (!ways->shrink_known[i]) {
				uint64_t least = ways_least_shrink(ways, i, best);

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

/* --- a larger GPU -------------------------------------------------------------------------- */

/* GPU `g` with another size. Its reserve stays, and is not less a part of it than the default, 5 %,
 * unless it was before. */
void plan_replace_gpu(struct plan_gpu *gpu, uint64_t total)
{
	uint64_t reserve = gpu->total_bytes - MIN_OF(gpu->load_line_bytes, gpu->total_bytes);

	if (reserve >= gpu->total_bytes / 20)
		reserve = MAX_OF(reserve, total / 20);
	gpu->total_bytes = total;
	gpu->load_line_bytes = total - MIN_OF(reserve, total);
}

static bool fits_replaced(struct ways *ways, size_t g, uint64_t total)
{
	auto_variant struct plan_variant variant;

	plan_variant_init(&variant, ways->problem);
	plan_replace_gpu(&variant.gpus[g], total);
	return ways_fit(ways, &variant);
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
	struct plan_change change = {PLAN_BIGGER_GPU, SIZE_MAX, SIZE_MAX, SIZE_MAX, PLAN_BYTES_MAX};
	auto_variant struct plan_variant variant;
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
	plan_variant_init(&variant, problem);
	if (change.gpu == SIZE_MAX)
		return;
	plan_replace_gpu(&variant.gpus[change.gpu], change.bytes);
	way = ways_add(ways, &variant, &change, 1);
	if (!way)
		return;
	text_printf(&text, "GPU %u has %s instead of %s", problem->gpus[change.gpu].index,
		    SIZE_TEXT(change.bytes), SIZE_TEXT(problem->gpus[change.gpu].total_bytes));
	ways_add_landing(&variant, way, &text);
	ways_set_reason(way, &text);
}
/* --- all kinds ----------------------------------------------------------------------------- */

static void find_on_demand(struct ways *ways)
{
	ways_find_sets(ways, PLAN_ON_DEMAND, ON_DEMAND_WAYS);
}

static void find_models(struct ways *ways)
{
	ways_find_models(ways, MODEL_WAYS);
}

static void find_cpu(struct ways *ways)
{
	ways_find_sets(ways, PLAN_CPU, CPU_WAYS);
}

void plan_find_ways(const struct plan_problem *problem, struct core_run *run, struct plan *plan)
{
	static void (*const kinds[])(struct ways *) = {find_on_demand, find_models, find_cpu,
						       find_shrinking, find_bigger};
	auto_free struct ways *ways = mem_calloc(1, sizeof *ways);

	ways->problem = problem;
	ways->plan = plan;
	ways->variant_work = 1 + problem->n_services / SERVICES_A_NODE;
	for (size_t i = 0; i < problem->n_services; i++)
		ways->variant_work += problem->services[i].n_not_with / NOT_WITH_A_NODE;
	ways->look_max = ways->make_max = run->work_max / 2;
	for (size_t k = 0; k < ARRAY_LEN(kinds); k++) {
		ways->look.work_max = ways->look_max / ARRAY_LEN(kinds) * (k + 1);
		ways->look.proved = true;
		kinds[k](ways);
	}
	run->work += ways->look.work + ways->make.work;
}
