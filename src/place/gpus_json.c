/*
 * See gpus_json.h. Processes are gathered into holders by (kind, name): a service with four workers
 * is one line with four pids. A holder's use is known only when it is known of all its processes.
 */
#include "place/gpus_json.h"

#include <string.h>

struct holders {
	json_t *array;
	const struct gpus_json_options *options;
	const struct gpu *gpu;
};

static json_t *holder_add(struct holders *h, const char *kind, const char *name)
{
	json_t *holder = json_object();

	(void)json_object_set_new(holder, "kind", json_string(kind));
	(void)json_object_set_new(holder, "name", jsonx_string_if(name));
	(void)json_object_set_new(holder, "pids", json_array());
	(void)json_object_set_new(holder, "allocated_bytes", json_null());
	(void)json_object_set_new(holder, "used_bytes", json_integer(0));
	(void)json_array_append_new(h->array, holder);
	return holder;
}

/* One of `kind` whose `key` is that; those of dead processes by themselves. */
static json_t *holder_find(const struct holders *h, const char *kind, const char *key,
			   const json_t *value, bool dead)
{
	json_t *holder;
	size_t i;

	json_array_foreach (h->array, i, holder)
		if (strcmp(jsonx_get_string(holder, "kind", ""), kind) == 0 &&
		    jsonx_get_bool(holder, "dead", false) == dead &&
		    json_equal(json_object_get(holder, key), value))
			return holder;
	return NULL;
}

static void holder_add_process(json_t *holder, const struct gpu_process *process)
{
	json_t *used = json_object_get(holder, "used_bytes");

	(void)json_array_append_new(json_object_get(holder, "pids"), json_integer(process->pid));
	if (!process->used_known || json_is_null(used))
		(void)json_object_set_new(holder, "used_bytes", json_null());
	else
		(void)json_integer_set(used,
				       json_integer_value(used) + (json_int_t)process->used_bytes);
}

/* The holder a process belongs to, made when it is the first of it; NULL when it is gone. */
static json_t *holder_of(struct holders *h, const struct gpu_process *process)
{
	char service[GPUS_JSON_SERVICE_MAX] = "";
	const struct gpus_json_options *options = h->options;
	bool left = false, dead = options->all_processes && process->start_time == 0;
	uint64_t task = options->owner ? options->owner(options->data, process, service, &left) : 0;
	const char *kind = left         ? "leftover"
			   : task > 0   ? "task"
			   : service[0] ? "service"
					: "foreign";
	const char *name = service[0] ? service : process->name;
	auto_json json_t *key = NULL;
	json_t *holder;

	if (task == GPUS_JSON_GONE)
		return NULL;
	key = task > 0 ? jsonx_u64(task) : jsonx_string_if(name);
	/* A task's own line is there: what it has of dead processes is shown in it. */
	dead = dead && (task == 0 || left);
	holder = holder_find(h, kind, task > 0 ? "task" : "name", key, dead);
	if (!holder)
		holder = holder_add(h, kind, name);
	if (dead)
		(void)json_object_set_new(holder, "dead", json_true());
	if (task > 0)
		(void)json_object_set(holder, "task", key);
	return holder;
}

static json_t *holders_to_json(const struct gpu *gpu, const struct gpus_json_options *options)
{
	struct holders h = {.array = json_array(), .options = options, .gpu = gpu};

	for (size_t i = 0; i < options->n_tasks; i++) {
		const struct gpus_json_task *task = &options->tasks[i];
		json_t *holder;

		if (strcmp(task->uuid, gpu->uuid) != 0)
			continue;
		holder = holder_add(&h, "task", task->name);
		(void)json_object_set_new(holder, "task", jsonx_u64(task->id));
		(void)json_object_set_new(holder, "allocated_bytes",
					  jsonx_u64(task->allocated_bytes));
		if (!gpu_has(gpu, GPU_PROCESSES))
			(void)json_object_set_new(holder, "used_bytes", json_null());
	}
	for (size_t i = 0; i < options->n_holds; i++) {
		const struct gpus_json_hold *hold = &options->holds[i];

		if (strcmp(hold->uuid, gpu->uuid) == 0)
			(void)json_object_set_new(
			    holder_add(&h, "service", hold->name ? hold->name : "a service"),
			    "allocated_bytes", jsonx_u64(hold->allocated_bytes));
	}
	for (size_t i = 0; i < gpu->n_processes; i++) {
		json_t *holder = holder_of(&h, &gpu->processes[i]);

		if (holder)
			holder_add_process(holder, &gpu->processes[i]);
	}
	return h.array;
}

static json_t *vram_to_json(const struct gpu *gpu, const struct ledger_gpu *line)
{
	bool known = line && line->vram_known;
	json_t *vram = json_object();
	const struct {
		const char *name;
		bool known;
		uint64_t bytes;
	} members[] = {
	    {"total_bytes", gpu_has(gpu, GPU_TOTAL), gpu->vram.total_bytes},
	    {"used_bytes", gpu_has(gpu, GPU_USED), gpu->vram.used_bytes},
	    {"free_bytes", gpu_has(gpu, GPU_FREE), gpu->vram.free_bytes},
	    {"reserve_bytes", known, line ? line->reserve_bytes : 0},
	    {"load_line_bytes", known, line ? line->load_line_bytes : 0},
	    {"allocated_bytes", line != NULL, line ? line->allocated_bytes : 0},
	    {"foreign_bytes", known, line ? line->foreign_bytes : 0},
	    {"leftover_bytes", known, line ? line->leftover_bytes : 0},
	    {"services_bytes", known, line ? ledger_services(line) : 0},
	    {"leaving_bytes", known, line ? line->leaving_bytes : 0},
	    {"room_bytes", known, line ? line->room_bytes : 0},
	};

	for (size_t i = 0; i < ARRAY_LEN(members); i++)
		(void)json_object_set_new(vram, members[i].name,
					  jsonx_u64_if(members[i].known, members[i].bytes));
	return vram;
}

static json_t *integer_if(bool known, json_int_t value)
{
	return known ? json_integer(value) : json_null();
}

static json_t *gpu_to_json(const struct gpu *gpu, const struct ledger_gpu *line,
			   const char *driver_version, const struct gpus_json_options *options)
{
	json_t *json = json_object();
	char capability[32];

	(void)snprintf(capability, sizeof capability, "%u.%u", gpu->compute_capability / 10,
		       gpu->compute_capability % 10);
	(void)json_object_set_new(json, "index", json_integer(gpu->index));
	(void)json_object_set_new(json, "uuid", jsonx_string_if(gpu->uuid));
	(void)json_object_set_new(json, "name", jsonx_string_if(gpu->name));
	(void)json_object_set_new(json, "pci_bus_id", jsonx_string_if(gpu->pci_bus_id));
	(void)json_object_set_new(json, "parent_uuid", jsonx_string_if(gpu->parent_uuid));
	(void)json_object_set_new(json, "compute_capability",
				  gpu_has(gpu, GPU_COMPUTE_CAPABILITY) ? json_string(capability)
								       : json_null());
	(void)json_object_set_new(json, "driver_version", jsonx_string_if(driver_version));
	(void)json_object_set_new(json, "health", json_string(gpu_health_name(gpu->health)));
	(void)json_object_set_new(json, "health_text", jsonx_string_if(gpu->health_text));
	(void)json_object_set_new(
	    json, "stale_since",
	    jsonx_time_if(gpu->health == GPU_HEALTH_STALE ? gpu->stale_since_ms : 0));
	(void)json_object_set_new(json, "unified_memory", json_boolean(gpu->unified_memory));
	(void)json_object_set_new(json, "vram", vram_to_json(gpu, line));
	(void)json_object_set_new(
	    json, "utilization_percent",
	    integer_if(gpu_has(gpu, GPU_UTILIZATION), gpu->utilization_percent));
	(void)json_object_set_new(
	    json, "temperature_celsius",
	    integer_if(gpu_has(gpu, GPU_TEMPERATURE), gpu->temperature_celsius));
	(void)json_object_set_new(json, "power_milliwatts",
				  integer_if(gpu_has(gpu, GPU_POWER), gpu->power_milliwatts));
	(void)json_object_set_new(
	    json, "power_limit_milliwatts",
	    integer_if(gpu_has(gpu, GPU_POWER_LIMIT), gpu->power_limit_milliwatts));
	(void)json_object_set_new(json, "holders", holders_to_json(gpu, options));
	return json;
}

static const struct ledger_gpu *ledger_find(const struct ledger *ledger, const char *uuid)
{
	for (size_t i = 0; i < ledger->n_gpus; i++)
		if (strcmp(ledger->gpus[i].uuid, uuid) == 0)
			return &ledger->gpus[i];
	return NULL;
}

json_t *gpus_to_json(const struct gpu_list *list, const struct ledger *ledger,
		     const struct gpus_json_options *options)
{
	static const struct gpus_json_options none;
	json_t *json = json_object(), *gpus = json_array();

	for (size_t i = 0; i < list->n; i++)
		(void)json_array_append_new(
		    gpus, gpu_to_json(&list->gpus[i], ledger_find(ledger, list->gpus[i].uuid),
				      list->driver_version, options ? options : &none));
	(void)json_object_set_new(json, "source", json_string(gpu_source_name(list->state)));
	(void)json_object_set_new(json, "text", jsonx_string_if(list->text));
	(void)json_object_set_new(json, "sampled_at", jsonx_time_if(list->sampled_at_ms));
	(void)json_object_set_new(
	    json, "stale_since",
	    jsonx_time_if(list->state == GPU_SOURCE_STALE ? list->stale_since_ms : 0));
	(void)json_object_set_new(json, "driver_version", jsonx_string_if(list->driver_version));
	(void)json_object_set_new(json, "cuda_version",
				  integer_if(list->cuda_version > 0, list->cuda_version));
	(void)json_object_set_new(json, "gpus", gpus);
	(void)json_object_set_new(json, "topology", gpu_topology_to_json(&list->topology));
	return json;
}
