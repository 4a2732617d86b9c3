/*
 * Random machines and batches through every policy, in virtual time: no promise may be broken, no
 * policy may get stuck, nothing may be faster than the lower bound. The seed of a failure is
 * printed; `place_properties SEED` plays that one alone.
 */
#include "gpu_name.h"
#include "place_world.h"
#include "unit.h"
#include "util/size.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#define WORLDS ROUNDS(240)

static uint64_t only_seed;

struct kind {
	char name[16];
	struct place_request request;
	double work, utilization;
};

static uint64_t pick(uint64_t *state, uint64_t n)
{
	return world_random(state) % n;
}

static void make_kind(uint64_t *state, const struct world *world, struct kind *kind, unsigned n)
{
	uint64_t largest = 0;

	for (size_t g = 0; g < world->n_gpus; g++)
		largest =
		    largest > world->gpus[g].total_bytes ? largest : world->gpus[g].total_bytes;
	memset(kind, 0, sizeof *kind);
	snprintf(kind->name, sizeof kind->name, "kind%u", n);
	kind->work = 1 + 100 * world_uniform(state);
	kind->utilization = 5 + 95 * world_uniform(state);
	kind->request.gpus = 1;
	kind->request.vram_bytes =
	    pick(state, 12) == 0 ? 0 : (uint64_t)((double)largest * 0.97 * world_uniform(state));
	if (pick(state, 10) == 0) {
		kind->request.vram_bytes = 0;
		kind->request.fraction_milli = (unsigned)(1 + pick(state, 1000));
	}
	if (pick(state, 2) == 0)
		kind->request.ram_bytes = pick(state, 16 * GIB);
	if (pick(state, 4) == 0)
		kind->request.cpu_milli = (unsigned)pick(state, 8000);
	kind->request.exclusive = pick(state, 12) == 0;
	if (pick(state, 10) == 0)
		kind->request.gpus = (unsigned)(1 + pick(state, world->n_gpus));
	if (pick(state, 10) == 0)
		kind->request.pin_uuid = gpu_name((unsigned)pick(state, world->n_gpus));
	if (kind->request.pin_uuid)
		kind->request.gpus = 1;
	if (pick(state, 10) == 0) {
		kind->request.cpu = PLACE_CPU_ONLY;
		kind->request.gpus = kind->request.fraction_milli = 0;
		kind->request.vram_bytes = 0;
		kind->request.pin_uuid = NULL;
	}
}

/* Rules of GPUs, wishes, users, start locks: some of each. */
static struct place_wishes wishes[6];

static void make_wishes(uint64_t *state, const struct world *world, struct place_wishes *w)
{
	memset(w, 0, sizeof *w);
	for (size_t g = 0; g < world->n_gpus; g++) {
		char uuid[GPU_UUID_MAX];
		uint64_t what = pick(state, 6);

		snprintf(uuid, sizeof uuid, "GPU-%zu", g);
		if (what == 0)
			memcpy(w->forbid[w->n_forbid++], uuid, sizeof uuid);
		else if (what == 1)
			memcpy(w->prefer[w->n_prefer++], uuid, sizeof uuid);
		else if (what == 2)
			memcpy(w->avoid[w->n_avoid++], uuid, sizeof uuid);
	}
	if (pick(state, 4) == 0)
		snprintf(w->models[w->n_models++], sizeof w->models[0], "%c",
			 (char)('a' + pick(state, 3)));
	if (pick(state, 4) == 0)
		w->compute_min = (unsigned)(60 + 10 * pick(state, 4));
	if (pick(state, 4) == 0)
		w->compute_max = (unsigned)(70 + 10 * pick(state, 4));
}

static void decorate(uint64_t *state, struct world *world, struct kind kinds[6], unsigned n_kinds)
{
	for (size_t g = 0; g < world->n_gpus; g++) {
		struct world_gpu *gpu = &world->gpus[g];

		gpu->compute = pick(state, 4) == 0 ? 0 : (unsigned)(60 + 10 * pick(state, 4));
		if (pick(state, 5) == 0)
			gpu->max_request_bytes = (1 + pick(state, 6)) * GIB;
		if (pick(state, 4) == 0)
			gpu->max_tasks = (unsigned)(1 + pick(state, 3));
		gpu->closed = pick(state, 8) == 0;
	}
	for (unsigned k = 0; k < n_kinds; k++) {
		struct place_request *request = &kinds[k].request;

		if (request->cpu == PLACE_CPU_ONLY)
			continue;
		make_wishes(state, world, &wishes[k]);
		if (pick(state, 2) == 0)
			request->wishes = &wishes[k];
		request->start_lock = pick(state, 5) == 0;
		if (pick(state, 4) == 0)
			request->stagger_ms = (unsigned)pick(state, 8000);
	}
	world->stagger_ms = pick(state, 3) == 0 ? (unsigned)pick(state, 3000) : 0;
	world->settle_seconds = 0.1 + 8 * world_uniform(state);
	world->n_users = pick(state, 4);
	for (size_t i = 0; i < world->n_users; i++)
		world->users[i] = (struct place_user){
		    .uid = (uid_t)i,
		    .max_running = (unsigned)pick(state, 5),
		    .max_gpus = (unsigned)pick(state, 6),
		    .max_vram_bytes = pick(state, 2) == 0 ? 0 : pick(state, 30 * GIB),
		};
}

static bool is_decorated(uint64_t seed)
{
	return seed % 2 == 0;
}

/* Every third world has arrivals and priorities, so the bound does not apply to it. */
static bool is_closed(uint64_t seed)
{
	return seed % 3 != 0;
}

static void make_world(uint64_t seed, struct world *world, struct kind kinds[6])
{
	uint64_t state = seed * 1000003;
	static const char *const models[] = {"a", "b", "c"};
	static const double speeds[] = {1, 0.6, 0.25};
	unsigned n_kinds = (unsigned)(1 + pick(&state, 6)), limits[3][2];

	memset(world, 0, sizeof *world);
	world->n_gpus = 1 + pick(&state, pick(&state, 4) == 0 ? 6 : 3);
	for (size_t g = 0; g < world->n_gpus; g++) {
		size_t model = pick(&state, 3);

		world->gpus[g] =
		    (struct world_gpu){models[model], (4 + pick(&state, 21)) * GIB, speeds[model]};
	}
	world->ram_bytes = pick(&state, 3) == 0 ? 0 : (16 + pick(&state, 48)) * GIB;
	world->cpu_milli = pick(&state, 2) == 0 ? 0 : 8000;
	for (unsigned k = 0; k < n_kinds; k++)
		make_kind(&state, world, &kinds[k], k);
	if (is_decorated(seed))
		decorate(&state, world, kinds, n_kinds);
	for (int b = 0; b < 3; b++) {
		limits[b][0] = pick(&state, 2) == 0 ? 0 : (unsigned)(1 + pick(&state, 4));
		limits[b][1] = pick(&state, 3) == 0 ? (unsigned)(1 + pick(&state, 8)) : 0;
	}
	world->n_tasks = 5 + pick(&state, 35);
	world->tasks = mem_calloc(world->n_tasks, sizeof *world->tasks);
	for (size_t i = 0; i < world->n_tasks; i++) {
		struct world_task *task = &world->tasks[i];
		const struct kind *kind = &kinds[pick(&state, n_kinds)];

		task->request = kind->request;
		task->kind = kind->name;
		task->batch = pick(&state, 3);
		task->uid = (uid_t)pick(&state, 4);
		if (task->batch > 0 && task->request.cpu != PLACE_CPU_ONLY)
			task->request.max_per_gpu = limits[task->batch][0];
		task->request.threads = task->batch > 0 ? limits[task->batch][1] : 0;
		task->hint = 1 + 9 * world_uniform(&state);
		task->work_seconds = kind->work * exp(0.5 * world_normal(&state));
		task->utilization_percent =
		    task->request.cpu == PLACE_CPU_ONLY ? 0 : kind->utilization;
		if (!is_closed(seed)) {
			task->arrives_seconds =
			    pick(&state, 2) == 0 ? 0 : 200 * world_uniform(&state);
			task->priority = (int)pick(&state, 3);
		}
	}
}

static bool may_ever(const struct world *world, const struct place_request *request, size_t g)
{
	uint64_t total = world->gpus[g].total_bytes;

	return !world_objection(world, request, g) && request->vram_bytes <= total - total / 20 &&
	       request->vram_bytes <= total - 256 * MIB;
}

static bool user_may_ever(const struct world *world, const struct world_task *task)
{
	uint64_t most = task->request.vram_bytes;

	for (size_t g = 0; g < world->n_gpus; g++)
		if (!place_is_pinned_elsewhere(&task->request, gpu_name((unsigned)g)))
			most = MAX_OF(most, world_vram(world, &task->request, g));
	for (size_t i = 0; i < world->n_users; i++) {
		const struct place_user *user = &world->users[i];

		if (user->uid == task->uid &&
		    ((user->max_gpus > 0 && task->request.gpus > user->max_gpus) ||
		     (user->max_vram_bytes > 0 &&
		      task->request.gpus * most > user->max_vram_bytes)))
			return false;
	}
	return true;
}

/* What can never run here is left out, as a submit would refuse it. */
static void drop_impossible(struct world *world)
{
	size_t kept = 0;

	for (size_t i = 0; i < world->n_tasks; i++) {
		const struct place_request *request = &world->tasks[i].request;
		size_t holds = 0;

		for (size_t g = 0; g < world->n_gpus; g++)
			holds += may_ever(world, request, g);
		if (holds >= request->gpus && user_may_ever(world, &world->tasks[i]) &&
		    (world->ram_bytes == 0 || request->ram_bytes <= world->ram_bytes))
			world->tasks[kept++] = world->tasks[i];
	}
	world->n_tasks = kept;
}

static size_t play_world(uint64_t seed)
{
	struct place_yardsticks yardsticks = {-1, -1, -1};
	struct kind kinds[6];
	struct world world;
	size_t steps = 0;

	make_world(seed, &world, kinds);
	drop_impossible(&world);
	if (is_closed(seed) && world.n_tasks > 0)
		world_yardsticks(&world, &yardsticks);
	for (int policy = 0; policy < PLACE_POLICY_COUNT && world.n_tasks > 0; policy++) {
		struct world_run run = {.policy = (enum place_policy)policy, .hints = seed / 2 % 2};

		/* Every other of the worlds in which tasks arrive has reservations. */
		if (!is_closed(seed) && seed / 3 % 2 == 0)
			run.reserve_after_seconds = 20;

		world_play(&world, &run);
		steps += run.n_steps;
		if (run.broken[0])
			fail_msg("seed %llu, %s: %s", (unsigned long long)seed,
				 place_policy_name(run.policy), run.broken);
		if (run.n_left > 0)
			fail_msg("seed %llu, %s: %zu of %zu tasks never started",
				 (unsigned long long)seed, place_policy_name(run.policy),
				 run.n_left, world.n_tasks);
		if (run.makespan_seconds < yardsticks.lower_bound_seconds * (1 - 1e-6))
			fail_msg("seed %llu, %s: %.3f s, below the bound of %.3f s",
				 (unsigned long long)seed, place_policy_name(run.policy),
				 run.makespan_seconds, yardsticks.lower_bound_seconds);
	}
	if (yardsticks.even_split_seconds >= 0)
		assert_true(yardsticks.even_split_seconds >=
			    yardsticks.lower_bound_seconds * (1 - 1e-6));
	if (yardsticks.one_gpu_seconds >= 0)
		assert_true(yardsticks.one_gpu_seconds >=
			    yardsticks.lower_bound_seconds * (1 - 1e-6));
	free(world.tasks);
	return steps;
}

static void test_random_worlds(void **state)
{
	size_t steps = 0;

	(void)state;
	for (uint64_t seed = 1; seed <= WORLDS; seed++)
		steps += play_world(seed);
	print_message("# %zu steps in %d worlds, seeds 1..%d\n", steps, WORLDS, WORLDS);
	assert_true(steps >= ROUNDS(20000));
}

static void test_one_world(void **state)
{
	(void)state;
	play_world(only_seed);
}

/* The same view twice gives the same decisions: makespans agree to the last bit. */
static void test_deterministic(void **state)
{
	(void)state;
	for (uint64_t seed = 1; seed <= 5; seed++) {
		struct world_run first = {.policy = PLACE_AUTO}, second = first;
		struct kind kinds[6];
		struct world world;

		make_world(seed, &world, kinds);
		drop_impossible(&world);
		world_play(&world, &first);
		world_play(&world, &second);
		assert_true(first.makespan_seconds == second.makespan_seconds);
		assert_int_equal(first.n_steps, second.n_steps);
		free(world.tasks);
	}
}

int main(int argc, char **argv)
{
	const struct CMUnitTest all[] = {
	    cmocka_unit_test(test_random_worlds),
	    cmocka_unit_test(test_deterministic),
	};
	const struct CMUnitTest one[] = {cmocka_unit_test(test_one_world)};

	if (argc > 1) {
		only_seed = strtoull(argv[1], NULL, 10);
		return cmocka_run_group_tests(one, NULL, NULL);
	}
	return cmocka_run_group_tests(all, NULL, NULL);
}
