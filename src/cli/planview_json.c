/* The object of `plan --json`. DESIGN §7 has its names; they are added to, never renamed. */
#include "cli/planview.h"

#include "util/jsonx.h"

#include <string.h>

static json_t *gpu_json(const struct plan_problem *problem, size_t g)
{
	json_t *json = json_object();

	(void)json_object_set_new(json, "index", json_integer(problem->gpus[g].index));
	(void)json_object_set_new(json, "uuid", jsonx_string_if(problem->gpus[g].uuid));
	return json;
}

static json_t *gpus_json(const struct plan_problem *problem, const size_t *gpus, size_t n)
{
	json_t *array = json_array();

	for (size_t i = 0; i < n; i++)
		(void)json_array_append_new(array, gpu_json(problem, gpus[i]));
	return array;
}

static json_t *percent_json(uint64_t bytes, uint64_t total)
{
	return jsonx_real_if(total > 0, 100 * (double)bytes / (double)MAX_OF(total, (uint64_t)1),
			     1);
}

/* Where a service is: of the plan, or of one way. */
static json_t *assignment_json(const struct planview *view, const struct planview_taken *taken,
			       size_t i)
{
	static const struct plan_place nowhere;
	const struct plan_place *place = taken->plan.feasible ? &taken->plan.places[i] : &nowhere;
	const struct plan_problem *problem = &view->problem->problem;
	const struct stack_service *service =
	    &view->workspace->stack->services[view->problem->services[i]];
	json_t *json = json_object();

	(void)json_object_set_new(json, "service", json_string(problem->services[i].name));
	(void)json_object_set_new(json, "gpus", gpus_json(problem, place->gpus, place->n));
	(void)json_object_set_new(json, "vram_bytes",
				  jsonx_u64(place->n > 0 ? planview_bytes(taken, i) : 0));
	(void)json_object_set_new(json, "moved", json_boolean(place->moved));
	(void)json_object_set_new(json, "reason", jsonx_string_if(place->reason));
	(void)json_object_set_new(json, "declared_bytes",
				  jsonx_u64_if(service->need.has_vram, service->need.vram_bytes));
	(void)json_object_set_new(json, "measured_bytes",
				  jsonx_u64_if(service->measured, service->measured_bytes));
	(void)json_object_set_new(
	    json, "today",
	    service->running ? gpus_json(problem, service->today, service->n_today) : json_null());
	return json;
}

/* Each GPU, and what speaks against it. */
static json_t *candidates_json(const struct planview_taken *taken, size_t i)
{
	json_t *array = json_array();

	for (size_t g = 0; g < taken->problem.n_gpus; g++) {
		json_t *json = gpu_json(&taken->problem, g);
		auto_text struct text reason = {};
		bool possible = plan_explain_gpu(&taken->problem, &taken->plan, i, g, &reason);

		(void)json_object_set_new(json, "here",
					  json_boolean(plan_is_on(&taken->plan, i, g)));
		(void)json_object_set_new(json, "possible", json_boolean(possible));
		(void)json_object_set_new(json, "reason", jsonx_string_if(reason.data));
		(void)json_array_append_new(array, json);
	}
	return array;
}

/* Of the one that is explained also when nothing fits. */
static json_t *assignments_json(const struct planview *view, const struct planview_taken *taken)
{
	json_t *array = json_array();

	if (view->explained) {
		size_t i = view->service;
		json_t *json = assignment_json(view, taken, i);

		(void)json_object_set_new(json, "candidates", candidates_json(taken, i));
		(void)json_array_append_new(array, json);
		return array;
	}
	for (size_t i = 0; taken->plan.feasible && i < taken->problem.n_services; i++)
		(void)json_array_append_new(array, assignment_json(view, taken, i));
	return array;
}

/* What each GPU holds and would hold. */
static json_t *lines_json(const struct planview *view, const struct planview_taken *taken)
{
	const struct plan_problem *problem = &taken->problem;
	const struct gpu_list *list = view->workspace->list;
	const bool planned = taken->plan.feasible;
	json_t *array = json_array();

	for (size_t g = 0; g < problem->n_gpus; g++) {
		const struct plan_gpu *gpu = &problem->gpus[g];
		const uint64_t bytes = planned ? taken->plan.planned_bytes[g] : 0;
		const bool known = gpu->total_bytes > 0;
		json_t *json = gpu_json(problem, g);

		(void)json_object_set_new(json, "name", jsonx_string_if(list->gpus[g].name));
		(void)json_object_set_new(json, "usable", json_boolean(gpu->usable));
		(void)json_object_set_new(json, "total_bytes",
					  jsonx_u64_if(known, gpu->total_bytes));
		(void)json_object_set_new(json, "load_line_bytes",
					  jsonx_u64_if(known, gpu->load_line_bytes));
		(void)json_object_set_new(json, "foreign_bytes", jsonx_u64(gpu->foreign_bytes));
		(void)json_object_set_new(json, "planned_bytes", jsonx_u64_if(planned, bytes));
		(void)json_object_set_new(json, "planned_percent",
					  planned ? percent_json(bytes, gpu->total_bytes)
						  : json_null());
		(void)json_object_set_new(
		    json, "today_bytes",
		    jsonx_u64_if(gpu_has(&list->gpus[g], GPU_USED), list->gpus[g].vram.used_bytes));
		(void)json_array_append_new(array, json);
	}
	return array;
}

static json_t *change_json(const struct plan_problem *problem, const struct plan_change *change)
{
	const struct plan_service *service =
	    change->service < problem->n_services ? &problem->services[change->service] : NULL;
	json_t *json = json_object();

	(void)json_object_set_new(json, "service", jsonx_string_if(service ? service->name : NULL));
	(void)json_object_set_new(json, "model",
				  jsonx_string_if(service && change->model < service->n_models
						      ? service->models[change->model].name
						      : NULL));
	(void)json_object_set_new(json, "action", json_string(plan_action_name(change->action)));
	(void)json_object_set_new(json, "bytes", jsonx_u64(change->bytes));
	if (change->action == PLAN_BIGGER_GPU && change->gpu < problem->n_gpus)
		(void)json_object_set_new(json, "gpu", gpu_json(problem, change->gpu));
	return json;
}

static json_t *way_json(const struct planview *view, size_t way)
{
	const struct planview taken = {
	    .workspace = view->workspace, .problem = view->problem, .plan = view->plan, .way = way};
	const struct plan_way *from = &view->plan->ways[way];
	auto_taken struct planview_taken after = {};
	json_t *json = json_object(), *changes = json_array();

	planview_take(&taken, &after);

	for (size_t i = 0; i < from->n_changes; i++)
		(void)json_array_append_new(
		    changes, change_json(&view->problem->problem, &from->changes[i]));
	(void)json_object_set_new(json, "changes", changes);
	(void)json_object_set_new(json, "assignments", assignments_json(&taken, &after));
	(void)json_object_set_new(json, "gpus", lines_json(&taken, &after));
	(void)json_object_set_new(json, "proved", json_boolean(from->proved));
	(void)json_object_set_new(json, "reason", jsonx_string_if(from->reason));
	return json;
}

/* "NAME: why" of stack_problem(). */
static json_t *left_out_json(const struct strings *left_out)
{
	json_t *array = json_array();

	for (size_t i = 0; i < left_out->n; i++) {
		const char *colon = strstr(left_out->items[i], ": ");
		json_t *json = json_object();

		if (!colon)
			colon = left_out->items[i] + strlen(left_out->items[i]);
		(void)json_object_set_new(
		    json, "service",
		    json_stringn(left_out->items[i], (size_t)(colon - left_out->items[i])));
		(void)json_object_set_new(json, "reason",
					  jsonx_string_if(*colon ? colon + 2 : NULL));
		(void)json_array_append_new(array, json);
	}
	return array;
}

/* Of profiles that are not on. */
static json_t *not_counted_json(const struct planview *view)
{
	const struct stack *stack = view->workspace->stack;
	json_t *array = json_array();

	for (size_t i = 0; i < stack->n; i++) {
		const struct stack_service *service = &stack->services[i];
		const char *profile = planview_profile(service);
		json_t *json;

		if (!planview_is_not_counted(service) || !profile)
			continue;
		json = json_object();
		(void)json_object_set_new(json, "service", json_string(service->service->name));
		(void)json_object_set_new(json, "profile", json_string(profile));
		(void)json_object_set_new(json, "vram_bytes", jsonx_u64(service->vram_bytes));
		(void)json_object_set_new(
		    json, "gpus",
		    gpus_json(&view->problem->problem, service->assigned, service->n_assigned));
		(void)json_array_append_new(array, json);
	}
	return array;
}

/* The host's RAM, and who says what of it. */
static json_t *host_json(const struct stack *stack)
{
	const struct stack_host *host = &stack->host;
	json_t *json = json_object(), *services = json_array();
	struct stack_ram ram;

	stack_ram_sum(stack, &ram);
	for (size_t i = 0; i < stack->n; i++)
		if (stack_ram_of(&stack->services[i]) > 0)
			(void)json_array_append_new(
			    services, json_pack("{s:s, s:o, s:o}", "service",
						stack->services[i].service->name, "ram_bytes",
						jsonx_u64(stack_ram_of(&stack->services[i])),
						"ram_used_bytes",
						jsonx_u64_if(stack->ram_used_known,
							     stack->services[i].ram_used_bytes)));
	(void)json_object_set_new(json, "ram_total_bytes",
				  jsonx_u64_if(host->total_known, host->total_bytes));
	(void)json_object_set_new(json, "ram_available_bytes",
				  jsonx_u64_if(host->available_known, host->available_bytes));
	(void)json_object_set_new(json, "ram_said_bytes", jsonx_u64(ram.said_bytes));
	(void)json_object_set_new(json, "services", services);
	return json;
}

json_t *planview_json(const struct planview *view)
{
	const struct plan *plan = view->plan;
	const bool has_way = view->way != PLANVIEW_NO_WAY;
	auto_taken struct planview_taken taken = {};
	auto_strings struct strings warnings = {};
	json_t *json = json_object(), *ways = json_array();

	planview_take(view, &taken);
	for (size_t i = 0; i < plan->n_ways; i++)
		(void)json_array_append_new(ways, way_json(view, i));
	planview_warnings(view, &warnings);
	(void)json_object_set_new(json, "project", json_string(view->workspace->project->name));
	(void)json_object_set_new(json, "feasible", json_boolean(plan->feasible));
	(void)json_object_set_new(json, "proved", json_boolean(plan->proved));
	(void)json_object_set_new(
	    json, "objective", json_string(plan_objective_name(view->problem->problem.objective)));
	(void)json_object_set_new(json, "reason", jsonx_string_if(plan->reason));
	(void)json_object_set_new(json, "moves",
				  plan->feasible ? json_integer(plan->moves) : json_null());
	(void)json_object_set_new(json, "needed_bytes", jsonx_u64(plan->needed_bytes));
	(void)json_object_set_new(json, "capacity_bytes", jsonx_u64(plan->capacity_bytes));
	(void)json_object_set_new(json, "total_bytes", jsonx_u64(plan->total_bytes));
	(void)json_object_set_new(json, "way_out",
				  has_way ? json_integer((json_int_t)view->way + 1) : json_null());
	(void)json_object_set_new(json, "assignments", assignments_json(view, &taken));
	(void)json_object_set_new(json, "gpus", lines_json(view, &taken));
	(void)json_object_set_new(json, "host", host_json(view->workspace->stack));
	(void)json_object_set_new(json, "ways_out", ways);
	(void)json_object_set_new(json, "left_out", left_out_json(&view->problem->left_out));
	(void)json_object_set_new(json, "not_counted", not_counted_json(view));
	(void)json_object_set_new(json, "warnings", jsonx_strv(warnings.items));
	return json;
}
