/*
 * A row that cannot be read (written by hand, damaged) is an error with the task's number: a task
 * that is left out silently would be one that is lost.
 */
#include "daemon/record.h"

#include "daemon/after.h"
#include "daemon/peaks_json.h"
#include "daemon/task_json.h"

#include "util/text.h"

#include <errno.h>
#include <string.h>

/* Out. */

static void set_count(json_t *json, const char *name, uint64_t value)
{
	if (value > 0)
		(void)json_object_set_new(json, name, jsonx_u64(value));
}

/* Only what was asked for: most tasks have none of it, and there are many tasks. */
static void terms_dump(const struct sched_spec *spec, json_t *json)
{
	const struct {
		const char *name;
		int64_t value;
	} numbers[] = {
	    {"at_ms", spec->not_before_ms},
	    {"soft_limit_ms", spec->soft_limit_ms},
	    {"time_limit_ms", spec->hard_limit_ms},
	    {"soft_signal", spec->soft_signal},
	    {"retry_delay_ms", spec->retry_delay_ms},
	    {"vram_default_bytes", (int64_t)spec->vram_default_bytes},
	    {"batch_size", spec->batch_size},
	    {"workers", spec->workers},
	    {"worker_rank", spec->worker_rank},
	};

	for (size_t i = 0; i < ARRAY_LEN(numbers); i++)
		if (numbers[i].value != 0)
			(void)json_object_set_new(json, numbers[i].name,
						  json_integer(numbers[i].value));
	if (spec->after)
		(void)json_object_set_new(json, "after", after_to_json(spec->after));
	if (spec->on_oom)
		(void)json_object_set_new(json, "on_oom",
					  rungs_to_json(spec->on_oom, spec->n_on_oom));
	if (spec->on_overrun != SCHED_OVERRUN_AUTO)
		(void)json_object_set_new(json, "on_overrun",
					  json_string(sched_on_overrun_name(spec->on_overrun)));
	if (spec->held)
		(void)json_object_set_new(json, "held", json_true());
	if (spec->is_private)
		(void)json_object_set_new(json, "private", json_true());
	if (spec->tty)
		(void)json_object_set_new(json, "tty", jsonx_string_if(spec->tty));
	if (spec->rlimits)
		(void)json_object_set_new(json, "rlimits", jsonx_string_if(spec->rlimits));
	if (!spec->rlimits)
		return;
	(void)json_object_set_new(json, "gid", jsonx_u64(spec->gid));
	(void)json_object_set_new(json, "account", json_boolean(spec->has_account));
}

/* What is as it is when nothing is said (spec_load()) is left out: a hundred thousand of these are
 * written in one submit, and read in one restart. */
static char *spec_dump(const struct sched_spec *spec)
{
	json_t *json = json_object(), *command = json_array();
	json_t *request = request_to_json(&spec->request, false);
	char *text;

	for (const char *const *arg = spec->argv; *arg; arg++)
		(void)json_array_append_new(command, json_string(*arg));
	set_count(request, "max_per_gpu", spec->request.max_per_gpu);
	set_count(request, "threads", spec->request.threads);
	(void)json_object_set_new(json, "command", command);
	(void)json_object_set_new(json, "cwd", jsonx_string_if(spec->cwd));
	(void)json_object_set_new(json, "umask", jsonx_u64(spec->umask));
	(void)json_object_set_new(json, "request", request);
	if (spec->log_path)
		(void)json_object_set_new(json, "log", jsonx_string_if(spec->log_path));
	if (spec->policy != PLACE_AUTO)
		(void)json_object_set_new(json, "policy",
					  json_string(place_policy_name(spec->policy)));
	if (spec->weight_memory != 0)
		(void)json_object_set_new(json, "weight_memory", json_real(spec->weight_memory));
	if (spec->work_hint > 0)
		(void)json_object_set_new(json, "work", jsonx_real_if(true, spec->work_hint, 3));
	set_count(json, "retries", spec->retries);
	terms_dump(spec, json);
	text = jsonx_dump(json);
	json_decref(json);
	return text;
}

static json_t *ladder_dump(const struct sched_ladder *ladder)
{
	json_t *json = json_object();

	set_count(json, "rung", ladder->rung);
	set_count(json, "times", ladder->times);
	set_count(json, "climbs", ladder->climbs);
	set_count(json, "vram_bytes", ladder->vram_bytes);
	set_count(json, "ram_bytes", ladder->ram_bytes);
	set_count(json, "line_above_bytes", ladder->line_above_bytes);
	set_count(json, "alone", ladder->alone);
	set_count(json, "cpu", ladder->cpu);
	set_count(json, "batch_size", ladder->batch_size);
	return json;
}

static char *more_dump(const struct sched_task *task)
{
	json_t *json = json_object();
	char *text;

	if (task->not_before_ms != 0)
		(void)json_object_set_new(json, "not_before_ms", json_integer(task->not_before_ms));
	set_count(json, "failures", task->failures);
	set_count(json, "requeues", task->requeues);
	set_count(json, "start_failures", task->start_failures);
	set_count(json, "start_refusals", task->start_refusals);
	if (task->queued_at_ms != 0)
		(void)json_object_set_new(json, "queued_at_ms", json_integer(task->queued_at_ms));
	if (task->stopping)
		(void)json_object_set_new(json, "stopping", json_true());
	if (task->overtime)
		(void)json_object_set_new(json, "overtime", json_true());
	if (task->ladder)
		(void)json_object_set_new(json, "ladder", ladder_dump(task->ladder));
	if (task->n_after > 0)
		(void)json_object_set_new(json, "after_left",
					  after_items_to_json(task->after, task->n_after));
	text = jsonx_dump(json);
	json_decref(json);
	return text;
}

static char *grants_dump(const struct sched_attempt *attempt)
{
	auto_json json_t *array = json_array();

	for (unsigned i = 0; i < attempt->n_gpus; i++) {
		const struct sched_grant *grant = &attempt->gpus[i];

		(void)json_array_append_new(
		    array,
		    json_pack("{s:s,s:I,s:o,s:o,s:o}", "uuid", grant->uuid, "index",
			      (json_int_t)grant->index, "vram_bytes", jsonx_u64(grant->vram_bytes),
			      "used_bytes", jsonx_u64_if(grant->used_known, grant->used_bytes),
			      "peak_bytes", jsonx_u64(grant->peak_bytes)));
	}
	return jsonx_dump(array);
}

/* NULL when there is none of it, which is so for most. */
static char *attempt_more_dump(const struct sched_attempt *attempt)
{
	auto_json json_t *json = json_object();

	if (attempt->rung)
		(void)json_object_set_new(json, "rung", jsonx_string_if(attempt->rung));
	set_count(json, "ram_bytes", attempt->ram_bytes);
	set_count(json, "batch_size", attempt->batch_size);
	if (attempt->overrun)
		(void)json_object_set_new(json, "overrun", json_true());
	if (attempt->overrun_at_ms != 0)
		(void)json_object_set_new(json, "overrun_at_ms",
					  json_integer(attempt->overrun_at_ms));
	if (attempt->stopped)
		(void)json_object_set_new(json, "stopped", jsonx_string_if(attempt->stopped));
	set_count(json, "oom_requested_bytes", attempt->oom_requested_bytes);
	set_count(json, "oom_used_bytes", attempt->oom_used_bytes);
	if (attempt->vram_reason)
		(void)json_object_set_new(json, "vram_reason",
					  jsonx_string_if(attempt->vram_reason));
	if (attempt->evidence)
		(void)json_object_set_new(json, "evidence", jsonx_string_if(attempt->evidence));
	if (attempt->limits)
		(void)json_object_set_new(json, "limits", jsonx_string_if(attempt->limits));
	return json_object_size(json) > 0 ? jsonx_dump(json) : NULL;
}

static int put_attempt(struct store *store, const struct sched_task *task,
		       const struct sched_attempt *attempt, struct error *err)
{
	auto_free char *gpus = grants_dump(attempt), *more = attempt_more_dump(attempt);
	struct store_attempt row = {
	    .task = task->id,
	    .number = attempt->number,
	    .device = sched_attempt_device(attempt),
	    .policy = place_policy_name(attempt->policy),
	    .reason = attempt->reason,
	    .gpus = gpus,
	    .started_at_ms = attempt->started_at_ms,
	    .ended_at_ms = attempt->ended_at_ms,
	    .outcome = attempt->outcome == SCHED_OUTCOME_NONE
			   ? NULL
			   : sched_outcome_name(attempt->outcome),
	    .exit_known = attempt->exit_known,
	    .exit_code = attempt->exit_code,
	    .signal = attempt->signal,
	    .peak_vram_bytes = attempt->peak_vram_bytes,
	    .peak_ram_bytes = attempt->peak_ram_bytes,
	    .more = more,
	};

	return store_put_attempt(store, &row, err);
}

int record_put_task(struct store *store, const struct sched_task *task, struct error *err)
{
	auto_free char *spec = spec_dump(&task->spec), *more = more_dump(task);
	struct store_task row = {
	    .id = task->id,
	    .batch = task->batch,
	    .row = task->spec.row,
	    .name = task->spec.name,
	    .kind = task->spec.kind,
	    .state = sched_state_name(task->state),
	    .reason = task->reason,
	    .fingerprint = task->spec.fingerprint,
	    .priority = task->spec.priority,
	    .uid = task->spec.uid,
	    .environment = task->spec.environment,
	    .submitted_at_ms = task->submitted_at_ms,
	    .updated_at_ms = task->updated_at_ms,
	    .spec = spec,
	    .more = more,
	};
	int r = store_put_task(store, &row, err);

	for (unsigned i = 0; r == 0 && i < task->n_attempts; i++)
		if (task->attempts[i].changed)
			r = put_attempt(store, task, &task->attempts[i], err);
	return r;
}

int record_put_batch(struct store *store, const struct sched_batch *batch, const json_t *summary,
		     struct error *err)
{
	auto_free char *summary_text = summary ? jsonx_dump(summary) : NULL;
	struct store_batch row = {
	    .id = batch->id,
	    .name = batch->name,
	    .uid = batch->uid,
	    .state = sched_batch_state_name(batch->state),
	    .on_failure = sched_on_failure_name(batch->on_failure),
	    .submitted_at_ms = batch->submitted_at_ms,
	    .first_start_ms = batch->first_start_ms,
	    .ended_at_ms = batch->ended_at_ms,
	    .total = batch->total,
	    .summary = summary_text,
	};

	return store_put_batch(store, &row, err);
}

static int put_profile(struct store *store, const struct estimates_row *row, struct error *err)
{
	auto_free char *peaks = peaks_json_dump(row);

	return store_put_profile(store,
				 &(struct store_profile){
				     .kind = row->kind,
				     .model = row->model,
				     .speed = row->speed,
				     .vram_request_bytes = row->vram_request_bytes,
				     .work_seconds = row->work_seconds,
				     .variance = row->variance,
				     .utilization_percent = row->utilization_percent,
				     .peak_vram_bytes = row->peak_vram_bytes,
				     .peak_ram_bytes = row->peak_ram_bytes,
				     .samples = row->samples,
				     .hint_mean = row->hint_mean,
				     .hint_variance = row->hint_variance,
				     .hint_covariance = row->hint_covariance,
				     .hint_samples = row->hint_samples,
				     .runs = row->runs,
				     .peaks = peaks,
				     .oom_vram_bytes = row->oom_vram_bytes,
				     .batch_size = row->batch_size,
				     .first_at_ms = row->first_at_ms,
				     .last_at_ms = row->last_at_ms,
				 },
				 err);
}

int record_put_profiles(struct store *store, const struct estimates_row *rows, size_t n,
			struct error *err)
{
	int r = 0;

	for (size_t i = 0; i < n && r == 0; i++)
		r = put_profile(store, &rows[i], err);
	return r;
}

/* In. */

static void request_load(const json_t *json, struct wishes_list *list,
			 struct place_request *request)
{
	struct place_wishes wishes;
	enum place_cpu_mode cpu = PLACE_CPU_NEVER;
	bool cpu_only;

	/* A mode of a later version: it waits for a GPU. */
	if (place_cpu_mode_parse(jsonx_get_string(json, "cpu", "never"), &cpu, NULL) < 0)
		cpu = PLACE_CPU_NEVER;
	cpu_only = cpu == PLACE_CPU_ONLY;

	request->vram_bytes = jsonx_get_u64(json, "vram_bytes", 0);
	request->fraction_milli = (unsigned)(jsonx_get_real(json, "fraction", 0) * 1000 + 0.5);
	request->ram_bytes = jsonx_get_u64(json, "ram_bytes", 0);
	request->cpu_milli = (unsigned)(jsonx_get_real(json, "cpus", 0) * 1000 + 0.5);
	request->gpus = (unsigned)jsonx_get_u64(json, "gpus", cpu_only ? 0 : 1);
	request->cpu = cpu;
	request->exclusive = jsonx_get_bool(json, "exclusive", false);
	request->max_per_gpu = (unsigned)jsonx_get_u64(json, "max_per_gpu", 0);
	request->threads = (unsigned)jsonx_get_u64(json, "threads", 0);
	request->pin_uuid = jsonx_get_string(json, "pin", NULL);
	request->start_lock = jsonx_get_bool(json, "start_lock", false);
	request->stagger_ms = (unsigned)(jsonx_get_real(json, "stagger_seconds", 0) * 1000 + 0.5);
	if (wishes_load(json, &wishes))
		request->wishes = wishes_list_keep(list, &wishes);
}

static void terms_load(const json_t *json, struct sched_spec *spec)
{
	spec->after = after_load(json_object_get(json, "after"));
	spec->not_before_ms = jsonx_get_i64(json, "at_ms", 0);
	spec->soft_limit_ms = jsonx_get_i64(json, "soft_limit_ms", 0);
	spec->hard_limit_ms = jsonx_get_i64(json, "time_limit_ms", 0);
	spec->soft_signal = (int)jsonx_get_i64(json, "soft_signal", 0);
	spec->retry_delay_ms = jsonx_get_i64(json, "retry_delay_ms", 0);
	spec->vram_default_bytes = jsonx_get_u64(json, "vram_default_bytes", 0);
	spec->batch_size = (unsigned)jsonx_get_u64(json, "batch_size", 0);
	spec->workers = (unsigned)jsonx_get_u64(json, "workers", 0);
	spec->worker_rank = (unsigned)jsonx_get_u64(json, "worker_rank", 0);
	spec->held = jsonx_get_bool(json, "held", false);
	spec->is_private = jsonx_get_bool(json, "private", false);
	spec->tty = jsonx_get_string(json, "tty", NULL);
	spec->rlimits = jsonx_get_string(json, "rlimits", NULL);
	spec->gid = (gid_t)jsonx_get_u64(json, "gid", (gid_t)-1);
	spec->has_account = jsonx_get_bool(json, "account", false);
}

static int argv_load(const json_t *command, bool may_be_empty, const char *const **ret_argv,
		     struct error *err)
{
	size_t n = json_array_size(command);
	const char **argv = mem_calloc(n + 1, sizeof *argv);

	for (size_t i = 0; i < n; i++)
		argv[i] = json_string_value(json_array_get(command, i));
	for (size_t i = 0; i < n || (i == 0 && !may_be_empty); i++)
		if (!argv[i]) {
			free(argv);
			return error_set(err, -EUCLEAN, "its command cannot be read");
		}
	*ret_argv = argv;
	return 0;
}

/* Of a later version, with rungs that are not known here: the default. */
static void on_oom_load(const json_t *list, struct sched_spec *spec)
{
	auto_free struct sched_rung *rungs = NULL;
	auto_text struct text text = {};
	const json_t *rung;
	int n = 0;
	size_t i;

	if (!json_is_array(list))
		return;
	rungs = mem_calloc(SCHED_RUNGS_MAX, sizeof *rungs);

	json_array_foreach (list, i, rung)
		text_printf(&text, "%s%s", i > 0 ? "," : "",
			    json_is_string(rung) ? json_string_value(rung) : "?");
	if (text.len > 0)
		n = sched_rungs_parse(text.data, rungs, NULL);
	if (n > 0) {
		spec->on_oom = TAKE(rungs);
		spec->n_on_oom = (size_t)n;
	}
}

/* `json` holds the strings of the spec; those of the row's own columns are put into it too. */
static int spec_load(const struct store_task *row, json_t *json, struct wishes_list *wishes,
		     struct sched_spec *spec, struct error *err)
{
	const char *policy = jsonx_get_string(json, "policy", "auto");
	enum sched_on_overrun on_overrun;
	int r;

	(void)json_object_set_new(json, "name", jsonx_string_if(row->name));
	(void)json_object_set_new(json, "kind", jsonx_string_if(row->kind));
	(void)json_object_set_new(json, "fingerprint", jsonx_string_if(row->fingerprint));
	r = sched_on_overrun_parse(jsonx_get_string(json, "on_overrun", "auto"), &on_overrun, err);
	if (r < 0)
		return r;
	*spec = (struct sched_spec){
	    .name = jsonx_get_string(json, "name", ""),
	    .kind = jsonx_get_string(json, "kind", ""),
	    .fingerprint = jsonx_get_string(json, "fingerprint", NULL),
	    .cwd = jsonx_get_string(json, "cwd", "/"),
	    .log_path = jsonx_get_string(json, "log", NULL),
	    .environment = row->environment,
	    .uid = row->uid,
	    .umask = (mode_t)jsonx_get_u64(json, "umask", 022),
	    .row = row->row,
	    .priority = row->priority,
	    .weight_memory = jsonx_get_real(json, "weight_memory", 0),
	    .work_hint = jsonx_get_real(json, "work", 0),
	    .retries = (unsigned)jsonx_get_u64(json, "retries", 0),
	    .on_overrun = on_overrun,
	};
	request_load(json_object_get(json, "request"), wishes, &spec->request);
	terms_load(json, spec);
	on_oom_load(json_object_get(json, "on_oom"), spec);
	r = place_policy_parse(policy, &spec->policy, err);
	if (row->archived)
		(void)json_object_set_new(json, "archived", json_true());
	return r < 0 ? r
		     : argv_load(json_object_get(json, "command"), row->archived, &spec->argv, err);
}

static struct sched_ladder *ladder_load(const json_t *json)
{
	struct sched_ladder *ladder;

	if (!json_is_object(json))
		return NULL;
	ladder = mem_calloc(1, sizeof *ladder);
	ladder->rung = (unsigned)jsonx_get_u64(json, "rung", 0);
	ladder->times = (unsigned)jsonx_get_u64(json, "times", 0);
	ladder->climbs = (unsigned)jsonx_get_u64(json, "climbs", 0);
	ladder->vram_bytes = jsonx_get_u64(json, "vram_bytes", 0);
	ladder->ram_bytes = jsonx_get_u64(json, "ram_bytes", 0);
	ladder->line_above_bytes = jsonx_get_u64(json, "line_above_bytes", 0);
	ladder->alone = jsonx_get_u64(json, "alone", 0) > 0;
	ladder->cpu = jsonx_get_u64(json, "cpu", 0) > 0;
	ladder->batch_size = (unsigned)jsonx_get_u64(json, "batch_size", 0);
	return ladder;
}

static int more_load(const struct store_task *row, struct sched_task *task, struct error *err)
{
	auto_json json_t *more = NULL;
	int r = row->more ? jsonx_parse(row->more, strlen(row->more), "more", &more, err) : 0;

	if (r < 0)
		return r;
	task->not_before_ms = jsonx_get_i64(more, "not_before_ms", 0);
	task->failures = (unsigned)jsonx_get_u64(more, "failures", 0);
	task->requeues = (unsigned)jsonx_get_u64(more, "requeues", 0);
	task->start_failures = (unsigned)jsonx_get_u64(more, "start_failures", 0);
	task->start_refusals = (unsigned)jsonx_get_u64(more, "start_refusals", 0);
	task->queued_at_ms = jsonx_get_i64(more, "queued_at_ms", 0);
	task->stopping = jsonx_get_bool(more, "stopping", false);
	task->overtime = jsonx_get_bool(more, "overtime", false);
	task->ladder = ladder_load(json_object_get(more, "ladder"));
	task->n_after = after_items_load(json_object_get(more, "after_left"), &task->after);
	return 0;
}

struct load {
	struct records *records;
	size_t at; /* of the task whose attempts come now */
	struct error *err;
};

static int task_load(void *data, const struct store_task *row)
{
	struct load *load = data;
	struct records *records = load->records;
	struct sched_task *task;
	auto_json json_t *spec = NULL;
	int r = jsonx_parse(row->spec, strlen(row->spec), "spec", &spec, load->err);

	if (records->n == records->room) {
		records->room = records->room ? 2 * records->room : 16;
		records->tasks = mem_realloc(records->tasks, records->room, sizeof *records->tasks);
		records->specs = mem_realloc(records->specs, records->room, sizeof *records->specs);
	}
	task = &records->tasks[records->n];
	*task = (struct sched_task){
	    .id = row->id,
	    .batch = row->batch,
	    .submitted_at_ms = row->submitted_at_ms,
	    .updated_at_ms = row->updated_at_ms,
	};
	if (r == 0)
		r = sched_state_parse(row->state, &task->state, load->err);
	if (r == 0)
		r = more_load(row, task, load->err);
	if (r == 0)
		r = spec_load(row, spec, &records->wishes, &task->spec, load->err);
	if (r < 0) {
		free(task->after);
		free(task->ladder);
		free((void *)(uintptr_t)task->spec.after);
		free((void *)(uintptr_t)task->spec.on_oom);
		return error_prefix(load->err, r, "task %llu in the store",
				    (unsigned long long)row->id);
	}
	task->reason = row->reason ? mem_strdup(row->reason) : NULL;
	records->specs[records->n++] = TAKE(spec);
	return 0;
}

static int grants_load(const char *text, struct sched_attempt *attempt, struct error *err)
{
	auto_json json_t *gpus = NULL;
	const json_t *gpu;
	size_t i;
	int r = text ? jsonx_parse(text, strlen(text), "gpus", &gpus, err) : 0;

	if (r < 0 || json_array_size(gpus) == 0)
		return r;
	attempt->gpus = mem_calloc(json_array_size(gpus), sizeof *attempt->gpus);
	json_array_foreach (gpus, i, gpu) {
		attempt->gpus[attempt->n_gpus++] = (struct sched_grant){
		    .uuid = mem_strdup(jsonx_get_string(gpu, "uuid", "")),
		    .index = (unsigned)jsonx_get_u64(gpu, "index", 0),
		    .vram_bytes = jsonx_get_u64(gpu, "vram_bytes", 0),
		    .used_known = jsonx_has(gpu, "used_bytes"),
		    .used_bytes = jsonx_get_u64(gpu, "used_bytes", 0),
		    .peak_bytes = jsonx_get_u64(gpu, "peak_bytes", 0),
		};
	}
	return 0;
}

static char *string_load(const json_t *json, const char *name)
{
	const char *text = jsonx_get_string(json, name, NULL);

	return text ? mem_strdup(text) : NULL;
}

static int attempt_more_load(const char *text, struct sched_attempt *attempt, struct error *err)
{
	auto_json json_t *more = NULL;
	int r = jsonx_parse(text, strlen(text), "more", &more, err);

	if (r < 0)
		return r;
	attempt->rung = string_load(more, "rung");
	attempt->ram_bytes = jsonx_get_u64(more, "ram_bytes", 0);
	attempt->batch_size = (unsigned)jsonx_get_u64(more, "batch_size", 0);
	attempt->overrun = jsonx_get_bool(more, "overrun", false);
	attempt->overrun_at_ms = jsonx_get_i64(more, "overrun_at_ms", 0);
	attempt->oom_requested_bytes = jsonx_get_u64(more, "oom_requested_bytes", 0);
	attempt->oom_used_bytes = jsonx_get_u64(more, "oom_used_bytes", 0);
	attempt->stopped = string_load(more, "stopped");
	attempt->vram_reason = string_load(more, "vram_reason");
	attempt->evidence = string_load(more, "evidence");
	attempt->limits = string_load(more, "limits");
	return 0;
}

static int attempt_fill(const struct store_attempt *row, struct sched_attempt *attempt,
			struct error *err)
{
	int r = 0;

	*attempt = (struct sched_attempt){
	    .number = row->number,
	    .reason = row->reason ? mem_strdup(row->reason) : NULL,
	    .started_at_ms = row->started_at_ms,
	    .ended_at_ms = row->ended_at_ms,
	    .exit_known = row->exit_known,
	    .exit_code = row->exit_code,
	    .signal = row->signal,
	    .peak_vram_bytes = row->peak_vram_bytes,
	    .peak_ram_bytes = row->peak_ram_bytes,
	};
	if (row->policy)
		r = place_policy_parse(row->policy, &attempt->policy, err);
	if (r == 0 && row->outcome)
		r = sched_outcome_parse(row->outcome, &attempt->outcome, err);
	if (r == 0 && row->more)
		r = attempt_more_load(row->more, attempt, err);
	return r < 0 ? r : grants_load(row->gpus, attempt, err);
}

static int attempt_load(void *data, const struct store_attempt *row)
{
	struct load *load = data;
	struct records *records = load->records;
	struct sched_task *task;
	int r;

	/* Attempts come by task: the next task is nearly always the one, or its neighbour. */
	for (size_t tried = 0; tried < records->n; tried++) {
		if (records->tasks[load->at].id == row->task)
			break;
		load->at = (load->at + 1) % records->n;
	}
	if (records->tasks[load->at].id != row->task)
		return error_set(load->err, -EUCLEAN, "attempt %llu.%u in the store has no task",
				 (unsigned long long)row->task, row->number);
	task = &records->tasks[load->at];
	task->attempts = mem_realloc(task->attempts, task->n_attempts + 1, sizeof *task->attempts);
	r = attempt_fill(row, &task->attempts[task->n_attempts++], load->err);
	return r < 0 ? error_prefix(load->err, r, "attempt %llu.%u in the store",
				    (unsigned long long)row->task, row->number)
		     : 0;
}

int records_load(struct store *store, const struct store_query *query, struct records *ret_records,
		 struct error *err)
{
	struct records records = {};
	struct load load = {.records = &records, .err = err};
	int r = store_each_task(store, query, task_load, &load, err);

	if (r == 0 && records.n > 0)
		r = store_each_attempt(store, query, attempt_load, &load, err);
	if (r < 0) {
		records_finish(&records);
		return r;
	}
	*ret_records = records;
	return 0;
}

bool records_is_archived(const struct records *records, size_t i)
{
	return jsonx_get_bool(records->specs[i], "archived", false);
}

static void task_finish(struct sched_task *task)
{
	for (unsigned i = 0; i < task->n_attempts; i++) {
		for (unsigned g = 0; g < task->attempts[i].n_gpus; g++)
			free((void *)(uintptr_t)task->attempts[i].gpus[g].uuid);
		free(task->attempts[i].gpus);
		free(task->attempts[i].reason);
		free(task->attempts[i].rung);
		free(task->attempts[i].limits);
		free(task->attempts[i].evidence);
		free(task->attempts[i].stopped);
		free(task->attempts[i].vram_reason);
	}
	free(task->attempts);
	free(task->reason);
	free(task->after);
	free(task->ladder);
	free((void *)(uintptr_t)task->spec.after);
	free((void *)(uintptr_t)task->spec.on_oom);
	free((void *)(uintptr_t)task->spec.argv);
}

void records_finish(struct records *records)
{
	for (size_t i = 0; i < records->n; i++) {
		task_finish(&records->tasks[i]);
		json_decref(records->specs[i]);
	}
	wishes_list_finish(&records->wishes);
	free(records->tasks);
	free(records->specs);
	*records = (struct records){};
}

struct load_batches {
	struct record_batches *batches;
	struct error *err;
};

static void counts_load(const json_t *summary, struct sched_batch *batch)
{
	const json_t *counts = json_object_get(summary, "counts");

	for (int state = 0; state < SCHED_STATE_COUNT; state++)
		batch->counts[state] =
		    (unsigned)jsonx_get_u64(counts, sched_state_name((enum sched_state)state), 0);
}

static int batch_load(void *data, const struct store_batch *row)
{
	struct load_batches *load = data;
	struct record_batches *list = load->batches;
	auto_json json_t *summary = NULL;
	struct sched_batch *batch;
	int r = row->summary ? jsonx_parse(row->summary, strlen(row->summary), "summary", &summary,
					   load->err)
			     : 0;

	if (list->n == list->room) {
		list->room = list->room ? 2 * list->room : 16;
		list->batches = mem_realloc(list->batches, list->room, sizeof *list->batches);
		list->summaries = mem_realloc(list->summaries, list->room, sizeof *list->summaries);
	}
	batch = &list->batches[list->n];
	*batch = (struct sched_batch){
	    .id = row->id,
	    .uid = row->uid,
	    .submitted_at_ms = row->submitted_at_ms,
	    .first_start_ms = row->first_start_ms,
	    .ended_at_ms = row->ended_at_ms,
	    .total = row->total,
	};
	if (r == 0)
		r = sched_batch_state_parse(row->state, &batch->state, load->err);
	if (r == 0)
		r = sched_on_failure_parse(row->on_failure, &batch->on_failure, load->err);
	if (r < 0)
		return error_prefix(load->err, r, "batch %llu in the store",
				    (unsigned long long)row->id);
	batch->name = mem_strdup(row->name ? row->name : "");
	batch->is_private = jsonx_get_bool(summary, "private", false);
	counts_load(summary, batch);
	list->summaries[list->n++] = TAKE(summary);
	return 0;
}

int record_batches_load(struct store *store, uint64_t id, bool open_only,
			struct record_batches *ret_batches, struct error *err)
{
	struct record_batches list = {};
	struct load_batches load = {.batches = &list, .err = err};
	int r = store_each_batch(store, id, open_only, batch_load, &load, err);

	if (r < 0) {
		record_batches_finish(&list);
		return r;
	}
	*ret_batches = list;
	return 0;
}

void record_batches_finish(struct record_batches *batches)
{
	for (size_t i = 0; i < batches->n; i++) {
		free((void *)(uintptr_t)batches->batches[i].name);
		json_decref(batches->summaries[i]);
	}
	free(batches->batches);
	free(batches->summaries);
	*batches = (struct record_batches){};
}

static int profile_load(void *data, const struct store_profile *profile)
{
	struct estimates_row row = {
	    .speed = profile->speed,
	    .vram_request_bytes = profile->vram_request_bytes,
	    .work_seconds = profile->work_seconds,
	    .variance = profile->variance,
	    .utilization_percent = profile->utilization_percent,
	    .peak_vram_bytes = profile->peak_vram_bytes,
	    .peak_ram_bytes = profile->peak_ram_bytes,
	    .samples = profile->samples,
	    .hint_mean = profile->hint_mean,
	    .hint_variance = profile->hint_variance,
	    .hint_covariance = profile->hint_covariance,
	    .hint_samples = profile->hint_samples,
	    .runs = profile->runs,
	    .oom_vram_bytes = profile->oom_vram_bytes,
	    .batch_size = profile->batch_size,
	    .first_at_ms = profile->first_at_ms,
	    .last_at_ms = profile->last_at_ms,
	};

	peaks_json_load(profile->peaks, &row);
	(void)snprintf(row.kind, sizeof row.kind, "%s", profile->kind);
	(void)snprintf(row.model, sizeof row.model, "%s", profile->model);
	estimates_load(data, &row, 1);
	return 0;
}

int record_load_profiles(struct store *store, struct estimates *estimates, struct error *err)
{
	return store_each_profile(store, profile_load, estimates, err);
}
