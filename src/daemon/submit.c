/*
 * A submit goes: parse, skip what is done already, keep the environment (in the unit the tick will
 * commit), hand to sched, and leave the answer to the tick. A batch is accepted whole or not at
 * all.
 */
#include "daemon/submit.h"

#include "daemon/daemon.h"
#include "daemon/submit_parse.h"
#include "daemon/tick.h"
#include "daemon/waiters.h"
#include "util/timestamp.h"

#include <errno.h>
#include <string.h>
#include <unistd.h>

/* Rows whose fingerprint ended well before are taken out. */
static int skip_done(struct daemon *daemon, struct submit *submit, size_t *ret_skipped,
		     struct error *err)
{
	size_t kept = 0, n = submit->n;
	int r = 0;

	for (size_t i = 0; i < n; i++) {
		struct sched_spec spec = submit->specs[i];

		if (r >= 0 && spec.fingerprint)
			r = store_find_done(daemon->store, spec.fingerprint, NULL, err);
		if (r == 1) {
			free((void *)(uintptr_t)spec.argv);
			r = 0;
			continue;
		}
		submit->specs[kept++] = spec;
	}
	submit->n = kept;
	*ret_skipped = n - kept;
	return r;
}

static int keep_environment(struct daemon *daemon, struct submit *submit, struct error *err)
{
	auto_free char *text = submit->env ? jsonx_dump(submit->env) : NULL;
	int64_t id = 0;
	int r = 0;

	if (text && !store_in_unit(daemon->store))
		r = store_begin(daemon->store, err);
	if (r == 0 && text)
		r = store_intern_environment(daemon->store, text, strlen(text), &id, err);
	for (size_t i = 0; i < submit->n; i++) {
		submit->specs[i].environment = id;
		submit->specs[i].uid = geteuid();
	}
	return r;
}

static int submit_do(struct daemon *daemon, struct submit *submit, struct tick_reply *reply,
		     struct error *err)
{
	int64_t now = timestamp_now_ms();
	uint64_t first;
	int r = 0;

	if (submit->resume)
		r = skip_done(daemon, submit, &reply->skipped, err);
	if (r == 0)
		r = keep_environment(daemon, submit, err);
	if (r < 0)
		return r;
	if (!submit->is_batch)
		return sched_submit(daemon->sched, submit->specs, now, &reply->id, err);
	return sched_submit_batch(daemon->sched,
				  &(struct sched_batch_spec){.name = submit->name,
							     .uid = geteuid(),
							     .on_failure = submit->on_failure,
							     .tasks = submit->specs,
							     .n_tasks = submit->n},
				  now, &reply->id, &first, err);
}

static void submit_handle(struct daemon *daemon, struct api_request *request,
			  int (*parse)(const json_t *body, const struct gpu_list *gpus,
				       struct submit *ret_submit, struct error *err),
			  enum tick_reply_type type)
{
	struct tick_reply reply = {.request = request, .type = type, .is_submit = true};
	const struct gpu_list *list = gpu_sampler_list(daemon->sampler);
	struct submit submit = {};
	struct error err = {};
	int r = api_request_body(request)
		    ? parse(api_request_body(request), list, &submit, &err)
		    : error_set(&err, -EINVAL, "the body is empty; docs/api.md shows what goes in");

	if (r == 0)
		r = submit_do(daemon, &submit, &reply, &err);
	submit_finish(&submit);
	if (r < 0) {
		api_reply_error(request, r, &err);
		tick_request(daemon->tick);
		return;
	}
	tick_reply_after(daemon->tick, &reply);
}

void handle_submit_task(void *data, struct api_request *request)
{
	struct daemon *daemon = data;

	if (submit_needs_gpus(api_request_body(request)) &&
	    parked_add(daemon->parked, request, handle_submit_task))
		return;
	submit_handle(daemon, request, submit_parse_task, TICK_TASK);
}

void handle_submit_batch(void *data, struct api_request *request)
{
	struct daemon *daemon = data;

	if (submit_needs_gpus(api_request_body(request)) &&
	    parked_add(daemon->parked, request, handle_submit_batch))
		return;
	submit_handle(daemon, request, submit_parse_batch, TICK_BATCH);
}

/* What sched said about a change by id. -ESRCH may still be a task that ended long ago. */
static void change_reply(struct daemon *daemon, struct api_request *request,
			 enum tick_reply_type type, int r, struct error *err)
{
	uint64_t id = api_request_id(request);

	if (r == -ESRCH)
		r = error_set(err, -ENOENT, "there is no %s %llu that has not ended",
			      type == TICK_TASK ? "task" : "batch", (unsigned long long)id);
	if (r < 0)
		api_reply_error(request, r, err);
	else
		tick_reply_after(daemon->tick,
				 &(struct tick_reply){.request = request, .type = type, .id = id});
}

void handle_cancel(void *data, struct api_request *request)
{
	struct daemon *daemon = data;
	struct error err = {};
	int r = sched_cancel(daemon->sched, api_request_id(request), timestamp_now_ms(), &err);

	change_reply(daemon, request, TICK_TASK, r, &err);
}

void handle_batch_cancel(void *data, struct api_request *request)
{
	struct daemon *daemon = data;
	struct error err = {};
	int r =
	    sched_batch_cancel(daemon->sched, api_request_id(request), timestamp_now_ms(), &err);

	change_reply(daemon, request, TICK_BATCH, r, &err);
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
	r = sched_batch_continue(daemon->sched, api_request_id(request), all, timestamp_now_ms(),
				 &err);
	change_reply(daemon, request, TICK_BATCH, r, &err);
}
