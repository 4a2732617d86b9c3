/*
 * The queue's outside: making it, submits, restoring, reading, and the lists of changes and
 * actions. Events are in events.c, the decision in step.c, the machine in machine.c.
 */
#include "sched/sched_priv.h"

#include <errno.h>
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
	free(sched->gpu_starts);
	free(sched->buckets);
	gpu_list_destroy(sched->gpus);
	estimates_destroy(sched->estimates);
	free(sched->rules);
	free(sched->ghosts);
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

static size_t open_tasks(const struct sched *sched)
{
	return sched->counts[SCHED_WAITING] + sched->counts[SCHED_HELD] +
	       sched->counts[SCHED_STARTING] + sched->counts[SCHED_RUNNING];
}

static int spec_check(const struct ledger *ledger, const struct sched_spec *spec, struct error *err)
{
	const struct place_request *request = &spec->request;

	if (!spec->argv || !spec->argv[0])
		return error_set(err, -EINVAL, "the command is empty");
	if (request->gpus > PLACE_GPUS_MAX)
		return error_set(err, -EINVAL, "asks for %u GPUs; at most %d can be asked for",
				 request->gpus, PLACE_GPUS_MAX);
	if ((request->cpu == PLACE_CPU_ONLY) != (request->gpus == 0))
		return error_set(err, -EINVAL,
				 request->gpus == 0 ? "asks for no GPU: say --cpu only"
						    : "asks for a GPU and for --cpu only");
	return ledger ? place_check(ledger, request, err) : 0;
}

static struct ledger *check_ledger(const struct sched *sched)
{
	return sched->gpus->state == GPU_SOURCE_UNKNOWN ? NULL : ledger_now(sched, NULL);
}

static int room_check(const struct sched *sched, size_t n, struct error *err)
{
	if (open_tasks(sched) + n > SCHED_TASKS_MAX)
		return error_set(
		    err, -EDQUOT,
		    "the queue holds %zu tasks, at most %d: wait until some have ended",
		    open_tasks(sched), SCHED_TASKS_MAX);
	return 0;
}

static int request_check(struct sched *sched, const struct ledger *ledger,
			 const struct sched_spec *spec, struct error *err)
{
	int r = spec_check(ledger, spec, err);

	if (r == 0)
		r = user_check(user_get(sched, spec->uid), &spec->request, 0, err);
	return r < 0 ? r : after_check(sched, spec->after, err);
}

static struct task_node *task_new(struct sched *sched, struct batch_node *b,
				  const struct sched_spec *spec, int64_t now_ms)
{
	struct task_node *t = task_create(sched, ++sched->last_task_id, b, spec);

	t->pub.state = spec->held ? SCHED_HELD : SCHED_WAITING;
	t->pub.submitted_at_ms = t->pub.updated_at_ms = now_ms;
	t->pub.not_before_ms = spec->not_before_ms;
	waiting_queue(sched, t, now_ms);
	task_count(sched, t, t->pub.state, 1);
	task_changed(sched, t);
	return t;
}

/* Into the queue; or out of it at once, when what it waits for can never come. */
static void task_admit(struct sched *sched, struct task_node *t, int64_t now_ms)
{
	char why[SCHED_REASON_MAX];
	bool may_come = after_begin(sched, t, false, why, sizeof why);

	if (t->pub.state == SCHED_WAITING)
		waiting_add(sched, t);
	if (may_come)
		return;
	task_reason(t, "%s", why);
	(void)task_move(sched, t, SCHED_EV_CANCEL, now_ms);
}

int sched_submit(struct sched *sched, const struct sched_spec *spec, int64_t now_ms,
		 uint64_t *ret_id, struct error *err)
{
	struct ledger *ledger = check_ledger(sched);
	struct task_node *t;
	int r = room_check(sched, 1, err);

	time_seen(sched, now_ms);
	if (r == 0)
		r = request_check(sched, ledger, spec, err);
	if (r == 0)
		r = user_check(user_get(sched, spec->uid), NULL, 1, err);
	ledger_destroy(ledger);
	if (r < 0)
		return r;
	t = task_new(sched, NULL, spec, now_ms);
	sched->wishes_given = NULL;
	task_admit(sched, t, now_ms);
	after_settle(sched, now_ms);
	*ret_id = t->pub.id;
	sched_touch(sched);
	return 0;
}

/* Tasks of several users in one batch: each is counted for his own. */
static int batch_users_check(struct sched *sched, const struct sched_batch_spec *spec,
			     struct error *err)
{
	size_t n = 0;
	int r = 0;

	for (size_t i = 0; r == 0 && i < spec->n_tasks; i++) {
		n++;
		if (i + 1 < spec->n_tasks && spec->tasks[i + 1].uid == spec->tasks[i].uid)
			continue;
		r = user_check(user_get(sched, spec->tasks[i].uid), NULL, n, err);
		n = 0;
	}
	return r;
}

static int batch_check(struct sched *sched, const struct sched_batch_spec *spec, struct error *err)
{
	struct ledger *ledger = check_ledger(sched);
	int r = room_check(sched, spec->n_tasks, err);

	for (size_t i = 0; r == 0 && i < spec->n_tasks; i++) {
		r = request_check(sched, ledger, &spec->tasks[i], err);
		if (r < 0)
			r = error_prefix(err, r, "row %u",
					 spec->tasks[i].row ? spec->tasks[i].row : (unsigned)i + 1);
	}
	ledger_destroy(ledger);
	return r < 0 ? r : batch_users_check(sched, spec, err);
}

int sched_submit_batch(struct sched *sched, const struct sched_batch_spec *spec, int64_t now_ms,
		       uint64_t *ret_batch, uint64_t *ret_first_task, struct error *err)
{
	struct batch_node *b;
	int r;

	time_seen(sched, now_ms);
	r = batch_check(sched, spec, err);
	if (r < 0)
		return r;
	b = batch_create(sched, ++sched->last_batch_id, spec->name);
	b->pub.uid = spec->uid;
	b->pub.is_private = spec->is_private;
	b->pub.on_failure = spec->on_failure;
	b->pub.submitted_at_ms = now_ms;
	b->pub.total = (unsigned)spec->n_tasks;
	*ret_first_task = sched->last_task_id + 1;
	for (size_t i = 0; i < spec->n_tasks; i++)
		(void)task_new(sched, b, &spec->tasks[i], now_ms);
	sched->wishes_given = NULL;
	for (struct task_node *t = b->first; t; t = t->batch_next)
		task_admit(sched, t, now_ms);
	batch_changed(sched, b);
	batch_settle(sched, b, now_ms);
	after_settle(sched, now_ms);
	*ret_batch = b->pub.id;
	sched_touch(sched);
	return 0;
}

/* As if it had never been. */
static void withdraw(struct sched *sched, struct task_node *t)
{
	size_t kept = 0;

	for (size_t i = 0; i < sched->n_actions; i++) {
		if (sched->actions[i].task != t->pub.id)
			sched->actions[kept++] = sched->actions[i];
	}
	sched->n_actions = kept;
	if (t->pub.state == SCHED_WAITING)
		waiting_remove(sched, t);
	task_count(sched, t, t->pub.state, -1);
	task_destroy(sched, t);
	sched_touch(sched);
}

int sched_withdraw_task(struct sched *sched, uint64_t id)
{
	struct task_node *t = task_find(sched, id);

	if (!t)
		return -ESRCH;
	if (t->stored || t->pub.batch)
		return -EBUSY;
	withdraw(sched, t);
	if (id == sched->last_task_id)
		sched->last_task_id--;
	return 0;
}

int sched_withdraw_batch(struct sched *sched, uint64_t id)
{
	struct batch_node *b = batch_find(sched, id);

	if (!b)
		return -ESRCH;
	if (b->stored)
		return -EBUSY;
	/* Ids of a batch are consecutive. */
	if (b->last && b->last->pub.id == sched->last_task_id)
		sched->last_task_id = b->first->pub.id - 1;
	while (b->first)
		withdraw(sched, b->first);
	batch_destroy(sched, b);
	if (id == sched->last_batch_id)
		sched->last_batch_id--;
	return 0;
}

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

	if (t->pub.state != SCHED_DONE || !t->pub.batch || !last)
		return;
	t->batch->on_cpu += last->n_gpus == 0;
	for (unsigned g = 0; g < last->n_gpus; g++) {
		struct batch_gpu *gpu =
		    batch_gpu_get(sched, t->batch, last->gpus[g].uuid, last->gpus[g].index);

		gpu->tasks++;
		gpu->peak_vram_bytes = MAX_OF(gpu->peak_vram_bytes, last->peak_vram_bytes);
	}
	for (unsigned i = 0; i + 1 < t->pub.n_attempts; i++) {
		if (t->pub.attempts[i].outcome == SCHED_OOM) {
			t->batch->oom_recovered++;
			break;
		}
	}
}

static bool state_is_active(enum sched_state state)
{
	return state == SCHED_STARTING || state == SCHED_RUNNING;
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
	t->pub.stopping = task->stopping;
	t->pub.overtime = task->overtime;
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
	sums_restore(sched, t);
	sched_touch(sched);
	return 0;
}

void sched_restore_ids(struct sched *sched, uint64_t last_task, uint64_t last_batch)
{
	sched->last_task_id = MAX_OF(sched->last_task_id, last_task);
	sched->last_batch_id = MAX_OF(sched->last_batch_id, last_batch);
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
