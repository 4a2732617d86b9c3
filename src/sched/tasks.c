/*
 * Keeping tasks and batches: by id in a hash table, in id order in lists (of all, of a batch), the
 * active ones in a list of their own. A waiting task costs about 600 bytes and its own texts.
 */
#include "sched/sched_priv.h"

#include <string.h>

static struct task_node **bucket_of(const struct sched *sched, uint64_t id)
{
	/* Ids are consecutive: their low bits spread perfectly. */
	return &sched->buckets[id & (sched->n_buckets - 1)];
}

static void buckets_grow(struct sched *sched)
{
	size_t was = sched->n_buckets;
	struct task_node **old = sched->buckets;

	sched->n_buckets = was ? was * 2 : 1024;
	sched->buckets = mem_calloc(sched->n_buckets, sizeof(struct task_node *));
	for (size_t i = 0; i < was; i++) {
		while (old[i]) {
			struct task_node *t = old[i];
			struct task_node **slot = bucket_of(sched, t->pub.id);

			old[i] = t->hash_next;
			t->hash_next = *slot;
			*slot = t;
		}
	}
	free(old);
}

struct task_node *task_find(const struct sched *sched, uint64_t id)
{
	struct task_node *t = sched->n_buckets ? *bucket_of(sched, id) : NULL;

	while (t && t->pub.id != id)
		t = t->hash_next;
	return t;
}

struct batch_node *batch_find(const struct sched *sched, uint64_t id)
{
	/* From the newest: that is whom people ask for. */
	struct batch_node *b = sched->last_batch;

	while (b && b->pub.id != id)
		b = b->prev;
	return b;
}

/* Into the list of all, which is in id order; nearly always at its end. */
static void list_insert(struct sched *sched, struct task_node *t)
{
	struct task_node *before = sched->last;

	while (before && before->pub.id > t->pub.id)
		before = before->prev;
	t->prev = before;
	t->next = before ? before->next : sched->first;
	*(before ? &before->next : &sched->first) = t;
	*(t->next ? &t->next->prev : &sched->last) = t;
}

static void batch_list_insert(struct batch_node *b, struct task_node *t)
{
	struct task_node *before = b->last;

	while (before && before->pub.id > t->pub.id)
		before = before->batch_prev;
	t->batch_prev = before;
	t->batch_next = before ? before->batch_next : b->first;
	*(before ? &before->batch_next : &b->first) = t;
	*(t->batch_next ? &t->batch_next->batch_prev : &b->last) = t;
}

struct task_node *task_create(struct sched *sched, uint64_t id, struct batch_node *batch,
			      const struct sched_spec *spec)
{
	struct task_node *t = mem_calloc(1, sizeof *t);
	struct task_node **slot;

	t->pub.id = id;
	t->pub.batch = batch ? batch->pub.id : 0;
	t->batch = batch ? batch : &sched->singles;
	t->user = user_get(sched, spec->uid);
	t->user->tasks++;
	spec_keep(sched, t, spec);
	if (sched->n_tasks >= sched->n_buckets)
		buckets_grow(sched);
	slot = bucket_of(sched, id);
	t->hash_next = *slot;
	*slot = t;
	sched->n_tasks++;
	list_insert(sched, t);
	if (batch)
		batch_list_insert(batch, t);
	return t;
}

static void attempts_free(struct sched *sched, struct task_node *t)
{
	for (unsigned i = 0; i < t->pub.n_attempts; i++) {
		struct sched_attempt *attempt = &t->pub.attempts[i];

		for (unsigned g = 0; g < attempt->n_gpus; g++)
			string_pool_put(&sched->strings, attempt->gpus[g].uuid);
		free(attempt->gpus);
		free(attempt->reason);
		free(attempt->rung);
		free(attempt->limits);
		free(attempt->evidence);
		free(attempt->stopped);
		free(attempt->vram_reason);
	}
	free(t->pub.attempts);
}

static void changed_remove(struct sched *sched, const struct task_node *t)
{
	for (size_t i = 0; t->changed && i < sched->n_changed_tasks; i++) {
		if (sched->changed_tasks[i] != &t->pub)
			continue;
		memmove(&sched->changed_tasks[i], &sched->changed_tasks[i + 1],
			(--sched->n_changed_tasks - i) * sizeof(struct sched_task *));
		return;
	}
}

void task_destroy(struct sched *sched, struct task_node *t)
{
	struct task_node **slot = bucket_of(sched, t->pub.id);

	while (*slot != t)
		slot = &(*slot)->hash_next;
	*slot = t->hash_next;
	sched->n_tasks--;
	*(t->prev ? &t->prev->next : &sched->first) = t->next;
	*(t->next ? &t->next->prev : &sched->last) = t->prev;
	if (t->pub.batch) {
		*(t->batch_prev ? &t->batch_prev->batch_next : &t->batch->first) = t->batch_next;
		*(t->batch_next ? &t->batch_next->batch_prev : &t->batch->last) = t->batch_prev;
	}
	changed_remove(sched, t);
	if (t->run) {
		user_run(sched, t, -1, sched->last_ms);
		active_remove(sched, t);
	}
	after_forget_task(sched, t);
	attempts_free(sched, t);
	spec_drop(sched, t);
	t->user->tasks--;
	free(t->pub.reason);
	ladder_drop(sched, t);
	free(t);
}

struct batch_node *batch_create(struct sched *sched, uint64_t id, const char *name)
{
	struct batch_node *b = mem_calloc(1, sizeof *b);

	b->pub.id = id;
	b->pub.name = mem_strdup(name ? name : "");
	b->prev = sched->last_batch;
	*(b->prev ? &b->prev->next : &sched->first_batch) = b;
	sched->last_batch = b;
	return b;
}

void batch_destroy(struct sched *sched, struct batch_node *b)
{
	*(b->prev ? &b->prev->next : &sched->first_batch) = b->next;
	*(b->next ? &b->next->prev : &sched->last_batch) = b->prev;
	for (size_t i = 0; b->changed && i < sched->n_changed_batches; i++) {
		if (sched->changed_batches[i] != &b->pub)
			continue;
		memmove(&sched->changed_batches[i], &sched->changed_batches[i + 1],
			(--sched->n_changed_batches - i) * sizeof(struct sched_batch *));
		break;
	}
	lanes_destroy(sched, &b->lanes);
	after_forget_batch(sched, b);
	for (size_t i = 0; i < b->n_gpus; i++)
		string_pool_put(&sched->strings, b->gpus[i].uuid);
	free(b->gpus);
	free((char *)(uintptr_t)b->pub.name);
	free(b);
}

struct sched_attempt *task_add_attempt(struct task_node *t)
{
	struct sched_attempt *attempt;

	t->pub.attempts =
	    mem_realloc(t->pub.attempts, t->pub.n_attempts + 1, sizeof *t->pub.attempts);
	attempt = &t->pub.attempts[t->pub.n_attempts++];
	*attempt = (struct sched_attempt){.number = t->pub.n_attempts, .changed = true};
	return attempt;
}

void task_reason(struct task_node *t, const char *fmt, ...)
{
	char text[SCHED_REASON_MAX];
	va_list ap;

	free(t->pub.reason);
	t->pub.reason = NULL;
	if (!fmt)
		return;
	va_start(ap, fmt);
	(void)vsnprintf(text, sizeof text, fmt, ap);
	va_end(ap);
	t->pub.reason = mem_strdup(text);
}

void task_changed(struct sched *sched, struct task_node *t)
{
	if (t->changed)
		return;
	t->changed = true;
	ARRAY_GROW(sched->changed_tasks, sched->n_changed_tasks, sched->changed_tasks_room);
	sched->changed_tasks[sched->n_changed_tasks++] = &t->pub;
}

void batch_changed(struct sched *sched, struct batch_node *b)
{
	if (b->changed || b == &sched->singles)
		return;
	b->changed = true;
	ARRAY_GROW(sched->changed_batches, sched->n_changed_batches, sched->changed_batches_room);
	sched->changed_batches[sched->n_changed_batches++] = &b->pub;
}

void task_count(struct sched *sched, struct task_node *t, enum sched_state state, int by)
{
	sched->counts[state] += (unsigned)by;
	t->batch->pub.counts[state] += (unsigned)by;
	if (!sched_state_is_final(state))
		t->user->queued += (unsigned)by;
}

void active_add(struct sched *sched, struct task_node *t, int64_t now_ms)
{
	t->run = mem_calloc(1, sizeof *t->run);
	t->run->accounted_ms = now_ms;
	t->run->next = sched->active;
	if (sched->active)
		sched->active->run->prev = t;
	sched->active = t;
	t->batch->active++;
}

void active_remove(struct sched *sched, struct task_node *t)
{
	struct run *run = t->run;

	*(run->prev ? &run->prev->run->next : &sched->active) = run->next;
	if (run->next)
		run->next->run->prev = run->prev;
	t->batch->active--;
	free((char *)(uintptr_t)run->end.text);
	free(run->ramps);
	free(run->stop_text);
	free(run->stop_words);
	string_pool_put(&sched->strings, run->kind);
	free(run);
	t->run = NULL;
}
