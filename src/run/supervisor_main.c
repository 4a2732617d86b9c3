/*
 * plimsoll-supervisor: starts, watches and reaps tasks, and writes down their ends. Started by the
 * daemon, but in a session of its own: it lives as long as there is something to watch, whatever
 * becomes of the daemon.
 *
 * One per state folder: the lock file decides. A second one sees that the first answers on its
 * socket and leaves with status 0; while the first is just going away, it waits for the lock.
 */
#include "run/supervisor.h"
#include "util/duration.h"
#include "util/file.h"
#include "util/log.h"
#include "util/paths.h"
#include "util/pidref.h"
#include "util/timestamp.h"
#include "util/unixsock.h"

#include "config.h"

#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <poll.h>
#include <string.h>
#include <sys/file.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#define LOCK_WAIT_MS    5000
#define ANSWER_WAIT_MS  1000
#define IDLE_MS_DEFAULT 30000
#define LOG_MAX         ((off_t)1 << 20)

struct options {
	bool background;
	char *runtime_dir, *state_dir;
	int64_t idle_ms;
};

static const char usage_text[] =
    "usage: plimsoll-supervisor [--background] [--runtime-dir DIR] [--state-dir DIR]\n"
    "                           [--idle-exit DURATION]\n"
    "\n"
    "Starts and watches the tasks of the plimsoll daemon, which starts it by itself.\n"
    "\n"
    "  --background          go into the background once it listens\n"
    "  --runtime-dir DIR     where its socket and pid file are\n"
    "  --state-dir DIR       where its journal is\n"
    "  --idle-exit DURATION  leave after so long without a connection and a running task\n"
    "                        (30s; 0s: never)\n";

static int options_parse(int argc, char **argv, struct options *ret_options, struct error *err)
{
	static const struct option longs[] = {
	    {"background", no_argument, NULL, 'b'},
	    {"runtime-dir", required_argument, NULL, 'r'},
	    {"state-dir", required_argument, NULL, 's'},
	    {"idle-exit", required_argument, NULL, 'i'},
	    {"help", no_argument, NULL, 'h'},
	    {"version", no_argument, NULL, 'V'},
	    {},
	};
	int c;

	ret_options->idle_ms = IDLE_MS_DEFAULT;
	while ((c = getopt_long(argc, argv, "h", longs, NULL)) != -1) {
		switch (c) {
		case 'b':
			ret_options->background = true;
			break;
		case 'r':
			free(ret_options->runtime_dir);
			ret_options->runtime_dir = mem_strdup(optarg);
			break;
		case 's':
			free(ret_options->state_dir);
			ret_options->state_dir = mem_strdup(optarg);
			break;
		case 'i':
			if (duration_parse(optarg, &ret_options->idle_ms, err) < 0)
				return -EINVAL;
			break;
		case 'h':
			(void)fputs(usage_text, stdout);
			return 1;
		case 'V':
			(void)puts("plimsoll-supervisor " PLIMSOLL_VERSION);
			return 1;
		default:
			return error_set(err, -EINVAL, "see plimsoll-supervisor --help");
		}
	}
	if (optind < argc)
		return error_set(err, -EINVAL, "unexpected argument %s", argv[optind]);
	if (!ret_options->runtime_dir)
		ret_options->runtime_dir = paths_runtime_dir();
	if (!ret_options->state_dir)
		ret_options->state_dir = paths_state_dir();
	return 0;
}

/* Does a supervisor answer there? A connection alone proves nothing: a child of one that was killed
 * holds its socket, and its lock, for the moment between fork and the closing of what it inherited.
 */
static bool answers(const char *socket_path)
{
	static const char hello[] = "{\"op\": \"hello\"}\n";
	struct pollfd wait = {.events = POLLIN};
	auto_close int fd = -1;
	char byte;

	if (unixsock_connect(socket_path, &fd, NULL) < 0 ||
	    send(fd, hello, sizeof hello - 1, MSG_NOSIGNAL) < 0)
		return false;
	wait.fd = fd;
	return poll(&wait, 1, ANSWER_WAIT_MS) == 1 && recv(fd, &byte, 1, 0) == 1;
}

/* 0: we have the lock; 1: somebody else has it and answers. */
static int lock_take(const char *lock_path, const char *socket_path, int *ret_fd, struct error *err)
{
	int64_t deadline = monotonic_now_ms() + LOCK_WAIT_MS;
	auto_close int fd = open(lock_path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);

	if (fd < 0)
		return error_sys(err, -errno, "cannot open %s", lock_path);
	while (flock(fd, LOCK_EX | LOCK_NB) < 0) {
		if (errno != EWOULDBLOCK && errno != EINTR)
			return error_sys(err, -errno, "cannot lock %s", lock_path);
		if (answers(socket_path))
			return 1;
		if (monotonic_now_ms() > deadline)
			return error_set(err, -EBUSY,
					 "another supervisor holds %s but does not answer on %s",
					 lock_path, socket_path);
		(void)usleep(20000);
	}
	*ret_fd = TAKE_FD(fd);
	return 0;
}

/* Go into the background: returns in the child, with the end of a pipe that keeps the parent
 * waiting until a byte (we are ready) or its end (we are not) comes. */
static int background_begin(int *ret_ready_fd, struct error *err)
{
	int fds[2];
	char byte;
	pid_t pid;

	if (pipe2(fds, O_CLOEXEC) < 0)
		return error_sys(err, -errno, "cannot create a pipe");
	pid = fork();
	if (pid < 0)
		return error_sys(err, -errno, "cannot go into the background");
	if (pid > 0) {
		(void)close(fds[1]);
		_exit(read(fds[0], &byte, 1) == 1 ? 0 : 3);
	}
	(void)close(fds[0]);
	(void)setsid();
	*ret_ready_fd = fds[1];
	return 0;
}

/* Standard error goes to the log from here on, and the parent may leave. */
static int background_ready(int ready_fd, const char *log_path, struct error *err)
{
	int null = open("/dev/null", O_RDWR | O_CLOEXEC);
	int log = open(log_path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC | O_NOFOLLOW, 0600);
	struct stat st;

	if (null < 0 || log < 0)
		return error_sys(err, -errno, "cannot open %s", log < 0 ? log_path : "/dev/null");
	if (fstat(log, &st) == 0 && st.st_size > LOG_MAX)
		(void)!ftruncate(log, 0);
	if (dup2(null, STDIN_FILENO) < 0 || dup2(null, STDOUT_FILENO) < 0 ||
	    dup2(log, STDERR_FILENO) < 0)
		return error_sys(err, -errno, "cannot redirect the output");
	(void)close(null);
	(void)close(log);
	(void)!write(ready_fd, "", 1);
	(void)close(ready_fd);
	return 0;
}

static int pid_write(const char *path, struct error *err)
{
	uint64_t start_time = 0;
	auto_free char *line = NULL;

	if (pid_start_time(getpid(), &start_time) < 0)
		start_time = 0;
	line = mem_printf("%d %llu\n", (int)getpid(), (unsigned long long)start_time);
	return file_replace(path, line, strlen(line), 0600, err);
}

/* We hold the lock: whoever still listens there is on its way out (see answers()). */
static int listen_patiently(const char *socket_path, int *ret_fd, struct error *err)
{
	int64_t deadline = monotonic_now_ms() + LOCK_WAIT_MS;
	int r;

	while ((r = unixsock_listen(socket_path, 64, ret_fd, err)) == -EADDRINUSE &&
	       monotonic_now_ms() < deadline)
		(void)usleep(5000);
	return r;
}

static int serve(const struct options *options, int ready_fd, const char *socket_path,
		 struct error *err)
{
	auto_free char *pid_path = mem_printf("%s/%s", options->runtime_dir, SUPERVISOR_PID);
	auto_free char *journal_path = mem_printf("%s/%s", options->state_dir, SUPERVISOR_JOURNAL);
	auto_free char *gates_path = mem_printf("%s/%s", options->state_dir, SUPERVISOR_GATES);
	auto_free char *log_path = mem_printf("%s/%s", options->state_dir, SUPERVISOR_LOG);
	auto_strings struct strings warnings = {};
	struct supervisor_setup setup = {.state_dir = options->state_dir,
					 .journal_path = journal_path,
					 .gates_path = gates_path,
					 .idle_ms = (uint64_t)options->idle_ms};
	static struct supervisor supervisor;
	int r = listen_patiently(socket_path, &setup.listen_fd, err);

	if (r == 0)
		r = supervisor_init(&supervisor, &setup, &warnings, err);
	if (r == 0)
		r = pid_write(pid_path, err);
	if (r == 0 && ready_fd >= 0)
		r = background_ready(ready_fd, log_path, err);
	if (r < 0)
		return r;
	for (size_t i = 0; i < warnings.n; i++)
		log_warning("%s", warnings.items[i]);
	supervisor_run(&supervisor);
	/* Before the lock goes: the next one must not lose its own. */
	(void)unlink(socket_path);
	(void)unlink(pid_path);
	supervisor_finish(&supervisor);
	return 0;
}

static int run(const struct options *options, struct error *err)
{
	auto_free char *lock_path = mem_printf("%s/%s", options->state_dir, SUPERVISOR_LOCK);
	auto_free char *socket_path = mem_printf("%s/%s", options->runtime_dir, SUPERVISOR_SOCKET);
	auto_close int lock_fd = -1;
	int ready_fd = -1;
	int r = dir_create_private(options->runtime_dir, err);

	if (r == 0)
		r = dir_create_private(options->state_dir, err);
	if (r == 0)
		r = lock_take(lock_path, socket_path, &lock_fd, err);
	if (r != 0)
		return r < 0 ? r : 0;
	if (options->background)
		r = background_begin(&ready_fd, err);
	if (r == 0 && chdir("/") < 0)
		r = error_sys(err, -errno, "cannot enter /");
	return r < 0 ? r : serve(options, ready_fd, socket_path, err);
}

int main(int argc, char **argv)
{
	struct options options = {};
	struct error err;
	int r = options_parse(argc, argv, &options, &err);

	if (r < 0) {
		(void)fprintf(stderr, "plimsoll-supervisor: %s\n", err.text);
		return 2;
	}
	if (r == 0) {
		r = run(&options, &err);
		if (r < 0)
			log_error("supervisor: %s", error_text(&err));
	}
	free(options.runtime_dir);
	free(options.state_dir);
	return r < 0 ? 3 : 0;
}
