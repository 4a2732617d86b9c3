/*
 * The planner's problem of a stack: what people wrote (names, models of GPUs) becomes indices, and
 * what is not known is left out by name. All of it is in one arena.
 */
#include "stack/stack_priv.h"

#include <errno.h>
#include <string.h>

/* Devices it asks for that nothing names. */
static uint64_t n_unset(const struct compose_request *request)
{
	uint64_t n = 0;

	for (size_t i = 0; i < request->n_values; i++)
		n += compose_value_is_unset(&request->values[i]);
	return n;
}

unsigned stack_gpus_asked(const struct stack_service *service)
{
	const struct compose_request *decides = service->gpus->decides;
	uint64_t n = 1;

	if (service->need.gpus > 0)
		n = service->need.gpus;
	else if (!decides || decides->all)
		n = 1;
	else if (decides->has_count)
		n = decides->count;
	else
		n = service->assigned_known ? service->n_assigned + n_unset(decides)
					    : decides->n_values;
	if (service->need.gpus == 0 && !service->need.together && service->service->replicas > 1)
		n /= service->service->replicas;
	return (unsigned)MAX_OF(MIN_OF(n, (uint64_t)PLAN_GPUS_MAX), (uint64_t)1);
}

/* The rule of its own that keeps it off a GPU; NULL: it may use it. */
static const char *why_not(const struct stack *stack, struct arena *arena, const struct need *need,
			   size_t g)
{
	const struct ledger_gpu *gpu = &stack->ledger->gpus[g];
	bool which[PLAN_GPUS_MAX];

	if (need->gpu) {
		(void)stack_match_gpus(stack->list, need->gpu, which);
		if (!which[g])
			return arena_printf(arena, "`gpu: %.64s`", need->gpu);
	}
	for (size_t i = 0; i < need->forbid.n; i++) {
		(void)stack_match_gpus(stack->list, need->forbid.items[i], which);
		if (which[g])
			return arena_printf(arena, "`forbid: %.64s`", need->forbid.items[i]);
	}
	if (need->compute_min == 0 || (gpu->compute_known && gpu->compute >= need->compute_min))
		return NULL;
	if (!gpu->compute_known)
		return arena_printf(arena,
				    "`min-compute-capability: %u.%u` (what it has is not known)",
				    need->compute_min / 10, need->compute_min % 10);
	return arena_printf(arena, "`min-compute-capability: %u.%u` (it has %u.%u)",
			    need->compute_min / 10, need->compute_min % 10, gpu->compute / 10,
			    gpu->compute % 10);
}

/* Which GPUs it may use at all. */
static int set_allowed(const struct stack *stack, struct arena *arena,
		       const struct stack_service *service, struct plan_service *to,
		       struct error *err)
{
	bool which[PLAN_GPUS_MAX];
	const struct need *need = &service->need;
	const char **rules = arena_alloc(arena, (stack->list->n + 1) * sizeof *rules);
	auto_text struct text where = {};

	if (need->gpu && stack_match_gpus(stack->list, need->gpu, which) == 0)
		return error_set(err, -ENODEV,
				 "%s: %s is for GPU \"%.64s\" only, which is not there",
				 stack_where(service, &where), to->name, need->gpu);
	for (size_t g = 0; g < stack->list->n; g++) {
		rules[g] = why_not(stack, arena, need, g);
		to->allowed[g] = !rules[g];
	}
	to->why_not = rules;
	return 0;
}

/* The first of a list weighs most; of a GPU that is in both lists `avoid` counts. */
static void set_preference(const struct stack *stack, const struct need *need,
			   struct plan_service *to)
{
	bool which[PLAN_GPUS_MAX];

	for (size_t i = need->prefer.n; i-- > 0;) {
		(void)stack_match_gpus(stack->list, need->prefer.items[i], which);
		for (size_t g = 0; g < stack->list->n; g++)
			if (which[g])
				to->preference[g] = (int)(need->prefer.n - i);
	}
	for (size_t i = need->avoid.n; i-- > 0;) {
		(void)stack_match_gpus(stack->list, need->avoid.items[i], which);
		for (size_t g = 0; g < stack->list->n; g++)
			if (which[g])
				to->preference[g] = -(int)(need->avoid.n - i);
	}
}

/* `times`: so many replicas of it are on each of its GPUs. */
static void set_models(struct arena *arena, const struct need *need, unsigned times,
		       struct plan_service *to)
{
	struct plan_model *models =
	    arena_alloc(arena, (need->n_models + 1) * sizeof(struct plan_model));
	size_t n = 0;

	for (size_t i = 0; i < need->n_models; i++)
		if (need->models[i].on_demand)
			to->load_bytes =
			    MAX_OF(to->load_bytes,
				   (need->shared_bytes + need->models[i].vram_bytes) * times);
		else
			models[n++] = (struct plan_model){need->models[i].name,
							  need->models[i].vram_bytes * times};
	to->models = models;
	to->n_models = n;
	to->shared_bytes = need->shared_bytes * times;
}

/* Where it runs; what does not run is where its files would put it, unless they leave it open. */
static void set_today(const struct stack_service *service, struct plan_service *to)
{
	if (service->running) {
		to->today = service->today;
		to->n_today = service->n_today;
	} else if (service->assigned_known && !service->gpus->decides->all) {
		to->today = service->assigned;
		to->n_today = service->n_assigned;
	}
}

uint64_t stack_least_bytes(const struct stack_service *service)
{
	const struct need *need = &service->need;
	uint64_t largest = 0;

	for (size_t i = 0; i < need->n_models; i++)
		largest = MAX_OF(largest, need->models[i].vram_bytes);
	if (need->on_demand && largest > 0)
		return need->shared_bytes + largest;
	return MAX_OF(service->vram_bytes, largest > 0 ? need->shared_bytes + largest : 0);
}

static int add_service(const struct stack *stack, struct arena *arena, size_t i,
		       struct plan_service *to, struct error *err)
{
	const struct stack_service *service = &stack->services[i];
	const struct need *need = &service->need;
	const unsigned times = need->together ? service->service->replicas : 1;

	to->name = service->service->name;
	to->vram_bytes = service->vram_bytes * times;
	to->gpus = stack_gpus_asked(service);
	to->replicas = service->service->replicas / times;
	to->cpu_fallback = need->cpu_fallback;
	to->keep = need->keep;
	to->on_demand = need->on_demand;
	to->priority = need->priority;
	to->exclusive = need->exclusive;
	set_models(arena, need, times, to);
	set_preference(stack, need, to);
	set_today(service, to);
	return set_allowed(stack, arena, service, to, err);
}

/* Names to indices into the problem. What is not planned shares with nobody. */
static void set_not_with(const struct stack *stack, struct arena *arena,
			 const struct stack_problem *problem, size_t at, struct plan_service *to)
{
	const struct strings *names = &stack->services[problem->services[at]].need.not_with;
	size_t *others = arena_alloc(arena, (names->n + 1) * sizeof *others);
	size_t n = 0;

	for (size_t i = 0; i < names->n; i++)
		for (size_t k = 0; k < problem->problem.n_services; k++)
			if (k != at &&
			    strcmp(problem->problem.services[k].name, names->items[i]) == 0)
				others[n++] = k;
	to->not_with = others;
	to->n_not_with = n;
}

static struct plan_gpu *gpus_of(const struct stack *stack, struct arena *arena)
{
	struct plan_gpu *gpus = arena_alloc(arena, (stack->list->n + 1) * sizeof(struct plan_gpu));

	for (size_t g = 0; g < stack->list->n; g++) {
		const struct ledger_gpu *from = &stack->ledger->gpus[g];

		memcpy(gpus[g].uuid, from->uuid, sizeof gpus[g].uuid);
		gpus[g].index = from->index;
		gpus[g].usable = from->usable && from->vram_known && !from->closed;
		gpus[g].total_bytes = from->vram_known ? from->total_bytes : 0;
		gpus[g].load_line_bytes = from->vram_known ? from->load_line_bytes : 0;
		gpus[g].foreign_bytes = stack->foreign_bytes[g];
		gpus[g].speed = from->speed;
	}
	return gpus;
}

static int too_many(const struct stack_service *service, struct error *err)
{
	auto_text struct text where = {};

	return error_set(err, -E2BIG,
			 "%s: %s is one service too many: at most %d that ask for a GPU are "
			 "planned together; -f with fewer files, or profiles, make parts of them",
			 stack_where(service, &where), service->service->name, PLAN_SERVICES_MAX);
}

static int add_services(const struct stack *stack, struct arena *arena,
			struct stack_problem *problem, struct error *err)
{
	struct plan_service *services =
	    arena_alloc(arena, (stack->n + 1) * sizeof(struct plan_service));
	size_t n = 0;
	int r = 0;

	problem->services = arena_alloc(arena, (stack->n + 1) * sizeof *problem->services);
	problem->problem.services = services;
	for (size_t i = 0; i < stack->n && r == 0; i++) {
		if (!stack->services[i].wants_gpu)
			continue;
		if (!stack->services[i].vram_known) {
			strings_take(&problem->left_out,
				     mem_printf("%s: no VRAM known; say it under x-plimsoll, or "
						"measure it: start the service and plan again",
						stack->services[i].service->name));
			continue;
		}
		if (n == PLAN_SERVICES_MAX)
			return too_many(&stack->services[i], err);
		problem->services[n] = i;
		r = add_service(stack, arena, i, &services[n++], err);
	}
	problem->problem.n_services = n;
	for (size_t i = 0; i < n && r == 0; i++)
		set_not_with(stack, arena, problem, i, &services[i]);
	return r;
}

int stack_problem(const struct stack *stack, enum plan_objective objective,
		  struct stack_problem *ret_problem, struct error *err)
{
	struct arena *arena = mem_calloc(1, sizeof *arena);
	struct stack_problem problem = {.memory = arena};
	int r;

	problem.problem.objective = objective;
	problem.problem.gpus = gpus_of(stack, arena);
	problem.problem.n_gpus = stack->list->n;
	r = add_services(stack, arena, &problem, err);
	if (r < 0) {
		stack_problem_finish(&problem);
		return r;
	}
	*ret_problem = problem;
	return 0;
}

void stack_problem_finish(struct stack_problem *problem)
{
	if (problem->memory) {
		arena_finish(problem->memory);
		free(problem->memory);
	}
	strings_finish(&problem->left_out);
	*problem = (struct stack_problem){};
}
