/* plimsoll retry: what did not end well, once more. */
#include "cli/change.h"

static int run(const struct options *options)
{
	static const struct change change = {
	    .verb = "retry", .task = "is queued again", .tasks = "are queued again"};
	auto_targets struct targets targets = {};
	struct error err = {};

	if (change_targets(options, &options->operands, &targets, &err) < 0)
		return verb_complain(EXIT_USAGE, "retry: %s", error_text(&err));
	return change_all(options, &targets, &change);
}

static const struct option_spec retry_options[] = {CHANGE_OPTIONS, {}};

const struct verb verb_retry = {
    .name = "retry",
    .summary = "start tasks again that failed, were canceled or got lost",
    .usage = "ID... [--batch BATCH] [--json]",
    .description =
	"The same command, folder and environment, under the same number: a new attempt. A batch\n"
	"that has ended goes on. Tasks that waited for it and were canceled because it failed\n"
	"stay canceled: retry them too.\n" CHANGE_IDS,
    .examples = "  plimsoll retry 17\n  plimsoll retry b3 && plimsoll wait b3\n",
    .style = OPTIONS_OPERANDS,
    .options = retry_options,
    .operands_max = TARGETS_MAX,
    .run = run,
};
