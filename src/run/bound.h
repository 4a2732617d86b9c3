/*
 * What holds an attempt to what it was granted, in its own cgroup (v2), where the controllers are
 * handed down that far:
 *
 *	memory	memory.max, which ends it (the whole of it: memory.oom.group) when it takes more RAM
 *		than was granted and a margin. memory.high, which slows it down below that, only
 *		where there is swap: without any, one that is over it is slowed to a standstill and
 *		never ends.
 *	dmem	dmem.max of the regions of its GPUs: an allocation beyond fails in the kernel
 *		(Linux 6.14 with a driver that accounts there: NVIDIA's from r615 on).
 *
 * Sources: Documentation/admin-guide/cgroup-v2.rst of the kernel; docs.nvidia.com/deploy/mps,
 * "MPS v3 Memory Partitioning". Only hard limits are set: they are what needs nothing propagated to
 * the cgroups above, and what may be written into the files by hand.
 */
#pragma once

#include "util/text.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define BOUND_GPUS_MAX 16
#define BOUND_PCI_MAX  32

/* In the words of bound_apply(), where VRAM is held to its grant. */
#define BOUND_DMEM_WORDS "cgroup dmem.max"
#define BOUND_RAM_WORDS  "cgroup memory.max" /* and where RAM is, after "RAM: " */

struct bound {
	uint64_t ram_bytes; /* granted; 0 = none was */
	struct {
		char pci[BOUND_PCI_MAX]; /* "00000000:65:00.0", as NVML writes it */
		uint64_t bytes;
	} gpus[BOUND_GPUS_MAX];
	size_t n_gpus;
};

/* memory.max for a grant: a tenth more, 256 MiB at least. Its file cache counts as well. */
uint64_t bound_ram_max(uint64_t granted_bytes);

/* The name of the region of the GPU's own memory in a dmem file ("drm/0000:65:00.0/vram 17e9", one
 * a line); the caller frees it. NULL: it has none. */
char *bound_region(const char *dmem_text, const char *pci);

/* Set what can be set on the cgroup at `path`, and add what was to `words`: "cgroup dmem.max",
 * "RAM: cgroup memory.max"; nothing where nothing could be. `has_swap`: the machine has some. */
void bound_apply(const char *path, const struct bound *bound, bool has_swap, struct text *words);

/* Does the kernel count the memory of this GPU in the cgroup at `path`, so that it can be held to a
 * grant in those below? */
bool bound_counts_gpu(const char *path, const char *pci);

/* Does this machine have swap? `meminfo` is the text of /proc/meminfo. */
bool bound_has_swap(const char *meminfo);
