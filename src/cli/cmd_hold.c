/* plimsoll hold: out of the order of the waiting, until a release. */
#include "cli/change.h"

static int run(const struct options *options)
{
	static const struct change change = {
	    .verb = "hold", .task = "is held", .tasks = "are held"};
	auto_targets struct targets targets = {};
	struct error err = {};

	if (change_targets(options, &options->operands, &targets, &err) < 0)
		return verb_complain(EXIT_USAGE, "hold: %s", error_text(&err));
	return change_all(options, &targets, &change);
}

static const struct option_spec hold_options[] = {CHANGE_OPTIONS, {}};

const struct verb verb_hold = {
    .name = "hold",
    .summary = "keep waiting tasks from starting until they are released",
    .usage = "ID... [--batch BATCH] [--json]",
    .description =
	"Held tasks stay in the queue and start only after a release. What runs is not touched;\n"
	"to send a task as held from the start: plimsoll submit --hold.\n" CHANGE_IDS,
    .examples = "  plimsoll hold 17\n  plimsoll hold 12-20\n  plimsoll hold b3\n",
    .style = OPTIONS_OPERANDS,
    .options = hold_options,
    .operands_max = TARGETS_MAX,
    .run = run,
};
