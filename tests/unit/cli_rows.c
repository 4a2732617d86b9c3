/* Rows of a batch: the four formats, their detection, and what is said about broken ones. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "cli/rows.h"

#include <errno.h>
#include <string.h>

static struct rows *parse(const char *data, const char *name, enum rows_format format)
{
	struct error err = {};
	struct rows *rows = NULL;
	int r = rows_parse(data, strlen(data), name, format, &rows, &err);

	if (r < 0)
		fail_msg("%s", err.text);
	return rows;
}

static void assert_value(const struct rows *rows, size_t i, const char *key, const char *wanted)
{
	auto_text struct text text = {};
	int r = rows_value(rows, i, key, &text);

	if (!wanted) {
		assert_int_equal(r, -ENOENT);
		return;
	}
	assert_int_equal(r, 0);
	assert_string_equal(text.data ? text.data : "", wanted);
}

static void assert_broken(const char *data, const char *name, int code, const char *wanted)
{
	struct error err = {};
	struct rows *rows = NULL;

	assert_int_equal(rows_parse(data, strlen(data), name, ROWS_AUTO, &rows, &err), code);
	assert_null(rows);
	if (!strstr(err.text, wanted))
		fail_msg("\"%s\" does not say \"%s\"", err.text, wanted);
}

static void test_json_objects(void **state)
{
	auto_rows struct rows *rows =
	    parse(" [\n {\"file\": \"a.wav\", \"n\": 3, \"x\": 0.1, \"ok\": true},\n\n {\"file\": "
		  "\"b\\\"c\", "
		  "\"meta\": {\"lang\": \"de\", \"tags\": [\"p\", \"q\"]}, \"none\": null}\n]\n",
		  "assets.json", ROWS_AUTO);
	auto_text struct text text = {};

	assert_int_equal(rows_count(rows), 2);
	assert_int_equal(rows_line(rows, 0), 2);
	assert_int_equal(rows_line(rows, 1), 4);
	assert_value(rows, 0, "file", "a.wav");
	assert_value(rows, 0, "n", "3");
	assert_value(rows, 0, "x", "0.1");
	assert_value(rows, 0, "ok", "true");
	assert_value(rows, 0, "row", "1");
	assert_value(rows, 0, "meta.lang", NULL);
	assert_value(rows, 1, "file", "b\"c");
	assert_value(rows, 1, "meta.lang", "de");
	assert_value(rows, 1, "meta.tags.1", "q");
	assert_value(rows, 1, "meta.tags.2", NULL);
	assert_value(rows, 1, "meta", "{\"lang\":\"de\",\"tags\":[\"p\",\"q\"]}");
	assert_int_equal(rows_value(rows, 1, "none", &text), -ENODATA);
}

static void test_json_keys_with_dots(void **state)
{
	auto_rows struct rows *rows = parse(
	    "[{\"a.b\": {\"c\": 1}, \"a\": {\"b\": {\"d\": 2}}, \"row\": 9}]", "x", ROWS_AUTO);

	assert_value(rows, 0, "a.b.c", "1");
	assert_value(rows, 0, "a.b.d", "2");
	assert_value(rows, 0, "row", "9");
}

static void test_json_strings(void **state)
{
	auto_rows struct rows *rows = parse("[\"one\", \"two words\"]", "-", ROWS_AUTO);

	assert_string_equal(rows_name(rows), "standard input");
	assert_value(rows, 1, "line", "two words");
	assert_value(rows, 1, "file", NULL);
}

static void test_jsonl(void **state)
{
	auto_rows struct rows *rows =
	    parse("\xef\xbb\xbf{\"a\": 1}\r\n\r\n  \n\"text\"\r\n{\"a\": 3}", "x.jsonl", ROWS_AUTO);

	assert_int_equal(rows_count(rows), 3);
	assert_int_equal(rows_line(rows, 1), 4);
	assert_value(rows, 0, "a", "1");
	assert_value(rows, 1, "line", "text");
	assert_value(rows, 2, "a", "3");
}

static void test_csv(void **state)
{
	auto_rows struct rows *rows =
	    parse("\xef\xbb\xbf"
		  "file,note\r\na.wav,\"x, \"\"y\"\"\r\nz\"\r\n\r\nb.wav,\r\n\"c\",d",
		  "x.csv", ROWS_AUTO);

	assert_int_equal(rows_count(rows), 3);
	assert_value(rows, 0, "file", "a.wav");
	assert_value(rows, 0, "note", "x, \"y\"\r\nz");
	assert_value(rows, 1, "note", "");
	assert_int_equal(rows_line(rows, 1), 5);
	assert_value(rows, 2, "note", "d");
	assert_value(rows, 2, "nothing", NULL);
}

static void test_csv_one_column(void **state)
{
	auto_rows struct rows *rows = parse("file\na\nb\n", "-", ROWS_CSV);

	assert_int_equal(rows_count(rows), 2);
	assert_value(rows, 1, "file", "b");
}

static void test_lines(void **state)
{
	auto_rows struct rows *rows = parse("a b\r\n\n{not: json\nlast, one", "list", ROWS_LINES);

	assert_int_equal(rows_count(rows), 3);
	assert_value(rows, 0, "line", "a b");
	assert_value(rows, 1, "line", "{not: json");
	assert_int_equal(rows_line(rows, 1), 3);
	assert_value(rows, 2, "line", "last, one");
}

static void test_detection(void **state)
{
	static const struct {
		const char *name, *data, *key, *value;
	} cases[] = {
	    {"-", "[\"x\"]", "line", "x"},
	    {"-", "{\"a\":1}\n{\"a\":2}\n", "a", "1"},
	    {"-", "plain\n", "line", "plain"},
	    {"f.txt", "[odd]\n", "line", "[odd]"},
	    {"f.csv", "a,b\n1,2\n", "b", "2"},
	    {"f.ndjson", "{\"a\":1}", "a", "1"},
	    {"f.json", "{\"a\":1}\n{\"a\":2}", "a", "1"},
	};

	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		auto_rows struct rows *rows = parse(cases[i].data, cases[i].name, ROWS_AUTO);

		assert_value(rows, 0, cases[i].key, cases[i].value);
	}
}

static void test_broken(void **state)
{
	assert_broken("[{\"a\": 1},\n {\"a\": }]", "f.json", -EINVAL, "f.json:2: row 2: ");
	assert_broken("[1]", "f.json", -EINVAL, "f.json:1: row 1: a number");
	assert_broken("[\"a\" \"b\"]", "f.json", -EINVAL, "a comma or the closing ]");
	assert_broken("[\"a\",]", "f.json", -EINVAL, "row 2: a comma before");
	assert_broken("[\"a\"", "f.json", -EINVAL, "closing ]");
	assert_broken("[\"a\"] x", "f.json", -EINVAL, "after the closing ]");
	assert_broken("{\n\"assets\": [1]}", "f.json", -EINVAL, "jq");
	assert_broken("[{\"a\":1,\"a\":2}]", "f.json", -EINVAL, "duplicate");
	assert_broken("{\"a\":1}\n{\"a\":\n", "f.jsonl", -EINVAL, "f.jsonl:2: row 2: ");
	assert_broken("{\"a\":1} 5\n", "f.jsonl", -EINVAL, "f.jsonl:1: row 1: ");
	assert_broken("a,b\n1,2\n3\n", "f.csv", -EINVAL,
		      "f.csv:3: row 2: 1 field, the header has 2");
	assert_broken("a,b\n1,\"2\n", "f.csv", -EINVAL, "f.csv:2: row 1: a quote is opened");
	assert_broken("a,b\n1,\"2\"x\n", "f.csv", -EINVAL, "closing quote");
	assert_broken("a,b\n1,x\"2\n", "f.csv", -EINVAL, "a quote inside");
	assert_broken("a,a\n1,2\n", "f.csv", -EINVAL, "twice");
	assert_broken("a,\n1,2\n", "f.csv", -EINVAL, "no name");
	assert_broken("", "f.csv", -ENODATA, "f.csv: is empty");
	assert_broken("\xef\xbb\xbf", "f.json", -ENODATA, "f.json: is empty");
	assert_broken("[\"a\\u0000\"]", "f.json", -EINVAL, "f.json:1: row 1: a zero character");
	assert_broken("a,b\n", "f.csv", -ENODATA, "no row");
	assert_broken("[]", "f.json", -ENODATA, "no row");
	assert_broken("\n\n", "-", -ENODATA, "standard input: is empty");
}

static void test_zero_byte(void **state)
{
	struct error err = {};
	struct rows *rows = NULL;

	assert_int_equal(rows_parse("a\0b\n", 4, "f", ROWS_LINES, &rows, &err), -EINVAL);
	assert_int_equal(rows_parse("a\nb\0\n", 5, "f", ROWS_CSV, &rows, &err), -EINVAL);
}

/* The data may end where the mapping ends: nothing behind it is looked at. */
static void test_no_terminator(void **state)
{
	auto_free char *data = mem_alloc(3);
	struct error err = {};
	struct rows *rows = NULL;

	memcpy(data, "1\n ", 3);
	for (size_t len = 0; len <= 3; len++)
		for (enum rows_format format = ROWS_AUTO; format <= ROWS_CSV; format++) {
			char *exact = mem_alloc(len ? len : 1);

			memcpy(exact, data + 3 - len, len);
			if (rows_parse(exact, len, "f", format, &rows, &err) == 0)
				rows_destroy(rows);
			free(exact);
		}
}

static void test_too_many(void **state)
{
	size_t len = 2 * ((size_t)ROWS_MAX + 1);
	auto_free char *data = mem_alloc(len + 1);
	struct error err = {};
	struct rows *rows = NULL;

	for (size_t i = 0; i < len; i += 2)
		memcpy(data + i, "x\n", 2);
	data[len] = '\0';
	assert_int_equal(rows_parse(data, len, "f", ROWS_LINES, &rows, &err), -E2BIG);
	assert_non_null(strstr(err.text, "f:1000001: row 1000001: more than 1000000 rows"));
	assert_int_equal(rows_parse(data, len - 2, "f", ROWS_LINES, &rows, &err), 0);
	assert_int_equal(rows_count(rows), ROWS_MAX);
	rows_destroy(rows);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_json_objects),  cmocka_unit_test(test_json_keys_with_dots),
	    cmocka_unit_test(test_json_strings),  cmocka_unit_test(test_jsonl),
	    cmocka_unit_test(test_csv),           cmocka_unit_test(test_csv_one_column),
	    cmocka_unit_test(test_lines),         cmocka_unit_test(test_detection),
	    cmocka_unit_test(test_broken),        cmocka_unit_test(test_zero_byte),
	    cmocka_unit_test(test_no_terminator), cmocka_unit_test(test_too_many),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
