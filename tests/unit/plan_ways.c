/*
 * Ways out of large problems: there is one, it holds, and it is found in bounded time, whatever
 * the number of sets that could be looked at.
 */
#include "unit.h"

#include "place/plan.h"
#include "util/size.h"

#include <stdlib.h>
#include <time.h>

/* Far above what it takes, with a sanitizer and valgrind, too; what is not bounded takes hours. */
#define CPU_SECONDS_MAX 60

struct scene {
	struct plan_gpu gpus[PLAN_GPUS_MAX];
	struct plan_service services[PLAN_SERVICES_MAX];
	char names[PLAN_SERVICES_MAX][8];
	struct plan_problem problem;
};

static void scene_init(struct scene *scene, size_t n_gpus, size_t n_services)
{
	memset(scene, 0, sizeof *scene);
	scene->problem = (struct plan_problem){.gpus = scene->gpus,
					       .n_gpus = n_gpus,
					       .services = scene->services,
					       .n_services = n_services};
	for (size_t g = 0; g < n_gpus; g++) {
		scene->gpus[g] = (struct plan_gpu){.index = (unsigned)g,
						   .total_bytes = 24 * GIB,
						   .load_line_bytes = 23 * GIB,
						   .usable = true};
		snprintf(scene->gpus[g].uuid, sizeof scene->gpus[g].uuid, "GPU-%zu", g);
	}
	for (size_t i = 0; i < n_services; i++) {
		struct plan_service *s = &scene->services[i];

		snprintf(scene->names[i], sizeof scene->names[i], "s%zu", i);
		*s = (struct plan_service){
		    .name = scene->names[i], .vram_bytes = GIB, .gpus = 1, .replicas = 1};
		for (size_t g = 0; g < n_gpus; g++)
			s->allowed[g] = true;
	}
}

static struct plan *solve(const struct scene *scene)
{
	struct timespec before, after;
	struct error err = {};
	struct plan *plan = NULL;

	clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &before);
	if (plan_solve(&scene->problem, &plan, &err) < 0)
		fail_msg("%s", error_text(&err));
	clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &after);
	print_message("# %zu services on %zu GPUs: %.2f s, %llu of work, %zu ways\n",
		      scene->problem.n_services, scene->problem.n_gpus,
		      (double)(after.tv_sec - before.tv_sec) +
			  (double)(after.tv_nsec - before.tv_nsec) / 1e9,
		      (unsigned long long)plan->work, plan->n_ways);
	for (size_t w = 0; w < plan->n_ways; w++)
		print_message("#   %s\n", plan->ways[w].reason);
	assert_in_range(after.tv_sec - before.tv_sec, 0, CPU_SECONDS_MAX);
	assert_false(plan->feasible);
	return plan;
}

/* After the changes all that is left keeps below the load lines. */
static void check_holds(const struct scene *scene, const struct plan_way *way)
{
	uint64_t loads[PLAN_GPUS_MAX] = {};

	for (size_t i = 0; i < scene->problem.n_services; i++) {
		bool yields = false;

		for (size_t c = 0; c < way->n_changes; c++)
			yields |= way->changes[c].service == i;
		assert_int_equal(way->places[i].n == 0,
				 yields && way->changes[0].action == PLAN_CPU);
		for (size_t k = 0; k < way->places[i].n; k++)
			loads[way->places[i].gpus[k]] += yields ? 0 : scene->services[i].vram_bytes;
	}
	for (size_t g = 0; g < scene->problem.n_gpus; g++) {
		assert_int_equal(loads[g], way->planned_bytes[g]);
		assert_true(loads[g] <= scene->gpus[g].load_line_bytes);
	}
}

static const struct plan_way *find_way(const struct plan *plan, enum plan_action action)
{
	for (size_t w = 0; w < plan->n_ways; w++)
		if (plan->ways[w].changes[0].action == action)
			return &plan->ways[w];
	fail_msg("no way out of the kind %s", plan_action_name(action));
	return NULL;
}

/* What fits no GPU even alone is in every set. */
static void those_too_large_go_first(void **state)
{
	static struct scene scene;
	auto_plan struct plan *plan = NULL;
	const struct plan_way *way;

	scene_init(&scene, 1, 40);
	for (size_t i = 0; i < 40; i++) {
		scene.services[i].cpu_fallback = i < 30;
		scene.services[i].vram_bytes = i < 14 ? 100 * GIB : GIB;
	}
	plan = solve(&scene);
	way = find_way(plan, PLAN_CPU);
	/* 14 that fit nowhere, and 3 of the 26 others. */
	assert_int_equal(way->n_changes, 17);
	for (size_t i = 0; i < 14; i++)
		assert_true(way->changes[i].service < 14);
	assert_true(way->proved);
	check_holds(&scene, way);
	assert_int_equal(find_way(plan, PLAN_BIGGER_GPU)->n_changes, 1);
	for (size_t w = 0; w < plan->n_ways; w++)
		assert_int_not_equal(plan->ways[w].changes[0].action, PLAN_ON_DEMAND);
}

static void one_that_cannot_yield_ends_it(void **state)
{
	static struct scene scene;
	auto_plan struct plan *plan = NULL;

	scene_init(&scene, 1, 40);
	for (size_t i = 0; i < 40; i++) {
		scene.services[i].cpu_fallback = true;
		scene.services[i].vram_bytes = i < 14 ? 100 * GIB : GIB;
	}
	scene.services[3].keep = true;
	plan = solve(&scene);
	assert_int_equal(plan->n_ways, 1);
	find_way(plan, PLAN_BIGGER_GPU);
}

/* 24 of 40 alike. */
static void many_alike_must_yield(void **state)
{
	static struct scene scene;
	auto_plan struct plan *plan = NULL;
	const struct plan_way *way;

	scene_init(&scene, 8, 40);
	for (size_t i = 0; i < 40; i++)
		scene.services[i].vram_bytes = 10 * GIB;
	plan = solve(&scene);
	way = find_way(plan, PLAN_ON_DEMAND);
	assert_int_equal(way->n_changes, 24);
	check_holds(&scene, way);
}

/* All different: more sets than can be looked at. What does is thinned out. */
static void many_different_must_yield(void **state)
{
	static const struct {
		size_t gpus, services;
	} cases[] = {{1, 40}, {4, 60}, {16, 120}, {64, 256}};
	uint64_t seed = 1;

	for (size_t c = 0; c < ARRAY_LEN(cases); c++) {
		static struct scene scene;
		auto_plan struct plan *plan = NULL;
		const struct plan_way *way;
		uint64_t mean = 40 * GIB * cases[c].gpus / cases[c].services;

		scene_init(&scene, cases[c].gpus, cases[c].services);
		for (size_t i = 0; i < cases[c].services; i++) {
			seed = seed * 6364136223846793005 + 1442695040888963407;
			scene.services[i].vram_bytes = mean / 2 + (seed >> 33) % mean;
		}
		plan = solve(&scene);
		way = find_way(plan, PLAN_ON_DEMAND);
		assert_true(way->n_changes < cases[c].services / 2 + 1);
		check_holds(&scene, way);
	}
}

/* Work is a measure of time: at its limit no problem takes much longer than another, or than it
 * says. */
static void work_bounds_time(void **state)
{
	static const struct {
		size_t gpus, services;
	} cases[] = {{4, 40}, {32, 200}, {64, 256}};
	uint64_t seed = 3;
	double least = 1e9, most = 0;

	for (size_t c = 0; c < ARRAY_LEN(cases); c++) {
		static struct scene scene;
		auto_plan struct plan *plan = NULL;
		struct timespec before, after;
		double seconds;

		scene_init(&scene, cases[c].gpus, cases[c].services);
		for (size_t i = 0; i < cases[c].services; i++) {
			seed = seed * 6364136223846793005 + 1442695040888963407;
			scene.services[i].vram_bytes =
			    21 * GIB * cases[c].gpus / cases[c].services / 2 +
			    (seed >> 33) % (21 * GIB * cases[c].gpus / cases[c].services);
		}
		scene.problem.use_steps = 1000000;
		scene.problem.work_max = 1000000;
		clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &before);
		assert_int_equal(plan_solve(&scene.problem, &plan, NULL), 0);
		clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &after);
		assert_false(plan->proved);
		seconds = (double)(after.tv_sec - before.tv_sec) +
			  (double)(after.tv_nsec - before.tv_nsec) / 1e9;
		print_message("# %zu GPUs: %.3f s, %llu of work\n", cases[c].gpus, seconds,
			      (unsigned long long)plan->work);
		/* Ties are broken with a little more. */
		assert_in_range(plan->work, 1, 1500000);
		/* A share of it is what a question may take. */
		seconds *= 1000000.0 / (double)plan->work;
		least = seconds < least ? seconds : least;
		most = seconds > most ? seconds : most;
	}
	if (most > 8 * least)
		fail_msg("from %.3f to %.3f s", least, most);
}

/* In which no GPU, and no size, tells anything from another but the rules. */
static void rules_that_cannot_be_kept(void **state)
{
	static struct scene scene;
	static size_t others[PLAN_SERVICES_MAX];
	auto_plan struct plan *plan = NULL;

	scene_init(&scene, 31, 64);
	for (size_t i = 0; i < 64; i++) {
		others[i] = i;
		scene.services[i].not_with = others;
		scene.services[i].n_not_with = 64;
		scene.services[i].cpu_fallback = true;
	}
	plan = solve(&scene);
	assert_int_equal(find_way(plan, PLAN_CPU)->n_changes, 33);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(those_too_large_go_first),
	    cmocka_unit_test(one_that_cannot_yield_ends_it),
	    cmocka_unit_test(many_alike_must_yield),
	    cmocka_unit_test(many_different_must_yield),
	    cmocka_unit_test(work_bounds_time),
	    cmocka_unit_test(rules_that_cannot_be_kept),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
