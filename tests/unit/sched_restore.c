/* What the store gives back to a queue that runs. */
#include "sched/sched.h"

#include <setjmp.h>
#include <stdarg.h>

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

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_forgotten_and_back),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
