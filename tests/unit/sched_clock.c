/*
 * Clocks that are set, forward and back, while the queue lives and while it does not: what means a
 * duration stays what it was, what means a time of day does not.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include "sched/sched.h"
#include "util/size.h"

#include <math.h>
#include <signal.h>
#include <string.h>

#define MINUTE ((int64_t)60000)
#define HOUR   (60 * MINUTE)
#define UID    1000

static const char *const true_argv[] = {"true", NULL};
static const int64_t steps[] = {-48 * HOUR, -2 * HOUR, -2000, 2000, 2 * HOUR, 48 * HOUR};

struct clocks {
	struct sched *sched;
	struct gpu_list *list;
	int64_t now, monotonic;
};

static void look(struct clocks *c)
{
	sched_clock(c->sched, c->now, c->monotonic);
}

static void pass(struct clocks *c, int64_t ms)
{
	c->now += ms;
	c->monotonic += ms;
	look(c);
}

static void set(struct clocks *c, int64_t by)
{
	c->now += by;
	look(c);
}

static void sample(struct clocks *c)
{
	c->list->sampled_at_ms = c->now;
	sched_set_gpus(c->sched, c->list, c->now);
}

/* One GPU of 8 GiB. */
static struct clocks make(void)
{
	struct clocks c = {.sched = sched_create(&(struct sched_options){}),
			   .list = gpu_list_create(),
			   .now = 1800000000000,
			   .monotonic = 5000};
	struct gpu *gpu = gpu_list_append(c.list);

	c.list->state = GPU_SOURCE_OK;
	(void)snprintf(gpu->uuid, sizeof gpu->uuid, "GPU-0");
	gpu->valid = GPU_TOTAL | GPU_USED | GPU_FREE;
	gpu->vram.total_bytes = gpu->vram.free_bytes = 8 * GIB;
	look(&c);
	sched_configure(c.sched, &(struct sched_config){.fair_half_life_ms = HOUR}, c.now);
	sample(&c);
	return c;
}

static void finish(struct clocks *c)
{
	sched_destroy(c->sched);
	gpu_list_destroy(c->list);
}

static struct sched_spec spec_of(double gib)
{
	return (struct sched_spec){.name = "t",
				   .argv = true_argv,
				   .cwd = "/",
				   .kind = "",
				   .uid = UID,
				   .request = {.gpus = 1, .vram_bytes = (uint64_t)(gib * GIB)}};
}

static uint64_t submit(struct clocks *c, struct sched_spec spec)
{
	uint64_t id = 0;

	assert_int_equal(sched_submit(c->sched, &spec, c->now, &id, NULL), 0);
	return id;
}

/* Returns the signal that was sent; 0 = none. */
static int step(struct clocks *c)
{
	const struct sched_action *actions;
	size_t n;
	int sent = 0;

	(void)sched_step(c->sched, c->now);
	actions = sched_actions(c->sched, &n);
	for (size_t i = 0; i < n; i++)
		sent = actions[i].type == SCHED_SIGNAL ? actions[i].signal : sent;
	sched_changes_clear(c->sched);
	sched_actions_clear(c->sched);
	return sent;
}

static uint64_t run(struct clocks *c, struct sched_spec spec)
{
	uint64_t id = submit(c, spec);

	(void)step(c);
	assert_int_equal(sched_started(c->sched, id, 1, c->now), 0);
	(void)step(c);
	return id;
}

static const struct sched_task *get(const struct clocks *c, uint64_t id)
{
	return sched_find(c->sched, id);
}

static double usage(struct clocks *c)
{
	struct sched_user *users;
	size_t n = sched_users(c->sched, c->now, &users);
	double seconds = n > 0 ? users[0].usage_gpu_seconds : 0;

	free(users);
	return seconds;
}

static void test_limits_count_time_that_passed(void **state)
{
	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(steps); i++) {
		struct clocks c = make();
		struct sched_spec spec = spec_of(4);

		spec.hard_limit_ms = HOUR;
		spec.soft_limit_ms = HOUR / 2;
		(void)run(&c, spec);
		pass(&c, MINUTE);
		set(&c, steps[i]);
		assert_int_equal(step(&c), 0);
		assert_int_equal(sched_deadline(c.sched), c.now + 29 * MINUTE);
		pass(&c, 29 * MINUTE - 1);
		assert_int_equal(step(&c), 0);
		pass(&c, 1);
		assert_int_equal(step(&c), SIGTERM);
		set(&c, steps[i]);
		pass(&c, 30 * MINUTE - 1);
		assert_int_equal(step(&c), 0);
		pass(&c, 1);
		assert_int_equal(step(&c), SIGKILL);
		finish(&c);
	}
}

/* Of both clocks, small differences are how they are read; they do not add up. */
static void test_drift_is_no_step(void **state)
{
	struct clocks c = make();
	struct sched_spec spec = spec_of(4);
	int64_t started_at_ms;
	uint64_t id;

	(void)state;
	spec.hard_limit_ms = HOUR;
	id = run(&c, spec);
	started_at_ms = get(&c, id)->attempts[0].started_at_ms;
	for (unsigned second = 0; second < 1000; second++) {
		c.now += 5;
		pass(&c, 1000);
	}
	assert_int_equal(step(&c), 0);
	assert_int_equal(get(&c, id)->attempts[0].started_at_ms, started_at_ms);
	assert_int_equal(sched_deadline(c.sched), started_at_ms + HOUR);
	finish(&c);
}

static void test_pauses_and_judges(void **state)
{
	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(steps); i++) {
		struct clocks c = make();
		struct sched_spec spec = spec_of(4);
		uint64_t dies, waits;

		dies = run(&c, spec);
		assert_int_equal(sched_ended(c.sched,
					     &(struct sched_end){.task = dies,
								 .attempt = 1,
								 .outcome = SCHED_ERROR,
								 .exit_known = true,
								 .exit_code = 1},
					     c.now),
				 0);
		set(&c, steps[i]);
		assert_int_equal(sched_deadline(c.sched), c.now + SCHED_JUDGE_MS);
		(void)step(&c);
		assert_int_equal(get(&c, dies)->state, SCHED_RUNNING);
		pass(&c, SCHED_JUDGE_MS);
		(void)step(&c);
		assert_int_equal(get(&c, dies)->state, SCHED_FAILED);
		assert_int_equal(get(&c, dies)->attempts[0].ended_at_ms -
				     get(&c, dies)->attempts[0].started_at_ms,
				 0);

		pass(&c, 1);
		sample(&c);
		waits = submit(&c, spec);
		(void)step(&c);
		assert_int_equal(
		    sched_start_failed(c.sched, waits, 1, "no more processes", true, c.now), 0);
		set(&c, steps[i]);
		assert_int_equal(sched_deadline(c.sched), c.now + 1000);
		(void)step(&c);
		assert_int_equal(get(&c, waits)->state, SCHED_WAITING);
		assert_true(sched_changes(c.sched).n_tasks == 0);
		pass(&c, 1000);
		(void)step(&c);
		assert_int_equal(get(&c, waits)->state, SCHED_STARTING);
		finish(&c);
	}
}

static void test_a_time_of_day_stays(void **state)
{
	struct clocks c = make();
	struct sched_spec spec = spec_of(4);
	int64_t at_ms = c.now + HOUR;
	uint64_t id;

	(void)state;
	spec.not_before_ms = at_ms;
	id = submit(&c, spec);
	set(&c, -24 * HOUR);
	(void)step(&c);
	assert_int_equal(get(&c, id)->not_before_ms, at_ms);
	assert_int_equal(get(&c, id)->queued_at_ms, at_ms);
	pass(&c, 24 * HOUR);
	(void)step(&c);
	assert_int_equal(get(&c, id)->state, SCHED_WAITING);
	set(&c, 2 * HOUR);
	(void)step(&c);
	assert_int_equal(get(&c, id)->state, SCHED_STARTING);
	finish(&c);
}

/* The order stays, and what was waited; all of it is to be stored. */
static void test_waits(void **state)
{
	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(steps); i++) {
		struct clocks c = make();
		struct sched_spec urgent = spec_of(6);
		uint64_t first, second;

		(void)run(&c, spec_of(6));
		first = submit(&c, spec_of(6));
		pass(&c, 90 * MINUTE);
		(void)step(&c);
		set(&c, steps[i]);
		assert_int_equal(c.now - get(&c, first)->queued_at_ms, 90 * MINUTE);
		assert_int_equal(sched_changes(c.sched).n_tasks, 2);
		urgent.priority = 1; /* worth an hour */
		second = submit(&c, urgent);
		assert_int_equal(get(&c, second)->queued_at_ms, c.now);
		assert_int_equal(sched_ended(c.sched,
					     &(struct sched_end){.task = first - 1,
								 .attempt = 1,
								 .outcome = SCHED_OK,
								 .exit_known = true},
					     c.now),
				 0);
		pass(&c, 1);
		sample(&c);
		(void)step(&c);
		assert_int_equal(get(&c, first)->state, SCHED_STARTING);
		assert_int_equal(get(&c, second)->state, SCHED_WAITING);
		finish(&c);
	}
}

static void test_fair_share(void **state)
{
	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(steps); i++) {
		struct clocks set_one = make(), other = make();

		(void)run(&set_one, spec_of(4));
		(void)run(&other, spec_of(4));
		pass(&set_one, 10 * MINUTE);
		pass(&other, 20 * MINUTE);
		set(&set_one, steps[i]);
		pass(&set_one, 10 * MINUTE);
		assert_true(usage(&other) > 60);
		assert_true(fabs(usage(&set_one) - usage(&other)) < 0.1);
		finish(&set_one);
		finish(&other);
	}
}

/* The next daemon: what is running ran an hour when it was stored, of two. */
static void restart(struct clocks *c, int64_t set_by, bool keeps_offset)
{
	struct sched *old = c->sched;
	int64_t offset = sched_clock_offset(old);
	double used = usage(c);
	int64_t used_at_ms = c->now;

	c->now += set_by;
	c->sched = sched_create(&(struct sched_options){});
	sched_configure(c->sched, &(struct sched_config){.fair_half_life_ms = HOUR}, 0);
	look(c); /* the settings are read before the queue is */
	sched_restore_user(c->sched, UID, used, used_at_ms);
	for (const struct sched_task *t = sched_first(old); t; t = sched_next(t))
		assert_int_equal(sched_restore_task(c->sched, t, NULL), 0);
	if (keeps_offset)
		sched_restore_clock(c->sched, offset);
	sched_destroy(old);
}

static void test_set_while_nobody_looked(void **state)
{
	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(steps); i++) {
		struct clocks c = make();
		struct sched_spec spec = spec_of(6);
		uint64_t id;

		spec.hard_limit_ms = 2 * HOUR;
		id = run(&c, spec);
		pass(&c, HOUR);
		(void)submit(&c, spec_of(6));
		(void)step(&c);
		restart(&c, steps[i], true);
		look(&c);
		sample(&c);
		assert_int_equal(step(&c), 0);
		assert_true(llabs(c.now - get(&c, id)->attempts[0].started_at_ms - HOUR) <= 1);
		assert_true(c.now - get(&c, id + 1)->queued_at_ms <= 1);
		pass(&c, HOUR - 10);
		assert_int_equal(step(&c), 0);
		pass(&c, 10);
		assert_int_equal(step(&c), SIGKILL);
		finish(&c);
	}
}

/* Without a note of the clocks: what was stored last cannot be later than now. */
static void test_set_back_unnoted(void **state)
{
	struct clocks c = make();
	struct sched_spec spec = spec_of(6);
	double used;
	uint64_t id;

	(void)state;
	spec.hard_limit_ms = 2 * HOUR;
	id = run(&c, spec);
	pass(&c, HOUR);
	(void)submit(&c, spec_of(6));
	(void)step(&c);
	used = usage(&c);
	restart(&c, -3 * HOUR, false);
	look(&c);
	sample(&c);
	assert_int_equal(step(&c), 0);
	assert_int_equal(c.now - get(&c, id)->attempts[0].started_at_ms, HOUR);
	assert_int_equal(get(&c, id + 1)->queued_at_ms, c.now);
	pass(&c, 10 * MINUTE);
	assert_true(usage(&c) > used + 60);
	pass(&c, 50 * MINUTE);
	assert_int_equal(step(&c), SIGKILL);
	finish(&c);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_limits_count_time_that_passed),
	    cmocka_unit_test(test_drift_is_no_step),
	    cmocka_unit_test(test_pauses_and_judges),
	    cmocka_unit_test(test_a_time_of_day_stays),
	    cmocka_unit_test(test_waits),
	    cmocka_unit_test(test_fair_share),
	    cmocka_unit_test(test_set_while_nobody_looked),
	    cmocka_unit_test(test_set_back_unnoted),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
