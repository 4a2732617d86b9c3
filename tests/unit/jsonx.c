/* util/jsonx: unknown is null and not zero; errors name file, line and column. */
#include "util/jsonx.h"

#include "unit.h"

#include <errno.h>
#include <math.h>
#include <string.h>

static void check_dump(json_t *json, const char *expected)
{
	auto_free char *text = jsonx_dump(json);

	assert_string_equal(text, expected);
	json_decref(json);
}

static void what_is_unknown_is_null(void **state)
{
	check_dump(jsonx_u64(UINT64_C(9223372036854775807)), "9223372036854775807");
	check_dump(jsonx_u64(UINT64_MAX), "9223372036854775807");
	check_dump(jsonx_u64_if(true, 0), "0");
	check_dump(jsonx_u64_if(false, 5), "null");
	check_dump(jsonx_real_if(true, 45.678, 1), "45.7");
	check_dump(jsonx_real_if(true, -45.678, 1), "-45.7");
	check_dump(jsonx_real_if(true, -0.04, 1), "0.0");
	check_dump(jsonx_real_if(true, 12.5, 0), "13.0");
	check_dump(jsonx_real_if(false, 45.678, 1), "null");
	check_dump(jsonx_real_if(true, (double)NAN, 1), "null");
	check_dump(jsonx_real_if(true, (double)INFINITY, 1), "null");
	check_dump(jsonx_string_if("x"), "\"x\"");
	check_dump(jsonx_string_if(""), "null");
	check_dump(jsonx_string_if(NULL), "null");
	check_dump(jsonx_string_if("\xff"), "null");
	check_dump(jsonx_time_if(1), "\"1970-01-01T00:00:00.001Z\"");
	check_dump(jsonx_time_if(0), "null");
}

static void lists_of_strings(void **state)
{
	char *items[] = {(char[]){"a"}, (char[]){"\xff"}, NULL};

	check_dump(jsonx_strv(items), "[\"a\",null]");
	check_dump(jsonx_strv(NULL), "[]");
}

static void getters_give_the_default_for_absent_null_or_other(void **state)
{
	static const char text[] =
	    "{\"n\": 5, \"minus\": -5, \"real\": 1.5, \"yes\": true, \"s\": \"x\","
	    " \"null\": null, \"at\": \"1970-01-01T00:00:01Z\"}";
	auto_json json_t *object = NULL;

	assert_int_equal(jsonx_parse(text, sizeof text - 1, "t", &object, NULL), 0);
	assert_int_equal(jsonx_get_u64(object, "n", 9), 5);
	assert_int_equal(jsonx_get_u64(object, "minus", 9), 9);
	assert_int_equal(jsonx_get_u64(object, "real", 9), 9);
	assert_int_equal(jsonx_get_u64(object, "gone", 9), 9);
	assert_int_equal(jsonx_get_u64(NULL, "n", 9), 9);
	assert_int_equal(jsonx_get_i64(object, "minus", 9), -5);
	assert_int_equal(jsonx_get_i64(object, "s", 9), 9);
	assert_true(jsonx_get_real(object, "real", 9) == 1.5);
	assert_true(jsonx_get_real(object, "n", 9) == 5);
	assert_true(jsonx_get_real(object, "null", 9) == 9);
	assert_true(jsonx_get_bool(object, "yes", false));
	assert_true(jsonx_get_bool(object, "n", true));
	assert_string_equal(jsonx_get_string(object, "s", "d"), "x");
	assert_string_equal(jsonx_get_string(object, "n", "d"), "d");
	assert_int_equal(jsonx_get_time(object, "at"), 1000);
	assert_int_equal(jsonx_get_time(object, "s"), 0);
	assert_true(jsonx_has(object, "n"));
	assert_false(jsonx_has(object, "null"));
	assert_false(jsonx_has(object, "gone"));
}

static void parse_errors_name_the_place(void **state)
{
	static const struct {
		const char *text, *told;
	} cases[] = {
	    {"{\"a\": 1,\n \"b\": }", "assets.json:2:"},
	    {"{\"a\": 1, \"a\": 2}", "duplicate object key"},
	    {"", "assets.json:1:"},
	    {"[1] [2]", "end of file expected"},
	    {"\"\xff\"", "assets.json:1:"},
	};

	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		struct error err = {};
		json_t *json = NULL;

		assert_int_equal(
		    jsonx_parse(cases[i].text, strlen(cases[i].text), "assets.json", &json, &err),
		    -EBADMSG);
		assert_null(json);
		if (!strstr(err.text, cases[i].told))
			fail_msg("%s: %s", cases[i].text, err.text);
	}
}

/* What jansson reads and writes is what we write: strings of any bytes, numbers at their ends,
 * nesting, empty containers. */
static void writes_what_jansson_writes(void **state)
{
	static const char *const cases[] = {
	    "{}",
	    "[]",
	    "[[],{},[[]],{\"a\":{}}]",
	    "{\"b\":1,\"a\":[true,false,null],\"\":\"\"}",
	    "[0,-1,9223372036854775807,-9223372036854775808]",
	    "[0.5,-1e300,1e-7,3.0,0.1,123456789012.5,-0.0]",
	    "\"\\u0000\\u0001\\b\\f\\n\\r\\t\\u001f \\\"\\\\\\/ \\u007f\"",
	    "\"\\u00e4\\u20ac\\ud83d\\ude00 \\u0000 end\"",
	    "{\"k\\\"\\n\\u00e4\":\"\\\\\"}",
	    "\"\"",
	    "null",
	};

	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		auto_json json_t *json = NULL;
		auto_free char *expected = NULL, *text = NULL;

		/* JSON_ALLOW_NUL: strings of that kind come from json_stringn(), too. */
		json = json_loads(cases[i], JSON_DECODE_ANY | JSON_ALLOW_NUL, NULL);
		assert_non_null(json);
		expected =
		    json_dumps(json, JSON_COMPACT | JSON_ENCODE_ANY | JSON_REAL_PRECISION(12));
		text = jsonx_dump(json);
		assert_string_equal(text, expected);
	}
	check_dump(NULL, "null");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(what_is_unknown_is_null),
	    cmocka_unit_test(lists_of_strings),
	    cmocka_unit_test(writes_what_jansson_writes),
	    cmocka_unit_test(getters_give_the_default_for_absent_null_or_other),
	    cmocka_unit_test(parse_errors_name_the_place),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
