/* The object of `gpus --json`. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "place/gpus_json.h"
#include "util/size.h"

#include <string.h>

static struct gpu_list *list_of_test(void)
{
	struct gpu_list *list = gpu_list_create();
	struct gpu *gpu = gpu_list_append(list);
	static const struct gpu_process processes[] = {
	    {.pid = 100, .used_known = true, .used_bytes = 2 * GIB, .name = "python3"},
	    {.pid = 101, .used_known = true, .used_bytes = GIB, .name = "python3"},
	    {.pid = 200, .used_known = true, .used_bytes = GIB, .name = "vllm"},
	    {.pid = 201, .used_known = false, .name = "vllm"},
	    {.pid = 300, .used_known = true, .used_bytes = 100 * MIB, .name = "Xorg"},
	    {.pid = 301, .used_known = true, .used_bytes = 50 * MIB, .name = "Xorg"},
	};

	list->state = GPU_SOURCE_OK;
	list->sampled_at_ms = 1000;
	(void)snprintf(list->driver_version, sizeof list->driver_version, "570.86.15");
	(void)snprintf(gpu->uuid, sizeof gpu->uuid, "GPU-a");
	(void)snprintf(gpu->name, sizeof gpu->name, "NVIDIA RTX A5500");
	gpu->valid = GPU_TOTAL | GPU_USED | GPU_FREE | GPU_PROCESSES | GPU_COMPUTE_CAPABILITY;
	gpu->compute_capability = 86;
	gpu->vram.total_bytes = 24 * GIB;
	gpu->vram.used_bytes = 5 * GIB;
	gpu->vram.free_bytes = 19 * GIB;
	for (size_t i = 0; i < ARRAY_LEN(processes); i++)
		*gpu_append_process(gpu) = processes[i];
	return list;
}

static uint64_t owner(void *data, const struct gpu_process *process,
		      char service[GPUS_JSON_SERVICE_MAX], bool *ret_leftover)
{
	if (process->pid / 100 == 2)
		(void)snprintf(service, GPUS_JSON_SERVICE_MAX, "docker llm");
	return process->pid / 100 == 1 ? 17 : 0;
}

static json_t *make(struct gpu_list *list, const struct gpus_json_options *options)
{
	struct ledger *ledger = ledger_create(list, NULL, 0, &(struct ledger_host){}, NULL);
	json_t *json = gpus_to_json(list, ledger, options);

	ledger_destroy(ledger);
	return json;
}

static void test_holders(void **state)
{
	auto_gpu_list struct gpu_list *list = list_of_test();
	const struct gpus_json_task task = {
	    .id = 17, .name = "train", .uuid = "GPU-a", .allocated_bytes = 4 * GIB};
	const struct gpus_json_options options = {.tasks = &task, .n_tasks = 1, .owner = owner};
	auto_json json_t *json = make(list, &options);
	const json_t *gpu = json_array_get(json_object_get(json, "gpus"), 0);
	const json_t *holders = json_object_get(gpu, "holders"), *h;

	assert_int_equal(json_array_size(holders), 3);
	h = json_array_get(holders, 0);
	assert_string_equal(jsonx_get_string(h, "kind", ""), "task");
	assert_string_equal(jsonx_get_string(h, "name", ""), "train");
	assert_int_equal(json_array_size(json_object_get(h, "pids")), 2);
	assert_int_equal(jsonx_get_u64(h, "used_bytes", 0), 3 * GIB);
	assert_int_equal(jsonx_get_u64(h, "allocated_bytes", 0), 4 * GIB);
	h = json_array_get(holders, 1);
	assert_string_equal(jsonx_get_string(h, "kind", ""), "service");
	assert_string_equal(jsonx_get_string(h, "name", ""), "docker llm");
	assert_true(json_is_null(json_object_get(h, "used_bytes"))); /* one of its two is unknown */
	h = json_array_get(holders, 2);
	assert_string_equal(jsonx_get_string(h, "kind", ""), "foreign");
	assert_int_equal(json_array_size(json_object_get(h, "pids")), 2);
	assert_int_equal(jsonx_get_u64(h, "used_bytes", 0), 150 * MIB);
}

static void test_members(void **state)
{
	auto_gpu_list struct gpu_list *list = list_of_test();
	auto_json json_t *json = make(list, NULL);
	const json_t *gpu = json_array_get(json_object_get(json, "gpus"), 0);
	const json_t *vram = json_object_get(gpu, "vram");

	assert_string_equal(jsonx_get_string(json, "source", ""), "ok");
	assert_string_equal(jsonx_get_string(gpu, "compute_capability", ""), "8.6");
	assert_string_equal(jsonx_get_string(gpu, "driver_version", ""), "570.86.15");
	assert_string_equal(jsonx_get_string(gpu, "health", ""), "ok");
	assert_int_equal(jsonx_get_u64(vram, "load_line_bytes", 0), 24 * GIB - 24 * GIB / 20);
	assert_int_equal(jsonx_get_u64(vram, "foreign_bytes", 0), 5 * GIB);
	assert_int_equal(jsonx_get_u64(vram, "allocated_bytes", 1), 0);
	/* Unknown is null, and there. */
	assert_true(json_is_null(json_object_get(gpu, "temperature_celsius")));
	assert_true(json_is_null(json_object_get(gpu, "power_milliwatts")));
	assert_int_equal(json_array_size(json_object_get(gpu, "holders")), 3);
}

static void test_unknown_memory(void **state)
{
	auto_gpu_list struct gpu_list *list = list_of_test();
	auto_json json_t *json = NULL;
	const json_t *vram;

	list->gpus[0].valid = 0;
	json = make(list, NULL);
	vram = json_object_get(json_array_get(json_object_get(json, "gpus"), 0), "vram");
	assert_true(json_is_null(json_object_get(vram, "total_bytes")));
	assert_true(json_is_null(json_object_get(vram, "room_bytes")));
}

/* 0 is no start time: where all processes are to be seen, such a one has ended. */
static void test_dead(void **state)
{
	auto_gpu_list struct gpu_list *list = list_of_test();
	struct gpus_json_options options = {.owner = owner, .all_processes = true};
	auto_json json_t *json = NULL, *elsewhere = NULL;
	const json_t *holders, *h;

	for (size_t i = 0; i + 1 < list->gpus[0].n_processes; i++)
		list->gpus[0].processes[i].start_time = 1;
	json = make(list, &options);
	holders = json_object_get(json_array_get(json_object_get(json, "gpus"), 0), "holders");
	assert_int_equal(json_array_size(holders), 4);
	h = json_array_get(holders, 2);
	assert_string_equal(jsonx_get_string(h, "name", ""), "Xorg");
	assert_null(json_object_get(h, "dead"));
	h = json_array_get(holders, 3);
	assert_true(jsonx_get_bool(h, "dead", false));
	assert_int_equal(json_integer_value(json_array_get(json_object_get(h, "pids"), 0)), 301);
	options.all_processes = false;
	elsewhere = make(list, &options);
	holders = json_object_get(json_array_get(json_object_get(elsewhere, "gpus"), 0), "holders");
	assert_int_equal(json_array_size(holders), 3);
}

/* What services keep and what is about to come back are told apart; what a process of a task that
 * has ended holds is a part of what is foreign. */
static void test_holds(void **state)
{
	auto_gpu_list struct gpu_list *list = list_of_test();
	const struct ledger_hold holds[] = {
	    {.uuid = "GPU-a", .bytes = 6 * GIB, .used_bytes = GIB},
	    {.uuid = "GPU-a", .bytes = 2 * GIB, .is_leaving = true},
	};
	const struct ledger_leftover leftovers[] = {
	    {.uuid = "GPU-a", .bytes = GIB, .task = 3, .pid = 101},
	    {.uuid = "GPU-b", .bytes = GIB, .task = 4, .pid = 102},
	};
	const struct ledger_options options = {
	    .holds = holds, .n_holds = 2, .leftovers = leftovers, .n_leftovers = 2};
	struct ledger *ledger = ledger_create(list, NULL, 0, &(struct ledger_host){}, &options);
	auto_json json_t *json = gpus_to_json(list, ledger, NULL);
	const json_t *vram =
	    json_object_get(json_array_get(json_object_get(json, "gpus"), 0), "vram");

	ledger_destroy(ledger);
	assert_int_equal(jsonx_get_u64(vram, "services_bytes", 0), 6 * GIB);
	assert_int_equal(jsonx_get_u64(vram, "leaving_bytes", 0), 2 * GIB);
	assert_int_equal(jsonx_get_u64(vram, "foreign_bytes", 0), 4 * GIB);
	assert_int_equal(jsonx_get_u64(vram, "leftover_bytes", 0), GIB);
	assert_int_equal(jsonx_get_u64(vram, "room_bytes", 0),
			 jsonx_get_u64(vram, "load_line_bytes", 0) - 12 * GIB);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_holders),        cmocka_unit_test(test_members),
	    cmocka_unit_test(test_unknown_memory), cmocka_unit_test(test_dead),
	    cmocka_unit_test(test_holds),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
