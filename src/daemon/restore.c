/*
 * Back come all batches that go on, with all their tasks (their counts are of all), and every task
 * that has not ended. What has ended stays in the store. The tasks come in pages, by id: a queue of
 * any length is in memory once, as sched has it.
 */
#include "daemon/restore.h"

#include "daemon/after.h"
#include "daemon/clock.h"
#include "daemon/record.h"
#include "daemon/runner.h"
#include "util/log.h"

#include <errno.h>

#define PAGE_TASKS 256

static int restore_batches(struct daemon *daemon, struct error *err)
{
	auto_record_batches struct record_batches open = {};
	int r = record_batches_load(daemon->store, 0, true, &open, err);

	for (size_t i = 0; i < open.n && r == 0; i++)
		r = sched_restore_batch(daemon->sched, &open.batches[i], err);
	return r;
}

static int restore_one(struct daemon *daemon, struct sched_task *task, struct error *err)
{
	const struct sched_attempt *attempt;
	int r = after_look_up_left(daemon, task, err);

	if (r == 0)
		r = sched_restore_task(daemon->sched, task, err);
	if (r < 0)
		return r;
	if (task->state != SCHED_STARTING && task->state != SCHED_RUNNING)
		return 0;
	attempt = sched_task_attempt(sched_find(daemon->sched, task->id));
	if (attempt)
		runner_expect(daemon->runner, task->id, attempt->number);
	return 0;
}

static int restore_tasks(struct daemon *daemon, size_t *ret_n, struct error *err)
{
	struct store_query query = {.unended = true, .limit = PAGE_TASKS};
	bool more = true;
	int r = 0;

	while (r == 0 && more) {
		auto_records struct records page = {};

		r = records_load(daemon->store, &query, &page, err);
		for (size_t i = 0; i < page.n && r == 0; i++)
			r = restore_one(daemon, &page.tasks[i], err);
		*ret_n += page.n;
		more = page.n == query.limit;
		if (more)
			query.above_id = page.tasks[page.n - 1].id;
	}
	return r;
}

int restore_all(struct daemon *daemon, struct error *err)
{
	uint64_t last_task, last_batch;
	size_t n = 0;
	int r = store_last_ids(daemon->store, &last_task, &last_batch, err);

	if (r < 0)
		return r;
	sched_restore_ids(daemon->sched, last_task, last_batch);
	r = record_load_profiles(daemon->store, sched_estimates(daemon->sched), err);
	if (r == 0)
		r = restore_batches(daemon, err);
	if (r == 0)
		r = restore_tasks(daemon, &n, err);
	if (r == 0)
		r = clock_restore(daemon->clock, err);
	/* Now, not at the first step: ends are recorded before, as soon as the supervisor tells. */
	if (r == 0)
		sched_restored(daemon->sched, clock_now_ms(daemon->clock));
	if (r == 0 && n > 0)
		log_info("%zu tasks restored", n);
	return r;
}

static bool all_are_there(const struct sched *sched, const struct sched_batch *batch)
{
	unsigned n = 0;

	for (const struct sched_task *task = sched_batch_first(sched, batch->id); task;
	     task = sched_batch_next(task))
		n++;
	return n == batch->total;
}

static int batch_row_restore(struct daemon *daemon, uint64_t id, struct error *err)
{
	auto_record_batches struct record_batches found = {};
	int r = record_batches_load(daemon->store, id, false, &found, err);

	if (r == 0 && found.n == 0)
		r = error_set(err, -ENOENT, "there is no batch %llu", (unsigned long long)id);
	if (r < 0)
		return r;
	return sched_restore_batch(daemon->sched, &found.batches[0], err);
}

int restore_batch(struct daemon *daemon, uint64_t id, struct error *err)
{
	const struct sched_batch *batch = sched_find_batch(daemon->sched, id);
	auto_records struct records tasks = {};
	uint64_t whole = 0;
	int r;

	if (batch && all_are_there(daemon->sched, batch))
		return 0;
	/* With some of its tasks archived its counts would be wrong. */
	r = store_count_tasks(daemon->store, &(struct store_query){.batch = id, .archived = true},
			      &whole, err);
	if (r == 0)
		r = records_load(daemon->store, &(struct store_query){.batch = id}, &tasks, err);
	if (r == 0 && tasks.n < whole)
		r = error_set(err, -ENOENT,
			      "%llu of the %llu tasks of batch %llu are archived: submit it again, "
			      "with --resume",
			      (unsigned long long)(whole - tasks.n), (unsigned long long)whole,
			      (unsigned long long)id);
	if (r == 0 && !batch)
		r = batch_row_restore(daemon, id, err);
	for (size_t i = 0; i < tasks.n && r == 0; i++)
		if (!sched_find(daemon->sched, tasks.tasks[i].id))
			r = restore_one(daemon, &tasks.tasks[i], err);
	return r;
}

int restore_task(struct daemon *daemon, uint64_t id, struct error *err)
{
	auto_records struct records found = {};
	int r;

	if (sched_find(daemon->sched, id))
		return 0;
	r = records_load(daemon->store, &(struct store_query){.id = id}, &found, err);
	if (r == 0 && found.n == 0)
		r = error_set(err, -ENOENT, "there is no task %llu that could be tried again",
			      (unsigned long long)id);
	if (r < 0)
		return r;
	if (found.tasks[0].batch > 0)
		return restore_batch(daemon, found.tasks[0].batch, err);
	return restore_one(daemon, &found.tasks[0], err);
}
