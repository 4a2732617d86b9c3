/*
 * See gate.h. Children are let through with a byte each; a child that gets none (the pipe has
 * ended: the supervisor was killed, or has given up the start) looks at the file. Only the number
 * of its own gate counts there: a later one says that its own was passed over.
 */
#include "run/gate.h"

#include "util/cleanup.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

/* The file. In the byte order of the machine: it means nothing on another one. */
struct mark {
	char magic[8];
	uint64_t opened;
};
#define MARK_MAGIC "gates 1\n"

static bool mark_read(int fd, uint64_t *ret_opened)
{
	struct mark mark;

	if (pread(fd, &mark, sizeof mark, 0) != (ssize_t)sizeof mark ||
	    memcmp(mark.magic, MARK_MAGIC, sizeof mark.magic) != 0)
		return false;
	*ret_opened = mark.opened;
	return true;
}

static int mark_write(const struct gates *gates, uint64_t opened, struct error *err)
{
	struct mark mark = {.opened = opened};
	ssize_t n;

	memcpy(mark.magic, MARK_MAGIC, sizeof mark.magic);
	do
		n = pwrite(gates->fd, &mark, sizeof mark, 0);
	while (n < 0 && errno == EINTR);
	if (n != (ssize_t)sizeof mark)
		return error_sys(err, n < 0 ? -errno : -EIO, "cannot write %s", gates->path);
	return 0;
}

int gates_init(struct gates *gates, const char *path, struct error *err)
{
	uint64_t opened = 0;
	int fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);

	if (fd < 0)
		return error_sys(err, -errno, "cannot open %s", path);
	if (!mark_read(fd, &opened))
		opened = 0;
	*gates = (struct gates){
	    .path = mem_strdup(path), .fd = fd, .opened = opened, .next = opened + 1};
	return 0;
}

void gates_finish(struct gates *gates)
{
	if (!gates->path)
		return;
	gates->fd = fd_close(gates->fd);
	free(TAKE(gates->path));
}

bool gates_never_opened(const struct gates *gates, uint64_t number)
{
	return gates->opened > 0 && number > gates->opened;
}

bool gates_will_skip(const struct gates *gates, uint64_t number)
{
	return gates->opened == 0 || number > gates->opened;
}

int gates_skip(struct gates *gates, uint64_t number, struct error *err)
{
	/* One more, which no gate will have: a child of `number` that still waits must not take it
	 * for its own. */
	uint64_t opened = MAX_OF(gates->opened, number) + 1;
	int r;

	if (!gates_will_skip(gates, number))
		return 0;
	r = mark_write(gates, opened, err);
	if (r < 0)
		return r;
	gates->opened = opened;
	gates->next = opened + 1;
	return 0;
}

int gate_create(struct gates *gates, struct gate *ret_gate, struct error *err)
{
	int fds[2];

	if (pipe2(fds, O_CLOEXEC) < 0)
		return error_sys(err, -errno, "cannot start a process");
	*ret_gate = (struct gate){
	    .number = gates->next++, .wait_fd = fds[0], .open_fd = fds[1], .mark_fd = gates->fd};
	return 0;
}

int gate_open(struct gates *gates, struct gate *gate, size_t n, struct error *err)
{
	static const char bytes[4096];
	int r = mark_write(gates, gate->number, err);

	if (r < 0)
		return r;
	gates->opened = gate->number;
	/* A pipe takes 64 KiB before it blocks; a batch is far smaller. Should it fail: the mark is
	 * there, the children find it when the pipe ends. */
	while (n > 0) {
		ssize_t written = write(gate->open_fd, bytes, MIN_OF(n, sizeof bytes));

		if (written < 0 && errno != EINTR)
			break;
		n -= written > 0 ? (size_t)written : 0;
	}
	return 0;
}

void gate_close(struct gate *gate)
{
	gate->open_fd = fd_close(gate->open_fd);
	gate->wait_fd = fd_close(gate->wait_fd);
}

bool gate_wait(int wait_fd, int mark_fd, uint64_t number)
{
	uint64_t opened;
	char byte;
	ssize_t n;

	do
		n = read(wait_fd, &byte, 1);
	while (n < 0 && errno == EINTR);
	return n == 1 || (mark_read(mark_fd, &opened) && opened == number);
}
