/* Options from a table, and the nearest name. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "cli/options.h"
#include "util/suggest.h"

#include <errno.h>
#include <string.h>

static const char *const colours[] = {"red", "green", NULL};
static const struct option_spec specs[] = {
    {"vram", 0, OPTION_SIZE, "SIZE", .help = "memory", .placeholders = true},
    {"threads", 't', OPTION_INT, "N", .help = "at once", .min = 1, .max = 100},
    {"yes", 'y', OPTION_FLAG, NULL, .help = "go on"},
    {"follow", 'f', OPTION_FLAG, NULL, .help = "follow"},
    {"colour", 0, OPTION_CHOICE, "NAME", .help = "which", .choices = colours},
    {"watch", 'w', OPTION_DURATION, "SECONDS", .help = "again", .value_optional = true},
    {"weight", 0, OPTION_REAL, "W", .help = "share", .min = 0, .max = 10},
    {"name", 'n', OPTION_STRING, "TEXT", .help = "what it is called"},
    {},
};

static int parse(enum options_style style, struct options *ret_options, struct error *err,
		 const char *const *words)
{
	char *argv[16];
	int argc = 0;

	for (; words[argc]; argc++)
		argv[argc] = (char *)(uintptr_t)words[argc];
	return options_parse(specs, style, argc, argv, ret_options, err);
}

#define PARSE(style, options, err, ...) \
	parse(style, options, err, (const char *const[]){__VA_ARGS__, NULL})

static void test_values(void **state)
{
	auto_options struct options o = {};
	struct error err = {};

	assert_int_equal(PARSE(OPTIONS_OPERANDS_COMMAND, &o, &err, "rows.json", "--vram", "2.5G",
			       "-t4", "-yf", "--colour=green", "--weight", "0.5", "-w",
			       "--name=", "-", "--", "cmd", "--vram"),
			 0);
	assert_int_equal(options_get(&o, "vram")->bytes, (uint64_t)2560 << 20);
	assert_int_equal(options_int(&o, "threads", 1), 4);
	assert_true(options_flag(&o, "yes") && options_flag(&o, "follow"));
	assert_int_equal(options_get(&o, "colour")->choice, 1);
	assert_true(options_get(&o, "weight")->real == 0.5);
	assert_true(options_flag(&o, "watch"));
	assert_null(options_get(&o, "watch")->text);
	assert_string_equal(options_text(&o, "name", "?"), "");
	assert_int_equal(o.operands.n, 2);
	assert_string_equal(o.operands.items[1], "-");
	assert_int_equal(o.command.n, 2);
	assert_string_equal(o.command.items[1], "--vram");
}

static void test_optional_value(void **state)
{
	auto_options struct options with = {}, without = {};
	struct error err = {};

	assert_int_equal(PARSE(OPTIONS_OPERANDS, &with, &err, "--watch", "0.5", "x"), 0);
	assert_int_equal(options_get(&with, "watch")->ms, 500);
	assert_int_equal(with.operands.n, 1);
	assert_int_equal(PARSE(OPTIONS_OPERANDS, &without, &err, "--watch", "x"), 0);
	assert_null(options_get(&without, "watch")->text);
	assert_int_equal(without.operands.n, 1);
}

static void test_command_style(void **state)
{
	auto_options struct options o = {}, help = {};
	struct error err = {};

	assert_int_equal(
	    PARSE(OPTIONS_COMMAND, &o, &err, "--vram", "1G", "python3", "-t", "--help"), 0);
	assert_false(o.help);
	assert_int_equal(o.command.n, 3);
	assert_false(options_flag(&o, "threads"));
	assert_int_equal(PARSE(OPTIONS_COMMAND, &help, &err, "-y", "--help"), 0);
	assert_true(help.help);
}

static void test_placeholder_is_kept(void **state)
{
	auto_options struct options o = {};
	struct error err = {};

	assert_int_equal(PARSE(OPTIONS_OPERANDS, &o, &err, "--vram={vram}"), 0);
	assert_string_equal(options_text(&o, "vram", ""), "{vram}");
}

static void test_refused(void **state)
{
	static const struct {
		const char *words[4], *wanted;
	} cases[] = {
	    {{"--vrom", "1G"}, "unknown option --vrom; did you mean --vram?"},
	    {{"--zzzzzz"}, "unknown option --zzzzzz"},
	    {{"-q"}, "unknown option -q"},
	    {{"--vram", "6"}, "--vram: size \"6\" has no unit"},
	    {{"--vram"}, "--vram needs a value: --vram SIZE"},
	    {{"-t", "0"}, "--threads: 0 is not between 1 and 100"},
	    {{"-t", "x"}, "--threads: \"x\" is not a whole number"},
	    {{"-t", "99999999999999999999"}, "not a whole number"},
	    {{"--yes=1"}, "--yes takes no value"},
	    {{"--colour", "blue"}, "not one of red, green"},
	    {{"--weight", "nan"}, "not a number"},
	    {{"--weight", "11"}, "not between 0 and 10"},
	};

	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		auto_options struct options o = {};
		struct error err = {};

		assert_int_equal(parse(OPTIONS_OPERANDS, &o, &err, cases[i].words), -EINVAL);
		if (!strstr(err.text, cases[i].wanted))
			fail_msg("\"%s\" does not say \"%s\"", err.text, cases[i].wanted);
	}
}

static void test_describe(void **state)
{
	auto_text struct text text = {};

	options_describe(specs, &text);
	assert_non_null(strstr(text.data, "  -t, --threads N"));
	assert_non_null(strstr(text.data, "--watch [SECONDS]"));
}

static const char *name_at(const void *data, size_t i)
{
	return ((const char *const *)data)[i];
}

static void test_nearest(void **state)
{
	static const char *const names[] = {"gpus", "queue", "submit", "batch", "show"};
	static const struct {
		const char *wrong, *wanted;
	} cases[] = {{"gpu", "gpus"},      {"gups", "gpus"},          {"bacth", "batch"},
		     {"sumbit", "submit"}, {"que", "queue"},          {"zzz", NULL},
		     {"", NULL},           {"completely-other", NULL}};

	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		const char *nearest =
		    suggest_nearest(cases[i].wrong, ARRAY_LEN(names), name_at, names);

		if (!cases[i].wanted) {
			assert_null(nearest);
			continue;
		}
		assert_non_null(nearest);
		assert_string_equal(nearest, cases[i].wanted);
	}
	assert_int_equal(suggest_distance("GPU_CLIP", "GPU_CLPI"), 1);
	assert_int_equal(suggest_distance("GPU_CLIP", "GPU_LLM"), 3);
	assert_int_equal(suggest_distance("", ""), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_values),        cmocka_unit_test(test_optional_value),
	    cmocka_unit_test(test_command_style), cmocka_unit_test(test_placeholder_is_kept),
	    cmocka_unit_test(test_refused),       cmocka_unit_test(test_describe),
	    cmocka_unit_test(test_nearest),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
