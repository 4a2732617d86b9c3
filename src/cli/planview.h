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
	bool
	    explained; /* of the services only this one, with what speaks against each GPU (JSON) */
	size_t service;
};

/* The problem and its plan after the changes of the way that is taken, as if they had been made:
 * with them nothing has to be said twice. Without one a copy of what there is. */
struct planview_taken {
	struct plan_problem problem;
	struct plan_service *services; /* of a service that yields `vram_bytes` is what stays */
	struct plan_gpu *gpus;
	struct plan plan; /* feasible, unless nothing is taken and nothing fits */
};
void planview_take(const struct planview *view, struct planview_taken *ret_taken);
/* Its places are still the plan's own. */
void planview_taken_finish(struct planview_taken *taken);
#define auto_taken CLEANUP(planview_taken_finish)

/* What a service takes on each of its GPUs; 0: it loads on demand. */
static inline uint64_t planview_bytes(const struct planview_taken *taken, size_t service)
{
	return taken->services[service].on_demand ? 0 : taken->services[service].vram_bytes;
}

/* Why service `i` of the problem is where it is: what it needs and says, and each GPU. */
void planview_explain(const struct planview *view, size_t i, unsigned width, struct text *text);

/* Services of profiles that are not on, whose VRAM and GPU are known all the same: "NAME (profile
 * P, 20 GiB on GPU 0); --profile P counts it". */
void planview_not_counted(const struct planview *view, struct strings *ret_lines);
bool planview_is_not_counted(const struct stack_service *service);
const char *planview_profile(const struct stack_service *service); /* its first; NULL: none */

/* All of it, for lines of at most `width` columns; `file` decides about colour. */
void planview_render(const struct planview *view, FILE *file, unsigned width, struct text *text);
/* A new reference. */
json_t *planview_json(const struct planview *view);

/* Everything people should know beside the plan: warnings of the project, the machine, the stack,
 * and what the plan took for granted. */
void planview_warnings(const struct planview *view, struct strings *ret_warnings);
