/* What is learned about kinds of tasks, and small linear programs. */
#include "place/estimates.h"
#include "place/forecast.h"
#include "place/lp.h"
#include "util/size.h"

#include <errno.h>
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

static void learn(struct estimates *e, const char *kind, const char *model, double speed,
		  double vram_gib, double work, double hint)
{
	struct estimates_sample sample = {.kind = kind,
					  .model = model,
					  .speed = speed,
					  .vram_request_bytes = (uint64_t)(vram_gib * (double)GIB),
					  .work_seconds = work,
					  .utilization_percent = 40,
					  .peak_vram_bytes = GIB,
					  .work_hint = hint};

	estimates_learn(e, &sample);
}

static void assert_near(double value, double expected, double tolerance)
{
	if (!(fabs(value - expected) <= tolerance))
		fail_msg("%g, expected %g +- %g", value, expected, tolerance);
}

static void test_unknown(void **state)
{
	struct estimates *e = estimates_create();
	struct estimate got = estimates_get(e, "k", "m", 1, GIB);

	(void)state;
	assert_false(got.known);
	assert_near(got.utilization_percent, 100, 0);
	assert_near(estimate_work(&got, 5), 0, 0);
	learn(e, "", "m", 1, 1, 10, 0); /* no kind: nothing to learn by */
	learn(e, "k", "m", 1, 1, (double)NAN, 0);
	assert_false(estimates_get(e, "k", "m", 1, GIB).known);
	estimates_destroy(e);
}

/* How busy a kind keeps a GPU is known while its first task runs: before any duration. */
static void test_utilization_first(void **state)
{
	struct estimates *e = estimates_create();
	struct estimates_sample sample = {.kind = "k",
					  .model = "m",
					  .speed = 1,
					  .vram_request_bytes = GIB,
					  .utilization_percent = 35};
	struct estimate got;

	(void)state;
	estimates_learn(e, &sample);
	got = estimates_get(e, "k", "m", 1, GIB);
	assert_false(got.known);
	assert_true(got.utilization_known);
	assert_near(got.utilization_percent, 35, 0.001);
	got = estimates_get(e, "k", "other", 1, GIB);
	assert_true(got.utilization_known);
	assert_near(got.utilization_percent, 35, 0.001);
	learn(e, "k", "m", 1, 1, 10, 0);
	got = estimates_get(e, "k", "m", 1, GIB);
	assert_true(got.known && got.seen);
	assert_int_equal(got.samples, 1);
	estimates_destroy(e);
}

static void test_mean_and_recent(void **state)
{
	struct estimates *e = estimates_create();
	struct estimate got;

	(void)state;
	for (int i = 0; i < 4; i++)
		learn(e, "k", "m", 1, 1, i % 2 ? 30 : 10, 0);
	got = estimates_get(e, "k", "m", 1, GIB);
	assert_true(got.known && got.seen);
	assert_near(got.work_seconds, 20, 1e-9);
	assert_near(got.deviation_seconds, 10, 1e-9);
	assert_int_equal(got.samples, 4);
	for (int i = 0; i < 200; i++)
		learn(e, "k", "m", 1, 1, 50, 0);
	assert_near(estimates_get(e, "k", "m", 1, GIB).work_seconds, 50, 1);
	estimates_destroy(e);
}

static void test_other_models(void **state)
{
	struct estimates *e = estimates_create();
	struct estimate got;

	(void)state;
	learn(e, "k", "fast", 1, 1, 10, 0);
	got = estimates_get(e, "k", "slow", 0.5, GIB);
	assert_true(got.known && !got.seen);
	assert_near(got.work_seconds, 20, 1e-9);
	assert_near(got.utilization_percent, 40, 1e-9);
	/* Kinds seen on both say 4 times as long: the catalogue's 2 gives way. */
	for (int i = 0; i < 40; i++) {
		learn(e, "other", "fast", 1, 1, 10, 0);
		learn(e, "other", "slow", 0.5, 1, 40, 0);
	}
	assert_near(estimates_get(e, "k", "slow", 0.5, GIB).work_seconds, 38, 2.5);
	/* Nothing is said about the CPU, and nothing follows from it. */
	assert_false(estimates_get(e, "k", "", 0, GIB).known);
	learn(e, "c", "", 0, 0, 100, 0);
	assert_false(estimates_get(e, "c", "fast", 1, 0).known);
	assert_true(estimates_get(e, "c", "", 0, 0).seen);
	estimates_destroy(e);
}

static void test_neighbours(void **state)
{
	struct estimates *e = estimates_create();
	struct estimate got;

	(void)state;
	learn(e, "small", "m", 1, 1, 10, 0);
	learn(e, "large", "m", 1, 4, 40, 0);
	got = estimates_get(e, "middle", "m", 1, 2 * GIB);
	assert_true(got.known && !got.seen);
	assert_int_equal(got.samples, 0);
	assert_near(got.work_seconds, 20, 3);
	assert_true(estimates_get(e, "huge", "m", 1, 8 * GIB).work_seconds > 50);
	assert_false(estimates_get(e, "no size", "m", 1, 0).known);
	estimates_destroy(e);
}

static void test_hints(void **state)
{
	struct estimates *e = estimates_create();
	struct estimate got;

	(void)state;
	for (int i = 1; i <= 12; i++) {
		learn(e, "tells", "m", 1, 1, 3.0 * i, 1000.0 * i);
		learn(e, "tells nothing", "m", 1, 1, 20, 1000.0 * i);
	}
	got = estimates_get(e, "tells", "m", 1, GIB);
	assert_near(estimate_work(&got, 20000), 60, 1);
	assert_near(estimate_work(&got, 0), got.work_seconds, 1e-9);
	assert_true(estimate_work(&got, 1e-3) > 0);
	got = estimates_get(e, "tells nothing", "m", 1, GIB);
	assert_near(estimate_work(&got, 20000), 20, 8);
	estimates_destroy(e);
}

static void test_rows(void **state)
{
	struct estimates *e = estimates_create(), *copy = estimates_create();
	struct estimates_row *rows,
	    bad = {.kind = "bad", .work_seconds = (double)NAN, .samples = 3};
	struct estimate a, b;
	size_t n;

	(void)state;
	for (int i = 0; i < 100; i++) {
		char kind[200];

		snprintf(kind, sizeof kind, "kind %d %0*d", i, i > 90 ? 150 : 1, i);
		learn(e, kind, "m", 1, 1, 10 + i, 1 + i);
	}
	n = estimates_rows(e, true, &rows);
	assert_int_equal(n, 100);
	estimates_load(copy, rows, n);
	estimates_load(copy, &bad, 1);
	free(rows);
	/* Until it is on the disk it is new. */
	assert_int_equal(estimates_rows(e, true, &rows), 100);
	free(rows);
	estimates_stored(e);
	assert_int_equal(estimates_rows(e, true, &rows), 0);
	free(rows);
	learn(e, "kind 41 41", "m", 1, 1, 10, 1);
	assert_int_equal(estimates_rows(e, true, &rows), 1);
	free(rows);
	estimates_stored(e);
	assert_int_equal(estimates_rows(e, true, &rows), 0);
	free(rows);
	a = estimates_get(e, "kind 42 42", "m", 1, GIB);
	b = estimates_get(copy, "kind 42 42", "m", 1, GIB);
	assert_true(b.seen);
	assert_near(a.work_seconds, b.work_seconds, 0);
	assert_near(estimate_work(&a, 99), estimate_work(&b, 99), 0);
	assert_false(estimates_get(copy, "bad", "", 0, 0).known);
	estimates_destroy(e);
	estimates_destroy(copy);
}

static void test_remaining(void **state)
{
	struct forecast f = {.work_seconds = 10, .deviation_seconds = 5};
	double last = 0;

	(void)state;
	assert_near(forecast_remaining(&f, 0), 10, 1e-9);
	assert_near(forecast_remaining(&f, 2), 8, 0.3);
	/* Past its mean a task is expected to go on, the longer the later. */
	for (double done = 15; done < 1e6; done *= 2) {
		double left = forecast_remaining(&f, done);

		assert_true(isfinite(left) && left > last);
		last = left;
	}
}

static void test_shared_end(void **state)
{
	const struct forecast_share shares[] = {{10, 80}, {100, 80}};

	(void)state;
	assert_near(forecast_end(NULL, 0, 10, 80), 10, 1e-9);
	/* 240 % until the first has done its 10 s (24 s), then 160 %: 10 more take 16 s. */
	assert_near(forecast_end(shares, 2, 20, 80), 40, 1e-9);
}

static void test_program(void **state)
{
	struct lp *lp = lp_create(3, 2);
	double x[2], prices[3];

	(void)state;
	/* max 3x + 5y; x <= 4, 2y <= 12, 3x + 2y <= 18: 36 at (2, 6); prices 0, 3/2, 1. */
	lp->a[0] = 1, lp->a[3] = 2, lp->a[4] = 3, lp->a[5] = 2;
	lp->b[0] = 4, lp->b[1] = 12, lp->b[2] = 18;
	lp->c[0] = 3, lp->c[1] = 5;
	assert_int_equal(lp_solve(lp, x, prices), 0);
	assert_near(x[0], 2, 1e-9);
	assert_near(x[1], 6, 1e-9);
	assert_near(prices[0], 0, 1e-9);
	assert_near(prices[1], 1.5, 1e-9);
	assert_near(prices[2], 1, 1e-9);
	lp_destroy(lp);
	lp = lp_create(1, 1);
	lp->c[0] = 1;
	lp->a[0] = -1;
	assert_int_equal(lp_solve(lp, x, NULL), -ERANGE);
	lp_destroy(lp);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_unknown),
	    cmocka_unit_test(test_utilization_first),
	    cmocka_unit_test(test_mean_and_recent),
	    cmocka_unit_test(test_other_models),
	    cmocka_unit_test(test_neighbours),
	    cmocka_unit_test(test_hints),
	    cmocka_unit_test(test_rows),
	    cmocka_unit_test(test_remaining),
	    cmocka_unit_test(test_shared_end),
	    cmocka_unit_test(test_program),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
