/*
 * Batches: what a failure does to the rest, when a batch has ended, and its sums. What the summary
 * needs is added up as tasks end and samples come, so that a batch can be summed up however large
 * it is.
 */
#include "sched/ask.h"
#include "sched/ladder.h"

#include <errno.h>
#include <string.h>

/* A gap in the samples longer than this is not filled with the last value. */
#define SAMPLE_GAP_MAX_S 10.0

static const char *const on_failure_names[SCHED_ON_FAILURE_COUNT] = {
    [SCHED_STOP] = "stop",
    [SCHED_ASK] = "ask",
    [SCHED_CONTINUE] = "continue",
};

static const char *const batch_state_names[SCHED_BATCH_STATE_COUNT] = {
    [SCHED_BATCH_RUNNING] = "running",
    [SCHED_BATCH_ASKING] = "asking",
    [SCHED_BATCH_CANCELED] = "canceled",
    [SCHED_BATCH_DONE] = "done",
};

const char *sched_on_failure_name(enum sched_on_failure on_failure)
{
	return on_failure_names[on_failure];
}

const char *sched_batch_state_name(enum sched_batch_state state)
{
	return batch_state_names[state];
}

int sched_on_failure_parse(const char *name, enum sched_on_failure *ret_on_failure,
			   struct error *err)
{
	for (unsigned i = 0; i < SCHED_ON_FAILURE_COUNT; i++) {
		if (strcmp(name, on_failure_names[i]) == 0) {
			*ret_on_failure = (enum sched_on_failure)i;
			return 0;
		}
	}
	return error_set(err, -EINVAL, "on_failure '%s' is none of stop, ask, continue", name);
}

int sched_batch_state_parse(const char *name, enum sched_batch_state *ret_state, struct error *err)
{
	for (unsigned i = 0; i < SCHED_BATCH_STATE_COUNT; i++) {
		if (strcmp(name, batch_state_names[i]) == 0) {
			*ret_state = (enum sched_batch_state)i;
			return 0;
		}
	}
	return error_set(err, -EINVAL,
			 "batch state '%s' is none of running, asking, canceled, done", name);
}

static unsigned not_started(const struct batch_node *b)
{
	return b->pub.counts[SCHED_WAITING] + b->pub.counts[SCHED_HELD];
}

static unsigned ended(const struct batch_node *b)
{
	return b->pub.counts[SCHED_DONE] + b->pub.counts[SCHED_FAILED] +
	       b->pub.counts[SCHED_CANCELED] + b->pub.counts[SCHED_LOST];
}

void batch_settle(struct sched *sched, struct batch_node *b, int64_t now_ms)
{
	if (b == &sched->singles || b->pub.ended_at_ms > 0)
		return;
	if (not_started(b) == 0 && b->active == 0) {
		if (b->pub.state != SCHED_BATCH_CANCELED)
			b->pub.state = SCHED_BATCH_DONE;
		b->pub.ended_at_ms = now_ms;
		batch_changed(sched, b);
		after_batch_ended(sched, b);
	} else if (b->pub.state == SCHED_BATCH_ASKING && not_started(b) == 0) {
		b->pub.state = SCHED_BATCH_RUNNING; /* nothing left to ask about */
		batch_changed(sched, b);
	}
}

/* Cancel what has not started. Each cancel ends up in batch_task_ended(), which may settle the
 * batch; the list itself does not change. */
static void cancel_waiting(struct sched *sched, struct batch_node *b, const char *why,
			   int64_t now_ms)
{
	for (struct task_node *t = b->first; t; t = t->batch_next) {
		if (t->pub.state != SCHED_WAITING && t->pub.state != SCHED_HELD)
			continue;
		task_reason(t, "%s", why);
		(void)task_move(sched, t, SCHED_EV_CANCEL, now_ms);
	}
}

static void failure_answer(struct sched *sched, struct task_node *t, int64_t now_ms)
{
	struct batch_node *b = t->batch;
	char why[SCHED_REASON_MAX];

	if (b->pub.state != SCHED_BATCH_RUNNING || not_started(b) == 0)
		return;
	if (b->pub.on_failure == SCHED_ASK) {
		b->pub.state = SCHED_BATCH_ASKING;
		batch_changed(sched, b);
	} else if (b->pub.on_failure == SCHED_STOP) {
		b->pub.state = SCHED_BATCH_CANCELED;
		batch_changed(sched, b);
		(void)snprintf(why, sizeof why, "not started: task %llu (row %u) failed: %s",
			       (unsigned long long)t->pub.id, t->pub.spec.row,
			       t->pub.reason ? t->pub.reason : "");
		cancel_waiting(sched, b, why, now_ms);
	}
}

struct batch_gpu *batch_gpu_get(struct sched *sched, struct batch_node *b, const char *uuid,
				unsigned index)
{
	struct batch_gpu *gpu;

	for (size_t i = 0; i < b->n_gpus; i++) {
		if (strcmp(b->gpus[i].uuid, uuid) == 0)
			return &b->gpus[i];
	}
	ARRAY_GROW(b->gpus, b->n_gpus, b->gpus_room);
	gpu = &b->gpus[b->n_gpus++];
	*gpu = (struct batch_gpu){.uuid = string_pool_get(&sched->strings, uuid), .index = index};
	(void)snprintf(gpu->name, sizeof gpu->name, "%s", gpu_model(sched, uuid));
	return gpu;
}

void batch_recovered(struct task_node *t)
{
	struct sched_rung rungs[SCHED_RUNGS_MAX];
	const struct sched_ladder *ladder = t->pub.ladder;
	size_t n = ladder_rungs(&t->pub.spec, rungs);

	for (unsigned i = 0; i + 1 < t->pub.n_attempts; i++) {
		if (t->pub.attempts[i].outcome != SCHED_OOM &&
		    t->pub.attempts[i].outcome != SCHED_HOST_OOM)
			continue;
		t->batch->oom_recovered++;
		if (ladder && ladder->climbs > 0 && ladder->rung < n)
			t->batch->recovered_by[rungs[ladder->rung].type]++;
		return;
	}
}

void batch_overran(struct task_node *t)
{
	struct batch_node *b = t->batch;

	for (unsigned i = 0; i < t->pub.n_attempts; i++) {
		if (!t->pub.attempts[i].overrun)
			continue;
		if (b->overran < SCHED_OVERRAN_MAX)
			b->overran_tasks[b->overran] = t->pub.id;
		b->overran++;
		return;
	}
}

/* A task that ended well, into the sums. */
static void sums_add(struct sched *sched, struct task_node *t)
{
	const struct sched_attempt *last = task_current(t);
	struct batch_node *b = t->batch;

	b->on_cpu += last->n_gpus == 0;
	batch_recovered(t);
	for (unsigned g = 0; g < last->n_gpus; g++)
		batch_gpu_get(sched, b, last->gpus[g].uuid, last->gpus[g].index)->tasks++;
}

void batch_task_ended(struct sched *sched, struct task_node *t, int64_t now_ms)
{
	struct batch_node *b = t->batch;

	if (b == &sched->singles)
		return;
	batch_overran(t);
	if (t->pub.state == SCHED_DONE)
		sums_add(sched, t);
	if (t->pub.state == SCHED_FAILED || t->pub.state == SCHED_LOST)
		failure_answer(sched, t, now_ms);
	batch_settle(sched, b, now_ms);
}

void batch_sample(struct sched *sched, int64_t now_ms)
{
	for (struct batch_node *b = sched->first_batch; b; b = b->next) {
		double seconds;

		if (b->active == 0 || sched->gpus->state != GPU_SOURCE_OK) {
			b->sampled_ms = 0;
			continue;
		}
		seconds = b->sampled_ms > 0 ? (double)(now_ms - b->sampled_ms) / 1000 : 0;
		seconds = MAX_OF(0.0, MIN_OF(seconds, SAMPLE_GAP_MAX_S));
		b->sampled_ms = now_ms;
		for (size_t i = 0; i < sched->gpus->n; i++) {
			const struct gpu *gpu = &sched->gpus->gpus[i];
			struct batch_gpu *g = batch_gpu_get(sched, b, gpu->uuid, gpu->index);

			if (gpu->health != GPU_HEALTH_OK)
				continue;
			if (gpu_has(gpu, GPU_UTILIZATION)) {
				g->utilization_integral += gpu->utilization_percent * seconds;
				g->seconds += seconds;
			}
			if (gpu_has(gpu, GPU_USED))
				g->peak_vram_bytes =
				    MAX_OF(g->peak_vram_bytes, gpu->vram.used_bytes);
		}
	}
}

static struct batch_node *batch_named(struct sched *sched, uint64_t id, struct error *err)
{
	struct batch_node *b = batch_find(sched, id);

	if (!b)
		(void)error_set(err, -ESRCH, "there is no batch %llu", (unsigned long long)id);
	return b;
}

int sched_batch_cancel(struct sched *sched, uint64_t batch, int64_t now_ms, struct error *err)
{
	struct batch_node *b = batch_named(sched, batch, err);

	time_seen(sched, now_ms);
	if (!b)
		return -ESRCH;
	if (b->pub.ended_at_ms > 0)
		return error_set(err, -EALREADY, "batch %llu has ended already (%s)",
				 (unsigned long long)batch, sched_batch_state_name(b->pub.state));
	b->pub.state = SCHED_BATCH_CANCELED;
	batch_changed(sched, b);
	cancel_waiting(sched, b, "its batch was canceled", now_ms);
	for (struct task_node *t = b->first; t; t = t->batch_next) {
		if (t->run)
			(void)task_move(sched, t, SCHED_EV_CANCEL, now_ms);
	}
	batch_settle(sched, b, now_ms);
	after_settle(sched, now_ms);
	sched_touch(sched);
	return 0;
}

int sched_batch_continue(struct sched *sched, uint64_t batch, bool all, int64_t now_ms,
			 struct error *err)
{
	struct batch_node *b = batch_named(sched, batch, err);

	time_seen(sched, now_ms);
	if (!b)
		return -ESRCH;
	if (b->pub.state != SCHED_BATCH_ASKING)
		return error_set(err, -EALREADY, "batch %llu does not ask, it is %s",
				 (unsigned long long)batch, sched_batch_state_name(b->pub.state));
	b->pub.state = SCHED_BATCH_RUNNING;
	if (all)
		b->pub.on_failure = SCHED_CONTINUE;
	batch_changed(sched, b);
	sched_touch(sched);
	return 0;
}

double sched_batch_eta(const struct sched *sched, const struct sched_batch *batch, int64_t now_ms)
{
	const struct batch_node *b = batch_of(batch);
	double elapsed = (double)(now_ms - batch->first_start_ms) / 1000;
	unsigned through =
	    batch->counts[SCHED_DONE] + batch->counts[SCHED_FAILED] + batch->counts[SCHED_LOST];
	double left = not_started(b) + b->active;

	if (batch->ended_at_ms > 0)
		return 0;
	if (through == 0 || batch->first_start_ms == 0 || elapsed <= 0)
		return -1;
	/* Those that run are half through, on average. */
	return (left - 0.5 * b->active) * elapsed / (through + 0.5 * b->active);
}

/* How its true work compares with what its kind takes where it ran; 0 = unknown. */
static double work_scale(const struct sched *sched, const struct task_node *t)
{
	const struct sched_attempt *last = sched_task_attempt(&t->pub);
	const char *model = "";
	struct estimate estimate;

	if (t->pub.state != SCHED_DONE || t->work_seconds <= 0)
		return 0;
	if (last->n_gpus > 0)
		model = gpu_model(sched, last->gpus[0].uuid);
	estimate = estimates_get(sched->estimates, t->pub.spec.kind, model,
				 model_speed(sched, model), task_vram_asked(t));
	if (estimate.samples == 0 || estimate.work_seconds <= 0)
		return 0;
	if (t->busy_seconds > 0 && estimate.utilization_known && estimate.utilization_percent > 0)
		return (double)t->busy_seconds /
		       (estimate.work_seconds * estimate.utilization_percent / 100);
	return (double)t->work_seconds / estimate.work_seconds;
}

/* What it asks for, or asked for last. */
static const struct place_request *yardstick_ask(struct asker *asker, const struct task_node *t,
						 struct place_request *asks, size_t *n)
{
	struct ask ask = {};

	if (t->run)
		ask.request = t->run->ask;
	else if (sched_state_is_final(t->pub.state) && t->pub.n_attempts > 0)
		ask.request = ask_granted(t);
	else
		ask_now(asker, t, &ask);
	if (*n == 0 || !place_request_is_same(&asks[*n - 1], &ask.request))
		asks[(*n)++] = ask.request;
	return &asks[*n - 1];
}

/* All tasks of the batch as the placer's yardsticks want them. */
static void yardsticks_work_out(struct sched *sched, struct batch_node *b)
{
	struct ledger *ledger = ledger_now(sched, b);
	auto_free struct place_task *tasks = mem_calloc(b->pub.total + 1, sizeof *tasks);
	/* Most ask for alike and share one: what is not touched costs nothing. */
	auto_free struct place_request *asks = mem_calloc(b->pub.total + 1, sizeof *asks);
	auto_asker struct asker asker = {};
	size_t n = 0, n_asks = 0;

	asker_init(&asker, sched, ledger);

	for (const struct task_node *t = b->first; t && n < b->pub.total; t = t->batch_next) {
		if (t->pub.state == SCHED_CANCELED)
			continue;
		tasks[n] = (struct place_task){
		    .id = t->pub.id,
		    .batch = b->pub.id,
		    .priority = t->pub.spec.priority,
		    .kind = t->pub.spec.kind,
		    .request = yardstick_ask(&asker, t, asks, &n_asks),
		    .policy = t->pub.spec.policy,
		    .weight_memory = t->pub.spec.weight_memory,
		    .work_hint = t->pub.spec.work_hint,
		    .work_scale = work_scale(sched, t),
		};
		n++;
	}
	place_yardsticks_compute(ledger, sched->estimates, tasks, n, &b->yardsticks);
	b->yardsticks_at = 1 + ended(b);
	ledger_destroy(ledger);
}

static int compare_gpus(const void *a, const void *b)
{
	const struct sched_summary_gpu *x = a, *y = b;

	return x->index < y->index ? -1 : x->index > y->index;
}

/* GPUs that were there while tasks of the CPU ran are not the batch's. */
static bool wants_gpus(const struct batch_node *b)
{
	for (const struct task_node *t = b->first; t; t = t->batch_next)
		if (t->pub.spec.request.cpu != PLACE_CPU_ONLY)
			return true;
	return false;
}

static void summary_gpus(struct sched *sched, const struct batch_node *b,
			 struct sched_summary *summary)
{
	struct ledger *ledger = ledger_now(sched, NULL);

	summary->gpus = mem_calloc(b->n_gpus + 1, sizeof *summary->gpus);
	for (size_t i = 0; wants_gpus(b) && i < b->n_gpus; i++) {
		const struct batch_gpu *g = &b->gpus[i];
		struct sched_summary_gpu *to = &summary->gpus[summary->n_gpus++];

		(void)snprintf(to->uuid, sizeof to->uuid, "%s", g->uuid);
		(void)snprintf(to->name, sizeof to->name, "%s",
			       g->name[0] ? g->name : gpu_model(sched, g->uuid));
		to->index = g->index;
		to->tasks = g->tasks;
		to->utilization_known = g->seconds > 0;
		to->mean_utilization_percent =
		    g->seconds > 0 ? g->utilization_integral / g->seconds : 0;
		to->peak_vram_bytes = g->peak_vram_bytes;
		for (size_t k = 0; k < ledger->n_gpus; k++) {
			if (strcmp(ledger->gpus[k].uuid, g->uuid) == 0 &&
			    ledger->gpus[k].vram_known)
				to->load_line_bytes = ledger->gpus[k].load_line_bytes;
		}
	}
	qsort(summary->gpus, summary->n_gpus, sizeof *summary->gpus, compare_gpus);
	ledger_destroy(ledger);
}

int sched_summarize(struct sched *sched, uint64_t batch, int64_t now_ms,
		    struct sched_summary *ret_summary)
{
	struct batch_node *b = batch_find(sched, batch);
	struct sched_summary s = {};

	if (!b)
		return -ESRCH;
	s.total = b->pub.total;
	s.done = b->pub.counts[SCHED_DONE];
	s.failed = b->pub.counts[SCHED_FAILED] + b->pub.counts[SCHED_LOST];
	s.canceled = b->pub.counts[SCHED_CANCELED];
	s.oom_recovered = b->oom_recovered;
	memcpy(s.recovered_by, b->recovered_by, sizeof s.recovered_by);
	s.on_cpu = b->on_cpu;
	s.overran = b->overran;
	memcpy(s.overran_tasks, b->overran_tasks, sizeof s.overran_tasks);
	s.wall_seconds = (double)((b->pub.ended_at_ms > 0 ? b->pub.ended_at_ms : now_ms) -
				  b->pub.submitted_at_ms) /
			 1000;
	s.wall_seconds = MAX_OF(s.wall_seconds, 0.0);
	if (b->yardsticks_at != 1 + ended(b))
		yardsticks_work_out(sched, b);
	s.yardsticks = b->yardsticks;
	/* Works are measured by sampling. The schedule that just ran is a proof that none is too
	 * short. */
	if (b->pub.ended_at_ms > 0)
		s.yardsticks.lower_bound_seconds =
		    MIN_OF(s.yardsticks.lower_bound_seconds, s.wall_seconds);
	s.eta_seconds = sched_batch_eta(sched, &b->pub, now_ms);
	summary_gpus(sched, b, &s);
	*ret_summary = s;
	return 0;
}

void sched_summary_finish(struct sched_summary *summary)
{
	free(summary->gpus);
	*summary = (struct sched_summary){};
}
