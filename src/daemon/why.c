/*
 * The answer to `why`: of a waiting task what it waits for, of a placed one the words of the
 * decision, of an ended one how it ended; and one line for every attempt. GPUs are told by index
 * and name, as people know them; the name is that of the GPU which is there now under that UUID.
 */
#include "daemon/clock.h"
#include "daemon/queries.h"
#include "daemon/record.h"
#include "util/duration.h"
#include "util/signals.h"
#include "util/text.h"
#include "util/timestamp.h"

#include <errno.h>
#include <signal.h>

static void add_where(struct text *text, const struct sched_attempt *attempt,
		      const struct gpu_list *list)
{
	if (attempt->n_gpus == 0)
		text_add(text, "the CPU");
	for (unsigned i = 0; i < attempt->n_gpus; i++) {
		const struct gpu *gpu = gpu_list_find(list, attempt->gpus[i].uuid);

		text_printf(text, "%sGPU %u", i > 0 ? ", " : "", attempt->gpus[i].index);
		if (gpu && gpu->name[0])
			text_printf(text, " (%s)", gpu->name);
	}
}

static void add_seconds(struct text *text, const char *word, const struct sched_attempt *attempt)
{
	if (attempt->outcome != SCHED_OUTCOME_LOST && attempt->started_at_ms > 0 &&
	    attempt->ended_at_ms >= attempt->started_at_ms)
		text_printf(text, " %s %s", word,
			    DURATION_TEXT(attempt->ended_at_ms - attempt->started_at_ms));
}

static void add_exit(struct text *text, const struct sched_attempt *attempt)
{
	if (attempt->exit_known && attempt->signal > 0)
		text_printf(text, ", signal %d", attempt->signal);
	else if (attempt->exit_known)
		text_printf(text, ", exit code %d", attempt->exit_code);
}

static char *attempt_line(const struct sched_task *task, const struct sched_attempt *attempt,
			  const struct gpu_list *list)
{
	char overrun[SCHED_REASON_MAX];
	struct text line = {};

	text_printf(&line, "attempt %u on ", attempt->number);
	add_where(&line, attempt, list);
	if (attempt->rung)
		text_printf(&line, ", rung %s", attempt->rung);
	text_printf(&line, ", by %s", place_policy_name(attempt->policy));
	if (attempt->reason)
		text_printf(&line, ": %s", attempt->reason);
	if (attempt->ended_at_ms > 0) {
		text_add(&line, "; it ended");
		add_seconds(&line, "after", attempt);
		text_printf(&line, ": %s", sched_outcome_name(attempt->outcome));
		add_exit(&line, attempt);
		if (sched_overrun_text(task, attempt, overrun))
			text_printf(&line, "; it %s", overrun);
	}
	return text_take(&line);
}

/* Of a task that ended as it should nobody wrote down a reason. */
static char *done_reason(const struct sched_attempt *attempt, const struct gpu_list *list)
{
	struct text text = {};

	text_add(&text, "ran on ");
	add_where(&text, attempt, list);
	add_seconds(&text, "for", attempt);
	add_exit(&text, attempt);
	return text_take(&text);
}

static void add_limit(struct text *line, const char *what, int64_t in_ms, int number)
{
	text_printf(line, "%sits %s limit ", line->len > 0 ? ", " : "", what);
	if (in_ms > 0)
		text_printf(line, "comes in %s (%s)", DURATION_TEXT(in_ms), SIGNAL_NAME(number));
	else
		text_printf(line, "passed %s ago (%s)", DURATION_TEXT(-in_ms), SIGNAL_NAME(number));
}

/* Of one that runs: what is left of its time. */
static void add_limits(json_t *details, const struct sched_task *task, int64_t now_ms)
{
	const struct sched_attempt *attempt = sched_task_attempt(task);
	const struct sched_spec *spec = &task->spec;
	auto_text struct text line = {};

	if (!attempt || task->state != SCHED_RUNNING)
		return;
	if (spec->soft_limit_ms > 0)
		add_limit(&line, "soft", attempt->started_at_ms + spec->soft_limit_ms - now_ms,
			  spec->soft_signal ? spec->soft_signal : SIGTERM);
	if (spec->hard_limit_ms > 0)
		add_limit(&line, "time", attempt->started_at_ms + spec->hard_limit_ms - now_ms,
			  SIGKILL);
	if (line.len > 0)
		(void)json_array_append_new(details, jsonx_string_if(line.data));
}

static void add_retries(json_t *details, const struct sched_task *task)
{
	unsigned left = task->spec.retries - MIN_OF(task->failures, task->spec.retries);

	if (task->spec.retries > 0 && !sched_state_is_final(task->state))
		(void)json_array_append_new(
		    details, json_sprintf("%u of its %u retr%s left", left, task->spec.retries,
					  task->spec.retries == 1 ? "y is" : "ies are"));
}

static json_t *why_to_json(const struct sched_task *task, const char *reason,
			   const struct gpu_list *list)
{
	const struct sched_attempt *last = sched_task_attempt(task);
	json_t *details = json_array();
	auto_free char *done = NULL;

	if (!reason || !*reason)
		reason = task->reason;
	if (!reason && last && task->state == SCHED_DONE)
		reason = done = done_reason(last, list);
	if (!reason && last)
		reason = last->reason;
	add_limits(details, task, timestamp_now_ms());
	add_retries(details, task);
	for (unsigned i = 0; i < task->n_attempts; i++) {
		auto_free char *line = attempt_line(task, &task->attempts[i], list);

		(void)json_array_append_new(details, jsonx_string_if(line));
	}
	return json_pack("{s:I,s:s,s:o,s:o}", "id", (json_int_t)task->id, "state",
			 sched_state_name(task->state), "reason", jsonx_string_if(reason),
			 "details", details);
}

void handle_why(void *data, struct api_request *request)
{
	struct daemon *daemon = data;
	const struct gpu_list *list = gpu_sampler_list(daemon->sampler);
	uint64_t id = api_request_id(request);
	const struct sched_task *task = sched_find(daemon->sched, id);
	auto_records struct records records = {};
	char reason[SCHED_REASON_MAX];
	struct error err = {};
	int r;

	if (task) {
		sched_time(daemon->sched, clock_now_ms(daemon->clock));
		(void)sched_reason(daemon->sched, task, reason);
		api_reply(request, 200, why_to_json(sched_find(daemon->sched, id), reason, list));
		return;
	}
	r = records_load(daemon->store, &(struct store_query){.id = id, .archived = true}, &records,
			 &err);
	if (r == 0 && records.n == 0)
		r = error_set(&err, -ENOENT, "there is no task %llu", (unsigned long long)id);
	if (r < 0)
		api_reply_error(request, r, &err);
	else
		api_reply(request, 200, why_to_json(&records.tasks[0], NULL, list));
}
