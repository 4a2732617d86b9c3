/*
 * The counts are a small table, one line a batch that has something running; batches at once are
 * few, so a linear search does.
 *
 * A request that promises no VRAM cannot be counted against room. To keep a hundred of them from
 * starting on one GPU at once, it shares a GPU with others like it only where its batch says how
 * many (max_per_gpu).
 */
#include "place/fit.h"

#include <string.h>

struct batch_counts {
	uint64_t batch;
	unsigned running;
	unsigned *on_gpu;
};

struct fit_counts {
	struct batch_counts *batches;
	size_t n_batches, room;
	size_t n_gpus;
	unsigned *unsized; /* per GPU */
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

struct fit_counts *fit_counts_create(const struct place_view *view)
{
	struct fit_counts *counts = mem_calloc(1, sizeof *counts);

	counts->n_gpus = view->ledger->n_gpus;
	counts->unsized = mem_calloc(counts->n_gpus + 1, sizeof *counts->unsized);
	for (size_t i = 0; i < view->n_running; i++) {
		const struct place_task *task = &view->running[i];
		struct batch_counts *batch = NULL;

		if (task->batch != 0) {
			batch = find_or_add_batch(counts, task->batch);
			batch->running++;
		}
		for (size_t g = 0; g < task->n_gpus; g++) {
			if (task->gpus[g] >= counts->n_gpus)
				continue;
			if (batch)
				batch->on_gpu[task->gpus[g]]++;
			if (task->request && task->request->vram_bytes == 0)
				counts->unsized[task->gpus[g]]++;
		}
	}
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

bool fit_is_cpu_only(const struct place_request *request)
{
	return request->cpu == PLACE_CPU_ONLY;
}

enum fit fit_gpu(const struct ledger *ledger, const struct fit_counts *counts,
		 const struct place_task *task, size_t gpu)
{
	const struct place_request *request = task->request;
	const struct ledger_gpu *g = &ledger->gpus[gpu];

	if (place_is_pinned_elsewhere(request, g->uuid))
		return FIT_PINNED;
	if (!g->usable)
		return FIT_UNUSABLE;
	if (g->held_exclusive || (request->exclusive && g->n_tasks > 0))
		return FIT_HELD;
	if (request->vram_bytes > 0 && !g->vram_known)
		return FIT_VRAM_UNKNOWN;
	if (g->vram_known && (g->room_bytes == 0 || request->vram_bytes > g->room_bytes))
		return FIT_ROOM;
	if (request->max_per_gpu > 0) {
		if (fit_counts_on_gpu(counts, task->batch, gpu) >= request->max_per_gpu)
			return FIT_MAX_PER_GPU;
	} else if (request->vram_bytes == 0 && fit_counts_unsized(counts, gpu) > 0) {
		return FIT_UNSIZED;
	}
	return FIT_OK;
}

enum fit fit_host(const struct ledger *ledger, const struct fit_counts *counts,
		  const struct place_task *task)
{
	const struct place_request *request = task->request;

	if (request->threads > 0 && fit_counts_running(counts, task->batch) >= request->threads)
		return FIT_THREADS;
	if (ledger->ram_known && request->ram_bytes > ledger->ram_room_bytes)
		return FIT_RAM;
	if (ledger->cpu_milli_total > 0 && request->cpu_milli > ledger->cpu_milli_room)
		return FIT_CPUS;
	return FIT_OK;
}
