/* What a kind needs of memory: the rules one by one, and against a reference that keeps all that
 * was ever learned and works everything out of that. */
#include "place/estimates.h"
#include "util/size.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static void learn(struct estimates *e, const char *model, uint64_t peak, bool out_of_memory)
{
	estimates_learn(e, &(struct estimates_sample){.kind = "k",
						      .model = model,
						      .utilization_percent = -1,
						      .peak_vram_bytes = peak,
						      .peak_ram_bytes = peak / 2,
						      .ended = true,
						      .out_of_memory = out_of_memory});
}

static void learn_running(struct estimates *e, const char *model, uint64_t peak)
{
	estimates_learn(e, &(struct estimates_sample){.kind = "k",
						      .model = model,
						      .utilization_percent = -1,
						      .peak_vram_bytes = peak});
}

static void test_few_and_many(void **state)
{
	struct estimates *e = estimates_create();
	struct estimates_need need = estimates_need_get(e, "k", NULL);

	(void)state;
	assert_int_equal(need.peaks + need.known + need.proven, 0);
	assert_int_equal(need.vram_bytes, 0);
	learn(e, "m", 6 * GIB, false);
	learn(e, "m", 5 * GIB, false);
	need = estimates_need_get(e, "k", "m");
	assert_true(need.proven && !need.known);
	learn(e, "m", 4 * GIB, false);
	need = estimates_need_get(e, "k", "m");
	assert_true(need.known);
	assert_int_equal(need.peaks, 3);
	assert_int_equal(need.p95_vram_bytes, 6 * GIB);
	assert_int_equal(need.vram_bytes, 6 * GIB + 6 * GIB / 10);
	assert_int_equal(need.ram_bytes, 3 * GIB + 3 * GIB / 10);
	for (int i = 4; i <= 10; i++)
		learn(e, "m", 4 * GIB, false);
	assert_int_equal(estimates_need_get(e, "k", "m").vram_bytes, 6 * GIB + 6 * GIB / 20);
	/* Of twenty the largest is what 5 % may be above. */
	for (int i = 11; i <= 20; i++)
		learn(e, "m", 4 * GIB, false);
	need = estimates_need_get(e, "k", "m");
	assert_int_equal(need.p95_vram_bytes, 5 * GIB);
	assert_int_equal(need.max_vram_bytes, 6 * GIB);
	/* And only the last 32 count. */
	for (int i = 21; i <= 33; i++)
		learn(e, "m", 100 * MIB, false);
	need = estimates_need_get(e, "k", "m");
	assert_int_equal(need.peaks, 32);
	assert_int_equal(need.max_vram_bytes, 5 * GIB);
	estimates_destroy(e);
}

static void test_small_margins(void **state)
{
	struct estimates *e = estimates_create();

	(void)state;
	for (int i = 1; i <= 9; i++)
		learn(e, "m", 500 * MIB, false);
	assert_int_equal(estimates_need_get(e, "k", "m").vram_bytes, 756 * MIB);
	learn(e, "m", 500 * MIB, false);
	assert_int_equal(estimates_need_get(e, "k", "m").vram_bytes, 628 * MIB);
	estimates_destroy(e);
}

static void test_models(void **state)
{
	struct estimates *e = estimates_create();
	struct estimates_need need;

	(void)state;
	for (int i = 0; i < 3; i++)
		learn(e, "small", 3 * GIB, false);
	learn(e, "large", 9 * GIB, false);
	assert_int_equal(estimates_need_get(e, "k", "small").p95_vram_bytes, 3 * GIB);
	/* Two of its own are too few. */
	learn(e, "large", 8 * GIB, false);
	need = estimates_need_get(e, "k", "large");
	assert_int_equal(need.peaks, 5);
	assert_int_equal(need.p95_vram_bytes, 9 * GIB);
	assert_int_equal(estimates_need_get(e, "k", "never seen").peaks, 5);
	assert_int_equal(estimates_need_get(e, "k", NULL).peaks, 5);
	learn(e, "large", 8 * GIB, false);
	assert_int_equal(estimates_need_get(e, "k", "large").peaks, 3);
	/* On the CPU: no VRAM, and the RAM of whichever. */
	need = estimates_need_get(e, "k", "");
	assert_int_equal(need.vram_bytes + need.p95_vram_bytes + need.oom_vram_bytes, 0);
	assert_int_equal(need.p95_ram_bytes, 4 * GIB + GIB / 2);
	learn(e, "", 2 * GIB, false);
	learn(e, "", 2 * GIB, false);
	learn(e, "", 2 * GIB, false);
	need = estimates_need_get(e, "k", "");
	assert_int_equal(need.p95_ram_bytes, GIB);
	assert_int_equal(need.vram_bytes, 0);
	assert_int_equal(estimates_need_get(e, "k", "small").ram_peaks, 3);
	estimates_destroy(e);
}

static void test_running(void **state)
{
	struct estimates *e = estimates_create();
	struct estimates_need need;

	(void)state;
	estimates_learn(
	    e, &(struct estimates_sample){.kind = "k", .model = "m", .utilization_percent = 40});
	assert_false(estimates_need_get(e, "k", "m").proven);
	learn_running(e, "m", 7 * GIB);
	need = estimates_need_get(e, "k", "m");
	assert_true(need.proven && !need.known);
	assert_int_equal(need.peaks, 1);
	assert_int_equal(need.vram_bytes, 7 * GIB + 7 * GIB / 10);
	learn_running(e, "m", 5 * GIB);
	assert_int_equal(estimates_need_get(e, "k", "m").max_vram_bytes, 7 * GIB);
	learn(e, "m", 4 * GIB, false);
	assert_int_equal(estimates_need_get(e, "k", "m").max_vram_bytes, 4 * GIB);
	learn_running(e, "m", 8 * GIB);
	assert_int_equal(estimates_need_get(e, "k", "m").max_vram_bytes, 4 * GIB);
	assert_int_equal(estimates_need_get(e, "k", "other").max_vram_bytes, 4 * GIB);
	estimates_destroy(e);
}

static void test_out_of_memory(void **state)
{
	struct estimates *e = estimates_create();
	struct estimates_need need;

	(void)state;
	learn(e, "m", 8 * GIB, true);
	need = estimates_need_get(e, "k", "m");
	assert_false(need.proven || need.known);
	assert_int_equal(need.oom_vram_bytes, 8 * GIB);
	assert_true(need.vram_bytes > 8 * GIB);
	/* It ended well with more: the floor was one, and says no more. */
	learn(e, "m", 9 * GIB, false);
	need = estimates_need_get(e, "k", "m");
	assert_int_equal(need.peaks, 1);
	assert_int_equal(need.p95_vram_bytes, 9 * GIB);
	/* With many smaller ones the 95 % pass below it, and the need does not. */
	for (int i = 0; i < 31; i++)
		learn(e, "other", 8 * GIB + 1, false);
	need = estimates_need_get(e, "k", NULL);
	assert_int_equal(need.p95_vram_bytes, 8 * GIB + 1);
	learn(e, "m", 12 * GIB, true);
	need = estimates_need_get(e, "k", NULL);
	assert_true(need.vram_bytes > 12 * GIB);
	assert_int_equal(need.p95_vram_bytes, 9 * GIB);
	/* Disproved on whichever GPU. */
	learn(e, "other", 8 * GIB, false);
	need = estimates_need_get(e, "k", NULL);
	assert_int_equal(need.oom_vram_bytes, 0);
	assert_true(need.vram_bytes < 10 * GIB);
	estimates_destroy(e);
}

/* What was measured, and what is a guess. */
static void test_out_of_memory_unmeasured(void **state)
{
	struct estimates *e = estimates_create();
	struct estimates_sample sample = {.kind = "k",
					  .model = "m",
					  .utilization_percent = -1,
					  .ended = true,
					  .out_of_memory = true,
					  .granted_bytes = 4000 * MIB};
	struct estimates_need need;

	(void)state;
	/* Nothing: the grant is no fact. Half as much again is worth a try. */
	estimates_learn(e, &sample);
	need = estimates_need_get(e, "k", "m");
	assert_int_equal(need.oom_vram_bytes, 0);
	assert_int_equal(need.peaks, 0);
	assert_int_equal(need.vram_bytes, 6000 * MIB);
	assert_true(need.guessed);
	/* What it asked for, and what it had by its own words, whatever was sampled. */
	sample.oom_requested_bytes = 8 * GIB;
	estimates_learn(e, &sample);
	assert_int_equal(estimates_need_get(e, "k", "m").oom_vram_bytes, 8 * GIB);
	sample.peak_vram_bytes = 3 * GIB;
	sample.oom_used_bytes = GIB;
	estimates_learn(e, &sample);
	need = estimates_need_get(e, "k", "m");
	assert_int_equal(need.oom_vram_bytes, 9 * GIB);
	assert_int_equal(need.vram_bytes, 9 * GIB + 9 * GIB / 10);
	assert_false(need.guessed);
	/* Grown to its grant: that was not enough. */
	sample = (struct estimates_sample){.kind = "held",
					   .model = "m",
					   .utilization_percent = -1,
					   .out_of_memory = true,
					   .granted_bytes = 4000 * MIB,
					   .peak_vram_bytes = 3700 * MIB};
	estimates_learn(e, &sample);
	need = estimates_need_get(e, "held", "m");
	assert_int_equal(need.oom_vram_bytes, 4000 * MIB);
	assert_int_equal(need.vram_bytes, 6000 * MIB);
	assert_true(need.guessed);
	/* One that ended well leaves nothing to be guessed, on whichever GPU. */
	sample.model = "other";
	sample.out_of_memory = false;
	sample.ended = true;
	sample.peak_vram_bytes = 4500 * MIB;
	estimates_learn(e, &sample);
	need = estimates_need_get(e, "held", "m");
	assert_int_equal(need.vram_bytes, 4950 * MIB);
	assert_false(need.guessed);
	/* That of the host says nothing of VRAM. */
	sample = (struct estimates_sample){.kind = "k",
					   .model = "m",
					   .utilization_percent = -1,
					   .out_of_ram = true,
					   .peak_vram_bytes = 20 * GIB,
					   .peak_ram_bytes = 30 * GIB};
	estimates_learn(e, &sample);
	assert_int_equal(estimates_need_get(e, "k", "m").oom_vram_bytes, 9 * GIB);
	assert_int_equal(estimates_need_get(e, "k", "m").p95_ram_bytes, 30 * GIB);
	estimates_destroy(e);
}

/* A program that takes what it is given does not ask for more each time. */
static void test_no_creeping(void **state)
{
	struct estimates *e = estimates_create();
	struct estimates_sample sample = {.kind = "k",
					  .model = "m",
					  .utilization_percent = -1,
					  .ended = true,
					  .granted_bytes = 10 * GIB};

	(void)state;
	for (int generation = 0; generation < 200; generation++) {
		sample.peak_vram_bytes = sample.granted_bytes - sample.granted_bytes / 50;
		estimates_learn(e, &sample);
		sample.granted_bytes = estimates_need_get(e, "k", "m").vram_bytes;
	}
	assert_int_equal(sample.granted_bytes, 10 * GIB);
	/* More than that was needed all the same. */
	sample.peak_vram_bytes = 11 * GIB;
	for (int i = 0; i < 3; i++)
		estimates_learn(e, &sample);
	assert_true(estimates_need_get(e, "k", "m").vram_bytes > 11 * GIB);
	estimates_destroy(e);
}

static void test_forget(void **state)
{
	struct estimates *e = estimates_create();
	auto_free struct estimates_row *rows = NULL;
	char kind[32];

	(void)state;
	assert_false(estimates_forget(e, "k"));
	for (int i = 0; i < 300; i++) {
		(void)snprintf(kind, sizeof kind, "kind %d", i);
		for (int model = 0; model < 2; model++)
			estimates_learn(e, &(struct estimates_sample){.kind = kind,
								      .model = model ? "a" : "b",
								      .work_seconds = i + 1,
								      .utilization_percent = 50,
								      .peak_vram_bytes =
									  (uint64_t)(i + 1) * MIB,
								      .ended = true});
	}
	assert_int_equal(estimates_rows(e, true, &rows), 600);
	estimates_stored(e);
	learn(e, "a", GIB, false);
	assert_true(estimates_forget(e, "kind 7"));
	assert_false(estimates_forget(e, "kind 7"));
	assert_int_equal(estimates_need_get(e, "kind 7", NULL).peaks, 0);
	assert_false(estimates_get(e, "kind 7", "a", 1, 0).seen);
	for (int i = 0; i < 300; i++) {
		(void)snprintf(kind, sizeof kind, "kind %d", i);
		assert_int_equal(estimates_need_get(e, kind, "a").max_vram_bytes,
				 i == 7 ? 0 : (uint64_t)(i + 1) * MIB);
		assert_true(estimates_get(e, kind, "b", 1, 0).seen == (i != 7));
	}
	/* What was not stored yet still is to be. */
	free(rows);
	rows = NULL;
	assert_int_equal(estimates_rows(e, true, &rows), 1);
	assert_string_equal(rows[0].kind, "k");
	assert_true(estimates_forget(e, NULL));
	assert_false(estimates_forget(e, NULL));
	assert_int_equal(estimates_need_get(e, "kind 8", NULL).peaks, 0);
	learn(e, "a", GIB, false);
	assert_int_equal(estimates_need_get(e, "k", "a").peaks, 1);
	estimates_destroy(e);
}

/* The reference. */

#define MODELS  3
#define HISTORY 400
static const char *const models[MODELS] = {"A", "B", ""};

struct event {
	int model;
	uint64_t vram;
	enum { FINAL, FLOOR, OPEN } how;
};

static int compare(const void *a, const void *b)
{
	const uint64_t *x = a, *y = b;

	return *x < *y ? -1 : *x > *y;
}

/* The last 32 measured of one model, finals and floors, by walking all of history backwards. */
static size_t last_of(const struct event *events, size_t n, int model, struct event *to)
{
	size_t found = 0;

	while (n-- > 0 && found < ESTIMATES_PEAKS)
		if (events[n].model == model && events[n].how != OPEN && events[n].vram > 0)
			to[found++] = events[n];
	return found;
}

static struct estimates_need reference_of(const struct event *events, size_t n, unsigned mask)
{
	struct event kept[MODELS * (ESTIMATES_PEAKS + 1)];
	uint64_t values[MODELS * (ESTIMATES_PEAKS + 1)], max = 0;
	struct estimates_need need = {};
	size_t k = 0, count = 0;
	bool final = false;

	for (int m = 0; m < MODELS; m++)
		if (mask & 1u << m)
			k += last_of(events, n, m, kept + k);
	for (size_t i = 0; i < k; i++)
		final |= kept[i].how == FINAL;
	for (int m = 0; m < MODELS && !final; m++) {
		struct event open = {.how = OPEN};

		for (size_t i = 0; i < n; i++) {
			if (events[i].model != m || !(mask & 1u << m))
				continue;
			if (events[i].how == FINAL && events[i].vram > 0)
				open.vram = 0;
			if (events[i].how == OPEN && events[i].vram > open.vram)
				open.vram = events[i].vram;
		}
		if (open.vram > 0)
			kept[k++] = open;
	}
	for (size_t i = 0; i < k; i++)
		max = kept[i].vram > max ? kept[i].vram : max;
	for (size_t i = 0; i < k; i++)
		if (kept[i].how != FLOOR || kept[i].vram == max)
			values[count++] = kept[i].vram;
	qsort(values, count, sizeof *values, compare);
	need.peaks = (unsigned)count;
	need.max_vram_bytes = max;
	for (size_t i = 0; i < count && need.p95_vram_bytes == 0; i++)
		if ((i + 1) * 100 >= count * 95)
			need.p95_vram_bytes = values[i];
	return need;
}

static uint64_t reference_oom(const struct event *events, size_t n)
{
	uint64_t largest = 0;

	for (int m = 0; m < MODELS - 1; m++) {
		uint64_t oom = 0;

		for (size_t i = 0; i < n; i++) {
			if (events[i].how == FLOOR && events[i].model == m)
				oom = MAX_OF(oom, events[i].vram);
			if (events[i].how == FINAL && events[i].vram > 0 && events[i].vram < oom)
				oom = 0;
		}
		largest = MAX_OF(largest, oom);
	}
	return largest;
}

/* Half as much again as the largest that ran out, until one has ended well. */
static uint64_t reference_guess(const struct event *events, size_t n)
{
	uint64_t guess = 0;

	for (size_t i = 0; i < n; i++) {
		if (events[i].vram == 0 || events[i].model == MODELS - 1)
			continue;
		if (events[i].how == FLOOR)
			guess = MAX_OF(guess, events[i].vram + events[i].vram / 2);
		if (events[i].how == FINAL)
			guess = 0;
	}
	return guess;
}

static void compare_needs(const struct estimates *e, const struct event *events, size_t n)
{
	struct estimates_need any = reference_of(events, n, 3);
	uint64_t oom = reference_oom(events, n), guess = reference_guess(events, n);

	any.oom_vram_bytes = oom;
	for (int m = 0; m < 3; m++) {
		struct estimates_need got = estimates_need_get(e, "k", m < 2 ? models[m] : NULL);
		struct estimates_need want = m < 2 ? reference_of(events, n, 1u << m) : any;
		uint64_t base, margin;

		if (want.peaks < 3)
			want = any;
		assert_int_equal(got.peaks, want.peaks);
		assert_int_equal(got.known, want.peaks >= 3);
		assert_int_equal(got.max_vram_bytes, want.max_vram_bytes);
		assert_int_equal(got.p95_vram_bytes, want.p95_vram_bytes);
		assert_int_equal(got.oom_vram_bytes, oom);
		base = oom > want.p95_vram_bytes ? oom : want.p95_vram_bytes;
		margin =
		    want.peaks <= 9 ? MAX_OF(base / 10, 256 * MIB) : MAX_OF(base / 20, 128 * MIB);
		base = base ? base + margin : 0;
		assert_int_equal(got.guessed, guess > base);
		assert_int_equal(got.vram_bytes, MAX_OF(base, guess));
	}
}

/* What goes to the store and comes back is as good. */
static void reload(struct estimates **e)
{
	struct estimates *loaded = estimates_create();
	auto_free struct estimates_row *rows = NULL;
	size_t n = estimates_rows(*e, false, &rows);

	estimates_load(loaded, rows, n);
	estimates_destroy(*e);
	*e = loaded;
}

static void test_against_reference(void **state)
{
	unsigned seed = 7;

	(void)state;
	for (int round = 0; round < 60; round++) {
		struct estimates *e = estimates_create();
		struct event events[HISTORY];
		size_t length = 1 + (size_t)rand_r(&seed) % HISTORY;

		for (size_t i = 0; i < length; i++) {
			int dice = rand_r(&seed) % 10;
			struct event *event = &events[i];

			event->how = dice < 6 ? FINAL : dice < 8 ? FLOOR : OPEN;
			event->model = rand_r(&seed) % 8 ? rand_r(&seed) % 2 : 2;
			event->vram =
			    rand_r(&seed) % 20 ? (uint64_t)(1 + rand_r(&seed) % 64) * 100 * MIB : 0;
			/* What runs on the CPU has none. */
			if (event->model == 2)
				event->vram = 0;
			estimates_learn(
			    e, &(struct estimates_sample){.kind = "k",
							  .model = models[event->model],
							  .utilization_percent = -1,
							  .peak_vram_bytes = event->vram,
							  .ended = event->how != OPEN,
							  .out_of_memory = event->how == FLOOR});
			if (rand_r(&seed) % 16 == 0)
				reload(&e);
			compare_needs(e, events, i + 1);
		}
		estimates_destroy(e);
	}
}

/* Of no more than 32 the order does not matter. */
static void test_any_order(void **state)
{
	uint64_t peaks[ESTIMATES_PEAKS], first = 0;
	unsigned seed = 3;

	(void)state;
	for (int i = 0; i < ESTIMATES_PEAKS; i++)
		peaks[i] = (uint64_t)(1 + rand_r(&seed) % 1000) * 16 * MIB;
	for (int round = 0; round < 50; round++) {
		struct estimates *e = estimates_create();

		for (int i = ESTIMATES_PEAKS - 1; i > 0; i--) {
			int j = rand_r(&seed) % (i + 1);
			uint64_t swap = peaks[i];

			peaks[i] = peaks[j];
			peaks[j] = swap;
		}
		for (int i = 0; i < ESTIMATES_PEAKS; i++)
			learn(e, "m", peaks[i], false);
		first = first ? first : estimates_need_get(e, "k", "m").vram_bytes;
		assert_int_equal(estimates_need_get(e, "k", "m").vram_bytes, first);
		estimates_destroy(e);
	}
	qsort(peaks, ESTIMATES_PEAKS, sizeof *peaks, compare);
	assert_int_equal(first, peaks[30] + MAX_OF(peaks[30] / 20, 128 * MIB)); /* the 31st of 32 */
}

/* Who was stopped at a use is told from who ran out of memory there; the largest counts. */
static void test_stopped(void **state)
{
	struct estimates *e = estimates_create();
	struct estimates_sample sample = {.kind = "k",
					  .model = "m",
					  .utilization_percent = -1,
					  .out_of_memory = true,
					  .stopped = true,
					  .granted_bytes = GIB,
					  .peak_vram_bytes = 2 * GIB};

	(void)state;
	estimates_learn(e, &sample);
	assert_true(estimates_need_get(e, "k", "m").oom_stopped);
	assert_in_range(estimates_need_get(e, "k", "m").vram_bytes, 3 * GIB - MIB, 3 * GIB);
	/* It still grew: its word may be too small by 60 %. */
	sample.growing = true;
	sample.granted_bytes = 3 * GIB / 2;
	estimates_learn(e, &sample);
	assert_int_equal(estimates_need_get(e, "k", "m").vram_bytes, 15 * GIB / 4);
	sample.growing = false;
	sample.stopped = false;
	sample.peak_vram_bytes = 3 * GIB;
	estimates_learn(e, &sample);
	assert_false(estimates_need_get(e, "k", "m").oom_stopped);
	sample.stopped = true;
	sample.peak_vram_bytes = 2 * GIB;
	estimates_learn(e, &sample);
	assert_false(estimates_need_get(e, "k", "m").oom_stopped);
	estimates_destroy(e);
}

/* What is worth a try ends with one that got along with less, and that need not be measured. */
static void test_guess_ends(void **state)
{
	struct estimates *e = estimates_create();
	struct estimates_sample sample = {.kind = "k",
					  .model = "m",
					  .utilization_percent = -1,
					  .granted_bytes = 16 * GIB,
					  .ended = true,
					  .out_of_memory = true};

	(void)state;
	estimates_learn(e, &sample);
	assert_true(estimates_need_get(e, "k", "m").guessed);
	assert_in_range(estimates_need_get(e, "k", "m").vram_bytes, 24 * GIB - MIB, 24 * GIB);
	/* As much as was guessed: it may have needed that. */
	sample.out_of_memory = false;
	sample.granted_bytes = 24 * GIB;
	estimates_learn(e, &sample);
	assert_true(estimates_need_get(e, "k", "m").guessed);
	sample.granted_bytes = 22 * GIB;
	sample.model = "n";
	estimates_learn(e, &sample);
	assert_false(estimates_need_get(e, "k", "m").guessed);
	assert_int_equal(estimates_need_get(e, "k", "m").vram_bytes, 0);
	estimates_destroy(e);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_few_and_many),
	    cmocka_unit_test(test_small_margins),
	    cmocka_unit_test(test_models),
	    cmocka_unit_test(test_running),
	    cmocka_unit_test(test_out_of_memory),
	    cmocka_unit_test(test_out_of_memory_unmeasured),
	    cmocka_unit_test(test_no_creeping),
	    cmocka_unit_test(test_forget),
	    cmocka_unit_test(test_against_reference),
	    cmocka_unit_test(test_stopped),
	    cmocka_unit_test(test_guess_ends),
	    cmocka_unit_test(test_any_order),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
