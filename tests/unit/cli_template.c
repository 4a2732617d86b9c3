/* Placeholders in commands and options. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "cli/template.h"

#include <errno.h>
#include <string.h>

static const char row[] = "[{\"file\": \"a.wav\", \"odd\": \"{gpu}.wav\", \"gpu\": \"mine\", "
			  "\"m\": {\"k\": 7}, \"null\": null}]";

static struct rows *rows_of_test(void)
{
	struct error err = {};
	struct rows *rows = NULL;

	if (rows_parse(row, strlen(row), "r.json", ROWS_AUTO, &rows, &err) < 0)
		fail_msg("%s", err.text);
	return rows;
}

static void assert_filled(const char *text, enum template_target target, const char *wanted)
{
	auto_rows struct rows *rows = rows_of_test();
	auto_free char *filled = NULL;
	struct error err = {};

	if (template_fill(text, target, rows, 0, &filled, &err) < 0)
		fail_msg("%s", err.text);
	assert_string_equal(filled, wanted);
}

static void assert_refused(const char *text, enum template_target target, const char *wanted)
{
	auto_rows struct rows *rows = rows_of_test();
	char *filled = NULL;
	struct error err = {};

	assert_int_equal(template_fill(text, target, rows, 0, &filled, &err), -EINVAL);
	assert_null(filled);
	if (!strstr(err.text, wanted))
		fail_msg("\"%s\" does not say \"%s\"", err.text, wanted);
}

static void test_command(void **state)
{
	assert_filled("--in={file}", TEMPLATE_COMMAND, "--in=a.wav");
	assert_filled("{file}{m.k}", TEMPLATE_COMMAND, "a.wav7");
	assert_filled("{device}", TEMPLATE_COMMAND, "{device}");
	assert_filled("x{vram_mib}y{batch_size}z{uuid}", TEMPLATE_COMMAND,
		      "x{vram_mib}y{batch_size}z{uuid}");
	assert_filled("{gpu}", TEMPLATE_COMMAND, "mine"); /* the row's own comes first */
	assert_filled("", TEMPLATE_COMMAND, "");
	assert_filled("{row}", TEMPLATE_COMMAND, "1");
}

static void test_command_braces(void **state)
{
	assert_filled("{{file}}", TEMPLATE_COMMAND, "{{file}}"); /* the daemon makes them single */
	assert_filled("{odd}", TEMPLATE_COMMAND, "{{gpu}}.wav"); /* a value is never a template */
}

static void test_value(void **state)
{
	assert_filled("{m.k}G", TEMPLATE_VALUE, "7G");
	assert_filled("{{{file}}}", TEMPLATE_VALUE, "{a.wav}");
	assert_filled("{odd}", TEMPLATE_VALUE, "{gpu}.wav");
}

static void test_refused(void **state)
{
	assert_refused("{fiel}", TEMPLATE_COMMAND,
		       "r.json:1: row 1: unknown placeholder {fiel}; the row has {file} ");
	assert_refused("{fiel}", TEMPLATE_COMMAND, " {row} and {device}");
	assert_refused("{fiel}", TEMPLATE_VALUE, " {row}; for a literal");
	assert_refused("{}", TEMPLATE_COMMAND, "unknown placeholder {}");
	assert_refused("{device}", TEMPLATE_VALUE, "not in an option");
	assert_refused("{null}", TEMPLATE_COMMAND, "is null");
	assert_refused("{file", TEMPLATE_COMMAND, "{ without its }");
	assert_refused("file}", TEMPLATE_VALUE, "} without its {");
	assert_refused("{line}", TEMPLATE_COMMAND, "{line}");
}

static void test_literal(void **state)
{
	static const struct {
		const char *text, *wanted;
	} cases[] = {
	    {"--device={device}", "--device={device}"},
	    {"{print $1}", "{{print $1}}"},
	    {"{\"a\": {\"b\": 1}}", "{{\"a\": {{\"b\": 1}}}}"},
	    {"{{gpu}}", "{{gpu}}"},
	    {"{{other}}", "{{{{other}}}}"},
	    {"{", "{{"},
	    {"}", "}}"},
	    {"", ""},
	    {"{gpu", "{{gpu"},
	    {"${gpu}", "${gpu}"},
	};

	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		auto_free char *literal = template_literal(cases[i].text);

		assert_string_equal(literal, cases[i].wanted);
	}
}

/* What is shown is what was typed, whatever was made of it. */
static void test_typed(void **state)
{
	static const char *const typed[] = {"--device={device}",
					    "{print $1}",
					    "{\"a\": {\"b\": 1}}",
					    "{{gpu}}",
					    "{{other}}",
					    "{",
					    "}",
					    "",
					    "{gpu",
					    "${gpu}",
					    "a{{}b",
					    "}}{{",
					    "{ echo ${X} {gpu} {{uuid}}; }"};

	for (size_t i = 0; i < ARRAY_LEN(typed); i++) {
		auto_free char *literal = template_literal(typed[i]);
		auto_free char *back = template_typed(literal);

		assert_string_equal(back, typed[i]);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_command), cmocka_unit_test(test_command_braces),
	    cmocka_unit_test(test_value),   cmocka_unit_test(test_refused),
	    cmocka_unit_test(test_literal), cmocka_unit_test(test_typed),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
