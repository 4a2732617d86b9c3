/*
 * Guesses are only there to put tasks of unknown kinds in a sensible order (as kinds of that size
 * that are known, else the larger the longer) and to be replaced by what is learned; nothing is
 * promised to anybody by them.
 */
#include "place/forecast.h"

#include "util/size.h"

#include <math.h>

/* A task of 1 GiB of an unknown kind on a GPU of speed 1, and how it grows with VRAM. */
#define GUESS_SECONDS     60.0
#define GUESS_GROWTH      0.75
#define GUESS_UTILIZATION 49.0
/* Relative spread taken for durations of which too few were seen to tell. */
#define SPREAD_PRIOR         0.5
#define SPREAD_PRIOR_SAMPLES 4.0
/* What is left of a task that has long passed its estimate is never taken for nothing. */
#define REMAINING_FLOOR 0.02

static struct forecast guess(uint64_t vram_bytes, double speed)
{
	double gib = GIB_OF(MAX_OF(vram_bytes, GIB / 4));
	struct forecast f = {};

	f.work_seconds = GUESS_SECONDS * pow(gib, GUESS_GROWTH) / (speed > 0 ? speed : 1);
	f.deviation_seconds = f.work_seconds;
	return f;
}

struct forecast forecast_task(const struct ledger *ledger, const struct estimates *estimates,
			      const struct place_task *task, size_t gpu)
{
	bool on_cpu = gpu == FORECAST_CPU;
	const char *model = on_cpu ? "" : ledger->gpus[gpu].model;
	double speed = on_cpu ? 0 : ledger->gpus[gpu].speed;
	uint64_t vram = on_cpu
			    ? task->request->vram_bytes
			    : place_request_vram(task->request, ledger->gpus[gpu].load_line_bytes);
	struct estimate e = {};
	struct forecast f;
	double n, work, utilization = GUESS_UTILIZATION;

	if (estimates)
		e = estimates_get(estimates, task->kind, model, speed, vram);
	work = estimate_work(&e, task->work_hint);
	if (e.utilization_known)
		utilization = MAX_OF(MIN_OF(e.utilization_percent, 100.0), 1.0);
	if (!e.known || !(work > 0)) {
		f = guess(vram, speed);
		f.utilization_known = e.utilization_known;
		f.utilization_exact = e.utilization_known && !e.utilization_is_floor;
		f.utilization_percent = utilization;
		return f;
	}
	n = MIN_OF(e.samples, 32U);
	f = (struct forecast){
	    .known = e.samples > 0, /* else it follows from other kinds */
	    .hinted = e.hint_mean > 0,
	    .work_seconds = work,
	    .deviation_seconds = (n * e.deviation_seconds * work / e.work_seconds +
				  SPREAD_PRIOR_SAMPLES * SPREAD_PRIOR * work) /
				 (n + SPREAD_PRIOR_SAMPLES),
	    .utilization_known = e.utilization_known,
	    .utilization_exact = e.utilization_known && !e.utilization_is_floor,
	    .utilization_percent = utilization,
	};
	return f;
}

static double normal_below(double z)
{
	return 0.5 * erfc(-z / M_SQRT2);
}

/*
 * W log-normal with mean m and variance s^2: sigma^2 = ln(1 + s^2/m^2), mu = ln m - sigma^2/2. With
 * z = (ln done - mu)/sigma, E[W - done | W > done] = m x N(sigma - z)/N(-z) - done.
 */
double forecast_remaining(const struct forecast *forecast, double done)
{
	double mean = forecast->work_seconds, floor, left, sigma2, sigma, z, beyond;
	double ratio = forecast->deviation_seconds / mean;

	if (!(done > 0))
		return mean;
	floor = REMAINING_FLOOR * MAX_OF(mean, done);
	sigma2 = log1p(MAX_OF(ratio * ratio, 1e-4));
	sigma = sqrt(sigma2);
	z = (log(done) - (log(mean) - sigma2 / 2)) / sigma;
	beyond = normal_below(-z);
	if (beyond < 1e-9) /* far in the tail, where the quotient is 0/0: a tenth more */
		left = 0.1 * done;
	else
		left = mean * normal_below(sigma - z) / beyond - done;
	return MAX_OF(left, floor);
}

bool forecast_is_overdue(const struct forecast *forecast, double done)
{
	return forecast->known && done > forecast->work_seconds;
}

double forecast_end(const struct forecast_share *shares, size_t n, double work, double utilization)
{
	double sum = utilization, time = 0, done = 0; /* done: progress of everyone so far */

	for (size_t i = 0; i < n; i++)
		sum += shares[i].utilization_percent;
	for (;;) {
		double slow = MAX_OF(sum / 100, 1.0), next = work, leaving = 0;

		for (size_t i = 0; i < n; i++)
			if (shares[i].remaining_seconds > done &&
			    shares[i].remaining_seconds < next)
				next = shares[i].remaining_seconds;
		time += (next - done) * slow;
		done = next;
		if (done >= work)
			return time;
		for (size_t i = 0; i < n; i++)
			if (shares[i].remaining_seconds == done)
				leaving += shares[i].utilization_percent;
		sum -= leaving;
	}
}

bool forecast_is_known_on(const struct place_view *view, size_t gpu)
{
	for (size_t i = 0; i < view->n_running; i++) {
		const struct place_task *task = &view->running[i];

		for (size_t g = 0; g < task->n_gpus; g++)
			if (task->gpus[g] == gpu &&
			    !forecast_task(view->ledger, view->estimates, task, gpu).known)
				return false;
	}
	return true;
}

size_t forecast_shares(const struct place_view *view, size_t gpu, struct forecast_share *shares,
		       size_t room)
{
	size_t n = 0;

	for (size_t i = 0; i < view->n_running && n < room; i++) {
		const struct place_task *task = &view->running[i];

		for (size_t g = 0; g < task->n_gpus; g++) {
			struct forecast f;

			if (task->gpus[g] != gpu)
				continue;
			f = forecast_task(view->ledger, view->estimates, task, gpu);
			shares[n++] = (struct forecast_share){
			    .remaining_seconds = forecast_remaining(&f, task->work_done_seconds),
			    .utilization_percent = f.utilization_percent,
			};
			break;
		}
	}
	return n;
}
