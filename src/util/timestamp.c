/* See timestamp.h. */
#include "util/timestamp.h"

#include <ctype.h>
#include <errno.h>
#include <string.h>
#include <time.h>

static int64_t clock_ms(clockid_t clock)
{
	struct timespec ts;

	(void)clock_gettime(clock, &ts);
	return (int64_t)ts.tv_sec * 1000 + ts.tv_nsec / 1000000;
}

int64_t timestamp_now_ms(void)
{
	return clock_ms(CLOCK_REALTIME);
}

int64_t monotonic_now_ms(void)
{
	return clock_ms(CLOCK_MONOTONIC);
}

void timestamp_now_both_ms(int64_t *ret_realtime_ms, int64_t *ret_monotonic_ms)
{
	int64_t before;
	int tries = 5;

	/* Somebody else may run between the two. */
	do {
		before = monotonic_now_ms();
		*ret_realtime_ms = timestamp_now_ms();
		*ret_monotonic_ms = monotonic_now_ms();
	} while (*ret_monotonic_ms - before > 10 && --tries > 0);
}

const char *timestamp_format(char buf[TIMESTAMP_TEXT_MAX], int64_t ms)
{
	int64_t seconds = ms / 1000, rest = ms % 1000;
	struct tm tm;
	time_t t;
	size_t n;

	if (rest < 0) {
		rest += 1000;
		seconds--;
	}
	t = (time_t)seconds;
	(void)gmtime_r(&t, &tm);
	n = strftime(buf, TIMESTAMP_TEXT_MAX, "%Y-%m-%dT%H:%M:%S", &tm);
	(void)snprintf(buf + n, TIMESTAMP_TEXT_MAX - n, ".%03dZ", (int)rest);
	return buf;
}

static int offset_parse(const char *p, int64_t *ret_ms)
{
	int sign = *p == '-' ? -1 : 1;

	if (strcmp(p, "Z") == 0 || strcmp(p, "z") == 0) {
		*ret_ms = 0;
		return 0;
	}
	if ((*p != '+' && *p != '-') || strlen(p) != 6 || p[3] != ':' ||
	    !isdigit((unsigned char)p[1]) || !isdigit((unsigned char)p[2]) ||
	    !isdigit((unsigned char)p[4]) || !isdigit((unsigned char)p[5]) || p[1] > '2' ||
	    (p[1] == '2' && p[2] > '3') || p[4] > '5')
		return -EINVAL;
	*ret_ms = sign * (((p[1] - '0') * 10 + (p[2] - '0')) * INT64_C(3600000) +
			  ((p[4] - '0') * 10 + (p[5] - '0')) * INT64_C(60000));
	return 0;
}

/* ".789": at least one digit, what is beyond milliseconds is dropped. */
static const char *fraction_read(const char *p, int64_t *ret_ms)
{
	const char *digits = ++p;

	for (int64_t scale = 100; isdigit((unsigned char)*p); p++, scale /= 10)
		*ret_ms += (*p - '0') * scale;
	return p == digits ? NULL : p;
}

int timestamp_parse(const char *text, int64_t *ret_ms, struct error *err)
{
	struct tm tm = {}, same;
	const char *p = strptime(text, "%Y-%m-%dT%H:%M:%S", &tm);
	int64_t fraction = 0, offset = 0, seconds = 0;

	if (p && *p == '.')
		p = fraction_read(p, &fraction);
	/* timegm() turns the 30th of February into the 1st of March: such a day is refused. */
	same = tm;
	seconds = (int64_t)timegm(&same);
	if (!p || same.tm_mday != tm.tm_mday)
		return error_set(err, -EINVAL,
				 "\"%.64s\" is not a time; write for example 2026-11-21T10:00:00Z",
				 text);
	if (offset_parse(p, &offset) < 0)
		return error_set(err, -EINVAL, "time \"%.64s\" needs Z or an offset such as +01:00",
				 text);
	*ret_ms = seconds * 1000 + fraction - offset;
	return 0;
}
