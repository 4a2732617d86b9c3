/* See verbs.h. */
#include "cli/verbs.h"

#include "util/suggest.h"

#include <string.h>

/* In the order of `plimsoll --help`; ended by NULL. */
static const struct verb *const verbs[] = {
    &verb_gpus,     &verb_top,     &verb_doctor, &verb_plan,  &verb_check, &verb_apply,
    &verb_batch,    &verb_run,     &verb_submit, &verb_queue, &verb_show,  &verb_why,
    &verb_logs,     &verb_wait,    &verb_cancel, &verb_retry, &verb_hold,  &verb_release,
    &verb_priority, &verb_profile, &verb_serve,  &verb_sim,   &verb_help,  NULL,
};

const struct verb *verb_find(const char *name)
{
	for (size_t i = 0; verbs[i]; i++)
		if (strcmp(verbs[i]->name, name) == 0)
			return verbs[i];
	return NULL;
}

void verb_describe(const struct verb *verb, struct text *text)
{
	text_printf(text, "plimsoll %s - %s\n\nusage: plimsoll %s%s%s\n\n", verb->name,
		    verb->summary, verb->name, *verb->usage ? " " : "", verb->usage);
	if (verb->description)
		text_printf(text, "%s\n", verb->description);
	text_add(text, "options:\n");
	options_describe(verb->options, text);
	text_printf(text, "\nexamples:\n%s", verb->examples);
}

void verbs_describe(struct text *text)
{
	text_add(text,
		 "plimsoll - puts every GPU workload on a GPU where it fits, and runs it there\n\n"
		 "usage: plimsoll VERB [options] ...\n\nverbs:\n");
	for (size_t i = 0; verbs[i]; i++)
		text_printf(text, "  %-8s %s\n", verbs[i]->name, verbs[i]->summary);
	text_add(text, "\n"
		       "  plimsoll VERB --help   the options of a verb, with examples\n"
		       "  plimsoll --version     the version\n\n"
		       "exit status: 0 done, 1 looked and found a problem, 2 wrong usage, 3 could "
		       "not do it\n");
}

static const char *verb_name_at(const void *data, size_t i)
{
	return ((const struct verb *const *)data)[i]->name;
}

int verb_unknown(const char *name)
{
	const char *nearest = suggest_nearest(name, ARRAY_LEN(verbs) - 1, verb_name_at, verbs);

	if (nearest)
		return verb_complain(EXIT_USAGE, "unknown verb \"%.64s\"; did you mean \"%s\"?",
				     name, nearest);
	return verb_complain(EXIT_USAGE, "unknown verb \"%.64s\"; `plimsoll --help` lists them",
			     name);
}

static int usage_error(const struct verb *verb, const char *what)
{
	return verb_complain(EXIT_USAGE, "%s: %s\nusage: plimsoll %s%s%s", verb->name, what,
			     verb->name, *verb->usage ? " " : "", verb->usage);
}

static int too_many_words(const struct verb *verb, size_t n)
{
	auto_text struct text what = {};

	if (verb->style == OPTIONS_OPERANDS_COMMAND)
		text_add(&what, "too many words before the command; it begins after --");
	else if (verb->operands_max == 0)
		text_add(&what, "too many words; it takes options only");
	else
		text_printf(&what, "too many words: %zu, it takes %u at most", n,
			    verb->operands_max);
	return usage_error(verb, what.data);
}

int verbs_dispatch(const struct verb *verb, int argc, char **argv)
{
	auto_options struct options options = {};
	auto_text struct text help = {};
	struct error err = {};
	int r;

	r = options_parse(verb->options, verb->style, argc, argv, &options, &err);
	if (r < 0)
		return verb_complain(EXIT_USAGE, "%s: %s (plimsoll %s --help)", verb->name,
				     err.text, verb->name);
	if (options.help) {
		verb_describe(verb, &help);
		(void)fputs(help.data, stdout);
		return EXIT_DONE;
	}
	if (options.operands.n < verb->operands_min)
		return usage_error(verb, "something is missing");
	if (options.operands.n > verb->operands_max)
		return too_many_words(verb, options.operands.n);
	if (verb->needs_command && options.command.n == 0)
		return usage_error(verb, "the command is missing");
	return verb->run(&options);
}
