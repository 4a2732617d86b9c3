/*
 * How much was asked for, from texts such as "Tried to allocate 8.84 GiB", "buffer of size
 * 21098168320" or "tensor with shape[500,512,4,4] and type float". Units are binary whatever they
 * are called: what CUDA programs print as MB or M is MiB, and where one is not, a little too much
 * is asked for. What the process had then is read in the same way ("this process has 6.25 GiB
 * memory in use"), and where a text tells it in two numbers they are added.
 */
#include "run/oom_priv.h"

#include <ctype.h>
#include <string.h>

#define BYTES_MAX 1e15 /* nothing larger is a memory size */
#define PLAIN_MIN 64   /* less without a unit is a number of something else */
#define TRIES_MAX 16   /* places in a line where the text before the number is looked for */

static bool is_space(char c)
{
	return c == ' ' || c == '\t';
}

/* Bytes of the unit at `text`; how long it is. No unit: bytes. */
static double unit_read(const char *text, size_t len, size_t *ret_used)
{
	static const struct {
		const char *name;
		unsigned shift;
	} units[] = {{"kib", 10}, {"mib", 20},    {"gib", 30},    {"tib", 40},    {"bytes", 0},
		     {"byte", 0}, {"kbytes", 10}, {"mbytes", 20}, {"gbytes", 30}, {"kb", 10},
		     {"mb", 20},  {"gb", 30},     {"tb", 40},     {"k", 10},      {"m", 20},
		     {"g", 30},   {"t", 40},      {"b", 0}};
	size_t word = 0;

	while (word < len && isalpha((unsigned char)text[word]))
		word++;
	for (size_t i = 0; i < ARRAY_LEN(units); i++) {
		if (strlen(units[i].name) != word || strncmp(units[i].name, text, word) != 0)
			continue;
		*ret_used = word;
		return (double)(1ull << units[i].shift);
	}
	*ret_used = 0;
	return 1;
}

/* A number with its unit at the start of `text`: "8,000,000,000 bytes", "(2.25 GiB", "343.34M". It
 * may be 0 with its unit. */
static bool size_read(const char *text, size_t len, double *ret_bytes, size_t *ret_used)
{
	char digits[40];
	size_t i = 0, n = 0, unit;

	while (i < len && (is_space(text[i]) || strchr("([:='\"~", text[i])))
		i++;
	for (; i < len && n + 1 < sizeof digits; i++) {
		bool between = i + 1 < len && isdigit((unsigned char)text[i + 1]);

		if (isdigit((unsigned char)text[i]) ||
		    (text[i] == '.' && n > 0 && between && !memchr(digits, '.', n)))
			digits[n++] = text[i];
		else if (n == 0 || !between || (text[i] != ',' && text[i] != '_'))
			break;
	}
	digits[n] = '\0';
	if (n == 0)
		return false;
	*ret_used = i;
	if (i < len && text[i] == '.') /* NumPy's "201. GiB" */
		i++;
	while (i < len && is_space(text[i]))
		i++;
	*ret_bytes = strtod(digits, NULL) * unit_read(text + i, len - i, &unit);
	if (unit > 0)
		*ret_used = i + unit;
	return *ret_bytes >= (unit > 0 ? 0 : PLAIN_MIN) && *ret_bytes <= BYTES_MAX;
}

/* Bytes of one element: "... and type float on ...", "... and data type float64", "T=DT_FLOAT". */
static double type_read(const char *text, size_t len)
{
	static const struct {
		const char *name;
		unsigned bytes;
	} types[] = {{"bfloat16", 2},  {"float16", 2},     {"half", 2},   {"float32", 4},
		     {"float64", 8},   {"double", 8},      {"float", 4},  {"uint8", 1},
		     {"uint16", 2},    {"uint32", 4},      {"uint64", 8}, {"int8", 1},
		     {"int16", 2},     {"int32", 4},       {"int64", 8},  {"bool", 1},
		     {"complex64", 8}, {"complex128", 16}, {"qint8", 1},  {"quint8", 1}};
	static const char before[] = "type ", attribute[] = "t=dt_";
	const char *at = memmem(text, len, before, sizeof before - 1);
	size_t skip = sizeof before - 1;

	if (!at) {
		at = memmem(text, len, attribute, sizeof attribute - 1);
		skip = sizeof attribute - 1;
	}
	if (!at)
		return 0;
	at += skip;
	len -= (size_t)(at - text);
	for (size_t i = 0; i < ARRAY_LEN(types); i++) {
		size_t n = strlen(types[i].name);

		if (n <= len && strncmp(at, types[i].name, n) == 0 &&
		    (n == len || !isalnum((unsigned char)at[n])))
			return types[i].bytes;
	}
	return 0;
}

/* "[500,512,4,4] and type float": the product, in bytes. */
static bool shape_read(const char *text, size_t len, double *ret_bytes, size_t *ret_used)
{
	double product = 1;
	size_t i = 0, n = 0;

	while (i < len && (is_space(text[i]) || text[i] == ':'))
		i++;
	if (i == len || (text[i] != '[' && text[i] != '('))
		return false;
	for (i++; i < len && text[i] != ']' && text[i] != ')'; i++) {
		double factor = 0;

		if (!isdigit((unsigned char)text[i]))
			continue;
		for (; i < len && isdigit((unsigned char)text[i]); i++)
			factor = factor * 10 + (text[i] - '0');
		i--;
		n++;
		product *= factor;
		if (product > BYTES_MAX)
			return false;
	}
	if (n == 0 || i == len)
		return false;
	*ret_used = i + 1;
	*ret_bytes = product * type_read(text + i, len - i);
	return *ret_bytes >= 1 && *ret_bytes <= BYTES_MAX;
}

bool oom_rest_follows(const char *rest, const char *text, size_t len)
{
	while (*rest) {
		size_t part = strcspn(rest, OOM_MARKS);
		const char *at = memmem(text, len, rest, part);

		if (!at)
			return false;
		len -= (size_t)(at - text) + part;
		text = at + part;
		rest += part + (rest[part] != '\0');
	}
	return true;
}

/* As oom_rest_follows(), its first part at once. */
static bool after_follows(const char *rest, const char *text, size_t len)
{
	size_t part = strcspn(rest, OOM_MARKS);

	return part <= len && memcmp(text, rest, part) == 0 &&
	       oom_rest_follows(rest + part, text + part, len - part);
}

/* "... and {plus} is reserved": behind the first number, in `bytes` too. */
static bool further_read(const char *rest, const char *text, size_t len, double *bytes)
{
	while (*rest) {
		size_t part = strcspn(rest, OOM_MARKS), used = 0;
		const char *at = memmem(text, len, rest, part);
		double more = 0;

		if (!at)
			return false;
		len -= (size_t)(at - text) + part;
		text = at + part;
		if (rest[part] == OOM_PLUS_MARK || rest[part] == OOM_MINUS_MARK) {
			if (!size_read(text, len, &more, &used))
				return false;
			*bytes += rest[part] == OOM_PLUS_MARK ? more : -more;
			text += used;
			len -= used;
		}
		rest += part + (rest[part] != '\0');
	}
	return true;
}

bool oom_size_find(const struct oom_pattern *pattern, const char *text, size_t len,
		   uint64_t *ret_bytes)
{
	const char *mark = strpbrk(pattern->text, "\1\2"), *before = pattern->text, *star;
	double least = OOM_BIT(pattern->kind) & OOM_KINDS_HAD ? 0 : 1;
	size_t before_len;

	if (!mark)
		return false;
	while ((star = memchr(before, '*', (size_t)(mark - before)))) {
		const char *at = memmem(text, len, before, (size_t)(star - before));

		if (!at)
			return false;
		len -= (size_t)(at - text) + (size_t)(star - before);
		text = at + (star - before);
		before = star + 1;
	}
	before_len = (size_t)(mark - before);
	for (unsigned i = 0; i < TRIES_MAX; i++) {
		const char *at = memmem(text, len, before, before_len);
		size_t used = 0;
		double bytes = 0;

		if (!at)
			return false;
		len -= (size_t)(at - text) + before_len;
		text = at + before_len;
		if ((*mark == OOM_SIZE_MARK ? size_read : shape_read)(text, len, &bytes, &used) &&
		    after_follows(mark + 1, text + used, len - used) &&
		    further_read(mark + 1, text + used, len - used, &bytes) && bytes >= least) {
			*ret_bytes = (uint64_t)(bytes + 0.5);
			return true;
		}
	}
	return false;
}
