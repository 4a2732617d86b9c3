/* plimsoll why: what a task waits for, or why it is where it is, in numbers. */
#include "cli/session.h"
#include "cli/target.h"
#include "cli/term.h"

static void print(const json_t *answer)
{
	unsigned width = term_table_width(stdout);
	auto_text struct text text = {};
	auto_text struct text head = {};
	const json_t *detail;
	size_t i;

	text_printf(&head, "task %llu is %s: ", (unsigned long long)jsonx_get_u64(answer, "id", 0),
		    jsonx_get_string(answer, "state", "?"));
	term_add_clean(&head, jsonx_get_string(answer, "reason", "no reason is known"),
		       ERROR_TEXT_MAX);
	term_add_wrapped(&text, head.data, 2, width);
	json_array_foreach (json_object_get(answer, "details"), i, detail) {
		auto_text struct text line = {};

		text_add(&line, "  ");
		term_add_clean(&line, json_string_value(detail) ? json_string_value(detail) : "",
			       ERROR_TEXT_MAX);
		term_add_wrapped(&text, line.data, 4, width);
	}
	(void)fputs(text.data, stdout);
}

static int run(const struct options *options)
{
	auto_api_client struct api_client *client = NULL;
	auto_json json_t *answer = NULL;
	struct error err = {};
	uint64_t id;
	int code;

	if (target_parse_task(options->operands.items[0], &id, &err) < 0)
		return verb_complain(EXIT_USAGE, "%s", error_text(&err));
	code = session_open(&client);
	if (code == EXIT_DONE)
		code = session_call(client, "GET", NULL, &answer, "/v1/tasks/%llu/why",
				    (unsigned long long)id);
	if (code != EXIT_DONE)
		return code;
	if (options_flag(options, "json"))
		term_print_json(stdout, answer);
	else
		print(answer);
	return EXIT_DONE;
}

static const struct option_spec why_options[] = {
    {"json", 0, OPTION_FLAG, NULL, .help = "print as JSON"},
    {},
};

const struct verb verb_why = {
    .name = "why",
    .summary = "why a task waits, or why it runs where it does, in numbers",
    .usage = "ID [--json]",
    .examples = "  plimsoll why 17\n",
    .style = OPTIONS_OPERANDS,
    .options = why_options,
    .operands_min = 1,
    .operands_max = 1,
    .run = run,
};
