/* plimsoll wait: until tasks and batches have ended. */
#include "cli/follow.h"
#include "cli/session.h"
#include "cli/summary.h"
#include "cli/target.h"
#include "cli/term.h"

#include <string.h>

#define TARGETS_MAX 1000
#define PATIENCE_MS 60000

static int wait_task(struct api_client **client, uint64_t id, bool as_json)
{
	auto_json json_t *answer = NULL;
	struct error err = {};
	const json_t *task;
	const char *state;
	int r;

	do {
		r = session_try(*client, "GET", NULL, &answer, &err, "/v1/tasks/%llu/wait",
				(unsigned long long)id);
		if (!session_is_gone(r))
			break;
		r = session_reopen(client, PATIENCE_MS, &err);
	} while (r == 0);
	if (r < 0)
		return verb_fail(&err);
	task = json_object_get(answer, "task");
	state = jsonx_get_string(task, "state", "");
	if (as_json)
		term_print_json(stdout, task);
	else if (strcmp(state, "done") == 0 || strcmp(state, "canceled") == 0)
		(void)printf("task %llu: %s\n", (unsigned long long)id, state);
	else
		(void)printf("task %llu: %s (%s); plimsoll %s %llu\n", (unsigned long long)id,
			     state, summary_outcome(task, (char[64]){0}),
			     summary_did_not_start(task) ? "why" : "logs", (unsigned long long)id);
	return strcmp(state, "done") == 0 ? EXIT_DONE : EXIT_PROBLEM;
}

static int run(const struct options *options)
{
	auto_api_client struct api_client *client = NULL;
	auto_free struct target *targets = NULL;
	bool as_json = options_flag(options, "json");
	int code, worst = EXIT_DONE;
	struct error err = {};

	/* All of them are read before the first is waited for. */
	if (targets_parse(&options->operands, &targets, &err) < 0)
		return verb_complain(EXIT_USAGE, "%s", error_text(&err));
	code = session_open(&client);
	for (size_t i = 0; code == EXIT_DONE && i < options->operands.n; i++) {
		const struct target *t = &targets[i];
		int one = t->is_batch
			      ? follow_and_report(&client, &(struct follow_target){.batch = t->id},
						  as_json)
			      : wait_task(&client, t->id, as_json);

		if (one == EXIT_LEFT)
			return one;
		worst = MAX_OF(worst, one);
	}
	return code == EXIT_DONE ? worst : code;
}

static const struct option_spec wait_options[] = {
    {"json", 0, OPTION_FLAG, NULL, .help = "print how each ended as JSON"},
    {},
};

const struct verb verb_wait = {
    .name = "wait",
    .summary = "wait until tasks and batches have ended",
    .usage = "ID... [--json]",
    .description = "ID is a task's number (17) or a batch (b3). A batch is followed as `plimsoll "
		   "batch` does,\n"
		   "and asks if it has a question. Status 1 when something failed.\n",
    .examples = "  plimsoll wait b3\n  plimsoll wait 17 18 19 && echo all well\n",
    .style = OPTIONS_OPERANDS,
    .options = wait_options,
    .operands_min = 1,
    .operands_max = TARGETS_MAX,
    .run = run,
};
