/* The groups of checks, and what several of them ask. For src/doctor alone. */
#pragma once

#include "doctor/doctor.h"

extern const struct doctor_check *const checks_driver[]; /* each ended by NULL */
extern const struct doctor_check *const checks_gpus[];

/* "GPU 0 (RTX A5500)" */
const char *checks_gpu_name(const struct gpu *gpu, char buf[160]);
#define GPU_TEXT(gpu) checks_gpu_name((gpu), (char[160]){0})

/* Does a driver run at all: NVML answers, or has GPUs that are ill. */
bool checks_nvml_answers(const struct machine *machine);
