/* The groups of checks, in the order of doctor.c. For src/doctor alone. */
#pragma once

#include "doctor/doctor.h"

extern const struct doctor_check *const checks_driver[]; /* each ended by NULL */
extern const struct doctor_check *const checks_cuda[];   /* of the group "driver" */
extern const struct doctor_check *const checks_gpus[];
extern const struct doctor_check *const checks_containers[];
extern const struct doctor_check *const checks_host[];
extern const struct doctor_check *const checks_log[];

/* The architecture of a GPU that this driver no longer knows, by its PCI device id, and the last
 * branch that did; NULL: it is none. driver-cuda tells it. */
const char *checks_dropped(const struct doctor *doctor, const struct machine_pci *pci,
			   unsigned *ret_last_branch);
