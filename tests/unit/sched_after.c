/* Dependencies at a size: chains and fans of 100,000. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include "sched/sched.h"

#include <errno.h>
#include <string.h>
#include <sys/resource.h>
#include <time.h>

#define MANY 100000

static const char *const true_argv[] = {"true", NULL};
static const int64_t NOW = 1800000000000;

static double seconds_now(void)
{
	struct timespec ts;

	(void)clock_gettime(CLOCK_MONOTONIC, &ts);
	return (double)ts.tv_sec + (double)ts.tv_nsec / 1e9;
}

static struct sched_spec cpu_spec(const struct sched_after *after)
{
	return (struct sched_spec){
	    .name = "t",
	    .argv = true_argv,
	    .cwd = "/",
	    .policy = PLACE_FIRST_FIT,
	    .after = after,
	    .request = {.cpu = PLACE_CPU_ONLY},
	};
}

static uint64_t submit_after(struct sched *sched, uint64_t id, enum sched_after_on on)
{
	const struct sched_after_item item = {.id = id};
	const struct sched_after after = {.items = &item, .n = 1, .on = on};
	struct sched_spec spec = cpu_spec(id ? &after : NULL);
	struct error err;
	uint64_t ret = 0;

	assert_int_equal(sched_submit(sched, &spec, NOW, &ret, &err), 0);
	return ret;
}

static void end_it(struct sched *sched, uint64_t id, enum sched_outcome outcome)
{
	const struct sched_end end = {
	    .task = id, .attempt = 1, .outcome = outcome, .exit_known = true, .exit_code = 1};

	assert_int_equal(sched_ended(sched, &end, NOW), 0);
}

/* Each waits for the one before; the first fails. A stack of 1 MiB is all there is. */
static void test_chain(void **state)
{
	struct rlimit limit = {.rlim_cur = 1 << 20, .rlim_max = RLIM_INFINITY};
	struct sched *sched = sched_create(&(struct sched_options){});
	double t = seconds_now();
	uint64_t last = 0;

	(void)state;
	(void)getrlimit(RLIMIT_STACK, &limit);
	limit.rlim_cur = 1 << 20;
	assert_int_equal(setrlimit(RLIMIT_STACK, &limit), 0);
	for (int i = 0; i < MANY; i++)
		last = submit_after(sched, last, SCHED_AFTER_SUCCESS);
	assert_int_equal(sched_step(sched, NOW), 1);
	sched_changes_clear(sched);
	end_it(sched, 1, SCHED_ERROR);
	assert_int_equal(sched_counts(sched)[SCHED_CANCELED], MANY - 1);
	assert_string_equal(
	    sched_find(sched, last)->reason,
	    "not started: waited for task 99999 to succeed; task 1 failed: exit code 1");
	assert_int_equal(sched_changes(sched).n_tasks, MANY);
	printf("# a chain of %d submitted and canceled in %.2f s\n", MANY, seconds_now() - t);
	sched_destroy(sched);
}

/* All wait for one, and each for nothing else; those who left before it ended are not looked at. */
static void test_fan(void **state)
{
	struct sched *sched = sched_create(&(struct sched_options){});
	uint64_t first = submit_after(sched, 0, SCHED_AFTER_END);
	struct error err;
	double t;

	(void)state;
	for (int i = 0; i < MANY; i++)
		(void)submit_after(sched, first, SCHED_AFTER_SUCCESS);
	for (uint64_t id = 2; id <= MANY + 1; id += 2)
		assert_int_equal(sched_cancel(sched, id, NOW, &err), 0);
	assert_int_equal(sched_step(sched, NOW), 1);
	t = seconds_now();
	end_it(sched, first, SCHED_OK);
	printf("# %d told of an end in %.3f s\n", MANY / 2, seconds_now() - t);
	for (const struct sched_task *task = sched_first(sched); task; task = sched_next(task))
		assert_int_equal(task->n_after, 0);
	assert_int_equal(sched_counts(sched)[SCHED_WAITING], MANY / 2);
	sched_destroy(sched);
}

static void test_refused(void **state)
{
	struct sched *sched = sched_create(&(struct sched_options){});
	auto_free struct sched_after_item *items = mem_calloc(SCHED_AFTER_MAX + 1, sizeof *items);
	struct sched_after after = {.items = items, .n = SCHED_AFTER_MAX + 1};
	struct sched_spec spec = cpu_spec(&after), rows[2] = {cpu_spec(NULL), cpu_spec(&after)};
	const struct sched_batch_spec batch = {.name = "b", .tasks = rows, .n_tasks = 2};
	uint64_t first = submit_after(sched, 0, SCHED_AFTER_END), id, batch_id;
	struct error err;

	(void)state;
	for (size_t i = 0; i < after.n; i++)
		items[i].id = first;
	assert_int_equal(sched_submit(sched, &spec, NOW, &id, &err), -EINVAL);
	after.n = 1;
	assert_int_equal(sched_submit(sched, &spec, NOW, &id, &err), 0);
	/* No task can be named before it is there; and nothing of the batch is kept then. */
	items[0].id = 3;
	assert_int_equal(sched_submit_batch(sched, &batch, NOW, &batch_id, &id, &err), -ESRCH);
	assert_non_null(strstr(err.text, "row 2"));
	assert_int_equal(sched_counts(sched)[SCHED_WAITING], 2);
	/* One that has left the memory, how it ended is told by who asks. */
	items[0] = (struct sched_after_item){.id = 1000, .ended = true, .ended_well = true};
	assert_int_equal(sched_submit(sched, &spec, NOW, &id, &err), 0);
	assert_int_equal(sched_find(sched, id)->n_after, 0);
	items[0].ended_well = false;
	assert_int_equal(sched_submit(sched, &spec, NOW, &id, &err), 0);
	assert_int_equal(sched_find(sched, id)->state, SCHED_CANCELED);
	assert_non_null(strstr(sched_find(sched, id)->reason, "task 1000 ended otherwise"));
	sched_destroy(sched);
}

/* What is waited for is withdrawn: it was never there, and can never be met. */
static void test_withdrawn(void **state)
{
	struct sched *sched = sched_create(&(struct sched_options){});
	uint64_t a = submit_after(sched, 0, SCHED_AFTER_END);
	uint64_t b = submit_after(sched, a, SCHED_AFTER_SUCCESS);

	(void)state;
	assert_int_equal(sched_withdraw_task(sched, a), 0);
	(void)sched_step(sched, NOW);
	assert_int_equal(sched_find(sched, b)->state, SCHED_CANCELED);
	assert_non_null(strstr(sched_find(sched, b)->reason, "not there any more"));
	sched_destroy(sched);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_chain),
	    cmocka_unit_test(test_fan),
	    cmocka_unit_test(test_refused),
	    cmocka_unit_test(test_withdrawn),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
