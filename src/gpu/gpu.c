/*
 * The model is plain data, copied whole: a list is one array of GPUs, each owning one array of
 * processes. There are at most a few hundred entries, so looking up is a walk.
 * gpu_json.c writes and reads it, gpu_carry.c compares it with the sample before.
 */
#include "gpu/gpu.h"

#include "gpu/gpu_priv.h"
#include "util/text.h"

#include <errno.h>
#include <string.h>
#include <strings.h>

static const char *const health_names[] = {
    [GPU_HEALTH_OK] = "ok",
    [GPU_HEALTH_LOST] = "lost",
    [GPU_HEALTH_NEEDS_RESET] = "needs-reset",
    [GPU_HEALTH_ERROR] = "error",
    [GPU_HEALTH_STALE] = "stale",
};

static const char *const source_names[] = {
    [GPU_SOURCE_OK] = "ok",
    [GPU_SOURCE_NO_LIBRARY] = "no-library",
    [GPU_SOURCE_NO_DRIVER] = "no-driver",
    [GPU_SOURCE_MISMATCH] = "mismatch",
    [GPU_SOURCE_NO_GPUS] = "no-gpus",
    [GPU_SOURCE_ERROR] = "error",
    [GPU_SOURCE_STALE] = "stale",
    [GPU_SOURCE_UNKNOWN] = "unknown",
};

int gpu_name_find(const char *const *names, size_t n, const char *name)
{
	for (size_t i = 0; name && i < n; i++) {
		if (strcmp(names[i], name) == 0)
			return (int)i;
	}
	return -EINVAL;
}

const char *gpu_health_name(enum gpu_health health)
{
	return health_names[health];
}

int gpu_health_from_name(const char *name)
{
	return gpu_name_find(health_names, ARRAY_LEN(health_names), name);
}

const char *gpu_source_name(enum gpu_source_state state)
{
	return source_names[state];
}

int gpu_source_from_name(const char *name)
{
	return gpu_name_find(source_names, ARRAY_LEN(source_names), name);
}

struct gpu_list *gpu_list_create(void)
{
	struct gpu_list *list = mem_calloc(1, sizeof *list);

	list->state = GPU_SOURCE_UNKNOWN;
	return list;
}

/* Both arrays grow by doubling and have room for the next power of two: an array is full when its
 * length is one. */
static bool array_is_full(size_t n)
{
	return (n & (n - 1)) == 0;
}

static size_t array_room(size_t n)
{
	size_t room = 1;

	while (room < n)
		room *= 2;
	return room;
}

static void gpu_copy(struct gpu *to, const struct gpu *from)
{
	*to = *from;
	to->processes = NULL;
	if (from->n_processes > 0) {
		to->processes = mem_calloc(array_room(from->n_processes), sizeof *to->processes);
		memcpy(to->processes, from->processes, from->n_processes * sizeof *to->processes);
	}
}

struct gpu_list *gpu_list_copy(const struct gpu_list *list)
{
	struct gpu_list *copy = mem_alloc(sizeof *copy);

	*copy = *list;
	copy->gpus = NULL;
	copy->n = 0;
	copy->topology = (struct gpu_topology){};
	gpu_topology_copy(&copy->topology, &list->topology);
	for (size_t i = 0; i < list->n; i++)
		gpu_copy(gpu_list_append(copy), &list->gpus[i]);
	return copy;
}

void gpu_list_destroy(struct gpu_list *list)
{
	if (!list)
		return;
	for (size_t i = 0; i < list->n; i++)
		free(list->gpus[i].processes);
	free(list->gpus);
	gpu_topology_finish(&list->topology);
	free(list);
}

struct gpu *gpu_list_append(struct gpu_list *list)
{
	struct gpu *gpu;

	if (array_is_full(list->n))
		list->gpus =
		    mem_realloc(list->gpus, MAX_OF(list->n * 2, (size_t)1), sizeof *list->gpus);
	gpu = &list->gpus[list->n++];
	memset(gpu, 0, sizeof *gpu);
	return gpu;
}

struct gpu_process *gpu_append_process(struct gpu *gpu)
{
	struct gpu_process *process;

	if (array_is_full(gpu->n_processes))
		gpu->processes =
		    mem_realloc(gpu->processes, MAX_OF(gpu->n_processes * 2, (size_t)1),
				sizeof *gpu->processes);
	process = &gpu->processes[gpu->n_processes++];
	memset(process, 0, sizeof *process);
	return process;
}

static int by_index(const void *a, const void *b)
{
	const struct gpu *x = a, *y = b;

	return x->index < y->index ? -1 : x->index > y->index;
}

void gpu_list_sort(struct gpu_list *list)
{
	if (list->n > 1)
		qsort(list->gpus, list->n, sizeof *list->gpus, by_index);
}

void gpu_list_remove(struct gpu_list *list, size_t at)
{
	free(list->gpus[at].processes);
	list->n--;
	memmove(&list->gpus[at], &list->gpus[at + 1], (list->n - at) * sizeof *list->gpus);
}

const struct gpu *gpu_list_find(const struct gpu_list *list, const char *uuid)
{
	for (size_t i = 0; *uuid && i < list->n; i++) {
		if (strcmp(list->gpus[i].uuid, uuid) == 0)
			return &list->gpus[i];
	}
	return NULL;
}

/* ---- what a person wrote ---- */

static int refuse(const struct gpu_list *list, int code, const char *text, const char *why,
		  struct error *err)
{
	auto_text struct text known = {};

	for (size_t i = 0; i < list->n && i < 16; i++)
		text_printf(&known, "%s%u (%s, %s)", i ? ", " : "", list->gpus[i].index,
			    list->gpus[i].name[0] ? list->gpus[i].name : "no name",
			    list->gpus[i].uuid[0] ? list->gpus[i].uuid : "no UUID");
	if (list->n > 16)
		text_printf(&known, " and %zu more", list->n - 16);
	if (list->n == 0)
		return error_set(err, code, "%s '%.100s': there are no GPUs%s%s", why, text,
				 list->text[0] ? ": " : "", list->text);
	return error_set(err, code, "%s '%.100s'; there are: %s", why, text, known.data);
}

static int find_index(const struct gpu_list *list, const char *text, unsigned index,
		      const struct gpu **ret_gpu, struct error *err)
{
	for (size_t i = 0; i < list->n; i++) {
		if (list->gpus[i].index == index) {
			*ret_gpu = &list->gpus[i];
			return 0;
		}
	}
	return refuse(list, -ENOENT, text, "there is no GPU", err);
}

const char *gpu_short_name(const char *model)
{
	return text_starts_with(model, "NVIDIA ") ? model + strlen("NVIDIA ") : model;
}

/* "1", "cuda:1", "gpu:1" and "0:1". */
static bool parse_index(const char *text, unsigned *ret_index)
{
	unsigned long long first, second;
	const char *colon;
	char head[16];

	if (strncasecmp(text, "cuda:", 5) == 0)
		text += 5;
	else if (strncasecmp(text, "gpu:", 4) == 0)
		text += 4;
	colon = strchr(text, ':');
	if (!colon) {
		if (!text_to_u64(text, 0, UINT32_MAX, &first))
			return false;
		*ret_index = (unsigned)first;
		return true;
	}
	if ((size_t)(colon - text) >= sizeof head)
		return false;
	memcpy(head, text, (size_t)(colon - text));
	head[colon - text] = '\0';
	if (!text_to_u64(head, 0, GPU_LIST_MAX - 1, &first) ||
	    !text_to_u64(colon + 1, 0, 999, &second))
		return false;
	*ret_index = GPU_MIG_INDEX((unsigned)first, (unsigned)second);
	return true;
}

/* UUIDs by prefix ("GPU-" may be left out), PCI bus ids by suffix (the domain may be left out). */
static bool gpu_is_meant(const struct gpu *gpu, const char *text)
{
	size_t len = strlen(text), pci_len = strlen(gpu->pci_bus_id);
	const char *bare = gpu->uuid;

	if (len == 0)
		return false;
	if (strncasecmp(gpu->uuid, text, len) == 0)
		return true;
	if (strncmp(bare, "GPU-", 4) == 0 || strncmp(bare, "MIG-", 4) == 0)
		bare += 4;
	if (strncasecmp(bare, text, len) == 0)
		return true;
	return strlen(text) >= strlen("4e:00.0") && strchr(text, ':') && pci_len >= len &&
	       strcasecmp(gpu->pci_bus_id + pci_len - len, text) == 0;
}

int gpu_list_resolve(const struct gpu_list *list, const char *text, const struct gpu **ret_gpu,
		     struct error *err)
{
	const struct gpu *found = NULL;
	unsigned index;

	if (parse_index(text, &index))
		return find_index(list, text, index, ret_gpu, err);
	for (size_t i = 0; i < list->n; i++) {
		const struct gpu *gpu = &list->gpus[i];

		if (!gpu_is_meant(gpu, text))
			continue;
		if (strcasecmp(gpu->uuid, text) == 0) {
			*ret_gpu = gpu;
			return 0;
		}
		if (found)
			return refuse(list, -EINVAL, text, "more than one GPU is meant by", err);
		found = gpu;
	}
	if (!found)
		return refuse(list, -ENOENT, text, "there is no GPU", err);
	*ret_gpu = found;
	return 0;
}
