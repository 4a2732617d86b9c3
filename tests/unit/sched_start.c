/* Starts that fail, whose fault it is and who waits for that; and stops. */
#include "sched_box.h"

#include <errno.h>
#include <signal.h>
#include <string.h>

static void test_start_failures(void **state)
{
	struct box *b = *state;
	uint64_t id = submit(b, spec_of(3)), other = submit(b, spec_of(3));

	(void)step(b);
	assert_int_equal(sched_start_failed(b->sched, other, 1, "true: no such command",
					    SCHED_FAULT_TASK, b->now),
			 0);
	assert_int_equal(state_of(b, other), SCHED_FAILED);
	assert_non_null(strstr(reason_of(b, other), "no such command"));
	assert_int_equal(
	    sched_start_failed(b->sched, id, 1, "too many processes", SCHED_FAULT_MACHINE, b->now),
	    0);
	assert_int_equal(state_of(b, id), SCHED_WAITING);
	assert_int_equal(step(b), 0);
	assert_non_null(strstr(reason_of(b, id), "too many processes"));
	assert_int_equal(sched_deadline(b->sched), b->now + 1000);
	b->now -= 3600000; /* the clock was set: the pause stays one second */
	assert_int_equal(step(b), 0);
	b->now += 1000;
	assert_int_equal(step(b), 1);
	assert_int_equal(sched_deadline(b->sched), 0);
	assert_int_equal(sched_start_failed(b->sched, id, 1, "late", SCHED_FAULT_MACHINE, b->now),
			 -ESTALE);
}

/* One user has all the processes he may have: the others do not notice. */
static void test_refused_starts_are_the_tasks_own(void **state)
{
	static const char text[] = "its user has as many processes as he may";
	struct box *b = *state;
	uint64_t id = submit(b, spec_of(3)), other;
	unsigned n = 0;
	int64_t pause = 0;

	assert_int_equal(step(b), 1);
	while (state_of(b, id) == SCHED_STARTING && n < 2 * SCHED_REFUSALS_MAX) {
		n++;
		assert_int_equal(
		    sched_start_failed(b->sched, id, n, text, SCHED_FAULT_PASSING, b->now), 0);
		if (state_of(b, id) != SCHED_WAITING)
			break;
		assert_non_null(strstr(reason_of(b, id), text));
		assert_int_equal(sched_find(b->sched, id)->start_refusals, n);
		assert_true(sched_deadline(b->sched) - b->now >= pause);
		pause = sched_deadline(b->sched) - b->now;
		assert_in_range(pause, 1000, SCHED_REFUSAL_PAUSE_MAX_MS);
		/* Meanwhile two at once start as ever: no brake. */
		other = submit(b, spec_of(1));
		(void)submit(b, spec_of(1));
		assert_int_equal(step(b), 2);
		for (uint64_t o = other; o < other + 2; o++) {
			started(b, o);
			ended(b, o, SCHED_OK);
		}
		b->now += pause;
		assert_int_equal(step(b), 1);
	}
	assert_int_equal(n, SCHED_REFUSALS_MAX);
	assert_int_equal(state_of(b, id), SCHED_FAILED);
	assert_non_null(strstr(reason_of(b, id), "40 times in a row: its user"));
}

static const struct sched_action *only_action(struct box *b)
{
	size_t n;
	const struct sched_action *actions;

	(void)sched_step(b->sched, b->now);
	actions = sched_actions(b->sched, &n);
	assert_int_equal(n, 1);
	return actions;
}

static void test_stop_is_term_then_kill(void **state)
{
	struct box *b = *state;
	uint64_t id = submit(b, spec_of(3));
	struct error err;

	assert_int_equal(only_action(b)->type, SCHED_START);
	sched_actions_clear(b->sched);
	assert_int_equal(sched_cancel(b->sched, id, b->now, &err), 0);
	assert_int_equal(step(b), 0); /* not before its process is known */
	started(b, id);
	assert_int_equal(only_action(b)->signal, SIGTERM);
	sched_actions_clear(b->sched);
	assert_int_equal(sched_deadline(b->sched), b->now + 10000);
	b->now -= 3600000; /* the clock was set: the grace stays what it was */
	(void)step(b);
	assert_int_equal(sched_deadline(b->sched), b->now + 10000);
	b->now += 9999;
	(void)sched_step(b->sched, b->now);
	b->now += 1;
	assert_int_equal(only_action(b)->signal, SIGKILL);
	ended(b, id, SCHED_OK); /* it was stopped, whatever it says */
	assert_int_equal(state_of(b, id), SCHED_CANCELED);
	assert_int_equal(sched_cancel(b->sched, id, b->now, &err), -EALREADY);
	assert_int_equal(sched_cancel(b->sched, 999, b->now, &err), -ESRCH);
}

#define TEST(function) cmocka_unit_test_setup_teardown(function, box_create, box_destroy)

int main(void)
{
	const struct CMUnitTest tests[] = {
	    TEST(test_start_failures),
	    TEST(test_refused_starts_are_the_tasks_own),
	    TEST(test_stop_is_term_then_kill),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
