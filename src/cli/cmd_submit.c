/* plimsoll submit: one task into the queue. */
#include "cli/session.h"
#include "cli/submission.h"
#include "cli/term.h"

static int run(const struct options *options)
{
	auto_api_client struct api_client *client = NULL;
	auto_json json_t *body = NULL, *answer = NULL;
	struct error err = {};
	const json_t *task;
	bool workers = options_flag(options, "workers-per-gpu");
	int code, r;

	r = workers ? submission_build_workers(options, "continue", &body, &err)
		    : submission_build(options, &body, &err);
	if (r < 0)
		return verb_complain(EXIT_USAGE, "%s", error_text(&err));
	code = session_open(&client);
	if (code != EXIT_DONE)
		return code;
	if (session_submit(&client, workers ? "/v1/batches" : "/v1/tasks", body, &answer, &err) <
	    0) {
		submission_explain(&err);
		return verb_fail(&err);
	}
	submission_warn(answer);
	task = json_object_get(answer, workers ? "batch" : "task");
	if (options_flag(options, "json"))
		term_print_json(stdout, task);
	else
		(void)printf("%s%llu\n", workers ? "b" : "",
			     (unsigned long long)jsonx_get_u64(task, "id", 0));
	return EXIT_DONE;
}

static const struct option_spec submit_options[] = {
    SUBMISSION_OPTIONS,
    CONDITIONS_OPTIONS,
    CONDITIONS_LATER_OPTIONS,
    {"json", 0, OPTION_FLAG, NULL, .help = "print the task as JSON"},
    {},
};

const struct verb verb_submit = {
    .name = "submit",
    .summary = "put one command in the queue and print its number",
    .usage = "[options] -- CMD [ARG]...",
    .description = "The command starts when a GPU has room for it, in this folder and with this\n"
		   "environment. Its output is kept: plimsoll logs ID. {device} {gpu} {uuid}\n"
		   "{vram_mib} {batch_size} {rank} {workers} in it are filled in then; other "
		   "braces stay as they are.\n",
    .examples =
	"  plimsoll submit --vram 6G -- python3 train.py --device {device}\n"
	"  plimsoll submit --cpu only --ram 2G -- ./prepare.sh\n"
	"  id=$(plimsoll submit --vram 18G -d cuda:0 -- ./serve.sh) && plimsoll wait $id\n"
	"  plimsoll submit --after 17,b3 --at 'tomorrow 06:00' --vram 6G -- ./evaluate.sh\n"
	"  plimsoll submit --soft-time-limit 5.5h --soft-signal USR1 --time-limit 6h --vram 6G "
	"-- ./train.sh\n"
	"  plimsoll submit --prefer 1,0 --retries 3 --vram 2G -- ./convert.sh\n",
    .style = OPTIONS_COMMAND,
    .options = submit_options,
    .needs_command = true,
    .run = run,
};
