/* Files: whole reads with a bound, atomic replacement, folders. Every descriptor is O_CLOEXEC. */
#pragma once

#include "util/error.h"
#include "util/text.h"

#include <sys/types.h>

/* Read a whole file, at most `max` bytes (-EFBIG beyond). Pipes, sockets and devices are refused at
 * once (-EINVAL), unless `allow_stdin`: then "-" is standard input, and what it names may block. */
int file_read(const char *path, size_t max, bool allow_stdin, struct text *ret_text,
	      struct error *err) MUST_CHECK;

/* For files of /proc and /sys: the first bytes into `buf`, '\0'-terminated, final newline cut.
 * Returns 0 or a negative errno, without a text; -EINVAL for what is no plain file. */
int file_read_small(const char *path, char *buf, size_t size);

/* fsync() the folder a path is in. Some file systems cannot. */
int file_sync_folder(const char *path);

/* Write beside ("PATH.plimsoll~PID.XXXXXX"), fsync, rename, fsync the folder: the file is the old
 * one or the new one, never half. */
int file_replace(const char *path, const char *data, size_t len, mode_t mode,
		 struct error *err) MUST_CHECK;

/* write() until all is written. 0 or a negative errno. */
int fd_write_all(int fd, const void *data, size_t len) MUST_CHECK;

/* Create the folder and its parents with mode 0700 where missing. */
int dir_create(const char *path, struct error *err) MUST_CHECK;

/* Like dir_create(), then insist that it belongs to this user and that no one else may write into
 * it. */
int dir_create_private(const char *path, struct error *err) MUST_CHECK;

/* The folders made in `path` from now on are put into parts of the disk with room, rather than
 * beside it (FS_TOPDIR_FL of ext2 to ext4). For one that takes in many files: beside it other
 * programs delete theirs, and ext4 without a journal looks at each inode freed in the last minutes
 * before it gives one out. Where a file system knows nothing of this, or `path` is not there, a
 * no-op. */
void dir_spread(const char *path);
