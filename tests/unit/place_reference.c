/*
 * The placer beside a second one written here in the plainest way from DESIGN §2 and S2: the
 * ledger's arithmetic, what fits, and the choice of every simple policy, on random machines. Then
 * the yardsticks beside the best of all schedules of a few tasks, found by trying them all.
 */
#include "gpu_name.h"
#include "place/forecast.h"
#include "place/place.h"
#include "place_world.h"
#include "unit.h"
#include "util/size.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#define MACHINES 600
#define GPUS     5
#define RUNNING  8
#define WAITING  6

/* One machine, its grants and its queue, all random. */
struct machine {
	struct gpu gpus[GPUS];
	size_t n_gpus;
	struct ledger_allocation grants[RUNNING * GPUS];
	size_t n_grants;
	struct ledger_host host;
	struct ledger_rule rules[1];
	size_t n_rules;
	struct place_request asks[RUNNING + WAITING];
	struct place_task running[RUNNING], waiting[WAITING];
	size_t n_running, n_waiting;
};

static uint64_t pick(uint64_t *state, uint64_t n)
{
	return world_random(state) % n;
}

static bool one_in(uint64_t *state, uint64_t n)
{
	return pick(state, n) == 0;
}

static void make_gpu(uint64_t *state, struct gpu *gpu, unsigned index)
{
	*gpu = (struct gpu){.index = index, .health = GPU_HEALTH_OK};
	snprintf(gpu->uuid, sizeof gpu->uuid, "GPU-%u", index);
	snprintf(gpu->name, sizeof gpu->name, "m%u", (unsigned)pick(state, 2));
	if (!one_in(state, 10))
		gpu->valid |= GPU_TOTAL;
	gpu->valid |= one_in(state, 4) ? GPU_FREE : GPU_USED;
	if (one_in(state, 3))
		gpu->valid |= GPU_DRIVER_RESERVED;
	if (!one_in(state, 5))
		gpu->valid |= GPU_UTILIZATION;
	gpu->vram.total_bytes = (2 + pick(state, 23)) * GIB;
	gpu->vram.used_bytes = pick(state, gpu->vram.total_bytes);
	gpu->vram.free_bytes = pick(state, gpu->vram.total_bytes);
	gpu->vram.driver_reserved_bytes = pick(state, GIB);
	gpu->utilization_percent = (unsigned)pick(state, 110);
	if (one_in(state, 12))
		gpu->health = GPU_HEALTH_LOST;
}

static void make_request(uint64_t *state, const struct machine *m, struct place_request *request)
{
	*request = (struct place_request){.gpus = 1};
	if (!one_in(state, 6))
		request->vram_bytes = 1 + pick(state, 5 * GIB);
	if (one_in(state, 8)) {
		request->vram_bytes = 0;
		request->fraction_milli = (unsigned)(1 + pick(state, 1000));
	}
	if (one_in(state, 2))
		request->ram_bytes = pick(state, 5 * GIB);
	if (one_in(state, 3))
		request->cpu_milli = (unsigned)pick(state, 3000);
	request->exclusive = one_in(state, 10);
	if (one_in(state, 6))
		request->gpus = (unsigned)(1 + pick(state, 3));
	if (one_in(state, 8))
		request->pin_uuid = gpu_name((unsigned)pick(state, m->n_gpus + 1));
	if (one_in(state, 4))
		request->max_per_gpu = (unsigned)(1 + pick(state, 4));
	if (one_in(state, 5))
		request->threads = (unsigned)(1 + pick(state, 6));
	if (one_in(state, 10)) {
		request->cpu = PLACE_CPU_ONLY;
		request->gpus = request->fraction_milli = 0;
		request->vram_bytes = 0;
	}
}

static void add_running(uint64_t *state, struct machine *m)
{
	struct place_request *ask = &m->asks[m->n_running];
	struct place_task *task = &m->running[m->n_running++];

	make_request(state, m, ask);
	*task = (struct place_task){
	    .id = 100 + m->n_running, .batch = pick(state, 3), .kind = "k", .request = ask};
	task->n_gpus = MIN_OF((size_t)ask->gpus, m->n_gpus);
	for (size_t g = 0; g == 0 || g < task->n_gpus; g++) {
		struct ledger_allocation *grant = &m->grants[m->n_grants++];

		*grant = (struct ledger_allocation){.vram_bytes = ask->vram_bytes,
						    .exclusive = ask->exclusive,
						    .settled = true,
						    .used_known = one_in(state, 2),
						    .used_bytes = pick(state, 6 * GIB)};
		if (g == 0) {
			grant->ram_bytes = ask->ram_bytes;
			grant->ram_used_bytes = pick(state, 5 * GIB);
			grant->cpu_milli = ask->cpu_milli;
		}
		if (task->n_gpus == 0)
			break;
		task->gpus[g] = g;
		snprintf(grant->uuid, sizeof grant->uuid, "GPU-%zu", g);
	}
}

static void make_machine(uint64_t seed, struct machine *m)
{
	uint64_t state = seed * 7919;

	memset(m, 0, sizeof *m);
	m->n_gpus = 1 + pick(&state, GPUS);
	for (size_t g = 0; g < m->n_gpus; g++)
		make_gpu(&state, &m->gpus[g], (unsigned)g);
	m->host = (struct ledger_host){.ram_known = !one_in(&state, 4),
				       .ram_total_bytes = 8 * GIB + pick(&state, 24 * GIB),
				       .ram_available_bytes = pick(&state, 32 * GIB),
				       .cpu_milli = one_in(&state, 3) ? 0 : 16000};
	if (one_in(&state, 4)) {
		m->n_rules = 1;
		m->rules[0].has_reserve = true;
		m->rules[0].reserve_bytes = pick(&state, 30 * GIB);
		snprintf(m->rules[0].uuid, sizeof m->rules[0].uuid, "GPU-0");
	}
	for (size_t n = pick(&state, RUNNING); m->n_running < n;)
		add_running(&state, m);
	m->n_waiting = 1 + pick(&state, WAITING);
	for (size_t i = 0; i < m->n_waiting; i++) {
		struct place_request *ask = &m->asks[RUNNING + i];

		make_request(&state, m, ask);
		m->waiting[i] = (struct place_task){
		    .id = i + 1, .batch = pick(&state, 3), .kind = "k", .request = ask};
		if (one_in(&state, 2))
			m->waiting[i].weight_memory = 100 * world_uniform(&state);
	}
}

static double speed_of(void *data, const char *model)
{
	(void)data;
	return strcmp(model, "m0") == 0 ? 1.0 : 0.55;
}

static struct ledger *ledger_of(struct machine *m)
{
	struct gpu_list list = {.state = GPU_SOURCE_OK, .gpus = m->gpus, .n = m->n_gpus};
	struct ledger_options options = {
	    .rules = m->rules, .n_rules = m->n_rules, .speed = speed_of};

	return ledger_create(&list, m->grants, m->n_grants, &m->host, &options);
}

/* DESIGN §2 in 128-bit numbers that cannot run over, cut off at 0 only where a line says so. */

struct plain {
	__int128 reserve, line, foreign, ours, allocated, room;
	unsigned n_tasks;
	bool known, exclusive;
};

static __int128 at_least_0(__int128 x)
{
	return x > 0 ? x : 0;
}

static struct plain plain_gpu(const struct machine *m, size_t g)
{
	const struct gpu *gpu = &m->gpus[g];
	__int128 total = gpu->vram.total_bytes, used, of_ours = 0;
	__int128 driver = gpu->valid & GPU_DRIVER_RESERVED ? gpu->vram.driver_reserved_bytes : 0;
	struct plain p = {.known = gpu->valid & GPU_TOTAL};

	used = gpu->valid & GPU_USED ? (__int128)gpu->vram.used_bytes
				     : at_least_0(total - gpu->vram.free_bytes - driver);
	p.reserve = MAX_OF(MAX_OF(total / 20, (__int128)(256 * MIB)), driver);
	if (m->n_rules > 0 && g == 0)
		p.reserve = m->rules[0].reserve_bytes;
	p.reserve = MIN_OF(p.reserve, total);
	p.line = total - p.reserve;
	for (size_t i = 0; i < m->n_grants; i++) {
		const struct ledger_allocation *a = &m->grants[i];

		if (strcmp(a->uuid, gpu->uuid) != 0)
			continue;
		p.n_tasks++;
		p.exclusive |= a->exclusive;
		p.allocated += a->vram_bytes;
		p.ours += a->used_known ? MAX_OF(a->vram_bytes, a->used_bytes) : a->vram_bytes;
		of_ours += a->used_known ? a->used_bytes : a->vram_bytes;
	}
	p.foreign = at_least_0(used - of_ours);
	p.room = at_least_0(p.line - p.foreign - p.ours);
	return p;
}

static void test_ledger(void **state)
{
	(void)state;
	for (uint64_t seed = 1; seed <= MACHINES; seed++) {
		struct machine m;
		struct ledger *ledger;
		__int128 unused = 0, promised = 0, cpus = 0;

		make_machine(seed, &m);
		ledger = ledger_of(&m);
		for (size_t g = 0; g < m.n_gpus; g++) {
			const struct ledger_gpu *is = &ledger->gpus[g];
			struct plain want = plain_gpu(&m, g);

			assert_int_equal(is->vram_known, want.known);
			assert_int_equal(is->n_tasks, want.n_tasks);
			assert_int_equal(is->held_exclusive, want.exclusive);
			assert_true(is->allocated_bytes == want.allocated);
			if (!want.known)
				continue;
			if (is->reserve_bytes != want.reserve || is->load_line_bytes != want.line ||
			    is->foreign_bytes != want.foreign || is->room_bytes != want.room)
				fail_msg("seed %d, GPU %zu: foreign %s room %s, not %s and %s",
					 (int)seed, g, SIZE_TEXT(is->foreign_bytes),
					 SIZE_TEXT(is->room_bytes),
					 SIZE_TEXT((uint64_t)want.foreign),
					 SIZE_TEXT((uint64_t)want.room));
		}
		for (size_t i = 0; i < m.n_grants; i++) {
			__int128 ram = m.grants[i].ram_bytes, used = m.grants[i].ram_used_bytes;

			unused += at_least_0(ram - used);
			promised += MAX_OF(ram, used);
			cpus += m.grants[i].cpu_milli;
		}
		if (m.host.ram_known)
			assert_true(ledger->ram_room_bytes ==
				    MIN_OF(at_least_0(m.host.ram_available_bytes - unused),
					   at_least_0(m.host.ram_total_bytes - promised)));
		assert_true(ledger->cpu_milli_room == at_least_0(m.host.cpu_milli - cpus));
		ledger_destroy(ledger);
	}
}

/* What fits, from the words of place/fit.h. */

static unsigned of_batch(const struct machine *m, uint64_t batch, size_t gpu)
{
	unsigned n = 0;

	for (size_t i = 0; i < m->n_running; i++)
		for (size_t g = 0; g < MAX_OF(m->running[i].n_gpus, (size_t)1); g++)
			n += batch > 0 && m->running[i].batch == batch &&
			     (gpu == SIZE_MAX
				  ? g == 0
				  : m->running[i].n_gpus > 0 && m->running[i].gpus[g] == gpu);
	return n;
}

static unsigned unsized_on(const struct machine *m, size_t gpu)
{
	unsigned n = 0;

	for (size_t i = 0; i < m->n_running; i++)
		for (size_t g = 0; g < m->running[i].n_gpus; g++)
			n += m->running[i].gpus[g] == gpu &&
			     m->running[i].request->vram_bytes == 0 &&
			     m->running[i].request->fraction_milli == 0;
	return n;
}

/* What it asks of this GPU: a size, or so many thousandths of the line, in whole MiB. */
static __int128 plain_asks(const struct place_request *ask, const struct plain *p)
{
	if (ask->fraction_milli == 0)
		return ask->vram_bytes;
	return p->known ? p->line / MIB * ask->fraction_milli / 1000 * MIB : 1;
}

static bool plain_fits(const struct machine *m, const struct place_task *task, size_t g)
{
	const struct place_request *ask = task->request;
	struct plain p = plain_gpu(m, g);

	if (m->gpus[g].health != GPU_HEALTH_OK || p.exclusive ||
	    place_is_pinned_elsewhere(ask, m->gpus[g].uuid) || (ask->exclusive && p.n_tasks > 0) ||
	    (plain_asks(ask, &p) > 0 && !p.known) ||
	    (p.known && (p.room == 0 || p.room < plain_asks(ask, &p))))
		return false;
	if (ask->max_per_gpu > 0)
		return of_batch(m, task->batch, g) < ask->max_per_gpu;
	return ask->vram_bytes > 0 || ask->fraction_milli > 0 || unsized_on(m, g) == 0;
}

static bool plain_host_fits(const struct machine *m, const struct ledger *ledger,
			    const struct place_task *task)
{
	const struct place_request *ask = task->request;

	return (ask->threads == 0 || of_batch(m, task->batch, SIZE_MAX) < ask->threads) &&
	       (!ledger->ram_known || ask->ram_bytes <= ledger->ram_room_bytes) &&
	       (ledger->cpu_milli_total == 0 || ask->cpu_milli <= ledger->cpu_milli_room);
}

/* Story S2: active/max x 50 + utilisation/100 x 50, and the memory term. */
static double plain_balance(const struct machine *m, const struct place_task *task, size_t g)
{
	struct plain p = plain_gpu(m, g);
	double max = 1, active = p.n_tasks, score;
	double util = MIN_OF(m->gpus[g].utilization_percent, 100U);

	if (task->request->max_per_gpu > 0) {
		max = task->request->max_per_gpu;
		active = of_batch(m, task->batch, g);
	} else if (plain_asks(task->request, &p) > 0 && p.known) {
		max = MAX_OF(floor((double)(p.line / plain_asks(task->request, &p))), 1.0);
	}
	score = active / max * 50;
	if (m->gpus[g].valid & GPU_UTILIZATION)
		score += util / 100 * 50;
	if (task->weight_memory > 0 && p.known && p.line > 0)
		score += task->weight_memory * (double)p.allocated / (double)p.line;
	return score;
}

static double plain_score(const struct machine *m, const struct place_task *task,
			  enum place_policy policy, uint64_t turn, size_t g)
{
	struct plain p = plain_gpu(m, g);
	double room = p.known ? (double)p.room : HUGE_VAL;

	if (policy == PLACE_BALANCE)
		return plain_balance(m, task, g);
	if (policy == PLACE_BEST_FIT)
		return room;
	if (policy == PLACE_SPREAD)
		return -room;
	if (policy == PLACE_ROUND_ROBIN)
		return (double)(g >= turn % m->n_gpus ? g : g + m->n_gpus);
	return (double)g;
}

/* The GPUs for a task: again and again the first with the lowest score. 0 = it cannot start. */
static size_t plain_choose(const struct machine *m, const struct place_task *task,
			   enum place_policy policy, uint64_t turn, size_t *gpus)
{
	bool used[GPUS] = {};
	size_t n = 0;

	while (n < task->request->gpus) {
		size_t best = SIZE_MAX;

		for (size_t g = 0; g < m->n_gpus; g++)
			if (!used[g] && plain_fits(m, task, g) &&
			    (best == SIZE_MAX || plain_score(m, task, policy, turn, g) <
						     plain_score(m, task, policy, turn, best)))
				best = g;
		if (best == SIZE_MAX)
			return 0;
		used[best] = true;
		gpus[n++] = best;
	}
	return n;
}

static void check_choice(struct machine *m, enum place_policy policy, uint64_t seed,
			 unsigned chosen[2])
{
	struct ledger *ledger = ledger_of(m);
	bool taken[WAITING] = {};
	struct place_view view = {.ledger = ledger,
				  .running = m->running,
				  .n_running = m->n_running,
				  .waiting = m->waiting,
				  .n_waiting = m->n_waiting,
				  .taken = taken,
				  .round_robin = seed};
	struct place_decision is = {};
	size_t want[GPUS], n = 0, who = 0;
	int r;

	for (size_t i = 0; i < m->n_waiting; i++)
		m->waiting[i].policy = policy;
	for (; who < m->n_waiting; who++) {
		const struct place_task *task = &m->waiting[who];

		if (!plain_host_fits(m, ledger, task))
			continue;
		if (task->request->cpu == PLACE_CPU_ONLY)
			break;
		n = plain_choose(m, task, policy, seed, want);
		if (n > 0)
			break;
	}
	r = place_next(&view, &is);
	chosen[r == 1]++;
	if (r != (who < m->n_waiting))
		fail_msg("seed %d, %s: place_next says %d, the plain one task %zu of %zu",
			 (int)seed, place_policy_name(policy), r, who, m->n_waiting);
	if (r == 1) {
		if (is.waiting != who || is.n_gpus != n)
			fail_msg("seed %d, %s: task %zu on %zu GPUs, not %zu on %zu", (int)seed,
				 place_policy_name(policy), is.waiting, is.n_gpus, who, n);
		for (size_t i = 0; i < n; i++)
			if (is.gpus[i] != want[i])
				fail_msg("seed %d, %s: GPU %zu, not %zu: %s", (int)seed,
					 place_policy_name(policy), is.gpus[i], want[i], is.reason);
		assert_true(is.reason[0] != '\0');
	}
	ledger_destroy(ledger);
}

static void test_choices(void **state)
{
	static const enum place_policy all[] = {PLACE_BALANCE, PLACE_BEST_FIT, PLACE_SPREAD,
						PLACE_ROUND_ROBIN, PLACE_FIRST_FIT};
	unsigned chosen[2] = {};

	(void)state;
	for (uint64_t seed = 1; seed <= MACHINES; seed++)
		for (size_t i = 0; i < ARRAY_LEN(all); i++) {
			struct machine m;

			make_machine(seed, &m);
			check_choice(&m, all[i], seed, chosen);
		}
	print_message("# %u starts, %u waits\n", chosen[1], chosen[0]);
	assert_true(chosen[0] > MACHINES / 2 && chosen[1] > MACHINES);
}

/* The words of balance are the numbers it chose by. */
static void test_balance_says_its_score(void **state)
{
	unsigned n = 0;

	(void)state;
	for (uint64_t seed = 1; seed <= MACHINES; seed++) {
		struct machine m;
		struct ledger *ledger;
		struct place_view view = {};
		struct place_decision is;
		char want[64];

		make_machine(seed, &m);
		ledger = ledger_of(&m);
		view = (struct place_view){.ledger = ledger,
					   .running = m.running,
					   .n_running = m.n_running,
					   .waiting = m.waiting,
					   .n_waiting = 1};
		m.waiting[0].policy = PLACE_BALANCE;
		if (place_next(&view, &is) == 1 && is.n_gpus == 1) {
			snprintf(want, sizeof want, "GPU %zu: score %.1f: ", is.gpus[0],
				 plain_balance(&m, &m.waiting[0], is.gpus[0]));
			if (strncmp(is.reason, want, strlen(want)) != 0)
				fail_msg("seed %d: \"%s\" should begin \"%s\"", (int)seed,
					 is.reason, want);
			n++;
		}
		ledger_destroy(ledger);
	}
	assert_true(n > 100);
}

/*
 * Every schedule of a few tasks on two GPUs, in the model of execution: at each event any subset of
 * the waiting tasks may start anywhere it fits, or wait for the next end. The shortest is the
 * optimum; no bound may lie above it, no way by hand below it.
 */
#define TINY 5

struct tiny {
	size_t n;
	struct place_request asks[TINY];
	double work[TINY], util[TINY]; /* on a GPU of speed 1 */
	double speed[2], line[2];
	char kinds[TINY][8];
};

struct tiny_state {
	double left[TINY], now;
	int on[TINY]; /* GPU, -1 waits, -2 ended */
	size_t ended;
};

static void tiny_next(const struct tiny *t, struct tiny_state s, double *best);

static void tiny_wait(const struct tiny *t, struct tiny_state s, double *best)
{
	double sum[2] = {}, slow[2], next = HUGE_VAL;
	bool runs = false;

	for (size_t i = 0; i < t->n; i++)
		if (s.on[i] >= 0)
			sum[s.on[i]] += t->util[i];
	for (int g = 0; g < 2; g++)
		slow[g] = MAX_OF(sum[g] / 100, 1.0);
	for (size_t i = 0; i < t->n; i++)
		if (s.on[i] >= 0) {
			next = MIN_OF(next, s.left[i] * slow[s.on[i]]);
			runs = true;
		}
	if (!runs || s.now + next >= *best)
		return;
	s.now += next;
	for (size_t i = 0; i < t->n; i++)
		if (s.on[i] >= 0) {
			s.left[i] -= next / slow[s.on[i]];
			if (s.left[i] < 1e-9) {
				s.on[i] = -2;
				s.ended++;
			}
		}
	tiny_next(t, s, best);
}

/* Task `from` and those after it: start here, there, or not now. */
static void tiny_start(const struct tiny *t, struct tiny_state s, size_t from, double *best)
{
	if (from == t->n) {
		tiny_wait(t, s, best);
		return;
	}
	for (int g = 0; g < 2 && s.on[from] == -1; g++) {
		struct tiny_state with = s;
		double used = (double)t->asks[from].vram_bytes;

		for (size_t i = 0; i < t->n; i++)
			used += s.on[i] == g ? (double)t->asks[i].vram_bytes : 0;
		if (used > t->line[g])
			continue;
		with.on[from] = g;
		with.left[from] = t->work[from] / t->speed[g];
		tiny_start(t, with, from + 1, best);
	}
	tiny_start(t, s, from + 1, best);
}

static void tiny_next(const struct tiny *t, struct tiny_state s, double *best)
{
	if (s.ended == t->n)
		*best = MIN_OF(*best, s.now);
	else
		tiny_start(t, s, 0, best);
}

static double tiny_optimum(const struct tiny *t)
{
	struct tiny_state s = {};
	double best = HUGE_VAL;

	for (size_t i = 0; i < t->n; i++)
		s.on[i] = -1;
	tiny_next(t, s, &best);
	return best;
}

static void tiny_yardsticks(const struct tiny *t, struct machine *m, struct place_yardsticks *ret)
{
	struct estimates *estimates = estimates_create();
	struct place_task tasks[TINY] = {};
	struct ledger *ledger = ledger_of(m);

	for (size_t i = 0; i < t->n; i++) {
		for (int g = 0; g < 2; g++) {
			struct estimates_sample sample = {.kind = t->kinds[i],
							  .model = m->gpus[g].name,
							  .speed = t->speed[g],
							  .vram_request_bytes =
							      t->asks[i].vram_bytes,
							  .work_seconds = t->work[i] / t->speed[g],
							  .utilization_percent = t->util[i]};

			estimates_learn(estimates, &sample);
		}
		tasks[i] =
		    (struct place_task){.id = i + 1, .kind = t->kinds[i], .request = &t->asks[i]};
	}
	place_yardsticks_compute(ledger, estimates, tasks, t->n, ret);
	ledger_destroy(ledger);
	estimates_destroy(estimates);
}

static void make_tiny(uint64_t seed, struct tiny *t, struct machine *m)
{
	uint64_t state = seed * 31337;

	memset(t, 0, sizeof *t);
	memset(m, 0, sizeof *m);
	m->n_gpus = 2;
	for (unsigned g = 0; g < 2; g++) {
		struct gpu *gpu = &m->gpus[g];

		*gpu = (struct gpu){.index = g, .valid = GPU_TOTAL | GPU_USED};
		snprintf(gpu->uuid, sizeof gpu->uuid, "GPU-%u", g);
		snprintf(gpu->name, sizeof gpu->name, "m%u", g);
		gpu->vram.total_bytes = (g == 0 ? 12 : 8) * GIB;
		t->speed[g] = speed_of(NULL, gpu->name);
		t->line[g] = (double)(gpu->vram.total_bytes - gpu->vram.total_bytes / 20);
	}
	t->n = 1 + pick(&state, TINY);
	for (size_t i = 0; i < t->n; i++) {
		t->asks[i] =
		    (struct place_request){.gpus = 1, .vram_bytes = (1 + pick(&state, 7)) * GIB};
		t->work[i] = 1 + (double)pick(&state, 20);
		t->util[i] = 10 + (double)pick(&state, 91);
		snprintf(t->kinds[i], sizeof t->kinds[i], "k%zu", i);
	}
}

static void test_yardsticks(void **state)
{
	double tight = 0;
	unsigned n = 0;

	(void)state;
	for (uint64_t seed = 1; seed <= 60; seed++) {
		struct place_yardsticks y = {};
		struct machine m;
		struct tiny t;
		double optimum;

		make_tiny(seed, &t, &m);
		tiny_yardsticks(&t, &m, &y);
		optimum = tiny_optimum(&t);
		if (y.lower_bound_seconds > optimum * (1 + 1e-6) || y.lower_bound_seconds <= 0)
			fail_msg("seed %d: the bound is %.3f s, a schedule of %zu takes %.3f",
				 (int)seed, y.lower_bound_seconds, t.n, optimum);
		if (y.one_gpu_seconds < optimum * (1 - 1e-6))
			fail_msg("seed %d: one GPU takes %.3f s, the best schedule %.3f", (int)seed,
				 y.one_gpu_seconds, optimum);
		if (y.even_split_seconds >= 0 && y.even_split_seconds < optimum * (1 - 1e-6))
			fail_msg("seed %d: half and half takes %.3f s, the best schedule %.3f",
				 (int)seed, y.even_split_seconds, optimum);
		tight += y.lower_bound_seconds / optimum;
		n++;
	}
	print_message("# bound/optimum: %.3f on average\n", tight / n);
	/* A bound of nothing would be true as well. */
	assert_true(tight / n > 0.8);
}

/* The estimated end beside small steps of time: a second way to work out the same law. */
static void test_expected_end(void **state)
{
	(void)state;
	for (uint64_t seed = 1; seed <= 40; seed++) {
		uint64_t random = seed;
		struct forecast_share shares[4];
		size_t n = pick(&random, 5);
		double work = 5 + (double)pick(&random, 30), util = 5 + (double)pick(&random, 96);
		double left[4], mine = work, now = 0, is;
		const double step = 0.002;

		for (size_t i = 0; i < n; i++) {
			left[i] = 1 + (double)pick(&random, 40);
			shares[i] = (struct forecast_share){left[i], 5 + (double)pick(&random, 96)};
		}
		for (; mine > 0; now += step) {
			double sum = util, pace;

			for (size_t i = 0; i < n; i++)
				sum += left[i] > 0 ? shares[i].utilization_percent : 0;
			pace = MIN_OF(1.0, 100 / sum);
			mine -= step * pace;
			for (size_t i = 0; i < n; i++)
				left[i] -= step * pace;
		}
		is = forecast_end(shares, n, work, util);
		if (fabs(is - now) > 0.05)
			fail_msg("seed %d: %.3f s, in small steps %.3f", (int)seed, is, now);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_ledger),
	    cmocka_unit_test(test_choices),
	    cmocka_unit_test(test_balance_says_its_score),
	    cmocka_unit_test(test_yardsticks),
	    cmocka_unit_test(test_expected_end),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
