/*
 * From what is asked for to the GPUs of a machine.
 *
 * Numbers are NVML's (PCI bus order), for docker, the hook and the CDI names that nvidia-ctk makes.
 * A GPU in MIG mode is listed as its instances: its number or UUID means all of them. What a
 * container sees is again in NVML's order, whatever the order in the file; CUDA_VISIBLE_DEVICES
 * counts in that. (CUDA itself puts the fastest first unless CUDA_DEVICE_ORDER=PCI_BUS_ID is set;
 * with several models in one container its numbers are then not ours to know.)
 */
#include "compose/locate.h"
#include "gpu/gpu.h"

#include <ctype.h>
#include <errno.h>
#include <string.h>
#include <strings.h>

/* The GPUs of the list that are meant. */
struct chosen {
	const struct gpu_list *list;
	bool *gpus; /* list->n */
};

/* The number of the GPU it is, or is an instance of. */
static unsigned whole_index(const struct gpu *gpu)
{
	return gpu->parent_uuid[0] ? gpu->index / 1000 - 1 : gpu->index;
}

static bool is_meant(const struct gpu *gpu, const char *device)
{
	size_t len = strlen(device), digits = strspn(device, "0123456789");
	unsigned long long index, instance;
	char whole[16];

	if (digits == len)
		return text_to_u64(device, 0, GPU_LIST_MAX, &index) && whole_index(gpu) == index;
	if (digits > 0 && digits < sizeof whole && device[digits] == ':' && len < 8) {
		memcpy(whole, device, digits);
		whole[digits] = '\0';
		return text_to_u64(whole, 0, GPU_LIST_MAX, &index) &&
		       text_to_u64(device + digits + 1, 0, 999, &instance) &&
		       gpu->index == GPU_MIG_INDEX(index, instance);
	}
	if (strncasecmp(device, "GPU-", 4) == 0 || strncasecmp(device, "MIG-", 4) == 0)
		return len > 4 && (strncasecmp(gpu->uuid, device, len) == 0 ||
				   strncasecmp(gpu->parent_uuid, device, len) == 0);
	return len > 0 && strcasecmp(gpu->pci_bus_id, device) == 0;
}

/* Two GPUs that are not instances of one. */
static bool are_apart(const struct gpu *a, const struct gpu *b)
{
	return !a->parent_uuid[0] || strcmp(a->parent_uuid, b->parent_uuid) != 0;
}

/* 0; -ENOENT: there is none; -EEXIST: a prefix of several. */
static int choose(struct chosen *chosen, const char *device)
{
	const struct gpu *found = NULL;

	for (size_t i = 0; i < chosen->list->n; i++) {
		const struct gpu *gpu = &chosen->list->gpus[i];

		if (!is_meant(gpu, device))
			continue;
		if (found && are_apart(found, gpu))
			return -EEXIST;
		found = gpu;
	}
	for (size_t i = 0; found && i < chosen->list->n; i++)
		if (is_meant(&chosen->list->gpus[i], device))
			chosen->gpus[i] = true;
	return found ? 0 : -ENOENT;
}

static int choose_first(struct chosen *chosen, uint64_t count)
{
	for (uint64_t i = 0; i < count; i++) {
		char number[24];
		int r;

		(void)snprintf(number, sizeof number, "%llu", (unsigned long long)i);
		r = choose(chosen, number);
		if (r < 0)
			return r;
	}
	return 0;
}

static int missing(const struct compose_gpus *gpus, const struct chosen *chosen,
		   const struct compose_request *request, const struct compose_value *value, int r,
		   struct error *err)
{
	auto_text struct text there = {};
	struct compose_span place = compose_request_place(request);

	for (size_t i = 0; i < chosen->list->n && i < 16; i++) {
		const struct gpu *gpu = &chosen->list->gpus[i];

		text_printf(&there, "%s%u", i ? ", " : "", whole_index(gpu));
		if (gpu->parent_uuid[0])
			text_printf(&there, ":%u", gpu->index % 1000);
	}
	return compose_error(&place, -ENODEV, err, "service \"%s\": %s %s%s; there %s %s",
			     gpus->service->name,
			     r == -EEXIST         ? "more than one GPU is meant by"
			     : request->has_count ? "not as many GPUs as"
						  : "there is no GPU",
			     request->has_count ? "count: " : "", value ? value->text : "",
			     chosen->list->n == 1 ? "is" : "are", there.data ?: "none");
}

static int add_request(const struct compose_gpus *gpus, const struct compose_request *request,
		       struct chosen *chosen, const struct compose_value **ret_missing,
		       struct error *err)
{
	int r = 0;

	if (request->all) {
		for (size_t i = 0; i < chosen->list->n; i++)
			chosen->gpus[i] = true;
		return 0;
	}
	if (request->has_count) {
		r = choose_first(chosen, request->count);
		if (r < 0) {
			*ret_missing = &request->values[0];
			return missing(gpus, chosen, request, &request->values[0], r, err);
		}
		return 0;
	}
	for (size_t i = 0; i < request->n_values; i++) {
		if (!request->values[i].device[0])
			continue;
		r = choose(chosen, request->values[i].device);
		if (r == 0)
			continue;
		*ret_missing = &request->values[i];
		return missing(gpus, chosen, request, &request->values[i], r, err);
	}
	return 0;
}

/* The one of those chosen that an entry of CUDA_VISIBLE_DEVICES names; list->n: none. */
static size_t filtered(const struct chosen *chosen, const char *device)
{
	unsigned long long number;
	bool is_number = text_to_u64(device, 0, GPU_LIST_MAX, &number);

	for (size_t i = 0; i < chosen->list->n; i++) {
		if (!chosen->gpus[i])
			continue;
		if (is_number ? number-- == 0 : is_meant(&chosen->list->gpus[i], device))
			return i;
	}
	return chosen->list->n;
}

/* CUDA stops at the first entry that is no device of the container's. */
static void filter(const struct compose_request *request, struct chosen *chosen, bool *keep)
{
	for (size_t i = 0; i < request->n_values && !request->none; i++) {
		size_t gpu = filtered(chosen, request->values[i].device);

		if (gpu == chosen->list->n)
			break;
		keep[gpu] = true;
	}
	memcpy(chosen->gpus, keep, chosen->list->n * sizeof *keep);
}

int compose_resolve(const struct compose_gpus *gpus, const struct gpu_list *list, size_t *ret_gpus,
		    size_t room, size_t *ret_n, const struct compose_value **ret_missing,
		    struct error *err)
{
	auto_free bool *marks = mem_calloc(2 * list->n + 1, sizeof *marks);
	struct chosen chosen = {.list = list, .gpus = marks};
	size_t n = 0;

	*ret_missing = NULL;
	for (size_t i = 0; i < gpus->n; i++) {
		int r;

		if (!gpus->requests[i].in_force)
			continue;
		r = add_request(gpus, &gpus->requests[i], &chosen, ret_missing, err);
		if (r < 0)
			return r;
	}
	if (gpus->filter)
		filter(gpus->filter, &chosen, marks + list->n);
	for (size_t i = 0; i < list->n; i++) {
		if (!chosen.gpus[i])
			continue;
		if (n == room)
			return error_set(err, -E2BIG, "service \"%s\": more than %zu GPUs",
					 gpus->service->name, room);
		ret_gpus[n++] = i;
	}
	*ret_n = n;
	return 0;
}
