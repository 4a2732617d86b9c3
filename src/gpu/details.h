/*
 * What is asked of NVML once, for doctor, and not with every sample: modes, errors, links. Every
 * field has a validity bit, as in struct gpu.
 */
#pragma once

#include "gpu/gpu.h"

enum gpu_details_FLAGS {
	GPU_D_PERSISTENCE = 1 << 0,
	GPU_D_ECC = 1 << 1,        /* ecc_enabled */
	GPU_D_ECC_ERRORS = 1 << 2, /* ecc_uncorrected: volatile, since the last reset */
	GPU_D_REMAP = 1 << 3,      /* the four of row remapping */
	GPU_D_CLOCK_REASONS = 1 << 4,
	GPU_D_PCIE = 1 << 5,
	GPU_D_PCIE_MAX = 1 << 6, /* of the GPU and its slot together */
	GPU_D_POWER_DEFAULT = 1 << 7,
	GPU_D_MIG = 1 << 8,
	GPU_D_COMPUTE_MODE = 1 << 9,
	GPU_D_DISPLAY = 1 << 10,
	GPU_D_RECOVERY = 1 << 11,
};

struct gpu_details {
	unsigned valid; /* enum gpu_details_FLAGS */
	bool persistence;
	bool ecc_enabled;
	uint64_t ecc_uncorrected;
	unsigned remapped_correctable, remapped_uncorrectable;
	bool remap_pending, remap_failed;
	uint64_t clock_reasons; /* NVML's clock event reasons, its bits (facts of nvml.h 13.3) */
	unsigned pcie_generation, pcie_width, pcie_generation_max, pcie_width_max;
	unsigned power_default_milliwatts; /* the limit is in struct gpu */
	bool mig_enabled, mig_pending;
	unsigned compute_mode; /* 0 default, 2 prohibited, 3 exclusive process */
	bool display_active;
	unsigned recovery; /* 0 none, 1 reset, 2 reboot, 3 drain P2P, 4 drain and reset, 5 IMEX */
};

/* One sample and the details of each of its GPUs (as many as the list has; the caller frees), as
 * gpu_sample_once(). */
int gpu_details_once(unsigned deadline_ms, struct gpu_list **ret_list,
		     struct gpu_details **ret_details, struct error *err) MUST_CHECK;

/* gpu_list_to_json() with "details" in each of its GPUs. Reading: `ret_details` has one for each
 * GPU of the list; of one that has none nothing is valid. */
json_t *gpu_details_list_to_json(const struct gpu_list *list, const struct gpu_details *details);
int gpu_details_list_from_json(const json_t *json, struct gpu_list **ret_list,
			       struct gpu_details **ret_details, struct error *err) MUST_CHECK;
