/* See size.h. Decimal fractions are read digit by digit, so that no locale and no rounding of
 * binary floating point changes what "2.5G" means. */
#include "util/size.h"

#include <ctype.h>
#include <errno.h>
#include <stdbool.h>
#include <string.h>
#include <strings.h>

/* What comes after the number: one of these letters, then nothing, "B" or "iB". */
static int unit_shift(const char *unit)
{
	static const char letters[] = "KMGT";
	const char *at = *unit ? strchr(letters, toupper((unsigned char)*unit)) : NULL;

	if (!at)
		return -1;
	if (unit[1] != '\0' && strcasecmp(unit + 1, "b") != 0 && strcasecmp(unit + 1, "ib") != 0)
		return -1;
	return 10 * (int)(at - letters + 1);
}

static bool multiply_add(uint64_t *value, uint64_t factor, uint64_t term)
{
	return !__builtin_mul_overflow(*value, factor, value) &&
	       !__builtin_add_overflow(*value, term, value);
}

int size_parse(const char *text, uint64_t *ret_bytes, struct error *err)
{
	uint64_t whole = 0, part = 0, scale = 1;
	const char *p = text;
	int shift;

	if (!isdigit((unsigned char)*p))
		return error_set(err, -EINVAL,
				 "\"%.64s\" is not a size; write for example 2.5G or 512M", text);
	for (; isdigit((unsigned char)*p); p++)
		if (!multiply_add(&whole, 10, (uint64_t)(*p - '0')))
			return error_set(err, -EINVAL, "\"%.64s\" is too large a size", text);
	if (*p == '.') {
		/* Nine decimals are enough for one byte of a GiB. */
		for (p++; isdigit((unsigned char)*p); p++)
			if (scale < 1000000000) {
				part = part * 10 + (uint64_t)(*p - '0');
				scale *= 10;
			}
	}
	while (*p == ' ')
		p++;
	if (*p == '\0')
		return error_set(err, -EINVAL, "size \"%.64s\" has no unit; write %.60sM or %.60sG",
				 text, text, text);
	shift = unit_shift(p);
	if (shift < 0)
		return error_set(
		    err, -EINVAL,
		    "size \"%.64s\" has an unknown unit \"%.16s\"; K, M, G or T is meant", text, p);
	if (whole > (uint64_t)INT64_MAX >> shift)
		return error_set(err, -EINVAL, "\"%.64s\" is too large a size", text);
	*ret_bytes =
	    (whole << shift) + (uint64_t)((__extension__(unsigned __int128) part << shift) / scale);
	return 0;
}

const char *size_format(char buf[SIZE_TEXT_MAX], uint64_t bytes)
{
	if (bytes >= GIB) {
		int n = snprintf(buf, SIZE_TEXT_MAX, "%.2f", GIB_OF(bytes));

		while (n > 0 && buf[n - 1] == '0')
			n--;
		if (n > 0 && buf[n - 1] == '.')
			n--;
		(void)snprintf(buf + n, (size_t)(SIZE_TEXT_MAX - n), " GiB");
	} else if (bytes >= MIB || bytes == 0) {
		(void)snprintf(buf, SIZE_TEXT_MAX, "%llu MiB",
			       (unsigned long long)((bytes + MIB / 2) / MIB));
	} else if (bytes >= KIB) {
		(void)snprintf(buf, SIZE_TEXT_MAX, "%llu KiB",
			       (unsigned long long)((bytes + KIB / 2) / KIB));
	} else {
		(void)snprintf(buf, SIZE_TEXT_MAX, "%llu B", (unsigned long long)bytes);
	}
	return buf;
}
