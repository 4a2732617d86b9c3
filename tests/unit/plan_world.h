/* Random problems for the planner, and the objective of plan.h told a second time, the slow way. */
#pragma once

#include "place/plan.h"

/* A problem and all it points to. */
struct plan_world {
	struct plan_problem problem;
	struct plan_gpu gpus[PLAN_GPUS_MAX];
	struct plan_service services[PLAN_SERVICES_MAX];
	char names[PLAN_SERVICES_MAX][16];
	size_t today[PLAN_SERVICES_MAX][PLAN_GPUS_MAX];
	size_t not_with[PLAN_SERVICES_MAX][4];
	struct plan_model models[PLAN_SERVICES_MAX][4];
};

/* Small and nasty: a few bytes, up to `gpus_max` GPUs and `services_max` services, with all that a
 * service may ask for. `problem` points into the world: do not copy it. */
void plan_world_small(struct plan_world *world, uint64_t *seed, size_t gpus_max,
		      size_t services_max);

/* As machines are: GPUs one can buy; some large language models, each of which takes most of one;
 * many small services; pins, replicas, services on several GPUs, some that must not meet; most
 * running today where first fit would have put them. */
struct plan_world_real {
	double load;    /* how much of what is below the load lines they need, about (0 to 1) */
	bool all_alike; /* no large ones: everything can be balanced to the last step, which is hard
			 */
};
void plan_world_real(struct plan_world *world, uint64_t *seed, size_t n_gpus, size_t n_services,
		     const struct plan_world_real *real);

/* What a placement is worth, from plan.h and nothing else. Sets of GPUs are masks of problem
 * indices. */
struct plan_worth {
	bool allowed; /* keeps to all rules */
	uint64_t use; /* steps */
	unsigned used, moves;
	int64_t preference;
};
void plan_worth(const struct plan_problem *problem, const uint64_t *sets,
		struct plan_worth *ret_worth);

/* The best placement of all there are, the whole objective over; false when there is none. */
bool plan_brute(const struct plan_problem *problem, uint64_t *ret_sets);

/* A GPU that is usable, that the service may use, and where what loads on demand can load. */
bool plan_world_may_use(const struct plan_problem *problem, const struct plan_service *service,
			size_t gpu);

uint64_t plan_random(uint64_t *state);
