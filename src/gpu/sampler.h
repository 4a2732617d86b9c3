/*
 * Sampling GPUs. NVML can hang for ever, so it is called in a helper process (`plimsoll-nvml`,
 * which is gpu/nvml.c and little else) that writes one JSON line a sample; when it misses its
 * deadline the last good list is marked stale, the helper is killed (or left behind, if the kernel
 * will not kill it), and a new one is tried with back-off. No call here blocks longer than said.
 */
#pragma once

#include "gpu/gpu.h"

#include <uv.h>

struct gpu_sampler;

struct gpu_sampler_options {
	unsigned interval_ms; /* between samples; 0 = 1000 */
	/* Of one sample; 0 = 2000. A helper's first, with initialisation, has at least 10000. After
	 * it the list is stale; after five times as long again the helper is given up. */
	unsigned deadline_ms;
	void *data;
	/* A new list, good or stale. Borrowed: valid until the next call. Also called when nothing
	 * but the state changed. */
	void (*on_sample)(void *data, const struct gpu_list *list);
	void (*on_event)(void *data, const struct gpu_event *event); /* may be NULL */
};

/* Starts at once. Never fails for want of a GPU or driver: that is a state of the list. */
int gpu_sampler_create(uv_loop_t *loop, const struct gpu_sampler_options *options,
		       struct gpu_sampler **ret_sampler, struct error *err) MUST_CHECK;

/* The newest list, borrowed; state UNKNOWN before the first sample. */
const struct gpu_list *gpu_sampler_list(const struct gpu_sampler *sampler);

/* Ask for a sample now (coalesced; on_sample is called when it is there). */
void gpu_sampler_kick(struct gpu_sampler *sampler);

/* From now on a sample every so many ms; 0 = as the options say. */
void gpu_sampler_set_interval(struct gpu_sampler *sampler, unsigned interval_ms);

/* Ends the helper; the handles are closed and memory freed on the loop. No callback comes after it,
 * and it may be called from one. NULL is fine. */
void gpu_sampler_destroy(struct gpu_sampler *sampler);

/* One sample without a loop or a daemon, for `plimsoll gpus` and tests: waits at most
 * `deadline_ms`. On expiry: 0 with a list whose state is STALE and whose text says since when. */
int gpu_sample_once(unsigned deadline_ms, struct gpu_list **ret_list, struct error *err) MUST_CHECK;
