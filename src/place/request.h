/* What a workload asks for. Pure data. */
#pragma once

#include "gpu/gpu.h"

#include <stdbool.h>
#include <stdint.h>
#include <string.h>

#define PLACE_GPUS_MAX 16 /* GPUs one request may ask for */

enum place_cpu_mode {
	PLACE_CPU_NEVER, /* needs a GPU (the default) */
	PLACE_CPU_ONLY,  /* runs without one, and never waits for one */
	/* Needs a GPU, and may do without where nothing else helps: no GPU of the machine can ever
	 * hold it, or its ladder (sched/task.h) has come to the rung "cpu". */
	PLACE_CPU_FALLBACK,
	/* As FALLBACK; and also when no GPU would start it now and the host has the CPUs and the
	 * RAM for it. */
	PLACE_CPU_WHEN_IDLE,
};

#define PLACE_WISHES_GPUS_MAX   16
#define PLACE_WISHES_MODELS_MAX 8

/*
 * Which GPUs a workload takes, and which it likes. What it does not take it never gets; among the
 * GPUs that could start it now it gets those it prefers, in that order, then the others, and those
 * to avoid only when none else would start it now. Shared by many requests (a batch's all have the
 * same); never changed once a request points to it.
 */
struct place_wishes {
	char prefer[PLACE_WISHES_GPUS_MAX][GPU_UUID_MAX]; /* the first is liked best */
	char avoid[PLACE_WISHES_GPUS_MAX][GPU_UUID_MAX];
	char forbid[PLACE_WISHES_GPUS_MAX][GPU_UUID_MAX];
	size_t n_prefer, n_avoid, n_forbid;
	/* Only GPUs whose model name holds one of these texts, without regard to case; none = all.
	 */
	char models[PLACE_WISHES_MODELS_MAX][GPU_NAME_MAX];
	size_t n_models;
	unsigned compute_min, compute_max; /* major * 10 + minor: 80 = 8.0; 0 = no bound. A GPU that
					      does not tell is not taken when there is one */
};

struct place_request {
	uint64_t
	    vram_bytes; /* per GPU; 0 = nothing promised: it needs a GPU but says not how much */
	uint64_t ram_bytes; /* host RAM; 0 = not said */
	unsigned cpu_milli; /* 1/1000 CPU; 0 = not said */
	unsigned gpus; /* how many, each with vram_bytes; 1 normally, 0 exactly when cpu is ONLY */
	enum place_cpu_mode cpu;
	bool exclusive;       /* nobody else of ours on its GPUs */
	const char *pin_uuid; /* this GPU or none; NULL = any. Borrowed */
	unsigned max_per_gpu; /* tasks of its batch on one GPU; 0 = no limit */
	unsigned threads;     /* tasks of its batch at once, on all GPUs; 0 = no limit */
	const struct place_wishes *wishes; /* NULL = any GPU, all alike. Borrowed */
	/* It sizes itself from the memory that is free when it starts (engines that take 90 % of
	 * what they find): while its use, or that of anything on the GPU, has not settled, nothing
	 * else starts there. */
	bool start_lock;
	/* Nothing of its kind was ever measured: what it says is not taken at its word where others
	 * would suffer (fit.h). */
	bool unproven;
	unsigned stagger_ms; /* no start on a GPU sooner than this after the one before; 0 = none */
	/* Instead of vram_bytes: so many thousandths, 1 to 1000, of what can be given of whatever
	 * GPU it lands on, which is its load line: two halves fit, whatever is held in reserve. 0 =
	 * a size was asked for, or nothing. See place_request_vram(). */
	unsigned fraction_milli;
	uint64_t line_above_bytes; /* only GPUs whose load line is above this; 0 = any */
};

/* Is it bound to another GPU than this one? */
static inline bool place_is_pinned_elsewhere(const struct place_request *request, const char *uuid)
{
	return request->pin_uuid && strcmp(request->pin_uuid, uuid) != 0;
}

/* Does it promise how much VRAM it takes? */
static inline bool place_request_is_sized(const struct place_request *request)
{
	return request->vram_bytes > 0 || request->fraction_milli > 0;
}

/* What it takes of a GPU with that load line; whole MiB where it is a share. 0: it promises
 * nothing, or its share of a GPU whose VRAM is not known was asked for. */
static inline uint64_t place_request_vram(const struct place_request *request, uint64_t line_bytes)
{
	uint64_t mib = line_bytes >> 20;

	if (request->fraction_milli == 0)
		return request->vram_bytes;
	return (mib / 1000 * request->fraction_milli + mib % 1000 * request->fraction_milli / 1000)
	       << 20;
}

/* Do both ask for the same? Whatever takes the one takes the other. */
static inline bool place_request_is_same(const struct place_request *a,
					 const struct place_request *b)
{
	if (a == b)
		return true;
	return a->vram_bytes == b->vram_bytes && a->ram_bytes == b->ram_bytes &&
	       a->cpu_milli == b->cpu_milli && a->gpus == b->gpus && a->cpu == b->cpu &&
	       a->exclusive == b->exclusive && a->max_per_gpu == b->max_per_gpu &&
	       a->threads == b->threads && a->wishes == b->wishes &&
	       a->start_lock == b->start_lock && a->stagger_ms == b->stagger_ms &&
	       a->fraction_milli == b->fraction_milli &&
	       a->line_above_bytes == b->line_above_bytes && a->unproven == b->unproven &&
	       (a->pin_uuid == b->pin_uuid ||
		(a->pin_uuid && b->pin_uuid && strcmp(a->pin_uuid, b->pin_uuid) == 0));
}
