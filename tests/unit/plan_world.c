/* See plan_world.h. Nothing here uses the planner's own parts. */
#include "plan_world.h"

#include "util/size.h"

#include <stdio.h>
#include <string.h>

uint64_t plan_random(uint64_t *state)
{
	uint64_t z = (*state += 0x9e3779b97f4a7c15);

	z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9;
	z = (z ^ (z >> 27)) * 0x94d049bb133111eb;
	return z ^ (z >> 31);
}

static uint64_t below(uint64_t *seed, uint64_t n)
{
	return plan_random(seed) % n;
}

static bool one_in(uint64_t *seed, uint64_t n)
{
	return below(seed, n) == 0;
}

static void world_init(struct plan_world *world, size_t n_gpus, size_t n_services)
{
	memset(world, 0, sizeof *world);
	world->problem = (struct plan_problem){.gpus = world->gpus,
					       .n_gpus = n_gpus,
					       .services = world->services,
					       .n_services = n_services};
	for (size_t g = 0; g < n_gpus; g++)
		snprintf(world->gpus[g].uuid, sizeof world->gpus[g].uuid, "GPU-%zu", g);
	for (size_t i = 0; i < n_services; i++) {
		struct plan_service *s = &world->services[i];

		snprintf(world->names[i], sizeof world->names[i], "s%zu", i);
		*s = (struct plan_service){.name = world->names[i],
					   .gpus = 1,
					   .replicas = 1,
					   .today = world->today[i],
					   .not_with = world->not_with[i],
					   .models = world->models[i]};
		for (size_t g = 0; g < n_gpus; g++)
			s->allowed[g] = true;
	}
}

/* Up to three models, and what they share. */
static void small_models(struct plan_world *world, uint64_t *seed, size_t i)
{
	struct plan_service *s = &world->services[i];
	uint64_t left = s->vram_bytes;

	for (size_t n = below(seed, 4); s->n_models < n && left > 1; s->n_models++) {
		uint64_t bytes = 1 + below(seed, left - 1);

		world->models[i][s->n_models] =
		    (struct plan_model){.name = &"abc"[s->n_models], .bytes = bytes};
		left -= bytes;
	}
	s->shared_bytes = s->n_models > 0 ? left : 0;
}

/* --- small and nasty ----------------------------------------------------------------------- */

static void small_service(struct plan_world *world, uint64_t *seed, size_t i)
{
	struct plan_service *s = &world->services[i];
	size_t n_gpus = world->problem.n_gpus, n_services = world->problem.n_services;

	s->vram_bytes = one_in(seed, 12) ? 0 : 1 + below(seed, one_in(seed, 3) ? 45 : 20);
	if (i > 0 && one_in(seed, 3))
		s->vram_bytes = world->services[below(seed, i)].vram_bytes;
	s->gpus = one_in(seed, 4 + n_services / 3) && n_gpus > 1 ? 2 : 1;
	s->replicas =
	    one_in(seed, 5 + n_services / 3) ? 1 + (unsigned)below(seed, MIN_OF(n_gpus, 3)) : 1;
	s->exclusive = one_in(seed, 8 + 2 * n_services);
	s->on_demand = one_in(seed, 7);
	s->load_bytes = one_in(seed, 10) ? below(seed, 40) : 0;
	s->keep = one_in(seed, 6);
	s->cpu_fallback = one_in(seed, 4);
	s->priority = (int)below(seed, 3);
	small_models(world, seed, i);
	for (size_t g = 0; g < n_gpus; g++) {
		s->allowed[g] = !one_in(seed, 10);
		s->preference[g] = one_in(seed, 4) ? (int)below(seed, 5) - 2 : 0;
	}
	if (one_in(seed, 4 + n_services)) {
		size_t pin = below(seed, n_gpus);

		for (size_t g = 0; g < n_gpus; g++)
			s->allowed[g] = g == pin;
	}
	if (one_in(seed, 4 + n_services / 3))
		world->not_with[i][s->n_not_with++] = below(seed, n_services);
	if (!one_in(seed, 3))
		for (size_t g = 0; g < n_gpus; g++)
			if (one_in(seed, n_gpus))
				world->today[i][s->n_today++] = g;
}

void plan_world_small(struct plan_world *world, uint64_t *seed, size_t gpus_max,
		      size_t services_max)
{
	static const unsigned steps[] = {0, 10, 1000, 1000000};

	world_init(world, 1 + below(seed, gpus_max), 1 + below(seed, services_max));
	world->problem.objective = (enum plan_objective)below(seed, PLAN_OBJECTIVE_COUNT);
	world->problem.use_steps = steps[below(seed, 4)];
	for (size_t g = 0; g < world->problem.n_gpus; g++) {
		struct plan_gpu *gpu = &world->gpus[g];

		gpu->index = (unsigned)g;
		/* Room for about what there is. */
		gpu->total_bytes =
		    20 + below(seed, 40 + 24 * world->problem.n_services / world->problem.n_gpus);
		if (g > 0 && one_in(seed, 2))
			gpu->total_bytes = world->gpus[g - 1].total_bytes;
		gpu->load_line_bytes = gpu->total_bytes - gpu->total_bytes / 20;
		gpu->foreign_bytes = one_in(seed, 3) ? below(seed, 20) : 0;
		gpu->speed = (double)below(seed, 3);
		gpu->usable = !one_in(seed, 15);
	}
	for (size_t i = 0; i < world->problem.n_services; i++)
		small_service(world, seed, i);
}

/* --- as machines are ----------------------------------------------------------------------- */

static const struct {
	unsigned mib;
	double speed;
} cards[] = {{4094, 0.3},  {8188, 0.6},  {12282, 1.0}, {16376, 1.4},
	     {24564, 2.0}, {24576, 1.2}, {49140, 2.6}, {81559, 5.0}};

/* Image models, speech, detectors, embedders, small language models, in hundredths of a GiB. */
static const unsigned sizes[] = {30,  50,  65,  80,  100, 120, 146, 150,
				 180, 220, 250, 310, 400, 480, 600, 750};

static void real_gpus(struct plan_world *world, uint64_t *seed)
{
	size_t kinds = 1 + below(seed, 3), kind[3];

	for (size_t k = 0; k < kinds; k++)
		kind[k] = below(seed, sizeof cards / sizeof *cards);
	for (size_t g = 0; g < world->problem.n_gpus; g++) {
		struct plan_gpu *gpu = &world->gpus[g];
		size_t card = kind[below(seed, kinds)];

		gpu->index = (unsigned)g;
		gpu->total_bytes = cards[card].mib * MIB;
		gpu->load_line_bytes = gpu->total_bytes - MAX_OF(gpu->total_bytes / 20, 256 * MIB);
		gpu->foreign_bytes = one_in(seed, 4) ? (200 + below(seed, 1200)) * MIB : 0;
		gpu->speed = cards[card].speed;
		gpu->usable = true;
	}
}

static uint64_t room_below(const struct plan_gpu *gpu)
{
	return gpu->load_line_bytes - MIN_OF(gpu->foreign_bytes, gpu->load_line_bytes);
}

static void real_wishes(struct plan_world *world, uint64_t *seed, size_t i)
{
	struct plan_service *s = &world->services[i];
	size_t n_gpus = world->problem.n_gpus;

	if (one_in(seed, 12)) {
		size_t pin = below(seed, n_gpus);

		for (size_t g = 0; g < n_gpus; g++)
			s->allowed[g] = g == pin;
	} else if (one_in(seed, 10)) {
		s->replicas = 2;
	} else if (one_in(seed, 15)) {
		s->gpus = 2;
	}
	if (i > 0 && one_in(seed, 12))
		world->not_with[i][s->n_not_with++] = below(seed, i);
	if (one_in(seed, 8))
		s->preference[below(seed, n_gpus)] = one_in(seed, 2) ? 1 : -1;
}

static bool is_on(const struct plan_service *service, size_t gpu)
{
	for (size_t k = 0; k < service->n_today; k++)
		if (service->today[k] == gpu)
			return true;
	return false;
}

/* Where someone who goes through the list would have put them: the first GPU with room, of a
 * machine that was a bit fuller. */
static void real_today(struct plan_world *world, uint64_t *seed)
{
	uint64_t room[PLAN_GPUS_MAX];

	for (size_t g = 0; g < world->problem.n_gpus; g++)
		room[g] = room_below(&world->gpus[g]);
	for (size_t i = 0; i < world->problem.n_services; i++) {
		struct plan_service *s = &world->services[i];
		unsigned wanted = s->gpus * s->replicas;

		if (one_in(seed, 6))
			continue;
		for (size_t g = 0; g < world->problem.n_gpus && s->n_today < wanted; g++)
			if (room[g] >= s->vram_bytes && s->allowed[g] && !is_on(s, g)) {
				room[g] -= s->vram_bytes;
				world->today[i][s->n_today++] = g;
			}
	}
}

/* In steps of 10 MiB, as people write. */
static uint64_t in_steps(double bytes)
{
	return ((uint64_t)(bytes / (double)(10 * MIB)) + 1) * (10 * MIB);
}

/* Large language models: each is made for one of the GPUs and takes most of it. */
static size_t real_large(struct plan_world *world, uint64_t *seed, double room, double load)
{
	size_t n = MIN_OF(world->problem.n_gpus / 2, world->problem.n_services / 4);
	double sum = 0;

	for (size_t i = 0; i < n; i++) {
		const struct plan_gpu *gpu = &world->gpus[below(seed, world->problem.n_gpus)];
		double part = 0.4 + 0.4 * (double)below(seed, 1000) / 1000;
		double bytes = part * (double)room_below(gpu);

		if (sum + bytes > 0.8 * load * room)
			return i;
		sum += bytes;
		world->services[i].vram_bytes = in_steps(bytes);
	}
	return n;
}

void plan_world_real(struct plan_world *world, uint64_t *seed, size_t n_gpus, size_t n_services,
		     const struct plan_world_real *real)
{
	uint64_t room = 0, smallest = UINT64_MAX, large = 0, small = 0;
	double scale;
	size_t n_large = 0;

	world_init(world, n_gpus, n_services);
	real_gpus(world, seed);
	for (size_t g = 0; g < n_gpus; g++) {
		room += room_below(&world->gpus[g]);
		smallest = MIN_OF(smallest, room_below(&world->gpus[g]));
	}
	if (!real->all_alike)
		n_large = real_large(world, seed, (double)room, real->load);
	for (size_t i = 0; i < n_services; i++) {
		struct plan_service *s = &world->services[i];

		if (i < n_large) {
			large += s->vram_bytes;
			continue;
		}
		real_wishes(world, seed, i);
		s->vram_bytes = sizes[below(seed, sizeof sizes / sizeof *sizes)] * GIB / 100;
		small += s->vram_bytes * s->gpus * s->replicas;
	}
	/* The small ones all larger or all smaller, to the load asked for. */
	scale = (real->load * (double)room - (double)large) / (double)small;
	for (size_t i = n_large; i < n_services; i++) {
		struct plan_service *s = &world->services[i];

		s->vram_bytes =
		    in_steps(MIN_OF(scale * (double)s->vram_bytes, 0.6 * (double)smallest));
	}
	real_today(world, seed);
}

/* --- the objective, told a second time ----------------------------------------------------- */

static bool may_meet(const struct plan_problem *problem, size_t a, size_t b)
{
	const struct plan_service *x = &problem->services[a], *y = &problem->services[b];

	if (x->exclusive || y->exclusive)
		return false;
	for (size_t k = 0; k < x->n_not_with; k++)
		if (x->not_with[k] == b)
			return false;
	for (size_t k = 0; k < y->n_not_with; k++)
		if (y->not_with[k] == a)
			return false;
	return true;
}

static bool has_moved(const struct plan_service *service, uint64_t set)
{
	uint64_t today = 0;
	unsigned wanted = service->gpus * service->replicas, left = 0, n = 0;

	for (size_t k = 0; k < service->n_today; k++)
		today |= (uint64_t)1 << service->today[k];
	for (size_t g = 0; g < PLAN_GPUS_MAX; g++) {
		n += today >> g & 1;
		left += today >> g & ~(set >> g) & 1;
	}
	return left > (n > wanted ? n - wanted : 0);
}

bool plan_world_may_use(const struct plan_problem *problem, const struct plan_service *service,
			size_t gpu)
{
	const struct plan_gpu *g = &problem->gpus[gpu];
	uint64_t least = service->vram_bytes, rest = service->vram_bytes;

	/* The largest model, and what is no model's. */
	for (size_t k = 0; k < service->n_models; k++) {
		least = k == 0 ? service->models[k].bytes : MAX_OF(least, service->models[k].bytes);
		rest -= MIN_OF(rest, service->models[k].bytes);
	}
	least += service->n_models > 0 ? MAX_OF(rest, service->shared_bytes) : 0;
	least = MAX_OF(service->on_demand ? least : 0, service->load_bytes);
	return g->usable && service->allowed[gpu] &&
	       (least == 0 ||
		least + g->foreign_bytes <= MIN_OF(g->load_line_bytes, g->total_bytes));
}

static bool keeps_rules(const struct plan_problem *problem, const uint64_t *sets,
			const uint64_t *loads)
{
	for (size_t g = 0; g < problem->n_gpus; g++)
		if (loads[g] > 0 &&
		    loads[g] + problem->gpus[g].foreign_bytes > problem->gpus[g].load_line_bytes)
			return false;
	for (size_t i = 0; i < problem->n_services; i++) {
		const struct plan_service *s = &problem->services[i];

		if ((unsigned)__builtin_popcountll(sets[i]) != s->gpus * s->replicas)
			return false;
		for (size_t g = 0; g < problem->n_gpus; g++)
			if (sets[i] >> g & 1 && !plan_world_may_use(problem, s, g))
				return false;
		for (size_t k = 0; k < i; k++)
			if (sets[i] & sets[k] && !may_meet(problem, i, k))
				return false;
	}
	return true;
}

static void find_loads(const struct plan_problem *problem, const uint64_t *sets, uint64_t *loads)
{
	memset(loads, 0, PLAN_GPUS_MAX * sizeof *loads);
	for (size_t i = 0; i < problem->n_services; i++)
		for (size_t g = 0; g < problem->n_gpus; g++)
			if (sets[i] >> g & 1 && !problem->services[i].on_demand)
				loads[g] += problem->services[i].vram_bytes;
}

void plan_worth(const struct plan_problem *problem, const uint64_t *sets,
		struct plan_worth *ret_worth)
{
	struct plan_worth worth = {};
	uint64_t loads[PLAN_GPUS_MAX], steps = problem->use_steps ? problem->use_steps : 100;

	find_loads(problem, sets, loads);
	worth.allowed = keeps_rules(problem, sets, loads);
	for (size_t g = 0; g < problem->n_gpus; g++) {
		const struct plan_gpu *gpu = &problem->gpus[g];
		__extension__ unsigned __int128 scaled = loads[g] + gpu->foreign_bytes;

		if (loads[g] == 0)
			continue;
		scaled *= steps;
		worth.used++;
		worth.use = MAX_OF(worth.use, (uint64_t)(scaled / gpu->total_bytes) +
						  (scaled % gpu->total_bytes != 0));
	}
	for (size_t i = 0; i < problem->n_services; i++) {
		const struct plan_service *s = &problem->services[i];

		if (s->on_demand)
			continue;
		worth.moves += has_moved(s, sets[i]);
		for (size_t g = 0; g < problem->n_gpus; g++)
			worth.preference += sets[i] >> g & 1 ? s->preference[g] : 0;
	}
	*ret_worth = worth;
}

/* Services in the order in which they choose. */
static void find_turns(const struct plan_problem *problem, size_t *order)
{
	for (size_t i = 0; i < problem->n_services; i++) {
		size_t k = i;

		for (; k > 0; k--) {
			const struct plan_service *x = &problem->services[i];
			const struct plan_service *y = &problem->services[order[k - 1]];
			unsigned n_x = x->gpus * x->replicas, n_y = y->gpus * y->replicas;

			if (x->on_demand != y->on_demand     ? x->on_demand
			    : x->vram_bytes != y->vram_bytes ? x->vram_bytes < y->vram_bytes
			    : n_x != n_y                     ? n_x < n_y
							     : strcmp(x->name, y->name) > 0)
				break;
			order[k] = order[k - 1];
		}
		order[k] = i;
	}
}

/* Is the fastest GPU of set `a` faster than that of `b`, else the second ...: > 0. */
static int compare_speeds(const struct plan_problem *problem, uint64_t a, uint64_t b)
{
	while (a && b) {
		size_t x = PLAN_GPUS_MAX, y = PLAN_GPUS_MAX;

		for (size_t g = 0; g < problem->n_gpus; g++) {
			double speed = problem->gpus[g].speed;

			if (a >> g & 1 && (x == PLAN_GPUS_MAX || speed > problem->gpus[x].speed))
				x = g;
			if (b >> g & 1 && (y == PLAN_GPUS_MAX || speed > problem->gpus[y].speed))
				y = g;
		}
		if (problem->gpus[x].speed > problem->gpus[y].speed)
			return 1;
		if (problem->gpus[x].speed < problem->gpus[y].speed)
			return -1;
		a &= ~((uint64_t)1 << x);
		b &= ~((uint64_t)1 << y);
	}
	return 0;
}

static size_t by_index(const struct plan_problem *problem, uint64_t set)
{
	size_t best = PLAN_GPUS_MAX;

	for (size_t g = 0; g < problem->n_gpus; g++)
		if (set >> g & 1 &&
		    (best == PLAN_GPUS_MAX || problem->gpus[g].index < problem->gpus[best].index))
			best = g;
	return best;
}

static int compare_indices(const struct plan_problem *problem, uint64_t a, uint64_t b)
{
	while (a && b) {
		size_t x = by_index(problem, a), y = by_index(problem, b);

		if (x != y)
			return problem->gpus[x].index < problem->gpus[y].index ? 1 : -1;
		a &= ~((uint64_t)1 << x);
		b &= ~((uint64_t)1 << y);
	}
	return 0;
}

/* How a service on demand likes GPU `a` beside `b`. */
static int compare_liking(const struct plan_problem *problem, const struct plan_service *service,
			  const uint64_t *loads, size_t a, size_t b)
{
	const struct plan_gpu *x = &problem->gpus[a], *y = &problem->gpus[b];
	uint64_t left_x = room_below(x) - loads[a], left_y = room_below(y) - loads[b];

	if (service->preference[a] != service->preference[b])
		return service->preference[a] > service->preference[b] ? 1 : -1;
	if (problem->objective == PLAN_PACK && (loads[a] > 0) != (loads[b] > 0))
		return loads[a] > 0 ? 1 : -1;
	if (left_x != left_y)
		return left_x > left_y ? 1 : -1;
	return x->index == y->index ? 0 : x->index < y->index ? 1 : -1;
}

static size_t most_liked(const struct plan_problem *problem, const struct plan_service *service,
			 const uint64_t *loads, uint64_t set)
{
	size_t best = (size_t)__builtin_ctzll(set);

	for (size_t g = 0; g < problem->n_gpus; g++)
		if (set >> g & 1 && compare_liking(problem, service, loads, g, best) > 0)
			best = g;
	return best;
}

static int compare_on_demand(const struct plan_problem *problem, size_t service,
			     const uint64_t *loads, uint64_t a, uint64_t b)
{
	const struct plan_service *s = &problem->services[service];

	while (a && b) {
		size_t x = most_liked(problem, s, loads, a), y = most_liked(problem, s, loads, b);
		int r = compare_liking(problem, s, loads, x, y);

		if (r)
			return r;
		a &= ~((uint64_t)1 << x);
		b &= ~((uint64_t)1 << y);
	}
	return 0;
}

static int compare_numbers(const struct plan_problem *problem, const struct plan_worth *x,
			   const struct plan_worth *y)
{
	if (problem->objective == PLAN_PACK && x->used != y->used)
		return x->used < y->used ? 1 : -1;
	if (problem->objective == PLAN_BALANCE && x->use != y->use)
		return x->use < y->use ? 1 : -1;
	if (x->moves != y->moves)
		return x->moves < y->moves ? 1 : -1;
	if (x->use != y->use)
		return x->use < y->use ? 1 : -1;
	if (x->preference != y->preference)
		return x->preference > y->preference ? 1 : -1;
	return 0;
}

static int compare_lists(const struct plan_problem *problem, const size_t *order, const uint64_t *a,
			 const uint64_t *b)
{
	uint64_t loads[PLAN_GPUS_MAX];
	int r = 0;

	for (size_t k = 0; k < problem->n_services && r == 0; k++)
		if (!problem->services[order[k]].on_demand)
			r = compare_speeds(problem, a[order[k]], b[order[k]]);
	for (size_t k = 0; k < problem->n_services && r == 0; k++)
		if (!problem->services[order[k]].on_demand)
			r = compare_indices(problem, a[order[k]], b[order[k]]);
	/* From here on all others are the same. */
	find_loads(problem, a, loads);
	for (size_t k = 0; k < problem->n_services && r == 0; k++)
		if (problem->services[order[k]].on_demand)
			r = compare_on_demand(problem, order[k], loads, a[order[k]], b[order[k]]);
	return r;
}

struct brute {
	const struct plan_problem *problem;
	size_t order[PLAN_SERVICES_MAX];
	uint64_t sets[PLAN_SERVICES_MAX], *best;
	struct plan_worth worth;
	bool found;
};

static void try_all(struct brute *brute, size_t i)
{
	const struct plan_problem *problem = brute->problem;
	struct plan_worth worth;
	int r;

	if (i < problem->n_services) {
		unsigned wanted = problem->services[i].gpus * problem->services[i].replicas;

		for (uint64_t set = 1; set < (uint64_t)1 << problem->n_gpus; set++)
			if ((unsigned)__builtin_popcountll(set) == wanted) {
				brute->sets[i] = set;
				try_all(brute, i + 1);
			}
		return;
	}
	plan_worth(problem, brute->sets, &worth);
	if (!worth.allowed)
		return;
	r = brute->found ? compare_numbers(problem, &worth, &brute->worth) : 1;
	if (r == 0)
		r = compare_lists(problem, brute->order, brute->sets, brute->best);
	if (r <= 0)
		return;
	brute->found = true;
	brute->worth = worth;
	memcpy(brute->best, brute->sets, problem->n_services * sizeof *brute->best);
}

bool plan_brute(const struct plan_problem *problem, uint64_t *ret_sets)
{
	struct brute brute = {.problem = problem, .best = ret_sets};

	find_turns(problem, brute.order);
	try_all(&brute, 0);
	return brute.found;
}
