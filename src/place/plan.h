/*
 * The exact planner: where the services of a machine should be. Pure. Unlike place_next(), which
 * answers for one task at a time, it looks at all services together and proves that its answer is
 * the best, or that there is none.
 *
 * In this order: everything placed; no GPU above the load line (a bound, to the byte, never
 * traded); then
 *
 *	balance		the highest use lowest, of the GPUs that get something (planned and foreign
 *			by total, in steps of 1 %, rounded up: nothing is moved for less)
 *	pack		the fewest GPUs used
 *	fewest-moves	the fewest services moved from where they are today
 *
 * then of fewest moves and highest use, in this order, what was not said yet; then the GPUs each
 * prefers and avoids (the highest sum). All of that is proved, see `proved`. Then, from the
 * heaviest service down, the faster GPU, as far as a short search finds one; at the least no
 * service could go to a faster GPU, alone or in exchange with a lighter one, without making worse
 * what comes before. Then, in the same order and as far as a short search finds it, the lowest
 * index. The answer is the same whatever order services and GPUs are given in. Last, those on
 * demand, the heaviest first: the GPU it prefers, with `pack` one in use, where most is left below
 * the load line, the lowest index. What loads on demand goes only where it can load at all:
 * plan_load_bytes().
 */
#pragma once

#include "gpu/gpu.h"
#include "place/request.h"
#include "util/text.h"

#define PLAN_SERVICES_MAX 256
#define PLAN_GPUS_MAX     64
#define PLAN_MODELS_MAX   64

#define PLAN_USE_STEPS_MAX 100000000

/* Of a service's and of a GPU's memory. */
#define PLAN_BYTES_MAX GPU_BYTES_MAX

enum plan_objective { PLAN_BALANCE, PLAN_PACK, PLAN_FEWEST_MOVES, PLAN_OBJECTIVE_COUNT };
const char *plan_objective_name(enum plan_objective objective);

struct plan_gpu {
	char uuid[GPU_UUID_MAX];
	unsigned index;
	uint64_t total_bytes, load_line_bytes;
	uint64_t foreign_bytes; /* used by what is not planned; takes room, stays */
	double speed;           /* relative; 0: not known */
	bool usable;            /* false: nothing is planned here; what is here today moves away */
};

struct plan_model {
	const char *name;
	uint64_t bytes;
};

/* Borrowed throughout. */
struct plan_service {
	const char *name;
	uint64_t vram_bytes;             /* on each GPU it uses */
	const struct plan_model *models; /* what of that can be left out singly; may be none */
	size_t n_models;
	uint64_t shared_bytes; /* of vram_bytes, what the models have in common */
	/* Beside what is always there, single models load on demand: the largest of them, with what
	 * they share. Its GPUs have to have so much below the load line; no room is kept. */
	uint64_t load_bytes;
	unsigned gpus;     /* it uses at once, all different: >= 1 */
	unsigned replicas; /* each on a GPU of its own (with `gpus` each): >= 1 */
	bool cpu_fallback, keep;
	bool on_demand; /* it gets a place (where most is left, of those it may use that can hold
			   it, or its largest model) and no room */
	int priority;
	bool exclusive;
	bool allowed[PLAN_GPUS_MAX]; /* pins, exclusions, compute capability: which it may use */
	/* For each GPU that it may not use the rule that says so, "`forbid: 1`"; NULL: not said. */
	const char *const *why_not;
	int preference[PLAN_GPUS_MAX]; /* 0: neutral; > 0: preferred, more is better; < 0: to avoid
					*/
	const size_t *not_with; /* indices of other services; said by either side is enough */
	size_t n_not_with;
	/* GPUs it is on; none: not known or not running, no move then. It moves when it leaves one
	 * of them (one more than it must, when it needs fewer now); gaining one is no move. */
	const size_t *today;
	size_t n_today;
};

struct plan_problem {
	const struct plan_gpu *gpus;
	size_t n_gpus;
	const struct plan_service *services;
	size_t n_services;
	enum plan_objective objective;
	unsigned use_steps; /* in how many steps of the total use is compared; 0: 100 */
	/* What may be spent, in search nodes of a small problem; those of a larger one, and what is
	 * made before each search, count for more, so that it bounds the time: a million is 0.05 to
	 * 0.25 s on a core of 2020. 0: the default, 8 million. When it is used up the best found is
	 * the answer, and not proved. Ties are broken with a little more, and ways out may
	 * take as much again. */
	uint64_t work_max;
};

struct plan_place {
	size_t gpus[PLAN_GPUS_MAX]; /* of all replicas; n = 0: on the CPU or (ways out) nowhere */
	size_t n;
	bool moved;
	char reason[256]; /* "18 GiB fits GPU 0 alone (22.8 GiB; GPU 1 has 3.7)" */
};

enum plan_action { PLAN_ON_DEMAND, PLAN_CPU, PLAN_SHRINK, PLAN_BIGGER_GPU };
const char *plan_action_name(enum plan_action action);

/* What becomes of a GPU that is replaced by one of `total_bytes`: its reserve stays, and is no less
 * a part of it than the default, 5 %, unless it was before. */
void plan_replace_gpu(struct plan_gpu *gpu, uint64_t total_bytes);

struct plan_change {
	enum plan_action action;
	size_t service; /* BIGGER_GPU: SIZE_MAX */
	size_t model;   /* SIZE_MAX: all of it */
	size_t gpu;     /* BIGGER_GPU: the one to replace */
	uint64_t bytes; /* that are no longer needed; BIGGER_GPU: the total it would have to have */
};

/* One set of changes after which everything fits, and how: the smallest of its kind that was found.
 */
struct plan_way {
	struct plan_change *changes;
	size_t n_changes;
	bool proved; /* no smaller set of its kind does, and no placement after it is better */
	struct plan_place *places; /* n_services */
	uint64_t *planned_bytes;   /* n_gpus, foreign not counted */
	char reason[512];
};

#define PLAN_WAYS_MAX 8

struct plan {
	bool feasible;
	bool proved;               /* all but the tie-breaks; nothing fits: that */
	bool settled;              /* proved, and the tie-breaks are the best there are, too */
	struct plan_place *places; /* n_services; feasible only */
	uint64_t *planned_bytes;   /* n_gpus */
	unsigned moves;
	uint64_t work;                                      /* what was spent, as work_max */
	uint64_t needed_bytes, capacity_bytes, total_bytes; /* sums: of services, of load lines less
							       foreign, of totals */
	char
	    reason[512]; /* why nothing fits: "six services need 28.51 GiB, the GPUs have 28 ..." */
	/* When nothing fits: the smallest ways out, best first. */
	struct plan_way *ways;
	size_t n_ways;
};

/* What of a service that loads on demand a GPU must be able to hold below its load line, beside
 * what is foreign: its largest model with what they share, else all of it; 0: nothing does. */
uint64_t plan_load_bytes(const struct plan_service *service);

/* -EINVAL: the problem is not well formed (too many, a service with gpus 0). Infeasible is an
 * answer, no error. */
int plan_solve(const struct plan_problem *problem, struct plan **ret_plan,
	       struct error *err) MUST_CHECK;
void plan_destroy(struct plan *plan);
static inline void plan_cleanup(struct plan **plan)
{
	plan_destroy(*plan);
}
#define auto_plan CLEANUP(plan_cleanup)

/* What speaks against (or for) this service on one GPU, with all others where they are; whether it
 * could be there. */
bool plan_explain_gpu(const struct plan_problem *problem, const struct plan *plan, size_t service,
		      size_t gpu, struct text *text);
bool plan_is_on(const struct plan *plan, size_t service, size_t gpu);
/* That as lines, one for each GPU. */
void plan_explain(const struct plan_problem *problem, const struct plan *plan, size_t service,
		  struct text *text);
