/* The ladder alone: what each rung makes of a fall, as a table; and that it ends, whatever falls.
 */
#include "sched/ladder.h"

#include "unit.h"
#include "util/size.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define SMALL (7 * GIB)
#define LARGE (22 * GIB)

/* A task on a GPU of 7 GiB beside one of 22, granted 6 and using them. */
static const struct ladder_fall PLAIN = {
    .outcome = SCHED_OOM,
    .granted_bytes = 6 * GIB,
    .used_bytes = 6 * GIB,
    .line_bytes = SMALL,
    .most_bytes = LARGE,
    .most_ram_bytes = 64 * GIB,
    .larger_gpus = true,
};

static struct sched_spec spec_of(const char *list, enum place_cpu_mode cpu,
				 struct sched_rung rungs[SCHED_RUNGS_MAX])
{
	struct sched_spec spec = {.request = {.gpus = 1, .cpu = cpu}};

	if (list) {
		int n = sched_rungs_parse(list, rungs, NULL);

		assert_true(n > 0);
		spec.on_oom = rungs;
		spec.n_on_oom = (size_t)n;
	}
	return spec;
}

static void test_lists(void **state)
{
	static const struct {
		const char *text;
		int n; /* negative: refused */
		const char *words;
	} cases[] = {
	    {"retry:2,bigger-gpu,alone,fail", 4, NULL},
	    {"retry", 2, NULL},
	    {" retry : 2", -EINVAL, "1 to 100"},
	    {" retry:2 ,\tcpu ", 3, NULL},
	    {"fail", 1, NULL},
	    {"retry:100", 2, NULL},
	    {"retry:101", -EINVAL, "1 to 100"},
	    {"retry:0", -EINVAL, "1 to 100"},
	    {"retry:", -EINVAL, "1 to 100"},
	    {"retry:-1", -EINVAL, "1 to 100"},
	    {"retry:111111111111", -EINVAL, "1 to 100"},
	    {"fail,retry", -EINVAL, "after 'fail'"},
	    {"", -EINVAL, "none of retry"},
	    {"retry,,alone", -EINVAL, "none of retry"},
	    {"retry,", -EINVAL, "none of retry"},
	    {"retr", -EINVAL, "'retr' is none of"},
	    {"Retry", -EINVAL, "none of"},
	    {"retry,retry,retry,retry,retry,retry,retry,retry,retry,retry,retry,retry,retry,retry,"
	     "retry",
	     16, NULL},
	    {"retry,retry,retry,retry,retry,retry,retry,retry,retry,retry,retry,retry,retry,retry,"
	     "retry,fail",
	     16, NULL},
	    {"retry,retry,retry,retry,retry,retry,retry,retry,retry,retry,retry,retry,retry,retry,"
	     "retry,retry",
	     -EINVAL, "more than 16"},
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		struct sched_rung rungs[SCHED_RUNGS_MAX];
		struct error err = {};
		int n = sched_rungs_parse(cases[i].text, rungs, &err);

		if (n != cases[i].n || (n < 0 && !strstr(error_text(&err), cases[i].words)))
			fail_msg("'%s': %d, %s", cases[i].text, n, error_text(&err));
		if (n > 0)
			assert_int_equal(rungs[n - 1].type, SCHED_RUNG_FAIL);
	}
}

static void test_defaults(void **state)
{
	struct sched_rung rungs[SCHED_RUNGS_MAX];

	(void)state;
	assert_int_equal(sched_rungs_default(PLACE_CPU_NEVER, rungs), 4);
	assert_int_equal(rungs[0].times, 2);
	assert_int_equal(sched_rungs_default(PLACE_CPU_FALLBACK, rungs), 5);
	assert_int_equal(rungs[3].type, SCHED_RUNG_CPU);
	assert_int_equal(sched_rungs_default(PLACE_CPU_ONLY, rungs), 4);
}

/* One fall, from the ground. */
static const struct {
	const char *list;
	enum place_cpu_mode cpu;
	uint64_t granted, used, requested; /* as in a fall; of RAM where it is the host */
	unsigned batch_size;
	bool host, on_cpu, alone, largest; /* ... it was on the largest GPU */
	uint64_t own;
	const char *text;
} falls[] = {
    /* What the text says is read; what it had is on top. */
    {"retry", 0, 6 * GIB, 6 * GIB, 8840 * MIB, 0, .text = "rung 1 of 1, retry with 15.36 GiB"},
    /* No sample saw it: the grant is no use, a context is. */
    {"retry", 0, 6 * GIB, 0, 8840 * MIB, 0, .text = "rung 1 of 1, retry with 9.56 GiB"},
    {"retry", 0, 6 * GIB, 512 * MIB, 8840 * MIB, 0, .text = "rung 1 of 1, retry with 9.59 GiB"},
    /* By its own words, whatever an earlier sample saw. */
    {"retry", 0, 6 * GIB, 0, 9984 * MIB, 0, .own = 256 * MIB,
     .text = "rung 1 of 1, retry with 10.5 GiB"},
    {"retry", 0, 6 * GIB, 5 * GIB, 9984 * MIB, 0, .own = 256 * MIB,
     .text = "rung 1 of 1, retry with 10.5 GiB"},
    /* A sample that is older than its last steps, or others took the room: the grant and
     * that, half as much again at most, and something in any case. */
    {"retry", 0, 6 * GIB, 1 * GIB, 2 * GIB, 0, .text = "rung 1 of 1, retry with 8 GiB"},
    {"retry", 0, 6 * GIB, 1 * GIB, 4 * GIB, 0, .text = "rung 1 of 1, retry with 9 GiB"},
    {"retry", 0, 6 * GIB, 1 * GIB, 256 * MIB, 0, .text = "rung 1 of 1, retry with 6.3 GiB"},
    /* Small steps: more would have followed. */
    {"retry", 0, 2 * GIB, 8 * GIB, 512 * MIB, 0, .text = "rung 1 of 1, retry with 12 GiB"},
    {"retry", 0, 2 * GIB, 8 * GIB, 2 * GIB, 0, .text = "rung 1 of 1, retry with 10.5 GiB"},
    /* Its grant held it. */
    {"retry", 0, 2 * GIB, 1900 * MIB, 512 * MIB, 0, .text = "rung 1 of 1, retry with 3 GiB"},
    {"retry", 0, 2 * GIB, 1800 * MIB, 512 * MIB, 0, .text = "rung 1 of 1, retry with 2.37 GiB"},
    /* No text: half as much again, of what is larger. */
    {"retry", 0, 6 * GIB, 5 * GIB, 0, 0, .text = "rung 1 of 1, retry with 9 GiB"},
    {"retry", 0, 4 * GIB, 6 * GIB, 0, 0, .text = "rung 1 of 1, retry with 9 GiB"},
    {"retry", 0, 0, 4 * GIB, 0, 0, .text = "rung 1 of 1, retry with 6 GiB"},
    /* No more than there is. */
    {"retry:3", 0, 16 * GIB, 16 * GIB, 0, 0, .text = "rung 1 of 1, retry 1 of 3 with 22 GiB"},
    {"retry", 0, LARGE, LARGE, 0, 0,
     .text = "retry passed over (it was granted the most there is), no rung is left"},
    {"retry", 0, 0, 0, 0, 0,
     .text = "retry passed over (how much it had is not known), no rung is left"},
    {"bigger-gpu", 0, 6 * GIB, 0, 0, 0,
     .text = "rung 1 of 1, bigger-gpu one that takes more than 7 GiB"},
    {"bigger-gpu", 0, 6 * GIB, 0, 0, 0, .largest = true,
     .text = "bigger-gpu passed over (no GPU is larger), no rung is left"},
    {"alone", 0, 6 * GIB, 0, 0, 0, .text = "rung 1 of 1, alone with all of a GPU"},
    /* It was, and what it was granted was a part. */
    {"alone", 0, 6 * GIB, 0, 0, 0, .alone = true, .text = "rung 1 of 1, alone with all of a GPU"},
    {"alone", 0, SMALL - MIB / 2, 0, 0, 0, .alone = true,
     .text = "alone passed over (it had its GPU for itself), no rung is left"},
    {"alone", 0, 0, 6 * GIB, 0, 0, .alone = true,
     .text = "alone passed over (it had its GPU for itself), no rung is left"},
    {"alone,alone", 0, 8 * GIB, 0, 0, 0, .host = true,
     .text = "rung 1 of 2, alone nobody else on its GPU"},
    {"alone", 0, 8 * GIB, 0, 0, 0, .host = true, .alone = true,
     .text = "alone passed over (it had its GPU for itself), no rung is left"},
    {"smaller-batch:2", 0, 6 * GIB, 0, 0, 33,
     .text = "rung 1 of 1, smaller-batch 1 of 2 with a batch size of 16"},
    {"smaller-batch", 0, 6 * GIB, 0, 0, 1,
     .text = "smaller-batch passed over (its batch size is 1), no rung is left"},
    {"smaller-batch", 0, 6 * GIB, 0, 0, 0,
     .text = "smaller-batch passed over (it has no batch size (--batch-size)), "
	     "no rung is left"},
    {"cpu", PLACE_CPU_FALLBACK, 6 * GIB, 0, 0, 0, .text = "rung 1 of 1, cpu without a GPU"},
    {"cpu", PLACE_CPU_WHEN_IDLE, 6 * GIB, 0, 0, 0, .text = "rung 1 of 1, cpu without a GPU"},
    {"cpu", PLACE_CPU_NEVER, 6 * GIB, 0, 0, 0,
     .text = "cpu passed over (it may not (--cpu fallback)), no rung is left"},
    {"cpu", PLACE_CPU_FALLBACK, 0, 0, 0, 0, .on_cpu = true,
     .text = "cpu passed over (it was there), no rung is left"},
    {"retry,cpu", PLACE_CPU_FALLBACK, LARGE, 0, 0, 0,
     .text = "retry passed over (it was granted the most there is), rung 2 of 2, cpu without "
	     "a GPU"},
    {"fail", 0, 6 * GIB, 0, 0, 0, .text = "no rung is left"},
    /* The host's memory. */
    {"retry", 0, 8 * GIB, 0, 0, 0, .host = true,
     .text = "rung 1 of 1, retry with 12 GiB of host memory"},
    {"retry", 0, 0, 60 * GIB, 0, 0, .host = true,
     .text = "rung 1 of 1, retry with 64 GiB of host memory"},
    {"retry", 0, 64 * GIB, 0, 0, 0, .host = true,
     .text = "retry passed over (it had all of the host's memory), no rung is left"},
    {"bigger-gpu,cpu,smaller-batch", PLACE_CPU_FALLBACK, 8 * GIB, 0, 0, 8, .host = true,
     .text = "bigger-gpu passed over (it was not the GPU's memory), cpu passed over (it "
	     "was the "
	     "host's memory), rung 3 of 3, smaller-batch with a batch size of 4"},
};

static void test_rungs(void **state)
{
	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(falls); i++) {
		struct sched_rung rungs[SCHED_RUNGS_MAX];
		struct sched_spec spec = spec_of(falls[i].list, falls[i].cpu, rungs);
		struct sched_ladder ladder = {};
		struct ladder_fall fall = PLAIN;
		char text[LADDER_TEXT_MAX];
		bool climbs;

		fall.outcome = falls[i].host ? SCHED_HOST_OOM : SCHED_OOM;
		*(falls[i].host ? &fall.granted_ram_bytes : &fall.granted_bytes) = falls[i].granted;
		*(falls[i].host ? &fall.used_ram_bytes : &fall.used_bytes) = falls[i].used;
		fall.requested_bytes = falls[i].requested;
		fall.own_bytes = falls[i].own;
		fall.batch_size = falls[i].batch_size;
		fall.on_cpu = falls[i].on_cpu;
		fall.alone = falls[i].alone;
		fall.larger_gpus = !falls[i].largest;
		climbs = ladder_climb(&spec, &ladder, &fall, text);
		assert_string_equal(text, falls[i].text);
		assert_int_equal(climbs, !strstr(text, "no rung is left"));
	}
}

/* Rung by rung, what was changed stays. */
static void test_climb_to_the_end(void **state)
{
	struct sched_rung rungs[SCHED_RUNGS_MAX];
	struct sched_spec spec =
	    spec_of("retry:2,bigger-gpu,alone,smaller-batch,cpu", PLACE_CPU_FALLBACK, rungs);
	struct sched_grant grant = {.vram_bytes = 6 * GIB};
	struct sched_attempt none = {}, last = {.gpus = &grant, .n_gpus = 1, .batch_size = 32};
	static const char *const texts[] = {
	    "retry: 9 GiB instead of 6 GiB",   "retry: 13.5 GiB instead of 9 GiB",
	    "bigger-gpu: above 7 GiB",         "alone",
	    "smaller-batch: 16 instead of 32", "cpu",
	};
	struct ladder_fall fall = PLAIN;
	struct sched_ladder ladder = {};
	char said[LADDER_TEXT_MAX];

	(void)state;
	fall.batch_size = 32;
	assert_null(ladder_text(&spec, &ladder, &none, NULL));
	for (size_t i = 0; i < ARRAY_LEN(texts); i++) {
		auto_free char *text = NULL;

		assert_true(ladder_climb(&spec, &ladder, &fall, said));
		text = ladder_text(&spec, &ladder, &none, &last);
		assert_string_equal(text, texts[i]);
		grant.vram_bytes = fall.granted_bytes = fall.used_bytes = ladder.vram_bytes;
		if (i == 2) {
			fall.line_bytes = LARGE;
			fall.larger_gpus = false;
		}
		fall.alone = ladder.alone;
	}
	assert_int_equal(ladder.climbs, ARRAY_LEN(texts));
	assert_true(ladder.alone && ladder.cpu);
	assert_int_equal(ladder.batch_size, 16);
	assert_int_equal(ladder.line_above_bytes, LARGE - 1);
	fall.on_cpu = true;
	assert_false(ladder_climb(&spec, &ladder, &fall, said));
	assert_string_equal(said, "no rung is left");
	assert_false(ladder_climb(&spec, &ladder, &fall, said)); /* and stays there */
}

static uint64_t dice(uint64_t n)
{
	return (uint64_t)random() % n;
}

static struct ladder_fall any_fall(void)
{
	struct ladder_fall fall = {
	    .outcome = dice(4) ? SCHED_OOM : SCHED_HOST_OOM,
	    .on_cpu = dice(8) == 0,
	    .alone = dice(3) == 0,
	    .granted_bytes = dice(3) ? dice(30) * GIB : 0,
	    .used_bytes = dice(3) ? dice(30) * GIB : 0,
	    .own_bytes = dice(2) * dice(30) * GIB,
	    .requested_bytes = dice(3)   ? dice(50) * GIB
			       : dice(8) ? 0
					 : UINT64_MAX,
	    .granted_ram_bytes = dice(2) * dice(90) * GIB,
	    .used_ram_bytes = dice(2) * dice(90) * GIB,
	    .line_bytes = dice(4) ? (1 + dice(24)) * GIB : 0,
	    .most_bytes = dice(8) ? LARGE : 0,
	    .most_ram_bytes = dice(4) ? 64 * GIB : 0,
	    .larger_gpus = dice(2),
	    .batch_size = (unsigned)dice(70),
	};

	return fall;
}

static struct sched_spec any_spec(struct sched_rung rungs[SCHED_RUNGS_MAX], unsigned *ret_bound)
{
	struct sched_spec spec = {.request = {.cpu = (enum place_cpu_mode)dice(4)}};

	spec.n_on_oom = dice(SCHED_RUNGS_MAX);
	for (size_t i = 0; i < spec.n_on_oom; i++)
		rungs[i] = (struct sched_rung){(enum sched_rung_type)dice(SCHED_RUNG_FAIL),
					       1 + (unsigned)dice(5)};
	rungs[spec.n_on_oom++] = (struct sched_rung){SCHED_RUNG_FAIL, 1};
	spec.on_oom = rungs;
	*ret_bound = 0;
	for (size_t i = 0; i + 1 < spec.n_on_oom; i++)
		*ret_bound += rungs[i].times;
	return spec;
}

static void test_it_ends(void **state)
{
	(void)state;
	srandom(20);
	for (unsigned round = 0; round < 20000; round++) {
		struct sched_rung rungs[SCHED_RUNGS_MAX];
		unsigned bound, stood[SCHED_RUNGS_MAX] = {}, climbs = 0;
		struct sched_spec spec = any_spec(rungs, &bound);
		bool may = spec.request.cpu == PLACE_CPU_FALLBACK ||
			   spec.request.cpu == PLACE_CPU_WHEN_IDLE;
		struct sched_ladder ladder = {};
		char text[LADDER_TEXT_MAX];

		for (;;) {
			struct ladder_fall fall = any_fall();
			struct sched_ladder before = ladder;

			if (!ladder_climb(&spec, &ladder, &fall, text))
				break;
			assert_true(++climbs <= bound);
			assert_int_equal(ladder.climbs, climbs);
			assert_true(++stood[ladder.rung] <= rungs[ladder.rung].times);
			assert_int_equal(ladder.times, stood[ladder.rung]);
			assert_true(ladder.rung >= before.rung);
			assert_true(!ladder.cpu || may);
			if (fall.most_bytes > 0)
				assert_true(ladder.vram_bytes <=
					    MAX_OF(before.vram_bytes, fall.most_bytes));
			if (fall.most_ram_bytes > 0)
				assert_true(ladder.ram_bytes <=
					    MAX_OF(before.ram_bytes, fall.most_ram_bytes));
			if (rungs[ladder.rung].type == SCHED_RUNG_SMALLER_BATCH)
				assert_true(ladder.batch_size >= 1 &&
					    ladder.batch_size < fall.batch_size);
		}
		assert_int_equal(rungs[ladder.rung].type, SCHED_RUNG_FAIL);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_lists),   cmocka_unit_test(test_defaults),
	    cmocka_unit_test(test_rungs),   cmocka_unit_test(test_climb_to_the_end),
	    cmocka_unit_test(test_it_ends),
	};

	return cmocka_run_group_tests_name("sched_ladder", tests, NULL, NULL);
}
