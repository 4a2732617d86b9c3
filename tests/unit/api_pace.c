/* The share of the loop that requests have: over any long time no more than it, whatever they cost.
 */
#include "api/pace.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

/* Work of `cost_us` a piece whenever it is allowed, for `seconds`: the share it had, in percent. */
static double share_of(int64_t cost_us, int64_t seconds)
{
	struct pace pace = {};
	int64_t now = 1000000000, end = now + seconds * 1000000, used = 0;

	while (now < end) {
		uint64_t wait_ms = pace_wait_ms(&pace, now);

		now += (int64_t)wait_ms * 1000;
		if (wait_ms > 0)
			continue;
		now += cost_us;
		used += cost_us;
		pace_charge(&pace, cost_us, now);
	}
	return (double)used * 100 / (double)(seconds * 1000000);
}

static void test_share(void **state)
{
	(void)state;
	/* Of small, middling and large requests; the burst is in it. */
	for (int64_t cost_us = 20; cost_us <= PACE_DEBT_US / 2; cost_us *= 3) {
		double share = share_of(cost_us, 60);

		assert_true(share > PACE_SHARE_PERCENT - 1);
		assert_true(share < PACE_SHARE_PERCENT + 0.5);
	}
}

static void test_nobody_waits_long(void **state)
{
	struct pace pace = {};
	int64_t now = 1000000000;

	(void)state;
	assert_int_equal(pace_wait_ms(&pace, now), 0);
	pace_charge(&pace, 3600 * (int64_t)1000000, now);
	assert_in_range(pace_wait_ms(&pace, now), 900, 1001);
	now += 1001000;
	assert_int_equal(pace_wait_ms(&pace, now), 0);
	/* A clock that stands still or goes back gives nothing and takes nothing. */
	pace_charge(&pace, 100, now);
	assert_true(pace_wait_ms(&pace, now - 5000000) == pace_wait_ms(&pace, now));
}

static void test_a_rest_is_saved_up(void **state)
{
	struct pace pace = {};
	int64_t now = 1000000000;
	int n = 0;

	(void)state;
	pace_charge(&pace, 1000000, now);
	for (now += 3600 * (int64_t)1000000; pace_wait_ms(&pace, now) == 0; n++)
		pace_charge(&pace, 1000, now);
	assert_int_equal(n, PACE_BURST_US / 1000);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_share),
	    cmocka_unit_test(test_nobody_waits_long),
	    cmocka_unit_test(test_a_rest_is_saved_up),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
