/*
 * CUDA_VISIBLE_DEVICES, as the CUDA runtime reads it: indices in PCI order, UUIDs or unique
 * prefixes of them, of GPUs and MIG instances. The list ends at the first invalid entry; an empty
 * one, and one that names a device twice, shows none. A GPU with MIG on stands for its first
 * instance; a GPU that is lost cannot be seen.
 */
#pragma once

#include "sim/state.h"

#define VISIBLE_MAX (SIM_GPUS_MAX * SIM_MIGS_MAX)

struct visible_device {
	int gpu;
	int mig; /* -1 = the whole GPU */
};

/* `value` NULL: the variable is not set, all are visible. Lock held. Returns how many. */
int visible_resolve(const struct sim_state *state, const char *value,
		    struct visible_device ret_devices[VISIBLE_MAX]);
