/*
 * Users over days of virtual time: shares go towards the weights, nobody waits for ever, and the
 * numbers are what a simple sum gives. Also what a GPU that does not tell its utilisation is taken
 * for.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include "sched/sched.h"
#include "util/size.h"

#include <math.h>
#include <string.h>

#define HOUR ((int64_t)3600000)
#define DAY  (24 * HOUR)

static const char *const true_argv[] = {"true", NULL};

struct town {
	struct sched *sched;
	struct gpu_list *list;
	int64_t now;
	uint64_t random;
};

static uint64_t rnd(struct town *t, uint64_t n)
{
	t->random = t->random * 6364136223846793005ull + 1442695040888963407ull;
	return (t->random >> 33) % n;
}

static void sample(struct town *t)
{
	t->list->sampled_at_ms = t->now;
	sched_set_gpus(t->sched, t->list, t->now);
}

static void town_make(struct town *t, unsigned n_gpus, const struct sched_config *config)
{
	*t = (struct town){.now = 1800000000000,
			   .sched = sched_create(&(struct sched_options){}),
			   .list = gpu_list_create(),
			   .random = 7};
	sched_configure(t->sched, config, t->now);
	t->list->state = GPU_SOURCE_OK;
	for (unsigned i = 0; i < n_gpus; i++) {
		struct gpu *gpu = gpu_list_append(t->list);

		gpu->index = i;
		(void)snprintf(gpu->uuid, sizeof gpu->uuid, "GPU-%u", i);
		(void)snprintf(gpu->name, sizeof gpu->name, "Model");
		gpu->valid = GPU_TOTAL | GPU_USED | GPU_FREE;
		gpu->vram.total_bytes = gpu->vram.free_bytes = 8 * GIB;
	}
	sample(t);
}

static void town_finish(struct town *t)
{
	sched_destroy(t->sched);
	gpu_list_destroy(t->list);
}

static uint64_t send(struct town *t, uid_t uid, double vram_gib, int priority)
{
	const struct sched_spec spec = {
	    .name = "t",
	    .argv = true_argv,
	    .cwd = "/",
	    .uid = uid,
	    .priority = priority,
	    .policy = PLACE_FIRST_FIT,
	    .request = {.gpus = 1, .vram_bytes = (uint64_t)(vram_gib * (double)GIB)},
	};
	struct error err;
	uint64_t id = 0;

	assert_int_equal(sched_submit(t->sched, &spec, t->now, &id, &err), 0);
	return id;
}

static void step(struct town *t)
{
	size_t n;
	const struct sched_action *actions;

	(void)sched_step(t->sched, t->now);
	actions = sched_actions(t->sched, &n);
	for (size_t i = 0; i < n; i++)
		(void)sched_started(t->sched, actions[i].task, actions[i].attempt, t->now);
	sched_actions_clear(t->sched);
	sched_changes_clear(t->sched);
}

/* End what has run its time: between one and two minutes each, longer ones by their id. */
static void end_some(struct town *t)
{
	const struct sched_task *next;

	for (const struct sched_task *task = sched_first_active(t->sched); task; task = next) {
		const struct sched_attempt *a = sched_task_attempt(task);
		const struct sched_end end = {.task = task->id,
					      .attempt = a->number,
					      .outcome = SCHED_OK,
					      .exit_known = true};

		next = sched_next_active(task);
		if (t->now - a->started_at_ms >= 60000 + (int64_t)(task->id % 60) * 1000)
			assert_int_equal(sched_ended(t->sched, &end, t->now), 0);
	}
	if (sched_wants_sample(t->sched)) {
		t->now++;
		sample(t);
	}
}

static struct sched_user user_of(struct town *t, uid_t uid)
{
	auto_free struct sched_user *users = NULL;
	size_t n = sched_users(t->sched, t->now, &users);

	for (size_t i = 0; i < n; i++) {
		if (users[i].uid == uid)
			return users[i];
	}
	return (struct sched_user){.uid = uid};
}

static unsigned queued_of(struct town *t, uid_t uid)
{
	return user_of(t, uid).queued;
}

/* Two users who always have something waiting: one came a day earlier, one asks for larger things,
 * one counts three times the other. */
static void shares(double weight, double *ret_share)
{
	const struct sched_user_config users[] = {{1, {.weight = weight}}, {2, {.weight = 1}}};
	const struct sched_config config = {.users = users, .n_users = 2};
	struct town t;
	double sum = 0;
	unsigned n = 0;

	town_make(&t, 2, &config);
	for (int64_t minute = 0; minute < 6 * 24 * 60; minute++) {
		end_some(&t);
		for (unsigned i = queued_of(&t, 1); i < 40; i++)
			(void)send(&t, 1, 2, 0);
		for (unsigned i = queued_of(&t, 2); minute > 24 * 60 && i < 40; i++)
			(void)send(&t, 2, 3, 0);
		step(&t);
		if (minute % 60 == 0)
			sched_forget(t.sched, 10);
		if (minute > 4 * 24 * 60) {
			sum += user_of(&t, 1).usage_share;
			n++;
		}
		t.now += 60000;
	}
	*ret_share = sum / n;
	town_finish(&t);
}

static void test_shares_converge(void **state)
{
	static const double weights[] = {1, 3};

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(weights); i++) {
		double share, fair = weights[i] / (weights[i] + 1);

		shares(weights[i], &share);
		printf("# weights %.0f to 1: shares %.1f %% to %.1f %%, wanted %.1f %%\n",
		       weights[i], share * 100, (1 - share) * 100, fair * 100);
		assert_true(fabs(share - fair) < 0.03);
	}
}

/* Many slots get free at once: each gets his part of them at once. */
static void test_parts_of_one_step(void **state)
{
	struct town t;
	unsigned running[3] = {};

	(void)state;
	town_make(&t, 4, &(struct sched_config){});
	for (int i = 0; i < 40; i++)
		(void)send(&t, 1, 1.5, 0);
	for (int i = 0; i < 40; i++)
		(void)send(&t, 2, 1.5, 0);
	step(&t);
	for (const struct sched_task *a = sched_first_active(t.sched); a; a = sched_next_active(a))
		running[a->spec.uid]++;
	printf("# of 20 slots: %u and %u\n", running[1], running[2]);
	assert_int_equal(running[1], 10);
	assert_int_equal(running[2], 10);
	town_finish(&t);
}

/* A town at full load, with priorities, three users and sizes up to a whole GPU: nobody waits much
 * longer than it takes to work off what was there when he came. */
static void test_nobody_starves(void **state)
{
	const struct sched_config config = {.ageing_ms = 10 * 60000, .fair_half_life_ms = HOUR};
	int64_t longest = 0;
	struct town t;

	(void)state;
	town_make(&t, 3, &config);
	for (int minute = 0; minute < 3 * 24 * 60; minute++) {
		end_some(&t);
		/* As much as can be done, on average; in bursts. */
		for (uint64_t i = rnd(&t, 12) == 0 ? rnd(&t, 60) : 0; i > 0; i--)
			(void)send(&t, 1 + (uid_t)rnd(&t, 3), 1 + (double)rnd(&t, 14) / 2,
				   (int)rnd(&t, 7) - 3);
		for (const struct sched_task *a = sched_first(t.sched); a; a = sched_next(a)) {
			if (a->state == SCHED_WAITING)
				longest = MAX_OF(longest, t.now - a->submitted_at_ms);
		}
		step(&t);
		if (minute % 60 == 0)
			sched_forget(t.sched, 10);
		t.now += 60000;
	}
	printf("# longest wait of all: %.1f h\n", (double)longest / (double)HOUR);
	assert_true(longest < 12 * HOUR);
	town_finish(&t);
}

/* Usage is whole GPUs x seconds, halved for each half-life, and survives a restart. */
static void test_usage(void **state)
{
	struct town t;
	struct sched_user *users;
	struct sched_end end = {.attempt = 1, .outcome = SCHED_OK, .exit_known = true};

	(void)state;
	town_make(&t, 1, &(struct sched_config){.fair_half_life_ms = DAY});
	end.task = send(&t, 5, 4, 0);
	step(&t);
	t.now += 1000000;
	assert_int_equal(sched_ended(t.sched, &end, t.now), 0);
	assert_int_equal(sched_users(t.sched, t.now, &users), 1);
	assert_int_equal(users[0].uid, 5);
	assert_true(fabs(users[0].usage_gpu_seconds - 500) < 3); /* half a GPU; a bit has aged */
	free(users);
	assert_int_equal(sched_users(t.sched, t.now + DAY, &users), 1);
	assert_true(fabs(users[0].usage_gpu_seconds - 250) < 2);
	sched_restore_user(t.sched, 7, users[0].usage_gpu_seconds, users[0].at_ms);
	free(users);
	assert_int_equal(sched_users(t.sched, t.now + 2 * DAY, &users), 2);
	assert_true(fabs(users[0].usage_share - 0.5) < 0.01);
	assert_true(fabs(users[1].usage_gpu_seconds - 125) < 2);
	free(users);
	/* Who has nothing left and used next to nothing is forgotten. */
	sched_changes_clear(t.sched);
	sched_forget(t.sched, 0);
	assert_int_equal(sched_users(t.sched, t.now + 60 * DAY, &users), 2);
	free(users);
	sched_forget(t.sched, 0);
	assert_int_equal(sched_users(t.sched, t.now + 60 * DAY, &users), 0);
	free(users);
	town_finish(&t);
}

/* A GPU that does not tell how busy it is has not been seen with time to spare: a share of its time
 * is a floor of what the task takes alone, not what it takes. */
static void test_unknown_utilization_is_no_spare_time(void **state)
{
	struct town t;
	struct estimate estimate;
	uint64_t id;

	(void)state;
	town_make(&t, 1, &(struct sched_config){});
	for (int i = 0; i < 2; i++) {
		const struct sched_spec spec = {.name = "t",
						.argv = true_argv,
						.cwd = "/",
						.kind = i ? "other" : "k",
						.policy = PLACE_FIRST_FIT,
						.request = {.gpus = 1, .vram_bytes = GIB}};
		struct error err;

		assert_int_equal(sched_submit(t.sched, &spec, t.now, &id, &err), 0);
	}
	step(&t);
	for (int second = 0; second < 3; second++) {
		t.now += 1000;
		sample(&t);
		for (uint64_t task = 1; task <= 2; task++) {
			const struct sched_usage usage = {.task = task,
							  .uuid = "GPU-0",
							  .vram_known = true,
							  .vram_bytes = GIB,
							  .utilization_known = true,
							  .utilization_percent = 40};

			assert_int_equal(sched_set_usage(t.sched, &usage, t.now), 0);
		}
	}
	estimate = estimates_get(sched_estimates(t.sched), "k", "Model", 0, GIB);
	assert_true(estimate.utilization_known);
	assert_true(estimate.utilization_is_floor);
	town_finish(&t);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_shares_converge),
	    cmocka_unit_test(test_parts_of_one_step),
	    cmocka_unit_test(test_nobody_starves),
	    cmocka_unit_test(test_usage),
	    cmocka_unit_test(test_unknown_utilization_is_no_spare_time),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
