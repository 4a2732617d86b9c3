/*
 * Our own cgroup's limits. Three worlds: cgroup v2 alone (<root>/cgroup.controllers exists), v1
 * (one folder a controller below the root), and both ("hybrid": controllers on v1, v2 under
 * <root>/unified without them); a controller is looked for where it is. A limit anywhere up the
 * tree binds, so the walk goes from our group to the root. In a container /proc/self/cgroup may
 * name a path that does not exist below the mount, because the mount itself is that group: then the
 * walk starts at the mount.
 */
#include "host/host_private.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

/* v1 says "no limit" as the largest multiple of the page size below 2^63. */
#define V1_NO_LIMIT ((uint64_t)1 << 60)

struct group {
	bool v2;
	char base[2048]; /* the mount: the walk ends here */
	char path[4096]; /* base and our path below it, without a final '/' */
};

static bool folder_exists(const char *path)
{
	struct stat st;

	return stat(path, &st) == 0 && S_ISDIR(st.st_mode);
}

/* Is `name` one of the comma-separated words of `list`, which ends at `end`? */
static bool list_has(const char *list, const char *end, const char *name)
{
	size_t len = strlen(name);

	for (const char *p = list; p < end;) {
		const char *comma = memchr(p, ',', (size_t)(end - p));
		const char *stop = comma ? comma : end;

		if ((size_t)(stop - p) == len && memcmp(p, name, len) == 0)
			return true;
		p = stop + 1;
	}
	return false;
}

/* The path of `controller` (NULL: v2) in the text of a /proc/PID/cgroup, or false. */
static bool path_find(const char *text, const char *controller, char *buf, size_t size)
{
	for (const char *line = text; line && *line;) {
		const char *end = strchrnul(line, '\n');
		const char *first = memchr(line, ':', (size_t)(end - line));
		const char *second =
		    first ? memchr(first + 1, ':', (size_t)(end - first - 1)) : NULL;

		if (second &&
		    (controller ? list_has(first + 1, second, controller) : second == first + 1)) {
			size_t len = (size_t)(end - second - 1);

			while (len > 0 && second[len] == '/')
				len--;
			if (len >= size)
				return false;
			memcpy(buf, second + 1, len);
			buf[len] = '\0';
			return true;
		}
		line = *end ? end + 1 : NULL;
	}
	return false;
}

/* Where the limits of `controller` ("memory", "cpu") are kept for us. */
static bool group_find(const struct host *host, const char *controller, struct group *ret_group)
{
	char text[8192], path[2000], probe[4200];
	struct group group = {};
	int n;

	if (host_read(text, sizeof text, "%s/self/cgroup", host->proc) < 0)
		return false;
	group.v2 = host_read(probe, sizeof probe, "%s/cgroup.controllers", host->cgroup) == 0;
	if (!path_find(text, group.v2 ? NULL : controller, path, sizeof path))
		return false;
	n = group.v2 ? snprintf(group.base, sizeof group.base, "%s", host->cgroup)
		     : snprintf(group.base, sizeof group.base, "%s/%s", host->cgroup, controller);
	if (n < 0 || (size_t)n >= sizeof group.base || !folder_exists(group.base))
		return false;
	(void)snprintf(group.path, sizeof group.path, "%s%s", group.base, path);
	/* "/../.." : the group lies outside of our cgroup namespace. */
	if (strstr(path, "/..") || !folder_exists(group.path))
		(void)snprintf(group.path, sizeof group.path, "%s", group.base);
	*ret_group = group;
	return true;
}

static bool group_up(struct group *group)
{
	if (strcmp(group->path, group->base) == 0)
		return false;
	*strrchr(group->path, '/') = '\0';
	return true;
}

/* A file with one number; "max" and v1's huge number are none. */
static bool number_read(const struct group *group, const char *name, uint64_t *ret_value)
{
	char text[64], *end;
	unsigned long long value;

	if (host_read(text, sizeof text, "%s/%s", group->path, name) < 0 || text[0] < '0' ||
	    text[0] > '9')
		return false;
	errno = 0;
	value = strtoull(text, &end, 10);
	if (errno != 0 || *end != '\0' || value >= V1_NO_LIMIT)
		return false;
	*ret_value = value;
	return true;
}

/* The number after `key` and a blank at the start of a line. */
static bool keyed_read(const struct group *group, const char *name, const char *key,
		       uint64_t *ret_value)
{
	char text[8192];
	size_t len = strlen(key);

	if (host_read(text, sizeof text, "%s/%s", group->path, name) < 0)
		return false;
	for (const char *line = text; line; line = strchr(line, '\n')) {
		line += *line == '\n';
		if (strncmp(line, key, len) == 0 && line[len] == ' ')
			return sscanf(line + len, "%" SCNu64, ret_value) == 1;
	}
	return false;
}

static bool memory_limit(const struct group *group, uint64_t *ret_limit)
{
	uint64_t max = 0, high = 0;
	bool has_max = number_read(group, group->v2 ? "memory.max" : "memory.limit_in_bytes", &max);
	/* Above memory.high processes are slowed to a standstill: a limit for our purposes. */
	bool has_high = group->v2 && number_read(group, "memory.high", &high);

	if (!has_max && !has_high)
		return false;
	*ret_limit = !has_max ? high : !has_high ? max : MIN_OF(max, high);
	return true;
}

static void memory_sample(const struct host *host, struct host_info *info)
{
	struct group group;
	uint64_t best = UINT64_MAX;

	if (!group_find(host, "memory", &group))
		return;
	do {
		uint64_t limit, used, cache = 0, room;
		bool has_used;

		if (!memory_limit(&group, &limit))
			continue;
		has_used = number_read(
		    &group, group.v2 ? "memory.current" : "memory.usage_in_bytes", &used);
		if (has_used &&
		    keyed_read(&group, "memory.stat",
			       group.v2 ? "inactive_file" : "total_inactive_file", &cache))
			used -= MIN_OF(used, cache);
		room = has_used ? limit - MIN_OF(limit, used) : limit;
		if (room >= best)
			continue;
		best = room;
		info->cgroup_limit_bytes = limit;
		info->valid |= HOST_CGROUP_LIMIT;
		info->valid &= ~(unsigned)HOST_CGROUP_USED;
		if (has_used) {
			info->cgroup_used_bytes = used;
			info->valid |= HOST_CGROUP_USED;
		}
	} while (group_up(&group));
}

static bool cpu_limit(const struct group *group, double *ret_cpus)
{
	char text[64];
	double quota, period;
	uint64_t quota_us, period_us;

	if (group->v2) {
		if (host_read(text, sizeof text, "%s/cpu.max", group->path) < 0 ||
		    sscanf(text, "%lf %lf", &quota, &period) != 2 || period <= 0)
			return false;
		*ret_cpus = quota / period;
		return quota > 0;
	}
	/* -1 is no limit: no number to number_read(). */
	if (!number_read(group, "cpu.cfs_quota_us", &quota_us) ||
	    !number_read(group, "cpu.cfs_period_us", &period_us) || period_us == 0)
		return false;
	*ret_cpus = (double)quota_us / (double)period_us;
	return quota_us > 0;
}

static void cpu_sample(const struct host *host, struct host_info *info)
{
	struct group group;
	double cpus;

	if (!group_find(host, "cpu", &group))
		return;
	do {
		if (!cpu_limit(&group, &cpus))
			continue;
		if (host_info_has(info, HOST_CGROUP_CPUS) && cpus >= info->cgroup_cpus)
			continue;
		info->cgroup_cpus = cpus;
		info->valid |= HOST_CGROUP_CPUS;
	} while (group_up(&group));
}

void cgroup_sample(const struct host *host, struct host_info *info)
{
	memory_sample(host, info);
	cpu_sample(host, info);
}

int host_oom_kills(const struct host *host, uint64_t *ret_kills)
{
	struct group group;

	if (!group_find(host, "memory", &group) ||
	    !keyed_read(&group, group.v2 ? "memory.events" : "memory.oom_control", "oom_kill",
			ret_kills))
		return -ENOENT;
	return 0;
}
