/*
 * See spawn.h. The supervisor is small and has one thread, so a plain fork is cheap (about 0.2 ms)
 * and the child may do what it likes until exec. Signals are blocked around the fork: the loop's
 * handlers write into a pipe the child shares, so they must be gone before one can run there.
 *
 * Nothing of the supervisor reaches the command: every descriptor is close-on-exec at birth, and
 * the child closes all it does not need right after the fork (a sibling's gate or status pipe held
 * open by a child that waits would never end).
 *
 * A root supervisor becomes the task's user on the way. What is chosen by the user (log, folder,
 * terminal, program) is opened after that, with his rights; before it, only what the daemon has
 * chosen.
 */
#include "run/spawn.h"

#include "util/signals.h"

#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <linux/close_range.h>
#include <linux/keyctl.h>
#include <linux/openat2.h>
#include <linux/sched.h>
#include <signal.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <termios.h>
#include <unistd.h>

/* Descriptors of a child between fork and exec. */
#define CHILD_GATE   3
#define CHILD_STATUS 4
#define CHILD_MARK   5

static void child_fail_to(int fd, enum spawn_step step, int code, int detail)
{
	struct spawn_failure failure = {.step = (int)step, .code = code, .detail = detail};

	/* Nobody may be there to read it any more. */
	(void)signal(SIGPIPE, SIG_IGN);
	(void)!write(fd, &failure, sizeof failure);
	_exit(SPAWN_EXIT_NOT_STARTED);
}

static void child_fail(enum spawn_step step, int code)
{
	child_fail_to(CHILD_STATUS, step, code, 0);
}

/* What it waits with and the status pipe to their places, everything else above standard error
 * away. */
static void child_arrange_fds(const struct gate *at, int status_fd)
{
	int gate = fcntl(at->wait_fd, F_DUPFD_CLOEXEC, 16);
	int mark = fcntl(at->mark_fd, F_DUPFD_CLOEXEC, 16);
	int status = fcntl(status_fd, F_DUPFD_CLOEXEC, 16);

	if (gate < 0 || mark < 0 || status < 0 || dup3(gate, CHILD_GATE, O_CLOEXEC) < 0 ||
	    dup3(mark, CHILD_MARK, O_CLOEXEC) < 0 || dup3(status, CHILD_STATUS, O_CLOEXEC) < 0)
		child_fail_to(status_fd, SPAWN_STEP_SESSION, errno, 0);
	/* Kernels before 5.9 lack it: then close-on-exec has to do. */
	(void)syscall(SYS_close_range, CHILD_MARK + 1, ~0u, 0);
}

static void child_open_stdin(void)
{
	int fd = open("/dev/null", O_RDONLY | O_CLOEXEC);

	if (fd < 0 || dup2(fd, STDIN_FILENO) < 0)
		child_fail(SPAWN_STEP_STDIN, errno);
}

/* One open file for both, so that their order is kept. It was opened without waiting (a pipe nobody
 * reads is an error, and no task that never starts), but is written as any other. */
static void child_take_output(int fd)
{
	int flags = fd < 0 ? -1 : fcntl(fd, F_GETFL);

	if (flags < 0 || fcntl(fd, F_SETFL, flags & ~O_NONBLOCK) < 0 ||
	    dup2(fd, STDOUT_FILENO) < 0 || dup2(fd, STDERR_FILENO) < 0)
		child_fail(SPAWN_STEP_LOG, errno);
}

static void child_open_log(const char *path)
{
	/* A device is fine (/dev/null); a terminal is written, and does not become ours. */
	int flags = O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK | O_NOCTTY;

	child_take_output(path ? open(path, flags, 0600) : open("/dev/null", O_WRONLY | O_CLOEXEC));
}

/* Before it becomes the user: a plain file below the supervisor's own folder, reached through no
 * symbolic link, which has no second name. */
static void child_open_private_log(const struct spawn *spawn)
{
	struct open_how how = {.flags = O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC | O_NONBLOCK,
			       .mode = 0600,
			       .resolve = RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS};
	const struct protocol_user *user = &spawn->request->user;
	const char *path = spawn->request->log_path;
	size_t len = strlen(spawn->private_dir);
	struct stat st;
	int dir, fd;

	if (strncmp(path, spawn->private_dir, len) != 0 || path[len] != '/')
		child_fail(SPAWN_STEP_LOG, EPERM);
	dir = open(spawn->private_dir, O_PATH | O_DIRECTORY | O_CLOEXEC);
	if (dir < 0)
		child_fail(SPAWN_STEP_LOG, errno);
	fd = (int)syscall(SYS_openat2, dir, path + len + 1, &how, sizeof how);
	/* Kernels before 5.6: nobody but us can have put a link into that folder. */
	if (fd < 0 && errno == ENOSYS)
		fd = openat(dir, path + len + 1, (int)how.flags | O_NOFOLLOW, (mode_t)how.mode);
	if (fd >= 0 && fstat(fd, &st) == 0 && (!S_ISREG(st.st_mode) || st.st_nlink != 1))
		child_fail(SPAWN_STEP_LOG, EMLINK);
	if (fd >= 0 && fchown(fd, user->uid, user->gid) < 0)
		child_fail(SPAWN_STEP_LOG, errno);
	child_take_output(fd);
}

/* The terminal becomes the controlling one by being opened: this session has none yet, and leads
 * itself. It does not when it is somebody else's already. */
static void child_open_tty(const char *path)
{
	int fd = open(path, O_RDWR | O_CLOEXEC | O_NOFOLLOW);

	if (fd < 0)
		child_fail(SPAWN_STEP_TTY, errno);
	if (tcgetsid(fd) != getpid())
		child_fail(SPAWN_STEP_TTY, isatty(fd) ? EBUSY : ENOTTY);
	for (int i = STDIN_FILENO; i <= STDERR_FILENO; i++)
		if (dup2(fd, i) < 0)
			child_fail(SPAWN_STEP_TTY, errno);
}

/* Groups first: with the user goes the right to set them. Limits before that: exec then refuses the
 * process that is one too many for this user (RLIMIT_NPROC). */
static void child_become(const struct protocol_user *user)
{
	int resource = 0, r = limits_apply(&user->limits, &resource);

	if (r < 0)
		child_fail_to(CHILD_STATUS, SPAWN_STEP_LIMIT, -r, resource);
	/* Only root can be somebody else; to be oneself needs nothing. */
	if (geteuid() != 0 && user->uid != geteuid())
		child_fail(SPAWN_STEP_USER, EPERM);
	if (geteuid() != 0)
		return;
	/* A new keyring: what ours holds is not for him. Not counted as his (200 are allowed), so
	 * while we are root. Kernels and containers without keyrings have nothing to hide. */
	if (syscall(SYS_keyctl, KEYCTL_JOIN_SESSION_KEYRING, NULL) < 0 && errno != ENOSYS &&
	    errno != EPERM)
		child_fail(SPAWN_STEP_USER, errno);
	if (setgroups(user->n_groups, user->groups) < 0 ||
	    setresgid(user->gid, user->gid, user->gid) < 0 ||
	    setresuid(user->uid, user->uid, user->uid) < 0)
		child_fail(SPAWN_STEP_USER, errno);
}

static void child_run(const struct spawn *spawn, int status_fd)
{
	const struct protocol_request *request = spawn->request;
	bool private_log =
	    request->has_user && request->log_path && request->log_owner == PROTOCOL_LOG_SUPERVISOR;
	char *no_env[] = {NULL};

	signals_reset();
	child_arrange_fds(spawn->gate, status_fd);
	(void)prctl(PR_SET_NAME, SPAWN_GATE_NAME);
	if (setsid() < 0)
		child_fail(SPAWN_STEP_SESSION, errno);
	if (!gate_wait(CHILD_GATE, CHILD_MARK, spawn->gate->number))
		_exit(SPAWN_EXIT_NOT_STARTED);
	(void)close(CHILD_GATE);
	(void)close(CHILD_MARK);
	if (spawn->own_files)
		(void)setrlimit(RLIMIT_NOFILE, spawn->own_files);
	child_open_stdin();
	if (private_log)
		child_open_private_log(spawn);
	if (request->has_user)
		child_become(&request->user);
	/* The log before the folder: it is an absolute path, and messages have somewhere to go. */
	if (request->tty)
		child_open_tty(request->tty);
	else if (!private_log)
		child_open_log(request->log_path);
	(void)umask(request->umask);
	errno = 0;
	if (request->nice != 0 && nice(request->nice) == -1 && errno != 0)
		child_fail(SPAWN_STEP_NICE, errno);
	if (chdir(request->cwd) < 0)
		child_fail(SPAWN_STEP_CWD, errno);
	/* execvp looks along the PATH of the environment that is set: the task's. */
	environ = request->env.items ? request->env.items : no_env;
	(void)execvp(request->argv.items[0], request->argv.items);
	child_fail(SPAWN_STEP_EXEC, errno);
}

/* Forked straight into its cgroup: to move it there afterwards would hold up every fork and exit of
 * the machine. The C library has no call for it; what its fork() does besides is for threads, and
 * for a child that does more than exec. */
static pid_t fork_into(int cgroup_fd)
{
	struct clone_args args = {
	    .flags = CLONE_INTO_CGROUP, .exit_signal = SIGCHLD, .cgroup = (uint64_t)cgroup_fd};

	return (pid_t)syscall(SYS_clone3, &args, sizeof args);
}

int spawn_child(const struct spawn *spawn, struct spawned *ret_spawned)
{
	sigset_t all, before;
	int fds[2], code, cgroup_code = 0;
	pid_t pid;

	if (pipe2(fds, O_CLOEXEC) < 0)
		return -errno;
	(void)fcntl(fds[0], F_SETFL, O_NONBLOCK);
	(void)sigfillset(&all);
	(void)sigprocmask(SIG_SETMASK, &all, &before);
	pid = spawn->cgroup_fd >= 0 ? fork_into(spawn->cgroup_fd) : fork();
	if (pid < 0 && spawn->cgroup_fd >= 0 && !protocol_is_transient(errno)) {
		cgroup_code = errno;
		pid = fork();
	}
	code = errno;
	if (pid == 0)
		child_run(spawn, fds[1]);
	(void)sigprocmask(SIG_SETMASK, &before, NULL);
	(void)close(fds[1]);
	if (pid < 0) {
		(void)close(fds[0]);
		return -code;
	}
	*ret_spawned =
	    (struct spawned){.pid = pid, .status_fd = fds[0], .cgroup_code = cgroup_code};
	return 0;
}

static bool log_is_ours(const struct protocol_request *request)
{
	return !request->log_path || request->log_owner == PROTOCOL_LOG_SUPERVISOR;
}

bool spawn_failure_is_of_task(const struct protocol_request *request,
			      const struct spawn_failure *failure)
{
	switch ((enum spawn_step)failure->step) {
	case SPAWN_STEP_SESSION:
	case SPAWN_STEP_STDIN:
	case SPAWN_STEP_USER: /* the keyring and the groups are not counted as his */
		return false;
	case SPAWN_STEP_LOG:
		/* What is given to a user counts against his quota. */
		return !log_is_ours(request) || (request->has_user && failure->code == EDQUOT);
	case SPAWN_STEP_TTY:
	case SPAWN_STEP_LIMIT:
	case SPAWN_STEP_NICE:
	case SPAWN_STEP_CWD:
	case SPAWN_STEP_EXEC:
		break;
	}
	return true;
}

bool spawn_log_folder_is_gone(const struct protocol_request *request,
			      const struct spawn_failure *failure)
{
	return failure->step == SPAWN_STEP_LOG && failure->code == ENOENT && log_is_ours(request);
}

static const char *env_get(const struct strings *env, const char *name)
{
	size_t len = strlen(name);

	for (size_t i = 0; i < env->n; i++)
		if (strncmp(env->items[i], name, len) == 0 && env->items[i][len] == '=')
			return env->items[i] + len + 1;
	return NULL;
}

static char *exec_failure_text(const struct protocol_request *request, int code)
{
	const char *command = request->argv.items[0], *path = env_get(&request->env, "PATH");

	if (code == ENOENT && !strchr(command, '/'))
		return mem_printf("command not found: %s (PATH=%s)", command,
				  path ? path : "not set: only /bin and /usr/bin are searched");
	if (code == ENOENT && command[0] == '/' && access(command, F_OK) == 0)
		return mem_printf("cannot run %s: the interpreter named in its first line, or the "
				  "loader it was linked for, is missing",
				  command);
	if (code == ENOENT)
		return mem_printf("command not found: %s (in the folder %s)", command,
				  request->cwd);
	if (code == EACCES)
		return mem_printf("cannot run %s: it may not be executed (is it a program? run "
				  "chmod +x on it)",
				  command);
	if (code == ENOEXEC)
		return mem_printf("cannot run %s: neither a program of this machine nor a script "
				  "with #! in its first line",
				  command);
	if (code == E2BIG)
		return mem_printf("cannot run %s: the command line and its environment are larger "
				  "than the kernel allows",
				  command);
	if (code == EAGAIN)
		return mem_printf("cannot run %s: its user has as many processes as the limit "
				  "(ulimit -u) allows",
				  command);
	return mem_printf("cannot run %s: %s", command, strerror(code));
}

static char *tty_failure_text(const struct protocol_request *request, int code)
{
	return mem_printf("cannot open its terminal %s: %s", request->tty,
			  code == EBUSY ? "it is the terminal of another session" : strerror(code));
}

static char *user_failure_text(const struct protocol_request *request, int code)
{
	unsigned uid = request->user.uid;

	if (code == EPERM)
		return mem_printf(
		    "cannot run it as user %u: the daemon is not root, it starts tasks "
		    "of its own user (%u) only",
		    uid, (unsigned)geteuid());
	return mem_printf("cannot become user %u: %s", uid, strerror(code));
}

char *spawn_failure_text(const struct protocol_request *request,
			 const struct spawn_failure *failure)
{
	switch ((enum spawn_step)failure->step) {
	case SPAWN_STEP_EXEC:
		return exec_failure_text(request, failure->code);
	case SPAWN_STEP_CWD:
		return mem_printf("cannot enter the folder %s: %s", request->cwd,
				  strerror(failure->code));
	case SPAWN_STEP_TTY:
		return tty_failure_text(request, failure->code);
	case SPAWN_STEP_LIMIT:
		return mem_printf("cannot set its limit \"%s\": %s", limits_name(failure->detail),
				  strerror(failure->code));
	case SPAWN_STEP_USER:
		return user_failure_text(request, failure->code);
	case SPAWN_STEP_LOG:
		return mem_printf("cannot write its log %s: %s",
				  request->log_path ? request->log_path : "/dev/null",
				  strerror(failure->code));
	case SPAWN_STEP_NICE:
		return mem_printf("cannot run it with nice %d: %s", request->nice,
				  strerror(failure->code));
	case SPAWN_STEP_STDIN:
		return mem_printf("cannot open /dev/null: %s", strerror(failure->code));
	case SPAWN_STEP_SESSION:
		break;
	}
	return mem_printf("cannot start a session: %s", strerror(failure->code));
}
