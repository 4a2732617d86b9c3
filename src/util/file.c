/* See file.h. */
#include "util/file.h"

#include "util/paths.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/fs.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <unistd.h>

static int fd_read_all(int fd, size_t max, struct text *ret_text)
{
	char buf[65536];

	for (;;) {
		ssize_t n = read(fd, buf, sizeof buf);

		if (n == 0)
			return 0;
		if (n < 0) {
			if (errno == EINTR)
				continue;
			return -errno;
		}
		if (ret_text->len + (size_t)n > max)
			return -EFBIG;
		text_add_bytes(ret_text, buf, (size_t)n);
	}
}

/* A pipe that nobody writes to would hold up whoever opens it, and a device may never end. */
static int open_plain(const char *path)
{
	auto_close int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
	struct stat st;

	if (fd < 0 || fstat(fd, &st) < 0)
		return -errno;
	if (S_ISDIR(st.st_mode))
		return -EISDIR;
	return S_ISREG(st.st_mode) ? TAKE_FD(fd) : -EINVAL;
}

int file_read(const char *path, size_t max, bool allow_stdin, struct text *ret_text,
	      struct error *err)
{
	auto_text struct text text = {};
	auto_close int fd = -1;
	int r;

	if (allow_stdin && strcmp(path, "-") == 0) {
		r = fd_read_all(STDIN_FILENO, max, &text);
	} else {
		fd = allow_stdin ? open(path, O_RDONLY | O_CLOEXEC) : open_plain(path);
		if (fd == -EINVAL)
			return error_set(err, -EINVAL,
					 "cannot read %s: it is a pipe, a socket or a device; put "
					 "a plain file there",
					 path);
		if (fd < 0)
			return error_sys(err, allow_stdin ? -errno : fd, "cannot open %s", path);
		r = fd_read_all(fd, max, &text);
	}
	if (r == -EFBIG)
		return error_set(err, r, "%s is larger than %zu MiB", path, max >> 20);
	if (r < 0)
		return error_sys(err, r, "cannot read %s", path);
	if (!text.data)
		text_add(&text, "");
	*ret_text = text;
	text = (struct text){};
	return 0;
}

int file_read_small(const char *path, char *buf, size_t size)
{
	auto_close int fd = open_plain(path);
	size_t len = 0;

	if (fd < 0)
		return fd;
	while (len + 1 < size) {
		ssize_t n = read(fd, buf + len, size - 1 - len);

		if (n == 0)
			break;
		if (n < 0) {
			if (errno == EINTR)
				continue;
			return -errno;
		}
		len += (size_t)n;
	}
	buf[len] = '\0';
	if (len > 0 && buf[len - 1] == '\n')
		buf[len - 1] = '\0';
	return 0;
}

int fd_write_all(int fd, const void *data, size_t len)
{
	const char *p = data;

	while (len > 0) {
		ssize_t n = write(fd, p, len);

		if (n < 0) {
			if (errno == EINTR)
				continue;
			return -errno;
		}
		p += n;
		len -= (size_t)n;
	}
	return 0;
}

int file_sync_folder(const char *path)
{
	auto_free char *folder = paths_folder_of(path);
	auto_close int fd = open(folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);

	if (fd < 0)
		return -errno;
	return fsync(fd) < 0 ? -errno : 0;
}

int file_replace(const char *path, const char *data, size_t len, mode_t mode, struct error *err)
{
	auto_free char *beside = mem_printf("%s.plimsoll~%d.XXXXXX", path, (int)getpid());
	auto_close int fd = mkostemp(beside, O_CLOEXEC);
	int r;

	if (fd < 0)
		return error_sys(err, -errno, "cannot write beside %s", path);
	r = fd_write_all(fd, data, len);
	if (r == 0 && (fchmod(fd, mode) < 0 || fsync(fd) < 0))
		r = -errno;
	if (r == 0 && rename(beside, path) < 0)
		r = -errno;
	if (r < 0) {
		(void)unlink(beside);
		return error_sys(err, r, "cannot write %s", path);
	}
	r = file_sync_folder(path);
	return r < 0 ? error_sys(err, r, "cannot make %s durable", path) : 0;
}

int dir_create(const char *path, struct error *err)
{
	auto_free char *part = mem_strdup(path);

	/* The parents only when they are missing: those that are there may be out of our sight. */
	if (mkdir(path, 0700) == 0 || errno == EEXIST)
		return 0;
	if (errno != ENOENT)
		return error_sys(err, -errno, "cannot create %s", path);
	for (char *p = part + 1;; p++) {
		char was = *p;

		if (was != '/' && was != '\0')
			continue;
		*p = '\0';
		if (mkdir(part, 0700) < 0 && errno != EEXIST)
			return error_sys(err, -errno, "cannot create %s: %s", path, part);
		if (was == '\0')
			return 0;
		*p = was;
	}
}

int dir_create_private(const char *path, struct error *err)
{
	struct stat st;
	int r = dir_create(path, err);

	if (r < 0)
		return r;
	if (lstat(path, &st) < 0)
		return error_sys(err, -errno, "cannot look at %s", path);
	if (!S_ISDIR(st.st_mode))
		return error_set(err, -ENOTDIR, "%s is not a folder", path);
	if (st.st_uid != geteuid())
		return error_set(err, -EPERM,
				 "%s belongs to user %u, not to you (%u): refusing to use it; "
				 "set XDG_RUNTIME_DIR or XDG_STATE_HOME to a folder of your own",
				 path, (unsigned)st.st_uid, (unsigned)geteuid());
	if ((st.st_mode & 022) != 0)
		return error_set(err, -EPERM, "%s can be written by others: run chmod 700 %s", path,
				 path);
	return 0;
}

void dir_spread(const char *path)
{
	auto_close int fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	int flags = 0;

	if (fd < 0 || ioctl(fd, FS_IOC_GETFLAGS, &flags) < 0 || (flags & FS_TOPDIR_FL))
		return;
	flags |= FS_TOPDIR_FL;
	(void)!ioctl(fd, FS_IOC_SETFLAGS, &flags);
}
