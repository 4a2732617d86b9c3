/*
 * What is written must be read as it was: random rows through each format, through a template and
 * through the daemon's expansion; sizes and durations through their texts. The seed of a failure is
 * in its message.
 */
#include "cli/rows.h"
#include "cli/template.h"
#include "daemon/expand.h"
#include "daemon/submit_parse.h"
#include "unit.h"
#include "util/duration.h"
#include "util/jsonx.h"
#include "util/size.h"

#include <assert.h>
#include <stdio.h>
#include <string.h>

static_assert(ROWS_SWEEP_MAX == SUBMIT_TASKS_MAX, "a sweep is refused before it is made");

#define SEEDS   400
#define COLUMNS 5
#define ROWS    6

struct sheet {
	unsigned n_columns, n_rows;
	char keys[COLUMNS][24];
	char values[ROWS][COLUMNS][40];
};

static uint64_t next(uint64_t *state)
{
	*state ^= *state << 13;
	*state ^= *state >> 7;
	*state ^= *state << 17;
	return *state;
}

/* Text with all that some format or template treats in its own way. */
static void odd_text(uint64_t *state, char *to, size_t pieces, bool breaks)
{
	static const char *const odd[] = {"a",  "Z9",     " ",     ",",    "\"",   "'",  "{",  "}",
					  "{{", "}}",     "{gpu}", "$x",   "\\",   "ü",  "日", "\t",
					  ";",  "{file}", "[1]",   "null", "\r\n", "\n", "#"};
	size_t n = ARRAY_LEN(odd) - (breaks ? 0 : 3);

	*to = '\0';
	for (size_t i = next(state) % (pieces + 1); i > 0; i--)
		strcat(to, odd[next(state) % n]);
}

static void make_sheet(uint64_t seed, struct sheet *sheet, bool breaks)
{
	uint64_t state = seed * UINT64_C(0x9e3779b97f4a7c15);

	sheet->n_columns = 1 + (unsigned)(next(&state) % COLUMNS);
	sheet->n_rows = 1 + (unsigned)(next(&state) % ROWS);
	for (unsigned c = 0; c < sheet->n_columns; c++)
		(void)snprintf(sheet->keys[c], sizeof sheet->keys[c], "key%u%s", c,
			       next(&state) % 2 ? "" : " of it");
	for (unsigned r = 0; r < sheet->n_rows; r++)
		for (unsigned c = 0; c < sheet->n_columns; c++)
			odd_text(&state, sheet->values[r][c], 5, breaks);
}

static void add_csv_field(struct text *text, const char *s, bool always)
{
	if (!always && !strpbrk(s, "\",\r\n") && *s) {
		text_add(text, s);
		return;
	}
	text_add(text, "\"");
	for (; *s; s++)
		text_add(text, *s == '"' ? "\"\"" : (char[]){*s, '\0'});
	text_add(text, "\"");
}

static void write_csv(const struct sheet *sheet, uint64_t seed, struct text *text)
{
	const char *end = seed % 2 ? "\n" : "\r\n";

	if (seed % 3 == 0)
		text_add(text, "\xef\xbb\xbf");
	for (unsigned r = 0; r <= sheet->n_rows; r++) {
		for (unsigned c = 0; c < sheet->n_columns; c++) {
			text_add(text, c ? "," : "");
			add_csv_field(text, r == 0 ? sheet->keys[c] : sheet->values[r - 1][c],
				      seed % 5 == 0);
		}
		/* The last line need not be ended. */
		if (r < sheet->n_rows || seed % 7)
			text_add(text, end);
	}
}

static void write_json(const struct sheet *sheet, bool lines, struct text *text)
{
	text_add(text, lines ? "" : "[");
	for (unsigned r = 0; r < sheet->n_rows; r++) {
		auto_json json_t *row = json_object();
		auto_free char *dump = NULL;

		for (unsigned c = 0; c < sheet->n_columns; c++)
			json_object_set_new(row, sheet->keys[c], json_string(sheet->values[r][c]));
		dump = json_dumps(row, lines ? JSON_COMPACT : JSON_INDENT(2));
		text_printf(text, "%s%s", r == 0 ? "" : lines ? "\n" : ",\n", dump);
	}
	text_add(text, lines ? "\n" : "]");
}

static void check_rows(const struct sheet *sheet, const char *what, uint64_t seed,
		       enum rows_format format, const struct text *text)
{
	auto_rows struct rows *rows = NULL;
	struct error err = {};

	if (rows_parse(text->data, text->len, "rows", format, &rows, &err) < 0)
		fail_msg("%s %d: %s\n%s", what, (int)seed, err.text, text->data);
	if (rows_count(rows) != sheet->n_rows)
		fail_msg("%s %d: %zu rows, not %u, of\n%s", what, (int)seed, rows_count(rows),
			 sheet->n_rows, text->data);
	for (unsigned r = 0; r < sheet->n_rows; r++)
		for (unsigned c = 0; c < sheet->n_columns; c++) {
			auto_text struct text value = {};

			assert_int_equal(rows_value(rows, r, sheet->keys[c], &value), 0);
			if (strcmp(value.data ? value.data : "", sheet->values[r][c]) != 0)
				fail_msg("%s %d, row %u, %s: \"%s\", not \"%s\" of\n%s", what,
					 (int)seed, r + 1, sheet->keys[c], value.data,
					 sheet->values[r][c], text->data);
		}
}

static void test_rows(void **state)
{
	for (uint64_t seed = 1; seed <= SEEDS; seed++) {
		auto_text struct text csv = {}, json = {}, lines = {};
		struct sheet sheet;

		make_sheet(seed, &sheet, true);
		write_csv(&sheet, seed, &csv);
		check_rows(&sheet, "csv", seed, ROWS_CSV, &csv);
		write_json(&sheet, false, &json);
		check_rows(&sheet, "json", seed, ROWS_AUTO, &json);
		write_json(&sheet, true, &lines);
		check_rows(&sheet, "jsonl", seed, ROWS_JSONL, &lines);
	}
}

static struct rows *rows_of(const struct sheet *sheet)
{
	auto_text struct text json = {};
	struct rows *rows = NULL;

	write_json(sheet, false, &json);
	assert_int_equal(rows_parse(json.data, json.len, "rows", ROWS_JSON, &rows, NULL), 0);
	return rows;
}

static const struct expand_grant grant = {
    .task = 7, .attempt = 1, .n_gpus = 1, .gpus = {{"GPU-x", 1, GIB}}, .vram_bytes = GIB};

/* The whole way of an argument: the row's values put in here, the GPU's there. */
static void test_arguments(void **state)
{
	for (uint64_t seed = 1; seed <= SEEDS; seed++) {
		auto_rows struct rows *rows = NULL;
		auto_free char *sent = NULL, *is = NULL, *value = NULL;
		auto_text struct text template = {}, wanted = {}, alone = {};
		struct error err = {};
		struct sheet sheet;

		make_sheet(seed, &sheet, true);
		rows = rows_of(&sheet);
		for (unsigned c = 0; c < sheet.n_columns; c++) {
			text_printf(&template, "--%u={%s}:{{x}}:{gpu} ", c, sheet.keys[c]);
			text_printf(&wanted, "--%u=%s:{x}:1 ", c, sheet.values[0][c]);
		}
		if (template_fill(template.data, TEMPLATE_COMMAND, rows, 0, &sent, &err) < 0 ||
		    expand_check(sent, false, &err) < 0 ||
		    expand_argument(sent, &grant, &is, &err) < 0)
			fail_msg("%d: %s", (int)seed, err.text);
		if (strcmp(is, wanted.data) != 0)
			fail_msg("%d: \"%s\", not \"%s\"", (int)seed, is, wanted.data);
		/* A value read here is the row's text, whatever stands in it. */
		text_printf(&alone, "{%s}", sheet.keys[0]);
		assert_int_equal(template_fill(alone.data, TEMPLATE_VALUE, rows, 0, &value, &err),
				 0);
		assert_string_equal(value, sheet.values[0][0]);
	}
}

/* A command without rows: the five names are replaced, `{{gpu}}` is the text, the rest stays. */
static void test_literal(void **state)
{
	for (uint64_t seed = 1; seed <= SEEDS; seed++) {
		uint64_t random = seed * 77;
		auto_free char *sent = NULL, *is = NULL;
		auto_text struct text wanted = {};
		struct error err = {};
		char text[64];

		odd_text(&random, text, 8, true);
		for (const char *p = text; *p;) {
			if (strncmp(p, "{{gpu}}", 7) == 0) {
				text_add(&wanted, "{gpu}");
				p += 7;
			} else if (strncmp(p, "{gpu}", 5) == 0) {
				text_add(&wanted, "1");
				p += 5;
			} else {
				text_add_bytes(&wanted, p++, 1);
			}
		}
		text_add(&wanted, "");
		sent = template_literal(text);
		if (expand_argument(sent ? sent : "", &grant, &is, &err) < 0)
			fail_msg("%d: \"%s\": %s", (int)seed, text, err.text);
		if (strcmp(is, wanted.data) != 0)
			fail_msg("%d: \"%s\" comes out as \"%s\", not \"%s\"", (int)seed, text, is,
				 wanted.data);
	}
}

/* A printed size is read as what it is up to its last digit, and printed again as the same. */
static void test_sizes(void **state)
{
	uint64_t random = 4711;

	for (unsigned i = 0; i < 20000; i++) {
		uint64_t bytes = next(&random) >> (next(&random) % 63 + 1), again = 0, step;
		struct error err = {};
		char packed[SIZE_TEXT_MAX], *to = packed;

		/* Bytes alone are only printed, never read. */
		bytes += KIB;
		for (const char *p = SIZE_TEXT(bytes); *p; p++)
			if (*p != ' ')
				*to++ = *p;
		*to = '\0';
		if (size_parse(packed, &again, &err) < 0)
			fail_msg("%llu is printed as %s: %s", (unsigned long long)bytes, packed,
				 err.text);
		step = bytes >= GIB ? GIB / 100 : bytes >= MIB ? MIB : bytes >= KIB ? KIB : 1;
		if (bytes > again + step || again > bytes + step)
			fail_msg("%llu is printed as %s, which is %llu", (unsigned long long)bytes,
				 packed, (unsigned long long)again);
		assert_string_equal(SIZE_TEXT(again), SIZE_TEXT(bytes));
	}
}

static void test_durations(void **state)
{
	static const struct {
		int64_t below_ms, step_ms;
	} steps[] = {
	    {1000, 1}, {60000, 100}, {3600000, 1000}, {86400000, 60000}, {INT64_MAX, 3600000}};
	uint64_t random = 99;

	for (unsigned i = 0; i < 20000; i++) {
		int64_t ms = (int64_t)(next(&random) >> (next(&random) % 40 + 24)), again = 0;
		char packed[DURATION_TEXT_MAX], *to = packed;
		struct error err = {};
		size_t s = 0;

		for (const char *p = DURATION_TEXT(ms); *p; p++)
			if (*p != ' ' && strncmp(p, "in", 2) != 0 && (*p != 'n' || p[-1] != 'i'))
				*to++ = *p;
		*to = '\0';
		if (duration_parse(packed, &again, &err) < 0)
			fail_msg("%lld ms is printed as %s: %s", (long long)ms, packed, err.text);
		while (ms >= steps[s].below_ms)
			s++;
		if (again > ms + steps[s].step_ms || ms > again + steps[s].step_ms)
			fail_msg("%lld ms is printed as \"%s\", which is %lld", (long long)ms,
				 DURATION_TEXT(ms), (long long)again);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_rows),      cmocka_unit_test(test_arguments),
	    cmocka_unit_test(test_literal),   cmocka_unit_test(test_sizes),
	    cmocka_unit_test(test_durations),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
