/* plimsoll why: what a task waits for, or why it is where it is, in numbers. */
#include "cli/session.h"
#include "cli/target.h"
#include "cli/term.h"

static void print(const json_t *answer)
{
	auto_text struct text text = {};
	const json_t *line;
	size_t i;

	text_printf(&text, "task %llu is %s: ", (unsigned long long)jsonx_get_u64(answer, "id", 0),
		    jsonx_get_string(answer, "state", "?"));
	term_add_clean(&text, jsonx_get_string(answer, "reason", "no reason is known"),
		       ERROR_TEXT_MAX);
	text_add(&text, "\n");
	json_array_foreach (json_object_get(answer, "details"), i, line) {
		text_add(&text, "  ");
		term_add_clean(&text, json_string_value(line) ? json_string_value(line) : "",
			       ERROR_TEXT_MAX);
		text_add(&text, "\n");
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
