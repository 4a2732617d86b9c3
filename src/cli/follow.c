/*
 * The event stream tells what happens; the batch's own record tells how it stands. After every
 * (re)connection the record is read once, so nothing depends on having seen every event.
 *
 * SIGINT is blocked while following and read from a signalfd beside the stream: the first one says
 * how to come back and leaves a moment later, a second one in that moment cancels the batch.
 */
#include "cli/follow.h"

#include "cli/idle.h"
#include "cli/progress.h"
#include "cli/session.h"
#include "cli/summary.h"
#include "cli/term.h"
#include "util/timestamp.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <string.h>
#include <sys/signalfd.h>
#include <unistd.h>

#define REDRAW_MS          500
#define SECOND_CTRL_C_MS   2000
#define DAEMON_PATIENCE_MS 60000
#define LOSSES_MAX         10
#define LOG_LINES_SHOWN    10
#define LOG_BYTES_SHOWN    65536
#define FAILED_SAID        20
#define OVERRUNS_SAID      16
#define COUNTS_EVERY_MS    1000

struct follow {
	uint64_t id; /* 0: not submitted yet */
	const struct follow_target *target;
	int submit_code; /* what submit() returned, and why */
	struct error *submit_error;
	struct progress progress;
	json_t *batch;  /* newest record */
	char load[512]; /* the newest start's line */
	struct idle idle;
	char gpus[512]; /* what is wrong with the GPUs, as said */
	int signal_fd;
	int64_t leave_at_ms; /* 0 = nobody wants to leave */
	bool canceled_by_us; /* Ctrl-C twice: wait for the end of what runs */
	bool cancel_wanted;  /* to be sent once the stream has been left */
	unsigned losses;     /* of the daemon since it last said hello */
	uint64_t last_failed;
	uint64_t overran[OVERRUNS_SAID]; /* of whom that was said */
	unsigned n_overran;
	unsigned n_failed; /* that were told of, or would have been */
	bool on_cpu;       /* the newest start has no GPU: there is no load to tell */
	uint64_t over;     /* how many had ended when it was last said */
	int64_t counted_at_ms;
};

static bool batch_is(const struct follow *f, const char *state)
{
	return strcmp(jsonx_get_string(f->batch, "state", ""), state) == 0;
}

static bool batch_over(const struct follow *f)
{
	/* A canceled batch is over when nothing of it runs any more. */
	return batch_is(f, "done") ||
	       (batch_is(f, "canceled") && jsonx_get_u64(f->batch, "running", 0) == 0);
}

/* What the bar says on a terminal. */
static void say_counts(struct follow *f)
{
	uint64_t over = jsonx_get_u64(f->batch, "done", 0) + jsonx_get_u64(f->batch, "failed", 0) +
			jsonx_get_u64(f->batch, "canceled", 0);
	int64_t now = monotonic_now_ms();

	if (f->progress.live || !f->on_cpu || over == f->over ||
	    now - f->counted_at_ms < COUNTS_EVERY_MS)
		return;
	f->over = over;
	f->counted_at_ms = now;
	progress_say(&f->progress, "%llu of %llu done",
		     (unsigned long long)jsonx_get_u64(f->batch, "done", 0),
		     (unsigned long long)jsonx_get_u64(f->batch, "total", 0));
}

static void redraw(struct follow *f)
{
	auto_text struct text line = {};

	say_counts(f);
	if (!f->progress.live || !f->batch || f->leave_at_ms > 0)
		return;
	progress_of_batch(f->batch, f->idle.reason[0] ? "" : f->load,
			  term_columns(f->progress.file), &line);
	if (f->idle.reason[0])
		text_printf(&line, ", waits: %s", f->idle.reason);
	progress_draw(&f->progress, line.data);
}

static void on_batch(struct follow *f, json_t *batch)
{
	if (!json_is_object(batch) || jsonx_get_u64(batch, "id", 0) != f->id)
		return;
	json_decref(f->batch);
	f->batch = json_incref(batch);
	redraw(f);
}

/* Once for each task; of more than OVERRUNS_SAID the summary tells. */
static void say_overrun(struct follow *f, const json_t *task)
{
	const json_t *attempts = json_object_get(task, "attempts");
	const json_t *last = json_array_get(attempts, json_array_size(attempts) - 1);
	uint64_t id = jsonx_get_u64(task, "id", 0);

	if (strcmp(jsonx_get_string(task, "state", ""), "running") != 0 ||
	    !jsonx_get_bool(last, "overrun", false) || f->n_overran == OVERRUNS_SAID)
		return;
	for (unsigned i = 0; i < f->n_overran; i++)
		if (f->overran[i] == id)
			return;
	f->overran[f->n_overran++] = id;
	progress_say(&f->progress, "task %llu (%s) %s", (unsigned long long)id,
		     jsonx_get_string(task, "name", "task"),
		     jsonx_get_string(last, "overrun_text", "uses more than it was granted"));
	redraw(f);
}

static void on_task(struct follow *f, const json_t *task)
{
	const char *state = jsonx_get_string(task, "state", "");
	unsigned long long id = jsonx_get_u64(task, "id", 0);

	if (jsonx_get_u64(task, "batch", 0) != f->id)
		return;
	say_overrun(f, task);
	if (strcmp(state, "failed") != 0 && strcmp(state, "lost") != 0)
		return;
	f->last_failed = id;
	if (f->n_failed++ >= FAILED_SAID)
		return;
	progress_say(&f->progress, "%s: %s (%s); plimsoll %s %llu", state,
		     jsonx_get_string(task, "name", "task"),
		     summary_outcome(task, (char[SUMMARY_OUTCOME_MAX]){0}),
		     summary_did_not_start(task) ? "why" : "logs", id);
	redraw(f);
}

static void on_start(struct follow *f, const json_t *event)
{
	if (jsonx_get_u64(event, "batch", f->id) != f->id)
		return;
	f->on_cpu = strcmp(jsonx_get_string(event, "device", ""), "cpu") == 0;
	(void)snprintf(f->load, sizeof f->load, "%s", jsonx_get_string(event, "line", ""));
	if (!f->progress.live && !f->on_cpu && f->load[0])
		progress_say(&f->progress, "%s", f->load);
	redraw(f);
}

static void on_gpus(struct follow *f, const json_t *event)
{
	const char *text = jsonx_get_string(event, "text", "");

	if (*text)
		progress_say(&f->progress, "GPUs: %s", text);
	else if (f->gpus[0])
		progress_say(&f->progress, "GPUs: they answer again");
	(void)snprintf(f->gpus, sizeof f->gpus, "%s", text);
}

/* Nothing runs: say why, unless that is what was said of the GPUs already. */
static void on_idle(struct follow *f)
{
	if (idle_look(&f->idle, f->batch) && !(f->gpus[0] && strstr(f->idle.reason, f->gpus)))
		progress_say(&f->progress, "nothing of it runs: %s", f->idle.reason);
}

/* Stay in the stream? */
static bool going_on(const struct follow *f)
{
	return !batch_over(f) && !batch_is(f, "asking") && !f->cancel_wanted &&
	       f->submit_code == 0 && !(f->leave_at_ms > 0 && monotonic_now_ms() >= f->leave_at_ms);
}

/* We are being told everything from here on: now the batch may come. */
static void on_hello(struct follow *f, const json_t *event)
{
	auto_json json_t *batch = NULL;

	f->losses = 0;
	if (f->id > 0) {
		on_batch(f, json_object_get(event, "batch"));
		return;
	}
	f->submit_code = f->target->submit(f->target->data, &batch, f->submit_error);
	if (f->submit_code < 0)
		return;
	f->id = jsonx_get_u64(batch, "id", 0);
	on_batch(f, batch);
}

static bool on_line(void *data, const char *line)
{
	struct follow *f = data;
	auto_json json_t *event = json_loads(line, 0, NULL);
	const char *name = jsonx_get_string(event, "event", "");

	if (strcmp(name, "hello") == 0)
		on_hello(f, event);
	else if (strcmp(name, "batch") == 0)
		on_batch(f, json_object_get(event, "batch"));
	else if (strcmp(name, "task") == 0)
		on_task(f, json_object_get(event, "task"));
	else if (strcmp(name, "start") == 0)
		on_start(f, event);
	else if (strcmp(name, "gpus") == 0)
		on_gpus(f, event);
	return going_on(f);
}

static bool on_tick(void *data)
{
	on_idle(data);
	redraw(data);
	return going_on(data);
}

static bool on_signal(void *data)
{
	struct follow *f = data;
	struct signalfd_siginfo info;

	if (read(f->signal_fd, &info, sizeof info) != (ssize_t)sizeof info)
		return going_on(f);
	if (f->canceled_by_us) {
		/* A third one: do not even wait for the running tasks to end. */
		f->leave_at_ms = monotonic_now_ms();
	} else if (f->leave_at_ms > 0) {
		f->leave_at_ms = 0;
		f->cancel_wanted = true;
	} else {
		f->leave_at_ms = monotonic_now_ms() + SECOND_CTRL_C_MS;
		progress_say(
		    &f->progress,
		    "batch b%llu runs on; back to it: plimsoll wait b%llu (Ctrl-C again: cancel)",
		    (unsigned long long)f->id, (unsigned long long)f->id);
	}
	return going_on(f);
}

static bool collect_log(void *data, const char *bytes, size_t len)
{
	struct text *log = data;

	text_add_bytes(log, bytes, len);
	return log->len < LOG_BYTES_SHOWN;
}

/* The last lines of the log of the task that failed last. */
static void show_log(struct follow *f, struct api_client *client)
{
	auto_text struct text log = {};
	struct api_stream_options stream = {.data = &log, .on_bytes = collect_log};
	char path[128];

	(void)snprintf(path, sizeof path, "/v1/tasks/%llu/log?tail=%d",
		       (unsigned long long)f->last_failed, LOG_LINES_SHOWN);
	if (api_client_stream(client, path, &stream, NULL) == 0 && log.len > 0)
		for (char *rest = log.data, *line; (line = strsep(&rest, "\n"));)
			if (*line)
				progress_say(&f->progress, "    %s", line);
}

/* The task of the batch that failed last, when no event told (we came later). */
static void find_failed(struct follow *f, struct api_client *client)
{
	auto_json json_t *result = NULL;
	const json_t *task;
	size_t i;

	if (f->last_failed > 0 ||
	    session_try(client, "GET", NULL, &result, NULL, "/v1/batches/%llu?state=failed",
			(unsigned long long)f->id) < 0)
		return;
	json_array_foreach (json_object_get(result, "tasks"), i, task)
		if (strcmp(jsonx_get_string(task, "state", ""), "failed") == 0)
			on_task(f, task);
}

/* Wait for a line from the terminal; its first letter, 'l' for Ctrl-C or the end of input (leave).
 */
static char read_answer(struct follow *f, int terminal)
{
	struct pollfd fds[] = {{.fd = terminal, .events = POLLIN},
			       {.fd = f->signal_fd, .events = POLLIN}};
	struct signalfd_siginfo info;
	char line[128];
	ssize_t n;

	while (poll(fds, ARRAY_LEN(fds), -1) < 0 && errno == EINTR)
		;
	if (fds[1].revents) {
		(void)!read(f->signal_fd, &info, sizeof info);
		return 'l';
	}
	n = read(terminal, line, sizeof line);
	return n > 0 ? line[0] : 'l';
}

/* The batch asks. *ret_left: nobody answered. */
static int ask(struct follow *f, struct api_client *client, bool *ret_left, struct error *err)
{
	auto_close int terminal = open("/dev/tty", O_RDWR | O_CLOEXEC | O_NOCTTY);
	unsigned long long id = f->id;

	find_failed(f, client);
	if (terminal < 0 || !f->progress.live || !isatty(STDIN_FILENO)) {
		progress_say(
		    &f->progress,
		    "batch b%llu has a failure and asks whether to go on: plimsoll wait b%llu on a "
		    "terminal, or plimsoll cancel b%llu",
		    id, id, id);
		*ret_left = true;
		return 0;
	}
	if (f->last_failed > 0)
		show_log(f, client);
	for (;;) {
		auto_json json_t *body = json_object();

		(void)dprintf(
		    terminal,
		    "%llu of %llu are left to start. [c]ontinue, continue with [a]ll, [s]top? ",
		    (unsigned long long)jsonx_get_u64(f->batch, "waiting", 0),
		    (unsigned long long)jsonx_get_u64(f->batch, "total", 0));
		switch (read_answer(f, terminal)) {
		case 'a':
		case 'A':
			(void)json_object_set_new(body, "all", json_true());
			FALLTHROUGH;
		case 'c':
		case 'C':
			return session_try(client, "POST", body, NULL, err,
					   "/v1/batches/%llu/continue", id);
		case 's':
		case 'S':
			return session_try(client, "POST", NULL, NULL, err,
					   "/v1/batches/%llu/cancel", id);
		case 'l':
			(void)dprintf(terminal,
				      "\nbatch b%llu waits; back to it: plimsoll wait b%llu\n", id,
				      id);
			*ret_left = true;
			return 0;
		default:
			break;
		}
	}
}

/* The events until something is to be decided. The first one tells how the batch stands. */
static int watch(struct follow *f, struct api_client *client, struct error *err)
{
	struct api_stream_options stream = {
	    .data = f,
	    .on_line = on_line,
	    .watch_fd = f->signal_fd,
	    .on_readable = on_signal,
	    .tick_ms = REDRAW_MS,
	    .on_tick = on_tick,
	};
	char path[64];
	int r;

	/* What was known is not what is: a tick may come before the first event. */
	json_decref(TAKE(f->batch));
	if (f->id > 0)
		(void)snprintf(path, sizeof path, "/v1/events?batch=%llu",
			       (unsigned long long)f->id);
	f->submit_error = err;
	r = api_client_stream(client, f->id > 0 ? path : "/v1/events", &stream, err);
	progress_clear(&f->progress);
	return f->submit_code < 0 ? f->submit_code : r;
}

static int cancel(struct follow *f, struct api_client *client, struct error *err)
{
	int r;

	progress_say(&f->progress, "canceling batch b%llu; what runs is being ended",
		     (unsigned long long)f->id);
	f->canceled_by_us = true;
	r = session_try(client, "POST", NULL, NULL, err, "/v1/batches/%llu/cancel",
			(unsigned long long)f->id);
	f->cancel_wanted = session_is_gone(r);
	return r;
}

/* Where nothing failed, the first that was canceled says why. A list of the failed has it not. */
static int add_canceled(const struct follow *f, struct api_client *client, json_t *result,
			struct error *err)
{
	auto_json json_t *answer = NULL;
	int r;

	if (f->target->all_tasks || jsonx_get_u64(f->batch, "canceled", 0) == 0 ||
	    jsonx_get_u64(f->batch, "failed", 0) > 0)
		return 0;
	r = session_try(client, "GET", NULL, &answer, err,
			"/v1/tasks?batch=%llu&state=canceled&order=oldest&limit=1",
			(unsigned long long)f->id);
	if (r == 0)
		(void)json_array_extend(json_object_get(result, "tasks"),
					json_object_get(answer, "tasks"));
	return r;
}

/* One round: watch, then do what is to be done. 1: go on, 0: *ret_end says how it ended. */
static int follow_round(struct follow *f, struct api_client **client, enum follow_end *ret_end,
			json_t **ret_result, struct error *err)
{
	bool left = false;
	int r = watch(f, *client, err);

	if (r == 0 && f->cancel_wanted)
		r = cancel(f, *client, err);
	else if (r == 0 && batch_over(f)) {
		r = session_try(*client, "GET", NULL, ret_result, err, "/v1/batches/%llu%s",
				(unsigned long long)f->id,
				f->target->all_tasks ? "" : "?state=failed,lost");
		*ret_end = FOLLOW_ENDED;
		if (r == 0)
			r = add_canceled(f, *client, *ret_result, err);
		if (r == 0)
			return 0;
	} else if (r == 0 && batch_is(f, "asking")) {
		r = ask(f, *client, &left, err);
		if (left)
			*ret_end = FOLLOW_ASKING;
	} else if (r == 0 && f->leave_at_ms == 0) {
		r = error_set(err, -EPIPE, "the daemon ended the stream of events");
	}
	if (f->leave_at_ms > 0 && monotonic_now_ms() >= f->leave_at_ms) {
		*ret_end = FOLLOW_LEFT;
		return 0;
	}
	/* A submit that failed has been tried often enough. */
	if (session_is_gone(r) && f->submit_code == 0 && f->losses++ < LOSSES_MAX) {
		progress_say(&f->progress,
			     "the daemon went away; starting it again (tasks run on meanwhile)");
		r = session_reopen(client, DAEMON_PATIENCE_MS, err);
	}
	return r < 0 ? r : !left;
}

/* `client` may be replaced. Progress goes to standard error. Returns 0 and how it ended, or a
 * negative errno: the daemon could not be reached, does not know the batch, or submit() failed. */
static int follow_batch(struct api_client **client, const struct follow_target *target,
			enum follow_end *ret_end, json_t **ret_result, struct error *err)
{
	struct follow f = {.id = target->batch, .target = target};
	auto_close int signal_fd = -1;
	sigset_t set, old;
	int r;

	(void)sigemptyset(&set);
	(void)sigaddset(&set, SIGINT);
	(void)sigprocmask(SIG_BLOCK, &set, &old);
	signal_fd = signalfd(-1, &set, SFD_CLOEXEC);
	f.signal_fd = signal_fd;
	progress_init(&f.progress, stderr);
	do {
		r = signal_fd < 0 ? error_sys(err, -errno, "cannot watch for Ctrl-C")
				  : follow_round(&f, client, ret_end, ret_result, err);
	} while (r == 1);
	progress_clear(&f.progress);
	if (f.n_failed > FAILED_SAID)
		progress_say(
		    &f.progress,
		    "... and %u more failed; all of them: plimsoll queue --batch b%llu --state "
		    "failed,lost",
		    f.n_failed - FAILED_SAID, (unsigned long long)f.id);
	idle_finish(&f.idle);
	json_decref(f.batch);
	(void)sigprocmask(SIG_SETMASK, &old, NULL);
	return r;
}

int follow_and_collect(struct api_client **client, const struct follow_target *target,
		       json_t **ret_result)
{
	enum follow_end end = FOLLOW_LEFT;
	struct error err = {};

	if (follow_batch(client, target, &end, ret_result, &err) < 0)
		return verb_fail(&err);
	if (end == FOLLOW_LEFT)
		return EXIT_LEFT;
	return end == FOLLOW_ASKING ? EXIT_PROBLEM : summary_exit_code(*ret_result);
}

int follow_and_report(struct api_client **client, const struct follow_target *given, bool as_json)
{
	struct follow_target target = *given;
	auto_json json_t *result = NULL;
	auto_text struct text text = {};
	int code;

	/* People are told of what failed; a hundred thousand that did not would cost seconds. */
	target.all_tasks = as_json;
	code = follow_and_collect(client, &target, &result);
	if (result && as_json) {
		term_print_json(stdout, result);
	} else if (result) {
		summary_render(result, term_table_width(stdout), &text);
		(void)fputs(text.data, stdout);
	}
	return code;
}
