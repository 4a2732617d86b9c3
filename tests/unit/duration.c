/* util/duration: spans of time as people write and read them. */
#include "util/duration.h"

#include "unit.h"

#include <errno.h>
#include <string.h>

static void accepts_units_and_sums(void **state)
{
	static const struct {
		const char *text;
		int64_t ms;
	} cases[] = {
	    {"300ms", 300},
	    {"5s", 5000},
	    {"0s", 0},
	    {"1.5m", 90000},
	    {"2min", 120000},
	    {"2h", 7200000},
	    {"5.5h", 19800000},
	    {"1d", 86400000},
	    {"1h30m", 5400000},
	    {"1d1ms", 86400001},
	    {"0.0004s", 0},
	    {"0.0005s", 1},
	    {"36600d", INT64_C(36600) * 86400000},
	};

	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		struct error err = {};
		int64_t ms = -1;

		if (duration_parse(cases[i].text, &ms, &err) < 0)
			fail_msg("%s: %s", cases[i].text, err.text);
		if (ms != cases[i].ms)
			fail_msg("%s: %lld ms", cases[i].text, (long long)ms);
	}
}

static void refuses_the_rest_and_says_what_to_write(void **state)
{
	static const struct {
		const char *text, *told;
	} cases[] = {
	    {"5", "has no unit; write 5s or 5m"},
	    {"1h30", "has no unit"},
	    {"", "is not a duration; write for example 300ms, 5s or 1h30m"},
	    {"s", "is not a duration"},
	    {"-5s", "is not a duration"},
	    {"5 s", "unknown unit"},
	    {"5y", "unknown unit; ms, s, m, h or d is meant"},
	    {"5S", "unknown unit"},
	    {"1h 30m", "is not a duration"},
	    {"36601d", "too long"},
	    {"1e9s", "unknown unit"},
	    {"99999999999999999999999999999999999999s", "too long"},
	};

	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		struct error err = {};
		int64_t ms = -77;

		assert_int_equal(duration_parse(cases[i].text, &ms, &err), -EINVAL);
		if (!strstr(err.text, cases[i].told))
			fail_msg("\"%s\" is told: %s", cases[i].text, err.text);
		assert_int_equal(ms, -77);
	}
}

static void a_bare_number_means_seconds_only_where_said_and_alone(void **state)
{
	int64_t ms = -77;
	struct error err = {};

	assert_int_equal(duration_parse_seconds("3", &ms, NULL), 0);
	assert_int_equal(ms, 3000);
	assert_int_equal(duration_parse_seconds("0.25", &ms, NULL), 0);
	assert_int_equal(ms, 250);
	assert_int_equal(duration_parse_seconds("2m", &ms, NULL), 0);
	assert_int_equal(ms, 120000);
	assert_int_equal(duration_parse_seconds("1h30", &ms, &err), -EINVAL);
	assert_non_null(strstr(err.text, "has no unit"));
}

static void prints_for_people(void **state)
{
	static const struct {
		int64_t ms;
		const char *text;
	} cases[] = {
	    {0, "0 ms"},
	    {850, "850 ms"},
	    {999, "999 ms"},
	    {1000, "1.0 s"},
	    {12345, "12.3 s"},
	    {59949, "59.9 s"},
	    {59950, "1 min 00 s"},
	    {60000, "1 min 00 s"},
	    {245000, "4 min 05 s"},
	    {3599499, "59 min 59 s"},
	    {3599500, "1 h 00 min"},
	    {7620000, "2 h 07 min"},
	    {86399499, "23 h 59 min"},
	    {86400000, "1 d 00 h"},
	    {273600000, "3 d 04 h"},
	};

	for (size_t i = 0; i < ARRAY_LEN(cases); i++)
		assert_string_equal(DURATION_TEXT(cases[i].ms), cases[i].text);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(accepts_units_and_sums),
	    cmocka_unit_test(refuses_the_rest_and_says_what_to_write),
	    cmocka_unit_test(a_bare_number_means_seconds_only_where_said_and_alone),
	    cmocka_unit_test(prints_for_people),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
