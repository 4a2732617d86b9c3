/* util/timestamp: RFC 3339 out and in. */
#include "util/timestamp.h"

#include "unit.h"

#include <errno.h>
#include <string.h>

static void formats_with_milliseconds_in_utc(void **state)
{
	(void)setenv("TZ", "Asia/Kolkata", 1);
	assert_string_equal(TIMESTAMP_TEXT(0), "1970-01-01T00:00:00.000Z");
	assert_string_equal(TIMESTAMP_TEXT(1), "1970-01-01T00:00:00.001Z");
	assert_string_equal(TIMESTAMP_TEXT(-1), "1969-12-31T23:59:59.999Z");
	assert_string_equal(TIMESTAMP_TEXT(INT64_C(951827696789)), "2000-02-29T12:34:56.789Z");
}

static void parses_offsets_and_any_decimals(void **state)
{
	static const struct {
		const char *text;
		int64_t ms;
	} cases[] = {
	    {"1970-01-01T00:00:00Z", 0},
	    {"2000-02-29T12:34:56.789Z", INT64_C(951827696789)},
	    {"2000-02-29T12:34:56.7891234Z", INT64_C(951827696789)},
	    {"2000-02-29T12:34:56.7Z", INT64_C(951827696700)},
	    {"2000-02-29T13:34:56+01:00", INT64_C(951827696000)},
	    {"2000-02-29T07:04:56-05:30", INT64_C(951827696000)},
	};

	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		struct error err = {};
		int64_t ms = -1;

		if (timestamp_parse(cases[i].text, &ms, &err) < 0)
			fail_msg("%s: %s", cases[i].text, err.text);
		if (ms != cases[i].ms)
			fail_msg("%s: %lld", cases[i].text, (long long)ms);
	}
}

static void refuses_what_is_no_time(void **state)
{
	static const char *const cases[] = {
	    "",
	    "yesterday",
	    "2000-02-29",
	    "2000-02-29T12:34:56",
	    "2000-02-30T12:34:56Z",
	    "2001-02-29T12:34:56Z",
	    "2000-13-01T12:34:56Z",
	    "2000-02-29T12:34:56.Z",
	    "2000-02-29T12:34:56Zjunk",
	    "2000-02-29T12:34:56+1:00",
	    "2000-02-29T12:34:56+01:0x",
	    "2000-02-29T12:34:56+25:00",
	};

	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		struct error err = {};
		int64_t ms = -77;

		if (timestamp_parse(cases[i], &ms, &err) != -EINVAL)
			fail_msg("\"%s\" is taken for %lld", cases[i], (long long)ms);
		assert_true(strlen(err.text) > 0);
		assert_int_equal(ms, -77);
	}
}

static void reads_back_what_it_writes(void **state)
{
	int64_t now = timestamp_now_ms(), back = 0;

	assert_int_equal(timestamp_parse(TIMESTAMP_TEXT(now), &back, NULL), 0);
	assert_int_equal(now, back);
	assert_true(now > INT64_C(1600000000000));
}

static void the_monotonic_clock_does_not_go_back(void **state)
{
	int64_t before = monotonic_now_ms();

	for (int i = 0; i < 1000; i++) {
		int64_t now = monotonic_now_ms();

		assert_true(now >= before);
		before = now;
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(formats_with_milliseconds_in_utc),
	    cmocka_unit_test(parses_offsets_and_any_decimals),
	    cmocka_unit_test(refuses_what_is_no_time),
	    cmocka_unit_test(reads_back_what_it_writes),
	    cmocka_unit_test(the_monotonic_clock_does_not_go_back),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
