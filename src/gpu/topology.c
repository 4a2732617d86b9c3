/*
 * Links between GPUs: a matrix of its own, by UUID, so that it does not care in which order the
 * GPUs are listed or who of them is missing from a sample. It is found out once, when the GPUs are
 * (nvml.c), and handed on from sample to sample.
 */
#include "gpu/gpu_priv.h"

#include <errno.h>
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

static int gpu_link_from_name(const char *name)
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

json_t *gpu_topology_to_json(const struct gpu_topology *topology)
{
	json_t *json, *uuids, *links;

	if (topology->n == 0)
		return json_null();
	json = json_object();
	uuids = json_array();
	links = json_array();
	for (size_t a = 0; a < topology->n; a++) {
		json_t *row = json_array();

		(void)json_array_append_new(uuids, json_string(topology->uuids[a]));
		for (size_t b = 0; b < topology->n; b++) {
			enum gpu_link link = topology->links[a * topology->n + b];

			(void)json_array_append_new(row, link == GPU_LINK_UNKNOWN
							     ? json_null()
							     : json_string(gpu_link_name(link)));
		}
		(void)json_array_append_new(links, row);
	}
	(void)json_object_set_new(json, "gpus", uuids);
	(void)json_object_set_new(json, "links", links);
	return json;
}

/* One entry of the matrix; null is unknown. Both ways must say the same. */
static int link_from_json(const json_t *value, struct gpu_topology *topology, size_t a, size_t b,
			  struct error *err)
{
	int link =
	    json_is_null(value) ? GPU_LINK_UNKNOWN : gpu_link_from_name(json_string_value(value));

	if (link < 0)
		return error_set(err, -EBADMSG, "\"links\" has an unknown kind of link");
	if (a == b && link != GPU_LINK_UNKNOWN)
		return error_set(err, -EBADMSG, "\"links\" has a link of a GPU with itself");
	if (b < a && topology->links[a * topology->n + b] != link)
		return error_set(err, -EBADMSG, "\"links\" is not the same both ways");
	gpu_topology_set(topology, a, b, (enum gpu_link)link);
	return 0;
}

int gpu_topology_from_json(const json_t *json, struct gpu_topology *topology, struct error *err)
{
	const json_t *uuids = json_object_get(json, "gpus"),
		     *links = json_object_get(json, "links");
	size_t n = json_array_size(uuids);

	if (!json || json_is_null(json))
		return 0;
	if (n > GPU_LIST_MAX || json_array_size(links) != n)
		return error_set(err, -EBADMSG, "\"topology\" is not a matrix of at most %d GPUs",
				 GPU_LIST_MAX);
	gpu_topology_init(topology, n);
	for (size_t a = 0; a < n; a++) {
		const char *uuid = json_string_value(json_array_get(uuids, a));
		const json_t *row = json_array_get(links, a);

		if (!uuid || strlen(uuid) >= GPU_UUID_MAX || json_array_size(row) != n)
			return error_set(err, -EBADMSG, "\"topology\" is not a matrix");
		memcpy(topology->uuids[a], uuid, strlen(uuid) + 1);
		for (size_t b = 0; b < n; b++) {
			int r = link_from_json(json_array_get(row, b), topology, a, b, err);

			if (r < 0)
				return r;
		}
	}
	return 0;
}
