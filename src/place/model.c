/*
 * Making a model of a view. Waiting tasks that differ in nothing but length form a class; what a
 * class takes on each lane is forecast once. How it is played is in play.c.
 */
#include "place/model_priv.h"

#include "place/fit.h"
#include "place/forecast.h"
#include "place/saturate.h"

#include <math.h>
#include <string.h>

static size_t batch_index(struct model *m, uint64_t id)
{
	for (size_t i = 0; i < m->n_batches; i++)
		if (m->batches[i].id == id)
			return i;
	ARRAY_GROW(m->batches, m->n_batches, m->batches_room);
	m->batches[m->n_batches] = (struct batch){.id = id, .since = SIZE_MAX};
	return m->n_batches++;
}

static size_t user_index(const struct model *m, uid_t uid)
{
	for (size_t i = 1; i < m->n_users; i++)
		if (m->users[i].limits->uid == uid)
			return i;
	return 0;
}

static void read_users(struct model *m, const struct place_view *view)
{
	m->n_users = view->n_users + 1;
	m->users = mem_calloc(m->n_users, sizeof *m->users);
	for (size_t i = 1; i < m->n_users; i++)
		m->users[i].limits = &view->users[i - 1];
}

static size_t class_of(struct model *m, const struct place_task *task, size_t only)
{
	size_t batch = batch_index(m, task->batch), user = user_index(m, task->uid);

	for (size_t i = 0; i < m->n_classes; i++) {
		struct class *c = &m->classes[i];

		if (c->batch == batch && c->user == user && c->only == only &&
		    c->priority == task->priority &&
		    place_request_is_same(c->task->request, task->request) &&
		    (c->task->kind == task->kind || strcmp(c->task->kind, task->kind) == 0))
			return i;
	}
	ARRAY_GROW(m->classes, m->n_classes, m->classes_room);
	m->classes[m->n_classes] = (struct class){
	    .task = task,
	    .batch = batch,
	    .user = user,
	    .only = only,
	    .priority = task->priority,
	};
	return m->n_classes++;
}

static void read_lanes(struct model *m, const struct place_view *view)
{
	const struct ledger *ledger = view->ledger;

	m->view = view;
	m->counts = fit_counts_create(view);
	m->reserve = fit_counts_reserve(m->counts);
	m->n_gpus = ledger->n_gpus;
	m->n_lanes = m->n_gpus + 1;
	m->lanes = mem_calloc(m->n_lanes, sizeof *m->lanes);
	for (size_t i = 0; i < m->n_gpus; i++) {
		const struct ledger_gpu *g = &ledger->gpus[i];
		struct lane *lane = &m->lanes[i];

		lane->usable = g->usable;
		lane->vram_known = g->vram_known;
		lane->room = g->room_bytes;
		lane->load_line = g->load_line_bytes;
		lane->line = ledger_capacity(g);
		lane->n_tasks = g->n_tasks;
		lane->held = g->held_exclusive;
		lane->max_tasks = g->max_tasks;
		lane->unsized = fit_counts_unsized(m->counts, i);
		lane->like = i;
		for (size_t j = 0; j < i && lane->like == i; j++)
			if (ledger->gpus[j].speed == g->speed &&
			    strcmp(ledger->gpus[j].model, g->model) == 0)
				lane->like = j;
	}
	m->lanes[m->n_gpus].usable = true;
	m->lanes[m->n_gpus].like = m->n_gpus;
	m->ram_known = ledger->ram_known;
	m->ram_room = ledger->ram_room_bytes;
	m->cpu_known = ledger->cpu_milli_total > 0;
	m->cpu_room = ledger->cpu_milli_room;
}

/* Could this lane ever take a task of this class? */
static bool lane_can(const struct model *m, const struct place_view *view, const struct class *c,
		     size_t lane)
{
	const struct place_request *request = c->task->request;

	if (c->only != NO_LANE && c->only != lane)
		return false;
	if (lane == m->n_gpus || fit_is_cpu_only(request))
		return lane == m->n_gpus && fit_is_cpu_only(request);
	if (!m->lanes[lane].usable || view->ledger->gpus[lane].closed ||
	    fit_rules(&view->ledger->gpus[lane], request) != FIT_OK)
		return false;
	if (!m->lanes[lane].vram_known)
		return !place_request_is_sized(request);
	return lane_vram(m, lane, request) <= m->lanes[lane].line;
}

/*
 * Of a kind seen only on full GPUs the product of work and utilisation is known, not the two. The
 * least work it can be is all of the GPU for as long as that takes.
 */
static void take_least_work(struct forecast *f)
{
	if (!f->utilization_known || f->utilization_exact)
		return;
	f->work_seconds *= f->utilization_percent / 100;
	f->utilization_percent = 100;
}

static void forecast_class(struct model *m, const struct place_view *view, size_t class,
			   bool least_work)
{
	struct class *c = &m->classes[class];
	struct place_task plain = *c->task;

	plain.work_hint = 0;
	c->unseen = c->n > 1 && plain.kind[0];
	for (size_t lane = 0; lane < m->n_lanes; lane++) {
		size_t at = class * m->n_lanes + lane, like = m->lanes[lane].like;
		struct forecast f;

		if (!lane_can(m, view, c, lane))
			continue;
		if (like < lane && m->work[class * m->n_lanes + like] > 0) {
			m->work[at] = m->work[class * m->n_lanes + like];
			m->utilization[at] = m->utilization[class * m->n_lanes + like];
			continue;
		}
		f = forecast_task(view->ledger, view->estimates, &plain,
				  lane == m->n_gpus ? FORECAST_CPU : lane);
		if (least_work)
			take_least_work(&f);
		m->work[at] = f.work_seconds;
		m->utilization[at] = lane == m->n_gpus ? 0 : f.utilization_percent;
		c->spread = sqrt(log1p(pow(f.deviation_seconds / f.work_seconds, 2)));
		c->spread = MIN_OF(c->spread, SIGMA_MAX);
		c->unseen &= !f.known;
		c->known |= f.known;
		c->measured |= f.utilization_known;
	}
}

/* Its work relative to its class: what really was (for yardsticks), or what its hint says. */
static double scale_of(const struct model *m, const struct place_view *view,
		       const struct place_task *task, const struct class *c, double mean_hint,
		       bool with_truth)
{
	struct place_task plain = *task;
	double scale = 1;

	if (with_truth && task->work_scale > 0)
		return task->work_scale;
	if (!(task->work_hint > 0) || !isfinite(task->work_hint))
		return 1;
	plain.work_hint = 0;
	for (size_t lane = 0; lane < m->n_lanes; lane++) {
		size_t gpu = lane == m->n_gpus ? FORECAST_CPU : lane;
		struct forecast with, without;

		if (!lane_can(m, view, c, lane))
			continue;
		without = forecast_task(view->ledger, view->estimates, &plain, gpu);
		with = forecast_task(view->ledger, view->estimates, task, gpu);
		if (without.hinted)
			scale = with.work_seconds / without.work_seconds;
		else if (mean_hint > 0)
			scale = task->work_hint / mean_hint;
		break;
	}
	return MAX_OF(MIN_OF(scale, SCALE_MAX), SCALE_MIN);
}

static int item_longer(const void *a, const void *b)
{
	const struct item *x = a, *y = b;

	if (x->class != y->class)
		return x->class < y->class ? -1 : 1;
	if (x->rank != y->rank)
		return x->rank > y->rank ? -1 : 1;
	return x->waiting < y->waiting ? -1 : x->waiting > y->waiting;
}

static void note_since(struct model *m, struct class *c, size_t waiting)
{
	struct batch *batch = &m->batches[c->batch];

	if (batch->since == SIZE_MAX && c->task->batch != 0)
		batch->since = waiting;
	c->since = batch->since;
}

/* The classes of the first task's batch (or the first task's own) among those of highest priority.
 */
static void find_urgent(struct model *m)
{
	const struct class *first = NULL;

	for (size_t i = 0; i < m->n_items; i++) {
		const struct class *c = &m->classes[m->items[i].class];

		if (!first || c->priority > first->priority)
			first = c;
	}
	for (size_t i = 0; first && i < m->n_classes; i++) {
		struct class *c = &m->classes[i];

		c->urgent = c->priority == first->priority && c->batch == first->batch &&
			    (c->task->batch != 0 || c == first);
	}
}

static void read_waiting(struct model *m, const struct place_view *view,
			 const struct model_options *options)
{
	double *hints;
	size_t *n_hints;

	m->items = mem_calloc(view->n_waiting + 1, sizeof *m->items);
	for (size_t i = 0; i < view->n_waiting; i++) {
		const struct place_task *task = &view->waiting[i];

		if (options->n_max > 0 && m->n_items >= options->n_max)
			break;
		if ((view->taken && view->taken[i]) ||
		    (options->only_auto &&
		     (task->policy != PLACE_AUTO || fit_is_cpu_only(task->request))))
			continue;
		m->items[m->n_items++] = (struct item){
		    .class = class_of(m, task, options->only_gpu ? options->only_gpu[i] : NO_LANE),
		    .waiting = i,
		};
		note_since(m, &m->classes[m->items[m->n_items - 1].class], i);
	}
	hints = mem_calloc(m->n_classes + 1, sizeof *hints);
	n_hints = mem_calloc(m->n_classes + 1, sizeof *n_hints);
	for (size_t i = 0; i < m->n_items; i++) {
		double hint = view->waiting[m->items[i].waiting].work_hint;

		m->classes[m->items[i].class].n++;
		if (hint > 0 && isfinite(hint)) {
			hints[m->items[i].class] += hint;
			n_hints[m->items[i].class]++;
		}
	}
	for (size_t i = 0; i < m->n_items; i++) {
		size_t c = m->items[i].class;

		m->items[i].scale = scale_of(
		    m, view, &view->waiting[m->items[i].waiting], &m->classes[c],
		    n_hints[c] > 0 ? hints[c] / (double)n_hints[c] : 0, options->with_truth);
		if (m->classes[c].task->batch != 0 && !options->in_order)
			m->items[i].rank = m->items[i].scale;
	}
	free(hints);
	free(n_hints);
	find_urgent(m); /* while the items stand in the order of the queue */
	qsort(m->items, m->n_items, sizeof *m->items, item_longer);
	for (size_t i = m->n_items; i-- > 0;)
		m->classes[m->items[i].class].first = i;
}

static void read_running(struct model *m, const struct place_view *view)
{
	m->found = mem_calloc(view->n_running + 1, sizeof *m->found);
	for (size_t i = 0; i < view->n_running; i++) {
		const struct place_task *task = &view->running[i];
		struct found *found = &m->found[m->n_found++];

		*found = (struct found){
		    .holder = {.request = task->request,
			       .batch = batch_index(m, task->batch),
			       .user = user_index(m, task->uid)},
		    .id = task->id,
		};
		m->batches[found->holder.batch].running++;
		user_take(m, &m->users[found->holder.user], task->request);
		if (task->n_gpus == 0)
			found->lanes[found->n_lanes++] = m->n_gpus;
		for (size_t g = 0; g < task->n_gpus && g < PLACE_GPUS_MAX; g++)
			if (task->gpus[g] < m->n_gpus)
				found->lanes[found->n_lanes++] = task->gpus[g];
		for (size_t g = 0; g < found->n_lanes; g++) {
			size_t gpu = found->lanes[g] == m->n_gpus ? FORECAST_CPU : found->lanes[g];
			struct forecast f = forecast_task(view->ledger, view->estimates, task, gpu);
			double left = forecast_remaining(&f, task->work_done_seconds);

			found->remaining = MAX_OF(found->remaining, left);
			found->holder.utilization = gpu == FORECAST_CPU ? 0 : f.utilization_percent;
			found->spread = MIN_OF(SIGMA_MAX, f.deviation_seconds / f.work_seconds);
			found->settled =
			    !f.utilization_known && task->elapsed_seconds >= SETTLED_SECONDS;
		}
		for (size_t c = 0; c < m->n_classes; c++)
			if (strcmp(m->classes[c].task->kind, task->kind) == 0)
				m->classes[c].unseen = false;
	}
}

/* Tasks of kinds nobody measured yet: the GPU they run on tells how busy they keep it, once they
 * have run for a moment; those that wait are taken to be like them. */
static void measure_unknown(struct model *m, const struct place_view *view)
{
	double sum = 0, mean;
	size_t n = 0;

	for (size_t lane = 0; lane < m->n_gpus; lane++) {
		const struct ledger_gpu *g = &view->ledger->gpus[lane];
		double left = g->utilization_percent;
		size_t unknown = 0;

		for (size_t i = 0; i < m->n_found; i++) {
			const struct found *f = &m->found[i];

			if (f->n_lanes == 1 && f->lanes[0] == lane && f->settled)
				unknown++;
			else if (f->n_lanes == 1 && f->lanes[0] == lane)
				left -= f->holder.utilization;
		}
		if (unknown == 0 || !g->utilization_known)
			continue;
		left = MAX_OF(left / (double)unknown, 5.0);
		for (size_t i = 0; i < m->n_found; i++)
			if (m->found[i].n_lanes == 1 && m->found[i].lanes[0] == lane &&
			    m->found[i].settled)
				m->found[i].holder.utilization = left;
		sum += left * (double)unknown;
		n += unknown;
	}
	if (n == 0)
		return;
	mean = sum / (double)n;
	for (size_t c = 0; c < m->n_classes; c++)
		for (size_t lane = 0; lane < m->n_gpus && !m->classes[c].measured; lane++)
			m->utilization[c * m->n_lanes + lane] = mean;
}

static void count_batches(struct model *m)
{
	m->batch_on_lane = mem_calloc(m->n_batches * m->n_lanes, sizeof *m->batch_on_lane);
	for (size_t i = 0; i < m->n_found; i++)
		for (size_t g = 0; g < m->found[i].n_lanes; g++)
			m->batch_on_lane[m->found[i].holder.batch * m->n_lanes +
					 m->found[i].lanes[g]]++;
}

static int compare_times(const void *a, const void *b)
{
	double x = *(const double *)a, y = *(const double *)b;

	return (x > y) - (x < y);
}

static void add_moment(struct model *m, double seconds)
{
	ARRAY_GROW(m->moments, m->n_moments, m->moments_room);
	m->moments[m->n_moments++] = seconds;
}

/* What cannot start on a lane for a moment although there is room. */
static void read_moments(struct model *m, const struct place_view *view)
{
	if (m->reserve && isfinite(m->reserve->start_seconds) && m->reserve->start_seconds > 0)
		add_moment(m, m->reserve->start_seconds);
	for (size_t at = 0; at < m->n_classes * m->n_lanes; at++) {
		const struct class *c = &m->classes[at / m->n_lanes];
		size_t lane = at % m->n_lanes;
		double seconds;

		if (lane == m->n_gpus || m->work[at] <= 0)
			continue;
		seconds = fit_moment_seconds(view->ledger, c->task->request, lane);
		if (seconds <= 0)
			continue;
		if (!m->ready)
			m->ready = mem_calloc(m->n_classes * m->n_lanes, sizeof *m->ready);
		m->ready[at] = seconds;
		add_moment(m, seconds);
	}
	if (m->n_moments > 0)
		qsort(m->moments, m->n_moments, sizeof *m->moments, compare_times);
}

struct model *model_create(const struct place_view *view, const struct model_options *options)
{
	struct model *m = mem_calloc(1, sizeof *m);

	batch_index(m, 0);
	read_lanes(m, view);
	read_users(m, view);
	read_waiting(m, view, options);
	m->work = mem_calloc((m->n_classes + 1) * m->n_lanes, sizeof *m->work);
	m->utilization = mem_calloc((m->n_classes + 1) * m->n_lanes, sizeof *m->utilization);
	for (size_t c = 0; c < m->n_classes; c++)
		forecast_class(m, view, c, options->with_truth);
	read_running(m, view);
	measure_unknown(m, view);
	count_batches(m);
	read_moments(m, view);
	if (m->reserve)
		m->allowed = mem_calloc(m->n_items * m->n_lanes + 1, sizeof *m->allowed);
	m->watched = SIZE_MAX;
	play_init(m);
	return m;
}

void model_destroy(struct model *m)
{
	if (!m)
		return;
	play_finish(m);
	free(m->lanes);
	free(m->classes);
	free(m->items);
	free(m->work);
	free(m->utilization);
	free(m->batches);
	free(m->batch_on_lane);
	free(m->users);
	free(m->ready);
	free(m->moments);
	free(m->allowed);
	fit_counts_destroy(m->counts);
	free(m->found);
	free(m);
}

size_t model_n_tasks(const struct model *model)
{
	return model->n_items;
}

size_t model_n_classes(const struct model *model)
{
	return model->n_classes;
}

struct model_class_facts model_class_facts(const struct model *m, size_t class)
{
	const struct class *c = &m->classes[class];
	struct model_class_facts facts = {
	    .request = c->task->request,
	    .batch = c->task->batch,
	    .known = c->known,
	    .measured = c->measured || c->only == m->n_gpus || fit_is_cpu_only(c->task->request),
	    .work = &m->work[class * m->n_lanes],
	    .utilization = &m->utilization[class * m->n_lanes],
	};

	for (size_t i = c->first; i < c->first + c->n; i++) {
		facts.total_scale += m->items[i].scale;
		facts.largest_scale = MAX_OF(facts.largest_scale, m->items[i].scale);
	}
	return facts;
}
