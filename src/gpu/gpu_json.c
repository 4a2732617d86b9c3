/*
 * JSON both ways, from one table of fields each: a name, where it lies, and which validity bit it
 * has. What is unknown is null. Reading is strict about sizes and counts (it reads what another
 * process wrote) and lenient about keys it does not know.
 */
#include "gpu/gpu_priv.h"

#include <errno.h>
#include <string.h>

struct text_field {
	const char *key;
	size_t offset, size;
};

enum number_type { NUMBER_U64, NUMBER_UNSIGNED, NUMBER_INT };

struct number_field {
	const char *key;
	enum number_type type;
	size_t offset;
	unsigned bit; /* enum gpu_field_FLAGS */
};

#define TEXT(type, key, member)                                          \
	{                                                                \
		key, offsetof(type, member), sizeof(((type *)0)->member) \
	}

static const struct text_field list_texts[] = {
    TEXT(struct gpu_list, "text", text),
    TEXT(struct gpu_list, "driver_version", driver_version),
    TEXT(struct gpu_list, "nvml_version", nvml_version),
};

static const struct text_field gpu_texts[] = {
    TEXT(struct gpu, "uuid", uuid),
    TEXT(struct gpu, "name", name),
    TEXT(struct gpu, "pci_bus_id", pci_bus_id),
    TEXT(struct gpu, "parent_uuid", parent_uuid),
    TEXT(struct gpu, "health_text", health_text),
};

static const struct text_field process_texts[] = {
    TEXT(struct gpu_process, "name", name),
    TEXT(struct gpu_process, "container", container),
};

static const struct number_field vram_numbers[] = {
    {"total_bytes", NUMBER_U64, offsetof(struct gpu, vram.total_bytes), GPU_TOTAL},
    {"used_bytes", NUMBER_U64, offsetof(struct gpu, vram.used_bytes), GPU_USED},
    {"free_bytes", NUMBER_U64, offsetof(struct gpu, vram.free_bytes), GPU_FREE},
    {"driver_reserved_bytes", NUMBER_U64, offsetof(struct gpu, vram.driver_reserved_bytes),
     GPU_DRIVER_RESERVED},
};

static const struct number_field gpu_numbers[] = {
    {"utilization_percent", NUMBER_UNSIGNED, offsetof(struct gpu, utilization_percent),
     GPU_UTILIZATION},
    {"temperature_celsius", NUMBER_INT, offsetof(struct gpu, temperature_celsius), GPU_TEMPERATURE},
    {"power_milliwatts", NUMBER_UNSIGNED, offsetof(struct gpu, power_milliwatts), GPU_POWER},
    {"power_limit_milliwatts", NUMBER_UNSIGNED, offsetof(struct gpu, power_limit_milliwatts),
     GPU_POWER_LIMIT},
    {"clock_graphics_mhz", NUMBER_UNSIGNED, offsetof(struct gpu, clock_graphics_mhz), GPU_CLOCKS},
    {"clock_memory_mhz", NUMBER_UNSIGNED, offsetof(struct gpu, clock_memory_mhz), GPU_CLOCKS},
};

/* ---- writing ---- */

static void write_texts(json_t *json, const void *base, const struct text_field *fields, size_t n)
{
	for (size_t i = 0; i < n; i++)
		(void)json_object_set_new(json, fields[i].key,
					  jsonx_string_if((const char *)base + fields[i].offset));
}

static json_t *number_to_json(const void *at, enum number_type type)
{
	switch (type) {
	case NUMBER_U64:
		return jsonx_u64(*(const uint64_t *)at);
	case NUMBER_UNSIGNED:
		return jsonx_u64(*(const unsigned *)at);
	case NUMBER_INT:
		return json_integer(*(const int *)at);
	}
	return json_null();
}

static void write_numbers(json_t *json, const struct gpu *gpu, const struct number_field *fields,
			  size_t n)
{
	for (size_t i = 0; i < n; i++) {
		const void *at = (const char *)gpu + fields[i].offset;

		(void)json_object_set_new(
		    json, fields[i].key,
		    gpu_has(gpu, fields[i].bit) ? number_to_json(at, fields[i].type) : json_null());
	}
}

static json_t *processes_to_json(const struct gpu *gpu)
{
	json_t *array;

	if (!gpu_has(gpu, GPU_PROCESSES))
		return json_null();
	array = json_array();
	for (size_t i = 0; i < gpu->n_processes; i++) {
		const struct gpu_process *process = &gpu->processes[i];
		json_t *json = json_object();

		(void)json_object_set_new(json, "pid", json_integer(process->pid));
		(void)json_object_set_new(
		    json, "start_time",
		    jsonx_u64_if(process->start_time != 0, process->start_time));
		(void)json_object_set_new(json, "used_bytes",
					  jsonx_u64_if(process->used_known, process->used_bytes));
		(void)json_object_set_new(
		    json, "utilization_percent",
		    jsonx_u64_if(process->utilization_known, process->utilization_percent));
		(void)json_object_set_new(json, "graphics", json_boolean(process->graphics));
		write_texts(json, process, process_texts, ARRAY_LEN(process_texts));
		(void)json_array_append_new(array, json);
	}
	return array;
}

static json_t *capability_to_json(const struct gpu *gpu)
{
	char text[16];

	if (!gpu_has(gpu, GPU_COMPUTE_CAPABILITY))
		return json_null();
	(void)snprintf(text, sizeof text, "%u.%u", gpu->compute_capability / 10,
		       gpu->compute_capability % 10);
	return json_string(text);
}

static json_t *gpu_to_json(const struct gpu *gpu)
{
	json_t *json = json_object(), *vram = json_object();

	(void)json_object_set_new(json, "index", jsonx_u64(gpu->index));
	write_texts(json, gpu, gpu_texts, ARRAY_LEN(gpu_texts));
	(void)json_object_set_new(json, "compute_capability", capability_to_json(gpu));
	(void)json_object_set_new(json, "health", json_string(gpu_health_name(gpu->health)));
	(void)json_object_set_new(json, "stale_since", jsonx_time_if(gpu->stale_since_ms));
	write_numbers(vram, gpu, vram_numbers, ARRAY_LEN(vram_numbers));
	(void)json_object_set_new(json, "vram", vram);
	(void)json_object_set_new(json, "unified_memory", json_boolean(gpu->unified_memory));
	write_numbers(json, gpu, gpu_numbers, ARRAY_LEN(gpu_numbers));
	(void)json_object_set_new(json, "processes", processes_to_json(gpu));
	return json;
}

json_t *gpu_list_to_json(const struct gpu_list *list)
{
	json_t *json = json_object(), *gpus = json_array();

	(void)json_object_set_new(json, "state", json_string(gpu_source_name(list->state)));
	write_texts(json, list, list_texts, ARRAY_LEN(list_texts));
	(void)json_object_set_new(json, "sampled_at", jsonx_time_if(list->sampled_at_ms));
	(void)json_object_set_new(json, "stale_since", jsonx_time_if(list->stale_since_ms));
	(void)json_object_set_new(
	    json, "cuda_version",
	    jsonx_u64_if(list->cuda_version > 0, (uint64_t)MAX_OF(list->cuda_version, 0)));
	for (size_t i = 0; i < list->n; i++)
		(void)json_array_append_new(gpus, gpu_to_json(&list->gpus[i]));
	(void)json_object_set_new(json, "gpus", gpus);
	(void)json_object_set_new(json, "topology", gpu_topology_to_json(&list->topology));
	return json;
}

/* ---- reading ---- */

static int read_texts(const json_t *json, void *base, const struct text_field *fields, size_t n,
		      struct error *err)
{
	for (size_t i = 0; i < n; i++) {
		const char *text = jsonx_get_string(json, fields[i].key, "");

		if (strlen(text) >= fields[i].size)
			return error_set(err, -EBADMSG, "\"%s\" is longer than %zu bytes",
					 fields[i].key, fields[i].size - 1);
		memcpy((char *)base + fields[i].offset, text, strlen(text) + 1);
	}
	return 0;
}

static int number_from_json(const json_t *value, void *at, enum number_type type)
{
	json_int_t number = json_integer_value(value);

	if (!json_is_integer(value))
		return -EBADMSG;
	switch (type) {
	case NUMBER_U64:
		if (number < 0)
			return -ERANGE;
		*(uint64_t *)at = (uint64_t)number;
		return 0;
	case NUMBER_UNSIGNED:
		if (number < 0 || number > UINT32_MAX)
			return -ERANGE;
		*(unsigned *)at = (unsigned)number;
		return 0;
	case NUMBER_INT:
		if (number < INT32_MIN || number > INT32_MAX)
			return -ERANGE;
		*(int *)at = (int)number;
		return 0;
	}
	return -EBADMSG;
}

/* A field of two numbers (the clocks) is known when both are. */
static int read_numbers(const json_t *json, struct gpu *gpu, const struct number_field *fields,
			size_t n, struct error *err)
{
	unsigned known = 0, unknown = 0;

	for (size_t i = 0; i < n; i++) {
		const json_t *value = json_object_get(json, fields[i].key);

		if (!value || json_is_null(value)) {
			unknown |= fields[i].bit;
			continue;
		}
		if (number_from_json(value, (char *)gpu + fields[i].offset, fields[i].type) < 0)
			return error_set(err, -EBADMSG, "\"%s\" is not a number in range",
					 fields[i].key);
		known |= fields[i].bit;
	}
	gpu->valid |= known & ~unknown;
	return 0;
}

static int process_from_json(const json_t *json, struct gpu_process *process, struct error *err)
{
	int64_t pid = jsonx_get_i64(json, "pid", 0);

	if (pid <= 0 || pid > INT32_MAX)
		return error_set(err, -EBADMSG, "a process without a valid \"pid\"");
	process->pid = (pid_t)pid;
	process->start_time = jsonx_get_u64(json, "start_time", 0);
	process->used_known = jsonx_has(json, "used_bytes");
	process->used_bytes = jsonx_get_u64(json, "used_bytes", 0);
	process->utilization_percent =
	    (unsigned)MIN_OF(jsonx_get_u64(json, "utilization_percent", 0), UINT64_C(100));
	process->utilization_known = jsonx_has(json, "utilization_percent");
	process->graphics = jsonx_get_bool(json, "graphics", false);
	return read_texts(json, process, process_texts, ARRAY_LEN(process_texts), err);
}

static int processes_from_json(const json_t *json, struct gpu *gpu, struct error *err)
{
	const json_t *array = json_object_get(json, "processes");
	size_t n = json_array_size(array);

	if (!json_is_array(array))
		return 0;
	if (n > GPU_PROCESSES_MAX)
		return error_set(err, -E2BIG, "%zu processes on one GPU, at most %d are read", n,
				 GPU_PROCESSES_MAX);
	gpu->valid |= GPU_PROCESSES;
	for (size_t i = 0; i < n; i++) {
		int r = process_from_json(json_array_get(array, i), gpu_append_process(gpu), err);

		if (r < 0)
			return r;
	}
	return 0;
}

static int capability_from_json(const json_t *json, struct gpu *gpu, struct error *err)
{
	const char *text = jsonx_get_string(json, "compute_capability", NULL);
	unsigned major, minor;
	char end;

	if (!text)
		return 0;
	if (sscanf(text, "%2u.%1u%c", &major, &minor, &end) != 2)
		return error_set(err, -EBADMSG, "\"compute_capability\" is not like \"8.6\"");
	gpu->compute_capability = major * 10 + minor;
	gpu->valid |= GPU_COMPUTE_CAPABILITY;
	return 0;
}

static int gpu_from_json(const json_t *json, struct gpu *gpu, struct error *err)
{
	int health = gpu_health_from_name(jsonx_get_string(json, "health", NULL));
	uint64_t index = jsonx_get_u64(json, "index", UINT64_MAX);
	int r;

	if (index > UINT32_MAX)
		return error_set(err, -EBADMSG, "a GPU without a valid \"index\"");
	if (health < 0)
		return error_set(err, -EBADMSG, "GPU %u has no known \"health\"", (unsigned)index);
	gpu->index = (unsigned)index;
	gpu->health = (enum gpu_health)health;
	gpu->stale_since_ms = jsonx_get_time(json, "stale_since");
	gpu->unified_memory = jsonx_get_bool(json, "unified_memory", false);
	r = read_texts(json, gpu, gpu_texts, ARRAY_LEN(gpu_texts), err);
	if (r == 0)
		r = capability_from_json(json, gpu, err);
	if (r == 0)
		r = read_numbers(json_object_get(json, "vram"), gpu, vram_numbers,
				 ARRAY_LEN(vram_numbers), err);
	if (r == 0)
		r = read_numbers(json, gpu, gpu_numbers, ARRAY_LEN(gpu_numbers), err);
	if (r == 0)
		r = processes_from_json(json, gpu, err);
	return r;
}

int gpu_list_from_json(const json_t *json, struct gpu_list **ret_list, struct error *err)
{
	auto_gpu_list struct gpu_list *list = gpu_list_create();
	int state = gpu_source_from_name(jsonx_get_string(json, "state", NULL));
	const json_t *gpus = json_object_get(json, "gpus");
	int r;

	if (state < 0 || !json_is_array(gpus))
		return error_set(err, -EBADMSG,
				 "not a GPU sample: no known \"state\" or no \"gpus\"");
	if (json_array_size(gpus) > GPU_LIST_MAX)
		return error_set(err, -E2BIG, "%zu GPUs, at most %d are read",
				 json_array_size(gpus), GPU_LIST_MAX);
	list->state = (enum gpu_source_state)state;
	list->sampled_at_ms = jsonx_get_time(json, "sampled_at");
	list->stale_since_ms = jsonx_get_time(json, "stale_since");
	list->cuda_version = (int)MIN_OF(jsonx_get_u64(json, "cuda_version", 0), (uint64_t)999999);
	r = read_texts(json, list, list_texts, ARRAY_LEN(list_texts), err);
	for (size_t i = 0; r == 0 && i < json_array_size(gpus); i++)
		r = gpu_from_json(json_array_get(gpus, i), gpu_list_append(list), err);
	if (r == 0)
		r = gpu_topology_from_json(json_object_get(json, "topology"), &list->topology, err);
	if (r < 0)
		return r;
	gpu_list_sort(list);
	*ret_list = TAKE(list);
	return 0;
}

/* ---- events ---- */

json_t *gpu_event_to_json(const struct gpu_event *event)
{
	json_t *json = json_object();

	(void)json_object_set_new(json, "event", json_string("xid"));
	(void)json_object_set_new(json, "uuid", jsonx_string_if(event->uuid));
	(void)json_object_set_new(json, "xid", jsonx_u64(event->xid));
	(void)json_object_set_new(json, "at", jsonx_time_if(event->at_ms));
	return json;
}

int gpu_event_from_json(const json_t *json, struct gpu_event *ret_event, struct error *err)
{
	const char *type = jsonx_get_string(json, "event", "");
	const char *uuid = jsonx_get_string(json, "uuid", "");
	uint64_t xid = jsonx_get_u64(json, "xid", UINT64_MAX);
	struct gpu_event event = {.type = GPU_EVENT_XID};

	if (strcmp(type, "xid") != 0 || xid > UINT32_MAX || strlen(uuid) >= sizeof event.uuid)
		return error_set(err, -EBADMSG, "not a GPU event");
	memcpy(event.uuid, uuid, strlen(uuid) + 1);
	event.xid = (unsigned)xid;
	event.at_ms = jsonx_get_time(json, "at");
	*ret_event = event;
	return 0;
}
