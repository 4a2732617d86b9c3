/*
 * Where a lost GPU keeps its name. NVML forgets such a GPU in several ways: its handle answers with
 * an error and no identity, or the count shrinks and the others move up. Only the sample before
 * knows who is missing. Three steps: give the nameless entries of the new sample the identity of
 * who is missing; then append whoever is still missing as lost; or, when NVML as a whole cannot be
 * asked, append everybody as stale. Pure; the helper process and the sampler (which outlives
 * helpers) both run it.
 */
#include "gpu/gpu_priv.h"
#include "util/when.h"

#include <string.h>

/* What stays true of a GPU that cannot be asked. */
#define IDENTITY_FIELDS (GPU_TOTAL | GPU_COMPUTE_CAPABILITY)

static bool is_instance(const struct gpu *gpu)
{
	return gpu->parent_uuid[0] != '\0';
}

static bool is_missing(const struct gpu_list *next, const struct gpu *gpu)
{
	return gpu->uuid[0] != '\0' && !gpu_list_find(next, gpu->uuid);
}

static void copy_identity(struct gpu *to, const struct gpu *from)
{
	memcpy(to->uuid, from->uuid, sizeof to->uuid);
	memcpy(to->name, from->name, sizeof to->name);
	memcpy(to->pci_bus_id, from->pci_bus_id, sizeof to->pci_bus_id);
	memcpy(to->parent_uuid, from->parent_uuid, sizeof to->parent_uuid);
	to->vram.total_bytes = from->vram.total_bytes;
	to->unified_memory = from->unified_memory;
	to->compute_capability = from->compute_capability;
	to->valid = from->valid & IDENTITY_FIELDS;
}

static bool index_is_free(const struct gpu_list *list, unsigned index)
{
	for (size_t i = 0; i < list->n; i++) {
		if (list->gpus[i].index == index)
			return false;
	}
	return true;
}

/* Its own, unless another has it now: then the first one after the others. */
static unsigned index_for(const struct gpu_list *list, const struct gpu *gpu)
{
	unsigned index = gpu->index;

	while (!index_is_free(list, index))
		index++;
	return index;
}

static void append_lost(struct gpu_list *next, const struct gpu *before, enum gpu_health health,
			const char *text)
{
	unsigned index = index_for(next, before);
	struct gpu *gpu = gpu_list_append(next);

	gpu->index = index;
	copy_identity(gpu, before);
	gpu->health = health;
	(void)snprintf(gpu->health_text, sizeof gpu->health_text, "%s", text);
}

/* Who of `prev` is the nameless GPU with this PCI address or, without one, this index? */
static const struct gpu *guess(const struct gpu_list *next, const struct gpu_list *prev,
			       const struct gpu *nameless)
{
	const struct gpu *by_index = NULL, *only = NULL;
	size_t missing = 0;

	for (size_t i = 0; i < prev->n; i++) {
		const struct gpu *gpu = &prev->gpus[i];

		if (is_instance(gpu) || !is_missing(next, gpu))
			continue;
		if (nameless->pci_bus_id[0] && strcmp(nameless->pci_bus_id, gpu->pci_bus_id) == 0)
			return gpu;
		if (gpu->index == nameless->index)
			by_index = gpu;
		only = gpu;
		missing++;
	}
	/* With an address that is nobody's it is a newcomer, not one of them. */
	if (nameless->pci_bus_id[0])
		return NULL;
	return by_index ? by_index : missing == 1 ? only : NULL;
}

/* The nameless GPU had MIG instances: they go with it. True when there were any. */
static bool lose_instances(struct gpu_list *next, const struct gpu_list *prev,
			   const struct gpu *nameless)
{
	struct gpu copy = *nameless; /* appending moves the array */
	bool any = false;

	for (size_t i = 0; i < prev->n; i++) {
		const struct gpu *gpu = &prev->gpus[i];

		if (!is_instance(gpu) || gpu->index / 1000 != copy.index + 1 ||
		    !is_missing(next, gpu))
			continue;
		append_lost(next, gpu, copy.health, copy.health_text);
		any = true;
	}
	return any;
}

static void name_the_nameless(struct gpu_list *next, const struct gpu_list *prev)
{
	for (size_t i = 0; i < next->n; i++) {
		const struct gpu *who;

		if (next->gpus[i].uuid[0])
			continue;
		who = guess(next, prev, &next->gpus[i]);
		if (who)
			copy_identity(&next->gpus[i], who);
		else if (lose_instances(next, prev, &next->gpus[i]))
			gpu_list_remove(next, i--);
	}
}

/* Instances come and go with the MIG configuration; only with their GPU are they lost. */
static bool was_removed_on_purpose(const struct gpu_list *next, const struct gpu *gpu)
{
	if (!is_instance(gpu))
		return false;
	for (size_t i = 0; i < next->n; i++) {
		const struct gpu *other = &next->gpus[i];

		if (strcmp(other->uuid, gpu->parent_uuid) == 0 ||
		    (strcmp(other->parent_uuid, gpu->parent_uuid) == 0 &&
		     other->health != GPU_HEALTH_LOST))
			return true;
	}
	return false;
}

static void keep_the_vanished(struct gpu_list *next, const struct gpu_list *prev)
{
	for (size_t i = 0; i < prev->n; i++) {
		const struct gpu *gpu = &prev->gpus[i];
		char text[sizeof gpu->health_text];

		if (!is_missing(next, gpu) || was_removed_on_purpose(next, gpu))
			continue;
		(void)snprintf(text, sizeof text,
			       "NVML lists it no more (it was GPU %u, PCI %s): it fell off the "
			       "bus; reboot, look at `dmesg | grep Xid`",
			       gpu->index, gpu->pci_bus_id[0] ? gpu->pci_bus_id : "unknown");
		append_lost(next, gpu, GPU_HEALTH_LOST,
			    gpu->health == GPU_HEALTH_LOST ? gpu->health_text : text);
	}
}

static void stale_gpu(struct gpu *gpu, int64_t since_ms)
{
	if (gpu->health != GPU_HEALTH_OK)
		return;
	gpu->health = GPU_HEALTH_STALE;
	gpu->stale_since_ms = since_ms;
	(void)snprintf(gpu->health_text, sizeof gpu->health_text,
		       "stale since %s: NVML cannot be asked; the numbers are the last good ones",
		       WHEN_TEXT(since_ms));
}

static void keep_all_as_stale(struct gpu_list *next, const struct gpu_list *prev)
{
	auto_gpu_list struct gpu_list *copy = gpu_list_copy(prev);

	for (size_t i = 0; i < copy->n; i++)
		stale_gpu(&copy->gpus[i], prev->sampled_at_ms);
	next->sampled_at_ms = prev->sampled_at_ms;
	next->gpus = TAKE(copy->gpus);
	next->n = copy->n;
	copy->n = 0;
}

void gpu_list_carry_over(struct gpu_list *next, const struct gpu_list *prev)
{
	if (!prev)
		return;
	if (next->topology.n == 0)
		gpu_topology_copy(&next->topology, &prev->topology);
	if (next->state != GPU_SOURCE_OK && next->state != GPU_SOURCE_NO_GPUS) {
		if (next->n == 0)
			keep_all_as_stale(next, prev);
		return;
	}
	name_the_nameless(next, prev);
	keep_the_vanished(next, prev);
	if (next->state == GPU_SOURCE_NO_GPUS && next->n > 0) {
		next->state = GPU_SOURCE_OK;
		next->text[0] = '\0';
	}
	gpu_list_sort(next);
}

void gpu_list_mark_stale(struct gpu_list *list, int64_t now_ms, const char *text)
{
	if (list->stale_since_ms == 0)
		list->stale_since_ms = list->sampled_at_ms ? list->sampled_at_ms : now_ms;
	list->state = GPU_SOURCE_STALE;
	(void)snprintf(list->text, sizeof list->text, "%s", text);
	for (size_t i = 0; i < list->n; i++)
		stale_gpu(&list->gpus[i], list->stale_since_ms);
}
