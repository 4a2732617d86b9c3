/*
 * The step: wake what was put off, send the signals that are due, and ask the placer until nothing
 * more starts. The view it worked with is kept until something happens: a question "why does it
 * wait" is answered from it.
 */
#include "sched/sched_priv.h"

#include "util/duration.h"

#include <signal.h>
#include <string.h>

void view_drop(struct sched *sched)
{
	struct step_view *v = &sched->view;

	ledger_destroy(v->ledger);
	free(v->view.running);
	free(v->waiting);
	free(v->nodes);
	free(v->taken);
	*v = (struct step_view){};
}

static struct place_task place_task_of(const struct task_node *t)
{
	const struct sched_spec *spec = &t->pub.spec;

	return (struct place_task){
	    .id = t->pub.id,
	    .batch = t->pub.batch,
	    .priority = spec->priority,
	    .kind = spec->kind,
	    .request = &spec->request,
	    .policy = spec->policy,
	    .weight_memory = spec->weight_memory,
	    .work_hint = spec->work_hint,
	};
}

static struct place_task running_of(const struct sched *sched, const struct task_node *t,
				    int64_t now_ms)
{
	const struct sched_attempt *attempt = &t->pub.attempts[t->pub.n_attempts - 1];
	struct place_task running = place_task_of(t);

	for (unsigned g = 0; g < attempt->n_gpus; g++) {
		size_t i = gpu_position(sched, attempt->gpus[g].uuid);

		if (i != SIZE_MAX)
			running.gpus[running.n_gpus++] = i;
	}
	running.elapsed_seconds = MAX_OF(0.0, (double)(now_ms - attempt->started_at_ms) / 1000);
	running.work_done_seconds = MIN_OF(t->run->work_seconds, running.elapsed_seconds);
	return running;
}

static void view_build(struct sched *sched, int64_t now_ms)
{
	struct step_view *v = &sched->view;
	size_t n_active = sched->counts[SCHED_STARTING] + sched->counts[SCHED_RUNNING];

	view_drop(sched);
	work_account(sched, now_ms);
	v->ledger = ledger_now(sched, NULL);
	v->nodes = mem_alloc(PLACE_WINDOW * sizeof(struct task_node *));
	v->view.n_waiting = waiting_window(sched, v->nodes);
	v->waiting = mem_calloc(v->view.n_waiting + 1, sizeof *v->waiting);
	v->taken = mem_calloc(v->view.n_waiting + 1, sizeof *v->taken);
	for (size_t i = 0; i < v->view.n_waiting; i++)
		v->waiting[i] = place_task_of(v->nodes[i]);
	v->view.running_room = n_active + 8;
	v->view.running = mem_calloc(v->view.running_room, sizeof *v->view.running);
	for (const struct task_node *t = sched->active; t; t = t->active_next)
		v->view.running[v->view.n_running++] = running_of(sched, t, now_ms);
	v->view.ledger = v->ledger;
	v->view.estimates = sched->estimates;
	v->view.waiting = v->waiting;
	v->view.taken = v->taken;
	v->view.round_robin = sched->round_robin;
	v->valid = true;
}

void action_add(struct sched *sched, enum sched_action_type type, const struct task_node *t,
		int signal)
{
	ARRAY_GROW(sched->actions, sched->n_actions, sched->actions_room);
	sched->actions[sched->n_actions++] = (struct sched_action){
	    .type = type,
	    .task = t->pub.id,
	    .attempt = t->pub.n_attempts,
	    .signal = signal,
	};
}

/* A decision becomes an attempt. */
static void start(struct sched *sched, struct task_node *t, const struct place_decision *decision,
		  int64_t now_ms)
{
	const struct ledger *ledger = sched->view.ledger;
	struct sched_attempt *attempt = task_add_attempt(t);

	attempt->policy = decision->policy;
	attempt->reason = mem_strdup(decision->reason);
	attempt->started_at_ms = now_ms;
	attempt->gpus = mem_calloc(decision->n_gpus + 1, sizeof *attempt->gpus);
	attempt->n_gpus = (unsigned)decision->n_gpus;
	for (size_t g = 0; g < decision->n_gpus; g++) {
		const struct ledger_gpu *gpu = &ledger->gpus[decision->gpus[g]];

		/* Known to use nothing: the last sample is older than this start. */
		attempt->gpus[g] = (struct sched_grant){
		    .uuid = string_pool_get(&sched->strings, gpu->uuid),
		    .index = gpu->index,
		    .vram_bytes = t->pub.spec.request.vram_bytes,
		    .used_known = true,
		};
	}
	task_reason(t, NULL);
	(void)task_move(sched, t, SCHED_EV_PLACE, now_ms);
	if (t->batch->pub.first_start_ms == 0)
		t->batch->pub.first_start_ms = now_ms;
	action_add(sched, SCHED_START, t, 0);
}

static size_t place_all(struct sched *sched, int64_t now_ms)
{
	struct step_view *v = &sched->view;
	struct place_decision decision;
	size_t started = 0;

	while (place_next(&v->view, &decision) > 0) {
		struct task_node *t = v->nodes[decision.waiting];

		place_book(&v->view, &decision);
		start(sched, t, &decision, now_ms);
		started++;
	}
	sched->round_robin = v->view.round_robin;
	return started;
}

static void signals_send(struct sched *sched, int64_t now_ms)
{
	for (struct task_node *t = sched->active; t; t = t->active_next) {
		struct run *run = t->run;

		if (!t->pub.stopping || t->pub.state != SCHED_RUNNING || run->end_waits)
			continue;
		if (run->kill_at_ms > now_ms)
			continue;
		action_add(sched, SCHED_SIGNAL, t, run->kill_at_ms == 0 ? SIGTERM : SIGKILL);
		run->kill_at_ms = now_ms + sched->stop_grace_ms;
	}
}

size_t sched_step(struct sched *sched, int64_t now_ms)
{
	size_t started = 0, n;
	bool more;

	time_seen(sched, now_ms);
	waiting_wake(sched, now_ms);
	loss_judge(sched, now_ms);
	signals_send(sched, now_ms);
	if (!sched->dirty)
		return 0;
	while (sched->ready) {
		view_build(sched, now_ms);
		more = sched->view.view.n_waiting == PLACE_WINDOW;
		n = place_all(sched, now_ms);
		started += n;
		/* With a full window there may be more behind it that can start now. */
		if (n == 0 || !more)
			break;
	}
	sched->dirty = false;
	/* Starting invalidated the view although it was kept up by place_book(). */
	sched->view.valid = sched->view.ledger != NULL && started == 0;
	return started;
}

int64_t sched_deadline(const struct sched *sched)
{
	const struct order_node *first = order_first(&sched->delayed);
	int64_t deadline = first ? first->rank : 0;

	for (const struct task_node *t = sched->active; t; t = t->active_next) {
		int64_t at = t->run->end_waits ? t->run->judge_until_ms : t->run->kill_at_ms;

		if (at > 0 && (deadline == 0 || at < deadline))
			deadline = at;
	}
	return deadline;
}

static void reason_waiting(struct sched *sched, const struct task_node *t,
			   char reason[SCHED_REASON_MAX])
{
	const struct sched_batch *batch = t->pub.batch ? &t->batch->pub : NULL;
	size_t before;
	char explained[PLACE_REASON_MAX];

	if (t->delayed) {
		(void)snprintf(reason, SCHED_REASON_MAX, "%s%stried again in %s",
			       t->pub.reason ? t->pub.reason : "", t->pub.reason ? "; " : "",
			       DURATION_TEXT(MAX_OF(t->pub.not_before_ms - sched->last_ms, 0)));
		return;
	}
	if (batch && batch->state == SCHED_BATCH_ASKING) {
		(void)snprintf(reason, SCHED_REASON_MAX,
			       "batch %llu waits for an answer: %u failed; continue or cancel it",
			       (unsigned long long)batch->id,
			       batch->counts[SCHED_FAILED] + batch->counts[SCHED_LOST]);
		return;
	}
	if (!sched->view.valid)
		view_build(sched, sched->last_ms);
	for (size_t i = 0; i < sched->view.view.n_waiting; i++) {
		if (sched->view.nodes[i] != t)
			continue;
		place_explain(&sched->view.view, i, explained);
		(void)snprintf(reason, SCHED_REASON_MAX, "%s", explained);
		return;
	}
	if (batch && t->pub.spec.request.threads > 0 &&
	    t->batch->active >= t->pub.spec.request.threads) {
		(void)snprintf(reason, SCHED_REASON_MAX,
			       "%u of its batch run at once already (limit %u)", t->batch->active,
			       t->pub.spec.request.threads);
		return;
	}
	before = waiting_before(sched, t);
	(void)snprintf(reason, SCHED_REASON_MAX, "behind %zu other%s", before,
		       before == 1 ? "" : "s");
}

const char *sched_reason(struct sched *sched, const struct sched_task *task,
			 char reason[SCHED_REASON_MAX])
{
	const struct task_node *t = task_of(task);
	const struct sched_attempt *attempt = sched_task_attempt(task);
	const char *text = task->reason ? task->reason : "";

	reason[0] = '\0';
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
	else if (t->run && attempt->reason)
		text = attempt->reason;
	(void)snprintf(reason, SCHED_REASON_MAX, "%s", text);
	return reason;
}
