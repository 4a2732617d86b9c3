/*
 * The default policy.
 */
#include "place/auto.h"

#include "place/policies.h"

bool auto_choose(const struct place_view *view, const struct fit_counts *counts,
		 struct place_decision *ret_decision)
{
	for (size_t i = 0; i < view->n_waiting; i++) {
		const struct place_task *task = &view->waiting[i];

		if ((view->taken && view->taken[i]) || task->policy != PLACE_AUTO ||
		    fit_is_cpu_only(task->request) ||
		    fit_host(view->ledger, counts, task) != FIT_OK)
			continue;
		if (policy_choose(view, counts, i, PLACE_EARLIEST_FINISH, ret_decision)) {
			ret_decision->policy = PLACE_AUTO;
			return true;
		}
	}
	return false;
}

bool auto_explain(const struct place_view *view, const struct fit_counts *counts, size_t waiting,
		  char reason[PLACE_REASON_MAX])
{
	(void)view;
	(void)counts;
	(void)waiting;
	(void)reason;
	return false;
}
