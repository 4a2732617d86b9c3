/*
 * What the parts of the planner share: the problem in a canonical form, and the search in it. In
 * plan_core.c it is made, in plan_search.c searched, in plan_levels.c the objective taken apart;
 * plan.c lists them all.
 */
#pragma once

#include "place/plan.h"

#define PLAN_WORDS (PLAN_SERVICES_MAX / 64)

/* A service: `count` different GPUs (those of all replicas), `size` on each. Sets of GPUs are masks
 * of positions in the core's list. */
struct core_item {
	size_t service;
	uint64_t size; /* on demand: 0 */
	unsigned count;
	uint64_t allowed;
	uint64_t today;
	unsigned stay; /* of today's, so many must be kept, else it has moved; 0: it cannot move */
	bool exclusive, on_demand;
	uint64_t not_with[PLAN_WORDS]; /* items, both ways */
	int preference[PLAN_GPUS_MAX];
};

struct core_gpu {
	size_t gpu; /* of the problem */
	uint64_t total, line, foreign;
	unsigned speed_class; /* 0 is the fastest */
};

/* Usable GPUs by index, services from the heaviest down: the same whatever order they came in. */
struct core {
	const struct plan_problem *problem;
	struct core_item *items;
	size_t n;
	struct core_gpu gpus[PLAN_GPUS_MAX];
	size_t m;
	unsigned steps, n_classes;
	bool any_not_with, any_exclusive, any_today, any_preference;
};

/* `absent` (of each service; NULL: none): left out, as if it were not in the problem. */
int core_create(const struct plan_problem *problem, const bool *absent, struct core **ret_core,
		struct error *err) MUST_CHECK;
void core_destroy(struct core *core);
static inline void core_cleanup(struct core **core)
{
	core_destroy(*core);
}
#define auto_core CLEANUP(core_cleanup)

/* What a placement (a mask for each item) is worth. */
struct core_value {
	unsigned use; /* steps */
	unsigned used, moves;
	int64_t preference;
};
void core_value(const struct core *core, const uint64_t *sets, struct core_value *ret_value);
bool core_has_moved(const struct core_item *item, uint64_t set);
/* The sum of the best `count` preferences among the GPUs of `allowed`. On demand: 0. */
int64_t core_best_preference(const struct core_item *item, uint64_t allowed);
/* What is planned on each GPU of the core. */
void core_loads(const struct core *core, const uint64_t *sets, uint64_t loads[PLAN_GPUS_MAX]);
/* Room of a GPU for what is planned while its use is at most `use` steps, and never above the load
 * line. */
uint64_t core_room(const struct core *core, size_t g, unsigned use);
/* The steps that the load line comes to: at `use` of that many and more nothing else binds. */
unsigned core_use_max(const struct core *core);

#define CORE_NO_NEED 255

/* What a placement must keep to beside the rules of the services. */
struct core_limits {
	uint64_t room[PLAN_GPUS_MAX];
	unsigned moves_max, used_max;   /* UINT_MAX: no limit */
	int64_t preference_min;         /* INT64_MIN: no limit */
	uint64_t *allowed, *must;       /* of each item */
	uint8_t (*need)[PLAN_GPUS_MAX]; /* of each item, how many GPUs of a speed class; NULL: none;
					   CORE_NO_NEED: any */
};

/* What a node of the search takes, and what has to be made before the first, in nodes of a small
 * problem: so work is a measure of time, whatever the size. */
static inline uint64_t core_work_of_node(const struct core *core)
{
	return 1 + core->m / 16;
}

static inline uint64_t core_work_of_begin(const struct core *core)
{
	return 1 + core->m * core->n / 40;
}

enum core_found { CORE_NONE, CORE_FOUND, CORE_GAVE_UP };

/* A placement within the limits, in `sets`, which is also where the search looks first (a placement
 * that broke no rule of the services; all 0 when there is none). CORE_NONE is a proof. `work`:
 * what was spent (plan.h), added to; it gives up when it has used `work_max`. */
enum core_found core_find(const struct core *core, const struct core_limits *limits,
			  uint64_t work_max, uint64_t *work, uint64_t *sets);

/* A placement within the limits, from the one in `sets`, by luck: false says nothing. */
bool core_guess(const struct core *core, const struct core_limits *limits, uint64_t *sets);

/* From the heaviest item down: the faster GPU, alone or in exchange with a lighter one, until no
 * such step is left that keeps to the limits on room, moves, GPUs and preference. */
void core_swap(const struct core *core, const struct core_limits *limits, uint64_t *sets);

/* What may be spent and was, and whether all questions were answered: core_solve() and core_fits()
 * add to `work` and clear `proved`, they never set it. */
struct core_run {
	uint64_t work, work_max;
	bool proved;  /* all parts that are numbers */
	bool settled; /* and the lists, see plan.h */
};
/* The best placement, by the whole objective. CORE_FOUND with run->proved false: the best found.
 * `sets`: one for each item. */
enum core_found core_solve(const struct core *core, struct core_run *run, uint64_t *sets);
/* Is there any placement at all? */
enum core_found core_fits(const struct core *core, struct core_run *run, uint64_t *sets);

/* --- what comes of it: plan.c -------------------------------------------------------------- */

/* `sets` as places of the problem's services (those absent: nowhere) and bytes of its GPUs. */
void plan_fill(const struct core *core, const uint64_t *sets, struct plan_place *places,
	       uint64_t *planned_bytes);

/* Why nothing fits, and what would help: plan_ways.c. `run` is what may still be spent. */
void plan_find_ways(const struct plan_problem *problem, struct core_run *run, struct plan *plan);

/* What is planned may take so much of it: its load line less what is foreign. */
static inline uint64_t plan_below_line(const struct plan_gpu *gpu)
{
	uint64_t line = MIN_OF(gpu->load_line_bytes, gpu->total_bytes);

	return line > gpu->foreign_bytes ? line - gpu->foreign_bytes : 0;
}

/* Would a GPU, or as many as it wants, take it if it were alone? */
bool plan_fits_alone(const struct plan_problem *problem, const struct plan_service *service);

/* plan_explain.c: the one line why a service is where it is; why nothing fits. */
void plan_reason(const struct plan_problem *problem, const struct plan_place *places,
		 const uint64_t *planned_bytes, size_t service, char reason[256]);
void plan_reason_none(const struct core *core, struct plan *plan);
/* "GPU 0", "GPUs 0 and 2". */
void plan_gpu_names(const struct plan_problem *problem, const size_t *gpus, size_t n,
		    struct text *text);
