/*
 * Submits: what is refused and why, and what is accepted, all of a batch or nothing; and how one
 * that could not be stored is taken back.
 */
#include "sched/sched_priv.h"

#include <errno.h>

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
		r = user_check(sched, user_get(sched, spec->uid), &spec->request, 0, err);
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
		r = user_check(sched, user_get(sched, spec->uid), NULL, 1, err);
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
		r = user_check(sched, user_get(sched, spec->tasks[i].uid), NULL, n, err);
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
