/*
 * Every fault in the GPU assignment of a project. One table (check.c) holds the checks: code,
 * severity, what it means; docs/checks.md is made from it. A finding names file, line and column,
 * the reason in numbers and the fix.
 *
 * `# plimsoll: ignore CODE[, CODE]` at the end of the line, or alone on the line above, silences
 * these there; in the first line of a file it silences them in the whole file. Anything after the
 * codes (`-- why`) is for people.
 */
#pragma once

#include "stack/stack.h"

enum finding_severity { FINDING_INFO, FINDING_WARNING, FINDING_ERROR };
const char *finding_severity_name(enum finding_severity severity); /* "info", "warning", "error" */

struct finding {
	const char *code; /* "over-gpu-size"; stable */
	enum finding_severity severity;
	struct compose_span span;          /* file NULL: nowhere in the files */
	unsigned line, column;             /* from 1; 0: nowhere */
	const char *service;               /* NULL: of no single one */
	char *message, *fix;               /* one line each; owned */
	const struct compose_value *value; /* that it is about; NULL: of no single one */
};

struct findings {
	struct finding *items; /* by file (in the order they were read), line, column, code */
	size_t n, room;
	size_t n_suppressed;
	/* While they are found: which of them is told of a place, by a hash of it. */
	size_t *places;
	size_t n_places;
};

/* One kind of finding, for docs and SARIF's rules. */
struct check_rule {
	const char *code;
	enum finding_severity severity;
	/* Said once for each place in the files, however many services take it from there. */
	bool per_place;
	const char *title; /* of the rule: a few words */
	const char *text;  /* what it means and what to do, for the docs */
};
extern const struct check_rule check_rules[]; /* ended by a NULL code */

/* -1: no rule has this code. */
int check_rule_find(const char *code);

/* `beside` (may be NULL): compose files that are there and not part of the project as it was read
 * (other overlays); a variable one of them uses is used. */
void check_run(const struct stack *stack, const struct compose_files *beside,
	       struct findings *ret_findings);
void findings_finish(struct findings *findings);
#define auto_findings CLEANUP(findings_finish)

/* How many of this severity. */
size_t findings_count(const struct findings *findings, enum finding_severity severity);

/* docs/checks.md. */
void check_describe(struct text *text);
