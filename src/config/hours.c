/* See hours.h. A week is 10,080 bits: no spans to merge, no midnight to think of. */
#include "config/hours.h"

#include "util/text.h"

#include <ctype.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>

#define DAY (24 * 60)

static const char *const days[] = {"mon", "tue", "wed", "thu", "fri", "sat", "sun"};

static int refuse(const char *text, struct error *err)
{
	return error_set(err, -EINVAL,
			 "\"%.64s\" is no span of hours; write \"22:00-08:00\", \"mon-fri "
			 "19:00-07:00\" or \"sat,sun\"",
			 text);
}

/* The day at the beginning of *at, which is moved behind it; -1 = none. */
static int day_read(const char **at)
{
	for (int i = 0; i < 7; i++)
		if (strncasecmp(*at, days[i], 3) == 0 && !isalpha((unsigned char)(*at)[3])) {
			*at += 3;
			return i;
		}
	return -1;
}

/* "mon-fri,sun" as bits; false when it is not. */
static bool days_read(const char **at, unsigned *ret_days)
{
	unsigned set = 0;

	for (;;) {
		int first = day_read(at), last;

		if (first < 0)
			return false;
		last = first;
		if (**at == '-') {
			(*at)++;
			last = day_read(at);
			if (last < 0)
				return false;
		}
		for (int day = first;; day = (day + 1) % 7) {
			set |= 1u << day;
			if (day == last)
				break;
		}
		if (**at != ',')
			break;
		(*at)++;
	}
	*ret_days = set;
	return true;
}

/* "07:30" in minutes, up to 24:00; false when it is not. */
static bool time_read(const char **at, unsigned *ret_minute)
{
	unsigned hour, minute;
	int n = 0;

	if (!isdigit((unsigned char)**at) || sscanf(*at, "%2u:%2u%n", &hour, &minute, &n) != 2 ||
	    n < 4 || (*at)[n - 3] != ':' || minute > 59 || hour * 60 + minute > DAY)
		return false;
	*at += n;
	*ret_minute = hour * 60 + minute;
	return true;
}

static void open_span(struct hours *hours, unsigned from, unsigned minutes)
{
	for (unsigned i = 0; i < minutes; i++) {
		unsigned at = (from + i) % HOURS_WEEK;

		hours->open[at / 64] |= 1ull << (at % 64);
	}
}

int hours_add(struct hours *hours, const char *text, struct error *err)
{
	const char *at = text;
	unsigned set = 0x7f, from = 0, to = DAY;

	if (isalpha((unsigned char)*at)) {
		if (!days_read(&at, &set))
			return refuse(text, err);
		if (*at == ' ')
			at += strspn(at, " ");
		else if (*at)
			return refuse(text, err);
	} else if (!*at) {
		return refuse(text, err);
	}
	if (*at && (!time_read(&at, &from) || *at++ != '-' || !time_read(&at, &to) || *at))
		return refuse(text, err);
	if (from == to || from == DAY)
		return error_set(err, -EINVAL, "\"%.64s\" is empty: it ends where it begins", text);
	for (unsigned day = 0; day < 7; day++)
		if (set & 1u << day)
			open_span(hours, day * DAY + from, to > from ? to - from : DAY - from + to);
	return 0;
}

bool hours_is_open(const struct hours *hours, unsigned minute)
{
	return hours->open[minute % HOURS_WEEK / 64] >> (minute % HOURS_WEEK % 64) & 1;
}

unsigned hours_until_change(const struct hours *hours, unsigned minute)
{
	bool now = hours_is_open(hours, minute);

	for (unsigned i = 1; i < HOURS_WEEK; i++)
		if (hours_is_open(hours, minute + i) != now)
			return i;
	return 0;
}
