/*
 * See session.h. The command stays in our process group, so that the terminal is its own: a Ctrl-C
 * reaches it without us, and we only wait. Signals sent to this process alone are passed on; after
 * one that asks to end, whatever the command left behind is ended too: all that bears our state
 * file in its environment.
 */
#include "sim/session.h"

#include "config.h"
#include "sim/libhide.h"
#include "util/file.h"
#include "util/paths.h"
#include "util/pidref.h"
#include "util/text.h"
#include "util/timestamp.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#define LIBRARY         "libnvidia-ml.so.1"
#define STOP_MS         5000 /* from SIGTERM to SIGKILL */
#define STOP_LOOKS      10
#define EXEC_LOOKS      20 /* at a process without an environment ... */
#define EXEC_LOOK_US    1000
#define REMOVE_MAX_FDS  16
#define LEFT_MAX        4096 /* processes that a command may leave behind and we end */
#define ENVIRONMENT_MAX (4 << 20)
#define EXIT_NOT_FOUND  127
#define EXIT_NOT_RUN    126

struct session {
	char *dir;
	bool keep;
	char *state_path;
	struct sim_state *state;
};

static const int forwarded[] = {SIGTERM, SIGHUP, SIGINT, SIGQUIT, SIGUSR1, SIGUSR2};

static int find_library(char **ret_path, struct error *err)
{
	auto_free char *self = NULL, *beside = NULL, *installed = NULL;
	int r = paths_self(&self, err);

	if (r < 0)
		return r;
	*strrchr(self, '/') = '\0';
	beside = mem_printf("%s/%s", self, LIBRARY);
	installed = mem_printf("%s/%s", PLIMSOLL_LIBDIR, LIBRARY);
	if (access(beside, R_OK) == 0)
		*ret_path = TAKE(beside);
	else if (access(installed, R_OK) == 0)
		*ret_path = TAKE(installed);
	else
		return error_set(err, -ENOENT, LIBRARY " is neither in %s nor in %s", self,
				 PLIMSOLL_LIBDIR);
	return 0;
}

/* Both names in <dir>/lib: links to the library, or a copy that lacks what the scenario says. */
static int place_library(const struct session *session, const struct sim_state *image,
			 struct error *err)
{
	auto_free char *from = NULL, *first = mem_printf("%s/lib/" LIBRARY, session->dir);
	auto_free char *second = mem_printf("%s/lib/libnvidia-ml.so", session->dir);
	int r = find_library(&from, err);

	if (r < 0)
		return r;
	(void)unlink(first);
	(void)unlink(second);
	if (image->n_missing > 0) {
		r = libhide_copy(from, first, image->missing, image->n_missing, err);
		if (r < 0)
			return r;
	} else if (symlink(from, first) < 0) {
		return error_sys(err, -errno, "cannot create %s", first);
	}
	if (symlink(LIBRARY, second) < 0)
		return error_sys(err, -errno, "cannot create %s", second);
	return 0;
}

static int make_dir(struct session *session, const char *given, struct error *err)
{
	const char *tmp = getenv("TMPDIR");

	if (given) {
		int r = dir_create_private(given, err);

		if (r < 0)
			return r;
		session->keep = true;
		session->dir = realpath(given, NULL);
		return session->dir ? 0 : error_sys(err, -errno, "%s", given);
	}
	session->dir = mem_printf("%s/plimsoll-sim-XXXXXX", tmp && tmp[0] == '/' ? tmp : "/tmp");
	if (!mkdtemp(session->dir)) {
		int r = -errno;

		free(TAKE(session->dir));
		return error_sys(err, r, "cannot create a temporary folder");
	}
	return 0;
}

static int make_folders(const struct session *session, struct error *err)
{
	static const char *const names[] = {"run", "state", "lib"};

	for (size_t i = 0; i < ARRAY_LEN(names); i++) {
		auto_free char *path = mem_printf("%s/%s", session->dir, names[i]);
		int r = dir_create(path, err);

		if (r < 0)
			return r;
	}
	return 0;
}

/* Until then it would be seen under our name. */
static int wait_for_name(int fd)
{
	char byte;
	ssize_t n;

	do
		n = read(fd, &byte, 1);
	while (n < 0 && errno == EINTR);
	return n == 1 ? 0 : -ESRCH;
}

int session_stand_in(const char *name, bool bound, pid_t *ret_pid, uint64_t *ret_start_time,
		     struct error *err)
{
	auto_free char *program = NULL;
	int r = paths_find_helper("plimsoll-simtask", &program, err);
	pid_t parent = getpid(), pid;
	int named[2];

	if (r < 0)
		return r;
	if (pipe2(named, O_CLOEXEC) < 0)
		return error_sys(err, -errno, "cannot create a pipe");
	pid = fork();
	if (pid < 0) {
		r = error_sys(err, -errno, "cannot start a process");
		(void)close(named[0]);
		(void)close(named[1]);
		return r;
	}
	if (pid == 0) {
		sigset_t none;
		int null = open("/dev/null", O_RDWR);

		/* It outlives this command unless bound; it must not hold its pipes open. Its
		 * standard output is ours until it has said that it bears the name. */
		for (int fd = 0; null >= 0 && fd < 3; fd++)
			(void)dup2(fd == STDOUT_FILENO ? named[1] : null, fd);
		if (bound && (prctl(PR_SET_PDEATHSIG, SIGKILL) < 0 || getppid() != parent))
			_exit(EXIT_FAILURE);
		(void)setsid();
		(void)sigemptyset(&none);
		(void)sigprocmask(SIG_SETMASK, &none, NULL);
		(void)execl(program, name, "--stand-in", "--name", name, (char *)NULL);
		_exit(EXIT_NOT_FOUND);
	}
	(void)close(named[1]);
	r = wait_for_name(named[0]);
	(void)close(named[0]);
	if (r == 0)
		r = pid_start_time(pid, ret_start_time);
	if (r < 0) {
		(void)kill(pid, SIGKILL);
		(void)waitpid(pid, NULL, 0);
		return error_sys(err, r, "the stand-in for %s ended at once", name);
	}
	*ret_pid = pid;
	return 0;
}

/* Foreign processes without a pid get one that lives. */
static int start_stand_ins(struct sim_state *image, struct error *err)
{
	for (uint32_t i = 0; i < image->n_events; i++) {
		struct sim_event *event = &image->events[i];
		pid_t pid = 0;
		int r;

		if (event->type != SIM_EVENT_FOREIGN || event->pid != 0)
			continue;
		if (image->n_helpers == SIM_HELPERS_MAX)
			return error_set(err, -ENOSPC,
					 "more than %d foreign processes without a pid",
					 SIM_HELPERS_MAX);
		r = session_stand_in(event->name, true, &pid, &event->start_time, err);
		if (r < 0)
			return r;
		event->pid = pid;
		image->helpers[image->n_helpers++] =
		    (struct sim_helper){.pid = pid, .start_time = event->start_time};
	}
	return 0;
}

int session_create(const char *dir, struct sim_state *image, struct session **ret_session,
		   struct error *err)
{
	struct session *session = mem_calloc(1, sizeof *session);
	int r = make_dir(session, dir, err);

	if (r < 0)
		goto error;
	session->state_path = mem_printf("%s/gpus.state", session->dir);
	(void)unlink(session->state_path);
	r = make_folders(session, err);
	if (r == 0)
		r = place_library(session, image, err);
	/* The stand-ins end when the file is gone: it is made for them first, then for good. */
	if (r == 0)
		r = file_replace(session->state_path, "", 0, 0600, err);
	if (r == 0)
		r = setenv(SIM_STATE_ENV, session->state_path, 1) < 0 ? -errno : 0;
	if (r == 0)
		r = start_stand_ins(image, err);
	if (r < 0)
		goto error;
	(void)unlink(session->state_path);
	r = state_create(session->state_path, image, err);
	if (r == 0)
		r = state_open(session->state_path, &session->state, err);
	if (r < 0)
		goto error;
	*ret_session = session;
	return 0;
error:
	session_destroy(session);
	return r;
}

static void env_prepend(const char *name, const char *value)
{
	const char *old = getenv(name);
	auto_free char *both = old && *old ? mem_printf("%s:%s", value, old) : mem_strdup(value);

	(void)setenv(name, both, 1);
}

static void set_environment(const struct session *session)
{
	auto_free char *run = mem_printf("%s/run", session->dir);
	auto_free char *state = mem_printf("%s/state", session->dir);
	auto_free char *lib = mem_printf("%s/lib", session->dir);
	auto_free char *self = NULL;

	(void)setenv("XDG_RUNTIME_DIR", run, 1);
	(void)setenv("XDG_STATE_HOME", state, 1);
	(void)setenv("PLIMSOLL_SYSTEM", "0", 1); /* the machine's daemon does not see these GPUs */
	env_prepend("LD_LIBRARY_PATH", lib);
	if (paths_self(&self, NULL) == 0) {
		*strrchr(self, '/') = '\0';
		env_prepend("PATH", self);
	}
	(void)unsetenv("CUDA_VISIBLE_DEVICES"); /* named real devices, if any */
}

static void block_signals(sigset_t *ret_old)
{
	sigset_t set;

	(void)sigemptyset(&set);
	(void)sigaddset(&set, SIGCHLD);
	for (size_t i = 0; i < ARRAY_LEN(forwarded); i++)
		(void)sigaddset(&set, forwarded[i]);
	(void)sigprocmask(SIG_BLOCK, &set, ret_old);
}

static bool asks_to_end(int signal)
{
	return signal == SIGTERM || signal == SIGHUP || signal == SIGINT || signal == SIGQUIT;
}

/* Until the child ends. What the terminal sends (SI_KERNEL) the child has got already. *ret_asked:
 * we were told to end. */
static int wait_for(pid_t child, bool *ret_asked)
{
	sigset_t set;
	int status;

	(void)sigemptyset(&set);
	(void)sigaddset(&set, SIGCHLD);
	for (size_t i = 0; i < ARRAY_LEN(forwarded); i++)
		(void)sigaddset(&set, forwarded[i]);
	for (;;) {
		siginfo_t info = {};
		int signal = sigwaitinfo(&set, &info);

		if (signal == SIGCHLD) {
			pid_t pid = waitpid(child, &status, WNOHANG);

			if (pid == child)
				return WIFEXITED(status) ? WEXITSTATUS(status)
							 : 128 + WTERMSIG(status);
			if (pid < 0)
				return -errno;
		} else if (signal > 0 && info.si_code != SI_KERNEL) {
			(void)kill(child, signal);
			*ret_asked = *ret_asked || asks_to_end(signal);
		}
	}
}

/* The environment of a process. While it is about to become another program there is none to be
 * seen for a moment: then it is waited for. A kernel thread and a zombie, which never have one,
 * have no program either. */
static void read_environment(const char *pid, struct text *ret_all)
{
	auto_free char *path = mem_printf("/proc/%s/environ", pid);
	auto_free char *program = mem_printf("/proc/%s/exe", pid);
	char target;

	for (unsigned i = 0; i < EXEC_LOOKS; i++) {
		if (i > 0)
			(void)usleep(EXEC_LOOK_US);
		text_finish(ret_all); /* the read makes it anew */
		if (file_read(path, ENVIRONMENT_MAX, false, ret_all, NULL) < 0 ||
		    ret_all->len > 0 || readlink(program, &target, 1) < 0)
			return;
	}
}

static bool has_our_state(const struct session *session, const char *pid)
{
	auto_free char *wanted = mem_printf(SIM_STATE_ENV "=%s", session->state_path);
	auto_text struct text all = {};

	read_environment(pid, &all);
	for (size_t at = 0; at < all.len; at += strlen(all.data + at) + 1)
		if (strcmp(all.data + at, wanted) == 0)
			return true;
	return false;
}

static size_t find_left(const struct session *session, struct pidref *refs, size_t max)
{
	DIR *dir = opendir("/proc");
	const struct dirent *entry;
	size_t n = 0;

	while (dir && n < max && (entry = readdir(dir))) {
		unsigned long long pid;

		if (!text_to_u64(entry->d_name, 1, INT32_MAX, &pid) || (pid_t)pid == getpid() ||
		    pidref_open((pid_t)pid, 0, &refs[n]) < 0)
			continue;
		/* Looked at after it was opened: it is that one and no other. */
		if (has_our_state(session, entry->d_name))
			n++;
		else
			pidref_finish(&refs[n]);
	}
	if (dir)
		(void)closedir(dir);
	return n;
}

/* All at once, so that they have one grace together. How many there were. */
static size_t stop_found(const struct session *session)
{
	auto_free struct pidref *refs = mem_calloc(LEFT_MAX, sizeof *refs);
	size_t n = find_left(session, refs, LEFT_MAX);
	int64_t deadline = monotonic_now_ms() + STOP_MS;

	for (size_t i = 0; i < n; i++)
		(void)!pidref_signal(&refs[i], SIGTERM);
	for (size_t i = 0; i < n; i++) {
		struct pollfd ended = {.fd = refs[i].fd, .events = POLLIN};
		int64_t left = MAX_OF(deadline - monotonic_now_ms(), (int64_t)0);

		if (poll(&ended, 1, (int)left) <= 0)
			(void)!pidref_signal(&refs[i], SIGKILL);
		pidref_finish(&refs[i]);
	}
	return n;
}

/* Again for what they have forked meanwhile. */
static void stop_left(const struct session *session)
{
	for (unsigned i = 0; i < STOP_LOOKS && stop_found(session) > 0; i++)
		continue;
}

int session_run(struct session *session, char **argv, struct error *err)
{
	bool asked = false;
	sigset_t old;
	pid_t child;
	int r;

	block_signals(&old);
	child = fork();
	if (child < 0)
		return error_sys(err, -errno, "cannot start a process");
	if (child == 0) {
		set_environment(session);
		(void)sigprocmask(SIG_SETMASK, &old, NULL);
		(void)execvp(argv[0], argv);
		(void)fprintf(stderr, "plimsoll sim: cannot run %s: %s\n", argv[0],
			      strerror(errno));
		_exit(errno == ENOENT ? EXIT_NOT_FOUND : EXIT_NOT_RUN);
	}
	r = wait_for(child, &asked);
	if (asked)
		stop_left(session);
	return r < 0 ? error_sys(err, r, "cannot wait for %s", argv[0]) : r;
}

static void stop_process(pid_t pid, uint64_t start_time, int first_signal)
{
	struct pidref ref = PIDREF_NONE;
	struct pollfd ended = {.events = POLLIN};

	if (pidref_open(pid, start_time, &ref) < 0)
		return;
	ended.fd = ref.fd;
	if (pidref_signal(&ref, first_signal) == 0 && poll(&ended, 1, STOP_MS) <= 0) {
		(void)!pidref_signal(&ref, SIGKILL);
		(void)poll(&ended, 1, STOP_MS);
	}
	pidref_finish(&ref);
}

/* `<pid> <start time>` as the daemon and the supervisor write it. */
static void stop_written(const struct session *session, const char *name)
{
	auto_free char *path = mem_printf("%s/run/plimsoll/%s", session->dir, name);
	unsigned long long start_time;
	char line[64];
	int pid;

	if (file_read_small(path, line, sizeof line) == 0 &&
	    sscanf(line, "%d %llu", &pid, &start_time) == 2 && pid > 0 && start_time > 0)
		stop_process(pid, start_time, SIGTERM);
}

/* Tasks and stand-ins that are left lose their GPUs, so they end. */
static void stop_rest(struct sim_state *state)
{
	struct sim_helper left[SIM_PROCS_MAX + SIM_HELPERS_MAX];
	size_t n = 0;

	state_lock(state);
	for (uint32_t i = 0; i < state->procs_end; i++)
		if (state->procs[i].pid != 0 && state->procs[i].working)
			left[n++] = (struct sim_helper){.pid = state->procs[i].pid,
							.start_time = state->procs[i].start_time};
	for (uint32_t i = 0; i < state->n_helpers; i++)
		left[n++] = state->helpers[i];
	state_unlock(state);
	for (size_t i = 0; i < n; i++)
		stop_process(left[i].pid, left[i].start_time, SIGKILL);
}

static int remove_one(const char *path, const struct stat *st, int type, struct FTW *ftw)
{
	(void)remove(path);
	return 0;
}

void session_destroy(struct session *session)
{
	if (!session)
		return;
	if (session->state) {
		stop_written(session, "daemon.pid");
		stop_written(session, "supervisor.pid");
		stop_rest(session->state);
	}
	if (session->dir && !session->keep)
		(void)nftw(session->dir, remove_one, REMOVE_MAX_FDS, FTW_DEPTH | FTW_PHYS);
	free(session->dir);
	free(session->state_path);
	free(session);
}
