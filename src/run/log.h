/*
 * The logs of attempts: files the command itself appends to, with nobody in between, so that output
 * survives every crash of ours. A log above its cap loses its middle: a hole is punched, head and
 * tail stay where they are, and offsets stay good for whoever follows it. Readers get one line,
 * "[... N bytes cut ...]", in place of the hole. Nobody is in between, so the cap is kept from
 * behind: a log is looked at every 100 ms and at its end. While it is written it takes at most its
 * cap and what comes in 100 ms; afterwards at most its cap.
 */
#pragma once

#include "util/error.h"

#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#define LOG_ANY_OWNER ((uid_t)-1)

/* When the log takes more than `cap_bytes` on disk, cut its middle out so that a quarter of the cap
 * is left at its head and half of it at its tail (caps below 64 KiB count as 64 KiB). 0 also when
 * there is no such file. -EOPNOTSUPP: this file system cannot punch holes, the log grows on.
 *
 * `owner`: -EPERM unless the file belongs to him. For a log whose folder is in somebody else's
 * hands, who may have put another file in its place by now: only one he could cut himself is. */
int log_trim(const char *path, uint64_t cap_bytes, uid_t owner);

/* For reading, a plain file only. The path may be anybody's choice: what is none (a terminal, a
 * device, a FIFO, a symbolic link) is not opened, -EPERM or -ELOOP. */
int log_open(const char *path, int *ret_fd);

/* Read on at `*offset` (0 at first) into `buf` of `size` bytes (at least 64), and move `*offset`
 * behind what was read. Returns the number of bytes, 0 at the (present) end, or a negative errno.
 * A cut comes as its line, alone. */
ssize_t log_read(int fd, uint64_t *offset, char *buf, size_t size);

/* The offset at which the last `lines` lines begin; never before a cut, and never more than
 * LOG_TAIL_BYTES before the end: of more and longer lines those that begin there, of a single line
 * that is longer its last LOG_TAIL_BYTES. Reads no more than that, whatever the size of the file.
 */
#define LOG_TAIL_BYTES (4 << 20)
int log_tail_offset(int fd, unsigned lines, uint64_t *ret_offset);
