/*
 * Two clients may find no daemon at the same moment. They take turns by a lock on a file in the
 * runtime folder, held while a daemon is being started: who comes second finds the socket answered.
 * A daemon that was started by other means in the same moment holds the lock of the state folder;
 * ours says so through the pipe, and its socket is then waited for.
 */
#include "api/start.h"

#include "util/file.h"
#include "util/paths.h"
#include "util/signals.h"
#include "util/text.h"
#include "util/timestamp.h"
#include "util/unixsock.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#define START_MS         20000
#define RETRY_MS         20
#define LOG_TAIL_BYTES   600
#define LOG_ROTATE_BYTES (8 << 20) /* begun anew above this, the old one kept as daemon.log.1 */

static int log_open(const char *state_dir, char **ret_path, int *ret_fd, struct error *err)
{
	auto_free char *dir = state_dir ? mem_strdup(state_dir) : paths_state_dir();
	auto_free char *path = mem_printf("%s/%s", dir, DAEMON_LOG);
	auto_free char *old = mem_printf("%s.1", path);
	struct stat st;
	int fd, r = dir_create_private(dir, err);

	if (r < 0)
		return r;
	if (stat(path, &st) == 0 && st.st_size > LOG_ROTATE_BYTES)
		(void)rename(path, old);
	fd = open(path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC | O_NOFOLLOW, 0600);
	if (fd < 0)
		return error_sys(err, -errno, "cannot write the daemon's log %s", path);
	*ret_path = TAKE(path);
	*ret_fd = fd;
	return 0;
}

/* What the daemon last said, on one line. */
static void log_tail(const char *path, char tail[LOG_TAIL_BYTES + 1])
{
	auto_close int fd = open(path, O_RDONLY | O_CLOEXEC);
	off_t end = fd < 0 ? 0 : lseek(fd, 0, SEEK_END);
	ssize_t n = fd < 0 ? 0
			   : pread(fd, tail, LOG_TAIL_BYTES,
				   end > LOG_TAIL_BYTES ? end - LOG_TAIL_BYTES : 0);

	tail[n > 0 ? n : 0] = '\0';
	for (char *p = tail; *p; p++)
		if (*p == '\n')
			*p = p[1] ? '|' : '\0';
}

/* In the child, after fork: only what is safe there. The grandchild becomes the daemon, so that it
 * is nobody's child of ours and never a zombie. */
static void child_exec(char *const argv[], int log_fd, int ready_fd)
{
	int null = open("/dev/null", O_RDWR);

	if (setsid() < 0 || null < 0 || dup2(null, STDIN_FILENO) < 0 ||
	    dup2(null, STDOUT_FILENO) < 0 || dup2(log_fd, STDERR_FILENO) < 0)
		_exit(126);
	if (fcntl(ready_fd, F_SETFD, 0) < 0)
		_exit(126);
	signals_reset();
	switch (fork()) {
	case -1:
		_exit(126);
	case 0:
		execv(argv[0], argv);
		_exit(127);
	default:
		_exit(0);
	}
}

/* execv() takes words that may be written to, and writes to none. */
static char *as_argument(const char *word)
{
	return (char *)(uintptr_t)word;
}

static int daemon_spawn(const char *program, const char *const *arguments, int log_fd, int ready_fd,
			struct error *err)
{
	char fd_text[16];
	char *argv[5 + API_START_ARGUMENTS + 1] = {as_argument(program), as_argument("serve"),
						   as_argument("--background"),
						   as_argument("--ready-fd"), fd_text};
	int status = 0;
	pid_t pid;

	(void)snprintf(fd_text, sizeof fd_text, "%d", ready_fd);
	for (size_t i = 0; arguments && arguments[i] && i < API_START_ARGUMENTS; i++)
		argv[5 + i] = as_argument(arguments[i]);
	pid = fork();
	if (pid == 0)
		child_exec(argv, log_fd, ready_fd);
	if (pid < 0)
		return error_sys(err, -errno, "cannot start the daemon");
	while (waitpid(pid, &status, 0) < 0 && errno == EINTR)
		;
	if (status != 0)
		return error_set(err, -ECHILD, "cannot start the daemon %s", program);
	return 0;
}

/* Read the daemon's line: 0 = ready, 1 = it said something else (in `said`), -ETIMEDOUT. */
static int ready_wait(int fd, int64_t deadline_ms, struct text *said)
{
	for (;;) {
		struct pollfd p = {.fd = fd, .events = POLLIN};
		int64_t left = deadline_ms - monotonic_now_ms();
		char buf[ERROR_TEXT_MAX];
		ssize_t n;

		if (left <= 0)
			return -ETIMEDOUT;
		if (poll(&p, 1, (int)left) <= 0)
			continue;
		n = read(fd, buf, sizeof buf);
		if (n < 0 && errno == EINTR)
			continue;
		if (n > 0 && said->len < ERROR_TEXT_MAX)
			text_add_bytes(said, buf, (size_t)n);
		if (n <= 0 || memchr(buf, '\n', (size_t)n))
			break;
	}
	text_add(said, "");
	if (said->len > 0 && said->data[said->len - 1] == '\n')
		said->data[--said->len] = '\0';
	return strcmp(said->data, DAEMON_READY) == 0 ? 0 : 1;
}

/* Until somebody answers on the socket: a daemon that is being started by other means. */
static int socket_wait(const char *path, int64_t deadline_ms, struct error *err)
{
	for (;;) {
		auto_close int fd = -1;
		int r = unixsock_connect(path, &fd, err);

		if (r == 0 || (r != -ENOENT && r != -ECONNREFUSED))
			return r;
		if (monotonic_now_ms() >= deadline_ms)
			return r;
		(void)poll(NULL, 0, RETRY_MS);
	}
}

static int start_and_wait(const char *socket_path, const struct api_client_options *options,
			  struct error *err)
{
	int64_t deadline_ms =
	    monotonic_now_ms() + (options->start_ms > 0 ? options->start_ms : START_MS);
	auto_free char *program = NULL, *log_path = NULL;
	auto_close int log_fd = -1, read_end = -1, write_end = -1;
	auto_text struct text said = {};
	char tail[LOG_TAIL_BYTES + 1];
	int ends[2], r;

	r = options->program ? 0 : paths_self(&program, err);
	if (r == 0)
		r = log_open(options->state_dir, &log_path, &log_fd, err);
	if (r < 0)
		return r;
	if (pipe2(ends, O_CLOEXEC) < 0)
		return error_sys(err, -errno, "cannot create a pipe");
	read_end = ends[0];
	write_end = ends[1];
	r = daemon_spawn(options->program ? options->program : program, options->arguments, log_fd,
			 write_end, err);
	if (r < 0)
		return r;
	write_end = fd_close(write_end);
	r = ready_wait(read_end, deadline_ms, &said);
	if (r == 0)
		return 0;
	log_tail(log_path, tail);
	if (r == -ETIMEDOUT)
		return error_set(err, r,
				 "the daemon was started but is not ready; its log %s ends: %s",
				 log_path, tail);
	r = socket_wait(socket_path, MIN_OF(deadline_ms, monotonic_now_ms() + 2000), NULL);
	if (r == 0)
		return 0;
	if (said.len > 0)
		return error_set(err, -ECHILD, "the daemon did not start: %s", said.data);
	return error_set(err, -ECHILD, "the daemon ended while starting; its log %s ends: %s",
			 log_path, tail);
}

int daemon_start(const char *socket_path, const struct api_client_options *options,
		 struct error *err)
{
	auto_free char *dir =
	    options->runtime_dir ? mem_strdup(options->runtime_dir) : paths_runtime_dir();
	auto_free char *lock_path = mem_printf("%s/%s", dir, DAEMON_START_LOCK);
	auto_close int lock = -1, fd = -1;
	int r = dir_create_private(dir, err);

	if (r < 0)
		return r;
	lock = open(lock_path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
	if (lock < 0)
		return error_sys(err, -errno, "cannot open %s", lock_path);
	/* Who holds it waits for its daemon with a deadline, so this ends. */
	while (flock(lock, LOCK_EX) < 0)
		if (errno != EINTR)
			return error_sys(err, -errno, "cannot lock %s", lock_path);
	if (unixsock_connect(socket_path, &fd, err) == 0)
		return 0;
	return start_and_wait(socket_path, options, err);
}
