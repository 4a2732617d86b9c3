/*
 * The default policy. It has no rule of its own: it plays a set of candidate rules forward in the
 * model (model.h) from the world as it is, and takes the first step of the one that would end
 * soonest, or waits if that one would. At the next event it thinks again with what was learned. So
 * it is never much worse than the best candidate, whichever suits the machine and the tasks, and
 * what people call right-sizing, tail control and packing comes out of the candidates:
 *
 * - busy_limit: no more on a GPU than its throughput bears. Where utilisations add up to 100 %, one
 *   more ends nothing sooner, and kept back it may still go to the GPU that is free first.
 * - best fit and reserve: the big GPU is kept for the big request that waits, unless what goes
 * there now is over before the big one could start.
 * - deadline: near the end of a batch nothing goes to a GPU that would end it after everything
 * else; it waits for a faster one, or a shorter task goes there. With a safety margin for durations
 * that vary, and not where it would hold up what runs there beyond the deadline.
 *
 * Durations are uncertain, and a rule that is best if every task takes exactly its mean may be a
 * bad one. So each rule is played in several scenarios with durations drawn around the means, the
 * same ones for all rules; two thirds of the rules are weeded out after a few. How many depends on
 * how much there is to play: the budget bounds the time of a decision.
 *
 * Tasks that end within moments are not worth the thought: see brief.c.
 *
 * Everything is a function of the view: the same view gives the same decision.
 */
#include "place/auto.h"

#include "place/brief.h"
#include "place/forecast.h"
#include "place/model.h"
#include "place/nearest.h"
#include "place/policies.h"
#include "util/duration.h"
#include "util/size.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

/* Work of one decision, in tasks played x (PLAY_FIXED + lanes); about a millisecond. */
#define PLAY_BUDGET 200000
#define PLAY_FIXED  16
/* Scenarios for all candidates, and for those that are left. */
#define SCENARIOS_FIRST  2
#define SCENARIOS_SECOND 8
#define FINALISTS        4
/* GPUs named in a reason; running tasks looked at for an expected end. */
#define NAMED_MAX  4
#define SHARES_MAX 64

static const struct model_rule candidates[] = {
    {.order = MODEL_HEAVIEST, .choice = MODEL_FINISH, .busy_limit = 100},
    {.order = MODEL_LONGEST, .choice = MODEL_FINISH, .busy_limit = 100},
    {.order = MODEL_LARGEST, .choice = MODEL_FINISH, .busy_limit = 100},
    {.order = MODEL_LONGEST, .choice = MODEL_DRAIN, .busy_limit = 100},
    {.order = MODEL_HEAVIEST, .choice = MODEL_BEST_FIT},
    {.order = MODEL_LARGEST, .choice = MODEL_BEST_FIT},
    {.order = MODEL_LONGEST, .choice = MODEL_FINISH},
    {.order = MODEL_LARGEST, .choice = MODEL_FINISH, .reserve = true},
    {.order = MODEL_LONGEST, .choice = MODEL_FINISH, .busy_limit = 100, .reserve = true},
    {.order = MODEL_QUEUE, .choice = MODEL_FINISH},
};

struct verdict {
	struct model_rule rule;
	double urgent, makespan, flow; /* means over scenarios */
	struct model_outcome outcome;  /* of scenario 0 */
};

static void judge(struct model *model, const struct model_rule *rule, unsigned scenarios,
		  struct verdict *ret_verdict)
{
	*ret_verdict = (struct verdict){.rule = *rule};
	for (unsigned s = 0; s < scenarios; s++) {
		struct model_outcome outcome;

		model_play(model, rule, s, &outcome);
		ret_verdict->urgent += outcome.urgent_seconds / scenarios;
		ret_verdict->makespan += outcome.makespan_seconds / scenarios;
		ret_verdict->flow += outcome.flow_seconds / scenarios;
		if (s == 0)
			ret_verdict->outcome = outcome;
	}
}

static bool better(const struct verdict *a, const struct verdict *b)
{
	if (fabs(a->urgent - b->urgent) > 1e-6 * b->urgent)
		return a->urgent < b->urgent;
	if (fabs(a->makespan - b->makespan) > 1e-6 * b->makespan)
		return a->makespan < b->makespan;
	return a->flow < b->flow * (1 - 1e-9);
}

static void keep_better(struct verdict *best, const struct verdict *one)
{
	if (better(one, best))
		*best = *one;
}

/* All candidates, best first. */
static void rank_candidates(struct model *model, unsigned scenarios,
			    struct verdict ranked[ARRAY_LEN(candidates)])
{
	for (size_t i = 0; i < ARRAY_LEN(candidates); i++) {
		struct verdict one;
		size_t at;

		judge(model, &candidates[i], scenarios, &one);
		for (at = i; at > 0 && better(&one, &ranked[at - 1]); at--)
			ranked[at] = ranked[at - 1];
		ranked[at] = one;
	}
}

/* The winner held to deadlines, as shares of the time it takes itself. */
static void try_deadlines(struct model *model, unsigned scenarios, struct verdict *best)
{
	static const double shares[] = {1.0, 0.95, 0.9, 0.8, 0.7, 0.6};
	const struct verdict base = *best;

	for (size_t i = 0; i < ARRAY_LEN(shares); i++) {
		struct model_rule rule = base.rule;
		struct verdict one;

		rule.deadline = base.makespan * shares[i];
		rule.risk = 1;
		judge(model, &rule, scenarios, &one);
		keep_better(best, &one);
	}
}

static void best_rule(struct model *model, size_t n_gpus, struct verdict *ret_best)
{
	struct verdict ranked[ARRAY_LEN(candidates)];
	size_t cost = model_n_tasks(model) * (PLAY_FIXED + n_gpus);
	size_t plays = PLAY_BUDGET / cost, n_second = FINALISTS + 6;
	unsigned first = (unsigned)MAX_OF(
	    MIN_OF(plays / (2 * ARRAY_LEN(candidates)), (size_t)SCENARIOS_FIRST), (size_t)1);
	unsigned second;

	rank_candidates(model, first, ranked);
	*ret_best = ranked[0];
	plays -= MIN_OF(plays, first * ARRAY_LEN(candidates));
	second = (unsigned)MIN_OF(plays / n_second, (size_t)SCENARIOS_SECOND);
	if (second == 0)
		return;
	judge(model, &ranked[0].rule, second, ret_best);
	for (size_t i = 1; i < FINALISTS; i++) {
		struct verdict one;

		judge(model, &ranked[i].rule, second, &one);
		keep_better(ret_best, &one);
	}
	try_deadlines(model, second, ret_best);
}

/* Seconds from now to the expected end of a task that starts on a GPU now. */
static double end_on(const struct place_view *view, const struct place_task *task, size_t gpu)
{
	struct forecast_share shares[SHARES_MAX];
	size_t n = forecast_shares(view, gpu, shares, SHARES_MAX);
	struct forecast f = forecast_task(view->ledger, view->estimates, task, gpu);

	return forecast_end(shares, n, f.work_seconds, f.utilization_percent);
}

#define SECONDS_TEXT(seconds) DURATION_TEXT((int64_t)((seconds)*1000))

/* Does everything the model played rest on something learned? A guess orders tasks of unknown kinds
 * sensibly; as a number it would only mislead whoever reads it. */
static bool all_known(const struct model *model)
{
	bool known = true;

	for (size_t c = 0; c < model_n_classes(model); c++)
		known &= model_class_facts(model, c).known;
	return known;
}

static void say_start(const struct place_view *view, const struct fit_counts *counts,
		      const struct model *model, const struct verdict *best,
		      struct place_decision *decision)
{
	static const char *const orders[] = {
	    [MODEL_LONGEST] = "longest first",
	    [MODEL_LARGEST] = "largest first",
	    [MODEL_HEAVIEST] = "most work first",
	    [MODEL_QUEUE] = "in order",
	};
	const struct ledger *ledger = view->ledger;
	const struct place_task *task = &view->waiting[decision->waiting];
	struct reason reason = {.text = decision->reason, .room = sizeof decision->reason};
	bool known = forecast_task(ledger, view->estimates, task, decision->gpus[0]).known;
	size_t named = 0;

	for (size_t i = 0; i < decision->n_gpus; i++) {
		const struct ledger_gpu *g = &ledger->gpus[decision->gpus[i]];

		reason_add(&reason, "%sGPU %u:", i > 0 ? " + " : "", g->index);
		if (known && forecast_is_known_on(view, decision->gpus[i]))
			reason_add(&reason, " ends in %s,",
				   SECONDS_TEXT(end_on(view, task, decision->gpus[i])));
		if (g->vram_known)
			reason_add(&reason, " room %s", SIZE_TEXT(g->room_bytes));
		else
			reason_add(&reason, " room unknown");
	}
	for (size_t gpu = 0; gpu < ledger->n_gpus && named < NAMED_MAX; gpu++) {
		const struct ledger_gpu *g = &ledger->gpus[gpu];
		bool chosen = false;

		for (size_t i = 0; i < decision->n_gpus; i++)
			chosen |= decision->gpus[i] == gpu;
		if (chosen)
			continue;
		named++;
		if (fit_gpu(ledger, counts, task, gpu) == FIT_OK && known &&
		    forecast_is_known_on(view, gpu))
			reason_add(&reason, "; GPU %u: would end in %s", g->index,
				   SECONDS_TEXT(end_on(view, task, gpu)));
		else if (fit_gpu(ledger, counts, task, gpu) == FIT_OK && g->vram_known)
			reason_add(&reason, "; GPU %u: room %s", g->index,
				   SIZE_TEXT(g->room_bytes));
		else if (g->closed && g->closed_text[0])
			reason_add(&reason, "; GPU %u takes nothing new: %s", g->index,
				   g->closed_text);
		else if (g->vram_known)
			reason_add(&reason, "; GPU %u does not take it now, room %s", g->index,
				   SIZE_TEXT(g->room_bytes));
	}
	reason_add_wishes(&reason, ledger, task->request, decision->gpus, decision->n_gpus);
	reason_add(&reason, "; %s", orders[best->rule.order]);
	if (!known)
		reason_add(&reason, "; the first of its kind: how long it takes is not known yet");
	else if (all_known(model))
		reason_add(&reason, ", all done in %s", SECONDS_TEXT(best->makespan));
}

/* One that promises nothing and gets a GPU for itself is there to be measured: one GPU that has
 * less than half the room of another one, which takes it as well and is liked as well, is no place
 * for that. */
static void prefer_roomy(const struct place_view *view, const struct fit_counts *counts,
			 struct place_decision *decision)
{
	const struct place_task *task = &view->waiting[decision->waiting];
	const struct ledger_gpu *gpus = view->ledger->gpus;
	size_t best = decision->gpus[0], chosen = best;

	if (decision->n_gpus != 1 || !task->request->exclusive ||
	    place_request_is_sized(task->request) || !gpus[chosen].vram_known)
		return;
	for (size_t gpu = 0; gpu < view->ledger->n_gpus; gpu++)
		if (gpus[gpu].vram_known && gpus[gpu].room_bytes > gpus[best].room_bytes &&
		    fit_tier(&gpus[gpu], task->request) <= fit_tier(&gpus[chosen], task->request) &&
		    fit_gpu(view->ledger, counts, task, gpu) == FIT_OK)
			best = gpu;
	if (gpus[best].room_bytes / 2 > gpus[chosen].room_bytes)
		decision->gpus[0] = best;
}

/* Where the task starts that was chosen: what it prefers, or the nearest of several GPUs, before
 * what the rule took. */
static void refine(const struct place_view *view, const struct fit_counts *counts,
		   struct place_decision *decision)
{
	const struct place_task *task = &view->waiting[decision->waiting];
	size_t n = decision->n_gpus;
	auto_free size_t *ranked = NULL;

	if (n == 0 || (n == 1 && !task->request->wishes) || (n > 1 && !view->ledger->links))
		return;
	ranked = mem_calloc(view->ledger->n_gpus + n, sizeof *ranked);
	memcpy(ranked, decision->gpus, n * sizeof *ranked);
	for (size_t gpu = 0; gpu < view->ledger->n_gpus; gpu++) {
		bool chosen = false;

		for (size_t i = 0; i < decision->n_gpus; i++)
			chosen |= decision->gpus[i] == gpu;
		if (!chosen && fit_gpu(view->ledger, counts, task, gpu) == FIT_OK)
			ranked[n++] = gpu;
	}
	nearest_choose(view->ledger, task->request, ranked, n, decision->n_gpus, decision->gpus);
}

bool auto_choose(const struct place_view *view, const struct fit_counts *counts,
		 struct place_decision *ret_decision)
{
	const struct model_options options = {.n_max = PLACE_WINDOW, .only_auto = true};
	auto_model struct model *model = NULL;
	struct verdict best;

	if (brief_is_all(view))
		return brief_choose(view, counts, ret_decision);
	model = model_create(view, &options);
	if (model_n_tasks(model) == 0 || !model_anything_fits(model))
		return false;
	best_rule(model, view->ledger->n_gpus, &best);
	if (!best.outcome.starts_now)
		return false;
	*ret_decision = (struct place_decision){
	    .waiting = best.outcome.first_start.waiting,
	    .n_gpus = best.outcome.first_start.n_gpus,
	    .policy = PLACE_AUTO,
	};
	memcpy(ret_decision->gpus, best.outcome.first_start.gpus, sizeof ret_decision->gpus);
	refine(view, counts, ret_decision);
	prefer_roomy(view, counts, ret_decision);
	say_start(view, counts, model, &best, ret_decision);
	return true;
}

/* How busy what runs on a GPU keeps it, per cent. */
static double busy_on(const struct place_view *view, size_t gpu)
{
	struct forecast_share shares[SHARES_MAX];
	size_t n = forecast_shares(view, gpu, shares, SHARES_MAX);
	double sum = 0;

	for (size_t i = 0; i < n; i++)
		sum += shares[i].utilization_percent;
	return sum;
}

/* The GPU that would take it now and end it soonest; n_gpus when none takes it. */
static size_t soonest_now(const struct place_view *view, const struct fit_counts *counts,
			  const struct place_task *task, double *ret_end)
{
	size_t best = view->ledger->n_gpus;

	*ret_end = HUGE_VAL;
	for (size_t gpu = 0; gpu < view->ledger->n_gpus; gpu++) {
		double end;

		if (fit_gpu(view->ledger, counts, task, gpu) != FIT_OK)
			continue;
		end = end_on(view, task, gpu);
		if (end < *ret_end) {
			*ret_end = end;
			best = gpu;
		}
	}
	return best;
}

bool auto_explain(const struct place_view *view, const struct fit_counts *counts, size_t waiting,
		  char reason_text[PLACE_REASON_MAX])
{
	const struct model_options options = {.n_max = PLACE_WINDOW, .only_auto = true};
	const struct place_task *task = &view->waiting[waiting];
	const struct ledger_gpu *gpus = view->ledger->gpus;
	auto_model struct model *model = NULL;
	struct reason reason = {.text = reason_text, .room = PLACE_REASON_MAX};
	struct model_outcome outcome;
	struct verdict best;
	double end_now, later;
	size_t now, then;
	bool known;

	if (brief_is_all(view))
		return false;
	model = model_create(view, &options);
	if (model_n_tasks(model) == 0)
		return false;
	best_rule(model, view->ledger->n_gpus, &best);
	model_watch(model, waiting);
	model_play(model, &best.rule, 0, &outcome);
	now = soonest_now(view, counts, task, &end_now);
	if (now == view->ledger->n_gpus || !outcome.watched_starts ||
	    outcome.watched_start.n_gpus == 0 || outcome.watched_at_seconds <= 0)
		return false;
	then = outcome.watched_start.gpus[0];
	known = all_known(model);
	later = outcome.watched_at_seconds +
		forecast_task(view->ledger, view->estimates, task, then).work_seconds;
	if (!known && busy_on(view, now) < 100)
		reason_add(&reason,
			   "GPU %u has room, but is kept until it is known how long and how busy "
			   "what runs (%u there) keeps it; starts on GPU %u then",
			   gpus[now].index, gpus[now].n_tasks, gpus[then].index);
	else if (!known)
		reason_add(&reason,
			   "GPU %u has room, but what runs there (%u) keeps it busy to %.0f%%: one "
			   "more would only slow it; starts on GPU %u next",
			   gpus[now].index, gpus[now].n_tasks, busy_on(view, now),
			   gpus[then].index);
	else if (then != now && later < end_now)
		reason_add(
		    &reason,
		    "ends sooner on GPU %u: starts there in %s and ends in %s; on GPU %u, which "
		    "would take it now, it would end in %s",
		    gpus[then].index, SECONDS_TEXT(outcome.watched_at_seconds), SECONDS_TEXT(later),
		    gpus[now].index, SECONDS_TEXT(end_now));
	else if (busy_on(view, now) >= 100)
		reason_add(&reason,
			   "GPU %u has room, but what runs there (%u) keeps it busy to %.0f%%: one "
			   "more would "
			   "only slow it; starts on GPU %u in %s",
			   gpus[now].index, gpus[now].n_tasks, busy_on(view, now), gpus[then].index,
			   SECONDS_TEXT(outcome.watched_at_seconds));
	else
		reason_add(
		    &reason,
		    "GPU %u would take it now (end in %s), but is kept for others that wait: all "
		    "are done in %s that way; starts on GPU %u in %s",
		    gpus[now].index, SECONDS_TEXT(end_now), SECONDS_TEXT(best.makespan),
		    gpus[then].index, SECONDS_TEXT(outcome.watched_at_seconds));
	return true;
}
