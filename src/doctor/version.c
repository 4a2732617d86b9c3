/* See version.h. */
#include "doctor/version.h"

#include <ctype.h>
#include <string.h>

#define PART_MAX 99999999

struct version version_parse(const char *text)
{
	struct version version = {};
	const char *p = text;

	while (version.n < VERSION_PARTS && isdigit((unsigned char)*p)) {
		const char *begin = p;
		unsigned part = 0;

		for (; isdigit((unsigned char)*p); p++) {
			part = part * 10 + (unsigned)(*p - '0');
			if (part > PART_MAX)
				return (struct version){};
		}
		version.digits[version.n] = (unsigned char)MIN_OF(p - begin, 8);
		version.parts[version.n++] = part;
		if (p[0] != '.' || !isdigit((unsigned char)p[1]))
			break;
		p++;
	}
	return version.n >= 2 ? version : (struct version){};
}

/* A whole word, so not the "64" of "x86_64" and not "U16-I3". */
static bool is_version(const char *word, size_t len)
{
	size_t dots = 0;

	for (size_t i = 0; i < len; i++) {
		bool digit = isdigit((unsigned char)word[i]);

		if (!digit && (word[i] != '.' || i == 0 || i + 1 == len || word[i - 1] == '.'))
			return false;
		dots += !digit;
	}
	return dots > 0;
}

struct version version_of_module(const char *text, bool *ret_open)
{
	static const char *const mark = "Module";
	const char *line_end = strchrnul(text, '\n');
	const char *p = strstr(text, mark);

	*ret_open = false;
	if (!p || p > line_end)
		return (struct version){};
	for (const char *open = text; open < p && (open = strstr(open, "Open")) && open < p; open++)
		*ret_open = true;
	for (p += strlen(mark); p < line_end;) {
		size_t len;

		p += strspn(p, " \t");
		len = strcspn(p, " \t\n");
		if (is_version(p, len))
			return version_parse(p);
		p += len;
		if (len == 0)
			break;
	}
	return (struct version){};
}

int version_compare(const struct version *a, const struct version *b)
{
	for (unsigned i = 0; i < VERSION_PARTS; i++) {
		unsigned left = i < a->n ? a->parts[i] : 0, right = i < b->n ? b->parts[i] : 0;

		if (left != right)
			return left < right ? -1 : 1;
	}
	return 0;
}

bool version_agrees(const struct version *a, const struct version *b)
{
	for (unsigned i = 0; i < MIN_OF(a->n, b->n); i++)
		if (a->parts[i] != b->parts[i])
			return false;
	return a->n > 0 && b->n > 0;
}

const char *version_format(char buf[VERSION_TEXT_MAX], const struct version *version)
{
	size_t len = 0;

	(void)snprintf(buf, VERSION_TEXT_MAX, "%s", version->n ? "" : "unknown");
	for (unsigned i = 0; i < version->n && len < VERSION_TEXT_MAX; i++)
		len += (size_t)snprintf(buf + len, VERSION_TEXT_MAX - len, "%s%0*u", i ? "." : "",
					version->digits[i], version->parts[i]);
	return buf;
}
