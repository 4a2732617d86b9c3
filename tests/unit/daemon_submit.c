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
    {", \"work\": 1e19", "work: must be a number from 0 to 1e18"},
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
    {", \"request\": {\"cpu\": \"maybe\"}", "must be \"never\" or \"only\", not \"maybe\""},
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
    {"\"threads\": 100001, \"tasks\": [{\"command\": [\"a\"]}]", "threads: must be"},
    {"\"max_per_gpu\": -1, \"tasks\": [{\"command\": [\"a\"]}]", "max_per_gpu: must be"},
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

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_tasks),
	    cmocka_unit_test(test_batches),
	    cmocka_unit_test(test_what_is_no_object),
	    cmocka_unit_test(test_limits),
	};

	return cmocka_run_group_tests_name("daemon_submit", tests, NULL, NULL);
}
