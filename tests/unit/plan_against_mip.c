/*
 * The planner's optimum against GLPK's, on random problems with pins, replicas, services on several
 * GPUs, some that must not meet, and some for which there is no placement.
 */
#include "plan_mip.h"
#include "unit.h"
#include "util/size.h"

#include <stdlib.h>

static uint64_t rounds(uint64_t otherwise)
{
	const char *text = getenv("PLAN_ROUNDS");

	return text ? strtoull(text, NULL, 10) : otherwise;
}

/* Both say the same of it; returns whether there is a placement. A very hard one may not be proved:
 * the plan then says so, and is only compared as far as it claims. */
static bool compare(uint64_t round, const struct plan_problem *problem, uint64_t unit_bytes,
		    uint64_t *unproved)
{
	static struct plan_mip mip;
	auto_plan struct plan *plan = NULL;
	uint64_t sets[PLAN_SERVICES_MAX] = {};
	struct error err = {};
	struct plan_worth worth;

	if (plan_solve(problem, &plan, &err) < 0)
		fail_msg("%s", error_text(&err));
	mip = (struct plan_mip){.problem = problem, .unit_bytes = unit_bytes};
	plan_mip_solve(&mip);
	if (!plan->proved) {
		(*unproved)++;
		assert_true(mip.feasible || !plan->feasible);
		return plan->feasible;
	}
	if (plan->feasible != mip.feasible)
		fail_msg("round %llu: feasible %d, GLPK says %d", (unsigned long long)round,
			 plan->feasible, mip.feasible);
	if (!plan->feasible)
		return false;
	for (size_t i = 0; i < problem->n_services; i++)
		for (size_t k = 0; k < plan->places[i].n; k++)
			sets[i] |= (uint64_t)1 << plan->places[i].gpus[k];
	plan_worth(problem, sets, &worth);
	assert_true(worth.allowed);
	assert_true(mip.worth.allowed);
	if (worth.use != mip.worth.use || worth.moves != mip.worth.moves ||
	    worth.preference != mip.worth.preference ||
	    (problem->objective == PLAN_PACK && worth.used != mip.worth.used))
		fail_msg("round %llu: use %llu and GLPK %llu, moves %u and %u, GPUs %u and "
			 "%u, preference %lld and %lld",
			 (unsigned long long)round, (unsigned long long)worth.use,
			 (unsigned long long)mip.worth.use, worth.moves, mip.worth.moves,
			 worth.used, mip.worth.used, (long long)worth.preference,
			 (long long)mip.worth.preference);
	return true;
}

static void equals_glpk_on_small_ones(void **state)
{
	static struct plan_world world;
	uint64_t seed = 7, feasible = 0, unproved = 0, n = rounds(500);

	for (uint64_t round = 0; round < n; round++) {
		plan_world_small(&world, &seed, 6, 4 + round % 14);
		/* Within what GLPK's arithmetic tells apart for certain. */
		world.problem.use_steps = MIN_OF(world.problem.use_steps, 1000u);
		feasible += compare(round, &world.problem, 1, &unproved);
	}
	/* Both kinds are there. */
	assert_in_range(feasible, n / 3, n - n / 3);
	assert_in_range(unproved, 0, n / 1000);
}

/* Sizes and sums of these are whole MiB. */
static void equals_glpk_on_real_ones(void **state)
{
	static struct plan_world world;
	uint64_t seed = 8, feasible = 0, unproved = 0, n = rounds(500) / 5;

	for (uint64_t round = 0; round < n; round++) {
		plan_world_real(
		    &world, &seed, 2 + round % 2, 4 + round % 6,
		    &(struct plan_world_real){.load = 0.6 + 0.4 * (double)(round % 7) / 6,
					      .all_alike = round % 2});
		world.problem.objective = (enum plan_objective)(round % PLAN_OBJECTIVE_COUNT);
		feasible += compare(round, &world.problem, MIB, &unproved);
	}
	assert_in_range(feasible, n / 3, n);
	assert_in_range(unproved, 0, n / 1000);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(equals_glpk_on_small_ones),
	    cmocka_unit_test(equals_glpk_on_real_ones),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
