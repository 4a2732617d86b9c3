/*
 * VRAM, in this order: the ladder's, when the task ran out of memory; what it said, unless others
 * of its kind were measured above that; what was learned of its kind; its default; and when nothing
 * at all is known it gets a GPU for itself, and is measured there. Only what Plimsoll made up
 * itself is bounded, by the largest load line and by what its user may hold: what somebody said is
 * taken at its word, however large.
 *
 * RAM: what it or its ladder said, else what was learned of its kind, and a tenth. That is kept
 * free for it and no more: nobody is held to what he never said (sched_ram_promise()), and nobody
 * waits for what would not be free if all of ours had ended.
 *
 * A bound that no GPU meets while others use a part of it (a desktop, a service) would have the
 * task wait for ever. So a request of our own that is above what all GPUs can give now comes down
 * to that, as long as it stays above what was seen not to be enough. And a guess does so beside
 * tasks of ours, of which nobody knows how long they run: a try that is clearly more than the last
 * one is worth more now than a larger one some day.
 */
#include "sched/ask.h"

#include "place/oom.h"
#include "place/saturate.h"

#include <string.h>

/* Of one that says nothing of CPUs and runs where it was not made for. */
#define CPU_MILLI_DEFAULT 1000
/* A guess comes down no further than this above what was measured ... */
#define MEASURED_MORE_PERCENT 5
/* ... and above what the last attempt was granted, which was not enough. */
#define GRANTED_MORE_PERCENT 25
/* ... which is a sixth below half as much again. */
#define GUESS_PART 6

static const char *const source_names[SCHED_VRAM_SOURCE_COUNT] = {
    [SCHED_VRAM_NONE] = NULL,           [SCHED_VRAM_SAID] = "said",
    [SCHED_VRAM_LEARNED] = "learned",   [SCHED_VRAM_DEFAULT] = "default",
    [SCHED_VRAM_ALONE] = "alone",       [SCHED_VRAM_LADDER] = "ladder",
    [SCHED_VRAM_FRACTION] = "fraction",
};

const char *sched_vram_source_name(enum sched_vram_source source)
{
	return (unsigned)source < SCHED_VRAM_SOURCE_COUNT ? source_names[source] : NULL;
}

void asker_init(struct asker *asker, const struct sched *sched, const struct ledger *ledger)
{
	const struct ledger_host *host = &sched->host;

	*asker = (struct asker){
	    .sched = sched, .ledger = ledger, .ram_most_bytes = host->ram_available_bytes};
	for (const struct task_node *t = sched->active; t; t = t->run->next)
		asker->ram_most_bytes += t->run->ram_used_bytes;
	asker->ram_most_bytes = MIN_OF(asker->ram_most_bytes, host->ram_total_bytes);
}

void asker_finish(struct asker *asker)
{
	free(asker->needs);
	*asker = (struct asker){};
}

/* ---- what was learned ---- */

static void need_join(struct estimates_need *to, const struct estimates_need *from)
{
	to->peaks = MAX_OF(to->peaks, from->peaks);
	to->ram_peaks = MAX_OF(to->ram_peaks, from->ram_peaks);
	to->p95_ram_bytes = MAX_OF(to->p95_ram_bytes, from->p95_ram_bytes);
	to->known |= from->known;
	to->proven |= from->proven;
	to->guessed |= from->guessed;
	to->vram_bytes = MAX_OF(to->vram_bytes, from->vram_bytes);
	to->p95_vram_bytes = MAX_OF(to->p95_vram_bytes, from->p95_vram_bytes);
	to->max_vram_bytes = MAX_OF(to->max_vram_bytes, from->max_vram_bytes);
	to->oom_vram_bytes = MAX_OF(to->oom_vram_bytes, from->oom_vram_bytes);
	to->said_permille = MAX_OF(to->said_permille, from->said_permille);
	to->small_said_bytes = MAX_OF(to->small_said_bytes, from->small_said_bytes);
}

static bool model_seen_before(const struct ledger *ledger, size_t gpu)
{
	for (size_t i = 0; i < gpu; i++)
		if (strcmp(ledger->gpus[i].model, ledger->gpus[gpu].model) == 0)
			return true;
	return false;
}

/* On whichever GPU it may be, or on the CPU. */
static struct estimates_need need_look_up(const struct asker *asker, const char *kind,
					  const struct place_request *request)
{
	const struct ledger *ledger = asker->ledger;
	struct estimates_need need = {};

	if (request->cpu == PLACE_CPU_ONLY)
		return estimates_need_get(asker->sched->estimates, kind, "");
	for (size_t i = 0; i < ledger->n_gpus; i++) {
		struct estimates_need one;

		if (place_is_pinned_elsewhere(request, ledger->gpus[i].uuid) ||
		    (!request->pin_uuid && model_seen_before(ledger, i)))
			continue;
		one = estimates_need_get(asker->sched->estimates, kind, ledger->gpus[i].model);
		need_join(&need, &one);
	}
	return need;
}

static const struct estimates_need *need_of(struct asker *asker, const struct task_node *t,
					    const struct place_request *request)
{
	static const struct estimates_need none = {};
	static const char on_cpu[] = "cpu";
	const char *kind = task_kind(t);
	const char *pin = request->cpu == PLACE_CPU_ONLY ? on_cpu : t->pub.spec.request.pin_uuid;
	struct ask_need *found;

	if (!kind[0])
		return &none;
	for (size_t i = asker->n_needs; i-- > 0;)
		if (asker->needs[i].kind == kind && asker->needs[i].pin == pin)
			return &asker->needs[i].need;
	ARRAY_GROW(asker->needs, asker->n_needs, asker->needs_room);
	found = &asker->needs[asker->n_needs++];
	*found =
	    (struct ask_need){.kind = kind, .pin = pin, .need = need_look_up(asker, kind, request)};
	return &found->need;
}

/* ---- putting it together ---- */

/* The same work without a GPU. */
static struct place_request without_gpu(const struct place_request *request)
{
	return (struct place_request){
	    .ram_bytes = request->ram_bytes,
	    .cpu_milli = request->cpu_milli ? request->cpu_milli : CPU_MILLI_DEFAULT,
	    .cpu = PLACE_CPU_ONLY,
	    .threads = request->threads,
	};
}

/* It wanted a GPU, and may do without. */
static bool may_do_without(const struct place_request *request)
{
	return request->cpu == PLACE_CPU_FALLBACK || request->cpu == PLACE_CPU_WHEN_IDLE;
}

struct place_request ask_said(const struct task_node *t)
{
	struct place_request request = t->pub.spec.request;
	const struct sched_ladder *ladder = t->pub.ladder;

	if (!ladder)
		return request;
	request.ram_bytes = MAX_OF(request.ram_bytes, ladder->ram_bytes);
	if (ladder->cpu && may_do_without(&request))
		return without_gpu(&request);
	if (request.cpu == PLACE_CPU_ONLY)
		return request;
	request.exclusive |= ladder->alone;
	request.line_above_bytes = ladder->line_above_bytes;
	if (ladder->vram_bytes > 0) {
		request.vram_bytes = ladder->vram_bytes;
		request.fraction_milli = 0;
	}
	return request;
}

/* A batch smaller than at first: neither what it said nor what it wanted then is of this one. */
static bool has_smaller_batch(const struct task_node *t)
{
	return t->pub.ladder && t->pub.ladder->batch_size > 0 &&
	       t->pub.ladder->batch_size < t->pub.spec.batch_size;
}

uint64_t ask_said_vram(const struct task_node *t)
{
	return has_smaller_batch(t) ? 0 : t->pub.spec.request.vram_bytes;
}

/* A tensor that is too large for any GPU is one; so many times as large is a mistake in a text. */
#define SIZE_TIMES_MAX 16

uint64_t oom_size(const struct sched *sched, uint64_t bytes)
{
	uint64_t largest = 0;

	for (size_t i = 0; i < sched->gpus->n; i++) {
		const struct gpu *gpu = &sched->gpus->gpus[i];

		if (!(gpu->valid & GPU_TOTAL))
			return bytes;
		largest = MAX_OF(largest, gpu->vram.total_bytes);
	}
	return largest > 0 && bytes / SIZE_TIMES_MAX > largest ? 0 : bytes;
}

/* What its last attempt wanted at least when it ran out of memory. */
static uint64_t fall_floor(const struct asker *asker, const struct task_node *t)
{
	const struct sched_attempt *last = sched_task_attempt(&t->pub);

	if (!t->pub.ladder || !last || last->n_gpus == 0 || last->outcome != SCHED_OOM)
		return 0;
	if (t->pub.ladder->batch_size > 0 && last->batch_size > t->pub.ladder->batch_size)
		return 0;
	return oom_floor(&(struct oom_facts){
	    .granted_bytes = last->gpus[0].vram_bytes,
	    .used_bytes = last->peak_vram_bytes,
	    .own_bytes = last->oom_used_bytes,
	    .requested_bytes = oom_size(asker->sched, last->oom_requested_bytes)});
}

/* What was measured to be needed at least: by others of its kind, by itself. */
static uint64_t measured_of(const struct asker *asker, const struct task_node *t,
			    const struct estimates_need *need)
{
	return MAX_OF(estimates_measured_for(need, ask_said_vram(t)), fall_floor(asker, t));
}

/* The least that is worth a try at once, where `vram` is no more than a guess. */
static uint64_t least_of(const struct task_node *t, uint64_t measured, uint64_t vram)
{
	const struct sched_attempt *last = sched_task_attempt(&t->pub);
	uint64_t least =
	    MAX_OF(ask_said_vram(t), saturate_add_percent(measured, MEASURED_MORE_PERCENT));

	if (t->pub.ladder && last && last->n_gpus > 0 && last->outcome == SCHED_OOM &&
	    !has_smaller_batch(t))
		return MAX_OF(least,
			      saturate_add_percent(last->gpus[0].vram_bytes, GRANTED_MORE_PERCENT));
	/* Of others that fell no more is known than what was guessed of them. */
	return measured > ask_said_vram(t) ? least : MAX_OF(least, vram - vram / GUESS_PART);
}

/* Of a size that nobody said. What was measured is waited for, where a GPU can ever give it; a
 * guess is not. */
static uint64_t bounded(const struct asker *asker, const struct task_node *t,
			const struct place_request *request, const struct estimates_need *need,
			uint64_t vram)
{
	uint64_t most = place_most(asker->ledger, request, false), now;
	uint64_t limit = t->user->limits.max_vram_bytes;
	uint64_t said = ask_said_vram(t);
	uint64_t measured = measured_of(asker, t, need);
	bool guess = need->guessed || (t->pub.ladder && t->pub.ladder->vram_bytes > 0);

	if (most > 0)
		vram = MIN_OF(vram, most);
	if (limit > 0)
		vram = MIN_OF(vram, limit / MAX_OF(request->gpus, 1U));
	now = place_most(asker->ledger, request, true);
	if (vram > now && now >= said && (now > measured || (most > 0 && measured > most)))
		vram = now;
	now = guess ? place_most_room(asker->ledger, request) : 0;
	if (vram > now && now >= least_of(t, measured, vram))
		vram = now;
	return MAX_OF(vram, said);
}

/* What a batch of tasks gets that say nothing says nothing of one of them: all of the kind count.
 */
static bool is_spare_too_small(const struct estimates_need *need, uint64_t spare)
{
	struct estimates_need any = *need;

	any.said_permille = 0;
	return estimates_is_too_small(&any, spare);
}

/* Nothing says what it takes: it gets a GPU for itself, one that holds what others of its kind were
 * measured at so far, if there is such a one. */
static void ask_alone(const struct asker *asker, const struct task_node *t,
		      const struct estimates_need *need, struct ask *ask)
{
	struct place_request *request = &ask->request;
	uint64_t measured = measured_of(asker, t, need), most;

	request->exclusive = true;
	if (measured == 0)
		return;
	most = place_most(asker->ledger, request, false);
	if (most > 0)
		request->line_above_bytes =
		    MAX_OF(request->line_above_bytes, MIN_OF(measured, most) - 1);
}

static void ask_vram(const struct asker *asker, const struct task_node *t,
		     const struct estimates_need *need, struct ask *ask)
{
	struct place_request *request = &ask->request;
	uint64_t said = t->pub.spec.request.vram_bytes;
	uint64_t spare = t->pub.spec.vram_default_bytes;

	if (t->pub.ladder && t->pub.ladder->vram_bytes > 0) {
		ask->source = SCHED_VRAM_LADDER;
		/* It said nothing, and all that is known is how it fell. */
		ask->whole = said == 0 && spare == 0 && request->max_per_gpu == 0 &&
			     !need->proven && t->pub.spec.request.fraction_milli == 0;
		request->exclusive |= ask->whole;
		request->vram_bytes = bounded(
		    asker, t, request, need,
		    MAX_OF(request->vram_bytes, estimates_need_for(need, ask_said_vram(t))));
		ask->whole |= t->pub.ladder->alone;
	} else if (request->fraction_milli > 0) {
		ask->source = SCHED_VRAM_FRACTION;
	} else if (said > 0 ? estimates_is_too_small(need, said)
			    : need->known && need->vram_bytes > 0) {
		ask->source = SCHED_VRAM_LEARNED;
		request->vram_bytes =
		    bounded(asker, t, request, need, estimates_need_for(need, said));
	} else if (said > 0) {
		ask->source = SCHED_VRAM_SAID;
	} else if (spare > 0) {
		ask->source = SCHED_VRAM_DEFAULT;
		request->vram_bytes =
		    bounded(asker, t, request, need,
			    is_spare_too_small(need, spare) ? need->vram_bytes : spare);
	} else if (request->max_per_gpu == 0) {
		ask->source = SCHED_VRAM_ALONE;
		ask_alone(asker, t, need, ask);
	}
	ask->by_room = ask->source == SCHED_VRAM_LADDER || ask->source == SCHED_VRAM_LEARNED ||
		       ask->source == SCHED_VRAM_DEFAULT;
}

static void ask_ram(const struct asker *asker, const struct estimates_need *need,
		    struct place_request *request)
{
	uint64_t ram = need->p95_ram_bytes + need->p95_ram_bytes / 10;

	if (request->ram_bytes == 0 && need->ram_peaks >= ESTIMATES_FEW && asker->ledger->ram_known)
		request->ram_bytes = MIN_OF(ram, asker->ram_most_bytes);
}

void ask_now(struct asker *asker, const struct task_node *t, struct ask *ret_ask)
{
	struct ask ask = {.request = ask_said(t)};
	const struct place_request *said = &t->pub.spec.request;
	const struct estimates_need *need;

	need = need_of(asker, t, &ask.request);
	ask_ram(asker, need, &ask.request);
	if (ask.request.cpu == PLACE_CPU_ONLY) {
		if (said->cpu != PLACE_CPU_ONLY)
			ask.cpu_why = "it ran out of GPU memory (rung cpu)";
		*ret_ask = ask;
		return;
	}
	ask_vram(asker, t, need, &ask);
	/* A share is no guess of what it needs but what it is to get; and workers may wait for each
	 * other before they take anything. */
	ask.request.unproven = t->pub.spec.kind[0] && !need->proven && said->fraction_milli == 0 &&
			       t->pub.spec.workers == 0;
	if (may_do_without(said)) {
		ask.on_cpu = without_gpu(&ask.request);
		ask.may_cpu = said->cpu == PLACE_CPU_WHEN_IDLE;
		if (!place_has_gpus_for(asker->ledger, &ask.request)) {
			ask.request = ask.on_cpu;
			ask.may_cpu = false;
			ask.cpu_why = "no GPU here can ever hold it (--cpu fallback)";
		}
	}
	*ret_ask = ask;
}

struct place_request ask_granted(const struct task_node *t)
{
	const struct sched_attempt *attempt = sched_task_attempt(&t->pub);
	struct place_request request = ask_said(t);

	if (attempt->n_gpus == 0 && request.cpu != PLACE_CPU_ONLY)
		request = without_gpu(&request);
	request.ram_bytes = MAX_OF(request.ram_bytes, attempt->ram_bytes);
	if (attempt->n_gpus == 0)
		return request;
	if (request.fraction_milli == 0)
		request.vram_bytes = attempt->gpus[0].vram_bytes;
	request.exclusive |= !place_request_is_sized(&request) && request.max_per_gpu == 0;
	return request;
}

void sched_ask(struct sched *sched, const struct sched_task *task, struct sched_ask *ret_ask)
{
	const struct task_node *t = task_of(task);
	auto_asker struct asker asker = {};
	struct ask ask;

	view_refresh(sched, sched->last_ms);
	asker_init(&asker, sched, sched->view.ledger);
	ask_now(&asker, t, &ask);
	*ret_ask =
	    (struct sched_ask){.request = t->run ? t->run->ask : ask.request, .source = ask.source};
}
