/* What others of a kind took, beside what they said: which requests are raised, and to what. */
#include "place/estimates.h"

#include "unit.h"
#include "util/size.h"

#include <stdlib.h>

static void learn(struct estimates *e, uint64_t said, uint64_t peak)
{
	estimates_learn(e, &(struct estimates_sample){.kind = "k",
						      .model = "m",
						      .utilization_percent = -1,
						      .peak_vram_bytes = peak,
						      .said_bytes = said,
						      .granted_bytes = said,
						      .ended = true});
}

/* One large step, before any sample has seen it. */
static void learn_out(struct estimates *e, uint64_t said, uint64_t wanted)
{
	estimates_learn(e, &(struct estimates_sample){.kind = "k",
						      .model = "m",
						      .utilization_percent = -1,
						      .said_bytes = said,
						      .granted_bytes = said,
						      .out_of_memory = true,
						      .oom_used_bytes = 256 * MIB,
						      .oom_requested_bytes = wanted - 256 * MIB});
}

static struct estimates_need need_of(const struct estimates *e)
{
	return estimates_need_get(e, "k", "m");
}

/* Within a hundredth: ratios are kept in thousandths. */
static void assert_about(uint64_t got, uint64_t want)
{
	if (got < want - want / 100 || got > want + want / 100)
		fail_msg("%s instead of %s", SIZE_TEXT(got), SIZE_TEXT(want));
}

static void assert_right(const struct estimates_need *need, uint64_t said)
{
	uint64_t enough = estimates_enough_for(need, said);

	assert_false(estimates_is_too_small(need, said));
	assert_true(estimates_need_for(need, said) <= said);
	assert_true(estimates_measured_for(need, said) <= said);
	assert_true(said <= enough + MAX_OF(enough / 2, GIB));
}

/* Three sizes under one name, whichever comes first: nothing is raised, nothing is a waste. */
static void test_all_right(void **state)
{
	static const uint64_t orders[][3] = {{4, 8, 12}, {12, 8, 4}, {12, 12, 12}, {4, 4, 4}};

	(void)state;
	for (size_t k = 0; k < ARRAY_LEN(orders); k++) {
		struct estimates *e = estimates_create();

		for (int round = 0; round < 5; round++) {
			for (size_t i = 0; i < 3; i++) {
				uint64_t said = orders[k][i] * GIB;
				struct estimates_need need;

				learn(e, said, said - said / 20);
				need = need_of(e);
				for (uint64_t size = 2; size <= 16; size += 2)
					assert_right(&need, size * GIB);
			}
		}
		estimates_destroy(e);
	}
}

static void test_all_too_small(void **state)
{
	struct estimates *e = estimates_create();
	struct estimates_need need;

	(void)state;
	/* Beyond the largest measured nothing is known. */
	learn(e, 2400 * MIB, 4000 * MIB);
	need = need_of(e);
	assert_false(estimates_is_too_small(&need, 4800 * MIB));
	learn(e, 7200 * MIB, 12000 * MIB);
	learn(e, 4800 * MIB, 8000 * MIB);
	need = need_of(e);
	for (uint64_t said = 2400; said <= 7200; said += 2400) {
		assert_true(estimates_is_too_small(&need, said * MIB));
		assert_about(estimates_measured_for(&need, said * MIB), said * MIB / 6 * 10);
		assert_about(estimates_need_for(&need, said * MIB), said * MIB / 6 * 11);
	}
	/* More than was ever too little. */
	assert_right(&need, 8800 * MIB);
	assert_right(&need, 13000 * MIB);
	estimates_destroy(e);
}

/* The same by those that fell. */
static void test_out_of_memory(void **state)
{
	struct estimates *e = estimates_create();
	struct estimates_need need;

	(void)state;
	learn_out(e, 7200 * MIB, 12000 * MIB);
	need = need_of(e);
	assert_int_equal(need.ended, 0);
	assert_true(estimates_is_too_small(&need, 7200 * MIB));
	assert_true(estimates_need_for(&need, 7200 * MIB) >= 12000 * MIB);
	assert_true(estimates_is_too_small(&need, 2400 * MIB));
	assert_about(estimates_need_for(&need, 2400 * MIB), 4400 * MIB);
	assert_right(&need, 8800 * MIB);
	/* That a smaller one ends well says nothing of it; that one of its size does, says all. */
	learn(e, 2400 * MIB, 2300 * MIB);
	assert_int_equal(need_of(e).oom_vram_bytes, 12000 * MIB);
	learn(e, 7200 * MIB, 7000 * MIB);
	need = need_of(e);
	assert_int_equal(need.oom_vram_bytes, 0);
	assert_right(&need, 7200 * MIB);
	assert_right(&need, 2400 * MIB);
	estimates_destroy(e);
}

/* It grew to its grant, and wanted more: as much as it said is too little. */
static void test_grown_to_its_grant(void **state)
{
	struct estimates *e = estimates_create();
	struct estimates_need need;

	(void)state;
	estimates_learn(e, &(struct estimates_sample){.kind = "k",
						      .model = "m",
						      .utilization_percent = -1,
						      .peak_vram_bytes = 3900 * MIB,
						      .said_bytes = 4000 * MIB,
						      .granted_bytes = 4000 * MIB,
						      .out_of_memory = true});
	need = need_of(e);
	assert_int_equal(need.oom_vram_bytes, 4000 * MIB);
	assert_true(estimates_is_too_small(&need, 4000 * MIB));
	assert_true(need.guessed);
	assert_true(estimates_need_for(&need, 4000 * MIB) >= 4400 * MIB);
	assert_right(&need, 5000 * MIB);
	estimates_destroy(e);
}

/* They say this and that and take the same: that counts, whatever one says. */
static void test_steady(void **state)
{
	struct estimates *e = estimates_create();
	struct estimates_need need;

	(void)state;
	learn(e, 3 * GIB, 4 * GIB);
	learn(e, 5 * GIB, 4 * GIB);
	assert_true(need_of(e).said_permille > 1300);
	learn(e, 8 * GIB, 4 * GIB + 100 * MIB);
	need = need_of(e);
	assert_int_equal(need.said_permille, 0);
	assert_true(estimates_is_too_small(&need, GIB));
	assert_int_equal(estimates_need_for(&need, GIB), need.vram_bytes);
	assert_int_equal(estimates_enough_for(&need, 20 * GIB), need.vram_bytes);
	/* So it is where some said nothing. */
	estimates_destroy(e);
	e = estimates_create();
	learn(e, 0, 4 * GIB);
	need = need_of(e);
	assert_true(estimates_is_too_small(&need, GIB));
	assert_int_equal(estimates_need_for(&need, GIB), need.vram_bytes);
	learn(e, 8 * GIB, 4 * GIB);
	learn(e, 8 * GIB, 4 * GIB);
	assert_int_equal(need_of(e).said_permille, 0);
	estimates_destroy(e);
}

/* Only the last 32 count, here as well; and it comes back from the store as it was. */
static void test_kept(void **state)
{
	struct estimates *e = estimates_create(), *loaded = estimates_create();
	auto_free struct estimates_row *rows = NULL;
	struct estimates_need need;

	(void)state;
	learn(e, 4 * GIB, 8 * GIB);
	for (int i = 0; i < ESTIMATES_PEAKS - 1; i++)
		learn(e, (uint64_t)(4 + i) * GIB, (uint64_t)(4 + i) * GIB);
	learn_out(e, 50 * GIB, 60 * GIB);
	/* One in 32 is among the 5 % that may be above; it is remembered as too small. */
	need = need_of(e);
	assert_in_range(need.said_permille, 1195, 1201);
	assert_in_range(need.small_said_bytes, 49 * GIB, 51 * GIB);
	assert_int_equal(estimates_rows(e, false, &rows), 1);
	estimates_load(loaded, rows, 1);
	assert_int_equal(need_of(loaded).said_permille, need.said_permille);
	assert_int_equal(need_of(loaded).small_said_bytes, need.small_said_bytes);
	learn(e, 36 * GIB, 36 * GIB);
	learn(e, 60 * GIB, 55 * GIB);
	need = need_of(e);
	assert_int_equal(need.oom_vram_bytes, 0);
	assert_in_range(need.said_permille, 990, 1000);
	estimates_destroy(loaded);
	estimates_destroy(e);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_all_right),     cmocka_unit_test(test_all_too_small),
	    cmocka_unit_test(test_out_of_memory), cmocka_unit_test(test_grown_to_its_grant),
	    cmocka_unit_test(test_steady),        cmocka_unit_test(test_kept),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
