/*
 * Two times are worked out for each task that runs: when it is expected to end, and when it ends at
 * the earliest (two standard deviations before that; a task of which nothing was learned and that
 * has no limit may end at once and is expected to end never). From them follow two times for the
 * task that waits: when it is expected to start, which people are told, and when it starts at the
 * earliest, which others have to be gone by. With the expected time for both, a task that ends
 * sooner than expected would leave the one that waits standing behind others that were let past it.
 * Who goes past is taken at his latest: his limit, or two standard deviations beyond what is
 * expected.
 *
 * A task slows down others on its GPU (forecast.h), so ending in time is not enough: nothing starts
 * beside what the waiting one waits for, or on its GPUs, that would make their utilisations add up
 * to more than 100 %, as far as these are known.
 *
 * What is spare is the least that is left beside it whichever of those that run end first: of all
 * sets of them whose end lets it start, the one that leaves least.
 */
#include "place/reserve.h"

#include "place/fit.h"
#include "place/forecast.h"
#include "place/nearest.h"
#include "place/saturate.h"

#include <math.h>
#include <string.h>

/* How many standard deviations "surely" is. */
#define SURELY 2.0
/* Of more tasks than this not all sets are tried: nothing is spare beside them. */
#define SETS_OF_MAX 12

/* When a running task ends, seconds from now; infinite: nobody knows. */
struct end {
	size_t running;
	double expected, earliest;
	bool is_limit; /* the expected one is its time limit */
	bool overdue;
};

/* One task's share of a GPU. */
struct share {
	size_t running;
	double left, utilization;
};

/* What an expected start rests on. */
struct basis {
	bool is_limit;    /* the last that has to end does so by its limit */
	uint64_t overdue; /* one of those that have to end that is, or 0 */
};

/* When a GPU could take the task. */
struct candidate {
	size_t gpu;
	double expected, earliest;
	size_t n_unknown; /* of those that have to end, how many do so nobody knows when */
	unsigned tier;
	struct ledger_gpu then; /* once those have ended that have to */
	size_t n_gone;          /* they are the first so many on it by expected end */
	struct basis basis;
};

struct plan {
	const struct place_view *view;
	const struct fit_counts *counts;
	const struct place_task *task;
	struct end *ends; /* of all that runs, by expected end */
	struct reserve *reserve;
};

static int by_left(const void *a, const void *b)
{
	const struct share *x = a, *y = b;

	return (x->left > y->left) - (x->left < y->left);
}

static int by_expected(const void *a, const void *b)
{
	const struct end *x = a, *y = b;

	if (x->expected != y->expected)
		return x->expected < y->expected ? -1 : 1;
	return (x->running > y->running) - (x->running < y->running);
}

static int by_earliest(const void *a, const void *b)
{
	const struct end *x = a, *y = b;

	if (x->earliest != y->earliest)
		return x->earliest < y->earliest ? -1 : 1;
	return (x->running > y->running) - (x->running < y->running);
}

/* ---- when what runs ends ---- */

/* Everybody progresses at 100/u of his speed (forecast.h): the times at which they end, one after
 * the other. A task on several GPUs ends with the last of its shares. */
static void end_shares(struct share *shares, size_t n, double *ends)
{
	double sum = 0, time = 0, done = 0;

	if (n > 1)
		qsort(shares, n, sizeof *shares, by_left);
	for (size_t i = 0; i < n; i++)
		sum += shares[i].utilization;
	for (size_t i = 0; i < n; i++) {
		double *end = &ends[shares[i].running];

		if (isinf(shares[i].left)) {
			*end = HUGE_VAL;
			continue;
		}
		time += (shares[i].left - done) * MAX_OF(sum / 100, 1.0);
		done = shares[i].left;
		sum -= shares[i].utilization;
		*end = MAX_OF(*end, time);
	}
}

/* What was never measured is not held against anybody. */
static double known_utilization(const struct forecast *f)
{
	return f->utilization_known ? f->utilization_percent : 0;
}

/* Work left of a running task on a GPU: as expected, or at the least. */
static double work_left(const struct forecast *f, const struct place_task *task, bool least)
{
	double done = task->work_done_seconds;

	if (!f->known)
		return least ? 0 : HUGE_VAL;
	if (least)
		return MAX_OF(f->work_seconds - SURELY * f->deviation_seconds - done, 0.0);
	return forecast_remaining(f, done);
}

/* Has it run longer than expected, everywhere it is? */
static bool is_overdue(const struct place_view *view, const struct place_task *task)
{
	for (size_t g = 0; g < MAX_OF(task->n_gpus, (size_t)1); g++) {
		struct forecast f = forecast_task(view->ledger, view->estimates, task,
						  task->n_gpus > 0 ? task->gpus[g] : FORECAST_CPU);

		if (!forecast_is_overdue(&f, task->work_done_seconds))
			return false;
	}
	return true;
}

/* The ends by what was learned, all GPUs and the CPU. */
static void learned_ends(const struct plan *plan, bool least, double *ends)
{
	const struct place_view *view = plan->view;
	auto_free struct share *shares = mem_calloc(view->n_running + 1, sizeof *shares);

	for (size_t gpu = 0; gpu < view->ledger->n_gpus; gpu++) {
		size_t n = 0;

		for (size_t i = 0; i < view->n_running; i++) {
			const struct place_task *task = &view->running[i];
			struct forecast f;

			if (!place_runs_on(task, gpu))
				continue;
			f = forecast_task(view->ledger, view->estimates, task, gpu);
			shares[n++] =
			    (struct share){i, work_left(&f, task, least), f.utilization_percent};
			if (!least)
				plan->reserve->busy[gpu] += known_utilization(&f);
		}
		end_shares(shares, n, ends);
	}
	for (size_t i = 0; i < view->n_running; i++) {
		const struct place_task *task = &view->running[i];
		struct forecast f;

		if (task->n_gpus > 0)
			continue;
		f = forecast_task(view->ledger, view->estimates, task, FORECAST_CPU);
		ends[i] = work_left(&f, task, least);
	}
}

/* A limit is the end of what may last longer, and all there is to go by where nothing was learned.
 */
static void find_ends(struct plan *plan)
{
	const struct place_view *view = plan->view;
	size_t n = view->n_running;
	auto_free double *expected = mem_calloc(n + 1, sizeof *expected);
	auto_free double *earliest = mem_calloc(n + 1, sizeof *earliest);

	learned_ends(plan, false, expected);
	learned_ends(plan, true, earliest);
	for (size_t i = 0; i < n; i++) {
		const struct place_task *task = &view->running[i];
		double left = HUGE_VAL;

		if (task->hard_limit_seconds > 0)
			left = MAX_OF(task->hard_limit_seconds - task->elapsed_seconds, 0.0);
		plan->ends[i] = (struct end){
		    .running = i,
		    .expected = MIN_OF(expected[i], left),
		    .earliest =
			isinf(expected[i]) && !isinf(left) ? left : MIN_OF(earliest[i], left),
		    .is_limit = left < expected[i],
		    .overdue = is_overdue(view, task),
		};
	}
}

static void rest_on(struct basis *basis, const struct end *end, const struct place_task *task)
{
	basis->is_limit = end->is_limit;
	if (end->overdue)
		basis->overdue = task->id;
}

/* It waits for this too. */
static void start_at(struct reserve *r, double seconds, const struct basis *basis)
{
	if (seconds > r->start_seconds) {
		r->start_seconds = seconds;
		r->start_is_limit = basis->is_limit;
	}
	if (basis->overdue)
		r->overdue = basis->overdue;
}

/* ---- when a GPU takes it ---- */

static void release(struct ledger_gpu *g, const struct place_request *gone)
{
	g->n_tasks -= g->n_tasks > 0;
	g->held_exclusive &= !gone->exclusive;
	g->room_bytes = MIN_OF(saturate_add(g->room_bytes, fit_vram(g, gone)), ledger_capacity(g));
	if (g->n_tasks == 0)
		g->room_bytes = ledger_capacity(g);
}

/* The time from which a GPU takes the task, those on it ending in the order of plan->ends. Infinite
 * with ret_able false: never. */
static double when_taken(const struct plan *plan, size_t gpu, bool earliest,
			 struct candidate *candidate, bool *ret_able)
{
	const struct place_request *request = plan->task->request;
	const struct place_view *view = plan->view;
	unsigned of_batch = fit_counts_on_gpu(plan->counts, plan->task->batch, gpu);
	unsigned unsized = fit_counts_unsized(plan->counts, gpu);
	double at = 0;

	candidate->then = view->ledger->gpus[gpu];
	candidate->n_gone = candidate->n_unknown = 0;
	candidate->basis = (struct basis){};
	*ret_able = true;
	for (size_t i = 0; fit_state(&candidate->then, request, of_batch, unsized) != FIT_OK; i++) {
		const struct end *end = &plan->ends[i];
		const struct place_task *task;

		if (i == view->n_running) {
			*ret_able = false;
			return HUGE_VAL;
		}
		task = &view->running[end->running];
		if (!place_runs_on(task, gpu))
			continue;
		at = earliest ? end->earliest : end->expected;
		candidate->n_unknown += end->expected == HUGE_VAL;
		rest_on(&candidate->basis, end, task);
		candidate->n_gone++;
		release(&candidate->then, task->request);
		if (!place_request_is_sized(task->request) && unsized > 0)
			unsized--;
		if (task->batch == plan->task->batch && of_batch > 0)
			of_batch--;
	}
	return at;
}

static int by_start(const void *a, const void *b)
{
	const struct candidate *x = a, *y = b;

	if (x->expected != y->expected)
		return x->expected < y->expected ? -1 : 1;
	if (x->n_unknown != y->n_unknown)
		return x->n_unknown < y->n_unknown ? -1 : 1;
	if (x->tier != y->tier)
		return x->tier < y->tier ? -1 : 1;
	return (x->gpu > y->gpu) - (x->gpu < y->gpu);
}

/* All GPUs that will take it some day, soonest first. */
static size_t find_candidates(struct plan *plan, struct candidate *candidates)
{
	const struct ledger *ledger = plan->view->ledger;
	const struct place_request *request = plan->task->request;
	size_t n = 0, n_running = plan->view->n_running;
	bool able;

	qsort(plan->ends, n_running, sizeof *plan->ends, by_earliest);
	for (size_t gpu = 0; gpu < ledger->n_gpus; gpu++) {
		const struct ledger_gpu *g = &ledger->gpus[gpu];
		struct candidate *c = &candidates[n];

		if (!g->usable || g->closed || fit_rules(g, request) != FIT_OK)
			continue;
		*c = (struct candidate){.gpu = gpu, .tier = fit_tier(g, request)};
		c->earliest = when_taken(plan, gpu, true, c, &able);
		n += able;
	}
	qsort(plan->ends, n_running, sizeof *plan->ends, by_expected);
	for (size_t i = 0; i < n; i++) {
		struct candidate *c = &candidates[i];
		double moment = fit_moment_seconds(ledger, request, c->gpu);

		c->expected = MAX_OF(when_taken(plan, c->gpu, false, c, &able), moment);
	}
	if (n > 1)
		qsort(candidates, n, sizeof *candidates, by_start);
	return n;
}

/* What runs on a GPU and is among the first n there by expected end is waited for. */
static void mark_way(struct plan *plan, size_t gpu, size_t n)
{
	for (size_t i = 0; i < plan->view->n_running && n > 0; i++) {
		const struct place_task *task = &plan->view->running[plan->ends[i].running];

		if (!place_runs_on(task, gpu))
			continue;
		n--;
		for (size_t g = 0; g < task->n_gpus; g++)
			plan->reserve->in_its_way[task->gpus[g]] = true;
	}
}

struct sizes {
	uint64_t size[SETS_OF_MAX];
	size_t n; /* more than SETS_OF_MAX: too many */
};

static void add_size(struct sizes *sizes, uint64_t size)
{
	if (size == 0)
		return;
	if (sizes->n < SETS_OF_MAX)
		sizes->size[sizes->n] = size;
	sizes->n++;
}

/* The least that is left over of `room` and what ends, where it is enough. */
static uint64_t least_spare(uint64_t room, uint64_t needs, const struct sizes *sizes)
{
	uint64_t least = UINT64_MAX;

	if (room >= needs)
		return room - needs;
	if (sizes->n > SETS_OF_MAX)
		return 0;
	for (unsigned set = 1; set < 1U << sizes->n; set++) {
		uint64_t sum = room;

		for (size_t i = 0; i < sizes->n; i++)
			if (set & 1U << i)
				sum = saturate_add(sum, sizes->size[i]);
		if (sum >= needs)
			least = MIN_OF(least, sum - needs);
	}
	return least == UINT64_MAX ? 0 : least;
}

static uint64_t spare_vram(const struct plan *plan, size_t gpu)
{
	const struct place_view *view = plan->view;
	const struct ledger_gpu *g = &view->ledger->gpus[gpu];
	struct sizes sizes = {};

	for (size_t i = 0; i < view->n_running; i++)
		if (place_runs_on(&view->running[i], gpu))
			add_size(&sizes, fit_vram(g, view->running[i].request));
	return least_spare(g->room_bytes, fit_vram(g, plan->task->request), &sizes);
}

/* A task that has to know what is free, or has the GPU for itself, leaves nothing beside it. */
static bool wants_it_alone(const struct place_request *request)
{
	return request->exclusive || request->start_lock ||
	       (!place_request_is_sized(request) && request->max_per_gpu == 0);
}

static void keep_gpu(struct plan *plan, const struct candidate *c)
{
	struct reserve *r = plan->reserve;
	const struct place_request *request = plan->task->request;
	bool one_more = c->then.max_tasks == 0 || c->then.n_tasks + 1 < c->then.max_tasks;

	r->gpus[r->n_gpus++] = (struct reserve_gpu){
	    .gpu = c->gpu,
	    .spare = one_more && !wants_it_alone(request),
	    .spare_vram = spare_vram(plan, c->gpu),
	};
	start_at(r, c->expected, &c->basis);
	r->safe_seconds = MAX_OF(r->safe_seconds, c->earliest);
	mark_way(plan, c->gpu, c->n_gone);
}

/* The soonest GPUs; where it is several, the nearest of those that are free by then. */
static bool keep_gpus(struct plan *plan)
{
	const struct ledger *ledger = plan->view->ledger;
	size_t want = plan->task->request->gpus, n, m, chosen[PLACE_GPUS_MAX];
	auto_free struct candidate *candidates = mem_calloc(ledger->n_gpus + 1, sizeof *candidates);
	auto_free size_t *ranked = mem_calloc(ledger->n_gpus + 1, sizeof *ranked);

	n = find_candidates(plan, candidates);
	if (want == 0 || want > MIN_OF(n, (size_t)PLACE_GPUS_MAX))
		return false;
	for (m = 0; m < n && candidates[m].expected <= candidates[want - 1].expected; m++)
		ranked[m] = candidates[m].gpu;
	if (want == 1)
		chosen[0] = candidates[0].gpu;
	else
		nearest_choose(ledger, plan->task->request, ranked, m, want, chosen);
	for (size_t i = 0; i < want; i++)
		for (size_t c = 0; c < n; c++)
			if (candidates[c].gpu == chosen[i])
				keep_gpu(plan, &candidates[c]);
	return true;
}

/* ---- the host ---- */

/* A thing of which the host has so much left. */
struct thing {
	uint64_t room, needs;
	uint64_t (*of)(const struct place_request *request);
};

/* When there is as much of it as the task needs, those that run ending in the order of plan->ends;
 * infinite with ret_able false: never. `way`: mark who is waited for. */
static double when_enough(const struct plan *plan, const struct thing *thing, bool way,
			  struct basis *ret_basis, bool *ret_able)
{
	const struct place_view *view = plan->view;
	uint64_t room = thing->room;
	double at = 0;

	*ret_basis = (struct basis){};
	*ret_able = true;
	for (size_t i = 0; room < thing->needs; i++) {
		const struct place_task *task;

		if (i == view->n_running) {
			*ret_able = false;
			return HUGE_VAL;
		}
		task = &view->running[plan->ends[i].running];
		if (thing->of(task->request) == 0)
			continue;
		room = saturate_add(room, thing->of(task->request));
		at = way ? plan->ends[i].expected : plan->ends[i].earliest;
		rest_on(ret_basis, &plan->ends[i], task);
		for (size_t g = 0; way && g < task->n_gpus; g++)
			plan->reserve->in_its_way[task->gpus[g]] = true;
	}
	return at;
}

/* False: it will never be enough. */
static bool keep_thing(struct plan *plan, const struct thing *thing, uint64_t *ret_spare)
{
	const struct place_view *view = plan->view;
	struct reserve *r = plan->reserve;
	struct sizes sizes = {};
	struct basis basis;
	double expected, earliest;
	bool able;

	qsort(plan->ends, view->n_running, sizeof *plan->ends, by_earliest);
	earliest = when_enough(plan, thing, false, &basis, &able);
	qsort(plan->ends, view->n_running, sizeof *plan->ends, by_expected);
	expected = when_enough(plan, thing, true, &basis, &able);
	if (!able)
		return false;
	start_at(r, expected, &basis);
	r->safe_seconds = MAX_OF(r->safe_seconds, earliest);
	for (size_t i = 0; i < view->n_running; i++)
		add_size(&sizes, thing->of(view->running[i].request));
	*ret_spare = least_spare(thing->room, thing->needs, &sizes);
	return true;
}

static uint64_t ram_of(const struct place_request *request)
{
	return request->ram_bytes;
}

static uint64_t cpu_of(const struct place_request *request)
{
	return request->cpu_milli;
}

/* Where and when; false: on no day that can be seen from here. */
static bool make_plan(struct plan *plan)
{
	const struct ledger *ledger = plan->view->ledger;
	const struct place_request *request = plan->task->request;
	struct reserve *r = plan->reserve;

	const struct thing ram = {ledger->ram_room_bytes, request->ram_bytes, ram_of};
	const struct thing cpus = {ledger->cpu_milli_room, request->cpu_milli, cpu_of};

	find_ends(plan);
	r->ram = ledger->ram_known && request->ram_bytes > 0;
	r->cpus = ledger->cpu_milli_total > 0 && request->cpu_milli > 0;
	return (fit_is_cpu_only(request) || keep_gpus(plan)) &&
	       (!r->ram || keep_thing(plan, &ram, &r->spare_ram)) &&
	       (!r->cpus || keep_thing(plan, &cpus, &r->spare_cpu));
}

/* Can it not start, for want of something that others have? Its own limits are no reason to keep
 * others away. */
static bool is_in_want(const struct place_view *view, const struct fit_counts *counts,
		       const struct place_task *task)
{
	enum fit host = fit_host(view->ledger, counts, task);
	size_t fits = 0;

	if (host == FIT_THREADS || host == FIT_USER)
		return false;
	if (host != FIT_OK)
		return true;
	if (fit_is_cpu_only(task->request))
		return false;
	for (size_t gpu = 0; gpu < view->ledger->n_gpus; gpu++)
		fits += fit_gpu(view->ledger, counts, task, gpu) == FIT_OK;
	return fits < task->request->gpus;
}

static bool reserve_for(const struct place_view *view, const struct fit_counts *counts,
			size_t waiting, struct reserve *ret_reserve)
{
	size_t n_gpus = view->ledger->n_gpus;
	auto_free struct end *ends = mem_calloc(view->n_running + 1, sizeof *ends);
	struct reserve reserve = {.waiting = waiting, .task = &view->waiting[waiting]};
	struct plan plan = {view, counts, reserve.task, ends, &reserve};

	reserve.busy = mem_calloc(n_gpus + 1, sizeof *reserve.busy);
	reserve.in_its_way = mem_calloc(n_gpus + 1, sizeof *reserve.in_its_way);
	if (!make_plan(&plan)) {
		reserve_finish(&reserve);
		return false;
	}
	*ret_reserve = reserve;
	return true;
}

bool reserve_find(const struct place_view *view, const struct fit_counts *counts,
		  struct reserve *ret_reserve)
{
	if (!(view->reserve_after_seconds > 0))
		return false;
	for (size_t i = 0; i < view->n_waiting; i++) {
		const struct place_task *task = &view->waiting[i];

		if ((view->taken && view->taken[i]) ||
		    task->waited_seconds < view->reserve_after_seconds)
			continue;
		if (is_in_want(view, counts, task) && reserve_for(view, counts, i, ret_reserve))
			return true;
	}
	return false;
}

void reserve_finish(struct reserve *reserve)
{
	free(reserve->busy);
	free(reserve->in_its_way);
	*reserve = (struct reserve){};
}

/* ---- who goes past ---- */

/* Those before it and those of its own batch are not asked. */
static bool is_behind(const struct reserve *reserve, const struct place_view *view,
		      const struct place_task *task)
{
	if (task->batch != 0 && task->batch == reserve->task->batch)
		return false;
	return task > reserve->task && task < view->waiting + view->n_waiting;
}

/* The latest it can end when it starts on this GPU now. */
static double latest_on(const struct reserve *reserve, const struct place_view *view,
			const struct place_task *task, size_t gpu)
{
	struct forecast f = forecast_task(view->ledger, view->estimates, task, gpu);
	double busy = gpu == FORECAST_CPU ? 0 : reserve->busy[gpu] + f.utilization_percent;
	double latest = HUGE_VAL;

	if (f.known)
		latest = (f.work_seconds + SURELY * f.deviation_seconds) * MAX_OF(busy / 100, 1.0);
	if (task->hard_limit_seconds > 0)
		latest = MIN_OF(latest, task->hard_limit_seconds);
	return latest;
}

/* ... wherever it goes. */
static double latest_anywhere(const struct reserve *reserve, const struct place_view *view,
			      const struct place_task *task)
{
	double latest = 0;

	if (fit_is_cpu_only(task->request))
		return latest_on(reserve, view, task, FORECAST_CPU);
	for (size_t gpu = 0; gpu < view->ledger->n_gpus; gpu++)
		if (view->ledger->gpus[gpu].usable &&
		    fit_rules(&view->ledger->gpus[gpu], task->request) == FIT_OK)
			latest = MAX_OF(latest, latest_on(reserve, view, task, gpu));
	return latest;
}

static const struct reserve_gpu *kept_gpu(const struct reserve *reserve, size_t gpu)
{
	for (size_t i = 0; i < reserve->n_gpus; i++)
		if (reserve->gpus[i].gpu == gpu)
			return &reserve->gpus[i];
	return NULL;
}

enum reserve_verdict reserve_gpu_verdict(const struct reserve *reserve,
					 const struct place_view *view,
					 const struct place_task *task, size_t gpu)
{
	const struct place_request *request = task->request, *first = reserve->task->request;
	const struct reserve_gpu *kept = kept_gpu(reserve, gpu);
	double stagger = MAX_OF(first->stagger_ms, view->ledger->stagger_ms) / 1000.0, latest;
	struct forecast f;

	if (!is_behind(reserve, view, task) || (!kept && !reserve->in_its_way[gpu]))
		return RESERVE_ALLOWS;
	f = forecast_task(view->ledger, view->estimates, task, gpu);
	if (reserve->busy[gpu] > 0 && reserve->busy[gpu] + known_utilization(&f) > 100)
		return RESERVE_SLOWS;
	if (!kept)
		return RESERVE_ALLOWS;
	if (stagger > reserve->safe_seconds)
		return RESERVE_ENDS_LATER; /* a start now would put off its own */
	latest = request->gpus > 1 ? latest_anywhere(reserve, view, task)
				   : latest_on(reserve, view, task, gpu);
	if (latest <= reserve->safe_seconds)
		return RESERVE_ALLOWS;
	return kept->spare && !wants_it_alone(request) &&
		       fit_vram(&view->ledger->gpus[gpu], request) <= kept->spare_vram
		   ? RESERVE_ALLOWS
		   : RESERVE_ENDS_LATER;
}

enum reserve_verdict reserve_host_verdict(const struct reserve *reserve,
					  const struct place_view *view,
					  const struct place_task *task,
					  const struct place_request *request)
{
	double latest;
	bool ram = reserve->ram && request->ram_bytes > reserve->spare_ram;
	bool cpus = reserve->cpus && request->cpu_milli > reserve->spare_cpu;

	if ((!ram && !cpus) || !is_behind(reserve, view, task))
		return RESERVE_ALLOWS;
	latest = request == task->on_cpu ? latest_on(reserve, view, task, FORECAST_CPU)
					 : latest_anywhere(reserve, view, task);
	return latest <= reserve->safe_seconds ? RESERVE_ALLOWS : RESERVE_ENDS_LATER;
}

bool reserve_is_end_known(const struct place_view *view, const struct place_task *task)
{
	if (task->hard_limit_seconds > 0)
		return true;
	if (fit_is_cpu_only(task->request))
		return forecast_task(view->ledger, view->estimates, task, FORECAST_CPU).known;
	for (size_t gpu = 0; gpu < view->ledger->n_gpus; gpu++)
		if (forecast_task(view->ledger, view->estimates, task, gpu).known)
			return true;
	return false;
}
