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
/* A value takes jansson up to 110 bytes, an object 230, whatever little is written for it. With 256
 * GPUs, each linked to all, and whoever holds them, there are 90,000 and 3,000. */
#define VALUES_MAX     500000
#define CONTAINERS_MAX 100000
#define PROCESSES_MAX  16384 /* of all GPUs */

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

/*
 * Is the content what is wanted? What is not is told with its path and its value, since jansson
 * keeps lines only for what is not JSON at all. What is absent or null is unknown.
 */
enum kind {
	KIND_SIZE,
	KIND_TEXT,
	KIND_NUMBER,
	KIND_DEGREES,
	KIND_BOOL,
	KIND_ARRAY,
	KIND_OBJECT,
	KIND_PID,
};

struct member {
	const char *key;
	enum kind kind;
};

static const struct member gpu_members[] = {
    {"index", KIND_NUMBER},
    {"uuid", KIND_TEXT},
    {"name", KIND_TEXT},
    {"pci_bus_id", KIND_TEXT},
    {"parent_uuid", KIND_TEXT},
    {"compute_capability", KIND_TEXT},
    {"health", KIND_TEXT},
    {"unified_memory", KIND_BOOL},
    {"vram", KIND_OBJECT},
    {"utilization_percent", KIND_NUMBER},
    {"temperature_celsius", KIND_DEGREES},
    {"power_milliwatts", KIND_NUMBER},
    {"power_limit_milliwatts", KIND_NUMBER},
    {"closed", KIND_TEXT},
    {"holders", KIND_ARRAY},
    {},
};
static const struct member vram_members[] = {
    {"total_bytes", KIND_SIZE},
    {"used_bytes", KIND_SIZE},
    {"free_bytes", KIND_SIZE},
    {"reserve_bytes", KIND_SIZE},
    {},
};
static const struct member holder_members[] = {
    {"kind", KIND_TEXT}, {"name", KIND_TEXT}, {"pids", KIND_ARRAY}, {"used_bytes", KIND_SIZE}, {},
};
static const struct member host_members[] = {
    {"ram_total_bytes", KIND_SIZE},
    {"ram_available_bytes", KIND_SIZE},
    {},
};

/* What is wanted instead, for people; "" when it is one. */
static const char *wanted(const json_t *value, enum kind kind)
{
	const json_int_t number = json_integer_value(value);

	switch (kind) {
	case KIND_SIZE:
		return json_is_integer(value) && number >= 0 && (uint64_t)number <= GPU_BYTES_MAX
			   ? ""
			   : "a size of memory: a number of bytes, 0 to 256 TiB";
	case KIND_TEXT:
		return json_is_string(value) ? "" : "a text";
	case KIND_NUMBER:
		return json_is_integer(value) && number >= 0 && number <= UINT32_MAX
			   ? ""
			   : "a whole number, 0 to 4294967295";
	case KIND_DEGREES:
		return json_is_integer(value) && number >= INT32_MIN && number <= INT32_MAX
			   ? ""
			   : "a whole number of degrees";
	case KIND_BOOL:
		return json_is_boolean(value) ? "" : "true or false";
	case KIND_ARRAY:
		return json_is_array(value) ? "" : "an array";
	case KIND_OBJECT:
		return json_is_object(value) ? "" : "an object";
	case KIND_PID:
		return json_is_integer(value) && number > 0 && number <= INT32_MAX
			   ? ""
			   : "the number of a process, from 1 on";
	}
	return "";
}

/* "gpus[0].vram.total_bytes is \"24G\"; wanted is ..." */
static int complain(const json_t *value, const char *path, const char *what, struct error *err)
{
	auto_free char *dumped =
	    value ? json_dumps(value, JSON_ENCODE_ANY | JSON_COMPACT | JSON_ENSURE_ASCII) : NULL;
	const char *said = dumped ? dumped : "not there";

	return error_set(err, -EINVAL, "%s is %.40s%s; wanted is %s", path, said,
			 strlen(said) > 40 ? "..." : "", what);
}

static int check_value(const json_t *value, enum kind kind, const char *path, struct error *err)
{
	const char *what = wanted(value, kind);

	return *what ? complain(value, path, what, err) : 0;
}

/* The members of an object that are there. */
static int check_members(const json_t *object, const struct member *members, const char *path,
			 struct error *err)
{
	int r = check_value(object, KIND_OBJECT, path, err);

	for (; r == 0 && members->key; members++) {
		const json_t *value = json_object_get(object, members->key);
		auto_free char *where = mem_printf("%s.%s", path, members->key);

		if (value && !json_is_null(value))
			r = check_value(value, members->kind, where, err);
	}
	return r;
}

static int check_holder(const json_t *holder, const char *path, struct error *err)
{
	const json_t *pids = json_object_get(holder, "pids"), *pid;
	int r = check_members(holder, holder_members, path, err);
	size_t i;

	json_array_foreach (pids, i, pid) {
		auto_free char *where = mem_printf("%s.pids[%zu]", path, i);

		r = r < 0 ? r : check_value(pid, KIND_PID, where, err);
	}
	return r;
}

static int check_gpu(const json_t *json, const char *path, struct error *err)
{
	const json_t *vram = json_object_get(json, "vram"), *holder;
	const json_t *health = json_object_get(json, "health");
	auto_free char *at_vram = mem_printf("%s.vram", path);
	int r = check_members(json, gpu_members, path, err);
	size_t i;

	if (r == 0 && json_is_object(vram))
		r = check_members(vram, vram_members, at_vram, err);
	if (r == 0 && jsonx_has(json, "health") &&
	    gpu_health_from_name(json_string_value(health)) < 0) {
		auto_free char *at_health = mem_printf("%s.health", path);

		r = complain(health, at_health, "ok, lost, needs-reset, stale or error", err);
	}
	json_array_foreach (json_object_get(json, "holders"), i, holder) {
		auto_free char *where = mem_printf("%s.holders[%zu]", path, i);

		r = r < 0 ? r : check_holder(holder, where, err);
	}
	return r;
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
			return error_set(
			    err, -EINVAL,
			    "%s: gpus[%zu].index is missing: the number the GPU has in "
			    "nvidia-smi is wanted",
			    name, i);
		if (!*uuid)
			return error_set(err, -EINVAL,
					 "%s: gpus[%zu].uuid is missing: what nvidia-smi -L calls "
					 "the GPU is wanted",
					 name, i);
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

/* RAM; an inventory of an older version says nothing of it. */
static struct stack_host host_of(const json_t *host)
{
	return (struct stack_host){
	    .total_known = jsonx_has(host, "ram_total_bytes"),
	    .total_bytes = jsonx_get_u64(host, "ram_total_bytes", 0),
	    .available_known = jsonx_has(host, "ram_available_bytes"),
	    .available_bytes = jsonx_get_u64(host, "ram_available_bytes", 0),
	};
}

static int check_processes(const json_t *gpus, struct error *err)
{
	const json_t *gpu, *holder;
	size_t n = 0, i, k;

	json_array_foreach (gpus, i, gpu) {
		json_array_foreach (json_object_get(gpu, "holders"), k, holder)
			n += json_array_size(json_object_get(holder, "pids"));
		if (n > PROCESSES_MAX)
			return error_set(err, -E2BIG,
					 "gpus[%zu].holders: more than %d processes in all", i,
					 PROCESSES_MAX);
	}
	return 0;
}

static int check_source(const json_t *json, struct error *err)
{
	const json_t *source = json_object_get(json, "source");
	const json_t *host = json_object_get(json, "host");

	if (source && !json_is_null(source) && gpu_source_from_name(json_string_value(source)) < 0)
		return complain(source, "source", "ok, as `plimsoll gpus --json` writes it", err);
	return host && !json_is_null(host) ? check_members(host, host_members, "host", err) : 0;
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
	r = check_processes(gpus, err);
	if (r < 0)
		return error_prefix(err, r, "%s", name);
	json_array_foreach (gpus, i, gpu) {
		auto_free char *path = mem_printf("gpus[%zu]", i);

		r = check_gpu(gpu, path, err);
		if (r < 0)
			return error_prefix(err, r, "%s", name);
	}
	r = check_names(gpus, name, err);
	if (r < 0)
		return r;
	json_array_foreach (gpus, i, gpu) {
		add_processes(gpu);
		if (!jsonx_has(gpu, "health"))
			(void)json_object_set_new(gpu, "health", json_string("ok"));
		r = check_alone(gpu, i, name, err);
		if (r < 0)
			return r;
	}
	r = check_source(json, err);
	if (r < 0)
		return error_prefix(err, r, "%s", name);
	(void)json_object_set_new(json, "state",
				  json_string(jsonx_get_string(json, "source", "ok")));
	r = gpu_list_from_json(json, ret_list, err);
	return r < 0 ? error_prefix(err, -EINVAL, "%s", name) : 0;
}

/* A GPU of which only its size is said can be planned for all the same: what is used there counts
 * as nothing. New; NULL: there is none such. */
static char *without_use(struct gpu_list *list)
{
	auto_text struct text text = {};
	size_t n = 0;

	for (size_t i = 0; i < list->n; i++) {
		struct gpu *gpu = &list->gpus[i];

		if (!gpu_has(gpu, GPU_TOTAL) || gpu_has(gpu, GPU_USED) || gpu_has(gpu, GPU_FREE))
			continue;
		gpu->valid |= GPU_USED;
		gpu->vram.used_bytes = 0;
		text_printf(&text, "%s%u", n++ > 0 ? ", " : "", gpu->index);
	}
	return n == 0
		   ? NULL
		   : mem_printf("the inventory does not say what is used of GPU%s %s: it is taken "
				"for nothing",
				PLURAL(n), text.data);
}

/* Before any of it is made: more than a machine can have is not read at all. */
static int check_amount(const char *text, size_t len, const char *name, struct error *err)
{
	size_t values = 0, containers = 0;
	unsigned line = 1;

	for (size_t i = 0; i < len; i++) {
		line += text[i] == '\n';
		containers += text[i] == '{' || text[i] == '[';
		values += text[i] == ',';
		if (values > VALUES_MAX || containers > CONTAINERS_MAX)
			return error_set(err, -E2BIG,
					 "%s:%u: more than %d values, or %d objects and arrays: no "
					 "machine has that much",
					 name, line, VALUES_MAX, CONTAINERS_MAX);
	}
	return 0;
}

int inventory_parse(const char *text, size_t len, const char *name, struct inventory *ret_inventory,
		    struct error *err)
{
	auto_gpu_list struct gpu_list *list = NULL;
	auto_json json_t *json = NULL;
	int r = check_amount(text, len, name, err);

	if (r == 0)
		r = jsonx_parse(text, len, name, &json, err);
	if (r == 0)
		r = read_list(json, name, &list, err);
	if (r < 0)
		return r;
	ret_inventory->rules = rules_of(list, json_object_get(json, "gpus"));
	ret_inventory->note = without_use(list);
	ret_inventory->list = TAKE(list);
	ret_inventory->host = host_of(json_object_get(json, "host"));
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
	free(inventory->note);
	*inventory = (struct inventory){};
}
