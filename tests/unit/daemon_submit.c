/* What POST /v1/tasks and /v1/batches take and refuse, member by member. */
#include "daemon/submit_parse.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <string.h>

#include <cmocka.h>

static json_t *load(const char *text)
{
	json_error_t where;
	json_t *json = json_loads(text, JSON_ALLOW_NUL, &where);

	if (!json)
		fail_msg("%s: %s", text, where.text);
	return json;
}

/* "GPU-aaaa..." (0) and "GPU-aabb..." (1). */
static struct gpu_list *two_gpus(void)
{
	static const char *const uuids[] = {"GPU-aaaa0000-1111-2222-3333-444455556666",
					    "GPU-aabb0000-1111-2222-3333-444455556666"};
	struct gpu_list *list = gpu_list_create();

	list->state = GPU_SOURCE_OK;
	for (unsigned i = 0; i < ARRAY_LEN(uuids); i++) {
		struct gpu *gpu = gpu_list_append(list);

		gpu->index = i;
		(void)snprintf(gpu->uuid, sizeof gpu->uuid, "%s", uuids[i]);
	}
	return list;
}

/* `members` of a task that is fine otherwise; `said` NULL: accepted. */
struct case_of {
	const char *members, *said;
};

static const struct case_of TASK_CASES[] = {
    {"", NULL},
    {", \"surprise\": 1", "unknown member \"surprise\""},
    {", \"command\": []", "command: must be an array of 1 to"},
    {", \"command\": \"true\"", "command: must be an array of 1 to"},
    {", \"command\": [\"\"]", "command: the program's name is empty"},
    {", \"command\": [\"a\", 5]", "command: argument 1: must be a string"},
    {", \"command\": [\"a\", \"b\\u0000c\"]", "command: argument 1: holds a zero byte"},
    {", \"command\": [\"a\", \"{nothing}\"]", "nothing"},
    {", \"command\": [\"a\", \"{device\"]", "argument 1"},
    {", \"command\": [\"a\", \"{{literal}}\"]", NULL},
    {", \"command\": null, \"command\": null", "command: is missing"},
    {", \"name\": 3", "name: must be a string"},
    {", \"cwd\": \"relative\"", "cwd: must be an absolute path, not \"relative\""},
    {", \"cwd\": \"/\"", NULL},
    {", \"env\": {}", "env: must be an array"},
    {", \"env\": [\"A=1\", \"B\"]", "env: \"B\" is not NAME=VALUE"},
    {", \"env\": [\"=C:=x\"]", "is not NAME=VALUE"},
    {", \"env\": [\"A=\"]", NULL},
    {", \"umask\": 511", NULL},
    {", \"umask\": 512", "umask: must be a whole number from 0 to 511"},
    {", \"priority\": -1000000", NULL},
    {", \"priority\": 1000001", "priority: must be a whole number from -1000000 to 1000000"},
    {", \"priority\": 1.0", "priority: must be a whole number"},
    {", \"policy\": \"balance\"", NULL},
    {", \"policy\": \"luck\"", "luck"},
    {", \"retries\": 100", NULL},
    {", \"retries\": 101", "retries: must be a whole number from 0 to 100"},
    {", \"retries\": -1", "retries: must be a whole number"},
    {", \"weight_memory\": -0.5", "weight_memory: must be a number"},
    {", \"weight_memory\": 50", NULL},
    {", \"work\": 1e19", "work: must be a number from 0 to 1e+18"},
    {", \"work\": \"long\"", "work: must be a number"},
    {", \"request\": []", "request: must be an object"},
    {", \"request\": null", NULL},
    {", \"request\": {\"vram\": 5}", "request: unknown member \"vram\""},
    {", \"request\": {\"vram_bytes\": -1}", "request: vram_bytes: must be a whole number"},
    {", \"request\": {\"vram_bytes\": 1125899906842624}", NULL},
    {", \"request\": {\"vram_bytes\": 1125899906842625}", "request: vram_bytes: must be"},
    {", \"request\": {\"ram_bytes\": \"4G\"}", "request: ram_bytes: must be a whole number"},
    {", \"request\": {\"cpus\": 4097}", "request: cpus: must be a number from 0 to 4096"},
    {", \"request\": {\"gpus\": 0}", "gpus: 0 goes with cpu \"only\""},
    {", \"request\": {\"gpus\": 17}", "request: gpus: must be a whole number"},
    {", \"request\": {\"cpu\": \"maybe\"}", "\"when-idle\" or \"only\", not \"maybe\""},
    {", \"request\": {\"cpu\": \"only\"}", NULL},
    {", \"request\": {\"cpu\": \"only\", \"vram_bytes\": 1}", "runs on the CPU only, and yet"},
    {", \"request\": {\"cpu\": \"only\", \"pin\": \"0\"}", "runs on the CPU only, and yet"},
    {", \"request\": {\"exclusive\": 1}", "request: exclusive: must be true or false"},
    {", \"request\": {\"pin\": \"1\"}", NULL},
    {", \"request\": {\"pin\": \"\"}", NULL},
    {", \"request\": {\"pin\": \"GPU-aab\"}", NULL},
    {", \"request\": {\"pin\": \"GPU-aa\"}", "request: pin:"},
    {", \"request\": {\"pin\": \"7\"}", "request: pin: there is no GPU"},
    {", \"request\": {\"pin\": \"1\", \"gpus\": 2}", "a pin names one GPU, 2 are asked for"},
    {", \"request\": {\"prefer\": [\"1\", \"0\"], \"stagger_seconds\": 2.5}", NULL},
    {", \"request\": {\"prefer\": \"1\"}", "request: prefer: must be an array of at most 16 GPUs"},
    {", \"request\": {\"avoid\": [\"7\"]}", "request: avoid: there is no GPU"},
    {", \"request\": {\"avoid\": [\"\"]}", "request: avoid: \"\" names no GPU"},
    {", \"request\": {\"prefer\": [\"0\"], \"forbid\": [\"GPU-aaaa\"]}", "forbid: GPU GPU-aaaa"},
    {", \"request\": {\"prefer\": [\"0\"], \"avoid\": [\"0\"]}",
     "avoid: GPU 0 is to be preferred, too"},
    {", \"request\": {\"models\": [\"A100\", \"h100\"]}", NULL},
    {", \"request\": {\"models\": [\"\"]}", "models: \"\" is part of every"},
    {", \"request\": {\"models\": [1]}", "models: must be a string"},
    {", \"request\": {\"compute_capability_min\": \"8.0\"}", NULL},
    {", \"request\": {\"compute_capability_min\": \"12.1\"}", NULL},
    {", \"request\": {\"compute_capability_min\": 8.0}",
     "compute_capability_min: must be a string"},
    {", \"request\": {\"compute_capability_max\": \"8\"}", "must be a compute capability such as"},
    {", \"request\": {\"compute_capability_max\": \"8.x\"}", "not \"8.x\""},
    {", \"request\": {\"compute_capability_max\": \"0.0\"}", "must be a compute capability"},
    {", \"request\": {\"compute_capability_min\": \"9.0\", \"compute_capability_max\": \"8.6\"}",
     "9.0 is above the max of 8.6"},
    {", \"request\": {\"cpu\": \"only\", \"models\": [\"A100\"]}", "has wishes about GPUs"},
    {", \"request\": {\"cpu\": \"only\", \"start_lock\": true}", "has wishes about GPUs"},
    {", \"request\": {\"stagger_seconds\": 3601}",
     "stagger_seconds: must be a number from 0 to 3600"},
    {", \"after\": {\"tasks\": [3, 4], \"batches\": [1], \"on\": \"end\", \"any\": true}", NULL},
    {", \"after\": {}", NULL},
    {", \"after\": [3]", "after: must be an object"},
    {", \"after\": {\"task\": [3]}", "after: in it: unknown member \"task\""},
    {", \"after\": {\"tasks\": 3}", "after: tasks: must be an array of numbers"},
    {", \"after\": {\"tasks\": [0]}", "after: tasks: item 0: must be a whole number above 0"},
    {", \"after\": {\"batches\": [1, -1]}", "after: batches: item 1: must be a whole number"},
    {", \"after\": {\"tasks\": [1], \"on\": \"luck\"}", "after: on: 'luck' is none of"},
    {", \"after\": {\"tasks\": [1], \"any\": 1}", "after: any: must be true or false"},
    {", \"at\": \"2026-11-22T06:00:00+01:00\"", NULL},
    {", \"at\": \"tomorrow\"", "at: \"tomorrow\" is not a time"},
    {", \"at\": \"1960-01-01T00:00:00Z\"", "at: must be a time from 1970 to 9999"},
    {", \"held\": true, \"private\": true", NULL},
    {", \"held\": \"yes\"", "held: must be true or false"},
    {", \"private\": 1", "private: must be true or false"},
    {", \"retry_delay_seconds\": 600", NULL},
    {", \"retry_delay_seconds\": 0", NULL},
    {", \"retry_delay_seconds\": -1", "retry_delay_seconds: must be a number of seconds"},
    {", \"retry_delay_seconds\": 601", "retry_delay_seconds: is at most 600 seconds"},
    {", \"time_limit_seconds\": 0", "time_limit_seconds: must be a number of seconds from 0.001"},
    {", \"time_limit_seconds\": 1e9", "time_limit_seconds: must be a number of seconds"},
    {", \"soft_limit_seconds\": 19800, \"time_limit_seconds\": 21600", NULL},
    {", \"soft_limit_seconds\": 60, \"time_limit_seconds\": 60",
     "soft_limit_seconds: 60 is not before the time_limit_seconds of 60"},
    {", \"soft_limit_seconds\": 60, \"soft_signal\": \"USR1\"", NULL},
    {", \"soft_signal\": \"SIGUSR1\"", "is sent at the soft_limit_seconds, which is missing"},
    {", \"soft_limit_seconds\": 60, \"soft_signal\": \"SIGLUCK\"", "\"SIGLUCK\" is not a signal"},
    {", \"soft_limit_seconds\": 60, \"soft_signal\": \"KILL\"", "leaves the task no time to end"},
    {", \"request\": {\"fraction\": 0.5}", NULL},
    {", \"request\": {\"fraction\": 1, \"gpus\": 2}", NULL},
    {", \"request\": {\"fraction\": 0}", "fraction: must be a number from 0.001 to 1"},
    {", \"request\": {\"fraction\": 1.01}", "fraction: must be a number from 0.001 to 1"},
    {", \"request\": {\"fraction\": \"0.5\"}", "fraction: must be a number from 0.001 to 1"},
    {", \"request\": {\"fraction\": 0.5, \"vram_bytes\": 1}", "one of them is enough"},
    {", \"request\": {\"fraction\": 0.5, \"cpu\": \"only\"}", "runs on the CPU only"},
    {", \"vram_default_bytes\": 1073741824", NULL},
    {", \"vram_default_bytes\": -1", "vram_default_bytes: must be a whole number"},
    {", \"command\": [\"x\", \"{rank}/{workers}\"]", NULL},
    {", \"command\": [\"x\", \"{batch_size}\"]",
     "command: argument 1: no batch size is known for this command: say --batch-size"},
    {", \"workers_per_gpu\": 2", "unknown member \"workers_per_gpu\""},
    {", \"on_oom\": \"retry:3,cpu\"", "on_oom: the rung 'cpu' never helps a task that may not"},
    {", \"on_oom\": \"cpu\", \"request\": {\"cpu\": \"only\"}", "on_oom: the rung 'cpu' never"},
    {", \"on_oom\": \"retry:3,cpu\", \"request\": {\"cpu\": \"fallback\"}", NULL},
    {", \"on_oom\": \"cpu\", \"request\": {\"cpu\": \"when-idle\"}", NULL},
    {", \"on_oom\": \"smaller-batch:2\"", "on_oom: the rung 'smaller-batch' needs a batch size"},
    {", \"on_oom\": \"smaller-batch:2\", \"batch_size\": 8", NULL},
    {", \"on_oom\": [\"retry:3\", \"fail\"]", NULL},
    {", \"on_oom\": [\"retry,fail\"]", "on_oom: rung 0 must be a text with one rung"},
    {", \"on_oom\": \"pray\"", "on_oom: 'pray' is none of retry, bigger-gpu, alone"},
    {", \"on_oom\": []", "on_oom: '' is none of"},
    {", \"on_oom\": 3", "on_oom: must be an array of at most 16 rungs, or a text"},
    {", \"batch_size\": 32, \"command\": [\"x\", \"{batch_size}\"]", NULL},
    {", \"batch_size\": 0", "batch_size: must be from 1 to"},
    {", \"request\": {\"cpu\": \"fallback\"}", NULL},
    {", \"request\": {\"cpu\": \"when-idle\", \"vram_bytes\": 1073741824}", NULL},
    {", \"request\": {\"cpu\": \"perhaps\"}", "cpu: must be \"never\", \"fallback\""},
    {", \"on_overrun\": \"warn\"", NULL},
    {", \"on_overrun\": \"kill\"", "on_overrun: unknown \"kill\"; there are auto, warn, stop"},
    {", \"tty\": \"/dev/pts/3\"", NULL},
    {", \"tty\": \"/dev/sda\"", "tty: must be a terminal /dev/pts/N, not \"/dev/sda\""},
    {", \"tty\": \"/dev/pts/../sda\"", "tty: must be a terminal"},
};

static void test_tasks(void **state)
{
	auto_gpu_list struct gpu_list *gpus = two_gpus();

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(TASK_CASES); i++) {
		auto_free char *text =
		    mem_printf("{\"command\": [\"true\"]%s}", TASK_CASES[i].members);
		auto_json json_t *body = load(text);
		struct submit submit = {};
		struct error err = {};
		int r = submit_parse_task(body, gpus, &submit, &err);

		if (!TASK_CASES[i].said && r < 0)
			fail_msg("%s is refused: %s", text, err.text);
		if (TASK_CASES[i].said && (r >= 0 || !strstr(err.text, TASK_CASES[i].said)))
			fail_msg("%s: %d, \"%s\"", text, r, r < 0 ? err.text : "accepted");
		if (r == 0) {
			assert_int_equal(submit.n, 1);
			assert_false(submit.is_batch);
			assert_int_equal(submit.needs_gpus, submit_needs_gpus(body));
			submit_finish(&submit);
		}
	}
}

static const struct case_of BATCH_CASES[] = {
    {"\"tasks\": [{\"command\": [\"a\"]}]", NULL},
    {"\"tasks\": []", "tasks: a batch needs at least one"},
    {"\"name\": \"b\"", "tasks: a batch needs at least one"},
    {"\"tasks\": {}", "tasks: must be an array"},
    {"\"tasks\": [{\"command\": [\"a\"]}, 5]", "row 2: must be an object"},
    {"\"tasks\": [{\"command\": [\"a\"]}, {}]", "row 2: command: is missing"},
    {"\"tasks\": [{\"row\": 40, \"command\": []}]", "command: must be an array"},
    /* Of the batch, not of one of its rows, and the other way round. */
    {"\"tasks\": [{\"command\": [\"a\"], \"env\": []}]", "row 1: unknown member \"env\""},
    {"\"command\": [\"a\"], \"tasks\": [{}]", "unknown member \"command\""},
    {"\"on_failure\": \"stop\", \"tasks\": [{\"command\": [\"a\"]}]", NULL},
    {"\"on_failure\": \"panic\", \"tasks\": [{\"command\": [\"a\"]}]", "panic"},
    {"\"workers_per_gpu\": 4, \"tasks\": [{\"command\": [\"a\"]}]", NULL},
    {"\"workers_per_gpu\": 257, \"tasks\": [{\"command\": [\"a\"]}]", "workers_per_gpu: must be"},
    {"\"threads\": 100001, \"tasks\": [{\"command\": [\"a\"]}]", "threads: must be"},
    {"\"max_per_gpu\": -1, \"tasks\": [{\"command\": [\"a\"]}]", "max_per_gpu: must be"},
    {"\"after\": {\"batches\": [1]}, \"held\": true, \"tasks\": [{\"command\": [\"a\"]}]", NULL},
    {"\"soft_limit_seconds\": 5, \"tasks\": [{\"command\": [\"a\"], \"time_limit_seconds\": 4}]",
     "row 1: soft_limit_seconds: 5 is not before"},
    {"\"tty\": \"/dev/pts/3\", \"tasks\": [{\"command\": [\"a\"]}]", "unknown member \"tty\""},
    {"\"resume\": \"yes\", \"tasks\": [{\"command\": [\"a\"]}]", "resume: must be true or false"},
};

static void test_batches(void **state)
{
	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(BATCH_CASES); i++) {
		auto_free char *text = mem_printf("{%s}", BATCH_CASES[i].members);
		auto_json json_t *body = load(text);
		struct submit submit = {};
		struct error err = {};
		int r = submit_parse_batch(body, NULL, &submit, &err);

		if (!BATCH_CASES[i].said && r < 0)
			fail_msg("%s is refused: %s", text, err.text);
		if (BATCH_CASES[i].said && (r >= 0 || !strstr(err.text, BATCH_CASES[i].said)))
			fail_msg("%s: %d, \"%s\"", text, r, r < 0 ? err.text : "accepted");
		if (r == 0)
			submit_finish(&submit);
	}
}

static void test_what_is_no_object(void **state)
{
	static const char *const bodies[] = {"[]", "\"a\"", "17", "null", "true"};

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(bodies); i++) {
		auto_json json_t *body = json_loads(bodies[i], JSON_DECODE_ANY, NULL);
		struct submit submit = {};

		assert_non_null(body);
		assert_int_equal(submit_parse_task(body, NULL, &submit, NULL), -EINVAL);
		assert_int_equal(submit_parse_batch(body, NULL, &submit, NULL), -EINVAL);
	}
}

/* Sizes at their limits, made here: they are too long to be written down. */
static void test_limits(void **state)
{
	static const struct {
		size_t args, arg_len, name_len, env;
		bool fits;
	} cases[] = {
	    {SUBMIT_ARGS_MAX, 1, 1, 1, true}, {SUBMIT_ARGS_MAX + 1, 1, 1, 1, false},
	    {1, SUBMIT_ARG_MAX, 1, 1, true},  {1, SUBMIT_ARG_MAX + 1, 1, 1, false},
	    {1, 1, SUBMIT_NAME_MAX, 1, true}, {1, 1, SUBMIT_NAME_MAX + 1, 1, false},
	    {1, 1, 1, SUBMIT_ENV_MAX, true},  {1, 1, 1, SUBMIT_ENV_MAX + 1, false},
	};
	auto_free char *filler = mem_alloc(SUBMIT_ARG_MAX + 2);

	(void)state;
	memset(filler, 'x', SUBMIT_ARG_MAX + 2);
	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		auto_json json_t *body = json_object();
		json_t *command = json_array(), *env = json_array();
		struct submit submit = {};

		for (size_t n = 0; n < cases[i].args; n++)
			(void)json_array_append_new(command,
						    json_stringn(filler, cases[i].arg_len));
		for (size_t n = 0; n < cases[i].env; n++)
			(void)json_array_append_new(env, json_string("A=1"));
		(void)json_object_set_new(body, "command", command);
		(void)json_object_set_new(body, "env", env);
		(void)json_object_set_new(body, "name", json_stringn(filler, cases[i].name_len));
		assert_int_equal(submit_parse_task(body, NULL, &submit, NULL),
				 cases[i].fits ? 0 : -EINVAL);
		submit_finish(&submit);
	}
}

/* What they wait for is bounded: in one task, and in all of a batch. */
static void test_after_limits(void **state)
{
	static const struct {
		size_t rows, items;
		bool fits;
	} cases[] = {
	    {1, SCHED_AFTER_MAX, true},
	    {1, SCHED_AFTER_MAX + 1, false},
	    {SUBMIT_AFTER_ITEMS_MAX / SCHED_AFTER_MAX, SCHED_AFTER_MAX, true},
	    {SUBMIT_AFTER_ITEMS_MAX / SCHED_AFTER_MAX + 1, SCHED_AFTER_MAX, false},
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		auto_json json_t *body = json_pack("{s:[]}", "tasks");
		json_t *ids = json_array();
		struct submit submit = {};

		for (size_t n = 0; n < cases[i].items; n++)
			(void)json_array_append_new(ids, json_integer((json_int_t)n + 1));
		for (size_t n = 0; n < cases[i].rows; n++)
			(void)json_array_append_new(
			    json_object_get(body, "tasks"),
			    json_pack("{s:[s], s:{s:O}}", "command", "a", "after", "tasks", ids));
		json_decref(ids);
		assert_int_equal(submit_parse_batch(body, NULL, &submit, NULL),
				 cases[i].fits ? 0 : -EINVAL);
		submit_finish(&submit);
	}
}

/* Named twice, it is waited for once; a task and a batch of one number are two things. */
static void test_after_twice(void **state)
{
	auto_json json_t *body =
	    load("{\"command\": [\"a\"], \"after\": {\"tasks\": [1, 3, 1, 2, 3], "
		 "\"batches\": [1, 1]}}");
	struct submit submit = {};

	(void)state;
	assert_int_equal(submit_parse_task(body, NULL, &submit, NULL), 0);
	assert_int_equal(submit.specs[0].after->n, 4);
	assert_int_equal(submit.specs[0].after->items[2].id, 2);
	assert_true(submit.specs[0].after->items[3].is_batch);
	submit_finish(&submit);
}

/* Of a batch every row may say it, and nearly always says the same: it is kept once. */
static void test_wishes_are_shared(void **state)
{
	auto_gpu_list struct gpu_list *gpus = two_gpus();
	auto_json json_t *body =
	    load("{\"tasks\": ["
		 "{\"command\": [\"a\"], \"request\": {\"prefer\": [\"1\", \"GPU-aabb\", \"0\"]}},"
		 "{\"command\": [\"b\"], \"request\": {\"prefer\": [\"cuda:1\", \"0\"]}},"
		 "{\"command\": [\"c\"], \"request\": {\"prefer\": []}},"
		 "{\"command\": [\"d\"], \"request\": {\"compute_capability_min\": \"8.6\"}}]}");
	struct submit submit = {};

	(void)state;
	assert_int_equal(submit_parse_batch(body, gpus, &submit, NULL), 0);
	assert_ptr_equal(submit.specs[0].request.wishes, submit.specs[1].request.wishes);
	assert_int_equal(submit.specs[0].request.wishes->n_prefer, 2);
	assert_string_equal(submit.specs[0].request.wishes->prefer[0],
			    "GPU-aabb0000-1111-2222-3333-444455556666");
	assert_null(submit.specs[2].request.wishes);
	assert_int_equal(submit.specs[3].request.wishes->compute_min, 86);
	assert_int_equal(submit.wishes.n, 2);
	submit_finish(&submit);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_tasks),
	    cmocka_unit_test(test_batches),
	    cmocka_unit_test(test_what_is_no_object),
	    cmocka_unit_test(test_limits),
	    cmocka_unit_test(test_after_limits),
	    cmocka_unit_test(test_after_twice),
	    cmocka_unit_test(test_wishes_are_shared),
	};

	return cmocka_run_group_tests_name("daemon_submit", tests, NULL, NULL);
}
