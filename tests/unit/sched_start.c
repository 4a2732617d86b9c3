/* Starts that fail, whose fault it is and who waits for that; and stops. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include "sched/sched.h"
#include "util/size.h"

#include <errno.h>
#include <signal.h>
#include <string.h>

static const char *const true_argv[] = {"true", NULL};

struct box {
	struct sched *sched;
	struct gpu_list *list;
	int64_t now;
};

static void box_sample(struct box *b)
{
	b->list->sampled_at_ms = b->now;
	sched_set_gpus(b->sched, b->list, b->now);
}

/* 11.9 and 8 GiB, idle. */
static int box_create(void **state)
{
	static const double sizes[] = {11.9, 8};
	struct box *b = mem_calloc(1, sizeof *b);

	b->now = 1800000000000;
	b->sched = sched_create(&(struct sched_options){.stop_grace_ms = 10000});
	b->list = gpu_list_create();
	b->list->state = GPU_SOURCE_OK;
	for (unsigned i = 0; i < 2; i++) {
		struct gpu *gpu = gpu_list_append(b->list);

		gpu->index = i;
		(void)snprintf(gpu->uuid, sizeof gpu->uuid, "GPU-%u", i);
		(void)snprintf(gpu->name, sizeof gpu->name, "Model %u", i);
		gpu->valid = GPU_TOTAL | GPU_USED | GPU_FREE | GPU_UTILIZATION | GPU_PROCESSES;
		gpu->vram.total_bytes = (uint64_t)(sizes[i] * (double)GIB);
		gpu->vram.free_bytes = gpu->vram.total_bytes;
	}
	box_sample(b);
	*state = b;
	return 0;
}

static int box_destroy(void **state)
{
	struct box *b = *state;

	sched_destroy(b->sched);
	gpu_list_destroy(b->list);
	free(b);
	return 0;
}

static struct sched_spec spec_of(double vram_gib)
{
	return (struct sched_spec){
	    .name = "t",
	    .argv = true_argv,
	    .cwd = "/tmp",
	    .kind = "k",
	    .policy = PLACE_FIRST_FIT,
	    .request = {.gpus = 1, .vram_bytes = (uint64_t)(vram_gib * (double)GIB)},
	};
}

static uint64_t submit(struct box *b, struct sched_spec spec)
{
	uint64_t id = 0;
	struct error err;

	assert_int_equal(sched_submit(b->sched, &spec, b->now, &id, &err), 0);
	return id;
}

static size_t step(struct box *b)
{
	size_t n = sched_step(b->sched, b->now);

	sched_changes_clear(b->sched);
	sched_actions_clear(b->sched);
	return n;
}

static void started(struct box *b, uint64_t id)
{
	assert_int_equal(sched_started(b->sched, id, sched_find(b->sched, id)->n_attempts, b->now),
			 0);
}

static void ended(struct box *b, uint64_t id, enum sched_outcome outcome)
{
	const struct sched_end end = {.task = id,
				      .attempt = sched_find(b->sched, id)->n_attempts,
				      .outcome = outcome,
				      .exit_known = outcome != SCHED_OUTCOME_LOST,
				      .exit_code = outcome == SCHED_OK ? 0 : 1};

	assert_int_equal(sched_ended(b->sched, &end, b->now), 0);
	if (sched_task_attempt(sched_find(b->sched, id))->ended_at_ms > 0)
		return;
	/* An error on a GPU is judged by the next sample. */
	b->now++;
	box_sample(b);
}

static enum sched_state state_of(struct box *b, uint64_t id)
{
	return sched_find(b->sched, id)->state;
}

static const char *reason_of(struct box *b, uint64_t id)
{
	static char reason[SCHED_REASON_MAX];

	return sched_reason(b->sched, sched_find(b->sched, id), reason);
}

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
