/* plimsoll logs: what a task printed. */
#include "cli/session.h"
#include "cli/target.h"
#include "cli/tasklog.h"

#define LINES_MAX    1000000
#define ATTEMPTS_MAX 100000

static int run(const struct options *options)
{
	auto_api_client struct api_client *client = NULL;
	struct tasklog_options log = {
	    .attempt = (unsigned)options_int(options, "attempt", 0),
	    .tail = (unsigned)options_int(options, "lines", 0),
	    .follow = options_flag(options, "follow"),
	};
	struct error err = {};
	int code;

	if (target_parse_task(options->operands.items[0], &log.task, &err) < 0)
		return verb_complain(EXIT_USAGE, "%s", error_text(&err));
	code = session_open(&client);
	if (code != EXIT_DONE)
		return code;
	return tasklog_print(&client, &log, &err) < 0 ? verb_fail(&err) : EXIT_DONE;
}

static const struct option_spec logs_options[] = {
    {"follow", 'f', OPTION_FLAG, NULL, .help = "go on until the task has ended"},
    {"lines", 'n', OPTION_INT, "N", .min = 1, .max = LINES_MAX,
     .help = "only the last N lines (of the last 4 MiB)"},
    {"attempt", 0, OPTION_INT, "N", .min = 1, .max = ATTEMPTS_MAX,
     .help = "of this attempt (default: the newest)"},
    {},
};

const struct verb verb_logs = {
    .name = "logs",
    .summary = "what a task printed",
    .usage = "ID [-f] [-n N] [--attempt N]",
    .examples = "  plimsoll logs 17\n  plimsoll logs -f -n 20 17\n  plimsoll logs 17 --attempt 1\n",
    .style = OPTIONS_OPERANDS,
    .options = logs_options,
    .operands_min = 1,
    .operands_max = 1,
    .run = run,
};
