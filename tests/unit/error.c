/* util/error: one line sets the text and returns the code; long texts are cut, never overrun. */
#include "util/error.h"

#include "unit.h"

#include <errno.h>
#include <string.h>

static void sets_text_and_returns_the_code(void **state)
{
	struct error err = {};

	assert_int_equal(error_set(&err, -E2BIG, "asks %s, at most %d", "9 GiB", 8), -E2BIG);
	assert_int_equal(err.code, -E2BIG);
	assert_string_equal(err.text, "asks 9 GiB, at most 8");
	assert_string_equal(error_text(&err), "asks 9 GiB, at most 8");
}

static void appends_what_the_system_said(void **state)
{
	struct error err = {};

	assert_int_equal(error_sys(&err, -ENOENT, "cannot open %s", "a.json"), -ENOENT);
	assert_string_equal(err.text, "cannot open a.json: No such file or directory");
}

static void prefixes_from_the_outside_in(void **state)
{
	struct error err = {};

	(void)error_set(&err, -EINVAL, "no unit");
	assert_int_equal(error_prefix(&err, -EINVAL, "row %d", 7), -EINVAL);
	(void)error_prefix(&err, -EINVAL, "assets.json");
	assert_string_equal(err.text, "assets.json: row 7: no unit");
}

static void a_caller_who_does_not_ask_gets_the_code_alone(void **state)
{
	assert_int_equal(error_set(NULL, -EIO, "x"), -EIO);
	assert_int_equal(error_sys(NULL, -EIO, "x"), -EIO);
	assert_int_equal(error_prefix(NULL, -EIO, "x"), -EIO);
}

static void without_a_text_the_code_speaks(void **state)
{
	struct error err = {.code = -EACCES};

	assert_string_equal(error_text(&err), "Permission denied");
}

static void cuts_what_is_too_long(void **state)
{
	char text[3 * ERROR_TEXT_MAX];
	struct error err = {};

	memset(text, 'x', sizeof text - 1);
	text[sizeof text - 1] = '\0';
	(void)error_set(&err, -EINVAL, "%s", text);
	assert_int_equal(strlen(err.text), ERROR_TEXT_MAX - 1);
	(void)error_sys(&err, -EINVAL, "%s", text);
	assert_int_equal(strlen(err.text), ERROR_TEXT_MAX - 1);
	(void)error_prefix(&err, -EINVAL, "file");
	assert_int_equal(strlen(err.text), ERROR_TEXT_MAX - 1);
	assert_memory_equal(err.text, "file: xxx", 9);
	(void)error_prefix(&err, -EINVAL, "%s", text);
	assert_int_equal(strlen(err.text), ERROR_TEXT_MAX - 1);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(sets_text_and_returns_the_code),
	    cmocka_unit_test(appends_what_the_system_said),
	    cmocka_unit_test(prefixes_from_the_outside_in),
	    cmocka_unit_test(a_caller_who_does_not_ask_gets_the_code_alone),
	    cmocka_unit_test(without_a_text_the_code_speaks),
	    cmocka_unit_test(cuts_what_is_too_long),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
