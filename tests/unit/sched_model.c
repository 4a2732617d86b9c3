/* See sched_world.h. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include "sched_world.h"

#include <string.h>

static struct fate fate_of(const struct world *w, const struct sched_after_item *item)
{
	return item->is_batch ? w->batches[item->id] : w->tasks[item->id].fate;
}

bool after_was_met(const struct world *w, const struct sched_task *t)
{
	const struct sched_after *after = t->spec.after;
	size_t met = 0;

	if (!after || w->tasks[t->id].retried)
		return true;
	for (size_t i = 0; i < after->n; i++) {
		struct fate fate = fate_of(w, &after->items[i]);

		met += (after->on != SCHED_AFTER_FAILURE && fate.well) ||
		       (after->on != SCHED_AFTER_SUCCESS && fate.badly);
	}
	return after->any ? met > 0 : met == after->n;
}

/* What his tasks hold together, counted by hand. */
struct holding {
	unsigned running, queued, gpus;
	uint64_t vram_bytes;
};

static struct holding holding_of(struct world *w, uid_t uid)
{
	struct holding h = {};

	for (const struct sched_task *t = sched_first(w->sched); t; t = sched_next(t)) {
		const struct sched_attempt *a = sched_task_attempt(t);

		if (t->spec.uid != uid || sched_state_is_final(t->state))
			continue;
		h.queued++;
		if (t->state != SCHED_STARTING && t->state != SCHED_RUNNING)
			continue;
		h.running++;
		h.gpus += a->n_gpus;
		for (unsigned g = 0; g < a->n_gpus; g++)
			h.vram_bytes += a->gpus[g].vram_bytes;
	}
	return h;
}

void check_users(struct world *w)
{
	auto_free struct sched_user *users = NULL;
	size_t n = sched_users(w->sched, w->now_ms, &users);

	for (size_t i = 0; i < n; i++) {
		struct holding h = holding_of(w, users[i].uid);
		const struct sched_user_limits *limits = &w->users[users[i].uid - 1000].limits;

		assert_int_equal(users[i].running, h.running);
		assert_int_equal(users[i].queued, h.queued);
		assert_int_equal(users[i].gpus, h.gpus);
		assert_int_equal(users[i].vram_bytes, h.vram_bytes);
		assert_true(users[i].usage_gpu_seconds >= 0);
		assert_true(!limits->max_running || h.running <= limits->max_running);
		assert_true(!limits->max_gpus || h.gpus <= limits->max_gpus);
		assert_true(!limits->max_vram_bytes || h.vram_bytes <= limits->max_vram_bytes);
	}
}

const char *const world_kinds[KINDS] = {"", "tiny", "large"};

static unsigned kind_of(const struct sched_task *t)
{
	unsigned k = KINDS - 1;

	while (k > 0 && strcmp(world_kinds[k], t->spec.kind) != 0)
		k--;
	return k;
}

void note_wanted(struct world *w)
{
	for (const struct sched_task *t = sched_first(w->sched); t; t = sched_next(t)) {
		uint64_t *most = &w->wanted[kind_of(t)];

		for (unsigned i = 0; t->spec.kind[0] && i < t->n_attempts; i++) {
			const struct sched_attempt *a = &t->attempts[i];
			uint64_t own = MAX_OF(a->peak_vram_bytes, a->oom_used_bytes);

			uint64_t wanted = own + a->oom_requested_bytes;

			*most = MAX_OF(*most, wanted);
			w->wrong[kind_of(t)] |=
			    t->spec.request.vram_bytes > 0 && wanted >= t->spec.request.vram_bytes;
		}
	}
}

static struct sched_ask asked(struct world *w, const struct sched_task *t)
{
	struct sched_ask ask;

	sched_ask(w->sched, t, &ask);
	return ask;
}

/* Could it start on GPU i, as far as the rules that can be told from outside go? */
static bool gpu_takes(struct world *w, const struct ledger_gpu *g, const struct sched_task *t)
{
	struct sched_ask ask = asked(w, t);
	const struct place_request *request = &ask.request;
	unsigned of_batch = 0;

	for (const struct sched_task *o = sched_first_active(w->sched); o;
	     o = sched_next_active(o)) {
		const struct sched_attempt *a = sched_task_attempt(o);
		struct sched_ask other = asked(w, o);

		for (unsigned k = 0; k < a->n_gpus; k++) {
			if (strcmp(a->gpus[k].uuid, g->uuid) != 0)
				continue;
			of_batch += t->batch && o->batch == t->batch;
			if (other.request.start_lock || other.request.vram_bytes == 0)
				return false;
		}
	}
	return g->usable && g->vram_known && !g->closed && !g->hold_closed && !g->held_exclusive &&
	       request->vram_bytes <= g->room_bytes && (!request->exclusive || g->n_tasks == 0) &&
	       (request->max_per_gpu == 0 || of_batch < request->max_per_gpu) &&
	       g->load_line_bytes > request->line_above_bytes &&
	       (!request->pin_uuid || strcmp(request->pin_uuid, g->uuid) == 0);
}

/* Nothing that is known here keeps it from starting: and yet it waits. */
static bool could_start(struct world *w, const struct ledger *ledger, const struct sched_task *t)
{
	struct sched_ask ask = asked(w, t);
	const struct place_request *request = &ask.request;
	unsigned able = 0;

	/* Where the placer may have its own reasons to wait. */
	if (request->unproven || t->spec.policy == PLACE_AUTO || w->config.reserve_after_ms >= 0 ||
	    w->config.stagger_ms > 0 || request->stagger_ms > 0 || request->start_lock ||
	    (request->gpus > 0 && request->vram_bytes == 0))
		return false;
	for (size_t i = 0; i < ledger->n_gpus; i++)
		able += gpu_takes(w, &ledger->gpus[i], t);
	return able >= request->gpus;
}

/* The kind of reason it must have, by what is known here; NULL: the placer's, or others first. */
static const char *reason_wanted(struct world *w, const struct sched_task *t)
{
	const struct sched_batch *b = t->batch ? sched_find_batch(w->sched, t->batch) : NULL;
	const struct sched_user_limits *limits = &w->users[t->spec.uid - 1000].limits;
	struct sched_ask ask = asked(w, t);
	const struct place_request *request = &ask.request;
	struct holding h = holding_of(w, t->spec.uid);

	if (!after_was_met(w, t) || t->n_after > 0)
		return "waits for ";
	if (t->not_before_ms > w->now_ms)
		return t->not_before_ms == t->spec.not_before_ms ? "its time has not come"
								 : "; tried again in ";
	if (w->paused)
		return "nothing new starts: paused";
	if (b && b->state == SCHED_BATCH_ASKING)
		return "waits for an answer";
	if (b && request->threads > 0 &&
	    b->counts[SCHED_STARTING] + b->counts[SCHED_RUNNING] >= request->threads)
		return "of its batch run at once already (limit ";
	if (limits->max_running > 0 && h.running >= limits->max_running)
		return " running, the limit is ";
	if (request->gpus > 0 && limits->max_gpus > 0 && h.gpus + request->gpus > limits->max_gpus)
		return " holds ";
	if (limits->max_vram_bytes > 0 && request->vram_bytes > 0 &&
	    h.vram_bytes + request->vram_bytes * request->gpus > limits->max_vram_bytes)
		return " of VRAM; user ";
	if (w->start_failures > 0)
		return "the machine could not start anything, ";
	return NULL;
}

/* It has not fallen itself: so room that holds what it said is room for it, whatever is guessed.
 * Only what was seen counts: one that wanted as much, or others that said too little. */
static void check_no_guess(struct world *w, const struct sched_task *t)
{
	uint64_t said =
	    t->spec.request.vram_bytes ? t->spec.request.vram_bytes : t->spec.vram_default_bytes;
	struct sched_ask ask = asked(w, t);

	if (t->ladder || said == 0 || ask.request.vram_bytes <= said)
		return;
	w->raised++;
	if (w->wanted[kind_of(t)] < said &&
	    !(t->spec.request.vram_bytes > 0 && w->wrong[kind_of(t)]))
		fail_msg("task %llu said %s and asks for %s, and none of its kind wanted more than "
			 "%s",
			 (unsigned long long)t->id, SIZE_TEXT(said),
			 SIZE_TEXT(ask.request.vram_bytes), SIZE_TEXT(w->wanted[kind_of(t)]));
}

static void check_reason(struct world *w, const struct ledger *ledger, const struct sched_task *t)
{
	const char *wanted = reason_wanted(w, t);
	char reason[SCHED_REASON_MAX];

	(void)sched_reason(w->sched, t, reason);
	w->reasons++;
	check_no_guess(w, t);
	if (wanted ? !strstr(reason, wanted) : could_start(w, ledger, t))
		fail_msg("task %llu: wanted '%s', the reason is: %s", (unsigned long long)t->id,
			 wanted ? wanted : "(nothing keeps it)", reason);
	assert_true(reason[0]);
	/* Never what is not so. */
	assert_int_equal(!strncmp(reason, "waits for task", 14) ||
			     (!strncmp(reason, "waits for batch", 15)),
			 wanted && strcmp(wanted, "waits for ") == 0);
	assert_int_equal(strstr(reason, "nothing new starts") != NULL,
			 wanted && strstr(wanted, "nothing new starts"));
	w->kept += wanted != NULL;
}

void check_reasons(struct world *w)
{
	struct ledger *ledger = sched_ledger(w->sched);

	for (const struct sched_task *t = sched_first(w->sched); t; t = sched_next(t)) {
		if (t->state == SCHED_WAITING)
			check_reason(w, ledger, t);
	}
	ledger_destroy(ledger);
}

struct crowd {
	unsigned tasks, exclusive;
	uint64_t granted;
};

void check_gpus(struct world *w, const bool *started_on)
{
	struct crowd crowds[GPUS_MAX] = {};
	struct ledger *ledger = sched_ledger(w->sched);

	for (const struct sched_task *t = sched_first_active(w->sched); t;
	     t = sched_next_active(t)) {
		const struct sched_attempt *a = sched_task_attempt(t);

		for (unsigned g = 0; g < a->n_gpus; g++) {
			struct crowd *c = &crowds[a->gpus[g].index];
			unsigned of_batch = 0;

			c->tasks++;
			c->granted += a->gpus[g].vram_bytes;
			c->exclusive += asked(w, t).request.exclusive;
			for (const struct sched_task *o = sched_first_active(w->sched);
			     t->batch && o; o = sched_next_active(o)) {
				const struct sched_attempt *b = sched_task_attempt(o);

				for (unsigned k = 0; o->batch == t->batch && k < b->n_gpus; k++)
					of_batch += b->gpus[k].uuid == a->gpus[g].uuid;
			}
			assert_true(t->spec.request.max_per_gpu == 0 ||
				    of_batch <= t->spec.request.max_per_gpu);
		}
	}
	for (size_t i = 0; i < ledger->n_gpus; i++) {
		const struct ledger_gpu *g = &ledger->gpus[i];

		assert_true(!g->vram_known || g->allocated_bytes == crowds[i].granted);
		assert_true(crowds[i].exclusive == 0 || crowds[i].tasks == 1);
		/* Only a start can overdraw; what others did to the GPU since is not ours. */
		if (started_on[i])
			assert_true(g->ours_bytes + g->foreign_bytes <= g->load_line_bytes);
	}
	ledger_destroy(ledger);
}

void check_batches(struct world *w)
{
	for (const struct sched_batch *b = sched_first_batch(w->sched); b;
	     b = sched_next_batch(b)) {
		unsigned counts[SCHED_STATE_COUNT] = {}, active, waiting, threads = 0, n = 0;

		for (const struct sched_task *t = sched_batch_first(w->sched, b->id); t;
		     t = sched_batch_next(t)) {
			counts[t->state]++;
			threads = t->spec.request.threads;
			n++;
		}
		active = counts[SCHED_STARTING] + counts[SCHED_RUNNING];
		waiting = counts[SCHED_WAITING] + counts[SCHED_HELD];
		if (n == b->total) /* none of it is forgotten */
			assert_memory_equal(counts, b->counts, sizeof counts);
		assert_true(n <= b->total);
		assert_true(threads == 0 || active <= threads);
		assert_int_equal(b->ended_at_ms > 0, active + waiting == 0);
		if (b->state == SCHED_BATCH_CANCELED)
			assert_int_equal(waiting, 0);
	}
}

void world_clock(struct world *w)
{
	if (w->tells_both)
		sched_clock(w->sched, w->now_ms, w->monotonic_ms);
}

void time_passes(struct world *w, int64_t ms)
{
	w->now_ms += ms;
	w->monotonic_ms += ms;
	world_clock(w);
}

void set_clock(struct world *w, int64_t by)
{
	w->now_ms += by;
	w->latest_ms = MAX_OF(w->latest_ms, w->now_ms);
	for (uint64_t id = 1; id <= w->last_task; id++) {
		w->tasks[id].started_ms += by;
		w->tasks[id].ended_ms += by;
	}
}

static bool same_text(const char *a, const char *b)
{
	return a == b || (a && b && strcmp(a, b) == 0);
}

bool alike(struct world *w, const struct sched_task *a, const struct sched_task *b)
{
	struct sched_ask of_a, of_b;
	const struct place_request *x = &of_a.request, *y = &of_b.request;

	sched_ask(w->sched, a, &of_a);
	sched_ask(w->sched, b, &of_b);

	return a->spec.uid == b->spec.uid && a->batch == b->batch &&
	       a->spec.policy == b->spec.policy && a->spec.policy != PLACE_AUTO &&
	       a->spec.hard_limit_ms == b->spec.hard_limit_ms && x->gpus == y->gpus &&
	       x->vram_bytes == y->vram_bytes && x->cpu == y->cpu && x->exclusive == y->exclusive &&
	       x->threads == y->threads && x->max_per_gpu == y->max_per_gpu &&
	       x->start_lock == y->start_lock && x->line_above_bytes == y->line_above_bytes &&
	       a->spec.request.cpu == b->spec.request.cpu && x->stagger_ms == y->stagger_ms &&
	       strcmp(a->spec.kind, b->spec.kind) == 0 && same_text(x->pin_uuid, y->pin_uuid);
}

void check_ladder(const struct sched_task *t)
{
	struct sched_rung rungs[SCHED_RUNGS_MAX];
	size_t n =
	    t->spec.on_oom ? t->spec.n_on_oom : sched_rungs_default(t->spec.request.cpu, rungs);
	unsigned most = 0;

	if (t->spec.on_oom)
		memcpy(rungs, t->spec.on_oom, n * sizeof *rungs);
	assert_true(t->ladder->rung < n);
	assert_true(t->ladder->times <= rungs[t->ladder->rung].times);
	for (size_t i = 0; i <= t->ladder->rung; i++)
		most += rungs[i].times;
	assert_true(t->ladder->climbs <= most);
	assert_int_equal(t->ladder->climbs > 0, sched_task_attempt(t)->rung != NULL);
}
