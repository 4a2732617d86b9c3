/*
 * The planner's problem as a row of mixed integer programs, one for each number of the objective,
 * for GLPK: what the planner has to equal. The lists that come after the numbers are not in it.
 */
#pragma once

#include "plan_world.h"

struct plan_mip {
	const struct plan_problem *problem;
	uint64_t unit_bytes; /* sizes are counted in these: 1 is exact */
	double seconds_max;  /* for all programs together; 0: no limit */
	/* results */
	bool proved, feasible;
	struct plan_worth worth;          /* of `sets`, worked out exactly */
	uint64_t sets[PLAN_SERVICES_MAX]; /* masks of GPUs */
};

void plan_mip_solve(struct plan_mip *mip);
