/*
 * Sizes. A service larger than its GPU is one fault, GPUs promised too much another, and services
 * that fit nowhere together a third; each is told once, where it is to be mended. A service that
 * is too large by itself does not count towards its GPU's sum.
 */
#include "check/check_priv.h"

#include "util/size.h"

#include <errno.h>
#include <string.h>

/* The planner gives up its proof after this many nodes: a check is run again and again. 40 services
 * on 8 GPUs need far fewer. */
#define WORK_MAX 2000000

/* Where it could go instead, or what else helps. New. */
static char *fix_by_moving(const struct check *check, const struct stack_service *service,
			   size_t from)
{
	bool alone = false;
	size_t to = check_better_gpu(check, service, &alone);
	const struct compose_value *value = check_value(service);

	if (to == SIZE_MAX)
		return mem_printf("no GPU here takes %s: a smaller model, `on-demand: true` for a "
				  "part of it under x-plimsoll, or a larger GPU",
				  service->service->name);
	if (to == from || alone)
		return mem_printf("%s takes %s only when something leaves it or loads on demand "
				  "(`on-demand: true` under x-plimsoll): `plimsoll plan` says what",
				  check_gpu_name(check, to), service->service->name);
	return mem_printf(
	    "%s: %s has room for it",
	    check_how_to_say(check, service->gpus->decides, value, check_device(check, to, value)),
	    check_gpu_name(check, to));
}

static void over_size(struct check *check, const struct stack_service *service)
{
	for (size_t i = 0; i < service->n_assigned; i++) {
		const size_t g = service->assigned[i];
		const struct gpu *gpu = &check->stack->list->gpus[g];

		if (!gpu_has(gpu, GPU_TOTAL) || stack_least_bytes(service) <= gpu->vram.total_bytes)
			continue;
		check_add(check, CHECK_OVER_GPU_SIZE,
			  &(struct finding){
			      .span = compose_request_place(service->gpus->decides),
			      .service = service->service->name,
			      .message = mem_printf(
				  "%s needs %s and is assigned to %s", service->service->name,
				  SIZE_TEXT(stack_least_bytes(service)), check_gpu_name(check, g)),
			      .fix = fix_by_moving(check, service, g),
			  });
		return;
	}
}

static bool loads(const struct check *check, const struct stack_service *service, size_t gpu)
{
	const struct gpu *g = &check->stack->list->gpus[gpu];

	if (!check_counts(service) || check_load_of(service) == 0 ||
	    (gpu_has(g, GPU_TOTAL) && service->vram_bytes > g->vram.total_bytes))
		return false;
	return stack_is_among(service->assigned, service->n_assigned, gpu);
}

/* "ai-llm 18 GiB, ai-enrichment 6 GiB", the largest first; eight names are enough. */
static void add_loads(const struct check *check, size_t gpu, struct text *text)
{
	const struct stack *stack = check->stack;
	auto_free bool *done = mem_calloc(stack->n + 1, sizeof *done);

	for (unsigned k = 0;; k++) {
		const struct stack_service *most = NULL;

		for (size_t i = 0; i < stack->n; i++)
			if (!done[i] && loads(check, &stack->services[i], gpu) &&
			    (!most || check_load_of(&stack->services[i]) > check_load_of(most)))
				most = &stack->services[i];
		if (!most)
			return;
		if (k == 8) {
			text_add(text, ", ...");
			return;
		}
		done[most - stack->services] = true;
		text_printf(text, "%s%s %s", k ? ", " : "", most->service->name,
			    SIZE_TEXT(check_load_of(most)));
		if (most->service->replicas > 1)
			text_printf(text, " (%u times %s)", most->service->replicas,
				    SIZE_TEXT(most->vram_bytes));
	}
}

/* The smallest that is enough, else the largest: whoever must be kept comes last. */
static const struct stack_service *who_yields(const struct check *check, size_t gpu,
					      uint64_t excess)
{
	const struct stack_service *best = NULL;

	for (size_t i = 0; i < check->stack->n; i++) {
		const struct stack_service *service = &check->stack->services[i];
		uint64_t load = check_load_of(service), other = best ? check_load_of(best) : 0;
		bool enough = load >= excess, best_enough = other >= excess;

		if (!loads(check, service, gpu))
			continue;
		if (!best || (best->need.keep && !service->need.keep) ||
		    (best->need.keep == service->need.keep &&
		     (enough != best_enough ? enough : enough == (load < other))))
			best = service;
	}
	return best;
}

static void over_line(struct check *check, size_t gpu)
{
	const struct ledger_gpu *line = &check->stack->ledger->gpus[gpu];
	uint64_t foreign = check->stack->foreign_bytes[gpu], promised, excess;
	const struct stack_service *yields;
	auto_text struct text text = {};

	promised = check_load_on(check, gpu, NULL);
	if (!line->vram_known || promised == 0 || promised + foreign <= line->load_line_bytes)
		return;
	excess = promised + foreign - line->load_line_bytes;
	yields = who_yields(check, gpu, excess);
	text_printf(&text, "%s is promised %s (", check_gpu_name(check, gpu), SIZE_TEXT(promised));
	add_loads(check, gpu, &text);
	text_add(&text, ")");
	if (foreign > 0)
		text_printf(&text, " beside %s of others", SIZE_TEXT(foreign));
	text_printf(&text, "; its load line is at %s, %s less", SIZE_TEXT(line->load_line_bytes),
		    SIZE_TEXT(excess));
	check_add(check, CHECK_OVER_LOAD_LINE,
		  &(struct finding){
		      .span = compose_request_place(yields->gpus->decides),
		      .service = yields->service->name,
		      .message = text_take(&text),
		      .fix = fix_by_moving(check, yields, gpu),
		  });
}

static void add_change(const struct check *check, const struct stack_problem *problem,
		       const struct plan_change *change, struct text *text)
{
	const struct stack_service *service;
	const char *name, *model;

	if (change->action == PLAN_BIGGER_GPU) {
		text_printf(text, "replace %s by one of %s", check_gpu_name(check, change->gpu),
			    SIZE_TEXT(change->bytes));
		return;
	}
	service = &check->stack->services[problem->services[change->service]];
	name = service->service->name;
	model = change->model == SIZE_MAX
		    ? NULL
		    : problem->problem.services[change->service].models[change->model].name;
	if (change->action == PLAN_ON_DEMAND)
		text_printf(text, "let %s%s%s load on demand (`on-demand: true` under x-plimsoll)",
			    model ? model : "", model ? " of " : "", name);
	else if (change->action == PLAN_CPU)
		text_printf(text, "let %s go to the CPU", name);
	else
		text_printf(text, "shrink %s%s%s by %s", model ? model : "", model ? " of " : "",
			    name, SIZE_TEXT(change->bytes));
}

static void no_way(struct check *check, const struct stack_problem *problem,
		   const struct plan *plan)
{
	const struct plan_way *way = plan->n_ways > 0 ? &plan->ways[0] : NULL;
	const struct stack_service *service = NULL;
	auto_text struct text fix = {};

	for (size_t i = 0; way && i < way->n_changes; i++) {
		const struct plan_change *change = &way->changes[i];

		if (!service && change->action != PLAN_BIGGER_GPU)
			service = &check->stack->services[problem->services[change->service]];
		text_add(&fix, i ? ", and " : "");
		add_change(check, problem, change, &fix);
	}
	text_printf(&fix, "%s`plimsoll plan` lists the ways out", fix.data ? "; " : "");
	if (!service)
		service = &check->stack->services[problem->services[0]];
	check_add(check, CHECK_DOES_NOT_FIT,
		  &(struct finding){
		      .span = compose_request_place(service->gpus->decides),
		      .service = service->service->name,
		      .message = mem_strdup(plan->reason),
		      .fix = text_take(&fix),
		  });
}

/* As compose runs them: replicas are all on one GPU. More GPUs than there are is told elsewhere. */
static void as_compose(const struct check *check, struct plan_problem *problem)
{
	struct plan_service *services =
	    arena_alloc(&check->stack->project->arena, problem->n_services * sizeof *services);

	for (size_t i = 0; i < problem->n_services; i++) {
		services[i] = problem->services[i];
		services[i].gpus = MIN_OF(services[i].gpus, (unsigned)problem->n_gpus);
		if (services[i].replicas < 2)
			continue;
		/* One at a time can load. */
		if (!services[i].on_demand)
			services[i].vram_bytes *= services[i].replicas;
		services[i].replicas = 1;
		services[i].n_models = 0; /* each replica has its own */
	}
	problem->services = services;
}

/* What is below all load lines together, and below the highest of them. */
static void sum_capacity(const struct check *check, uint64_t *ret_all, uint64_t *ret_most)
{
	*ret_all = *ret_most = 0;
	for (size_t g = 0; g < check->stack->list->n; g++) {
		const uint64_t room = check_capacity_of(check, g);

		*ret_all += room;
		*ret_most = MAX_OF(*ret_most, room);
	}
}

/* Without the planner: no GPU takes it, or all together is more than all GPUs take. */
static bool sum_does_not_fit(struct check *check)
{
	const struct stack *stack = check->stack;
	const struct stack_service *largest = NULL;
	uint64_t all, most, sum = 0;
	auto_free char *message = NULL;
	size_t n = 0;

	sum_capacity(check, &all, &most);
	for (size_t i = 0; i < stack->n; i++) {
		const struct stack_service *service = &stack->services[i];

		if (!service->wants_gpu || !service->vram_known)
			continue;
		n++;
		sum += check_load_of(service) * stack_gpus_asked(service);
		if (!largest || stack_least_bytes(service) > stack_least_bytes(largest))
			largest = service;
	}
	if (!largest || stack->list->n == 0)
		return false;
	if (stack_least_bytes(largest) > most)
		message = mem_printf("%s needs %s on a GPU, and the most that one has below its "
				     "load line is %s",
				     largest->service->name, SIZE_TEXT(stack_least_bytes(largest)),
				     SIZE_TEXT(most));
	else if (sum > all)
		message = mem_printf("%zu services need %s, and all GPUs have %s below their load "
				     "lines",
				     n, SIZE_TEXT(sum), SIZE_TEXT(all));
	if (!message)
		return false;
	check_add(check, CHECK_DOES_NOT_FIT,
		  &(struct finding){
		      .span = compose_request_place(largest->gpus->decides),
		      .service = largest->service->name,
		      .message = TAKE(message),
		      .fix = mem_strdup("fewer or smaller services, or let some load on demand "
					"(`on-demand: true` under x-plimsoll)"),
		  });
	return true;
}

static void not_proved(struct check *check, const char *why, const char *fix)
{
	check_add(
	    check, CHECK_FIT_UNKNOWN,
	    &(struct finding){
		.message = mem_printf("whether all services fit together is not known: %s", why),
		.fix = mem_strdup(fix),
	    });
}

static void does_not_fit(struct check *check)
{
	struct stack_problem problem = {};
	auto_plan struct plan *plan = NULL;
	struct error why = {};
	int r = stack_problem(check->stack, PLAN_BALANCE, &problem, &why);

	if (r == -E2BIG && !sum_does_not_fit(check))
		not_proved(check, error_text(&why),
			   "check it in parts, each with what shares its GPUs");
	/* A pin to a GPU that is not there has a finding of its own. */
	if (r < 0)
		return;
	problem.problem.work_max = WORK_MAX;
	as_compose(check, &problem.problem);
	if (problem.problem.n_services > 0 && problem.problem.n_gpus > 0 &&
	    plan_solve(&problem.problem, &plan, NULL) == 0 && !plan->feasible) {
		if (plan->proved)
			no_way(check, &problem, plan);
		else if (!sum_does_not_fit(check))
			not_proved(check, plan->reason, "`plimsoll plan` looks longer");
	}
	stack_problem_finish(&problem);
}

/* It gets every GPU and needs fewer: nobody says which. */
static bool gets_all(const struct stack_service *service)
{
	return service->wants_gpu && service->vram_known && service->assigned_known &&
	       service->gpus->decides->all && !service->need.on_demand &&
	       stack_gpus_asked(service) < service->n_assigned;
}

/* Where programs that are given every GPU go by themselves. */
static void first_crowded(struct check *check, size_t gpu)
{
	const struct stack *stack = check->stack;
	const struct stack_service *most = NULL;
	uint64_t there = check_load_on(check, gpu, NULL), all = 0;
	auto_text struct text names = {};
	unsigned n = 0;

	for (size_t i = 0; i < stack->n; i++) {
		const struct stack_service *service = &stack->services[i];

		if (!gets_all(service) || service->assigned[0] != gpu)
			continue;
		if (n++ < 8)
			text_printf(&names, "%s%s %s", n > 1 ? ", " : "", service->service->name,
				    SIZE_TEXT(check_load_of(service)));
		all += check_load_of(service);
		most = most && most->vram_bytes >= service->vram_bytes ? most : service;
	}
	if (!most || !check_capacity_known(check, gpu) || there > check_capacity_of(check, gpu) ||
	    there + all <= check_capacity_of(check, gpu))
		return;
	if (there > 0)
		text_printf(&names, ", and %s assigned there", SIZE_TEXT(there));
	check_add(check, CHECK_FIRST_GPU_CROWDED,
		  &(struct finding){
		      .span = compose_request_place(most->gpus->decides),
		      .service = most->service->name,
		      .message = mem_printf(
			  "%u service%s %s all GPUs, and most programs use the first "
			  "they see: that would be %s (%s) on %s, which has %s below "
			  "its load line",
			  n, PLURAL(n), n == 1 ? "gets" : "get", SIZE_TEXT(there + all), names.data,
			  check_gpu_name(check, gpu), SIZE_TEXT(check_capacity_of(check, gpu))),
		      .fix = mem_strdup("name a GPU for each with device_ids: `plimsoll plan` says "
					"which, `plimsoll apply` writes it"),
		  });
}

void check_capacity(struct check *check)
{
	for (size_t i = 0; i < check->stack->n; i++)
		if (check_counts(&check->stack->services[i]))
			over_size(check, &check->stack->services[i]);
	for (size_t g = 0; g < check->stack->list->n; g++)
		over_line(check, g);
	for (size_t g = 0; g < check->stack->list->n; g++)
		first_crowded(check, g);
	does_not_fit(check);
}
