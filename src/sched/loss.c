/*
 * Was it the GPU? A program whose GPU is lost dies with an error like any other. Two things tell: a
 * sample of the GPUs that began after the program's end, and an XID of the GPU around it. The first
 * comes some 100 ms later, so the end waits for it (struct run's end_waits). Its process is gone;
 * its grant is kept until then: what it was given is nobody else's before it is known what became
 * of it.
 */
#include "sched/sched_priv.h"

#include <string.h>

/* Faults of the GPU, its memory, firmware or links ("Analyzing the Xid catalog", docs.nvidia.com).
 * What programs cause themselves (13, 31, 43, 45, 94 ...) is not here. */
static const unsigned short GPU_FAULTS[] = {
    46,  /* stopped processing */
    48,  /* double-bit ECC error */
    62,  /* PMU halt */
    64,  /* row remap or page retirement failed */
    74,  /* NVLink error */
    79,  /* fell off the bus */
    95,  /* uncontained memory error */
    119, /* GSP does not answer */
    120, /* GSP error */
    140, /* unrecovered ECC error */
    143, /* initialisation error */
};

static bool is_gpu_fault(unsigned xid)
{
	for (size_t i = 0; i < ARRAY_LEN(GPU_FAULTS); i++)
		if (GPU_FAULTS[i] == xid)
			return true;
	return false;
}

bool loss_seen(const struct task_node *t, const struct sched_end *end)
{
	int64_t fault = t->run->fault_ms;

	if (t->run->gpu_lost)
		return true;
	return fault > 0 &&
	       (end->ended_at_ms <= fault || end->ended_at_ms - fault <= SCHED_XID_WINDOW_MS);
}

bool loss_await(struct sched *sched, struct task_node *t, const struct sched_end *end,
		int64_t now_ms)
{
	enum gpu_source_state source = sched->gpus->state;
	struct run *run = t->run;
	int64_t ended_at_ms = end->ended_at_ms > 0 ? MIN_OF(end->ended_at_ms, now_ms) : now_ms;

	if (end->outcome != SCHED_ERROR || t->pub.stopping || task_current(t)->n_gpus == 0)
		return false;
	/* Before the first sample of a new daemon there is one to come. */
	if (source != GPU_SOURCE_OK && source != GPU_SOURCE_NO_GPUS && source != GPU_SOURCE_UNKNOWN)
		return false;
	run->end_waits = true;
	run->end = *end;
	run->end.ended_at_ms = ended_at_ms;
	run->end.text = end->text ? mem_strdup(end->text) : NULL;
	run->judge_until_ms = now_ms + SCHED_JUDGE_MS;
	/* It may be known already. */
	loss_judge(sched, now_ms);
	return true;
}

static bool can_be_judged(const struct sched *sched, const struct task_node *t, int64_t now_ms)
{
	enum gpu_source_state source = sched->gpus->state;

	/* An XID alone does not do: put back before its GPU is known to be lost, it would be placed
	 * there again. */
	if (t->pub.stopping || t->run->gpu_lost || now_ms >= t->run->judge_until_ms)
		return true;
	return (source == GPU_SOURCE_OK || source == GPU_SOURCE_NO_GPUS) &&
	       sched->gpus->sampled_at_ms > t->run->end.ended_at_ms;
}

void loss_judge(struct sched *sched, int64_t now_ms)
{
	struct task_node *next;

	for (struct task_node *t = sched->active; t; t = next) {
		struct sched_end end;
		auto_free char *text = NULL;

		next = t->run->next;
		if (!t->run->end_waits || !can_be_judged(sched, t, now_ms))
			continue;
		end = t->run->end;
		text = (char *)(uintptr_t)TAKE(t->run->end.text);
		(void)end_apply(sched, t, &end, now_ms);
	}
}

/* A fault inside a MIG instance is told of the whole GPU. */
static bool is_of(const struct sched *sched, const char *uuid, const struct gpu_event *event)
{
	const struct gpu *gpu = gpu_list_find(sched->gpus, uuid);

	return strcmp(uuid, event->uuid) == 0 ||
	       (gpu && strcmp(gpu->parent_uuid, event->uuid) == 0);
}

void sched_gpu_event(struct sched *sched, const struct gpu_event *event, int64_t now_ms)
{
	time_seen(sched, now_ms);
	if (event->type != GPU_EVENT_XID || !event->uuid[0] || !is_gpu_fault(event->xid))
		return;
	for (struct task_node *t = sched->active; t; t = t->run->next) {
		const struct sched_attempt *attempt = task_current(t);

		for (unsigned g = 0; g < attempt->n_gpus; g++)
			if (is_of(sched, attempt->gpus[g].uuid, event))
				t->run->fault_ms =
				    event->at_ms > 0 ? MIN_OF(event->at_ms, now_ms) : now_ms;
	}
}
