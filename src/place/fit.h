/*
 * Does a task fit a GPU now? Every rule that may forbid a start stands here, once: health, pins,
 * exclusiveness, room, the limits of its batch, host RAM and CPUs, the reservation. All policies,
 * `auto` included, start nothing this does not allow.
 */
#pragma once

#include "place/place.h"
#include "place/reserve.h"

enum fit {
	FIT_OK,
	/* of one GPU */
	FIT_UNUSABLE,     /* lost, stale ... */
	FIT_PINNED,       /* the request wants another GPU */
	FIT_FORBIDDEN,    /* its wishes exclude this one ... */
	FIT_MODEL,        /* ... or its model */
	FIT_CAPABILITY,   /* ... or its compute capability, or that is not known */
	FIT_TOO_SMALL,    /* its load line is not above what the request wants it to be */
	FIT_TOO_LARGE,    /* the GPU's rule takes smaller requests only */
	FIT_CLOSED,       /* its rule lets nothing start: drained, outside its hours */
	FIT_HELD,         /* held exclusively, or wanted exclusively and not empty */
	FIT_MAX_TASKS,    /* its rule's number of tasks is there */
	FIT_VRAM_UNKNOWN, /* VRAM is asked for and the GPU does not say what it has */
	FIT_ROOM,         /* not enough room now */
	FIT_UNSIZED,      /* one task that did not say its VRAM is there already */
	FIT_MAX_PER_GPU,  /* its batch has its number of tasks there */
	FIT_RETURNING,    /* a task ran out of memory there, and it is not known to be back */
	FIT_UNPROVEN,   /* others there whose kind was never measured may need more than they say */
	FIT_START_LOCK, /* what sizes itself from free memory has just started there */
	FIT_RAMPING,    /* it has to know what is free, and what is there has not settled */
	FIT_STAGGER,    /* the last start there is too recent */
	FIT_RESERVED,   /* kept for one that has waited long (reserve.h); of the host too */
	/* of the host and of the batch */
	FIT_RAM,
	FIT_CPUS,
	FIT_CPU_UNSIZED, /* FIT_CPU_UNSIZED_MAX tasks that say nothing of CPUs run without a GPU */
	FIT_THREADS,     /* its batch has its number of tasks running */
	FIT_USER,        /* its user has what he may have */
};

struct fit_counts;

/* What the request takes of that GPU (request.h). */
static inline uint64_t fit_vram(const struct ledger_gpu *gpu, const struct place_request *request)
{
	return place_request_vram(request, gpu->load_line_bytes);
}

/* The most it takes of any one GPU: what a limit on VRAM is compared with while it is not known
 * where it lands. */
uint64_t fit_vram_most(const struct ledger *ledger, const struct place_request *request);

/* Tasks running, by batch and GPU: what the limits are compared with. */
struct fit_counts *fit_counts_create(const struct place_view *view);
void fit_counts_destroy(struct fit_counts *counts);
static inline void fit_counts_cleanup(struct fit_counts **counts)
{
	fit_counts_destroy(*counts);
}
#define auto_fit_counts CLEANUP(fit_counts_cleanup)

/* Tasks of `batch` on a GPU, and running at all. Batch 0 counts for nobody: 0. */
unsigned fit_counts_on_gpu(const struct fit_counts *counts, uint64_t batch, size_t gpu);
unsigned fit_counts_running(const struct fit_counts *counts, uint64_t batch);
/* Tasks on a GPU that promised no VRAM. */
unsigned fit_counts_unsized(const struct fit_counts *counts, size_t gpu);

/* What a user with limits has running; false when he has no limits. */
struct fit_user {
	const struct place_user *limits;
	unsigned running, gpus;
	uint64_t vram_bytes;
};
bool fit_counts_user(const struct fit_counts *counts, uid_t uid, struct fit_user *ret_user);

/* The reservation in force; NULL when there is none. */
const struct reserve *fit_counts_reserve(const struct fit_counts *counts);

/* So many tasks without a GPU that do not say how many CPUs they keep busy run at once, or
 * FIT_CPU_UNSIZED_EACH for each CPU: a hundred thousand of them must not start together. */
#define FIT_CPU_UNSIZED_MAX  64
#define FIT_CPU_UNSIZED_EACH 4
unsigned fit_cpu_unsized_max(const struct ledger *ledger);

bool fit_is_cpu_only(const struct place_request *request);

/* What the request and the rule of the GPU say, whatever runs there and however healthy it is:
 * FIT_OK, or FIT_PINNED to FIT_TOO_LARGE. */
enum fit fit_rules(const struct ledger_gpu *gpu, const struct place_request *request);

/* A GPU in a state that may be another than the present: FIT_OK, or FIT_HELD to FIT_MAX_PER_GPU. */
enum fit fit_state(const struct ledger_gpu *gpu, const struct place_request *request,
		   unsigned of_batch, unsigned unsized);

/* How much the request likes a GPU: 0 is best. */
unsigned fit_tier(const struct ledger_gpu *gpu, const struct place_request *request);

/*
 * Requests of kinds that were never measured (request.unproven) are words. One of them starts where
 * it fits; beside others that have not settled either, only while all of them fit at the
 * most they may need (ledger_doubt()). Once their use has settled it is what counts.
 *
 * Of FIT_RETURNING to FIT_STAGGER, which are over by themselves: seconds until they
 * are, where that is known (the stagger), else about FIT_SETTLE_SECONDS; 0 = none of them holds. */
#define FIT_SETTLE_SECONDS 5.0
#define FIT_PROVE_SECONDS  3.0 /* FIT_UNPROVEN */
#define FIT_RETURN_SECONDS 0.5 /* FIT_RETURNING */
double fit_moment_seconds(const struct ledger *ledger, const struct place_request *request,
			  size_t gpu);

/* The GPU alone; then the host, the batch and the user alone. */
enum fit fit_gpu(const struct ledger *ledger, const struct fit_counts *counts,
		 const struct place_task *task, size_t gpu);
enum fit fit_host(const struct ledger *ledger, const struct fit_counts *counts,
		  const struct place_task *task);
/* May a waiting task that has an `on_cpu` start without a GPU? Only where the host is known to have
 * what it asks for to spare. */
bool fit_on_cpu(const struct ledger *ledger, const struct fit_counts *counts,
		const struct place_task *task);
