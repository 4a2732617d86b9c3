/* Who uses more than he was granted: when it is let be, when it is stopped, how, and what that was.
 * At the end many random pairs in virtual time: the neighbour always gets what it was promised. */
#include "sched_box.h"
#include "unit.h"

#include <signal.h>
#include <stdio.h>

#define GPU0 "GPU-0" /* 11.9 GiB, a load line of 11.3 */

static uint64_t gib(double n)
{
	return (uint64_t)(n * (double)GIB);
}

/* A sample: what each of `n` tasks uses on GPU 0, beside so much foreign. */
static void sample(struct box *b, const uint64_t *tasks, const uint64_t *used, size_t n,
		   uint64_t foreign)
{
	struct gpu *gpu = &b->list->gpus[0];

	gpu->vram.used_bytes = foreign;
	for (size_t i = 0; i < n; i++)
		gpu->vram.used_bytes += used[i];
	gpu->vram.free_bytes = gpu->vram.total_bytes - gpu->vram.used_bytes;
	box_sample(b);
	for (size_t i = 0; i < n; i++)
		(void)sched_set_usage(
		    b->sched,
		    &(struct sched_usage){
			.task = tasks[i], .uuid = GPU0, .vram_known = true, .vram_bytes = used[i]},
		    b->now);
}

/* The signal that this step sends to the task; 0 = none. */
static int signal_to(struct box *b, uint64_t task)
{
	const struct sched_action *actions;
	size_t n;
	int signal = 0;

	(void)sched_step(b->sched, b->now);
	actions = sched_actions(b->sched, &n);
	for (size_t i = 0; i < n; i++)
		if (actions[i].type == SCHED_SIGNAL && actions[i].task == task)
			signal = actions[i].signal;
	sched_actions_clear(b->sched);
	sched_changes_clear(b->sched);
	return signal;
}

static const struct sched_rung at_once = {SCHED_RUNG_FAIL, 1};

static uint64_t run_one(struct box *b, const char *name, double vram, enum sched_on_overrun on)
{
	struct sched_spec spec = spec_of(vram);
	uint64_t id;

	spec.name = name;
	spec.on_overrun = on;
	/* Neither the ladder nor what is learned is the matter here. */
	spec.on_oom = &at_once;
	spec.n_on_oom = 1;
	spec.kind = "";
	spec.request.pin_uuid = GPU0;
	if (sched_wants_sample(b->sched)) {
		b->now++;
		sample(b, NULL, NULL, 0, 0);
	}
	id = submit(b, spec);
	(void)step(b);
	assert_int_equal(state_of(b, id), SCHED_STARTING);
	started(b, id);
	return id;
}

static void killed(struct box *b, uint64_t id, int signal)
{
	assert_int_equal(sched_ended(b->sched,
				     &(struct sched_end){.task = id,
							 .attempt = 1,
							 .outcome = SCHED_ERROR,
							 .exit_known = true,
							 .exit_code = -1,
							 .signal = signal},
				     b->now),
			 0);
}

static const struct sched_attempt *attempt_of(struct box *b, uint64_t id)
{
	return sched_task_attempt(sched_find(b->sched, id));
}

static void test_room_is_left(void **state)
{
	struct box *b = *state;
	uint64_t ids[] = {run_one(b, "a", 2, SCHED_OVERRUN_AUTO),
			  run_one(b, "b", 4, SCHED_OVERRUN_AUTO)};

	/* A little is nothing. */
	sample(b, ids, (uint64_t[]){gib(2.1), gib(1)}, 2, 0);
	assert_int_equal(signal_to(b, ids[0]), 0);
	for (int i = 0; i < 20; i++) {
		b->now += 200;
		sample(b, ids, (uint64_t[]){gib(5), gib(1)}, 2, 0);
		assert_int_equal(signal_to(b, ids[0]), 0);
		assert_int_equal(attempt_of(b, ids[0])->overrun, i >= 1);
		assert_int_equal(sched_remarks(b->sched)->n, i >= 1);
	}
	assert_string_equal(sched_remarks(b->sched)->items[0],
			    "task 1 uses 5 GiB of 2 GiB granted on GPU 0");
	sched_remarks_clear(b->sched);
	assert_int_equal(sched_remarks(b->sched)->n, 0);
	assert_true(sched_wants_fast_samples(b->sched));
}

static void test_neighbour_in_danger(void **state)
{
	struct box *b = *state;
	uint64_t ids[] = {run_one(b, "greedy", 2, SCHED_OVERRUN_AUTO),
			  run_one(b, "transcribe-7", 4, SCHED_OVERRUN_AUTO)};

	for (int i = 0; i < 10; i++, b->now += 1000) {
		sample(b, ids, (uint64_t[]){gib(7), gib(2.8)}, 2, 0);
		assert_int_equal(signal_to(b, ids[0]), 0);
	}
	/* 7.4 + 4 is above 11.3. What is owed is free, and it has grown little: it may end by
	 * itself. */
	sample(b, ids, (uint64_t[]){gib(7.4), gib(2.8)}, 2, 0);
	assert_int_equal(signal_to(b, ids[0]), SIGTERM);
	assert_int_equal(signal_to(b, ids[0]), 0);
	b->now += 2000;
	assert_int_equal(signal_to(b, ids[0]), SIGKILL);
	assert_int_equal(signal_to(b, ids[1]), 0);
	killed(b, ids[0], SIGKILL);
	assert_int_equal(attempt_of(b, ids[0])->outcome, SCHED_OOM);
	assert_int_equal(attempt_of(b, ids[0])->peak_vram_bytes, gib(7.4));
	assert_non_null(strstr(sched_find(b->sched, ids[0])->reason,
			       "stopped: used 7.4 GiB of 2 GiB granted on GPU 0 while "
			       "transcribe-7 needs 1.2 GiB more of what it was promised"));
	assert_string_equal(attempt_of(b, ids[0])->stopped, "used 7.4 GiB of 2 GiB granted");
	assert_null(attempt_of(b, ids[1])->stopped);
}

static void test_urgent(void **state)
{
	struct box *b = *state;
	uint64_t ids[] = {run_one(b, "greedy", 2, SCHED_OVERRUN_AUTO),
			  run_one(b, "neighbour", 4, SCHED_OVERRUN_AUTO)};

	sample(b, ids, (uint64_t[]){gib(2), gib(0.5)}, 2, 0);
	assert_int_equal(signal_to(b, ids[0]), 0);
	b->now += 200;
	/* 3.5 are free and owed: it must not take another byte. */
	sample(b, ids, (uint64_t[]){gib(7.9), gib(0.5)}, 2, 0);
	assert_int_equal(signal_to(b, ids[0]), SIGKILL);
}

/* GPU 0 is lent to one that said 3 GiB and to a neighbour, and the first is stopped at 3.6 after so
 * many samples there. What it asks for next; `learned` meanwhile, of others. */
static double asks_after_stop(struct box *b, double neighbour, int samples,
			      const struct estimates_sample *learned)
{
	struct sched_spec spec = spec_of(3);
	uint64_t ids[2];
	struct sched_ask ask;

	spec.request.pin_uuid = GPU0;
	ids[0] = submit(b, spec);
	spec.kind = "neighbour";
	spec.request.vram_bytes = gib(neighbour);
	ids[1] = submit(b, spec);
	(void)step(b);
	started(b, ids[0]);
	started(b, ids[1]);
	if (learned)
		estimates_learn(sched_estimates(b->sched), learned);
	for (int i = 0; i < samples; i++, b->now += 200) {
		sample(b, ids, (uint64_t[]){gib(3.6), gib(1)}, 2, 0);
		assert_int_equal(signal_to(b, ids[0]), 0);
	}
	sample(b, ids, (uint64_t[]){gib(3.6), gib(1)}, 2, samples > 0 ? gib(0.9) : 0);
	assert_int_not_equal(signal_to(b, ids[0]), 0);
	killed(b, ids[0], SIGKILL);
	assert_int_equal(state_of(b, ids[0]), SCHED_WAITING);
	sched_ask(b->sched, sched_find(b->sched, ids[0]), &ask);
	return (double)ask.request.vram_bytes / (double)GIB;
}

/* Who knows where it would have ended? Its word may be too small by 60 %. */
static void test_stopped_while_it_grew(void **state)
{
	assert_float_equal(asks_after_stop(*state, 8, 0, NULL), 7.5, 0.01);
}

static void test_stopped_when_it_had_grown(void **state)
{
	assert_float_equal(asks_after_stop(*state, 7, 12, NULL), 5.4, 0.01);
}

/* It stood still for six seconds: it had all it wanted. */
static void test_stopped_when_it_had_settled(void **state)
{
	assert_float_equal(asks_after_stop(*state, 7, 30, NULL), 3.96, 0.01);
}

/* One of its kind had more: that is what there is to know. */
static void test_stopped_below_what_is_known(void **state)
{
	struct box *b = *state;
	const struct estimates_sample more = {.kind = spec_of(3).kind,
					      .model = b->list->gpus[0].name,
					      .utilization_percent = -1,
					      .said_bytes = gib(3),
					      .out_of_memory = true,
					      .granted_bytes = gib(3),
					      .peak_vram_bytes = gib(3.7)};

	assert_float_equal(asks_after_stop(b, 8, 0, &more), 5.55, 0.01);
}

static void test_largest_excess_first(void **state)
{
	struct box *b = *state;
	uint64_t ids[] = {
	    run_one(b, "small", 1, SCHED_OVERRUN_AUTO), run_one(b, "large", 1, SCHED_OVERRUN_AUTO),
	    run_one(b, "warned", 1, SCHED_OVERRUN_WARN), run_one(b, "good", 4, SCHED_OVERRUN_AUTO)};

	sample(b, ids, (uint64_t[]){gib(2), gib(3.5), gib(1), gib(1)}, 4, 0);
	assert_int_equal(signal_to(b, ids[1]), 0);
	sample(b, ids, (uint64_t[]){gib(2), gib(4.6), gib(1), gib(1)}, 4, 0);
	assert_int_not_equal(signal_to(b, ids[1]), 0);
	/* The sum without it is below the line. */
	assert_int_equal(signal_to(b, ids[0]), 0);
	killed(b, ids[1], SIGKILL);
	/* Now it is another's, who may not be stopped, and that is said once. */
	sched_remarks_clear(b->sched);
	b->now += 200;
	sample(b, (uint64_t[]){ids[0], ids[2], ids[3]}, (uint64_t[]){gib(1), gib(7), gib(1)}, 3, 0);
	assert_int_equal(signal_to(b, ids[0]), 0);
	sample(b, (uint64_t[]){ids[0], ids[2], ids[3]}, (uint64_t[]){gib(1), gib(7), gib(1)}, 3, 0);
	assert_int_equal(signal_to(b, ids[2]), 0);
	assert_int_equal(sched_remarks(b->sched)->n, 2);
}

static void test_foreign_growth_is_not_theirs(void **state)
{
	struct box *b = *state;
	uint64_t ids[] = {run_one(b, "over", 2, SCHED_OVERRUN_AUTO),
			  run_one(b, "good", 4, SCHED_OVERRUN_AUTO)};

	sample(b, ids, (uint64_t[]){gib(2.5), gib(3)}, 2, gib(6.3));
	assert_int_equal(signal_to(b, ids[0]), 0);
	assert_non_null(strstr(sched_remarks(b->sched)->items[0], "GPU 0: 12.8 GiB promised"));
	/* Where it is the excess that takes it beyond all there is, it goes. */
	sample(b, ids, (uint64_t[]){gib(2.5), gib(3)}, 2, gib(5.7));
	assert_int_not_equal(signal_to(b, ids[0]), 0);
	assert_int_equal(signal_to(b, ids[1]), 0);
}

static void test_alone(void **state)
{
	struct box *b = *state;
	uint64_t id = run_one(b, "alone", 2, SCHED_OVERRUN_AUTO);

	for (int i = 0; i < 5; i++, b->now += 200) {
		sample(b, &id, (uint64_t[]){gib(11.7)}, 1, 0);
		assert_int_equal(signal_to(b, id), 0);
	}
	assert_true(attempt_of(b, id)->overrun);
}

static void test_stop_and_canceled(void **state)
{
	struct box *b = *state;
	uint64_t id = run_one(b, "strict", 2, SCHED_OVERRUN_STOP), other;
	struct error err;

	sample(b, &id, (uint64_t[]){gib(3)}, 1, 0);
	assert_int_equal(signal_to(b, id), 0);
	b->now += 1000;
	sample(b, &id, (uint64_t[]){gib(3)}, 1, 0);
	assert_int_equal(signal_to(b, id), SIGTERM);
	/* What it makes of that is no success. */
	assert_int_equal(
	    sched_ended(b->sched,
			&(struct sched_end){
			    .task = id, .attempt = 1, .outcome = SCHED_OK, .exit_known = true},
			b->now),
	    0);
	assert_int_equal(attempt_of(b, id)->outcome, SCHED_OOM);
	assert_non_null(strstr(sched_find(b->sched, id)->reason, "--on-overrun is stop"));

	other = run_one(b, "canceled", 2, SCHED_OVERRUN_STOP);
	for (int i = 0; i < 2; i++, b->now += 1000)
		sample(b, &other, (uint64_t[]){gib(3)}, 1, 0);
	assert_int_equal(signal_to(b, other), SIGTERM);
	assert_int_equal(sched_cancel(b->sched, other, b->now, &err), 0);
	killed(b, other, SIGTERM);
	assert_int_equal(attempt_of(b, other)->outcome, SCHED_OUTCOME_CANCELED);
}

/* Four of a kind nobody has measured: as many start as fit at two and a half times their word, the
 * others when those have settled. */
static void test_unproven_kinds_do_not_crowd(void **state)
{
	struct box *b = *state;
	struct sched_spec spec = spec_of(2);
	uint64_t ids[4], used[] = {gib(2.1), gib(2.1)};

	sched_configure(b->sched, &(struct sched_config){.prove = true}, b->now);
	spec.kind = "new";
	spec.request.pin_uuid = GPU0;
	spec.request.unproven = true;
	for (size_t i = 0; i < ARRAY_LEN(ids); i++)
		ids[i] = submit(b, spec);
	assert_int_equal(step(b), 2);
	assert_non_null(strstr(reason_of(b, ids[2]), "runs the first of its kind 'new' (task "));
	started(b, ids[0]);
	started(b, ids[1]);
	for (int i = 0; i < 4; i++, b->now += 300) {
		assert_int_equal(step(b), 0);
		sample(b, ids, used, 2, 0);
	}
	assert_int_equal(step(b), 0);
	sample(b, ids, used, 2, 0);
	assert_true(estimates_need_get(sched_estimates(b->sched), "new", "Model 0").proven);
	assert_int_not_equal(step(b), 0);
	assert_int_equal(state_of(b, ids[2]), SCHED_STARTING);
	/* Whoever does not want it. */
	sched_configure(b->sched, &(struct sched_config){}, b->now);
	(void)step(b);
	assert_int_equal(state_of(b, ids[3]), SCHED_STARTING);
}

static void test_ram(void **state)
{
	struct box *b = *state;
	struct sched_spec spec = cpu_spec();
	struct ledger_host host = {
	    .ram_known = true, .ram_total_bytes = 32 * GIB, .ram_available_bytes = 20 * GIB};
	uint64_t ids[2];

	sched_set_host(b->sched, &host, b->now);
	spec.request.ram_bytes = 4 * GIB;
	for (size_t i = 0; i < 2; i++)
		ids[i] = submit(b, spec);
	(void)step(b);
	for (size_t i = 0; i < 2; i++)
		started(b, ids[i]);
	for (int i = 0; i < 3; i++, b->now += 1000) {
		assert_int_equal(sched_set_ram(b->sched, ids[0], 6 * GIB, b->now), 0);
		assert_int_equal(sched_set_ram(b->sched, ids[1], 8 * GIB, b->now), 0);
		assert_int_equal(signal_to(b, ids[1]), 0);
	}
	assert_true(attempt_of(b, ids[0])->overrun && attempt_of(b, ids[1])->overrun);
	/* Less than 5 %: the larger excess, and one at a time. */
	host.ram_available_bytes = GIB;
	sched_set_host(b->sched, &host, b->now);
	assert_int_equal(sched_set_ram(b->sched, ids[0], 6 * GIB, b->now), 0);
	assert_int_equal(signal_to(b, ids[1]), SIGTERM);
	assert_int_equal(sched_set_ram(b->sched, ids[0], 6 * GIB, b->now), 0);
	assert_int_equal(signal_to(b, ids[0]), 0);
	killed(b, ids[1], SIGTERM);
	assert_int_equal(attempt_of(b, ids[1])->outcome, SCHED_HOST_OOM);
	assert_int_equal(sched_set_ram(b->sched, ids[0], 6 * GIB, b->now), 0);
	assert_int_equal(signal_to(b, ids[0]), SIGTERM);
}

static const char *overrun_words(struct box *b, uint64_t id, char text[SCHED_REASON_MAX])
{
	(void)sched_overrun_text(sched_find(b->sched, id), attempt_of(b, id), text);
	return text;
}

/* What people read, from its first sample above the grant to after its end. */
static void test_words(void **state)
{
	struct box *b = *state;
	uint64_t id = run_one(b, "a", 2, SCHED_OVERRUN_AUTO);
	char text[SCHED_REASON_MAX];
	int64_t since = 0;

	assert_string_equal(overrun_words(b, id, text), "");
	for (int i = 0; i < 3; i++) {
		sample(b, &id, (uint64_t[]){gib(5)}, 1, 0);
		since = i == 1 ? b->now : since;
		(void)step(b);
		b->now += 200;
	}
	assert_true(attempt_of(b, id)->overrun_at_ms == since);
	assert_string_equal(overrun_words(b, id, text),
			    "uses 5 GiB of 2 GiB granted on GPU 0; warned: its GPU has room");
	assert_string_equal(sched_reason(b->sched, sched_find(b->sched, id), text),
			    "uses 5 GiB of 2 GiB granted on GPU 0; warned: its GPU has room");
	/* It gave most of it back. */
	sample(b, &id, (uint64_t[]){gib(1)}, 1, 0);
	assert_string_equal(overrun_words(b, id, text),
			    "used 5 GiB of 2 GiB granted on GPU 0; warned: its GPU has room");
	ended(b, id, SCHED_OK);
	assert_string_equal(overrun_words(b, id, text), "used 5 GiB of 2 GiB granted on GPU 0");
}

static void test_words_of_ram(void **state)
{
	struct box *b = *state;
	struct sched_spec spec = cpu_spec();
	char text[SCHED_REASON_MAX];
	uint64_t id;

	spec.request.ram_bytes = 4 * GIB;
	spec.on_overrun = SCHED_OVERRUN_WARN;
	id = submit(b, spec);
	(void)step(b);
	started(b, id);
	for (int i = 0; i < 3; i++, b->now += 1000)
		assert_int_equal(sched_set_ram(b->sched, id, 6 * GIB, b->now), 0);
	assert_string_equal(overrun_words(b, id, text),
			    "uses 6 GiB of 4 GiB of RAM granted; warned: --on-overrun warn never "
			    "stops it");
}

/* Nobody else is in danger, and it asked for it. */
static void test_ram_stop(void **state)
{
	struct box *b = *state;
	struct sched_spec spec = cpu_spec();
	struct ledger_host host = {
	    .ram_known = true, .ram_total_bytes = 32 * GIB, .ram_available_bytes = 20 * GIB};
	uint64_t ids[2];

	sched_set_host(b->sched, &host, b->now);
	spec.request.ram_bytes = 4 * GIB;
	spec.on_overrun = SCHED_OVERRUN_STOP;
	ids[0] = submit(b, spec);
	spec.on_overrun = SCHED_OVERRUN_WARN;
	ids[1] = submit(b, spec);
	(void)step(b);
	for (size_t i = 0; i < 2; i++) {
		started(b, ids[i]);
		assert_int_equal(sched_set_ram(b->sched, ids[i], 6 * GIB, b->now), 0);
	}
	assert_int_equal(signal_to(b, ids[0]), 0);
	host.ram_available_bytes = GIB;
	sched_set_host(b->sched, &host, b->now += 1000);
	for (size_t i = 0; i < 2; i++)
		assert_int_equal(sched_set_ram(b->sched, ids[i], 6 * GIB, b->now), 0);
	assert_int_equal(signal_to(b, ids[0]), SIGTERM);
	killed(b, ids[0], SIGTERM);
	assert_int_equal(attempt_of(b, ids[0])->outcome, SCHED_HOST_OOM);
	assert_non_null(strstr(sched_find(b->sched, ids[0])->reason,
			       "stopped: used 6 GiB of 4 GiB of host memory granted, and "
			       "--on-overrun is stop"));
	assert_int_equal(sched_set_ram(b->sched, ids[1], 6 * GIB, b->now), 0);
	assert_int_equal(signal_to(b, ids[1]), 0);
}

static void host_set(struct box *b, double available)
{
	sched_set_host(b->sched,
		       &(struct ledger_host){.ram_known = true,
					     .ram_total_bytes = 32 * GIB,
					     .ram_available_bytes = gib(available)},
		       b->now);
}

static uint64_t ram_asked(struct box *b, uint64_t id)
{
	struct sched_ask ask;

	sched_ask(b->sched, sched_find(b->sched, id), &ask);
	return ask.request.ram_bytes;
}

/* Who says nothing of RAM gets kept free what others of its kind were measured to use, and is not
 * held to it; nobody waits for what would not be there if all of ours had ended. */
static void learn_ram(struct box *b, struct sched_spec spec)
{
	uint64_t ids[4], learned = 6 * GIB + 6 * GIB / 10;

	host_set(b, 20);
	for (int i = 0; i < 3; i++, b->now += 1000) {
		uint64_t id = submit(b, spec);

		assert_int_equal(ram_asked(b, id), 0);
		(void)step(b);
		started(b, id);
		assert_int_equal(sched_set_ram(b->sched, id, 6 * GIB, b->now), 0);
		ended(b, id, SCHED_OK);
	}
	for (size_t i = 0; i < ARRAY_LEN(ids); i++)
		ids[i] = submit(b, spec);
	assert_int_equal(ram_asked(b, ids[0]), learned);
	assert_int_equal(step(b), 3);
	assert_non_null(strstr(reason_of(b, ids[3]), "RAM"));
	for (size_t i = 0; i < 3; i++) {
		started(b, ids[i]);
		assert_int_equal(attempt_of(b, ids[i])->ram_bytes, learned);
	}
	for (int i = 0; i < 3; i++, b->now += 1000)
		assert_int_equal(sched_set_ram(b->sched, ids[0], 9 * GIB, b->now), 0);
	assert_false(attempt_of(b, ids[0])->overrun);
	assert_int_equal(sched_ram_promise(sched_find(b->sched, ids[0]), attempt_of(b, ids[0])), 0);
	for (size_t i = 0; i < 3; i++)
		ended(b, ids[i], SCHED_ERROR);
	host_set(b, 4);
	assert_int_equal(ram_asked(b, ids[3]), 4 * GIB);
	assert_int_equal(step(b), 1);
	started(b, ids[3]);
	ended(b, ids[3], SCHED_ERROR);
	spec.request.ram_bytes = GIB;
	ids[0] = submit(b, spec);
	assert_int_equal(ram_asked(b, ids[0]), GIB);
	assert_int_equal(step(b), 1);
	assert_int_equal(sched_ram_promise(sched_find(b->sched, ids[0]), attempt_of(b, ids[0])),
			 GIB);
	started(b, ids[0]);
	ended(b, ids[0], SCHED_ERROR);
}

static void test_ram_learned(void **state)
{
	struct sched_spec on_gpu = spec_of(1);

	learn_ram(*state, cpu_spec());
	on_gpu.kind = "on a GPU";
	learn_ram(*state, on_gpu);
}

static void test_what_is_configured(void **state)
{
	struct box *b = *state;
	uint64_t ids[2];

	sched_configure(
	    b->sched,
	    &(struct sched_config){.overrun_tolerance_bytes = 2 * GIB, .overrun_samples = 3},
	    b->now);
	ids[0] = run_one(b, "within", 2, SCHED_OVERRUN_STOP);
	ids[1] = run_one(b, "beyond", 2, SCHED_OVERRUN_STOP);
	for (int i = 0; i < 3; i++, b->now += 1000) {
		assert_int_equal(signal_to(b, ids[1]), 0);
		sample(b, ids, (uint64_t[]){gib(4), gib(4.1)}, 2, 0);
	}
	assert_int_equal(signal_to(b, ids[1]), SIGTERM);
	assert_false(attempt_of(b, ids[0])->overrun);
	assert_int_equal(signal_to(b, ids[0]), 0);
}

static void test_names(void **state)
{
	struct error err;
	enum sched_on_overrun on;

	(void)state;
	for (int i = 0; i < SCHED_OVERRUN_COUNT; i++) {
		assert_int_equal(sched_on_overrun_parse(
				     sched_on_overrun_name((enum sched_on_overrun)i), &on, &err),
				 0);
		assert_int_equal(on, i);
	}
	assert_true(sched_on_overrun_parse("kill", &on, &err) < 0);
}

/* Random pairs. */

static uint64_t seed = 20261121;

static double rnd(double from, double to)
{
	seed = seed * 6364136223846793005ull + 1442695040888963407ull;
	return from + (to - from) * (double)(seed >> 40) / (double)(1 << 24);
}

struct pair {
	double grant, neighbour; /* GiB granted */
	double step_gib;
	int64_t step_ms, neighbour_ms; /* it grows; the neighbour takes all it was promised */
	bool catches;                  /* SIGTERM, and goes on growing until it is killed */
};

/* In steps of 20 ms, a sample each 200 ms. Returns whether the neighbour got its memory. */
static bool pair_play(struct box *b, const struct pair *pair, bool *ret_stopped)
{
	uint64_t ids[] = {run_one(b, "greedy", pair->grant, SCHED_OVERRUN_AUTO),
			  run_one(b, "neighbour", pair->neighbour, SCHED_OVERRUN_AUTO)};
	uint64_t used[] = {gib(pair->grant / 2), gib(0.3)},
		 total = b->list->gpus[0].vram.total_bytes;
	int64_t phase = (int64_t)rnd(0, 200) / 20 * 20;
	bool alive = true, served = false, works = true;

	*ret_stopped = false;
	for (int64_t ms = 0; !served && ms < 120000; ms += 20, b->now += 20) {
		int signal;

		if (alive && ms % pair->step_ms == 0) {
			if (used[0] + used[1] + gib(pair->step_gib) <= total)
				used[0] += gib(pair->step_gib);
			else
				alive = false; /* out of memory by itself */
		}
		if (ms >= pair->neighbour_ms) {
			served = true;
			works = (alive ? used[0] : 0) + gib(pair->neighbour) <= total;
		}
		if (ms % 200 == phase)
			sample(b, ids, used, 2, 0);
		signal = signal_to(b, ids[0]);
		*ret_stopped |= signal != 0;
		if (signal == SIGKILL || (signal == SIGTERM && !pair->catches))
			alive = false;
		if (!alive) {
			used[0] = 0;
			if (state_of(b, ids[0]) == SCHED_RUNNING)
				killed(b, ids[0], SIGKILL);
		}
		assert_int_equal(signal_to(b, ids[1]), 0);
	}
	if (alive)
		ended(b, ids[0], SCHED_OK);
	ended(b, ids[1], SCHED_OK);
	sched_remarks_clear(b->sched);
	return works;
}

static void test_random_pairs(void **state)
{
	struct box *b = *state;
	unsigned rounds = ROUNDS(3000), good = 0, stopped = 0;

	for (unsigned i = 0; i < rounds; i++) {
		struct pair pair = {
		    .grant = rnd(0.5, 5),
		    .neighbour = rnd(1, 6),
		    .step_gib = rnd(0.05, 0.25),
		    .step_ms = (int64_t)rnd(10, 50) * 20,
		    .neighbour_ms = (int64_t)rnd(1, 60) * 1000,
		    .catches = rnd(0, 1) < 0.5,
		};
		bool was_stopped;

		good += pair_play(b, &pair, &was_stopped);
		stopped += was_stopped;
		b->now += 1000;
		sample(b, NULL, NULL, 0, 0);
	}
	print_message("# the neighbour got what it was promised %u of %u times; %u stopped\n", good,
		      rounds, stopped);
	assert_int_equal(good, rounds);
	assert_true(stopped > rounds / 3);
}

#define BOX_TEST(name) cmocka_unit_test_setup_teardown(name, box_create, box_destroy)

int main(void)
{
	const struct CMUnitTest tests[] = {
	    BOX_TEST(test_room_is_left),
	    BOX_TEST(test_neighbour_in_danger),
	    BOX_TEST(test_urgent),
	    BOX_TEST(test_stopped_while_it_grew),
	    BOX_TEST(test_stopped_when_it_had_grown),
	    BOX_TEST(test_stopped_when_it_had_settled),
	    BOX_TEST(test_stopped_below_what_is_known),
	    BOX_TEST(test_largest_excess_first),
	    BOX_TEST(test_foreign_growth_is_not_theirs),
	    BOX_TEST(test_alone),
	    BOX_TEST(test_stop_and_canceled),
	    BOX_TEST(test_unproven_kinds_do_not_crowd),
	    BOX_TEST(test_ram),
	    BOX_TEST(test_words),
	    BOX_TEST(test_words_of_ram),
	    BOX_TEST(test_ram_stop),
	    BOX_TEST(test_ram_learned),
	    BOX_TEST(test_what_is_configured),
	    cmocka_unit_test(test_names),
	    BOX_TEST(test_random_pairs),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
