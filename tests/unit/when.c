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
	static const char *const cases[] = {
	    "",           "noon",   "25:00",       "14:30x",
	    "2026-13-01", "26-1-1", "2026-11-20 ", "2026-11-20 9",
	    "-2h",        "5",      "2026-02-30",  "2026-02-30 10:00"};

	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		struct error err = {};
		int64_t ms = 77;

		if (when_parse_past(cases[i], NOW, &ms, &err) != -EINVAL)
			fail_msg("\"%s\" was taken as %s", cases[i], TIMESTAMP_TEXT(ms));
		assert_int_equal(ms, 77);
		assert_non_null(strstr(err.text, "is no time"));
	}
}

static void takes_times_to_come(void **state)
{
	static const struct {
		const char *text, *utc;
	} cases[] = {
	    {"+2h", "2026-11-21T16:00:00.000Z"},
	    {"+1h30m", "2026-11-21T15:30:00.000Z"},
	    {"17:30", "2026-11-21T16:30:00.000Z"},
	    {"today 17:30:05", "2026-11-21T16:30:05.000Z"},
	    {"tomorrow 06:00", "2026-11-22T05:00:00.000Z"},
	    {"2026-11-22 06:00", "2026-11-22T05:00:00.000Z"},
	    {"2027-07-01T06:00:05", "2027-07-01T04:00:05.000Z"}, /* summer time */
	    {"2026-11-22T06:00:00.250+05:00", "2026-11-22T01:00:00.250Z"},
	};

	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		struct error err = {};
		int64_t ms = 0;

		if (when_parse_future(cases[i].text, NOW, &ms, &err) < 0)
			fail_msg("%s: %s", cases[i].text, err.text);
		assert_string_equal(TIMESTAMP_TEXT(ms), cases[i].utc);
	}
}

static void refuses_what_does_not_come(void **state)
{
	static const struct {
		const char *text, *said;
	} cases[] = {
	    {"", "no time to come"},
	    {"tomorrow", "no time to come"},
	    {"tomorrow06:00", "no time to come"},
	    {"noon", "no time to come"},
	    {"2h", "no time to come"},
	    {"2026-11-22", "no time to come"},
	    {"25:00", "no time to come"},
	    {"+2", "has no unit"},
	    {"+0s", "has passed"},
	    {"14:30", "14:30 has passed: it is read as Sat 2026-11-21 14:30:00, and it is Sat "
		      "2026-11-21 15:00:00 now"},
	    {"2026-11-20 06:00", "read as Fri 2026-11-20 06:00:00"},
	    {"2026-11-20T06:00:00Z", "read as Fri 2026-11-20 07:00:00"},
	    {"2027-02-30 06:00", "there is no 2027-02-30 06:00 here"},
	    /* The clock goes from 02:00 to 03:00. */
	    {"2027-03-28 02:30", "there is no 2027-03-28 02:30 here"},
	};

	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		struct error err = {};
		int64_t ms = 77;

		if (when_parse_future(cases[i].text, NOW, &ms, &err) != -EINVAL)
			fail_msg("\"%s\" was taken as %s", cases[i].text, TIMESTAMP_TEXT(ms));
		assert_int_equal(ms, 77);
		if (!strstr(err.text, cases[i].said))
			fail_msg("%s: \"%s\"", cases[i].text, err.text);
	}
}

/* Tomorrow is a day of its own on the last of a month, and when the clock changes in the night. */
static void tomorrow_is_the_next_day(void **state)
{
	static const struct {
		const char *now, *utc;
	} cases[] = {
	    {"2026-12-31T22:59:00Z", "2027-01-01T05:00:00.000Z"},
	    {"2026-12-31T23:01:00Z", "2027-01-02T05:00:00.000Z"},
	    {"2027-03-27T20:00:00Z", "2027-03-28T04:00:00.000Z"},
	    {"2026-10-24T20:00:00Z", "2026-10-25T05:00:00.000Z"},
	};

	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		int64_t now = 0, ms = 0;

		assert_int_equal(timestamp_parse(cases[i].now, &now, NULL), 0);
		assert_int_equal(when_parse_future("tomorrow 06:00", now, &ms, NULL), 0);
		assert_string_equal(TIMESTAMP_TEXT(ms), cases[i].utc);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(takes_what_people_write),
	    cmocka_unit_test(refuses_the_rest),
	    cmocka_unit_test(takes_times_to_come),
	    cmocka_unit_test(refuses_what_does_not_come),
	    cmocka_unit_test(tomorrow_is_the_next_day),
	};

	(void)setenv("TZ", "CET-1CEST,M3.5.0,M10.5.0/3", 1);
	tzset();
	return cmocka_run_group_tests(tests, NULL, NULL);
}
