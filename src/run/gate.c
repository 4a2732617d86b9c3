/*
 * See gate.h. A number is its round and the number of the gate in it. Children are let through with
 * a byte each; a child that gets none (the pipe has ended: the supervisor was killed, or has given
 * up the start) looks at the place of its round in the file. Only the number of its own gate counts
 * there: a later one says that its own was passed over.
 */
#include "run/gate.h"

#include "util/cleanup.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

/* The file, in the byte order of the machine (it means nothing on another one): the magic, then for
 * each round kept, at its place, the last gate opened, or the round's number 0 when none was. A
 * file of the time before there were rounds is one of round 0 alone. */
#define MAGIC     "gates 1\n"
#define MAGIC_LEN (sizeof MAGIC - 1)

#define ROUND_SHIFT 32
#define ROUND_MAX   ((uint64_t)INT32_MAX) /* numbers are signed in the journal */

static uint64_t round_of(uint64_t number)
{
	return number >> ROUND_SHIFT;
}

static size_t place_of(uint64_t number)
{
	return (size_t)(round_of(number) % GATE_ROUNDS_KEPT);
}

static off_t offset_of(uint64_t number)
{
	return (off_t)(MAGIC_LEN + place_of(number) * sizeof number);
}

static bool is_a_gate(uint64_t number)
{
	return (number & (((uint64_t)1 << ROUND_SHIFT) - 1)) != 0;
}

static int write_at(const struct gates *gates, const void *data, size_t size, off_t offset,
		    struct error *err)
{
	ssize_t n;

	do
		n = pwrite(gates->fd, data, size, offset);
	while (n < 0 && errno == EINTR);
	if (n != (ssize_t)size)
		return error_sys(err, n < 0 ? -errno : -EIO, "cannot write %s", gates->path);
	return 0;
}

/* All of it: then it is whole, whatever it was. */
static int marks_write(const struct gates *gates, struct error *err)
{
	char data[MAGIC_LEN + sizeof gates->last];

	memcpy(data, MAGIC, MAGIC_LEN);
	memcpy(data + MAGIC_LEN, gates->last, sizeof gates->last);
	return write_at(gates, data, sizeof data, 0, err);
}

/* What cannot be read is not known: the rest stays 0. */
static void marks_read(struct gates *gates)
{
	char magic[MAGIC_LEN];

	if (pread(gates->fd, magic, sizeof magic, 0) != (ssize_t)sizeof magic ||
	    memcmp(magic, MAGIC, sizeof magic) != 0)
		return;
	(void)!pread(gates->fd, gates->last, sizeof gates->last, (off_t)sizeof magic);
	for (size_t i = 0; i < GATE_ROUNDS_KEPT; i++) {
		if (place_of(gates->last[i]) != i || round_of(gates->last[i]) >= ROUND_MAX)
			gates->last[i] = 0;
		if (is_a_gate(gates->last[i]))
			gates->opened = MAX_OF(gates->opened, gates->last[i]);
	}
}

int gates_init(struct gates *gates, const char *path, struct error *err)
{
	int fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);

	if (fd < 0)
		return error_sys(err, -errno, "cannot open %s", path);
	*gates = (struct gates){.path = mem_strdup(path), .fd = fd};
	marks_read(gates);
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
	uint64_t last = gates->last[place_of(number)];

	return last != 0 && round_of(last) == round_of(number) && number > last;
}

int gates_begin(struct gates *gates, uint64_t known, struct error *err)
{
	uint64_t round = round_of(known) < ROUND_MAX ? round_of(known) : 0, number;
	int r;

	for (size_t i = 0; i < GATE_ROUNDS_KEPT; i++)
		round = MAX_OF(round, round_of(gates->last[i]));
	number = (round + 1) << ROUND_SHIFT;
	gates->last[place_of(number)] = number;
	r = marks_write(gates, err);
	if (r == 0)
		gates->next = number + 1;
	return r;
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
	int r = write_at(gates, &gate->number, sizeof gate->number, offset_of(gate->number), err);

	if (r < 0)
		return r;
	gates->opened = gates->last[place_of(gate->number)] = gate->number;
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
	uint64_t opened = 0;
	char byte;
	ssize_t n;

	do
		n = read(wait_fd, &byte, 1);
	while (n < 0 && errno == EINTR);
	return n == 1 || (pread(mark_fd, &opened, sizeof opened, offset_of(number)) ==
			      (ssize_t)sizeof opened &&
			  opened == number);
}
