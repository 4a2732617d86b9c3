/* See when.h. Each form must take the whole text. mktime() knows the changes of the clock. */
#include "util/when.h"

#include "util/cleanup.h"
#include "util/duration.h"
#include "util/timestamp.h"

#include <errno.h>
#include <stdbool.h>
#include <string.h>
#include <time.h>

static int64_t local_ms(struct tm tm)
{
	tm.tm_isdst = -1;
	return (int64_t)mktime(&tm) * 1000;
}

static struct tm midnight(int64_t now_ms)
{
	time_t seconds = (time_t)(now_ms / 1000);
	struct tm tm = {};

	(void)localtime_r(&seconds, &tm);
	tm.tm_hour = tm.tm_min = tm.tm_sec = 0;
	return tm;
}

/* "14:30", "14:30:05" */
static bool clock_parse(const char *text, struct tm *tm)
{
	const char *end = strptime(text, "%H:%M:%S", tm);

	if (!end || *end) {
		tm->tm_sec = 0;
		end = strptime(text, "%H:%M", tm);
	}
	return end && !*end;
}

/* "2026-11-20", and a clock time after a blank or a T */
static bool date_parse(const char *text, struct tm *tm)
{
	const char *end;

	*tm = (struct tm){};
	end = strptime(text, "%Y-%m-%d", tm);
	/* strptime() takes years of fewer digits, and what day of the month there never was */
	if (!end || end - text != 10)
		return false;
	return !*end || ((*end == ' ' || *end == 'T') && clock_parse(end + 1, tm));
}

int when_parse_past(const char *text, int64_t now_ms, int64_t *ret_ms, struct error *err)
{
	struct tm tm = midnight(now_ms);
	int64_t ms;

	if (strcmp(text, "now") == 0) {
		*ret_ms = now_ms;
	} else if (strcmp(text, "today") == 0) {
		*ret_ms = local_ms(tm);
	} else if (strcmp(text, "yesterday") == 0) {
		tm.tm_mday--;
		*ret_ms = local_ms(tm);
	} else if (clock_parse(text, &tm) || date_parse(text, &tm)) {
		*ret_ms = local_ms(tm);
	} else if (timestamp_parse(text, &ms, NULL) == 0) {
		*ret_ms = ms;
	} else if (duration_parse(text, &ms, NULL) == 0) {
		*ret_ms = MAX_OF(now_ms - ms, 1);
	} else {
		return error_set(err, -EINVAL,
				 "\"%.64s\" is no time: 2h (ago), 14:30, yesterday, 2026-11-20, "
				 "\"2026-11-20 14:30\" or 2026-11-20T14:30:00Z",
				 text);
	}
	return 0;
}
