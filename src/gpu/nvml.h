/*
 * Samples through NVML. Every call here may block for ever when the driver hangs: only the helper
 * process (gpu/nvml_main.c) calls them. nvml.c is the only file that knows NVML's functions and
 * types.
 */
#pragma once

#include "gpu/details.h"
#include "gpu/gpu.h"

struct nvml;

struct nvml_options {
	/* XIDs, from a thread of its own; NULL: none are asked for. */
	void (*on_event)(const struct gpu_event *event);
};

/* Nothing is loaded yet. */
struct nvml *nvml_create(const struct nvml_options *options);
void nvml_destroy(struct nvml *nvml);

/*
 * One sample. Loads and initialises NVML when it is not, or not any more: after a failure with
 * back-off (0.5 s doubling to 30 s; the answer in between is the failure), after a code that ends
 * the session (driver gone, mismatch), and, while a GPU is unhealthy, from time to time (10 s
 * doubling to 5 min), as a GPU that was reset is seen again only by a new session. What went wrong
 * is in the list's state; GPUs known before and lost since are in it (gpu_list_carry_over).
 */
struct gpu_list *nvml_sample(struct nvml *nvml);

/* The details of each GPU of a list that nvml_sample() just gave, into as many `details`, all zero
 * before. A MIG instance has its GPU's; of a GPU that is lost or stale nothing is asked. */
void nvml_details(struct nvml *nvml, const struct gpu_list *list, struct gpu_details *details);
