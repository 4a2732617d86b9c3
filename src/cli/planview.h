/* A plan for people, and as the object of `plan --json` (DESIGN §7). */
#pragma once

#include "cli/workspace.h"
#include "util/jsonx.h"

#define PLANVIEW_NO_WAY SIZE_MAX

/* Borrowed. */
struct planview {
	const struct workspace *workspace;
	const struct stack_problem *problem;
	const struct plan *plan;
	size_t way;      /* the way out that is taken; NO_WAY: none is */
	bool may_choose; /* the reader may still take another: they are listed */
};

/* Where the services are to be: of the plan, or of the way that is taken; NULL: nowhere, nothing
 * fits. */
const struct plan_place *planview_places(const struct planview *view);
/* What a service needs on each of its GPUs after the changes of the way that is taken. 0: it loads
 * on demand, or runs on the CPU. `service` is an index into the problem. */
uint64_t planview_bytes(const struct planview *view, size_t service);

/* All of it, for lines of at most `width` columns; `file` decides about colour. */
void planview_render(const struct planview *view, FILE *file, unsigned width, struct text *text);
/* A new reference. */
json_t *planview_json(const struct planview *view);

/* Everything people should know beside the plan: warnings of the project, the machine, the stack,
 * and what the plan took for granted. */
void planview_warnings(const struct planview *view, struct strings *ret_warnings);
