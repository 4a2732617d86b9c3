/*
 * The step: wake what was put off, send the signals that are due, and ask the placer until nothing
 * more starts. Where users compete, or the machine is only tried out, the window is made afresh for
 * each start: who has just got something stands further back. The view it worked with is kept until
 * something happens: a question "why does it wait" is answered from it.
 */
#include "sched/ask.h"
#include "sched/ladder.h"

#include "place/saturate.h"
#include "util/duration.h"

#include <math.h>
#include <signal.h>
#include <string.h>

void view_drop(struct sched *sched)
{
	struct step_view *v = &sched->view;

	ledger_destroy(v->ledger);
	free(v->view.running);
	free(v->waiting);
	free(v->nodes);
	free(v->asks);
	free(v->taken);
	free(v->users);
	*v = (struct step_view){};
}

static struct place_task place_task_of(const struct sched *sched, const struct task_node *t,
				       int64_t now_ms)
{
	const struct sched_spec *spec = &t->pub.spec;

	return (struct place_task){
	    .id = t->pub.id,
	    .batch = t->pub.batch,
	    .priority = waiting_level(sched, t, now_ms),
	    .kind = task_kind(t),
	    .policy = spec->policy,
	    .weight_memory = spec->weight_memory,
	    .work_hint = spec->work_hint,
	    .uid = spec->uid,
	    .waited_seconds = (double)MAX_OF(now_ms - t->pub.queued_at_ms, 0) / 1000,
	    .hard_limit_seconds = (double)spec->hard_limit_ms / 1000,
	};
}

/* Why it has or wants a GPU for itself, where nobody said so. */
static const char *alone_why(const struct task_node *t, const struct place_request *request)
{
	if (!request->exclusive || t->pub.spec.request.exclusive)
		return NULL;
	return t->pub.ladder && t->pub.ladder->alone ? "on its ladder's rung alone"
						     : "until its kind is known";
}

static struct place_task running_of(const struct sched *sched, const struct task_node *t,
				    int64_t now_ms)
{
	const struct sched_attempt *attempt = &t->pub.attempts[t->pub.n_attempts - 1];
	struct place_task running = place_task_of(sched, t, now_ms);

	running.request = &t->run->ask;
	running.alone_why = alone_why(t, running.request);
	for (unsigned g = 0; g < attempt->n_gpus; g++) {
		size_t i = gpu_position(sched, attempt->gpus[g].uuid);

		if (i != SIZE_MAX)
			running.gpus[running.n_gpus++] = i;
	}
	running.elapsed_seconds = MAX_OF(0.0, (double)(now_ms - attempt->started_at_ms) / 1000);
	running.work_done_seconds = MIN_OF(t->run->work_seconds, running.elapsed_seconds);
	return running;
}

static struct place_task waiting_of(const struct sched *sched, const struct task_node *t,
				    const struct ask *ask, int64_t now_ms)
{
	struct place_task waiting = place_task_of(sched, t, now_ms);

	waiting.request = &ask->request;
	waiting.on_cpu = ask->may_cpu ? &ask->on_cpu : NULL;
	waiting.cpu_why = ask->cpu_why;
	waiting.alone_why = alone_why(t, waiting.request);
	return waiting;
}

static void view_build(struct sched *sched, int64_t now_ms)
{
	struct step_view *v = &sched->view;
	size_t n_active = sched->counts[SCHED_STARTING] + sched->counts[SCHED_RUNNING];
	auto_asker struct asker asker = {};

	view_drop(sched);
	work_account(sched, now_ms);
	users_weigh(sched, now_ms);
	v->ledger = ledger_now(sched, NULL);
	v->nodes = mem_alloc(PLACE_WINDOW * sizeof(struct task_node *));
	asker_init(&asker, sched, v->ledger);
	v->view.n_waiting = waiting_window(&asker, v->nodes);
	v->waiting = mem_calloc(v->view.n_waiting + 1, sizeof *v->waiting);
	v->taken = mem_calloc(v->view.n_waiting + 1, sizeof *v->taken);
	v->asks = mem_calloc(v->view.n_waiting + 1, sizeof *v->asks);
	for (size_t i = 0; i < v->view.n_waiting; i++) {
		ask_now(&asker, v->nodes[i], &v->asks[i]);
		v->waiting[i] = waiting_of(sched, v->nodes[i], &v->asks[i], now_ms);
	}
	v->view.running_room = n_active + 8;
	v->view.running = mem_calloc(v->view.running_room, sizeof *v->view.running);
	for (const struct task_node *t = sched->active; t; t = t->run->next)
		v->view.running[v->view.n_running++] = running_of(sched, t, now_ms);
	v->view.ledger = v->ledger;
	v->view.estimates = sched->estimates;
	v->view.waiting = v->waiting;
	v->view.taken = v->taken;
	v->view.round_robin = sched->round_robin;
	v->users = users_limited(sched, &v->view.n_users);
	v->view.users = v->users;
	v->view.reserve_after_seconds = MAX_OF(0.0, (double)sched->config.reserve_after_ms / 1000);
	v->valid = true;
}

void view_refresh(struct sched *sched, int64_t now_ms)
{
	if (!sched->view.valid)
		view_build(sched, now_ms);
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

/* What it is granted of a GPU. `gpu` is as it is with the request booked. */
static uint64_t grant_of(const struct task_node *t, const struct ask *ask,
			 const struct place_request *request, const struct ledger_gpu *gpu)
{
	uint64_t bytes = place_request_vram(request, gpu->load_line_bytes), most;
	uint64_t limit = t->user->limits.max_vram_bytes;

	if (!ask->whole || bytes == 0)
		return bytes;
	most = saturate_add(bytes, gpu->room_bytes);
	if (gpu->max_request_bytes > 0)
		most = MIN_OF(most, gpu->max_request_bytes);
	if (limit > 0)
		most = MIN_OF(most, saturate_sub(limit, t->user->vram_bytes) / request->gpus);
	return MAX_OF(bytes, most);
}

/* A decision becomes an attempt. */
static void start(struct sched *sched, struct task_node *t, const struct place_decision *decision,
		  int64_t now_ms)
{
	const struct ledger *ledger = sched->view.ledger;
	const struct ask *ask = &sched->view.asks[decision->waiting];
	const struct place_request *request =
	    decision->n_gpus == 0 && ask->may_cpu ? &ask->on_cpu : &ask->request;
	struct sched_attempt *attempt = task_add_attempt(t);

	attempt->vram_reason =
	    decision->n_gpus > 0 ? sched_ask_reason(sched, &t->pub, ask->source) : NULL;
	attempt->ram_bytes = request->ram_bytes;
	attempt->batch_size = t->pub.ladder && t->pub.ladder->batch_size ? t->pub.ladder->batch_size
									 : t->pub.spec.batch_size;
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
		    .vram_bytes = grant_of(t, ask, request, gpu),
		    .used_known = true,
		};
	}
	if (t->pub.ladder)
		attempt->rung = ladder_text(
		    &t->pub.spec, t->pub.ladder, attempt,
		    t->pub.n_attempts > 1 ? &t->pub.attempts[t->pub.n_attempts - 2] : NULL);
	task_reason(t, NULL);
	(void)task_move(sched, t, SCHED_EV_PLACE, now_ms);
	t->run->unproven = sched->view.view.waiting[decision->waiting].request->unproven;
	if (t->batch->pub.first_start_ms == 0)
		t->batch->pub.first_start_ms = now_ms;
	action_add(sched, SCHED_START, t, 0);
}

/* Does one of those that were left ask by the room there was before the others started? */
static bool asks_are_old(const struct step_view *v)
{
	for (size_t i = 0; i < v->view.n_waiting; i++)
		if (v->asks[i].by_room && !v->taken[i])
			return true;
	return false;
}

/* Returns how many it started, at most `max`. One that is granted all of its GPU holds more of its
 * user's VRAM than the placer booked: the window is to be made anew (`ret_more`) behind it. So it
 * is where others would ask for something else now. */
static size_t place_some(struct sched *sched, size_t max, int64_t now_ms, bool *ret_more)
{
	struct step_view *v = &sched->view;
	struct place_decision decision;
	size_t started = 0;

	bool whole = false;

	while (started < max && !whole && place_next(&v->view, &decision) > 0) {
		struct task_node *t = v->nodes[decision.waiting];

		whole = v->asks[decision.waiting].whole;
		place_book(&v->view, &decision);
		start(sched, t, &decision, now_ms);
		started++;
	}
	*ret_more |= whole || asks_are_old(v);
	sched->round_robin = v->view.round_robin;
	return started;
}

static void stop_signal(struct sched *sched, struct task_node *t, int64_t now_ms)
{
	struct run *run = t->run;

	if (run->kill_at_ms > now_ms)
		return;
	action_add(sched, SCHED_SIGNAL, t, run->kill_at_ms == 0 ? SIGTERM : SIGKILL);
	run->kill_at_ms = now_ms + sched->stop_grace_ms;
}

static void signals_send(struct sched *sched, int64_t now_ms)
{
	for (struct task_node *t = sched->active; t; t = t->run->next) {
		if (t->pub.state != SCHED_RUNNING || t->run->end_waits)
			continue;
		if (t->pub.stopping)
			stop_signal(sched, t, now_ms);
		else if (t->run->stop_text)
			overrun_signal(sched, t, now_ms);
		else
			limits_signal(sched, t, now_ms);
	}
}

/* How many may start: none while nothing is to start, one while it is tried out whether the machine
 * can. */
static size_t starts_allowed(const struct sched *sched, int64_t now_ms)
{
	if (sched->pause || !sched->ready || sched->brake_until_ms > now_ms)
		return 0;
	if (sched->start_failures > 0)
		return sched->counts[SCHED_STARTING] > 0 ? 0 : 1;
	return users_compete(sched) ? 1 : PLACE_WINDOW;
}

/* When does a start that only the pause between two starts on a GPU puts off become possible? */
static void stagger_plan(struct sched *sched, int64_t now_ms)
{
	double seconds = place_wake_seconds(&sched->view.view);

	sched->stagger_wake_ms = seconds >= 0 ? now_ms + (int64_t)ceil(seconds * 1000) : 0;
}

/* Pauses that are over are something that happened. */
static void pauses_end(struct sched *sched, int64_t now_ms)
{
	if (sched->brake_until_ms > 0 && sched->brake_until_ms <= now_ms) {
		sched->brake_until_ms = 0;
		sched_touch(sched);
	}
	if (sched->stagger_wake_ms > 0 && sched->stagger_wake_ms <= now_ms) {
		sched->stagger_wake_ms = 0;
		sched_touch(sched);
	}
}

void sched_time(struct sched *sched, int64_t now_ms)
{
	time_seen(sched, now_ms);
	waiting_wake(sched, now_ms);
}

size_t sched_step(struct sched *sched, int64_t now_ms)
{
	size_t started = 0, allowed, n;
	bool more;

	time_seen(sched, now_ms);
	sched_restored(sched, now_ms);
	waiting_wake(sched, now_ms);
	loss_judge(sched, now_ms);
	overrun_watch(sched);
	signals_send(sched, now_ms);
	pauses_end(sched, now_ms);
	if (!sched->dirty)
		return 0;
	while ((allowed = starts_allowed(sched, now_ms)) > 0) {
		view_build(sched, now_ms);
		/* With a full window there may be more behind it that can start now. */
		more = sched->view.view.n_waiting == PLACE_WINDOW || allowed < PLACE_WINDOW;
		n = place_some(sched, allowed, now_ms, &more);
		started += n;
		stagger_plan(sched, now_ms);
		if (n == 0 || !more)
			break;
	}
	sched->dirty = false;
	/* Starting invalidated the view although it was kept up by place_book(). */
	sched->view.valid = sched->view.valid && sched->view.ledger != NULL && started == 0;
	return started;
}

static void deadline_add(int64_t *deadline, int64_t at_ms)
{
	if (at_ms > 0 && (*deadline == 0 || at_ms < *deadline))
		*deadline = at_ms;
}

int64_t sched_deadline(const struct sched *sched)
{
	const struct order_node *first = order_first(&sched->delayed);
	int64_t deadline = first ? first->rank : 0;

	deadline_add(&deadline, sched->brake_until_ms);
	deadline_add(&deadline, sched->stagger_wake_ms);
	for (const struct task_node *t = sched->active; t; t = t->run->next) {
		if (t->run->end_waits) {
			deadline_add(&deadline, t->run->judge_until_ms);
			continue;
		}
		deadline_add(&deadline, t->run->kill_at_ms);
		deadline_add(&deadline, limits_deadline(t));
	}
	return deadline;
}
