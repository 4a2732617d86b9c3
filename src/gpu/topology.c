/*
 * Links between GPUs: a matrix of its own, by UUID, so that it does not care in which order the
 * GPUs are listed or who of them is missing from a sample. It is found out once, when the GPUs are
 * (nvml.c), and handed on from sample to sample.
 */
#include "gpu/gpu_priv.h"

#include <string.h>

static const char *const link_names[GPU_LINK_COUNT] = {
    [GPU_LINK_UNKNOWN] = "unknown",   [GPU_LINK_BOARD] = "board",
    [GPU_LINK_NVLINK] = "nvlink",     [GPU_LINK_SWITCH] = "switch",
    [GPU_LINK_SWITCHES] = "switches", [GPU_LINK_HOST_BRIDGE] = "host-bridge",
    [GPU_LINK_NODE] = "node",         [GPU_LINK_SYSTEM] = "system",
};

const char *gpu_link_name(enum gpu_link link)
{
	return link_names[link];
}

int gpu_link_from_name(const char *name)
{
	return gpu_name_find(link_names, ARRAY_LEN(link_names), name);
}

void gpu_topology_init(struct gpu_topology *topology, size_t n)
{
	gpu_topology_finish(topology);
	if (n == 0)
		return;
	topology->n = n;
	topology->uuids = mem_calloc(n, sizeof *topology->uuids);
	topology->links = mem_calloc(n * n, sizeof *topology->links);
}

void gpu_topology_finish(struct gpu_topology *topology)
{
	free(topology->uuids);
	free(topology->links);
	*topology = (struct gpu_topology){};
}

void gpu_topology_copy(struct gpu_topology *to, const struct gpu_topology *from)
{
	gpu_topology_init(to, from->n);
	if (from->n == 0)
		return;
	memcpy(to->uuids, from->uuids, from->n * sizeof *to->uuids);
	memcpy(to->links, from->links, from->n * from->n * sizeof *to->links);
}

void gpu_topology_set(struct gpu_topology *topology, size_t a, size_t b, enum gpu_link link)
{
	topology->links[a * topology->n + b] = topology->links[b * topology->n + a] =
	    (unsigned char)link;
}

static const char *whole_gpu(const struct gpu *gpu)
{
	return gpu->parent_uuid[0] ? gpu->parent_uuid : gpu->uuid;
}

/* topology->n when it is not there. */
static size_t topology_find(const struct gpu_topology *topology, const char *uuid)
{
	size_t i = 0;

	while (i < topology->n && strcmp(topology->uuids[i], uuid) != 0)
		i++;
	return i;
}

enum gpu_link gpu_list_link(const struct gpu_list *list, const struct gpu *a, const struct gpu *b)
{
	const struct gpu_topology *topology = &list->topology;
	size_t i, j;

	if (a == b || strcmp(a->uuid, b->uuid) == 0)
		return GPU_LINK_UNKNOWN;
	if (strcmp(whole_gpu(a), whole_gpu(b)) == 0)
		return GPU_LINK_BOARD;
	i = topology_find(topology, whole_gpu(a));
	j = topology_find(topology, whole_gpu(b));
	if (i == topology->n || j == topology->n)
		return GPU_LINK_UNKNOWN;
	return (enum gpu_link)topology->links[i * topology->n + j];
}
