/* See sched_stored.h. Texts of specs are constants of the test and are not copied. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include "sched_stored.h"

#include <string.h>

static void task_free(struct sched_task *task)
{
	if (!task)
		return;
	for (unsigned i = 0; i < task->n_attempts; i++) {
		for (unsigned g = 0; g < task->attempts[i].n_gpus; g++)
			free((char *)(uintptr_t)task->attempts[i].gpus[g].uuid);
		free(task->attempts[i].gpus);
		free(task->attempts[i].reason);
		free(task->attempts[i].rung);
		free(task->attempts[i].limits);
		free(task->attempts[i].stopped);
		free(task->attempts[i].vram_reason);
		free(task->attempts[i].evidence);
	}
	if (task->spec.after)
		free((void *)(uintptr_t)task->spec.after->items);
	free((void *)(uintptr_t)task->spec.after);
	free((char *)(uintptr_t)task->spec.request.pin_uuid);
	free(task->attempts);
	free(task->after);
	free(task->reason);
	free(task->ladder);
	free((void *)(uintptr_t)task->spec.on_oom);
	free(task);
}

static void *copy_of(const void *from, size_t size)
{
	void *to = mem_alloc(size ? size : 1);

	if (size > 0)
		memcpy(to, from, size);
	return to;
}

static void attempts_copy(struct sched_task *to, const struct sched_task *from)
{
	to->attempts = copy_of(from->attempts, from->n_attempts * sizeof *from->attempts);
	for (unsigned i = 0; i < from->n_attempts; i++) {
		struct sched_attempt *a = &to->attempts[i];

		a->reason = a->reason ? mem_strdup(a->reason) : NULL;
		a->rung = a->rung ? mem_strdup(a->rung) : NULL;
		a->limits = a->limits ? mem_strdup(a->limits) : NULL;
		a->stopped = a->stopped ? mem_strdup(a->stopped) : NULL;
		a->vram_reason = a->vram_reason ? mem_strdup(a->vram_reason) : NULL;
		a->evidence = a->evidence ? mem_strdup(a->evidence) : NULL;
		a->gpus = copy_of(a->gpus, a->n_gpus * sizeof *a->gpus);
		for (unsigned g = 0; g < a->n_gpus; g++)
			a->gpus[g].uuid = mem_strdup(a->gpus[g].uuid);
	}
}

static struct sched_task *task_copy(const struct sched_task *from)
{
	static const char *const argv[] = {"true", "{device}", NULL};
	struct sched_task *to = copy_of(from, sizeof *from);
	const struct sched_after *after = from->spec.after;

	to->spec.argv = argv;
	to->spec.name = "t";
	to->spec.cwd = "/";
	to->spec.kind = strcmp(from->spec.kind, "tiny") == 0    ? "tiny"
			: strcmp(from->spec.kind, "large") == 0 ? "large"
								: "";
	if (from->spec.request.pin_uuid)
		to->spec.request.pin_uuid = mem_strdup(from->spec.request.pin_uuid);
	if (after) {
		struct sched_after *own = copy_of(after, sizeof *after);

		own->items = copy_of(after->items, after->n * sizeof *after->items);
		to->spec.after = own;
	}
	to->after =
	    from->n_after ? copy_of(from->after, from->n_after * sizeof *from->after) : NULL;
	to->reason = from->reason ? mem_strdup(from->reason) : NULL;
	if (from->ladder)
		to->ladder = copy_of(from->ladder, sizeof *from->ladder);
	if (from->spec.on_oom)
		to->spec.on_oom =
		    copy_of(from->spec.on_oom, from->spec.n_on_oom * sizeof *from->spec.on_oom);
	attempts_copy(to, from);
	return to;
}

static void batch_free(struct sched_batch *batch)
{
	if (batch)
		free((char *)(uintptr_t)batch->name);
	free(batch);
}

/* Slot `id` of a growing array. */
static void **slot_of(void ***items, size_t *n, uint64_t id)
{
	while (*n <= id) {
		size_t more = *n ? *n * 2 : 256;

		*items = mem_realloc(*items, more, sizeof **items);
		memset(*items + *n, 0, (more - *n) * sizeof **items);
		*n = more;
	}
	return &(*items)[id];
}

void stored_commit(struct stored *stored, struct sched *sched)
{
	struct sched_changes changes = sched_changes(sched);

	for (size_t i = 0; i < changes.n_tasks; i++) {
		void **slot = slot_of((void ***)(void *)&stored->tasks, &stored->n_tasks,
				      changes.tasks[i]->id);

		task_free(*slot);
		*slot = task_copy(changes.tasks[i]);
	}
	for (size_t i = 0; i < changes.n_batches; i++) {
		void **slot = slot_of((void ***)(void *)&stored->batches, &stored->n_batches,
				      changes.batches[i]->id);
		struct sched_batch *copy = copy_of(changes.batches[i], sizeof *copy);

		copy->name = mem_strdup(copy->name);
		batch_free(*slot);
		*slot = copy;
	}
	sched_changes_clear(sched);
}

void stored_restore(const struct stored *stored, struct sched *sched, bool backwards,
		    bool (*load_ended)(void *arg), void *arg)
{
	struct error err;

	for (size_t i = 0; i < stored->n_batches; i++) {
		const struct sched_batch *batch = stored->batches[i];

		if (batch && (batch->ended_at_ms == 0 || load_ended(arg)))
			assert_int_equal(sched_restore_batch(sched, batch, &err), 0);
	}
	for (size_t i = 0; i < stored->n_tasks; i++) {
		const struct sched_task *task =
		    stored->tasks[backwards ? stored->n_tasks - 1 - i : i];

		if (!task || (task->batch ? !sched_find_batch(sched, task->batch)
					  : sched_state_is_final(task->state) && !load_ended(arg)))
			continue;
		assert_int_equal(sched_restore_task(sched, task, &err), 0);
	}
}

void stored_finish(struct stored *stored)
{
	for (size_t i = 0; i < stored->n_tasks; i++)
		task_free(stored->tasks[i]);
	for (size_t i = 0; i < stored->n_batches; i++)
		batch_free(stored->batches[i]);
	free(stored->tasks);
	free(stored->batches);
	*stored = (struct stored){};
}
