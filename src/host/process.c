/* See process.h. */
#include "host/process.h"

#include "host/host_private.h"
#include "util/file.h"

#include <ctype.h>
#include <dirent.h>
#include <errno.h>
#include <string.h>
#include <unistd.h>

static int stat_parse(const char *text, struct host_process *ret_process)
{
	struct host_process process = {};
	unsigned long long utime, stime, start;
	long long rss;
	int pid, ppid, pgrp, session;
	/* The name may hold blanks and parentheses: it ends at the last one. */
	const char *open = strchr(text, '('), *close = strrchr(text, ')');

	if (!open || !close || close < open || sscanf(text, "%d", &pid) != 1)
		return -ESRCH;
	if (sscanf(close + 1,
		   " %c %d %d %d %*d %*d %*u %*u %*u %*u %*u %llu %llu %*d %*d %*d %*d %*d %*d "
		   "%llu %*u %lld",
		   &process.state, &ppid, &pgrp, &session, &utime, &stime, &start, &rss) != 8)
		return -ESRCH;
	process.pid = pid;
	process.ppid = ppid;
	process.pgrp = pgrp;
	process.session = session;
	process.start_time = start;
	process.rss_bytes = rss > 0 ? (uint64_t)rss * (uint64_t)sysconf(_SC_PAGESIZE) : 0;
	process.cpu_seconds = (double)(utime + stime) / (double)sysconf(_SC_CLK_TCK);
	(void)snprintf(process.name, sizeof process.name, "%.*s", (int)(close - open - 1),
		       open + 1);
	*ret_process = process;
	return 0;
}

static int gone(int r)
{
	return r == -ENOENT ? -ESRCH : r;
}

int host_process_read(const struct host *host, pid_t pid, struct host_process *ret_process)
{
	char text[1024];
	int r = host_read(text, sizeof text, "%s/%d/stat", host->proc, (int)pid);

	return r < 0 ? gone(r) : stat_parse(text, ret_process);
}

int host_process_each(const struct host *host,
		      int (*each)(const struct host_process *process, void *arg), void *arg)
{
	DIR *dir = opendir(host->proc);
	struct dirent *entry;
	int r = 0;

	if (!dir)
		return -errno;
	while (r == 0 && (entry = readdir(dir)) != NULL) {
		struct host_process process;

		if (isdigit((unsigned char)entry->d_name[0]) &&
		    host_process_read(host, (pid_t)strtol(entry->d_name, NULL, 10), &process) == 0)
			r = each(&process, arg);
	}
	(void)closedir(dir);
	return r;
}

/* PROC_PID_INIT_INO of the kernel: the number of the first pid namespace. */
#define FIRST_NAMESPACE "pid:[4026531836]"

bool host_sees_all_processes(const struct host *host)
{
	auto_free char *path = mem_printf("%s/self/ns/pid", host->proc);
	char name[64];
	ssize_t n = readlink(path, name, sizeof name - 1);

	name[MAX_OF(n, (ssize_t)0)] = '\0';
	return strcmp(name, FIRST_NAMESPACE) == 0;
}

int host_process_container(const struct host *host, pid_t pid, struct host_container *ret_container)
{
	char text[8192];
	int r = host_read(text, sizeof text, "%s/%d/cgroup", host->proc, (int)pid);

	if (r < 0)
		return gone(r);
	host_container_parse(text, ret_container);
	return 0;
}
