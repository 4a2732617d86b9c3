/*
 * Rows out of nothing but values: the cartesian product of the axes, in the order given, the last
 * one running fastest. How many there will be is known, and checked, before the first is made.
 *
 * A range counts in decimal, not in binary: 0.1..0.5:0.1 has five values, and the last is 0.5.
 */
#include "cli/rows_priv.h"
#include "cli/template.h"

#include <ctype.h>
#include <errno.h>
#include <string.h>

#define AXES_MAX     16
#define KEY_MAX      64
#define VALUE_MAX    4096
#define DIGITS_MAX   15 /* of a number in a range: fits an int64_t with room for sums */
#define DECIMALS_MAX 9

struct axis {
	char *key;
	struct strings values;
};

struct axes {
	struct axis items[AXES_MAX];
	size_t n;
};

static void axes_finish(struct axes *axes)
{
	for (size_t i = 0; i < axes->n; i++) {
		free(axes->items[i].key);
		strings_finish(&axes->items[i].values);
	}
}
#define auto_axes CLEANUP(axes_finish)

static int add_value(struct axis *axis, char *value_take, struct error *err)
{
	strings_take(&axis->values, value_take);
	if (axis->values.n <= ROWS_SWEEP_MAX)
		return 0;
	return error_set(err, -E2BIG, "has more than %d values", ROWS_SWEEP_MAX);
}

/* Ranges. */

struct decimal {
	int64_t mantissa;
	unsigned decimals;
	unsigned width; /* of a whole number written with zeroes before it; 0 = plain */
};

/* Exactly `len` characters. */
static bool decimal_parse(const char *text, size_t len, struct decimal *ret_decimal)
{
	struct decimal d = {};
	bool negative = len > 0 && *text == '-';
	size_t at = negative, digits = 0;
	const char *dot = NULL;

	for (; at < len; at++) {
		if (text[at] == '.' && !dot && digits > 0) {
			dot = text + at;
			continue;
		}
		if (!isdigit((unsigned char)text[at]) || ++digits > DIGITS_MAX)
			return false;
		d.mantissa = d.mantissa * 10 + (text[at] - '0');
		d.decimals += dot != NULL;
	}
	if (digits == 0 || d.decimals > DECIMALS_MAX || text[len - 1] == '.')
		return false;
	if (!dot && !negative && text[0] == '0' && len > 1)
		d.width = (unsigned)len;
	d.mantissa *= negative ? -1 : 1;
	*ret_decimal = d;
	return true;
}

/* False: it has more digits then than can be counted with. */
static bool decimal_scale(struct decimal *d, unsigned decimals)
{
	for (; d->decimals < decimals; d->decimals++)
		if (__builtin_mul_overflow(d->mantissa, INT64_C(10), &d->mantissa) ||
		    d->mantissa > INT64_MAX / 4 || d->mantissa < -(INT64_MAX / 4))
			return false;
	return true;
}

static char *decimal_format(int64_t value, unsigned decimals, unsigned width)
{
	uint64_t magnitude = value < 0 ? (uint64_t)-value : (uint64_t)value, scale = 1;

	for (unsigned i = 0; i < decimals; i++)
		scale *= 10;
	if (decimals == 0)
		return mem_printf("%s%0*llu", value < 0 ? "-" : "", (int)width,
				  (unsigned long long)magnitude);
	return mem_printf("%s%llu.%0*llu", value < 0 ? "-" : "",
			  (unsigned long long)(magnitude / scale), (int)decimals,
			  (unsigned long long)(magnitude % scale));
}

struct range {
	struct decimal first, last, step;
};

static int add_range(struct axis *axis, const char *text, struct range *range, struct error *err)
{
	unsigned decimals =
	    MAX_OF(MAX_OF(range->first.decimals, range->last.decimals), range->step.decimals);
	unsigned width = MAX_OF(range->first.width, range->last.width);
	int64_t span;
	int r = 0;

	if (!decimal_scale(&range->first, decimals) || !decimal_scale(&range->last, decimals) ||
	    !decimal_scale(&range->step, decimals))
		return error_set(err, -EINVAL, "\"%.64s\" has too many digits", text);
	if (range->step.mantissa <= 0)
		return error_set(err, -EINVAL,
				 "\"%.64s\": the step must be above 0, also downwards", text);
	span = range->last.mantissa - range->first.mantissa;
	if ((span < 0 ? -span : span) / range->step.mantissa >= ROWS_SWEEP_MAX)
		return error_set(err, -E2BIG, "\"%.64s\" has more than %d values", text,
				 ROWS_SWEEP_MAX);
	for (int64_t at = 0; at <= (span < 0 ? -span : span) && r == 0; at += range->step.mantissa)
		r = add_value(
		    axis,
		    decimal_format(range->first.mantissa + (span < 0 ? -at : at), decimals, width),
		    err);
	return r;
}

/* "a..b", "a..b:step". 1 it is one and was added, 0 it is a value as it stands ("../data"). */
static int try_range(struct axis *axis, const char *text, struct error *err)
{
	const char *dots = strstr(text, ".."), *colon;
	struct range range = {.step = {.mantissa = 1}};
	const char *begin = text + (*text == '-');
	int r;

	if (!dots || !isdigit((unsigned char)*begin))
		return 0;
	colon = strchr(dots, ':');
	if (!decimal_parse(text, (size_t)(dots - text), &range.first) ||
	    !decimal_parse(dots + 2, colon ? (size_t)(colon - dots - 2) : strlen(dots + 2),
			   &range.last) ||
	    (colon && !decimal_parse(colon + 1, strlen(colon + 1), &range.step)))
		return error_set(
		    err, -EINVAL,
		    "\"%.64s\" is no range of plain numbers: 0..9, 0..90:10, 0.1..0.5:0.1", text);
	range.step.width = 0;
	r = add_range(axis, text, &range, err);
	return r < 0 ? r : 1;
}

/* Axes. */

static int axis_parse(const char *text, struct axis *axis, struct error *err)
{
	const char *equals = strchr(text, '=');
	size_t key_len = equals ? (size_t)(equals - text) : 0;

	if (!equals || key_len == 0 || key_len > KEY_MAX || strcspn(text, "{}/,") < key_len)
		return error_set(err, -EINVAL, "\"%.64s\" is not KEY=VALUE[,VALUE]", text);
	if (equals[1] == '"' || equals[1] == '\'' || strstr(equals, ",\"") || strstr(equals, ",'"))
		return error_set(err, -EINVAL,
				 "\"%.64s\": quotes are not taken off here and commas part "
				 "values all the same; values with commas or quotes come from a "
				 "file of rows",
				 text);
	axis->key = mem_strndup(text, key_len);
	for (const char *at = equals + 1;;) {
		size_t len = strcspn(at, ",");
		char *value = mem_strndup(at, len);
		int r = len == 0
			    ? error_set(err, -EINVAL,
					"\"%.64s\" holds an empty value; values with commas or "
					"nothing in them come from a file of rows",
					text)
			: len > VALUE_MAX
			    ? error_set(err, -EINVAL, "a value is longer than %d bytes", VALUE_MAX)
			    : try_range(axis, value, err);

		if (r == 0)
			r = add_value(axis, TAKE(value), err);
		free(value);
		if (r < 0 || !at[len])
			return r < 0 ? r : 0;
		at += len + 1;
	}
}

static bool axes_have(const struct axes *axes, const char *key)
{
	for (size_t i = 0; i < axes->n; i++)
		if (strcmp(axes->items[i].key, key) == 0)
			return true;
	return false;
}

static int axes_parse(const struct strings *sweeps, struct axes *axes, struct error *err)
{
	for (size_t i = 0; i < sweeps->n; i++) {
		struct axis axis = {};
		int r = axis_parse(sweeps->items[i], &axis, err);

		if (r == 0 && strcmp(axis.key, "row") == 0)
			r = error_set(err, -EINVAL, "{row} is the row's number");
		if (r == 0 && template_is_of_gpu(axis.key))
			r = error_set(err, -EINVAL,
				      "{%s} is of the GPU a task gets: take another name (to put "
				      "the tasks on given GPUs: --sweep gpu_no=1,2 --device "
				      "{gpu_no})",
				      axis.key);
		if (r == 0 && axes_have(axes, axis.key))
			r = error_set(err, -EINVAL, "%s is swept twice", axis.key);
		if (r == 0 && axes->n == AXES_MAX)
			r = error_set(err, -E2BIG, "more than %d of them", AXES_MAX);
		if (r < 0) {
			free(axis.key);
			strings_finish(&axis.values);
			return r;
		}
		axes->items[axes->n++] = axis;
	}
	return 0;
}

/* The product. */

static int count_rows(const struct axes *axes, size_t base, size_t *ret_n, struct error *err)
{
	size_t n = base;

	for (size_t i = 0; i < axes->n; i++) {
		n *= axes->items[i].values.n; /* both below 2^20 */
		if (n > ROWS_SWEEP_MAX)
			return error_set(err, -E2BIG,
					 "together that is more than %d tasks; cut it in parts",
					 ROWS_SWEEP_MAX);
	}
	*ret_n = n;
	return 0;
}

/* A key of the file's rows cannot be an axis as well. */
static int check_keys(const struct rows *base, const struct axes *axes, struct error *err)
{
	for (size_t i = 0; base && i < base->n; i++)
		for (size_t a = 0; a < axes->n; a++) {
			auto_text struct text value = {};

			if (rows_value(base, i, axes->items[a].key, &value) != -ENOENT)
				return error_set(err, -EINVAL,
						 "%s:%u: row %zu has a value of the name %s "
						 "already",
						 base->name, base->items[i].line, i + 1,
						 axes->items[a].key);
		}
	return 0;
}

static char *sweep_name(const struct axes *axes)
{
	struct text name = {};

	text_add(&name, "sweep of ");
	for (size_t i = 0; i < axes->n; i++)
		text_printf(&name, "%s%s", i > 0 ? ", " : "", axes->items[i].key);
	return text_take(&name);
}

static void fill_row(const struct axes *axes, const struct row *base, size_t n_base, size_t at,
		     struct row *row)
{
	row->fields = mem_calloc(n_base + axes->n + 1, sizeof *row->fields);
	for (size_t c = 0; c < n_base; c++)
		row->fields[c] = mem_strdup(base->fields[c]);
	for (size_t a = axes->n; a-- > 0;) {
		const struct strings *values = &axes->items[a].values;

		row->fields[n_base + a] = mem_strdup(values->items[at % values->n]);
		at /= values->n;
	}
	if (base)
		row->json = json_incref(base->json);
}

int rows_sweep(const struct rows *base, const struct strings *sweeps, struct rows **ret_rows,
	       struct error *err)
{
	auto_rows struct rows *rows = mem_calloc(1, sizeof *rows);
	auto_axes struct axes axes = {};
	size_t n_base = base ? base->columns.n : 0, n = 0, each;
	int r = axes_parse(sweeps, &axes, err);

	if (r == 0)
		r = count_rows(&axes, base ? base->n : 1, &n, err);
	if (r == 0)
		r = check_keys(base, &axes, err);
	if (r < 0)
		return r;
	each = n / (base ? base->n : 1);
	rows->name = base ? mem_strdup(base->name) : sweep_name(&axes);
	rows->swept = axes.n;
	for (size_t c = 0; c < n_base; c++)
		strings_add(&rows->columns, base->columns.items[c]);
	for (size_t a = 0; a < axes.n; a++)
		strings_add(&rows->columns, axes.items[a].key);
	rows->items = mem_calloc(n, sizeof *rows->items);
	for (; rows->n < n; rows->n++) {
		const struct row *from = base ? &base->items[rows->n / each] : NULL;
		struct row *row = &rows->items[rows->n];

		row->line = from ? from->line : (unsigned)rows->n + 1;
		fill_row(&axes, from, from && from->fields ? n_base : 0, rows->n % each, row);
	}
	*ret_rows = TAKE(rows);
	return 0;
}

bool rows_is_swept(const struct rows *rows, const char *key)
{
	for (size_t c = rows->columns.n - rows->swept; c < rows->columns.n; c++)
		if (strcmp(rows->columns.items[c], key) == 0)
			return true;
	return false;
}

void rows_sweep_label(const struct rows *rows, size_t i, struct text *text)
{
	size_t first = rows->columns.n - rows->swept;

	for (size_t c = first; c < rows->columns.n; c++)
		text_printf(text, "%s%s=%s", c > first ? " " : "", rows->columns.items[c],
			    rows->items[i].fields[c]);
}

char *rows_array_sweep(const char *text)
{
	struct text sweep = {};

	text_add(&sweep, "index=");
	while (*text) {
		size_t digits = strspn(text, "0123456789");

		text_add_bytes(&sweep, text, digits);
		text += digits;
		if (digits > 0 && *text == '-' && isdigit((unsigned char)text[1])) {
			text_add(&sweep, "..");
			text++;
		} else if (*text) {
			text_add_bytes(&sweep, text++, 1);
		}
	}
	return text_take(&sweep);
}
