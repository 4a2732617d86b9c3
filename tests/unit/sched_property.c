/*
 * Random operations on random machines: whatever comes in, in whatever order, the queue keeps its
 * promises. The seed is printed; PLIMSOLL_SEED=N repeats a run, PLIMSOLL_STEPS=N sets its length.
 *
 * The world here holds the truth (which attempts have a process, who uses what); the queue only
 * hears reports of it. After every step:
 *	- what was granted on a GPU that just got a start is within its load line, foreign included
 *	- no task is lost, none has two attempts at once, no final state changes
 *	- threads, max_per_gpu, pins and exclusiveness hold
 *	- the counts are what a recount gives; waiting tasks have a reason
 * and at the end everything is canceled and must come to an end.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include "gpu_name.h"
#include "sched/sched.h"
#include "util/size.h"

#include <errno.h>
#include <signal.h>
#include <string.h>
#include <time.h>

#define TASKS_MAX 100000
#define GPUS_MAX  4

enum truth { ABSENT, QUIET, TO_START, PROCESS, ENDED, GONE }; /* ENDED: not judged yet */

struct world_task {
	enum truth truth;
	unsigned attempt;
	int signaled;
	int64_t ended_ms;
	bool final;
	enum sched_state state;
};

struct world {
	struct sched *sched;
	uint64_t random;
	int64_t now_ms;
	struct gpu_list *list; /* without the tasks' use */
	uint64_t foreign[GPUS_MAX];
	struct world_task *tasks; /* by id */
	uint64_t last_task, last_batch;
	size_t starts, restarts, ends;
};

static uint64_t rnd(struct world *w, uint64_t n)
{
	w->random = w->random * 6364136223846793005ull + 1442695040888963407ull;
	return (w->random >> 33) % n;
}

static struct sched *world_sched(void)
{
	return sched_create(&(struct sched_options){.stop_grace_ms = 5000});
}

static void world_gpus(struct world *w)
{
	static const double sizes[] = {4, 8, 11.9, 24};
	size_t n = 1 + rnd(w, GPUS_MAX);

	w->list = gpu_list_create();
	w->list->state = GPU_SOURCE_OK;
	for (size_t i = 0; i < n; i++) {
		struct gpu *gpu = gpu_list_append(w->list);
		size_t model = rnd(w, 4);

		gpu->index = (unsigned)i;
		(void)snprintf(gpu->uuid, sizeof gpu->uuid, "GPU-%zu", i);
		(void)snprintf(gpu->name, sizeof gpu->name, "Model %zu", model);
		gpu->valid = GPU_TOTAL | GPU_USED | GPU_FREE | GPU_UTILIZATION | GPU_PROCESSES;
		gpu->vram.total_bytes = (uint64_t)(sizes[model] * (double)GIB);
	}
}

/* A sample of the truth, and the use of each running task. */
static void world_sample(struct world *w)
{
	struct gpu_list *list = gpu_list_copy(w->list);
	uint64_t used[GPUS_MAX] = {};

	list->sampled_at_ms = w->now_ms;
	for (const struct sched_task *t = sched_first_active(w->sched); t;
	     t = sched_next_active(t)) {
		const struct sched_attempt *a = sched_task_attempt(t);

		for (unsigned g = 0; w->tasks[t->id].truth == PROCESS && g < a->n_gpus; g++)
			used[a->gpus[g].index] += a->gpus[g].vram_bytes * 3 / 4;
	}
	for (size_t i = 0; i < list->n; i++) {
		struct gpu *gpu = &list->gpus[i];

		gpu->vram.used_bytes = MIN_OF(used[i] + w->foreign[i], gpu->vram.total_bytes);
		gpu->vram.free_bytes = gpu->vram.total_bytes - gpu->vram.used_bytes;
		gpu->utilization_percent = (unsigned)rnd(w, 101);
	}
	sched_set_gpus(w->sched, list, w->now_ms);
	for (const struct sched_task *t = sched_first_active(w->sched); t;
	     t = sched_next_active(t)) {
		const struct sched_attempt *a = sched_task_attempt(t);
		bool there = w->tasks[t->id].truth == PROCESS;

		for (unsigned g = 0; g < a->n_gpus; g++)
			assert_int_equal(
			    sched_set_usage(
				w->sched,
				&(struct sched_usage){
				    .task = t->id,
				    .uuid = a->gpus[g].uuid,
				    .vram_known = true,
				    .vram_bytes = there ? a->gpus[g].vram_bytes * 3 / 4 : 0,
				    .utilization_known = rnd(w, 2) > 0,
				    .utilization_percent = (unsigned)rnd(w, 101),
				},
				w->now_ms),
			    0);
	}
	gpu_list_destroy(list);
}

static struct sched_spec random_spec(struct world *w)
{
	static const char *const argv[] = {"true", "{device}", NULL};
	static const char *const kinds[] = {"", "tiny", "large"};
	struct sched_spec spec = {
	    .name = "t",
	    .argv = argv,
	    .cwd = "/",
	    .kind = kinds[rnd(w, 3)],
	    .priority = rnd(w, 4) ? 0 : (int)rnd(w, 5) - 2,
	    .policy = (enum place_policy)rnd(w, PLACE_POLICY_COUNT),
	    .retries = (unsigned)rnd(w, 3),
	    .held = rnd(w, 20) == 0,
	    .request = {.gpus = 1, .vram_bytes = rnd(w, 24) * GIB / 2},
	};

	if (rnd(w, 6) == 0) {
		spec.request.cpu = PLACE_CPU_ONLY;
		spec.request.gpus = 0;
		spec.request.vram_bytes = 0;
	} else {
		spec.request.exclusive = rnd(w, 12) == 0;
		spec.request.gpus = rnd(w, 10) ? 1 : 2;
		if (rnd(w, 10) == 0)
			spec.request.pin_uuid = gpu_name((unsigned)rnd(w, GPUS_MAX));
	}
	return spec;
}

static void note_task(struct world *w, uint64_t id)
{
	assert_true(id < TASKS_MAX);
	assert_int_equal(w->tasks[id].truth, ABSENT);
	w->tasks[id].truth = QUIET;
	w->last_task = MAX_OF(w->last_task, id);
}

static void op_submit(struct world *w)
{
	struct sched_spec spec = random_spec(w);
	struct error err;
	uint64_t id;

	if (sched_submit(w->sched, &spec, w->now_ms, &id, &err) == 0)
		note_task(w, id);
	else
		assert_true(err.text[0]);
}

static void op_submit_batch(struct world *w)
{
	struct sched_spec specs[24];
	size_t n = rnd(w, ARRAY_LEN(specs) + 1);
	unsigned threads = (unsigned)rnd(w, 5), max_per_gpu = (unsigned)rnd(w, 4);
	struct sched_batch_spec batch = {.name = "b",
					 .on_failure = (enum sched_on_failure)rnd(w, 3),
					 .tasks = specs,
					 .n_tasks = n};
	uint64_t id, first;
	struct error err;

	for (size_t i = 0; i < n; i++) {
		specs[i] = random_spec(w);
		specs[i].row = (unsigned)i + 1;
		specs[i].request.threads = threads;
		specs[i].request.max_per_gpu = max_per_gpu;
	}
	if (sched_submit_batch(w->sched, &batch, w->now_ms, &id, &first, &err) < 0)
		return;
	w->last_batch = id;
	for (size_t i = 0; i < n; i++)
		note_task(w, first + i);
	if (rnd(w, 10) == 0) { /* the store said no */
		assert_int_equal(sched_withdraw_batch(w->sched, id), 0);
		for (size_t i = 0; i < n; i++)
			w->tasks[first + i].truth = ABSENT; /* its id comes again */
	}
}

/* One of the active tasks, or NULL. */
static const struct sched_task *some_active(struct world *w)
{
	const unsigned *counts = sched_counts(w->sched);
	unsigned n = counts[SCHED_STARTING] + counts[SCHED_RUNNING];
	const struct sched_task *t = sched_first_active(w->sched);

	for (uint64_t skip = n ? rnd(w, n) : 0; t && skip > 0; skip--)
		t = sched_next_active(t);
	return t;
}

static void op_started(struct world *w)
{
	const struct sched_task *t = some_active(w);

	if (!t || w->tasks[t->id].truth != TO_START)
		return;
	if (rnd(w, 12) == 0) {
		w->tasks[t->id].truth = QUIET;
		assert_int_equal(sched_start_failed(w->sched, t->id, t->n_attempts,
						    "no more processes", rnd(w, 2), w->now_ms),
				 0);
		return;
	}
	w->tasks[t->id].truth = PROCESS;
	assert_int_equal(sched_started(w->sched, t->id, t->n_attempts, w->now_ms), 0);
	assert_int_equal(sched_started(w->sched, t->id, t->n_attempts, w->now_ms), -ESTALE);
}

/* An error on a GPU is judged by a later sample, or when it has waited long enough. */
static void note_judged(struct world *w)
{
	for (uint64_t id = 1; id <= w->last_task; id++) {
		struct world_task *task = &w->tasks[id];
		const struct sched_task *t = task->truth == ENDED ? sched_find(w->sched, id) : NULL;

		/* The clock may have been set back since. */
		task->ended_ms = MIN_OF(task->ended_ms, w->now_ms);
		if (t && t->attempts[task->attempt - 1].ended_at_ms > 0)
			task->truth = QUIET;
		else if (t)
			assert_true(w->now_ms - task->ended_ms <= SCHED_JUDGE_MS + 1000);
	}
}

static void op_ended(struct world *w)
{
	const struct sched_task *t = some_active(w);
	struct sched_end end = {.exit_known = true};

	if (!t || w->tasks[t->id].truth == ENDED)
		return;
	end.task = t->id;
	end.attempt = t->n_attempts;
	end.outcome = rnd(w, 3) ? SCHED_OK : (enum sched_outcome)(SCHED_OK + rnd(w, 8));
	end.exit_code = end.outcome != SCHED_OK;
	w->tasks[t->id].truth = ENDED;
	w->tasks[t->id].signaled = 0;
	w->tasks[t->id].ended_ms = w->now_ms;
	w->ends++;
	assert_int_equal(sched_ended(w->sched, &end, w->now_ms), 0);
	assert_int_equal(sched_ended(w->sched, &end, w->now_ms), -ESTALE);
	note_judged(w);
}

static void op_wish(struct world *w)
{
	uint64_t id = 1 + rnd(w, w->last_task + 1);
	uint64_t batch = 1 + rnd(w, w->last_batch + 1);
	struct error err = {};
	int r = 0;

	switch (rnd(w, 6)) {
	case 0:
		r = sched_cancel(w->sched, id, w->now_ms, &err);
		break;
	case 1:
		r = sched_hold(w->sched, id, w->now_ms, &err);
		break;
	case 2:
		r = sched_release(w->sched, id, w->now_ms, &err);
		break;
	case 3:
		if (rnd(w, 4) == 0)
			r = sched_batch_cancel(w->sched, batch, w->now_ms, &err);
		break;
	default:
		r = sched_batch_continue(w->sched, batch, rnd(w, 2), w->now_ms, &err);
	}
	if (r < 0)
		assert_true(err.text[0] && (r == -ESRCH || r == -EALREADY));
}

static void op_machine(struct world *w)
{
	struct gpu *gpu = &w->list->gpus[rnd(w, w->list->n)];

	switch (rnd(w, 6)) {
	case 0:
		gpu->health = GPU_HEALTH_LOST;
		gpu->valid &= ~(unsigned)(GPU_USED | GPU_UTILIZATION);
		break;
	case 1:
		w->foreign[gpu->index] = rnd(w, 3) ? 0 : rnd(w, 4 * GIB);
		break;
	case 2:
		w->list->state = rnd(w, 3) ? GPU_SOURCE_OK : GPU_SOURCE_STALE;
		break;
	default:
		gpu->health = GPU_HEALTH_OK;
		gpu->valid |= GPU_USED | GPU_UTILIZATION;
	}
	world_sample(w);
}

/* The daemon dies and comes back: everything through the store's eyes. */
static void op_restart(struct world *w)
{
	struct sched *again = world_sched();
	struct error err;

	for (const struct sched_batch *b = sched_first_batch(w->sched); b; b = sched_next_batch(b))
		assert_int_equal(sched_restore_batch(again, b, &err), 0);
	for (const struct sched_task *t = sched_first(w->sched); t; t = sched_next(t))
		assert_int_equal(sched_restore_task(again, t, &err), 0);
	sched_restore_ids(again, w->last_task, w->last_batch);
	assert_memory_equal(sched_counts(again), sched_counts(w->sched),
			    SCHED_STATE_COUNT * sizeof(unsigned));
	sched_destroy(w->sched);
	w->sched = again;
	w->restarts++;
	/* A signal may be sent again, and an end that was not on record is told again. */
	for (uint64_t id = 1; id <= w->last_task; id++) {
		w->tasks[id].signaled = 0;
		if (w->tasks[id].truth == ENDED)
			w->tasks[id].truth =
			    sched_find(again, id)->state == SCHED_RUNNING ? PROCESS : TO_START;
	}
	world_sample(w);
}

static void check_start(struct world *w, const struct sched_action *action)
{
	struct world_task *task = &w->tasks[action->task];
	const struct sched_task *t = sched_find(w->sched, action->task);
	const struct sched_attempt *a;

	assert_non_null(t);
	a = sched_task_attempt(t);
	assert_int_equal(t->state, SCHED_STARTING);
	assert_int_equal(task->truth, QUIET); /* no process, none on its way */
	assert_int_equal(action->attempt, task->attempt + 1);
	assert_int_equal(a->number, action->attempt);
	assert_int_equal(a->n_gpus, t->spec.request.gpus);
	assert_true(a->reason && a->reason[0]);
	for (unsigned g = 0; g < a->n_gpus; g++) {
		const struct gpu *gpu = &w->list->gpus[a->gpus[g].index];

		assert_string_equal(gpu->uuid, a->gpus[g].uuid);
		assert_int_equal(gpu->health, GPU_HEALTH_OK);
		assert_int_equal(w->list->state, GPU_SOURCE_OK);
		assert_false(place_is_pinned_elsewhere(&t->spec.request, gpu->uuid));
	}
	task->truth = TO_START;
	task->attempt = action->attempt;
	w->starts++;
}

static void do_actions(struct world *w)
{
	size_t n;
	const struct sched_action *actions = sched_actions(w->sched, &n);

	for (size_t i = 0; i < n; i++) {
		struct world_task *task = &w->tasks[actions[i].task];

		if (actions[i].type == SCHED_START) {
			check_start(w, &actions[i]);
			continue;
		}
		assert_int_equal(task->truth, PROCESS);
		assert_int_equal(actions[i].attempt, task->attempt);
		/* SIGTERM first, then SIGKILL */
		assert_true(actions[i].signal == SIGTERM ? task->signaled == 0
							 : actions[i].signal == SIGKILL);
		task->signaled = actions[i].signal;
	}
	sched_actions_clear(w->sched);
}

struct crowd {
	unsigned tasks, exclusive;
	uint64_t granted;
};

static void check_gpus(struct world *w, const bool *started_on)
{
	struct crowd crowds[GPUS_MAX] = {};
	struct ledger *ledger = sched_ledger(w->sched);

	for (const struct sched_task *t = sched_first_active(w->sched); t;
	     t = sched_next_active(t)) {
		const struct sched_attempt *a = sched_task_attempt(t);

		for (unsigned g = 0; g < a->n_gpus; g++) {
			struct crowd *c = &crowds[a->gpus[g].index];
			unsigned of_batch = 0;

			c->tasks++;
			c->granted += a->gpus[g].vram_bytes;
			c->exclusive += t->spec.request.exclusive;
			for (const struct sched_task *o = sched_first_active(w->sched);
			     t->batch && o; o = sched_next_active(o)) {
				const struct sched_attempt *b = sched_task_attempt(o);

				for (unsigned k = 0; o->batch == t->batch && k < b->n_gpus; k++)
					of_batch += b->gpus[k].uuid == a->gpus[g].uuid;
			}
			assert_true(t->spec.request.max_per_gpu == 0 ||
				    of_batch <= t->spec.request.max_per_gpu);
		}
	}
	for (size_t i = 0; i < ledger->n_gpus; i++) {
		const struct ledger_gpu *g = &ledger->gpus[i];

		assert_true(!g->vram_known || g->allocated_bytes == crowds[i].granted);
		assert_true(crowds[i].exclusive == 0 || crowds[i].tasks == 1);
		/* Only a start can overdraw; what others did to the GPU since is not ours. */
		if (started_on[i])
			assert_true(g->ours_bytes + g->foreign_bytes <= g->load_line_bytes);
	}
	ledger_destroy(ledger);
}

static void check_batches(struct world *w)
{
	for (const struct sched_batch *b = sched_first_batch(w->sched); b;
	     b = sched_next_batch(b)) {
		unsigned counts[SCHED_STATE_COUNT] = {}, active, waiting, threads = 0, n = 0;

		for (const struct sched_task *t = sched_batch_first(w->sched, b->id); t;
		     t = sched_batch_next(t)) {
			counts[t->state]++;
			threads = t->spec.request.threads;
			n++;
		}
		active = counts[SCHED_STARTING] + counts[SCHED_RUNNING];
		waiting = counts[SCHED_WAITING] + counts[SCHED_HELD];
		assert_memory_equal(counts, b->counts, sizeof counts);
		assert_int_equal(n, b->total);
		assert_true(threads == 0 || active <= threads);
		assert_int_equal(b->ended_at_ms > 0, active + waiting == 0);
		if (b->state == SCHED_BATCH_CANCELED)
			assert_int_equal(waiting, 0);
	}
}

static void check_tasks(struct world *w)
{
	unsigned counts[SCHED_STATE_COUNT] = {};
	uint64_t n = 0, here = 0;
	char reason[SCHED_REASON_MAX];

	for (const struct sched_task *t = sched_first(w->sched); t; t = sched_next(t)) {
		struct world_task *task = &w->tasks[t->id];

		counts[t->state]++;
		n++;
		assert_true(!task->final || task->state == t->state);
		task->state = t->state;
		task->final = sched_state_is_final(t->state);
		if (task->truth != ENDED) {
			assert_int_equal(t->state == SCHED_STARTING, task->truth == TO_START);
			assert_int_equal(t->state == SCHED_RUNNING, task->truth == PROCESS);
		}
		for (unsigned a = 0; a < t->n_attempts; a++)
			assert_int_equal(t->attempts[a].ended_at_ms == 0,
					 a + 1 == t->n_attempts && task->truth != QUIET);
		if (t->state == SCHED_WAITING && rnd(w, 20) == 0)
			assert_true(*sched_reason(w->sched, t, reason));
		if (t->state == SCHED_FAILED || t->state == SCHED_CANCELED)
			assert_true(t->reason && t->reason[0]);
	}
	for (uint64_t id = 1; id <= w->last_task; id++)
		here += w->tasks[id].truth != GONE && w->tasks[id].truth != ABSENT;
	assert_int_equal(n, here);
	assert_memory_equal(counts, sched_counts(w->sched), sizeof counts);
}

static void world_step(struct world *w, bool thorough)
{
	bool started_on[GPUS_MAX] = {};
	const struct sched_action *actions;
	size_t n;

	sched_step(w->sched, w->now_ms);
	note_judged(w);
	actions = sched_actions(w->sched, &n);
	for (size_t i = 0; i < n; i++) {
		const struct sched_attempt *a =
		    sched_task_attempt(sched_find(w->sched, actions[i].task));

		for (unsigned g = 0; actions[i].type == SCHED_START && g < a->n_gpus; g++)
			started_on[a->gpus[g].index] = true;
	}
	sched_changes_clear(w->sched);
	do_actions(w);
	check_gpus(w, started_on);
	if (thorough) {
		check_tasks(w);
		check_batches(w);
	}
}

/* Cancel all: whatever state it is in, it ends. */
static void world_end(struct world *w)
{
	const unsigned *counts;
	struct error err;

	for (const struct sched_task *t = sched_first(w->sched); t; t = sched_next(t)) {
		int r = sched_cancel(w->sched, t->id, w->now_ms, &err);

		assert_true(r == 0 || (r == -EALREADY && sched_state_is_final(t->state)));
	}
	for (int i = 0; i < 10000 && some_active(w); i++) {
		const struct sched_task *t = some_active(w);
		struct world_task *task = &w->tasks[t->id];

		w->now_ms += 1000;
		world_step(w, false);
		op_started(w);
		/* These only listen to SIGKILL. */
		if (task->truth == PROCESS && task->signaled == SIGKILL) {
			const struct sched_end end = {.task = t->id,
						      .attempt = t->n_attempts,
						      .outcome = SCHED_ERROR,
						      .exit_known = true,
						      .signal = SIGKILL};

			task->truth = QUIET;
			assert_int_equal(sched_ended(w->sched, &end, w->now_ms), 0);
			assert_int_equal(t->state, SCHED_CANCELED);
		}
	}
	world_step(w, true);
	counts = sched_counts(w->sched);
	assert_int_equal(counts[SCHED_WAITING] + counts[SCHED_HELD] + counts[SCHED_STARTING] +
			     counts[SCHED_RUNNING],
			 0);
	sched_forget(w->sched, 0);
	assert_null(sched_first(w->sched));
	assert_null(sched_first_batch(w->sched));
}

static void op_any(struct world *w)
{
	static void (*const ops[])(struct world * w) = {
	    op_submit, op_started, op_started, op_started, op_ended,
	    op_ended,  op_started, op_wish,    op_started, op_ended,
	};
	uint64_t open = sched_counts(w->sched)[SCHED_WAITING];
	uint64_t which = rnd(w, 100);

	if (which < 2 && open < 150)
		op_submit_batch(w);
	else if (which < 5)
		op_machine(w);
	else if (which < 6 && rnd(w, 10) == 0)
		op_restart(w);
	else if (which < 12 && open < 150)
		op_submit(w);
	else if (which < 20)
		world_sample(w);
	else
		ops[1 + rnd(w, ARRAY_LEN(ops) - 1)](w);
}

static void one_world(uint64_t seed, size_t steps, size_t *starts, size_t *restarts)
{
	struct world w = {.random = seed, .now_ms = 1800000000000, .sched = world_sched()};

	w.tasks = mem_calloc(TASKS_MAX, sizeof *w.tasks);
	(void)rnd(&w, 2);
	world_gpus(&w);
	world_sample(&w);
	for (size_t i = 0; i < steps; i++) {
		w.now_ms += (int64_t)rnd(&w, 500);
		if (rnd(&w, 500) == 0)
			w.now_ms -= 3600000; /* somebody set the clock */
		op_any(&w);
		world_step(&w, i % 8 == 0);
		if (i % 256 == 0)
			sched_forget(w.sched, 1000000);
	}
	world_end(&w);
	*starts += w.starts;
	*restarts += w.restarts;
	sched_destroy(w.sched);
	gpu_list_destroy(w.list);
	free(w.tasks);
}

static void test_random_operations(void **state)
{
	const char *given = getenv("PLIMSOLL_SEED"), *length = getenv("PLIMSOLL_STEPS");
	uint64_t seed = given ? strtoull(given, NULL, 10) : (uint64_t)time(NULL);
	size_t steps = length ? strtoull(length, NULL, 10) : 24000, starts = 0, restarts = 0;
	const size_t worlds = 12;

	(void)state;
	printf("# seed %llu, %zu worlds, %zu steps together\n", (unsigned long long)seed, worlds,
	       steps);
	(void)fflush(stdout);
	for (size_t i = 0; i < worlds; i++)
		one_world(seed * 1000 + i, steps / worlds, &starts, &restarts);
	printf("# %zu starts, %zu restarts of the daemon\n", starts, restarts);
	assert_true(starts > steps / 50);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_random_operations),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
