/* The words of the planner. Numbers are those of the problem: load lines less what is foreign. */
#include "place/plan_priv.h"
#include "util/size.h"

#include <string.h>

/* Rules that are named with the GPUs they rule out. */
#define RULES_MAX 4

void plan_gpu_names(const struct plan_problem *problem, const size_t *gpus, size_t n,
		    struct text *text)
{
	text_add(text, n == 1 ? "GPU " : "GPUs ");
	for (size_t i = 0; i < n; i++)
		text_printf(text, "%s%u",
			    i == 0       ? ""
			    : i + 1 == n ? " and "
					 : ", ",
			    problem->gpus[gpus[i]].index);
}

static void copy_text(char *to, size_t size, const struct text *text)
{
	(void)snprintf(to, size, "%s", text->data ? text->data : "");
}

static bool is_in(const struct plan_place *place, size_t gpu)
{
	for (size_t i = 0; i < place->n; i++)
		if (place->gpus[i] == gpu)
			return true;
	return false;
}

/* What a GPU must have room for, for this service alone. */
static uint64_t least_bytes(const struct plan_service *service)
{
	uint64_t load = plan_load_bytes(service);

	return service->on_demand ? load : MAX_OF(load, service->vram_bytes);
}

/* GPUs that would take it if it were alone. */
static size_t list_alone(const struct plan_problem *problem, const struct plan_service *service,
			 size_t gpus[PLAN_GPUS_MAX])
{
	size_t n = 0;

	for (size_t g = 0; g < problem->n_gpus; g++)
		if (problem->gpus[g].usable && service->allowed[g] &&
		    least_bytes(service) <= plan_below_line(&problem->gpus[g]))
			gpus[n++] = g;
	return n;
}

bool plan_fits_alone(const struct plan_problem *problem, const struct plan_service *service)
{
	size_t gpus[PLAN_GPUS_MAX];

	return list_alone(problem, service, gpus) >= (uint64_t)service->gpus * service->replicas;
}

/* The usable GPUs that are too small for it, with what they have. */
static void add_too_small(const struct plan_problem *problem, const struct plan_service *service,
			  struct text *text)
{
	bool first = true;

	for (size_t g = 0; g < problem->n_gpus; g++) {
		const struct plan_gpu *gpu = &problem->gpus[g];

		if (!gpu->usable || !service->allowed[g] ||
		    least_bytes(service) <= plan_below_line(gpu))
			continue;
		text_printf(text, "%sGPU %u has %s", first ? "" : ", ", gpu->index,
			    SIZE_TEXT(plan_below_line(gpu)));
		first = false;
	}
}

/* Nothing is planned for it, or its largest is only then there. */
static const char *when_it_loads(const struct plan_service *service)
{
	return service->on_demand || plan_load_bytes(service) > service->vram_bytes
		   ? " when it loads"
		   : "";
}

static const char *which(const struct plan_service *service)
{
	return service->gpus * service->replicas == 1 ? "" : " each";
}

void plan_reason(const struct plan_problem *problem, const struct plan_place *places,
		 const uint64_t *planned_bytes, size_t service, char reason[256])
{
	const struct plan_service *s = &problem->services[service];
	const struct plan_place *place = &places[service];
	auto_text struct text text = {};
	auto_text struct text small = {};
	size_t alone[PLAN_GPUS_MAX], n = list_alone(problem, s, alone);
	uint64_t left = 0;

	for (size_t i = 0; i < place->n; i++) {
		const struct plan_gpu *gpu = &problem->gpus[place->gpus[i]];
		uint64_t here = plan_below_line(gpu) -
				MIN_OF(plan_below_line(gpu), planned_bytes[place->gpus[i]]);

		left = i == 0 ? here : MIN_OF(left, here);
	}
	if (s->on_demand) {
		text_printf(&text, "loads on demand: ");
		plan_gpu_names(problem, place->gpus, place->n, &text);
		text_printf(&text, " %s %s left below the load line",
			    place->n == 1 ? "has" : "have", SIZE_TEXT(left));
		if (n < problem->n_gpus)
			add_too_small(problem, s, &small);
		if (small.len > 0)
			text_printf(&text, "; it is %s when it loads: %s",
				    SIZE_TEXT(least_bytes(s)), small.data);
	} else if (n == place->n) {
		text_printf(&text, "%s%s fits ", SIZE_TEXT(s->vram_bytes), which(s));
		plan_gpu_names(problem, alone, n, &text);
		text_printf(&text, " alone (%s",
			    SIZE_TEXT(plan_below_line(&problem->gpus[alone[0]])));
		add_too_small(problem, s, &small);
		if (small.len > 0)
			text_printf(&text, "; %s", small.data);
		else if (n < problem->n_gpus)
			text_add(&text, "; it may use no other");
		text_add(&text, ")");
	} else {
		text_add(&text, s->n_today == 0 ? "on " : place->moved ? "moves to " : "stays on ");
		plan_gpu_names(problem, place->gpus, place->n, &text);
		text_printf(&text, ": %s%s, which leaves %s below the load line",
			    SIZE_TEXT(s->vram_bytes), which(s), SIZE_TEXT(left));
	}
	copy_text(reason, 256, &text);
}

/* The rule that keeps it off a GPU that could be used. */
static const char *rule_of(const struct plan_service *service, size_t g)
{
	return service->why_not && service->why_not[g] ? service->why_not[g] : "a rule of its own";
}

/* Why it may not use it; NULL: it may. */
static const char *barred_by(const struct plan_problem *problem, const struct plan_service *service,
			     size_t g)
{
	if (!problem->gpus[g].usable)
		return "";
	return service->allowed[g] ? NULL : rule_of(service, g);
}

/* ": GPUs 0 and 2 are ruled out by `forbid: A100`, GPU 1 cannot be used"; a few are enough. */
static void add_ruled_out(const struct plan_problem *problem, const struct plan_service *service,
			  struct text *text)
{
	bool done[PLAN_GPUS_MAX] = {};
	size_t n_rules = 0;

	for (size_t g = 0; g < problem->n_gpus; g++) {
		const char *rule = barred_by(problem, service, g);
		size_t gpus[PLAN_GPUS_MAX], n = 0;

		if (!rule || done[g])
			continue;
		if (n_rules == RULES_MAX) {
			text_add(text, ", ...");
			return;
		}
		for (size_t k = g; k < problem->n_gpus; k++) {
			const char *other = barred_by(problem, service, k);

			done[k] |= other && strcmp(rule, other) == 0;
			if (other && strcmp(rule, other) == 0)
				gpus[n++] = k;
		}
		text_add(text, n_rules++ == 0 ? ": " : ", ");
		plan_gpu_names(problem, gpus, n, text);
		if (*rule)
			text_printf(text, " %s ruled out by %s", n == 1 ? "is" : "are", rule);
		else
			text_add(text, " cannot be used");
	}
}

/* It may use fewer GPUs than it has to have. */
static void add_too_few(const struct plan_problem *problem, const struct plan_service *service,
			unsigned may, struct text *text)
{
	const unsigned wanted = service->gpus * service->replicas;

	if (wanted == 1)
		text_printf(text, "%s may use no GPU that is here", service->name);
	else if (service->replicas == 1)
		text_printf(text,
			    "%s needs %u different GPUs at once and may use %u of the %zu here",
			    service->name, wanted, may, problem->n_gpus);
	else
		text_printf(text,
			    "%s needs %u different GPUs for its %u replicas and may use %u of the "
			    "%zu here",
			    service->name, wanted, service->replicas, may, problem->n_gpus);
	add_ruled_out(problem, service, text);
	if (may > 0 && service->replicas > 1)
		text_add(text, "; fewer replicas, or `replicas: together` under x-plimsoll, which "
			       "puts all of them on the same, would ask for fewer");
	else if (may > 0)
		text_printf(text, "; `gpus: %u` under x-plimsoll would be as many as there are",
			    may);
}

/* A service that cannot be placed even alone; false when there is none. */
static bool find_misfit(const struct plan_problem *problem, struct text *text)
{
	for (size_t i = 0; i < problem->n_services; i++) {
		const struct plan_service *s = &problem->services[i];
		unsigned may = 0, wanted = s->gpus * s->replicas;
		size_t alone[PLAN_GPUS_MAX], n = list_alone(problem, s, alone);

		if (n >= wanted)
			continue;
		for (size_t g = 0; g < problem->n_gpus; g++)
			may += problem->gpus[g].usable && s->allowed[g];
		if (may < wanted) {
			add_too_few(problem, s, may, text);
			return true;
		}
		text_printf(text, "%s needs %s on %s%s, more than is there below the load line: ",
			    s->name, SIZE_TEXT(least_bytes(s)),
			    wanted == 1 ? "a GPU" : "each of several GPUs", when_it_loads(s));
		add_too_small(problem, s, text);
		return true;
	}
	return false;
}

/* Services that may use only some of the GPUs, and need more than these have. */
static bool find_tight_group(const struct core *core, struct text *text)
{
	for (size_t k = 0; k < core->n; k++) {
		uint64_t group = core->items[k].allowed, needed = 0, room = 0;
		size_t gpus[PLAN_GPUS_MAX], n = 0, services = 0;

		for (size_t i = 0; i < core->n; i++)
			if ((core->items[i].allowed & ~group) == 0) {
				needed += core->items[i].size * core->items[i].count;
				services++;
			}
		for (uint64_t rest = group; rest; rest &= rest - 1) {
			gpus[n++] = core->gpus[__builtin_ctzll(rest)].gpu;
			room += core_room(core, (size_t)__builtin_ctzll(rest), UINT32_MAX);
		}
		if (needed <= room || n == core->m)
			continue;
		text_printf(text, "%zu service%s may use nothing but ", services, PLURAL(services));
		plan_gpu_names(core->problem, gpus, n, text);
		text_printf(text, " and need %s; there is %s below the load line",
			    SIZE_TEXT(needed), SIZE_TEXT(room));
		return true;
	}
	return false;
}

void plan_reason_none(const struct core *core, struct plan *plan)
{
	const struct plan_problem *problem = core->problem;
	auto_text struct text text = {};
	size_t n = 0;

	for (size_t i = 0; i < core->n; i++)
		n += !core->items[i].on_demand;
	if (core->m == 0) {
		text_add(&text, "no GPU can be used");
	} else if (!find_misfit(problem, &text) && !find_tight_group(core, &text)) {
		text_printf(&text,
			    "%zu service%s need%s %s; the GPUs have %s, %s below the load "
			    "line",
			    n, PLURAL(n), n == 1 ? "s" : "", SIZE_TEXT(plan->needed_bytes),
			    SIZE_TEXT(plan->total_bytes), SIZE_TEXT(plan->capacity_bytes));
		if (plan->needed_bytes <= plan->capacity_bytes)
			text_add(&text, plan->proved
					    ? ", but in no combination does all of it fit"
					    : ", and no combination was found in the time given");
	}
	copy_text(plan->reason, sizeof plan->reason, &text);
}

/* With which service on GPU `g` may it not be there? NULL: with all. */
static const struct plan_service *find_rival(const struct plan_problem *problem,
					     const struct plan *plan, size_t service, size_t g)
{
	const struct plan_service *s = &problem->services[service];

	for (size_t i = 0; plan->places && i < problem->n_services; i++) {
		const struct plan_service *other = &problem->services[i];
		bool apart = s->exclusive || other->exclusive;

		if (i == service || !is_in(&plan->places[i], g))
			continue;
		for (size_t k = 0; k < s->n_not_with; k++)
			apart |= s->not_with[k] == i;
		for (size_t k = 0; k < other->n_not_with; k++)
			apart |= other->not_with[k] == service;
		if (apart)
			return other;
	}
	return NULL;
}

static void add_rival(const struct plan_service *service, const struct plan_service *rival,
		      struct text *text)
{
	if (service->exclusive)
		text_printf(text, "not shared: it is exclusive, and %s is there", rival->name);
	else if (rival->exclusive)
		text_printf(text, "not shared: %s is there, which is exclusive", rival->name);
	else
		text_printf(text, "not with %s, which is there", rival->name);
}

bool plan_is_on(const struct plan *plan, size_t service, size_t g)
{
	return plan->places && is_in(&plan->places[service], g);
}

bool plan_explain_gpu(const struct plan_problem *problem, const struct plan *plan, size_t service,
		      size_t g, struct text *text)
{
	const struct plan_service *s = &problem->services[service];
	const struct plan_gpu *gpu = &problem->gpus[g];
	const bool here = plan_is_on(plan, service, g);
	const struct plan_service *rival = find_rival(problem, plan, service, g);
	const uint64_t own = s->on_demand ? 0 : s->vram_bytes, line = plan_below_line(gpu);
	const uint64_t beside =
	    (plan->planned_bytes ? plan->planned_bytes[g] : 0) - (here ? own : 0);
	const uint64_t with = beside + own;
	bool possible = false;

	if (!gpu->usable) {
		text_add(text, "cannot be used");
	} else if (!s->allowed[g]) {
		text_printf(text, "not allowed: %s", rule_of(s, g));
	} else if (least_bytes(s) > line) {
		text_printf(text, "too small: %s%s of %s below the load line",
			    SIZE_TEXT(least_bytes(s)), when_it_loads(s), SIZE_TEXT(line));
	} else if (rival) {
		add_rival(s, rival, text);
	} else if (with > line) {
		text_printf(text,
			    "full: %s are planned beside it, %s with it, %s below the load line",
			    SIZE_TEXT(beside), SIZE_TEXT(with), SIZE_TEXT(line));
	} else {
		possible = true;
		text_printf(text, "%.1f %% used with it (%s of %s, %s left below the load line)",
			    100.0 * (double)(with + gpu->foreign_bytes) / (double)gpu->total_bytes,
			    SIZE_TEXT(with + gpu->foreign_bytes), SIZE_TEXT(gpu->total_bytes),
			    SIZE_TEXT(line - with));
	}
	if (gpu->usable && s->allowed[g] && s->preference[g] != 0)
		text_add(text, s->preference[g] > 0 ? "; preferred" : "; to be avoided");
	return possible;
}

void plan_explain(const struct plan_problem *problem, const struct plan *plan, size_t service,
		  struct text *text)
{
	for (size_t g = 0; g < problem->n_gpus; g++) {
		text_printf(text, "GPU %u: %s", problem->gpus[g].index,
			    plan_is_on(plan, service, g) ? "here; " : "");
		(void)plan_explain_gpu(problem, plan, service, g, text);
		text_add(text, "\n");
	}
}
