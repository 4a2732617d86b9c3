/*
 * Which GPU: one that is not there, out of order, or not what the service said it may use; replicas
 * that all get the same one; and a GPU left over while another is shared.
 */
#include "check/check_priv.h"

#include "util/size.h"

#include <math.h>
#include <string.h>

static bool has_instances(const struct gpu_list *list)
{
	for (size_t i = 0; i < list->n; i++)
		if (list->gpus[i].parent_uuid[0])
			return true;
	return false;
}

static void not_there(struct check *check, const struct stack_service *service)
{
	const struct compose_request *decides = service->gpus->decides;
	const struct compose_value *missing = service->missing;
	const struct gpu_list *list = check->stack->list;
	const char *name = service->service->name, *here = check_gpu_names(check);
	struct finding finding = {.service = name};

	if (decides->has_count) {
		finding.span = compose_request_place(decides);
		finding.message = mem_printf("%s asks for %ju GPUs, and there are %zu: %s", name,
					     (uintmax_t)decides->count, list->n, here);
		finding.fix = mem_printf("write `count: %zu`, or device_ids: ['0'%s]", list->n,
					 list->n > 1 ? ", ..." : "");
		check_add(check, CHECK_GPU_NOT_THERE, &finding);
		return;
	}
	if (!missing)
		return;
	finding.span = missing->node ? missing->node->span : compose_request_place(decides);
	if (missing->edit.file)
		finding.span = missing->edit;
	finding.message = mem_printf("%s is assigned to GPU \"%s\", which is not there: here %s %s",
				     name, missing->device, list->n == 1 ? "is" : "are", here);
	finding.fix =
	    has_instances(list)
		? mem_printf("name one of them; a GPU that is split into MIG instances is named by "
			     "its instances (0:0, or the UUID)")
		: mem_printf(
		      "%s, or another GPU that is there",
		      check_how_to_say(check, decides, missing, check_device(check, 0, missing)));
	check_add(check, CHECK_GPU_NOT_THERE, &finding);
}

static void unusable(struct check *check, const struct stack_service *service)
{
	for (size_t i = 0; i < service->n_assigned && !service->gpus->decides->all; i++) {
		const struct gpu *gpu = &check->stack->list->gpus[service->assigned[i]];

		if (gpu_is_usable(gpu) || gpu->health == GPU_HEALTH_STALE)
			continue;
		check_add(
		    check, CHECK_GPU_UNUSABLE,
		    &(struct finding){
			.span = compose_request_place(service->gpus->decides),
			.service = service->service->name,
			.message = mem_printf("%s is assigned to %s: %s", service->service->name,
					      check_gpu_name(check, service->assigned[i]),
					      gpu->health_text[0] ? gpu->health_text
								  : gpu_health_name(gpu->health)),
			.fix = mem_strdup("mend the GPU (`plimsoll gpus` says how it "
					  "stands), or assign another"),
		    });
	}
}

static void against(struct check *check, const struct stack_service *service, const char *why,
		    size_t gpu, const char *beside)
{
	const struct gpu_list *list = check->stack->list;
	const struct compose_value *value = check_value(service);
	size_t other = 0;
	char *fix;

	while (other < list->n && (other == gpu || !gpu_is_usable(&list->gpus[other]) ||
				   !check_may_use(check, service, other, NULL)))
		other++;
	if (other < list->n)
		fix = mem_printf("%s; or change `%.*s` under x-plimsoll",
				 check_how_to_say(check, service->gpus->decides, value,
						  check_device(check, other, value)),
				 (int)strcspn(why, ":"), why);
	else
		fix = mem_printf("change `%.*s` under x-plimsoll: no other GPU is there for it",
				 (int)strcspn(why, ":"), why);
	check_add(check, CHECK_AGAINST_NEED,
		  &(struct finding){
		      .span = compose_request_place(service->gpus->decides),
		      .service = service->service->name,
		      .message = mem_printf("%s is assigned to %s%s%s, and says `%s`",
					    service->service->name, check_gpu_name(check, gpu),
					    beside ? " beside " : "", beside ? beside : "", why),
		      .fix = fix,
		  });
}

static bool shares_gpu(const struct stack_service *a, const struct stack_service *b,
		       size_t *ret_gpu)
{
	for (size_t i = 0; i < a->n_assigned; i++)
		for (size_t k = 0; k < b->n_assigned; k++)
			if (a->assigned[i] == b->assigned[k]) {
				*ret_gpu = a->assigned[i];
				return true;
			}
	return false;
}

static bool names(const struct strings *list, const char *name)
{
	for (size_t i = 0; i < list->n; i++)
		if (strcmp(list->items[i], name) == 0)
			return true;
	return false;
}

static void needs(struct check *check, const struct stack_service *service)
{
	const struct stack *stack = check->stack;
	const char *why;
	size_t gpu;

	if (service->gpus->decides->all)
		return;
	for (size_t i = 0; i < service->n_assigned; i++)
		if (!check_may_use(check, service, service->assigned[i], &why)) {
			against(check, service, why, service->assigned[i], NULL);
			return;
		}
	if (!service->need.exclusive && service->need.not_with.n == 0)
		return;
	for (size_t i = 0; i < stack->n; i++) {
		const struct stack_service *other = &stack->services[i];
		const char *name = other->service->name;

		if (other == service || !other->wants_gpu || other->gpus->decides->all ||
		    !shares_gpu(service, other, &gpu))
			continue;
		if (names(&service->need.not_with, name))
			why = arena_printf(&stack->project->arena, "not-with: %s", name);
		else if (service->need.exclusive)
			why = "exclusive: true";
		else
			continue;
		against(check, service, why, gpu, name);
		return;
	}
}

static void replicas(struct check *check, const struct stack_service *service)
{
	unsigned n = service->service->replicas;

	if (n < 2 || service->need.together || service->n_assigned == 0 ||
	    (service->n_assigned > 1 && stack_gpus_asked(service) >= service->n_assigned) ||
	    check->stack->list->n < 2)
		return;
	check_add(check, CHECK_REPLICAS_SHARE,
		  &(struct finding){
		      .span = compose_request_place(service->gpus->decides),
		      .service = service->service->name,
		      .message = service->n_assigned == 1
				     ? mem_printf("all %u replicas of %s get %s", n,
						  service->service->name,
						  check_gpu_name(check, service->assigned[0]))
				     : mem_printf("each of the %u replicas of %s gets %s, and most "
						  "programs use the first they see",
						  n, service->service->name,
						  check_gpu_numbers(check, service->assigned,
								    service->n_assigned)),
		      .fix = mem_printf("write a service for each GPU (`extends: %s` with its own "
					"device_ids)",
					service->service->name),
		  });
}

/* Nothing is assigned to it, nothing can be (count: all), and next to nothing uses it. */
static bool is_idle(const struct check *check, size_t gpu)
{
	const struct stack *stack = check->stack;
	const struct gpu *g = &stack->list->gpus[gpu];

	if (!gpu_is_usable(g) || !gpu_has(g, GPU_TOTAL) || stack->ledger->gpus[gpu].closed ||
	    stack->foreign_bytes[gpu] > g->vram.total_bytes / 10)
		return false;
	for (size_t i = 0; i < stack->n; i++) {
		const struct stack_service *service = &stack->services[i];

		if (!service->wants_gpu)
			continue;
		if (!service->assigned_known)
			return false;
		if (stack_is_among(service->assigned, service->n_assigned, gpu))
			return false;
	}
	return true;
}

static bool avoids(const struct check *check, const struct stack_service *service, size_t gpu)
{
	bool which[PLAN_GPUS_MAX];

	for (size_t i = 0; i < service->need.avoid.n; i++) {
		(void)stack_match_gpus(check->stack->list, service->need.avoid.items[i], which);
		if (which[gpu])
			return true;
	}
	return service->need.gpu != NULL;
}

/* Of each GPU. */
struct sharing {
	unsigned n[PLAN_GPUS_MAX];   /* services that have it and no other */
	bool is_over[PLAN_GPUS_MAX]; /* its line: told elsewhere, with what is to be done */
	uint64_t load[PLAN_GPUS_MAX];
};

static void sharing_of(const struct check *check, struct sharing *sharing)
{
	for (size_t i = 0; i < check->stack->n; i++) {
		const struct stack_service *service = &check->stack->services[i];

		if (service->wants_gpu && service->n_assigned == 1)
			sharing->n[service->assigned[0]]++;
	}
	for (size_t g = 0; g < check->stack->list->n; g++) {
		sharing->load[g] = check_load_on(check, g, NULL);
		sharing->is_over[g] = check_capacity_known(check, g) &&
				      sharing->load[g] > check_capacity_of(check, g);
	}
}

/* As the planner counts it: of the GPUs that get something, in percent, rounded up. */
static uint64_t highest_use(const struct check *check, const struct sharing *sharing)
{
	uint64_t highest = 0;

	for (size_t g = 0; g < check->stack->list->n; g++) {
		const uint64_t total = check->stack->ledger->gpus[g].total_bytes;
		const uint64_t used = sharing->load[g] + check->stack->foreign_bytes[g];

		if (check_capacity_known(check, g) && total > 0 && sharing->load[g] > 0)
			highest =
			    MAX_OF(highest, (uint64_t)ceil(100.0 * (double)used / (double)total));
	}
	return highest;
}

static uint64_t use_after(const struct check *check, const struct sharing *sharing,
			  const struct stack_service *service, size_t gpu)
{
	const uint64_t load = check_load_of(service);
	struct sharing after = *sharing;

	after.load[service->assigned[0]] -= MIN_OF(load, after.load[service->assigned[0]]);
	after.load[gpu] += load;
	return highest_use(check, &after);
}

/* Of those that would fit there and share their GPU now, the one that lowers the highest use most;
 * of several the largest. A GPU that the planner would leave empty, too, is not idle. */
static const struct stack_service *who_moves(const struct check *check,
					     const struct sharing *sharing, size_t gpu)
{
	const struct stack_service *best = NULL;
	uint64_t lowest = highest_use(check, sharing), after;

	for (size_t i = 0; i < check->stack->n; i++) {
		const struct stack_service *service = &check->stack->services[i];
		const size_t from = service->n_assigned == 1 ? service->assigned[0] : 0;

		if (!check_counts(service) || service->n_assigned != 1 ||
		    service->service->replicas > 1 || sharing->n[from] < 2 ||
		    sharing->is_over[from] || service->vram_bytes > check_capacity_of(check, gpu) ||
		    !check_may_use(check, service, gpu, NULL) || avoids(check, service, gpu))
			continue;
		after = use_after(check, sharing, service, gpu);
		if (after > lowest ||
		    (after == lowest && (!best || service->vram_bytes <= best->vram_bytes)))
			continue;
		lowest = after;
		best = service;
	}
	return best;
}

static void idle(struct check *check, const struct sharing *sharing, size_t gpu)
{
	const struct stack_service *best = who_moves(check, sharing, gpu);
	const char *index;

	if (!best)
		return;
	index = check_device(check, gpu, check_value(best));
	check_add(check, CHECK_IDLE_GPU,
		  &(struct finding){
		      .span = compose_request_place(best->gpus->decides),
		      .service = best->service->name,
		      .message = mem_printf("%u services share %s while nothing is assigned to %s",
					    sharing->n[best->assigned[0]],
					    check_gpu_name(check, best->assigned[0]),
					    check_gpu_name(check, gpu)),
		      .fix = mem_printf(
			  "%s: %s (%s) fits there; `plimsoll plan` says what is best",
			  check_how_to_say(check, best->gpus->decides, check_value(best), index),
			  best->service->name, SIZE_TEXT(best->vram_bytes)),
		  });
}

void check_placement(struct check *check)
{
	const struct stack *stack = check->stack;
	struct sharing sharing = {};

	for (size_t i = 0; i < stack->n && stack->list->n > 0; i++) {
		const struct stack_service *service = &stack->services[i];

		if (!service->wants_gpu)
			continue;
		if (!service->assigned_known) {
			not_there(check, service);
			continue;
		}
		unusable(check, service);
		needs(check, service);
		replicas(check, service);
	}
	sharing_of(check, &sharing);
	for (size_t g = 0; g < stack->list->n && stack->list->n > 1; g++)
		if (is_idle(check, g))
			idle(check, &sharing, g);
}
