/*
 * The reservation, and what may go past it. The first waiting task that cannot start and has waited
 * view->reserve_after_seconds gets the GPUs where it can start soonest; whatever is behind it in
 * the queue uses them, and the host RAM and CPUs it needs, only where that does not make it start
 * later. One reservation at a time: "EASY" backfilling (Lifka, "The ANL/IBM SP Scheduling System",
 * JSSPP 1995; Mu'alem and Feitelson, "Utilization, Predictability, Workloads, and User Runtime
 * Estimates in Scheduling the IBM SP2 with Backfilling", IEEE TPDS 12(6), 2001), with room instead
 * of processors and learned durations beside stated limits.
 *
 * Nothing is remembered: the same view gives the same reservation. Tasks of its own batch, and
 * those before it in the queue, are not held back.
 */
#pragma once

#include "place/place.h"

struct fit_counts;

struct reserve_gpu {
	size_t gpu;
	/* What is left beside it once it has started, for others that may stay. */
	uint64_t spare_vram;
	bool spare; /* someone may stay at all */
};

struct reserve {
	size_t waiting; /* index into view->waiting */
	const struct place_task *task;
	struct reserve_gpu gpus[PLACE_GPUS_MAX];
	size_t n_gpus;        /* 0: it runs on the CPU */
	double start_seconds; /* from now, as far as is known; infinite: when what is in its way has
				 ended, of which nobody knows when */
	bool start_is_limit;  /* that is its time limit: it may be sooner, and no later */
	uint64_t overdue;     /* 0, or the task in its way that has run longer than expected */
	double safe_seconds;  /* it starts no sooner: who has surely ended by then does no harm */
	bool ram, cpus;       /* it needs some; then the spare is: */
	uint64_t spare_ram, spare_cpu;
	/* Utilisation of what runs on each GPU, and whether its start waits for something there to
	 * end: that is not to be slowed down. n_gpus of the ledger each. Owned. */
	double *busy;
	bool *in_its_way;
};

enum reserve_verdict {
	RESERVE_ALLOWS,
	RESERVE_ENDS_LATER, /* it would still be there, and there is no spare */
	RESERVE_SLOWS,      /* it would slow down what the other waits for */
};

/* `counts` are without a reservation yet. False: nobody gets one. */
bool reserve_find(const struct place_view *view, const struct fit_counts *counts,
		  struct reserve *ret_reserve);
void reserve_finish(struct reserve *reserve);

/* May a waiting task start beside the reservation, as far as this GPU goes; as far as the host
 * does?
 */
enum reserve_verdict reserve_gpu_verdict(const struct reserve *reserve,
					 const struct place_view *view,
					 const struct place_task *task, size_t gpu);
/* `request`: what it asks for as it would start now, its own or its on_cpu. */
enum reserve_verdict reserve_host_verdict(const struct reserve *reserve,
					  const struct place_view *view,
					  const struct place_task *task,
					  const struct place_request *request);

/* Can it be said how long a task takes at the most: by its limit, or by what was learned? */
bool reserve_is_end_known(const struct place_view *view, const struct place_task *task);
