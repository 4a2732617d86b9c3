/*
 * See state.h. The file is one struct sim_state. Taking the lock runs three steps in order:
 * processes that died are dropped, the events of the timeline that are due happen one after the
 * other, and between two of them every working task is credited what its GPU gave it (processor
 * sharing: a rate is constant between events, so the sum is exact however rarely anybody looks). A
 * process that dies with the lock held leaves at worst its own slot half written; the next owner
 * makes the mutex consistent and the reaping removes the slot.
 */
#include "sim/state.h"

#include "sim/timeline.h"
#include "util/file.h"
#include "util/pidref.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/futex.h>
#include <signal.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#define REAP_INTERVAL_NS                                                         \
	1000000 /* between two looks into /proc; kill(pid, 0) is asked each time \
		 */

static int64_t monotonic_ns(void)
{
	struct timespec now;

	(void)clock_gettime(CLOCK_MONOTONIC, &now);
	return now.tv_sec * SIM_NS_PER_S + now.tv_nsec;
}

static int mutex_init(pthread_mutex_t *mutex)
{
	pthread_mutexattr_t attr;
	int r = pthread_mutexattr_init(&attr);

	if (r != 0)
		return -r;
	r = pthread_mutexattr_setpshared(&attr, PTHREAD_PROCESS_SHARED);
	if (r == 0)
		r = pthread_mutexattr_setrobust(&attr, PTHREAD_MUTEX_ROBUST);
	if (r == 0)
		r = pthread_mutex_init(mutex, &attr);
	(void)pthread_mutexattr_destroy(&attr);
	return -r;
}

int state_create(const char *path, struct sim_state *image, struct error *err)
{
	auto_close int fd = open(path, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
	struct sim_state *state;
	int r;

	if (fd < 0)
		return error_sys(err, -errno, "cannot create %s", path);
	image->layout = SIM_LAYOUT;
	image->size = sizeof *image;
	image->start_ns = monotonic_ns();
	r = fd_write_all(fd, image, sizeof *image);
	if (r < 0)
		return error_sys(err, r, "cannot write %s", path);
	state = mmap(NULL, sizeof *state, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	if (state == MAP_FAILED)
		return error_sys(err, -errno, "cannot map %s", path);
	r = mutex_init(&state->mutex);
	if (r == 0)
		state->magic = SIM_MAGIC; /* last: from here on it may be opened */
	(void)munmap(state, sizeof *state);
	return r == 0 ? 0 : error_sys(err, r, "cannot set up the mutex of %s", path);
}

int state_open(const char *path, struct sim_state **ret_state, struct error *err)
{
	auto_close int fd = open(path, O_RDWR | O_CLOEXEC);
	struct sim_state *state;
	struct stat st;

	if (fd < 0)
		return error_sys(err, -errno, "cannot open the simulation %s", path);
	if (fstat(fd, &st) < 0)
		return error_sys(err, -errno, "cannot stat %s", path);
	if (!S_ISREG(st.st_mode) || st.st_size != (off_t)sizeof *state)
		return error_set(err, -EPROTO,
				 "%s is not the state of a simulation of this version", path);
	state = mmap(NULL, sizeof *state, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	if (state == MAP_FAILED)
		return error_sys(err, -errno, "cannot map %s", path);
	if (state->magic != SIM_MAGIC || state->layout != SIM_LAYOUT ||
	    state->size != sizeof *state) {
		(void)munmap(state, sizeof *state);
		return error_set(err, -EPROTO,
				 "%s is not the state of a simulation of this version", path);
	}
	*ret_state = state;
	return 0;
}

int state_open_environment(struct sim_state **ret_state, struct error *err)
{
	const char *path = getenv(SIM_STATE_ENV);

	if (!path || !*path)
		return error_set(err, -ENOENT,
				 "not inside a simulation ($" SIM_STATE_ENV
				 " is not set): run it under `plimsoll sim -- …`");
	return state_open(path, ret_state, err);
}

static int64_t to_sim_ns(const struct sim_state *state, int64_t monotonic)
{
	return (int64_t)((double)(monotonic - state->start_ns) / state->time_scale);
}

int64_t state_now_ns(const struct sim_state *state)
{
	return to_sim_ns(state, monotonic_ns());
}

void state_notify(struct sim_state *state)
{
	(void)__atomic_add_fetch(&state->generation, 1, __ATOMIC_RELEASE);
	(void)syscall(SYS_futex, &state->generation, FUTEX_WAKE, INT_MAX, NULL, NULL, 0);
}

void state_wait(struct sim_state *state, uint32_t generation, int64_t wall_ns)
{
	struct timespec timeout = {.tv_sec = wall_ns / SIM_NS_PER_S,
				   .tv_nsec = wall_ns % SIM_NS_PER_S};

	if (wall_ns > 0)
		(void)syscall(SYS_futex, &state->generation, FUTEX_WAIT, generation, &timeout, NULL,
			      0);
}

/* Credit the working tasks and the meters with the time from advanced_ns to `to_ns`. */
static void credit(struct sim_state *state, int64_t to_ns)
{
	double seconds = (double)(to_ns - state->advanced_ns) / SIM_NS_PER_S;

	if (to_ns <= state->advanced_ns)
		return;
	for (uint32_t i = 0; i < state->procs_end; i++) {
		struct sim_proc *proc = &state->procs[i];

		if (proc->pid == 0 || proc->percent == 0)
			continue;
		proc->active_ns = to_ns;
		if (proc->working)
			proc->done_s += seconds * state_rate(state, proc->gpu, proc->mig);
	}
	for (uint32_t i = 0; i < state->n_gpus; i++)
		state->gpus[i].energy_mj +=
		    (int64_t)(seconds * timeline_power_mw(state, &state->gpus[i]));
	state->advanced_ns = to_ns;
}

/* The next time at which something happens by itself, at or before `until_ns`. */
static int64_t next_change_ns(const struct sim_state *state, int64_t until_ns)
{
	if (state->next_event < state->n_events)
		until_ns = MIN_OF(until_ns, state->events[state->next_event].at_ns);
	for (uint32_t i = 0; i < state->procs_end; i++)
		if (state->procs[i].pid != 0)
			until_ns = MIN_OF(until_ns, state->procs[i].ends_ns);
	return until_ns;
}

static void advance(struct sim_state *state)
{
	int64_t now_ns = state_now_ns(state);

	for (;;) {
		int64_t at_ns = next_change_ns(state, now_ns);

		credit(state, at_ns);
		for (uint32_t i = 0; i < state->procs_end; i++)
			if (state->procs[i].pid != 0 && state->procs[i].ends_ns <= at_ns)
				state_detach(state, &state->procs[i]);
		if (state->next_event >= state->n_events ||
		    state->events[state->next_event].at_ns > at_ns) {
			if (at_ns >= now_ns)
				return;
			continue;
		}
		timeline_happen(state, &state->events[state->next_event++]);
		state_notify(state);
	}
}

/* Drop the processes that are no more. */
static void reap(struct sim_state *state)
{
	int64_t now_ns = monotonic_ns();
	bool look = now_ns - state->reaped_ns >= REAP_INTERVAL_NS;

	for (uint32_t i = 0; i < state->procs_end; i++) {
		struct sim_proc *proc = &state->procs[i];

		if (proc->pid == 0 || proc->fixed)
			continue;
		if ((kill(proc->pid, 0) < 0 && errno == ESRCH) ||
		    (look && !pid_is_alive(proc->pid, proc->start_time)))
			state_detach(state, proc);
	}
	if (look)
		state->reaped_ns = now_ns;
}

void state_lock(struct sim_state *state)
{
	if (pthread_mutex_lock(&state->mutex) == EOWNERDEAD)
		(void)pthread_mutex_consistent(&state->mutex);
	reap(state);
	advance(state);
}

void state_unlock(struct sim_state *state)
{
	(void)pthread_mutex_unlock(&state->mutex);
}

static bool is_on(const struct sim_proc *proc, int gpu, int mig)
{
	return proc->pid != 0 && proc->gpu == gpu && (mig < 0 || proc->mig == mig);
}

uint64_t state_used_bytes(const struct sim_state *state, int gpu, int mig)
{
	uint64_t used = mig < 0 ? state->gpus[gpu].other_bytes : 0;

	for (uint32_t i = 0; i < state->procs_end; i++)
		if (is_on(&state->procs[i], gpu, mig))
			used += state->procs[i].used_bytes;
	return used;
}

uint64_t state_free_bytes(const struct sim_state *state, int gpu, int mig)
{
	const struct sim_gpu *device = &state->gpus[gpu];
	uint64_t total =
	    mig < 0 ? device->total_bytes - device->reserved_bytes : device->migs[mig].total_bytes;
	uint64_t used = state_used_bytes(state, gpu, mig);

	return used < total ? total - used : 0;
}

uint32_t state_load_percent(const struct sim_state *state, int gpu, int mig)
{
	uint32_t load = mig < 0 ? state->gpus[gpu].other_percent : 0;

	for (uint32_t i = 0; i < state->procs_end; i++)
		if (is_on(&state->procs[i], gpu, mig))
			load += state->procs[i].percent;
	return load;
}

double state_rate(const struct sim_state *state, int gpu, int mig)
{
	const struct sim_gpu *device = &state->gpus[gpu];
	uint32_t load = state_load_percent(state, gpu, mig);
	double speed = device->speed * device->throttle;

	/* An instance has its own share of the processors, in the proportion of its slices. */
	if (mig >= 0 && device->multiprocessors > 0)
		speed *= (double)device->migs[mig].multiprocessors / device->multiprocessors;
	return load > 100 ? speed * 100.0 / load : speed;
}

struct sim_proc *state_attach(struct sim_state *state, pid_t pid, uint64_t start_time, int gpu,
			      int mig)
{
	for (uint32_t i = 0; i < SIM_PROCS_MAX; i++) {
		struct sim_proc *proc = &state->procs[i];

		if (proc->pid != 0)
			continue;
		*proc = (struct sim_proc){.start_time = start_time,
					  .gpu = gpu,
					  .mig = mig,
					  .kind = SIM_KIND_COMPUTE,
					  .ends_ns = SIM_TIME_NEVER,
					  .active_ns = -1};
		proc->pid = pid;
		state->procs_end = MAX_OF(state->procs_end, i + 1);
		state->gpus[gpu].tasks_started++;
		state_notify(state);
		return proc;
	}
	return NULL;
}

int state_resize(struct sim_state *state, struct sim_proc *proc, uint64_t bytes)
{
	struct sim_gpu *gpu = &state->gpus[proc->gpu];
	uint64_t used;

	if (bytes > proc->used_bytes) {
		uint64_t more = bytes - proc->used_bytes;

		if (more > state_free_bytes(state, proc->gpu, proc->mig) ||
		    more > state_free_bytes(state, proc->gpu, -1)) {
			gpu->oom_count++;
			return -ENOMEM;
		}
	}
	proc->used_bytes = bytes;
	used = state_used_bytes(state, proc->gpu, -1);
	if (used > gpu->peak_used_bytes) {
		gpu->peak_used_bytes = used;
		gpu->peak_at_ns = state->advanced_ns;
	}
	return 0;
}

void state_detach(struct sim_state *state, struct sim_proc *proc)
{
	*proc = (struct sim_proc){.pid = 0};
	while (state->procs_end > 0 && state->procs[state->procs_end - 1].pid == 0)
		state->procs_end--;
	state_notify(state);
}

int state_add_event(struct sim_state *state, const struct sim_event *event)
{
	uint32_t i;

	if (state->n_events == SIM_EVENTS_MAX && state->next_event > 0) {
		/* What has happened is no longer needed. */
		memmove(state->events, state->events + state->next_event,
			(state->n_events - state->next_event) * sizeof state->events[0]);
		state->n_events -= state->next_event;
		state->next_event = 0;
	}
	if (state->n_events == SIM_EVENTS_MAX)
		return -ENOSPC;
	for (i = state->n_events;
	     i > state->next_event && state->events[i - 1].at_ns > event->at_ns; i--)
		state->events[i] = state->events[i - 1];
	state->events[i] = *event;
	state->n_events++;
	return 0;
}
