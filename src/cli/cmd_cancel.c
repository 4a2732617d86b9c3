/* plimsoll cancel: what waits is taken out, what runs is ended. */
#include "cli/session.h"
#include "cli/summary.h"
#include "cli/target.h"
#include "cli/term.h"

#include <string.h>

/* The queue is asked for by pages of this size. */
#define PAGE 10000

/* With `document` it is told there, at the end of all. */
static int cancel_one(struct api_client *client, const struct target *target, json_t *document)
{
	auto_json json_t *answer = NULL;
	int code =
	    session_call(client, "POST", NULL, &answer, "/v1/%s/%llu/cancel",
			 target->is_batch ? "batches" : "tasks", (unsigned long long)target->id);

	if (code != EXIT_DONE)
		return code;
	if (document)
		target_add_to_document(
		    document, target, json_object_get(answer, target->is_batch ? "batch" : "task"));
	else if (target->is_batch)
		(void)printf("batch b%llu is canceled\n", (unsigned long long)target->id);
	else
		(void)printf("task %llu is canceled\n", (unsigned long long)target->id);
	return EXIT_DONE;
}

static bool is_over(const json_t *task)
{
	static const char *const over[] = {"done", "failed", "canceled", "lost"};

	for (size_t i = 0; i < ARRAY_LEN(over); i++)
		if (strcmp(jsonx_get_string(task, "state", ""), over[i]) == 0)
			return true;
	return false;
}

/* Batches first, as wholes (nothing of them starts any more), then the single tasks. */
static int cancel_all(struct api_client *client, json_t *document)
{
	auto_json json_t *batches = NULL, *tasks = NULL;
	const json_t *item;
	int code = session_call(client, "GET", NULL, &batches, "/v1/batches");
	size_t i;

	json_array_foreach (json_object_get(batches, "batches"), i, item) {
		struct target target = {.is_batch = true, .id = jsonx_get_u64(item, "id", 0)};
		const char *state = jsonx_get_string(item, "state", "");

		if (code == EXIT_DONE &&
		    (strcmp(state, "running") == 0 || strcmp(state, "asking") == 0))
			code = cancel_one(client, &target, document);
	}
	if (code == EXIT_DONE)
		code = session_call(client, "GET", NULL, &tasks, "/v1/tasks?limit=%d", PAGE);
	json_array_foreach (json_object_get(tasks, "tasks"), i, item) {
		struct target target = {.id = jsonx_get_u64(item, "id", 0)};

		if (code == EXIT_DONE && !is_over(item) &&
		    !jsonx_get_bool(item, "stopping", false) && !jsonx_has(item, "batch"))
			code = cancel_one(client, &target, document);
	}
	return code;
}

static int run(const struct options *options)
{
	auto_api_client struct api_client *client = NULL;
	auto_targets struct targets targets = {};
	auto_json json_t *document = options_flag(options, "json") ? target_document() : NULL;
	bool all = options_flag(options, "all");
	int code, worst = EXIT_DONE;
	struct error err = {};

	if (all == (options->operands.n > 0))
		return verb_complain(EXIT_USAGE,
				     "cancel: name tasks (17) or batches (b3), or --all");
	if (targets_parse(&options->operands, &targets, &err) < 0)
		return verb_complain(EXIT_USAGE, "%s", error_text(&err));
	code = session_open(&client);
	if (code != EXIT_DONE)
		return code;
	if (all)
		worst = cancel_all(client, document);
	for (size_t i = 0; i < targets.n; i++) {
		code = cancel_one(client, &targets.items[i], document);
		worst = MAX_OF(worst, code);
	}
	if (document)
		target_print_document(document, !all && targets.n == 1);
	return worst;
}

static const struct option_spec cancel_options[] = {
    {"all", 0, OPTION_FLAG, NULL, .help = "everything that waits or runs"},
    {"json", 0, OPTION_FLAG, NULL, .help = "print what was canceled as JSON"},
    {},
};

const struct verb verb_cancel = {
    .name = "cancel",
    .summary = "take tasks and batches out of the queue, end those that run",
    .usage = "ID... | --all [--json]",
    .description =
	"ID is a task's number (17), some that follow each other (12-20), or a batch (b3). A\n"
	"running task gets SIGTERM, and SIGKILL some seconds later; what it allocated is free\n"
	"again when its memory has come back. With --json one ID gives the object of that task\n"
	"or batch, several IDs and --all give {\"tasks\": [...], \"batches\": [...]}.\n",
    .examples = "  plimsoll cancel 17 18\n  plimsoll cancel b3\n  plimsoll cancel --all\n",
    .style = OPTIONS_OPERANDS,
    .options = cancel_options,
    .operands_max = TARGETS_MAX,
    .run = run,
};
