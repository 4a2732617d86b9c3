/*
 * What happens to tasks. Every change of a state goes through task_move(): the table decides, the
 * effect is done, counts and lists follow. The functions here only find out which event a report
 * or a wish is.
 */
#include "sched/sched_priv.h"

#include "util/size.h"

#include <errno.h>
#include <string.h>

/* The first pause after a start the machine could not do; doubled each time. */
#define RESTART_PAUSE_MS 1000

static void state_set(struct sched *sched, struct task_node *t, enum sched_state next,
		      int64_t now_ms)
{
	sched->counts[t->pub.state]--;
	t->batch->pub.counts[t->pub.state]--;
	t->pub.state = next;
	sched->counts[next]++;
	t->batch->pub.counts[next]++;
	t->pub.updated_at_ms = now_ms;
	task_changed(sched, t);
	batch_changed(sched, t->batch);
	sched_touch(sched);
}

static void effect_do(struct sched *sched, struct task_node *t, enum sched_effect effect,
		      int64_t now_ms)
{
	switch (effect) {
	case SCHED_DO_ENQUEUE:
		waiting_add(sched, t);
		break;
	case SCHED_DO_DEQUEUE:
		waiting_remove(sched, t);
		break;
	case SCHED_DO_GRANT: /* the attempt was added by the step that decided */
		waiting_remove(sched, t);
		run_begin(sched, t, now_ms);
		break;
	case SCHED_DO_STOP: /* the signals follow in the step, by this flag */
		t->pub.stopping = true;
		break;
	case SCHED_DO_FREE:
		run_end(sched, t, now_ms);
		break;
	case SCHED_DO_REPEAT:
		run_end(sched, t, now_ms);
		waiting_add(sched, t);
		break;
	case SCHED_DO_NOTHING:
	case SCHED_EFFECT_COUNT:
		break;
	}
}

int task_move(struct sched *sched, struct task_node *t, enum sched_event event, int64_t now_ms)
{
	struct sched_move move = sched_move(t->pub.state, event);

	if (!move.allowed)
		return -EALREADY;
	effect_do(sched, t, move.effect, now_ms);
	state_set(sched, t, move.next, now_ms);
	if (sched_state_is_final(move.next))
		batch_task_ended(sched, t, now_ms);
	return 0;
}

int sched_started(struct sched *sched, uint64_t task, unsigned attempt, int64_t now_ms)
{
	struct task_node *t = task_find(sched, task);

	time_seen(sched, now_ms);
	if (!t || !t->run || task_current(t)->number != attempt || t->pub.state != SCHED_STARTING)
		return -ESTALE;
	return task_move(sched, t, SCHED_EV_STARTED, now_ms);
}

static void attempt_close(struct task_node *t, enum sched_outcome outcome, int64_t ended_at_ms)
{
	struct sched_attempt *attempt = task_current(t);

	attempt->outcome = outcome;
	attempt->ended_at_ms = ended_at_ms;
	attempt->changed = true;
}

/* Nothing of a batch that was canceled starts again. */
static bool may_repeat(const struct sched *sched, const struct task_node *t)
{
	return t->batch == &sched->singles || t->batch->pub.state != SCHED_BATCH_CANCELED;
}

int sched_start_failed(struct sched *sched, uint64_t task, unsigned attempt, const char *text,
		       bool transient, int64_t now_ms)
{
	struct task_node *t = task_find(sched, task);

	time_seen(sched, now_ms);
	if (!t || !t->run || task_current(t)->number != attempt)
		return -ESTALE;
	if (t->pub.stopping) {
		attempt_close(t, SCHED_OUTCOME_CANCELED, now_ms);
		task_reason(t, "canceled before it ran");
		return task_move(sched, t, SCHED_EV_STOPPED, now_ms);
	}
	attempt_close(t, SCHED_ERROR, now_ms);
	if (transient && t->pub.requeues < SCHED_REQUEUES_MAX && may_repeat(sched, t)) {
		t->pub.not_before_ms = now_ms + ((int64_t)RESTART_PAUSE_MS << t->pub.requeues);
		t->pub.requeues++;
		task_reason(t, "could not be started: %s", text);
		return task_move(sched, t, SCHED_EV_AGAIN, now_ms);
	}
	task_reason(t, "could not be started: %s", text);
	return task_move(sched, t, SCHED_EV_FAIL, now_ms);
}

/* The event an unsuccessful end is, counting it. May correct the outcome. */
static enum sched_event failure_event(struct sched *sched, struct task_node *t,
				      const struct sched_end *end, enum sched_outcome *outcome)
{
	bool repeat = may_repeat(sched, t);

	if ((*outcome == SCHED_ERROR || *outcome == SCHED_OOM) && loss_seen(t, end))
		*outcome = SCHED_GPU_LOST;
	if (*outcome == SCHED_GPU_LOST && repeat && t->pub.requeues < SCHED_REQUEUES_MAX) {
		t->pub.requeues++;
		return SCHED_EV_AGAIN;
	}
	if (*outcome != SCHED_GPU_LOST && repeat && t->pub.failures < t->pub.spec.retries) {
		t->pub.failures++;
		return SCHED_EV_AGAIN;
	}
	return *outcome == SCHED_OUTCOME_LOST ? SCHED_EV_VANISHED : SCHED_EV_FAIL;
}

static void end_how(const struct sched_end *end, char *buf, size_t size)
{
	if (!end->exit_known)
		(void)snprintf(buf, size, "it ended, but nobody saw how");
	else if (end->signal > 0)
		(void)snprintf(buf, size, "ended by signal %d (%s)", end->signal,
			       strsignal(end->signal));
	else
		(void)snprintf(buf, size, "exit code %d", end->exit_code);
}

static void end_reason(struct task_node *t, const struct sched_end *end, enum sched_outcome outcome,
		       enum sched_event event)
{
	const struct sched_attempt *attempt = task_current(t);
	char how[128], text[SCHED_REASON_MAX / 2];

	end_how(end, how, sizeof how);
	switch (outcome) {
	case SCHED_OK:
		task_reason(t, NULL);
		return;
	case SCHED_OUTCOME_CANCELED:
		if (!t->pub.reason)
			task_reason(t, "canceled while it ran (%s)", how);
		return;
	case SCHED_OOM:
		(void)snprintf(text, sizeof text, "out of GPU memory on GPU %u, granted %s (%s)",
			       attempt->n_gpus ? attempt->gpus[0].index : 0,
			       SIZE_TEXT(attempt->n_gpus ? attempt->gpus[0].vram_bytes : 0), how);
		break;
	case SCHED_HOST_OOM:
		(void)snprintf(text, sizeof text, "out of host memory (%s)", how);
		break;
	case SCHED_TIMEOUT:
		(void)snprintf(text, sizeof text, "ran out of time (%s)", how);
		break;
	case SCHED_GPU_LOST:
		(void)snprintf(text, sizeof text, "its GPU %u was lost (%s)",
			       attempt->n_gpus ? attempt->gpus[0].index : 0, how);
		break;
	case SCHED_ERROR:
	case SCHED_OUTCOME_LOST:
	case SCHED_OUTCOME_NONE:
	case SCHED_OUTCOME_COUNT:
		(void)snprintf(text, sizeof text, "%s", how);
		break;
	}
	task_reason(t, "%s%s%s%s", text, end->text && *end->text ? ": " : "",
		    end->text ? end->text : "",
		    event == SCHED_EV_AGAIN ? "; put back into the queue" : "");
}

int end_apply(struct sched *sched, struct task_node *t, const struct sched_end *end, int64_t now_ms)
{
	enum sched_outcome outcome = end->outcome;
	struct sched_attempt *attempt = task_current(t);
	enum sched_event event;

	attempt->exit_known = end->exit_known;
	attempt->exit_code = end->exit_code;
	attempt->signal = end->signal;
	attempt->peak_vram_bytes = MAX_OF(attempt->peak_vram_bytes, end->peak_vram_bytes);
	attempt->peak_ram_bytes = MAX_OF(attempt->peak_ram_bytes, end->peak_ram_bytes);
	if (t->pub.stopping) {
		outcome = SCHED_OUTCOME_CANCELED;
		event = SCHED_EV_STOPPED;
	} else if (outcome == SCHED_OK) {
		event = SCHED_EV_OK;
	} else {
		event = failure_event(sched, t, end, &outcome);
	}
	attempt_close(t, outcome, end->ended_at_ms > 0 ? end->ended_at_ms : now_ms);
	end_reason(t, end, outcome, event);
	return task_move(sched, t, event, now_ms);
}

int sched_ended(struct sched *sched, const struct sched_end *end, int64_t now_ms)
{
	struct task_node *t = task_find(sched, end->task);

	time_seen(sched, now_ms);
	if (!t || !t->run || t->run->end_waits || task_current(t)->number != end->attempt)
		return -ESTALE;
	return loss_await(sched, t, end, now_ms) ? 0 : end_apply(sched, t, end, now_ms);
}

static int wish(struct sched *sched, uint64_t id, enum sched_event event, int64_t now_ms,
		struct error *err)
{
	struct task_node *t = task_find(sched, id);

	time_seen(sched, now_ms);
	if (!t)
		return error_set(err, -ESRCH, "there is no task %llu", (unsigned long long)id);
	if (task_move(sched, t, event, now_ms) < 0)
		return error_set(err, -EALREADY, "task %llu is %s: it cannot be %s",
				 (unsigned long long)id, sched_state_name(t->pub.state),
				 event == SCHED_EV_CANCEL ? "canceled"
				 : event == SCHED_EV_HOLD ? "held"
							  : "released");
	if (t->pub.state == SCHED_CANCELED && !t->pub.reason)
		task_reason(t, "canceled while it waited");
	return 0;
}

int sched_cancel(struct sched *sched, uint64_t task, int64_t now_ms, struct error *err)
{
	return wish(sched, task, SCHED_EV_CANCEL, now_ms, err);
}

int sched_hold(struct sched *sched, uint64_t task, int64_t now_ms, struct error *err)
{
	return wish(sched, task, SCHED_EV_HOLD, now_ms, err);
}

int sched_release(struct sched *sched, uint64_t task, int64_t now_ms, struct error *err)
{
	return wish(sched, task, SCHED_EV_RELEASE, now_ms, err);
}
