/*
 * Preloaded into the supervisor: kill -9 at an exact moment. DIE_AT="fdatasync:NAME",
 * "pwrite:NAME": right after that call on a file whose path ends with NAME. Once only: the file
 * $DIE_ONCE is taken away, and without it nothing happens, so the supervisor that comes next lives.
 */
#include <dlfcn.h>
#include <limits.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/types.h>
#include <unistd.h>

#pragma GCC visibility push(default)
int fdatasync(int fd);
ssize_t pwrite64(int fd, const void *buf, size_t size, off_t offset);
#pragma GCC visibility pop

static void *real(const char *name)
{
	void *function = dlsym(RTLD_NEXT, name);

	if (!function)
		abort();
	return function;
}

static bool path_ends(int fd, const char *end)
{
	char link[64], path[PATH_MAX];
	ssize_t n;
	size_t len = strlen(end);

	(void)snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
	n = readlink(link, path, sizeof path);
	return n >= (ssize_t)len && memcmp(path + n - len, end, len) == 0;
}

static void die_if(const char *moment, int fd)
{
	const char *at = getenv("DIE_AT"), *once = getenv("DIE_ONCE");
	size_t len = strlen(moment);

	if (at && once && strncmp(at, moment, len) == 0 && path_ends(fd, at + len) &&
	    unlink(once) == 0)
		(void)kill(getpid(), SIGKILL);
}

int fdatasync(int fd)
{
	int (*function)(int) = (int (*)(int))real("fdatasync");
	int r = function(fd);

	die_if("fdatasync:", fd);
	return r;
}

ssize_t pwrite64(int fd, const void *buf, size_t size, off_t offset)
{
	ssize_t (*function)(int, const void *, size_t, off_t) =
	    (ssize_t(*)(int, const void *, size_t, off_t))real("pwrite64");
	ssize_t n = function(fd, buf, size, offset);

	die_if("pwrite:", fd);
	return n;
}
