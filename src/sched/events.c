/*
 * What happens to tasks. Every change of a state goes through task_move(): the table decides, the
 * effect is done, counts and lists follow. The functions here only find out which event a report
 * or a wish is.
 */
#include "sched/ladder.h"
#include "sched/sched_priv.h"

#include "util/duration.h"
#include "util/size.h"

#include <errno.h>
#include <string.h>

/* The first pause after a start the machine could not do. */
#define START_PAUSE_MS 1000

static void state_set(struct sched *sched, struct task_node *t, enum sched_state next,
		      int64_t now_ms)
{
	task_count(sched, t, t->pub.state, -1);
	t->pub.state = next;
	task_count(sched, t, next, 1);
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
	if (sched_state_is_final(move.next)) {
		after_unlink(sched, t);
		after_task_ended(sched, t);
		batch_task_ended(sched, t, now_ms);
		after_settle(sched, now_ms);
	}
	return 0;
}

int sched_set_limits(struct sched *sched, uint64_t task, unsigned attempt, const char *words,
		     int64_t now_ms)
{
	struct task_node *t = task_find(sched, task);
	struct sched_attempt *current;
	char *before;

	time_seen(sched, now_ms);
	if (!t || !t->run || task_current(t)->number != attempt)
		return -ESTALE;
	current = task_current(t);
	before = current->limits;
	/* The supervisor says it again on each connection. */
	if (before && strstr(before, words))
		return 0;
	current->limits = before ? mem_printf("%s; %s", before, words) : mem_strdup(words);
	free(before);
	current->changed = true;
	task_changed(sched, t);
	return 0;
}

int sched_started(struct sched *sched, uint64_t task, unsigned attempt, int64_t now_ms)
{
	struct task_node *t = task_find(sched, task);

	time_seen(sched, now_ms);
	if (!t || !t->run || task_current(t)->number != attempt || t->pub.state != SCHED_STARTING)
		return -ESTALE;
	t->run->since_ms = now_ms;
	t->pub.start_failures = t->pub.start_refusals = 0;
	sched->start_failures = 0;
	sched->brake_until_ms = 0;
	return task_move(sched, t, SCHED_EV_STARTED, now_ms);
}

static void attempt_close(struct task_node *t, enum sched_outcome outcome, int64_t ended_at_ms)
{
	struct sched_attempt *attempt = task_current(t);

	attempt->outcome = outcome;
	/* Between a report and the step of the clock that preceded it, a little may be missing. */
	attempt->ended_at_ms = MAX_OF(ended_at_ms, attempt->started_at_ms);
	attempt->changed = true;
}

/* Nothing of a batch that was canceled starts again. */
static bool may_repeat(const struct sched *sched, const struct task_node *t)
{
	return t->batch == &sched->singles || t->batch->pub.state != SCHED_BATCH_CANCELED;
}

/* The nth pause: doubled each time. */
static int64_t pause_of(int64_t first_ms, int64_t max_ms, unsigned n)
{
	unsigned doublings = MIN_OF(n - 1, 20U);

	return MIN_OF(MIN_OF(first_ms, max_ms) << doublings, max_ms);
}

/*
 * The machine cannot start processes. Trying the whole queue would end in as many failures: nothing
 * is started for a while, and then one task at a time until one starts.
 */
static void brake(struct sched *sched, const struct task_node *t, const char *text, int64_t now_ms)
{
	sched->start_failures++;
	sched->brake_until_ms =
	    now_ms + pause_of(START_PAUSE_MS, SCHED_START_PAUSE_MAX_MS, sched->start_failures);
	sched->brake_uid = t->pub.spec.uid;
	(void)snprintf(sched->brake_text, sizeof sched->brake_text, " (task %llu: %s)",
		       (unsigned long long)t->pub.id, text);
}

/* Counted, and when it is tried again. False: it was tried often enough. */
static bool start_put_off(struct task_node *t, enum sched_fault fault, int64_t now_ms)
{
	unsigned n;

	if (fault == SCHED_FAULT_MACHINE) {
		n = ++t->pub.start_failures;
		t->pub.not_before_ms =
		    now_ms + pause_of(START_PAUSE_MS, SCHED_START_PAUSE_MAX_MS, n);
		return true;
	}
	t->pub.start_failures = 0;
	n = ++t->pub.start_refusals;
	t->pub.not_before_ms = now_ms + pause_of(START_PAUSE_MS, SCHED_REFUSAL_PAUSE_MAX_MS, n);
	return n < SCHED_REFUSALS_MAX;
}

int sched_start_failed(struct sched *sched, uint64_t task, unsigned attempt, const char *text,
		       enum sched_fault fault, int64_t now_ms)
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
	if (fault == SCHED_FAULT_TASK) {
		task_reason(t, "could not be started: %s", text);
		return task_move(sched, t, SCHED_EV_FAIL, now_ms);
	}
	if (fault == SCHED_FAULT_MACHINE)
		brake(sched, t, text, now_ms);
	if (!may_repeat(sched, t)) {
		task_reason(t, "not started: its batch is canceled, and %s", text);
		return task_move(sched, t, SCHED_EV_STOPPED, now_ms);
	}
	if (!start_put_off(t, fault, now_ms)) {
		task_reason(t, "could not be started, %u times in a row: %s", t->pub.start_refusals,
			    text);
		return task_move(sched, t, SCHED_EV_FAIL, now_ms);
	}
	task_reason(t, "could not be started: %s", text);
	return task_move(sched, t, SCHED_EV_AGAIN, now_ms);
}

/* After so many failures; 0 = at once. */
static int64_t retry_at(const struct task_node *t, int64_t now_ms)
{
	int64_t pause = t->pub.spec.retry_delay_ms;

	if (pause == SCHED_RETRY_AT_ONCE)
		return 0;
	return now_ms + pause_of(pause > 0 ? pause : SCHED_RETRY_DELAY_MS, SCHED_RETRY_DELAY_MAX_MS,
				 t->pub.failures);
}

/* The event an unsuccessful end is, counting it. May correct the outcome. `said`: what its ladder
 * made of it. */
static enum sched_event failure_event(struct sched *sched, struct task_node *t,
				      const struct sched_end *end, enum sched_outcome *outcome,
				      char said[LADDER_TEXT_MAX], int64_t now_ms)
{
	bool repeat = may_repeat(sched, t) && !end->may_run_on;

	if ((*outcome == SCHED_ERROR || *outcome == SCHED_OOM || *outcome == SCHED_TIMEOUT) &&
	    loss_seen(t, end))
		*outcome = SCHED_GPU_LOST;
	if (*outcome == SCHED_GPU_LOST && repeat && t->pub.requeues < SCHED_REQUEUES_MAX) {
		t->pub.requeues++;
		return SCHED_EV_AGAIN;
	}
	/* The ladder has the last word on it: what it gives up is not tried again. */
	if ((*outcome == SCHED_OOM || *outcome == SCHED_HOST_OOM) && repeat)
		return climb(sched, t, end, *outcome, said) ? SCHED_EV_AGAIN : SCHED_EV_FAIL;
	if (*outcome != SCHED_GPU_LOST && repeat && t->pub.failures < t->pub.spec.retries) {
		t->pub.failures++;
		t->pub.not_before_ms = retry_at(t, now_ms);
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

/* "out of GPU memory on GPU 1, granted 6 GiB, asked for 8.84 GiB more (exit code 1)" */
static void oom_text(const struct sched_attempt *attempt, const struct sched_end *end,
		     const char *how, char *text, size_t size)
{
	uint64_t granted = attempt->n_gpus > 0 ? attempt->gpus[0].vram_bytes : 0;
	char more[64] = "", had[64] = "";

	if (granted > 0)
		(void)snprintf(had, sizeof had, ", granted %s", SIZE_TEXT(granted));
	if (end->oom_requested_bytes > 0)
		(void)snprintf(more, sizeof more, ", asked for %s more",
			       SIZE_TEXT(end->oom_requested_bytes));
	if (attempt->n_gpus == 0)
		(void)snprintf(text, size,
			       "its log tells of GPU memory that was short, but it ran on the CPU "
			       "(%s)",
			       how);
	else
		(void)snprintf(text, size, "out of GPU memory on GPU %u%s%s (%s)",
			       attempt->gpus[0].index, had, more, how);
}

/* What an attempt died of, in words. */
static void outcome_text(const struct task_node *t, const struct sched_end *end,
			 enum sched_outcome outcome, char *text, size_t size)
{
	const struct sched_attempt *attempt = &t->pub.attempts[t->pub.n_attempts - 1];
	unsigned gpu = attempt->n_gpus ? attempt->gpus[0].index : 0;
	char how[96], limit[128];

	end_how(end, how, sizeof how);
	if (t->run->stop_signaled && outcome == t->run->stop_outcome) {
		(void)snprintf(text, size, "%s", t->run->stop_text);
		return;
	}
	switch (outcome) {
	case SCHED_OOM:
		oom_text(attempt, end, how, text, size);
		break;
	case SCHED_HOST_OOM:
		(void)snprintf(text, size, "out of host memory (%s)", how);
		break;
	case SCHED_TIMEOUT:
		(void)limits_judge(t, end, limit, sizeof limit);
		(void)snprintf(text, size, "%s (%s)", limit[0] ? limit : "ran out of time", how);
		break;
	case SCHED_GPU_LOST:
		(void)snprintf(text, size, "its GPU %u was lost (%s)", gpu, how);
		break;
	case SCHED_OK:
	case SCHED_OUTCOME_CANCELED:
	case SCHED_ERROR:
	case SCHED_OUTCOME_LOST:
	case SCHED_OUTCOME_NONE:
	case SCHED_OUTCOME_COUNT:
		(void)snprintf(text, size, "%s", how);
		break;
	}
}

/* How much of the end of "CUDA out of memory. [pytorch-allocator]" is in the last brackets. */
static size_t pattern_len(const char *said)
{
	const char *bracket = strrchr(said, '[');

	return bracket && text_ends_with(said, "]") ? strlen(bracket) : 0;
}

static void end_reason(struct task_node *t, const struct sched_end *end, enum sched_outcome outcome,
		       enum sched_event event, const char *rung)
{
	char text[384], again[64] = "", why[160];
	/* What it said explains its end only where that is its own. */
	const char *said =
	    end->text && outcome == end->outcome && !t->run->stop_signaled ? end->text : "";

	outcome_text(t, end, outcome, text, sizeof text);
	if (outcome == SCHED_OK) {
		if (limits_judge(t, end, text, sizeof text))
			task_reason(t, "%s, and ended well", text);
		else
			task_reason(t, NULL);
		return;
	}
	if (outcome == SCHED_OUTCOME_CANCELED) {
		if (!t->pub.reason)
			task_reason(t, "canceled while it ran (%s)", text);
		return;
	}
	if (event == SCHED_EV_AGAIN && outcome == SCHED_GPU_LOST)
		(void)snprintf(again, sizeof again, "; put back into the queue");
	/* Neither the rung nor the pattern that decided is to be lost behind a long line of a log.
	 */
	text_cut_middle(why, sizeof why, said, pattern_len(said));
	task_reason(t, "%s%s%s%s%s%s", text, *rung ? "; " : "", rung, *said ? ": " : "", why,
		    again);
}

int end_apply(struct sched *sched, struct task_node *t, const struct sched_end *end, int64_t now_ms)
{
	enum sched_outcome outcome = end->outcome;
	struct sched_attempt *attempt = task_current(t);
	char said[LADDER_TEXT_MAX] = "";
	enum sched_event event;

	attempt->oom_requested_bytes = end->oom_requested_bytes;
	attempt->oom_used_bytes = end->oom_used_bytes;
	if (end->text && !attempt->evidence)
		attempt->evidence = mem_strdup(end->text);
	attempt->exit_known = end->exit_known;
	attempt->exit_code = end->exit_code;
	attempt->signal = end->signal;
	attempt->peak_vram_bytes =
	    MAX_OF(attempt->peak_vram_bytes, MAX_OF(end->peak_vram_bytes, end->oom_used_bytes));
	attempt->peak_ram_bytes = MAX_OF(attempt->peak_ram_bytes, end->peak_ram_bytes);
	if (t->pub.stopping) {
		outcome = SCHED_OUTCOME_CANCELED;
		event = SCHED_EV_STOPPED;
	} else if (outcome == SCHED_OK) {
		event = SCHED_EV_OK;
	} else {
		event = failure_event(sched, t, end, &outcome, said, now_ms);
	}
	if (t->run->stop_signaled && outcome == t->run->stop_outcome)
		attempt->stopped = TAKE(t->run->stop_words);
	attempt_close(t, outcome, end->ended_at_ms > 0 ? end->ended_at_ms : now_ms);
	run_leave(sched, t);
	end_reason(t, end, outcome, event, said);
	t->pub.start_failures = t->pub.start_refusals = 0;
	t->pub.overtime = false;
	return task_move(sched, t, event, now_ms);
}

int sched_ended(struct sched *sched, const struct sched_end *given, int64_t now_ms)
{
	struct task_node *t = task_find(sched, given->task);
	struct sched_end end = *given;
	char text[128];

	time_seen(sched, now_ms);
	if (!t || !t->run || t->run->end_waits || task_current(t)->number != end.attempt)
		return -ESTALE;
	if (end.ended_at_ms <= 0)
		end.ended_at_ms = now_ms;
	if (!overrun_judge(t, &end) && end.outcome == SCHED_ERROR &&
	    limits_judge(t, &end, text, sizeof text))
		end.outcome = SCHED_TIMEOUT;
	return loss_await(sched, t, &end, now_ms) ? 0 : end_apply(sched, t, &end, now_ms);
}
