/*
 * NVML's return codes in plain words: what a code means for the source as a whole or for one GPU,
 * and what a person can do. Numbers are the ABI's (facts: NVIDIA's nvml.h 13.3). Pure.
 */
#pragma once

#include "gpu/gpu.h"

enum nvml_code {
	NVML_SUCCESS = 0,
	NVML_UNINITIALIZED = 1,
	NVML_INVALID_ARGUMENT = 2,
	NVML_NOT_SUPPORTED = 3,
	NVML_NO_PERMISSION = 4,
	NVML_NOT_FOUND = 6,
	NVML_INSUFFICIENT_SIZE = 7,
	NVML_DRIVER_NOT_LOADED = 9,
	NVML_TIMEOUT = 10,
	NVML_IRQ_ISSUE = 11,
	NVML_LIBRARY_NOT_FOUND = 12,
	NVML_FUNCTION_NOT_FOUND = 13,
	NVML_CORRUPTED_INFOROM = 14,
	NVML_GPU_IS_LOST = 15,
	NVML_RESET_REQUIRED = 16,
	NVML_OPERATING_SYSTEM = 17,
	NVML_MISMATCH = 18,
	NVML_ARGUMENT_VERSION = 25,
	NVML_UNKNOWN = 999,
};

/* Does the code mean that NVML itself must be initialised anew? */
bool nvml_code_ends_session(int code);

/* Set list's state and text for an NVML that could not be initialised. `library_version` and
 * `module_version` may be "": they are named in a mismatch. */
void nvml_code_describe_source(int code, const char *library_version, const char *module_version,
			       struct gpu_list *list);

/* What a call's code says about the health of its GPU. `identity`: it was the call that finds or
 * names the GPU, where 999 is how a lost one is often reported. OK for codes that only mean that
 * one field is not to be had. */
enum gpu_health nvml_code_health(int code, bool identity);

/* gpu->health_text, for a health other than OK. `call` is NVML's name of the function. */
void nvml_code_describe_gpu(int code, const char *call, struct gpu *gpu);

/* What nvmlDeviceGetTopologyCommonAncestor answers (nvmlGpuTopologyLevel_t: 0, 10 ... 50). UNKNOWN
 * for a number nobody has named. */
enum gpu_link nvml_code_link(unsigned level);
