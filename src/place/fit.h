/*
 * Does a task fit a GPU now? Every rule that may forbid a start stands here, once: health, pins,
 * exclusiveness, room, the limits of its batch, host RAM and CPUs. All policies, `auto` included,
 * start nothing this does not allow.
 */
#pragma once

#include "place/place.h"

enum fit {
	FIT_OK,
	/* of one GPU */
	FIT_UNUSABLE,     /* lost, stale ... */
	FIT_PINNED,       /* the request wants another GPU */
	FIT_HELD,         /* held exclusively, or wanted exclusively and not empty */
	FIT_VRAM_UNKNOWN, /* VRAM is asked for and the GPU does not say what it has */
	FIT_ROOM,         /* not enough room now */
	FIT_UNSIZED,      /* one task that did not say its VRAM is there already */
	FIT_MAX_PER_GPU,  /* its batch has its number of tasks there */
	/* of the host and of the batch */
	FIT_RAM,
	FIT_CPUS,
	FIT_THREADS, /* its batch has its number of tasks running */
};

struct fit_counts;

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

bool fit_is_cpu_only(const struct place_request *request);

/* The GPU alone; then the host and the batch alone. */
enum fit fit_gpu(const struct ledger *ledger, const struct fit_counts *counts,
		 const struct place_task *task, size_t gpu);
enum fit fit_host(const struct ledger *ledger, const struct fit_counts *counts,
		  const struct place_task *task);
