/* One service of a plan, all that is known of it: `plan --explain`. */
#include "cli/planview.h"

#include "cli/term.h"
#include "util/size.h"

#include <string.h>

#define HANG 10 /* columns of a label */

static void add_line(struct text *text, const char *label, struct text *words, unsigned width)
{
	auto_free char *line =
	    mem_printf("  %-8s%s", label, words->data ? words->data : "not known");

	term_add_wrapped(text, line, HANG, width);
	text_clear(words);
}

static void add_needs(const struct stack_service *service, struct text *words)
{
	const struct need *need = &service->need;

	if (!need->has_vram)
		return;
	text_printf(words, "%.2f GiB, said at %s", GIB_OF(need->vram_bytes), need->where);
	for (size_t i = 0; i < need->n_models; i++)
		text_printf(words, "%s%s %.2f%s", i == 0 ? ": " : ", ", need->models[i].name,
			    GIB_OF(need->models[i].vram_bytes),
			    need->models[i].on_demand ? " (on demand, not counted)" : "");
	if (need->shared_bytes > 0)
		text_printf(words, ", shared %.2f", GIB_OF(need->shared_bytes));
}

static void add_today(const struct planview *view, const struct stack_service *service,
		      struct text *words)
{
	if (!view->workspace->containers_known)
		return;
	if (!service->running)
		text_add(words, "does not run");
	else if (service->n_today == 0)
		text_add(words, "runs, on no GPU");
	else
		stack_add_gpu_words(view->workspace->stack, service->today, service->n_today,
				    words);
	if (service->measured)
		text_printf(words, ", uses %.2f GiB", GIB_OF(service->measured_bytes));
}

static void add_files(const struct stack_service *service, struct text *words)
{
	const struct compose_request *request = service->gpus->decides;
	struct compose_span place = compose_request_place(request);
	unsigned line = 0, column = 0;

	compose_request_text(request, words);
	text_printf(words, " (%s, %s", compose_how_name(request->how),
		    compose_source_name(compose_request_source(request)));
	if (place.file) {
		compose_file_position(place.file, place.begin, &line, &column);
		text_printf(words, ", %s:%u:%u", place.file->shown, line, column);
	}
	text_add(words, ")");
}

void planview_explain(const struct planview *view, size_t i, unsigned width, struct text *text)
{
	const struct stack_service *service =
	    &view->workspace->stack->services[view->problem->services[i]];
	auto_taken struct planview_taken taken = {};
	auto_text struct text words = {}, gpus = {};
	const struct plan_place *place;
	char *rest, *line;

	planview_take(view, &taken);
	place = taken.plan.feasible ? &taken.plan.places[i] : NULL;
	term_add_clean(text, taken.services[i].name, SIZE_MAX);
	text_add(text, "\n");
	add_needs(service, &words);
	add_line(text, "needs", &words, width);
	add_today(view, service, &words);
	add_line(text, "today", &words, width);
	add_files(service, &words);
	add_line(text, "files", &words, width);
	if (view->way != PLANVIEW_NO_WAY) {
		text_printf(&words, "%zu: %s", view->way + 1, view->plan->ways[view->way].reason);
		add_line(text, "way out", &words, width);
	}
	if (place && place->n > 0)
		stack_add_gpu_words(view->workspace->stack, place->gpus, place->n, &words);
	else
		text_add(&words, place ? "the CPU" : "nowhere: not everything fits");
	if (place && place->reason[0])
		text_printf(&words, ": %s", place->reason);
	add_line(text, "plan", &words, width);
	plan_explain(&taken.problem, &taken.plan, i, &gpus);
	for (rest = gpus.data; rest && (line = strsep(&rest, "\n")) && *line;) {
		auto_free char *indented = mem_printf("    %s", line);

		term_add_wrapped(text, indented, 6, width);
	}
}
