/* Between the parts of the picture of a plan. */
#pragma once

#include "cli/planview.h"
#include "cli/term.h"
#include "util/size.h"

#define PLANVIEW_WIDE 120 /* columns from which on there is room for reasons and long bars */

/* What all parts of the picture need. */
struct canvas {
	const struct planview *view;
	const struct workspace *workspace;
	const struct stack *stack;
	const struct planview_taken *taken;
	const struct plan_problem *problem; /* as it is; taken->problem as it would be */
	const struct plan *plan;
	const struct plan_place *places; /* NULL: nothing fits */
	FILE *file;
	unsigned width;
	struct text *text;
};

static inline bool canvas_is_on(const struct plan_place *place, size_t gpu)
{
	for (size_t i = 0; i < place->n; i++)
		if (place->gpus[i] == gpu)
			return true;
	return false;
}

/* At most 255 bytes, in a style. */
void canvas_add(struct canvas *c, enum term_style style, const char *fmt, ...) PRINTF(3, 4);
/* What the plan that is drawn is called: "way 1" of several that may be chosen, else `otherwise`;
 * in capitals where that is. */
void canvas_label(const struct canvas *c, const char *otherwise, char label[32]);

/* One GPU: what is on it today, and what would be, drawn to the same scale. */
void canvas_draw_gpu(struct canvas *c, size_t g);
