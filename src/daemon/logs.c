/*
 * A reader writes a block whenever the connection has taken the last one, so that a log of any size
 * is never in memory. A follower at the end of its file is woken by a timer they all share, which
 * runs only while there are any: the file is written by the task itself, nobody tells us.
 */
#include "daemon/logs.h"

#include "daemon/owner.h"
#include "daemon/record.h"
#include "daemon/runner.h"
#include "run/log.h"

#include <errno.h>
#include <unistd.h>

#define BLOCK_BYTES ((size_t)64 << 10)
#define LOOK_MS     100
#define TAIL_MAX    1000000

struct reader {
	struct reader *next;
	struct logs *logs;
	struct api_request *request;
	uint64_t task;
	uid_t owner;
	unsigned attempt; /* being read; 0 = none yet */
	bool pinned;      /* that one and no other */
	bool follow;
	int fd; /* -1 = not there (yet) */
	uint64_t offset;
};

struct logs {
	struct daemon *daemon;
	struct reader *readers;
	uv_timer_t timer;
};

static void reader_pump(struct reader *reader);

static void on_timer(uv_timer_t *timer)
{
	struct logs *logs = timer->data;
	struct reader *next;

	for (struct reader *r = logs->readers; r; r = next) {
		next = r->next;
		if (api_stream_unread(r->request) == 0)
			reader_pump(r);
	}
	if (!logs->readers)
		(void)uv_timer_stop(timer);
}

struct logs *logs_create(struct daemon *daemon)
{
	struct logs *logs = mem_calloc(1, sizeof *logs);

	logs->daemon = daemon;
	(void)uv_timer_init(&daemon->loop, &logs->timer);
	logs->timer.data = logs;
	return logs;
}

static void reader_destroy(struct reader *reader)
{
	struct reader **link = &reader->logs->readers;

	while (*link != reader)
		link = &(*link)->next;
	*link = reader->next;
	fd_close(reader->fd);
	free(reader);
}

static void on_closed(uv_handle_t *handle)
{
	free(handle->data);
}

void logs_destroy(struct logs *logs)
{
	if (!logs)
		return;
	while (logs->readers) {
		api_request_on_gone(logs->readers->request, NULL, NULL);
		reader_destroy(logs->readers);
	}
	uv_close((uv_handle_t *)&logs->timer, on_closed);
}

static void on_gone(void *data, struct api_request *request)
{
	(void)request;
	reader_destroy(data);
}

static int open_for(const struct daemon *daemon, const struct sched_task *task, unsigned attempt,
		    int *ret_fd)
{
	auto_owner_rights struct owner_rights rights = {};
	auto_free char *path = runner_log_path(daemon, task, attempt);
	int r = owner_rights_begin(daemon, &task->spec, &rights, NULL);

	return r < 0 ? r : log_open(path, ret_fd);
}

static int reader_open(struct reader *reader, const struct sched_task *task, unsigned attempt)
{
	reader->fd = fd_close(reader->fd);
	reader->attempt = attempt;
	reader->offset = 0;
	return open_for(reader->logs->daemon, task, attempt, &reader->fd);
}

/* A task that could not be stored goes, and its number may be given to another user's. */
static const struct sched_task *task_of(const struct reader *reader)
{
	const struct sched_task *task = sched_find(reader->logs->daemon->sched, reader->task);

	return task && task->spec.uid == reader->owner ? task : NULL;
}

/* The task's last attempt, in memory; NULL when there is none. */
static const struct sched_attempt *last_attempt(const struct reader *reader, bool *ret_over)
{
	const struct sched_task *task = task_of(reader);

	*ret_over = !task || sched_state_is_final(task->state);
	return task ? sched_task_attempt(task) : NULL;
}

/* May more come after what is in the file now? */
static bool reader_has_more(const struct reader *reader)
{
	bool over;
	const struct sched_attempt *attempt = last_attempt(reader, &over);

	if (!reader->follow || over)
		return false;
	if (!attempt || !reader->pinned)
		return true;
	return reader->attempt >= attempt->number && attempt->ended_at_ms == 0;
}

/* At the end of the file: true = there is another to read. The task may have begun, or begun again,
 * and even ended since the last look. */
static bool reader_move_on(struct reader *reader)
{
	bool over;
	const struct sched_attempt *attempt = last_attempt(reader, &over);
	const struct sched_task *task;

	if (!reader->follow || !attempt)
		return false;
	task = task_of(reader);
	if (reader->attempt != attempt->number && !reader->pinned) {
		(void)reader_open(reader, task, attempt->number);
		return true;
	}
	if (reader->fd >= 0 || reader->attempt != attempt->number)
		return false;
	return open_for(reader->logs->daemon, task, attempt->number, &reader->fd) == 0;
}

static void reader_pump(struct reader *reader)
{
	static char block[BLOCK_BYTES]; /* one loop, one block at a time */
	struct api_request *request = reader->request;
	ssize_t n;
	bool more;

	do {
		/* Asked before reading: what was written before the end is then surely read. */
		more = reader_has_more(reader);
		n = reader->fd < 0 ? 0 : log_read(reader->fd, &reader->offset, block, sizeof block);
	} while (n == 0 && reader_move_on(reader));
	if (n > 0) {
		api_stream_write(request, block, (size_t)n);
	} else if (n < 0 || !more) {
		reader_destroy(reader);
		api_request_on_gone(request, NULL, NULL);
		api_stream_end(request);
	} else if (!uv_is_active((uv_handle_t *)&reader->logs->timer)) {
		(void)uv_timer_start(&reader->logs->timer, on_timer, LOOK_MS, LOOK_MS);
	}
}

static void on_drain(void *data, struct api_request *request)
{
	(void)request;
	reader_pump(data);
}

struct log_query {
	uint64_t attempt, tail, follow;
	bool has_tail;
};

static int log_query_read(const struct api_request *request, struct log_query *query,
			  struct error *err)
{
	int r = api_request_query_u64(request, "attempt", UINT32_MAX, 0, &query->attempt, err);

	query->has_tail = api_request_query(request, "tail");
	if (r == 0)
		r = api_request_query_u64(request, "tail", TAIL_MAX, 0, &query->tail, err);
	if (r == 0)
		r = api_request_query_u64(request, "follow", 1, 0, &query->follow, err);
	return r;
}

static int reader_begin(struct reader *reader, const struct sched_task *task,
			const struct log_query *query, struct error *err)
{
	unsigned newest = task->n_attempts > 0 ? task->attempts[task->n_attempts - 1].number : 0;
	int r = 0;

	if (query->attempt > newest)
		return error_set(err, -ENOENT, "task %llu has no attempt %llu yet",
				 (unsigned long long)task->id, (unsigned long long)query->attempt);
	if (newest == 0 && (!query->follow || sched_state_is_final(task->state)))
		return error_set(err, -ENOENT, "task %llu was not started: there is no log",
				 (unsigned long long)task->id);
	if (newest > 0)
		(void)reader_open(reader, task, query->attempt ? (unsigned)query->attempt : newest);
	if (reader->fd >= 0 && query->has_tail)
		r = log_tail_offset(reader->fd, (unsigned)query->tail, &reader->offset);
	return r < 0 ? error_sys(err, r, "cannot read the log of task %llu",
				 (unsigned long long)task->id)
		     : 0;
}

void handle_log(void *data, struct api_request *request)
{
	struct daemon *daemon = data;
	const struct sched_task *task = sched_find(daemon->sched, api_request_id(request));
	auto_records struct records records = {};
	struct log_query query = {};
	struct reader *reader;
	struct error err = {};
	int r = log_query_read(request, &query, &err);

	if (r == 0 && !task) {
		r = records_load(daemon->store,
				 &(struct store_query){.id = api_request_id(request)}, &records,
				 &err);
		task = r == 0 && records.n > 0 ? &records.tasks[0] : NULL;
		if (r == 0 && !task)
			r = error_set(&err, -ENOENT, "there is no task %llu",
				      (unsigned long long)api_request_id(request));
	}
	if (r < 0) {
		api_reply_error(request, r, &err);
		return;
	}
	reader = mem_calloc(1, sizeof *reader);
	*reader = (struct reader){
	    .next = daemon->logs->readers,
	    .logs = daemon->logs,
	    .request = request,
	    .task = task->id,
	    .owner = task->spec.uid,
	    .pinned = query.attempt > 0,
	    .follow = query.follow,
	    .fd = -1,
	};
	daemon->logs->readers = reader;
	r = reader_begin(reader, task, &query, &err);
	if (r < 0) {
		reader_destroy(reader);
		api_reply_error(request, r, &err);
		return;
	}
	api_request_on_gone(request, on_gone, reader);
	api_stream_begin(request, "text/plain; charset=utf-8", on_drain, reader);
}
