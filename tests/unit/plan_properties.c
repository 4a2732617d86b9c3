/*
 * The planner against all placements there are, on small random problems: the same answer to the
 * last index, and none where there is none. The order in which services and GPUs are given changes
 * nothing. Ways out are ways out, and the smallest.
 */
#include "plan_world.h"
#include "unit.h"

#include <stdlib.h>
#include <string.h>

static uint64_t rounds(uint64_t otherwise)
{
	const char *text = getenv("PLAN_ROUNDS");

	return text ? strtoull(text, NULL, 10) : otherwise;
}

static struct plan *solve(const struct plan_problem *problem)
{
	struct error err = {};
	struct plan *plan = NULL;

	if (plan_solve(problem, &plan, &err) < 0)
		fail_msg("%s", error_text(&err));
	return plan;
}

static uint64_t set_of(const struct plan_place *place)
{
	uint64_t set = 0;

	for (size_t k = 0; k < place->n; k++)
		set |= (uint64_t)1 << place->gpus[k];
	return set;
}

static void check_against_brute(uint64_t round, const struct plan_problem *problem)
{
	auto_plan struct plan *plan = solve(problem);
	uint64_t sets[PLAN_SERVICES_MAX], own[PLAN_SERVICES_MAX];
	struct plan_worth worth, own_worth;

	if (!plan->proved || (plan->feasible && !plan->settled))
		fail_msg("round %llu: not proved, %llu nodes", (unsigned long long)round,
			 (unsigned long long)plan->work);
	if (plan_brute(problem, sets) != plan->feasible)
		fail_msg("round %llu: %s", (unsigned long long)round,
			 plan->feasible ? "feasible" : plan->reason);
	if (!plan->feasible) {
		assert_true(plan->reason[0] != '\0');
		return;
	}
	for (size_t i = 0; i < problem->n_services; i++)
		own[i] = set_of(&plan->places[i]);
	plan_worth(problem, sets, &worth);
	plan_worth(problem, own, &own_worth);
	for (size_t i = 0; i < problem->n_services; i++)
		if (own[i] != sets[i])
			fail_msg("round %llu: service %zu on %llx, best %llx; use %llu %llu, "
				 "moves %u %u, used %u %u, preference %lld %lld, allowed %d",
				 (unsigned long long)round, i, (unsigned long long)own[i],
				 (unsigned long long)sets[i], (unsigned long long)own_worth.use,
				 (unsigned long long)worth.use, own_worth.moves, worth.moves,
				 own_worth.used, worth.used, (long long)own_worth.preference,
				 (long long)worth.preference, own_worth.allowed);
}

static void equals_brute_force(void **state)
{
	static struct plan_world world;
	uint64_t seed = 1;

	for (uint64_t round = 0; round < rounds(4000); round++) {
		plan_world_small(&world, &seed, 4, 5);
		check_against_brute(round, &world.problem);
	}
	for (uint64_t round = 0; round < rounds(2000); round++) {
		plan_world_small(&world, &seed, 3, 7);
		check_against_brute(round, &world.problem);
	}
}

/* `to`: `from` with its services and GPUs in another order; `at_*`: where each came to stand. */
static void shuffle(const struct plan_world *from, struct plan_world *to, uint64_t *seed,
		    size_t *at_service, size_t *at_gpu)
{
	size_t n = from->problem.n_services, m = from->problem.n_gpus;

	memcpy(to, from, sizeof *to);
	to->problem.gpus = to->gpus;
	to->problem.services = to->services;
	for (size_t i = 0; i < n; i++)
		at_service[i] = i;
	for (size_t g = 0; g < m; g++)
		at_gpu[g] = g;
	for (size_t i = n; i-- > 1;) {
		size_t k = plan_random(seed) % (i + 1), kept = at_service[i];

		at_service[i] = at_service[k];
		at_service[k] = kept;
	}
	for (size_t g = m; g-- > 1;) {
		size_t k = plan_random(seed) % (g + 1), kept = at_gpu[g];

		at_gpu[g] = at_gpu[k];
		at_gpu[k] = kept;
	}
	for (size_t g = 0; g < m; g++)
		to->gpus[at_gpu[g]] = from->gpus[g];
	for (size_t i = 0; i < n; i++) {
		const struct plan_service *s = &from->services[i];
		struct plan_service *t = &to->services[at_service[i]];
		size_t slot = at_service[i];

		*t = *s;
		t->today = to->today[slot];
		t->not_with = to->not_with[slot];
		t->models = from->models[i];
		for (size_t k = 0; k < s->n_today; k++)
			to->today[slot][k] = at_gpu[s->today[k]];
		for (size_t k = 0; k < s->n_not_with; k++)
			to->not_with[slot][k] = at_service[s->not_with[k]];
		for (size_t g = 0; g < m; g++) {
			t->allowed[at_gpu[g]] = s->allowed[g];
			t->preference[at_gpu[g]] = s->preference[g];
		}
	}
}

static void order_changes_nothing(void **state)
{
	static struct plan_world world, other;
	size_t at_service[PLAN_SERVICES_MAX], at_gpu[PLAN_GPUS_MAX];
	uint64_t seed = 2;

	for (uint64_t round = 0; round < rounds(60); round++) {
		auto_plan struct plan *plan = NULL, *same = NULL;

		if (round % 2)
			plan_world_small(&world, &seed, 5, 9);
		else
			plan_world_real(&world, &seed, 2 + round % 3, 4 + round % 12,
					&(struct plan_world_real){.load = 0.7});
		shuffle(&world, &other, &seed, at_service, at_gpu);
		plan = solve(&world.problem);
		same = solve(&other.problem);
		assert_int_equal(plan->feasible, same->feasible);
		assert_int_equal(plan->n_ways, same->n_ways);
		for (size_t i = 0; plan->feasible && i < world.problem.n_services; i++) {
			const struct plan_place *place = &plan->places[i];
			uint64_t set = 0;

			for (size_t k = 0; k < place->n; k++)
				set |= (uint64_t)1 << at_gpu[place->gpus[k]];
			assert_int_equal(set, set_of(&same->places[at_service[i]]));
		}
	}
}

/* The problem with all changes of a way but one (`without`), that one less by a byte instead where
 * it has an amount. */
static void apply_way(const struct plan_way *way, size_t without, struct plan_world *world)
{
	for (size_t c = 0; c < way->n_changes; c++) {
		const struct plan_change *change = &way->changes[c];
		bool of_gpu = change->action == PLAN_BIGGER_GPU;
		struct plan_service *s = &world->services[of_gpu ? 0 : change->service];
		struct plan_gpu *gpu = &world->gpus[of_gpu ? change->gpu : 0];
		uint64_t less = c == without, reserve;

		switch (change->action) {
		case PLAN_ON_DEMAND:
			if (c == without)
				break;
			if (change->model == SIZE_MAX) {
				s->on_demand = true;
				break;
			}
			s->vram_bytes -= s->models[change->model].bytes;
			s->load_bytes =
			    MAX_OF(s->load_bytes, s->shared_bytes + s->models[change->model].bytes);
			break;
		case PLAN_CPU:
			break;
		case PLAN_SHRINK:
			s->vram_bytes -= change->bytes - less;
			break;
		case PLAN_BIGGER_GPU:
			reserve = gpu->total_bytes - gpu->load_line_bytes;
			gpu->total_bytes = change->bytes - less;
			gpu->load_line_bytes =
			    gpu->total_bytes - MAX_OF(reserve, gpu->total_bytes / 20);
			break;
		}
	}
}

static void copy_world(const struct plan_world *from, struct plan_world *to)
{
	memcpy(to, from, sizeof *to);
	to->problem.gpus = to->gpus;
	to->problem.services = to->services;
}

static void check_way(uint64_t round, const struct plan_world *world, const struct plan_way *way)
{
	static struct plan_world other;
	uint64_t sets[PLAN_SERVICES_MAX], own[PLAN_SERVICES_MAX];

	if (way->changes[0].action == PLAN_CPU)
		return;
	for (size_t c = 0; c < way->n_changes; c++)
		if (way->changes[c].action != PLAN_BIGGER_GPU)
			assert_false(world->services[way->changes[c].service].keep);
	copy_world(world, &other);
	apply_way(way, SIZE_MAX, &other);
	if (!plan_brute(&other.problem, sets))
		fail_msg("round %llu: no way out: %s", (unsigned long long)round, way->reason);
	for (size_t i = 0; i < other.problem.n_services; i++)
		own[i] = set_of(&way->places[i]);
	assert_memory_equal(own, sets, other.problem.n_services * sizeof *own);
	for (size_t c = 0; c < way->n_changes; c++) {
		copy_world(world, &other);
		apply_way(way, c, &other);
		if (plan_brute(&other.problem, sets))
			fail_msg("round %llu: less would do: %s", (unsigned long long)round,
				 way->reason);
	}
}

/* Does it help when one service alone loads on demand? Then a way says so. */
static void check_single(const struct plan_world *world, const struct plan *plan, size_t service)
{
	static struct plan_world other;
	uint64_t sets[PLAN_SERVICES_MAX];
	const struct plan_service *s = &world->services[service];
	size_t found = 0, others = 0;

	copy_world(world, &other);
	other.services[service].on_demand = true;
	if (s->keep || s->on_demand || s->vram_bytes == 0 || !plan_brute(&other.problem, sets))
		return;
	for (size_t w = 0; w < plan->n_ways; w++) {
		const struct plan_change *change = &plan->ways[w].changes[0];

		if (change->action != PLAN_ON_DEMAND || change->model != SIZE_MAX)
			continue;
		others++;
		found += plan->ways[w].n_changes == 1 && change->service == service;
	}
	/* Three at most are listed. */
	assert_true(found == 1 || others == 3);
}

static void ways_are_the_smallest(void **state)
{
	static struct plan_world world;
	uint64_t seed = 4, seen = 0, n_ways = 0;

	for (uint64_t round = 0; round < rounds(3000); round++) {
		auto_plan struct plan *plan = NULL;

		plan_world_small(&world, &seed, 3, 5);
		plan = solve(&world.problem);
		if (plan->feasible)
			continue;
		seen++;
		n_ways += plan->n_ways;
		for (size_t w = 0; w < plan->n_ways; w++)
			check_way(round, &world, &plan->ways[w]);
		for (size_t i = 0; i < world.problem.n_services; i++)
			check_single(&world, plan, i);
	}
	assert_true(seen > rounds(3000) / 10 && n_ways > seen / 2);
}

/* Is this as good in all that comes before the speed of GPUs? */
static bool is_as_good(const struct plan_problem *problem, const uint64_t *sets,
		       const struct plan_worth *than)
{
	struct plan_worth worth;

	plan_worth(problem, sets, &worth);
	return worth.allowed && worth.use <= than->use && worth.moves <= than->moves &&
	       worth.preference >= than->preference;
}

/* No service can go from GPU `g` to the faster one `h`, alone or in exchange with a lighter one. */
static void check_step(const struct plan_problem *problem, uint64_t *sets,
		       const struct plan_worth *worth, size_t i, size_t g, size_t h)
{
	uint64_t both = (uint64_t)1 << g | (uint64_t)1 << h;

	sets[i] ^= both;
	assert_false(is_as_good(problem, sets, worth));
	for (size_t k = 0; k < problem->n_services; k++) {
		if (problem->services[k].vram_bytes >= problem->services[i].vram_bytes ||
		    (sets[k] & both) != (uint64_t)1 << h)
			continue;
		sets[k] ^= both;
		assert_false(is_as_good(problem, sets, worth));
		sets[k] ^= both;
	}
	sets[i] ^= both;
}

static void check_speeds(const struct plan_problem *problem, uint64_t *sets,
			 const struct plan_worth *worth)
{
	for (size_t i = 0; i < problem->n_services; i++)
		for (size_t g = 0; g < problem->n_gpus; g++)
			for (size_t h = 0; h < problem->n_gpus && sets[i] == (uint64_t)1 << g; h++)
				if (problem->gpus[h].speed > problem->gpus[g].speed)
					check_step(problem, sets, worth, i, g, h);
}

/* The rules hold on larger ones, too, where not all placements can be looked at, and no step to a
 * faster GPU is left. False: nothing fits. */
static bool check_rules(struct plan_world *world)
{
	auto_plan struct plan *plan = NULL;
	uint64_t sets[PLAN_SERVICES_MAX];
	struct plan_worth worth;

	world->problem.work_max = 20000;
	plan = solve(&world->problem);
	if (!plan->feasible)
		return false;
	for (size_t i = 0; i < world->problem.n_services; i++)
		sets[i] = set_of(&plan->places[i]);
	plan_worth(&world->problem, sets, &worth);
	assert_true(worth.allowed);
	check_speeds(&world->problem, sets, &worth);
	return true;
}

static void make_large(struct plan_world *world, uint64_t *seed, uint64_t round)
{
	plan_world_real(world, seed, 2 + round % 6, 5 + round % 30,
			&(struct plan_world_real){.load = 0.8, .all_alike = round % 2});
}

static void rules_hold(void **state)
{
	static struct plan_world world;
	uint64_t seed = 3, feasible = 0;

	for (uint64_t round = 0; round < rounds(40); round++) {
		make_large(&world, &seed, round);
		feasible += check_rules(&world);
	}
	assert_true(feasible > rounds(40) / 2);
}

/* One in thousands: when services went to GPUs of a lower index, a faster one came to have room for
 * another. */
static void lower_index_leaves_no_faster_gpu(void **state)
{
	static struct plan_world world;
	uint64_t seed = 3;

	for (uint64_t round = 0; round <= 3083; round++)
		make_large(&world, &seed, round);
	assert_true(check_rules(&world));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(equals_brute_force),
	    cmocka_unit_test(order_changes_nothing),
	    cmocka_unit_test(ways_are_the_smallest),
	    cmocka_unit_test(rules_hold),
	    cmocka_unit_test(lower_index_leaves_no_faster_gpu),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
