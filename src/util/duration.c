/* See duration.h. */
#include "util/duration.h"

#include <ctype.h>
#include <errno.h>
#include <stdbool.h>
#include <string.h>

#define DURATION_MAX_MS (INT64_C(100) * 366 * 24 * 3600 * 1000)

static const struct duration_unit {
	const char *name;
	double ms;
} duration_units[] = {
    {"ms", 1}, {"s", 1000}, {"m", 60e3}, {"min", 60e3}, {"h", 3600e3}, {"d", 86400e3},
};

/* Reads digits[.digits]; no sign, no exponent, no locale. */
static const char *number_read(const char *p, double *ret_value)
{
	double value = 0, scale = 1;

	if (!isdigit((unsigned char)*p))
		return NULL;
	for (; isdigit((unsigned char)*p); p++)
		value = value * 10 + (*p - '0');
	if (*p == '.')
		for (p++; isdigit((unsigned char)*p); p++)
			value += (*p - '0') * (scale /= 10);
	*ret_value = value;
	return p;
}

static double unit_read(const char **p)
{
	size_t len = 0;

	while (isalpha((unsigned char)(*p)[len]))
		len++;
	for (size_t i = 0; i < ARRAY_LEN(duration_units); i++) {
		const struct duration_unit *unit = &duration_units[i];

		if (strlen(unit->name) == len && strncmp(unit->name, *p, len) == 0) {
			*p += len;
			return unit->ms;
		}
	}
	return -1;
}

static int parse(const char *text, bool bare_seconds, int64_t *ret_ms, struct error *err)
{
	const char *p = text;
	double total = 0;
	bool alone = true; /* "90" may mean seconds, the 30 of "1h30" may not */

	do {
		double value = 0, unit;

		p = number_read(p, &value);
		if (!p)
			return error_set(
			    err, -EINVAL,
			    "\"%.64s\" is not a duration; write for example 300ms, 5s or 1h30m",
			    text);
		if (*p == '\0' && !(bare_seconds && alone))
			return error_set(err, -EINVAL,
					 "duration \"%.64s\" has no unit; write %.60ss or %.60sm",
					 text, text, text);
		unit = *p == '\0' ? 1000 : unit_read(&p);
		if (unit < 0)
			return error_set(
			    err, -EINVAL,
			    "duration \"%.64s\" has an unknown unit; ms, s, m, h or d is meant",
			    text);
		total += value * unit;
		if (total > (double)DURATION_MAX_MS)
			return error_set(err, -EINVAL, "\"%.64s\" is too long a duration", text);
		alone = false;
	} while (*p != '\0');
	*ret_ms = (int64_t)(total + 0.5);
	return 0;
}

int duration_parse(const char *text, int64_t *ret_ms, struct error *err)
{
	return parse(text, false, ret_ms, err);
}

int duration_parse_seconds(const char *text, int64_t *ret_ms, struct error *err)
{
	return parse(text, true, ret_ms, err);
}

const char *duration_format(char buf[DURATION_TEXT_MAX], int64_t ms)
{
	long long s = (long long)((ms + 500) / 1000);

	if (ms < 1000)
		(void)snprintf(buf, DURATION_TEXT_MAX, "%lld ms", (long long)ms);
	else if (ms < 59950) /* from there on it would read "60.0 s" */
		(void)snprintf(buf, DURATION_TEXT_MAX, "%.1f s", (double)ms / 1000);
	else if (s < 3600)
		(void)snprintf(buf, DURATION_TEXT_MAX, "%lld min %02lld s", s / 60, s % 60);
	else if (s < 86400)
		(void)snprintf(buf, DURATION_TEXT_MAX, "%lld h %02lld min", s / 3600,
			       s % 3600 / 60);
	else
		(void)snprintf(buf, DURATION_TEXT_MAX, "%lld d %02lld h", s / 86400,
			       s % 86400 / 3600);
	return buf;
}
