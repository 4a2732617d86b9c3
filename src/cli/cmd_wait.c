/* plimsoll wait: until tasks and batches have ended. */
#include "cli/follow.h"
#include "cli/session.h"
#include "cli/summary.h"
#include "cli/target.h"
#include "cli/term.h"

#include <string.h>

#define PATIENCE_MS 60000

static void say(const json_t *task)
{
	unsigned long long id = jsonx_get_u64(task, "id", 0);
	const char *state = jsonx_get_string(task, "state", "");

	if (strcmp(state, "done") == 0 || strcmp(state, "canceled") == 0)
		(void)printf("task %llu: %s\n", id, state);
	else
		(void)printf("task %llu: %s (%s); plimsoll %s %llu\n", id, state,
			     summary_outcome(task, (char[SUMMARY_OUTCOME_MAX]){0}),
			     summary_did_not_start(task) ? "why" : "logs", id);
}

/* *ret_task is the caller's; NULL when it is not known how the task ended. */
static int wait_task(struct api_client **client, uint64_t id, json_t **ret_task)
{
	auto_json json_t *answer = NULL;
	struct error err = {};
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
	*ret_task = json_incref(json_object_get(answer, "task"));
	return strcmp(jsonx_get_string(*ret_task, "state", ""), "done") == 0 ? EXIT_DONE
									     : EXIT_PROBLEM;
}

/* One of several; with `document` it is told there, at the end of all. */
static int wait_one(struct api_client **client, const struct target *t, json_t *document)
{
	struct follow_target batch = {.batch = t->id, .all_tasks = true};
	auto_json json_t *result = NULL;
	int code;

	if (t->is_batch && !document)
		return follow_and_report(client, &batch, false);
	code = t->is_batch ? follow_and_collect(client, &batch, &result)
			   : wait_task(client, t->id, &result);
	if (!document && result)
		say(result);
	else if (result)
		target_add_to_document(document, t, result);
	return code;
}

static int run(const struct options *options)
{
	auto_api_client struct api_client *client = NULL;
	auto_targets struct targets targets = {};
	auto_json json_t *document = options_flag(options, "json") ? target_document() : NULL;
	int code, worst = EXIT_DONE;
	struct error err = {};

	/* All of them are read before the first is waited for. */
	if (targets_parse(&options->operands, &targets, &err) < 0)
		return verb_complain(EXIT_USAGE, "%s", error_text(&err));
	code = session_open(&client);
	for (size_t i = 0; code == EXIT_DONE && i < targets.n; i++) {
		int one = wait_one(&client, &targets.items[i], document);

		worst = MAX_OF(worst, one);
		if (one == EXIT_LEFT)
			break;
	}
	if (document && code == EXIT_DONE)
		target_print_document(document, targets.n == 1);
	return code == EXIT_DONE ? worst : code;
}

static const struct option_spec wait_options[] = {
    {"json", 0, OPTION_FLAG, NULL, .help = "print how they ended as JSON"},
    {},
};

const struct verb verb_wait = {
    .name = "wait",
    .summary = "wait until tasks and batches have ended",
    .usage = "ID... [--json]",
    .description =
	"ID is a task's number (17), some that follow each other (12-20), or a batch (b3),\n"
	"which is followed as `plimsoll batch` does, with its question if it has one. Status 1\n"
	"when something failed. With --json one ID gives the object of that task or batch,\n"
	"several give {\"tasks\": [...], \"batches\": [...]}.\n",
    .examples = "  plimsoll wait b3\n  plimsoll wait 17 18 19 && echo all well\n",
    .style = OPTIONS_OPERANDS,
    .options = wait_options,
    .operands_min = 1,
    .operands_max = TARGETS_MAX,
    .run = run,
};
