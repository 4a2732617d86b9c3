/*
 * The machine as the queue knows it: the last sample, what ours use, and the work they got done.
 *
 * Work. While the loads of the tasks on a GPU (utilisation of each alone, from what was learned)
 * add up to more than 100 %, each advances at 100 / sum of its pace. Where the GPU's own
 * utilisation was sampled since the population last changed and is below saturation, nobody was
 * slowed down, whatever the estimates say.
 *
 * Ghosts. A sample is up to a second old. VRAM of a task that ended since is still in its "used"
 * and would look foreign; its process is gone (the supervisor reaped it), so it is taken out of
 * our copy of the sample until a newer one comes.
 */
#include "sched/sched_priv.h"

#include <errno.h>
#include <string.h>

/* A GPU reported busier than this may be saturated. NVML's number is coarse: a window of up to a
 * second, whole percents. */
#define SATURATED_PERCENT 97

/* Pauses of delayed tasks, shifted alike: their order stays. */
static void delayed_shift(struct sched *sched, int64_t back)
{
	size_t n = order_size(&sched->delayed);
	auto_free struct order_node **nodes = mem_calloc(n + 1, sizeof(struct order_node *));

	n = order_take(&sched->delayed, nodes, n);
	for (size_t i = 0; i < n; i++) {
		nodes[i]->rank -= back;
		task_of_order(nodes[i])->pub.not_before_ms = nodes[i]->rank;
	}
}

/*
 * Clocks are set. Deadlines are kept in realtime because the rest is; when it goes back, they go
 * back with it, so that a grace of 10 s stays one. What is remembered to be older or newer than a
 * sample goes back too: the samples to come will be.
 */
void time_seen(struct sched *sched, int64_t now_ms)
{
	int64_t back = sched->last_ms - now_ms;

	sched->last_ms = now_ms;
	if (back <= 0)
		return;
	for (struct task_node *t = sched->active; t; t = t->active_next) {
		if (t->run->kill_at_ms > 0)
			t->run->kill_at_ms = MAX_OF(t->run->kill_at_ms - back, 1);
		t->run->accounted_ms = MIN_OF(t->run->accounted_ms, now_ms);
		t->run->utilization_ms = MIN_OF(t->run->utilization_ms, now_ms);
	}
	for (size_t i = 0; i < sched->n_ghosts; i++)
		sched->ghosts[i].ended_at_ms = MIN_OF(sched->ghosts[i].ended_at_ms, now_ms);
	sched->population_ms = MIN_OF(sched->population_ms, now_ms);
	delayed_shift(sched, back);
}

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

/* The pace of whoever is on GPU i: 1 alone, less in a crowd. */
static void paces_compute(const struct sched *sched, double *paces)
{
	for (size_t i = 0; i < sched->gpus->n; i++)
		paces[i] = 0;
	for (const struct task_node *t = sched->active; t; t = t->active_next) {
		const struct sched_attempt *attempt = &t->pub.attempts[t->pub.n_attempts - 1];

		for (unsigned g = 0; g < attempt->n_gpus; g++) {
			size_t i = gpu_position(sched, attempt->gpus[g].uuid);

			if (i != SIZE_MAX)
				paces[i] += t->run->load_percent;
		}
	}
	for (size_t i = 0; i < sched->gpus->n; i++) {
		const struct gpu *gpu = &sched->gpus->gpus[i];
		bool idle_left = gpu_has(gpu, GPU_UTILIZATION) &&
				 gpu->utilization_percent < SATURATED_PERCENT &&
				 sched->gpus->sampled_at_ms > sched->population_ms;

		paces[i] = idle_left || paces[i] <= 100 ? 1 : 100 / paces[i];
	}
}

void work_account(struct sched *sched, int64_t now_ms)
{
	auto_free double *paces = NULL;

	for (struct task_node *t = sched->active; t; t = t->active_next) {
		double pace = 1, seconds = (double)(now_ms - t->run->accounted_ms) / 1000;
		const struct sched_attempt *attempt = task_current(t);

		if (seconds <= 0)
			continue;
		if (!paces) {
			paces = mem_alloc((sched->gpus->n + 1) * sizeof *paces);
			paces_compute(sched, paces);
		}
		for (unsigned g = 0; g < attempt->n_gpus; g++) {
			size_t i = gpu_position(sched, attempt->gpus[g].uuid);

			if (i != SIZE_MAX)
				pace = MIN_OF(pace, paces[i]);
		}
		t->run->work_seconds += seconds * pace;
		t->run->accounted_ms = now_ms;
	}
}

void run_begin(struct sched *sched, struct task_node *t, int64_t now_ms)
{
	const struct sched_attempt *attempt = task_current(t);
	const char *model = attempt->n_gpus > 0 ? gpu_model(sched, attempt->gpus[0].uuid) : "";
	struct estimate estimate;

	work_account(sched, now_ms);
	active_add(sched, t, now_ms);
	estimate = estimates_get(sched->estimates, t->pub.spec.kind, model,
				 model_speed(sched, model), t->pub.spec.request.vram_bytes);
	t->run->load_percent = attempt->n_gpus > 0 ? estimate.utilization_percent : 0;
	t->run->work_known = true;
	sched->population_ms = now_ms;
}

static void ghost_take(struct sched *sched, const struct ghost *ghost)
{
	size_t i = gpu_position(sched, ghost->uuid);
	struct gpu *gpu;
	uint64_t bytes;

	if (i == SIZE_MAX)
		return;
	gpu = &sched->gpus->gpus[i];
	bytes = MIN_OF(ghost->used_bytes, gpu->vram.used_bytes);
	gpu->vram.used_bytes -= bytes;
	if (gpu_has(gpu, GPU_FREE))
		gpu->vram.free_bytes += bytes;
}

/* Closing time: what was learned, and the VRAM that is free from now on. */
static void run_learn(struct sched *sched, struct task_node *t)
{
	const struct sched_attempt *attempt = task_current(t);
	const char *model = attempt->n_gpus > 0 ? gpu_model(sched, attempt->gpus[0].uuid) : "";
	const struct estimates_sample sample = {
	    .kind = t->pub.spec.kind,
	    .model = model,
	    .speed = model_speed(sched, model),
	    .vram_request_bytes = t->pub.spec.request.vram_bytes,
	    .work_seconds = t->run->work_known ? t->run->work_seconds : 0,
	    .utilization_percent =
		t->run->alone_seconds > 0 ? t->run->alone_integral / t->run->alone_seconds : -1,
	    .peak_vram_bytes = attempt->peak_vram_bytes,
	    .peak_ram_bytes = attempt->peak_ram_bytes,
	    .work_hint = t->pub.spec.work_hint,
	};

	/* A GPU that is gone has no model to learn for. */
	if (t->pub.spec.kind[0] && (attempt->n_gpus == 0 || model[0]))
		estimates_learn(sched->estimates, &sample);
}

void run_end(struct sched *sched, struct task_node *t, int64_t now_ms)
{
	const struct sched_attempt *attempt = task_current(t);

	work_account(sched, now_ms);
	if (attempt->outcome == SCHED_OK) {
		run_learn(sched, t);
		t->work_seconds = t->run->work_known ? (float)t->run->work_seconds : 0;
	}
	for (unsigned g = 0; g < attempt->n_gpus; g++) {
		const struct sched_grant *grant = &attempt->gpus[g];
		struct ghost ghost = {
		    .uuid = grant->uuid, .used_bytes = grant->used_bytes, .ended_at_ms = now_ms};

		if (!grant->used_known || grant->used_bytes == 0)
			continue;
		ghost_take(sched, &ghost);
		(void)string_pool_get(&sched->strings, ghost.uuid);
		ARRAY_GROW(sched->ghosts, sched->n_ghosts, sched->ghosts_room);
		sched->ghosts[sched->n_ghosts++] = ghost;
	}
	active_remove(sched, t);
	sched->population_ms = now_ms;
}

static void ghosts_renew(struct sched *sched)
{
	size_t kept = 0;

	for (size_t i = 0; i < sched->n_ghosts; i++) {
		struct ghost ghost = sched->ghosts[i];

		if (ghost.ended_at_ms < sched->gpus->sampled_at_ms) {
			string_pool_put(&sched->strings, ghost.uuid);
			continue;
		}
		ghost_take(sched, &ghost);
		sched->ghosts[kept++] = ghost;
	}
	sched->n_ghosts = kept;
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
	time_seen(sched, now_ms);
	work_account(sched, now_ms);
	gpu_list_destroy(sched->gpus);
	sched->gpus = gpu_list_copy(list);
	/* A list that is stale as a whole has no healthy GPU, whatever its last good sample said.
	 */
	for (size_t i = 0; list->state == GPU_SOURCE_STALE && i < sched->gpus->n; i++) {
		if (sched->gpus->gpus[i].health == GPU_HEALTH_OK)
			sched->gpus->gpus[i].health = GPU_HEALTH_STALE;
	}
	ghosts_renew(sched);
	for (struct task_node *t = sched->active; t; t = t->active_next) {
		const struct sched_attempt *attempt = task_current(t);

		for (unsigned g = 0; g < attempt->n_gpus; g++)
			t->run->gpu_lost |= gpu_is_lost(sched, attempt->gpus[g].uuid);
	}
	batch_sample(sched, now_ms);
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

/* The first of a kind need not end before the placer knows how many of it a GPU bears. */
static void utilization_learn_early(struct sched *sched, struct task_node *t)
{
	const struct sched_attempt *attempt = task_current(t);
	const char *model = gpu_model(sched, attempt->gpus[0].uuid);
	const struct estimates_sample sample = {
	    .kind = t->pub.spec.kind,
	    .model = model,
	    .speed = model_speed(sched, model),
	    .vram_request_bytes = t->pub.spec.request.vram_bytes,
	    .utilization_percent = t->run->alone_integral / t->run->alone_seconds,
	};
	struct estimate known;

	if (!sample.kind[0] || !model[0])
		return;
	known = estimates_get(sched->estimates, sample.kind, model, sample.speed,
			      sample.vram_request_bytes);
	if (known.utilization_known && known.samples > 0)
		return;
	estimates_learn(sched->estimates, &sample);
	t->run->load_percent = sample.utilization_percent;
}

/* Utilisation of the task as if it had the GPU for itself, learned from the sample; the pace takes
 * the crowd out of it. */
static void utilization_note(struct sched *sched, struct task_node *t, unsigned percent,
			     int64_t now_ms)
{
	struct run *run = t->run;
	double seconds =
	    run->utilization_ms > 0 ? (double)(now_ms - run->utilization_ms) / 1000 : 0;
	auto_free double *paces = mem_alloc((sched->gpus->n + 1) * sizeof *paces);
	double pace = 1;

	run->utilization_ms = now_ms;
	if (seconds <= 0)
		return;
	paces_compute(sched, paces);
	for (unsigned g = 0; g < task_current(t)->n_gpus; g++) {
		size_t i = gpu_position(sched, task_current(t)->gpus[g].uuid);

		if (i != SIZE_MAX)
			pace = MIN_OF(pace, paces[i]);
	}
	run->alone_integral += MIN_OF(percent / pace, 100.0) * seconds;
	run->alone_seconds += seconds;
	utilization_learn_early(sched, t);
}

/* Where the driver does not say who uses the GPU: a task alone on it is who. */
static bool alone_utilization(const struct sched *sched, const struct task_node *t,
			      const char *uuid, unsigned *ret_percent)
{
	const struct gpu *gpu = gpu_list_find(sched->gpus, uuid);

	if (!gpu || !gpu_has(gpu, GPU_UTILIZATION) ||
	    sched->gpus->sampled_at_ms <= sched->population_ms)
		return false;
	for (const struct task_node *o = sched->active; o; o = o->active_next) {
		const struct sched_attempt *attempt = &o->pub.attempts[o->pub.n_attempts - 1];

		for (unsigned g = 0; o != t && g < attempt->n_gpus; g++) {
			if (strcmp(attempt->gpus[g].uuid, uuid) == 0)
				return false;
		}
	}
	*ret_percent = gpu->utilization_percent;
	return true;
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
		if (usage->utilization_known || alone_utilization(sched, t, usage->uuid, &percent))
			utilization_note(sched, t, percent, now_ms);
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
	t->run->ram_used_bytes = ram_bytes;
	t->run->ram_peak_bytes = MAX_OF(t->run->ram_peak_bytes, ram_bytes);
	task_current(t)->peak_ram_bytes = t->run->ram_peak_bytes;
	sched_touch(sched);
	return 0;
}

/* The grants of a task in force, one per GPU, or one for the CPU. */
static void allocations_add(const struct task_node *t, struct ledger_allocation **allocations,
			    size_t *n, size_t *room)
{
	const struct sched_attempt *attempt = &t->pub.attempts[t->pub.n_attempts - 1];
	const struct place_request *request = &t->pub.spec.request;
	unsigned g = 0;

	do {
		struct ledger_allocation *a;

		ARRAY_GROW(*allocations, *n, *room);
		a = &(*allocations)[(*n)++];
		*a = (struct ledger_allocation){.exclusive = request->exclusive};
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

struct ledger *ledger_now(const struct sched *sched, const struct batch_node *without)
{
	auto_free struct ledger_allocation *allocations = NULL;
	size_t n = 0, room = 0;

	for (const struct task_node *t = sched->active; t; t = t->active_next) {
		if (!without || t->batch != without)
			allocations_add(t, &allocations, &n, &room);
	}
	return ledger_create(sched->gpus, allocations, n, &sched->host, &sched->ledger_options);
}

struct ledger *sched_ledger(const struct sched *sched)
{
	return sched_gpus(sched) ? ledger_now(sched, NULL) : NULL;
}
