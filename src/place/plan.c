/*
 * See plan.h. The planner's other files: plan_core.c puts the problem into a canonical form;
 * plan_search.c, with plan_prepare.c, plan_bounds.c, plan_leave.c and plan_fill.c, finds a
 * placement within limits or proves that there is none; plan_guess.c finds one by luck, plan_swap.c
 * a better one by exchange; plan_levels.c turns the objective into a row of such questions;
 * plan_ways.c looks for ways out when nothing fits; plan_explain.c finds the words. Here: the
 * answer as others read it.
 */
#include "place/plan.h"

#include "place/plan_priv.h"

#include <errno.h>

/* Half a second to two on a core of 2020. */
#define WORK_DEFAULT 8000000

static const char *const objectives[PLAN_OBJECTIVE_COUNT] = {
    [PLAN_BALANCE] = "balance",
    [PLAN_PACK] = "pack",
    [PLAN_FEWEST_MOVES] = "fewest-moves",
};

const char *plan_objective_name(enum plan_objective objective)
{
	return objective < PLAN_OBJECTIVE_COUNT ? objectives[objective] : "unknown";
}

const char *plan_action_name(enum plan_action action)
{
	switch (action) {
	case PLAN_ON_DEMAND:
		return "on-demand";
	case PLAN_CPU:
		return "cpu";
	case PLAN_SHRINK:
		return "shrink";
	case PLAN_BIGGER_GPU:
		return "bigger-gpu";
	}
	return "unknown";
}

static void sort_gpus(const struct plan_problem *problem, struct plan_place *place)
{
	for (size_t i = 1; i < place->n; i++)
		for (size_t k = i; k > 0 && problem->gpus[place->gpus[k]].index <
						problem->gpus[place->gpus[k - 1]].index;
		     k--) {
			size_t gpu = place->gpus[k];

			place->gpus[k] = place->gpus[k - 1];
			place->gpus[k - 1] = gpu;
		}
}

void plan_fill(const struct core *core, const uint64_t *sets, struct plan_place *places,
	       uint64_t *planned_bytes)
{
	const struct plan_problem *problem = core->problem;
	uint64_t loads[PLAN_GPUS_MAX];

	core_loads(core, sets, loads);
	for (size_t g = 0; g < core->m; g++)
		planned_bytes[core->gpus[g].gpu] = loads[g];
	for (size_t i = 0; i < core->n; i++) {
		const struct core_item *item = &core->items[i];
		struct plan_place *place = &places[item->service];

		for (uint64_t rest = sets[i]; rest; rest &= rest - 1)
			place->gpus[place->n++] = core->gpus[__builtin_ctzll(rest)].gpu;
		place->moved = core_has_moved(item, sets[i]);
		sort_gpus(problem, place);
	}
	for (size_t i = 0; i < core->n; i++) {
		size_t service = core->items[i].service;

		plan_reason(problem, places, planned_bytes, service, places[service].reason);
	}
}

static void add_sums(const struct plan_problem *problem, struct plan *plan)
{
	for (size_t i = 0; i < problem->n_services; i++) {
		const struct plan_service *s = &problem->services[i];
		uint64_t bytes;

		if (s->on_demand)
			continue;
		if (__builtin_mul_overflow(s->vram_bytes, (uint64_t)s->gpus * s->replicas,
					   &bytes) ||
		    __builtin_add_overflow(plan->needed_bytes, bytes, &plan->needed_bytes))
			plan->needed_bytes = UINT64_MAX;
	}
	for (size_t g = 0; g < problem->n_gpus; g++) {
		const struct plan_gpu *gpu = &problem->gpus[g];
		uint64_t line = MIN_OF(gpu->load_line_bytes, gpu->total_bytes);

		if (!gpu->usable)
			continue;
		plan->total_bytes += gpu->total_bytes;
		plan->capacity_bytes += line > gpu->foreign_bytes ? line - gpu->foreign_bytes : 0;
	}
}

static void take_answer(const struct core *core, const uint64_t *sets, struct plan *plan)
{
	plan->places = mem_calloc(MAX_OF(core->problem->n_services, 1), sizeof *plan->places);
	plan->planned_bytes =
	    mem_calloc(MAX_OF(core->problem->n_gpus, 1), sizeof *plan->planned_bytes);
	plan_fill(core, sets, plan->places, plan->planned_bytes);
	for (size_t i = 0; i < core->problem->n_services; i++)
		plan->moves += plan->places[i].moved;
}

int plan_solve(const struct plan_problem *problem, struct plan **ret_plan, struct error *err)
{
	auto_core struct core *core = NULL;
	auto_plan struct plan *plan = NULL;
	auto_free uint64_t *sets = NULL;
	struct core_run run = {.work_max = problem->work_max ? problem->work_max : WORK_DEFAULT,
			       .proved = true,
			       .settled = true};
	int r = core_create(problem, NULL, &core, err);

	if (r < 0)
		return r;
	sets = mem_calloc(MAX_OF(core->n, 1), sizeof *sets);
	plan = mem_calloc(1, sizeof *plan);
	add_sums(problem, plan);
	plan->feasible = core_solve(core, &run, sets) == CORE_FOUND;
	plan->proved = run.proved;
	plan->settled = run.proved && run.settled;
	if (plan->feasible) {
		take_answer(core, sets, plan);
	} else {
		plan_reason_none(core, plan);
		plan_find_ways(problem, &run, plan);
	}
	plan->work = run.work;
	*ret_plan = TAKE(plan);
	return 0;
}

void plan_destroy(struct plan *plan)
{
	if (!plan)
		return;
	for (size_t i = 0; i < plan->n_ways; i++) {
		free(plan->ways[i].changes);
		free(plan->ways[i].places);
		free(plan->ways[i].planned_bytes);
	}
	free(plan->ways);
	free(plan->places);
	free(plan->planned_bytes);
	free(plan);
}
