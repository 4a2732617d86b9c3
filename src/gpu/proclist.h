/*
 * What NVML writes into a process-list buffer. Entries are 16 bytes (v1), 24 (v2 = v3), or 32: the
 * _v3 call of early R535 drivers wrote a longer entry without saying so, and from the second entry
 * on pid and memory would swap columns. Pure functions on buffers.
 */
#pragma once

#include "gpu/gpu.h"

#define PROCLIST_ENTRY_MAX 32

struct proclist_entry {
	pid_t pid;
	bool used_known; /* false: NVML said "not available" */
	uint64_t used_bytes;
};

/* 24 or 32 for a buffer of a v2/v3 call, zeroed before it, of at least count * 32 bytes. `exists`
 * tells whether a pid is running (in a container it may never be). */
size_t proclist_detect_stride(const void *buf, size_t count, bool (*exists)(pid_t pid));

/* Add the entries to gpu->processes, each pid once: a process is in the compute and in the graphics
 * list when it does both (C+G), an MPS client in two as well. `graphics` when it is that list. */
void proclist_merge(struct gpu *gpu, const void *buf, size_t stride, size_t count, bool graphics);
