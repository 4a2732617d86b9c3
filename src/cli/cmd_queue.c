/* plimsoll queue: the tasks, those that wait and run first of all. */
#include "cli/session.h"
#include "cli/target.h"
#include "cli/tasktable.h"
#include "cli/term.h"
#include "util/timestamp.h"

#include <errno.h>

#define LIMIT_MAX 100000

static const char *const states[] = {"waiting", "held",     "starting", "running", "done",
				     "failed",  "canceled", "lost",     NULL};

/* *ret_batch is 0 when none was named. */
static int build_path(const struct options *options, struct text *path, uint64_t *ret_batch,
		      struct error *err)
{
	const struct option_value *state = options_get(options, "state");
	const char *batch = options_text(options, "batch", NULL);
	struct target target = {};
	int r;

	text_add(path, "/v1/tasks?");
	if (state->given)
		text_printf(path, "state=%s&", states[state->choice]);
	if (batch) {
		r = target_parse(batch, &target, err);
		if (r < 0)
			return error_prefix(err, r, "--batch");
		text_printf(path, "batch=%llu&", (unsigned long long)target.id);
		*ret_batch = target.id;
	}
	if (options_flag(options, "limit"))
		text_printf(path, "limit=%lld&", options_int(options, "limit", 0));
	path->data[--path->len] = '\0';
	return 0;
}

static int run(const struct options *options)
{
	auto_api_client struct api_client *client = NULL;
	auto_json json_t *answer = NULL;
	auto_text struct text path = {}, text = {};
	struct error err = {};
	uint64_t batch = 0;
	size_t shown;
	int code;

	if (build_path(options, &path, &batch, &err) < 0)
		return verb_complain(EXIT_USAGE, "%s", error_text(&err));
	code = session_open(&client);
	if (code == EXIT_DONE)
		code = session_call(client, "GET", NULL, &answer, "%s", path.data);
	/* No tasks: is there such a batch at all? */
	if (code == EXIT_DONE && batch > 0 &&
	    json_array_size(json_object_get(answer, "tasks")) == 0)
		code = session_call(client, "GET", NULL, NULL, "/v1/batches/%llu?limit=0",
				    (unsigned long long)batch);
	if (code != EXIT_DONE)
		return code;
	if (options_flag(options, "json")) {
		term_print_json(stdout, answer);
		return EXIT_DONE;
	}
	shown = json_array_size(json_object_get(answer, "tasks"));
	tasktable_render(json_object_get(answer, "tasks"), timestamp_now_ms(),
			 term_table_width(stdout), &text);
	(void)fputs(shown > 0 ? text.data : "no tasks\n", stdout);
	if (jsonx_get_u64(answer, "total", shown) > shown)
		(void)fprintf(stderr,
			      "%zu of %llu tasks; --state, --batch and --limit choose others\n",
			      shown, (unsigned long long)jsonx_get_u64(answer, "total", shown));
	return EXIT_DONE;
}

static const struct option_spec queue_options[] = {
    {"state", 's', OPTION_CHOICE, "STATE", .choices = states, .help = "only tasks in this state"},
    {"batch", 'b', OPTION_STRING, "BATCH", .help = "only tasks of this batch (b3)"},
    {"limit", 'n', OPTION_INT, "N", .min = 1, .max = LIMIT_MAX, .help = "at most so many"},
    {"json", 0, OPTION_FLAG, NULL, .help = "print as JSON"},
    {},
};

const struct verb verb_queue = {
    .name = "queue",
    .summary = "the tasks that wait and run, and the last that ended",
    .usage = "[--state STATE] [--batch BATCH] [--limit N] [--json]",
    .examples = "  plimsoll queue\n"
		"  plimsoll queue --state failed --batch b3\n"
		"  plimsoll queue --json | jq '.tasks[] | select(.state == \"running\").name'\n",
    .style = OPTIONS_OPERANDS,
    .options = queue_options,
    .run = run,
};
