/*
 * The sampler and gpu_sample_once() with a helper that misbehaves (fake_helper.c, found beside this
 * program). The loop must stay responsive whatever it does: a ticker counts.
 */
#include "gpu/sampler.h"
#include "util/timestamp.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#define PATIENCE_MS 20000

struct watch {
	uv_loop_t loop;
	uv_timer_t ticker;
	struct gpu_sampler *sampler;
	unsigned fresh, stale, events, xid;
	int64_t longest_gap_ms, ticked_ms;
	unsigned ticks, kicks_left;
	char count_path[64];
	bool destroy_in_callback;
	bool (*done)(struct watch *watch);
	int64_t give_up_ms;
};

static void on_sample(void *data, const struct gpu_list *list)
{
	struct watch *watch = data;

	if (list->state == GPU_SOURCE_STALE)
		watch->stale++;
	else if (list->state == GPU_SOURCE_OK)
		watch->fresh++;
	if (watch->kicks_left > 0) {
		watch->kicks_left--;
		gpu_sampler_kick(watch->sampler);
	}
	if (watch->destroy_in_callback) {
		gpu_sampler_kick(watch->sampler);
		gpu_sampler_destroy(TAKE(watch->sampler));
	}
}

static void on_event(void *data, const struct gpu_event *event)
{
	struct watch *watch = data;

	watch->events++;
	watch->xid = event->xid;
}

static void on_tick(uv_timer_t *timer)
{
	struct watch *watch = timer->data;
	int64_t now_ms = monotonic_now_ms();

	watch->ticks++;
	watch->longest_gap_ms = MAX_OF(watch->longest_gap_ms, now_ms - watch->ticked_ms);
	watch->ticked_ms = now_ms;
	if (watch->done(watch) || now_ms > watch->give_up_ms)
		uv_stop(timer->loop);
}

static unsigned starts(const struct watch *watch)
{
	struct stat st;

	return stat(watch->count_path, &st) == 0 ? (unsigned)st.st_size : 0;
}

static void watch_start(struct watch *watch, const char *mode, unsigned deadline_ms)
{
	struct gpu_sampler_options options = {.interval_ms = 50,
					      .deadline_ms = deadline_ms,
					      .data = watch,
					      .on_sample = on_sample,
					      .on_event = on_event};
	int fd;

	(void)snprintf(watch->count_path, sizeof watch->count_path, "/tmp/plimsoll-test-XXXXXX");
	fd = mkstemp(watch->count_path);
	assert_true(fd >= 0);
	(void)close(fd);
	(void)setenv("FAKE_HELPER", mode, 1);
	(void)setenv("FAKE_HELPER_COUNT", watch->count_path, 1);
	assert_int_equal(uv_loop_init(&watch->loop), 0);
	(void)uv_timer_init(&watch->loop, &watch->ticker);
	watch->ticker.data = watch;
	(void)uv_timer_start(&watch->ticker, on_tick, 5, 5);
	watch->ticked_ms = monotonic_now_ms();
	watch->give_up_ms = watch->ticked_ms + PATIENCE_MS;
	assert_int_equal(gpu_sampler_create(&watch->loop, &options, &watch->sampler, NULL), 0);
	assert_int_equal(gpu_sampler_list(watch->sampler)->state, GPU_SOURCE_UNKNOWN);
}

/* Run until `done`, then take it all down: the loop must become empty. */
static void watch_run(struct watch *watch, bool (*done)(struct watch *watch))
{
	watch->done = done;
	(void)uv_run(&watch->loop, UV_RUN_DEFAULT);
	if (!done(watch))
		fail_msg("gave up: %u fresh, %u stale, %u starts", watch->fresh, watch->stale,
			 starts(watch));
}

static void watch_finish(struct watch *watch)
{
	gpu_sampler_destroy(watch->sampler);
	uv_close((uv_handle_t *)&watch->ticker, NULL);
	(void)uv_run(&watch->loop, UV_RUN_DEFAULT);
	assert_int_equal(uv_loop_close(&watch->loop), 0);
	(void)unlink(watch->count_path);
	/* Two cores may be busy with other tests; a hang would be whole seconds. */
	assert_true(watch->longest_gap_ms < 1000);
}

static bool three_fresh(struct watch *watch)
{
	return watch->fresh >= 3;
}

static bool one_fresh(struct watch *watch)
{
	return watch->fresh >= 1;
}

static bool two_fresh(struct watch *watch)
{
	return watch->fresh >= 2;
}

static bool forty_fresh(struct watch *watch)
{
	return watch->fresh >= 40;
}

static bool stale_once(struct watch *watch)
{
	return watch->stale >= 1;
}

static bool fresh_again(struct watch *watch)
{
	return gpu_sampler_list(watch->sampler)->state == GPU_SOURCE_OK && starts(watch) >= 2;
}

static void samples_keep_coming(void **state)
{
	struct watch watch = {};

	(void)state;
	watch_start(&watch, "good", 1000);
	watch_run(&watch, three_fresh);
	assert_int_equal(watch.stale, 0);
	assert_int_equal(starts(&watch), 1);
	assert_int_equal(gpu_sampler_list(watch.sampler)->n, 1);
	watch_finish(&watch);
}

static void garbage_costs_one_restart(void **state)
{
	struct watch watch = {};

	(void)state;
	watch_start(&watch, "garbage-once", 1000);
	watch_run(&watch, fresh_again);
	assert_int_equal(watch.stale, 1);
	assert_int_equal(starts(&watch), 2);
	watch_finish(&watch);
}

static void flood_costs_one_restart(void **state)
{
	struct watch watch = {};

	(void)state;
	watch_start(&watch, "flood-once", 1000);
	watch_run(&watch, fresh_again);
	assert_int_equal(starts(&watch), 2);
	watch_finish(&watch);
}

static void death_is_said_and_mended(void **state)
{
	struct watch watch = {};
	const struct gpu_list *list;

	(void)state;
	watch_start(&watch, "die-third", 1000);
	watch_run(&watch, stale_once);
	list = gpu_sampler_list(watch.sampler);
	assert_non_null(strstr(list->text, "ended by signal 9"));
	assert_int_equal(list->n, 1);
	assert_int_equal(list->gpus[0].health, GPU_HEALTH_STALE);
	assert_int_equal(list->gpus[0].utilization_percent, 2); /* the last good number */
	assert_true(list->stale_since_ms > 0);
	watch_run(&watch, fresh_again);
	assert_int_equal(gpu_sampler_list(watch.sampler)->gpus[0].health, GPU_HEALTH_OK);
	watch_finish(&watch);
}

static void hang_goes_stale_within_the_deadline(void **state)
{
	struct watch watch = {};
	int64_t began_ms;

	(void)state;
	watch_start(&watch, "hang-third", 200);
	watch_run(&watch, two_fresh);
	began_ms = monotonic_now_ms();
	watch_run(&watch, stale_once);
	assert_true(monotonic_now_ms() - began_ms < 2000);
	assert_non_null(strstr(gpu_sampler_list(watch.sampler)->text, "has not answered since"));
	assert_int_equal(gpu_sampler_list(watch.sampler)->gpus[0].health, GPU_HEALTH_STALE);
	watch_finish(&watch);
}

/* Slower than the deadline is not dead: stale, then fresh, by the same helper. */
static void slow_is_stale_then_fresh(void **state)
{
	struct watch watch = {};

	(void)state;
	watch_start(&watch, "slow", 100);
	watch_run(&watch, three_fresh);
	assert_true(watch.stale >= 2);
	assert_int_equal(starts(&watch), 1);
	watch_finish(&watch);
}

static void events_and_old_answers(void **state)
{
	struct watch watch = {}, other = {};

	(void)state;
	watch_start(&watch, "event", 1000);
	watch_run(&watch, three_fresh);
	assert_true(watch.events >= 3);
	assert_int_equal(watch.xid, 79);
	watch_finish(&watch);
	watch_start(&other, "other-number", 1000);
	watch_run(&other, three_fresh);
	assert_int_equal(starts(&other), 1);
	watch_finish(&other);
}

static void kicks_are_answered_at_once(void **state)
{
	struct watch watch = {.kicks_left = 40};

	(void)state;
	watch_start(&watch, "good", 1000);
	watch_run(&watch, forty_fresh);
	/* 40 samples at the interval would be 2 s. */
	assert_true(watch.ticked_ms - (watch.give_up_ms - PATIENCE_MS) < 1500);
	watch_finish(&watch);
}

static void may_be_destroyed_in_its_callback(void **state)
{
	struct watch watch = {.destroy_in_callback = true};

	(void)state;
	watch_start(&watch, "good", 1000);
	watch_run(&watch, one_fresh);
	watch_finish(&watch);
}

/* ---- gpu_sample_once ---- */

static void once_answers(void **state)
{
	auto_gpu_list struct gpu_list *list = NULL;

	(void)state;
	(void)setenv("FAKE_HELPER", "good", 1);
	(void)unsetenv("FAKE_HELPER_COUNT");
	assert_int_equal(gpu_sample_once(5000, &list, NULL), 0);
	assert_int_equal(list->state, GPU_SOURCE_OK);
	assert_int_equal(list->n, 1);
}

static void once_gives_up_at_the_deadline(void **state)
{
	auto_gpu_list struct gpu_list *list = NULL;
	int64_t began_ms = monotonic_now_ms();

	(void)state;
	(void)setenv("FAKE_HELPER", "hang", 1);
	assert_int_equal(gpu_sample_once(300, &list, NULL), 0);
	assert_true(monotonic_now_ms() - began_ms < 1500);
	assert_int_equal(list->state, GPU_SOURCE_STALE);
	assert_true(list->stale_since_ms > 0);
	assert_non_null(strstr(list->text, "has not answered for 0.3 s"));
}

static void once_says_what_broke(void **state)
{
	static const struct {
		const char *mode, *says;
	} rows[] = {{"garbage-once", "not valid JSON"}, {"flood-once", "gave no sample"}};

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		auto_gpu_list struct gpu_list *list = NULL;
		struct error err = {};

		(void)setenv("FAKE_HELPER", rows[i].mode, 1);
		assert_true(gpu_sample_once(5000, &list, &err) < 0);
		assert_null(list);
		assert_non_null(strstr(err.text, rows[i].says));
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(samples_keep_coming),
	    cmocka_unit_test(garbage_costs_one_restart),
	    cmocka_unit_test(flood_costs_one_restart),
	    cmocka_unit_test(death_is_said_and_mended),
	    cmocka_unit_test(hang_goes_stale_within_the_deadline),
	    cmocka_unit_test(slow_is_stale_then_fresh),
	    cmocka_unit_test(events_and_old_answers),
	    cmocka_unit_test(kicks_are_answered_at_once),
	    cmocka_unit_test(may_be_destroyed_in_its_callback),
	    cmocka_unit_test(once_answers),
	    cmocka_unit_test(once_gives_up_at_the_deadline),
	    cmocka_unit_test(once_says_what_broke),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
