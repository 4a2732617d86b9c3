/*
 * A command's name is its comm, which the kernel cuts at 15 bytes; then the base name of argv[0],
 * when it begins with it, is the whole of it (as ps does).
 */
#include "gpu/procfs.h"

#include "util/file.h"
#include "util/pidref.h"

#include <ctype.h>
#include <string.h>
#include <unistd.h>

#define COMM_CUT 15

bool procfs_pid_exists(pid_t pid)
{
	char path[32];

	(void)snprintf(path, sizeof path, "/proc/%d", (int)pid);
	return access(path, F_OK) == 0;
}

/* Names end up in JSON and on terminals. */
static void make_printable(char *s)
{
	for (; *s; s++) {
		if (!isprint((unsigned char)*s))
			*s = '?';
	}
}

static void name_of(pid_t pid, char *name, size_t size)
{
	char path[48], comm[32], argv0[256];
	const char *base, *slash;

	(void)snprintf(path, sizeof path, "/proc/%d/comm", (int)pid);
	if (file_read_small(path, comm, sizeof comm) < 0)
		return;
	base = comm;
	(void)snprintf(path, sizeof path, "/proc/%d/cmdline", (int)pid);
	if (strlen(comm) >= COMM_CUT && file_read_small(path, argv0, sizeof argv0) == 0) {
		slash = strrchr(argv0, '/');
		slash = slash ? slash + 1 : argv0;
		if (strncmp(slash, comm, COMM_CUT) == 0)
			base = slash;
	}
	(void)snprintf(name, size, "%.*s", (int)size - 1, base);
	make_printable(name);
}

void procfs_describe(struct gpu *gpu)
{
	for (size_t i = 0; i < gpu->n_processes; i++) {
		struct gpu_process *process = &gpu->processes[i];

		if (pid_start_time(process->pid, &process->start_time) < 0)
			continue;
		name_of(process->pid, process->name, sizeof process->name);
	}
}

static bool is_version(const char *s, size_t len)
{
	size_t dots = 0;

	if (len == 0 || !isdigit((unsigned char)s[0]) || !isdigit((unsigned char)s[len - 1]))
		return false;
	for (size_t i = 0; i < len; i++) {
		if (s[i] == '.')
			dots++;
		else if (!isdigit((unsigned char)s[i]))
			return false;
	}
	return dots >= 1;
}

void procfs_parse_module_version(const char *text, char *buf, size_t size)
{
	size_t line = strcspn(text, "\n");
	const char *p = strstr(text, "Module"), *end = text + line;

	buf[0] = '\0';
	while (p && p < end) {
		size_t len = strcspn(p, " \t\n");

		if (is_version(p, len)) {
			(void)snprintf(buf, size, "%.*s", (int)len, p);
			return;
		}
		p += len;
		p += strspn(p, " \t");
		if (*p == '\n' || *p == '\0')
			return;
	}
}

void procfs_module_version(char *buf, size_t size)
{
	char text[512];

	buf[0] = '\0';
	if (file_read_small("/proc/driver/nvidia/version", text, sizeof text) == 0)
		procfs_parse_module_version(text, buf, size);
}
