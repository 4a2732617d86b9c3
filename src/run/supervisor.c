/*
 * See supervisor.h.
 *
 * A start goes: accepted (in the batch) -> forked, waiting at the gate -> its (pid, start time) is
 * durable in the journal -> let through (gate.h) -> exec. A crash of this process at any point
 * leaves no trace and no process (the gate closes, the child leaves), or a journal line that names
 * the process and its gate: when that was never opened, nothing ran and the daemon may start it
 * again. All starts that arrive in one turn of the loop share one gate and one fdatasync.
 *
 * An end is written to the journal without a sync (a crash of ours does not lose it; after a power
 * cut the attempt is "lost" unless the daemon has recorded it) and told to the daemon until it
 * acknowledges.
 */
#include "run/supervisor.h"

#include "run/log.h"
#include "run/spawn.h"
#include "util/cleanup.h"
#include "util/file.h"
#include "util/pidref.h"
#include "util/timestamp.h"

#include <errno.h>
#include <signal.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>

/* Children forked before the loop gets to see its other events: about 30 ms of forking. */
#define BATCH_MAX   128
#define MEMINFO_MAX ((size_t)64 << 10)
/* Forks in a row; each holds a descriptor of its cgroup. */
#define FORKS_AT_ONCE 16

static struct attempt *supervisor_find(const struct supervisor *supervisor, const char *id)
{
	struct idtable_node *node = idtable_find(&supervisor->attempts, id);

	return node ? IDTABLE_OF(node, struct attempt, by_id) : NULL;
}

/* A full disk: what was noted stays in memory and goes with the next commit, a start is refused,
 * and the file is written anew some other time. */
static void commit(struct supervisor *supervisor)
{
	int r = journal_commit(supervisor->journal, NULL);

	if (r == 0)
		r = journal_compact(supervisor->journal, &supervisor->attempts, NULL);
	supervisor->journal_failing = r < 0;
}

/* --- the states --- */

static void live_add(struct supervisor *supervisor, struct attempt *attempt)
{
	(void)snprintf(attempt->pid_text, sizeof attempt->pid_text, "%d", (int)attempt->pid);
	idtable_add(&supervisor->pids, &attempt->by_pid);
}

static void over(struct supervisor *supervisor, struct attempt *attempt)
{
	/* The last of it may have been written since the last sample. */
	if (attempt->log_path && attempt->log_cap_bytes > 0)
		(void)log_trim(attempt->log_path, attempt->log_cap_bytes, attempt->log_owner);
	watch_forget(attempt);
	if (!watch_remove_cgroup(attempt))
		supervisor->cgroups.swept = false;
	if (attempt->pid > 0)
		idtable_remove(&supervisor->pids, &attempt->by_pid);
	supervisor->n_live--;
	journal_note_end(supervisor->journal, attempt);
	conn_broadcast(supervisor, attempt_event(attempt));
	supervisor_settle(supervisor);
}

void supervisor_event(struct supervisor *supervisor, struct attempt *attempt,
		      enum attempt_event event)
{
	int next = attempt_next_state(attempt->state, event);

	if (next < 0)
		return;
	/* Everybody hears `started` before `ended`, even of what ended before exec was seen. */
	if (attempt->state == ATTEMPT_STARTING && next == ATTEMPT_ENDING)
		supervisor_event(supervisor, attempt, ATTEMPT_EXEC_DONE);
	if (attempt->state == ATTEMPT_ENDING)
		supervisor->n_ending--;
	attempt->state = (enum attempt_state)next;
	switch (attempt->state) {
	case ATTEMPT_RUNNING:
		conn_broadcast(supervisor, attempt_event(attempt));
		break;
	case ATTEMPT_ENDING:
		supervisor->n_ending++;
		watch_ending(attempt);
		break;
	case ATTEMPT_FAILED:
		attempt->ended_at = timestamp_now_ms();
		over(supervisor, attempt);
		break;
	case ATTEMPT_ENDED:
		over(supervisor, attempt);
		break;
	case ATTEMPT_STARTING:
	case ATTEMPT_N_STATES:
		break;
	}
}

static void fail(struct supervisor *supervisor, struct attempt *attempt, int code, const char *text)
{
	attempt->fail_errno = -code;
	free(attempt->fail_text);
	attempt->fail_text = mem_strdup(text);
	supervisor_event(supervisor, attempt, ATTEMPT_EXEC_FAILED);
}

/* --- starting --- */

int supervisor_start(struct supervisor *supervisor, struct protocol_request *request,
		     struct attempt **ret_known, struct error *err)
{
	struct attempt *attempt = supervisor_find(supervisor, request->attempt);

	*ret_known = attempt;
	if (attempt)
		return 0;
	if (supervisor->attempts.n >= SUPERVISOR_ATTEMPTS_MAX)
		return error_set(err, -ENOSPC,
				 "%d attempts are known already: acknowledge those that ended",
				 SUPERVISOR_ATTEMPTS_MAX);
	attempt = attempt_create(request->attempt);
	attempt->supervisor = supervisor;
	attempt->log_cap_bytes = request->log_cap_bytes;
	attempt->log_path = request->log_path ? mem_strdup(request->log_path) : NULL;
	if (request->has_user)
		attempt->log_owner = request->user.uid;
	attempt->request = mem_alloc(sizeof *request);
	*attempt->request = *request;
	*request = (struct protocol_request){};
	idtable_add(&supervisor->attempts, &attempt->by_id);
	supervisor->n_live++;
	ARRAY_GROW(supervisor->batch.items, supervisor->batch.n, supervisor->batch.room);
	supervisor->batch.items[supervisor->batch.n++] = attempt;
	supervisor_settle(supervisor);
	return 0;
}

/* One on its way to the gate. */
struct fork {
	struct attempt *attempt;
	int cgroup_fd, code;
	struct spawned spawned;
};

/* Before anything of it runs. Swap comes and goes: it is asked for each time there is a bound. */
static void bound(struct attempt *attempt)
{
	const struct bound *bound = &attempt->request->bound;
	auto_text struct text words = {}, meminfo = {};

	if (bound->ram_bytes == 0 && bound->n_gpus == 0)
		return;
	(void)!file_read("/proc/meminfo", MEMINFO_MAX, false, &meminfo, NULL);
	bound_apply(attempt->cgroup, bound, bound_has_swap(meminfo.data ? meminfo.data : ""),
		    &words);
	if (words.len > 0)
		attempt->bounds = text_take(&words);
}

/* In a cgroup of its own where that can be had: a task is not refused for want of one. */
static void fork_prepare(struct supervisor *supervisor, struct attempt *attempt, struct fork *fork)
{
	*fork = (struct fork){.attempt = attempt, .cgroup_fd = -1};
	if (cgroups_add(&supervisor->cgroups, attempt->id, &attempt->cgroup, &fork->cgroup_fd) < 0)
		fork->cgroup_fd = -1;
	else
		bound(attempt);
}

static void fork_child(const struct supervisor *supervisor, const struct gate *gate,
		       struct fork *fork)
{
	struct spawn spawn = {.request = fork->attempt->request,
			      .gate = gate,
			      .cgroup_fd = fork->cgroup_fd,
			      .private_dir = supervisor->state_dir,
			      .own_files = &supervisor->own_files};

	fork->code = spawn_child(&spawn, &fork->spawned);
}

/* What the fork has brought, into the attempt. */
static int fork_finish(struct supervisor *supervisor, struct fork *fork)
{
	struct attempt *attempt = fork->attempt;
	const struct spawned *spawned = &fork->spawned;
	int r;

	(void)fd_close(fork->cgroup_fd);
	if (attempt->cgroup && (fork->code < 0 || spawned->cgroup_code != 0)) {
		(void)cgroup_remove(attempt->cgroup);
		free(TAKE(attempt->cgroup));
		free(TAKE(attempt->bounds));
	}
	if (fork->code < 0)
		return fork->code;
	/* The kernel would refuse the next one, too; unless the folder was swept from under us. */
	if (spawned->cgroup_code != 0 && spawned->cgroup_code != ENODEV)
		cgroups_finish(&supervisor->cgroups);
	attempt->pid = spawned->pid;
	attempt->watch_fd = spawned->status_fd;
	/* It waits at the gate and we have not waited for it: its entry in /proc is there. */
	r = pid_start_time(attempt->pid, &attempt->start_time);
	if (r < 0) {
		/* No descriptor left to read it with. The gate is not open: nothing ran. */
		(void)kill(attempt->pid, SIGKILL);
		attempt->pid = 0;
	}
	return r;
}

static const char *fork_advice(int code)
{
	if (code == EAGAIN)
		return " (the limit of processes, ulimit -u or pids.max, is reached); it is tried "
		       "again";
	if (code == EMFILE || code == ENFILE)
		return " (the limit of open files, ulimit -n or fs.file-max, is reached); it is "
		       "tried again";
	return "";
}

/* A child at the gate, or the attempt has failed. */
static bool fork_settle(struct supervisor *supervisor, struct fork *fork)
{
	int r = fork_finish(supervisor, fork);

	if (r < 0) {
		auto_free char *text =
		    mem_printf("cannot start a process: %s%s", strerror(-r), fork_advice(-r));

		fail(supervisor, fork->attempt, r, text);
		return false;
	}
	fork->attempt->started_at = timestamp_now_ms();
	live_add(supervisor, fork->attempt);
	return true;
}

/* Those that are at the gate then are added to `forked`. What is done for each is done before and
 * after all forks: a fork makes every page of ours one that is copied when it is next written. */
static void batch_fork(struct supervisor *supervisor, struct attempt *const *items, size_t n,
		       const struct gate *gate, struct attempt **forked, size_t *n_forked)
{
	struct fork forks[FORKS_AT_ONCE];

	for (size_t i = 0; i < n; i++)
		fork_prepare(supervisor, items[i], &forks[i]);
	for (size_t i = 0; i < n; i++)
		fork_child(supervisor, gate, &forks[i]);
	for (size_t i = 0; i < n; i++)
		if (fork_settle(supervisor, &forks[i]))
			forked[(*n_forked)++] = items[i];
}

static void batch_run(struct supervisor *supervisor, struct attempt **items, size_t n)
{
	auto_free struct attempt **forked = mem_calloc(n, sizeof(struct attempt *));
	struct error err = {};
	struct gate gate;
	uint64_t oom_base = 0;
	bool has_oom_base = host_oom_kills(supervisor->host, &oom_base) == 0;
	size_t n_forked = 0;
	int r = gate_create(&supervisor->gates, &gate, &err);

	if (r < 0) {
		for (size_t i = 0; i < n; i++)
			fail(supervisor, items[i], r, err.text);
		return;
	}
	for (size_t i = 0; i < n; i++) {
		items[i]->has_oom_base = has_oom_base;
		items[i]->oom_base = oom_base;
		items[i]->gate = gate.number;
	}
	for (size_t at = 0; at < n; at += FORKS_AT_ONCE)
		batch_fork(supervisor, items + at, MIN_OF(n - at, (size_t)FORKS_AT_ONCE), &gate,
			   forked, &n_forked);
	r = journal_commit_starts(supervisor->journal, forked, n_forked, &err);
	if (r == 0 && n_forked > 0)
		r = gate_open(&supervisor->gates, &gate, n_forked, &err);
	gate_close(&gate);
	for (size_t i = 0; i < n_forked; i++) {
		if (r < 0)
			fail(supervisor, forked[i], r, error_text(&err));
		else
			watch_child(forked[i]);
	}
}

static void on_check(uv_check_t *handle)
{
	struct supervisor *supervisor = handle->data;
	size_t n = MIN_OF(supervisor->batch.n, (size_t)BATCH_MAX);
	struct attempt *items[BATCH_MAX];

	if (n == 0) {
		(void)uv_idle_stop(&supervisor->again);
		return;
	}
	memcpy(items, supervisor->batch.items, n * sizeof *items);
	supervisor->batch.n -= n;
	memmove(supervisor->batch.items, supervisor->batch.items + n,
		supervisor->batch.n * sizeof *items);
	batch_run(supervisor, items, n);
}

static void on_again(uv_idle_t *handle)
{
	(void)handle;
}

/* --- signals and acknowledgements --- */

static bool batch_remove(struct supervisor *supervisor, const struct attempt *attempt)
{
	for (size_t i = 0; i < supervisor->batch.n; i++) {
		if (supervisor->batch.items[i] != attempt)
			continue;
		supervisor->batch.n--;
		memmove(supervisor->batch.items + i, supervisor->batch.items + i + 1,
			(supervisor->batch.n - i) * sizeof *supervisor->batch.items);
		return true;
	}
	return false;
}

void supervisor_signal(struct supervisor *supervisor, const char *id, int signal)
{
	struct attempt *attempt = supervisor_find(supervisor, id);

	if (!attempt || attempt_is_over(attempt))
		return;
	if (batch_remove(supervisor, attempt)) {
		fail(supervisor, attempt, -ECANCELED, "canceled before it was started");
		return;
	}
	(void)watch_signal_session(attempt, signal);
	if (signal == SIGTERM || signal == SIGHUP)
		(void)watch_signal_session(attempt, SIGCONT);
}

static void attempt_remove(struct supervisor *supervisor, struct attempt *attempt)
{
	idtable_remove(&supervisor->attempts, &attempt->by_id);
	attempt_destroy(attempt);
}

void supervisor_ack(struct supervisor *supervisor, const char *id)
{
	struct attempt *attempt = supervisor_find(supervisor, id);

	if (!attempt || !attempt_is_over(attempt))
		return;
	journal_note_ack(supervisor->journal, attempt);
	attempt_remove(supervisor, attempt);
	supervisor_settle(supervisor);
}

/* --- coming and going --- */

static void on_idle(uv_timer_t *timer)
{
	uv_stop(timer->loop);
}

void supervisor_settle(struct supervisor *supervisor)
{
	bool idle = supervisor->n_conns == 0 && supervisor->n_live == 0;

	if (supervisor->quitting && supervisor->attempts.n == 0)
		uv_stop(&supervisor->loop);
	if (idle && supervisor->idle_ms > 0)
		(void)uv_timer_start(&supervisor->idle, on_idle, supervisor->idle_ms, 0);
	else
		(void)uv_timer_stop(&supervisor->idle);
	if (supervisor->batch.n > 0)
		(void)uv_idle_start(&supervisor->again, on_again);
}

static void on_prepare(uv_prepare_t *handle)
{
	struct supervisor *supervisor = handle->data;

	commit(supervisor);
	conn_flush(supervisor);
}

static void on_leave_signal(uv_signal_t *handle, int signal)
{
	(void)signal;
	/* What runs goes on running: the next supervisor finds it in the journal. */
	uv_stop(handle->loop);
}

/* What a supervisor before us was killed over, between fork and gate: it never ran, whether or not
 * its process is still on its way out. */
static int gates_settle(struct supervisor *supervisor, struct error *err)
{
	auto_free struct idtable_node **list = idtable_list(&supervisor->attempts);
	int r;

	for (struct idtable_node **node = list; *node; node++) {
		struct attempt *attempt = IDTABLE_OF(*node, struct attempt, by_id);

		if (attempt_is_over(attempt) ||
		    !gates_never_opened(&supervisor->gates, attempt->gate))
			continue;
		attempt->state = ATTEMPT_FAILED;
		attempt->ended_at = timestamp_now_ms();
		attempt->never_ran = true;
		attempt->fail_errno = EINTR;
		attempt->fail_text =
		    mem_strdup("its supervisor was killed before the command could run");
		journal_note_end(supervisor->journal, attempt);
	}
	r = journal_commit(supervisor->journal, err);
	return r < 0 ? r
		     : gates_begin(&supervisor->gates, journal_last_gate(supervisor->journal), err);
}

static void adopt_all(struct supervisor *supervisor)
{
	auto_free struct idtable_node **list = idtable_list(&supervisor->attempts);

	for (struct idtable_node **node = list; *node; node++) {
		struct attempt *attempt = IDTABLE_OF(*node, struct attempt, by_id);

		attempt->supervisor = supervisor;
		if (attempt_is_over(attempt))
			continue;
		supervisor->n_live++;
		live_add(supervisor, attempt);
		watch_adopted(attempt);
	}
}

static void loop_init(struct supervisor *supervisor)
{
	struct {
		uv_signal_t *handle;
		int signal;
	} signals[] = {
	    {&supervisor->sigterm, SIGTERM},
	    {&supervisor->sigint, SIGINT},
	    {&supervisor->sighup, SIGHUP},
	};

	(void)uv_loop_init(&supervisor->loop);
	(void)uv_check_init(&supervisor->loop, &supervisor->check);
	(void)uv_idle_init(&supervisor->loop, &supervisor->again);
	(void)uv_prepare_init(&supervisor->loop, &supervisor->flush);
	(void)uv_timer_init(&supervisor->loop, &supervisor->idle);
	supervisor->check.data = supervisor->flush.data = supervisor;
	(void)uv_check_start(&supervisor->check, on_check);
	(void)uv_prepare_start(&supervisor->flush, on_prepare);
	for (size_t i = 0; i < ARRAY_LEN(signals); i++) {
		(void)uv_signal_init(&supervisor->loop, signals[i].handle);
		(void)uv_signal_start(signals[i].handle, on_leave_signal, signals[i].signal);
	}
	(void)signal(SIGPIPE, SIG_IGN);
}

/* An attempt costs us a descriptor on its way and an adopted one for as long as it lives; the usual
 * 1024 are meant for programs with select(), the tasks get them back. */
static void files_raise(struct rlimit *ret_own)
{
	struct rlimit all;

	(void)getrlimit(RLIMIT_NOFILE, ret_own);
	all = *ret_own;
	all.rlim_cur = all.rlim_max;
	(void)setrlimit(RLIMIT_NOFILE, &all);
}

int supervisor_init(struct supervisor *supervisor, const struct supervisor_setup *setup,
		    struct strings *ret_warnings, struct error *err)
{
	int r;

	*supervisor = (struct supervisor){.idle_ms = setup->idle_ms,
					  .state_dir = mem_strdup(setup->state_dir)};
	/* Orphans of a task come to us and not to init: they can be reaped and counted. */
	(void)prctl(PR_SET_CHILD_SUBREAPER, 1);
	files_raise(&supervisor->own_files);
	loop_init(supervisor);
	r = host_open(NULL, NULL, &supervisor->host, err);
	if (r == 0)
		r = journal_open(setup->journal_path, &supervisor->attempts, &supervisor->journal,
				 ret_warnings, err);
	if (r == 0)
		r = gates_init(&supervisor->gates, setup->gates_path, err);
	supervisor->records_lost =
	    r == 0 && journal_is_incomplete(supervisor->journal, supervisor->gates.opened);
	if (r == 0)
		r = gates_settle(supervisor, err);
	sample_init(supervisor);
	if (r == 0)
		r = watch_init(supervisor, err);
	if (r == 0)
		r = conn_listen(supervisor, setup->listen_fd, err);
	if (r < 0)
		return r;
	cgroups_init(&supervisor->cgroups, supervisor->state_dir);
	adopt_all(supervisor);
	supervisor_settle(supervisor);
	return 0;
}

void supervisor_run(struct supervisor *supervisor)
{
	(void)uv_run(&supervisor->loop, UV_RUN_DEFAULT);
	commit(supervisor);
	conn_flush(supervisor);
}

static void on_walk_close(uv_handle_t *handle, void *arg)
{
	(void)arg;
	if (!uv_is_closing(handle))
		uv_close(handle, NULL);
}

void supervisor_finish(struct supervisor *supervisor)
{
	auto_free struct idtable_node **list = idtable_list(&supervisor->attempts);

	conn_close_all(supervisor);
	for (struct idtable_node **node = list; *node; node++)
		watch_forget(IDTABLE_OF(*node, struct attempt, by_id));
	(void)uv_run(&supervisor->loop, UV_RUN_NOWAIT);
	uv_walk(&supervisor->loop, on_walk_close, NULL);
	(void)uv_run(&supervisor->loop, UV_RUN_DEFAULT);
	(void)uv_loop_close(&supervisor->loop);
	for (struct idtable_node **node = list; *node; node++)
		attempt_destroy(IDTABLE_OF(*node, struct attempt, by_id));
	idtable_finish(&supervisor->attempts);
	idtable_finish(&supervisor->pids);
	free(supervisor->batch.items);
	free(supervisor->state_dir);
	journal_close(supervisor->journal);
	gates_finish(&supervisor->gates);
	host_close(supervisor->host);
	cgroups_finish(&supervisor->cgroups);
}
