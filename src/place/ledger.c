/*
 * The ledger is worked out afresh from a sample and the list of grants: it has no history, so
 * nothing in it can drift. First each GPU's fixed part (total, reserve, load line) is copied from
 * the sample, then every grant is added to its GPU, and last what is left of the device's use after
 * ours is taken off is called foreign. Sums saturate: a driver that reports nonsense makes a GPU
 * full, never endless.
 */
#include "place/ledger.h"

#include "place/saturate.h"
#include "util/size.h"

#include <stdio.h>
#include <string.h>

uint64_t ledger_default_reserve(const struct gpu *gpu)
{
	uint64_t reserve = 256 * MIB;

	if (gpu_has(gpu, GPU_TOTAL))
		reserve = MAX_OF(reserve, gpu->vram.total_bytes / 20);
	if (gpu_has(gpu, GPU_DRIVER_RESERVED))
		reserve = MAX_OF(reserve, gpu->vram.driver_reserved_bytes);
	return reserve;
}

static const struct ledger_rule *rule_of(const struct gpu *gpu,
					 const struct ledger_options *options)
{
	for (size_t i = 0; options && i < options->n_rules; i++)
		if (strcmp(options->rules[i].uuid, gpu->uuid) == 0)
			return &options->rules[i];
	return NULL;
}

static void read_rule(struct ledger_gpu *to, const struct ledger_rule *rule)
{
	to->max_request_bytes = rule->max_request_bytes;
	to->max_tasks = rule->max_tasks;
	to->closed = rule->closed;
	memcpy(to->closed_text, rule->text, sizeof to->closed_text);
}

/* What the device says is in use. False when it cannot be said, by either of the two ways. */
static bool device_used(const struct gpu *gpu, uint64_t *ret_used)
{
	if (gpu_has(gpu, GPU_USED)) {
		*ret_used = gpu->vram.used_bytes;
		return true;
	}
	if (gpu_has(gpu, GPU_TOTAL | GPU_FREE)) {
		uint64_t used = saturate_sub(gpu->vram.total_bytes, gpu->vram.free_bytes);

		if (gpu_has(gpu, GPU_DRIVER_RESERVED))
			used = saturate_sub(used, gpu->vram.driver_reserved_bytes);
		*ret_used = used;
		return true;
	}
	return false;
}

static const char *unusable_reason(const struct gpu *gpu)
{
	if (gpu->health_text[0])
		return gpu->health_text;
	switch (gpu->health) {
	case GPU_HEALTH_LOST:
		return "the GPU is lost";
	case GPU_HEALTH_NEEDS_RESET:
		return "the GPU requires a reset";
	case GPU_HEALTH_STALE:
		return "its numbers are stale: NVML does not answer";
	case GPU_HEALTH_ERROR:
	case GPU_HEALTH_OK:
		break;
	}
	return "NVML reports an error";
}

static void read_gpu(struct ledger_gpu *to, const struct gpu *gpu,
		     const struct ledger_options *options)
{
	const struct ledger_rule *rule = rule_of(gpu, options);
	uint64_t used;

	snprintf(to->uuid, sizeof to->uuid, "%s", gpu->uuid);
	snprintf(to->model, sizeof to->model, "%s", gpu->name);
	to->index = gpu->index;
	to->usable = gpu_is_usable(gpu);
	if (!to->usable)
		snprintf(to->unusable_reason, sizeof to->unusable_reason, "%s",
			 unusable_reason(gpu));
	to->utilization_known = gpu_has(gpu, GPU_UTILIZATION);
	if (to->utilization_known)
		to->utilization_percent = MIN_OF(gpu->utilization_percent, 100U);
	if (options && options->speed)
		to->speed = MAX_OF(options->speed(options->data, gpu->name), 0.0);
	to->compute_known = gpu_has(gpu, GPU_COMPUTE_CAPABILITY);
	to->compute = gpu->compute_capability;
	to->seconds_since_start = -1;
	if (rule)
		read_rule(to, rule);
	to->vram_known = gpu_has(gpu, GPU_TOTAL) && device_used(gpu, &used);
	if (!to->vram_known)
		return;
	to->total_bytes = gpu->vram.total_bytes;
	to->reserve_bytes =
	    rule && rule->has_reserve ? rule->reserve_bytes : ledger_default_reserve(gpu);
	to->reserve_bytes = MIN_OF(to->reserve_bytes, to->total_bytes);
	to->load_line_bytes = to->total_bytes - to->reserve_bytes;
	to->foreign_bytes = used; /* until ours are taken off */
}

static struct ledger_gpu *find_gpu(struct ledger *ledger, const char *uuid)
{
	for (size_t i = 0; i < ledger->n_gpus; i++)
		if (strcmp(ledger->gpus[i].uuid, uuid) == 0)
			return &ledger->gpus[i];
	return NULL;
}

static void note_start(struct ledger_gpu *gpu, double seconds_ago)
{
	if (seconds_ago < 0)
		return;
	if (gpu->seconds_since_start < 0 || seconds_ago < gpu->seconds_since_start)
		gpu->seconds_since_start = seconds_ago;
}

static void add_doubt(struct ledger_gpu *gpu, uint64_t word, uint64_t used)
{
	gpu->n_unproven++;
	gpu->unproven_bytes =
	    saturate_add(gpu->unproven_bytes, saturate_sub(ledger_doubt(word), MAX_OF(word, used)));
}

static void add_allocation(struct ledger_gpu *gpu, const struct ledger_allocation *a)
{
	uint64_t used = a->used_known ? a->used_bytes : a->vram_bytes;

	gpu->n_tasks++;
	gpu->held_exclusive |= a->exclusive;
	gpu->n_unsettled += !a->settled;
	gpu->start_locked |= a->start_lock && !a->settled;
	if (a->unproven)
		add_doubt(gpu, a->vram_bytes, used);
	note_start(gpu, a->seconds_since_start);
	gpu->allocated_bytes = saturate_add(gpu->allocated_bytes, a->vram_bytes);
	gpu->ours_bytes = saturate_add(gpu->ours_bytes, MAX_OF(a->vram_bytes, used));
	gpu->foreign_bytes = saturate_sub(gpu->foreign_bytes, used);
}

static void add_hold(struct ledger_gpu *gpu, const struct ledger_hold *hold)
{
	uint64_t held = MAX_OF(hold->bytes, hold->used_bytes);

	gpu->held_bytes = saturate_add(gpu->held_bytes, held);
	if (hold->is_leaving)
		gpu->leaving_bytes = saturate_add(gpu->leaving_bytes, held);
	gpu->held_owed_bytes =
	    saturate_add(gpu->held_owed_bytes, saturate_sub(hold->bytes, hold->used_bytes));
	gpu->foreign_bytes = saturate_sub(gpu->foreign_bytes, hold->used_bytes);
	gpu->hold_closed |= hold->is_closed;
}

static void add_leftover(struct ledger_gpu *gpu, const struct ledger_leftover *leftover)
{
	gpu->leftover_bytes = saturate_add(gpu->leftover_bytes, leftover->bytes);
	if (gpu->n_leftovers++ > 0)
		return;
	gpu->leftover_task = leftover->task;
	gpu->leftover_pid = leftover->pid;
}

static void settle_gpu(struct ledger_gpu *gpu)
{
	gpu->leftover_bytes = MIN_OF(gpu->leftover_bytes, gpu->foreign_bytes);
	if (!gpu->vram_known) {
		gpu->foreign_bytes = gpu->leftover_bytes = 0;
		return;
	}
	gpu->room_bytes = saturate_sub(
	    gpu->load_line_bytes,
	    saturate_add(gpu->held_bytes, saturate_add(gpu->foreign_bytes, gpu->ours_bytes)));
}

/* Promised RAM that is not yet used must be kept free of what is available now; and all that was
 * promised must fit the limit, however much the machine itself has. */
static void settle_host(struct ledger *ledger, const struct ledger_allocation *allocations,
			size_t n_allocations, const struct ledger_host *host)
{
	uint64_t unused = 0, ours = 0;
	uint64_t cpu = 0;

	for (size_t i = 0; i < n_allocations; i++) {
		const struct ledger_allocation *a = &allocations[i];

		unused = saturate_add(unused, saturate_sub(a->ram_bytes, a->ram_used_bytes));
		ours = saturate_add(ours, MAX_OF(a->ram_bytes, a->ram_used_bytes));
		cpu += a->cpu_milli;
	}
	if (!host)
		return;
	ledger->ram_known = host->ram_known;
	if (host->ram_known) {
		ledger->ram_total_bytes = host->ram_total_bytes;
		ledger->ram_room_bytes = MIN_OF(saturate_sub(host->ram_available_bytes, unused),
						saturate_sub(host->ram_total_bytes, ours));
	}
	ledger->cpu_milli_total = host->cpu_milli;
	ledger->cpu_milli_room = (unsigned)saturate_sub(host->cpu_milli, cpu);
}

static void read_links(struct ledger *ledger, const struct gpu_list *list)
{
	bool instances = false;

	for (size_t i = 0; i < list->n; i++)
		instances |= list->gpus[i].parent_uuid[0] != '\0';
	if (list->n < 2 || (list->topology.n == 0 && !instances))
		return;
	ledger->links = mem_calloc(list->n * list->n, sizeof *ledger->links);
	for (size_t a = 0; a < list->n; a++)
		for (size_t b = 0; b < list->n; b++)
			ledger->links[a * list->n + b] =
			    (unsigned char)gpu_list_link(list, &list->gpus[a], &list->gpus[b]);
}

struct ledger *ledger_create(const struct gpu_list *list,
			     const struct ledger_allocation *allocations, size_t n_allocations,
			     const struct ledger_host *host, const struct ledger_options *options)
{
	struct ledger *ledger = mem_calloc(1, sizeof *ledger);

	ledger->stagger_ms = options ? options->stagger_ms : 0;
	ledger->prove = options && options->prove;
	if (list) {
		ledger->source = list->state;
		snprintf(ledger->source_text, sizeof ledger->source_text, "%s", list->text);
		ledger->n_gpus = list->n;
		ledger->gpus = mem_calloc(MAX_OF(list->n, (size_t)1), sizeof *ledger->gpus);
		for (size_t i = 0; i < list->n; i++)
			read_gpu(&ledger->gpus[i], &list->gpus[i], options);
		read_links(ledger, list);
	} else {
		ledger->source = GPU_SOURCE_UNKNOWN;
	}
	for (size_t i = 0; i < n_allocations; i++) {
		struct ledger_gpu *gpu = NULL;

		if (allocations[i].uuid[0])
			gpu = find_gpu(ledger, allocations[i].uuid);
		if (gpu)
			add_allocation(gpu, &allocations[i]);
	}
	for (size_t i = 0; options && i < options->n_holds; i++) {
		struct ledger_gpu *gpu = find_gpu(ledger, options->holds[i].uuid);

		if (gpu)
			add_hold(gpu, &options->holds[i]);
	}
	for (size_t i = 0; options && i < options->n_leftovers; i++) {
		struct ledger_gpu *gpu = find_gpu(ledger, options->leftovers[i].uuid);

		if (gpu)
			add_leftover(gpu, &options->leftovers[i]);
	}
	for (size_t i = 0; i < ledger->n_gpus; i++)
		settle_gpu(&ledger->gpus[i]);
	settle_host(ledger, allocations, n_allocations, host);
	return ledger;
}

void ledger_destroy(struct ledger *ledger)
{
	if (!ledger)
		return;
	free(ledger->gpus);
	free(ledger->links);
	free(ledger);
}

struct ledger *ledger_copy(const struct ledger *ledger)
{
	struct ledger *copy = mem_alloc(sizeof *copy);

	*copy = *ledger;
	copy->gpus = mem_calloc(MAX_OF(ledger->n_gpus, (size_t)1), sizeof *copy->gpus);
	if (ledger->n_gpus > 0)
		memcpy(copy->gpus, ledger->gpus, ledger->n_gpus * sizeof *copy->gpus);
	if (ledger->links) {
		size_t n = ledger->n_gpus * ledger->n_gpus;

		copy->links = mem_alloc(n * sizeof *copy->links);
		memcpy(copy->links, ledger->links, n * sizeof *copy->links);
	}
	return copy;
}

void ledger_book(struct ledger *ledger, const size_t *gpus, size_t n_gpus,
		 const struct place_request *request)
{
	for (size_t i = 0; i < n_gpus; i++) {
		struct ledger_gpu *gpu = &ledger->gpus[gpus[i]];
		uint64_t vram;

		gpu->n_tasks++;
		gpu->held_exclusive |= request->exclusive;
		gpu->n_unsettled++;
		gpu->start_locked |= request->start_lock;
		gpu->seconds_since_start = 0;
		vram = place_request_vram(request, gpu->load_line_bytes);
		gpu->allocated_bytes = saturate_add(gpu->allocated_bytes, vram);
		gpu->ours_bytes = saturate_add(gpu->ours_bytes, vram);
		if (request->unproven)
			add_doubt(gpu, vram, 0);
		settle_gpu(gpu);
	}
	ledger->ram_room_bytes = saturate_sub(ledger->ram_room_bytes, request->ram_bytes);
	ledger->cpu_milli_room = (unsigned)saturate_sub(ledger->cpu_milli_room, request->cpu_milli);
}
