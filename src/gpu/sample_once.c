/*
 * gpu_sample_once() and gpu_details_once(): the helper is started with pipes, asked once, and
 * waited for with poll(). It ends by the end of its input; one that does not (it hangs in a call)
 * is killed, and left behind when the kernel will not end it. There is no loop and no signal
 * handler, so that it can be called from anywhere.
 */
#include "gpu/details.h"
#include "gpu/helper_line.h"
#include "gpu/sampler.h"
#include "util/file.h"
#include "util/paths.h"
#include "util/text.h"
#include "util/timestamp.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#define KILL_WAIT_MS 50 /* how long a killed helper may take before it is left behind */

struct once {
	pid_t pid;
	int in, out; /* ours: in is written, out is read */
	struct text line;
};

static int once_spawn(struct once *once, const char *path, int child_in, int child_out,
		      struct error *err)
{
	char *const argv[] = {(char[]){"plimsoll-nvml"}, NULL};
	posix_spawn_file_actions_t actions;
	posix_spawnattr_t attr;
	sigset_t none, all;
	int r;

	(void)sigemptyset(&none);
	(void)sigfillset(&all);
	(void)posix_spawn_file_actions_init(&actions);
	(void)posix_spawnattr_init(&attr);
	(void)posix_spawn_file_actions_adddup2(&actions, child_in, STDIN_FILENO);
	(void)posix_spawn_file_actions_adddup2(&actions, child_out, STDOUT_FILENO);
	(void)posix_spawnattr_setsigmask(&attr, &none);
	(void)posix_spawnattr_setsigdefault(&attr, &all);
	(void)posix_spawnattr_setflags(&attr, POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETSIGDEF);
	r = posix_spawn(&once->pid, path, &actions, &attr, argv, environ);
	(void)posix_spawnattr_destroy(&attr);
	(void)posix_spawn_file_actions_destroy(&actions);
	return r == 0 ? 0 : error_sys(err, -r, "cannot start %s", path);
}

static int once_start(struct once *once, struct error *err)
{
	auto_close int child_in = -1, child_out = -1;
	auto_free char *path = NULL;
	int in[2], out[2];
	int r = paths_find_helper("plimsoll-nvml", &path, err);

	if (r < 0)
		return r;
	if (pipe2(in, O_CLOEXEC) < 0)
		return error_sys(err, -errno, "cannot make a pipe");
	child_in = in[0];
	once->in = in[1];
	if (pipe2(out, O_CLOEXEC) < 0)
		return error_sys(err, -errno, "cannot make a pipe");
	once->out = out[0];
	child_out = out[1];
	return once_spawn(once, path, child_in, child_out, err);
}

/* The first whole line. -ETIMEDOUT at the deadline, -EPIPE when the helper ended before. */
static int once_read(struct once *once, int64_t deadline_ms)
{
	char buf[4096];

	while (!once->line.data || !memchr(once->line.data, '\n', once->line.len)) {
		struct pollfd fd = {.fd = once->out, .events = POLLIN};
		int64_t left_ms = deadline_ms - monotonic_now_ms();
		ssize_t n;

		if (left_ms <= 0)
			return -ETIMEDOUT;
		if (poll(&fd, 1, (int)MIN_OF(left_ms, (int64_t)1000)) <= 0)
			continue;
		n = read(once->out, buf, sizeof buf);
		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			return -EPIPE;
		if (once->line.len + (size_t)n > HELPER_LINE_MAX)
			return -EMSGSIZE;
		text_add_bytes(&once->line, buf, (size_t)n);
	}
	return 0;
}

/* Returns its wait status, or -1 when it would not end. */
static int once_finish(struct once *once)
{
	int status = -1;

	once->in = fd_close(once->in);
	once->out = fd_close(once->out);
	text_finish(&once->line);
	if (once->pid <= 0)
		return -1;
	for (int i = 0; i < KILL_WAIT_MS; i++) {
		pid_t pid = waitpid(once->pid, &status, WNOHANG);

		if (pid == once->pid)
			return status;
		if (pid < 0 && errno != EINTR)
			return -1;
		/* The end of its input ends it at once, unless it hangs. */
		if (i == KILL_WAIT_MS / 2)
			(void)kill(once->pid, SIGKILL);
		(void)poll(NULL, 0, 1);
	}
	return -1;
}

static int once_answer(struct once *once, const char *command, unsigned deadline_ms,
		       struct helper_line *ret_line, struct error *err)
{
	int64_t asked_ms = timestamp_now_ms();
	int64_t deadline = monotonic_now_ms() + deadline_ms;
	struct helper_line line = {};
	int r = fd_write_all(once->in, command, strlen(command));

	if (r == 0)
		r = once_read(once, deadline);
	if (r == -ETIMEDOUT) {
		auto_gpu_list struct gpu_list *list = gpu_list_create();
		char text[sizeof list->text];

		(void)snprintf(text, sizeof text,
			       "NVML has not answered for %.1f s: the NVIDIA driver may hang; see "
			       "`dmesg | grep -i nvrm`",
			       deadline_ms / 1000.0);
		gpu_list_mark_stale(list, asked_ms, text);
		*ret_line = (struct helper_line){.list = TAKE(list)};
		return 0;
	}
	if (r < 0)
		return error_sys(err, r, "plimsoll-nvml gave no sample");
	r = helper_line_parse(once->line.data, strcspn(once->line.data, "\n"), &line, err);
	if (r < 0)
		return r;
	if (!line.list)
		return error_set(err, -EBADMSG, "plimsoll-nvml answered with an event");
	*ret_line = line;
	return 0;
}

static int once_ask(const char *command, unsigned deadline_ms, struct helper_line *ret_line,
		    struct error *err)
{
	struct once once = {.pid = -1, .in = -1, .out = -1};
	int r = once_start(&once, err), status;

	if (r == 0)
		r = once_answer(&once, command, deadline_ms, ret_line, err);
	status = once_finish(&once);
	if (r == -EPIPE && status >= 0 && WIFSIGNALED(status))
		return error_set(err, r,
				 "plimsoll-nvml ended by signal %d before it gave a sample: the "
				 "NVIDIA library may be broken",
				 WTERMSIG(status));
	return r;
}

int gpu_sample_once(unsigned deadline_ms, struct gpu_list **ret_list, struct error *err)
{
	struct helper_line line = {};
	int r = once_ask("sample 1\n", deadline_ms, &line, err);

	if (r < 0)
		return r;
	*ret_list = TAKE(line.list);
	helper_line_finish(&line);
	return 0;
}

int gpu_details_once(unsigned deadline_ms, struct gpu_list **ret_list,
		     struct gpu_details **ret_details, struct error *err)
{
	struct helper_line line = {};
	int r = once_ask("details 1\n", deadline_ms, &line, err);

	if (r < 0)
		return r;
	*ret_details = line.details ? TAKE(line.details)
				    : mem_calloc(MAX_OF(line.list->n, 1), sizeof **ret_details);
	*ret_list = TAKE(line.list);
	helper_line_finish(&line);
	return 0;
}
