/*
 * The machine as the queue knows it: the last sample, what ours use, and the work they got done.
 *
 * Work. While the loads of the tasks on a GPU (utilisation of each alone, from what was learned)
 * add up to more than 100 %, each advances at 100 / sum of its pace. Where the GPU's own
 * utilisation was sampled since the population last changed and is below saturation, nobody was
 * slowed down, whatever the estimates say.
 *
 * Leaving. That a process has ended does not mean that its memory is free: a driver may take its
 * time, a zombie may hold it. So what an attempt held stays held until a sample that began after
 * its end; from then on what is still there is in the device's use, and nobody's of ours.
 */
#include "sched/ask.h"

#include "util/size.h"

#include <errno.h>
#include <string.h>

/* A GPU reported busier than this may be saturated. NVML's number is coarse: a window of up to a
 * second, whole percents. */
#define SATURATED_PERCENT 97
/* Of a kind nobody has measured yet. */
#define LOAD_GUESS_PERCENT 50
/* Less measured time than this tells nothing. */
#define SHARE_SECONDS_MIN 0.2
/* A sample speaks for no more than this: the driver's own window is up to a second. */
#define SHARE_SPAN_MAX_MS 2000

size_t gpu_position(const struct sched *sched, const char *uuid)
{
	for (size_t i = 0; i < sched->gpus->n; i++) {
		if (strcmp(sched->gpus->gpus[i].uuid, uuid) == 0)
			return i;
	}
	return SIZE_MAX;
}

const char *gpu_model(const struct sched *sched, const char *uuid)
{
	size_t i = gpu_position(sched, uuid);

	return i == SIZE_MAX ? "" : sched->gpus->gpus[i].name;
}

double model_speed(const struct sched *sched, const char *model)
{
	return sched->ledger_options.speed
		   ? sched->ledger_options.speed(sched->ledger_options.data, model)
		   : 0;
}

/* Did GPU i have time to spare when it was sampled? One that does not tell is not said to. */
static bool is_unsaturated(const struct sched *sched, size_t i)
{
	const struct gpu *gpu = &sched->gpus->gpus[i];

	return gpu_has(gpu, GPU_UTILIZATION) && gpu->utilization_percent < SATURATED_PERCENT;
}

/* And was that since somebody came or went? */
static bool has_time_left(const struct sched *sched, size_t i)
{
	return is_unsaturated(sched, i) && sched->gpus->sampled_at_ms > sched->population_ms;
}

/* What all on each GPU would take alone, per cent. */
static void loads_compute(const struct sched *sched, double *loads)
{
	for (size_t i = 0; i < sched->gpus->n; i++)
		loads[i] = 0;
	for (const struct task_node *t = sched->active; t; t = t->run->next) {
		const struct sched_attempt *attempt = &t->pub.attempts[t->pub.n_attempts - 1];

		for (unsigned g = 0; g < attempt->n_gpus; g++) {
			size_t i = gpu_position(sched, attempt->gpus[g].uuid);

			if (i != SIZE_MAX)
				loads[i] += t->run->load_percent > 0 ? t->run->load_percent
								     : LOAD_GUESS_PERCENT;
		}
	}
}

/*
 * How fast a task gets on, 1 = as if alone. On a full GPU that is its share of the GPU's time over
 * what it would take alone; while only a floor of that is known, the share is taken to be all it
 * wants (see place/estimates.h). Without a share: as the estimates of all there say.
 */
static double pace_on(const struct sched *sched, const struct run *run, size_t i, double load)
{
	if (has_time_left(sched, i))
		return 1;
	if (run->share_ms > sched->population_ms && run->share_percent > 0)
		return run->load_exact ? MIN_OF(1.0, run->share_percent / run->load_percent) : 1;
	return load > 100 ? 100 / load : 1;
}

void work_account(struct sched *sched, int64_t now_ms)
{
	auto_free double *loads = NULL;

	for (struct task_node *t = sched->active; t; t = t->run->next) {
		double pace = 1, seconds = (double)(now_ms - t->run->accounted_ms) / 1000;
		const struct sched_attempt *attempt = task_current(t);

		if (seconds <= 0)
			continue;
		if (!loads) {
			loads = mem_alloc((sched->gpus->n + 1) * sizeof *loads);
			loads_compute(sched, loads);
		}
		for (unsigned g = 0; g < attempt->n_gpus; g++) {
			size_t i = gpu_position(sched, attempt->gpus[g].uuid);

			if (i != SIZE_MAX)
				pace = MIN_OF(pace, pace_on(sched, t->run, i, loads[i]));
		}
		t->run->work_seconds += seconds * pace;
		t->run->accounted_ms = now_ms;
	}
}

/* What is known of its kind, where the run itself has told no more than a floor. */
static void load_ask_kind(struct sched *sched, struct task_node *t, const char *model)
{
	struct run *run = t->run;
	struct estimate known = estimates_get(sched->estimates, task_kind(t), model,
					      model_speed(sched, model), task_vram_asked(t));

	if (!known.utilization_known)
		return;
	run->load_exact = !known.utilization_is_floor && known.utilization_percent > 0;
	run->load_percent = run->load_exact ? known.utilization_percent
					    : MAX_OF(run->load_percent, known.utilization_percent);
}

struct gpu_note *gpu_note_get(struct sched *sched, const char *uuid)
{
	for (size_t i = 0; i < sched->n_gpu_notes; i++)
		if (strcmp(sched->gpu_notes[i].uuid, uuid) == 0)
			return &sched->gpu_notes[i];
	ARRAY_GROW(sched->gpu_notes, sched->n_gpu_notes, sched->gpu_notes_room);
	sched->gpu_notes[sched->n_gpu_notes] =
	    (struct gpu_note){.uuid = string_pool_get(&sched->strings, uuid)};
	return &sched->gpu_notes[sched->n_gpu_notes++];
}

static void gpu_start_note(struct sched *sched, const char *uuid, int64_t now_ms)
{
	struct gpu_note *note = gpu_note_get(sched, uuid);

	note->start_ms = MAX_OF(note->start_ms, now_ms);
}

void run_begin(struct sched *sched, struct task_node *t, int64_t now_ms)
{
	const struct sched_attempt *attempt = task_current(t);
	const char *model = attempt->n_gpus > 0 ? gpu_model(sched, attempt->gpus[0].uuid) : "";
	const char *kind = string_pool_get_again(&sched->strings, task_kind(t));

	work_account(sched, now_ms);
	active_add(sched, t, now_ms);
	t->run->kind = kind;
	if (attempt->n_gpus > 0)
		load_ask_kind(sched, t, model);
	t->run->ask = ask_granted(t);
	t->run->work_known = true;
	t->run->ramps = mem_calloc(attempt->n_gpus + 1, sizeof *t->run->ramps);
	for (unsigned g = 0; g < attempt->n_gpus; g++) {
		t->run->ramps[g].since_ms = now_ms;
		gpu_start_note(sched, attempt->gpus[g].uuid, now_ms);
	}
	user_run(sched, t, 1, now_ms);
	sched->population_ms = now_ms;
}

/* Its mean share of the GPU's time while it was measured, per cent; false: too little of that. */
static bool run_share(const struct run *run, double *ret_percent)
{
	if (!run->work_known || run->share_seconds < SHARE_SECONDS_MIN)
		return false;
	*ret_percent = run->share_integral / run->share_seconds;
	return true;
}

/*
 * What it did, by the time it took: its work, which is that time at the pace it had on average, and
 * the GPU's time it got, in seconds of all of the GPU. What was accounted while it ran stood on
 * what was known then; at the end its mean share of the GPU is known, and what it takes alone at
 * least as well as before. 0 = unknown.
 */
static void run_sum_up(struct task_node *t)
{
	const struct run *run = t->run;
	double elapsed = (double)(run->accounted_ms - task_current(t)->started_at_ms) / 1000;
	double share;
	bool measured = run_share(run, &share);

	t->busy_seconds = measured ? (float)(elapsed * share / 100) : 0;
	if (measured && run->load_percent > 0)
		t->work_seconds = (float)(elapsed * MIN_OF(1.0, share / run->load_percent));
	else
		t->work_seconds = run->work_known ? (float)run->work_seconds : 0;
}

/* What one such task takes alone, by this run's measurements: false when there are none. Where they
 * tell no more than a floor, what was known of its kind when it began is better. */
static bool run_load(const struct run *run, double *ret_percent, bool *ret_is_floor)
{
	*ret_is_floor = run->alone_seconds < SHARE_SECONDS_MIN;
	if (*ret_is_floor && run->share_seconds < SHARE_SECONDS_MIN)
		return false;
	*ret_percent = *ret_is_floor ? run->share_integral / run->share_seconds
				     : run->alone_integral / run->alone_seconds;
	if (*ret_is_floor && run->load_exact) {
		*ret_percent = run->load_percent;
		*ret_is_floor = false;
	}
	return true;
}

void run_leave(struct sched *sched, struct task_node *t)
{
	const struct sched_attempt *attempt = task_current(t);

	for (unsigned g = 0; g < attempt->n_gpus; g++) {
		const struct sched_grant *grant = &attempt->gpus[g];
		uint64_t used = grant->used_known ? grant->used_bytes : 0;
		uint64_t bytes = MAX_OF(grant->vram_bytes, used);

		if (bytes == 0 || sched->gpus->sampled_at_ms > attempt->ended_at_ms)
			continue;
		ARRAY_GROW(sched->leaving, sched->n_leaving, sched->leaving_room);
		sched->leaving[sched->n_leaving++] = (struct leaving){
		    .uuid = string_pool_get(&sched->strings, grant->uuid),
		    .bytes = bytes,
		    .used_bytes = used,
		    .ended_ms = attempt->ended_at_ms,
		    .out_of_memory = attempt->outcome == SCHED_OOM,
		};
	}
}

/* Closing time: what was learned. How long it takes only who ended well can tell; what it needs of
 * memory is at least what it had, however it ended. */
static void run_learn(struct sched *sched, struct task_node *t)
{
	const struct sched_attempt *attempt = task_current(t);
	const char *model = attempt->n_gpus > 0 ? gpu_model(sched, attempt->gpus[0].uuid) : "";
	bool well = attempt->outcome == SCHED_OK;
	double load = -1;
	bool is_floor = false, measured = well && run_load(t->run, &load, &is_floor);
	const struct estimates_sample sample = {
	    .kind = task_kind(t),
	    .model = model,
	    .speed = model_speed(sched, model),
	    .vram_request_bytes = task_vram_asked(t),
	    .said_bytes = ask_said_vram(t),
	    .work_seconds = well ? (double)t->work_seconds : 0,
	    .utilization_percent = measured ? load : -1,
	    .utilization_is_floor = is_floor,
	    .peak_vram_bytes = attempt->peak_vram_bytes,
	    .peak_ram_bytes = attempt->peak_ram_bytes,
	    .work_hint = t->pub.spec.work_hint,
	    .ended = well,
	    .out_of_memory = attempt->outcome == SCHED_OOM && attempt->n_gpus > 0,
	    .stopped = attempt->stopped != NULL,
	    .growing = attempt->outcome == SCHED_OOM && overrun_was_growing(sched, t),
	    .settled = attempt->outcome == SCHED_OOM && overrun_had_settled(t),
	    .out_of_ram = attempt->outcome == SCHED_HOST_OOM,
	    .oom_requested_bytes = oom_size(sched, attempt->oom_requested_bytes),
	    .oom_used_bytes = attempt->oom_used_bytes,
	    .granted_bytes = attempt->n_gpus > 0 ? attempt->gpus[0].vram_bytes : 0,
	    .batch_size = attempt->batch_size,
	    .at_ms = attempt->ended_at_ms,
	};

	/* A GPU that is gone has no model to learn for; who never ran has nothing to tell. */
	if (!well && !sample.out_of_memory &&
	    attempt->peak_vram_bytes + attempt->peak_ram_bytes == 0)
		return;
	if (sample.kind[0] && (attempt->n_gpus == 0 || model[0]))
		estimates_learn(sched->estimates, &sample);
}

void run_end(struct sched *sched, struct task_node *t, int64_t now_ms)
{
	const struct sched_attempt *attempt = task_current(t);

	work_account(sched, now_ms);
	if (attempt->outcome == SCHED_OK) {
		/* Others of its kind may have told more since its last sample. */
		if (attempt->n_gpus > 0 && !t->run->load_exact)
			load_ask_kind(sched, t, gpu_model(sched, attempt->gpus[0].uuid));
		run_sum_up(t);
	}
	run_learn(sched, t);
	user_run(sched, t, -1, now_ms);
	active_remove(sched, t);
	sched->population_ms = now_ms;
}

/* A sample of that GPU which began after the end: whatever is still there, it shows. */
static bool has_left(const struct sched *sched, const struct leaving *leaving)
{
	const struct gpu *gpu = gpu_list_find(sched->gpus, leaving->uuid);

	if (sched->gpus->state != GPU_SOURCE_OK || sched->gpus->sampled_at_ms <= leaving->ended_ms)
		return false;
	return !gpu || gpu_is_usable(gpu);
}

static void leaving_look(struct sched *sched)
{
	size_t kept = 0;

	for (size_t i = 0; i < sched->n_leaving; i++) {
		if (has_left(sched, &sched->leaving[i]))
			string_pool_put(&sched->strings, sched->leaving[i].uuid);
		else
			sched->leaving[kept++] = sched->leaving[i];
	}
	sched->n_leaving = kept;
}

bool sched_wants_sample(const struct sched *sched)
{
	return sched->n_leaving > 0;
}

static bool gpu_is_lost(const struct sched *sched, const char *uuid)
{
	const struct gpu *gpu = gpu_list_find(sched->gpus, uuid);

	if (!gpu)
		return sched->gpus->state == GPU_SOURCE_OK ||
		       sched->gpus->state == GPU_SOURCE_NO_GPUS;
	return gpu->health == GPU_HEALTH_LOST || gpu->health == GPU_HEALTH_NEEDS_RESET;
}

void sched_set_gpus(struct sched *sched, const struct gpu_list *list, int64_t now_ms)
{
	bool first = sched->gpus->state == GPU_SOURCE_UNKNOWN;

	time_seen(sched, now_ms);
	work_account(sched, now_ms);
	gpu_list_destroy(sched->gpus);
	sched->gpus = gpu_list_copy(list);
	if (first)
		users_weigh_runs(sched, now_ms);
	/* A list that is stale as a whole has no healthy GPU, whatever its last good sample said.
	 */
	for (size_t i = 0; list->state == GPU_SOURCE_STALE && i < sched->gpus->n; i++) {
		if (sched->gpus->gpus[i].health == GPU_HEALTH_OK)
			sched->gpus->gpus[i].health = GPU_HEALTH_STALE;
	}
	leaving_look(sched);
	for (struct task_node *t = sched->active; t; t = t->run->next) {
		const struct sched_attempt *attempt = task_current(t);

		for (unsigned g = 0; g < attempt->n_gpus; g++)
			t->run->gpu_lost |= gpu_is_lost(sched, attempt->gpus[g].uuid);
	}
	batch_sample(sched, now_ms);
	sched->watch_due = true;
	sched_touch(sched);
	loss_judge(sched, now_ms);
}

void sched_set_holds(struct sched *sched, const struct ledger_hold *holds, size_t n)
{
	free(sched->holds);
	sched->holds = mem_calloc(n + 1, sizeof *sched->holds);
	for (size_t i = 0; i < n; i++)
		sched->holds[i] = holds[i];
	sched->n_holds = n;
	sched->watch_due = true;
	sched_touch(sched);
}

void sched_set_leftovers(struct sched *sched, const struct ledger_leftover *leftovers, size_t n)
{
	if (n == 0 && sched->ledger_options.n_leftovers == 0)
		return;
	free(sched->leftovers);
	sched->leftovers = mem_calloc(n + 1, sizeof *sched->leftovers);
	for (size_t i = 0; i < n; i++)
		sched->leftovers[i] = leftovers[i];
	sched->ledger_options.leftovers = sched->leftovers;
	sched->ledger_options.n_leftovers = n;
	sched_touch(sched);
}

void sched_set_host(struct sched *sched, const struct ledger_host *host, int64_t now_ms)
{
	time_seen(sched, now_ms);
	sched->host = *host;
	sched_touch(sched);
}

const struct gpu_list *sched_gpus(const struct sched *sched)
{
	return sched->gpus->state == GPU_SOURCE_UNKNOWN ? NULL : sched->gpus;
}

/* What it holds once that has stopped growing, for those of its kind that start before it ends. */
static void peak_learn(struct sched *sched, struct task_node *t, unsigned g)
{
	const struct sched_attempt *attempt = task_current(t);
	const struct estimates_sample sample = {
	    .kind = task_kind(t),
	    .model = gpu_model(sched, attempt->gpus[g].uuid),
	    .speed = model_speed(sched, gpu_model(sched, attempt->gpus[g].uuid)),
	    .vram_request_bytes = task_vram_asked(t),
	    .said_bytes = ask_said_vram(t),
	    .utilization_percent = -1,
	    .peak_vram_bytes = attempt->peak_vram_bytes,
	    .peak_ram_bytes = attempt->peak_ram_bytes,
	    .batch_size = attempt->batch_size,
	    .at_ms = sched->last_ms,
	};

	if (!t->run->ramps[g].calm || !sample.kind[0] || !sample.model[0] ||
	    attempt->peak_vram_bytes <= t->run->learned_bytes)
		return;
	t->run->learned_bytes = attempt->peak_vram_bytes + attempt->peak_vram_bytes / 20;
	estimates_learn(sched->estimates, &sample);
}

/* The first of a kind need not end before the placer knows how many of it a GPU bears. */
static void load_learn(struct sched *sched, struct task_node *t)
{
	const char *model = gpu_model(sched, task_current(t)->gpus[0].uuid);
	struct run *run = t->run;
	struct estimates_sample sample = {
	    .kind = task_kind(t),
	    .model = model,
	    .speed = model_speed(sched, model),
	    .vram_request_bytes = task_vram_asked(t),
	};
	struct estimate known;
	double load;

	if (!run_load(run, &load, &sample.utilization_is_floor))
		return;
	sample.utilization_percent = load;
	known = estimates_get(sched->estimates, sample.kind, model, sample.speed,
			      sample.vram_request_bytes);
	if (sample.kind[0] && model[0] &&
	    (!known.utilization_known ||
	     (known.utilization_is_floor &&
	      (!sample.utilization_is_floor || load > known.utilization_percent))))
		estimates_learn(sched->estimates, &sample);
	run->load_exact = !sample.utilization_is_floor && load > 0;
	run->load_percent = load;
	if (!run->load_exact)
		load_ask_kind(sched, t, model);
}

static bool any_time_left(const struct sched *sched, const struct sched_attempt *attempt)
{
	for (unsigned g = 0; g < attempt->n_gpus; g++) {
		size_t i = gpu_position(sched, attempt->gpus[g].uuid);

		if (i != SIZE_MAX && is_unsaturated(sched, i))
			return true;
	}
	return false;
}

/* A share of the GPU's time, measured since the one before (or since the start). */
static void share_note(struct sched *sched, struct task_node *t, unsigned percent, int64_t now_ms)
{
	const struct sched_attempt *attempt = task_current(t);
	struct run *run = t->run;
	int64_t since = MAX_OF(run->share_ms, attempt->started_at_ms);
	double seconds = (double)MIN_OF(now_ms - since, SHARE_SPAN_MAX_MS) / 1000;

	run->share_ms = now_ms;
	run->share_percent = MIN_OF(percent, 100U);
	if (seconds <= 0)
		return;
	run->share_integral += run->share_percent * seconds;
	run->share_seconds += seconds;
	/* Alone it cannot get more than all. */
	if (run->share_percent >= SATURATED_PERCENT || any_time_left(sched, attempt)) {
		run->alone_integral += run->share_percent * seconds;
		run->alone_seconds += seconds;
	}
	load_learn(sched, t);
}

/* Where the driver does not say who uses the GPU: a task alone on it is who. */
static bool alone_utilization(const struct sched *sched, const struct task_node *t,
			      const char *uuid, unsigned *ret_percent)
{
	const struct gpu *gpu = gpu_list_find(sched->gpus, uuid);

	if (!gpu || !gpu_has(gpu, GPU_UTILIZATION) ||
	    sched->gpus->sampled_at_ms <= sched->population_ms)
		return false;
	for (const struct task_node *o = sched->active; o; o = o->run->next) {
		const struct sched_attempt *attempt = &o->pub.attempts[o->pub.n_attempts - 1];

		for (unsigned g = 0; o != t && g < attempt->n_gpus; g++) {
			if (strcmp(attempt->gpus[g].uuid, uuid) == 0)
				return false;
		}
	}
	*ret_percent = gpu->utilization_percent;
	return true;
}

static bool run_is_settled(const struct task_node *t)
{
	const struct sched_attempt *attempt = &t->pub.attempts[t->pub.n_attempts - 1];
	bool settled = true;

	for (unsigned g = 0; g < attempt->n_gpus; g++)
		settled &= t->run->ramps[g].settled;
	return settled;
}

int sched_set_usage(struct sched *sched, const struct sched_usage *usage, int64_t now_ms)
{
	struct task_node *t = task_find(sched, usage->task);
	struct sched_attempt *attempt;
	unsigned percent = usage->utilization_percent;

	time_seen(sched, now_ms);
	if (!t || !t->run)
		return -ESRCH;
	attempt = task_current(t);
	for (unsigned g = 0; g < attempt->n_gpus; g++) {
		struct sched_grant *grant = &attempt->gpus[g];

		if (strcmp(grant->uuid, usage->uuid) != 0)
			continue;
		grant->used_known = usage->vram_known;
		grant->used_bytes = usage->vram_known ? usage->vram_bytes : 0;
		grant->peak_bytes = MAX_OF(grant->peak_bytes, grant->used_bytes);
		attempt->peak_vram_bytes = MAX_OF(attempt->peak_vram_bytes, grant->used_bytes);
		ramp_note(sched, t, g, now_ms);
		peak_learn(sched, t, g);
		if (usage->utilization_known || alone_utilization(sched, t, usage->uuid, &percent))
			share_note(sched, t, percent, now_ms);
		sched_touch(sched);
		return 0;
	}
	return -ESRCH;
}

int sched_set_ram(struct sched *sched, uint64_t task, uint64_t ram_bytes, int64_t now_ms)
{
	struct task_node *t = task_find(sched, task);

	time_seen(sched, now_ms);
	if (!t || !t->run)
		return -ESRCH;
	t->run->ram_used_bytes = task_current(t)->used_ram_bytes = ram_bytes;
	t->run->ram_peak_bytes = MAX_OF(t->run->ram_peak_bytes, ram_bytes);
	task_current(t)->peak_ram_bytes = t->run->ram_peak_bytes;
	ram_note(sched, t);
	sched_touch(sched);
	return 0;
}

/* The grants of a task in force, one per GPU, or one for the CPU. */
static void allocations_add(const struct sched *sched, const struct task_node *t,
			    struct ledger_allocation **allocations, size_t *n, size_t *room)
{
	const struct sched_attempt *attempt = &t->pub.attempts[t->pub.n_attempts - 1];
	const struct place_request *request = &t->run->ask;
	double since = (double)MAX_OF(sched->last_ms - attempt->started_at_ms, 0) / 1000;
	bool settled = run_is_settled(t);
	unsigned g = 0;

	do {
		struct ledger_allocation *a;

		ARRAY_GROW(*allocations, *n, *room);
		a = &(*allocations)[(*n)++];
		*a = (struct ledger_allocation){.exclusive = request->exclusive,
						.start_lock = request->start_lock,
						.settled = settled,
						.unproven = t->run->unproven,
						.seconds_since_start = since};
		if (g == 0) {
			a->ram_bytes = request->ram_bytes;
			a->ram_used_bytes = t->run->ram_used_bytes;
			a->cpu_milli = request->cpu_milli;
		}
		if (attempt->n_gpus == 0)
			break;
		(void)snprintf(a->uuid, sizeof a->uuid, "%s", attempt->gpus[g].uuid);
		a->vram_bytes = attempt->gpus[g].vram_bytes;
		a->used_known = attempt->gpus[g].used_known;
		a->used_bytes = attempt->gpus[g].used_bytes;
	} while (++g < attempt->n_gpus);
}

/* Negative: nothing ever did. */
static double since_start(const struct sched *sched, const char *uuid)
{
	for (size_t i = 0; i < sched->n_gpu_notes; i++)
		if (strcmp(sched->gpu_notes[i].uuid, uuid) == 0 && sched->gpu_notes[i].start_ms > 0)
			return (double)MAX_OF(sched->last_ms - sched->gpu_notes[i].start_ms, 0) /
			       1000;
	return -1;
}

static struct ledger_hold *holds_make(const struct sched *sched, size_t *ret_n)
{
	size_t n = sched->n_leaving;
	struct ledger_hold *holds = mem_calloc(n + sched->n_holds + 1, sizeof *holds);

	for (size_t i = 0; i < sched->n_leaving; i++) {
		const struct leaving *leaving = &sched->leaving[i];

		holds[i] = (struct ledger_hold){.bytes = leaving->bytes,
						.used_bytes = leaving->used_bytes,
						.is_closed = leaving->out_of_memory,
						.is_leaving = true};
		(void)snprintf(holds[i].uuid, sizeof holds[i].uuid, "%s", leaving->uuid);
	}
	for (size_t i = 0; i < sched->n_holds; i++)
		holds[n++] = sched->holds[i];
	*ret_n = n;
	return holds;
}

/* What they use is theirs, and they are promised nothing. */
static void promises_drop(struct ledger_allocation *allocations, size_t n)
{
	for (size_t i = 0; i < n; i++) {
		struct ledger_allocation bare = {
		    .used_known = true,
		    .used_bytes = allocations[i].used_known ? allocations[i].used_bytes : 0,
		    .settled = true,
		    .seconds_since_start = -1,
		};

		memcpy(bare.uuid, allocations[i].uuid, sizeof bare.uuid);
		allocations[i] = bare;
	}
}

struct ledger *ledger_now(const struct sched *sched, const struct batch_node *without)
{
	auto_free struct ledger_allocation *allocations = NULL;
	auto_free struct ledger_hold *holds = NULL;
	struct ledger_options options = sched->ledger_options;
	struct ledger *ledger;
	size_t n = 0, room = 0;

	for (const struct task_node *t = sched->active; t; t = t->run->next) {
		size_t first = n;

		allocations_add(sched, t, &allocations, &n, &room);
		if (without && t->batch == without)
			promises_drop(allocations + first, n - first);
	}
	holds = holds_make(sched, &options.n_holds);
	options.holds = holds;
	ledger = ledger_create(sched->gpus, allocations, n, &sched->host, &options);
	/* Also of tasks that started there and are gone. */
	for (size_t i = 0; i < ledger->n_gpus; i++)
		ledger->gpus[i].seconds_since_start = since_start(sched, ledger->gpus[i].uuid);
	return ledger;
}

struct ledger *sched_ledger(const struct sched *sched)
{
	return sched_gpus(sched) ? ledger_now(sched, NULL) : NULL;
}
