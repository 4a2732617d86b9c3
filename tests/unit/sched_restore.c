/* What the store gives back to a queue that runs. */
#include "sched/sched.h"

#include <setjmp.h>
#include <stdarg.h>
#include <string.h>

#include <cmocka.h>

/* Of a batch that has ended some tasks may have left the memory: brought back for a retry, they are
 * counted as before. */
static void test_forgotten_and_back(void **state)
{
	static const char *const argv[] = {"true", NULL};
	struct sched *sched = sched_create(&(struct sched_options){});
	struct sched_task task = {.batch = 1,
				  .spec = {.name = "t",
					   .kind = "",
					   .argv = argv,
					   .cwd = "/",
					   .request = {.cpu = PLACE_CPU_ONLY}},
				  .state = SCHED_FAILED,
				  .submitted_at_ms = 1,
				  .updated_at_ms = 2};
	const struct sched_batch batch = {.id = 1,
					  .name = "b",
					  .state = SCHED_BATCH_DONE,
					  .submitted_at_ms = 1,
					  .ended_at_ms = 2,
					  .total = 3};
	unsigned n = 0;

	(void)state;
	assert_int_equal(sched_restore_batch(sched, &batch, NULL), 0);
	for (task.id = 1; task.id <= 3; task.id++)
		assert_int_equal(sched_restore_task(sched, &task, NULL), 0);
	(void)sched_step(sched, 5);
	sched_forget(sched, 1);
	assert_null(sched_find(sched, 1));
	assert_non_null(sched_find(sched, 3));
	assert_int_equal(sched_find_batch(sched, 1)->counts[SCHED_FAILED], 3);
	for (task.id = 1; task.id <= 2; task.id++)
		assert_int_equal(sched_restore_task(sched, &task, NULL), 0);
	assert_int_equal(sched_find_batch(sched, 1)->counts[SCHED_FAILED], 3);
	assert_int_equal(sched_counts(sched)[SCHED_FAILED], 3);
	assert_int_equal(sched_batch_retry(sched, 1, 10, &n, NULL), 0);
	assert_int_equal(n, 3);
	assert_int_equal(sched_find_batch(sched, 1)->counts[SCHED_WAITING], 3);
	assert_int_equal(sched_find_batch(sched, 1)->counts[SCHED_FAILED], 0);
	assert_int_equal(sched_find_batch(sched, 1)->state, SCHED_BATCH_RUNNING);
	sched_destroy(sched);
}

static struct sched_task one_of(uint64_t id, enum sched_state state)
{
	static const char *const argv[] = {"true", NULL};

	return (struct sched_task){.id = id,
				   .spec = {.name = "t",
					    .kind = "",
					    .argv = argv,
					    .cwd = "/",
					    .request = {.cpu = PLACE_CPU_ONLY}},
				   .state = state,
				   .submitted_at_ms = 1,
				   .updated_at_ms = 2};
}

/* Task 2, which is to run after task 1. */
static void restore_second(struct sched *sched, enum sched_after_on on,
			   struct sched_after_item *left)
{
	struct sched_task task = one_of(2, SCHED_WAITING);
	const struct sched_after after = {.items = left, .n = 1, .on = on};

	task.spec.after = &after;
	task.after = left;
	task.n_after = 1;
	assert_int_equal(sched_restore_task(sched, &task, NULL), 0);
}

static bool is_changed(const struct sched *sched, uint64_t id)
{
	const struct sched_changes changes = sched_changes(sched);

	for (size_t i = 0; i < changes.n_tasks; i++)
		if (changes.tasks[i]->id == id)
			return true;
	return false;
}

/* The supervisor tells of ends before anything may be started. What is stored then holds the end
 * and what it means for who waits: the next daemon does not look at the ended any more. */
static void test_end_before_the_first_step(void **state)
{
	static const struct {
		enum sched_after_on on;
		enum sched_outcome outcome;
		enum sched_state after_it;
	} cases[] = {
	    {SCHED_AFTER_SUCCESS, SCHED_OK, SCHED_WAITING},
	    {SCHED_AFTER_SUCCESS, SCHED_ERROR, SCHED_CANCELED},
	    {SCHED_AFTER_FAILURE, SCHED_ERROR, SCHED_WAITING},
	    {SCHED_AFTER_FAILURE, SCHED_OK, SCHED_CANCELED},
	    {SCHED_AFTER_END, SCHED_ERROR, SCHED_WAITING},
	};

	(void)state;
	for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
		struct sched *sched = sched_create(&(struct sched_options){});
		struct sched_attempt attempt = {.number = 1, .started_at_ms = 1};
		struct sched_task first = one_of(1, SCHED_RUNNING);
		struct sched_after_item left = {.id = 1};
		const struct sched_end end = {.task = 1,
					      .attempt = 1,
					      .outcome = cases[i].outcome,
					      .exit_known = true,
					      .exit_code = cases[i].outcome != SCHED_OK};

		first.attempts = &attempt;
		first.n_attempts = 1;
		assert_int_equal(sched_restore_task(sched, &first, NULL), 0);
		restore_second(sched, cases[i].on, &left);
		sched_restored(sched, 3);
		assert_int_equal(sched_changes(sched).n_tasks, 0);
		assert_int_equal(sched_ended(sched, &end, 4), 0);
		assert_true(is_changed(sched, 1) && is_changed(sched, 2));
		assert_int_equal(sched_find(sched, 2)->n_after, 0);
		assert_int_equal(sched_find(sched, 2)->state, cases[i].after_it);
		sched_destroy(sched);
	}
}

/* One that is canceled by its user in that time. */
static void test_cancel_before_the_first_step(void **state)
{
	struct sched *sched = sched_create(&(struct sched_options){});
	struct sched_task first = one_of(1, SCHED_WAITING);
	struct sched_after_item left = {.id = 1};

	(void)state;
	assert_int_equal(sched_restore_task(sched, &first, NULL), 0);
	restore_second(sched, SCHED_AFTER_FAILURE, &left);
	sched_restored(sched, 3);
	assert_int_equal(sched_cancel(sched, 1, 4, NULL), 0);
	assert_true(is_changed(sched, 2));
	assert_int_equal(sched_find(sched, 2)->n_after, 0);
	sched_destroy(sched);
}

/* It ended and is not brought back: the store says how. */
static void test_ended_but_not_restored(void **state)
{
	struct sched_after_item well = {.id = 1, .ended = true, .ended_well = true};
	struct sched_after_item badly = {.id = 1, .ended = true}, gone = {.id = 1};
	struct sched *sched = sched_create(&(struct sched_options){});

	(void)state;
	restore_second(sched, SCHED_AFTER_SUCCESS, &well);
	sched_restored(sched, 3);
	assert_int_equal(sched_find(sched, 2)->state, SCHED_WAITING);
	assert_int_equal(sched_find(sched, 2)->n_after, 0);
	sched_destroy(sched);
	sched = sched_create(&(struct sched_options){});
	restore_second(sched, SCHED_AFTER_SUCCESS, &badly);
	sched_restored(sched, 3);
	assert_int_equal(sched_find(sched, 2)->state, SCHED_CANCELED);
	assert_non_null(strstr(sched_find(sched, 2)->reason, "ended otherwise"));
	sched_destroy(sched);
	sched = sched_create(&(struct sched_options){});
	restore_second(sched, SCHED_AFTER_SUCCESS, &gone);
	sched_restored(sched, 3);
	assert_non_null(strstr(sched_find(sched, 2)->reason, "not there any more"));
	sched_destroy(sched);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_forgotten_and_back),
	    cmocka_unit_test(test_end_before_the_first_step),
	    cmocka_unit_test(test_cancel_before_the_first_step),
	    cmocka_unit_test(test_ended_but_not_restored),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
