/* The queue's behaviour, one promise a test. */
#include "sched_box.h"

#include <errno.h>
#include <malloc.h>
#include <math.h>
#include <signal.h>
#include <string.h>
#include <time.h>

static void test_big_waits_small_passes(void **state)
{
	struct box *b = *state;
	uint64_t first = submit(b, spec_of(10)), big = submit(b, spec_of(9)),
		 small = submit(b, spec_of(2));

	assert_int_equal(step(b), 2);
	assert_int_equal(state_of(b, first), SCHED_STARTING);
	assert_int_equal(state_of(b, big), SCHED_WAITING);
	assert_int_equal(state_of(b, small), SCHED_STARTING);
	assert_non_null(strstr(reason_of(b, big), "9 GiB"));
	started(b, first);
	ended(b, first, SCHED_OK);
	assert_int_equal(step(b), 1);
	assert_int_equal(state_of(b, big), SCHED_STARTING);
	assert_string_equal(sched_task_attempt(sched_find(b->sched, big))->gpus[0].uuid, "GPU-0");
	assert_int_equal(sched_task_attempt(sched_find(b->sched, big))->gpus[0].vram_bytes,
			 9 * GIB);
}

static void test_priority_first(void **state)
{
	struct box *b = *state;
	struct sched_spec urgent = spec_of(10);
	uint64_t low = submit(b, spec_of(10)), high;

	urgent.priority = 5;
	high = submit(b, urgent);
	assert_int_equal(step(b), 1);
	assert_int_equal(state_of(b, low), SCHED_WAITING);
	assert_int_equal(state_of(b, high), SCHED_STARTING);
}

/* Neither a queue full of what cannot start, nor a hanging NVML, keeps work off the CPU. */
static void test_cpu_never_waits_for_gpus(void **state)
{
	struct box *b = *state;
	uint64_t cpu, first;

	b->list->state = GPU_SOURCE_STALE;
	box_sample(b);
	first = submit(b, spec_of(1));
	for (int i = 0; i < 3 * PLACE_WINDOW; i++)
		(void)submit(b, spec_of(1));
	cpu = submit(b, cpu_spec());
	assert_int_equal(step(b), 1);
	assert_int_equal(state_of(b, cpu), SCHED_STARTING);
	assert_string_equal(sched_attempt_device(sched_task_attempt(sched_find(b->sched, cpu))),
			    "cpu");
	assert_int_equal(state_of(b, first), SCHED_WAITING);
	assert_true(strlen(reason_of(b, first)) > 10);
	assert_string_equal(reason_of(b, first + 3 * PLACE_WINDOW - 1), "behind 1535 others");
}

static void test_window_takes_from_each_batch(void **state)
{
	struct box *b = *state;
	struct sched_spec two = spec_of(1);
	uint64_t first, behind;

	two.request.threads = 2;
	(void)submit_batch(b, two, 3 * PLACE_WINDOW, SCHED_CONTINUE, &first);
	behind = submit(b, spec_of(1));
	assert_int_equal(step(b), 3);
	assert_int_equal(state_of(b, behind), SCHED_STARTING);
	assert_int_equal(state_of(b, first + 1), SCHED_STARTING);
	assert_int_equal(state_of(b, first + 2), SCHED_WAITING);
	assert_non_null(strstr(reason_of(b, first + 2), "limit 2"));
}

/* Of no kind that something could be learned of. */
static struct sched_spec unknown_of(double vram_gib)
{
	struct sched_spec spec = spec_of(vram_gib);

	spec.kind = "";
	return spec;
}

static void test_failure_stops(void **state)
{
	struct box *b = *state;
	uint64_t first, batch = submit_batch(b, unknown_of(5), 5, SCHED_STOP, &first);

	assert_int_equal(step(b), 3);
	started(b, first);
	started(b, first + 1);
	ended(b, first, SCHED_ERROR);
	assert_int_equal(state_of(b, first + 3), SCHED_CANCELED);
	assert_non_null(strstr(reason_of(b, first + 3), "row 1"));
	assert_int_equal(state_of(b, first + 1), SCHED_RUNNING);
	assert_int_equal(step(b), 0);
	assert_int_equal(sched_find_batch(b->sched, batch)->ended_at_ms, 0);
	ended(b, first + 1, SCHED_OK);
	ended(b, first + 2, SCHED_OK);
	assert_in_range(sched_find_batch(b->sched, batch)->ended_at_ms, b->now - 1, b->now);
	assert_int_equal(sched_find_batch(b->sched, batch)->state, SCHED_BATCH_CANCELED);
}

static void test_failure_asks(void **state)
{
	struct box *b = *state;
	uint64_t first, batch = submit_batch(b, spec_of(7), 5, SCHED_ASK, &first);
	struct error err;

	assert_int_equal(step(b), 2);
	ended(b, first, SCHED_ERROR);
	assert_int_equal(step(b), 0);
	assert_int_equal(sched_find_batch(b->sched, batch)->state, SCHED_BATCH_ASKING);
	assert_non_null(strstr(reason_of(b, first + 2), "waits for an answer"));
	assert_int_equal(sched_batch_continue(b->sched, batch, false, b->now, &err), 0);
	assert_int_equal(step(b), 1);
	ended(b, first + 1, SCHED_TIMEOUT); /* asks again */
	assert_int_equal(step(b), 0);
	assert_int_equal(sched_batch_continue(b->sched, batch, true, b->now, &err), 0);
	assert_int_equal(sched_batch_continue(b->sched, batch, true, b->now, &err), -EALREADY);
	assert_int_equal(step(b), 1);
	ended(b, first + 2, SCHED_ERROR); /* no more */
	assert_int_equal(step(b), 1);
	assert_int_equal(sched_find_batch(b->sched, batch)->state, SCHED_BATCH_RUNNING);
}

static void test_retries(void **state)
{
	struct box *b = *state;
	struct sched_spec spec = spec_of(1);
	uint64_t id;

	spec.retries = 1;
	id = submit(b, spec);
	(void)step(b);
	ended(b, id, SCHED_OUTCOME_LOST);
	assert_int_equal(state_of(b, id), SCHED_WAITING);
	assert_non_null(strstr(reason_of(b, id), "tried again in 999 ms, retry 1 of 1"));
	b->now += SCHED_RETRY_DELAY_MS;
	assert_int_equal(step(b), 1);
	ended(b, id, SCHED_OUTCOME_LOST);
	assert_int_equal(state_of(b, id), SCHED_LOST);
	assert_int_equal(sched_find(b->sched, id)->n_attempts, 2);
	assert_false(sched_find(b->sched, id)->attempts[0].exit_known);
	assert_string_equal(reason_of(b, id), "it ended, but nobody saw how");
}

static void test_retries_at_once(void **state)
{
	struct box *b = *state;
	struct sched_spec spec = cpu_spec();
	uint64_t id;

	spec.retries = 3;
	spec.retry_delay_ms = SCHED_RETRY_AT_ONCE;
	id = submit(b, spec);
	for (unsigned i = 0; i < 4; i++) {
		assert_int_equal(step(b), 1);
		ended(b, id, SCHED_ERROR);
	}
	assert_int_equal(state_of(b, id), SCHED_FAILED);
}

/* Nothing decides while the queue is paused or nobody can start anything: a pause that is over is
 * no reason all the same. */
static void test_a_pause_that_is_over_is_no_reason(void **state)
{
	struct box *b = *state;
	struct sched_spec spec = cpu_spec();
	uint64_t id;

	spec.not_before_ms = b->now + 60000;
	id = submit(b, spec);
	(void)step(b);
	sched_set_pause(b->sched, "paused by a test", b->now);
	assert_string_equal(reason_of(b, id),
			    "its time has not come: it starts in 1 min 00 s at the earliest");
	b->now += 60000;
	sched_time(b->sched, b->now);
	assert_string_equal(reason_of(b, id), "nothing new starts: paused by a test");
	sched_set_pause(b->sched, NULL, b->now);
	assert_int_equal(step(b), 1);
}

static void test_lost_gpu_moves_its_tasks(void **state)
{
	struct box *b = *state;
	uint64_t id = submit(b, spec_of(3));

	(void)step(b);
	started(b, id);
	b->list->gpus[0].health = GPU_HEALTH_LOST;
	box_sample(b);
	assert_int_equal(step(b), 0);
	assert_int_equal(state_of(b, id), SCHED_RUNNING); /* its process decides */
	assert_non_null(strstr(reason_of(b, id), "lost"));
	ended(b, id, SCHED_ERROR);
	assert_int_equal(state_of(b, id), SCHED_WAITING);
	assert_int_equal(sched_find(b->sched, id)->attempts[0].outcome, SCHED_GPU_LOST);
	assert_int_equal(step(b), 1);
	assert_string_equal(sched_task_attempt(sched_find(b->sched, id))->gpus[0].uuid, "GPU-1");
	b->list->gpus[0].health = GPU_HEALTH_OK;
	box_sample(b);
	/* Bounded: the fourth loss is a failure. */
	for (int i = 0; i < 2; i++) {
		ended(b, id, SCHED_GPU_LOST);
		assert_int_equal(step(b), 1);
	}
	ended(b, id, SCHED_GPU_LOST);
	assert_int_equal(state_of(b, id), SCHED_FAILED);
	assert_int_equal(sched_find(b->sched, id)->requeues, SCHED_REQUEUES_MAX);
}

static struct sched_end error_of(struct box *b, uint64_t id)
{
	return (struct sched_end){.task = id,
				  .attempt = sched_find(b->sched, id)->n_attempts,
				  .outcome = SCHED_ERROR,
				  .exit_known = true,
				  .exit_code = 1,
				  .ended_at_ms = b->now};
}

static uint64_t foreign_on_first(struct box *b)
{
	struct ledger *ledger = sched_ledger(b->sched);
	uint64_t bytes = ledger->gpus[0].foreign_bytes;

	ledger_destroy(ledger);
	return bytes;
}

static uint64_t room_on_first(struct box *b)
{
	struct ledger *ledger = sched_ledger(b->sched);
	uint64_t bytes = ledger->gpus[0].room_bytes;

	ledger_destroy(ledger);
	return bytes;
}

/* What an ended task held is free when a sample that began after its end has shown it, and not
 * before. */
static void test_room_comes_back_when_a_sample_shows_it(void **state)
{
	struct box *b = *state;
	uint64_t room = room_on_first(b);
	uint64_t id = submit(b, spec_of(3));
	struct gpu *gpu = &b->list->gpus[0];
	struct sched_usage use = {
	    .task = id, .uuid = gpu->uuid, .vram_known = true, .vram_bytes = 3 * GIB};
	const struct sched_end end = {.task = id, .attempt = 1, .outcome = SCHED_OK};
	const enum sched_outcome outcomes[] = {SCHED_OK, SCHED_ERROR};

	for (size_t i = 0; i < ARRAY_LEN(outcomes); i++) {
		struct sched_end how = end;

		if (i > 0)
			how.task = use.task = submit(b, spec_of(3));
		how.outcome = outcomes[i];
		assert_int_equal(step(b), 1);
		gpu->vram.used_bytes = 3 * GIB;
		b->now++;
		box_sample(b);
		assert_int_equal(sched_set_usage(b->sched, &use, b->now), 0);
		assert_int_equal(foreign_on_first(b), 0);
		b->now += 10;
		assert_int_equal(sched_ended(b->sched, &how, b->now), 0);
		assert_int_equal(foreign_on_first(b), 0);
		assert_int_equal(room_on_first(b), room - 3 * GIB);
		/* Taken before the end: it tells nothing. */
		b->list->sampled_at_ms = b->now - 1;
		sched_set_gpus(b->sched, b->list, b->now);
		assert_int_equal(foreign_on_first(b), 0);
		assert_int_equal(room_on_first(b), room - 3 * GIB);
		/* It has not come back: then it is whoever's, and the room stays closed. */
		b->now++;
		box_sample(b);
		assert_false(sched_wants_sample(b->sched));
		assert_int_equal(foreign_on_first(b), 3 * GIB);
		assert_int_equal(room_on_first(b), room - 3 * GIB);
		gpu->vram.used_bytes = 0;
		b->now++;
		box_sample(b);
	}
}

/* After an out of memory nobody starts on that GPU until it was looked at. */
static void test_nothing_starts_into_an_out_of_memory(void **state)
{
	struct box *b = *state;
	struct sched_spec spec = spec_of(1);
	uint64_t id, next;

	spec.request.pin_uuid = "GPU-0";
	id = submit(b, spec);
	assert_int_equal(step(b), 1);
	started(b, id);
	b->now++;
	assert_int_equal(sched_ended(b->sched,
				     &(struct sched_end){.task = id,
							 .attempt = 1,
							 .outcome = SCHED_OOM,
							 .exit_known = true,
							 .exit_code = 1},
				     b->now),
			 0);
	assert_true(sched_wants_sample(b->sched));
	next = submit(b, spec);
	while (step(b) > 0)
		;
	assert_int_equal(state_of(b, next), SCHED_WAITING);
	assert_non_null(strstr(reason_of(b, next), "ran out of memory"));
	box_sample(b);
	assert_int_equal(step(b), 0);
	b->now++;
	box_sample(b);
	assert_int_not_equal(step(b), 0);
	assert_int_equal(state_of(b, next), SCHED_STARTING);
}

/* The program dies before any sample has seen the loss. */
static void test_loss_seen_after_the_end(void **state)
{
	struct box *b = *state;
	uint64_t first, batch = submit_batch(b, unknown_of(3), 3, SCHED_ASK, &first);
	struct sched_end end;
	struct ledger *ledger;

	assert_int_equal(step(b), 3);
	started(b, first);
	end = error_of(b, first);
	assert_int_equal(sched_ended(b->sched, &end, b->now), 0);
	assert_int_equal(sched_ended(b->sched, &end, b->now), -ESTALE);
	assert_int_equal(state_of(b, first), SCHED_RUNNING);
	assert_int_equal(sched_find(b->sched, first)->attempts[0].ended_at_ms, 0);
	assert_non_null(strstr(reason_of(b, first), "awaited"));
	ledger = sched_ledger(b->sched);
	assert_int_equal(ledger->gpus[0].allocated_bytes + ledger->gpus[1].allocated_bytes,
			 9 * GIB);
	ledger_destroy(ledger);
	assert_int_equal(sched_deadline(b->sched), b->now + SCHED_JUDGE_MS);
	/* One that began before the end tells nothing. */
	box_sample(b);
	assert_int_equal(state_of(b, first), SCHED_RUNNING);
	b->now++;
	b->list->gpus[0].health = GPU_HEALTH_LOST;
	box_sample(b);
	assert_int_equal(state_of(b, first), SCHED_WAITING);
	assert_int_equal(sched_find(b->sched, first)->attempts[0].outcome, SCHED_GPU_LOST);
	assert_int_equal(sched_find(b->sched, first)->attempts[0].ended_at_ms, end.ended_at_ms);
	assert_int_equal(sched_find_batch(b->sched, batch)->state, SCHED_BATCH_RUNNING);
}

static void test_error_is_an_error_when_nobody_can_tell(void **state)
{
	struct box *b = *state;
	uint64_t a = submit(b, spec_of(1)), c = submit(b, spec_of(1)), d = submit(b, spec_of(1));
	struct sched_end end;

	assert_int_equal(step(b), 3);
	end = error_of(b, a);
	assert_int_equal(sched_ended(b->sched, &end, b->now), 0);
	b->now += SCHED_JUDGE_MS;
	(void)step(b);
	assert_int_equal(state_of(b, a), SCHED_FAILED);
	/* A cancel is answered at once. */
	end = error_of(b, c);
	assert_int_equal(sched_ended(b->sched, &end, b->now), 0);
	assert_int_equal(sched_cancel(b->sched, c, b->now, NULL), 0);
	(void)step(b);
	assert_int_equal(state_of(b, c), SCHED_CANCELED);
	b->list->state = GPU_SOURCE_STALE;
	box_sample(b);
	end = error_of(b, d);
	assert_int_equal(sched_ended(b->sched, &end, b->now), 0);
	assert_int_equal(state_of(b, d), SCHED_FAILED);
}

static void test_xids_explain_errors(void **state)
{
	static const struct {
		unsigned xid;
		int64_t after_ms; /* from the event to the end */
		enum sched_state state;
	} cases[] = {
	    {79, -20, SCHED_WAITING}, /* told after the end */
	    {79, 5, SCHED_WAITING},
	    {48, SCHED_XID_WINDOW_MS, SCHED_WAITING},
	    {79, SCHED_XID_WINDOW_MS + 1, SCHED_FAILED},
	    {31, 5, SCHED_FAILED}, /* the program's own */
	};
	struct box *b = *state;

	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		uint64_t id = submit(b, spec_of(1));
		struct gpu_event event = {.type = GPU_EVENT_XID, .xid = cases[i].xid};
		struct sched_end end;

		assert_int_equal(step(b), 1);
		(void)snprintf(event.uuid, sizeof event.uuid, "%s",
			       sched_find(b->sched, id)->attempts[0].gpus[0].uuid);
		end = error_of(b, id);
		if (cases[i].after_ms < 0)
			assert_int_equal(sched_ended(b->sched, &end, b->now), 0);
		else
			end.ended_at_ms = b->now + cases[i].after_ms;
		event.at_ms = b->now;
		sched_gpu_event(b->sched, &event, b->now);
		if (cases[i].after_ms >= 0) {
			b->now += cases[i].after_ms;
			assert_int_equal(sched_ended(b->sched, &end, b->now), 0);
		}
		/* Not before it is known whether that GPU may be used. */
		assert_int_not_equal(state_of(b, id), SCHED_WAITING);
		b->now++;
		box_sample(b);
		assert_int_equal(state_of(b, id), cases[i].state);
		if (cases[i].state == SCHED_WAITING)
			assert_int_equal(sched_cancel(b->sched, id, b->now, NULL), 0);
	}
}

static void set_use(struct box *b, uint64_t id, unsigned gpu, double gib, int utilization)
{
	char uuid[16];

	(void)snprintf(uuid, sizeof uuid, "GPU-%u", gpu);
	assert_int_equal(
	    sched_set_usage(b->sched,
			    &(struct sched_usage){
				.task = id,
				.uuid = uuid,
				.vram_known = true,
				.vram_bytes = (uint64_t)(gib * (double)GIB),
				.utilization_known = utilization >= 0,
				.utilization_percent = (unsigned)MAX_OF(utilization, 0),
			    },
			    b->now),
	    0);
}

/* What has just ended is nobody's foreign memory, and free once a sample has shown it. */
static void test_ended_vram_is_free_when_seen(void **state)
{
	struct box *b = *state;
	uint64_t id = submit(b, spec_of(10)), next = submit(b, spec_of(10));
	struct sched_end end = {.attempt = 1, .outcome = SCHED_OK, .exit_known = true};
	struct ledger *ledger;

	(void)step(b);
	started(b, id);
	b->now += 1000;
	b->list->gpus[0].vram.used_bytes = 9 * GIB;
	b->list->gpus[0].vram.free_bytes -= 9 * GIB;
	box_sample(b);
	set_use(b, id, 0, 9, -1);
	assert_int_equal(step(b), 0);
	b->now += 300;
	end.task = id;
	assert_int_equal(sched_ended(b->sched, &end, b->now), 0);
	ledger = sched_ledger(b->sched);
	assert_int_equal(ledger->gpus[0].foreign_bytes, 0);
	ledger_destroy(ledger);
	assert_int_equal(step(b), 0);
	assert_non_null(strstr(reason_of(b, next), "not yet seen to be back"));
	b->list->gpus[0].vram.used_bytes = 0;
	b->now++;
	box_sample(b);
	assert_int_equal(step(b), 1);
	assert_int_equal(state_of(b, next), SCHED_STARTING);
	assert_int_equal(sched_find(b->sched, id)->attempts[0].peak_vram_bytes, 9 * GIB);
	/* A newer sample says 9 GiB are used: now they are foreign. Newer, though somebody has set
	 * the clock back meanwhile. */
	b->list->gpus[0].vram.used_bytes = 9 * GIB;
	b->now -= 3600000;
	(void)step(b);
	b->now += 1000;
	box_sample(b);
	ledger = sched_ledger(b->sched);
	assert_int_equal(ledger->gpus[0].foreign_bytes, 9 * GIB);
	ledger_destroy(ledger);
}

/* Foreign use seen before a start is not taken for the started task's. */
static void test_fresh_start_hides_no_foreign(void **state)
{
	struct box *b = *state;
	struct ledger *ledger;

	b->list->gpus[0].vram.used_bytes = 5 * GIB;
	b->list->gpus[0].vram.free_bytes -= 5 * GIB;
	box_sample(b);
	(void)submit(b, spec_of(6));
	assert_int_equal(step(b), 1);
	ledger = sched_ledger(b->sched);
	assert_int_equal(ledger->gpus[0].foreign_bytes, 5 * GIB);
	assert_true(ledger->gpus[0].room_bytes < GIB);
	ledger_destroy(ledger);
}

/* A second of what is on GPU 0: how busy it is, and each task's share. */
static void second_of_use(struct box *b, unsigned busy, const uint64_t *tasks, const int *shares,
			  size_t n)
{
	b->now += 1000;
	b->list->gpus[0].utilization_percent = busy;
	box_sample(b);
	for (size_t i = 0; i < n; i++)
		set_use(b, tasks[i], 0, 1, shares[i]);
}

/* Three tasks that take 60 % each fill the GPU: what one takes alone is not to be seen, its share
 * is a floor. What was learned then is put right by the first that has the GPU to itself. */
static void test_a_full_gpu_tells_a_floor(void **state)
{
	struct box *b = *state;
	struct sched_spec spec = spec_of(1);
	static const int thirds[] = {33, 33, 33}, alone[] = {60};
	struct estimate estimate;
	uint64_t ids[3];

	spec.policy = PLACE_FIRST_FIT; /* auto might keep one back */
	spec.request.pin_uuid = "GPU-0";
	for (size_t i = 0; i < 3; i++)
		ids[i] = submit(b, spec);
	assert_int_equal(step(b), 3);
	for (size_t i = 0; i < 3; i++)
		started(b, ids[i]);
	for (int s = 0; s < 18; s++)
		second_of_use(b, 100, ids, thirds, 3);
	estimate = estimates_get(sched_estimates(b->sched), "k", "Model 0", 0, GIB);
	assert_true(estimate.utilization_known && estimate.utilization_is_floor);
	ended(b, ids[0], SCHED_OK);
	ended(b, ids[1], SCHED_OK);
	for (int s = 0; s < 10; s++)
		second_of_use(b, 60, &ids[2], alone, 1);
	estimate = estimates_get(sched_estimates(b->sched), "k", "Model 0", 0, GIB);
	assert_false(estimate.utilization_is_floor);
	assert_true(fabs(estimate.utilization_percent - 60) < 1);
	/* 18 s at a third of the GPU is 6 s of it, or 10 s at 60 %. */
	assert_true(fabs(estimate.work_seconds - 9.9) < 0.2);
	ended(b, ids[2], SCHED_OK);
}

/* Two at full use share the GPU: each did half of the time in work. */
static void test_contention_is_taken_out(void **state)
{
	struct box *b = *state;
	struct sched_spec spec = spec_of(1);
	uint64_t one, two;
	struct estimate estimate;

	spec.request.pin_uuid = "GPU-0";
	one = submit(b, spec);
	two = submit(b, spec);
	assert_int_equal(step(b), 2);
	started(b, one);
	started(b, two);
	for (int s = 0; s < 20; s++)
		second_of_use(b, 100, (uint64_t[]){one, two}, (int[]){50, 50}, 2);
	ended(b, one, SCHED_OK);
	for (int s = 0; s < 5; s++) /* alone from here */
		second_of_use(b, 100, &two, (int[]){100}, 1);
	ended(b, two, SCHED_OK);
	estimate = estimates_get(sched_estimates(b->sched), "k", "Model 0", 0, GIB);
	assert_true(estimate.seen);
	assert_int_equal(estimate.samples, 2);
	/* 10 s and 15 s of work */
	assert_true(estimate.work_seconds > 9.9 && estimate.work_seconds < 15.1);
}

static void test_submit_refuses(void **state)
{
	struct box *b = *state;
	struct sched_spec specs[2] = {spec_of(1), spec_of(14)};
	struct sched_batch_spec batch = {.name = "b", .tasks = specs, .n_tasks = 2};
	uint64_t id, first;
	struct error err;

	specs[1].row = 7;
	assert_int_equal(sched_submit(b->sched, &specs[1], b->now, &id, &err), -E2BIG);
	assert_non_null(strstr(err.text, "14 GiB"));
	assert_non_null(strstr(err.text, "11.3"));
	assert_int_equal(sched_submit_batch(b->sched, &batch, b->now, &id, &first, &err), -E2BIG);
	assert_non_null(strstr(err.text, "row 7"));
	assert_null(sched_first(b->sched));
	assert_null(sched_first_batch(b->sched));
	specs[0].argv = (const char *const[]){NULL};
	assert_int_equal(sched_submit(b->sched, &specs[0], b->now, &id, &err), -EINVAL);
	specs[0] = cpu_spec();
	specs[0].request.gpus = 1;
	assert_int_equal(sched_submit(b->sched, &specs[0], b->now, &id, &err), -EINVAL);
}

static void test_withdraw(void **state)
{
	struct box *b = *state;
	uint64_t first, batch = submit_batch(b, spec_of(1), 3, SCHED_STOP, &first);
	uint64_t id = submit(b, spec_of(1));
	size_t n;

	assert_int_equal(sched_step(b->sched, b->now), 4);
	assert_int_equal(sched_withdraw_batch(b->sched, batch), 0); /* the commit failed */
	(void)sched_actions(b->sched, &n);
	assert_int_equal(n, 1);
	assert_int_equal(sched_changes(b->sched).n_tasks, 1);
	assert_int_equal(sched_changes(b->sched).n_batches, 0);
	assert_null(sched_find(b->sched, first));
	sched_changes_clear(b->sched);
	assert_int_equal(sched_withdraw_task(b->sched, id), -EBUSY);
	/* Ids nobody was told of are given out again, the newest being taken back first. */
	batch = submit_batch(b, spec_of(1), 3, SCHED_STOP, &first);
	assert_int_equal(first, id + 1);
	assert_int_equal(submit(b, spec_of(1)), id + 4);
	assert_int_equal(sched_withdraw_task(b->sched, id + 4), 0);
	assert_int_equal(sched_withdraw_batch(b->sched, batch), 0);
	assert_int_equal(submit_batch(b, spec_of(1), 1, SCHED_STOP, &first), batch);
	assert_int_equal(first, id + 1);
}

static void test_empty_batch_is_done(void **state)
{
	struct box *b = *state;
	uint64_t first, batch = submit_batch(b, spec_of(1), 0, SCHED_STOP, &first);

	assert_int_equal(sched_find_batch(b->sched, batch)->state, SCHED_BATCH_DONE);
}

static void test_summary(void **state)
{
	struct box *b = *state;
	struct sched_spec spec = unknown_of(5);
	uint64_t first, batch;
	struct sched_summary s;

	spec.retries = 1;
	spec.retry_delay_ms = 1;
	batch = submit_batch(b, spec, 4, SCHED_CONTINUE, &first);
	assert_int_equal(step(b), 3);
	box_sample(b);
	b->now += 10000;
	b->list->gpus[0].utilization_percent = 80;
	b->list->gpus[0].vram.used_bytes = 7 * GIB;
	box_sample(b);
	set_use(b, first, 0, 3.5, -1);
	set_use(b, first + 1, 0, 3.5, -1);
	b->list->gpus[0].vram.used_bytes = 0;
	ended(b, first, SCHED_OOM);
	b->now++;
	assert_int_equal(step(b), 1);
	/* The first has more now, as much as there is beside the others; the fourth comes last. */
	assert_int_equal(state_of(b, first + 3), SCHED_WAITING);
	for (uint64_t id = first; id < first + 4; id++) {
		if (state_of(b, id) == SCHED_WAITING)
			(void)step(b);
		ended(b, id, SCHED_OK);
	}
	(void)step(b);
	assert_int_equal(sched_find_batch(b->sched, batch)->state, SCHED_BATCH_DONE);
	assert_int_equal(sched_summarize(b->sched, batch, b->now, &s), 0);
	assert_int_equal(s.total, 4);
	assert_int_equal(s.done, 4);
	assert_int_equal(s.oom_recovered, 1);
	assert_int_equal(s.n_gpus, 2);
	assert_int_equal(s.gpus[0].tasks + s.gpus[1].tasks, 4);
	assert_true(s.gpus[0].utilization_known);
	assert_int_equal((int)s.gpus[0].mean_utilization_percent, 80);
	assert_int_equal((int)s.gpus[1].mean_utilization_percent, 0);
	assert_int_equal(s.gpus[0].peak_vram_bytes, 7 * GIB);
	assert_string_equal(s.gpus[1].name, "Model 1");
	assert_int_equal((int)s.wall_seconds, 10);
	sched_summary_finish(&s);
	assert_int_equal(sched_summarize(b->sched, 99, b->now, &s), -ESRCH);
}

static void end_unseen(struct box *b, uint64_t id)
{
	const struct sched_end end = {
	    .task = id, .attempt = 1, .outcome = SCHED_OK, .exit_known = true};

	assert_int_equal(sched_ended(b->sched, &end, b->now), 0);
	assert_true(sched_wants_sample(b->sched));
}

/* The VRAM of tasks that have ended and that no sample has shown to be back is not the machine's
 * size; nor is that of those which still run. */
static void test_yardsticks_before_the_next_sample(void **state)
{
	struct box *b = *state;
	uint64_t first, batch = submit_batch(b, spec_of(5), 3, SCHED_STOP, &first);
	struct sched_summary s;

	assert_int_equal(step(b), 3);
	for (unsigned i = 0; i < 3; i++)
		started(b, first + i);
	b->now += 4000;
	b->list->gpus[0].vram.used_bytes = 10 * GIB;
	b->list->gpus[1].vram.used_bytes = 5 * GIB;
	box_sample(b);
	for (unsigned i = 0; i < 3; i++)
		set_use(b, first + i, i / 2, 5, 40);
	end_unseen(b, first);
	end_unseen(b, first + 2);
	assert_int_equal(sched_summarize(b->sched, batch, b->now, &s), 0);
	assert_true(s.yardsticks.even_split_seconds > 0);
	sched_summary_finish(&s);
	end_unseen(b, first + 1);
	assert_int_equal(sched_summarize(b->sched, batch, b->now, &s), 0);
	assert_true(s.yardsticks.lower_bound_seconds > 0);
	assert_true(s.yardsticks.even_split_seconds >= s.yardsticks.lower_bound_seconds);
	assert_true(s.yardsticks.one_gpu_seconds > 0);
	sched_summary_finish(&s);
}

/* A restarted daemon: what runs keeps its VRAM before anything new starts. */
static void test_restored_tasks_hold_their_vram(void **state)
{
	struct box *b = *state;
	uint64_t id = submit(b, spec_of(10)), waits = submit(b, spec_of(10));
	struct sched *again = sched_create(&(struct sched_options){});
	struct error err;

	(void)step(b);
	started(b, id);
	for (const struct sched_task *t = sched_first(b->sched); t; t = sched_next(t))
		assert_int_equal(sched_restore_task(again, t, &err), 0);
	assert_int_equal(sched_restore_task(again, sched_find(b->sched, id), &err), -EEXIST);
	sched_destroy(b->sched);
	b->sched = again;
	assert_int_equal(step(b), 0);
	box_sample(b);
	assert_int_equal(step(b), 0);
	assert_int_equal(state_of(b, waits), SCHED_WAITING);
	assert_int_equal(sched_changes(b->sched).n_tasks, 0);
	ended(b, id, SCHED_OK);
	assert_int_equal(step(b), 1);
	assert_int_equal(submit(b, spec_of(1)), waits + 1);
}

static double seconds_now(void)
{
	struct timespec ts;

	assert_int_equal(clock_gettime(CLOCK_MONOTONIC, &ts), 0);
	return (double)ts.tv_sec + (double)ts.tv_nsec / 1e9;
}

/* 100,000 waiting: under 100 MB (DESIGN §6), and a turn of start and end that does not feel them.
 */
static void test_a_long_queue(void **state)
{
	struct box *b = *state;
	struct sched_spec spec = spec_of(2.5);
	const char *const argv[] = {"python3",
				    "transcribe.py",
				    "/data/recordings/0123456789.wav",
				    "--device",
				    "{device}",
				    "--model",
				    "medium",
				    NULL};
	size_t before = mallinfo2().uordblks + mallinfo2().hblkhd, bytes;
	uint64_t first;
	unsigned turns = 0;
	double t;

	spec.argv = argv;
	spec.name = "0123456789.wav";
	spec.fingerprint = "0123456789abcdef0123456789abcdef";
	(void)submit_batch(b, spec, 100000, SCHED_CONTINUE, &first);
	bytes = mallinfo2().uordblks + mallinfo2().hblkhd - before;
	printf("# %zu bytes a waiting task\n", bytes / 100000);
	sched_changes_clear(b->sched);
	(void)step(b);
	t = seconds_now();
	while (turns < 200) {
		uint64_t id = sched_first_active(b->sched)->id;

		b->now += 10;
		started(b, id);
		ended(b, id, SCHED_OK);
		(void)step(b);
		turns++;
	}
	t = seconds_now() - t;
	printf("# %.0f us a turn with 100,000 waiting\n", t / turns * 1e6);
	/* Sanitizers put red zones around everything. */
#if defined(__SANITIZE_ADDRESS__)
	assert_true(bytes < 400000000);
#else
	assert_true(bytes < 80000000);
#endif
	assert_true(t / turns < 0.05);
}

/* Of his own, all at once; nothing of it starts in the place of what is ended. */
static void test_cancel_all_of_one_user(void **state)
{
	struct box *b = *state;
	struct sched_spec mine = spec_of(10), other = spec_of(1);
	struct sched_canceled canceled;
	uint64_t runs, waits, held, others, first, batch;
	struct error err;

	mine.uid = 7;
	runs = submit(b, mine);
	assert_int_equal(step(b), 1);
	started(b, runs);
	waits = submit(b, mine);
	held = submit(b, mine);
	assert_int_equal(sched_hold(b->sched, held, b->now, &err), 0);
	others = submit(b, other);
	batch = submit_batch(b, spec_of(10), 3, SCHED_ASK, &first);
	sched_cancel_all(b->sched, &mine.uid, b->now, &canceled);
	assert_int_equal(canceled.waiting, 2);
	assert_int_equal(canceled.running, 1);
	assert_int_equal(canceled.batches, 0);
	assert_int_equal(state_of(b, waits), SCHED_CANCELED);
	assert_int_equal(state_of(b, held), SCHED_CANCELED);
	assert_true(sched_find(b->sched, runs)->stopping);
	(void)step(b);
	assert_int_equal(state_of(b, others), SCHED_STARTING);
	sched_cancel_all(b->sched, NULL, b->now, &canceled);
	assert_int_equal(canceled.waiting, 3);
	assert_int_equal(canceled.running, 1);
	assert_int_equal(canceled.batches, 1);
	assert_int_equal(sched_find_batch(b->sched, batch)->state, SCHED_BATCH_CANCELED);
	assert_true(sched_find_batch(b->sched, batch)->ended_at_ms > 0);
	ended(b, runs, SCHED_ERROR);
	assert_int_equal(step(b), 0);
	assert_int_equal(state_of(b, runs), SCHED_CANCELED);
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, box_create, box_destroy)

int main(void)
{
	const struct CMUnitTest tests[] = {
	    TEST(test_big_waits_small_passes),
	    TEST(test_priority_first),
	    TEST(test_cpu_never_waits_for_gpus),
	    TEST(test_window_takes_from_each_batch),
	    TEST(test_failure_stops),
	    TEST(test_failure_asks),
	    TEST(test_cancel_all_of_one_user),
	    TEST(test_retries),
	    TEST(test_retries_at_once),
	    TEST(test_a_pause_that_is_over_is_no_reason),
	    TEST(test_lost_gpu_moves_its_tasks),
	    TEST(test_loss_seen_after_the_end),
	    TEST(test_room_comes_back_when_a_sample_shows_it),
	    TEST(test_nothing_starts_into_an_out_of_memory),
	    TEST(test_error_is_an_error_when_nobody_can_tell),
	    TEST(test_xids_explain_errors),
	    TEST(test_ended_vram_is_free_when_seen),
	    TEST(test_fresh_start_hides_no_foreign),
	    TEST(test_a_full_gpu_tells_a_floor),
	    TEST(test_contention_is_taken_out),
	    TEST(test_submit_refuses),
	    TEST(test_withdraw),
	    TEST(test_empty_batch_is_done),
	    TEST(test_summary),
	    TEST(test_yardsticks_before_the_next_sample),
	    TEST(test_restored_tasks_hold_their_vram),
	    TEST(test_a_long_queue),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
