/* The groups of checks, in the order of doctor.c. For src/doctor alone. */
#pragma once

#include "doctor/doctor.h"

extern const struct doctor_check *const checks_driver[]; /* each ended by NULL */
extern const struct doctor_check *const checks_gpus[];
extern const struct doctor_check *const checks_containers[];
extern const struct doctor_check *const checks_host[];
extern const struct doctor_check *const checks_log[];
