/*
 * See planview.h. For each GPU what is on it today and what would be, drawn to the same scale; then
 * a table of the services, each with the reason of its place: in a column of its own where the line
 * is wide, else below it. When nothing fits, the ways out follow, and the first of them is drawn.
 */
#include "cli/planview_priv.h"

#include "cli/table.h"

#include <string.h>

#define NAMES_INDENT 4

static const struct stack_service *stack_service_of(const struct canvas *c, size_t i)
{
	return &c->stack->services[c->view->problem->services[i]];
}

void canvas_add(struct canvas *c, enum term_style style, const char *fmt, ...)
{
	char line[256];
	va_list ap;

	va_start(ap, fmt);
	(void)vsnprintf(line, sizeof line, fmt, ap);
	va_end(ap);
	text_add(c->text, term_style(c->file, style));
	term_add_clean(c->text, line, SIZE_MAX);
	text_add(c->text, term_style_end(c->file));
}

void canvas_label(const struct canvas *c, const char *otherwise, char label[32])
{
	(void)snprintf(label, 32, "%s", otherwise);
	if (c->view->way != PLANVIEW_NO_WAY && c->view->may_choose)
		(void)snprintf(label, 32, "%s %zu", *otherwise == 'P' ? "WAY" : "way",
			       c->view->way + 1);
}

/* The services. */

static void today_cell(const struct canvas *c, const struct stack_service *service,
		       struct text *text)
{
	if (!c->workspace->containers_known)
		text_add(text, "?");
	else if (!service->running)
		text_add(text, "-");
	else if (service->n_today == 0)
		text_add(text, "none");
	else
		stack_add_gpus(c->stack, service->today, service->n_today, ",", text);
}

static void files_cell(const struct stack_service *service, struct text *text)
{
	if (service->gpus->decides)
		compose_request_text(service->gpus->decides, text);
	if (!text->len)
		text_add(text, "-");
}

static void plan_cell(const struct canvas *c, size_t i, struct text *text)
{
	const struct plan_place *place = c->places ? &c->places[i] : NULL;

	if (!place)
		return;
	if (place->moved)
		text_add(text, "-> ");
	if (place->n == 0)
		text_add(text, "CPU");
	stack_add_gpus(c->stack, place->gpus, place->n, ",", text);
}

static void size_cell(bool known, uint64_t bytes, size_t times, char cell[48])
{
	if (!known)
		(void)snprintf(cell, 48, "-");
	else if (times > 1)
		(void)snprintf(cell, 48, "%zu x %.2f", times, GIB_OF(bytes));
	else
		(void)snprintf(cell, 48, "%.2f", GIB_OF(bytes));
}

static void add_row(const struct canvas *c, size_t i, struct table *table, bool with_reason)
{
	const struct stack_service *service = stack_service_of(c, i);
	const struct plan_service *planned = &c->problem->services[i];
	auto_text struct text today = {}, files = {}, plan = {};
	char says[48], uses[48];

	size_cell(service->need.has_vram, service->need.vram_bytes,
		  (size_t)planned->gpus * service->service->replicas, says);
	size_cell(service->measured, service->measured_bytes, 1, uses);
	today_cell(c, service, &today);
	files_cell(service, &files);
	plan_cell(c, i, &plan);
	table_add(table, "%s", planned->name);
	table_add(table, "%s", says);
	table_add(table, "%s", uses);
	table_add(table, "%s", today.data);
	table_add(table, "%s", files.data);
	table_add(table, "%s", plan.data ? plan.data : "");
	if (with_reason)
		table_add(table, "%s", c->places ? c->places[i].reason : "");
}

static void draw_services(struct canvas *c)
{
	char label[32];
	const struct table_column columns[] = {
	    {.title = "SERVICE"},
	    {.title = "SAYS", .right = true},
	    {.title = "USES", .right = true},
	    {.title = "TODAY"},
	    {.title = "FILES", .shrinks = true},
	    {.title = label},
	    {.title = "WHY", .shrinks = true},
	};
	const bool wide = c->width >= PLANVIEW_WIDE && c->places;
	auto_table struct table *table = table_create(columns, ARRAY_LEN(columns) - !wide);
	auto_text struct text lines = {};
	char *rest, *line;

	canvas_label(c, "PLAN", label);
	for (size_t i = 0; i < c->problem->n_services; i++)
		add_row(c, i, table, wide);
	table_render(table, c->width, &lines);
	if (!lines.len)
		return;
	text_add(c->text, "\n");
	if (wide || !c->places) {
		text_add(c->text, lines.data);
		return;
	}
	rest = lines.data;
	for (size_t i = 0; (line = strsep(&rest, "\n")) && *line; i++) {
		text_printf(c->text, "%s\n", line);
		if (i > 0 && c->places[i - 1].reason[0]) {
			auto_free char *why =
			    mem_printf("%*s%s", NAMES_INDENT, "", c->places[i - 1].reason);

			term_add_wrapped(c->text, why, NAMES_INDENT, c->width);
		}
	}
}

/* RAM, where somebody says it: a line, since it is no part of the plan. */
static void draw_ram(struct canvas *c)
{
	const struct stack_host *host = &c->stack->host;
	struct stack_ram ram;
	auto_text struct text line = {};

	stack_ram_sum(c->stack, &ram);
	if (ram.n_services == 0)
		return;
	text_add(&line, "Host RAM  ");
	if (host->total_known)
		text_add(&line, SIZE_TEXT(host->total_bytes));
	else
		text_add(&line, "not known");
	if (host->available_known)
		text_printf(&line, ", %s available now", SIZE_TEXT(host->available_bytes));
	text_printf(&line, "; services say %s: ", SIZE_TEXT(ram.said_bytes));
	stack_ram_names(c->stack, &line);
	text_add(c->text, "\n");
	term_add_wrapped(c->text, line.data, NAMES_INDENT, c->width);
}

static void warn_of_ram(const struct stack *stack, struct strings *warnings)
{
	auto_text struct text text = {};
	struct stack_ram ram;

	stack_ram_sum(stack, &ram);
	if (ram.verdict == STACK_RAM_FITS)
		return;
	stack_ram_text(stack, &ram, &text);
	text_printf(&text, "; by priority %s (%s) yields first", ram.yields->service->name,
		    SIZE_TEXT(stack_ram_of(ram.yields)));
	strings_take(warnings, text_take(&text));
}

/* The rest. */

static void draw_list(struct canvas *c, const char *title, const struct strings *lines,
		      enum term_style style)
{
	if (lines->n == 0)
		return;
	text_add(c->text, "\n");
	canvas_add(c, style, "%s", title);
	text_add(c->text, "\n");
	for (size_t i = 0; i < lines->n; i++) {
		auto_free char *line = mem_printf("  %s", lines->items[i]);

		term_add_wrapped(c->text, line, NAMES_INDENT, c->width);
	}
}

static void draw_ways(struct canvas *c)
{
	if (c->plan->n_ways == 0 || !c->view->may_choose)
		return;
	text_add(c->text, "\n");
	canvas_add(c, TERM_BOLD, "Ways out, best first");
	text_add(c->text, "\n");
	for (size_t i = 0; i < c->plan->n_ways; i++) {
		auto_free char *line = mem_printf("%3zu  %s", i + 1, c->plan->ways[i].reason);

		term_add_wrapped(c->text, line, 5, c->width);
	}
}

/* A line that begins with a few words in colour. */
static void draw_statement(struct canvas *c, enum term_style style, const char *words,
			   const char *rest)
{
	auto_free char *line = mem_printf("%s%s", words, rest);
	auto_text struct text wrapped = {};

	term_add_wrapped(&wrapped, line, 2, c->width);
	canvas_add(c, style, "%s", words);
	text_add(c->text, wrapped.data + strlen(words));
}

static void draw_head(struct canvas *c)
{
	const struct plan *plan = c->plan;
	auto_free char *rest = NULL;

	canvas_add(c, TERM_BOLD, "%.100s", c->workspace->project->name);
	text_printf(c->text, ": %zu service%s on %zu GPU%s, sizes in GiB\n", c->problem->n_services,
		    PLURAL(c->problem->n_services), c->problem->n_gpus, PLURAL(c->problem->n_gpus));
	if (c->problem->n_services == 0) {
		text_add(c->text, "Nothing to plan: no service asks for a GPU and says how much "
				  "VRAM it needs\n");
	} else if (plan->feasible) {
		auto_free char *moves = plan->moves == 0
					    ? mem_strdup("nothing moves")
					    : mem_printf("%u service%s", plan->moves,
							 plan->moves == 1 ? " moves" : "s move");

		const size_t n_left = c->view->problem->left_out.n;
		auto_free char *left = n_left == 0
					   ? mem_strdup("")
					   : mem_printf("; %zu service%s not counted", n_left,
							n_left == 1 ? " is" : "s are");

		rest =
		    mem_printf(", %s (%s, %s)%s", moves, plan_objective_name(c->problem->objective),
			       plan->proved ? "proved to be the best there is"
					    : "the best that was found in time",
			       left);
		draw_statement(c, TERM_GREEN,
			       c->view->problem->left_out.n == 0
				   ? "Everything fits"
				   : "Everything with a known need fits",
			       rest);
	} else {
		rest = mem_printf(": %s", plan->reason);
		draw_statement(c, TERM_RED,
			       plan->proved ? "Not everything fits" : "No plan was found in time",
			       rest);
	}
	if (c->view->way != PLANVIEW_NO_WAY && !c->view->may_choose) {
		auto_free char *taken = mem_printf(": %s", plan->ways[c->view->way].reason);

		draw_statement(c, TERM_YELLOW, "Taken", taken);
	}
	text_add(c->text, "\n");
}

/* Do the files say so already? Of what they leave open ("all") they do not. */
static bool is_written(const struct canvas *c)
{
	for (size_t i = 0; i < c->problem->n_services; i++) {
		const struct stack_service *service = stack_service_of(c, i);
		const struct plan_place *place = &c->places[i];

		if (service->gpus->decides->all || service->n_assigned != place->n)
			return false;
		for (size_t k = 0; k < service->n_assigned; k++)
			if (!canvas_is_on(place, service->assigned[k]))
				return false;
	}
	return true;
}

/* What compose cannot say: replicas of one service on different GPUs. */
static bool has_replicas_apart(const struct canvas *c)
{
	for (size_t i = 0; i < c->problem->n_services; i++)
		if (c->problem->services[i].replicas > 1 &&
		    c->places[i].n > c->problem->services[i].gpus)
			return true;
	return false;
}

static void draw_end(struct canvas *c)
{
	const char *line = NULL;

	if (c->problem->n_services == 0)
		line = "A service says what it needs under x-plimsoll, `vram: 6G` for example.";
	else if (c->plan->feasible && is_written(c))
		line = c->plan->moves == 0 ? "The files say so already."
					   : "The files say so already; plimsoll apply --up moves "
					     "what runs elsewhere.";
	else if (c->plan->feasible && has_replicas_apart(c))
		line = "plimsoll apply refuses this and tells what to write: compose gives all "
		       "replicas of a service the same GPUs.";
	else if (c->plan->feasible)
		line = "plimsoll apply writes this into the files; --explain SERVICE says more "
		       "about one.";
	else if (c->view->may_choose && c->plan->n_ways > 0)
		line = "Way 1 is drawn; --way-out N draws another, and plimsoll apply --way-out N "
		       "writes it.";
	if (!line)
		return;
	text_add(c->text, "\n");
	term_add_wrapped(c->text, line, 0, c->width);
}

void planview_warnings(const struct planview *view, struct strings *ret_warnings)
{
	const struct workspace *w = view->workspace;
	const struct strings *all[] = {&w->project->warnings, &w->warnings, &w->stack->warnings};
	const struct plan_problem *problem = &view->problem->problem;

	for (size_t i = 0; i < ARRAY_LEN(all); i++)
		for (size_t k = 0; k < all[i]->n; k++)
			strings_add(ret_warnings, all[i]->items[k]);
	warn_of_ram(w->stack, ret_warnings);
	for (size_t i = 0; i < problem->n_services; i++) {
		const struct stack_service *service =
		    &w->stack->services[view->problem->services[i]];

		if (service->gpus->decides->all && service->need.gpus == 0 && problem->n_gpus > 1)
			strings_take(ret_warnings,
				     mem_printf("%s: asks for all GPUs and is planned on one; "
						"`gpus: N` under x-plimsoll says that it uses more",
						problem->services[i].name));
		if (problem->services[i].replicas > 1)
			strings_take(
			    ret_warnings,
			    mem_printf("%s: is planned with each of its %u replicas on a GPU "
				       "of its own, and compose gives all of them the same "
				       "GPUs; a service for each can have its own, and "
				       "`replicas: together` plans them on the same",
				       problem->services[i].name, problem->services[i].replicas));
	}
}

bool planview_is_not_counted(const struct stack_service *service)
{
	const struct compose_request *decides = service->gpus->decides;

	return !service->service->active && decides && !decides->none && decides->is_nvidia &&
	       service->vram_known && !service->need.on_demand && service->assigned_known &&
	       service->n_assigned > 0 && !decides->all;
}

const char *planview_profile(const struct stack_service *service)
{
	const struct compose_node *profiles = compose_get(service->service->node, "profiles");

	return profiles && profiles->n > 0 && profiles->type == COMPOSE_LIST
		   ? compose_text(profiles->items[0])
		   : NULL;
}

void planview_not_counted(const struct planview *view, struct strings *ret_lines)
{
	const struct stack *stack = view->workspace->stack;

	for (size_t i = 0; i < stack->n; i++) {
		const struct stack_service *service = &stack->services[i];
		const char *profile = planview_profile(service);
		auto_text struct text gpus = {};

		if (!planview_is_not_counted(service) || !profile)
			continue;
		for (size_t k = 0; k < service->n_assigned; k++)
			text_printf(&gpus, "%s%u", k > 0 ? ", " : "",
				    stack->list->gpus[service->assigned[k]].index);
		strings_take(ret_lines,
			     mem_printf("%s (profile %s, %s on GPU %s); --profile %s counts it",
					service->service->name, profile,
					SIZE_TEXT(service->vram_bytes), gpus.data, profile));
	}
}

void planview_render(const struct planview *view, FILE *file, unsigned width, struct text *text)
{
	auto_strings struct strings warnings = {}, not_counted = {};
	auto_taken struct planview_taken taken = {};
	struct canvas c = {
	    .view = view,
	    .taken = &taken,
	    .workspace = view->workspace,
	    .stack = view->workspace->stack,
	    .problem = &view->problem->problem,
	    .plan = view->plan,
	    .file = file,
	    .width = width,
	    .text = text,
	};

	planview_take(view, &taken);
	c.places = taken.plan.feasible ? taken.plan.places : NULL;
	draw_head(&c);
	for (size_t g = 0; g < c.problem->n_gpus; g++)
		canvas_draw_gpu(&c, g);
	draw_services(&c);
	draw_ram(&c);
	draw_ways(&c);
	draw_list(&c, "Not planned", &view->problem->left_out, TERM_BOLD);
	planview_not_counted(view, &not_counted);
	draw_list(&c, "Not counted", &not_counted, TERM_BOLD);
	planview_warnings(view, &warnings);
	draw_list(&c, "Warnings", &warnings, TERM_YELLOW);
	draw_end(&c);
}
