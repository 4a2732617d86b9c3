/*
 * There are as many leaders as tasks run at once, and few processes on GPUs: both are walked, no
 * index is kept. Each owner is asked of /proc once a sample, and remembered until the next: whoever
 * is shown the sample sees the owners its sums were made with. That memory also tells whose a
 * process was that cannot be asked any more, or whose task has ended: what the driver still lists
 * of it has not come back. It says so once it was seen twice, for LEFT_MS; a driver takes a moment.
 * It is kept in the store, {"boot", "processes": [[pid, start time, task, attempt]]}, for a daemon
 * that comes after the task's end.
 */
#include "daemon/usage.h"

#include "daemon/hub.h"
#include "host/process.h"
#include "util/file.h"
#include "util/log.h"
#include "util/pidref.h"
#include "util/size.h"

#include <errno.h>
#include <string.h>

#define ANCESTORS_MAX 64
#define LEFT_MS       2000
#define META_KEY      "processes"
#define BOOT_ID       "/proc/sys/kernel/random/boot_id"

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
	struct ledger_leftover *left; /* of the last sample */
	size_t n_left, room_left;
	char *text, *stored; /* what is to be in the store, and is; NULL: nothing yet */
	char boot[64];
	bool all_processes; /* are to be seen here */
};

/* One process of the sample, with its owner. */
struct owned {
	const struct gpu_process *process;
	uint64_t task;
};

/* Those of an earlier boot are nobody any more. */
static void seen_load(struct usage *usage, const json_t *json)
{
	const json_t *item;
	size_t i;

	if (strcmp(jsonx_get_string(json, "boot", ""), usage->boot) != 0)
		return;
	json_array_foreach (json_object_get(json, "processes"), i, item) {
		ARRAY_GROW(usage->seen, usage->n_seen, usage->room_seen);
		usage->seen[usage->n_seen++] = (struct seen){
		    .pid = (pid_t)json_integer_value(json_array_get(item, 0)),
		    .start_time = (uint64_t)json_integer_value(json_array_get(item, 1)),
		    .task = (uint64_t)json_integer_value(json_array_get(item, 2)),
		    .attempt = (unsigned)json_integer_value(json_array_get(item, 3)),
		};
	}
}

struct usage *usage_create(struct daemon *daemon)
{
	struct usage *usage = mem_calloc(1, sizeof *usage);
	auto_json json_t *json = NULL;
	struct error err = {};
	int r;

	usage->daemon = daemon;
	usage->all_processes = host_sees_all_processes(daemon->host);
	if (file_read_small(BOOT_ID, usage->boot, sizeof usage->boot) < 0)
		usage->boot[0] = '\0';
	r = store_get_meta(daemon->store, META_KEY, &usage->stored, &err);
	if (r == 0)
		r = jsonx_parse(usage->stored, strlen(usage->stored), "processes in the store",
				&json, &err);
	if (r == 0)
		seen_load(usage, json);
	else if (r != -ENOENT)
		log_warning("whose processes on GPUs were before is not known: %s",
			    error_text(&err));
	return usage;
}

void usage_destroy(struct usage *usage)
{
	if (!usage)
		return;
	free(usage->leaders);
	free(usage->seen);
	free(usage->before);
	free(usage->left);
	free(usage->text);
	free(usage->stored);
	free(usage);
}

/* The store. */

static void text_make(struct usage *usage)
{
	json_t *processes = json_array();
	auto_json json_t *json =
	    json_pack("{s:s, s:o}", "boot", usage->boot, "processes", processes);

	for (size_t i = 0; i < usage->n_seen; i++) {
		const struct seen *seen = &usage->seen[i];

		(void)json_array_append_new(processes,
					    json_pack("[i, I, I, i]", (int)seen->pid,
						      (json_int_t)seen->start_time,
						      (json_int_t)seen->task, (int)seen->attempt));
	}
	free(usage->text);
	usage->text = jsonx_dump(json);
}

bool usage_is_new(const struct usage *usage)
{
	return usage->text && (!usage->stored || strcmp(usage->text, usage->stored) != 0);
}

int usage_put(struct usage *usage, struct error *err)
{
	return store_put_meta(usage->daemon->store, META_KEY, usage->text, err);
}

void usage_stored(struct usage *usage)
{
	if (!usage_is_new(usage))
		return;
	free(usage->stored);
	usage->stored = mem_strdup(usage->text);
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
	bool dead = usage->all_processes && process->start_time == 0;
	auto_text struct text text = {};

	text_printf(&text, "task %llu has ended, its %sprocess %d still holds %s on GPU %u: ",
		    (unsigned long long)seen->task, dead ? "dead " : "", (int)process->pid,
		    process->used_known ? SIZE_TEXT(process->used_bytes) : "memory", gpu->index);
	if (!dead)
		text_printf(&text, "kill -9 %d; if it stays, ", (int)process->pid);
	text_printf(&text,
		    "only a reset of the GPU (nvidia-smi --gpu-reset -i %u) or a reboot helps",
		    gpu->index);
	log_warning("%s", text.data);
	hub_leftover(usage->daemon->hub, gpu, process, seen->task, text.data);
	seen->left_said = true;
}

static void left_add(struct usage *usage, const struct gpu *gpu, const struct gpu_process *process,
		     uint64_t task)
{
	struct ledger_leftover *left;

	if (!process->used_known)
		return;
	ARRAY_GROW(usage->left, usage->n_left, usage->room_left);
	left = &usage->left[usage->n_left++];
	*left = (struct ledger_leftover){
	    .bytes = process->used_bytes, .task = task, .pid = (int)process->pid};
	(void)snprintf(left->uuid, sizeof left->uuid, "%s", gpu->uuid);
}

static void left_note(struct usage *usage, const struct gpu *gpu, const struct gpu_process *process,
		      struct seen *seen, int64_t sampled_at_ms)
{
	int64_t ended = end_of(usage, seen);

	if (ended == 0 || ended >= sampled_at_ms)
		return;
	if (seen->left_ms == 0)
		seen->left_ms = sampled_at_ms;
	left_add(usage, gpu, process, seen->task);
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
	usage->n_seen = usage->room_seen = usage->n_left = 0;
	if (usage->n_before > 0 || sched_first_active(usage->daemon->sched))
		for (size_t i = 0; i < list->n; i++)
			if (gpu_is_usable(&list->gpus[i]))
				sample_gpu(usage, &list->gpus[i], list->sampled_at_ms, now_ms);
	sched_set_leftovers(usage->daemon->sched, usage->left, usage->n_left);
	if (usage->n_seen + usage->n_before > 0)
		text_make(usage);
}
