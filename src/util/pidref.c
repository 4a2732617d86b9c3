/* See pidref.h. */
#include "util/pidref.h"

#include "util/file.h"

#include <errno.h>
#include <signal.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

/* The state letter and the start time of /proc/<pid>/stat. The name, field 2, may hold blanks and
 * parentheses: fields are counted from the last ')'. */
static int stat_read(pid_t pid, char *ret_state, uint64_t *ret_start_time)
{
	char path[64], buf[1024];
	unsigned long long start;
	char *p;
	int r;

	(void)snprintf(path, sizeof path, "/proc/%d/stat", (int)pid);
	r = file_read_small(path, buf, sizeof buf);
	if (r < 0)
		return r == -ENOENT ? -ESRCH : r;
	p = strrchr(buf, ')');
	if (!p || p[1] != ' ')
		return -ESRCH;
	*ret_state = p[2];
	if (sscanf(
		p + 2,
		"%*c %*d %*d %*d %*d %*d %*u %*u %*u %*u %*u %*u %*u %*d %*d %*d %*d %*d %*d %llu",
		&start) != 1)
		return -ESRCH;
	*ret_start_time = start;
	return 0;
}

int pid_start_time(pid_t pid, uint64_t *ret_start_time)
{
	char state;

	return stat_read(pid, &state, ret_start_time);
}

int pidref_open(pid_t pid, uint64_t start_time, struct pidref *ret_ref)
{
	auto_close int fd = (int)syscall(SYS_pidfd_open, pid, 0);
	uint64_t now = 0;
	int r;

	if (fd < 0)
		return -errno;
	r = pid_start_time(pid, &now);
	if (r < 0)
		return r;
	if (start_time != 0 && now != start_time)
		return -ESRCH;
	*ret_ref = (struct pidref){.pid = pid, .start_time = now, .fd = TAKE_FD(fd)};
	return 0;
}

bool pid_is_alive(pid_t pid, uint64_t start_time)
{
	uint64_t now = 0;
	char state = 0;

	return stat_read(pid, &state, &now) == 0 && (start_time == 0 || now == start_time) &&
	       state != 'Z' && state != 'X';
}

int pidref_signal(const struct pidref *ref, int signal)
{
	if (ref->fd < 0)
		return -ESRCH;
	return syscall(SYS_pidfd_send_signal, ref->fd, signal, NULL, 0) < 0 ? -errno : 0;
}

void pidref_finish(struct pidref *ref)
{
	ref->fd = fd_close(ref->fd);
}
