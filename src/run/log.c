/* See log.h. Holes are found with SEEK_DATA and SEEK_HOLE; file systems without them show one
 * piece of data, which is right where nothing can be punched. */
#include "run/log.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <linux/falloc.h>
#include <stdbool.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define CAP_MIN   ((uint64_t)64 << 10)
#define BLOCK     ((uint64_t)4096)
#define TAIL_STEP ((size_t)65536)
#define TAIL_SCAN ((uint64_t)LOG_TAIL_BYTES)

/* The file itself is held (O_PATH opens nothing, and no device has side effects) before it is
 * looked at: what is opened is what was looked at, and it is a plain file. */
static int plain_open(const char *path, uid_t owner, int flags, int *ret_fd)
{
	auto_close int held = open(path, O_PATH | O_CLOEXEC | O_NOFOLLOW);
	char name[64];
	struct stat st;

	if (held < 0 || fstat(held, &st) < 0)
		return -errno;
	if (S_ISLNK(st.st_mode))
		return -ELOOP;
	if (!S_ISREG(st.st_mode) || (owner != LOG_ANY_OWNER && st.st_uid != owner))
		return -EPERM;
	(void)snprintf(name, sizeof name, "/proc/self/fd/%d", held);
	*ret_fd = open(name, flags | O_CLOEXEC | O_NOCTTY | O_NONBLOCK);
	return *ret_fd < 0 ? -errno : 0;
}

int log_open(const char *path, int *ret_fd)
{
	return plain_open(path, LOG_ANY_OWNER, O_RDONLY, ret_fd);
}

int log_trim(const char *path, uint64_t cap_bytes, uid_t owner)
{
	auto_close int fd = -1;
	uint64_t cap = MAX_OF(cap_bytes, CAP_MIN), from, to;
	struct stat st;
	int r;

	/* Most logs stay small: do not even open those. */
	if (stat(path, &st) < 0)
		return errno == ENOENT ? 0 : -errno;
	if (!S_ISREG(st.st_mode) || (uint64_t)st.st_blocks * 512 <= cap)
		return 0;
	r = plain_open(path, owner, O_RDWR, &fd);
	if (r < 0)
		return r == -ENOENT ? 0 : r;
	if (fstat(fd, &st) < 0)
		return -errno;
	from = (cap / 4) / BLOCK * BLOCK;
	to = ((uint64_t)st.st_size - MIN_OF((uint64_t)st.st_size, cap / 2)) / BLOCK * BLOCK;
	if (to <= from)
		return 0;
	if (fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, (off_t)from,
		      (off_t)(to - from)) < 0)
		return -errno;
	return 0;
}

/* Where the data at or after `offset` begins. 0, or -ENXIO when there is none. */
static int data_begin(int fd, uint64_t offset, uint64_t *ret_start)
{
	off_t start = lseek(fd, (off_t)offset, SEEK_DATA);
	struct stat st;

	if (start < 0 && errno != EINVAL)
		return -errno;
	if (start < 0 && fstat(fd, &st) < 0)
		return -errno;
	if (start < 0 && (uint64_t)st.st_size <= offset)
		return -ENXIO;
	*ret_start = start < 0 ? offset : (uint64_t)start;
	return 0;
}

static bool is_zero(const char *buf, size_t n)
{
	return n > 0 && buf[0] == '\0' && memcmp(buf, buf + 1, n - 1) == 0;
}

/* Of `n` bytes read at `start`, where there is data: how many until the next hole. To ask for the
 * hole itself would go through all the data before it, with every block that is read; to ask
 * whether what looks like one is, costs nothing. */
static size_t data_length(int fd, uint64_t start, const char *buf, size_t n)
{
	for (uint64_t at = (start / BLOCK + 1) * BLOCK; at < start + n; at += BLOCK) {
		size_t left = (size_t)(start + n - at);
		off_t data;

		if (!is_zero(buf + (at - start), MIN_OF(left, (size_t)BLOCK)))
			continue;
		data = lseek(fd, (off_t)at, SEEK_DATA);
		if ((data < 0 && errno == ENXIO) || data > (off_t)at)
			return (size_t)(at - start);
	}
	return n;
}

ssize_t log_read(int fd, uint64_t *offset, char *buf, size_t size)
{
	uint64_t start;
	ssize_t n;
	int r = data_begin(fd, *offset, &start);

	if (r == -ENXIO)
		return 0;
	if (r < 0)
		return r;
	if (start > *offset) {
		n = snprintf(buf, size, "\n[... %" PRIu64 " bytes cut ...]\n", start - *offset);
		*offset = start;
		return n;
	}
	do
		n = pread(fd, buf, size, (off_t)start);
	while (n < 0 && errno == EINTR);
	if (n < 0)
		return -errno;
	n = (ssize_t)data_length(fd, start, buf, (size_t)n);
	*offset = start + (uint64_t)n;
	return n;
}

/* Where the last piece of data at or after `at` begins: behind the last hole. The end of the file
 * (`size`) when there is none. */
static int last_data(int fd, uint64_t at, uint64_t size, uint64_t *ret_start)
{
	uint64_t start;
	int r;

	*ret_start = size;
	while ((r = data_begin(fd, at, &start)) == 0) {
		off_t end = lseek(fd, (off_t)start, SEEK_HOLE);

		*ret_start = start;
		/* A file system that knows of no holes; or the file was cut meanwhile. */
		if (end < 0 && (errno == EINVAL || errno == ENXIO))
			return 0;
		if (end < 0)
			return -errno;
		at = (uint64_t)end;
	}
	return r == -ENXIO ? 0 : r;
}

int log_tail_offset(int fd, unsigned lines, uint64_t *ret_offset)
{
	auto_free char *buf = mem_alloc(TAIL_STEP);
	uint64_t from, floor, at, line = 0;
	unsigned seen = 0;
	off_t size = lseek(fd, 0, SEEK_END);
	int r;

	if (size < 0)
		return -errno;
	at = (uint64_t)size;
	from = at - MIN_OF(at, TAIL_SCAN);
	r = last_data(fd, from, at, &floor);
	if (r < 0)
		return r;
	/* It is written meanwhile: what has come since is after the tail. */
	floor = MIN_OF(floor, at);
	/* A newline at the very end closes the last line, it does not begin another. */
	while (at > floor) {
		size_t n = (size_t)MIN_OF((uint64_t)TAIL_STEP, at - floor);
		ssize_t got = pread(fd, buf, n, (off_t)(at - n));

		if (got < 0)
			return -errno;
		if ((size_t)got < n)
			break;
		for (size_t i = n; i > 0; i--) {
			bool final = at - n + i == (uint64_t)size;

			if (buf[i - 1] != '\n' || final)
				continue;
			line = at - n + i;
			if (++seen == lines) {
				*ret_offset = line;
				return 0;
			}
		}
		at -= n;
	}
	/* Not the rest of a line whose beginning was not looked for. */
	if (floor == from && from > 0 && line > 0)
		floor = line;
	*ret_offset = lines == 0 ? (uint64_t)size : floor;
	return 0;
}
