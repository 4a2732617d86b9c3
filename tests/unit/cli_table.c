/* Tables, bars, clean text, targets. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "cli/table.h"
#include "cli/target.h"
#include "cli/term.h"

#include <errno.h>
#include <locale.h>
#include <string.h>

static const struct table_column columns[] = {
    {.title = "ID", .right = true},
    {.title = "name", .shrinks = true},
    {.title = "why", .shrinks = true, .wide_only = true},
};

static struct table *table_of_test(void)
{
	struct table *table = table_create(columns, ARRAY_LEN(columns));

	table_add(table, "%d", 7);
	table_add(table, "short");
	table_add(table, "a reason");
	table_add(table, "%d", 123);
	table_add(table, "a much longer name");
	table_add(table, "%s", "");
	return table;
}

static void assert_table(unsigned width, const char *wanted)
{
	auto_table struct table *table = table_of_test();
	auto_text struct text text = {};

	table_render(table, width, &text);
	assert_string_equal(text.data, wanted);
}

static void test_wide(void **state)
{
	assert_table(80, " ID  name                why\n"
			 "  7  short               a reason\n"
			 "123  a much longer name\n");
}

static void test_shrinks(void **state)
{
	assert_table(28, " ID  name           why\n"
			 "  7  short          a reason\n"
			 "123  a much longe…\n");
	/* The column that need not be there goes when nothing can shrink any more. */
	assert_table(12, " ID  name\n"
			 "  7  short\n"
			 "123  a muc…\n");
}

static void test_no_rows_no_header(void **state)
{
	auto_table struct table *table = table_create(columns, ARRAY_LEN(columns));
	auto_text struct text text = {};

	table_render(table, 80, &text);
	assert_int_equal(text.len, 0);
}

static void assert_clean(const char *s, size_t width, const char *wanted)
{
	auto_text struct text text = {};

	term_add_clean(&text, s, width);
	assert_string_equal(text.data ? text.data : "", wanted);
}

static void test_clean(void **state)
{
	assert_clean("plain", 10, "plain");
	assert_clean("exact", 5, "exact");
	assert_clean("longer", 5, "long…");
	assert_clean("\033[2Jgone\n", 20, "?[2Jgone?");
	assert_clean("\xff\xfe", 5, "??");
	assert_clean("größe", 5, "größe");
	assert_clean("日本語", 6, "日本語");
	assert_clean("日本語", 5, "日本…");
	/* What turns the rest of the line around is shown, not done. */
	assert_clean("a\u202egnp.exe", 40, "a\\u202Egnp.exe");
	assert_clean("a\u200bb\ufeff", 40, "a\\u200Bb\\uFEFF");
	assert_clean("x", 0, "");
}

static void test_bar(void **state)
{
	static const struct {
		double share, mark;
		const char *wanted;
	} cases[] = {
	    {0, -1, ".........."}, {1, -1, "##########"},   {0.5, 0.95, "#####....|"},
	    {2, -1, "##########"}, {-1, 0.5, ".....|...."}, {1, 1, "#########|"},
	};

	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		auto_text struct text text = {};

		term_add_bar(&text, cases[i].share, cases[i].mark, 10);
		assert_string_equal(text.data, cases[i].wanted);
	}
}

static void test_wrapped(void **state)
{
	static const struct {
		const char *line, *wrapped;
		size_t hang;
		unsigned width;
	} cases[] = {
	    {"short", "short\n", 2, 10},
	    {"one two three", "one two\n  three\n", 2, 9},
	    {"  one  two three", "  one  two\n    three\n", 4, 11},
	    {"incredibly long", "incredibly\n  long\n", 2, 5},
	    {"über über über", "über über\n über\n", 1, 9},
	    {"", "\n", 2, 10},
	};

	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		auto_text struct text text = {};

		term_add_wrapped(&text, cases[i].line, cases[i].hang, cases[i].width);
		assert_string_equal(text.data, cases[i].wrapped);
	}
}

static void test_targets(void **state)
{
	struct target target = {};
	struct error err = {};
	uint64_t id = 0;
	static const char *const wrong[] = {"",   "b",  "x7",  "0",   "b0",
					    "-1", "7 ", "1.5", "bb3", "99999999999999999999"};

	assert_int_equal(target_parse("17", &target, &err), 0);
	assert_true(!target.is_batch && target.id == 17);
	assert_int_equal(target_parse("t17", &target, &err), 0);
	assert_true(!target.is_batch && target.id == 17);
	assert_int_equal(target_parse("b3", &target, &err), 0);
	assert_true(target.is_batch && target.id == 3);
	for (size_t i = 0; i < ARRAY_LEN(wrong); i++)
		assert_int_equal(target_parse(wrong[i], &target, &err), -EINVAL);
	assert_int_equal(target_parse_task("b3", &id, &err), -EINVAL);
	assert_non_null(strstr(err.text, "a task is meant"));
}

static int setup(void **state)
{
	return setlocale(LC_CTYPE, "C.UTF-8") ? 0 : -1;
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_wide),
	    cmocka_unit_test(test_shrinks),
	    cmocka_unit_test(test_no_rows_no_header),
	    cmocka_unit_test(test_clean),
	    cmocka_unit_test(test_bar),
	    cmocka_unit_test(test_targets),
	    cmocka_unit_test(test_wrapped),
	};

	return cmocka_run_group_tests(tests, setup, NULL);
}
