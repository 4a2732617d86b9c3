/*
 * The queue's outside: making it, reading, forgetting, and the lists of changes and actions.
 * Submits are in submit.c, restoring in restore.c, events in events.c, the decision in step.c, the
 * machine in machine.c.
 */
#include "sched/sched_priv.h"

#include <errno.h>
#include <stdarg.h>
#include <string.h>

#define STOP_GRACE_MS 10000

struct sched *sched_create(const struct sched_options *options)
{
	struct sched *sched = mem_calloc(1, sizeof *sched);
	size_t n = options->ledger.n_rules;

	sched->gpus = gpu_list_create();
	sched->gpus->state = GPU_SOURCE_UNKNOWN;
	sched->estimates = estimates_create();
	sched->ledger_options = options->ledger;
	sched->rules = mem_calloc(n + 1, sizeof *sched->rules);
	for (size_t i = 0; i < n; i++)
		sched->rules[i] = options->ledger.rules[i];
	sched->ledger_options.rules = sched->rules;
	sched->stop_grace_ms = options->stop_grace_ms > 0 ? options->stop_grace_ms : STOP_GRACE_MS;
	sched_configure(sched, &(struct sched_config){}, 0);
	return sched;
}

void sched_destroy(struct sched *sched)
{
	if (!sched)
		return;
	view_drop(sched);
	sched->n_changed_tasks = sched->n_changed_batches = 0;
	while (sched->first)
		task_destroy(sched, sched->first);
	/* Tasks leave no lane when the whole queue goes: nobody walks them any more. */
	while (sched->first_batch)
		batch_destroy(sched, sched->first_batch);
	for (size_t i = 0; i < sched->n_users; i++)
		lanes_destroy(sched, &sched->users[i]->singles);
	users_destroy(sched);
	after_finish(sched);
	free(sched->user_configs);
	free(sched->pause);
	free(sched->gpu_notes);
	strings_finish(&sched->remarks);
	free(sched->buckets);
	gpu_list_destroy(sched->gpus);
	estimates_destroy(sched->estimates);
	free(sched->rules);
	free(sched->leaving);
	free(sched->holds);
	free(sched->leftovers);
	free(sched->actions);
	free(sched->changed_tasks);
	free(sched->changed_batches);
	string_pool_finish(&sched->strings);
	free(sched);
}

struct estimates *sched_estimates(struct sched *sched)
{
	return sched->estimates;
}

const char *sched_attempt_device(const struct sched_attempt *attempt)
{
	return attempt->n_gpus > 0 ? "cuda:0" : "cpu";
}

const struct sched_attempt *sched_task_attempt(const struct sched_task *task)
{
	return task->n_attempts > 0 ? &task->attempts[task->n_attempts - 1] : NULL;
}

const struct sched_action *sched_actions(const struct sched *sched, size_t *ret_n)
{
	*ret_n = sched->n_actions;
	return sched->actions;
}

void sched_actions_clear(struct sched *sched)
{
	sched->n_actions = 0;
}

void remark_add(struct sched *sched, const char *fmt, ...)
{
	char text[512];
	va_list ap;

	va_start(ap, fmt);
	(void)vsnprintf(text, sizeof text, fmt, ap);
	va_end(ap);
	strings_add(&sched->remarks, text);
}

const struct strings *sched_remarks(const struct sched *sched)
{
	return &sched->remarks;
}

void sched_remarks_clear(struct sched *sched)
{
	strings_finish(&sched->remarks);
	sched->remarks = (struct strings){};
}

struct sched_changes sched_changes(const struct sched *sched)
{
	return (struct sched_changes){
	    .tasks = sched->changed_tasks,
	    .n_tasks = sched->n_changed_tasks,
	    .batches = sched->changed_batches,
	    .n_batches = sched->n_changed_batches,
	};
}

void sched_changes_clear(struct sched *sched)
{
	for (size_t i = 0; i < sched->n_changed_tasks; i++) {
		struct task_node *t = task_of(sched->changed_tasks[i]);

		t->changed = false;
		t->stored = true;
		for (unsigned a = 0; a < t->pub.n_attempts; a++)
			t->pub.attempts[a].changed = false;
	}
	for (size_t i = 0; i < sched->n_changed_batches; i++) {
		struct batch_node *b = batch_of(sched->changed_batches[i]);

		b->changed = false;
		b->stored = true;
	}
	sched->n_changed_tasks = sched->n_changed_batches = 0;
}

const struct sched_task *sched_find(const struct sched *sched, uint64_t id)
{
	const struct task_node *t = task_find(sched, id);

	return t ? &t->pub : NULL;
}

const struct sched_batch *sched_find_batch(const struct sched *sched, uint64_t id)
{
	const struct batch_node *b = batch_find(sched, id);

	return b ? &b->pub : NULL;
}

const struct sched_task *sched_first(const struct sched *sched)
{
	return sched->first ? &sched->first->pub : NULL;
}

const struct sched_task *sched_next(const struct sched_task *task)
{
	const struct task_node *next = task_of(task)->next;

	return next ? &next->pub : NULL;
}

const struct sched_task *sched_first_after(const struct sched *sched, uint64_t id)
{
	const struct sched_task *at = id > 0 ? sched_find(sched, id) : NULL;
	const struct task_node *node;

	if (at)
		return sched_next(at);
	if (id == 0)
		return sched_first(sched);
	/* It was forgotten: from the other end. */
	for (node = sched->last; node && node->prev && node->prev->pub.id > id;)
		node = node->prev;
	return node && node->pub.id > id ? &node->pub : NULL;
}

const struct sched_task *sched_batch_first(const struct sched *sched, uint64_t batch)
{
	const struct batch_node *b = batch_find(sched, batch);

	return b && b->first ? &b->first->pub : NULL;
}

const struct sched_task *sched_batch_next(const struct sched_task *task)
{
	const struct task_node *next = task_of(task)->batch_next;

	return next ? &next->pub : NULL;
}

const struct sched_batch *sched_first_batch(const struct sched *sched)
{
	return sched->first_batch ? &sched->first_batch->pub : NULL;
}

const struct sched_batch *sched_next_batch(const struct sched_batch *batch)
{
	const struct batch_node *next = batch_of(batch)->next;

	return next ? &next->pub : NULL;
}

const struct sched_task *sched_first_active(const struct sched *sched)
{
	return sched->active ? &sched->active->pub : NULL;
}

const struct sched_task *sched_next_active(const struct sched_task *task)
{
	const struct run *run = task_of(task)->run;

	return run && run->next ? &run->next->pub : NULL;
}

const unsigned *sched_counts(const struct sched *sched)
{
	return sched->counts;
}

static bool task_may_go(const struct sched *sched, const struct task_node *t)
{
	return sched_state_is_final(t->pub.state) && t->stored && !t->changed &&
	       (t->batch == &sched->singles || t->batch->pub.ended_at_ms > 0);
}

void sched_forget(struct sched *sched, size_t keep)
{
	size_t n_ended;
	struct task_node *next;

	/* Somebody may come yet who waits for one of them. */
	if (!sched->begun)
		return;
	after_settle(sched, sched->last_ms);
	n_ended = sched->n_tasks - open_tasks(sched);

	for (struct task_node *t = sched->first; t && n_ended > keep; t = next) {
		next = t->next;
		if (!task_may_go(sched, t))
			continue;
		sched->counts[t->pub.state]--;
		/* A batch's counts stay those of all its tasks, for as long as it is here. */
		if (t->batch->pub.id == 0)
			t->batch->pub.counts[t->pub.state]--;
		task_destroy(sched, t);
		sched->view.valid = false;
		n_ended--;
	}
	for (struct batch_node *b = sched->first_batch, *b_next; b; b = b_next) {
		b_next = b->next;
		if (!b->first && b->pub.ended_at_ms > 0 && b->stored && !b->changed &&
		    n_ended >= keep)
			batch_destroy(sched, b);
	}
	users_forget(sched);
}
