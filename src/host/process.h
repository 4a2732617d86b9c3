/*
 * What is known of other processes: names, owners, trees, and the container or unit they belong
 * to. All answers are of the moment: a pid alone may be somebody else's a moment later, compare
 * start times where it matters.
 */
#pragma once

#include "host/host.h"

#include <sys/types.h>

#define HOST_TEXT_MAX 128

struct host_process {
	pid_t pid, ppid, pgrp, session;
	char state;          /* R S D Z T ... of proc(5) */
	uint64_t start_time; /* as in struct pidref */
	uint64_t rss_bytes;
	double cpu_seconds; /* user and system, children it has waited for not counted */
	char name[64];      /* the kernel's short name (at most 15 bytes for programs) */
};

/* -ESRCH: no such process. */
int host_process_read(const struct host *host, pid_t pid, struct host_process *ret_process);

/* All processes, one call each; stops when `each` returns non-zero and returns that. */
int host_process_each(const struct host *host,
		      int (*each)(const struct host_process *process, void *arg), void *arg);

/* Are all processes of the machine to be seen here, as in its first pid namespace? Elsewhere a pid
 * that is not there may be somebody alive. */
bool host_sees_all_processes(const struct host *host);

enum host_runtime {
	HOST_RUNTIME_NONE,
	HOST_RUNTIME_DOCKER,
	HOST_RUNTIME_PODMAN,
	HOST_RUNTIME_KUBERNETES,
	HOST_RUNTIME_CONTAINERD,
	HOST_RUNTIME_LXC,
	HOST_RUNTIME_NSPAWN,
	HOST_RUNTIME_SLURM,
};

struct host_container {
	enum host_runtime runtime; /* NONE: in no container; unit may be set */
	char id[HOST_TEXT_MAX];    /* 64 hex digits where the runtime has such; "" unknown */
	char name[HOST_TEXT_MAX];  /* as the cgroup tells it (LXC, nspawn, Slurm job); "" unknown */
	char unit[HOST_TEXT_MAX];  /* systemd unit (.service, .scope) around it; "" none */
};

/* From /proc/PID/cgroup. -ESRCH. */
int host_process_container(const struct host *host, pid_t pid,
			   struct host_container *ret_container);

/* The same from the text of such a file. */
void host_container_parse(const char *cgroup_text, struct host_container *ret_container);

const char *host_runtime_name(enum host_runtime runtime); /* "docker", ...; "" for NONE */
