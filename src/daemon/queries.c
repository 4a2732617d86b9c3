/*
 * Ended tasks leave the memory after a while (sched_forget()); every question is then answered by
 * the store, with the very same JSON.
 *
 * The reason of a waiting task is worked out when asked for, which costs about as much as a
 * decision: a list carries it for the first few, as people read from the top.
 */
#include "daemon/queries.h"

#include "config.h"
#include "daemon/record.h"
#include "daemon/task_json.h"
#include "util/timestamp.h"

#include <errno.h>
#include <string.h>
#include <unistd.h>

#define REASONS_MAX   20
#define LIMIT_DEFAULT 1000
#define LIMIT_MAX     200000
#define RECENT_ENDED  50

static json_t *live_to_json(struct daemon *daemon, uint64_t id, unsigned *reasons_left)
{
	const struct sched_task *task = sched_find(daemon->sched, id);
	char reason[SCHED_REASON_MAX];

	if (task->state != SCHED_WAITING && task->state != SCHED_HELD)
		return task_to_json(task, NULL);
	if (*reasons_left == 0)
		return task_to_json(task, "waits in the queue");
	--*reasons_left;
	(void)sched_reason(daemon->sched, task, reason);
	return task_to_json(sched_find(daemon->sched, id), reason);
}

static json_t *stored_to_json(struct daemon *daemon, uint64_t id)
{
	auto_records struct records records = {};
	struct store_query query = {.id = id};

	if (records_load(daemon->store, &query, &records, NULL) < 0 || records.n == 0)
		return NULL;
	return task_to_json(&records.tasks[0], NULL);
}

json_t *query_task(struct daemon *daemon, uint64_t id)
{
	unsigned reasons = 1;

	return sched_find(daemon->sched, id) ? live_to_json(daemon, id, &reasons)
					     : stored_to_json(daemon, id);
}

json_t *query_batch(struct daemon *daemon, uint64_t id)
{
	const struct sched_batch *batch = sched_find_batch(daemon->sched, id);
	auto_record_batches struct record_batches list = {};

	if (batch)
		return batch_to_json(batch,
				     sched_batch_eta(daemon->sched, batch, timestamp_now_ms()));
	if (record_batches_load(daemon->store, id, false, &list, NULL) < 0 || list.n == 0)
		return NULL;
	return batch_to_json(&list.batches[0], 0);
}

json_t *batch_remember(struct daemon *daemon, const struct sched_batch *batch)
{
	json_t *counts = json_object(), *remembered = json_object();
	struct sched_summary summary;

	for (int state = 0; state < SCHED_STATE_COUNT; state++)
		(void)json_object_set_new(counts, sched_state_name((enum sched_state)state),
					  jsonx_u64(batch->counts[state]));
	(void)json_object_set_new(remembered, "counts", counts);
	if (sched_summarize(daemon->sched, batch->id, timestamp_now_ms(), &summary) == 0) {
		(void)json_object_set_new(remembered, "summary", summary_to_json(&summary));
		sched_summary_finish(&summary);
	}
	return remembered;
}

/* Handlers. */

void handle_status(void *data, struct api_request *request)
{
	struct daemon *daemon = data;
	const struct gpu_list *list = gpu_sampler_list(daemon->sampler);
	const unsigned *counts = sched_counts(daemon->sched);
	json_t *queue = json_object(), *nvml = json_object(), *json = json_object();

	for (int state = 0; state < SCHED_STATE_COUNT; state++)
		(void)json_object_set_new(queue, sched_state_name((enum sched_state)state),
					  jsonx_u64(counts[state]));
	(void)json_object_set_new(nvml, "state", json_string(gpu_source_name(list->state)));
	(void)json_object_set_new(nvml, "text", jsonx_string_if(list->text));
	(void)json_object_set_new(nvml, "stale_since", jsonx_time_if(list->stale_since_ms));
	(void)json_object_set_new(json, "version", json_string(PLIMSOLL_VERSION));
	(void)json_object_set_new(json, "pid", json_integer(getpid()));
	(void)json_object_set_new(json, "started_at", jsonx_time_if(daemon->started_at_ms));
	(void)json_object_set_new(json, "nvml", nvml);
	(void)json_object_set_new(json, "queue", queue);
	api_reply(request, 200, json);
}

void handle_task(void *data, struct api_request *request)
{
	struct daemon *daemon = data;
	uint64_t id = api_request_id(request);
	struct error err = {};
	json_t *task = query_task(daemon, id);

	if (task)
		api_reply(request, 200, json_pack("{s:o}", "task", task));
	else
		api_reply_error(
		    request,
		    error_set(&err, -ENOENT, "there is no task %llu", (unsigned long long)id),
		    &err);
}

/* Lists. */

struct list_query {
	const char *states[SCHED_STATE_COUNT + 1]; /* NULL-terminated; none = the default list */
	uint64_t batch, limit, offset;
	uint64_t ended; /* of the default list: at most so many that have ended */
};

static int states_read(const struct api_request *request, struct list_query *query,
		       struct error *err)
{
	const char *text = api_request_query(request, "state");
	auto_free char *copy = text ? mem_strdup(text) : NULL;
	char *rest = copy;
	size_t n = 0;
	int r = 0;

	for (char *word; r == 0 && (word = strsep(&rest, ","));) {
		enum sched_state state;

		if (n == SCHED_STATE_COUNT)
			return error_set(err, -EINVAL, "state: more names than there are states");
		r = sched_state_parse(word, &state, err);
		if (r == 0)
			query->states[n++] = sched_state_name(state);
	}
	return r;
}

static int list_query_read(const struct api_request *request, struct list_query *query,
			   struct error *err)
{
	int r =
	    api_request_query_u64(request, "limit", LIMIT_MAX, LIMIT_DEFAULT, &query->limit, err);

	if (r == 0)
		r = api_request_query_u64(request, "offset", INT64_MAX, 0, &query->offset, err);
	if (r == 0)
		r = api_request_query_u64(request, "ended", LIMIT_MAX,
					  api_request_query(request, "limit") ? query->limit
									      : RECENT_ENDED,
					  &query->ended, err);
	if (r == 0)
		r = api_request_query_u64(request, "batch", INT64_MAX, 0, &query->batch, err);
	return r < 0 ? r : states_read(request, query, err);
}

static int append_stored(struct daemon *daemon, const struct store_query *query, json_t *array,
			 unsigned *reasons, struct error *err)
{
	auto_records struct records records = {};
	int r = records_load(daemon->store, query, &records, err);

	for (size_t i = 0; r == 0 && i < records.n; i++)
		(void)json_array_append_new(array,
					    sched_find(daemon->sched, records.tasks[i].id)
						? live_to_json(daemon, records.tasks[i].id, reasons)
						: task_to_json(&records.tasks[i], NULL));
	return r;
}

/* A filter was given: the store's order and pages. */
static int list_filtered(struct daemon *daemon, const struct list_query *list, json_t *tasks,
			 uint64_t *ret_total, struct error *err)
{
	struct store_query query = {
	    .batch = list->batch,
	    .states = list->states[0] ? list->states : NULL,
	};
	unsigned reasons = REASONS_MAX;
	int r = store_count_tasks(daemon->store, &query, ret_total, err);

	query.limit = list->limit;
	query.offset = list->offset;
	return r < 0 || list->limit == 0 ? r : append_stored(daemon, &query, tasks, &reasons, err);
}

/* The ended part of the default list, newest first: what the open ones left of the page. */
static int append_ended(struct daemon *daemon, const struct list_query *list, uint64_t n_open,
			json_t *tasks, uint64_t *ret_n_ended, struct error *err)
{
	static const char *const ended[] = {"done", "failed", "canceled", "lost", NULL};
	struct store_query query = {.states = ended};
	uint64_t shown = json_array_size(tasks);
	unsigned reasons = 0;
	int r = store_count_tasks(daemon->store, &query, ret_n_ended, err);

	query.newest_first = true;
	query.offset = list->offset > n_open ? list->offset - n_open : 0;
	query.limit = list->limit > shown ? list->limit - shown : 0;
	query.limit = MIN_OF(query.limit, list->ended);
	return r < 0 || query.limit == 0 ? r : append_stored(daemon, &query, tasks, &reasons, err);
}

/* All that have not ended, then those that have. */
static int list_default(struct daemon *daemon, const struct list_query *list, json_t *tasks,
			uint64_t *ret_total, struct error *err)
{
	auto_free uint64_t *ids = NULL;
	unsigned reasons = REASONS_MAX;
	size_t n = 0, room = 0;
	uint64_t total = 0, n_ended = 0;
	int r;

	for (const struct sched_task *t = sched_first(daemon->sched); t; t = sched_next(t)) {
		if (sched_state_is_final(t->state))
			continue;
		if (total++ < list->offset || n >= list->limit)
			continue;
		ARRAY_GROW(ids, n, room);
		ids[n++] = t->id;
	}
	for (size_t i = 0; i < n; i++)
		(void)json_array_append_new(tasks, live_to_json(daemon, ids[i], &reasons));
	r = append_ended(daemon, list, total, tasks, &n_ended, err);
	*ret_total = total + n_ended;
	return r;
}

void handle_tasks(void *data, struct api_request *request)
{
	struct daemon *daemon = data;
	struct list_query query = {};
	struct error err = {};
	auto_json json_t *tasks = json_array();
	uint64_t total = 0;
	int r = list_query_read(request, &query, &err);

	if (r == 0 && (query.states[0] || query.batch > 0))
		r = list_filtered(daemon, &query, tasks, &total, &err);
	else if (r == 0)
		r = list_default(daemon, &query, tasks, &total, &err);
	if (r < 0)
		api_reply_error(request, r, &err);
	else
		api_reply(request, 200,
			  json_pack("{s:O,s:I}", "tasks", tasks, "total", (json_int_t)total));
}

void handle_batches(void *data, struct api_request *request)
{
	struct daemon *daemon = data;
	auto_record_batches struct record_batches list = {};
	json_t *batches = json_array();
	struct error err = {};
	int r = record_batches_load(daemon->store, 0, false, &list, &err);

	if (r < 0) {
		json_decref(batches);
		api_reply_error(request, r, &err);
		return;
	}
	for (size_t i = 0; i < list.n; i++) {
		const struct sched_batch *live =
		    sched_find_batch(daemon->sched, list.batches[i].id);

		(void)json_array_append_new(
		    batches, live ? batch_to_json(live, sched_batch_eta(daemon->sched, live,
									timestamp_now_ms()))
				  : batch_to_json(&list.batches[i], 0));
	}
	api_reply(request, 200, json_pack("{s:o}", "batches", batches));
}

static json_t *batch_summary(struct daemon *daemon, uint64_t id)
{
	auto_record_batches struct record_batches list = {};
	struct sched_summary summary;
	json_t *json = NULL;

	/* The one written down at its end is the one that stays: it does not change any more. */
	if (record_batches_load(daemon->store, id, false, &list, NULL) == 0 && list.n == 1)
		json = json_incref(json_object_get(list.summaries[0], "summary"));
	if (!json && sched_summarize(daemon->sched, id, timestamp_now_ms(), &summary) == 0) {
		json = summary_to_json(&summary);
		sched_summary_finish(&summary);
	}
	return json ? json : json_null();
}

static int batch_tasks(struct daemon *daemon, uint64_t id, const struct list_query *list,
		       json_t *tasks, struct error *err)
{
	struct store_query query = {
	    .batch = id,
	    .states = list->states[0] ? list->states : NULL,
	    .limit = list->limit,
	};
	unsigned reasons = REASONS_MAX;

	return list->limit == 0 ? 0 : append_stored(daemon, &query, tasks, &reasons, err);
}

void handle_batch(void *data, struct api_request *request)
{
	struct daemon *daemon = data;
	struct list_query query = {};
	uint64_t id = api_request_id(request);
	json_t *batch = query_batch(daemon, id), *tasks = json_array();
	struct error err = {};
	int r = api_request_query_u64(request, "limit", LIMIT_MAX, LIMIT_MAX, &query.limit, &err);

	if (r == 0)
		r = states_read(request, &query, &err);
	if (r == 0 && !batch)
		r = error_set(&err, -ENOENT, "there is no batch %llu", (unsigned long long)id);
	if (r == 0)
		r = batch_tasks(daemon, id, &query, tasks, &err);
	if (r < 0) {
		json_decref(batch);
		json_decref(tasks);
		api_reply_error(request, r, &err);
		return;
	}
	api_reply(request, 200,
		  json_pack("{s:o,s:o,s:o}", "batch", batch, "tasks", tasks, "summary",
			    batch_summary(daemon, id)));
}
