/* plimsoll check: every fault in the GPU assignment of a compose project. Changes nothing. */
#include "cli/applyjournal.h"
#include "cli/checkview.h"
#include "cli/term.h"
#include "cli/verbs.h"
#include "cli/workspace.h"

#include <dirent.h>
#include <errno.h>
#include <string.h>

#define BESIDE_MAX 64

enum check_format { FORMAT_TEXT, FORMAT_JSON, FORMAT_SARIF };
static const char *const formats[] = {"text", "json", "sarif", NULL};

enum fail_on { FAIL_ON_ERROR, FAIL_ON_WARNING, FAIL_ON_NEVER };
static const char *const levels[] = {"error", "warning", "never", NULL};

static void show(const struct workspace *workspace, const struct findings *findings,
		 enum check_format format)
{
	auto_json json_t *json = NULL;
	auto_text struct text text = {};

	if (format == FORMAT_TEXT) {
		checkview_render(workspace->stack, findings, stdout, term_table_width(stdout),
				 &text);
		(void)fputs(text.data, stdout);
		return;
	}
	json = format == FORMAT_JSON ? checkview_json(workspace->stack, findings)
				     : checkview_sarif(findings);
	term_print_json(stdout, json);
}

/* Of the machine and of compose; what the stack warns of are findings. */
static void warn(const struct strings *warnings)
{
	for (size_t i = 0; i < warnings->n; i++)
		(void)verb_complain(EXIT_DONE, "%s", warnings->items[i]);
}

static bool is_compose_name(const char *name)
{
	return strstr(name, "compose") &&
	       (text_ends_with(name, ".yaml") || text_ends_with(name, ".yml"));
}

/* Other overlays of the project: what they use is used. One that cannot be read says nothing. */
static void load_beside(const struct workspace *workspace, struct compose_files *beside)
{
	const char *dir = workspace->project->dir;
	DIR *open = opendir(dir);
	const struct compose_file *file;
	const struct dirent *entry;

	while (open && beside->n < BESIDE_MAX && (entry = readdir(open)))
		if (is_compose_name(entry->d_name) &&
		    compose_files_load(beside, dir, entry->d_name, &file, NULL) < 0)
			continue;
	if (open)
		(void)closedir(open);
}

/* A project that asks for no GPU has nothing that a machine without one could not be asked. -ENXIO:
 * it does ask. */
static int open_without_gpus(struct workspace *workspace, struct error *err)
{
	struct compose_gpus *gpus;
	int r = compose_locate(workspace->project, &gpus, NULL);

	for (size_t i = 0; r == 0 && i < workspace->project->n; i++)
		r = gpus[i].n > 0 ? -ENXIO : 0;
	if (r < 0)
		return -ENXIO;
	workspace->list = gpu_list_create();
	workspace->ledger = ledger_create(workspace->list, NULL, 0, &(struct ledger_host){},
					  &(struct ledger_options){});
	return stack_create(&(struct stack_facts){.project = workspace->project,
						  .list = workspace->list,
						  .ledger = workspace->ledger},
			    &workspace->stack, err);
}

static int open_workspace(const struct options *options, struct workspace *workspace,
			  struct error *err)
{
	int r = workspace_open(options, workspace, err);

	if (r == -ENXIO && workspace->project && !workspace->list)
		r = open_without_gpus(workspace, err);
	return r;
}

static bool is_failure(const struct findings *findings, enum fail_on level)
{
	return level != FAIL_ON_NEVER &&
	       (findings_count(findings, FINDING_ERROR) > 0 ||
		(level == FAIL_ON_WARNING && findings_count(findings, FINDING_WARNING) > 0));
}

static int run(const struct options *options)
{
	const struct option_value *format = options_get(options, "format");
	const struct option_value *level = options_get(options, "fail-on");
	auto_workspace struct workspace workspace = {};
	auto_findings struct findings findings = {};
	struct compose_files beside = {};
	struct error err = {};
	char *half_done;

	if (options_flag(options, "json") && format->given && format->choice != FORMAT_JSON)
		return verb_complain(EXIT_USAGE, "check: --json is --format json");
	if (open_workspace(options, &workspace, &err) < 0)
		return verb_complain(EXIT_CANNOT, "%s", error_text(&err));
	half_done = apply_journal_warning(workspace.project);
	if (half_done)
		strings_take(&workspace.warnings, half_done);
	warn(&workspace.project->warnings);
	warn(&workspace.warnings);
	load_beside(&workspace, &beside);
	check_run(workspace.stack, &beside, &findings);
	compose_files_finish(&beside);
	show(&workspace, &findings,
	     options_flag(options, "json") ? FORMAT_JSON
	     : format->given               ? (enum check_format)format->choice
					   : FORMAT_TEXT);
	(void)fflush(stdout);
	return is_failure(&findings, level->given ? (enum fail_on)level->choice : FAIL_ON_ERROR)
		   ? EXIT_PROBLEM
		   : EXIT_DONE;
}

static const struct option_spec check_options[] = {
    WORKSPACE_OPTIONS,
    {"format", 0, OPTION_CHOICE, "FORMAT", .choices = formats,
     .help = "text, json or sarif (default text)"},
    {"fail-on", 0, OPTION_CHOICE, "SEVERITY", .choices = levels,
     .help = "status 1 when there is an error (default), a warning, or never"},
    {"json", 0, OPTION_FLAG, NULL, .help = "the same as --format json"},
    {},
};

const struct verb verb_check = {
    .name = "check",
    .summary = "every fault in the GPU assignment of a compose project",
    .usage = "[-f FILE]... [--inventory FILE] [--format FORMAT]",
    .description =
	"Reads the project as docker compose does, and says which GPU each service gets and why;\n"
	"then what is wrong with that: services larger than their GPU, GPUs above their load "
	"line,\n"
	"values that hang on a default or on a commented-out line, defaults that are wrong though\n"
	"an env file hides them, GPUs that are not there, variables nothing uses, requests that\n"
	"mean something else than they seem to, containers that are elsewhere than written. Each\n"
	"with its place, the reason in numbers and the fix. Changes nothing.\n"
	"\n"
	"Checks are for the GPUs of this machine, or those of --inventory (what `plimsoll gpus\n"
	"--json` printed elsewhere), which is how a CI machine without GPUs does it.\n"
	"`# plimsoll: ignore CODE` at the end of a line, or alone on the line above, silences a\n"
	"check there; in the first line of a file, in all of it.\n"
	"Status 1 when something was found that --fail-on names, 2 when an option is wrong, 3 "
	"when\n"
	"a file, the project or the machine cannot be read.\n",
    .examples = "  plimsoll check\n"
		"  plimsoll check -f compose.yaml -f compose.prod.yaml --env-file prod.env\n"
		"  plimsoll check --inventory gpus.json --format sarif > plimsoll.sarif\n"
		"  plimsoll check --json | jq -r '.findings[] | [.file, .line, .code] | @tsv'\n",
    .style = OPTIONS_OPERANDS,
    .options = check_options,
    .run = run,
};
