/*
 * What the kinds of ways out share (plan_ways.c): a changed problem, the question whether it has a
 * placement, and the list of ways. Sets of services are in plan_ways_sets.c, single models in
 * plan_ways_models.c, shrinking and larger GPUs in plan_ways.c.
 */
#pragma once

#include "place/plan_priv.h"

/* The problem with changes. */
struct plan_variant {
	struct plan_problem problem;
	struct plan_service *services;
	struct plan_gpu *gpus;
	bool absent[PLAN_SERVICES_MAX];
};
void plan_variant_init(struct plan_variant *variant, const struct plan_problem *problem);
void plan_variant_finish(struct plan_variant *variant);
#define auto_variant CLEANUP(plan_variant_finish)

struct ways {
	const struct plan_problem *problem;
	struct plan *plan;
	/* What is spent: on looking for ways (up to now, what kinds before left included), and on
	 * the best placement of each. */
	struct core_run look, make;
	uint64_t look_max, make_max;
	uint64_t variant_work;              /* that making a variant takes */
	size_t n_made;                      /* ways that were made, or could not be */
	uint64_t shrink[PLAN_SERVICES_MAX]; /* what it must give up */
	bool shrink_known[PLAN_SERVICES_MAX];
};

/* Has the variant a placement? False when nothing is left to spend, too: then what is found is not
 * proved to be the least. */
bool ways_fit(struct ways *ways, const struct plan_variant *variant);
/* The variant's best placement as a way; NULL when it was not found after all, or there are
 * enough. */
struct plan_way *ways_add(struct ways *ways, const struct plan_variant *variant,
			  const struct plan_change *changes, size_t n);
/* "; then GPU 0 holds 19.46 GiB (81 %), ..." */
void ways_add_landing(const struct plan_variant *variant, const struct plan_way *way,
		      struct text *text);
void ways_set_reason(struct plan_way *way, const struct text *text);

/* Bytes of a service on all its GPUs. */
uint64_t ways_bytes_of(const struct plan_service *service);
/* The services that an action may be asked of: by priority, then by bytes, the least first. */
size_t ways_list_able(const struct ways *ways, enum plan_action action,
		      size_t able[PLAN_SERVICES_MAX]);
/* The least that a service must give up, when that is less than `below`; else UINT64_MAX. */
uint64_t ways_least_shrink(struct ways *ways, size_t service, uint64_t below);

/* plan_ways_sets.c: services that load on demand or go to the CPU, at most `most` ways. */
void ways_find_sets(struct ways *ways, enum plan_action action, size_t most);

/* plan_ways_models.c: `most` services of which some models load on demand. */
void ways_find_models(struct ways *ways, size_t most);
/* The set of models that may stay in `room`, what they have in common included; 0: none. */
uint64_t ways_models_in_room(const struct plan_service *service, uint64_t room);
uint64_t ways_bytes_of_models(const struct plan_service *service, uint64_t set);
void ways_add_model_names(const struct plan_service *service, uint64_t set, struct text *text);
