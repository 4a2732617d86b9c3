/*
 * Restoring: tasks and batches as the store had them, when the daemon starts and whenever one that
 * has left the memory is wanted again.
 */
#include "sched/sched_priv.h"

#include <errno.h>
#include <string.h>

int sched_restore_batch(struct sched *sched, const struct sched_batch *batch, struct error *err)
{
	struct batch_node *b;

	if (batch->id == 0 || batch_find(sched, batch->id))
		return error_set(err, -EEXIST, "batch %llu is there twice",
				 (unsigned long long)batch->id);
	b = batch_create(sched, batch->id, batch->name);
	b->pub.uid = batch->uid;
	b->pub.is_private = batch->is_private;
	b->pub.on_failure = batch->on_failure;
	b->pub.state = batch->state;
	b->pub.submitted_at_ms = batch->submitted_at_ms;
	b->pub.first_start_ms = batch->first_start_ms;
	b->pub.ended_at_ms = batch->ended_at_ms;
	b->pub.total = batch->total;
	b->stored = true;
	sched->last_batch_id = MAX_OF(sched->last_batch_id, batch->id);
	return 0;
}

static void attempt_restore(struct sched *sched, struct task_node *t,
			    const struct sched_attempt *from)
{
	struct sched_attempt *to = task_add_attempt(t);
	unsigned number = to->number;

	*to = *from;
	to->number = from->number ? from->number : number;
	to->changed = false;
	to->reason = from->reason ? mem_strdup(from->reason) : NULL;
	to->rung = from->rung ? mem_strdup(from->rung) : NULL;
	to->limits = from->limits ? mem_strdup(from->limits) : NULL;
	to->stopped = from->stopped ? mem_strdup(from->stopped) : NULL;
	to->vram_reason = from->vram_reason ? mem_strdup(from->vram_reason) : NULL;
	to->evidence = from->evidence ? mem_strdup(from->evidence) : NULL;
	to->gpus = mem_calloc(from->n_gpus + 1, sizeof *to->gpus);
	for (unsigned g = 0; g < from->n_gpus; g++) {
		to->gpus[g] = from->gpus[g];
		to->gpus[g].uuid = string_pool_get(&sched->strings, from->gpus[g].uuid);
	}
}

/* Sums of a batch that goes on, from what the store had. */
static void sums_restore(struct sched *sched, struct task_node *t)
{
	const struct sched_attempt *last = sched_task_attempt(&t->pub);

	if (!t->pub.batch || !last)
		return;
	if (sched_state_is_final(t->pub.state))
		batch_overran(t);
	if (t->pub.state != SCHED_DONE)
		return;
	t->batch->on_cpu += last->n_gpus == 0;
	for (unsigned g = 0; g < last->n_gpus; g++) {
		struct batch_gpu *gpu =
		    batch_gpu_get(sched, t->batch, last->gpus[g].uuid, last->gpus[g].index);

		gpu->tasks++;
		gpu->peak_vram_bytes = MAX_OF(gpu->peak_vram_bytes, last->peak_vram_bytes);
	}
	batch_recovered(t);
}

static bool state_is_active(enum sched_state state)
{
	return state == SCHED_STARTING || state == SCHED_RUNNING;
}

/* When the clock is first looked at, this cannot be later. */
static void restored_note(struct sched *sched, const struct task_node *t)
{
	int64_t queued_at_ms =
	    t->pub.queued_at_ms == t->pub.spec.not_before_ms ? 0 : t->pub.queued_at_ms;
	int64_t at_ms = t->run ? task_current((struct task_node *)(uintptr_t)t)->started_at_ms : 0;

	if (!sched->begun && !sched_state_is_final(t->pub.state))
		sched->restored_ms =
		    MAX_OF(sched->restored_ms, MAX_OF(MAX_OF(at_ms, queued_at_ms), 1));
}

static void queued_restore(struct sched *sched, struct task_node *t, const struct sched_task *from)
{
	t->pub.queued_at_ms = from->queued_at_ms;
	if (t->pub.queued_at_ms == 0)
		waiting_queue(sched, t, from->submitted_at_ms);
	else if (t->pub.queued_at_ms != t->pub.spec.not_before_ms)
		sched->last_queued_ms = MAX_OF(sched->last_queued_ms, t->pub.queued_at_ms);
}

/* Of one that has ended, some tasks may have been forgotten, and are counted still. */
static bool batch_counts_all(const struct batch_node *b)
{
	unsigned n = 0;

	for (unsigned state = 0; state < SCHED_STATE_COUNT; state++)
		n += b->pub.counts[state];
	return n == b->pub.total;
}

int sched_restore_task(struct sched *sched, const struct sched_task *task, struct error *err)
{
	struct batch_node *b = task->batch ? batch_find(sched, task->batch) : NULL;
	struct task_node *t;

	if (task->id == 0 || task_find(sched, task->id))
		return error_set(err, -EEXIST, "task %llu is there twice",
				 (unsigned long long)task->id);
	if (task->batch && !b)
		return error_set(err, -ESRCH, "task %llu is of batch %llu, which is not there",
				 (unsigned long long)task->id, (unsigned long long)task->batch);
	if (state_is_active(task->state) && task->n_attempts == 0)
		return error_set(err, -EINVAL, "task %llu is %s without an attempt",
				 (unsigned long long)task->id, sched_state_name(task->state));
	t = task_create(sched, task->id, b, &task->spec);
	t->pub.state = task->state;
	t->pub.submitted_at_ms = task->submitted_at_ms;
	t->pub.updated_at_ms = task->updated_at_ms;
	t->pub.not_before_ms = task->not_before_ms;
	t->pub.failures = task->failures;
	t->pub.requeues = task->requeues;
	t->pub.start_failures = task->start_failures;
	t->pub.start_refusals = task->start_refusals;
	t->pub.stopping = task->stopping;
	t->pub.overtime = task->overtime;
	if (task->ladder) {
		t->pub.ladder = mem_alloc(sizeof *t->pub.ladder);
		*t->pub.ladder = *task->ladder;
		t->pub.ladder->kind = NULL;
		ladder_kind_renew(sched, t);
	}
	queued_restore(sched, t, task);
	if (task->n_after > 0 && t->pub.spec.after) {
		t->pub.after = mem_alloc(task->n_after * sizeof *t->pub.after);
		memcpy(t->pub.after, task->after, task->n_after * sizeof *t->pub.after);
		t->pub.n_after = task->n_after;
		after_link(sched, t);
	}
	sched->wishes_given = NULL;
	task_reason(t, task->reason ? "%s" : NULL, task->reason);
	for (unsigned i = 0; i < task->n_attempts; i++)
		attempt_restore(sched, t, &task->attempts[i]);
	if (b && batch_counts_all(b))
		sched->counts[t->pub.state]++;
	else
		task_count(sched, t, t->pub.state, 1);
	t->batch->pub.is_private |= t->pub.spec.is_private;
	t->stored = true;
	sched->last_task_id = MAX_OF(sched->last_task_id, task->id);
	if (t->pub.state == SCHED_WAITING)
		waiting_add(sched, t);
	if (state_is_active(t->pub.state)) {
		run_begin(sched, t, task_current(t)->started_at_ms);
		t->run->work_known = false;
		if (t->pub.state == SCHED_RUNNING)
			t->run->since_ms = task_current(t)->started_at_ms;
	}
	restored_note(sched, t);
	sums_restore(sched, t);
	sched_touch(sched);
	return 0;
}

void sched_restored(struct sched *sched, int64_t now_ms)
{
	time_seen(sched, now_ms);
	sched->begun = true;
	after_settle(sched, now_ms);
}

void sched_restore_ids(struct sched *sched, uint64_t last_task, uint64_t last_batch)
{
	sched->last_task_id = MAX_OF(sched->last_task_id, last_task);
	sched->last_batch_id = MAX_OF(sched->last_batch_id, last_batch);
}
