/*
 * There are as many leaders as tasks run at once, and few processes on GPUs: both are walked, no
 * index is kept. Each owner is asked of /proc once a sample, and remembered until the next: whoever
 * is shown the sample sees the owners its sums were made with. That memory also tells whose a
 * process was that cannot be asked any more, or whose task has ended: what the driver still lists
 * of it has not come back. It says so once it was seen twice, for LEFT_MS; a driver takes a moment.
 */
#include "daemon/usage.h"

#include "daemon/hub.h"
#include "host/process.h"
#include "util/log.h"
#include "util/pidref.h"
#include "util/size.h"

#include <string.h>

#define ANCESTORS_MAX 64
#define LEFT_MS       2000

struct leader {
	uint64_t task;
	pid_t pid;
	uint64_t start_time;
};

/* A process of ours in the last sample. */
struct seen {
	pid_t pid;
	uint64_t start_time;
	uint64_t task;
	unsigned attempt;
	int64_t left_ms; /* first seen after its task's end; 0 = not */
	bool left_said;
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

static unsigned attempt_now(const struct usage *usage, uint64_t id)
{
	const struct sched_task *task = sched_find(usage->daemon->sched, id);
	const struct sched_attempt *attempt = task ? sched_task_attempt(task) : NULL;

	return attempt ? attempt->number : 0;
}

/* When its attempt ended; 0 = it goes on. One that is forgotten ended long ago. */
static int64_t end_of(const struct usage *usage, const struct seen *seen)
{
	const struct sched_task *task = sched_find(usage->daemon->sched, seen->task);

	for (unsigned i = 0; task && i < task->n_attempts; i++)
		if (task->attempts[i].number == seen->attempt)
			return task->attempts[i].ended_at_ms;
	return 1;
}

static void left_say(const struct usage *usage, const struct gpu *gpu,
		     const struct gpu_process *process, struct seen *seen)
{
	char *text =
	    mem_printf("task %llu has ended, its process %d still holds %s on GPU %u: kill -9 %d; "
		       "if it stays, "
		       "only a reset of the GPU (nvidia-smi --gpu-reset -i %u) or a reboot helps",
		       (unsigned long long)seen->task, (int)process->pid,
		       process->used_known ? SIZE_TEXT(process->used_bytes) : "memory", gpu->index,
		       (int)process->pid, gpu->index);

	log_warning("%s", text);
	hub_leftover(usage->daemon->hub, gpu, process, seen->task, text);
	free(text);
	seen->left_said = true;
}

static void left_note(const struct usage *usage, const struct gpu *gpu,
		      const struct gpu_process *process, struct seen *seen, int64_t sampled_at_ms)
{
	int64_t ended = end_of(usage, seen);

	if (ended == 0 || ended >= sampled_at_ms)
		return;
	if (seen->left_ms == 0)
		seen->left_ms = sampled_at_ms;
	if (!seen->left_said && sampled_at_ms - seen->left_ms >= LEFT_MS)
		left_say(usage, gpu, process, seen);
}

/* Asked once per process of a new sample: the task whose use it is; 0 = none. */
static uint64_t owner_note(struct usage *usage, const struct gpu *gpu,
			   const struct gpu_process *process, int64_t sampled_at_ms)
{
	const struct seen *before = seen_find(usage->before, usage->n_before, process);
	struct seen seen = before ? *before : (struct seen){.pid = process->pid};
	uint64_t task = owner_ask(usage, process->pid);

	if (task == 0 && !before)
		return 0;
	if (task > 0 && (task != seen.task || seen.attempt != attempt_now(usage, task)))
		seen = (struct seen){
		    .pid = process->pid, .task = task, .attempt = attempt_now(usage, task)};
	if (seen.start_time == 0)
		seen.start_time = process->start_time;
	if (seen.start_time == 0 && pid_start_time(process->pid, &seen.start_time) < 0)
		seen.start_time = 0; /* any */
	left_note(usage, gpu, process, &seen, sampled_at_ms);
	ARRAY_GROW(usage->seen, usage->n_seen, usage->room_seen);
	usage->seen[usage->n_seen++] = seen;
	return end_of(usage, &seen) == 0 ? seen.task : 0;
}

enum usage_owner usage_owner(const struct usage *usage, const struct gpu_process *process,
			     uint64_t *ret_task)
{
	const struct seen *seen = seen_find(usage->seen, usage->n_seen, process);

	if (!seen)
		return USAGE_FOREIGN;
	*ret_task = seen->task;
	if (end_of(usage, seen) == 0)
		return USAGE_TASK;
	return seen->left_ms > 0 ? USAGE_LEFTOVER : USAGE_GONE;
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

static void sample_gpu(struct usage *usage, const struct gpu *gpu, int64_t sampled_at_ms,
		       int64_t now_ms)
{
	auto_free struct owned *owned = mem_calloc(gpu->n_processes + 1, sizeof *owned);
	auto_free uint64_t *tasks = NULL;
	size_t n = 0, room = 0;

	for (size_t i = 0; i < gpu->n_processes; i++)
		owned[i] = (struct owned){
		    .process = &gpu->processes[i],
		    .task = owner_note(usage, gpu, &gpu->processes[i], sampled_at_ms),
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
			sample_gpu(usage, &list->gpus[i], list->sampled_at_ms, now_ms);
}
