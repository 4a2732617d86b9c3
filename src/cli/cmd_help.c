/* plimsoll help [VERB] */
#include "cli/verbs.h"

static int run(const struct options *options)
{
	auto_text struct text text = {};

	if (options->operands.n == 0) {
		verbs_describe(&text);
	} else {
		const struct verb *verb = verb_find(options->operands.items[0]);

		if (!verb)
			return verb_unknown(options->operands.items[0]);
		verb_describe(verb, &text);
	}
	(void)fputs(text.data, stdout);
	return EXIT_DONE;
}

const struct verb verb_help = {
    .name = "help",
    .summary = "what a verb does, with examples",
    .usage = "[VERB]",
    .examples = "  plimsoll help batch\n",
    .style = OPTIONS_OPERANDS,
    .operands_max = 1,
    .run = run,
};
