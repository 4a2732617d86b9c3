/*
 * Each object has one table of its members: name, reader, and where it goes. The tables are the
 * validation: what is not in them is refused, what is in them is read by a typed reader with its
 * bounds. A batch's own members are the defaults of its tasks, which are read into a copy of them.
 */
#include "daemon/submit_parse.h"

#include "daemon/expand.h"

#include <errno.h>
#include <stddef.h>
#include <string.h>

#define PRIORITY_MAX 1000000
#define CPUS_MAX     4096.0
#define VRAM_MAX     ((uint64_t)1 << 50)
#define RETRIES_MAX  100
#define ROW_MAX      UINT32_MAX
#define THREADS_MAX  100000

/* What a reader reads into. */
struct target {
	struct sched_spec *spec;
	struct submit *submit;
	const struct gpu_list *gpus;
};

struct member {
	const char *name;
	int (*read)(const json_t *value, struct target *target, struct error *err);
};

static int wrong_type(const char *wanted, struct error *err)
{
	return error_set(err, -EINVAL, "must be %s", wanted);
}

static int read_string(const json_t *value, size_t max, const char **ret_text, struct error *err)
{
	if (!json_is_string(value))
		return wrong_type("a string", err);
	if (json_string_length(value) > max)
		return error_set(err, -EINVAL, "is longer than %zu bytes", max);
	if (strlen(json_string_value(value)) != json_string_length(value))
		return error_set(err, -EINVAL, "holds a zero byte");
	*ret_text = json_string_value(value);
	return 0;
}

static int read_u64(const json_t *value, uint64_t max, uint64_t *ret_value, struct error *err)
{
	if (!json_is_integer(value) || json_integer_value(value) < 0 ||
	    (uint64_t)json_integer_value(value) > max)
		return error_set(err, -EINVAL, "must be a whole number from 0 to %llu",
				 (unsigned long long)max);
	*ret_value = (uint64_t)json_integer_value(value);
	return 0;
}

static int read_unsigned(const json_t *value, uint64_t max, unsigned *ret_value, struct error *err)
{
	uint64_t number = 0;
	int r = read_u64(value, max, &number, err);

	if (r == 0)
		*ret_value = (unsigned)number;
	return r;
}

static int read_bool(const json_t *value, bool *ret_value, struct error *err)
{
	if (!json_is_boolean(value))
		return wrong_type("true or false", err);
	*ret_value = json_is_true(value);
	return 0;
}

static int read_members(const json_t *object, const struct member *members, struct target *target,
			struct error *err)
{
	const char *key;
	json_t *value;

	if (!json_is_object(object))
		return wrong_type("an object", err);
	json_object_foreach ((json_t *)(uintptr_t)object, key, value) {
		const struct member *m = members;
		int r;

		while (m->name && strcmp(m->name, key) != 0)
			m++;
		if (!m->name)
			return error_set(err, -EINVAL, "unknown member \"%.64s\"", key);
		if (json_is_null(value))
			continue;
		r = m->read(value, target, err);
		if (r < 0)
			return error_prefix(err, r, "%s", key);
	}
	return 0;
}

int submit_check_members(const json_t *object, const char *const *known, const char *what,
			 struct error *err)
{
	const char *key;
	json_t *value;

	json_object_foreach ((json_t *)(uintptr_t)object, key, value) {
		const char *const *k = known;

		while (*k && strcmp(*k, key) != 0)
			k++;
		if (!*k)
			return error_set(err, -EINVAL, "%s: unknown member \"%.64s\"", what, key);
	}
	return 0;
}

/* The request. */

static int read_vram(const json_t *value, struct target *t, struct error *err)
{
	return read_u64(value, VRAM_MAX, &t->spec->request.vram_bytes, err);
}

static int read_ram(const json_t *value, struct target *t, struct error *err)
{
	return read_u64(value, VRAM_MAX, &t->spec->request.ram_bytes, err);
}

static int read_cpus(const json_t *value, struct target *t, struct error *err)
{
	double cpus = json_number_value(value);

	if (!json_is_number(value) || !(cpus >= 0) || cpus > CPUS_MAX)
		return error_set(err, -EINVAL, "must be a number from 0 to %g", CPUS_MAX);
	t->spec->request.cpu_milli = (unsigned)(cpus * 1000 + 0.5);
	return 0;
}

static int read_gpus(const json_t *value, struct target *t, struct error *err)
{
	return read_unsigned(value, PLACE_GPUS_MAX, &t->spec->request.gpus, err);
}

static int read_cpu_mode(const json_t *value, struct target *t, struct error *err)
{
	const char *text;
	int r = read_string(value, SUBMIT_NAME_MAX, &text, err);

	if (r < 0)
		return r;
	if (strcmp(text, "never") != 0 && strcmp(text, "only") != 0)
		return error_set(err, -EINVAL, "must be \"never\" or \"only\", not \"%s\"", text);
	t->spec->request.cpu = strcmp(text, "only") == 0 ? PLACE_CPU_ONLY : PLACE_CPU_NEVER;
	return 0;
}

static int read_exclusive(const json_t *value, struct target *t, struct error *err)
{
	return read_bool(value, &t->spec->request.exclusive, err);
}

static int read_pin(const json_t *value, struct target *t, struct error *err)
{
	const struct gpu *gpu;
	const char *text;
	int r = read_string(value, SUBMIT_NAME_MAX, &text, err);

	if (r < 0 || !*text)
		return r;
	if (!t->gpus)
		return error_set(err, -ENODEV, "no GPU is known yet, so %s cannot be found", text);
	r = gpu_list_resolve(t->gpus, text, &gpu, err);
	if (r < 0)
		return r == -ENOENT ? -ENODEV : r;
	t->spec->request.pin_uuid = gpu->uuid;
	return 0;
}

static int read_request(const json_t *value, struct target *t, struct error *err)
{
	static const struct member members[] = {
	    {"vram_bytes", read_vram}, {"ram_bytes", read_ram},
	    {"cpus", read_cpus},       {"gpus", read_gpus},
	    {"cpu", read_cpu_mode},    {"exclusive", read_exclusive},
	    {"pin", read_pin},         {},
	};

	return read_members(value, members, t, err);
}

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
		if (r == 0)
			r = expand_check(argv[i], err);
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

	if (!json_is_integer(value) || priority < -PRIORITY_MAX || priority > PRIORITY_MAX)
		return error_set(err, -EINVAL, "must be a whole number from %d to %d",
				 -PRIORITY_MAX, PRIORITY_MAX);
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
	double weight = json_number_value(value);

	if (!json_is_number(value) || !(weight >= 0) || weight > 1e6)
		return error_set(err, -EINVAL, "must be a number from 0 to 1000000");
	t->spec->weight_memory = weight;
	return 0;
}

static int read_retries(const json_t *value, struct target *t, struct error *err)
{
	return read_unsigned(value, RETRIES_MAX, &t->spec->retries, err);
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

static int read_tasks(const json_t *value, struct target *t, struct error *err)
{
	(void)t;
	if (!json_is_array(value))
		return wrong_type("an array", err);
	if (json_array_size(value) > SUBMIT_TASKS_MAX)
		return error_set(err, -EINVAL, "has %zu tasks, a batch takes %d; cut it in parts",
				 json_array_size(value), SUBMIT_TASKS_MAX);
	return 0;
}

/* How it all fits together. */

static int spec_settle(struct sched_spec *spec, struct error *err)
{
	struct place_request *request = &spec->request;

	if (!spec->argv)
		return error_set(err, -EINVAL, "command: is missing");
	if (request->cpu == PLACE_CPU_ONLY) {
		if (request->vram_bytes > 0 || request->pin_uuid)
			return error_set(err, -EINVAL,
					 "request: runs on the CPU only, and yet asks for VRAM or "
					 "a GPU");
		request->gpus = 0;
	} else if (request->gpus == 0) {
		return error_set(err, -EINVAL,
				 "request: gpus: 0 goes with cpu \"only\" and nothing else");
	}
	if (request->pin_uuid && request->gpus > 1)
		return error_set(err, -EINVAL, "request: a pin names one GPU, %u are asked for",
				 request->gpus);
	return 0;
}
static int read_work(const json_t *value, struct target *t, struct error *err)
{
	double work = json_number_value(value);

	if (!json_is_number(value) || !(work >= 0) || work > 1e18)
		return error_set(err, -EINVAL, "must be a number from 0 to 1e18");
	t->spec->work_hint = work;
	return 0;
}

static const struct sched_spec SPEC_DEFAULT = {
    .name = "", .kind = "", .cwd = "/", .umask = 022, .request = {.gpus = 1}};

static const struct member TASK_MEMBERS[] = {
    {"command", read_command},   {"name", read_name},
    {"kind", read_kind},         {"cwd", read_cwd},
    {"env", read_env},           {"umask", read_umask},
    {"priority", read_priority}, {"policy", read_policy},
    {"retries", read_retries},   {"weight_memory", read_weight},
    {"request", read_request},   {"work", read_work},
    {"key", read_key},           {},
};

static const struct member BATCH_MEMBERS[] = {
    {"key", read_key},           {"name", read_batch_name}, {"on_failure", read_on_failure},
    {"threads", read_threads},   {"resume", read_resume},   {"max_per_gpu", read_max_per_gpu},
    {"cwd", read_cwd},           {"env", read_env},         {"umask", read_umask},
    {"priority", read_priority}, {"policy", read_policy},   {"weight_memory", read_weight},
    {"retries", read_retries},   {"tasks", read_tasks},     {},
};

static const struct member ROW_MEMBERS[] = {
    {"command", read_command},   {"name", read_name}, {"kind", read_kind},
    {"priority", read_priority}, {"row", read_row},   {"fingerprint", read_fingerprint},
    {"request", read_request},   {"work", read_work}, {},
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
	if (r < 0)
		return r;
	submit.n = json_array_size(rows);
	submit.specs = mem_calloc(submit.n, sizeof *submit.specs);
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
	free(submit->specs);
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
