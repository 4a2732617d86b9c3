/* The changes of a way out, made: see planview.h. */
#include "cli/planview.h"

#include <string.h>

static void change_service(struct planview_taken *taken, const struct plan_change *change)
{
	struct plan_service *service = &taken->services[change->service];

	/* One that goes to the CPU has no place, and that says it. */
	if (change->action == PLAN_CPU)
		return;
	if (change->action == PLAN_ON_DEMAND && change->model == SIZE_MAX)
		service->on_demand = true;
	else
		service->vram_bytes -= MIN_OF(service->vram_bytes, change->bytes);
}

void planview_take(const struct planview *view, struct planview_taken *ret_taken)
{
	const struct plan_problem *problem = &view->problem->problem;
	const struct plan_way *way =
	    view->way == PLANVIEW_NO_WAY ? NULL : &view->plan->ways[view->way];
	struct planview_taken *t = ret_taken;

	*t = (struct planview_taken){.problem = *problem, .plan = *view->plan};
	t->services = mem_calloc(problem->n_services + 1, sizeof *t->services);
	t->gpus = mem_calloc(problem->n_gpus + 1, sizeof *t->gpus);
	for (size_t i = 0; i < problem->n_services; i++)
		t->services[i] = problem->services[i];
	for (size_t g = 0; g < problem->n_gpus; g++)
		t->gpus[g] = problem->gpus[g];
	t->problem.services = t->services;
	t->problem.gpus = t->gpus;
	if (!way)
		return;
	for (size_t i = 0; i < way->n_changes; i++)
		if (way->changes[i].action == PLAN_BIGGER_GPU)
			plan_replace_gpu(&t->gpus[way->changes[i].gpu], way->changes[i].bytes);
		else
			change_service(t, &way->changes[i]);
	t->plan.feasible = true;
	t->plan.places = way->places;
	t->plan.planned_bytes = way->planned_bytes;
	t->plan.moves = 0;
	for (size_t i = 0; i < problem->n_services; i++)
		t->plan.moves += way->places[i].moved;
}

void planview_taken_finish(struct planview_taken *taken)
{
	free(taken->services);
	free(taken->gpus);
	*taken = (struct planview_taken){};
}
