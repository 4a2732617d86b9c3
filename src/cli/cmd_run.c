/*
 * plimsoll run: a task in the foreground. Ctrl-C (and SIGTERM, SIGHUP) cancel it; its exit status
 * is ours. Nothing of ours is printed to standard output.
 */
#include "cli/relay.h"
#include "cli/session.h"
#include "cli/submission.h"
#include "cli/summary.h"
#include "cli/tasklog.h"
#include "cli/workers.h"

#include <errno.h>
#include <signal.h>
#include <string.h>
#include <sys/signalfd.h>
#include <unistd.h>

#define PATIENCE_MS      60000
#define EXIT_NOT_STARTED 127 /* as of env, nohup and the shells */

struct foreground {
	uint64_t id;
	int signal_fd;
	unsigned signals;
	int last_signal;
	struct api_client *cancel_client;
	struct relay *relay; /* its terminal; NULL: it has none */
};

static void on_started(void *data)
{
	struct foreground *f = data;

	relay_begin(f->relay);
}

/* Before anything of ours is printed: our terminal as it was, after all that the task printed. */
static void relay_end(struct foreground *f)
{
	relay_destroy(TAKE(f->relay));
}

/* The stream's connection is busy; the cancel takes another. The stream goes on: what the task
 * prints while it ends is wanted too. A second signal gives up waiting for that. */
static bool on_signal(void *data)
{
	struct foreground *f = data;
	struct signalfd_siginfo info;

	if (read(f->signal_fd, &info, sizeof info) != (ssize_t)sizeof info)
		return true;
	f->last_signal = (int)info.ssi_signo;
	if (f->signals++ > 0)
		return false;
	if (!f->cancel_client && session_join(&f->cancel_client, NULL) < 0)
		return true;
	(void)session_try(f->cancel_client, "POST", NULL, NULL, NULL, "/v1/tasks/%llu/cancel",
			  (unsigned long long)f->id);
	return true;
}

static int wait_for_end(struct api_client **client, uint64_t id, json_t **ret_task,
			struct error *err)
{
	auto_json json_t *answer = NULL;
	int r;

	do {
		r = session_try(*client, "GET", NULL, &answer, err, "/v1/tasks/%llu/wait",
				(unsigned long long)id);
		if (!session_is_gone(r))
			break;
		r = session_reopen(client, PATIENCE_MS, err);
	} while (r == 0);
	if (r == 0)
		*ret_task = json_incref(json_object_get(answer, "task"));
	return r;
}

/* The command's own status; what has none is a failure of its own kind. */
static int status_of(const struct foreground *f, const json_t *task)
{
	const json_t *attempts = json_object_get(task, "attempts");
	const json_t *last = json_array_get(attempts, json_array_size(attempts) - 1);
	const char *outcome = jsonx_get_string(last, "outcome", "");

	if (f->signals > 0 && strcmp(jsonx_get_string(task, "state", ""), "canceled") == 0)
		return 128 + f->last_signal;
	if (last && strcmp(outcome, "ok") != 0 && strcmp(outcome, "error") != 0)
		(void)verb_complain(EXIT_PROBLEM, "task %llu: %s", (unsigned long long)f->id,
				    summary_outcome(task, (char[SUMMARY_OUTCOME_MAX]){0}));
	if (jsonx_has(last, "signal"))
		return 128 + (int)jsonx_get_i64(last, "signal", 0);
	if (jsonx_has(last, "exit_code"))
		return (int)jsonx_get_i64(last, "exit_code", EXIT_CANNOT);
	if (last && !summary_did_not_start(task))
		return EXIT_CANNOT;
	(void)verb_complain(EXIT_CANNOT, "task %llu: %s", (unsigned long long)f->id,
			    jsonx_get_string(task, "reason", "it ended before it ran"));
	return last ? EXIT_NOT_STARTED : EXIT_CANNOT;
}

static int stand_by(struct api_client **client, struct foreground *f)
{
	struct tasklog_options options = {.task = f->id,
					  .follow = true,
					  .wait_notes = true,
					  .signal_fd = f->signal_fd,
					  .on_signal = on_signal,
					  .on_started = f->relay ? on_started : NULL,
					  .data = f};
	auto_json json_t *task = NULL;
	struct error err = {};
	int r = tasklog_print(client, &options, &err);

	if (r == 0 && f->signals < 2)
		r = wait_for_end(client, f->id, &task, &err);
	relay_end(f);
	if (f->signals > 1)
		return 128 + f->last_signal;
	return r < 0 ? verb_fail(&err) : status_of(f, task);
}

/* Blocked before the task exists: a Ctrl-C in between must not leave it behind. */
static int watch_signals(bool with_quit, struct error *err)
{
	static const int ours[] = {SIGINT, SIGTERM, SIGHUP};
	sigset_t set;
	int fd;

	(void)sigemptyset(&set);
	for (size_t i = 0; i < ARRAY_LEN(ours); i++)
		(void)sigaddset(&set, ours[i]);
	/* It would leave a terminal in raw mode behind. */
	if (with_quit)
		(void)sigaddset(&set, SIGQUIT);
	(void)sigprocmask(SIG_BLOCK, &set, NULL);
	fd = signalfd(-1, &set, SFD_CLOEXEC);
	return fd < 0 ? error_sys(err, -errno, "cannot watch for signals") : fd;
}

static int run(const struct options *options)
{
	auto_api_client struct api_client *client = NULL;
	auto_json json_t *body = NULL, *answer = NULL;
	struct foreground f = {};
	auto_close int signal_fd = -1;
	bool on_tty = options_flag(options, "tty");
	struct error err = {};
	int code;

	if (options_flag(options, "workers-per-gpu"))
		return on_tty ? verb_complain(EXIT_USAGE,
					      "run: -t gives one command this terminal, and "
					      "--workers-per-gpu runs several")
			      : workers_run(options, "continue", false, false);
	if (on_tty && !isatty(STDIN_FILENO))
		return verb_complain(EXIT_USAGE, "run: -t gives the command this terminal, and "
						 "standard input is none; leave out -t, then it "
						 "reads nothing");
	if (submission_build(options, &body, &err) < 0)
		return verb_complain(EXIT_USAGE, "%s", error_text(&err));
	code = session_open(&client);
	if (code != EXIT_DONE)
		return code;
	signal_fd = watch_signals(on_tty, &err);
	if (signal_fd < 0)
		return verb_fail(&err);
	f.signal_fd = signal_fd;
	if (on_tty) {
		if (relay_create(&f.relay, &err) < 0)
			return verb_complain(EXIT_USAGE, "run: %s", error_text(&err));
		(void)json_object_set_new(body, "tty", json_string(relay_tty(f.relay)));
	}
	if (session_submit(&client, "/v1/tasks", body, &answer, &err) < 0) {
		relay_end(&f);
		submission_explain(&err);
		return verb_fail(&err);
	}
	submission_warn(answer);
	f.id = jsonx_get_u64(json_object_get(answer, "task"), "id", 0);
	code = stand_by(&client, &f);
	api_client_destroy(f.cancel_client);
	return code;
}

static const struct option_spec run_options[] = {
    {"tty", 't', OPTION_FLAG, NULL,
     .help = "give the command this terminal: it can be typed to, and draw on it; it keeps no log"},
    SUBMISSION_OPTIONS,
    CONDITIONS_OPTIONS,
    CONDITIONS_NOT_LATER_OPTIONS,
    {},
};

const struct verb verb_run = {
    .name = "run",
    .summary = "run one command on the right GPU, in the foreground",
    .usage = "[options] -- CMD [ARG]...",
    .description =
	"Waits for a GPU with room, runs the command there and shows what it prints; ends with\n"
	"the command's own exit status, 128 + N when signal N ended it, or 127, and says why, "
	"when\n"
	"it could not be started. Ctrl-C cancels it. The command reads nothing from standard "
	"input,\n"
	"unless -t gives it the terminal: then Ctrl-C and all else go to the command once it\n"
	"runs. Ctrl-Z goes there too, and stops what a shell runs there (-t -- bash); a command\n"
	"by itself, which no shell could continue, runs on. With --workers-per-gpu the copies are\n"
	"a batch: it waits for all of them, and what they print is in their logs. When this "
	"program is killed, its "
	"terminal goes with it (SIGHUP).\n",
    .examples = "  plimsoll run --vram 6G -- python3 train.py --device {device}\n"
		"  plimsoll run --vram 2G -d cuda:1 -- nvidia-smi\n"
		"  plimsoll run --gpus 0.5 -- python3 notebook.py\n"
		"  plimsoll run --workers-per-gpu 2 -- python3 worker.py --rank {rank} --of "
		"{workers}\n"
		"  plimsoll run --cpu only -- ./check.sh\n"
		"  plimsoll run -t --vram 8G -- python3\n",
    .style = OPTIONS_COMMAND,
    .options = run_options,
    .needs_command = true,
    .run = run,
};
