/* Commands as this machine's distribution spells them. For src/doctor alone. */
#pragma once

#include "doctor/doctor.h"

/* "sudo apt install linux-headers-6.8.0-45-generic" and so on, as fixes of a result. */
void distro_fix_headers(const struct machine *machine, struct doctor_result *result);
void distro_fix_driver(const struct machine *machine, struct doctor_result *result);
/* The driver's CUDA library, where a display-only part of it was installed. `branch`: 570. */
void distro_fix_compute(const struct machine *machine, unsigned branch,
			struct doctor_result *result);
void distro_fix_initramfs(const struct machine *machine, struct doctor_result *result);
/* NVIDIA's container toolkit, or its newest version. */
void distro_fix_toolkit(const struct machine *machine, struct doctor_result *result);
