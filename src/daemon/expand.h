/*
 * What a command learns about its GPU: placeholders in its argv, variables in its environment.
 * Pure.
 */
#pragma once

#include "util/error.h"
#include "util/text.h"

#include <stdbool.h>
#include <stdint.h>

#define EXPAND_GPUS_MAX 16

/* The grant of an attempt, as the task is told of it. */
struct expand_grant {
	uint64_t task;
	unsigned attempt;
	size_t n_gpus; /* 0: on the CPU */
	struct {
		const char *uuid;
		unsigned index;       /* NVML's */
		uint64_t total_bytes; /* 0 = unknown */
	} gpus[EXPAND_GPUS_MAX];
	uint64_t vram_bytes; /* granted on each; 0 = nothing promised */
	unsigned batch_size; /* 0 = none was said */
	unsigned workers;    /* 0: it is no worker, and alone: number 0 of 1 */
	unsigned rank;
	bool torch; /* every PyTorch here knows per_process_memory_fraction */
};

/* {device} {gpu} {uuid} {vram_mib} {batch_size} {rank} {workers}, {{ and }}. On the CPU {gpu} and
 * {uuid} are "" and {vram_mib} is 0; of several GPUs {gpu} and {uuid} are comma-separated. -EINVAL
 * also for {batch_size} where none was said. */
int expand_argument(const char *text, const struct expand_grant *grant, char **ret_text,
		    struct error *err) MUST_CHECK;

/* -EINVAL: an unknown placeholder (named), {batch_size} where there is none, or a brace without its
 * partner. */
int expand_check(const char *text, bool has_batch_size, struct error *err) MUST_CHECK;

/* `base` (NULL-terminated "K=V", may be NULL) with what DESIGN §3 promises set over it, and the
 * frameworks' memory knobs where the user has not set them. What is not known is not set, nor a
 * fraction of GPUs whose totals differ. */
void expand_environment(char *const *base, const struct expand_grant *grant,
			struct strings *ret_env);
