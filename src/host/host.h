/*
 * The machine as a host of tasks: RAM, CPUs, what our own cgroup leaves of them, pressure. Every
 * measured field has a validity bit; an unknown is never 0.
 *
 * All is read below two roots, /proc and /sys/fs/cgroup in life.
 *
 * Sources: proc(5) (meminfo, pressure), Documentation/admin-guide/cgroup-v1/memory.rst and
 * cgroup-v2.rst of the kernel.
 */
#pragma once

#include "util/error.h"

#include <stdbool.h>
#include <stdint.h>

struct host;

/* `proc_root` and `cgroup_root` NULL: "/proc" and "/sys/fs/cgroup". -ENOENT: no such folder. */
int host_open(const char *proc_root, const char *cgroup_root, struct host **ret_host,
	      struct error *err) MUST_CHECK;
void host_close(struct host *host);

static inline void host_cleanup(struct host **host)
{
	host_close(*host);
}
#define auto_host CLEANUP(host_cleanup)

enum host_info_FLAGS {
	HOST_RAM_TOTAL = 1u << 0,
	HOST_RAM_AVAILABLE = 1u << 1,
	HOST_CPUS = 1u << 2,
	HOST_CGROUP_LIMIT = 1u << 3, /* absent: no memory limit */
	HOST_CGROUP_USED = 1u << 4,
	HOST_CGROUP_CPUS = 1u << 5, /* absent: no CPU limit */
	HOST_PRESSURE_CPU = 1u << 6,
	HOST_PRESSURE_MEMORY = 1u << 7,
	HOST_PRESSURE_IO = 1u << 8,
	HOST_OOM_KILLS = 1u << 9,
};

struct host_info {
	unsigned valid;                                /* of enum host_info_FLAGS */
	uint64_t ram_total_bytes, ram_available_bytes; /* of the machine: MemTotal, MemAvailable */
	unsigned cpus;                                 /* we may run on: sched_getaffinity() */

	/* The tightest of our own memory cgroup and its ancestors: the one with the least room.
	 * Used is without the file cache that could be dropped (inactive_file). */
	uint64_t cgroup_limit_bytes, cgroup_used_bytes;
	double cgroup_cpus; /* the least cpu.max of ours and its ancestors, in CPUs */

	/* "some" over the last 10 s, in percent of time (PSI). */
	double pressure_cpu_percent, pressure_memory_percent, pressure_io_percent;

	uint64_t oom_kills; /* by the kernel in our own cgroup so far */
};

/* What could be read is valid in the result; fails only when nothing could. */
int host_sample(const struct host *host, struct host_info *ret_info, struct error *err) MUST_CHECK;

static inline bool host_info_has(const struct host_info *info, unsigned fields)
{
	return (info->valid & fields) == fields;
}

/* What tasks can count on, cgroup limits taken in. False: unknown. */
bool host_ram_total(const struct host_info *info, uint64_t *ret_bytes);
bool host_ram_available(const struct host_info *info, uint64_t *ret_bytes);
bool host_cpus(const struct host_info *info, double *ret_cpus);

/* The kernel's out-of-memory kills in our own cgroup so far, alone (one small file).
 * -ENOENT: cannot be known here. */
int host_oom_kills(const struct host *host, uint64_t *ret_kills);
