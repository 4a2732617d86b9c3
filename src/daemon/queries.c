/*
 * Ended tasks leave the memory after a while (sched_forget()); every question is then answered by
 * the store, with the very same JSON. Of what was archived less is known: that is null.
 */
#include "daemon/queries.h"

#include "config.h"
#include "daemon/access.h"
#include "daemon/clock.h"
#include "daemon/fairshare.h"
#include "daemon/listing.h"
#include "daemon/profiles.h"
#include "daemon/record.h"
#include "daemon/rules.h"
#include "daemon/task_json.h"
#include "util/timestamp.h"

#include <errno.h>
#include <unistd.h>

static json_t *with_ask(struct daemon *daemon, const struct sched_task *task, json_t *json)
{
	struct sched_ask ask;

	sched_ask(daemon->sched, task, &ask);
	task_json_add_ask(&ask, json);
	if (task->state == SCHED_WAITING || task->state == SCHED_HELD) {
		auto_free char *text = sched_ask_reason(daemon->sched, task, ask.source);

		(void)json_object_set_new(json_object_get(json, "request"), "asks_reason",
					  jsonx_string_if(text));
	}
	return json;
}

/* Of one that runs: what is not as it should be; NULL = nothing. */
static const char *running_note(struct daemon *daemon, const struct sched_task *task,
				char reason[SCHED_REASON_MAX])
{
	const struct sched_attempt *attempt = sched_task_attempt(task);

	return attempt && attempt->overrun ? sched_reason(daemon->sched, task, reason) : NULL;
}

json_t *query_live(struct daemon *daemon, uint64_t id, unsigned *reasons_left)
{
	const struct sched_task *task = sched_find(daemon->sched, id);
	char reason[SCHED_REASON_MAX];

	if (task->state == SCHED_STARTING || task->state == SCHED_RUNNING)
		return with_ask(daemon, task,
				task_to_json(task, running_note(daemon, task, reason)));
	if (task->state != SCHED_WAITING && task->state != SCHED_HELD)
		return task_to_json(task, NULL);
	if (*reasons_left == 0)
		return task_to_json(task, "waits in the queue");
	--*reasons_left;
	sched_time(daemon->sched, clock_now_ms(daemon->clock));
	(void)sched_reason(daemon->sched, task, reason);
	task = sched_find(daemon->sched, id);
	return with_ask(daemon, task, task_to_json(task, reason));
}

json_t *query_record(const struct records *records, size_t i)
{
	static const char *const forgotten[] = {"work",   "priority", "cwd",
						"policy", "request",  NULL};
	json_t *json = task_to_json(&records->tasks[i], NULL);

	if (!records_is_archived(records, i))
		return json;
	for (const char *const *name = forgotten; *name; name++)
		(void)json_object_set_new(json, *name, json_null());
	if (!records->tasks[i].spec.argv[0])
		(void)json_object_set_new(json, "command", json_null());
	(void)json_object_set_new(json, "archived", json_true());
	return json;
}

static json_t *stored_to_json(struct daemon *daemon, uint64_t id)
{
	auto_records struct records records = {};
	struct store_query query = {.id = id, .archived = true};

	if (records_load(daemon->store, &query, &records, NULL) < 0 || records.n == 0)
		return NULL;
	return query_record(&records, 0);
}

json_t *query_task(struct daemon *daemon, uint64_t id)
{
	unsigned reasons = 1;

	return sched_find(daemon->sched, id) ? query_live(daemon, id, &reasons)
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

/* Who used more than he was granted: the first of them. */
static json_t *overruns_of(struct daemon *daemon, const struct sched_summary *summary)
{
	json_t *array = json_array();

	for (unsigned i = 0; i < MIN_OF(summary->overran, (unsigned)SCHED_OVERRAN_MAX); i++) {
		const struct sched_task *task =
		    sched_find(daemon->sched, summary->overran_tasks[i]);
		char text[SCHED_REASON_MAX] = "";

		for (unsigned k = task ? task->n_attempts : 0; k > 0 && !text[0]; k--)
			(void)sched_overrun_text(task, &task->attempts[k - 1], text);
		if (text[0])
			(void)json_array_append_new(
			    array,
			    json_pack("{s:I, s:o, s:s}", "task", (json_int_t)task->id, "name",
				      jsonx_string_if(task->spec.name), "text", text));
	}
	return array;
}

/* With what its tasks said and did not need. */
static json_t *summary_of(struct daemon *daemon, uint64_t batch,
			  const struct sched_summary *summary)
{
	json_t *json = summary_to_json(summary);

	(void)json_object_set_new(json, "overruns", overruns_of(daemon, summary));
	(void)json_object_set_new(json, "warnings", profiles_warn_batch(daemon, batch));
	return json;
}

json_t *batch_remember(struct daemon *daemon, const struct sched_batch *batch)
{
	json_t *counts = json_object(), *remembered = json_object();
	struct sched_summary summary;

	for (int state = 0; state < SCHED_STATE_COUNT; state++)
		(void)json_object_set_new(counts, sched_state_name((enum sched_state)state),
					  jsonx_u64(batch->counts[state]));
	(void)json_object_set_new(remembered, "counts", counts);
	(void)json_object_set_new(remembered, "private", json_boolean(batch->is_private));
	if (sched_summarize(daemon->sched, batch->id, timestamp_now_ms(), &summary) == 0) {
		(void)json_object_set_new(remembered, "summary",
					  summary_of(daemon, batch->id, &summary));
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
	(void)json_object_set_new(json, "users", fairshare_to_json(daemon->fairshare));
	(void)json_object_set_new(json, "rules", rules_to_json(daemon->rules));
	api_reply(request, 200, json);
}

void handle_task(void *data, struct api_request *request)
{
	struct daemon *daemon = data;
	uint64_t id = api_request_id(request);
	struct error err = {};
	json_t *task = query_task(daemon, id);

	if (task)
		api_reply(request, 200,
			  json_pack("{s:o, s:o}", "task", task, "warnings",
				    profiles_warn_task(daemon, sched_find(daemon->sched, id))));
	else
		api_reply_error(
		    request,
		    error_set(&err, -ENOENT, "there is no task %llu", (unsigned long long)id),
		    &err);
}

/* Lists. */

void handle_tasks(void *data, struct api_request *request)
{
	struct daemon *daemon = data;
	struct list_query query;
	struct error err = {};
	int r = list_query_read(request, &query, &err);

	if (r < 0)
		api_reply_error(request, r, &err);
	else
		listing_begin(daemon->listings, request, &query, NULL, NULL);
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
	const struct sched_batch *live = sched_find_batch(daemon->sched, id);
	auto_record_batches struct record_batches list = {};
	struct sched_summary summary;
	json_t *json = NULL;

	/* The one written down at its end is the one that stays: it does not change any more,
	 * unless the batch goes on (a retry). */
	if (!(live && live->ended_at_ms == 0) &&
	    record_batches_load(daemon->store, id, false, &list, NULL) == 0 && list.n == 1)
		json = json_incref(json_object_get(list.summaries[0], "summary"));
	if (!json && sched_summarize(daemon->sched, id, timestamp_now_ms(), &summary) == 0) {
		json = summary_of(daemon, id, &summary);
		sched_summary_finish(&summary);
	}
	return json ? json : json_null();
}

/* {"batch", "tasks", "summary"} with the tasks in the middle of it. Takes `batch`. */
static void batch_reply(struct daemon *daemon, struct api_request *request, json_t *batch,
			const struct list_query *query)
{
	auto_json json_t *answer = json_pack("{s:o, s:o}", "batch", batch, "summary",
					     batch_summary(daemon, query->stored.batch));
	auto_free char *batch_text = NULL, *summary_text = NULL;

	access_filter(daemon, api_request_peer(request), answer);
	batch_text = jsonx_dump(json_object_get(answer, "batch"));
	summary_text = jsonx_dump(json_object_get(answer, "summary"));
	listing_begin(daemon->listings, request, query,
		      mem_printf("{\"batch\": %s, \"tasks\": [", batch_text),
		      mem_printf("\n], \"summary\": %s}\n", summary_text));
}

void handle_batch(void *data, struct api_request *request)
{
	struct daemon *daemon = data;
	uint64_t id = api_request_id(request);
	struct list_query query = {.order = LIST_OLDEST, .stored = {.batch = id, .archived = true}};
	json_t *batch = query_batch(daemon, id);
	struct error err = {};
	int r = api_request_query_u64(request, "limit", INT64_MAX, INT64_MAX, &query.limit, &err);

	if (r == 0)
		r = list_states_read(api_request_query(request, "state"), &query.states, &err);
	if (r == 0 && !batch)
		r = error_set(&err, -ENOENT, "there is no batch %llu", (unsigned long long)id);
	if (r == 0) {
		batch_reply(daemon, request, batch, &query);
		return;
	}
	json_decref(batch);
	api_reply_error(request, r, &err);
}
