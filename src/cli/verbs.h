/*
 * The verbs: one table, one `cmd_<verb>.c` each. What --help says is in the table, so it cannot
 * disagree with what is parsed.
 */
#pragma once

#include "cli/options.h"

/* DESIGN §3: 0 done, 1 it looked and found a problem, 2 wrong usage, 3 could not do it. */
enum exit_code {
	EXIT_DONE = 0,
	EXIT_PROBLEM = 1,
	EXIT_USAGE = 2,
	EXIT_CANNOT = 3,
	EXIT_LEFT = 130 /* Ctrl-C: what was asked for goes on without us (128 + SIGINT) */
};

struct verb {
	const char *name;
	const char *summary;     /* one line of `plimsoll --help` */
	const char *usage;       /* what follows "plimsoll <name> " */
	const char *description; /* paragraphs of --help; may be NULL */
	const char *examples;    /* lines of --help */
	enum options_style style;
	const struct option_spec *options; /* NULL = none */
	unsigned operands_min, operands_max;
	bool needs_command;
	/* Does the verb; returns an exit code. Prints its own errors (verb_fail()). */
	int (*run)(const struct options *options);
};

extern const struct verb verb_apply, verb_batch, verb_cancel, verb_check, verb_doctor, verb_gpus,
    verb_help, verb_hold, verb_logs, verb_plan, verb_priority, verb_profile, verb_queue,
    verb_release, verb_retry, verb_run, verb_serve, verb_show, verb_sim, verb_submit, verb_top,
    verb_wait, verb_why;

const struct verb *verb_find(const char *name);

/* Text of `plimsoll <verb> --help`, and of `plimsoll --help`. */
void verb_describe(const struct verb *verb, struct text *text);
void verbs_describe(struct text *text);

/* Parse argv (without program and verb), check operands, run. Returns the exit code. */
int verbs_dispatch(const struct verb *verb, int argc, char **argv);

/* "plimsoll: unknown verb ..." with the nearest one; returns EXIT_USAGE. */
int verb_unknown(const char *name);

/* "plimsoll: <text>" on standard error; the exit code that belongs to err->code: EXIT_USAGE for
 * what the user wrote (-EINVAL, -E2BIG, -ENODEV, -ENOENT, -ENODATA, -EFBIG), else EXIT_CANNOT. */
int verb_fail(const struct error *err);
/* "plimsoll: <text>"; returns `code`. */
int verb_complain(enum exit_code code, const char *fmt, ...) PRINTF(2, 3);
