/*
 * See options.h. One pass over argv; each token is an end mark, a long option, a group of letters
 * or an operand. --help ends the pass: what comes after it does not matter any more.
 */
#include "cli/options.h"

#include "util/duration.h"
#include "util/size.h"
#include "util/suggest.h"

#include <assert.h>
#include <ctype.h>
#include <errno.h>
#include <math.h>
#include <string.h>

struct parser {
	struct options *options;
	enum options_style style;
	char **argv;
	int argc, at;
};

static const char *spec_name_at(const void *data, size_t i)
{
	return ((const struct option_spec *)data)[i].name;
}

static int choice_parse(const struct option_spec *spec, const char *text, unsigned *ret_choice,
			struct error *err)
{
	auto_text struct text list = {};

	for (unsigned i = 0; spec->choices[i]; i++) {
		if (strcmp(spec->choices[i], text) == 0) {
			*ret_choice = i;
			return 0;
		}
		text_printf(&list, "%s%s", i ? ", " : "", spec->choices[i]);
	}
	return error_set(err, -EINVAL, "\"%.64s\" is not one of %s", text, list.data);
}

static int integer_parse(const struct option_spec *spec, const char *text, long long *ret_value,
			 struct error *err)
{
	unsigned long long magnitude;
	bool negative = *text == '-';
	long long value;

	if (!text_to_u64(text + negative, 0, INT64_MAX, &magnitude))
		return error_set(err, -EINVAL, "\"%.64s\" is not a whole number", text);
	value = negative ? -(long long)magnitude : (long long)magnitude;
	if (value < spec->min || value > spec->max)
		return error_set(err, -EINVAL, "%lld is not between %lld and %lld", value,
				 spec->min, spec->max);
	*ret_value = value;
	return 0;
}

static int real_parse(const struct option_spec *spec, const char *text, double *ret_value,
		      struct error *err)
{
	char *end = NULL;
	double value = strtod(text, &end);

	/* strtod() takes hexadecimal ones; integer_parse() does not. */
	if (end == text || *end != '\0' || !isfinite(value) || strpbrk(text, "xX"))
		return error_set(err, -EINVAL, "\"%.64s\" is not a number", text);
	if (value < (double)spec->min || value > (double)spec->max)
		return error_set(err, -EINVAL, "%.64s is not between %lld and %lld", text,
				 spec->min, spec->max);
	*ret_value = value;
	return 0;
}

int option_convert(const struct option_spec *spec, const char *text, struct option_value *ret_value,
		   struct error *err)
{
	struct option_value value = {.given = true, .text = text};
	int r = 0;

	switch (spec->kind) {
	case OPTION_FLAG:
	case OPTION_STRING:
		break;
	case OPTION_INT:
		r = integer_parse(spec, text, &value.integer, err);
		break;
	case OPTION_REAL:
		r = real_parse(spec, text, &value.real, err);
		break;
	case OPTION_SIZE:
		r = size_parse(text, &value.bytes, err);
		break;
	case OPTION_DURATION:
		r = duration_parse_seconds(text, &value.ms, err);
		break;
	case OPTION_CHOICE:
		r = choice_parse(spec, text, &value.choice, err);
		break;
	}
	if (r < 0)
		return spec->is_operand ? r : error_prefix(err, r, "--%s", spec->name);
	*ret_value = value;
	return 0;
}

static int unknown_option(const struct options *options, const char *name, size_t len,
			  struct error *err)
{
	auto_free char *wrong = mem_strndup(name, MIN_OF(len, (size_t)64));
	const char *nearest = suggest_nearest(wrong, options->n, spec_name_at, options->specs);

	if (nearest)
		return error_set(err, -EINVAL, "unknown option --%s; did you mean --%s?", wrong,
				 nearest);
	return error_set(err, -EINVAL, "unknown option --%s", wrong);
}

/* Take over a value (NULL: the option stood alone). */
static int option_store(struct options *options, size_t i, const char *text, struct error *err)
{
	const struct option_spec *spec = &options->specs[i];

	if (spec->refused)
		return error_set(err, -EINVAL, "--%s: %s", spec->name, spec->refused);
	if (spec->repeats && text) {
		strings_add(&options->values[i].list, text);
		options->values[i].given = true;
		options->values[i].text = text;
		return 0;
	}
	if (!text || (spec->placeholders && strchr(text, '{'))) {
		options->values[i] = (struct option_value){.given = true, .text = text};
		return 0;
	}
	return option_convert(spec, text, &options->values[i], err);
}

/* The value that follows, or NULL when the option stands alone. */
static int option_value_next(struct parser *p, const struct option_spec *spec,
			     const char **ret_text, struct error *err)
{
	const char *next = p->at < p->argc ? p->argv[p->at] : NULL;
	struct option_value ignored;

	*ret_text = NULL;
	if (spec->kind == OPTION_FLAG)
		return 0;
	if (spec->value_optional && (!next || option_convert(spec, next, &ignored, NULL) < 0))
		return 0;
	if (!next)
		return error_set(err, -EINVAL, "--%s needs a value: --%s %s", spec->name,
				 spec->name, spec->value);
	p->at++;
	*ret_text = next;
	return 0;
}

static int parse_long(struct parser *p, const char *token, struct error *err)
{
	struct options *options = p->options;
	const char *equals = strchr(token, '='), *text;
	size_t len = equals ? (size_t)(equals - token) : strlen(token);
	int r;

	for (size_t i = 0; i < options->n; i++) {
		const struct option_spec *spec = &options->specs[i];

		if (strlen(spec->name) != len || strncmp(spec->name, token, len) != 0)
			continue;
		if (equals && spec->kind == OPTION_FLAG)
			return error_set(err, -EINVAL, "--%s takes no value", spec->name);
		if (equals)
			return option_store(options, i, equals + 1, err);
		r = option_value_next(p, spec, &text, err);
		return r < 0 ? r : option_store(options, i, text, err);
	}
	return unknown_option(options, token, len, err);
}

static int parse_letters(struct parser *p, const char *letters, struct error *err)
{
	struct options *options = p->options;

	for (; *letters; letters++) {
		const struct option_spec *spec = NULL;
		const char *text = NULL;
		size_t i = 0;
		int r;

		for (; i < options->n && !spec; i++)
			if (options->specs[i].letter == *letters)
				spec = &options->specs[i];
		if (!spec)
			return error_set(err, -EINVAL, "unknown option -%c", *letters);
		if (spec->kind != OPTION_FLAG && letters[1])
			return option_store(options, i - 1, letters + 1 + (letters[1] == '='), err);
		r = option_value_next(p, spec, &text, err);
		if (r < 0)
			return r;
		r = option_store(options, i - 1, text, err);
		if (r < 0)
			return r;
	}
	return 0;
}

static void take_command(struct parser *p)
{
	while (p->at < p->argc)
		strings_add(&p->options->command, p->argv[p->at++]);
}

static int parse_tokens(struct parser *p, struct error *err)
{
	while (p->at < p->argc) {
		const char *token = p->argv[p->at];
		int r = 0;

		if (strcmp(token, "--") == 0 && p->style != OPTIONS_OPERANDS) {
			p->at++;
			p->options->dashes = true;
			take_command(p);
			return 0;
		}
		if (strcmp(token, "--") == 0) {
			while (++p->at < p->argc)
				strings_add(&p->options->operands, p->argv[p->at]);
			return 0;
		}
		if (token[0] != '-' || token[1] == '\0' ||
		    (p->style == OPTIONS_OPERANDS && isdigit((unsigned char)token[1]))) {
			if (p->style == OPTIONS_COMMAND) {
				take_command(p);
				return 0;
			}
			strings_add(&p->options->operands, token);
			p->at++;
			continue;
		}
		p->at++;
		if (strcmp(token, "--help") == 0 || strcmp(token, "-h") == 0) {
			p->options->help = true;
			return 0;
		}
		r = token[1] == '-' ? parse_long(p, token + 2, err)
				    : parse_letters(p, token + 1, err);
		if (r < 0)
			return r;
	}
	return 0;
}

int options_parse(const struct option_spec *specs, enum options_style style, int argc, char **argv,
		  struct options *ret_options, struct error *err)
{
	auto_options struct options options = {.specs = specs};
	struct parser parser = {.options = &options, .style = style, .argv = argv, .argc = argc};
	int r;

	while (specs && specs[options.n].name)
		options.n++;
	options.values = mem_calloc(options.n + 1, sizeof *options.values);
	r = parse_tokens(&parser, err);
	if (r < 0)
		return r;
	*ret_options = options;
	options = (struct options){};
	return 0;
}

void options_finish(struct options *options)
{
	for (size_t i = 0; options->values && i < options->n; i++)
		strings_finish(&options->values[i].list);
	free(options->values);
	strings_finish(&options->operands);
	strings_finish(&options->command);
	*options = (struct options){};
}

const struct option_value *options_get(const struct options *options, const char *name)
{
	for (size_t i = 0; i < options->n; i++)
		if (strcmp(options->specs[i].name, name) == 0)
			return &options->values[i];
	assert(!"an option that is not in the verb's table");
	abort();
}

bool options_flag(const struct options *options, const char *name)
{
	return options_get(options, name)->given;
}

const char *options_text(const struct options *options, const char *name, const char *otherwise)
{
	const struct option_value *value = options_get(options, name);

	return value->given && value->text ? value->text : otherwise;
}

const struct strings *options_list(const struct options *options, const char *name)
{
	return &options_get(options, name)->list;
}

long long options_int(const struct options *options, const char *name, long long otherwise)
{
	const struct option_value *value = options_get(options, name);

	return value->given ? value->integer : otherwise;
}

/* Help texts are cut into lines at spaces, 78 columns wide. */
static void describe_wrapped(struct text *text, const char *help, size_t indent)
{
	size_t column = indent;

	while (*help) {
		size_t len = strcspn(help, " ");

		if (column > indent && column + 1 + len > 78) {
			text_printf(text, "\n%*s", (int)indent, "");
			column = indent;
		} else if (column > indent) {
			text_add(text, " ");
			column++;
		}
		text_add_bytes(text, help, len);
		column += len;
		help += len;
		help += strspn(help, " ");
	}
	text_add(text, "\n");
}

void options_describe(const struct option_spec *specs, struct text *text)
{
	for (; specs && specs->name; specs++) {
		auto_text struct text left = {};

		if (specs->refused)
			continue;
		if (specs->letter)
			text_printf(&left, "  -%c, --%s", specs->letter, specs->name);
		else
			text_printf(&left, "      --%s", specs->name);
		if (specs->kind != OPTION_FLAG)
			text_printf(&left, specs->value_optional ? " [%s]" : " %s", specs->value);
		if (left.len > 26)
			text_printf(text, "%s\n%28s", left.data, "");
		else
			text_printf(text, "%-28s", left.data);
		describe_wrapped(text, specs->help, 28);
	}
	text_add(text, "  -h, --help                this text\n");
}
