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

/* 30 February is none. */
static bool day_exists(const struct tm *tm)
{
	struct tm day = *tm;

	return timegm(&day) != -1 && day.tm_mday == tm->tm_mday;
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
	} else if (clock_parse(text, &tm) || (date_parse(text, &tm) && day_exists(&tm))) {
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

const char *when_format(char buf[WHEN_TEXT_MAX], int64_t ms)
{
	time_t seconds = (time_t)(ms / 1000);
	struct tm tm = {};

	(void)localtime_r(&seconds, &tm);
	if (strftime(buf, WHEN_TEXT_MAX, "%a %Y-%m-%d %H:%M:%S", &tm) == 0)
		(void)timestamp_format(buf, ms);
	return buf;
}

/* Not the 30th of February, and not 02:30 of the night in which the clock goes from 2 to 3. */
static bool local_exists(const struct tm *tm, int64_t ms)
{
	time_t seconds = (time_t)(ms / 1000);
	struct tm back = {};

	(void)localtime_r(&seconds, &back);
	return back.tm_mday == tm->tm_mday && back.tm_hour == tm->tm_hour &&
	       back.tm_min == tm->tm_min && back.tm_mon == tm->tm_mon;
}

static int local_future(const char *text, const struct tm *tm, int64_t *ret_ms, struct error *err)
{
	*ret_ms = local_ms(*tm);
	if (*ret_ms < 0 || !local_exists(tm, *ret_ms))
		return error_set(err, -EINVAL, "there is no %.64s here", text);
	return 0;
}

/* The rest of `text` after `word` and blanks; NULL when it begins otherwise. */
static const char *after_word(const char *text, const char *word)
{
	size_t len = strlen(word);

	if (strncmp(text, word, len) != 0 || (text[len] && text[len] != ' '))
		return NULL;
	return text + len + strspn(text + len, " ");
}

static bool day_parse(const char *text, int64_t now_ms, struct tm *tm)
{
	const char *rest = after_word(text, "tomorrow");
	struct tm day = midnight(now_ms);

	if (rest) {
		/* mktime() makes a day of this month or the next of it. */
		day.tm_mday++;
		day = midnight(local_ms(day) + INT64_C(12) * 3600 * 1000);
	} else {
		rest = after_word(text, "today");
	}
	if (!clock_parse(rest ? rest : text, &day))
		return false;
	*tm = day;
	return true;
}

int when_parse_future(const char *text, int64_t now_ms, int64_t *ret_ms, struct error *err)
{
	struct tm tm;
	int64_t ms = 0;
	int r = 0;

	if (text[0] == '+') {
		r = duration_parse(text + 1, &ms, err);
		ms += now_ms;
	} else if (timestamp_parse(text, &ms, NULL) < 0) {
		if (!day_parse(text, now_ms, &tm) && (!strchr(text, ':') || !date_parse(text, &tm)))
			return error_set(
			    err, -EINVAL,
			    "\"%.64s\" is no time to come: +2h, 17:30, tomorrow 06:00, "
			    "\"2026-11-22 06:00\" or 2026-11-22T06:00:00+01:00",
			    text);
		r = local_future(text, &tm, &ms, err);
	}
	if (r == 0 && ms <= now_ms)
		r = error_set(err, -EINVAL, "%.64s has passed: it is read as %s, and it is %s now",
			      text, WHEN_TEXT(ms), WHEN_TEXT(now_ms));
	if (r == 0)
		*ret_ms = ms;
	return r;
}
