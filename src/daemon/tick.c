/*
 * A turn is asked for by a timer of 0 ms: it fires in the loop's next round, so that everything one
 * round of events brought is decided and committed together. That is what lets a thousand short
 * tasks a second share few commits.
 */
#include "daemon/tick.h"

#include "daemon/clock.h"
#include "daemon/fairshare.h"
#include "daemon/hub.h"
#include "daemon/keeper.h"
#include "daemon/placed.h"
#include "daemon/profiles.h"
#include "daemon/queries.h"
#include "daemon/record.h"
#include "daemon/rules.h"
#include "daemon/runner.h"
#include "daemon/task_json.h"
#include "daemon/usage.h"
#include "daemon/waiters.h"
#include "util/log.h"
#include "util/timestamp.h"

#include <errno.h>

#define RETRY_MS   1000
#define KEEP_ENDED 1000 /* ended tasks kept in memory */
/* More of them before they are looked through again: that walks the whole queue. */
#define FORGET_STEP 500

struct tick {
	struct daemon *daemon;
	uv_timer_t timer;
	bool requested, running, in_trouble;
	unsigned n_kept;  /* ended tasks left in memory when it was last looked through */
	bool batch_ended; /* since then: its tasks may go now */
	struct tick_reply *replies;
	size_t n_replies, room_replies;
	/* What was to be done to tasks in this second and in the one before. */
	int64_t second;
	size_t n_acts, n_acts_before;
};

static void on_timer(uv_timer_t *timer);

void tick_request(struct tick *tick)
{
	tick->requested = true;
	if (!tick->running && !tick->in_trouble)
		(void)uv_timer_start(&tick->timer, on_timer, 0, 0);
}

static void on_reply_gone(void *data, struct api_request *request)
{
	struct tick *tick = data;

	for (size_t i = 0; i < tick->n_replies; i++)
		if (tick->replies[i].request == request)
			tick->replies[i].request = NULL;
}

void tick_reply_after(struct tick *tick, const struct tick_reply *reply)
{
	ARRAY_GROW(tick->replies, tick->n_replies, tick->room_replies);
	tick->replies[tick->n_replies++] = *reply;
	api_request_on_gone(reply->request, on_reply_gone, tick);
	tick_request(tick);
}

/* To the store. */

static int put_batch(struct daemon *daemon, const struct sched_batch *batch, struct error *err)
{
	auto_json json_t *remembered = NULL;

	if (batch->ended_at_ms > 0)
		remembered = batch_remember(daemon, batch);
	return record_put_batch(daemon->store, batch, remembered, err);
}

static int put_all(struct daemon *daemon, const struct sched_changes *changes, struct error *err)
{
	auto_free struct estimates_row *rows = NULL;
	size_t n_rows;
	int r = 0;

	for (size_t i = 0; i < changes->n_tasks && r == 0; i++)
		r = record_put_task(daemon->store, changes->tasks[i], err);
	for (size_t i = 0; i < changes->n_batches && r == 0; i++) {
		/* A summary is worked out anew, which may touch sched: ask for the list again. */
		struct sched_changes now = sched_changes(daemon->sched);

		r = put_batch(daemon, now.batches[i], err);
	}
	if (r < 0)
		return r;
	n_rows = estimates_rows(sched_estimates(daemon->sched), true, &rows);
	return record_put_profiles(daemon->store, rows, n_rows, err);
}

/* 0 = all that happened is on the disk. `in_trouble`: something is written in any case, for only
 * that tells whether it can be again. */
static int commit(struct daemon *daemon, bool in_trouble, struct error *err)
{
	struct sched_changes changes = sched_changes(daemon->sched);
	int r;

	if (changes.n_tasks == 0 && changes.n_batches == 0 && !store_in_unit(daemon->store) &&
	    !placed_is_new(daemon->placed) && !rules_are_new(daemon->rules) &&
	    !usage_is_new(daemon->usage) && !fairshare_is_due(daemon->fairshare) &&
	    !clock_is_due(daemon->clock) && !profiles_are_due(daemon->profiles) && !in_trouble)
		return 0;
	if (!store_in_unit(daemon->store)) {
		r = store_begin(daemon->store, err);
		if (r < 0)
			return r;
	}
	r = profiles_put(daemon->profiles, err);
	if (r == 0)
		r = put_all(daemon, &changes, err);
	if (r == 0 && rules_are_new(daemon->rules))
		r = rules_put(daemon->rules, err);
	if (r == 0 && placed_is_new(daemon->placed))
		r = placed_put(daemon->placed, err);
	if (r == 0 && usage_is_new(daemon->usage))
		r = usage_put(daemon->usage, err);
	if (r == 0 && fairshare_is_due(daemon->fairshare))
		r = fairshare_put(daemon->fairshare, err);
	if (r == 0 && clock_is_due(daemon->clock))
		r = clock_put(daemon->clock, err);
	if (r == 0 && in_trouble)
		r = store_put_meta(daemon->store, "written_at", TIMESTAMP_TEXT(timestamp_now_ms()),
				   err);
	if (r < 0) {
		store_rollback(daemon->store);
		return r;
	}
	r = store_commit(daemon->store, err);
	/* Before that it could be taken back, and would be stored with the next change only. */
	if (r == 0)
		estimates_stored(sched_estimates(daemon->sched));
	return r;
}

/* Answers. */

/* What is said of a new task or batch; NULL where nothing new is answered. */
static json_t *warnings_of(struct daemon *daemon, const struct tick_reply *reply)
{
	if (!reply->is_submit)
		return NULL;
	return reply->type == TICK_TASK
		   ? profiles_warn_task(daemon, sched_find(daemon->sched, reply->id))
		   : profiles_warn_batch(daemon, reply->id);
}

static void reply_good(struct daemon *daemon, const struct tick_reply *reply)
{
	json_t *json;

	if (!reply->request)
		return;
	if (reply->type == TICK_SERVICES) {
		api_reply(reply->request, 200, placed_to_json(daemon->placed));
		return;
	}
	if (reply->type == TICK_RULES) {
		api_reply(reply->request, 200, rules_to_json(daemon->rules));
		return;
	}
	if (reply->type == TICK_FORGOTTEN) {
		api_reply(reply->request, 200,
			  json_pack("{s:o}", "forgotten", jsonx_u64(reply->changed)));
		return;
	}
	if (reply->type == TICK_CANCELED) {
		api_reply(reply->request, 200,
			  json_pack("{s:o, s:o, s:o}", "canceled",
				    jsonx_u64(reply->canceled.waiting), "stopping",
				    jsonx_u64(reply->canceled.running), "canceled_batches",
				    jsonx_u64(reply->canceled.batches)));
		return;
	}
	if (reply->type == TICK_TASK) {
		api_reply(reply->request, 200,
			  json_pack("{s:o?, s:o*}", "task", query_task(daemon, reply->id),
				    "warnings", warnings_of(daemon, reply)));
		return;
	}
	json = json_pack("{s:o?}", "batch", query_batch(daemon, reply->id));
	if (reply->is_submit) {
		(void)json_object_set_new(json, "skipped", jsonx_u64(reply->skipped));
		(void)json_object_set_new(json, "warnings", warnings_of(daemon, reply));
	}
	if (reply->is_change && reply->type == TICK_BATCH)
		(void)json_object_set_new(json, "changed", jsonx_u64(reply->changed));
	api_reply(reply->request, 200, json);
}

static void reply_bad(struct daemon *daemon, const struct tick_reply *reply, int code,
		      struct error *err)
{
	if (reply->is_new && reply->type == TICK_TASK)
		(void)sched_withdraw_task(daemon->sched, reply->id);
	else if (reply->is_new)
		(void)sched_withdraw_batch(daemon->sched, reply->id);
	if (reply->request)
		api_reply_error(reply->request, code == -EROFS || code == -ENOSPC ? code : -EIO,
				err);
}

static void tell_all(struct tick *tick)
{
	struct daemon *daemon = tick->daemon;
	struct sched_changes changes = sched_changes(daemon->sched);

	for (size_t i = 0; i < changes.n_tasks; i++) {
		hub_task(daemon->hub, changes.tasks[i]);
		waiters_task(daemon->waiters, changes.tasks[i]);
	}
	for (size_t i = 0; i < changes.n_batches; i++) {
		hub_batch(daemon->hub, changes.batches[i]);
		tick->batch_ended |= changes.batches[i]->ended_at_ms > 0;
	}
	if (changes.n_tasks > 0)
		keeper_poke(daemon->keeper);
	for (size_t i = 0; i < sched_remarks(daemon->sched)->n; i++)
		log_warning("%s", sched_remarks(daemon->sched)->items[i]);
	sched_remarks_clear(daemon->sched);
}

static unsigned ended_in_memory(const struct sched *sched)
{
	const unsigned *counts = sched_counts(sched);
	unsigned n = 0;

	for (int state = 0; state < SCHED_STATE_COUNT; state++)
		if (sched_state_is_final((enum sched_state)state))
			n += counts[state];
	return n;
}

static void forget_some(struct tick *tick)
{
	struct sched *sched = tick->daemon->sched;
	/* What is in memory is not archived. */
	uint64_t keep = MIN_OF((uint64_t)KEEP_ENDED, keeper_ended(tick->daemon));
	unsigned step = (unsigned)MIN_OF((uint64_t)FORGET_STEP, keep);

	if (!tick->batch_ended && ended_in_memory(sched) < tick->n_kept + step)
		return;
	sched_forget(sched, (size_t)keep);
	tick->n_kept = ended_in_memory(sched);
	tick->batch_ended = false;
}

static void acts_count(struct tick *tick, size_t n)
{
	int64_t second = monotonic_now_ms() / 1000;

	if (second != tick->second) {
		tick->n_acts_before = second == tick->second + 1 ? tick->n_acts : 0;
		tick->n_acts = 0;
		tick->second = second;
	}
	tick->n_acts += n;
}

bool tick_is_moving(const struct tick *tick)
{
	int64_t second = monotonic_now_ms() / 1000;

	if (second == tick->second)
		return tick->n_acts + tick->n_acts_before >= TICK_MOVING;
	return second == tick->second + 1 && tick->n_acts >= TICK_MOVING;
}

static void act_all(struct tick *tick)
{
	struct daemon *daemon = tick->daemon;
	size_t n;
	const struct sched_action *actions = sched_actions(daemon->sched, &n);
	auto_free struct sched_action *copy = mem_calloc(n + 1, sizeof *copy);

	/* A start that fails is told to sched at once, which would end the list under us. */
	for (size_t i = 0; i < n; i++)
		copy[i] = actions[i];
	sched_actions_clear(daemon->sched);
	acts_count(tick, n);
	hub_starts(daemon->hub, copy, n);
	for (size_t i = 0; i < n; i++)
		runner_act(daemon->runner, &copy[i]);
}

static void turn_failed(struct tick *tick, int code, struct error *err)
{
	size_t n = tick->n_replies;

	if (!tick->in_trouble)
		log_error("state cannot be written, nothing new is started: %s", error_text(err));
	tick->in_trouble = true;
	rules_take_back(tick->daemon->rules);
	placed_take_back(tick->daemon->placed);
	tick->n_replies = 0;
	/* The newest first, so that their ids are free again. */
	for (size_t i = n; i-- > 0;)
		reply_bad(tick->daemon, &tick->replies[i], code, err);
	(void)uv_timer_start(&tick->timer, on_timer, RETRY_MS, 0);
}

static void turn(struct tick *tick)
{
	struct daemon *daemon = tick->daemon;
	struct error err = {};
	size_t n;
	int r;

	if (runner_is_ready(daemon->runner))
		(void)sched_step(daemon->sched, clock_now_ms(daemon->clock));
	else
		sched_time(daemon->sched, clock_now_ms(daemon->clock));
	r = commit(daemon, tick->in_trouble, &err);
	if (r < 0) {
		turn_failed(tick, r, &err);
		return;
	}
	if (tick->in_trouble)
		log_info("state can be written again");
	tick->in_trouble = false;
	rules_stored(daemon->rules);
	placed_stored(daemon->placed);
	usage_stored(daemon->usage);
	clock_stored(daemon->clock);
	profiles_stored(daemon->profiles);
	runner_committed(daemon->runner);
	tell_all(tick);
	sched_changes_clear(daemon->sched);
	n = tick->n_replies;
	tick->n_replies = 0;
	for (size_t i = 0; i < n; i++)
		reply_good(daemon, &tick->replies[i]);
	act_all(tick);
	hub_flush(daemon->hub);
	forget_some(tick);
}

static void on_timer(uv_timer_t *timer)
{
	struct tick *tick = timer->data;
	int64_t deadline, now;

	tick->requested = false;
	tick->running = true;
	turn(tick);
	tick->running = false;
	if (tick->in_trouble)
		return;
	if (tick->requested) {
		tick_request(tick);
		return;
	}
	/* Until the supervisor answers nothing can be done about what is due, and it asks for a
	 * turn when it does. */
	if (!runner_is_ready(tick->daemon->runner))
		return;
	deadline = sched_deadline(tick->daemon->sched);
	now = timestamp_now_ms();
	if (deadline > 0)
		(void)uv_timer_start(timer, on_timer, (uint64_t)MAX_OF(deadline - now, 1), 0);
}

int tick_create(struct daemon *daemon, struct tick **ret_tick, struct error *err)
{
	struct tick *tick = mem_calloc(1, sizeof *tick);
	int r = uv_timer_init(&daemon->loop, &tick->timer);

	if (r < 0) {
		free(tick);
		return error_sys(err, r, "cannot create a timer");
	}
	tick->daemon = daemon;
	tick->timer.data = tick;
	*ret_tick = tick;
	return 0;
}

static void on_closed(uv_handle_t *handle)
{
	struct tick *tick = handle->data;

	free(tick->replies);
	free(tick);
}

void tick_destroy(struct tick *tick)
{
	if (!tick)
		return;
	for (size_t i = 0; i < tick->n_replies; i++)
		if (tick->replies[i].request)
			api_request_on_gone(tick->replies[i].request, NULL, NULL);
	tick->n_replies = 0;
	uv_close((uv_handle_t *)&tick->timer, on_closed);
}
