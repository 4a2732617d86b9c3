/* What `plan` and `apply` do alike: how they are asked for a plan, and make one. */
#pragma once

#include "cli/planview.h"

#define PLANNING_OPTIONS                                                                       \
	{.name = "objective",                                                                  \
	 .kind = OPTION_CHOICE,                                                                \
	 .value = "WHAT",                                                                      \
	 .choices = planning_objectives,                                                       \
	 .help = "balance (the highest use of any GPU lowest; the default), pack (the fewest " \
		 "GPUs), fewest-moves"},                                                       \
	{                                                                                      \
		.name = "way-out", .kind = OPTION_INT, .value = "N", .min = 1,                 \
		.max = PLAN_WAYS_MAX,                                                          \
		.help = "when not everything fits, the plan with the N-th way out taken"       \
	}
extern const char *const planning_objectives[]; /* in the order of enum plan_objective; NULL */

/* The plan for what was found, as --objective says. The view is of it, with no way out taken; it
 * borrows all others. What was made is to be freed on failure, too. */
int planning_solve(const struct options *options, const struct workspace *workspace,
		   struct stack_problem *ret_problem, struct plan **ret_plan,
		   struct planview *ret_view, struct error *err) MUST_CHECK;

/* Not everything fits: the way out of --way-out is taken; without it none is, and one may be
 * chosen. EXIT_DONE; EXIT_USAGE: there is no such one, which is said. */
int planning_take_way(const struct options *options, struct planview *view);
