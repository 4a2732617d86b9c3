/*
 * The reservation in virtual time. A big task among endless small ones: without a reservation it
 * starves, with one it starts within a bound. And what goes past it does not make it later than if
 * nothing did. `place_reserve SEED` plays that seed alone, and tells of the starts.
 */
#include "place_world.h"
#include "unit.h"
#include "util/size.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#define STREAM_SECONDS 300.0
#define RESERVE_AFTER  60.0
#define BIG_ARRIVES    50.0
#define SEEDS          1
#define TRACES         ROUNDS(80)

static uint64_t only_seed;

static uint64_t pick(uint64_t *state, uint64_t n)
{
	return world_random(state) % n;
}

static struct world_task *add_task(struct world *world, size_t *room, struct world_task task)
{
	ARRAY_GROW(world->tasks, world->n_tasks, *room);
	world->tasks[world->n_tasks] = task;
	return &world->tasks[world->n_tasks++];
}

struct stream {
	struct place_request big;
	struct place_request small;
	double small_seconds, spread, every;
	double longest; /* of the small ones */
};

/* Small tasks without end (of the world, at least), and the big one among them: the queue stands in
 * the order of arrival. */
static size_t make_stream(uint64_t seed, struct stream *stream, struct world *world)
{
	uint64_t state = seed * 7907;
	size_t room = 0, big = 0;
	bool added = false;

	for (double at = 0; at < STREAM_SECONDS; at += stream->every) {
		double seconds = stream->small_seconds * exp(stream->spread * world_normal(&state));

		if (!added && at >= BIG_ARRIVES) {
			add_task(world, &room,
				 (struct world_task){.request = stream->big,
						     .kind = "big",
						     .work_seconds = 30,
						     .utilization_percent = 50,
						     .arrives_seconds = BIG_ARRIVES});
			big = world->n_tasks - 1;
			added = true;
		}
		stream->longest = fmax(stream->longest, seconds);
		add_task(world, &room,
			 (struct world_task){.request = stream->small,
					     .kind = "small",
					     .work_seconds = seconds,
					     .utilization_percent = 20,
					     .arrives_seconds = at});
	}
	return big;
}

static double start_of_big(const struct world *world, size_t big, struct world_run *run)
{
	auto_free double *starts = mem_calloc(world->n_tasks, sizeof *starts);

	run->starts = starts;
	world_play(world, run);
	run->starts = NULL;
	if (run->broken[0])
		fail_msg("%s: %s", place_policy_name(run->policy), run->broken);
	assert_int_equal(run->n_left, 0);
	return starts[big];
}

/* Two GPUs of 24 GiB; what the big one wants and the small ones keep from it. */
static void play_stream(uint64_t seed, struct stream *stream, enum place_policy policy, bool known)
{
	struct world world = {.n_gpus = 2};
	struct world_run run = {.policy = policy}, without = {.policy = policy};
	struct estimates_row *rows = NULL;
	size_t big, n_rows = 0;
	double start;

	for (size_t g = 0; g < 2; g++)
		world.gpus[g] = (struct world_gpu){"a", 24 * GIB, 1, .max_tasks = 4};
	world.cpu_milli = 16000;
	world.ram_bytes = 64 * GIB;
	big = make_stream(seed, stream, &world);
	if (known)
		n_rows = world_profile(&world, &rows);
	run.profile = without.profile = rows;
	run.n_profile = without.n_profile = n_rows;
	run.reserve_after_seconds = RESERVE_AFTER;
	start = start_of_big(&world, big, &run);
	/* It may have to wait for those that run, and for one more that ended later than was sure.
	 */
	if (start > BIG_ARRIVES + RESERVE_AFTER + 2 * stream->longest + 1)
		fail_msg("seed %d, %s, durations %s: the big one starts at %.1f s", (int)seed,
			 place_policy_name(policy), known ? "known" : "unknown", start);
	if (policy != PLACE_AUTO) {
		double starved = start_of_big(&world, big, &without);

		if (starved < STREAM_SECONDS)
			fail_msg("seed %d, %s: it starts at %.1f s without a reservation too",
				 (int)seed, place_policy_name(policy), starved);
	}
	free(rows);
	free(world.tasks);
}

/* `auto` takes its time: it plays one stream only. */
static void play_all(struct stream stream, bool with_auto)
{
	for (uint64_t seed = 1; seed <= SEEDS; seed++)
		for (int policy = 0; policy < PLACE_POLICY_COUNT; policy++)
			for (int known = 0; known < 2; known++) {
				struct stream one = stream;

				if (policy == PLACE_AUTO && (!with_auto || seed > 1))
					continue;
				play_stream(seed, &one, (enum place_policy)policy, known);
			}
}

static const struct stream vram = {
    .big = {.gpus = 1, .vram_bytes = 20 * GIB},
    .small = {.gpus = 1, .vram_bytes = 5 * GIB},
    .small_seconds = 20,
    .spread = 0.3,
    .every = 2,
};

static void test_bounded_wait_for_vram(void **state)
{
	(void)state;
	play_all(vram, true);
}

static void test_bounded_wait_for_two_gpus(void **state)
{
	struct stream stream = vram;

	(void)state;
	stream.big.gpus = 2;
	play_all(stream, false);
}

static void test_bounded_wait_for_an_empty_gpu(void **state)
{
	struct stream stream = vram;

	(void)state;
	stream.big = (struct place_request){.gpus = 1, .vram_bytes = GIB, .exclusive = true};
	play_all(stream, false);
}

static void test_bounded_wait_for_ram(void **state)
{
	struct stream stream = vram;

	(void)state;
	stream.big = (struct place_request){.gpus = 1, .vram_bytes = GIB, .ram_bytes = 40 * GIB};
	stream.small = (struct place_request){.gpus = 1, .vram_bytes = GIB, .ram_bytes = 10 * GIB};
	stream.every = 1.5;
	play_all(stream, false);
}

static void test_bounded_wait_for_cpus(void **state)
{
	struct stream stream = vram;

	(void)state;
	stream.big = (struct place_request){.cpu = PLACE_CPU_ONLY, .cpu_milli = 12000};
	stream.small = (struct place_request){.gpus = 1, .vram_bytes = GIB, .cpu_milli = 3000};
	stream.every = 1.5;
	play_all(stream, false);
}

static void test_bounded_wait_for_settled_memory(void **state)
{
	struct stream stream = vram;

	(void)state;
	stream.big = (struct place_request){.gpus = 1, .vram_bytes = 20 * GIB, .start_lock = true};
	play_all(stream, true);
}

/* Random queues of kinds whose durations are known and do not vary. */
static void make_trace(uint64_t seed, struct world *world, char names[8][8])
{
	uint64_t state = seed * 104729;
	size_t room = 0, n_kinds = 3 + pick(&state, 5);
	struct world_task kinds[8] = {};

	world->n_gpus = 1 + pick(&state, 3);
	for (size_t g = 0; g < world->n_gpus; g++)
		world->gpus[g] = (struct world_gpu){"a", (12 + pick(&state, 13)) * GIB, 1};
	world->ram_bytes = pick(&state, 2) == 0 ? 0 : 64 * GIB;
	for (size_t k = 0; k < n_kinds; k++) {
		snprintf(names[k], sizeof names[k], "k%zu", k);
		kinds[k] = (struct world_task){
		    .kind = names[k],
		    .work_seconds = 5 + 100 * world_uniform(&state),
		    .utilization_percent = 1 + 60 * world_uniform(&state),
		    .request = {.gpus = 1, .vram_bytes = GIB / 2 + pick(&state, 10 * GIB)},
		};
		if (world->ram_bytes > 0)
			kinds[k].request.ram_bytes = pick(&state, 20 * GIB);
		if (pick(&state, 6) == 0)
			kinds[k].request.exclusive = true;
		if (pick(&state, 6) == 0)
			kinds[k].request.gpus = (unsigned)world->n_gpus;
	}
	for (double at = 0; at < 600; at += 12 * world_uniform(&state)) {
		struct world_task task = kinds[pick(&state, n_kinds)];

		task.arrives_seconds = at;
		add_task(world, &room, task);
	}
}

static size_t play_trace(uint64_t seed)
{
	struct world world = {};
	struct estimates_row *rows = NULL;
	char names[8][8];
	size_t n_rows, compared = 0;

	make_trace(seed, &world, names);
	n_rows = world_profile(&world, &rows);
	for (size_t i = 0; i < n_rows; i++)
		rows[i].samples = 200; /* sure of it */
	for (int policy = PLACE_AUTO + 1; policy < PLACE_POLICY_COUNT; policy++) {
		struct world_run run = {.policy = (enum place_policy)policy,
					.profile = rows,
					.n_profile = n_rows,
					.reserve_after_seconds = RESERVE_AFTER,
					.trace = only_seed > 0};
		struct world_run strict = run;

		strict.no_backfill = true;
		world_play(&world, &run);
		world_play(&world, &strict);
		if (run.broken[0])
			fail_msg("seed %d, %s: %s", (int)seed, place_policy_name(run.policy),
				 run.broken);
		assert_int_equal(run.n_left, 0);
		assert_int_equal(run.first_reserved, strict.first_reserved);
		if (run.first_reserved == world.n_tasks)
			continue;
		compared++;
		if (run.first_reserved_start > strict.first_reserved_start + 1e-6)
			fail_msg("seed %d, %s: task %zu starts at %.3f s, with nothing past it at "
				 "%.3f s",
				 (int)seed, place_policy_name(run.policy), run.first_reserved,
				 run.first_reserved_start, strict.first_reserved_start);
	}
	free(rows);
	free(world.tasks);
	return compared;
}

static void test_backfill_delays_nobody(void **state)
{
	size_t compared = 0;

	(void)state;
	for (uint64_t seed = 1; seed <= TRACES; seed++)
		compared += play_trace(seed);
	print_message("# %zu reservations compared, seeds 1..%d\n", compared, TRACES);
	assert_true(compared >= TRACES);
}

static void test_one_trace(void **state)
{
	(void)state;
	play_trace(only_seed);
}

int main(int argc, char **argv)
{
	const struct CMUnitTest all[] = {
	    cmocka_unit_test(test_bounded_wait_for_vram),
	    cmocka_unit_test(test_bounded_wait_for_two_gpus),
	    cmocka_unit_test(test_bounded_wait_for_an_empty_gpu),
	    cmocka_unit_test(test_bounded_wait_for_ram),
	    cmocka_unit_test(test_bounded_wait_for_cpus),
	    cmocka_unit_test(test_bounded_wait_for_settled_memory),
	    cmocka_unit_test(test_backfill_delays_nobody),
	};
	const struct CMUnitTest one[] = {cmocka_unit_test(test_one_trace)};

	if (argc > 1) {
		only_seed = strtoull(argv[1], NULL, 10);
		return cmocka_run_group_tests(one, NULL, NULL);
	}
	return cmocka_run_group_tests(all, NULL, NULL);
}
