/*
 * posix_spawn, a pipe for both outputs, a pidfd for the end. The end is the pidfd's and not the
 * pipe's: what a compose program leaves behind (podman's monitor of a container) may hold the pipe
 * for as long as the container lives.
 */
#include "util/program.h"

#include "util/pidref.h"
#include "util/timestamp.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#define GRACE_MS 10000

extern char **environ;

struct program {
	const struct program_options *options;
	pid_t pid; /* and its process group; not waited for yet, so it is nobody else's */
	struct pidref ref;
	int out;
	struct text line, output;
};

bool program_exists(const char *name)
{
	const char *path = getenv("PATH");
	auto_free char *copy = mem_strdup(path ? path : "/usr/local/bin:/usr/bin:/bin");
	char *rest = copy;

	for (char *dir; (dir = strsep(&rest, ":"));) {
		auto_free char *file = mem_printf("%s/%s", *dir ? dir : ".", name);

		if (access(file, X_OK) == 0)
			return true;
	}
	return false;
}

/* --- its environment --- */

static bool is_named(const char *variable, const char *name, size_t len)
{
	return strncmp(variable, name, len) == 0 && variable[len] == '=';
}

static bool is_replaced(const struct program_options *options, const char *variable)
{
	for (size_t i = 0; options->unset && options->unset[i]; i++)
		if (is_named(variable, options->unset[i], strlen(options->unset[i])))
			return true;
	for (size_t i = 0; options->set && options->set[i]; i++)
		if (is_named(variable, options->set[i], strcspn(options->set[i], "=")))
			return true;
	return false;
}

static void environment(const struct program_options *options, struct strings *env)
{
	for (char **variable = environ; *variable; variable++)
		if (!is_replaced(options, *variable))
			strings_add(env, *variable);
	for (size_t i = 0; options->set && options->set[i]; i++)
		strings_add(env, options->set[i]);
}

/* --- starting --- */

static int spawn(struct program *program, int out, struct error *err)
{
	const struct program_options *options = program->options;
	auto_strings struct strings env = {};
	posix_spawn_file_actions_t actions;
	posix_spawnattr_t attributes;
	sigset_t none, all;
	int r;

	environment(options, &env);
	(void)sigemptyset(&none);
	(void)sigfillset(&all);
	(void)posix_spawn_file_actions_init(&actions);
	(void)posix_spawnattr_init(&attributes);
	(void)posix_spawnattr_setflags(&attributes, POSIX_SPAWN_SETPGROUP | POSIX_SPAWN_SETSIGMASK |
							POSIX_SPAWN_SETSIGDEF);
	(void)posix_spawnattr_setsigmask(&attributes, &none);
	(void)posix_spawnattr_setsigdefault(&attributes, &all);
	(void)posix_spawn_file_actions_addopen(&actions, STDIN_FILENO, "/dev/null", O_RDONLY, 0);
	(void)posix_spawn_file_actions_adddup2(&actions, out, STDOUT_FILENO);
	(void)posix_spawn_file_actions_adddup2(&actions, out, STDERR_FILENO);
	if (options->dir)
		(void)posix_spawn_file_actions_addchdir_np(&actions, options->dir);
	r = -posix_spawnp(&program->pid, options->argv[0], &actions, &attributes, options->argv,
			  env.items);
	(void)posix_spawn_file_actions_destroy(&actions);
	(void)posix_spawnattr_destroy(&attributes);
	return r < 0 ? error_sys(err, r, "cannot run %s", options->argv[0]) : 0;
}

/* --- its output --- */

static void line_done(struct program *program)
{
	size_t beyond;

	text_hide_controls(program->line.data, program->line.len);
	if (program->options->on_line)
		program->options->on_line(program->options->data,
					  program->line.data ? program->line.data : "");
	text_printf(&program->output, "%s\n", program->line.data ? program->line.data : "");
	text_clear(&program->line);
	if (program->output.len <= PROGRAM_OUTPUT_MAX)
		return;
	beyond = program->output.len - PROGRAM_OUTPUT_MAX / 2;
	memmove(program->output.data, program->output.data + beyond, program->output.len - beyond);
	program->output.len -= beyond;
	program->output.data[program->output.len] = '\0';
}

static void output_take(struct program *program, const char *bytes, size_t len)
{
	for (size_t i = 0; i < len; i++) {
		if (bytes[i] == '\n' || program->line.len >= 4096)
			line_done(program);
		if (bytes[i] != '\n' && bytes[i] != '\r')
			text_add_bytes(&program->line, bytes + i, 1);
	}
}

/* What is there now. False: there will be no more. */
static bool output_read(struct program *program)
{
	char bytes[4096];
	ssize_t n;

	while ((n = read(program->out, bytes, sizeof bytes)) > 0)
		output_take(program, bytes, (size_t)n);
	return n < 0 && (errno == EAGAIN || errno == EINTR);
}

/* --- its end --- */

/* Wait until it ends; -ETIMEDOUT, -ECANCELED. */
static int program_wait(struct program *program, int64_t deadline_ms, int interrupt_fd)
{
	struct pollfd fds[] = {
	    {.fd = program->ref.fd, .events = POLLIN},
	    {.fd = program->out, .events = POLLIN},
	    {.fd = interrupt_fd, .events = POLLIN},
	};

	for (;;) {
		int64_t left_ms = deadline_ms - monotonic_now_ms();

		if (left_ms <= 0)
			return -ETIMEDOUT;
		(void)poll(fds, ARRAY_LEN(fds), (int)MIN_OF(left_ms, 60000));
		if (fds[1].revents && !output_read(program))
			fds[1].fd = -1;
		if (fds[0].revents) {
			(void)output_read(program);
			return 0;
		}
		if (fds[2].revents)
			return -ECANCELED;
	}
}

static void program_end(struct program *program)
{
	(void)kill(-program->pid, SIGTERM);
	if (program_wait(program, monotonic_now_ms() + GRACE_MS, -1) < 0) {
		(void)kill(-program->pid, SIGKILL);
		(void)program_wait(program, monotonic_now_ms() + GRACE_MS, -1);
	}
}

static int program_follow(struct program *program, int *ret_status, struct error *err)
{
	const struct program_options *options = program->options;
	int r = pidref_open(program->pid, 0, &program->ref), status = 0;

	if (r < 0)
		program->ref = PIDREF_NONE;
	r = program_wait(program, options->deadline_ms, options->interrupt_fd);
	if (r < 0)
		program_end(program);
	if (program->line.len > 0)
		line_done(program);
	while (waitpid(program->pid, &status, 0) < 0 && errno == EINTR)
		;
	*ret_status = status;
	if (r == -ETIMEDOUT)
		return error_set(err, r, "%s did not come to an end in time and was stopped",
				 options->argv[0]);
	return r < 0 ? error_set(err, r, "interrupted: %s was stopped", options->argv[0]) : 0;
}

int program_run(const struct program_options *options, struct text *ret_output, int *ret_status,
		struct error *err)
{
	struct program program = {.options = options, .ref = PIDREF_NONE};
	auto_close int in = -1, out = -1;
	int pipe_fds[2], r;

	if (pipe2(pipe_fds, O_CLOEXEC) < 0)
		return error_sys(err, -errno, "cannot make a pipe");
	in = pipe_fds[0];
	out = pipe_fds[1];
	(void)fcntl(in, F_SETFL, O_NONBLOCK);
	program.out = in;
	r = spawn(&program, out, err);
	out = fd_close(out);
	if (r == 0)
		r = program_follow(&program, ret_status, err);
	pidref_finish(&program.ref);
	text_finish(&program.line);
	if (ret_output)
		*ret_output = program.output;
	else
		text_finish(&program.output);
	return r;
}
