/* What a workload asks for. Pure data. */
#pragma once

#include "gpu/gpu.h"

#include <stdbool.h>
#include <stdint.h>

#define PLACE_GPUS_MAX 16 /* GPUs one request may ask for */

enum place_cpu_mode {
	PLACE_CPU_NEVER, /* needs a GPU (the default) */
	PLACE_CPU_ONLY,  /* runs without one, and never waits for one */
};

struct place_request {
	uint64_t
	    vram_bytes; /* per GPU; 0 = nothing promised: it needs a GPU but says not how much */
	uint64_t ram_bytes; /* host RAM; 0 = not said */
	unsigned cpu_milli; /* 1/1000 CPU; 0 = not said */
	unsigned gpus; /* how many, each with vram_bytes; 1 normally, 0 exactly when cpu is ONLY */
	enum place_cpu_mode cpu;
	bool exclusive;              /* nobody else of ours on its GPUs */
	char pin_uuid[GPU_UUID_MAX]; /* this GPU or none; "" = any */
	unsigned max_per_gpu;        /* tasks of its batch on one GPU; 0 = no limit */
	unsigned threads;            /* tasks of its batch at once, on all GPUs; 0 = no limit */
};
