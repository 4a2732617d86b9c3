/*
 * The canonical form of a problem. A service with replicas and several GPUs is one item that wants
 * `gpus * replicas` different GPUs, since all of them are different and each carries the same. One
 * on demand is an item of size 0, so that whom it must not meet is part of the search. Unusable
 * GPUs are left out; whoever was on one has moved.
 */
#include "place/plan_priv.h"

#include <errno.h>

static int check_problem(const struct plan_problem *problem, struct error *err)
{
	if (problem->n_gpus > PLAN_GPUS_MAX)
		return error_set(err, -EINVAL, "%zu GPUs are more than can be planned for (%d)",
				 problem->n_gpus, PLAN_GPUS_MAX);
	if (problem->n_services > PLAN_SERVICES_MAX)
		return error_set(err, -EINVAL, "%zu services are more than can be planned (%d)",
				 problem->n_services, PLAN_SERVICES_MAX);
	if (problem->use_steps > PLAN_USE_STEPS_MAX)
		return error_set(err, -EINVAL, "use in %u steps: %d at most", problem->use_steps,
				 PLAN_USE_STEPS_MAX);
	for (size_t g = 0; g < problem->n_gpus; g++)
		if (problem->gpus[g].total_bytes > PLAN_BYTES_MAX)
			return error_set(err, -EINVAL, "GPU %u: so much memory no GPU has",
					 problem->gpus[g].index);
	return 0;
}

static int check_service(const struct plan_problem *problem, const struct plan_service *service,
			 struct error *err)
{
	if (!service->name || service->gpus == 0 || service->replicas == 0)
		return error_set(err, -EINVAL,
				 "service %s needs no GPU or has no replica: it is none to plan",
				 service->name ? service->name : "without a name");
	if (service->n_models > PLAN_MODELS_MAX)
		return error_set(err, -EINVAL, "service %s: %zu models, %d at most", service->name,
				 service->n_models, PLAN_MODELS_MAX);
	for (size_t i = 0; i < service->n_not_with; i++)
		if (service->not_with[i] >= problem->n_services)
			return error_set(err, -EINVAL, "service %s: not with a service that is not",
					 service->name);
	for (size_t i = 0; i < service->n_today; i++)
		if (service->today[i] >= problem->n_gpus)
			return error_set(err, -EINVAL, "service %s: today on a GPU that is not",
					 service->name);
	return 0;
}

static int by_index(const void *a, const void *b, void *data)
{
	const struct plan_gpu *gpus = data;
	const struct plan_gpu *x = &gpus[*(const size_t *)a], *y = &gpus[*(const size_t *)b];
	int r;

	if (x->index != y->index)
		return x->index < y->index ? -1 : 1;
	r = strcmp(x->uuid, y->uuid);
	return r ? r : (x < y ? -1 : 1);
}

/* The heaviest first; those on demand last. Names are told apart last. */
static int by_weight(const void *a, const void *b, void *data)
{
	const struct plan_service *services = data;
	const struct plan_service *x = &services[*(const size_t *)a];
	const struct plan_service *y = &services[*(const size_t *)b];
	uint64_t n_x = (uint64_t)x->gpus * x->replicas, n_y = (uint64_t)y->gpus * y->replicas;
	int r;

	if (x->on_demand != y->on_demand)
		return x->on_demand ? 1 : -1;
	if (x->vram_bytes != y->vram_bytes)
		return x->vram_bytes > y->vram_bytes ? -1 : 1;
	if (n_x != n_y)
		return n_x > n_y ? -1 : 1;
	r = strcmp(x->name, y->name);
	return r ? r : (x < y ? -1 : 1);
}

static void add_gpus(struct core *core)
{
	const struct plan_problem *problem = core->problem;
	size_t order[PLAN_GPUS_MAX];

	for (size_t g = 0; g < problem->n_gpus; g++)
		order[g] = g;
	qsort_r(order, problem->n_gpus, sizeof *order, by_index, (void *)(uintptr_t)problem->gpus);
	for (size_t k = 0; k < problem->n_gpus; k++) {
		const struct plan_gpu *gpu = &problem->gpus[order[k]];

		if (!gpu->usable || gpu->total_bytes == 0)
			continue;
		core->gpus[core->m++] = (struct core_gpu){
		    .gpu = order[k],
		    .total = gpu->total_bytes,
		    .line = MIN_OF(gpu->load_line_bytes, gpu->total_bytes),
		    .foreign = MIN_OF(gpu->foreign_bytes, PLAN_BYTES_MAX),
		};
	}
	/* The class of a GPU: how many different speeds are above its own. */
	for (size_t g = 0; g < core->m; g++) {
		double speed = problem->gpus[core->gpus[g].gpu].speed;
		unsigned above = 0;

		for (size_t h = 0; h < core->m; h++) {
			double other = problem->gpus[core->gpus[h].gpu].speed;
			bool first = true;

			for (size_t before = 0; before < h && first; before++)
				first = problem->gpus[core->gpus[before].gpu].speed < other ||
					problem->gpus[core->gpus[before].gpu].speed > other;
			above += first && other > speed;
		}
		core->gpus[g].speed_class = above;
		core->n_classes = MAX_OF(core->n_classes, above + 1);
	}
}

uint64_t plan_load_bytes(const struct plan_service *service)
{
	uint64_t models = 0, largest = 0, all;

	if (!service->on_demand)
		return service->load_bytes;
	for (size_t i = 0; i < service->n_models; i++) {
		models += service->models[i].bytes;
		largest = MAX_OF(largest, service->models[i].bytes);
	}
	/* What is not said to be a model's comes with each of them. */
	all = MAX_OF(service->vram_bytes, service->shared_bytes);
	if (service->n_models > 0)
		all = MAX_OF(service->shared_bytes, all > models ? all - models : 0) + largest;
	return MAX_OF(all, service->load_bytes);
}

static void add_item(struct core *core, struct core_item *item, size_t service)
{
	const struct plan_service *s = &core->problem->services[service];
	uint64_t today = 0, load = plan_load_bytes(s);
	unsigned n_today = 0;

	*item = (struct core_item){
	    .service = service,
	    .size = s->on_demand ? 0 : MIN_OF(s->vram_bytes, PLAN_BYTES_MAX),
	    .count = (unsigned)MIN_OF((uint64_t)s->gpus * s->replicas, PLAN_GPUS_MAX + 1),
	    .exclusive = s->exclusive,
	    .on_demand = s->on_demand,
	};
	for (size_t i = 0; i < s->n_today; i++)
		today |= (uint64_t)1 << s->today[i];
	n_today = (unsigned)__builtin_popcountll(today);
	for (size_t g = 0; g < core->m; g++) {
		size_t gpu = core->gpus[g].gpu;

		if (s->allowed[gpu] && load <= plan_below_line(&core->problem->gpus[gpu]))
			item->allowed |= (uint64_t)1 << g;
		if (today >> gpu & 1)
			item->today |= (uint64_t)1 << g;
		item->preference[g] = s->preference[gpu];
		core->any_preference |= s->preference[gpu] != 0 && !s->on_demand;
	}
	item->stay = MIN_OF(n_today, item->count);
	core->any_today |= item->stay > 0 && !s->on_demand;
	core->any_exclusive |= item->exclusive;
}

static void set_apart(struct core *core, size_t a, size_t b)
{
	if (a == b || a == SIZE_MAX || b == SIZE_MAX)
		return;
	core->items[a].not_with[b / 64] |= (uint64_t)1 << b % 64;
	core->items[b].not_with[a / 64] |= (uint64_t)1 << a % 64;
	core->any_not_with = true;
}

static void add_items(struct core *core, const bool *absent)
{
	const struct plan_problem *problem = core->problem;
	size_t order[PLAN_SERVICES_MAX], item_of[PLAN_SERVICES_MAX];

	for (size_t i = 0; i < problem->n_services; i++) {
		item_of[i] = SIZE_MAX;
		if (!absent || !absent[i])
			order[core->n++] = i;
	}
	qsort_r(order, core->n, sizeof *order, by_weight, (void *)(uintptr_t)problem->services);
	core->items = mem_calloc(MAX_OF(core->n, 1), sizeof *core->items);
	for (size_t i = 0; i < core->n; i++) {
		add_item(core, &core->items[i], order[i]);
		item_of[order[i]] = i;
	}
	for (size_t i = 0; i < problem->n_services; i++)
		for (size_t k = 0; k < problem->services[i].n_not_with; k++)
			set_apart(core, item_of[i], item_of[problem->services[i].not_with[k]]);
}

int core_create(const struct plan_problem *problem, const bool *absent, struct core **ret_core,
		struct error *err)
{
	struct core *core;
	int r = check_problem(problem, err);

	if (r < 0)
		return r;
	for (size_t i = 0; i < problem->n_services; i++) {
		r = check_service(problem, &problem->services[i], err);
		if (r < 0)
			return r;
	}
	core = mem_calloc(1, sizeof *core);
	core->problem = problem;
	core->steps = problem->use_steps ? problem->use_steps : 100;
	add_gpus(core);
	add_items(core, absent);
	*ret_core = core;
	return 0;
}

void core_destroy(struct core *core)
{
	if (!core)
		return;
	free(core->items);
	free(core);
}

void core_loads(const struct core *core, const uint64_t *sets, uint64_t loads[PLAN_GPUS_MAX])
{
	memset(loads, 0, PLAN_GPUS_MAX * sizeof *loads);
	for (size_t i = 0; i < core->n; i++)
		for (uint64_t rest = sets[i]; rest; rest &= rest - 1)
			loads[__builtin_ctzll(rest)] += core->items[i].size;
}

bool core_has_moved(const struct core_item *item, uint64_t set)
{
	return (unsigned)__builtin_popcountll(set & item->today) < item->stay;
}

int64_t core_best_preference(const struct core_item *item, uint64_t allowed)
{
	int64_t sum = 0;

	for (unsigned k = 0; !item->on_demand && k < item->count && allowed; k++) {
		size_t best = (size_t)__builtin_ctzll(allowed);

		for (uint64_t rest = allowed; rest; rest &= rest - 1) {
			size_t g = (size_t)__builtin_ctzll(rest);

			best = item->preference[g] > item->preference[best] ? g : best;
		}
		sum += item->preference[best];
		allowed &= ~((uint64_t)1 << best);
	}
	return sum;
}

/* ceil((load + foreign) / total * steps) */
static unsigned use_of(const struct core *core, size_t g, uint64_t load)
{
	const struct core_gpu *gpu = &core->gpus[g];
	unsigned __int128 scaled = (unsigned __int128)(load + gpu->foreign) * core->steps;
	unsigned __int128 use = (scaled + gpu->total - 1) / gpu->total;

	return use > UINT32_MAX ? UINT32_MAX : (unsigned)use;
}

void core_value(const struct core *core, const uint64_t *sets, struct core_value *ret_value)
{
	struct core_value value = {};
	uint64_t loads[PLAN_GPUS_MAX];

	core_loads(core, sets, loads);
	for (size_t g = 0; g < core->m; g++)
		if (loads[g] > 0) {
			value.use = MAX_OF(value.use, use_of(core, g, loads[g]));
			value.used++;
		}
	for (size_t i = 0; i < core->n; i++) {
		const struct core_item *item = &core->items[i];

		if (item->on_demand)
			continue;
		value.moves += core_has_moved(item, sets[i]);
		for (uint64_t rest = sets[i]; rest; rest &= rest - 1)
			value.preference += item->preference[__builtin_ctzll(rest)];
	}
	*ret_value = value;
}

uint64_t core_room(const struct core *core, size_t g, unsigned use)
{
	const struct core_gpu *gpu = &core->gpus[g];
	unsigned __int128 most = (unsigned __int128)use * gpu->total / core->steps;
	uint64_t bytes = most < gpu->line ? (uint64_t)most : gpu->line;

	return bytes > gpu->foreign ? bytes - gpu->foreign : 0;
}

unsigned core_use_max(const struct core *core)
{
	unsigned use = 0;

	for (size_t g = 0; g < core->m; g++) {
		const struct core_gpu *gpu = &core->gpus[g];

		if (gpu->line > gpu->foreign)
			use = MAX_OF(use, use_of(core, g, gpu->line - gpu->foreign));
	}
	return use;
}
