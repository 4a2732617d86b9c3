/* What /proc tells: about the processes NVML lists, and about the driver. */
#pragma once

#include "gpu/gpu.h"

bool procfs_pid_exists(pid_t pid);

/* Fill in start time and name of each process. One that is not in our /proc keeps 0 and "". */
void procfs_describe(struct gpu *gpu);

/* The version of the loaded kernel module, from the first line of /proc/driver/nvidia/version; ""
 * when there is none. */
void procfs_module_version(char *buf, size_t size);

/* The same from a text. */
void procfs_parse_module_version(const char *text, char *buf, size_t size);
