/*
 * What people ask for, of a task or of all tasks of a batch: cancel, hold, release, retry, another
 * priority. Whether it is possible says the table of states.
 */
#include "sched/sched_priv.h"

#include <errno.h>

/* The words for an event; and what has to be done to a task before the move. */
struct wish {
	enum sched_event event;
	const char *done; /* "it cannot be ..." */
	void (*prepare)(struct sched *sched, struct task_node *t, int64_t now_ms);
};

/* As if it had just been submitted, with its attempts so far on record. */
static void prepare_retry(struct sched *sched, struct task_node *t, int64_t now_ms)
{
	struct batch_node *b = t->batch;

	t->pub.failures = t->pub.requeues = 0;
	t->pub.start_failures = t->pub.start_refusals = 0;
	t->pub.stopping = t->pub.overtime = false;
	ladder_drop(sched, t);
	t->pub.not_before_ms = 0;
	task_reason(t, NULL);
	waiting_queue(sched, t, now_ms);
	t->pub.queued_at_ms = sched->last_queued_ms;
	(void)after_begin(sched, t, true, NULL, 0);
	if (b == &sched->singles || b->pub.state == SCHED_BATCH_ASKING)
		return;
	b->pub.state = SCHED_BATCH_RUNNING;
	b->pub.ended_at_ms = 0;
	batch_changed(sched, b);
}

static const struct wish wish_cancel = {SCHED_EV_CANCEL, "canceled", NULL};
static const struct wish wish_hold = {SCHED_EV_HOLD, "held", NULL};
static const struct wish wish_release = {SCHED_EV_RELEASE, "released", NULL};
static const struct wish wish_retry = {SCHED_EV_RETRY, "retried", prepare_retry};

/* Nobody remembers by "waited" that it ran before. */
static void reason_canceled(struct task_node *t)
{
	unsigned fell = 0;

	for (size_t i = 0; i < t->pub.n_attempts; i++)
		fell += t->pub.attempts[i].outcome == SCHED_OOM ||
			t->pub.attempts[i].outcome == SCHED_HOST_OOM;
	if (fell == 0)
		task_reason(t, "canceled while it waited");
	else
		task_reason(t,
			    "canceled while it waited to be tried again: it had run out of memory "
			    "%u time%s",
			    fell, fell == 1 ? "" : "s");
}

static int wish_do(struct sched *sched, struct task_node *t, const struct wish *wish,
		   int64_t now_ms)
{
	int r;

	if (!sched_move(t->pub.state, wish->event).allowed)
		return -EALREADY;
	if (wish->prepare)
		wish->prepare(sched, t, now_ms);
	if (wish->event == SCHED_EV_CANCEL && !t->run)
		reason_canceled(t);
	r = task_move(sched, t, wish->event, now_ms);
	after_settle(sched, now_ms);
	return r;
}

static int wish_one(struct sched *sched, uint64_t id, const struct wish *wish, int64_t now_ms,
		    struct error *err)
{
	struct task_node *t = task_find(sched, id);

	time_seen(sched, now_ms);
	if (!t)
		return error_set(err, -ESRCH, "there is no task %llu", (unsigned long long)id);
	if (wish_do(sched, t, wish, now_ms) < 0)
		return error_set(err, -EALREADY, "task %llu is %s: it cannot be %s",
				 (unsigned long long)id, sched_state_name(t->pub.state),
				 wish->done);
	return 0;
}

int sched_cancel(struct sched *sched, uint64_t task, int64_t now_ms, struct error *err)
{
	return wish_one(sched, task, &wish_cancel, now_ms, err);
}

static void cancel_batches(struct sched *sched, const uid_t *uid, struct sched_canceled *canceled)
{
	for (struct batch_node *b = sched->first_batch; b; b = b->next) {
		if (b->pub.ended_at_ms > 0 || b->pub.state == SCHED_BATCH_CANCELED ||
		    (uid && b->pub.uid != *uid))
			continue;
		b->pub.state = SCHED_BATCH_CANCELED;
		batch_changed(sched, b);
		canceled->batches++;
	}
}

void sched_cancel_all(struct sched *sched, const uid_t *uid, int64_t now_ms,
		      struct sched_canceled *ret_canceled)
{
	struct sched_canceled canceled = {};
	struct task_node *t;

	time_seen(sched, now_ms);
	/* Counted first: one that is canceled may take those along that were to run after it. */
	for (t = sched->first; t; t = t->next) {
		if (uid && t->pub.spec.uid != *uid)
			continue;
		canceled.waiting += t->pub.state == SCHED_WAITING || t->pub.state == SCHED_HELD;
		canceled.running += t->run && !t->pub.stopping;
	}
	cancel_batches(sched, uid, &canceled);
	for (t = sched->first; t; t = t->next) {
		if ((uid && t->pub.spec.uid != *uid) ||
		    (t->pub.state != SCHED_WAITING && t->pub.state != SCHED_HELD))
			continue;
		if (t->batch == &sched->singles)
			reason_canceled(t);
		else
			task_reason(t, "its batch was canceled");
		(void)task_move(sched, t, SCHED_EV_CANCEL, now_ms);
	}
	for (t = sched->first; t; t = t->next) {
		if ((!uid || t->pub.spec.uid == *uid) && t->run && !t->pub.stopping)
			(void)task_move(sched, t, SCHED_EV_CANCEL, now_ms);
	}
	for (struct batch_node *b = sched->first_batch; b; b = b->next) {
		if (!uid || b->pub.uid == *uid)
			batch_settle(sched, b, now_ms);
	}
	after_settle(sched, now_ms);
	sched_touch(sched);
	*ret_canceled = canceled;
}

int sched_hold(struct sched *sched, uint64_t task, int64_t now_ms, struct error *err)
{
	return wish_one(sched, task, &wish_hold, now_ms, err);
}

int sched_release(struct sched *sched, uint64_t task, int64_t now_ms, struct error *err)
{
	return wish_one(sched, task, &wish_release, now_ms, err);
}

int sched_retry(struct sched *sched, uint64_t task, int64_t now_ms, struct error *err)
{
	return wish_one(sched, task, &wish_retry, now_ms, err);
}

static int wish_batch(struct sched *sched, uint64_t id, const struct wish *wish, int64_t now_ms,
		      unsigned *ret_n, struct error *err)
{
	struct batch_node *b = batch_find(sched, id);
	unsigned n = 0;

	time_seen(sched, now_ms);
	if (!b)
		return error_set(err, -ESRCH, "there is no batch %llu", (unsigned long long)id);
	for (struct task_node *t = b->first; t; t = t->batch_next)
		n += wish_do(sched, t, wish, now_ms) == 0;
	if (n == 0)
		return error_set(err, -EALREADY, "batch %llu is %s: none of its tasks can be %s",
				 (unsigned long long)id, sched_batch_state_name(b->pub.state),
				 wish->done);
	*ret_n = n;
	return 0;
}

int sched_batch_hold(struct sched *sched, uint64_t batch, int64_t now_ms, unsigned *ret_n,
		     struct error *err)
{
	return wish_batch(sched, batch, &wish_hold, now_ms, ret_n, err);
}

int sched_batch_release(struct sched *sched, uint64_t batch, int64_t now_ms, unsigned *ret_n,
			struct error *err)
{
	return wish_batch(sched, batch, &wish_release, now_ms, ret_n, err);
}

int sched_batch_retry(struct sched *sched, uint64_t batch, int64_t now_ms, unsigned *ret_n,
		      struct error *err)
{
	return wish_batch(sched, batch, &wish_retry, now_ms, ret_n, err);
}

int sched_set_priority(struct sched *sched, uint64_t task, int priority, int64_t now_ms,
		       struct error *err)
{
	struct task_node *t = task_find(sched, task);
	bool waits;

	time_seen(sched, now_ms);
	if (!t)
		return error_set(err, -ESRCH, "there is no task %llu", (unsigned long long)task);
	if (t->pub.state != SCHED_WAITING && t->pub.state != SCHED_HELD)
		return error_set(err, -EALREADY, "task %llu is %s: its priority matters no more",
				 (unsigned long long)task, sched_state_name(t->pub.state));
	waits = t->pub.state == SCHED_WAITING;
	if (waits)
		waiting_remove(sched, t);
	t->pub.spec.priority = priority;
	if (waits)
		waiting_add(sched, t);
	task_changed(sched, t);
	sched_touch(sched);
	return 0;
}
