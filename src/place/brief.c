/*
 * `auto` spends about a millisecond on a decision. Over tasks that last a few milliseconds each
 * that is time they could have run in, and there is nothing to win: whatever the order, all are
 * done within moments, and none keeps a GPU from anything longer. So while all that wait are of
 * kinds that were seen to end that soon, they start in the order of the queue, each where it ends
 * soonest. One that lasts, or of which nothing is known, and everything is thought about again.
 */
#include "place/brief.h"

#include "place/forecast.h"
#include "place/policies.h"

/* A hundred times what a decision takes. */
#define BRIEF_SECONDS 0.1

static bool is_brief(const struct place_view *view, const struct place_task *task)
{
	bool can_run = false;

	for (size_t gpu = 0; gpu < view->ledger->n_gpus; gpu++) {
		struct forecast f;

		if (!view->ledger->gpus[gpu].usable)
			continue;
		f = forecast_task(view->ledger, view->estimates, task, gpu);
		if (!f.known || f.work_seconds + f.deviation_seconds > BRIEF_SECONDS)
			return false;
		can_run = true;
	}
	return can_run;
}

/* Is the same expected of both on every GPU? */
static bool is_expected_alike(const struct place_task *a, const struct place_task *b)
{
	return a->request->vram_bytes == b->request->vram_bytes &&
	       a->request->fraction_milli == b->request->fraction_milli &&
	       a->work_hint == b->work_hint &&
	       (a->kind == b->kind || strcmp(a->kind, b->kind) == 0);
}

static bool is_ours(const struct place_view *view, size_t waiting)
{
	const struct place_task *task = &view->waiting[waiting];

	return task->policy == PLACE_AUTO && !fit_is_cpu_only(task->request) &&
	       !(view->taken && view->taken[waiting]);
}

bool brief_is_all(const struct place_view *view)
{
	const struct place_task *last = NULL;

	for (size_t i = 0; i < view->n_waiting; i++) {
		const struct place_task *task = &view->waiting[i];

		if (!is_ours(view, i) || (last && is_expected_alike(last, task)))
			continue;
		if (!is_brief(view, task))
			return false;
		last = task;
	}
	return last != NULL;
}

/* What does not take the one takes none like it. */
static bool fits_alike(const struct place_task *a, const struct place_task *b)
{
	return a->batch == b->batch && a->uid == b->uid &&
	       place_request_is_same(a->request, b->request);
}

bool brief_choose(const struct place_view *view, const struct fit_counts *counts,
		  struct place_decision *ret_decision)
{
	const struct place_task *refused = NULL;

	for (size_t i = 0; i < view->n_waiting; i++) {
		const struct place_task *task = &view->waiting[i];

		if (!is_ours(view, i) || (refused && fits_alike(refused, task)))
			continue;
		if (fit_host(view->ledger, counts, task) == FIT_OK &&
		    policy_choose(view, counts, i, PLACE_EARLIEST_FINISH, ret_decision)) {
			ret_decision->policy = PLACE_AUTO;
			return true;
		}
		refused = task;
	}
	return false;
}
