/* util/when: points in time as people write them. In a zone with changes of the clock. */
#include "util/when.h"

#include "unit.h"

#include "util/timestamp.h"

#include <errno.h>
#include <string.h>
#include <time.h>

/* 2026-11-21T15:00:00 in Vienna */
#define NOW INT64_C(1795269600000)

static void takes_what_people_write(void **state)
{
	static const struct {
		const char *text, *utc;
	} cases[] = {
	    {"now", "2026-11-21T14:00:00.000Z"},
	    {"today", "2026-11-20T23:00:00.000Z"},
	    {"yesterday", "2026-11-19T23:00:00.000Z"},
	    {"14:30", "2026-11-21T13:30:00.000Z"},
	    {"14:30:05", "2026-11-21T13:30:05.000Z"},
	    {"2026-11-20", "2026-11-19T23:00:00.000Z"},
	    {"2026-07-01", "2026-06-30T22:00:00.000Z"}, /* summer time */
	    {"2026-11-20 14:30", "2026-11-20T13:30:00.000Z"},
	    {"2026-11-20T14:30:05", "2026-11-20T13:30:05.000Z"},
	    {"2026-11-20T14:30:05Z", "2026-11-20T14:30:05.000Z"},
	    {"2026-11-20T14:30:05.250+05:00", "2026-11-20T09:30:05.250Z"},
	    {"2h", "2026-11-21T12:00:00.000Z"},
	    {"1d12h", "2026-11-20T02:00:00.000Z"},
	};

	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		struct error err = {};
		int64_t ms = 0;

		if (when_parse_past(cases[i].text, NOW, &ms, &err) < 0)
			fail_msg("%s: %s", cases[i].text, err.text);
		assert_string_equal(TIMESTAMP_TEXT(ms), cases[i].utc);
	}
}

static void refuses_the_rest(void **state)
{
	static const char *const cases[] = {"",           "noon",   "25:00",       "14:30x",
					    "2026-13-01", "26-1-1", "2026-11-20 ", "2026-11-20 9",
					    "-2h",        "5"};

	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		struct error err = {};
		int64_t ms = 77;

		if (when_parse_past(cases[i], NOW, &ms, &err) != -EINVAL)
			fail_msg("\"%s\" was taken as %s", cases[i], TIMESTAMP_TEXT(ms));
		assert_int_equal(ms, 77);
		assert_non_null(strstr(err.text, "is no time"));
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(takes_what_people_write),
	    cmocka_unit_test(refuses_the_rest),
	};

	(void)setenv("TZ", "CET-1CEST,M3.5.0,M10.5.0/3", 1);
	tzset();
	return cmocka_run_group_tests(tests, NULL, NULL);
}
