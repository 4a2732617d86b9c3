/*
 * Back come all batches that go on, with all their tasks (their counts are of all), and every task
 * that has not ended. What has ended stays in the store. The tasks come in pages, by id: a queue of
 * any length is in memory once, as sched has it.
 */
#include "daemon/restore.h"

#include "daemon/record.h"
#include "daemon/runner.h"
#include "util/log.h"

#include <malloc.h>

#define PAGE_TASKS 256

static int restore_batches(struct daemon *daemon, struct error *err)
{
	auto_record_batches struct record_batches open = {};
	int r = record_batches_load(daemon->store, 0, true, &open, err);

	for (size_t i = 0; i < open.n && r == 0; i++)
		r = sched_restore_batch(daemon->sched, &open.batches[i], err);
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
	if (r == 0 && n > 0)
		log_info("%zu tasks restored", n);
	(void)malloc_trim(0);
	return r;
}
