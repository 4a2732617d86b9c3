/*
 * See supervisor.h. Looking after what runs.
 *
 * Our own children are reaped with wait4, which gives their exit status and the peak of their
 * largest process. Adopted ones (started by a supervisor that was killed) are somebody else's
 * children: their pidfd says when they are over, and from kernel 6.15 on also how (PIDFD_GET_INFO);
 * before that, it is "lost", never guessed.
 *
 * An attempt is over when its session and its cgroup are empty: a process left behind may hold
 * VRAM. What is left when the leader ends gets SIGTERM, after 5 s SIGKILL, and after 10 s is given
 * up (a process in an uninterruptible sleep must not hold the queue). Looking through all of /proc
 * at every end would be dear: the group is asked for with one kill(), the cgroup by removing it.
 * Where there are no cgroups, orphans that went into a group of their own show up as our children,
 * because we are their subreaper; those in a session of their own get away.
 */
#include "host/process.h"
#include "run/spawn.h"
#include "run/supervisor.h"
#include "util/file.h"
#include "util/pidref.h"
#include "util/timestamp.h"

#include <assert.h>
#include <errno.h>
#include <signal.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#define ENDER_MS         100
#define KILL_AFTER_MS    5000
#define GIVE_UP_AFTER_MS 10000
#define REAP_WAIT_MS     5000
#define GROUPS_MAX       64
#define REAP_AT_ONCE     32
#define FILES_KEPT_FREE  512 /* a batch of starts, 64 connections, a few files */

/* linux/pidfd.h of 6.15; Debian 12's headers are older. */
struct pidfd_info_v0 {
	uint64_t mask, cgroup_id;
	uint32_t pid, tgid, ppid, ruid, rgid, euid, egid, suid, sgid, fsuid, fsgid;
	int32_t exit_code;
};
static_assert(sizeof(struct pidfd_info_v0) == 64, "the kernel knows it by its size");
#define PIDFD_GET_INFO_V0   _IOWR(0xFF, 11, struct pidfd_info_v0)
#define PIDFD_INFO_EXIT_BIT ((uint64_t)1 << 3)

struct attempt *watch_find_pid(const struct supervisor *supervisor, pid_t pid)
{
	char text[16];
	struct idtable_node *node;

	(void)snprintf(text, sizeof text, "%d", (int)pid);
	node = idtable_find(&supervisor->pids, text);
	return node ? IDTABLE_OF(node, struct attempt, by_pid) : NULL;
}

/* --- sessions and groups --- */

struct session_scan {
	const struct attempt *attempt;
	unsigned n;
	pid_t groups[GROUPS_MAX];
	size_t n_groups;
};

static int scan_process(const struct host_process *process, void *arg)
{
	struct session_scan *scan = arg;
	pid_t pid = scan->attempt->pid;

	if ((process->session != pid && process->pgrp != pid) || process->state == 'Z' ||
	    process->state == 'X')
		return 0;
	scan->n++;
	for (size_t i = 0; i < scan->n_groups; i++)
		if (scan->groups[i] == process->pgrp)
			return 0;
	if (scan->n_groups < GROUPS_MAX)
		scan->groups[scan->n_groups++] = process->pgrp;
	return 0;
}

/* Has the kernel given the pid of a leader that is gone to somebody else? */
static bool pid_reused(const struct attempt *attempt)
{
	uint64_t start_time;

	return attempt->start_time != 0 && pid_start_time(attempt->pid, &start_time) == 0 &&
	       start_time != attempt->start_time;
}

static void session_signal(struct attempt *attempt, bool ours, int signal,
			   struct session_scan *scan)
{
	/* Our child is not reaped yet, its pid is its own; before its setsid() it has no group. */
	if (ours && signal != 0 && kill(-attempt->pid, signal) < 0)
		(void)kill(attempt->pid, signal);
	/* It cannot be known who is there (no descriptors): somebody, until it can. */
	if (host_process_each(attempt->supervisor->host, scan_process, scan) < 0)
		scan->n++;
	for (size_t i = 0; i < scan->n_groups && signal != 0; i++)
		if (!ours || scan->groups[i] != attempt->pid)
			(void)kill(-scan->groups[i], signal);
}

unsigned watch_signal_session(struct attempt *attempt, int signal)
{
	struct session_scan scan = {.attempt = attempt};
	bool ours = !attempt->adopted && attempt->state != ATTEMPT_ENDING;
	bool reused = !ours && pid_reused(attempt);

	if (attempt->pid <= 0)
		return 0;
	if (!reused)
		session_signal(attempt, ours, signal, &scan);
	if (attempt->cgroup)
		scan.n += cgroup_signal_others(attempt->cgroup, reused ? 0 : attempt->pid, signal);
	/* Whoever has forked meanwhile as well. */
	if (attempt->cgroup && signal == SIGKILL)
		cgroup_kill(attempt->cgroup);
	return scan.n;
}

/* Is one of the orphans that came to us of this session? True when it cannot be known. */
static bool has_orphans(const struct attempt *attempt)
{
	auto_text struct text children = {};
	auto_free char *path = mem_printf("/proc/self/task/%d/children", (int)getpid());
	char *rest = NULL;

	if (file_read(path, (size_t)1 << 20, false, &children, NULL) < 0)
		return true;
	for (char *word = strtok_r(children.data, " ", &rest); word;
	     word = strtok_r(NULL, " ", &rest)) {
		pid_t pid = (pid_t)strtol(word, NULL, 10);
		struct host_process process;

		if (!watch_find_pid(attempt->supervisor, pid) &&
		    host_process_read(attempt->supervisor->host, pid, &process) == 0 &&
		    process.session == attempt->pid && process.state != 'Z')
			return true;
	}
	return false;
}

static void ender_tick(struct attempt *attempt)
{
	int64_t age = monotonic_now_ms() - attempt->ending_at;
	unsigned left = watch_signal_session(attempt, age > KILL_AFTER_MS ? SIGKILL : 0);

	if (left == 0 || age > GIVE_UP_AFTER_MS)
		supervisor_event(attempt->supervisor, attempt, ATTEMPT_GROUP_EMPTY);
}

static void on_ender(uv_timer_t *timer);

static void ender_start(struct supervisor *supervisor)
{
	if (!uv_is_active((uv_handle_t *)&supervisor->ender))
		(void)uv_timer_start(&supervisor->ender, on_ender, ENDER_MS, ENDER_MS);
}

/* What its cgroup has counted so far; it goes with the last of its processes. */
static void cgroup_read(struct attempt *attempt)
{
	uint64_t kills = 0;
	double cpu = 0;

	if (cgroup_cpu_seconds(attempt->cgroup, &cpu)) {
		attempt->cpu_seconds = MAX_OF(attempt->cpu_seconds, cpu);
		attempt->has_cpu = true;
	}
	if (cgroup_memory_peak(attempt->cgroup, &attempt->cgroup_peak_bytes))
		attempt->has_cgroup_peak = true;
	if (cgroup_oom_kills(attempt->cgroup, &kills)) {
		attempt->has_oom_base = true;
		attempt->oom_kills = kills;
	}
}

bool watch_remove_cgroup(struct attempt *attempt)
{
	if (!attempt->cgroup)
		return true;
	cgroup_read(attempt);
	if (!cgroup_remove(attempt->cgroup))
		return false;
	free(TAKE(attempt->cgroup));
	return true;
}

void watch_ending(struct attempt *attempt)
{
	/* Asking the kernel to remove its cgroup is the quickest way to learn that it is empty. */
	bool contained = attempt->cgroup != NULL;
	bool empty = watch_remove_cgroup(attempt) && kill(-attempt->pid, 0) < 0 && errno == ESRCH &&
		     (contained || !has_orphans(attempt));

	attempt->ending_at = monotonic_now_ms();
	if (attempt->ended_at == 0)
		attempt->ended_at = timestamp_now_ms();
	if (!empty)
		attempt->stragglers = watch_signal_session(attempt, SIGTERM);
	if (empty || attempt->stragglers == 0) {
		supervisor_event(attempt->supervisor, attempt, ATTEMPT_GROUP_EMPTY);
		return;
	}
	/* One that is stopped would sleep over its SIGTERM. */
	(void)watch_signal_session(attempt, SIGCONT);
	ender_start(attempt->supervisor);
}

/* How often the out-of-memory killer has struck by now, asked after its end. */
struct oom_count {
	bool known;
	uint64_t kills;
};

static struct oom_count oom_count_now(const struct supervisor *supervisor)
{
	struct oom_count count = {};

	count.known = host_oom_kills(supervisor->host, &count.kills) == 0;
	return count;
}

static void leader_over(struct attempt *attempt, const struct oom_count *oom)
{
	if (attempt->has_oom_base) {
		attempt->has_oom_base = oom->known;
		attempt->oom_kills =
		    oom->kills > attempt->oom_base ? oom->kills - attempt->oom_base : 0;
	}
	supervisor_event(attempt->supervisor, attempt, ATTEMPT_LEADER_OVER);
}

/* --- our children --- */

/* What came on the status pipe. */
static void read_status(struct attempt *attempt)
{
	struct spawn_failure failure;
	ssize_t n = read(attempt->watch_fd, &failure, sizeof failure);

	if (n < 0 && (errno == EAGAIN || errno == EINTR))
		return;
	if (n == (ssize_t)sizeof failure) {
		attempt->fail_errno = failure.code;
		attempt->fail_text = spawn_failure_text(attempt->request, &failure);
		attempt->fail_as_task = spawn_failure_is_of_task(attempt->request, &failure);
		attempt->fail_transient = spawn_log_folder_is_gone(attempt->request, &failure);
		supervisor_event(attempt->supervisor, attempt, ATTEMPT_EXEC_FAILED);
		return;
	}
	watch_forget(attempt);
	protocol_request_finish(attempt->request);
	free(TAKE(attempt->request));
	supervisor_event(attempt->supervisor, attempt, ATTEMPT_EXEC_DONE);
}

static void on_status(uv_poll_t *poll, int status, int events)
{
	(void)status;
	(void)events;
	if (poll->data)
		read_status(poll->data);
}

static void poll_start(struct attempt *attempt, uv_poll_cb callback)
{
	attempt->poll = mem_calloc(1, sizeof *attempt->poll);
	attempt->poll->data = attempt;
	(void)uv_poll_init(&attempt->supervisor->loop, attempt->poll, attempt->watch_fd);
	(void)uv_poll_start(attempt->poll, UV_READABLE | UV_DISCONNECT, callback);
	sample_start(attempt->supervisor);
}

void watch_child(struct attempt *attempt)
{
	poll_start(attempt, on_status);
}

static void on_poll_closed(uv_handle_t *handle)
{
	free(handle);
}

void watch_forget(struct attempt *attempt)
{
	uv_poll_t *poll = TAKE(attempt->poll);

	if (poll) {
		poll->data = NULL;
		(void)uv_poll_stop(poll);
		uv_close((uv_handle_t *)poll, on_poll_closed);
	}
	attempt->watch_fd = fd_close(attempt->watch_fd);
}

/* One that was waited for. */
struct reaped {
	struct attempt *attempt;
	int status;
	struct rusage usage;
};

static void child_over(const struct reaped *reaped, const struct oom_count *oom)
{
	struct attempt *attempt = reaped->attempt;
	const struct rusage *usage = &reaped->usage;
	uint64_t peak = (uint64_t)usage->ru_maxrss * 1024;
	double cpu = (double)(usage->ru_utime.tv_sec + usage->ru_stime.tv_sec) +
		     (double)(usage->ru_utime.tv_usec + usage->ru_stime.tv_usec) / 1e6;

	/* Its status pipe speaks first: it may have failed to start. */
	if (attempt->state == ATTEMPT_STARTING && attempt->watch_fd >= 0)
		read_status(attempt);
	if (attempt_is_over(attempt))
		return;
	attempt->wait_status = reaped->status;
	attempt->peak_ram_bytes = MAX_OF(attempt->peak_ram_bytes, peak);
	attempt->cpu_seconds = MAX_OF(attempt->cpu_seconds, cpu);
	attempt->has_peak_ram = attempt->has_cpu = true;
	leader_over(attempt, oom);
}

/* Some of those that have ended; 0 when there are no more. */
static size_t reap_some(struct supervisor *supervisor, struct reaped *items, size_t room)
{
	size_t n = 0;
	pid_t pid;

	while (n < room && (pid = wait4(-1, &items[n].status, WNOHANG, &items[n].usage)) > 0) {
		struct attempt *attempt = watch_find_pid(supervisor, pid);

		/* Else an orphan of a task, or a child whose start has failed. */
		if (attempt && !attempt->adopted && attempt->state != ATTEMPT_ENDING)
			items[n++].attempt = attempt;
	}
	return n;
}

/* Reap every child that has ended. */
static void watch_reap(struct supervisor *supervisor)
{
	struct reaped items[REAP_AT_ONCE];
	size_t n;

	/* The killer's count costs five files: asked once for all of them, when they have ended. */
	while ((n = reap_some(supervisor, items, ARRAY_LEN(items))) > 0) {
		struct oom_count oom = oom_count_now(supervisor);

		for (size_t i = 0; i < n; i++)
			child_over(&items[i], &oom);
	}
}

static void on_sigchld(uv_signal_t *handle, int signal)
{
	(void)signal;
	watch_reap(handle->data);
}

/* --- adopted ones --- */

/* How it ended: 0, -EAGAIN (nobody has reaped it yet) or another negative errno (not to be known
 * here). */
static int exit_status_get(int pidfd, int *ret_status)
{
	struct pidfd_info_v0 info = {.mask = PIDFD_INFO_EXIT_BIT};

	if (ioctl(pidfd, PIDFD_GET_INFO_V0, &info) < 0)
		return errno == ESRCH ? -EAGAIN : -errno;
	if (!(info.mask & PIDFD_INFO_EXIT_BIT))
		return -EAGAIN;
	*ret_status = info.exit_code;
	return 0;
}

static void adopted_over(struct attempt *attempt, bool lost, int status)
{
	struct oom_count oom = oom_count_now(attempt->supervisor);

	if (attempt->exit_pending)
		attempt->supervisor->n_ending--;
	attempt->exit_pending = false;
	attempt->lost = lost;
	attempt->wait_status = status;
	watch_forget(attempt);
	leader_over(attempt, &oom);
}

/* Its leader has ended; its parent, init, reaps it soon. */
static void adopted_check(struct attempt *attempt)
{
	int status = 0, r = exit_status_get(attempt->watch_fd, &status);

	/* Its exec may have failed, or the next gate was opened before it woke up. */
	if (r == 0 && attempt->at_the_gate && WIFEXITED(status) &&
	    WEXITSTATUS(status) == SPAWN_EXIT_NOT_STARTED)
		r = -ENODATA;
	if (r == -EAGAIN && monotonic_now_ms() - attempt->ending_at < REAP_WAIT_MS)
		return;
	adopted_over(attempt, r < 0, status);
}

static void on_pidfd(uv_poll_t *poll, int status, int events)
{
	struct attempt *attempt = poll->data;

	(void)status;
	(void)events;
	if (!attempt || attempt->exit_pending)
		return;
	(void)uv_poll_stop(poll);
	attempt->exit_pending = true;
	attempt->ended_at = timestamp_now_ms();
	attempt->ending_at = monotonic_now_ms();
	attempt->supervisor->n_ending++;
	ender_start(attempt->supervisor);
	adopted_check(attempt);
}

/* Descriptors that may be kept for following; the rest is for starts, connections and files. */
static rlim_t files_to_watch(const struct supervisor *supervisor)
{
	rlim_t all = supervisor->own_files.rlim_max;

	return all - MIN_OF(all / 2, (rlim_t)FILES_KEPT_FREE);
}

/* 0: its pidfd is watched. -ESRCH: it is over. Else (no descriptor left, a kernel before 5.3): it
 * lives, and has to be asked for. */
static int adopted_open(struct attempt *attempt)
{
	struct pidref ref = PIDREF_NONE;
	int r = attempt->start_time == 0 ? -ESRCH
					 : pidref_open(attempt->pid, attempt->start_time, &ref);

	/* Numbers are given out from below: this one says how many there are. */
	if (r == 0 && (rlim_t)ref.fd >= files_to_watch(attempt->supervisor)) {
		pidref_finish(&ref);
		return -EMFILE;
	}
	if (r == 0) {
		attempt->watch_fd = ref.fd;
		poll_start(attempt, on_pidfd);
		return 0;
	}
	/* /proc needs a descriptor, too: only what was seen to be gone is. */
	return r == -ESRCH || kill(attempt->pid, 0) < 0 ? -ESRCH : r;
}

void watch_adopted(struct attempt *attempt)
{
	struct host_process process;
	int r;

	attempt->has_oom_base = host_oom_kills(attempt->supervisor->host, &attempt->oom_base) == 0;
	attempt->at_the_gate =
	    host_process_read(attempt->supervisor->host, attempt->pid, &process) == 0 &&
	    process.start_time == attempt->start_time && strcmp(process.name, SPAWN_GATE_NAME) == 0;
	r = adopted_open(attempt);
	if (r == -ESRCH)
		adopted_over(attempt, true, 0);
	attempt->unwatched = r < 0 && r != -ESRCH;
	if (attempt->unwatched)
		sample_start(attempt->supervisor);
}

void watch_again(struct attempt *attempt)
{
	int r = adopted_open(attempt);

	attempt->unwatched = r < 0 && r != -ESRCH;
	if (r != -ESRCH)
		return;
	attempt->ended_at = timestamp_now_ms();
	adopted_over(attempt, true, 0);
}

/* --- timers --- */

static void on_ender(uv_timer_t *timer)
{
	struct supervisor *supervisor = timer->data;
	auto_free struct idtable_node **list = idtable_list(&supervisor->pids);

	/* Each is visited once and only its own visit can remove it from the table. */
	for (struct idtable_node **node = list; *node; node++) {
		struct attempt *attempt = IDTABLE_OF(*node, struct attempt, by_pid);

		if (attempt->exit_pending)
			adopted_check(attempt);
		else if (attempt->state == ATTEMPT_ENDING)
			ender_tick(attempt);
	}
	if (supervisor->n_ending == 0)
		(void)uv_timer_stop(timer);
}

int watch_init(struct supervisor *supervisor, struct error *err)
{
	int r = uv_signal_init(&supervisor->loop, &supervisor->sigchld);

	(void)uv_timer_init(&supervisor->loop, &supervisor->ender);
	supervisor->sigchld.data = supervisor->ender.data = supervisor;
	if (r == 0)
		r = uv_signal_start(&supervisor->sigchld, on_sigchld, SIGCHLD);
	return r < 0 ? error_sys(err, r, "cannot watch for SIGCHLD") : 0;
}
