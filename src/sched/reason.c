/*
 * Why a task is in its state. Of a waiting one that is the first thing that keeps it from starting,
 * in the order in which they are looked at: what it waits for, its time, the queue, its batch, its
 * user, the machine, those before it; and last what the placer says about the GPUs.
 */
#include "sched/sched_priv.h"

#include "util/duration.h"
#include "util/size.h"

#define SAY(reason, ...) ((void)snprintf((reason), SCHED_REASON_MAX, __VA_ARGS__))

static const char *in_time(char buf[DURATION_TEXT_MAX], const struct sched *sched, int64_t at_ms)
{
	return duration_format(buf, MAX_OF(at_ms - sched->last_ms, 0));
}

static void reason_delayed(const struct sched *sched, const struct task_node *t,
			   char reason[SCHED_REASON_MAX])
{
	const struct sched_task *task = &t->pub;
	char when[DURATION_TEXT_MAX], text[SCHED_REASON_MAX - 128];

	(void)snprintf(text, sizeof text, "%s", task->reason ? task->reason : "failed");
	in_time(when, sched, task->not_before_ms);
	if (task->start_failures > 0)
		SAY(reason,
		    "%s; tried again in %s (%u times so far: that is no failure of its own)", text,
		    when, task->start_failures);
	else if (task->start_refusals > 0)
		SAY(reason, "%s; tried again in %s, try %u of %u", text, when,
		    task->start_refusals + 1, SCHED_REFUSALS_MAX);
	else if (task->not_before_ms == task->spec.not_before_ms)
		SAY(reason, "its time has not come: it starts in %s at the earliest", when);
	else
		SAY(reason, "%s; tried again in %s, retry %u of %u", text, when, task->failures,
		    task->spec.retries);
}

static bool reason_of_batch(const struct task_node *t, char reason[SCHED_REASON_MAX])
{
	const struct sched_batch *batch = &t->batch->pub;
	unsigned threads = t->pub.spec.request.threads;

	if (!t->pub.batch)
		return false;
	if (batch->state == SCHED_BATCH_ASKING) {
		SAY(reason, "batch %llu waits for an answer: %u failed; continue or cancel it",
		    (unsigned long long)batch->id,
		    batch->counts[SCHED_FAILED] + batch->counts[SCHED_LOST]);
		return true;
	}
	if (threads > 0 && t->batch->active >= threads) {
		SAY(reason, "%u of its batch run at once already (limit %u)", t->batch->active,
		    threads);
		return true;
	}
	return false;
}

static bool reason_of_user(struct sched *sched, const struct task_node *t,
			   char reason[SCHED_REASON_MAX])
{
	const struct user_node *user = t->user;
	struct sched_ask ask;
	const struct place_request *request = &ask.request;
	unsigned uid = (unsigned)user->uid;

	sched_ask(sched, &t->pub, &ask);
	switch (user_limit_met(sched, user, request)) {
	case USER_FREE:
		return false;
	case USER_RUNNING:
		SAY(reason, "user %u has %u task%s running, the limit is %u", uid, user->running,
		    user->running == 1 ? "" : "s", user->limits.max_running);
		break;
	case USER_GPUS:
		SAY(reason, "asks for %u GPU%s; user %u holds %u GPU%s, the limit is %u",
		    request->gpus, request->gpus == 1 ? "" : "s", uid, user->gpus,
		    user->gpus == 1 ? "" : "s", user->limits.max_gpus);
		break;
	case USER_VRAM:
		SAY(reason, "asks for %s of VRAM; user %u holds %s of it, the limit is %s",
		    SIZE_TEXT(request_vram_most(sched, request)), uid, SIZE_TEXT(user->vram_bytes),
		    SIZE_TEXT(user->limits.max_vram_bytes));
		break;
	}
	return true;
}

/* Starts fail: of this one and of all others. */
static bool reason_of_machine(const struct sched *sched, const struct task_node *t,
			      char reason[SCHED_REASON_MAX])
{
	bool told = t->pub.spec.uid == 0 || t->pub.spec.uid == sched->brake_uid;
	char when[DURATION_TEXT_MAX], next[64] = "another start is being tried";

	if (sched->start_failures == 0)
		return false;
	if (sched->brake_until_ms > sched->last_ms)
		(void)snprintf(next, sizeof next, "the next start is tried in %s",
			       in_time(when, sched, sched->brake_until_ms));
	SAY(reason, "the machine could not start anything, %u times so far%s; %s",
	    sched->start_failures, told ? sched->brake_text : "", next);
	return true;
}

/* Who comes first, when it is not the placer's window that says so: "" for nobody but by rank. */
static void reason_behind(const struct sched *sched, const struct task_node *t, bool plain,
			  char *buf, size_t size)
{
	size_t by_fairness = 0, before = waiting_before(sched, t, &by_fairness);
	const struct user_node *user = t->user;

	buf[0] = '\0';
	if (by_fairness > 0)
		(void)snprintf(buf, size,
			       "user %u used %.0f %% lately, the fair share is %.0f %%: behind %zu "
			       "other%s",
			       (unsigned)user->uid, user->share * 100, user->fair * 100, before,
			       before == 1 ? "" : "s");
	else if (plain)
		(void)snprintf(buf, size, "behind %zu other%s", before, before == 1 ? "" : "s");
}

static void reason_of_placer(const struct sched *sched, const struct task_node *t,
			     char reason[SCHED_REASON_MAX])
{
	char explained[PLACE_REASON_MAX], behind[SCHED_REASON_MAX - PLACE_REASON_MAX - 2];
	size_t i = 0;

	while (i < sched->view.view.n_waiting && sched->view.nodes[i] != t)
		i++;
	reason_behind(sched, t, i == sched->view.view.n_waiting, behind, sizeof behind);
	if (i == sched->view.view.n_waiting) {
		SAY(reason, "%s", behind);
		return;
	}
	place_explain(&sched->view.view, i, explained);
	SAY(reason, "%s%s%s", behind, behind[0] ? "; " : "", explained);
}

static void reason_waiting(struct sched *sched, const struct task_node *t,
			   char reason[SCHED_REASON_MAX])
{
	if (t->blocked) {
		after_reason(sched, t, reason, SCHED_REASON_MAX);
		return;
	}
	if (t->delayed) {
		reason_delayed(sched, t, reason);
		return;
	}
	if (sched->pause) {
		SAY(reason, "nothing new starts: %s", sched->pause);
		return;
	}
	if (reason_of_batch(t, reason) || reason_of_user(sched, t, reason) ||
	    reason_of_machine(sched, t, reason))
		return;
	view_refresh(sched, sched->last_ms);
	reason_of_placer(sched, t, reason);
}

const char *sched_reason(struct sched *sched, const struct sched_task *task,
			 char reason[SCHED_REASON_MAX])
{
	const struct task_node *t = task_of(task);
	const struct sched_attempt *attempt = sched_task_attempt(task);
	const char *text = task->reason ? task->reason : "";

	reason[0] = '\0';
	after_settle(sched, sched->last_ms);
	waiting_wake(sched, sched->last_ms);
	if (task->state == SCHED_WAITING) {
		reason_waiting(sched, t, reason);
		return reason;
	}
	if (task->state == SCHED_HELD)
		text = "held until it is released";
	else if (t->run && t->run->end_waits)
		text = "its process ended with an error; a new look at its GPU is awaited";
	else if (t->run && t->run->gpu_lost)
		text = "its GPU is lost; it runs on until its process ends, then it is put back";
	else if (t->run && task->stopping)
		text = "is being stopped";
	else if (t->run && t->run->out_of_time)
		text = "its time is up: it is being killed";
	else if (t->run && task->overtime)
		text = "its soft time limit has passed: it was told to end";
	else if (t->run && t->run->stop_text)
		text = t->run->stop_text;
	else if (t->run && sched_overrun_text(task, attempt, reason))
		return reason;
	else if (t->run && attempt->reason)
		text = attempt->reason;
	SAY(reason, "%s", text);
	return reason;
}
