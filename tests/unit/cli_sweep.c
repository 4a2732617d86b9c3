/* Rows of sweeps and arrays: all combinations, in order, and no more than there may be. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "cli/rows.h"

#include <errno.h>
#include <string.h>

static int sweep(const struct rows *base, const char *words, struct rows **ret_rows,
		 struct error *err)
{
	auto_strings struct strings sweeps = {};
	auto_free char *copy = mem_strdup(words);
	char *rest = copy;

	for (char *word; (word = strsep(&rest, " "));)
		strings_add(&sweeps, word);
	return rows_sweep(base, &sweeps, ret_rows, err);
}

/* All labels, "|" between them. */
static char *labels(const struct rows *rows)
{
	struct text text = {};

	for (size_t i = 0; i < rows_count(rows); i++) {
		text_add(&text, i > 0 ? "|" : "");
		rows_sweep_label(rows, i, &text);
	}
	return text_take(&text);
}

static void test_combinations(void **state)
{
	static const struct {
		const char *sweeps, *labels;
	} cases[] = {
	    {"lr=1e-3,1e-4 seed=0..2", "lr=1e-3 seed=0|lr=1e-3 seed=1|lr=1e-3 seed=2|"
				       "lr=1e-4 seed=0|lr=1e-4 seed=1|lr=1e-4 seed=2"},
	    {"a=x", "a=x"},
	    {"a=0..9:4", "a=0|a=4|a=8"},
	    {"a=9..0:4", "a=9|a=5|a=1"},
	    {"a=-2..1", "a=-2|a=-1|a=0|a=1"},
	    {"a=08..10", "a=08|a=09|a=10"},
	    {"a=2..00", "a=02|a=01|a=00"},
	    {"a=0.1..0.5:0.2", "a=0.1|a=0.3|a=0.5"},
	    {"a=1..0:0.25", "a=1.00|a=0.75|a=0.50|a=0.25|a=0.00"},
	    {"a=-0.5..0.5:0.5", "a=-0.5|a=0.0|a=0.5"},
	    {"a=3,7..8,../data", "a=3|a=7|a=8|a=../data"},
	    {"a=5..5", "a=5"},
	    {"a=k=v", "a=k=v"},
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		auto_rows struct rows *rows = NULL;
		auto_free char *all = NULL;
		struct error err = {};

		if (sweep(NULL, cases[i].sweeps, &rows, &err) < 0)
			fail_msg("%s: %s", cases[i].sweeps, err.text);
		all = labels(rows);
		assert_string_equal(all, cases[i].labels);
	}
}

static void test_refused(void **state)
{
	static const struct {
		const char *sweeps, *said;
		int code;
	} cases[] = {
	    {"lr", "\"lr\" is not KEY=VALUE", -EINVAL},
	    {"=5", "is not KEY=VALUE", -EINVAL},
	    {"a{b=5", "is not KEY=VALUE", -EINVAL},
	    {"a=", "holds an empty value", -EINVAL},
	    {"a=1,,2", "holds an empty value", -EINVAL},
	    {"a=1 a=2", "a is swept twice", -EINVAL},
	    {"row=1", "{row} is the row's number", -EINVAL},
	    {"a=0..9:0", "the step must be above 0", -EINVAL},
	    {"a=0..9:-1", "the step must be above 0", -EINVAL},
	    {"a=0..x", "is no range of plain numbers", -EINVAL},
	    {"a=0..", "is no range of plain numbers", -EINVAL},
	    {"a=1e-3..1e-1", "is no range of plain numbers", -EINVAL},
	    {"a=0..9999999999999999", "is no range of plain numbers", -EINVAL},
	    {"a=0..999999999999999", "has more than 200000 values", -E2BIG},
	    {"a=0..999999999999999:0.000000001", "has too many digits", -EINVAL},
	    {"a=0..200000", "has more than 200000 values", -E2BIG},
	    {"a=1..150000,1..150000", "has more than 200000 values", -E2BIG},
	    {"a=1..1000 b=1..201", "more than 200000 tasks", -E2BIG},
	    {"a=1 b=1 c=1 d=1 e=1 f=1 g=1 h=1 i=1 j=1 k=1 l=1 m=1 n=1 o=1 p=1 q=1",
	     "more than 16 of them", -E2BIG},
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		struct rows *rows = NULL;
		struct error err = {};

		assert_int_equal(sweep(NULL, cases[i].sweeps, &rows, &err), cases[i].code);
		assert_null(rows);
		if (!strstr(err.text, cases[i].said))
			fail_msg("%s: \"%s\"", cases[i].sweeps, err.text);
	}
}

static void test_at_the_limit(void **state)
{
	auto_rows struct rows *rows = NULL;
	auto_text struct text last = {};

	(void)state;
	assert_int_equal(sweep(NULL, "a=1..1000 b=1..200", &rows, NULL), 0);
	assert_int_equal(rows_count(rows), ROWS_SWEEP_MAX);
	rows_sweep_label(rows, ROWS_SWEEP_MAX - 1, &last);
	assert_string_equal(last.data, "a=1000 b=200");
}

/* Each row of a file with each combination; what the file says keeps its line. */
static void test_times_a_file(void **state)
{
	static const struct {
		const char *data;
		enum rows_format format;
	} files[] = {
	    {"[{\"file\": \"a\"},\n {\"file\": \"b\"}]", ROWS_JSON},
	    {"file\na\nb\n", ROWS_CSV},
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(files); i++) {
		auto_rows struct rows *base = NULL, *rows = NULL, *none = NULL;
		auto_text struct text seen = {};
		struct error err = {};

		assert_int_equal(rows_parse(files[i].data, strlen(files[i].data), "f",
					    files[i].format, &base, &err),
				 0);
		assert_int_equal(sweep(base, "x=1,2", &rows, &err), 0);
		assert_int_equal(rows_count(rows), 4);
		assert_true(rows_is_swept(rows, "x"));
		assert_false(rows_is_swept(rows, "file"));
		for (size_t k = 0; k < 4; k++) {
			assert_int_equal(rows_line(rows, k), rows_line(base, k / 2));
			assert_int_equal(rows_value(rows, k, "file", &seen), 0);
			assert_int_equal(rows_value(rows, k, "x", &seen), 0);
			assert_int_equal(rows_value(rows, k, "row", &seen), 0);
		}
		assert_string_equal(seen.data, "a11a22b13b24");
		assert_int_equal(sweep(base, "file=1", &none, &err), -EINVAL);
		assert_non_null(strstr(err.text, "has a value of the name file already"));
	}
}

static void test_arrays(void **state)
{
	static const char *const cases[][2] = {
	    {"0-9", "index=0..9"},         {"1,3,5-7", "index=1,3,5..7"},
	    {"0-90:10", "index=0..90:10"}, {"0..9", "index=0..9"},
	    {"001-100", "index=001..100"}, {"", "index="},
	    {"1-2-3", "index=1..2..3"},
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		auto_free char *text = rows_array_sweep(cases[i][0]);

		assert_string_equal(text, cases[i][1]);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_combinations), cmocka_unit_test(test_refused),
	    cmocka_unit_test(test_at_the_limit), cmocka_unit_test(test_times_a_file),
	    cmocka_unit_test(test_arrays),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
