/*
 * Back come all batches that go on, with all their tasks (their counts are of all), and every task
 * that has not ended. What has ended stays in the store.
 */
#include "daemon/restore.h"

#include "daemon/record.h"
#include "daemon/runner.h"
#include "util/log.h"

#include <stdlib.h>

static int by_id(const void *a, const void *b)
{
	const struct sched_task *x = *(const struct sched_task *const *)a;
	const struct sched_task *y = *(const struct sched_task *const *)b;

	return x->id < y->id ? -1 : x->id > y->id;
}

/* What is to be restored, gathered from several queries. */
struct gathered {
	struct records *lists; /* of the batches, then of the tasks without one */
	size_t n_lists;
	const struct sched_task **tasks;
	size_t n, room;
};

static void gather(struct gathered *all, const struct records *records, const struct sched *sched,
		   bool batched)
{
	for (size_t i = 0; i < records->n; i++) {
		const struct sched_task *task = &records->tasks[i];

		/* The tasks of open batches were gathered with them. */
		if (!batched && task->batch > 0 && sched_find_batch(sched, task->batch))
			continue;
		ARRAY_GROW(all->tasks, all->n, all->room);
		all->tasks[all->n++] = task;
	}
}

static int restore_batches(struct daemon *daemon, struct gathered *all, struct error *err)
{
	auto_record_batches struct record_batches open = {};
	int r = record_batches_load(daemon->store, 0, true, &open, err);

	all->lists = mem_calloc(open.n + 1, sizeof *all->lists);
	for (size_t i = 0; i < open.n && r == 0; i++) {
		struct records *tasks = &all->lists[all->n_lists];

		r = records_load(daemon->store, &(struct store_query){.batch = open.batches[i].id},
				 tasks, err);
		if (r < 0)
			break;
		all->n_lists++;
		/* It is as private as its tasks; the store keeps that of ended ones only. */
		for (size_t k = 0; k < tasks->n; k++)
			open.batches[i].is_private |= tasks->tasks[k].spec.is_private;
		r = sched_restore_batch(daemon->sched, &open.batches[i], err);
		if (r == 0)
			gather(all, tasks, daemon->sched, true);
	}
	return r;
}

static int restore_open_tasks(struct daemon *daemon, struct gathered *all, struct error *err)
{
	static const char *const open_states[] = {"waiting", "held", "starting", "running", NULL};
	int r = records_load(daemon->store, &(struct store_query){.states = open_states},
			     &all->lists[all->n_lists], err);

	if (r == 0)
		gather(all, &all->lists[all->n_lists++], daemon->sched, false);
	return r;
}

static int restore_one(struct daemon *daemon, const struct sched_task *task, struct error *err)
{
	const struct sched_attempt *attempt;
	int r = sched_restore_task(daemon->sched, task, err);

	if (r < 0)
		return r;
	if (task->state != SCHED_STARTING && task->state != SCHED_RUNNING)
		return 0;
	attempt = sched_task_attempt(sched_find(daemon->sched, task->id));
	if (attempt)
		runner_expect(daemon->runner, task->id, attempt->number);
	return 0;
}

int restore_all(struct daemon *daemon, struct error *err)
{
	struct gathered all = {};
	uint64_t last_task, last_batch;
	int r = store_last_ids(daemon->store, &last_task, &last_batch, err);

	if (r < 0)
		return r;
	sched_restore_ids(daemon->sched, last_task, last_batch);
	r = record_load_profiles(daemon->store, sched_estimates(daemon->sched), err);
	if (r == 0)
		r = restore_batches(daemon, &all, err);
	if (r == 0)
		r = restore_open_tasks(daemon, &all, err);
	if (all.n > 0)
		qsort(all.tasks, all.n, sizeof *all.tasks, by_id);
	for (size_t i = 0; i < all.n && r == 0; i++)
		r = restore_one(daemon, all.tasks[i], err);
	if (r == 0 && all.n > 0)
		log_info("%zu tasks restored", all.n);
	for (size_t i = 0; i < all.n_lists; i++)
		records_finish(&all.lists[i]);
	free(all.lists);
	free(all.tasks);
	return r;
}
