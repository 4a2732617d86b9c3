/*
 * Preloaded into our processes: faults that cannot be had for real on a shared machine, and that
 * begin and end while they run. $FAULTS is a file of 64 bytes that is mapped:
 *
 *	int64 shift_ms     what the wall clock shows beside the true time
 *	int32 write_errno  what every change of a file below $FAULTS_FOLDER fails with; 0: none
 *	int32 fork_errno   what fork() fails with; 0: none
 *	int32 chdir_errno  what chdir() fails with; 0: none
 *
 * The monotonic clock is never touched: setting the time does not touch it either.
 */
/* Both names of each call are wanted, and none of glibc's wrappers. */
#undef _FILE_OFFSET_BITS
#undef _FORTIFY_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/time.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

#pragma GCC visibility push(default)
#pragma GCC diagnostic ignored "-Wmissing-prototypes"

struct faults {
	volatile int64_t shift_ms;
	volatile int32_t write_errno, fork_errno, chdir_errno;
};

static const struct faults *faults(void)
{
	static const struct faults none;
	static const struct faults *mapped;
	const char *path = getenv("FAULTS");
	int fd;

	if (mapped)
		return mapped;
	fd = path ? open(path, O_RDONLY | O_CLOEXEC) : -1;
	if (fd >= 0) {
		void *p = mmap(NULL, 64, PROT_READ, MAP_SHARED, fd, 0);

		(void)close(fd);
		mapped = p == MAP_FAILED ? NULL : p;
	}
	return mapped ? mapped : &none;
}

static void *real(const char *name)
{
	void *function = dlsym(RTLD_NEXT, name);

	if (!function)
		abort();
	return function;
}

#define REAL(name) ((__typeof__(&(name)))real(#name))

/* The clock. */

int clock_gettime(clockid_t clock, struct timespec *ts)
{
	int r = REAL(clock_gettime)(clock, ts);

	if (r == 0 && (clock == CLOCK_REALTIME || clock == CLOCK_REALTIME_COARSE))
		ts->tv_sec += faults()->shift_ms / 1000;
	return r;
}

time_t time(time_t *ret_time)
{
	struct timespec ts;

	(void)clock_gettime(CLOCK_REALTIME, &ts);
	if (ret_time)
		*ret_time = ts.tv_sec;
	return ts.tv_sec;
}

int gettimeofday(struct timeval *restrict tv, void *restrict zone)
{
	int r = REAL(gettimeofday)(tv, zone);

	if (r == 0)
		tv->tv_sec += faults()->shift_ms / 1000;
	return r;
}

/* Processes. */

pid_t fork(void)
{
	if (faults()->fork_errno) {
		errno = faults()->fork_errno;
		return -1;
	}
	return REAL(fork)();
}

int chdir(const char *path)
{
	if (faults()->chdir_errno) {
		errno = faults()->chdir_errno;
		return -1;
	}
	return REAL(chdir)(path);
}

/* Files. */

static bool fails(const char *path)
{
	const char *folder = getenv("FAULTS_FOLDER");

	if (!folder || faults()->write_errno == 0 || strncmp(path, folder, strlen(folder)) != 0)
		return false;
	errno = faults()->write_errno;
	return true;
}

static bool fd_fails(int fd)
{
	char link[64], path[PATH_MAX];
	ssize_t n;

	if (faults()->write_errno == 0)
		return false;
	(void)snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
	n = readlink(link, path, sizeof path - 1);
	if (n < 0)
		return false;
	path[n] = '\0';
	return fails(path);
}

#define FD_CALL(type, name, params, args)                   \
	type name params                                    \
	{                                                   \
		return fd_fails(fd) ? -1 : REAL(name) args; \
	}
FD_CALL(ssize_t, write, (int fd, const void *buf, size_t n), (fd, buf, n))
FD_CALL(ssize_t, pwrite, (int fd, const void *buf, size_t n, off_t at), (fd, buf, n, at))
FD_CALL(ssize_t, pwrite64, (int fd, const void *buf, size_t n, off64_t at), (fd, buf, n, at))
FD_CALL(ssize_t, writev, (int fd, const struct iovec *iov, int n), (fd, iov, n))
FD_CALL(int, ftruncate, (int fd, off_t size), (fd, size))
FD_CALL(int, ftruncate64, (int fd, off64_t size), (fd, size))
FD_CALL(int, fallocate, (int fd, int mode, off_t at, off_t size), (fd, mode, at, size))

static int open_as(const char *name, const char *path, int flags, mode_t mode)
{
	int (*function)(const char *, int, ...) = (int (*)(const char *, int, ...))real(name);

	if ((flags & (O_CREAT | O_WRONLY | O_RDWR | O_TRUNC)) && fails(path))
		return -1;
	return function(path, flags, mode);
}

#define OPEN_CALL(name)                                                          \
	int name(const char *path, int flags, ...)                               \
	{                                                                        \
		va_list args;                                                    \
		mode_t mode;                                                     \
		va_start(args, flags);                                           \
		mode = flags & (O_CREAT | O_TMPFILE) ? va_arg(args, mode_t) : 0; \
		va_end(args);                                                    \
		return open_as(#name, path, flags, mode);                        \
	}
OPEN_CALL(open)
OPEN_CALL(open64)

int access(const char *path, int mode)
{
	return (mode & W_OK) && fails(path) ? -1 : REAL(access)(path, mode);
}

int mkdir(const char *path, mode_t mode)
{
	return fails(path) ? -1 : REAL(mkdir)(path, mode);
}

int rename(const char *from, const char *to)
{
	return fails(to) ? -1 : REAL(rename)(from, to);
}
