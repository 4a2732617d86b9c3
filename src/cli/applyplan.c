/*
 * From the plan to edits: each service that has a place becomes a target of compose_assign(), with
 * the words that stand beside the assignment, and go with it.
 */
#include "cli/apply.h"

#include "compose/assign.h"
#include "util/size.h"

#include <string.h>

/* What is worth knowing beside an assignment: "1.2 GiB", and compose_assign() says on which GPU. */
static char *why_text(const struct stack_service *service, uint64_t bytes)
{
	return bytes == 0 ? mem_printf("%s on demand", SIZE_TEXT(service->vram_bytes))
			  : mem_printf("%s", SIZE_TEXT(bytes));
}

/* What a GPU could still take beside all that is planned for it. */
static uint64_t room_of(const struct apply *apply, size_t gpu)
{
	const struct plan_gpu *line = &apply->taken.problem.gpus[gpu];
	uint64_t taken = line->foreign_bytes + apply->taken.plan.planned_bytes[gpu];

	return line->usable ? line->load_line_bytes - MIN_OF(line->load_line_bytes, taken) : 0;
}

/* Edits with `!override` are for programs that can read it: whoever cannot would not read the file
 * at all. Only then is it asked, which takes a moment. */
static int assign_for_program(struct apply *apply, const struct compose_target *targets, size_t n,
			      struct compose_assign_options *options, struct error *err)
{
	struct workspace *before = &apply->before;
	auto_free char *program = NULL;
	struct compose_edits edits = {};
	auto_strings struct strings notes = {};
	bool overrides = false;
	int r;

	options->ret_override = &overrides;
	r = compose_assign(before->project, targets, n, before->list, options, &edits, &notes, err);
	if (r == 0 && overrides)
		program = rollout_without_override(before->engine, &before->containers);
	if (program) {
		options->no_override = program;
		compose_edits_finish(&edits);
		strings_finish(&notes);
		r = compose_assign(before->project, targets, n, before->list, options, &edits,
				   &notes, err);
	}
	if (r == 0)
		r = compose_edits_add_all(&apply->edits, &edits, err);
	for (size_t i = 0; r == 0 && i < notes.n; i++)
		strings_add(&apply->notes, notes.items[i]);
	compose_edits_finish(&edits);
	return r;
}

static int assign(struct apply *apply, struct error *err)
{
	const struct plan_problem *problem = &apply->problem.problem;
	const struct plan_place *places = apply->taken.plan.places;
	const struct gpu_list *list = apply->before.list;
	auto_free struct compose_target *targets =
	    mem_calloc(problem->n_services + 1, sizeof *targets);
	auto_free const struct gpu **devices =
	    mem_calloc(problem->n_services + 1, PLAN_GPUS_MAX * sizeof *devices);
	auto_free uint64_t *room = mem_calloc(list->n + 1, sizeof *room);
	struct compose_assign_options options = {.room_bytes = room, .ret_along = &apply->along};
	auto_strings struct strings whys = {};
	size_t n = 0;

	options.by_uuid = strcmp(options_text(apply->options, "ids", "index"), "uuid") == 0;
	for (size_t g = 0; g < list->n; g++)
		room[g] = room_of(apply, g);
	for (size_t i = 0; i < problem->n_services; i++) {
		const struct stack_service *service =
		    &apply->before.stack->services[apply->problem.services[i]];
		const struct gpu **of = &devices[i * PLAN_GPUS_MAX];
		uint64_t bytes = planview_bytes(&apply->taken, i);

		if (places[i].n == 0)
			continue;
		for (size_t k = 0; k < places[i].n; k++)
			of[k] = &list->gpus[places[i].gpus[k]];
		strings_take(&whys, why_text(service, bytes));
		targets[n++] = (struct compose_target){
		    .gpus = service->gpus,
		    .devices = of,
		    .n_devices = places[i].n,
		    .why = whys.items[whys.n - 1],
		    /* On demand it needs all of it, too, when it does. */
		    .vram_bytes = bytes > 0 ? bytes : service->vram_bytes,
		    .allowed = problem->services[i].allowed,
		};
	}
	return assign_for_program(apply, targets, n, &options, err);
}

int apply_work_out(struct apply *apply, struct error *err)
{
	auto_strings struct strings warnings = {}, not_counted = {};
	int r;

	planview_warnings(&apply->view, &warnings);
	for (size_t i = 0; i < warnings.n; i++)
		apply_tell("warning: %s", warnings.items[i]);
	planview_not_counted(&apply->view, &not_counted);
	for (size_t i = 0; i < not_counted.n; i++)
		apply_tell("not counted: %s", not_counted.items[i]);
	apply_note_plan(apply);
	r = assign(apply, err);
	if (r < 0)
		return error_prefix(err, r,
				    "nothing is written, it is all of the plan or nothing; what "
				    "cannot be");
	for (size_t i = 0; i < apply->notes.n; i++)
		apply_tell("%s", apply->notes.items[i]);
	compose_edits_diff(&apply->edits, &apply->diff);
	return 0;
}
