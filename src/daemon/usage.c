/*
 * There are as many leaders as tasks run at once, and few processes on GPUs: both are walked, no
 * index is kept. Each owner is asked of /proc once a sample.
 */
#include "daemon/usage.h"

#include "host/process.h"

#include <string.h>

#define ANCESTORS_MAX 64

struct leader {
	uint64_t task;
	pid_t pid;
	uint64_t start_time;
};

struct usage {
	struct daemon *daemon;
	struct leader *leaders;
	size_t n, room;
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

uint64_t usage_owner(const struct usage *usage, pid_t pid)
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
		    .task = usage_owner(usage, gpu->processes[i].pid),
		};
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
	if (list->state != GPU_SOURCE_OK || !sched_first_active(usage->daemon->sched))
		return;
	for (size_t i = 0; i < list->n; i++)
		if (gpu_is_usable(&list->gpus[i]))
			sample_gpu(usage, &list->gpus[i], now_ms);
}
