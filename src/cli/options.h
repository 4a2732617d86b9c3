/*
 * Options of a verb, from a table: what is in the table is parsed, checked, listed by --help and
 * named in errors; nothing else is. Both `--name VALUE` and `--name=VALUE`, `-x VALUE` and
 * `-xVALUE`, flags together (`-yf`); `--` ends the options. Where operands may stand anywhere, a
 * negative number is one.
 */
#pragma once

#include "util/error.h"
#include "util/text.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum option_kind {
	OPTION_FLAG,
	OPTION_STRING,
	OPTION_INT,
	OPTION_REAL,
	OPTION_SIZE,
	OPTION_DURATION, /* a bare number means seconds */
	OPTION_CHOICE,
};

struct option_spec {
	const char *name; /* without the dashes; NULL ends a table */
	char letter;      /* 0 = none */
	enum option_kind kind;
	const char *value; /* what --help calls its value: "SIZE" */
	const char *help;
	long long min, max;         /* OPTION_INT and OPTION_REAL */
	const char *const *choices; /* OPTION_CHOICE; NULL-terminated */
	bool value_optional;        /* the value may be left out; taken when it reads as one */
	bool placeholders;          /* may hold {key} of a row: then it is checked once filled in */
	bool repeats;               /* may be given several times: options_list() has all texts */
	bool is_operand;            /* it is not written with dashes: errors do not name it */
	const char *refused; /* known to this verb as one of others, and why it is not for it;
				--help leaves it out */
};

struct option_value {
	bool given;
	const char *text; /* as written; NULL for a flag or when left out */
	uint64_t bytes;
	int64_t ms;
	long long integer;
	double real;
	unsigned choice;     /* index into choices */
	struct strings list; /* of one that repeats; owned by the options */
};

enum options_style {
	OPTIONS_OPERANDS,        /* operands anywhere, no command */
	OPTIONS_COMMAND,         /* the first operand begins the command (env, nohup); `--` too */
	OPTIONS_OPERANDS_COMMAND /* operands, then `--`, then the command */
};

struct options {
	const struct option_spec *specs;
	struct option_value *values; /* one per spec */
	size_t n;
	struct strings operands;
	struct strings command; /* .items is NULL when there is none */
	bool dashes;            /* it came after `--` */
	bool help;              /* --help or -h: nothing after it was looked at */
};

/* Parse argv[0..argc) (without program and verb). Texts are borrowed from argv. -EINVAL names the
 * option, what is wrong and the nearest one there is. */
int options_parse(const struct option_spec *specs, enum options_style style, int argc, char **argv,
		  struct options *ret_options, struct error *err) MUST_CHECK;
void options_finish(struct options *options);
#define auto_options CLEANUP(options_finish)

/* The value of an option of the table, by its long name (which must be in it). */
const struct option_value *options_get(const struct options *options, const char *name);
bool options_flag(const struct options *options, const char *name);
const char *options_text(const struct options *options, const char *name, const char *otherwise);
const struct strings *options_list(const struct options *options, const char *name);
long long options_int(const struct options *options, const char *name, long long otherwise);

/* Check and convert one value, as options_parse() does; the error names the option. */
int option_convert(const struct option_spec *spec, const char *text, struct option_value *ret_value,
		   struct error *err) MUST_CHECK;

/* The lines of --help. */
void options_describe(const struct option_spec *specs, struct text *text);
