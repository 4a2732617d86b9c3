/* plimsoll cancel: what waits is taken out, what runs is ended. */
#include "cli/session.h"
#include "cli/target.h"
#include "cli/term.h"

#include <string.h>

/* What runs has some seconds to end in. */
static void say(const struct target *target, const json_t *told)
{
	unsigned long long id = target->id, running = jsonx_get_u64(told, "running", 0);
	const char *state = jsonx_get_string(told, "state", "");

	if (target->is_batch && running > 0)
		(void)printf("batch b%llu is canceled; %llu task%s of it %s being stopped\n", id,
			     running, PLURAL(running), running == 1 ? "is" : "are");
	else if (target->is_batch)
		(void)printf("batch b%llu is canceled\n", id);
	else if (strcmp(state, "running") == 0 || strcmp(state, "starting") == 0)
		(void)printf("task %llu is being stopped\n", id);
	else
		(void)printf("task %llu is canceled\n", id);
}

/* With `document` it is told there, at the end of all. */
static int cancel_one(struct api_client *client, const struct target *target, json_t *document,
		      struct targets_absent *absent)
{
	auto_json json_t *answer = NULL;
	struct error err = {};

	if (session_try(client, "POST", NULL, &answer, &err, "/v1/%s/%llu/cancel",
			target->is_batch ? "batches" : "tasks", (unsigned long long)target->id) < 0)
		return targets_failed(absent, &err);
	if (document)
		target_add_to_document(
		    document, target, json_object_get(answer, target->is_batch ? "batch" : "task"));
	else
		say(target, json_object_get(answer, target->is_batch ? "batch" : "task"));
	return EXIT_DONE;
}

/* One turn of the daemon: nothing starts and nothing ends between the first and the last. */
static int cancel_all(struct api_client *client, bool as_json)
{
	auto_json json_t *answer = NULL;
	int code = session_call(client, "POST", NULL, &answer, "/v1/queue/cancel-all");
	unsigned long long canceled = jsonx_get_u64(answer, "canceled", 0),
			   stopping = jsonx_get_u64(answer, "stopping", 0);

	if (code != EXIT_DONE)
		return code;
	if (as_json)
		term_print_json(stdout, answer);
	else if (canceled + stopping == 0)
		(void)printf("nothing waits and nothing runs\n");
	else
		(void)printf("%llu waiting task%s canceled, %llu running task%s being stopped\n",
			     canceled, canceled == 1 ? " is" : "s are", stopping,
			     stopping == 1 ? " is" : "s are");
	return EXIT_DONE;
}

static int run(const struct options *options)
{
	auto_api_client struct api_client *client = NULL;
	auto_targets struct targets targets = {};
	auto_json json_t *document = options_flag(options, "json") ? target_document() : NULL;
	bool all = options_flag(options, "all");
	struct targets_absent absent = {};
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
		return cancel_all(client, document != NULL);
	for (size_t i = 0; i < targets.n; i++) {
		code = cancel_one(client, &targets.items[i], document, &absent);
		worst = MAX_OF(worst, code);
	}
	targets_tell_absent(&absent, targets.n);
	if (document)
		target_print_document(document, targets.n == 1);
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
	"again when its memory has come back. --all is all of yours (root: everybody's), at once:\n"
	"what waits first, so that nothing starts instead. With --json one ID gives the object of\n"
	"that task or batch, several IDs give {\"tasks\": [...], \"batches\": [...]}, and --all\n"
	"gives how many: {\"canceled\": N, \"stopping\": N, \"canceled_batches\": N}.\n",
    .examples = "  plimsoll cancel 17 18\n  plimsoll cancel b3\n  plimsoll cancel --all\n",
    .style = OPTIONS_OPERANDS,
    .options = cancel_options,
    .operands_max = TARGETS_MAX,
    .run = run,
};
