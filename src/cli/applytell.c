/*
 * What apply says to people: why services move, what a way out leaves to them and where they write
 * it, what compose cannot say, the diff, and what --up would make anew. The text for standard error
 * goes through apply_tell(), which lets nothing through that would write over the screen.
 */
#include "cli/apply.h"

#include "cli/term.h"
#include "rollout/rollout.h"
#include "util/size.h"

#include <stdarg.h>
#include <string.h>

void apply_tell(const char *fmt, ...)
{
	auto_free char *line = NULL;
	auto_text struct text clean = {}, wrapped = {};
	va_list args;

	va_start(args, fmt);
	if (vasprintf(&line, fmt, args) < 0)
		line = NULL;
	va_end(args);
	/* What a program says has lines. */
	for (char *rest = line, *part; rest && (part = strsep(&rest, "\n"));) {
		if (!*part && part != line)
			continue;
		text_clear(&clean);
		term_add_clean(&clean, part, SIZE_MAX);
		term_add_wrapped(&wrapped, clean.data ? clean.data : "", 2,
				 term_table_width(stderr));
	}
	(void)fputs(wrapped.data ? wrapped.data : "", stderr);
}

/* --- what a way out leaves to people --- */

/* "FILE:LINE" */
static void add_place(struct text *text, const struct compose_span *span)
{
	unsigned line, column;

	compose_file_position(span->file, span->begin, &line, &column);
	text_printf(text, "%s:%u", span->file->shown, line);
}

static bool says_in_compose(const struct compose_entry *entry)
{
	return entry && entry->key_span.file;
}

/* Where its need is written, or is to be: "under x-plimsoll of SERVICE at FILE:LINE". `key` of its
 * `models` when there is one. */
static void add_where(const struct stack_service *service, const char *model, struct text *text)
{
	const struct compose_service *compose = service->service;
	const struct compose_entry *need = compose_entry(compose->node, "x-plimsoll");
	const struct compose_entry *of_model =
	    model && need ? compose_entry(compose_get(need->value, "models"), model) : NULL;

	if (says_in_compose(of_model)) {
		text_printf(text, "under `models` of %s at ", compose->name);
		add_place(text, &of_model->key_span);
	} else if (says_in_compose(need)) {
		text_printf(text, "under x-plimsoll of %s at ", compose->name);
		add_place(text, &need->key_span);
	} else if (service->need.where) {
		text_printf(text, "under services of %s, with what is at %s", compose->name,
			    service->need.where);
	} else {
		text_printf(text, "under an x-plimsoll of %s, at ", compose->name);
		add_place(text, &compose->span);
	}
}

static char *change_text(const struct stack_service *service, const struct plan_change *change,
			 const char *model)
{
	auto_text struct text text = {};
	uint64_t bytes = service->need.has_vram ? service->need.vram_bytes : service->vram_bytes;

	for (size_t i = 0; model && i < service->need.n_models; i++)
		if (strcmp(service->need.models[i].name, model) == 0)
			bytes = service->need.models[i].vram_bytes;
	text_printf(&text, "left to you: %s%s%s ", service->service->name, model ? ": " : "",
		    model ? model : "");
	switch (change->action) {
	case PLAN_ON_DEMAND:
		text_add(&text, "has to load on demand; when it does, write ");
		if (model)
			text_printf(&text, "`%s: {vram: %lluM, on-demand: true}` ", model,
				    (unsigned long long)((bytes + (1 << 20) - 1) >> 20));
		else
			text_add(&text, "`on-demand: true` ");
		break;
	case PLAN_CPU:
		text_add(&text, "has to run on the CPU: take its GPU request away; what it needs "
				"is said ");
		break;
	case PLAN_SHRINK:
		text_printf(&text, "has to need %s less; when it does, write ",
			    SIZE_TEXT(change->bytes));
		text_printf(&text, "`vram: %lluM` ",
			    (unsigned long long)((bytes - MIN_OF(bytes, change->bytes)) >> 20));
		break;
	case PLAN_BIGGER_GPU:
		return mem_strdup("left to you: a larger GPU");
	}
	add_where(service, model, &text);
	return text_take(&text);
}

static void note_changes(struct apply *apply)
{
	const struct plan_problem *problem = &apply->problem.problem;
	const struct plan_way *way = &apply->plan->ways[apply->view.way];

	for (size_t i = 0; i < way->n_changes; i++) {
		const struct plan_change *change = &way->changes[i];
		const struct plan_service *service;

		if (change->service >= problem->n_services) {
			strings_take(&apply->notes,
				     mem_printf("left to you: a larger GPU in the place of GPU %u, "
						"with %s",
						problem->gpus[change->gpu].index,
						SIZE_TEXT(change->bytes)));
			continue;
		}
		service = &problem->services[change->service];
		strings_take(
		    &apply->notes,
		    change_text(
			&apply->before.stack->services[apply->problem.services[change->service]],
			change,
			change->model < service->n_models ? service->models[change->model].name
							  : NULL));
	}
}

static void note_moves(struct apply *apply)
{
	const struct plan_problem *problem = &apply->problem.problem;
	const struct plan_place *places = apply->taken.plan.places;

	for (size_t i = 0; i < problem->n_services; i++)
		if (places[i].moved)
			strings_take(&apply->notes, mem_printf("%s: %s", problem->services[i].name,
							       places[i].reason));
}

void apply_note_plan(struct apply *apply)
{
	note_moves(apply);
	if (apply->view.way != PLANVIEW_NO_WAY)
		note_changes(apply);
}

/* --- replicas --- */

static void add_ids(const struct apply *apply, const size_t *gpus, size_t n, const char *before,
		    struct text *text)
{
	bool by_uuid = strcmp(options_text(apply->options, "ids", "index"), "uuid") == 0;
	const struct gpu_list *list = apply->before.list;

	for (size_t i = 0; i < n; i++) {
		const struct gpu *gpu = &list->gpus[gpus[i]];

		text_printf(text, "%s\"%s", i > 0 ? ", " : "", before);
		if (by_uuid)
			text_printf(text, "%s\"", gpu->uuid);
		else
			text_printf(text, "%u\"", gpu->index);
	}
}

/* The request in the words the service has for it, at six blanks. */
static void add_request(const struct apply *apply, const struct stack_service *service,
			const size_t *gpus, size_t n, const char *mark, struct text *text)
{
	const struct compose_request *request = service->gpus->decides;
	const char *capabilities = request->capabilities ?: "gpu";

	switch (request->how) {
	case COMPOSE_RUNTIME:
	case COMPOSE_ENVIRONMENT:
		text_printf(text, "    environment:\n      %s: ", request->key);
		for (size_t i = 0; i < n; i++)
			text_printf(text, "%s%u", i == 0 ? "\"" : ",",
				    apply->before.list->gpus[gpus[i]].index);
		text_add(text, "\"\n");
		break;
	case COMPOSE_CDI:
		text_printf(text, "    devices: %s[", mark);
		add_ids(apply, gpus, n, "nvidia.com/gpu=", text);
		text_add(text, "]\n");
		break;
	case COMPOSE_GPUS:
		text_printf(text, "    gpus: %s[{device_ids: [", mark);
		add_ids(apply, gpus, n, "", text);
		text_add(text, "]}]\n");
		break;
	case COMPOSE_RESERVATION:
	case COMPOSE_DEVICE_NODE:
	case COMPOSE_HOW_COUNT:
		text_printf(text,
			    "    deploy:\n      resources:\n        reservations:\n          "
			    "devices: %s[{driver: %s, device_ids: [",
			    mark, request->driver ?: "nvidia");
		add_ids(apply, gpus, n, "", text);
		text_printf(text, "], capabilities: [%s]}]\n", capabilities);
	}
}

/* The service as the first of them, the others extend it. */
static void add_apart(const struct apply *apply, size_t i, struct text *text)
{
	const struct plan_service *planned = &apply->problem.problem.services[i];
	const struct plan_place *place = &apply->taken.plan.places[i];
	const struct stack_service *service =
	    &apply->before.stack->services[apply->problem.services[i]];

	for (size_t k = 0; k < planned->replicas && (k + 1) * planned->gpus <= place->n; k++) {
		const size_t *gpus = &place->gpus[k * planned->gpus];

		if (k == 0)
			text_printf(text, "  %s: # as it is, with `replicas: 1` and\n",
				    planned->name);
		else
			text_printf(text, "  %s-%zu:\n    extends: {service: %s}\n", planned->name,
				    k + 1, planned->name);
		add_request(apply, service, gpus, planned->gpus, k == 0 ? "" : "!override ", text);
	}
}

int apply_refuse_replicas(const struct apply *apply)
{
	const struct plan_problem *problem = &apply->problem.problem;
	const struct plan_place *places = apply->taken.plan.places;
	auto_strings struct strings names = {};
	auto_text struct text yaml = {}, clean = {};
	char *rest, *line;

	for (size_t i = 0; i < problem->n_services; i++) {
		if (problem->services[i].replicas < 2 || places[i].n <= problem->services[i].gpus)
			continue;
		strings_add(&names, problem->services[i].name);
		add_apart(apply, i, &yaml);
	}
	if (names.n == 0)
		return EXIT_DONE;
	for (size_t i = 0; i < names.n; i++)
		apply_tell("%s: its replicas are planned on different GPUs, and compose gives all "
			   "replicas the same ones",
			   names.items[i]);
	apply_tell("write a service for each instead (with ports and a container_name of its own "
		   "where it has them; `!override` needs Docker Compose 2.24.4 or newer, or "
		   "podman-compose 1.6: before, write the service out in the place of extends):");
	(void)fputs("\nservices:\n", stderr);
	rest = yaml.data;
	while ((line = strsep(&rest, "\n")) && rest) {
		text_finish(&clean);
		term_add_clean(&clean, line, SIZE_MAX);
		(void)fprintf(stderr, "%s\n", clean.data ? clean.data : "");
	}
	(void)fputs("\n", stderr);
	apply_tell("or `replicas: together` under x-plimsoll: then they share the GPUs of one, and "
		   "what they need together counts");
	return verb_complain(EXIT_PROBLEM, "nothing is written");
}

/* --- the diff --- */

/* A control character as caret and letter; those that begin a sequence in eight bits as \x9b. */
static void add_visible(struct text *text, const char *s, size_t len)
{
	for (size_t i = 0, begin = 0; i <= len; i++) {
		unsigned char c = i < len ? (unsigned char)s[i] : '\n';
		bool is_c1 = c == 0xc2 && i + 1 < len && (unsigned char)s[i + 1] < 0xa0;
		auto_free char *run = NULL;

		if (c >= ' ' && c != 0x7f && !is_c1)
			continue;
		run = mem_strndup(s + begin, i - begin);
		term_add_clean(text, run, SIZE_MAX);
		if (i == len)
			return;
		if (is_c1)
			text_printf(text, "\\x%02x", (unsigned char)s[++i]);
		else if (c == '\t')
			text_add(text, "\t");
		else
			text_printf(text, "^%c", c ^ 0x40);
		begin = i + 1;
	}
}

void apply_show_diff(const struct apply *apply)
{
	const char *diff = apply->diff.data ? apply->diff.data : "";
	auto_text struct text shown = {};

	if (!term_is_terminal(stdout)) {
		(void)fputs(diff, stdout);
		(void)fflush(stdout);
		return;
	}
	while (*diff) {
		size_t len = strcspn(diff, "\n");
		bool crlf = len > 0 && diff[len - 1] == '\r';

		/* A line end of DOS does no harm. */
		add_visible(&shown, diff, len - crlf);
		text_add(&shown, "\n");
		diff += len + (diff[len] == '\n');
	}
	(void)fputs(shown.data ? shown.data : "", stdout);
	(void)fflush(stdout);
}

/* --- what --up would do --- */

void apply_tell_recreated(const struct apply *apply, const char *would)
{
	const struct rollout_order *order = &apply->made;
	auto_text struct text text = {};

	if (!apply_has_to_roll_out(apply)) {
		apply_tell("--up %s make nothing anew: every service that runs is where it was "
			   "planned",
			   would);
		return;
	}
	for (size_t i = 0; i < order->n; i++)
		text_printf(&text, "%s%s",
			    i == 0                                     ? ""
			    : order->stages[i] != order->stages[i - 1] ? ", then "
								       : ", ",
			    order->services[i]->name);
	apply_tell("--up %s make anew: %s%s", would, text.len > 0 ? text.data : "nothing",
		   apply->before.containers.n == 0 ? " (nothing of the project runs)" : "");
}
