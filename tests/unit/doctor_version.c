/* Versions: as numbers, whatever form they come in. */
#include "doctor/version.h"

#include "unit.h"

static void assert_sign(const char *a, const char *b, int sign)
{
	struct version left = version_parse(a), right = version_parse(b);
	int order = version_compare(&left, &right);

	assert_int_equal((order > 0) - (order < 0), sign);
	order = version_compare(&right, &left);
	assert_int_equal((order > 0) - (order < 0), -sign);
}

static void compares_as_numbers(void **state)
{
	assert_sign("580.126.09", "580.95.05", 1);
	assert_sign("580.126", "580.95", 1);
	assert_sign("550.135", "550.54.15", 1);
	assert_sign("535.86.10", "535.86.9", 1);
	assert_sign("535.86.10", "535.104.05", -1);
	assert_sign("12.10", "12.9", 1);
	assert_sign("12.6", "12.6.0", 0);
	assert_sign("570.86.15", "570.133.20", -1);
	assert_sign("570.86.15", "nothing", 1);
}

static void keeps_how_it_was_written(void **state)
{
	static const char *const texts[] = {"450.36.06", "550.135", "12.6", "580.126.09",
					    "1.2.3.4"};

	for (size_t i = 0; i < ARRAY_LEN(texts); i++) {
		struct version version = version_parse(texts[i]);

		assert_string_equal(VERSION_TEXT(&version), texts[i]);
	}
	assert_string_equal(VERSION_TEXT(&(struct version){}), "unknown");
}

static void takes_what_stands_at_the_start(void **state)
{
	static const struct {
		const char *text, *version;
	} rows[] = {
	    {"12.6-cudnn", "12.6"},
	    {"570.133.20-0ubuntu1", "570.133.20"},
	    {"1.2.", "1.2"},
	    {"580", "unknown"},
	    {"", "unknown"},
	    {"v1.2", "unknown"},
	    {"-1.2", "unknown"},
	    {"99999999999.1", "unknown"},
	    {"1.2.3.4.5", "1.2.3.4"},
	    {"1..2", "unknown"},
	    {"0000000012.5", "00000012.5"},
	};

	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		struct version version = version_parse(rows[i].text);

		assert_string_equal(VERSION_TEXT(&version), rows[i].version);
	}
}

/* The inputs of facts/cuda.md, section 7. */
static void reads_the_module_s_line(void **state)
{
	static const struct {
		const char *text, *version;
		bool open;
	} rows[] = {
	    {"NVRM version: NVIDIA UNIX x86_64 Kernel Module  590.48.01  Mon Dec  8 11:22:45 UTC "
	     "2025\nGCC version:  gcc version 14.2.0 (Debian 14.2.0-19) ",
	     "590.48.01", false},
	    {"NVRM version: NVIDIA UNIX x86_64 Kernel Module  550.135  Fri Jan 10 20:00:00 UTC "
	     "2025",
	     "550.135", false},
	    {"NVRM version: NVIDIA UNIX Open Kernel Module for x86_64  590.48.01  Release Build  "
	     "(dvs-builder@U16-I3-D08-2-2)  Mon Nov 24 04:14:44 UTC 2025",
	     "590.48.01", true},
	    {"NVRM version: NVIDIA UNIX Open Kernel Module for x86_64  595.71.05  Release Build  "
	     "(root@Mocha)  ",
	     "595.71.05", true},
	    {"NVRM version: NVIDIA UNIX Open Kernel Module for x86_64  580.126.09", "580.126.09",
	     true},
	    {"NVRM version: NVIDIA UNIX aarch64 Kernel Module  540.4.0  Release Build", "540.4.0",
	     false},
	    {"", "unknown", false},
	    {"GCC version:  gcc version 14.2.0", "unknown", false},
	    {"NVRM version: NVIDIA UNIX x86_64 Kernel Module\nModule 1.2.3", "unknown", false},
	};

	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		bool open = !rows[i].open;
		struct version version = version_of_module(rows[i].text, &open);

		assert_string_equal(VERSION_TEXT(&version), rows[i].version);
		assert_int_equal(open, rows[i].open);
	}
}

static void a_cut_version_agrees_with_the_whole_one(void **state)
{
	struct version whole = version_parse("610.57.04"), cut = version_parse("610.57"),
		       other = version_parse("610.43.02"), none = {};

	assert_true(version_agrees(&whole, &cut));
	assert_true(version_agrees(&cut, &whole));
	assert_false(version_agrees(&whole, &other));
	assert_false(version_agrees(&cut, &other));
	assert_false(version_agrees(&whole, &none));
	assert_false(version_agrees(&none, &none));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(compares_as_numbers),
	    cmocka_unit_test(keeps_how_it_was_written),
	    cmocka_unit_test(takes_what_stands_at_the_start),
	    cmocka_unit_test(reads_the_module_s_line),
	    cmocka_unit_test(a_cut_version_agrees_with_the_whole_one),
	};

	return cmocka_run_group_tests_name("doctor_version", tests, NULL, NULL);
}
