/* What a machine must have to be fit for GPU work, and for what: data/doctor.yaml. */
#pragma once

#include "doctor/version.h"

enum doctor_purpose { DOCTOR_FOR_ANY, DOCTOR_FOR_INFERENCE, DOCTOR_FOR_TRAINING, DOCTOR_FOR_NONE };
#define DOCTOR_PURPOSES (DOCTOR_FOR_NONE + 1)
const char *doctor_purpose_name(enum doctor_purpose purpose); /* "any", "inference", ... */

struct need_of {
	uint64_t vram_bytes, ram_bytes, disk_free_bytes, shm_bytes; /* 0: nothing is asked */
};
struct needs {
	struct version driver;
	unsigned compute_capability; /* major * 10 + minor */
	struct need_of of[DOCTOR_PURPOSES];
};

/* NULL: data/doctor.yaml as found by paths_find_data(). -EINVAL with the place. */
int needs_load(const char *path, struct needs *ret_needs, struct error *err) MUST_CHECK;

/* Is a size what is sold under the name of another? Of a "4 GB" card some MiB are the driver's. */
bool needs_is_enough(uint64_t has_bytes, uint64_t needs_bytes);
