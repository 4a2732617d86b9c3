/* plimsoll show: one task (or batch) in full. */
#include "cli/session.h"
#include "cli/summary.h"
#include "cli/target.h"
#include "cli/tasktable.h"
#include "cli/term.h"
#include "util/timestamp.h"

#include <string.h>

#define VALUE_COLUMN 13 /* of the lines of tasktable_render_one() */

static int show_batch(const struct options *options, const json_t *answer)
{
	auto_text struct text text = {};
	unsigned width = term_table_width(stdout);

	if (options_flag(options, "json")) {
		term_print_json(stdout, answer);
		return EXIT_DONE;
	}
	tasktable_render(json_object_get(answer, "tasks"), timestamp_now_ms(), width, &text);
	text_add(&text, "\n");
	summary_render(answer, width, &text);
	(void)fputs(text.data, stdout);
	return EXIT_DONE;
}

/* What is prose is broken between words; what may be pasted stays in one piece. */
static void print_wrapped(const char *lines, unsigned width)
{
	static const char *const whole[] = {"  command ", "  folder ", "  log ", "  name ",
					    "  kind "};
	auto_text struct text text = {};

	while (*lines) {
		size_t len = strcspn(lines, "\n");
		auto_free char *line = mem_strndup(lines, len);
		bool is_whole = false;

		for (size_t i = 0; i < ARRAY_LEN(whole); i++)
			is_whole |= text_starts_with(line, whole[i]);
		if (is_whole)
			text_printf(&text, "%s\n", line);
		else
			term_add_wrapped(&text, line, VALUE_COLUMN, width);
		lines += len + (lines[len] != '\0');
	}
	(void)fputs(text.data, stdout);
}

static void add_warnings(const json_t *warnings, struct text *text)
{
	const json_t *warning;
	size_t i;

	json_array_foreach (warnings, i, warning)
		text_printf(text, "  warning    it %s\n", jsonx_get_string(warning, "text", ""));
}

static int run(const struct options *options)
{
	auto_api_client struct api_client *client = NULL;
	auto_json json_t *answer = NULL;
	auto_text struct text text = {};
	struct target target;
	struct error err = {};
	int code;

	if (target_parse(options->operands.items[0], &target, &err) < 0)
		return verb_complain(EXIT_USAGE, "%s", error_text(&err));
	code = session_open(&client);
	if (code == EXIT_DONE)
		code = session_call(client, "GET", NULL, &answer, "/v1/%s/%llu",
				    target.is_batch ? "batches" : "tasks",
				    (unsigned long long)target.id);
	if (code != EXIT_DONE)
		return code;
	if (target.is_batch)
		return show_batch(options, answer);
	if (options_flag(options, "json")) {
		term_print_json(stdout, json_object_get(answer, "task"));
		return EXIT_DONE;
	}
	tasktable_render_one(json_object_get(answer, "task"), &text);
	add_warnings(json_object_get(answer, "warnings"), &text);
	print_wrapped(text.data, term_table_width(stdout));
	return EXIT_DONE;
}

static const struct option_spec show_options[] = {
    {"json", 0, OPTION_FLAG, NULL, .help = "print as JSON"},
    {},
};

const struct verb verb_show = {
    .name = "show",
    .summary = "everything about one task or batch",
    .usage = "ID [--json]",
    .description = "ID is a task's number (17) or a batch (b3).\n",
    .examples =
	"  plimsoll show 17\n  plimsoll show b3\n  plimsoll show 17 --json | jq .attempts\n",
    .style = OPTIONS_OPERANDS,
    .options = show_options,
    .operands_min = 1,
    .operands_max = 1,
    .run = run,
};
