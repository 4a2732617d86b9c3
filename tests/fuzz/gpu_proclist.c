/* Any bytes as a process-list buffer of NVML: no pid twice, none impossible. */
#include "gpu/proclist.h"

#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static bool pid_is_even(pid_t pid)
{
	return pid % 2 == 0;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	auto_gpu_list struct gpu_list *list = gpu_list_create();
	struct gpu *gpu = gpu_list_append(list);
	size_t count = size / PROCLIST_ENTRY_MAX;
	size_t stride = proclist_detect_stride(data, count, pid_is_even);

	if (stride != 24 && stride != 32)
		abort();
	proclist_merge(gpu, data, stride, count, false);
	proclist_merge(gpu, data, 16, count, true);
	for (size_t i = 0; i < gpu->n_processes; i++) {
		if (gpu->processes[i].pid <= 0 || gpu->processes[i].pid > 4194304)
			abort();
		for (size_t j = 0; j < i; j++) {
			if (gpu->processes[i].pid == gpu->processes[j].pid)
				abort();
		}
	}
	return 0;
}
