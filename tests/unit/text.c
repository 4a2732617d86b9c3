/* util/text: growing text, lists for execve(), numbers, terminal columns. */
#include "util/text.h"

#include "unit.h"

#include <errno.h>
#include <limits.h>
#include <locale.h>
#include <string.h>

static void grows_and_stays_terminated(void **state)
{
	auto_text struct text t = {};

	for (int i = 0; i < 10000; i++)
		text_printf(&t, "%d,", i % 10);
	assert_int_equal(t.len, 20000);
	assert_int_equal(strlen(t.data), 20000);
	text_add_bytes(&t, "a\0b", 3);
	assert_int_equal(t.len, 20003);
	assert_int_equal(t.data[t.len], '\0');
	text_clear(&t);
	assert_int_equal(t.len, 0);
	text_add(&t, "new");
	assert_string_equal(t.data, "new");
}

static void printing_nothing_adds_nothing(void **state)
{
	auto_text struct text t = {};

	text_printf(&t, "%s", "");
	assert_null(t.data);
	text_add(&t, "");
	assert_string_equal(t.data, "");
}

static void taking_leaves_it_empty(void **state)
{
	struct text t = {};
	auto_free char *none = text_take(&t), *some = NULL;

	assert_string_equal(none, "");
	text_add(&t, "x");
	some = text_take(&t);
	assert_string_equal(some, "x");
	assert_null(t.data);
	assert_int_equal(t.room, 0);
}

static void lists_end_with_null_at_every_length(void **state)
{
	auto_strings struct strings s = {};

	for (size_t i = 0; i < 100; i++) {
		auto_free char *item = mem_printf("%zu", i);

		strings_add(&s, item);
		assert_int_equal(s.n, i + 1);
		assert_string_equal(s.items[i], item);
		assert_null(s.items[i + 1]);
	}
	strings_take(&s, mem_strdup("taken"));
	assert_string_equal(s.items[100], "taken");
}

static void starts_and_ends(void **state)
{
	assert_true(text_starts_with("cuda:1", "cuda:"));
	assert_true(text_starts_with("x", ""));
	assert_false(text_starts_with("cu", "cuda:"));
	assert_true(text_ends_with("a.json", ".json"));
	assert_true(text_ends_with("a", ""));
	assert_false(text_ends_with("json", ".json"));
}

static void numbers_are_whole_decimal_and_in_range(void **state)
{
	static const char *const wrong[] = {
	    "", " 1", "1 ", "+1", "-1", "0x1", "1.0", "1e3", "18446744073709551616"};
	unsigned long long n = 77;

	assert_true(text_to_u64("0", 0, 10, &n));
	assert_int_equal(n, 0);
	assert_true(text_to_u64("007", 0, 10, &n));
	assert_int_equal(n, 7);
	assert_true(text_to_u64("18446744073709551615", 0, ULLONG_MAX, &n));
	assert_true(n == ULLONG_MAX);
	n = 77;
	assert_false(text_to_u64("0", 1, 10, &n));
	assert_false(text_to_u64("11", 1, 10, &n));
	for (size_t i = 0; i < ARRAY_LEN(wrong); i++)
		if (text_to_u64(wrong[i], 0, ULLONG_MAX, &n))
			fail_msg("\"%s\" is taken for %llu", wrong[i], n);
	assert_int_equal(n, 77);
}

static void columns_count_what_a_terminal_shows(void **state)
{
	assert_int_equal(text_columns(""), 0);
	assert_int_equal(text_columns("GPU 0"), 5);
	if (!setlocale(LC_CTYPE, "C.UTF-8"))
		fail_msg("no C.UTF-8 locale, which glibc has built in");
	assert_int_equal(text_columns("Größe"), 5);
	assert_int_equal(text_columns("録音"), 4);      /* two columns each */
	assert_int_equal(text_columns("e\xcc\x81"), 1); /* a combining accent */
	assert_int_equal(text_columns("\xff\xfe"), 2);  /* not UTF-8: one column a byte */
}

static void lists_in_words(void **state)
{
	static const char *const said[] = {"", "0", "0 and 1", "0, 1 and 2"};

	for (size_t n = 0; n < ARRAY_LEN(said); n++) {
		auto_text struct text t = {};

		for (size_t i = 0; i < n; i++)
			text_printf(&t, "%s%zu", text_and(i, n), i);
		assert_string_equal(t.data ? t.data : "", said[n]);
	}
}

static void uris_keep_what_may_stand_in_them(void **state)
{
	auto_text struct text t = {};

	text_add_uri(&t, "/a b/Ü~9.%", "/");
	assert_string_equal(t.data, "/a%20b/%C3%9C~9.%25");
	text_clear(&t);
	text_add_uri(&t, "{\"x/y\"}", "");
	assert_string_equal(t.data, "%7B%22x%2Fy%22%7D");
}

static void controls_are_hidden(void **state)
{
	char s[] = "a\x1b[31m\tb\0c\rd\nß";

	text_hide_controls(s, sizeof s - 1);
	assert_string_equal(s, "a?[31m\tb?c?d\nß");
}

static void what_is_no_utf8_is_repaired(void **state)
{
	static const struct {
		const char *given, *wanted;
	} cases[] = {{"", ""},
		     {"Größe 録音 \U0001f600", "Größe 録音 \U0001f600"},
		     {"m\xe9moire", "m?moire"},
		     {"\xc3", "?"},
		     {"\xe9\x8c", "??"},
		     {"\xc0\xaf \xe0\x80\xaf", "?? ???"},
		     {"\xed\xa0\x80 \xf4\x90\x80\x80 \xff", "??? ???? ?"}};

	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		auto_free char *s = mem_strdup(cases[i].given);

		text_repair(s);
		assert_string_equal(s, cases[i].wanted);
	}
}

static void what_is_long_loses_its_middle(void **state)
{
	static const struct {
		size_t size, tail;
		const char *given, *wanted;
	} cases[] = {{20, 0, "nineteen bytes long", "nineteen bytes long"},
		     {19, 0, "nineteen bytes long", "nineteen [...]"},
		     {23, 4, "one two three four five [id]", "one two [...] [id]"},
		     {12, 9, "abc [out-of-memory]", " [...] ory]"},
		     {15, 4, "\u9332\u9332\u9332\u9332 [id]", "\u9332 [...] [id]"},
		     {15, 2, "abc defghijkl \u9332", "abc def [...]"},
		     {8, 4, "abc defghijkl", " [...]"}};

	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		char buf[64];

		text_cut_middle(buf, cases[i].size, cases[i].given, cases[i].tail);
		assert_string_equal(buf, cases[i].wanted);
		assert_true(strlen(buf) < cases[i].size);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(grows_and_stays_terminated),
	    cmocka_unit_test(printing_nothing_adds_nothing),
	    cmocka_unit_test(taking_leaves_it_empty),
	    cmocka_unit_test(lists_end_with_null_at_every_length),
	    cmocka_unit_test(starts_and_ends),
	    cmocka_unit_test(numbers_are_whole_decimal_and_in_range),
	    cmocka_unit_test(columns_count_what_a_terminal_shows),
	    cmocka_unit_test(lists_in_words),
	    cmocka_unit_test(controls_are_hidden),
	    cmocka_unit_test(what_is_no_utf8_is_repaired),
	    cmocka_unit_test(what_is_long_loses_its_middle),
	    cmocka_unit_test(uris_keep_what_may_stand_in_them),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
