/* See task_json.h. What is unknown is null; names are added to and never renamed. */
#include "daemon/task_json.h"

#include "daemon/after.h"
#include "daemon/wishes.h"
#include "util/signals.h"
#include "util/users.h"

#include <signal.h>

static json_t *argv_to_json(const char *const *argv)
{
	json_t *array = json_array();

	for (; argv && *argv; argv++)
		(void)json_array_append_new(array, jsonx_string_if(*argv));
	return array;
}

json_t *rungs_to_json(const struct sched_rung *rungs, size_t n)
{
	json_t *array = json_array();

	for (size_t i = 0; i < n; i++)
		(void)json_array_append_new(
		    array,
		    rungs[i].times > 1
			? json_sprintf("%s:%u", sched_rung_name(rungs[i].type), rungs[i].times)
			: json_string(sched_rung_name(rungs[i].type)));
	return array;
}

/* What happens to it out of memory; the default when it did not say. */
static json_t *on_oom_to_json(const struct sched_spec *spec)
{
	struct sched_rung rungs[SCHED_RUNGS_MAX];

	if (spec->on_oom)
		return rungs_to_json(spec->on_oom, spec->n_on_oom);
	return rungs_to_json(rungs, sched_rungs_default(spec->request.cpu, rungs));
}

json_t *request_to_json(const struct place_request *request, bool all)
{
	bool cpu_only = request->cpu == PLACE_CPU_ONLY;
	json_t *json = json_object();

	if (all || request->vram_bytes > 0)
		(void)json_object_set_new(
		    json, "vram_bytes", jsonx_u64_if(request->vram_bytes > 0, request->vram_bytes));
	if (all || request->fraction_milli > 0)
		(void)json_object_set_new(json, "fraction",
					  jsonx_real_if(request->fraction_milli > 0,
							request->fraction_milli / 1000.0, 3));
	if (all || request->ram_bytes > 0)
		(void)json_object_set_new(json, "ram_bytes",
					  jsonx_u64_if(request->ram_bytes > 0, request->ram_bytes));
	if (all || request->cpu_milli > 0)
		(void)json_object_set_new(
		    json, "cpus",
		    jsonx_real_if(request->cpu_milli > 0, (double)request->cpu_milli / 1000, 3));
	if (all || request->gpus != (cpu_only ? 0 : 1))
		(void)json_object_set_new(json, "gpus", jsonx_u64(request->gpus));
	if (all || request->cpu != PLACE_CPU_NEVER)
		(void)json_object_set_new(json, "cpu",
					  json_string(place_cpu_mode_name(request->cpu)));
	if (all || request->exclusive)
		(void)json_object_set_new(json, "exclusive", json_boolean(request->exclusive));
	if (all || request->pin_uuid)
		(void)json_object_set_new(json, "pin", jsonx_string_if(request->pin_uuid));
	wishes_to_json(request->wishes, all, json);
	if (all || request->start_lock)
		(void)json_object_set_new(json, "start_lock", json_boolean(request->start_lock));
	if (all || request->stagger_ms > 0)
		(void)json_object_set_new(
		    json, "stagger_seconds",
		    jsonx_real_if(request->stagger_ms > 0, (double)request->stagger_ms / 1000, 3));
	return json;
}

/* What it was granted there, what it uses now, and the most it used. */
static json_t *grant_to_json(const struct sched_grant *grant, bool over)
{
	return json_pack(
	    "{s:I,s:s,s:o,s:o,s:o}", "index", (json_int_t)grant->index, "uuid", grant->uuid,
	    "vram_bytes", jsonx_u64_if(grant->vram_bytes > 0, grant->vram_bytes), "used_bytes",
	    jsonx_u64_if(!over && grant->used_known && grant->peak_bytes > 0, grant->used_bytes),
	    "peak_bytes", jsonx_u64_if(grant->peak_bytes > 0, grant->peak_bytes));
}

static void set_overrun(json_t *json, const struct sched_task *task,
			const struct sched_attempt *attempt)
{
	char text[SCHED_REASON_MAX];
	bool is = sched_overrun_text(task, attempt, text);

	(void)json_object_set_new(json, "overrun", json_boolean(attempt->overrun));
	(void)json_object_set_new(json, "overrun_since", jsonx_time_if(attempt->overrun_at_ms));
	(void)json_object_set_new(json, "overrun_text", jsonx_string_if(is ? text : NULL));
}

static json_t *attempt_to_json(const struct sched_task *task, const struct sched_attempt *attempt)
{
	json_t *json = json_object(), *gpus = json_array();
	bool over = attempt->ended_at_ms > 0;
	bool lost = over && attempt->outcome == SCHED_OUTCOME_LOST;

	for (unsigned i = 0; i < attempt->n_gpus; i++)
		(void)json_array_append_new(gpus, grant_to_json(&attempt->gpus[i], over));
	(void)json_object_set_new(json, "number", jsonx_u64(attempt->number));
	(void)json_object_set_new(json, "gpus", gpus);
	(void)json_object_set_new(json, "device", json_string(sched_attempt_device(attempt)));
	(void)json_object_set_new(json, "policy", json_string(place_policy_name(attempt->policy)));
	(void)json_object_set_new(json, "reason", jsonx_string_if(attempt->reason));
	(void)json_object_set_new(json, "started_at", jsonx_time_if(attempt->started_at_ms));
	/* Of a lost one is known when it was found gone, and no more. */
	(void)json_object_set_new(json, "ended_at", jsonx_time_if(lost ? 0 : attempt->ended_at_ms));
	(void)json_object_set_new(json, "ended_before",
				  jsonx_time_if(lost ? attempt->ended_at_ms : 0));
	(void)json_object_set_new(json, "exit_code",
				  over && attempt->exit_known && attempt->signal == 0
				      ? json_integer(attempt->exit_code)
				      : json_null());
	(void)json_object_set_new(json, "signal",
				  over && attempt->exit_known && attempt->signal > 0
				      ? json_integer(attempt->signal)
				      : json_null());
	(void)json_object_set_new(json, "outcome",
				  jsonx_string_if(sched_outcome_name(attempt->outcome)));
	(void)json_object_set_new(
	    json, "peak_vram_bytes",
	    jsonx_u64_if(attempt->peak_vram_bytes > 0, attempt->peak_vram_bytes));
	(void)json_object_set_new(
	    json, "peak_ram_bytes",
	    jsonx_u64_if(attempt->peak_ram_bytes > 0, attempt->peak_ram_bytes));
	(void)json_object_set_new(json, "rung", jsonx_string_if(attempt->rung));
	(void)json_object_set_new(json, "batch_size",
				  jsonx_u64_if(attempt->batch_size > 0, attempt->batch_size));
	(void)json_object_set_new(json, "ram_bytes",
				  jsonx_u64_if(attempt->ram_bytes > 0, attempt->ram_bytes));
	(void)json_object_set_new(
	    json, "oom_requested_bytes",
	    jsonx_u64_if(attempt->oom_requested_bytes > 0, attempt->oom_requested_bytes));
	(void)json_object_set_new(
	    json, "oom_used_bytes",
	    jsonx_u64_if(attempt->oom_used_bytes > 0, attempt->oom_used_bytes));
	(void)json_object_set_new(json, "vram_reason", jsonx_string_if(attempt->vram_reason));
	(void)json_object_set_new(json, "evidence", jsonx_string_if(attempt->evidence));
	(void)json_object_set_new(
	    json, "used_ram_bytes",
	    jsonx_u64_if(!over && attempt->used_ram_bytes > 0, attempt->used_ram_bytes));
	set_overrun(json, task, attempt);
	(void)json_object_set_new(json, "stopped", jsonx_string_if(attempt->stopped));
	(void)json_object_set_new(json, "limits", jsonx_string_if(attempt->limits));
	return json;
}

static void set_span(json_t *json, const char *name, int64_t ms)
{
	(void)json_object_set_new(json, name, jsonx_real_if(ms > 0, (double)ms / 1000, 3));
}

/* When it may start, how long it may take, how often it is tried. */
static void set_terms(json_t *json, const struct sched_task *task)
{
	const struct sched_spec *spec = &task->spec;
	json_t *after = after_to_json(spec->after);

	if (spec->after)
		(void)json_object_set_new(after, "left",
					  after_items_to_json(task->after, task->n_after));
	(void)json_object_set_new(json, "after", after);
	(void)json_object_set_new(json, "at", jsonx_time_if(spec->not_before_ms));
	(void)json_object_set_new(json, "not_before", jsonx_time_if(task->not_before_ms));
	set_span(json, "soft_limit_seconds", spec->soft_limit_ms);
	set_span(json, "time_limit_seconds", spec->hard_limit_ms);
	(void)json_object_set_new(
	    json, "soft_signal",
	    spec->soft_limit_ms > 0
		? json_string(SIGNAL_NAME(spec->soft_signal ? spec->soft_signal : SIGTERM))
		: json_null());
	(void)json_object_set_new(json, "retries", jsonx_u64(spec->retries));
	set_span(json, "retry_delay_seconds", spec->retry_delay_ms);
	if (spec->retry_delay_ms == SCHED_RETRY_AT_ONCE)
		(void)json_object_set_new(json, "retry_delay_seconds", json_integer(0));
	(void)json_object_set_new(json, "failures", jsonx_u64(task->failures));
	(void)json_object_set_new(json, "requeues", jsonx_u64(task->requeues));
	(void)json_object_set_new(
	    json, "vram_default_bytes",
	    jsonx_u64_if(spec->vram_default_bytes > 0, spec->vram_default_bytes));
	(void)json_object_set_new(json, "worker_rank",
				  jsonx_u64_if(spec->workers > 0, spec->worker_rank));
	(void)json_object_set_new(json, "workers", jsonx_u64_if(spec->workers > 0, spec->workers));
	(void)json_object_set_new(json, "batch_size",
				  jsonx_u64_if(spec->batch_size > 0, spec->batch_size));
	(void)json_object_set_new(json, "on_oom", on_oom_to_json(spec));
	(void)json_object_set_new(json, "on_oom_default", json_boolean(!spec->on_oom));
	(void)json_object_set_new(json, "on_overrun",
				  json_string(sched_on_overrun_name(spec->on_overrun)));
	(void)json_object_set_new(json, "private", json_boolean(spec->is_private));
	(void)json_object_set_new(json, "tty", jsonx_string_if(spec->tty));
	(void)json_object_set_new(json, "log", jsonx_string_if(spec->log_path));
}

json_t *task_to_json(const struct sched_task *task, const char *reason)
{
	json_t *json = json_object(), *attempts = json_array();
	const struct sched_spec *spec = &task->spec;

	for (unsigned i = 0; i < task->n_attempts; i++)
		(void)json_array_append_new(attempts, attempt_to_json(task, &task->attempts[i]));
	(void)json_object_set_new(json, "id", jsonx_u64(task->id));
	(void)json_object_set_new(json, "name", jsonx_string_if(spec->name));
	(void)json_object_set_new(json, "user",
				  json_string(user_name(spec->uid, (char[USER_NAME_MAX]){0})));
	(void)json_object_set_new(json, "uid", jsonx_u64(spec->uid));
	(void)json_object_set_new(json, "batch", jsonx_u64_if(task->batch > 0, task->batch));
	(void)json_object_set_new(json, "row", jsonx_u64_if(spec->row > 0, spec->row));
	(void)json_object_set_new(json, "kind", jsonx_string_if(spec->kind));
	(void)json_object_set_new(json, "work",
				  jsonx_real_if(spec->work_hint > 0, spec->work_hint, 3));
	(void)json_object_set_new(json, "state", json_string(sched_state_name(task->state)));
	(void)json_object_set_new(json, "reason", jsonx_string_if(reason ? reason : task->reason));
	(void)json_object_set_new(json, "priority", json_integer(spec->priority));
	(void)json_object_set_new(json, "command", argv_to_json(spec->argv));
	(void)json_object_set_new(json, "cwd", jsonx_string_if(spec->cwd));
	(void)json_object_set_new(json, "policy", json_string(place_policy_name(spec->policy)));
	(void)json_object_set_new(json, "request", request_to_json(&spec->request, true));
	set_terms(json, task);
	(void)json_object_set_new(json, "submitted_at", jsonx_time_if(task->submitted_at_ms));
	(void)json_object_set_new(json, "stopping", json_boolean(task->stopping));
	(void)json_object_set_new(json, "archived", json_false());
	(void)json_object_set_new(json, "attempts", attempts);
	return json;
}

void task_json_add_ask(const struct sched_ask *ask, json_t *task)
{
	json_t *request = json_object_get(task, "request");
	uint64_t bytes = ask->request.vram_bytes;

	(void)json_object_set_new(request, "vram_source",
				  jsonx_string_if(sched_vram_source_name(ask->source)));
	(void)json_object_set_new(request, "asks_vram_bytes", jsonx_u64_if(bytes > 0, bytes));
	bytes = ask->request.ram_bytes;
	(void)json_object_set_new(request, "asks_ram_bytes", jsonx_u64_if(bytes > 0, bytes));
}

json_t *batch_to_json(const struct sched_batch *batch, double eta_seconds)
{
	const unsigned *n = batch->counts;
	json_t *json = json_object();

	(void)json_object_set_new(json, "id", jsonx_u64(batch->id));
	(void)json_object_set_new(json, "name", jsonx_string_if(batch->name));
	(void)json_object_set_new(json, "uid", jsonx_u64(batch->uid));
	(void)json_object_set_new(json, "user",
				  json_string(user_name(batch->uid, (char[USER_NAME_MAX]){0})));
	(void)json_object_set_new(json, "private", json_boolean(batch->is_private));
	(void)json_object_set_new(json, "state", json_string(sched_batch_state_name(batch->state)));
	(void)json_object_set_new(json, "on_failure",
				  json_string(sched_on_failure_name(batch->on_failure)));
	(void)json_object_set_new(json, "submitted_at", jsonx_time_if(batch->submitted_at_ms));
	(void)json_object_set_new(json, "ended_at", jsonx_time_if(batch->ended_at_ms));
	(void)json_object_set_new(json, "total", jsonx_u64(batch->total));
	(void)json_object_set_new(json, "waiting", jsonx_u64(n[SCHED_WAITING] + n[SCHED_HELD]));
	(void)json_object_set_new(json, "running", jsonx_u64(n[SCHED_STARTING] + n[SCHED_RUNNING]));
	(void)json_object_set_new(json, "done", jsonx_u64(n[SCHED_DONE]));
	(void)json_object_set_new(json, "failed", jsonx_u64(n[SCHED_FAILED] + n[SCHED_LOST]));
	(void)json_object_set_new(json, "canceled", jsonx_u64(n[SCHED_CANCELED]));
	(void)json_object_set_new(json, "eta_seconds",
				  jsonx_real_if(eta_seconds >= 0, eta_seconds, 1));
	return json;
}

static double tasks_per_hour(unsigned tasks, double seconds)
{
	return seconds > 0 ? tasks * 3600.0 / seconds : -1;
}

static json_t *summary_gpu_to_json(const struct sched_summary_gpu *gpu, double wall_seconds)
{
	double rate = tasks_per_hour(gpu->tasks, wall_seconds);
	json_t *json = json_object();

	(void)json_object_set_new(json, "index", jsonx_u64(gpu->index));
	(void)json_object_set_new(json, "uuid", json_string(gpu->uuid));
	(void)json_object_set_new(json, "name", jsonx_string_if(gpu->name));
	(void)json_object_set_new(json, "tasks", jsonx_u64(gpu->tasks));
	(void)json_object_set_new(
	    json, "mean_utilization_percent",
	    jsonx_real_if(gpu->utilization_known, gpu->mean_utilization_percent, 1));
	(void)json_object_set_new(json, "peak_vram_bytes",
				  jsonx_u64_if(gpu->peak_vram_bytes > 0, gpu->peak_vram_bytes));
	(void)json_object_set_new(json, "load_line_bytes",
				  jsonx_u64_if(gpu->load_line_bytes > 0, gpu->load_line_bytes));
	(void)json_object_set_new(json, "tasks_per_hour", jsonx_real_if(rate >= 0, rate, 1));
	return json;
}

static void set_seconds(json_t *json, const char *name, double seconds)
{
	(void)json_object_set_new(json, name, jsonx_real_if(seconds >= 0, seconds, 3));
}

/* {"retry": 2, "bigger-gpu": 0, ...} */
static json_t *recovered_to_json(const struct sched_summary *summary)
{
	json_t *json = json_object();

	for (unsigned i = 0; i < SCHED_RUNG_FAIL; i++)
		(void)json_object_set_new(json, sched_rung_name((enum sched_rung_type)i),
					  jsonx_u64(summary->recovered_by[i]));
	return json;
}

json_t *summary_to_json(const struct sched_summary *summary)
{
	double rate = tasks_per_hour(summary->done, summary->wall_seconds);
	json_t *json = json_object(), *gpus = json_array();

	for (size_t i = 0; i < summary->n_gpus; i++)
		(void)json_array_append_new(
		    gpus, summary_gpu_to_json(&summary->gpus[i], summary->wall_seconds));
	(void)json_object_set_new(json, "total", jsonx_u64(summary->total));
	(void)json_object_set_new(json, "done", jsonx_u64(summary->done));
	(void)json_object_set_new(json, "failed", jsonx_u64(summary->failed));
	(void)json_object_set_new(json, "canceled", jsonx_u64(summary->canceled));
	(void)json_object_set_new(json, "oom_recovered", jsonx_u64(summary->oom_recovered));
	(void)json_object_set_new(json, "oom_recovered_by", recovered_to_json(summary));
	(void)json_object_set_new(json, "on_cpu", jsonx_u64(summary->on_cpu));
	(void)json_object_set_new(json, "overran", jsonx_u64(summary->overran));
	set_seconds(json, "wall_seconds", summary->wall_seconds);
	set_seconds(json, "lower_bound_seconds", summary->yardsticks.lower_bound_seconds);
	set_seconds(json, "even_split_seconds", summary->yardsticks.even_split_seconds);
	set_seconds(json, "one_gpu_seconds", summary->yardsticks.one_gpu_seconds);
	(void)json_object_set_new(json, "tasks_per_hour", jsonx_real_if(rate >= 0, rate, 1));
	(void)json_object_set_new(json, "gpus", gpus);
	return json;
}
