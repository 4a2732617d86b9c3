/*
 * Playing a model. Speed decides how good `auto` can be, so the state is flat arrays and an event
 * costs little:
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
#include "place/model_priv.h"

#include "place/fit.h"
#include "place/forecast.h"
#include "place/saturate.h"

#include <math.h>
#include <string.h>

void play_init(struct model *m)
{
	m->states = mem_calloc(m->n_lanes, sizeof *m->states);
	m->open = mem_calloc(m->n_lanes, sizeof *m->open);
	m->taken = mem_calloc(m->n_classes + 1, sizeof *m->taken);
	m->order = mem_calloc(m->n_classes + 1, sizeof *m->order);
	m->keys = mem_calloc(m->n_classes + 1, sizeof *m->keys);
	m->running = mem_calloc(m->n_batches, sizeof *m->running);
	m->on_lane = mem_calloc(m->n_batches * m->n_lanes, sizeof *m->on_lane);
	m->user_states = mem_calloc(m->n_users, sizeof *m->user_states);
}

void play_finish(struct model *m)
{
	for (size_t i = 0; m->states && i < m->n_lanes; i++)
		free(m->states[i].slots);
	free(m->states);
	free(m->wides);
	free(m->open);
	free(m->taken);
	free(m->order);
	free(m->keys);
	free(m->running);
	free(m->on_lane);
	free(m->user_states);
}

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

static void lane_take(struct model *m, size_t lane, const struct holder *holder)
{
	struct lane_state *s = &m->states[lane];
	const struct place_request *request = holder->request;

	lane_sync(m, s);
	s->utilization += holder->utilization;
	s->n_tasks++;
	s->held |= request->exclusive;
	if (lane < m->n_gpus) {
		s->room = saturate_sub(s->room, lane_vram(m, lane, request));
		s->unsized += !place_request_is_sized(request);
	}
}

static void open_lane(struct model *m, size_t lane)
{
	if (m->states[lane].open)
		return;
	m->states[lane].open = true;
	m->open[m->n_open++] = lane;
}

static void open_all(struct model *m)
{
	for (size_t i = 0; i < m->n_lanes; i++)
		open_lane(m, i);
}

static void lane_give(struct model *m, size_t lane, const struct holder *holder)
{
	struct lane_state *s = &m->states[lane];
	const struct place_request *request = holder->request;

	s->utilization = MAX_OF(s->utilization - holder->utilization, 0.0);
	s->n_tasks -= s->n_tasks > 0;
	s->held &= !request->exclusive;
	if (lane < m->n_gpus) {
		s->room =
		    MIN_OF(saturate_add(s->room, lane_vram(m, lane, request)), m->lanes[lane].line);
		s->unsized -= !place_request_is_sized(request) && s->unsized > 0;
	}
	open_lane(m, lane);
}

static uint64_t vram_of_all(const struct model *m, const struct place_request *request)
{
	uint64_t vram = 0, each = fit_vram_most(m->view->ledger, request);

	for (unsigned g = 0; g < request->gpus; g++)
		vram = saturate_add(vram, each);
	return vram;
}

void user_take(const struct model *m, struct user *user, const struct place_request *request)
{
	if (!user->limits)
		return;
	user->running++;
	user->gpus += request->gpus;
	user->vram = saturate_add(user->vram, vram_of_all(m, request));
}

static void user_give(const struct model *m, struct user *user, const struct place_request *request)
{
	if (!user->limits)
		return;
	user->running--;
	user->gpus -= request->gpus;
	user->vram = saturate_sub(user->vram, vram_of_all(m, request));
}

/* As fit.c has it. */
static bool user_fits(const struct model *m, const struct user *user,
		      const struct place_request *request)
{
	const struct place_user *limits = user->limits;

	if (!limits)
		return true;
	return !(limits->max_running > 0 && user->running >= limits->max_running) &&
	       !(limits->max_gpus > 0 && request->gpus > 0 &&
		 user->gpus + request->gpus > limits->max_gpus) &&
	       !(limits->max_vram_bytes > 0 && place_request_is_sized(request) &&
		 saturate_add(user->vram, vram_of_all(m, request)) > limits->max_vram_bytes);
}

static void host_give(struct model *m, const struct holder *holder)
{
	m->ram = saturate_add(m->ram, holder->request->ram_bytes);
	m->cpu += holder->request->cpu_milli;
	m->running[holder->batch] -= m->running[holder->batch] > 0;
	user_give(m, &m->user_states[holder->user], holder->request);
	m->n_running--;
	if (m->host_full)
		open_all(m);
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
		m->open[i] = i;
	}
	m->n_open = m->n_lanes;
	for (size_t i = 0; i < m->n_batches; i++)
		m->running[i] = m->batches[i].running;
	memcpy(m->user_states, m->users, m->n_users * sizeof *m->users);
	m->moment = 0;
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
			m->states[f->lanes[g]].utilization += f->holder.utilization;
		if (f->n_lanes == 1) {
			add_slot(&m->states[f->lanes[0]], &(struct slot){
							      .finish = left,
							      .expected = f->remaining,
							      .holder = f->holder,
							  });
			continue;
		}
		ARRAY_GROW(m->wides, m->n_wides, m->wides_room);
		m->wides[m->n_wides] = (struct wide){
		    .n_lanes = f->n_lanes,
		    .remaining = left,
		    .holder = f->holder,
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
		key = (double)fit_vram_most(m->view->ledger, c->task->request) *
		      c->task->request->gpus;
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
	size_t x_since = x->since, y_since = y->since;

	if (x->priority != y->priority)
		return x->priority > y->priority;
	/* Batches, and tasks without one, in the order of the queue; the rule orders within. */
	if (x_since == SIZE_MAX)
		x_since = m->items[x->first + m->taken[a]].waiting;
	if (y_since == SIZE_MAX)
		y_since = m->items[y->first + m->taken[b]].waiting;
	if (x_since != y_since)
		return x_since < y_since;
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
	for (size_t c = 0; c < m->n_classes; c++) {
		size_t at = c;

		m->keys[c] = next_key(m, c);
		for (; at > 0 && class_before(m, c, m->order[at - 1]); at--)
			m->order[at] = m->order[at - 1];
		m->order[at] = c;
	}
}

/* What the reservation says of the next task of a class; the last lane stands for the host. */
static bool is_allowed(const struct model *m, size_t class, size_t lane)
{
	size_t item = m->classes[class].first + m->taken[class];
	unsigned char *known = &m->allowed[item * m->n_lanes + lane];
	const struct place_task *task = &m->view->waiting[m->items[item].waiting];

	if (*known == 0) {
		enum reserve_verdict verdict =
		    lane == m->n_gpus
			? reserve_host_verdict(m->reserve, m->view, task, task->request)
			: reserve_gpu_verdict(m->reserve, m->view, task, lane);

		*known = verdict == RESERVE_ALLOWS ? 1 : 2;
	}
	return *known == 1;
}

static bool is_reserved(const struct model *m)
{
	return m->reserve && !m->reserve_over && m->now < m->reserve->start_seconds;
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
	if (m->lanes[lane].max_tasks > 0 && s->n_tasks >= m->lanes[lane].max_tasks)
		return false;
	if (m->ready && m->ready[class * m->n_lanes + lane] > m->now)
		return false;
	if (m->reserve && is_reserved(m) && !is_allowed(m, class, lane))
		return false;
	if (m->lanes[lane].vram_known && (s->room == 0 || lane_vram(m, lane, request) > s->room))
		return false;
	if (request->max_per_gpu > 0)
		return c->task->batch == 0 ||
		       m->on_lane[c->batch * m->n_lanes + lane] < request->max_per_gpu;
	return place_request_is_sized(request) || s->unsized == 0;
}

static bool host_fits(const struct model *m, size_t class)
{
	const struct class *c = &m->classes[class];
	const struct place_request *request = c->task->request;

	return !(request->threads > 0 && c->task->batch != 0 &&
		 m->running[c->batch] >= request->threads) &&
	       !(m->ram_known && request->ram_bytes > m->ram) &&
	       !(m->cpu_known && request->cpu_milli > m->cpu) &&
	       user_fits(m, &m->user_states[c->user], request) &&
	       !(m->reserve && is_reserved(m) && !is_allowed(m, class, m->n_gpus));
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
		sum += MAX_OF(s->slots[i].expected - v, 0.0) * s->slots[i].holder.utilization;
	return sum;
}

/* Would a task of the class slow one that runs there so much that it ends after the deadline? */
static bool delays_beyond(const struct model *m, size_t class, size_t lane, double deadline)
{
	const struct lane_state *s = &m->states[lane];
	double busy = s->utilization + m->utilization[class * m->n_lanes + lane];
	double v = s->virtual_time + (m->now - s->at) * s->factor;

	if (busy <= 100)
		return false;
	for (size_t i = 0; i < s->n_slots; i++) {
		double left = MAX_OF(s->slots[i].expected - v, 0.0);

		if (m->now + left * busy / 100 > deadline && m->now + left / s->factor <= deadline)
			return true;
	}
	return false;
}

/* The rule's own reasons not to use a lane that fits. */
static bool rule_declines(const struct model *m, size_t class, size_t lane, double scale)
{
	const struct model_rule *rule = m->rule;
	const struct lane_state *s = &m->states[lane];

	if (rule->busy_limit > 0 && s->utilization >= rule->busy_limit)
		return true;
	if (rule->deadline > 0) {
		double cautious = scale * (1 + rule->risk * m->classes[class].spread);

		if (expected_end(m, class, lane, cautious) > rule->deadline ||
		    delays_beyond(m, class, lane, rule->deadline))
			return true;
	}
	if (m->kept_set && m->kept == lane &&
	    lane_vram(m, lane, m->classes[class].task->request) > m->kept_spare &&
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

static bool scored_before(double score, size_t lane, double other_score, size_t other_lane)
{
	return score < other_score || (score == other_score && lane < other_lane);
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
	for (size_t i = 0; i < (want == 1 ? m->n_open : m->n_lanes); i++) {
		size_t lane = want == 1 ? m->open[i] : i, at;
		double score;

		if (!lane_fits(m, class, lane))
			continue;
		if (!forced && rule_declines(m, class, lane, scale))
			continue;
		score = lane_score(m, class, lane, scale);
		if (n == want && !scored_before(score, lane, scores[n - 1], lanes[n - 1]))
			continue;
		n += n < want;
		for (at = n - 1;
		     at > 0 && scored_before(score, lane, scores[at - 1], lanes[at - 1]); at--) {
			scores[at] = scores[at - 1];
			lanes[at] = lanes[at - 1];
		}
		scores[at] = score;
		lanes[at] = lane;
	}
	return n == want ? n : 0;
}

static void fill_start(const struct model *m, struct model_start *to, const struct item *item,
		       const size_t *lanes, size_t n)
{
	to->waiting = item->waiting;
	to->n_gpus = lanes[0] == m->n_gpus ? 0 : n;
	memcpy(to->gpus, lanes, n * sizeof *lanes);
}

static void note_start(struct model *m, const struct item *item, const size_t *lanes, size_t n)
{
	if (item->waiting == m->watched) {
		m->outcome->watched_starts = true;
		m->outcome->watched_at_seconds = m->now;
		fill_start(m, &m->outcome->watched_start, item, lanes, n);
	}
	if (m->now > 0 || m->outcome->starts_now)
		return;
	m->outcome->starts_now = true;
	fill_start(m, &m->outcome->first_start, item, lanes, n);
}

static void start(struct model *m, size_t class, const size_t *lanes, size_t n)
{
	const struct class *c = &m->classes[class];
	const struct item *item = &m->items[c->first + m->taken[class]];
	const struct place_request *request = c->task->request;
	struct holder holder = {
	    .request = request, .batch = c->batch, .user = c->user, .urgent = c->urgent};
	double work = 0, luck;

	note_start(m, item, lanes, n);
	m->reserve_over |= m->reserve && m->reserve->waiting == item->waiting;
	for (size_t i = 0; i < n; i++) {
		size_t at = class * m->n_lanes + lanes[i];

		work = MAX_OF(work, m->work[at] * item->scale);
		holder.utilization = MAX_OF(holder.utilization, m->utilization[at]);
	}
	luck = chance(c->task->id + item->waiting, m->scenario, c->spread);
	for (size_t i = 0; i < n; i++) {
		lane_take(m, lanes[i], &holder);
		m->on_lane[c->batch * m->n_lanes + lanes[i]]++;
	}
	if (n == 1) {
		struct lane_state *s = &m->states[lanes[0]];

		add_slot(s, &(struct slot){
				.finish = s->virtual_time + work * luck,
				.expected = s->virtual_time + work,
				.holder = holder,
			    });
	} else {
		ARRAY_GROW(m->wides, m->n_wides, m->wides_room);
		m->wides[m->n_wides] = (struct wide){
		    .n_lanes = n,
		    .remaining = work * luck,
		    .holder = holder,
		};
		memcpy(m->wides[m->n_wides++].lanes, lanes, n * sizeof *lanes);
	}
	for (size_t i = 0; i < n; i++)
		lane_settle(&m->states[lanes[i]]);
	m->ram = saturate_sub(m->ram, request->ram_bytes);
	m->cpu = saturate_sub(m->cpu, request->cpu_milli);
	m->running[c->batch]++;
	user_take(m, &m->user_states[c->user], request);
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
	uint64_t room = s->room, needs = lane_vram(m, lane, request);
	size_t gone = 0;

	/* Ends in order, without changing the slots: next larger `expected` each time. */
	while (room < needs) {
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
				room = saturate_add(room,
						    lane_vram(m, lane, s->slots[i].holder.request));
				gone++;
			}
	}
	*ret_spare = room - needs;
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

static void close_lanes_of(struct model *m, size_t class)
{
	size_t kept = 0;

	for (size_t i = 0; i < m->n_open; i++) {
		size_t lane = m->open[i];

		if (m->work[class * m->n_lanes + lane] > 0)
			m->states[lane].open = false;
		else
			m->open[kept++] = lane;
	}
	m->n_open = kept;
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
				close_lanes_of(m, class);
			position++;
			continue;
		}
		start(m, class, lanes, n);
		resort_class(m, position);
		if (forced)
			return;
	}
	/* A lane that was declined for being busy, or too slow for the deadline, will be declined
	 * until something ends on it; room kept for another may be given up at any event. */
	if (m->rule->reserve)
		return;
	for (size_t i = 0; i < m->n_open; i++)
		m->states[m->open[i]].open = false;
	m->n_open = 0;
}

/* Start what the rule starts; when it starts nothing and nothing runs, something must. */
static void dispatch(struct model *m)
{
	offer(m, false);
	if (m->n_running > 0 || m->n_left == 0)
		return;
	open_all(m);
	offer(m, true);
}

/* Everything of one task that ended, but its lanes' slots. */
static void end_task(struct model *m, const size_t *lanes, size_t n, const struct holder *holder)
{
	for (size_t i = 0; i < n; i++) {
		lane_give(m, lanes[i], holder);
		m->on_lane[holder->batch * m->n_lanes + lanes[i]]--;
	}
	host_give(m, holder);
	m->outcome->flow_seconds += m->now;
	if (holder->urgent)
		m->outcome->urgent_seconds = m->now;
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
		end_task(m, &lane, 1, &slot.holder);
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
		end_task(m, w.lanes, w.n_lanes, &w.holder);
		for (size_t k = 0; k < w.n_lanes; k++)
			lane_settle(&m->states[w.lanes[k]]);
	}
}

/* The next of the moments that are still to come and may matter; infinite when there is none. */
static double next_moment(struct model *m)
{
	while (m->moment < m->n_moments && m->moments[m->moment] <= m->now)
		m->moment++;
	return m->moment < m->n_moments && m->n_left > 0 ? m->moments[m->moment] : HUGE_VAL;
}

/* Go on to the next end. False: nothing runs. */
static bool advance(struct model *m)
{
	double next = HUGE_VAL, moment, limit;

	for (size_t i = 0; i < m->n_lanes; i++)
		next = MIN_OF(next, m->states[i].next);
	for (size_t i = 0; i < m->n_wides; i++)
		next = MIN_OF(next, m->now + m->wides[i].remaining / wide_pace(m, &m->wides[i]));
	moment = next_moment(m);
	if (moment < next) {
		next = moment;
		open_all(m);
	}
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

static void reset(struct model *m)
{
	m->now = 0;
	m->ram = m->ram_room;
	m->cpu = m->cpu_room;
	m->n_left = m->n_items;
	m->host_full = false;
	m->reserve_over = false;
	memset(m->taken, 0, m->n_classes * sizeof *m->taken);
	reset_lanes(m);
	reset_running(m);
}

bool model_anything_fits(struct model *m)
{
	reset(m);
	for (size_t c = 0; c < m->n_classes; c++) {
		size_t want = MAX_OF(m->classes[c].task->request->gpus, 1U);

		if (!host_fits(m, c))
			continue;
		for (size_t lane = 0; lane < m->n_lanes && want > 0; lane++)
			want -= lane_fits(m, c, lane);
		if (want == 0)
			return true;
	}
	return false;
}

void model_watch(struct model *m, size_t waiting)
{
	m->watched = waiting;
}

void model_play(struct model *m, const struct model_rule *rule, unsigned scenario,
		struct model_outcome *ret_outcome)
{
	*ret_outcome = (struct model_outcome){};
	m->rule = rule;
	m->scenario = scenario;
	m->outcome = ret_outcome;
	reset(m);
	reset_order(m);
	do
		dispatch(m);
	while (advance(m));
	ret_outcome->makespan_seconds = m->now;
	ret_outcome->left = m->n_left;
}
