/*
 * There are as many leaders as tasks run at once, and few processes on GPUs: both are walked, no
 * index is kept. Each owner is asked of /proc once a sample, and remembered until the next: whoever
 * is shown the sample sees the owners its sums were made with. That memory also knows a process of
 * a task that has ended, which the driver still lists: it is gone, and nobody's.
 */
#include "daemon/usage.h"

#include "host/process.h"
#include "util/pidref.h"

#include <string.h>

#define ANCESTORS_MAX 64

struct leader {
	uint64_t task;
	pid_t pid;
	uint64_t start_time;
};

/* A process of ours in the last sample. */
struct seen {
	pid_t pid;
	uint64_t start_time;
	uint64_t task; /* USAGE_GONE: it is no more */
};

struct usage {
	struct daemon *daemon;
	struct leader *leaders;
	size_t n, room;
	struct seen *seen, *before; /* of the last sample, and of the one before */
	size_t n_seen, room_seen, n_before;
};

/* One process of the sample, with its owner. */
struct owned {
	const struct gpu_process *process;
	uint64_t task;
};

struct usage *usage_create(struct daemon *daemon)
{
	struct usage *usage = mem_calloc(1, sizeof *usage);

	usage->daemon = daemon;
	return usage;
}

void usage_destroy(struct usage *usage)
{
	if (!usage)
		return;
	free(usage->leaders);
	free(usage->seen);
	free(usage->before);
	free(usage);
}

void usage_set_leader(struct usage *usage, uint64_t task, pid_t pid, uint64_t start_time)
{
	usage_remove(usage, task);
	ARRAY_GROW(usage->leaders, usage->n, usage->room);
	usage->leaders[usage->n++] =
	    (struct leader){.task = task, .pid = pid, .start_time = start_time};
}

void usage_remove(struct usage *usage, uint64_t task)
{
	for (size_t i = 0; i < usage->n; i++)
		if (usage->leaders[i].task == task) {
			usage->leaders[i] = usage->leaders[--usage->n];
			return;
		}
}

static const struct leader *leader_find(const struct usage *usage, pid_t pid)
{
	for (size_t i = 0; pid > 0 && i < usage->n; i++)
		if (usage->leaders[i].pid == pid)
			return &usage->leaders[i];
	return NULL;
}

static uint64_t owner_ask(const struct usage *usage, pid_t pid)
{
	for (int depth = 0; usage->n > 0 && pid > 1 && depth < ANCESTORS_MAX; depth++) {
		const struct leader *leader;
		struct host_process process;

		if (host_process_read(usage->daemon->host, pid, &process) < 0)
			return 0;
		leader = leader_find(usage, process.session);
		if (!leader)
			leader = leader_find(usage, process.pgrp);
		/* Who started before the leader has its number from an earlier process. */
		if (leader && process.start_time >= leader->start_time)
			return leader->task;
		pid = process.ppid;
	}
	return 0;
}

static const struct seen *seen_find(const struct seen *seen, size_t n,
				    const struct gpu_process *process)
{
	for (size_t i = 0; i < n; i++)
		if (seen[i].pid == process->pid &&
		    (process->start_time == 0 || seen[i].start_time == 0 ||
		     seen[i].start_time == process->start_time))
			return &seen[i];
	return NULL;
}

/* It was ours in the sample before and is no more: its task has ended, or it alone. */
static bool is_gone(const struct usage *usage, const struct gpu_process *process)
{
	const struct seen *seen = seen_find(usage->before, usage->n_before, process);
	struct host_process now;

	return seen &&
	       (host_process_read(usage->daemon->host, process->pid, &now) < 0 ||
		now.state == 'Z' || (seen->start_time != 0 && now.start_time != seen->start_time));
}

/* Asked once per process of a new sample. */
static uint64_t owner_note(struct usage *usage, const struct gpu_process *process)
{
	uint64_t task = owner_ask(usage, process->pid), start_time = process->start_time;

	if (task == 0 && is_gone(usage, process))
		task = USAGE_GONE;
	if (task == 0)
		return 0;
	if (start_time == 0 && pid_start_time(process->pid, &start_time) < 0)
		start_time = 0; /* any */
	ARRAY_GROW(usage->seen, usage->n_seen, usage->room_seen);
	usage->seen[usage->n_seen++] =
	    (struct seen){.pid = process->pid, .start_time = start_time, .task = task};
	return task;
}

uint64_t usage_owner(const struct usage *usage, const struct gpu_process *process)
{
	const struct seen *seen = seen_find(usage->seen, usage->n_seen, process);
	const struct sched_task *task;

	if (!seen || seen->task == USAGE_GONE)
		return seen ? USAGE_GONE : 0;
	task = sched_find(usage->daemon->sched, seen->task);
	return task && !sched_state_is_final(task->state) && task->state != SCHED_WAITING
		   ? seen->task
		   : USAGE_GONE;
}

static void set_one(struct usage *usage, const struct gpu *gpu, const struct owned *owned,
		    uint64_t task, int64_t now_ms)
{
	struct sched_usage use = {
	    .task = task,
	    .uuid = gpu->uuid,
	    .vram_known = gpu_has(gpu, GPU_PROCESSES),
	};
	bool alone = true;

	for (size_t i = 0; i < gpu->n_processes; i++) {
		if (owned[i].task != task) {
			alone = alone && owned[i].process->graphics;
			continue;
		}
		use.utilization_known |= owned[i].process->utilization_known;
		use.utilization_percent += owned[i].process->utilization_percent;
		use.vram_known = use.vram_known && owned[i].process->used_known;
		use.vram_bytes += owned[i].process->used_bytes;
	}
	/* The driver does not say who, but nobody else computes there: it is this task. */
	if (!use.utilization_known && alone && use.vram_bytes > 0 &&
	    gpu_has(gpu, GPU_UTILIZATION | GPU_PROCESSES)) {
		use.utilization_known = true;
		use.utilization_percent = gpu->utilization_percent;
	}
	(void)sched_set_usage(usage->daemon->sched, &use, now_ms); /* -ESRCH: it ended just now */
}

static void set_gone(struct usage *usage, const struct gpu *gpu, const struct owned *owned,
		     int64_t now_ms)
{
	uint64_t bytes = 0;

	for (size_t i = 0; i < gpu->n_processes; i++)
		if (owned[i].task == USAGE_GONE && owned[i].process->used_known)
			bytes += owned[i].process->used_bytes;
	sched_set_gone(usage->daemon->sched, gpu->uuid, bytes, now_ms);
}

static bool is_granted(const struct sched_task *task, const char *uuid)
{
	const struct sched_attempt *attempt = sched_task_attempt(task);

	for (unsigned i = 0; attempt && i < attempt->n_gpus; i++)
		if (strcmp(attempt->gpus[i].uuid, uuid) == 0)
			return true;
	return false;
}

static void sample_gpu(struct usage *usage, const struct gpu *gpu, int64_t now_ms)
{
	auto_free struct owned *owned = mem_calloc(gpu->n_processes + 1, sizeof *owned);
	auto_free uint64_t *tasks = NULL;
	size_t n = 0, room = 0;

	for (size_t i = 0; i < gpu->n_processes; i++)
		owned[i] = (struct owned){
		    .process = &gpu->processes[i],
		    .task = owner_note(usage, &gpu->processes[i]),
		};
	set_gone(usage, gpu, owned, now_ms);
	/* The ids first: telling sched ends the walk over its tasks. */
	for (const struct sched_task *task = sched_first_active(usage->daemon->sched); task;
	     task = sched_next_active(task))
		if (is_granted(task, gpu->uuid)) {
			ARRAY_GROW(tasks, n, room);
			tasks[n++] = task->id;
		}
	for (size_t i = 0; i < n; i++)
		set_one(usage, gpu, owned, tasks[i], now_ms);
}

void usage_sample(struct usage *usage, const struct gpu_list *list, int64_t now_ms)
{
	/* One that is stale is the one before again. */
	if (list->state != GPU_SOURCE_OK)
		return;
	free(usage->before);
	usage->before = TAKE(usage->seen);
	usage->n_before = usage->n_seen;
	usage->n_seen = usage->room_seen = 0;
	if (usage->n_before == 0 && !sched_first_active(usage->daemon->sched))
		return;
	for (size_t i = 0; i < list->n; i++)
		if (gpu_is_usable(&list->gpus[i]))
			sample_gpu(usage, &list->gpus[i], now_ms);
}
