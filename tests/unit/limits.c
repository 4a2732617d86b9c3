/* Resource limits by name, as JSON, and applied in a child. */
#include "util/limits.h"

#include "own_limits.h"
#include "unit.h"

#include <errno.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

static void test_names(void **state)
{
	assert_string_equal(limits_name(RLIMIT_NOFILE), "nofile");
	assert_string_equal(limits_name(RLIMIT_STACK), "stack");
	assert_null(limits_name(-1));
	assert_null(limits_name(LIMITS_MAX));
	for (int i = 0; i < LIMITS_MAX; i++)
		assert_non_null(limits_name(i));
}

static int decode(const char *text, struct limits *ret_limits, struct error *err)
{
	auto_json json_t *json = json_loads(text, JSON_DECODE_ANY, NULL);

	assert_non_null(json);
	return limits_decode(json, ret_limits, err);
}

static void test_there_and_back(void **state)
{
	struct limits own, again = {}, some = {};
	auto_json json_t *json = NULL;

	own = own_limits();
	assert_int_equal(own.set, (1u << LIMITS_MAX) - 1);
	json = limits_encode(&own);
	assert_int_equal(limits_decode(json, &again, NULL), 0);
	assert_memory_equal(&own, &again, sizeof own);
	assert_int_equal(decode("{\"nofile\": [10, 20], \"core\": [0, null]}", &some, NULL), 0);
	assert_int_equal(some.set, 1u << RLIMIT_NOFILE | 1u << RLIMIT_CORE);
	assert_int_equal(some.of[RLIMIT_NOFILE].soft, 10);
	assert_int_equal(some.of[RLIMIT_NOFILE].hard, 20);
	assert_true(some.of[RLIMIT_CORE].hard == LIMITS_NONE);
	assert_int_equal(decode("{}", &some, NULL), 0);
	assert_int_equal(some.set, 0);
}

static void test_bad(void **state)
{
	static const struct {
		const char *text, *message;
	} cases[] = {
	    {"[]", "object"},
	    {"7", "object"},
	    {"{\"files\": [1, 2]}", "unknown limit \"files\""},
	    {"{\"NOFILE\": [1, 2]}", "unknown limit"},
	    {"{\"nofile\": 5}", "\"nofile\" is not"},
	    {"{\"nofile\": [5]}", "\"nofile\" is not"},
	    {"{\"nofile\": [1, 2, 3]}", "\"nofile\" is not"},
	    {"{\"nofile\": [-1, 2]}", "\"nofile\" is not"},
	    {"{\"nofile\": [1, \"2\"]}", "\"nofile\" is not"},
	    {"{\"nofile\": [1.5, 2]}", "\"nofile\" is not"},
	};

	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		struct limits limits = {.set = 77};
		struct error err;

		assert_int_equal(decode(cases[i].text, &limits, &err), -EINVAL);
		assert_non_null(strstr(err.text, cases[i].message));
		assert_int_equal(limits.set, 77);
	}
}

/* In a child, so that this process keeps its own. */
static void check_applied(uint64_t soft, uint64_t hard, rlim_t want_soft, rlim_t want_hard)
{
	int status = 0;
	pid_t pid = fork();

	assert_true(pid >= 0);
	if (pid == 0) {
		struct limits limits = {.set = 1u << RLIMIT_NOFILE};
		struct rlimit now = {200, 300};
		int resource;

		limits.of[RLIMIT_NOFILE].soft = soft;
		limits.of[RLIMIT_NOFILE].hard = hard;
		if (setrlimit(RLIMIT_NOFILE, &now) < 0 || limits_apply(&limits, &resource) < 0 ||
		    getrlimit(RLIMIT_NOFILE, &now) < 0)
			_exit(9);
		_exit(now.rlim_cur != want_soft || now.rlim_max != want_hard);
	}
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_int_equal(status, 0);
}

static void test_apply(void **state)
{
	check_applied(100, 150, 100, 150);
	check_applied(100, 5000, 100, 300);                /* never raised */
	check_applied(LIMITS_NONE, LIMITS_NONE, 300, 300); /* nor by no limit at all */
	check_applied(250, 220, 220, 220);                 /* soft cut to hard */
	check_applied(0, 0, 0, 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_names),
	    cmocka_unit_test(test_there_and_back),
	    cmocka_unit_test(test_bad),
	    cmocka_unit_test(test_apply),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
