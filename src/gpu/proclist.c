/*
 * The stride is chosen by plausibility. Read with 24 where the driver wrote 32, entry 2 begins in
 * the "protected memory" of entry 1: pid 0 or 0xffffffff. Read with 32 where it wrote 24, pids are
 * low halves of memory sizes, or zeros behind the end. So a possible pid counts, and a pid that
 * runs counts more; where pids of another namespace are listed the first is enough. One entry reads
 * the same in both.
 */
#include "gpu/proclist.h"

#include <string.h>

#define PID_LIMIT     4194304 /* PID_MAX_LIMIT of 64-bit kernels */
#define NOT_AVAILABLE UINT64_MAX

static struct proclist_entry proclist_get(const void *buf, size_t stride, size_t at)
{
	const char *entry = (const char *)buf + at * stride;
	struct proclist_entry ret = {};
	uint32_t pid;

	memcpy(&pid, entry, sizeof pid);
	memcpy(&ret.used_bytes, entry + 8, sizeof ret.used_bytes);
	ret.pid = pid > 0 && pid <= PID_LIMIT ? (pid_t)pid : 0;
	ret.used_known = ret.used_bytes != NOT_AVAILABLE;
	if (!ret.used_known)
		ret.used_bytes = 0;
	return ret;
}

static size_t plausibility(const void *buf, size_t stride, size_t count, bool (*exists)(pid_t pid))
{
	size_t points = 0;

	for (size_t i = 1; i < count; i++) {
		struct proclist_entry entry = proclist_get(buf, stride, i);

		if (entry.pid > 0)
			points += exists(entry.pid) ? 3 : 1;
	}
	return points;
}

size_t proclist_detect_stride(const void *buf, size_t count, bool (*exists)(pid_t pid))
{
	return plausibility(buf, 32, count, exists) > plausibility(buf, 24, count, exists) ? 32
											   : 24;
}

static struct gpu_process *process_of(struct gpu *gpu, pid_t pid, bool graphics)
{
	struct gpu_process *process;

	for (size_t i = 0; i < gpu->n_processes; i++) {
		if (gpu->processes[i].pid == pid)
			return &gpu->processes[i];
	}
	if (gpu->n_processes == GPU_PROCESSES_MAX)
		return NULL;
	process = gpu_append_process(gpu);
	process->pid = pid;
	process->graphics = graphics;
	return process;
}

void proclist_merge(struct gpu *gpu, const void *buf, size_t stride, size_t count, bool graphics)
{
	for (size_t i = 0; i < count; i++) {
		struct proclist_entry entry = proclist_get(buf, stride, i);
		struct gpu_process *process =
		    entry.pid > 0 ? process_of(gpu, entry.pid, graphics) : NULL;

		if (!process)
			continue;
		process->graphics = process->graphics && graphics;
		/* Both lists tell the process's whole memory: the larger, not the sum. */
		if (entry.used_known)
			process->used_bytes = MAX_OF(process->used_bytes, entry.used_bytes);
		process->used_known = process->used_known || entry.used_known;
	}
}
