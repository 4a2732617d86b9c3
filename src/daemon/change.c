/*
 * What is wanted already is no error: a task that is held is held, and who asks twice (a client
 * that got no answer) is answered as the first time. What has ended and left the memory is brought
 * back from the store before it is tried again.
 */
#include "daemon/change.h"

#include "daemon/access.h"
#include "daemon/clock.h"
#include "daemon/daemon.h"
#include "daemon/restore.h"
#include "daemon/submit_parse.h"
#include "daemon/tick.h"

#include <errno.h>

/* What sched said of a change by id. -ESRCH may still be what ended long ago. `changed`: of how
 * many tasks of a batch, where that is told; or NULL. */
static void reply(struct daemon *daemon, struct api_request *request, enum tick_reply_type type,
		  const unsigned *changed, int r, struct error *err)
{
	uint64_t id = api_request_id(request);

	if (r == -ESRCH)
		r = error_set(err, -ENOENT, "there is no %s %llu that has not ended",
			      type == TICK_TASK ? "task" : "batch", (unsigned long long)id);
	if (r < 0)
		api_reply_error(request, r, err);
	else
		tick_reply_after(daemon->tick,
				 &(struct tick_reply){.request = request,
						      .type = type,
						      .id = id,
						      .is_change = changed != NULL,
						      .changed = changed ? *changed : 0});
}

typedef int change_task_f(struct sched *sched, uint64_t task, int64_t now_ms, struct error *err);
typedef int change_batch_f(struct sched *sched, uint64_t batch, int64_t now_ms, unsigned *ret_n,
			   struct error *err);

/* `already`: the states in which it is as it is wanted to be. */
static void change_task(struct daemon *daemon, struct api_request *request, change_task_f *change,
			unsigned already)
{
	const struct sched_task *task = sched_find(daemon->sched, api_request_id(request));
	struct error err = {};
	int r = 0;

	if (!task || !(already & SCHED_STATE_BIT(task->state)))
		r = change(daemon->sched, api_request_id(request), clock_now_ms(daemon->clock),
			   &err);
	reply(daemon, request, TICK_TASK, NULL, r, &err);
}

static void change_batch(struct daemon *daemon, struct api_request *request, change_batch_f *change,
			 unsigned already)
{
	const struct sched_batch *batch = sched_find_batch(daemon->sched, api_request_id(request));
	struct error err = {};
	unsigned n = 0, good = 0;
	int r;

	for (unsigned state = 0; batch && state < SCHED_STATE_COUNT; state++)
		if (already & SCHED_STATE_BIT(state))
			good += batch->counts[state];
	r = change(daemon->sched, api_request_id(request), clock_now_ms(daemon->clock), &n, &err);
	if (r == -EALREADY && good > 0)
		r = 0;
	reply(daemon, request, TICK_BATCH, &n, r, &err);
}

/* Released is what is not held and has not ended: it waits, or runs by now. */
#define HELD (SCHED_STATE_BIT(SCHED_HELD))
#define GOES                                                                \
	(SCHED_STATE_BIT(SCHED_WAITING) | SCHED_STATE_BIT(SCHED_STARTING) | \
	 SCHED_STATE_BIT(SCHED_RUNNING))

void handle_hold(void *data, struct api_request *request)
{
	change_task(data, request, sched_hold, HELD);
}

void handle_release(void *data, struct api_request *request)
{
	change_task(data, request, sched_release, GOES);
}

void handle_batch_hold(void *data, struct api_request *request)
{
	change_batch(data, request, sched_batch_hold, HELD);
}

void handle_batch_release(void *data, struct api_request *request)
{
	change_batch(data, request, sched_batch_release, GOES);
}

/* Tried again twice is not what somebody wants who asks twice: it waits already. */
void handle_retry(void *data, struct api_request *request)
{
	struct daemon *daemon = data;
	struct error err = {};
	int r = restore_task(daemon, api_request_id(request), &err);

	if (r < 0)
		reply(daemon, request, TICK_TASK, NULL, r, &err);
	else
		change_task(daemon, request, sched_retry, SCHED_STATE_BIT(SCHED_WAITING));
}

void handle_batch_retry(void *data, struct api_request *request)
{
	struct daemon *daemon = data;
	struct error err = {};
	int r = restore_batch(daemon, api_request_id(request), &err);

	if (r < 0)
		reply(daemon, request, TICK_BATCH, NULL, r, &err);
	else
		change_batch(daemon, request, sched_batch_retry, SCHED_STATE_BIT(SCHED_WAITING));
}

static int priority_parse(const struct api_request *request, int *ret_priority, struct error *err)
{
	static const char *const known[] = {"priority", NULL};
	const json_t *body = api_request_body(request);
	const json_t *value = json_object_get(body, "priority");
	json_int_t priority = json_integer_value(value);
	int r = submit_check_members(body, known, "body", err);

	if (r == 0 && (!json_is_integer(value) || priority < -SUBMIT_PRIORITY_MAX ||
		       priority > SUBMIT_PRIORITY_MAX))
		r = error_set(err, -EINVAL, "priority: must be a whole number from %d to %d",
			      -SUBMIT_PRIORITY_MAX, SUBMIT_PRIORITY_MAX);
	if (r == 0)
		r = access_check_priority(api_request_peer(request), (int)priority, err);
	if (r == 0)
		*ret_priority = (int)priority;
	return r;
}

void handle_priority(void *data, struct api_request *request)
{
	struct daemon *daemon = data;
	struct error err = {};
	int priority, r = priority_parse(request, &priority, &err);

	if (r == 0)
		r = sched_set_priority(daemon->sched, api_request_id(request), priority,
				       clock_now_ms(daemon->clock), &err);
	reply(daemon, request, TICK_TASK, NULL, r, &err);
}

/* Those that have not started. */
static int batch_set_priority(struct daemon *daemon, uint64_t batch, int priority, unsigned *ret_n,
			      struct error *err)
{
	struct sched *sched = daemon->sched;
	auto_free uint64_t *ids = NULL;
	size_t n = 0, room = 0;

	if (!sched_find_batch(sched, batch))
		return -ESRCH;
	for (const struct sched_task *task = sched_batch_first(sched, batch); task;
	     task = sched_batch_next(task)) {
		if (task->state != SCHED_WAITING && task->state != SCHED_HELD)
			continue;
		ARRAY_GROW(ids, n, room);
		ids[n++] = task->id;
	}
	if (n == 0)
		return error_set(err, -EALREADY, "batch %llu: all of its tasks have started",
				 (unsigned long long)batch);
	for (size_t i = 0; i < n; i++) {
		int r =
		    sched_set_priority(sched, ids[i], priority, clock_now_ms(daemon->clock), err);

		if (r < 0)
			return r;
	}
	*ret_n = (unsigned)n;
	return 0;
}

void handle_batch_priority(void *data, struct api_request *request)
{
	struct daemon *daemon = data;
	struct error err = {};
	unsigned n = 0;
	int priority, r = priority_parse(request, &priority, &err);

	if (r == 0)
		r = batch_set_priority(daemon, api_request_id(request), priority, &n, &err);
	reply(daemon, request, TICK_BATCH, &n, r, &err);
}

void handle_cancel(void *data, struct api_request *request)
{
	struct daemon *daemon = data;
	struct error err = {};
	int r =
	    sched_cancel(daemon->sched, api_request_id(request), clock_now_ms(daemon->clock), &err);

	reply(daemon, request, TICK_TASK, NULL, r, &err);
}

void handle_batch_cancel(void *data, struct api_request *request)
{
	struct daemon *daemon = data;
	struct error err = {};
	int r = sched_batch_cancel(daemon->sched, api_request_id(request),
				   clock_now_ms(daemon->clock), &err);

	reply(daemon, request, TICK_BATCH, NULL, r, &err);
}

/* Root's and the daemon's own user's "all" is everybody's, anybody else's is his own. */
void handle_cancel_all(void *data, struct api_request *request)
{
	struct daemon *daemon = data;
	const struct api_peer *peer = api_request_peer(request);
	struct tick_reply answer = {.request = request, .type = TICK_CANCELED};

	sched_cancel_all(daemon->sched, peer->role >= API_ROLE_ADMIN ? NULL : &peer->uid,
			 clock_now_ms(daemon->clock), &answer.canceled);
	tick_reply_after(daemon->tick, &answer);
}

void handle_batch_continue(void *data, struct api_request *request)
{
	static const char *const known[] = {"all", NULL};
	struct daemon *daemon = data;
	const json_t *body = api_request_body(request);
	bool all = jsonx_get_bool(body, "all", false);
	struct error err = {};
	int r = submit_check_members(body, known, "body", &err);

	if (r < 0) {
		api_reply_error(request, r, &err);
		return;
	}
	r = sched_batch_continue(daemon->sched, api_request_id(request), all,
				 clock_now_ms(daemon->clock), &err);
	reply(daemon, request, TICK_BATCH, NULL, r, &err);
}
