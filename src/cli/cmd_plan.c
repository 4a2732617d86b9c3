/*
 * plimsoll plan: the files and the machine, together a problem of the planner; its answer as a
 * picture, as JSON, or as all that is to be said about one service. It changes nothing.
 */
#include "cli/applyjournal.h"
#include "cli/planning.h"
#include "cli/term.h"
#include "cli/verbs.h"
#include "util/suggest.h"

#include <string.h>

static const char *planned_name(const void *data, size_t i)
{
	return ((const struct plan_problem *)data)->services[i].name;
}

static int find_explained(struct planview *view, const char *name)
{
	const struct plan_problem *problem = &view->problem->problem;
	const char *nearest;

	view->explained = true;
	for (view->service = 0; view->service < problem->n_services; view->service++)
		if (strcmp(problem->services[view->service].name, name) == 0)
			return EXIT_DONE;
	for (size_t i = 0; i < view->problem->left_out.n; i++)
		if (text_starts_with(view->problem->left_out.items[i], name) &&
		    view->problem->left_out.items[i][strlen(name)] == ':')
			return verb_complain(EXIT_PROBLEM, "not planned: %s",
					     view->problem->left_out.items[i]);
	if (compose_project_find(view->workspace->project, name))
		return verb_complain(EXIT_USAGE, "service %s asks for no GPU, or is not active",
				     name);
	nearest = suggest_nearest(name, problem->n_services, planned_name, problem);
	return verb_complain(EXIT_USAGE, "the project has no service \"%.64s\"%s%s%s", name,
			     nearest ? "; is " : "", nearest ? nearest : "",
			     nearest ? " meant?" : "");
}

static int show(const struct options *options, struct planview *view)
{
	const char *service = options_text(options, "explain", NULL);
	auto_text struct text text = {};
	int code = service ? find_explained(view, service) : EXIT_DONE;

	if (code == EXIT_DONE)
		code = planning_take_way(options, view);
	if (code != EXIT_DONE)
		return code;
	/* For people the best one is drawn; of one service it is explained. */
	if (view->may_choose && view->plan->n_ways > 0 &&
	    (view->explained || !options_flag(options, "json")))
		view->way = 0;
	if (options_flag(options, "json")) {
		auto_json json_t *json = planview_json(view);

		term_print_json(stdout, json);
	} else {
		auto_free char *mistakes = workspace_mistakes_own(view->workspace);

		if (mistakes) {
			term_add_wrapped(&text, mistakes, 0, term_table_width(stdout));
			text_add(&text, "\n");
		}
		if (view->explained)
			planview_explain(view, view->service, term_table_width(stdout), &text);
		else
			planview_render(view, stdout, term_table_width(stdout), &text);
		(void)fputs(text.data, stdout);
	}
	return view->plan->feasible || options_int(options, "way-out", 0) > 0 ? EXIT_DONE
									      : EXIT_PROBLEM;
}

static void warn_of_half_done(struct workspace *workspace)
{
	char *warning = apply_journal_warning(workspace->project);

	if (warning)
		strings_take(&workspace->warnings, warning);
}

static int run(const struct options *options)
{
	auto_workspace struct workspace workspace = {};
	struct stack_problem problem = {};
	struct planview view;
	auto_plan struct plan *plan = NULL;
	struct error err = {};
	int r = workspace_open(options, &workspace, &err);

	if (r == 0)
		warn_of_half_done(&workspace);
	if (r == 0)
		r = planning_solve(options, &workspace, &problem, &plan, &view, &err);
	r = r == 0 ? show(options, &view) : verb_complain(EXIT_CANNOT, "%s", error_text(&err));
	stack_problem_finish(&problem);
	return r;
}

static const struct option_spec plan_options[] = {
    WORKSPACE_OPTIONS,
    PLANNING_OPTIONS,
    {.name = "explain",
     .kind = OPTION_STRING,
     .value = "SERVICE",
     .help = "why this one is where it is, each GPU in numbers"},
    {.name = "json",
     .kind = OPTION_FLAG,
     .help = "print as JSON; with --explain of assignments only this one, with its candidates: of "
	     "each GPU whether it is here, whether it is possible, and the reason"},
    {},
};

const struct verb verb_plan = {
    .name = "plan",
    .summary = "where the services of a compose project should go",
    .usage = "[-f FILE...] [--objective WHAT] [--way-out N] [--explain SERVICE] [--json]",
    .description =
	"Reads a project as docker compose does, looks at the GPUs and at what runs on them, and\n"
	"works out the best place for every service that asks for a GPU: all of them placed, no "
	"GPU\n"
	"above its load line, the highest use lowest, few moves. What a service needs it says "
	"under\n"
	"x-plimsoll (vram: 6G, or models: with a size each) or in plimsoll.yaml; else what it "
	"uses\n"
	"now counts. A service of which neither is known is listed, and not guessed at.\n"
	"When not everything fits that is proved, too, and the smallest ways out are listed, best\n"
	"first: what would have to load on demand, go to the CPU, shrink, or how large a GPU "
	"would\n"
	"do. + marks a service that comes to a GPU, \"others\" is what no service explains.\n"
	"Nothing is changed; that is for apply. Status 1 when not everything fits, 2 when an\n"
	"option is wrong, 3 when a file, the project or the machine cannot be read.\n",
    .examples =
	"  plimsoll plan\n"
	"  plimsoll plan -f compose.yaml -f compose.prod.yaml --objective fewest-moves\n"
	"  plimsoll plan --way-out 2 --explain ai-llm\n"
	"  plimsoll plan --explain ai-llm --json | jq '.assignments[0].candidates'\n"
	"  plimsoll plan --inventory gpus.json --json | jq '.assignments[] | {service, gpus}'\n",
    .style = OPTIONS_OPERANDS,
    .options = plan_options,
    .run = run,
};
