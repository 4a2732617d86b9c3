/*
 * Random operations on random machines: whatever comes in, in whatever order, the queue keeps its
 * promises. The seed is printed; PLIMSOLL_SEED=N repeats a run, PLIMSOLL_STEPS=N sets its length.
 *
 * The world here holds the truth (which attempts have a process, who uses what, how everything
 * ended); the queue only hears reports of it. A crash throws away what was not committed, and
 * the queue starts from what the store has (sched_stored.h). After every step:
 *	- what was granted on a GPU that just got a start is within its load line, foreign included
 *	- no task is lost, none has two attempts at once, an end is only undone by a retry
 *	- threads, max_per_gpu, pins, exclusiveness, rules and the limits of users hold
 *	- what starts has what it was to run after, its time has come, nothing is paused
 *	- of what is alike, what has the higher (aged) priority, then what came first, starts first
 *	- limits of time come when they are due, however the clock is set, neither before nor after
 *	- the counts are what a recount gives
 *	- every waiting task has the reason that a model of its own finds; nothing waits without one
 *	- who did not run out of memory waits for no more than he said, unless one of the kind was
 *seen to want that: never because of a guess At the end everything is canceled and must come to an
 *end.
 */
#include "gpu_name.h"
#include "sched_world.h"
#include "unit.h"

#include <errno.h>
#include <signal.h>
#include <string.h>
#include <time.h>

static uint64_t rnd(struct world *w, uint64_t n)
{
	w->random = w->random * 6364136223846793005ull + 1442695040888963407ull;
	return (w->random >> 33) % n;
}

/* Of one clock only, it is not to be told that it was set forward. */
static void op_set_clock(struct world *w)
{
	int64_t by = 1 + (int64_t)rnd(w, 3 * 3600000);

	set_clock(w, !w->tells_both || rnd(w, 2) ? -by : by);
}

/* A queue as the daemon makes it: its settings are its own, not the store's. */
static struct sched *world_sched(struct world *w)
{
	struct sched *sched = sched_create(&(struct sched_options){.stop_grace_ms = 5000});

	sched_configure(sched, &w->config, w->now_ms);
	return sched;
}

static void world_rules(struct world *w)
{
	struct ledger_rule rules[GPUS_MAX] = {};
	size_t n = 0;

	for (size_t i = 0; i < GPUS_MAX; i++) {
		if (!w->closed[i])
			continue;
		(void)snprintf(rules[n].uuid, sizeof rules[n].uuid, "GPU-%zu", i);
		rules[n++].closed = true;
	}
	sched_set_rules(w->sched, rules, n, w->now_ms);
	sched_set_pause(w->sched, w->paused ? "paused" : NULL, w->now_ms);
}

static void world_config(struct world *w)
{
	static const int64_t ageings[] = {0, -1, 60000}, half_lives[] = {0, -1, 600000};
	static const int64_t reserves[] = {0, -1, -1, 20000};

	w->config = (struct sched_config){
	    .ageing_ms = ageings[rnd(w, 3)],
	    .fair_half_life_ms = half_lives[rnd(w, 3)],
	    .reserve_after_ms = reserves[rnd(w, 4)],
	    .stagger_ms = rnd(w, 4) ? 0 : (unsigned)rnd(w, 2000),
	    .prove = rnd(w, 3) > 0,
	    .users = w->users,
	    .n_users = USERS,
	};
	for (unsigned i = 0; i < USERS; i++) {
		w->users[i].uid = 1000 + i;
		w->users[i].limits = (struct sched_user_limits){
		    .max_running = rnd(w, 3) ? 0 : 1 + (unsigned)rnd(w, 6),
		    .max_queued = rnd(w, 3) ? 0 : 20 + (unsigned)rnd(w, 40),
		    .max_gpus = rnd(w, 3) ? 0 : 1 + (unsigned)rnd(w, 4),
		    .max_vram_bytes = rnd(w, 3) ? 0 : (4 + rnd(w, 20)) * GIB,
		    .weight = (double)rnd(w, 3),
		};
	}
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

static void random_after(struct world *w, struct sched_after *after, struct sched_after_item *items)
{
	*after = (struct sched_after){
	    .items = items, .on = (enum sched_after_on)rnd(w, 3), .any = rnd(w, 3) == 0};
	for (uint64_t n = 1 + rnd(w, 3); n > 0; n--) {
		bool batch = w->last_batch > 0 && rnd(w, 4) == 0;
		uint64_t last = batch ? w->last_batch : w->last_task;
		/* Mostly of late, sometimes what is not there. */
		uint64_t back = rnd(w, MIN_OF(last, 30) + 1);

		items[after->n++] = (struct sched_after_item){
		    .id = rnd(w, 30) ? last - back : last + 1000, .is_batch = batch};
	}
}

/* What it is to run after stays valid until the next one. */
static struct sched_spec random_spec(struct world *w)
{
	static const char *const argv[] = {"true", "{device}", NULL};
	static const struct sched_rung ladders[][3] = {
	    {{SCHED_RUNG_RETRY, 3}, {SCHED_RUNG_CPU, 1}, {SCHED_RUNG_FAIL, 1}},
	    {{SCHED_RUNG_ALONE, 1}, {SCHED_RUNG_SMALLER_BATCH, 4}, {SCHED_RUNG_FAIL, 1}},
	    {{SCHED_RUNG_BIGGER_GPU, 2}, {SCHED_RUNG_RETRY, 1}, {SCHED_RUNG_FAIL, 1}},
	};
	static struct sched_after after;
	static struct sched_after_item items[4];
	struct sched_spec spec = {
	    .name = "t",
	    .argv = argv,
	    .cwd = "/",
	    .kind = world_kinds[rnd(w, KINDS)],
	    .uid = 1000 + (uid_t)rnd(w, USERS),
	    .priority = rnd(w, 4) ? 0 : (int)rnd(w, 5) - 2,
	    .policy = (enum place_policy)rnd(w, PLACE_POLICY_COUNT),
	    .retries = (unsigned)rnd(w, 3),
	    .retry_delay_ms = rnd(w, 2) ? 0 : (int64_t)rnd(w, 5000),
	    .held = rnd(w, 20) == 0,
	    .not_before_ms = rnd(w, 15) ? 0 : w->now_ms + (int64_t)rnd(w, 20000) - 5000,
	    .soft_limit_ms = rnd(w, 8) ? 0 : 1 + (int64_t)rnd(w, 5000),
	    .hard_limit_ms = rnd(w, 8) ? 0 : 1 + (int64_t)rnd(w, 8000),
	    .soft_signal = rnd(w, 2) ? 0 : SIGUSR1,
	    .request = {.gpus = 1, .vram_bytes = rnd(w, 24) * GIB / 2},
	};

	if (w->last_task > 0 && rnd(w, 4) == 0) {
		random_after(w, &after, items);
		spec.after = &after;
	}
	if (rnd(w, 6) == 0) {
		spec.request.cpu = PLACE_CPU_ONLY;
		spec.request.gpus = 0;
		spec.request.vram_bytes = 0;
		return spec;
	}
	if (rnd(w, 6) == 0)
		spec.request.cpu = rnd(w, 2) ? PLACE_CPU_FALLBACK : PLACE_CPU_WHEN_IDLE;
	if (rnd(w, 3) == 0) {
		spec.on_oom = ladders[rnd(w, ARRAY_LEN(ladders))];
		spec.n_on_oom = ARRAY_LEN(ladders[0]);
	}
	spec.batch_size = rnd(w, 3) ? 0 : (unsigned)rnd(w, 100);
	spec.vram_default_bytes = rnd(w, 4) ? 0 : rnd(w, 12) * GIB / 2;
	spec.request.exclusive = rnd(w, 12) == 0;
	spec.request.gpus = rnd(w, 10) ? 1 : 2;
	spec.request.start_lock = rnd(w, 20) == 0;
	spec.request.stagger_ms = rnd(w, 20) ? 0 : (unsigned)rnd(w, 3000);
	if (rnd(w, 10) == 0)
		spec.request.pin_uuid = gpu_name((unsigned)rnd(w, GPUS_MAX));
	return spec;
}

static void note_task(struct world *w, uint64_t id)
{
	assert_true(id < TASKS_MAX);
	assert_int_equal(w->tasks[id].truth, ABSENT);
	w->tasks[id] = (struct world_task){.truth = QUIET};
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
	struct sched_spec specs[24], like = random_spec(w);
	size_t n = rnd(w, ARRAY_LEN(specs) + 1);
	unsigned threads = (unsigned)rnd(w, 5), max_per_gpu = (unsigned)rnd(w, 4);
	struct sched_batch_spec batch = {.name = "b",
					 .uid = like.uid,
					 .on_failure = (enum sched_on_failure)rnd(w, 3),
					 .tasks = specs,
					 .n_tasks = n};
	uint64_t id, first;
	struct error err;

	for (size_t i = 0; i < n; i++) {
		const struct sched_after *after = like.after;

		specs[i] = rnd(w, 3) ? like : random_spec(w);
		specs[i].after = after; /* there is one at a time */
		specs[i].uid = like.uid;
		specs[i].row = (unsigned)i + 1;
		specs[i].request.threads = threads;
		specs[i].request.max_per_gpu = max_per_gpu;
	}
	if (sched_submit_batch(w->sched, &batch, w->now_ms, &id, &first, &err) < 0)
		return;
	w->last_batch = id;
	w->batches[id] = (struct fate){};
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
		static const enum sched_fault faults[] = {SCHED_FAULT_TASK, SCHED_FAULT_PASSING,
							  SCHED_FAULT_MACHINE};
		enum sched_fault fault = faults[rnd(w, ARRAY_LEN(faults))];

		w->tasks[t->id].truth = QUIET;
		w->start_failures += fault == SCHED_FAULT_MACHINE && !t->stopping;
		assert_int_equal(sched_start_failed(w->sched, t->id, t->n_attempts,
						    "no more processes", fault, w->now_ms),
				 0);
		return;
	}
	w->start_failures = 0;
	w->tasks[t->id].truth = PROCESS;
	w->tasks[t->id].started_ms = w->now_ms;
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
	end.oom_requested_bytes = rnd(w, 2) ? 0 : rnd(w, 20) * GIB / 2;
	w->tasks[t->id].truth = ENDED;
	w->tasks[t->id].signaled = 0;
	w->tasks[t->id].ended_ms = w->now_ms;
	w->ends++;
	assert_int_equal(sched_ended(w->sched, &end, w->now_ms), 0);
	note_wanted(w);
	assert_int_equal(sched_ended(w->sched, &end, w->now_ms), -ESTALE);
	note_judged(w);
}

/* Ends that a retry undid. */
static void note_retried(struct world *w)
{
	for (const struct sched_task *t = sched_first(w->sched); t; t = sched_next(t)) {
		struct world_task *task = &w->tasks[t->id];

		if (!task->final || t->state != SCHED_WAITING)
			continue;
		task->final = false;
		task->retried = true;
	}
}

static void op_wish(struct world *w)
{
	uint64_t id = 1 + rnd(w, w->last_task + 1);
	uint64_t batch = 1 + rnd(w, w->last_batch + 1);
	struct error err = {};
	unsigned n = 1;
	int r = 0;

	switch (rnd(w, 16)) {
	case 0:
		r = sched_cancel(w->sched, id, w->now_ms, &err);
		break;
	case 1:
	case 2:
		r = sched_hold(w->sched, id, w->now_ms, &err);
		break;
	case 3:
	case 4:
	case 5:
		r = sched_release(w->sched, id, w->now_ms, &err);
		break;
	case 6:
		if (rnd(w, 4) == 0)
			r = sched_batch_cancel(w->sched, batch, w->now_ms, &err);
		break;
	case 7:
		r = sched_retry(w->sched, id, w->now_ms, &err);
		break;
	case 8:
		if (rnd(w, 4) == 0)
			r = sched_batch_retry(w->sched, batch, w->now_ms, &n, &err);
		break;
	case 9:
		if (rnd(w, 4) == 0)
			r = sched_batch_hold(w->sched, batch, w->now_ms, &n, &err);
		break;
	case 10:
		r = sched_batch_release(w->sched, batch, w->now_ms, &n, &err);
		break;
	case 11:
		r = sched_set_priority(w->sched, id, (int)rnd(w, 7) - 3, w->now_ms, &err);
		break;
	default:
		r = sched_batch_continue(w->sched, batch, rnd(w, 2), w->now_ms, &err);
	}
	if (r < 0)
		assert_true(err.text[0] && (r == -ESRCH || r == -EALREADY));
	else
		assert_true(n > 0);
	note_retried(w);
}

static void op_rules(struct world *w)
{
	if (rnd(w, 2))
		w->paused = !w->paused && rnd(w, 4) == 0;
	else
		w->closed[rnd(w, GPUS_MAX)] = rnd(w, 4) == 0;
	world_rules(w);
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

/* What happens, and is never stored: who reported it will report it again. */
static void lost_turn(struct world *w)
{
	size_t size = (w->last_task + 1) * sizeof *w->tasks;
	auto_free struct world_task *tasks = mem_alloc(size);
	uint64_t last_task = w->last_task, last_batch = w->last_batch;
	unsigned start_failures = w->start_failures;

	memcpy(tasks, w->tasks, size);
	op_submit(w);
	op_started(w);
	op_ended(w);
	op_submit_batch(w);
	(void)sched_step(w->sched, w->now_ms);
	memset(w->tasks, 0, (w->last_task + 1) * sizeof *w->tasks);
	memcpy(w->tasks, tasks, size);
	w->last_task = last_task;
	w->last_batch = last_batch;
	w->start_failures = start_failures;
}

/* No more in memory: it must have ended, and is in the store. */
static void note_gone(struct world *w, uint64_t id)
{
	assert_int_equal(w->tasks[id].truth, QUIET);
	assert_true(sched_state_is_final(w->stored.tasks[id]->state));
	w->tasks[id].truth = GONE;
}

static bool load_ended(void *world)
{
	return rnd(world, 3) > 0;
}

/* The daemon dies and comes back: everything through the store's eyes. Of what has ended, and is of
 * no batch, it need not load all. */
static void op_restart(struct world *w)
{
	if (sched_changes(w->sched).n_tasks == 0 && rnd(w, 2))
		lost_turn(w);
	sched_destroy(w->sched);
	if (w->tells_both && rnd(w, 3) == 0)
		op_set_clock(w);
	w->sched = world_sched(w);
	stored_restore(&w->stored, w->sched, rnd(w, 2), load_ended, w);
	sched_restore_ids(w->sched, w->last_task, w->last_batch);
	if (w->tells_both)
		sched_restore_clock(w->sched, w->stored_offset);
	world_clock(w);
	world_rules(w);
	w->restarts++;
	w->start_failures = 0;
	/* A signal may be sent again, and an end that was not on record is told again. */
	for (uint64_t id = 1; id <= w->last_task; id++) {
		struct world_task *task = &w->tasks[id];
		const struct sched_task *t = sched_find(w->sched, id);

		task->signaled = 0;
		task->killed = false;
		if (task->truth == ENDED)
			task->truth = t->state == SCHED_RUNNING ? PROCESS : TO_START;
		else if (task->truth == GONE && t)
			task->truth = QUIET;
		else if (task->truth == QUIET && !t)
			note_gone(w, id);
		/* When its process began was known to the one before only. */
		if (task->truth == PROCESS)
			task->started_ms = sched_task_attempt(t)->started_at_ms;
	}
	world_sample(w);
}

static int64_t rank_of(const struct world *w, const struct sched_task *t)
{
	int64_t ageing = w->config.ageing_ms ? w->config.ageing_ms : 3600000;

	return t->queued_at_ms - t->spec.priority * (ageing < 0 ? (int64_t)1 << 40 : ageing);
}

/* Nobody who is alike and comes first was passed by. */
static void check_order(struct world *w, const struct sched_task *started)
{
	int64_t rank = rank_of(w, started);

	for (const struct sched_task *t = sched_first(w->sched); t; t = sched_next(t)) {
		int64_t other;

		if (t->state != SCHED_WAITING || t->n_after > 0 || t->not_before_ms > 0 ||
		    !alike(w, t, started))
			continue;
		other = rank_of(w, t);
		assert_true(other > rank || (other == rank && t->id > started->id));
	}
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
	if (a->n_gpus == 0)
		assert_int_not_equal(t->spec.request.cpu, PLACE_CPU_NEVER);
	else
		assert_int_equal(a->n_gpus, t->spec.request.gpus);
	if (t->ladder)
		check_ladder(t);
	assert_true(a->reason && a->reason[0]);
	for (unsigned g = 0; g < a->n_gpus; g++) {
		const struct gpu *gpu = &w->list->gpus[a->gpus[g].index];

		assert_string_equal(gpu->uuid, a->gpus[g].uuid);
		assert_int_equal(gpu->health, GPU_HEALTH_OK);
		assert_int_equal(w->list->state, GPU_SOURCE_OK);
		assert_false(place_is_pinned_elsewhere(&t->spec.request, gpu->uuid));
		assert_false(w->closed[a->gpus[g].index]);
	}
	assert_false(w->paused);
	if (!after_was_met(w, t))
		fail_msg("task %llu starts before what it is to run after (%zu, on %d, any %d; %s "
			 "%llu)",
			 (unsigned long long)t->id, t->spec.after->n, (int)t->spec.after->on,
			 t->spec.after->any, t->spec.after->items[0].is_batch ? "batch" : "task",
			 (unsigned long long)t->spec.after->items[0].id);
	assert_true(t->spec.not_before_ms <= w->latest_ms || task->retried);
	check_order(w, t);
	task->soft_sent = task->killed = false;
	task->truth = TO_START;
	task->attempt = action->attempt;
	w->starts++;
}

/* After a cancel SIGTERM, then SIGKILL; at the soft limit its signal, once; at the hard one
 * SIGKILL. */
static void check_signal(struct world *w, const struct sched_action *action)
{
	struct world_task *task = &w->tasks[action->task];
	const struct sched_task *t = sched_find(w->sched, action->task);
	int64_t ran = w->now_ms - task->started_ms;

	assert_int_equal(task->truth, PROCESS);
	assert_int_equal(action->attempt, task->attempt);
	if (t->stopping) {
		assert_true(action->signal == SIGKILL ||
			    (action->signal == SIGTERM && task->signaled == 0));
		task->signaled = action->signal;
	} else if (t->spec.hard_limit_ms > 0 && action->signal == SIGKILL) {
		assert_true(ran >= t->spec.hard_limit_ms);
		task->killed = true;
	} else {
		assert_true(t->spec.soft_limit_ms > 0 && ran >= t->spec.soft_limit_ms);
		assert_int_equal(action->signal,
				 t->spec.soft_signal ? t->spec.soft_signal : SIGTERM);
		assert_false(task->soft_sent);
		task->soft_sent = true;
	}
}

static void do_actions(struct world *w)
{
	size_t n;
	const struct sched_action *actions = sched_actions(w->sched, &n);

	for (size_t i = 0; i < n; i++) {
		if (actions[i].type == SCHED_START) {
			check_start(w, &actions[i]);
			continue;
		}
		check_signal(w, &actions[i]);
	}
	sched_actions_clear(w->sched);
}

static void check_tasks(struct world *w)
{
	unsigned counts[SCHED_STATE_COUNT] = {};
	uint64_t n = 0, here = 0;

	for (const struct sched_task *t = sched_first(w->sched); t; t = sched_next(t)) {
		struct world_task *task = &w->tasks[t->id];

		counts[t->state]++;
		n++;
		assert_int_equal(task->state, t->state); /* each change was told */
		if (task->truth != ENDED) {
			assert_int_equal(t->state == SCHED_STARTING, task->truth == TO_START);
			assert_int_equal(t->state == SCHED_RUNNING, task->truth == PROCESS);
		}
		/* Neither is a limit forgotten. */
		if (w->tells_both && task->truth == PROCESS && !t->stopping &&
		    t->spec.hard_limit_ms > 0)
			assert_true(task->killed ||
				    w->now_ms - task->started_ms < t->spec.hard_limit_ms);
		for (unsigned a = 0; a < t->n_attempts; a++)
			assert_int_equal(t->attempts[a].ended_at_ms == 0,
					 a + 1 == t->n_attempts && task->truth != QUIET);
		if (t->state == SCHED_FAILED || t->state == SCHED_CANCELED)
			assert_true(t->reason && t->reason[0]);
		assert_true(t->n_after == 0 || !sched_state_is_final(t->state));
	}
	for (uint64_t id = 1; id <= w->last_task; id++)
		here += w->tasks[id].truth != GONE && w->tasks[id].truth != ABSENT;
	assert_int_equal(n, here);
	assert_memory_equal(counts, sched_counts(w->sched), sizeof counts);
}

/* How things ended, as it is told. */
static void note_fates(struct world *w)
{
	struct sched_changes changes = sched_changes(w->sched);

	for (size_t i = 0; i < changes.n_tasks; i++) {
		const struct sched_task *t = changes.tasks[i];
		struct world_task *task = &w->tasks[t->id];

		assert_true(!task->final || task->state == t->state);
		task->state = t->state;
		task->final = sched_state_is_final(t->state);
		task->fate.well |= t->state == SCHED_DONE;
		task->fate.badly |= task->final && t->state != SCHED_DONE;
	}
	for (size_t i = 0; i < changes.n_batches; i++) {
		const struct sched_batch *b = changes.batches[i];
		bool well = b->counts[SCHED_DONE] == b->total;

		w->batches[b->id].well |= b->ended_at_ms > 0 && well;
		w->batches[b->id].badly |= b->ended_at_ms > 0 && !well;
	}
}

static void world_step(struct world *w, bool thorough)
{
	bool started_on[GPUS_MAX] = {};
	const struct sched_action *actions;
	size_t n;

	w->latest_ms = MAX_OF(w->latest_ms, w->now_ms);
	sched_step(w->sched, w->now_ms);
	note_judged(w);
	actions = sched_actions(w->sched, &n);
	for (size_t i = 0; i < n; i++) {
		const struct sched_attempt *a =
		    sched_task_attempt(sched_find(w->sched, actions[i].task));

		for (unsigned g = 0; actions[i].type == SCHED_START && g < a->n_gpus; g++)
			started_on[a->gpus[g].index] = true;
	}
	note_fates(w);
	stored_commit(&w->stored, w->sched);
	w->stored_offset = sched_clock_offset(w->sched);
	do_actions(w);
	check_gpus(w, started_on);
	if (thorough) {
		check_tasks(w);
		check_batches(w);
		check_users(w);
		note_wanted(w);
		check_reasons(w);
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

		time_passes(w, 1000);
		world_step(w, false);
		t = some_active(w);
		if (!t)
			break;
		task = &w->tasks[t->id];
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

static void op_fetch(struct world *w);

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
	else if (which < 3 && rnd(w, 4) == 0)
		op_rules(w);
	else if (which < 3 && rnd(w, 8) == 0)
		op_fetch(w);
	else if (which < 5)
		op_machine(w);
	else if (which < 6 && rnd(w, 4) == 0)
		op_restart(w);
	else if (which < 12 && open < 150)
		op_submit(w);
	else if (which < 20)
		world_sample(w);
	else
		ops[1 + rnd(w, ARRAY_LEN(ops) - 1)](w);
}

static void forget_some(struct world *w)
{
	sched_forget(w->sched, 100);
	for (uint64_t id = 1; id <= w->last_task; id++) {
		if (w->tasks[id].truth == QUIET && !sched_find(w->sched, id))
			note_gone(w, id);
	}
}

/* Of what is forgotten, once more: it is fetched from the store before. */
static void op_fetch(struct world *w)
{
	uint64_t id = 1 + rnd(w, w->last_task + 1);
	const struct sched_task *t;
	struct error err;

	if (id > w->last_task || w->tasks[id].truth != GONE)
		return;
	t = w->stored.tasks[id];
	if (t->batch && !sched_find_batch(w->sched, t->batch))
		assert_int_equal(sched_restore_batch(w->sched, w->stored.batches[t->batch], &err),
				 0);
	for (uint64_t other = 1; other <= w->last_task; other++) {
		/* With all of its batch. */
		if (w->tasks[other].truth != GONE ||
		    (other != id && (!t->batch || w->stored.tasks[other]->batch != t->batch)))
			continue;
		assert_int_equal(sched_restore_task(w->sched, w->stored.tasks[other], &err), 0);
		w->tasks[other].truth = QUIET;
	}
	assert_int_equal(sched_retry(w->sched, id, w->now_ms, &err),
			 t->state == SCHED_DONE ? -EALREADY : 0);
	note_retried(w);
}

struct tally {
	size_t starts, restarts, reasons, kept, raised;
};

static void one_world(uint64_t seed, size_t steps, struct tally *tally)
{
	struct world w = {.random = seed,
			  .now_ms = 1800000000000,
			  .monotonic_ms = 1000,
			  .tells_both = seed % 3 > 0};

	w.tasks = mem_calloc(TASKS_MAX, sizeof *w.tasks);
	w.batches = mem_calloc(TASKS_MAX, sizeof *w.batches);
	(void)rnd(&w, 2);
	world_config(&w);
	w.sched = world_sched(&w);
	world_gpus(&w);
	world_sample(&w);
	for (size_t i = 0; i < steps; i++) {
		if (rnd(&w, 500) == 0)
			op_set_clock(&w);
		time_passes(&w, (int64_t)rnd(&w, 500));
		op_any(&w);
		world_step(&w, i % 8 == 0);
		if (i % 256 == 0)
			forget_some(&w);
	}
	w.paused = false;
	world_rules(&w);
	world_end(&w);
	tally->starts += w.starts;
	tally->restarts += w.restarts;
	tally->reasons += w.reasons;
	tally->kept += w.kept;
	tally->raised += w.raised;
	sched_destroy(w.sched);
	stored_finish(&w.stored);
	gpu_list_destroy(w.list);
	free(w.tasks);
	free(w.batches);
}

static void test_random_operations(void **state)
{
	const char *given = getenv("PLIMSOLL_SEED"), *length = getenv("PLIMSOLL_STEPS");
	uint64_t seed = given ? strtoull(given, NULL, 10) : (uint64_t)time(NULL);
	size_t steps = length ? strtoull(length, NULL, 10) : ROUNDS(100000);
	struct tally tally = {};
	const size_t worlds = ROUNDS(25);

	(void)state;
	printf("# seed %llu, %zu worlds, %zu steps together\n", (unsigned long long)seed, worlds,
	       steps);
	(void)fflush(stdout);
	for (size_t i = 0; i < worlds; i++)
		one_world(seed * 1000 + i, steps / worlds, &tally);
	printf("# %zu starts, %zu restarts of the daemon, %zu reasons checked, %zu of them not the "
	       "placer's; %zu asks above what was said\n",
	       tally.starts, tally.restarts, tally.reasons, tally.kept, tally.raised);
	assert_true(tally.starts > steps / 50);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_random_operations),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
