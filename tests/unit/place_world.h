/*
 * A machine in virtual time that runs what the real placement code starts: the model of execution
 * with the true durations, which placement does not know and learns as tasks end. Used by the
 * property tests and by the makespan benchmark. Checks at every start that no promise is broken.
 */
#pragma once

#include "place/place.h"

#define WORLD_GPUS_MAX 64

struct world_gpu {
	const char *model;
	uint64_t total_bytes;
	double speed;
	unsigned compute; /* 0 = does not tell */
	/* Its rule; the reserve is the default one. */
	uint64_t max_request_bytes;
	unsigned max_tasks;
	bool closed;
};

struct world_task {
	struct place_request request;
	const char *kind;
	uint64_t batch;
	int priority;
	double work_seconds; /* the truth, on a GPU of speed 1 */
	double utilization_percent;
	double hint;
	double arrives_seconds;
	uid_t uid;
	double hard_limit_seconds; /* told to placement; the truth keeps to it by itself */
};

struct world {
	struct world_gpu gpus[WORLD_GPUS_MAX];
	size_t n_gpus;
	uint64_t ram_bytes; /* 0 = unknown */
	unsigned cpu_milli;
	struct world_task *tasks;
	size_t n_tasks;
	struct place_user users[4];
	size_t n_users;
	unsigned stagger_ms;
	double settle_seconds; /* what a task uses has settled so long after its start */
};

struct world_run {
	enum place_policy policy;
	const struct estimates_row *profile; /* known beforehand */
	size_t n_profile;
	bool hints; /* tell placement the hints */
	double reserve_after_seconds;
	bool no_backfill; /* once a task has waited that long, nothing behind it starts before it */
	/* results */
	size_t first_reserved; /* the first task that had waited so long; n_tasks = none */
	double first_reserved_start;
	double *starts; /* of every task, when not NULL; -1 = never */
	double makespan_seconds;
	size_t n_steps, n_starts,
	    n_left; /* place_next calls; tasks that could not be started at all */
	double place_seconds, place_seconds_max; /* CPU time in place_next, all and longest */
	char broken[400];                        /* the first broken promise; "" = none */
	int trace;                               /* print starts */
};

void world_play(const struct world *world, struct world_run *run);

/* What a request takes of a GPU. */
uint64_t world_vram(const struct world *world, const struct place_request *request, size_t gpu);

/* Why a GPU is not for a request, whatever runs there: its rule or the wishes; NULL = it may be. */
const char *world_objection(const struct world *world, const struct place_request *request,
			    size_t gpu);

/* Yardsticks of this world with the true durations. */
void world_yardsticks(const struct world *world, struct place_yardsticks *ret_yardsticks);

/* The profile that the true mean durations of its kinds give. The caller frees it. */
size_t world_profile(const struct world *world, struct estimates_row **ret_rows);

/* splitmix64: the same numbers everywhere. */
uint64_t world_random(uint64_t *state);
double world_uniform(uint64_t *state); /* [0, 1) */
double world_normal(uint64_t *state);
