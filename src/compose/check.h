/*
 * Every fault in the GPU assignment of a project. One table (check.c) holds the checks: code,
 * severity, what it means; docs/checks.md is made from it. A finding names file, line and column,
 * the reason in numbers and the fix.
 *
 * `# plimsoll: ignore CODE[, CODE]` at the end of the line, or alone on the line above, silences
 * these there; in the first line of a file that says so, for the whole file.
 */
#pragma once

#include "compose/stack.h"

enum finding_severity { FINDING_INFO, FINDING_WARNING, FINDING_ERROR };
const char *finding_severity_name(enum finding_severity severity);

struct finding {
	const char *code; /* "over-gpu-size"; stable */
	enum finding_severity severity;
	struct compose_span span;
	unsigned line, column;
	const char *service; /* NULL: of no single one */
	char *message, *fix;
};

struct findings {
	struct finding *items; /* by file, line, column, code */
	size_t n, room;
	size_t n_suppressed;
};

/* One kind of finding, for docs and SARIF's rules. */
struct check_rule {
	const char *code;
	enum finding_severity severity;
	const char *title, *text;
};
extern const struct check_rule check_rules[]; /* ended by a NULL code */

void check_run(const struct stack *stack, struct findings *ret_findings);
void findings_finish(struct findings *findings);
