/* plimsoll priority: who goes first among those that wait. */
#include "cli/change.h"

#include <errno.h>

/* As of --priority. */
static const struct option_spec number = {
    "priority", 0, OPTION_INT, "N", .min = -1000, .max = 1000, .help = "", .is_operand = true};

static int run(const struct options *options)
{
	size_t n = options->operands.n;
	auto_strings struct strings ids = {};
	auto_targets struct targets targets = {};
	auto_json json_t *body = NULL;
	auto_free char *done = NULL, *all_done = NULL;
	struct option_value value = {};
	struct error err = {};

	if (option_convert(&number, options->operands.items[n - 1], &value, &err) < 0)
		return verb_complain(EXIT_USAGE, "priority: the last word is the new one: %s",
				     error_text(&err));
	for (size_t i = 0; i + 1 < n; i++)
		strings_add(&ids, options->operands.items[i]);
	if (change_targets(options, &ids, &targets, &err) < 0)
		return verb_complain(EXIT_USAGE, "priority: %s", error_text(&err));
	body = json_pack("{s:I}", "priority", (json_int_t)value.integer);
	done = mem_printf("has priority %lld", value.integer);
	all_done = mem_printf("have priority %lld", value.integer);
	return change_all(
	    options, &targets,
	    &(struct change){.verb = "priority", .task = done, .tasks = all_done, .body = body});
}

static const struct option_spec priority_options[] = {CHANGE_OPTIONS, {}};

const struct verb verb_priority = {
    .name = "priority",
    .summary = "let waiting tasks start sooner, or later",
    .usage = "ID... N [--batch BATCH] [--json]",
    .description =
	"N from -1000 to 1000; higher starts first, 0 is what tasks have that were sent without\n"
	"--priority. What has started keeps running.\n" CHANGE_IDS,
    .examples =
	"  plimsoll priority 17 10\n  plimsoll priority 12-20 -5\n  plimsoll priority b3 1\n",
    .style = OPTIONS_OPERANDS,
    .options = priority_options,
    .operands_min = 1,
    .operands_max = TARGETS_MAX,
    .run = run,
};
