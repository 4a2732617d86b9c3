/*
 * Each object has one table of its members: name, reader, and where it goes. The tables are the
 * validation: what is not in them is refused, what is in them is read by a typed reader with its
 * bounds. A batch's own members are the defaults of its tasks, which are read into a copy of them.
 */
#include "daemon/submit_priv.h"

#include "daemon/expand.h"

#include <errno.h>
#include <string.h>

#define ROW_MAX     UINT32_MAX
#define THREADS_MAX 100000
#define WORKERS_MAX 256 /* on one GPU */
#define VRAM_MAX    ((uint64_t)1 << 50)
#define WEIGHT_MAX  1e6
#define WORK_MAX    1e18

/* The task. */

static int read_command(const json_t *value, struct target *t, struct error *err)
{
	size_t n = json_array_size(value);
	const char **argv;
	int r = 0;

	if (!json_is_array(value) || n == 0 || n > SUBMIT_ARGS_MAX)
		return error_set(err, -EINVAL, "must be an array of 1 to %d strings",
				 SUBMIT_ARGS_MAX);
	argv = mem_calloc(n + 1, sizeof *argv);
	for (size_t i = 0; i < n && r == 0; i++) {
		r = read_string(json_array_get(value, i), SUBMIT_ARG_MAX, &argv[i], err);
		if (r < 0)
			r = error_prefix(err, r, "argument %zu", i);
	}
	if (r == 0 && !argv[0][0])
		r = error_set(err, -EINVAL, "the program's name is empty");
	if (r < 0) {
		free(argv);
		return r;
	}
	free((void *)(uintptr_t)t->spec->argv);
	t->spec->argv = argv;
	return 0;
}

static int read_name(const json_t *value, struct target *t, struct error *err)
{
	return read_string(value, SUBMIT_NAME_MAX, &t->spec->name, err);
}

static int read_kind(const json_t *value, struct target *t, struct error *err)
{
	return read_string(value, SUBMIT_NAME_MAX, &t->spec->kind, err);
}

static int read_cwd(const json_t *value, struct target *t, struct error *err)
{
	int r = read_string(value, SUBMIT_ARG_MAX, &t->spec->cwd, err);

	if (r == 0 && t->spec->cwd[0] != '/')
		r = error_set(err, -EINVAL, "must be an absolute path, not \"%.200s\"",
			      t->spec->cwd);
	return r;
}

static int read_log(const json_t *value, struct target *t, struct error *err)
{
	int r = read_string(value, SUBMIT_ARG_MAX, &t->spec->log_path, err);

	if (r == 0 && t->spec->log_path[0] != '/')
		r = error_set(err, -EINVAL, "must be an absolute path, not \"%.200s\"",
			      t->spec->log_path);
	return r;
}

static int read_env(const json_t *value, struct target *t, struct error *err)
{
	const char *text;
	int r = 0;

	if (!json_is_array(value) || json_array_size(value) > SUBMIT_ENV_MAX)
		return error_set(err, -EINVAL, "must be an array of at most %d strings",
				 SUBMIT_ENV_MAX);
	for (size_t i = 0; i < json_array_size(value) && r == 0; i++) {
		r = read_string(json_array_get(value, i), SUBMIT_ARG_MAX, &text, err);
		if (r == 0 && (text[0] == '=' || !strchr(text, '=')))
			r = error_set(err, -EINVAL, "\"%.64s\" is not NAME=VALUE", text);
	}
	t->submit->env = value;
	return r;
}

static int read_umask(const json_t *value, struct target *t, struct error *err)
{
	uint64_t mask = 0;
	int r = read_u64(value, 0777, &mask, err);

	if (r == 0)
		t->spec->umask = (mode_t)mask;
	return r;
}

static int read_priority(const json_t *value, struct target *t, struct error *err)
{
	json_int_t priority = json_integer_value(value);

	if (!json_is_integer(value) || priority < -SUBMIT_PRIORITY_MAX ||
	    priority > SUBMIT_PRIORITY_MAX)
		return error_set(err, -EINVAL, "must be a whole number from %d to %d",
				 -SUBMIT_PRIORITY_MAX, SUBMIT_PRIORITY_MAX);
	t->spec->priority = (int)priority;
	return 0;
}

static int read_policy(const json_t *value, struct target *t, struct error *err)
{
	const char *text;
	int r = read_string(value, SUBMIT_NAME_MAX, &text, err);

	return r < 0 ? r : place_policy_parse(text, &t->spec->policy, err);
}

static int read_weight(const json_t *value, struct target *t, struct error *err)
{
	return read_real(value, WEIGHT_MAX, &t->spec->weight_memory, err);
}

static int read_work(const json_t *value, struct target *t, struct error *err)
{
	return read_real(value, WORK_MAX, &t->spec->work_hint, err);
}

static int read_row(const json_t *value, struct target *t, struct error *err)
{
	return read_unsigned(value, ROW_MAX, &t->spec->row, err);
}

static int read_fingerprint(const json_t *value, struct target *t, struct error *err)
{
	return read_string(value, SUBMIT_NAME_MAX, &t->spec->fingerprint, err);
}

static int read_key(const json_t *value, struct target *t, struct error *err)
{
	int r = read_string(value, SUBMIT_KEY_MAX, &t->submit->key, err);

	return r == 0 && !*t->submit->key ? error_set(err, -EINVAL, "is empty") : r;
}

/* The batch. */

static int read_batch_name(const json_t *value, struct target *t, struct error *err)
{
	return read_string(value, SUBMIT_NAME_MAX, &t->submit->name, err);
}

static int read_on_failure(const json_t *value, struct target *t, struct error *err)
{
	const char *text;
	int r = read_string(value, SUBMIT_NAME_MAX, &text, err);

	return r < 0 ? r : sched_on_failure_parse(text, &t->submit->on_failure, err);
}

static int read_resume(const json_t *value, struct target *t, struct error *err)
{
	return read_bool(value, &t->submit->resume, err);
}

static int read_threads(const json_t *value, struct target *t, struct error *err)
{
	return read_unsigned(value, THREADS_MAX, &t->spec->request.threads, err);
}

static int read_max_per_gpu(const json_t *value, struct target *t, struct error *err)
{
	return read_unsigned(value, THREADS_MAX, &t->spec->request.max_per_gpu, err);
}

static int read_workers(const json_t *value, struct target *t, struct error *err)
{
	return read_unsigned(value, WORKERS_MAX, &t->submit->workers_per_gpu, err);
}

static int read_vram_default(const json_t *value, struct target *t, struct error *err)
{
	return read_u64(value, VRAM_MAX, &t->spec->vram_default_bytes, err);
}

static int read_tasks(const json_t *value, struct target *t, struct error *err)
{
	(void)t;
	if (!json_is_array(value))
		return read_wrong_type("an array", err);
	if (json_array_size(value) > SUBMIT_TASKS_MAX)
		return error_set(err, -EINVAL, "has %zu tasks, a batch takes %d; cut it in parts",
				 json_array_size(value), SUBMIT_TASKS_MAX);
	return 0;
}

/* How it all fits together. */

static int spec_settle(struct sched_spec *spec, struct error *err)
{
	int r = 0;

	if (!spec->argv)
		return error_set(err, -EINVAL, "command: is missing");
	for (size_t i = 0; spec->argv[i] && r == 0; i++) {
		r = expand_check(spec->argv[i], spec->batch_size > 0, err);
		if (r < 0)
			return error_prefix(err, r, "command: argument %zu", i);
	}
	r = request_settle(&spec->request, err);
	return r < 0 ? r : terms_settle(spec, err);
}

static const struct sched_spec SPEC_DEFAULT = {
    .name = "", .kind = "", .cwd = "/", .umask = 022, .request = {.gpus = 1}};

/* What a task has, of a batch or not, and what a batch may say for all of its tasks. */
#define SHARED_MEMBERS                                                                            \
	{"priority", read_priority}, {"after", read_after}, {"at", read_at}, {"held", read_held}, \
	    {"private", read_private}, {"retries", read_retries},                                 \
	    {"retry_delay_seconds", read_retry_delay}, {"soft_limit_seconds", read_soft_limit},   \
	    {"time_limit_seconds", read_time_limit}, {"on_overrun", read_on_overrun},             \
	    {"vram_default_bytes", read_vram_default}, {"on_oom", read_on_oom},                   \
	    {"batch_size", read_batch_size},                                                      \
	{                                                                                         \
		"soft_signal", read_soft_signal                                                   \
	}

static const struct member TASK_MEMBERS[] = {
    SHARED_MEMBERS,
    {"command", read_command},
    {"name", read_name},
    {"kind", read_kind},
    {"cwd", read_cwd},
    {"env", read_env},
    {"umask", read_umask},
    {"policy", read_policy},
    {"request", read_request},
    {"weight_memory", read_weight},
    {"work", read_work},
    {"key", read_key},
    {"tty", read_tty},
    {"log", read_log},
    {},
};

static const struct member BATCH_MEMBERS[] = {
    SHARED_MEMBERS,
    {"key", read_key},
    {"name", read_batch_name},
    {"on_failure", read_on_failure},
    {"threads", read_threads},
    {"resume", read_resume},
    {"max_per_gpu", read_max_per_gpu},
    {"workers_per_gpu", read_workers},
    {"cwd", read_cwd},
    {"env", read_env},
    {"umask", read_umask},
    {"policy", read_policy},
    {"weight_memory", read_weight},
    {"tasks", read_tasks},
    {},
};

static const struct member ROW_MEMBERS[] = {
    SHARED_MEMBERS,      {"command", read_command},
    {"name", read_name}, {"kind", read_kind},
    {"row", read_row},   {"fingerprint", read_fingerprint},
    {"log", read_log},   {"request", read_request},
    {"work", read_work}, {},
};

static int parse_finish(struct submit *submit, int r, struct submit *ret_submit)
{
	if (r < 0)
		submit_finish(submit);
	else
		*ret_submit = *submit;
	return r;
}

int submit_parse_task(const json_t *body, const struct gpu_list *gpus, struct submit *ret_submit,
		      struct error *err)
{
	struct submit submit = {.n = 1, .specs = mem_calloc(1, sizeof *submit.specs)};
	struct target target = {.spec = submit.specs, .submit = &submit, .gpus = gpus};
	int r;

	submit.specs[0] = SPEC_DEFAULT;
	r = read_members(body, TASK_MEMBERS, &target, err);
	if (r == 0)
		r = spec_settle(submit.specs, err);
	submit.needs_gpus = submit.specs[0].request.gpus > 0;
	return parse_finish(&submit, r, ret_submit);
}

static int parse_row(const json_t *row, size_t i, const struct sched_spec *defaults,
		     struct target *target, struct error *err)
{
	int r;

	*target->spec = *defaults;
	target->spec->row = (unsigned)i + 1;
	r = read_members(row, ROW_MEMBERS, target, err);
	if (r == 0)
		r = spec_settle(target->spec, err);
	return r < 0 ? error_prefix(err, r, "row %u", target->spec->row) : 0;
}

int submit_parse_batch(const json_t *body, const struct gpu_list *gpus, struct submit *ret_submit,
		       struct error *err)
{
	struct submit submit = {.is_batch = true, .name = "", .on_failure = SCHED_STOP};
	struct sched_spec defaults = SPEC_DEFAULT;
	struct target target = {.spec = &defaults, .submit = &submit, .gpus = gpus};
	const json_t *rows = json_object_get(body, "tasks");
	int r = read_members(body, BATCH_MEMBERS, &target, err);

	if (r == 0 && json_array_size(rows) == 0)
		r = error_set(err, -EINVAL, "tasks: a batch needs at least one");
	submit.n = r == 0 ? json_array_size(rows) : 0;
	submit.specs = mem_calloc(submit.n + 1, sizeof *submit.specs);
	for (size_t i = 0; i < submit.n && r == 0; i++) {
		target.spec = &submit.specs[i];
		r = parse_row(json_array_get(rows, i), i, &defaults, &target, err);
		submit.needs_gpus |= submit.specs[i].request.gpus > 0;
	}
	return parse_finish(&submit, r, ret_submit);
}

void submit_finish(struct submit *submit)
{
	for (size_t i = 0; submit->specs && i < submit->n; i++)
		free((void *)(uintptr_t)submit->specs[i].argv);
	/* Each begins with what is pointed to. */
	for (size_t i = 0; i < submit->n_afters; i++)
		free(submit->afters[i]);
	for (size_t i = 0; i < submit->n_rungs; i++)
		free(submit->rungs[i]);
	free(submit->rungs);
	wishes_list_finish(&submit->wishes);
	free(submit->afters);
	free(submit->specs);
	strings_finish(&submit->scoped);
	*submit = (struct submit){};
}

static bool request_needs_gpus(const json_t *task)
{
	const char *cpu = jsonx_get_string(json_object_get(task, "request"), "cpu", "never");

	return strcmp(cpu, "only") != 0;
}

bool submit_needs_gpus(const json_t *body)
{
	const json_t *tasks = json_object_get(body, "tasks"), *task;
	size_t i;

	if (!json_is_array(tasks))
		return request_needs_gpus(body);
	json_array_foreach (tasks, i, task) {
		if (request_needs_gpus(task))
			return true;
	}
	return false;
}
