/* See planning.h. */
#include "cli/planning.h"

#include "cli/verbs.h"

#include <assert.h>

const char *const planning_objectives[] = {"balance", "pack", "fewest-moves", NULL};
static_assert(ARRAY_LEN(planning_objectives) == PLAN_OBJECTIVE_COUNT + 1, "all of them");

int planning_solve(const struct options *options, const struct workspace *workspace,
		   struct stack_problem *ret_problem, struct plan **ret_plan,
		   struct planview *ret_view, struct error *err)
{
	const struct option_value *asked = options_get(options, "objective");
	enum plan_objective objective =
	    asked->given ? (enum plan_objective)asked->choice : PLAN_BALANCE;
	int r = stack_problem(workspace->stack, objective, ret_problem, err);

	if (r == 0)
		r = plan_solve(&ret_problem->problem, ret_plan, err);
	*ret_view = (struct planview){
	    .workspace = workspace,
	    .problem = ret_problem,
	    .plan = *ret_plan,
	    .way = PLANVIEW_NO_WAY,
	};
	return r;
}

int planning_take_way(const struct options *options, struct planview *view)
{
	const long long asked = options_int(options, "way-out", 0);
	const size_t n_ways = view->plan->n_ways;

	if (view->plan->feasible) {
		if (asked > 0)
			(void)verb_complain(
			    EXIT_DONE,
			    "everything fits: --way-out %lld is not needed, and none is "
			    "taken",
			    asked);
		return EXIT_DONE;
	}
	if (asked > 0 && (size_t)asked > n_ways)
		return verb_complain(EXIT_USAGE, "there %s %zu way%s out; --way-out %lld is none",
				     n_ways == 1 ? "is" : "are", n_ways, PLURAL(n_ways), asked);
	if (asked > 0)
		view->way = (size_t)asked - 1;
	view->may_choose = asked == 0;
	return EXIT_DONE;
}
