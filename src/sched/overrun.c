/*
 * The watch over what tasks use. Two things are read from the row of measurements of one task on
 * one GPU (struct ramp): has its use settled, and does it use more than it was granted?
 *
 * Who overruns does no harm while there is room. What counts is the sum of max(granted, used) of
 * all there, with what is foreign: above the load line a promise can no longer be kept, and who
 * would find out is the neighbour who asks for what he was promised. Then those whose excess it is
 * are stopped, the largest first; not when it is foreign use that has grown: the same sum
 * without the excess would be above the line, too. There is a second line for that case, all that
 * the GPU has: where nothing but the excess takes the sum above it, they are stopped whatever else
 * there is.
 *
 * Of the host's RAM the same is said; who does not ask to be stopped is not before the host runs
 * short.
 *
 * A task may catch SIGTERM and go on growing. So it gets that signal only while all that the others
 * were promised, and as much as it has lately grown in the time of the grace, is free on the GPU;
 * else SIGKILL.
 */
#include "sched/sched_priv.h"

#include "util/size.h"

#include <errno.h>
#include <signal.h>
#include <string.h>

#define RAM_SHORT_BYTES (512 * MIB) /* or 5 %: less than that available is short */
#define STRICT          ", and --on-overrun is stop"
#define GRACE_MS        2000 /* from SIGTERM to SIGKILL, and how far growth is looked ahead */
/* Use that grew by no more than this, or 2 %, for so long has settled; where the GPU does not tell,
 * any that is so old has. */
#define SLACK_BYTES (64 * MIB)
#define QUIET_MS    5000
#define BLIND_MS    30000
/* It says something about its kind sooner, seen in so many samples. */
#define CALM_MS      1000
#define CALM_SAMPLES 3

static const char *const names[SCHED_OVERRUN_COUNT] = {
    [SCHED_OVERRUN_AUTO] = "auto",
    [SCHED_OVERRUN_WARN] = "warn",
    [SCHED_OVERRUN_STOP] = "stop",
};

const char *sched_on_overrun_name(enum sched_on_overrun on)
{
	return names[on];
}

int sched_on_overrun_parse(const char *name, enum sched_on_overrun *ret_on, struct error *err)
{
	for (unsigned i = 0; i < SCHED_OVERRUN_COUNT; i++) {
		if (strcmp(name, names[i]) == 0) {
			*ret_on = (enum sched_on_overrun)i;
			return 0;
		}
	}
	return error_set(err, -EINVAL, "unknown \"%s\"; there are auto, warn, stop", name);
}

/* What it uses beyond its grant; 0 = nothing, or not worth speaking of, or nothing was promised. */
static uint64_t beyond(const struct sched *sched, uint64_t granted, uint64_t used)
{
	uint64_t slack = MAX_OF(granted / 20, sched->config.overrun_tolerance_bytes);

	return granted > 0 && used > granted && used - granted > slack ? used - granted : 0;
}

static uint64_t excess_of(const struct sched *sched, const struct sched_grant *grant)
{
	return grant->used_known ? beyond(sched, grant->vram_bytes, grant->used_bytes) : 0;
}

uint64_t sched_ram_promise(const struct sched_task *task, const struct sched_attempt *attempt)
{
	uint64_t said = task->spec.request.ram_bytes;

	return said > 0 || (task->ladder && task->ladder->ram_bytes > 0)
		   ? MAX_OF(attempt->ram_bytes, said)
		   : 0;
}

static uint64_t ram_granted(const struct task_node *t)
{
	return sched_ram_promise(&t->pub, sched_task_attempt(&t->pub));
}

static uint64_t ram_excess(const struct sched *sched, const struct task_node *t)
{
	return beyond(sched, ram_granted(t), t->run->ram_used_bytes);
}

static void settle_note(struct ramp *ramp, const struct sched_grant *grant, int64_t started_at_ms,
			int64_t now_ms)
{
	uint64_t slack = MAX_OF(ramp->level_bytes / 50, SLACK_BYTES);

	if (!grant->used_known) {
		ramp->settled = ramp->calm = now_ms - started_at_ms >= BLIND_MS;
		return;
	}
	ramp->samples++;
	if (grant->used_bytes > ramp->level_bytes + slack || ramp->level_bytes == 0) {
		ramp->level_bytes = grant->used_bytes;
		ramp->since_ms = now_ms;
		ramp->samples = 0;
	}
	ramp->settled = grant->used_bytes > 0 && now_ms - ramp->since_ms >= QUIET_MS;
	ramp->calm = grant->used_bytes > 0 && now_ms - ramp->since_ms >= CALM_MS &&
		     ramp->samples >= CALM_SAMPLES;
}

/* What it used one to two graces ago. */
static void growth_note(struct ramp *ramp, uint64_t used_bytes, int64_t now_ms)
{
	if (now_ms - ramp->mark_ms < GRACE_MS)
		return;
	ramp->earlier_bytes = ramp->mark_bytes;
	ramp->mark_bytes = used_bytes;
	ramp->mark_ms = now_ms;
}

/* It has told what its kind needs: on all of its GPUs. */
static void calm_note(struct sched *sched, struct task_node *t)
{
	bool calm = t->run->unproven;

	for (unsigned g = 0; g < task_current(t)->n_gpus; g++)
		calm &= t->run->ramps[g].calm;
	if (!calm)
		return;
	t->run->unproven = false;
	sched_touch(sched);
}

/* From now on it is one. False: it has been. */
static bool overrun_begins(struct sched *sched, struct task_node *t)
{
	struct sched_attempt *attempt = task_current(t);

	if (attempt->overrun)
		return false;
	attempt->overrun = attempt->changed = true;
	attempt->overrun_at_ms = sched->last_ms;
	task_changed(sched, t);
	return true;
}

void ramp_note(struct sched *sched, struct task_node *t, unsigned g, int64_t now_ms)
{
	struct sched_attempt *attempt = task_current(t);
	const struct sched_grant *grant = &attempt->gpus[g];
	struct ramp *ramp = &t->run->ramps[g];

	settle_note(ramp, grant, attempt->started_at_ms, now_ms);
	if (grant->used_known)
		growth_note(ramp, grant->used_bytes, now_ms);
	if (ramp->calm)
		calm_note(sched, t);
	ramp->over = excess_of(sched, grant) > 0 ? ramp->over + 1 : 0;
	sched->watch_due = true;
	if (ramp->over < sched->config.overrun_samples || !overrun_begins(sched, t))
		return;
	remark_add(sched, "task %llu uses %s of %s granted on GPU %u",
		   (unsigned long long)t->pub.id, SIZE_TEXT(grant->used_bytes),
		   SIZE_TEXT(grant->vram_bytes), grant->index);
}

void ram_note(struct sched *sched, struct task_node *t)
{
	struct run *run = t->run;

	run->ram_over = ram_excess(sched, t) > 0 ? run->ram_over + 1 : 0;
	sched->watch_due = true;
	if (run->ram_over < sched->config.overrun_samples || !overrun_begins(sched, t))
		return;
	remark_add(sched, "task %llu uses %s of %s of host memory granted",
		   (unsigned long long)t->pub.id, SIZE_TEXT(run->ram_used_bytes),
		   SIZE_TEXT(ram_granted(t)));
}

/* Who shares a GPU, as far as it matters here. */
struct crowd {
	struct task_node *worst; /* of those who may be stopped, the one with the largest excess */
	unsigned worst_gpu;      /* index into its attempt's */
	uint64_t worst_excess;
	uint64_t excess; /* of all who may be stopped */
	uint64_t ending; /* max(granted, used) of those who are being stopped already */
	uint64_t owed;   /* promised and not yet used, of all but `worst` */
	const struct task_node *victim; /* is owed most */
	uint64_t victim_owed;
};

static bool may_be_stopped(const struct task_node *t)
{
	return t->pub.spec.on_overrun != SCHED_OVERRUN_WARN && !t->run->end_waits;
}

static bool is_ending(const struct task_node *t)
{
	return t->run->stop_text || t->pub.stopping || t->run->end_waits;
}

static void crowd_add(const struct sched *sched, struct crowd *crowd, struct task_node *t,
		      unsigned g)
{
	const struct sched_grant *grant = &task_current(t)->gpus[g];
	uint64_t excess = may_be_stopped(t) ? excess_of(sched, grant) : 0;
	uint64_t used = grant->used_known ? grant->used_bytes : grant->vram_bytes;
	uint64_t owed = grant->vram_bytes > used ? grant->vram_bytes - used : 0;

	if (is_ending(t)) {
		crowd->ending += MAX_OF(grant->vram_bytes, used);
		return;
	}
	crowd->excess += excess;
	crowd->owed += owed;
	if (excess > crowd->worst_excess) {
		crowd->worst = t;
		crowd->worst_gpu = g;
		crowd->worst_excess = excess;
	}
	if (owed > crowd->victim_owed) {
		crowd->victim = t;
		crowd->victim_owed = owed;
	}
}

static struct crowd crowd_on(const struct sched *sched, const char *uuid)
{
	struct crowd crowd = {};

	for (struct task_node *t = sched->active; t; t = t->run->next) {
		const struct sched_attempt *attempt = task_current(t);

		for (unsigned g = 0; g < attempt->n_gpus; g++)
			if (strcmp(attempt->gpus[g].uuid, uuid) == 0)
				crowd_add(sched, &crowd, t, g);
	}
	return crowd;
}

/* Is it the excess that takes the sum above the limit? */
static bool is_excess(uint64_t sum, uint64_t excess, uint64_t limit)
{
	return excess > 0 && sum > limit && sum - MIN_OF(excess, sum) <= limit;
}

/* Does its free memory not last for what the others were promised, and for what this one takes
 * meanwhile as it went on lately? */
static bool is_urgent(const struct sched *sched, const struct crowd *crowd)
{
	const struct sched_grant *grant = &task_current(crowd->worst)->gpus[crowd->worst_gpu];
	const struct ramp *ramp = &crowd->worst->run->ramps[crowd->worst_gpu];
	const struct gpu *gpu = gpu_list_find(sched->gpus, grant->uuid);
	uint64_t growth =
	    grant->used_bytes > ramp->earlier_bytes ? grant->used_bytes - ramp->earlier_bytes : 0;

	return !gpu || !gpu_has(gpu, GPU_FREE) || gpu->vram.free_bytes <= crowd->owed + growth;
}

/* Others do not learn the names of what is not theirs. */
static void victim_name(const struct crowd *crowd, char *buf, size_t size)
{
	const struct sched_spec *spec = &crowd->victim->pub.spec;

	if (spec->name && spec->name[0] && spec->uid == crowd->worst->pub.spec.uid)
		(void)snprintf(buf, size, "%.100s", spec->name);
	else
		(void)snprintf(buf, size, "task %llu", (unsigned long long)crowd->victim->pub.id);
}

/* Why one is stopped, in parts: what it used, where, and what else is to be said. */
struct stop {
	enum sched_outcome outcome;
	bool at_once;
	const char *used, *where, *why;
};

static void stop_as(struct sched *sched, struct task_node *t, const struct stop *stop)
{
	bool wanted = t->pub.spec.on_overrun == SCHED_OVERRUN_STOP;

	t->run->stop_text = mem_printf("stopped: %s%s%s", stop->used, stop->where, stop->why);
	t->run->stop_words = mem_printf("%s%s", stop->used, wanted ? " (--on-overrun stop)" : "");
	t->run->stop_outcome = stop->outcome;
	t->run->stop_at_once = stop->at_once;
	(void)overrun_begins(sched, t);
	remark_add(sched, "task %llu is %s", (unsigned long long)t->pub.id, t->run->stop_text);
}

static void stop(struct sched *sched, struct task_node *t, unsigned g, bool at_once,
		 const char *why)
{
	const struct sched_grant *grant = &task_current(t)->gpus[g];
	char used[96], where[32];

	(void)snprintf(used, sizeof used, "used %s of %s granted", SIZE_TEXT(grant->used_bytes),
		       SIZE_TEXT(grant->vram_bytes));
	(void)snprintf(where, sizeof where, " on GPU %u", grant->index);
	stop_as(sched, t, &(struct stop){SCHED_OOM, at_once, used, where, why});
}

static void stop_worst(struct sched *sched, const struct crowd *crowd, const struct ledger_gpu *gpu)
{
	char why[256], name[112];

	if (crowd->victim) {
		victim_name(crowd, name, sizeof name);
		(void)snprintf(why, sizeof why, " while %s needs %s more of what it was promised",
			       name, SIZE_TEXT(crowd->victim_owed));
	} else {
		(void)snprintf(why, sizeof why, " while all there is above the load line of %s",
			       SIZE_TEXT(gpu->load_line_bytes));
	}
	stop(sched, crowd->worst, crowd->worst_gpu, is_urgent(sched, crowd), why);
}

/* Above the line, once for each time it goes there. */
static void over_line_note(struct sched *sched, const struct ledger_gpu *gpu, bool over,
			   uint64_t sum)
{
	struct gpu_note *note = gpu_note_get(sched, gpu->uuid);

	if (over && !note->over_line)
		remark_add(sched,
			   "GPU %u: %s promised and used there, above its load line of %s; nobody "
			   "who may be stopped is the cause (foreign: %s)",
			   gpu->index, SIZE_TEXT(sum), SIZE_TEXT(gpu->load_line_bytes),
			   SIZE_TEXT(gpu->foreign_bytes));
	note->over_line = over;
}

static void gpu_watch(struct sched *sched, const struct ledger_gpu *gpu)
{
	bool crowded = gpu->n_tasks > 1 || gpu->held_bytes > 0 || gpu->foreign_bytes > SLACK_BYTES;
	uint64_t sum = 0, all = gpu->foreign_bytes + gpu->held_bytes + gpu->ours_bytes;

	if (!gpu->usable || !gpu->vram_known)
		return;
	for (;;) {
		struct crowd crowd = crowd_on(sched, gpu->uuid);

		crowd.owed += gpu->held_owed_bytes;
		sum = all - MIN_OF(all, crowd.ending);
		if (!crowd.worst || !crowded ||
		    (!is_excess(sum, crowd.excess, gpu->load_line_bytes) &&
		     !is_excess(sum, crowd.excess, gpu->total_bytes)))
			break;
		stop_worst(sched, &crowd, gpu);
	}
	over_line_note(sched, gpu, crowded && sum > gpu->load_line_bytes, sum);
}

/* `why` follows what it used of what it was granted. */
static void ram_stop(struct sched *sched, struct task_node *t, const char *why)
{
	char used[96];

	(void)snprintf(used, sizeof used, "used %s of %s of host memory granted",
		       SIZE_TEXT(t->run->ram_used_bytes), SIZE_TEXT(ram_granted(t)));
	stop_as(sched, t, &(struct stop){SCHED_HOST_OOM, false, used, "", why});
}

/* Those who asked to be stopped. */
static void strict_watch(struct sched *sched)
{
	for (struct task_node *t = sched->active; t; t = t->run->next) {
		const struct sched_attempt *attempt = task_current(t);

		if (t->pub.spec.on_overrun != SCHED_OVERRUN_STOP)
			continue;
		for (unsigned g = 0; g < attempt->n_gpus && !is_ending(t); g++)
			if (t->run->ramps[g].over >= sched->config.overrun_samples)
				stop(sched, t, g, false, STRICT);
		if (!is_ending(t) && t->run->ram_over >= sched->config.overrun_samples)
			ram_stop(sched, t, STRICT);
	}
}

/* The one with the largest excess, one at a time: what it holds has to come back first. */
static void ram_watch(struct sched *sched)
{
	const struct ledger_host *host = &sched->host;
	uint64_t short_bytes = MAX_OF(host->ram_total_bytes / 20, RAM_SHORT_BYTES);
	struct task_node *worst = NULL;
	char why[64];

	if (!host->ram_known || host->ram_available_bytes >= short_bytes)
		return;
	for (struct task_node *t = sched->active; t; t = t->run->next) {
		if (t->run->stop_text && t->run->stop_outcome == SCHED_HOST_OOM)
			return;
		if (may_be_stopped(t) && !is_ending(t) && ram_excess(sched, t) > 0 &&
		    (!worst || ram_excess(sched, t) > ram_excess(sched, worst)))
			worst = t;
	}
	if (!worst)
		return;
	(void)snprintf(why, sizeof why, " while no more than %s is available",
		       SIZE_TEXT(host->ram_available_bytes));
	ram_stop(sched, worst, why);
}

void overrun_watch(struct sched *sched)
{
	struct ledger *ledger;

	if (!sched->watch_due || !sched->active)
		return;
	sched->watch_due = false;
	strict_watch(sched);
	ram_watch(sched);
	if (!sched_gpus(sched))
		return;
	ledger = ledger_now(sched, NULL);
	for (size_t i = 0; i < ledger->n_gpus; i++)
		if (ledger->gpus[i].n_tasks > 0)
			gpu_watch(sched, &ledger->gpus[i]);
	ledger_destroy(ledger);
}

void overrun_signal(struct sched *sched, struct task_node *t, int64_t now_ms)
{
	struct run *run = t->run;
	bool first = !run->stop_signaled;

	if (!first && run->kill_at_ms > now_ms)
		return;
	run->stop_signaled = true;
	action_add(sched, SCHED_SIGNAL, t, first && !run->stop_at_once ? SIGTERM : SIGKILL);
	run->kill_at_ms = now_ms + GRACE_MS;
}

bool overrun_judge(const struct task_node *t, struct sched_end *end)
{
	if (!t->run->stop_signaled || t->pub.stopping || !end->exit_known)
		return false;
	end->outcome = t->run->stop_outcome;
	end->text = NULL;
	return true;
}

bool overrun_had_settled(const struct task_node *t)
{
	const struct sched_attempt *attempt = sched_task_attempt(&t->pub);
	bool settled = t->run->stop_signaled && t->run->stop_outcome == SCHED_OOM;

	for (unsigned g = 0; g < attempt->n_gpus; g++)
		settled &= t->run->ramps[g].settled && attempt->gpus[g].used_known;
	return settled;
}

bool overrun_was_growing(const struct sched *sched, const struct task_node *t)
{
	const struct sched_attempt *attempt = sched_task_attempt(&t->pub);
	const char *kind = task_kind(t);

	if (!t->run->stop_signaled || t->run->stop_outcome != SCHED_OOM)
		return false;
	for (unsigned g = 0; g < attempt->n_gpus; g++)
		if (t->run->ramps[g].calm)
			return false;
	return !kind[0] || estimates_need_get(sched->estimates, kind, NULL).max_vram_bytes <=
			       attempt->peak_vram_bytes;
}

bool sched_wants_fast_samples(const struct sched *sched)
{
	for (const struct task_node *t = sched->active; t; t = t->run->next) {
		const struct sched_attempt *attempt = &t->pub.attempts[t->pub.n_attempts - 1];

		for (unsigned g = 0; g < attempt->n_gpus; g++)
			if (!t->run->ramps[g].settled || t->run->ramps[g].over > 0)
				return true;
	}
	return false;
}
