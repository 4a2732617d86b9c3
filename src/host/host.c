/* See host.h. RAM and pressure from /proc, CPUs from the scheduler; cgroups are in cgroup.c. */
#include "host/host_private.h"

#include "util/file.h"

#include <errno.h>
#include <sched.h>
#include <stdarg.h>
#include <string.h>
#include <sys/stat.h>

int host_open(const char *proc_root, const char *cgroup_root, struct host **ret_host,
	      struct error *err)
{
	struct host *host;
	struct stat st;

	proc_root = proc_root ? proc_root : "/proc";
	if (stat(proc_root, &st) < 0)
		return error_sys(err, -errno, "cannot look at %s", proc_root);
	host = mem_calloc(1, sizeof *host);
	host->proc = mem_strdup(proc_root);
	host->cgroup = mem_strdup(cgroup_root ? cgroup_root : "/sys/fs/cgroup");
	*ret_host = host;
	return 0;
}

void host_close(struct host *host)
{
	if (!host)
		return;
	free(host->proc);
	free(host->cgroup);
	free(host);
}

int host_read(char *buf, size_t size, const char *fmt, ...)
{
	char path[4096];
	va_list args;
	int n;

	va_start(args, fmt);
	n = vsnprintf(path, sizeof path, fmt, args);
	va_end(args);
	if (n < 0 || (size_t)n >= sizeof path)
		return -ENAMETOOLONG;
	return file_read_small(path, buf, size);
}

/* "MemTotal:       24684084 kB" */
static bool meminfo_get(const char *text, const char *key, uint64_t *ret_bytes)
{
	const char *line = strstr(text, key);
	unsigned long long kib;

	if (!line || (line != text && line[-1] != '\n') ||
	    sscanf(line + strlen(key), ": %llu kB", &kib) != 1 || kib > UINT64_MAX / 1024)
		return false;
	*ret_bytes = (uint64_t)kib * 1024;
	return true;
}

static void memory_sample(const struct host *host, struct host_info *info)
{
	char text[8192];

	if (host_read(text, sizeof text, "%s/meminfo", host->proc) < 0)
		return;
	if (meminfo_get(text, "MemTotal", &info->ram_total_bytes) && info->ram_total_bytes > 0)
		info->valid |= HOST_RAM_TOTAL;
	if (meminfo_get(text, "MemAvailable", &info->ram_available_bytes))
		info->valid |= HOST_RAM_AVAILABLE;
}

static void pressure_sample(const struct host *host, const char *what, unsigned flag,
			    double *ret_percent, struct host_info *info)
{
	char text[512];
	double percent;

	/* Kernels booted with psi=0 have the file and answer EOPNOTSUPP on reading. */
	if (host_read(text, sizeof text, "%s/pressure/%s", host->proc, what) < 0 ||
	    sscanf(text, "some avg10=%lf", &percent) != 1 || percent < 0 || percent > 100)
		return;
	*ret_percent = percent;
	info->valid |= flag;
}

static void cpus_sample(struct host_info *info)
{
	/* Larger than the default set of 1024: more CPUs than that exist. */
	size_t size = CPU_ALLOC_SIZE(16384);
	cpu_set_t *set = CPU_ALLOC(16384);

	if (set && sched_getaffinity(0, size, set) == 0) {
		info->cpus = (unsigned)CPU_COUNT_S(size, set);
		info->valid |= HOST_CPUS;
	}
	CPU_FREE(set);
}

int host_sample(const struct host *host, struct host_info *ret_info, struct error *err)
{
	struct host_info info = {};

	memory_sample(host, &info);
	if (info.valid == 0)
		return error_set(err, -EIO, "%s/meminfo tells nothing: is /proc mounted?",
				 host->proc);
	cpus_sample(&info);
	cgroup_sample(host, &info);
	pressure_sample(host, "cpu", HOST_PRESSURE_CPU, &info.pressure_cpu_percent, &info);
	pressure_sample(host, "memory", HOST_PRESSURE_MEMORY, &info.pressure_memory_percent, &info);
	pressure_sample(host, "io", HOST_PRESSURE_IO, &info.pressure_io_percent, &info);
	if (host_oom_kills(host, &info.oom_kills) == 0)
		info.valid |= HOST_OOM_KILLS;
	*ret_info = info;
	return 0;
}

bool host_ram_total(const struct host_info *info, uint64_t *ret_bytes)
{
	if (!host_info_has(info, HOST_RAM_TOTAL))
		return false;
	*ret_bytes = host_info_has(info, HOST_CGROUP_LIMIT)
			 ? MIN_OF(info->ram_total_bytes, info->cgroup_limit_bytes)
			 : info->ram_total_bytes;
	return true;
}

bool host_ram_available(const struct host_info *info, uint64_t *ret_bytes)
{
	uint64_t left;

	if (!host_info_has(info, HOST_RAM_AVAILABLE))
		return false;
	*ret_bytes = info->ram_available_bytes;
	if (!host_info_has(info, HOST_CGROUP_LIMIT | HOST_CGROUP_USED))
		return true;
	left = info->cgroup_limit_bytes > info->cgroup_used_bytes
		   ? info->cgroup_limit_bytes - info->cgroup_used_bytes
		   : 0;
	*ret_bytes = MIN_OF(*ret_bytes, left);
	return true;
}

bool host_cpus(const struct host_info *info, double *ret_cpus)
{
	if (!host_info_has(info, HOST_CPUS))
		return false;
	*ret_cpus = host_info_has(info, HOST_CGROUP_CPUS)
			? MIN_OF((double)info->cpus, info->cgroup_cpus)
			: (double)info->cpus;
	return true;
}
