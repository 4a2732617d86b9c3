/*
 * See inventory.h. The object of `gpus --json` has the keys of the sample it was made from, apart
 * from three: `source` was `state`, processes are gathered into holders, and the ledger's sizes
 * stand beside the GPU's. So it is brought back into that form and read by the sample's own reader,
 * which checks ranges; what identifies a GPU is checked here.
 */
#include "cli/inventory.h"

#include "util/file.h"
#include "util/text.h"

#include <errno.h>
#include <string.h>

#define FILE_MAX (4u << 20)
#define PIDS_MAX 4096

static json_t *process_of(const json_t *holder, json_t *pid, bool first)
{
	const bool is_service = strcmp(jsonx_get_string(holder, "kind", ""), "service") == 0;
	const char *name = jsonx_get_string(holder, "name", "");
	const json_t *used = json_object_get(holder, "used_bytes");
	char cut[64]; /* of struct gpu_process */
	json_t *process = json_object();

	(void)snprintf(cut, sizeof cut, "%s", name);
	(void)json_object_set(process, "pid", pid);
	if (json_is_integer(used))
		(void)json_object_set_new(process, "used_bytes",
					  json_integer(first ? json_integer_value(used) : 0));
	(void)json_object_set_new(process, is_service ? "container" : "name", jsonx_string_if(cut));
	return process;
}

/* A task that has not started yet is a holder without pids: it uses nothing. */
static void add_processes(json_t *gpu)
{
	const json_t *holders = json_object_get(gpu, "holders");
	json_t *processes = json_array();

	for (size_t i = 0; i < json_array_size(holders); i++) {
		const json_t *holder = json_array_get(holders, i);
		const json_t *pids = json_object_get(holder, "pids");

		for (size_t k = 0; k < MIN_OF(json_array_size(pids), (size_t)PIDS_MAX); k++)
			(void)json_array_append_new(
			    processes, process_of(holder, json_array_get(pids, k), k == 0));
	}
	if (json_is_array(holders))
		(void)json_object_set(gpu, "processes", processes);
	json_decref(processes);
}

static int check_gpu(const json_t *json, size_t i, const char *name, struct error *err)
{
	static const char *const sizes[] = {"total_bytes", "used_bytes", "free_bytes",
					    "reserve_bytes"};
	const json_t *vram = json_object_get(json, "vram");

	if (!json_is_object(json))
		return error_set(err, -EINVAL, "%s: gpus[%zu] is no object", name, i);
	for (size_t k = 0; k < ARRAY_LEN(sizes); k++) {
		const json_t *size = json_object_get(vram, sizes[k]);

		if (!size || json_is_null(size))
			continue;
		if (!json_is_integer(size) || json_integer_value(size) < 0 ||
		    (uint64_t)json_integer_value(size) > GPU_BYTES_MAX)
			return error_set(err, -EINVAL,
					 "%s: gpus[%zu].vram.%s is no size of memory: a number of "
					 "bytes is wanted",
					 name, i, sizes[k]);
	}
	return 0;
}

/* UUIDs and indices are what files name GPUs by: there, and each once. In the order of the file. */
static int check_names(const json_t *gpus, const char *name, struct error *err)
{
	const json_t *gpu;
	size_t i;

	json_array_foreach (gpus, i, gpu) {
		const char *uuid = jsonx_get_string(gpu, "uuid", "");
		const uint64_t index = jsonx_get_u64(gpu, "index", UINT64_MAX);

		if (index > UINT32_MAX)
			return error_set(err, -EINVAL, "%s: gpus[%zu].index is no index of a GPU",
					 name, i);
		if (!*uuid)
			return error_set(err, -EINVAL, "%s: gpus[%zu].uuid is missing", name, i);
		for (size_t k = 0; k < i; k++) {
			const json_t *other = json_array_get(gpus, k);

			if (strcmp(jsonx_get_string(other, "uuid", ""), uuid) == 0)
				return error_set(
				    err, -EINVAL,
				    "%s: gpus[%zu].uuid is %.64s, as gpus[%zu].uuid is", name, i,
				    uuid, k);
			if (jsonx_get_u64(other, "index", UINT64_MAX) == index)
				return error_set(err, -EINVAL,
						 "%s: gpus[%zu].index is %u, as gpus[%zu].index is",
						 name, i, (unsigned)index, k);
		}
	}
	return 0;
}

/* What the sample's reader refuses of one GPU, with its place. */
static int check_alone(const json_t *json, size_t i, const char *name, struct error *err)
{
	auto_json json_t *one = json_pack("{s:s, s:[O]}", "state", "ok", "gpus", json);
	auto_gpu_list struct gpu_list *list = NULL;
	int r = gpu_list_from_json(one, &list, err);

	return r < 0 ? error_prefix(err, -EINVAL, "%s: gpus[%zu]", name, i) : 0;
}

static struct ledger_rule *rules_of(const struct gpu_list *list, const json_t *gpus)
{
	struct ledger_rule *rules = mem_calloc(list->n + 1, sizeof *rules);
	const json_t *json;
	size_t i;

	for (size_t g = 0; g < list->n; g++)
		memcpy(rules[g].uuid, list->gpus[g].uuid, sizeof rules[g].uuid);
	json_array_foreach (gpus, i, json) {
		const struct gpu *gpu = gpu_list_find(list, jsonx_get_string(json, "uuid", ""));
		const json_t *vram = json_object_get(json, "vram");
		struct ledger_rule *rule;

		if (!gpu)
			continue;
		rule = &rules[gpu - list->gpus];
		rule->has_reserve = jsonx_has(vram, "reserve_bytes");
		rule->reserve_bytes = jsonx_get_u64(vram, "reserve_bytes", 0);
		rule->closed = jsonx_has(json, "closed");
		(void)snprintf(rule->text, sizeof rule->text, "%s",
			       jsonx_get_string(json, "closed", ""));
	}
	return rules;
}

static int read_list(json_t *json, const char *name, struct gpu_list **ret_list, struct error *err)
{
	json_t *gpus = json_object_get(json, "gpus"), *gpu;
	size_t i;
	int r;

	if (json_is_array(gpus) && json_array_size(gpus) == 0)
		return error_set(err, -EINVAL,
				 "%s: the inventory has no GPUs: its \"gpus\" is empty", name);
	if (!json_is_array(gpus))
		return error_set(err, -EINVAL,
				 "%s: no inventory: there are no \"gpus\" in it; make one with "
				 "plimsoll gpus --json",
				 name);
	if (json_array_size(gpus) > GPU_LIST_MAX)
		return error_set(err, -E2BIG, "%s: %zu GPUs, at most %d are read", name,
				 json_array_size(gpus), GPU_LIST_MAX);
	json_array_foreach (gpus, i, gpu) {
		r = check_gpu(gpu, i, name, err);
		if (r < 0)
			return r;
		add_processes(gpu);
		if (!json_object_get(gpu, "health"))
			(void)json_object_set_new(gpu, "health", json_string("ok"));
		r = check_alone(gpu, i, name, err);
		if (r < 0)
			return r;
	}
	r = check_names(gpus, name, err);
	if (r < 0)
		return r;
	(void)json_object_set_new(json, "state",
				  json_string(jsonx_get_string(json, "source", "ok")));
	r = gpu_list_from_json(json, ret_list, err);
	return r < 0 ? error_prefix(err, -EINVAL, "%s", name) : 0;
}

int inventory_parse(const char *text, size_t len, const char *name, struct inventory *ret_inventory,
		    struct error *err)
{
	auto_gpu_list struct gpu_list *list = NULL;
	auto_json json_t *json = NULL;
	int r = jsonx_parse(text, len, name, &json, err);

	if (r == 0)
		r = read_list(json, name, &list, err);
	if (r < 0)
		return r;
	ret_inventory->rules = rules_of(list, json_object_get(json, "gpus"));
	ret_inventory->list = TAKE(list);
	return 0;
}

int inventory_load(const char *path, struct inventory *ret_inventory, struct error *err)
{
	auto_text struct text text = {};
	int r = file_read(path, FILE_MAX, true, &text, err);

	return r < 0 ? r
		     : inventory_parse(text.data ? text.data : "", text.len, path, ret_inventory,
				       err);
}

void inventory_finish(struct inventory *inventory)
{
	gpu_list_destroy(inventory->list);
	free(inventory->rules);
	*inventory = (struct inventory){};
}
