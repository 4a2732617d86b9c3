/*
 * The counts are a small table, one line a batch that has something running; batches at once are
 * few, so a linear search does.
 *
 * A request that promises no VRAM cannot be counted against room. To keep a hundred of them from
 * starting on one GPU at once, it shares a GPU with others like it only where its batch says how
 * many (max_per_gpu); elsewhere it also waits until what is there has settled, or it would be
 * started into memory that is promised and about to be used.
 */
#include "place/fit.h"

#include "place/saturate.h"

#include <string.h>

struct batch_counts {
	uint64_t batch;
	unsigned running;
	unsigned *on_gpu;
};

struct fit_counts {
	struct fit_user *users;
	size_t n_users;
	struct batch_counts *batches;
	size_t n_batches, room;
	size_t n_gpus;
	unsigned *unsized; /* per GPU */
	const struct place_view *view;
	unsigned cpu_unsized; /* running without a GPU, CPUs not said */
	bool reserved;
	struct reserve reserve;
};

static struct batch_counts *find_batch(const struct fit_counts *counts, uint64_t batch)
{
	for (size_t i = 0; i < counts->n_batches; i++)
		if (counts->batches[i].batch == batch)
			return &counts->batches[i];
	return NULL;
}

static struct batch_counts *find_or_add_batch(struct fit_counts *counts, uint64_t batch)
{
	struct batch_counts *found = find_batch(counts, batch);

	if (found)
		return found;
	ARRAY_GROW(counts->batches, counts->n_batches, counts->room);
	found = &counts->batches[counts->n_batches++];
	*found = (struct batch_counts){.batch = batch};
	found->on_gpu = mem_calloc(counts->n_gpus + 1, sizeof *found->on_gpu);
	return found;
}

static struct fit_user *find_user(const struct fit_counts *counts, uid_t uid)
{
	for (size_t i = 0; i < counts->n_users; i++)
		if (counts->users[i].limits->uid == uid)
			return &counts->users[i];
	return NULL;
}

uint64_t fit_vram_most(const struct ledger *ledger, const struct place_request *request)
{
	uint64_t most = request->vram_bytes;

	if (request->fraction_milli == 0)
		return most;
	for (size_t g = 0; g < ledger->n_gpus; g++)
		if (!place_is_pinned_elsewhere(request, ledger->gpus[g].uuid))
			most = MAX_OF(most, fit_vram(&ledger->gpus[g], request));
	return most;
}

static void count_for_user(struct fit_counts *counts, const struct place_task *task)
{
	const struct ledger *ledger = counts->view->ledger;
	struct fit_user *user = find_user(counts, task->uid);

	if (!user)
		return;
	user->running++;
	user->gpus += (unsigned)task->n_gpus;
	for (size_t g = 0; g < task->n_gpus; g++)
		user->vram_bytes = saturate_add(
		    user->vram_bytes, task->gpus[g] < ledger->n_gpus
					  ? fit_vram(&ledger->gpus[task->gpus[g]], task->request)
					  : task->request->vram_bytes);
}

static bool is_cpu_unsized(const struct place_request *request)
{
	return fit_is_cpu_only(request) && request->cpu_milli == 0;
}

unsigned fit_cpu_unsized_max(const struct ledger *ledger)
{
	return MAX_OF(FIT_CPU_UNSIZED_MAX, ledger->cpu_milli_total / 1000 * FIT_CPU_UNSIZED_EACH);
}

struct fit_counts *fit_counts_create(const struct place_view *view)
{
	struct fit_counts *counts = mem_calloc(1, sizeof *counts);

	counts->view = view;
	counts->users = mem_calloc(view->n_users + 1, sizeof *counts->users);
	counts->n_users = view->n_users;
	for (size_t i = 0; i < view->n_users; i++)
		counts->users[i].limits = &view->users[i];
	counts->n_gpus = view->ledger->n_gpus;
	counts->unsized = mem_calloc(counts->n_gpus + 1, sizeof *counts->unsized);
	for (size_t i = 0; i < view->n_running; i++) {
		const struct place_task *task = &view->running[i];
		struct batch_counts *batch = NULL;

		if (view->n_users > 0)
			count_for_user(counts, task);
		counts->cpu_unsized += task->request && is_cpu_unsized(task->request);
		if (task->batch != 0) {
			batch = find_or_add_batch(counts, task->batch);
			batch->running++;
		}
		for (size_t g = 0; g < task->n_gpus; g++) {
			if (task->gpus[g] >= counts->n_gpus)
				continue;
			if (batch)
				batch->on_gpu[task->gpus[g]]++;
			if (task->request && !place_request_is_sized(task->request))
				counts->unsized[task->gpus[g]]++;
		}
	}
	counts->reserved = reserve_find(view, counts, &counts->reserve);
	return counts;
}

void fit_counts_destroy(struct fit_counts *counts)
{
	if (!counts)
		return;
	for (size_t i = 0; i < counts->n_batches; i++)
		free(counts->batches[i].on_gpu);
	free(counts->batches);
	free(counts->unsized);
	free(counts->users);
	if (counts->reserved)
		reserve_finish(&counts->reserve);
	free(counts);
}

unsigned fit_counts_on_gpu(const struct fit_counts *counts, uint64_t batch, size_t gpu)
{
	const struct batch_counts *found = batch != 0 ? find_batch(counts, batch) : NULL;

	return found ? found->on_gpu[gpu] : 0;
}

unsigned fit_counts_running(const struct fit_counts *counts, uint64_t batch)
{
	const struct batch_counts *found = batch != 0 ? find_batch(counts, batch) : NULL;

	return found ? found->running : 0;
}

unsigned fit_counts_unsized(const struct fit_counts *counts, size_t gpu)
{
	return counts->unsized[gpu];
}

bool fit_counts_user(const struct fit_counts *counts, uid_t uid, struct fit_user *ret_user)
{
	const struct fit_user *user = find_user(counts, uid);

	if (user)
		*ret_user = *user;
	return user != NULL;
}

const struct reserve *fit_counts_reserve(const struct fit_counts *counts)
{
	return counts->reserved ? &counts->reserve : NULL;
}

bool fit_is_cpu_only(const struct place_request *request)
{
	return request->cpu == PLACE_CPU_ONLY;
}

/* Where in a list of UUIDs; n when it is not there. */
static size_t find_uuid(const char (*uuids)[GPU_UUID_MAX], size_t n, const char *uuid)
{
	size_t i = 0;

	while (i < n && strcmp(uuids[i], uuid) != 0)
		i++;
	return i;
}

static enum fit fit_wishes(const struct ledger_gpu *g, const struct place_wishes *w)
{
	bool model = w->n_models == 0;

	if (find_uuid(w->forbid, w->n_forbid, g->uuid) < w->n_forbid)
		return FIT_FORBIDDEN;
	for (size_t i = 0; i < w->n_models && !model; i++)
		model = strcasestr(g->model, w->models[i]) != NULL;
	if (!model)
		return FIT_MODEL;
	if ((w->compute_min > 0 || w->compute_max > 0) &&
	    (!g->compute_known || g->compute < w->compute_min ||
	     (w->compute_max > 0 && g->compute > w->compute_max)))
		return FIT_CAPABILITY;
	return FIT_OK;
}

enum fit fit_rules(const struct ledger_gpu *g, const struct place_request *request)
{
	enum fit fit = FIT_OK;

	if (place_is_pinned_elsewhere(request, g->uuid))
		return FIT_PINNED;
	if (request->wishes)
		fit = fit_wishes(g, request->wishes);
	if (fit == FIT_OK && request->line_above_bytes > 0 && (g->vram_known || g->usable) &&
	    g->load_line_bytes <= request->line_above_bytes)
		fit = FIT_TOO_SMALL;
	if (fit == FIT_OK && g->max_request_bytes > 0 &&
	    (!place_request_is_sized(request) || fit_vram(g, request) > g->max_request_bytes))
		fit = FIT_TOO_LARGE;
	return fit;
}

unsigned fit_tier(const struct ledger_gpu *g, const struct place_request *request)
{
	const struct place_wishes *w = request->wishes;
	size_t place;

	if (!w)
		return 0;
	place = find_uuid(w->prefer, w->n_prefer, g->uuid);
	if (place == w->n_prefer && find_uuid(w->avoid, w->n_avoid, g->uuid) < w->n_avoid)
		place++;
	return (unsigned)place;
}

static double stagger_left(const struct ledger *ledger, const struct place_request *request,
			   size_t gpu)
{
	double since = ledger->gpus[gpu].seconds_since_start;
	double stagger = MAX_OF(request->stagger_ms, ledger->stagger_ms) / 1000.0;

	return since >= 0 && since < stagger ? stagger - since : 0;
}

/* With all the others there of which nothing is known, at the most they may need? */
static bool is_doubtful(const struct ledger_gpu *g, const struct place_request *request)
{
	uint64_t word = fit_vram(g, request);

	return g->n_unproven > 0 && word > 0 && g->vram_known &&
	       saturate_add(g->unproven_bytes, ledger_doubt(word)) > g->room_bytes;
}

/* Those that are over by themselves in a moment. */
static enum fit fit_moment(const struct ledger *ledger, const struct place_request *request,
			   size_t gpu)
{
	const struct ledger_gpu *g = &ledger->gpus[gpu];
	bool unsized = !place_request_is_sized(request) && request->max_per_gpu == 0;

	if (g->hold_closed)
		return FIT_RETURNING;
	if (ledger->prove && request->unproven && is_doubtful(g, request))
		return FIT_UNPROVEN;
	if (g->start_locked)
		return FIT_START_LOCK;
	if (g->n_unsettled > 0 && (request->start_lock || unsized))
		return FIT_RAMPING;
	if (stagger_left(ledger, request, gpu) > 0)
		return FIT_STAGGER;
	return FIT_OK;
}

double fit_moment_seconds(const struct ledger *ledger, const struct place_request *request,
			  size_t gpu)
{
	double stagger = stagger_left(ledger, request, gpu);
	enum fit fit = fit_moment(ledger, request, gpu);
	double settle = fit == FIT_RETURNING  ? FIT_RETURN_SECONDS
			: fit == FIT_UNPROVEN ? FIT_PROVE_SECONDS
					      : FIT_SETTLE_SECONDS;

	return fit == FIT_OK || fit == FIT_STAGGER ? stagger : MAX_OF(stagger, settle);
}

enum fit fit_state(const struct ledger_gpu *g, const struct place_request *request,
		   unsigned of_batch, unsigned unsized)
{
	if (g->held_exclusive || (request->exclusive && g->n_tasks > 0))
		return FIT_HELD;
	if (g->max_tasks > 0 && g->n_tasks >= g->max_tasks)
		return FIT_MAX_TASKS;
	if (place_request_is_sized(request) && !g->vram_known)
		return FIT_VRAM_UNKNOWN;
	if (g->vram_known && (g->room_bytes == 0 || fit_vram(g, request) > g->room_bytes))
		return FIT_ROOM;
	if (request->max_per_gpu > 0)
		return of_batch >= request->max_per_gpu ? FIT_MAX_PER_GPU : FIT_OK;
	return !place_request_is_sized(request) && unsized > 0 ? FIT_UNSIZED : FIT_OK;
}

enum fit fit_gpu(const struct ledger *ledger, const struct fit_counts *counts,
		 const struct place_task *task, size_t gpu)
{
	const struct place_request *request = task->request;
	const struct ledger_gpu *g = &ledger->gpus[gpu];
	enum fit fit = fit_rules(g, request);

	if (fit != FIT_OK)
		return fit;
	if (g->closed)
		return FIT_CLOSED;
	if (!g->usable)
		return FIT_UNUSABLE;
	fit = fit_state(g, request, fit_counts_on_gpu(counts, task->batch, gpu),
			fit_counts_unsized(counts, gpu));
	if (fit == FIT_OK)
		fit = fit_moment(ledger, request, gpu);
	if (fit == FIT_OK && counts->reserved &&
	    reserve_gpu_verdict(&counts->reserve, counts->view, task, gpu) != RESERVE_ALLOWS)
		fit = FIT_RESERVED;
	return fit;
}

/* One more task of his. */
static bool user_is_full(const struct ledger *ledger, const struct fit_user *user,
			 const struct place_request *request)
{
	const struct place_user *limits = user->limits;
	uint64_t vram = user->vram_bytes;

	for (unsigned g = 0; g < request->gpus && limits->max_vram_bytes > 0; g++)
		vram = saturate_add(vram, fit_vram_most(ledger, request));
	return (limits->max_running > 0 && user->running >= limits->max_running) ||
	       (limits->max_gpus > 0 && request->gpus > 0 &&
		user->gpus + request->gpus > limits->max_gpus) ||
	       (limits->max_vram_bytes > 0 && place_request_is_sized(request) &&
		vram > limits->max_vram_bytes);
}

/* The host, the batch and the user, for what the task asks of them here. */
static enum fit fit_host_for(const struct ledger *ledger, const struct fit_counts *counts,
			     const struct place_task *task, const struct place_request *request)
{
	const struct fit_user *user = find_user(counts, task->uid);

	if (request->threads > 0 && fit_counts_running(counts, task->batch) >= request->threads)
		return FIT_THREADS;
	if (user && user_is_full(ledger, user, request))
		return FIT_USER;
	if (ledger->ram_known && request->ram_bytes > ledger->ram_room_bytes)
		return FIT_RAM;
	if (ledger->cpu_milli_total > 0 && request->cpu_milli > ledger->cpu_milli_room)
		return FIT_CPUS;
	if (is_cpu_unsized(request) && counts->cpu_unsized >= fit_cpu_unsized_max(ledger))
		return FIT_CPU_UNSIZED;
	if (counts->reserved &&
	    reserve_host_verdict(&counts->reserve, counts->view, task, request) != RESERVE_ALLOWS)
		return FIT_RESERVED;
	return FIT_OK;
}

enum fit fit_host(const struct ledger *ledger, const struct fit_counts *counts,
		  const struct place_task *task)
{
	return fit_host_for(ledger, counts, task, task->request);
}

bool fit_on_cpu(const struct ledger *ledger, const struct fit_counts *counts,
		const struct place_task *task)
{
	return task->on_cpu && ledger->cpu_milli_total > 0 &&
	       (task->on_cpu->ram_bytes == 0 || ledger->ram_known) &&
	       fit_host_for(ledger, counts, task, task->on_cpu) == FIT_OK;
}
