/*
 * Speed decides how good `auto` can be, so the state is flat arrays and an event costs little:
 *
 * - Waiting tasks that differ in nothing but length form a class; a rule orders classes by the key
 *   of their first task and a lane is offered to classes, not to tasks.
 * - A lane is a GPU (the last lane is the CPU). It keeps virtual time: progress a task would have
 *   made on it since the start. A task ends when the lane's virtual time reaches its finish;
 * slowing everybody down is one factor. Tasks on several GPUs are few and are advanced one by one.
 * - Only lanes where something changed are offered again ("open"), or where a rule declined by
 *   choice what would have fitted.
 *
 * Rules see expected durations; what happens uses the durations of the scenario. So a rule that is
 * good only when durations are known exactly does not look good here.
 */
#include "place/model.h"

#include "place/fit.h"
#include "place/forecast.h"
#include "place/saturate.h"

#include <math.h>
#include <string.h>

#define NO_LANE      ((size_t)-1)
#define SIGMA_MAX    1.0
#define SCALE_MIN    0.02
#define SCALE_MAX    50.0
#define SAME_INSTANT 1e-9 /* relative: ends closer than this are one event */

struct lane {
	/* The machine as found. */
	bool usable, vram_known;
	uint64_t room, line; /* line: room when all of ours are gone */
	unsigned n_tasks, unsized;
	bool held;
	size_t like; /* first lane with the same GPU model */
};

struct class
{
	const struct place_task *task; /* one of them */
	int priority;
	size_t batch;    /* index into batches */
	size_t only;     /* the one lane it may go to, or NO_LANE */
	size_t first, n; /* its tasks */
	double spread;   /* sigma of log duration */
	bool known;
	bool unseen; /* no task of its kind has ever ended or runs: try one early */
};

struct item {
	size_t class;
	size_t waiting;
	double scale; /* work relative to its class */
};

struct batch {
	uint64_t id;
	unsigned running; /* as found */
};

/* What runs when the model starts. */
struct found {
	size_t lanes[PLACE_GPUS_MAX];
	size_t n_lanes;
	const struct place_request *request;
	size_t batch;
	double remaining, spread, utilization;
	uint64_t id;
};

struct slot {
	double finish;   /* virtual time of its lane */
	double expected; /* the same, as a rule may know it */
	double utilization;
	const struct place_request *request;
	size_t batch;
};

struct lane_state {
	double virtual_time, at; /* virtual time, and the real time it belongs to */
	double factor;           /* progress per second */
	double utilization;
	double next; /* real time of its next end; infinite when none */
	uint64_t room;
	unsigned n_tasks, unsized;
	bool held, open;
	struct slot *slots;
	size_t n_slots, slots_room;
};

struct wide { /* a task on several GPUs */
	size_t lanes[PLACE_GPUS_MAX];
	size_t n_lanes;
	double remaining, utilization;
	const struct place_request *request;
	size_t batch;
};

struct model {
	size_t n_gpus, n_lanes;
	struct lane *lanes;
	struct class *classes;
	size_t n_classes, classes_room;
	struct item *items; /* by class */
	size_t n_items;
	double *work, *utilization; /* [class][lane], of a task of scale 1; work 0 = not there */
	struct batch *batches;      /* [0] is "no batch" */
	size_t n_batches, batches_room;
	unsigned *batch_on_lane; /* [batch][lane], as found */
	struct found *found;
	size_t n_found;
	bool ram_known, cpu_known;
	uint64_t ram_room, cpu_room;

	/* Of a play. */
	struct lane_state *states;
	struct wide *wides;
	size_t n_wides, wides_room;
	size_t *taken, *order; /* per class: tasks started; classes by key */
	double *keys;          /* per class, of its next task */
	unsigned *running, *on_lane;
	uint64_t ram, cpu;
	double now;
	size_t n_running, n_left;
	bool host_full; /* something waits for RAM, CPUs or threads */
	const struct model_rule *rule;
	unsigned scenario;
	struct model_outcome *outcome;
	/* rule->reserve: the lane kept, from when, and what may be used of it till then and beyond
	 */
	size_t kept;
	double kept_from;
	uint64_t kept_spare;
	bool kept_set;
};

/* ---- making it ---- */

static size_t batch_index(struct model *m, uint64_t id)
{
	for (size_t i = 0; i < m->n_batches; i++)
		if (m->batches[i].id == id)
			return i;
	ARRAY_GROW(m->batches, m->n_batches, m->batches_room);
	m->batches[m->n_batches] = (struct batch){.id = id};
	return m->n_batches++;
}

static bool same_request(const struct place_request *a, const struct place_request *b)
{
	return a == b || (a->vram_bytes == b->vram_bytes && a->ram_bytes == b->ram_bytes &&
			  a->cpu_milli == b->cpu_milli && a->gpus == b->gpus && a->cpu == b->cpu &&
			  a->exclusive == b->exclusive && a->max_per_gpu == b->max_per_gpu &&
			  a->threads == b->threads && strcmp(a->pin_uuid, b->pin_uuid) == 0);
}

static size_t class_of(struct model *m, const struct place_task *task, size_t only)
{
	size_t batch = batch_index(m, task->batch);

	for (size_t i = 0; i < m->n_classes; i++) {
		struct class *c = &m->classes[i];

		if (c->batch == batch && c->only == only && c->priority == task->priority &&
		    same_request(c->task->request, task->request) &&
		    (c->task->kind == task->kind || strcmp(c->task->kind, task->kind) == 0))
			return i;
	}
	ARRAY_GROW(m->classes, m->n_classes, m->classes_room);
	m->classes[m->n_classes] = (struct class){
	    .task = task,
	    .batch = batch,
	    .only = only,
	    .priority = task->priority,
	};
	return m->n_classes++;
}

static void read_lanes(struct model *m, const struct place_view *view)
{
	const struct ledger *ledger = view->ledger;
	auto_fit_counts struct fit_counts *counts = fit_counts_create(view);

	m->n_gpus = ledger->n_gpus;
	m->n_lanes = m->n_gpus + 1;
	m->lanes = mem_calloc(m->n_lanes, sizeof *m->lanes);
	for (size_t i = 0; i < m->n_gpus; i++) {
		const struct ledger_gpu *g = &ledger->gpus[i];
		struct lane *lane = &m->lanes[i];

		lane->usable = g->usable;
		lane->vram_known = g->vram_known;
		lane->room = g->room_bytes;
		lane->line = saturate_sub(g->load_line_bytes, g->foreign_bytes);
		lane->n_tasks = g->n_tasks;
		lane->held = g->held_exclusive;
		lane->unsized = fit_counts_unsized(counts, i);
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
	if (request->pin_uuid[0] && strcmp(request->pin_uuid, view->ledger->gpus[lane].uuid) != 0)
		return false;
	if (!m->lanes[lane].usable)
		return false;
	if (!m->lanes[lane].vram_known)
		return request->vram_bytes == 0;
	return request->vram_bytes <= m->lanes[lane].line;
}

static void forecast_class(struct model *m, const struct place_view *view, size_t class)
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
		m->work[at] = f.work_seconds;
		m->utilization[at] = lane == m->n_gpus ? 0 : f.utilization_percent;
		c->spread = sqrt(log1p(pow(f.deviation_seconds / f.work_seconds, 2)));
		c->spread = MIN_OF(c->spread, SIGMA_MAX);
		c->unseen &= !f.seen;
		c->known |= f.known;
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
	if (x->scale != y->scale)
		return x->scale > y->scale ? -1 : 1;
	return x->waiting < y->waiting ? -1 : x->waiting > y->waiting;
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
	}
	free(hints);
	free(n_hints);
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
		    .request = task->request,
		    .batch = batch_index(m, task->batch),
		    .id = task->id,
		};
		m->batches[found->batch].running++;
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
			found->utilization = gpu == FORECAST_CPU ? 0 : f.utilization_percent;
			found->spread = MIN_OF(SIGMA_MAX, f.deviation_seconds / f.work_seconds);
		}
		for (size_t c = 0; c < m->n_classes; c++)
			if (strcmp(m->classes[c].task->kind, task->kind) == 0)
				m->classes[c].unseen = false;
	}
}

static void count_batches(struct model *m)
{
	m->batch_on_lane = mem_calloc(m->n_batches * m->n_lanes, sizeof *m->batch_on_lane);
	for (size_t i = 0; i < m->n_found; i++)
		for (size_t g = 0; g < m->found[i].n_lanes; g++)
			m->batch_on_lane[m->found[i].batch * m->n_lanes + m->found[i].lanes[g]]++;
}

struct model *model_create(const struct place_view *view, const struct model_options *options)
{
	struct model *m = mem_calloc(1, sizeof *m);

	batch_index(m, 0);
	read_lanes(m, view);
	read_waiting(m, view, options);
	m->work = mem_calloc((m->n_classes + 1) * m->n_lanes, sizeof *m->work);
	m->utilization = mem_calloc((m->n_classes + 1) * m->n_lanes, sizeof *m->utilization);
	for (size_t c = 0; c < m->n_classes; c++)
		forecast_class(m, view, c);
	read_running(m, view);
	count_batches(m);
	m->states = mem_calloc(m->n_lanes, sizeof *m->states);
	m->taken = mem_calloc(m->n_classes + 1, sizeof *m->taken);
	m->order = mem_calloc(m->n_classes + 1, sizeof *m->order);
	m->keys = mem_calloc(m->n_classes + 1, sizeof *m->keys);
	m->running = mem_calloc(m->n_batches, sizeof *m->running);
	m->on_lane = mem_calloc(m->n_batches * m->n_lanes, sizeof *m->on_lane);
	return m;
}

void model_destroy(struct model *m)
{
	if (!m)
		return;
	for (size_t i = 0; m->states && i < m->n_lanes; i++)
		free(m->states[i].slots);
	free(m->lanes);
	free(m->classes);
	free(m->items);
	free(m->work);
	free(m->utilization);
	free(m->batches);
	free(m->batch_on_lane);
	free(m->found);
	free(m->states);
	free(m->wides);
	free(m->taken);
	free(m->order);
	free(m->keys);
	free(m->running);
	free(m->on_lane);
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
	    .work = &m->work[class * m->n_lanes],
	    .utilization = &m->utilization[class * m->n_lanes],
	};

	for (size_t i = c->first; i < c->first + c->n; i++) {
		facts.total_scale += m->items[i].scale;
		facts.largest_scale = MAX_OF(facts.largest_scale, m->items[i].scale);
	}
	return facts;
}

/* ---- playing ---- */

/* A factor around 1 for one task in one scenario: log-normal with mean 1, from a hash of its id.
 * The sum of four uniform numbers does for the normal. */
static double chance(uint64_t id, unsigned scenario, double sigma)
{
	uint64_t x =
	    (id + 1) * UINT64_C(0x9e3779b97f4a7c15) + scenario * UINT64_C(0xbf58476d1ce4e5b9);
	double sum;

	if (scenario == 0 || sigma <= 0)
		return 1;
	x = (x ^ (x >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
	x = (x ^ (x >> 27)) * UINT64_C(0x94d049bb133111eb);
	x ^= x >> 31;
	sum = (double)(x & 0xffff) + (double)(x >> 16 & 0xffff) + (double)(x >> 32 & 0xffff) +
	      (double)(x >> 48 & 0xffff);
	/* mean 2, variance 4/12 after scaling to units of 65536 */
	return exp(sigma * (sum / 65536 - 2) * 1.7320508 - sigma * sigma / 2);
}

/* Bring a lane's virtual time to now. Before anything on it changes. */
static void lane_sync(struct model *m, struct lane_state *s)
{
	s->virtual_time += (m->now - s->at) * s->factor;
	s->at = m->now;
}

/* After something changed: its pace and its next end. */
static void lane_settle(struct lane_state *s)
{
	double first = HUGE_VAL;

	s->factor = s->utilization > 100 ? 100 / s->utilization : 1;
	for (size_t i = 0; i < s->n_slots; i++)
		if (s->slots[i].finish < first)
			first = s->slots[i].finish;
	s->next =
	    first == HUGE_VAL ? HUGE_VAL : s->at + MAX_OF(first - s->virtual_time, 0.0) / s->factor;
}

static void lane_take(struct model *m, size_t lane, const struct place_request *request,
		      double utilization)
{
	struct lane_state *s = &m->states[lane];

	lane_sync(m, s);
	s->utilization += utilization;
	s->n_tasks++;
	s->held |= request->exclusive;
	if (lane < m->n_gpus) {
		s->room = saturate_sub(s->room, request->vram_bytes);
		s->unsized += request->vram_bytes == 0;
	}
}

static void lane_give(struct model *m, size_t lane, const struct place_request *request,
		      double utilization)
{
	struct lane_state *s = &m->states[lane];

	s->utilization = MAX_OF(s->utilization - utilization, 0.0);
	s->n_tasks -= s->n_tasks > 0;
	s->held &= !request->exclusive;
	if (lane < m->n_gpus) {
		s->room = MIN_OF(saturate_add(s->room, request->vram_bytes), m->lanes[lane].line);
		s->unsized -= request->vram_bytes == 0 && s->unsized > 0;
	}
	s->open = true;
}

static void host_give(struct model *m, const struct place_request *request, size_t batch)
{
	m->ram = saturate_add(m->ram, request->ram_bytes);
	m->cpu += request->cpu_milli;
	m->running[batch] -= m->running[batch] > 0;
	m->n_running--;
	if (m->host_full)
		for (size_t i = 0; i < m->n_lanes; i++)
			m->states[i].open = true;
	m->host_full = false;
}

static void add_slot(struct lane_state *s, const struct slot *slot)
{
	ARRAY_GROW(s->slots, s->n_slots, s->slots_room);
	s->slots[s->n_slots++] = *slot;
}

static void reset_lanes(struct model *m)
{
	for (size_t i = 0; i < m->n_lanes; i++) {
		struct lane_state *s = &m->states[i];
		const struct lane *lane = &m->lanes[i];

		s->virtual_time = s->at = s->utilization = 0;
		s->factor = 1;
		s->next = HUGE_VAL;
		s->room = lane->room;
		s->n_tasks = lane->n_tasks;
		s->unsized = lane->unsized;
		s->held = lane->held;
		s->open = true;
		s->n_slots = 0;
	}
	for (size_t i = 0; i < m->n_batches; i++)
		m->running[i] = m->batches[i].running;
	memcpy(m->on_lane, m->batch_on_lane, m->n_batches * m->n_lanes * sizeof *m->on_lane);
}

/* What was found running goes on. Its room is already taken off. */
static void reset_running(struct model *m)
{
	m->n_wides = 0;
	m->n_running = 0;
	for (size_t i = 0; i < m->n_found; i++) {
		const struct found *f = &m->found[i];
		double left = f->remaining * chance(f->id, m->scenario, f->spread);

		if (f->n_lanes == 0)
			continue;
		m->n_running++;
		for (size_t g = 0; g < f->n_lanes; g++)
			m->states[f->lanes[g]].utilization += f->utilization;
		if (f->n_lanes == 1) {
			add_slot(&m->states[f->lanes[0]], &(struct slot){
							      .finish = left,
							      .expected = f->remaining,
							      .utilization = f->utilization,
							      .request = f->request,
							      .batch = f->batch,
							  });
			continue;
		}
		ARRAY_GROW(m->wides, m->n_wides, m->wides_room);
		m->wides[m->n_wides] = (struct wide){
		    .n_lanes = f->n_lanes,
		    .remaining = left,
		    .utilization = f->utilization,
		    .request = f->request,
		    .batch = f->batch,
		};
		memcpy(m->wides[m->n_wides++].lanes, f->lanes, sizeof f->lanes);
	}
	for (size_t i = 0; i < m->n_lanes; i++)
		lane_settle(&m->states[i]);
}

/* The key of the next task of a class under the rule's order; higher first. */
static double next_key(const struct model *m, size_t class)
{
	const struct class *c = &m->classes[class];
	const struct item *item = &m->items[c->first + m->taken[class]];
	double key = 0;

	switch (m->rule->order) {
	case MODEL_QUEUE:
		return -(double)item->waiting;
	case MODEL_LARGEST:
		key = (double)c->task->request->vram_bytes * c->task->request->gpus;
		break;
	case MODEL_LONGEST:
	case MODEL_HEAVIEST:
		for (size_t lane = 0; lane < m->n_lanes; lane++) {
			double work = m->work[class * m->n_lanes + lane] * item->scale;

			if (m->rule->order == MODEL_HEAVIEST)
				work *= m->utilization[class * m->n_lanes + lane];
			if (work > 0 && (key == 0 || work < key))
				key = work;
		}
		break;
	}
	return key;
}

static bool class_before(const struct model *m, size_t a, size_t b)
{
	const struct class *x = &m->classes[a], *y = &m->classes[b];
	bool x_new = x->unseen && m->taken[a] == 0, y_new = y->unseen && m->taken[b] == 0;

	if (x->priority != y->priority)
		return x->priority > y->priority;
	if (m->rule->order != MODEL_QUEUE && x_new != y_new)
		return x_new;
	if (m->keys[a] != m->keys[b])
		return m->keys[a] > m->keys[b];
	return a < b;
}

/* The class at `position` got a new key or is empty: move it to where it belongs behind. */
static void resort_class(struct model *m, size_t position)
{
	size_t class = m->order[position];
	bool empty = m->taken[class] == m->classes[class].n;

	if (!empty)
		m->keys[class] = next_key(m, class);
	for (; position + 1 < m->n_classes; position++) {
		size_t next = m->order[position + 1];

		if (m->taken[next] == m->classes[next].n ||
		    (!empty && class_before(m, class, next)))
			break;
		m->order[position] = next;
	}
	m->order[position] = class;
}

static void reset_order(struct model *m)
{
	memset(m->taken, 0, m->n_classes * sizeof *m->taken);
	for (size_t c = 0; c < m->n_classes; c++) {
		size_t at = c;

		m->keys[c] = next_key(m, c);
		for (; at > 0 && class_before(m, c, m->order[at - 1]); at--)
			m->order[at] = m->order[at - 1];
		m->order[at] = c;
	}
}

/* Does the lane take the class now, by the rules of fit.h? */
static bool lane_fits(const struct model *m, size_t class, size_t lane)
{
	const struct class *c = &m->classes[class];
	const struct place_request *request = c->task->request;
	const struct lane_state *s = &m->states[lane];

	if (m->work[class * m->n_lanes + lane] <= 0)
		return false;
	if (lane == m->n_gpus)
		return true;
	if (s->held || (request->exclusive && s->n_tasks > 0))
		return false;
	if (m->lanes[lane].vram_known && (s->room == 0 || request->vram_bytes > s->room))
		return false;
	if (request->max_per_gpu > 0)
		return c->task->batch == 0 ||
		       m->on_lane[c->batch * m->n_lanes + lane] < request->max_per_gpu;
	return request->vram_bytes > 0 || s->unsized == 0;
}

static bool host_fits(const struct model *m, size_t class)
{
	const struct class *c = &m->classes[class];
	const struct place_request *request = c->task->request;

	return !(request->threads > 0 && c->task->batch != 0 &&
		 m->running[c->batch] >= request->threads) &&
	       !(m->ram_known && request->ram_bytes > m->ram) &&
	       !(m->cpu_known && request->cpu_milli > m->cpu);
}

/* Expected end of a task on a lane, seconds from the start of the play: as if the lane stayed as
 * busy as it gets by taking it. */
static double expected_end(const struct model *m, size_t class, size_t lane, double scale)
{
	size_t at = class * m->n_lanes + lane;
	double busy = m->states[lane].utilization + m->utilization[at];

	return m->now + m->work[at] * scale * (busy > 100 ? busy / 100 : 1);
}

/* Seconds of full use still to do on a lane, with one more task. */
static double drain_time(const struct model *m, size_t class, size_t lane, double scale)
{
	const struct lane_state *s = &m->states[lane];
	size_t at = class * m->n_lanes + lane;
	double v = s->virtual_time + (m->now - s->at) * s->factor;
	double sum = m->work[at] * scale * m->utilization[at];

	for (size_t i = 0; i < s->n_slots; i++)
		sum += MAX_OF(s->slots[i].expected - v, 0.0) * s->slots[i].utilization;
	return sum;
}

/* The rule's own reasons not to use a lane that fits. */
static bool rule_declines(const struct model *m, size_t class, size_t lane, double scale)
{
	const struct model_rule *rule = m->rule;
	const struct lane_state *s = &m->states[lane];

	if (rule->busy_limit > 0 && s->utilization >= rule->busy_limit)
		return true;
	if (rule->deadline > 0 && expected_end(m, class, lane, scale) > rule->deadline)
		return true;
	if (m->kept_set && m->kept == lane &&
	    m->classes[class].task->request->vram_bytes > m->kept_spare &&
	    expected_end(m, class, lane, scale) > m->kept_from)
		return true;
	return false;
}

static double lane_score(const struct model *m, size_t class, size_t lane, double scale)
{
	switch (m->rule->choice) {
	case MODEL_FINISH:
		break;
	case MODEL_BEST_FIT:
		return m->lanes[lane].vram_known ? (double)m->states[lane].room : HUGE_VAL;
	case MODEL_DRAIN:
		return drain_time(m, class, lane, scale);
	case MODEL_FASTEST:
		return m->work[class * m->n_lanes + lane];
	}
	return expected_end(m, class, lane, scale);
}

/* The best lanes for the next task of a class, best first; 0 when too few take it. `forced`: the
 * rule's own limits do not count. */
static size_t pick_lanes(struct model *m, size_t class, bool forced, size_t lanes[PLACE_GPUS_MAX])
{
	const struct class *c = &m->classes[class];
	double scale = m->items[c->first + m->taken[class]].scale;
	double scores[PLACE_GPUS_MAX];
	size_t want = fit_is_cpu_only(c->task->request) ? 1 : c->task->request->gpus, n = 0;

	if (want == 0 || want > PLACE_GPUS_MAX)
		return 0;
	for (size_t lane = 0; lane < m->n_lanes; lane++) {
		double score;
		size_t at;

		if ((want == 1 && !m->states[lane].open) || !lane_fits(m, class, lane))
			continue;
		if (!forced && rule_declines(m, class, lane, scale))
			continue;
		score = lane_score(m, class, lane, scale);
		if (n == want && score >= scores[n - 1])
			continue;
		n += n < want;
		for (at = n - 1; at > 0 && score < scores[at - 1]; at--) {
			scores[at] = scores[at - 1];
			lanes[at] = lanes[at - 1];
		}
		scores[at] = score;
		lanes[at] = lane;
	}
	return n == want ? n : 0;
}

static void note_first(struct model *m, const struct item *item, const size_t *lanes, size_t n)
{
	struct model_start *first = &m->outcome->first_start;

	if (m->now > 0 || m->outcome->starts_now)
		return;
	m->outcome->starts_now = true;
	first->waiting = item->waiting;
	first->n_gpus = lanes[0] == m->n_gpus ? 0 : n;
	memcpy(first->gpus, lanes, n * sizeof *lanes);
}

static void start(struct model *m, size_t class, const size_t *lanes, size_t n)
{
	const struct class *c = &m->classes[class];
	const struct item *item = &m->items[c->first + m->taken[class]];
	const struct place_request *request = c->task->request;
	double work = 0, utilization = 0, luck;

	note_first(m, item, lanes, n);
	for (size_t i = 0; i < n; i++) {
		size_t at = class * m->n_lanes + lanes[i];

		work = MAX_OF(work, m->work[at] * item->scale);
		utilization = MAX_OF(utilization, m->utilization[at]);
	}
	luck = chance(c->task->id + item->waiting, m->scenario, c->spread);
	for (size_t i = 0; i < n; i++) {
		lane_take(m, lanes[i], request, utilization);
		m->on_lane[c->batch * m->n_lanes + lanes[i]]++;
	}
	if (n == 1) {
		struct lane_state *s = &m->states[lanes[0]];

		add_slot(s, &(struct slot){
				.finish = s->virtual_time + work * luck,
				.expected = s->virtual_time + work,
				.utilization = utilization,
				.request = request,
				.batch = c->batch,
			    });
	} else {
		ARRAY_GROW(m->wides, m->n_wides, m->wides_room);
		m->wides[m->n_wides] = (struct wide){
		    .n_lanes = n,
		    .remaining = work * luck,
		    .utilization = utilization,
		    .request = request,
		    .batch = c->batch,
		};
		memcpy(m->wides[m->n_wides++].lanes, lanes, n * sizeof *lanes);
	}
	for (size_t i = 0; i < n; i++)
		lane_settle(&m->states[lanes[i]]);
	m->ram = saturate_sub(m->ram, request->ram_bytes);
	m->cpu = saturate_sub(m->cpu, request->cpu_milli);
	m->running[c->batch]++;
	m->n_running++;
	m->n_left--;
	m->taken[class]++;
}

/* When could a lane take the class if nothing else started there, and what room is then to spare?
 */
static double lane_free_at(const struct model *m, size_t class, size_t lane, uint64_t *ret_spare)
{
	const struct place_request *request = m->classes[class].task->request;
	const struct lane_state *s = &m->states[lane];
	double v = s->virtual_time + (m->now - s->at) * s->factor, until = v;
	uint64_t room = s->room;
	size_t gone = 0;

	/* Ends in order, without changing the slots: next larger `expected` each time. */
	while (room < request->vram_bytes) {
		double next = HUGE_VAL;

		if (gone >= s->n_slots)
			return HUGE_VAL;
		for (size_t i = 0; i < s->n_slots; i++) {
			double e = MAX_OF(s->slots[i].expected, v);

			if (e > until || (e == until && gone == 0))
				next = MIN_OF(next, e);
		}
		if (next == HUGE_VAL)
			return HUGE_VAL;
		until = next;
		for (size_t i = 0; i < s->n_slots; i++)
			if (MAX_OF(s->slots[i].expected, v) == until) {
				room = saturate_add(room, s->slots[i].request->vram_bytes);
				gone++;
			}
	}
	*ret_spare = room - request->vram_bytes;
	return m->now + (until - v) / s->factor;
}

/* The first class that does not fit anywhere gets a lane kept for it: the one free soonest. */
static void keep_lane(struct model *m, size_t class)
{
	double best = HUGE_VAL;

	if (m->classes[class].task->request->gpus != 1)
		return;
	for (size_t lane = 0; lane < m->n_gpus; lane++) {
		uint64_t spare = 0;
		double at;

		if (m->work[class * m->n_lanes + lane] <= 0 || m->states[lane].held)
			continue;
		at = lane_free_at(m, class, lane, &spare);
		if (at == HUGE_VAL)
			continue;
		at += m->work[class * m->n_lanes + lane];
		if (at < best) {
			best = at;
			m->kept = lane;
			m->kept_from = at - m->work[class * m->n_lanes + lane];
			m->kept_spare = spare;
			m->kept_set = true;
		}
	}
}

/* Close what was offered; keep open where the rule alone said no. */
static void close_lanes(struct model *m, bool declined)
{
	bool by_choice = m->rule->busy_limit > 0 || m->rule->deadline > 0 || m->rule->reserve;

	for (size_t lane = 0; lane < m->n_lanes; lane++)
		if (!by_choice || !declined)
			m->states[lane].open = false;
}

static void offer(struct model *m, bool forced)
{
	size_t lanes[PLACE_GPUS_MAX];

	m->kept_set = false;
	for (size_t position = 0; position < m->n_classes;) {
		size_t class = m->order[position], n;

		if (m->taken[class] == m->classes[class].n)
			break; /* empty ones stand last */
		if (!host_fits(m, class)) {
			m->host_full = true;
			position++;
			continue;
		}
		n = pick_lanes(m, class, forced, lanes);
		if (n == 0) {
			if (m->rule->reserve && !m->kept_set && !forced)
				keep_lane(m, class);
			if (m->rule->strict)
				for (size_t lane = 0; lane < m->n_lanes; lane++)
					if (m->work[class * m->n_lanes + lane] > 0)
						m->states[lane].open = false;
			position++;
			continue;
		}
		start(m, class, lanes, n);
		resort_class(m, position);
		if (forced)
			return;
	}
	close_lanes(m, m->n_left > 0);
}

/* Start what the rule starts; when it starts nothing and nothing runs, something must. */
static void dispatch(struct model *m)
{
	offer(m, false);
	if (m->n_running > 0 || m->n_left == 0)
		return;
	for (size_t lane = 0; lane < m->n_lanes; lane++)
		m->states[lane].open = true;
	offer(m, true);
}

/* Everything of one task that ended, but its lanes' slots. */
static void end_task(struct model *m, const size_t *lanes, size_t n,
		     const struct place_request *request, double utilization, size_t batch)
{
	for (size_t i = 0; i < n; i++) {
		lane_give(m, lanes[i], request, utilization);
		m->on_lane[batch * m->n_lanes + lanes[i]]--;
	}
	host_give(m, request, batch);
	m->outcome->flow_seconds += m->now;
}

static void end_slots(struct model *m, size_t lane)
{
	struct lane_state *s = &m->states[lane];
	double v;

	lane_sync(m, s);
	v = s->virtual_time * (1 + SAME_INSTANT) + 1e-12;
	for (size_t i = 0; i < s->n_slots;) {
		struct slot slot = s->slots[i];

		if (slot.finish > v) {
			i++;
			continue;
		}
		s->slots[i] = s->slots[--s->n_slots];
		end_task(m, &lane, 1, slot.request, slot.utilization, slot.batch);
	}
	lane_settle(s);
}

static double wide_pace(const struct model *m, const struct wide *w)
{
	double pace = 1;

	for (size_t i = 0; i < w->n_lanes; i++)
		pace = MIN_OF(pace, m->states[w->lanes[i]].factor);
	return pace;
}

static void end_wides(struct model *m)
{
	for (size_t i = 0; i < m->n_wides;) {
		struct wide w = m->wides[i];

		if (w.remaining > 1e-9) {
			i++;
			continue;
		}
		m->wides[i] = m->wides[--m->n_wides];
		for (size_t k = 0; k < w.n_lanes; k++)
			lane_sync(m, &m->states[w.lanes[k]]);
		end_task(m, w.lanes, w.n_lanes, w.request, w.utilization, w.batch);
		for (size_t k = 0; k < w.n_lanes; k++)
			lane_settle(&m->states[w.lanes[k]]);
	}
}

/* Go on to the next end. False: nothing runs. */
static bool advance(struct model *m)
{
	double next = HUGE_VAL, limit;

	for (size_t i = 0; i < m->n_lanes; i++)
		next = MIN_OF(next, m->states[i].next);
	for (size_t i = 0; i < m->n_wides; i++)
		next = MIN_OF(next, m->now + m->wides[i].remaining / wide_pace(m, &m->wides[i]));
	if (next == HUGE_VAL)
		return false;
	for (size_t i = 0; i < m->n_wides; i++)
		m->wides[i].remaining -= (next - m->now) * wide_pace(m, &m->wides[i]);
	m->now = next;
	limit = next * (1 + SAME_INSTANT);
	for (size_t i = 0; i < m->n_lanes; i++)
		if (m->states[i].next <= limit)
			end_slots(m, i);
	end_wides(m);
	return true;
}

void model_play(struct model *m, const struct model_rule *rule, unsigned scenario,
		struct model_outcome *ret_outcome)
{
	*ret_outcome = (struct model_outcome){};
	m->rule = rule;
	m->scenario = scenario;
	m->outcome = ret_outcome;
	m->now = 0;
	m->ram = m->ram_room;
	m->cpu = m->cpu_room;
	m->n_left = m->n_items;
	m->host_full = false;
	reset_lanes(m);
	reset_running(m);
	reset_order(m);
	do
		dispatch(m);
	while (advance(m));
	ret_outcome->makespan_seconds = m->now;
	ret_outcome->left = m->n_left;
}
