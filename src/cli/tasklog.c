/* See tasklog.h. Bytes already printed are counted, so that a second stream of the same log (after
 * the daemon came back) can be joined to the first. */
#include "cli/tasklog.h"

#include "cli/session.h"
#include "util/file.h"
#include "util/text.h"
#include "util/timestamp.h"

#include <errno.h>
#include <string.h>
#include <unistd.h>

#define PATIENCE_MS   60000
#define NOTE_AFTER_MS 1500

struct tasklog {
	const struct tasklog_options *options;
	uint64_t printed, skip;
	bool stopped, closed;     /* by a signal; standard output went away */
	struct api_client *notes; /* a second connection: the first one is busy with the stream */
	int64_t next_note_ms;
	bool noted, started;
};

static bool on_bytes(void *data, const char *bytes, size_t len)
{
	struct tasklog *log = data;
	size_t skip = (size_t)MIN_OF(log->skip, (uint64_t)len);

	log->skip -= skip;
	if (fd_write_all(STDOUT_FILENO, bytes + skip, len - skip) < 0) {
		log->closed = true;
		return false;
	}
	log->printed += len - skip;
	return true;
}

static bool on_signal(void *data)
{
	struct tasklog *log = data;

	log->stopped = !log->options->on_signal(log->options->data);
	return !log->stopped;
}

/* The numbers in a reason change all the time; the first one is told, the rest by `why`. */
static void note(struct tasklog *log, const json_t *task)
{
	log->next_note_ms = monotonic_now_ms() + NOTE_AFTER_MS;
	if (strcmp(jsonx_get_string(task, "state", ""), "waiting") != 0)
		return;
	(void)fprintf(stderr, "plimsoll: task %llu waits: %s\n",
		      (unsigned long long)log->options->task, jsonx_get_string(task, "reason", ""));
	log->noted = true;
}

/* Does it wait still, and for what? */
static bool on_tick(void *data)
{
	struct tasklog *log = data;
	bool wants_note = log->options->wait_notes && !log->noted && log->printed == 0 &&
			  monotonic_now_ms() >= log->next_note_ms;
	bool wants_start = log->options->on_started && !log->started;
	auto_json json_t *answer = NULL;
	const json_t *task;

	if (!wants_note && !wants_start)
		return true;
	if (!log->notes && api_client_create(NULL, &log->notes, NULL) < 0)
		return true;
	if (session_try(log->notes, "GET", NULL, &answer, NULL, "/v1/tasks/%llu",
			(unsigned long long)log->options->task) < 0)
		return true;
	task = json_object_get(answer, "task");
	if (wants_note)
		note(log, task);
	if (wants_start && strcmp(jsonx_get_string(task, "state", ""), "running") == 0) {
		log->started = true;
		log->options->on_started(log->options->data);
	}
	return true;
}

static int stream_once(struct tasklog *log, struct api_client *client, struct error *err)
{
	const struct tasklog_options *options = log->options;
	struct api_stream_options stream = {
	    .data = log,
	    .on_bytes = on_bytes,
	    .watch_fd = options->signal_fd,
	    .on_readable = options->on_signal ? on_signal : NULL,
	    .tick_ms = options->on_started ? 100 : 500,
	    .on_tick = on_tick,
	};
	auto_text struct text path = {};

	text_printf(&path, "/v1/tasks/%llu/log?follow=%d", (unsigned long long)options->task,
		    options->follow);
	if (options->attempt > 0)
		text_printf(&path, "&attempt=%u", options->attempt);
	if (options->tail > 0 && log->printed == 0)
		text_printf(&path, "&tail=%u", options->tail);
	/* A tail has no known beginning in the whole log: after a break it would be told again, so
	 * the rest is joined only for whole logs. */
	log->skip = options->tail > 0 ? 0 : log->printed;
	return api_client_stream(client, path.data, &stream, err);
}

int tasklog_print(struct api_client **client, const struct tasklog_options *options,
		  struct error *err)
{
	struct tasklog log = {.options = options,
			      .next_note_ms = monotonic_now_ms() + NOTE_AFTER_MS};
	int r;

	(void)fflush(stdout);
	for (;;) {
		r = stream_once(&log, *client, err);
		if (!session_is_gone(r) || !options->follow || log.stopped || log.closed)
			break;
		r = session_reopen(client, PATIENCE_MS, err);
		if (r < 0)
			break;
	}
	api_client_destroy(log.notes);
	return r;
}
