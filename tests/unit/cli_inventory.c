/* src/cli/inventory: what `gpus --json` printed comes back as it was; anything else is refused. */
#include "cli/inventory.h"
#include "place/gpus_json.h"
#include "util/size.h"

#include "unit.h"

#include <stdio.h>
#include <string.h>

static struct gpu *add_gpu(struct gpu_list *list, unsigned index, const char *name, uint64_t total)
{
	struct gpu *gpu = gpu_list_append(list);

	gpu->index = index;
	(void)snprintf(gpu->uuid, sizeof gpu->uuid, "GPU-%u", index);
	(void)snprintf(gpu->name, sizeof gpu->name, "%s", name);
	gpu->valid = GPU_TOTAL | GPU_USED | GPU_FREE | GPU_PROCESSES | GPU_COMPUTE_CAPABILITY;
	gpu->compute_capability = 86;
	gpu->vram.total_bytes = total;
	gpu->vram.used_bytes = GIB;
	gpu->vram.free_bytes = total - GIB;
	return gpu;
}

static struct gpu_list *machine(void)
{
	struct gpu_list *list = gpu_list_create();
	struct gpu *gpu;

	list->state = GPU_SOURCE_OK;
	list->sampled_at_ms = 1700000000123;
	gpu = add_gpu(list, 0, "NVIDIA RTX A5500", 24564 * MIB);
	*gpu_append_process(gpu) = (struct gpu_process){
	    .pid = 11, .used_known = true, .used_bytes = 600 * MIB, .container = "x-llm-1"};
	*gpu_append_process(gpu) = (struct gpu_process){
	    .pid = 12, .used_known = true, .used_bytes = 100 * MIB, .container = "x-llm-1"};
	*gpu_append_process(gpu) = (struct gpu_process){.pid = 13, .name = "Xorg"};
	gpu = add_gpu(list, 1, "NVIDIA RTX A400", 4094 * MIB);
	gpu->valid &= ~(unsigned)GPU_USED;
	gpu->health = GPU_HEALTH_STALE;
	gpu->stale_since_ms = 1700000000000;
	return list;
}

static uint64_t owner(void *data, const struct gpu_process *process,
		      char service[GPUS_JSON_SERVICE_MAX], bool *ret_leftover)
{
	(void)data;
	(void)snprintf(service, GPUS_JSON_SERVICE_MAX, "%s", process->container);
	return 0;
}

static json_t *print(const struct gpu_list *list, const struct ledger_rule *rules)
{
	const struct ledger_options options = {.rules = rules, .n_rules = list->n};
	struct ledger *ledger = ledger_create(list, NULL, 0, &(struct ledger_host){}, &options);
	json_t *json = gpus_to_json(list, ledger, &(struct gpus_json_options){.owner = owner});

	ledger_destroy(ledger);
	return json;
}

static void what_was_printed_comes_back(void **state)
{
	auto_gpu_list struct gpu_list *list = machine();
	const struct ledger_rule rules[2] = {
	    {.uuid = "GPU-0", .has_reserve = true, .reserve_bytes = 3 * GIB},
	    {.uuid = "GPU-1"},
	};
	auto_json json_t *before = print(list, rules), *after = NULL;
	auto_free char *text = jsonx_dump(before);
	auto_inventory struct inventory inventory = {};
	struct error err = {};

	(void)state;
	if (inventory_parse(text, strlen(text), "i.json", &inventory, &err) < 0)
		fail_msg("%s", err.text);
	assert_int_equal(inventory.rules[0].reserve_bytes, 3 * GIB);
	assert_string_equal(inventory.list->gpus[0].processes[0].container, "x-llm-1");
	assert_int_equal(inventory.list->gpus[0].processes[0].used_bytes, 700 * MIB);
	assert_false(inventory.list->gpus[0].processes[2].used_known);
	after = print(inventory.list, inventory.rules);
	if (!json_equal(before, after)) {
		auto_free char *other = jsonx_dump(after);

		fail_msg("%s\nis not\n%s", other, text);
	}
}

static void a_closed_gpu_stays_closed(void **state)
{
	static const char text[] =
	    "{\"gpus\": [{\"index\": 0, \"uuid\": \"GPU-0\", \"closed\": "
	    "\"drained since 12:03\", \"vram\": {\"total_bytes\": 1073741824}}]}";
	auto_inventory struct inventory inventory = {};
	struct error err = {};

	(void)state;
	assert_int_equal(inventory_parse(text, strlen(text), "i", &inventory, &err), 0);
	assert_true(inventory.rules[0].closed);
	assert_string_equal(inventory.rules[0].text, "drained since 12:03");
	assert_int_equal(inventory.list->gpus[0].health, GPU_HEALTH_OK);
	/* What is used is not said: nothing, and that is told. */
	assert_true(gpu_has(&inventory.list->gpus[0], GPU_USED));
	assert_int_equal(inventory.list->gpus[0].vram.used_bytes, 0);
	assert_string_equal(
	    inventory.note,
	    "the inventory does not say what is used of GPU 0: it is taken for nothing");
	assert_false(inventory.host.total_known || inventory.host.available_known);
}

static void the_host_comes_with_it(void **state)
{
	static const char text[] =
	    "{\"host\": {\"ram_total_bytes\": 68719476736, \"ram_available_bytes\": null, "
	    "\"cpus\": 16}, "
	    "\"gpus\": [{\"index\": 0, \"uuid\": \"GPU-0\", \"health\": null}]}";
	auto_inventory struct inventory inventory = {};
	struct error err = {};

	(void)state;
	assert_int_equal(inventory_parse(text, strlen(text), "i", &inventory, &err), 0);
	assert_true(inventory.host.total_known && !inventory.host.available_known);
	assert_int_equal(inventory.host.total_bytes, 64 * GIB);
}

static void what_is_no_inventory_is_refused(void **state)
{
	static const struct {
		const char *text, *told;
	} cases[] = {
	    {"", "i.json:1:0: not valid JSON"},
	    {"[]", "no inventory"},
	    {"{}", "make one with plimsoll gpus --json"},
	    {"{\"gpus\": []}", "the inventory has no GPUs"},
	    {"{\"gpus\": [1]}", "i.json: gpus[0] is 1; wanted is an object"},
	    {"{\"gpus\": [{}]}", "i.json: gpus[0].index is missing: the number the GPU has"},
	    {"{\"gpus\": [{\"index\": 0}]}", "gpus[0].uuid is missing"},
	    {"{\"gpus\": [{\"index\": 0, \"uuid\": \"a\"}, {\"index\": 0, \"uuid\": \"b\"}]}",
	     "gpus[1].index is 0, as gpus[0].index is"},
	    {"{\"gpus\": [{\"index\": 0, \"uuid\": \"a\"}, {\"index\": 1, \"uuid\": \"a\"}]}",
	     "gpus[1].uuid is a, as gpus[0].uuid is"},
	    {"{\"gpus\": [{\"index\": 0, \"uuid\": \"a\", \"vram\": {\"total_bytes\": -1}}]}",
	     "i.json: gpus[0].vram.total_bytes is -1; wanted is a size of memory: a number of "
	     "bytes, 0 to 256 TiB"},
	    {"{\"gpus\": [{\"index\": 0, \"uuid\": \"a\", \"vram\": {\"reserve_bytes\": "
	     "9000000000000000000}}]}",
	     "gpus[0].vram.reserve_bytes is 9000000000000000000; wanted is a size"},
	    {"{\"gpus\": [{\"index\": 0, \"uuid\": \"a\", \"vram\": {\"total_bytes\": "
	     "281474976710657}}]}",
	     "i.json: gpus[0].vram.total_bytes is 281474976710657; wanted is a size"},
	    {"{\"source\": \"fine\", \"gpus\": [{\"index\": 0, \"uuid\": \"a\"}]}",
	     "i.json: source is \"fine\"; wanted is ok"},
	    {"{\"gpus\": [{\"index\": 0, \"uuid\": \"a\", \"holders\": [{\"pids\": [0]}]}]}",
	     "i.json: gpus[0].holders[0].pids[0] is 0; wanted is the number of a process"},
	    {"{\"gpus\": [{\"index\": 0, \"uuid\": \"a\"}, {\"index\": -1, \"uuid\": \"b\"}]}",
	     "i.json: gpus[1].index is -1; wanted is a whole number"},
	    {"{\"gpus\": [{\"index\": 0, \"uuid\": \"a\", \"vram\": {\"used_bytes\": \"24G\"}}]}",
	     "i.json: gpus[0].vram.used_bytes is \"24G\"; wanted is a size"},
	    {"{\"gpus\": [{\"index\": 0, \"uuid\": [\"a\", \"b\"]}]}",
	     "i.json: gpus[0].uuid is [\"a\",\"b\"]; wanted is a text"},
	    {"{\"gpus\": [{\"index\": 0, \"uuid\": \"a\", \"vram\": 3}]}",
	     "i.json: gpus[0].vram is 3; wanted is an object"},
	    {"{\"gpus\": [{\"index\": 0, \"uuid\": \"a\", \"health\": \"fine\"}]}",
	     "i.json: gpus[0].health is \"fine\"; wanted is ok, lost, needs-reset, stale or error"},
	    {"{\"gpus\": [{\"index\": 0, \"uuid\": \"a\", \"holders\": {}}]}",
	     "i.json: gpus[0].holders is {}; wanted is an array"},
	    {"{\"gpus\": [{\"index\": 0, \"uuid\": \"a\", \"compute_capability\": \"8\"}]}",
	     "i.json: gpus[0]: \"compute_capability\" is not like \"8.6\""},
	    {"{\"host\": {\"ram_total_bytes\": 1.5}, \"gpus\": [{\"index\": 0, \"uuid\": \"a\"}]}",
	     "i.json: host.ram_total_bytes is 1.5; wanted is a size"},
	    {"{\"gpus\": [{\"index\": 0, \"uuid\": \"a\", \"name\": "
	     "[1,2,3,4,5,6,7,8,9,10,11,12,13,14,15,16,17,18,19,20]}]}",
	     "i.json: gpus[0].name is [1,2,3,4,5,6,7,8,9,10,11,12,13,14,15,16,...; wanted is a "
	     "text"},
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		struct inventory inventory = {};
		struct error err = {};

		assert_true(inventory_parse(cases[i].text, strlen(cases[i].text), "i.json",
					    &inventory, &err) < 0);
		assert_null(inventory.list);
		assert_null(inventory.rules);
		if (!strstr(err.text, cases[i].told))
			fail_msg("%s: said \"%s\", not \"%s\"", cases[i].text, err.text,
				 cases[i].told);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(what_was_printed_comes_back),
	    cmocka_unit_test(a_closed_gpu_stays_closed),
	    cmocka_unit_test(the_host_comes_with_it),
	    cmocka_unit_test(what_is_no_inventory_is_refused),
	};

	return cmocka_run_group_tests_name("inventory", tests, NULL, NULL);
}
