/* What the files of src/host/ share. */
#pragma once

#include "host/host.h"

struct host {
	char *proc;
	char *cgroup;
};

/* The memory and CPU limits of our cgroup and its ancestors, into the cgroup fields of `info`. */
void cgroup_sample(const struct host *host, struct host_info *info);

/* Read a small file below a root: printf-like path. 0 or a negative errno. */
int host_read(char *buf, size_t size, const char *fmt, ...) PRINTF(3, 4);
