/* plimsoll release: what was held waits again. */
#include "cli/change.h"

static int run(const struct options *options)
{
	static const struct change change = {
	    .verb = "release", .task = "is released", .tasks = "are released"};
	auto_targets struct targets targets = {};
	struct error err = {};

	if (change_targets(options, &options->operands, &targets, &err) < 0)
		return verb_complain(EXIT_USAGE, "release: %s", error_text(&err));
	return change_all(options, &targets, &change);
}

static const struct option_spec release_options[] = {CHANGE_OPTIONS, {}};

const struct verb verb_release = {
    .name = "release",
    .summary = "let held tasks start",
    .usage = "ID... [--batch BATCH] [--json]",
    .description = "The task waits in the queue again, at its place by priority and by the time it "
		   "was sent.\n" CHANGE_IDS,
    .examples = "  plimsoll release 17\n  plimsoll release --batch 3\n",
    .style = OPTIONS_OPERANDS,
    .options = release_options,
    .operands_max = TARGETS_MAX,
    .run = run,
};
