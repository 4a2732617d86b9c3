/*
 * Attempts go by "<task>.<number>" on the way to the supervisor. The environment of a task is a
 * text in the store (thousands of tasks share one); the one used last is kept parsed.
 */
#include "daemon/runner.h"

#include "daemon/clock.h"
#include "daemon/expand.h"
#include "daemon/guards.h"
#include "daemon/outcome.h"
#include "daemon/owner.h"
#include "daemon/rules.h"
#include "daemon/tick.h"
#include "daemon/usage.h"
#include "gpu/sampler.h"
#include "run/client.h"
#include "run/protocol.h"
#include "util/file.h"
#include "util/jsonx.h"
#include "util/log.h"
#include "util/size.h"
#include "util/timestamp.h"

#include <errno.h>
#include <inttypes.h>
#include <string.h>

#define ATTEMPT_MAX   64
#define LOG_CAP_BYTES (64 * MIB)
#define RECORDS_LOST  "the supervisor's records of it were lost: it may be running still"
/* Between looks at the GPUs asked for because something came to one or left it: a look costs
 * milliseconds of NVML, and hundreds may come and go in a second. */
#define LOOK_MS 50

struct attempt_id {
	char text[ATTEMPT_MAX];
};

struct runner {
	struct daemon *daemon;
	struct supervisor_client *client;
	struct oom_patterns *patterns; /* NULL: the data file cannot be read */
	bool ready;
	int64_t environment; /* the one parsed below; 0 = none */
	uid_t environment_uid;
	struct strings env;
	int64_t looked_at_ms;      /* monotonic; 0 = never */
	uv_timer_t look;           /* put off for LOOK_MS */
	struct attempt_id *to_ack; /* reported, not yet committed */
	size_t n_to_ack, room_to_ack;
};

static struct attempt_id attempt_id(uint64_t task, unsigned attempt)
{
	struct attempt_id id;

	(void)snprintf(id.text, sizeof id.text, "%" PRIu64 ".%u", task, attempt);
	return id;
}

static bool attempt_parse(const char *text, uint64_t *ret_task, unsigned *ret_attempt)
{
	const char *dot = strchr(text, '.');
	auto_free char *task_text = dot ? mem_strndup(text, (size_t)(dot - text)) : NULL;
	unsigned long long task, attempt;

	if (!dot || !text_to_u64(task_text, 1, INT64_MAX, &task) ||
	    !text_to_u64(dot + 1, 1, UINT32_MAX, &attempt))
		return false;
	*ret_task = task;
	*ret_attempt = (unsigned)attempt;
	return true;
}

bool runner_is_ready(const struct runner *runner)
{
	return runner->ready;
}

char *runner_log_path(const struct daemon *daemon, const struct sched_task *task, unsigned attempt)
{
	if (task->spec.log_path)
		return mem_strdup(task->spec.log_path);
	return mem_printf("%s/logs/%" PRIu64 "/%" PRIu64 ".%u.log", daemon->state_dir,
			  task->id / RUNNER_LOGS_PER_FOLDER, task->id, attempt);
}

/* To the supervisor. */

/* The environments' ids are the daemon's own business; that each is its user's is checked all the
 * same: no mistake of ours is to hand one user's secrets to another. */
static int environment_check(const json_t *json, uid_t uid, struct error *err)
{
	if (jsonx_get_u64(json, "uid", uid) != uid)
		return error_set(err, -EPERM, "its environment is another user's");
	return 0;
}

static int environment_load(struct runner *runner, const struct sched_spec *spec, struct error *err)
{
	auto_text struct text text = {};
	auto_json json_t *json = NULL;
	int64_t id = spec->environment;
	size_t i;
	json_t *entry;
	int r;

	if (id == runner->environment && spec->uid == runner->environment_uid)
		return 0;
	strings_finish(&runner->env);
	runner->env = (struct strings){};
	runner->environment = 0;
	if (id == 0)
		return 0;
	r = store_get_environment(runner->daemon->store, id, &text, err);
	if (r == 0)
		r = jsonx_parse(text.data, text.len, "environment", &json, err);
	if (r == 0)
		r = environment_check(json, spec->uid, err);
	if (r < 0)
		return r;
	/* The array alone: as it was written before there were others to keep it from. */
	json_array_foreach (json_is_array(json) ? json : json_object_get(json, "env"), i, entry) {
		if (json_is_string(entry))
			strings_add(&runner->env, json_string_value(entry));
	}
	runner->environment = id;
	runner->environment_uid = spec->uid;
	return 0;
}

static void grant_fill(const struct daemon *daemon, const struct sched_task *task,
		       const struct sched_attempt *attempt, struct expand_grant *grant)
{
	const struct gpu_list *list = gpu_sampler_list(daemon->sampler);

	*grant = (struct expand_grant){
	    .task = task->id,
	    .attempt = attempt->number,
	    .batch_size = attempt->batch_size ? attempt->batch_size : task->spec.batch_size,
	    .workers = task->spec.workers,
	    .rank = task->spec.worker_rank,
	    .torch = rules_config(daemon->rules)->guards.torch,
	};
	for (unsigned i = 0; i < attempt->n_gpus && i < EXPAND_GPUS_MAX; i++) {
		const struct gpu *gpu = gpu_list_find(list, attempt->gpus[i].uuid);

		grant->gpus[i].uuid = attempt->gpus[i].uuid;
		grant->gpus[i].index = attempt->gpus[i].index;
		grant->gpus[i].total_bytes =
		    gpu && gpu_has(gpu, GPU_TOTAL) ? gpu->vram.total_bytes : 0;
		grant->vram_bytes = attempt->gpus[i].vram_bytes;
		grant->n_gpus++;
	}
}

static int log_folder_create(const struct daemon *daemon, const struct sched_spec *spec,
			     const char *log_path, struct error *err)
{
	auto_owner_rights struct owner_rights rights = {};
	auto_free char *folder = mem_strdup(log_path);
	int r = owner_rights_begin(daemon, spec, &rights, err);

	*strrchr(folder, '/') = '\0';
	return r < 0 ? r : dir_create(*folder ? folder : "/", err);
}

/* A user who wants his task to be let be when it takes more than it was granted is taken at his
 * word; and nobody holds a task to what nobody promised it. */
static void bound_fill(const struct daemon *daemon, const struct sched_task *task,
		       const struct sched_attempt *attempt, struct bound *ret_bound)
{
	const struct gpu_list *list = gpu_sampler_list(daemon->sampler);

	*ret_bound = (struct bound){};
	if (task->spec.on_overrun == SCHED_OVERRUN_WARN)
		return;
	ret_bound->ram_bytes = sched_ram_promise(task, attempt);
	for (unsigned i = 0; i < attempt->n_gpus && i < BOUND_GPUS_MAX; i++) {
		const struct gpu *gpu = gpu_list_find(list, attempt->gpus[i].uuid);

		if (!gpu || attempt->gpus[i].vram_bytes == 0)
			continue;
		(void)snprintf(ret_bound->gpus[ret_bound->n_gpus].pci, BOUND_PCI_MAX, "%s",
			       gpu->pci_bus_id);
		ret_bound->gpus[ret_bound->n_gpus++].bytes = attempt->gpus[i].vram_bytes;
	}
}

/* What its environment can do about it; the supervisor does the rest and says so once it runs. */
static void guard(struct runner *runner, const struct sched_task *task, uid_t uid,
		  const struct expand_grant *grant, struct strings *env)
{
	const struct guards guards = {
	    .root = "",
	    .hami = rules_config(runner->daemon->rules)->guards.hami,
	    .uid = uid,
	};
	auto_text struct text words = {};

	if (task->spec.on_overrun == SCHED_OVERRUN_WARN)
		return;
	guards_add(&guards, grant, env, &words);
	if (words.len > 0)
		(void)sched_set_limits(runner->daemon->sched, task->id, grant->attempt, words.data,
				       clock_now_ms(runner->daemon->clock));
}

/* `ret_as_task`: it failed with its user's rights. */
static int start_send(struct runner *runner, const struct sched_task *task, unsigned number,
		      bool *ret_as_task, struct error *err)
{
	const struct sched_attempt *attempt = sched_task_attempt(task);
	auto_strings struct strings argv = {}, env = {};
	struct attempt_id id = attempt_id(task->id, number);
	auto_free char *log_path = runner_log_path(runner->daemon, task, number);
	uint64_t cap = runner->daemon->options.log_cap_bytes;
	struct expand_grant grant;
	struct bound bound;
	auto_owner_user struct owner_user owner = {};
	bool has_user = false;
	int r = environment_load(runner, &task->spec, err);

	if (r == 0)
		r = owner_resolve(runner->daemon, &task->spec, &has_user, &owner, err);
	if (r < 0)
		return r;
	r = log_folder_create(runner->daemon, &task->spec, log_path, err);
	*ret_as_task = r < 0 && task->spec.log_path;
	if (r < 0)
		return r;
	grant_fill(runner->daemon, task, attempt, &grant);
	for (const char *const *arg = task->spec.argv; *arg; arg++) {
		char *text;

		r = expand_argument(*arg, &grant, &text, err);
		if (r < 0)
			return r;
		strings_take(&argv, text);
	}
	expand_environment(runner->env.items, &grant, &env);
	guard(runner, task, has_user ? owner.user.uid : geteuid(), &grant, &env);
	bound_fill(runner->daemon, task, attempt, &bound);
	return supervisor_client_start(runner->client,
				       &(struct supervisor_start){
					   .attempt = id.text,
					   .argv = argv.items,
					   .env = env.items,
					   .cwd = task->spec.cwd,
					   .umask = task->spec.umask,
					   .log_path = task->spec.tty ? NULL : log_path,
					   .tty = task->spec.tty,
					   .log_is_private = !task->spec.log_path,
					   .bound = &bound,
					   .user = has_user ? &owner.user : NULL,
					   /* In a file of his own choice he may have more
					    * than this. */
					   .log_cap_bytes = task->spec.log_path ? 0
							    : cap               ? cap
										: LOG_CAP_BYTES,
				       },
				       err);
}

/* That a log cannot be made is the task's own fault when it said where. */
static enum sched_fault fault_of(const struct sched_task *task, int code, bool transient,
				 bool as_task)
{
	if (!transient && !protocol_is_transient(code) &&
	    !(code == EROFS && !(task && task->spec.log_path)))
		return SCHED_FAULT_TASK;
	return as_task ? SCHED_FAULT_PASSING : SCHED_FAULT_MACHINE;
}

static void start(struct runner *runner, uint64_t task_id, unsigned number)
{
	const struct sched_task *task = sched_find(runner->daemon->sched, task_id);
	const struct sched_attempt *attempt = task ? sched_task_attempt(task) : NULL;
	struct error err = {};
	bool as_task = false;
	int r;

	if (!attempt || attempt->number != number || task->state != SCHED_STARTING)
		return;
	r = start_send(runner, task, number, &as_task, &err);
	if (r == 0)
		return;
	(void)sched_start_failed(runner->daemon->sched, task_id, number, err.text,
				 fault_of(task, -r, false, as_task),
				 clock_now_ms(runner->daemon->clock));
	tick_request(runner->daemon->tick);
}

void runner_act(struct runner *runner, const struct sched_action *action)
{
	switch (action->type) {
	case SCHED_START:
		start(runner, action->task, action->attempt);
		break;
	case SCHED_SIGNAL:
		supervisor_client_signal(
		    runner->client, attempt_id(action->task, action->attempt).text, action->signal);
		break;
	}
}

void runner_expect(struct runner *runner, uint64_t task, unsigned attempt)
{
	supervisor_client_expect(runner->client, attempt_id(task, attempt).text);
}

/* From the supervisor. */

static void ack_later(struct runner *runner, const char *attempt)
{
	ARRAY_GROW(runner->to_ack, runner->n_to_ack, runner->room_to_ack);
	(void)snprintf(runner->to_ack[runner->n_to_ack++].text, ATTEMPT_MAX, "%s", attempt);
	tick_request(runner->daemon->tick);
}

/* Does sched still hold it open? An end may wait for a look at the GPU (sched_ended()). */
static bool attempt_is_open(const struct runner *runner, const char *text)
{
	const struct sched_task *task;
	const struct sched_attempt *current;
	uint64_t id;
	unsigned attempt;

	if (!attempt_parse(text, &id, &attempt))
		return false;
	task = sched_find(runner->daemon->sched, id);
	current = task ? sched_task_attempt(task) : NULL;
	return current && current->number == attempt && current->ended_at_ms == 0;
}

void runner_committed(struct runner *runner)
{
	size_t n = runner->n_to_ack, kept = 0;

	/* Acknowledging calls nothing back. */
	for (size_t i = 0; i < n; i++) {
		if (attempt_is_open(runner, runner->to_ack[i].text))
			runner->to_ack[kept++] = runner->to_ack[i];
		else
			supervisor_client_ack(runner->client, runner->to_ack[i].text);
	}
	runner->n_to_ack = kept;
}

static void look_now(struct runner *runner)
{
	runner->looked_at_ms = monotonic_now_ms();
	(void)uv_timer_stop(&runner->look);
	gpu_sampler_kick(runner->daemon->sampler);
}

static void on_look(uv_timer_t *timer)
{
	look_now(timer->data);
}

/* Soon, by a look that begins after this. */
static void look_at_gpus(struct runner *runner)
{
	int64_t since = monotonic_now_ms() - runner->looked_at_ms;

	if (runner->looked_at_ms == 0 || since >= LOOK_MS)
		look_now(runner);
	else if (!uv_is_active((uv_handle_t *)&runner->look))
		(void)uv_timer_start(&runner->look, on_look, (uint64_t)(LOOK_MS - since), 0);
}

/* The attempt is sched's current one of that task. What is not is reported here and left alone. */
static bool attempt_is_ours(struct runner *runner, const char *text, uint64_t *ret_task,
			    unsigned *ret_attempt)
{
	if (attempt_parse(text, ret_task, ret_attempt))
		return true;
	log_warning("the supervisor has an attempt \"%s\" that is not one of this daemon's", text);
	return false;
}

static void on_synced(void *arg)
{
	struct runner *runner = arg;

	if (!runner->ready)
		log_info("the supervisor is there");
	runner->ready = true;
	tick_request(runner->daemon->tick);
}

static void on_trouble(void *arg, const char *text)
{
	(void)arg;
	log_warning("supervisor: %s", text);
}

static void on_started(void *arg, const struct supervisor_started *started)
{
	struct runner *runner = arg;
	struct daemon *daemon = runner->daemon;
	const struct sched_task *task;
	const struct sched_attempt *current;
	uint64_t id;
	unsigned attempt;

	if (!attempt_is_ours(runner, started->attempt, &id, &attempt))
		return;
	task = sched_find(daemon->sched, id);
	current = task ? sched_task_attempt(task) : NULL;
	if (!current || current->number != attempt || current->ended_at_ms > 0) {
		log_warning("attempt %s runs (pid %d) and is not on record: it is left alone",
			    started->attempt, (int)started->pid);
		return;
	}
	usage_set_leader(daemon->usage, id, started->pid, started->start_time);
	(void)sched_started(daemon->sched, id, attempt,
			    clock_now_ms(daemon->clock)); /* may be known */
	if (started->bounds)
		(void)sched_set_limits(daemon->sched, id, attempt, started->bounds,
				       clock_now_ms(daemon->clock));
	if (current->n_gpus > 0)
		look_at_gpus(runner);
	tick_request(daemon->tick);
}

/* What it is held to on its GPUs together; 0 when nothing refuses it more. */
static uint64_t vram_limit(const struct sched_attempt *attempt)
{
	uint64_t bytes = 0;

	if (!guards_refuse(attempt->limits))
		return 0;
	for (unsigned i = 0; i < attempt->n_gpus; i++)
		bytes += attempt->gpus[i].vram_bytes;
	return bytes;
}

/* What NVML saw of an attempt: the task's own peak, and how full its GPUs are as of the last
 * sample, which holds what it used when it ended. */
static struct outcome_facts attempt_facts(struct daemon *daemon, const struct sched_task *task,
					  unsigned number)
{
	const struct gpu_list *list = gpu_sampler_list(daemon->sampler);
	struct outcome_facts facts = {};

	for (unsigned i = 0; i < task->n_attempts; i++) {
		const struct sched_attempt *attempt = &task->attempts[i];

		if (attempt->number != number)
			continue;
		facts.on_cpu = attempt->n_gpus == 0;
		facts.own_peak_bytes = attempt->peak_vram_bytes;
		facts.own_limit_bytes = vram_limit(attempt);
		for (unsigned k = 0; list && k < attempt->n_gpus; k++) {
			const struct gpu *gpu = gpu_list_find(list, attempt->gpus[k].uuid);
			uint64_t free = gpu ? gpu->vram.free_bytes : 0;

			if (!gpu || !(gpu->valid & GPU_FREE) || !(gpu->valid & GPU_TOTAL) ||
			    (facts.gpu_total_bytes > 0 &&
			     free >= facts.gpu_total_bytes - facts.gpu_peak_bytes))
				continue;
			facts.gpu_total_bytes = gpu->vram.total_bytes;
			facts.gpu_peak_bytes = gpu->vram.total_bytes - free;
		}
	}
	return facts;
}

static void on_ended(void *arg, const struct supervisor_ended *ended)
{
	struct runner *runner = arg;
	struct daemon *daemon = runner->daemon;
	struct outcome outcome;
	uint64_t id;
	unsigned attempt;

	if (!attempt_is_ours(runner, ended->attempt, &id, &attempt))
		return;
	if (sched_find(daemon->sched, id)) {
		const struct sched_task *task = sched_find(daemon->sched, id);
		struct owner_rights rights;
		auto_free char *log_path = runner_log_path(daemon, task, attempt);
		struct outcome_facts facts = attempt_facts(daemon, task, attempt);
		bool on_cpu = facts.on_cpu;
		int r = owner_rights_begin(daemon, &task->spec, &rights, NULL);

		/* Nothing but the reading: what else is done here is the daemon's. */
		facts.log_path = r < 0 ? NULL : log_path;
		outcome_classify(runner->patterns, ended, &facts, &outcome);
		owner_rights_end(&rights);
		if (!on_cpu)
			look_at_gpus(runner);
		(void)sched_ended(
		    daemon->sched,
		    &(struct sched_end){
			.task = id,
			.attempt = attempt,
			.outcome = outcome.outcome,
			.exit_known = ended->how != SUPERVISOR_LOST,
			.may_run_on = ended->may_run_on,
			.exit_code = ended->how == SUPERVISOR_EXITED ? ended->exit_code : -1,
			.signal = ended->how == SUPERVISOR_SIGNALED ? ended->signal : 0,
			.peak_ram_bytes = ended->has_peak_ram ? ended->peak_ram_bytes : 0,
			.ended_at_ms = ended->ended_at,
			.text = outcome.text[0]     ? outcome.text
				: ended->may_run_on ? RECORDS_LOST
						    : NULL,
			.oom_requested_bytes = outcome.requested_bytes,
			.oom_used_bytes = outcome.used_bytes,
		    },
		    clock_now_ms(runner->daemon->clock)); /* -ESTALE: reported before */
	}
	if (rules_config(daemon->rules)->guards.hami)
		guards_sweep(id, attempt);
	usage_remove(daemon->usage, id);
	ack_later(runner, ended->attempt);
}

/* Its supervisor was killed between the fork and the gate: nothing ran, the grant still holds, and
 * the machine is not short of anything. The same attempt is started again at once. */
static bool start_again(struct runner *runner, const struct supervisor_failed *failed, uint64_t id,
			unsigned number)
{
	const struct sched_task *task = sched_find(runner->daemon->sched, id);
	const struct sched_attempt *attempt = task ? sched_task_attempt(task) : NULL;

	if (!failed->never_ran || !attempt || attempt->number != number ||
	    task->state != SCHED_STARTING || task->stopping)
		return false;
	supervisor_client_ack(runner->client, failed->attempt);
	start(runner, id, number);
	return true;
}

static void on_failed(void *arg, const struct supervisor_failed *failed)
{
	struct runner *runner = arg;
	struct sched *sched = runner->daemon->sched;
	uint64_t id;
	unsigned attempt;

	if (!attempt_is_ours(runner, failed->attempt, &id, &attempt) ||
	    start_again(runner, failed, id, attempt))
		return;
	(void)sched_start_failed(
	    sched, id, attempt, failed->text,
	    fault_of(sched_find(sched, id), failed->code, failed->transient, failed->as_task),
	    clock_now_ms(runner->daemon->clock)); /* -ESTALE: reported before */
	ack_later(runner, failed->attempt);
}

static void on_unknown(void *arg, const char *attempt_text)
{
	struct runner *runner = arg;
	const struct sched_task *task;
	uint64_t id;
	unsigned attempt;

	if (!attempt_is_ours(runner, attempt_text, &id, &attempt))
		return;
	task = sched_find(runner->daemon->sched, id);
	if (task && task->state == SCHED_STARTING) {
		/* We died between the commit and the start: nothing ran, its grant still holds. */
		start(runner, id, attempt);
		return;
	}
	log_warning("attempt %s was running and the supervisor has never heard of it",
		    attempt_text);
	(void)sched_ended(runner->daemon->sched,
			  &(struct sched_end){.task = id,
					      .attempt = attempt,
					      .outcome = SCHED_OUTCOME_LOST,
					      .may_run_on = true,
					      .text = RECORDS_LOST},
			  clock_now_ms(runner->daemon->clock));
	tick_request(runner->daemon->tick);
}

static void on_usage(void *arg, const struct supervisor_usage *usage)
{
	struct runner *runner = arg;
	uint64_t id;
	unsigned attempt;

	if (attempt_parse(usage->attempt, &id, &attempt))
		(void)sched_set_ram(runner->daemon->sched, id, usage->ram_bytes,
				    clock_now_ms(runner->daemon->clock));
}

/* A file for each attempt: see dir_spread() on what that may cost. Without the folder, starts say
 * what is the matter. */
static void log_folders_prepare(const struct daemon *daemon)
{
	auto_free char *logs = mem_printf("%s/logs", daemon->state_dir);

	if (dir_create(logs, NULL) == 0)
		dir_spread(logs);
}

int runner_create(struct daemon *daemon, struct runner **ret_runner, struct error *err)
{
	struct runner *runner = mem_calloc(1, sizeof *runner);
	struct supervisor_options options = {
	    .runtime_dir = daemon->runtime_dir,
	    .state_dir = daemon->state_dir,
	    .callbacks = {.on_synced = on_synced,
			  .on_trouble = on_trouble,
			  .on_started = on_started,
			  .on_ended = on_ended,
			  .on_failed = on_failed,
			  .on_unknown = on_unknown,
			  .on_usage = on_usage,
			  .arg = runner},
	};
	int r;

	runner->daemon = daemon;
	(void)uv_timer_init(&daemon->loop, &runner->look);
	runner->look.data = runner;
	runner_configure(runner, rules_config(daemon->rules));
	log_folders_prepare(daemon);
	r = supervisor_client_create(&daemon->loop, &options, &runner->client, err);
	if (r < 0) {
		runner_destroy(runner);
		return r;
	}
	*ret_runner = runner;
	return 0;
}

void runner_configure(struct runner *runner, const struct config *config)
{
	auto_free struct oom_pattern_text *more = mem_calloc(config->n_patterns + 1, sizeof *more);
	struct oom_patterns *patterns = NULL;
	struct error err = {};

	for (size_t i = 0; i < config->n_patterns; i++)
		more[i] = (struct oom_pattern_text){
		    .id = config->patterns[i].id,
		    .kind = config->patterns[i].kind,
		    .text = config->patterns[i].text,
		    .where = config->patterns[i].where,
		};
	if (oom_patterns_load(NULL, more, config->n_patterns, &patterns, &err) < 0) {
		log_warning(runner->patterns
				? "the texts of out of memory stay as they were: %s"
				: "out of memory cannot be told from other failures: %s",
			    error_text(&err));
		return;
	}
	oom_patterns_destroy(runner->patterns);
	runner->patterns = patterns;
	/* The document they were read from is a megabyte. */
	mem_give_back();
}

static void on_look_closed(uv_handle_t *handle)
{
	free(handle->data);
}

void runner_destroy(struct runner *runner)
{
	if (!runner)
		return;
	supervisor_client_destroy(runner->client);
	oom_patterns_destroy(runner->patterns);
	strings_finish(&runner->env);
	free(runner->to_ack);
	uv_close((uv_handle_t *)&runner->look, on_look_closed);
}
