/* What `plimsoll check` found, for people, for scripts (DESIGN §7) and for code hosts (SARIF). */
#pragma once

#include "check/check.h"
#include "util/jsonx.h"

#include <stdio.h>

/* Where each service goes and why; then each finding with its line of the file and the fix; then
 * the sum. Colours as `file` takes them; prose is broken at `width`. Appended to `text`. */
void checkview_render(const struct stack *stack, const struct findings *findings, FILE *file,
		      unsigned width, struct text *text);

/* {"services": [...], "findings": [...], "suppressed"}; a new reference. */
json_t *checkview_json(const struct stack *stack, const struct findings *findings);

/* A SARIF 2.1.0 log of one run; a new reference. */
json_t *checkview_sarif(const struct findings *findings);
