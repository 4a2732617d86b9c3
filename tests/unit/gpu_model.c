/* The GPU model: JSON both ways, what a person wrote, and what is carried over from the sample
 * before. */
#include "gpu/gpu.h"
#include "gpu/helper_line.h"
#include "util/size.h"
#include "util/text.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <string.h>

#include <cmocka.h>

static struct gpu *add(struct gpu_list *list, unsigned index, const char *uuid, const char *name)
{
	struct gpu *gpu = gpu_list_append(list);

	gpu->index = index;
	(void)snprintf(gpu->uuid, sizeof gpu->uuid, "%s", uuid);
	(void)snprintf(gpu->name, sizeof gpu->name, "%s", name);
	(void)snprintf(gpu->pci_bus_id, sizeof gpu->pci_bus_id, "00000000:%02X:00.0", 0x4e + index);
	gpu->vram.total_bytes = 8 * GIB;
	gpu->valid = GPU_TOTAL;
	return gpu;
}

static struct gpu_list *two_gpus(void)
{
	struct gpu_list *list = gpu_list_create();

	list->state = GPU_SOURCE_OK;
	list->sampled_at_ms = 1000;
	add(list, 0, "GPU-aaaa1111-0000-0000-0000-000000000000", "NVIDIA RTX A5500");
	add(list, 1, "GPU-aabb2222-0000-0000-0000-000000000000", "NVIDIA RTX A400");
	return list;
}

/* What a new sample would be in which a GPU answers with an error and no identity. */
static struct gpu *add_nameless(struct gpu_list *list, unsigned index)
{
	struct gpu *gpu = gpu_list_append(list);

	gpu->index = index;
	gpu->health = GPU_HEALTH_LOST;
	(void)snprintf(gpu->health_text, sizeof gpu->health_text, "GPU is lost (NVML 15)");
	return gpu;
}

static void json_keeps_everything(void **state)
{
	auto_gpu_list struct gpu_list *list = two_gpus(), *back = NULL;
	struct gpu *gpu = &list->gpus[0];
	struct gpu_process *process;
	auto_json json_t *json = NULL, *again = NULL;
	auto_free char *text = NULL, *text_again = NULL;
	struct error err = {};

	(void)state;
	gpu->valid = GPU_TOTAL | GPU_USED | GPU_FREE | GPU_DRIVER_RESERVED | GPU_UTILIZATION |
		     GPU_TEMPERATURE | GPU_POWER | GPU_POWER_LIMIT | GPU_COMPUTE_CAPABILITY |
		     GPU_PROCESSES | GPU_CLOCKS;
	gpu->vram.used_bytes = 3 * GIB;
	gpu->vram.free_bytes = 5 * GIB - 7;
	gpu->vram.driver_reserved_bytes = 7;
	gpu->compute_capability = 121;
	gpu->temperature_celsius = -3;
	gpu->clock_graphics_mhz = 1500;
	gpu->stale_since_ms = 1234567890123;
	gpu->health = GPU_HEALTH_STALE;
	process = gpu_append_process(gpu);
	*process = (struct gpu_process){.pid = 42,
					.start_time = 99,
					.used_known = true,
					.used_bytes = 2 * GIB,
					.utilization_known = true,
					.utilization_percent = 61,
					.graphics = true,
					.name = "python3"};
	process = gpu_append_process(gpu);
	*process = (struct gpu_process){.pid = 43};
	list->cuda_version = 12060;
	json = gpu_list_to_json(list);
	assert_string_equal(jsonx_get_string(json_array_get(json_object_get(json, "gpus"), 0),
					     "compute_capability", ""),
			    "12.1");
	assert_int_equal(gpu_list_from_json(json, &back, &err), 0);
	again = gpu_list_to_json(back);
	text = jsonx_dump(json);
	text_again = jsonx_dump(again);
	assert_string_equal(text, text_again);
	assert_true(gpu_has(&back->gpus[0], GPU_CLOCKS | GPU_DRIVER_RESERVED));
	assert_int_equal(back->gpus[0].temperature_celsius, -3);
	assert_int_equal(back->gpus[0].compute_capability, 121);
	assert_int_equal(back->gpus[0].processes[0].used_bytes, 2 * GIB);
	assert_true(back->gpus[0].processes[0].utilization_known);
	assert_int_equal(back->gpus[0].processes[0].utilization_percent, 61);
	assert_false(back->gpus[0].processes[1].used_known);
	assert_false(back->gpus[0].processes[1].utilization_known);
	assert_int_equal(back->gpus[0].processes[1].start_time, 0);
}

static void unknown_is_null_and_comes_back_unknown(void **state)
{
	auto_gpu_list struct gpu_list *list = two_gpus(), *back = NULL;
	auto_json json_t *json = NULL;
	const json_t *gpu;

	(void)state;
	list->gpus[0].valid = 0;
	json = gpu_list_to_json(list);
	gpu = json_array_get(json_object_get(json, "gpus"), 0);
	assert_true(json_is_null(json_object_get(gpu, "utilization_percent")));
	assert_true(json_is_null(json_object_get(gpu, "processes")));
	assert_true(json_is_null(json_object_get(json_object_get(gpu, "vram"), "total_bytes")));
	assert_int_equal(gpu_list_from_json(json, &back, NULL), 0);
	assert_int_equal(back->gpus[0].valid, 0);
	assert_int_equal(back->gpus[1].valid, GPU_TOTAL);
}

static void bad_json_is_refused(void **state)
{
	static const struct {
		const char *line;
		const char *says;
	} rows[] = {
	    {"garbage", "not valid JSON"},
	    {"{}", "not a GPU sample"},
	    {"{\"list\":{\"state\":\"ok\"}}", "not a GPU sample"},
	    {"{\"list\":{\"state\":\"fine\",\"gpus\":[]}}", "not a GPU sample"},
	    {"{\"list\":{\"state\":\"ok\",\"gpus\":[1]}}", "without a valid \"index\""},
	    {"{\"list\":{\"state\":\"ok\",\"gpus\":[{\"index\":-1,\"health\":\"ok\"}]}}", "index"},
	    {"{\"list\":{\"state\":\"ok\",\"gpus\":[{\"index\":0,\"health\":\"so-so\"}]}}",
	     "health"},
	    {"{\"list\":{\"state\":\"ok\",\"gpus\":[{\"index\":0,\"health\":\"ok\","
	     "\"vram\":{\"total_bytes\":-5}}]}}",
	     "total_bytes"},
	    {"{\"list\":{\"state\":\"ok\",\"gpus\":[{\"index\":0,\"health\":\"ok\","
	     "\"compute_capability\":\"new\"}]}}",
	     "compute_capability"},
	    {"{\"list\":{\"state\":\"ok\",\"gpus\":[{\"index\":0,\"health\":\"ok\","
	     "\"processes\":[{\"pid\":0}]}]}}",
	     "pid"},
	    {"{\"event\":\"flood\",\"xid\":1}", "not a GPU event"},
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		struct helper_line line = {};
		struct error err = {};

		assert_true(helper_line_parse(rows[i].line, strlen(rows[i].line), &line, &err) < 0);
		if (!strstr(err.text, rows[i].says))
			fail_msg("%s: says \"%s\"", rows[i].line, err.text);
	}
}

static void too_many_and_too_long_are_refused(void **state)
{
	auto_json json_t *many = json_pack("{s:s, s:[]}", "state", "ok", "gpus");
	auto_json json_t *longer = NULL;
	auto_gpu_list struct gpu_list *list = two_gpus(), *back = NULL;
	char text[200];

	(void)state;
	for (int i = 0; i <= GPU_LIST_MAX; i++)
		(void)json_array_append_new(json_object_get(many, "gpus"),
					    json_pack("{s:i, s:s}", "index", i, "health", "ok"));
	assert_int_equal(gpu_list_from_json(many, &back, NULL), -E2BIG);
	(void)json_array_remove(json_object_get(many, "gpus"), 0);
	assert_int_equal(gpu_list_from_json(many, &back, NULL), 0);
	memset(text, 'x', sizeof text - 1);
	text[sizeof text - 1] = '\0';
	longer = gpu_list_to_json(list);
	(void)json_object_set_new(json_array_get(json_object_get(longer, "gpus"), 1), "uuid",
				  json_string(text));
	gpu_list_destroy(TAKE(back));
	assert_int_equal(gpu_list_from_json(longer, &back, NULL), -EBADMSG);
	assert_null(back);
}

static void events_travel(void **state)
{
	struct gpu_event event = {.uuid = "GPU-1", .xid = 79, .at_ms = 1700000000123};
	auto_json json_t *json = gpu_event_to_json(&event);
	auto_free char *text = jsonx_dump(json);
	struct helper_line line = {};

	(void)state;
	assert_int_equal(helper_line_parse(text, strlen(text), &line, NULL), 0);
	assert_null(line.list);
	assert_int_equal(line.event.xid, 79);
	assert_int_equal(line.event.at_ms, event.at_ms);
	assert_string_equal(line.event.uuid, "GPU-1");
}

static void resolve_understands_people(void **state)
{
	static const struct {
		const char *text;
		int result;
		unsigned index;
		const char *says;
	} rows[] = {
	    {"0", 0, 0, NULL},
	    {"cuda:1", 0, 1, NULL},
	    {"gpu:1", 0, 1, NULL},
	    {"GPU-aaaa1111-0000-0000-0000-000000000000", 0, 0, NULL},
	    {"GPU-aab", 0, 1, NULL},
	    {"gpu-AAB", 0, 1, NULL},
	    {"aaaa", 0, 0, NULL},
	    {"0:2", 0, 1002, NULL},
	    {"MIG-7", 0, 1002, NULL},
	    {"00000000:4F:00.0", 0, 1, NULL},
	    {"4f:00.0", 0, 1, NULL},
	    {"GPU-aa", -EINVAL, 0, "more than one GPU"},
	    {"7", -ENOENT, 0, "0 (NVIDIA RTX A5500, GPU-aaaa1111"},
	    {"cuda:7", -ENOENT, 0, "there is no GPU 'cuda:7'"},
	    {"1:0", -ENOENT, 0, "there is no GPU"},
	    {"", -ENOENT, 0, "there is no GPU"},
	    {"-1", -ENOENT, 0, "there is no GPU"},
	    {"banana", -ENOENT, 0, "1 (NVIDIA RTX A400"},
	    {"99999999999999999999", -ENOENT, 0, "there is no GPU"},
	};
	auto_gpu_list struct gpu_list *list = two_gpus();
	struct gpu *mig = add(list, GPU_MIG_INDEX(0, 2), "MIG-7777", "MIG 1g.10gb");

	(void)state;
	mig->pci_bus_id[0] = '\0';
	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		const struct gpu *gpu = NULL;
		struct error err = {};
		int r = gpu_list_resolve(list, rows[i].text, &gpu, &err);

		if (r != rows[i].result || (r == 0 && gpu->index != rows[i].index) ||
		    (rows[i].says && !strstr(err.text, rows[i].says)))
			fail_msg("'%s': %d, \"%s\"", rows[i].text, r, err.text);
	}
}

static void resolve_without_gpus_tells_why(void **state)
{
	auto_gpu_list struct gpu_list *list = gpu_list_create();
	const struct gpu *gpu = NULL;
	struct error err = {};

	(void)state;
	(void)snprintf(list->text, sizeof list->text, "the driver is not loaded");
	assert_int_equal(gpu_list_resolve(list, "0", &gpu, &err), -ENOENT);
	assert_non_null(strstr(err.text, "there are no GPUs: the driver is not loaded"));
}

static void copies_grow_on_their_own(void **state)
{
	auto_gpu_list struct gpu_list *list = two_gpus(), *copy = NULL;

	(void)state;
	for (int i = 1; i <= 3; i++)
		gpu_append_process(&list->gpus[0])->pid = i;
	copy = gpu_list_copy(list);
	for (int i = 4; i <= 9; i++)
		gpu_append_process(&copy->gpus[0])->pid = i;
	assert_int_equal(list->gpus[0].n_processes, 3);
	for (int i = 0; i < 9; i++)
		assert_int_equal(copy->gpus[0].processes[i].pid, i + 1);
}

/* ---- carried over ---- */

static void lost_handle_gets_its_name_back(void **state)
{
	auto_gpu_list struct gpu_list *before = two_gpus(), *next = gpu_list_create();
	const struct gpu *lost;

	(void)state;
	next->state = GPU_SOURCE_OK;
	add_nameless(next, 0);
	add(next, 1, before->gpus[1].uuid, "NVIDIA RTX A400");
	gpu_list_carry_over(next, before);
	assert_int_equal(next->n, 2);
	lost = gpu_list_find(next, before->gpus[0].uuid);
	assert_non_null(lost);
	assert_int_equal(lost->health, GPU_HEALTH_LOST);
	assert_string_equal(lost->health_text, "GPU is lost (NVML 15)");
	assert_string_equal(lost->name, "NVIDIA RTX A5500");
	assert_int_equal(lost->vram.total_bytes, 8 * GIB);
	assert_false(gpu_has(lost, GPU_USED));
}

static void vanished_with_renumbering_is_named_lost(void **state)
{
	auto_gpu_list struct gpu_list *before = two_gpus(), *next = gpu_list_create();
	const struct gpu *lost;

	(void)state;
	next->state = GPU_SOURCE_OK;
	add(next, 0, before->gpus[1].uuid, "NVIDIA RTX A400"); /* moved up */
	gpu_list_carry_over(next, before);
	assert_int_equal(next->n, 2);
	assert_int_equal(gpu_list_find(next, before->gpus[1].uuid)->index, 0);
	lost = gpu_list_find(next, before->gpus[0].uuid);
	assert_int_equal(lost->health, GPU_HEALTH_LOST);
	assert_int_equal(lost->index, 1);
	assert_non_null(strstr(lost->health_text, "it was GPU 0, PCI 00000000:4E:00.0"));
}

static void lost_stays_lost_and_comes_back(void **state)
{
	auto_gpu_list struct gpu_list *before = two_gpus(), *next = gpu_list_create();
	auto_gpu_list struct gpu_list *third = gpu_list_create(), *fourth = two_gpus();

	(void)state;
	next->state = third->state = GPU_SOURCE_NO_GPUS;
	(void)snprintf(next->text, sizeof next->text, "no GPU");
	gpu_list_carry_over(next, before);
	assert_int_equal(next->n, 2);
	assert_int_equal(next->state, GPU_SOURCE_OK);
	assert_string_equal(next->text, "");
	gpu_list_carry_over(third, next);
	assert_int_equal(third->n, 2);
	assert_int_equal(third->gpus[1].health, GPU_HEALTH_LOST);
	gpu_list_carry_over(fourth, third);
	assert_int_equal(fourth->n, 2);
	assert_int_equal(fourth->gpus[0].health, GPU_HEALTH_OK);
}

static void newcomer_is_not_taken_for_the_missing(void **state)
{
	auto_gpu_list struct gpu_list *before = two_gpus(), *next = gpu_list_create();
	struct gpu *gpu;

	(void)state;
	next->state = GPU_SOURCE_OK;
	gpu = add_nameless(next, 5);
	(void)snprintf(gpu->pci_bus_id, sizeof gpu->pci_bus_id, "00000000:99:00.0");
	gpu_list_carry_over(next, before);
	assert_int_equal(next->n, 3);
	assert_string_equal(next->gpus[2].uuid, "");
	assert_int_equal(next->gpus[2].index, 5);
}

static struct gpu *add_instance(struct gpu_list *list, unsigned k, const char *uuid)
{
	struct gpu *gpu = add(list, GPU_MIG_INDEX(0, k), uuid, "MIG 1g.10gb");

	(void)snprintf(gpu->parent_uuid, sizeof gpu->parent_uuid, "GPU-parent");
	return gpu;
}

static void instances_go_with_their_gpu_only(void **state)
{
	auto_gpu_list struct gpu_list *before = gpu_list_create(), *next = gpu_list_create();
	auto_gpu_list struct gpu_list *lost = gpu_list_create();

	(void)state;
	before->state = next->state = lost->state = GPU_SOURCE_OK;
	add_instance(before, 0, "MIG-a");
	add_instance(before, 1, "MIG-b");
	add_instance(next, 0, "MIG-a");
	gpu_list_carry_over(next, before); /* MIG-b was destroyed on purpose */
	assert_int_equal(next->n, 1);
	add_nameless(lost, 0); /* the whole card */
	gpu_list_carry_over(lost, before);
	assert_int_equal(lost->n, 2);
	assert_string_equal(lost->gpus[0].uuid, "MIG-a");
	assert_int_equal(lost->gpus[1].health, GPU_HEALTH_LOST);
	assert_string_equal(lost->gpus[1].parent_uuid, "GPU-parent");
}

static void mismatch_leaves_the_gpus_stale(void **state)
{
	auto_gpu_list struct gpu_list *before = two_gpus(), *next = gpu_list_create();

	(void)state;
	next->state = GPU_SOURCE_MISMATCH;
	before->gpus[1].health = GPU_HEALTH_LOST;
	gpu_list_carry_over(next, before);
	assert_int_equal(next->state, GPU_SOURCE_MISMATCH);
	assert_int_equal(next->n, 2);
	assert_int_equal(next->gpus[0].health, GPU_HEALTH_STALE);
	assert_int_equal(next->gpus[0].stale_since_ms, 1000);
	assert_int_equal(next->gpus[1].health, GPU_HEALTH_LOST);
	assert_int_equal(next->sampled_at_ms, 1000);
}

static void stale_since_is_the_first_time(void **state)
{
	auto_gpu_list struct gpu_list *list = two_gpus();

	(void)state;
	gpu_list_mark_stale(list, 5000, "no answer");
	gpu_list_mark_stale(list, 9000, "still none");
	assert_int_equal(list->state, GPU_SOURCE_STALE);
	assert_int_equal(list->stale_since_ms, 1000);
	assert_int_equal(list->gpus[0].stale_since_ms, 1000);
	assert_string_equal(list->text, "still none");
	assert_false(gpu_is_usable(&list->gpus[0]));
}

static void topology_travels_and_is_found_by_uuid(void **state)
{
	auto_gpu_list struct gpu_list *list = two_gpus(), *back = NULL, *next = NULL;
	auto_json json_t *json = NULL;
	const struct gpu *a, *other;
	struct gpu *instance;

	(void)state;
	assert_int_equal(gpu_list_link(list, &list->gpus[0], &list->gpus[1]), GPU_LINK_UNKNOWN);
	gpu_topology_init(&list->topology, 2);
	/* In another order than the GPUs are listed in. */
	memcpy(list->topology.uuids[0], list->gpus[1].uuid, GPU_UUID_MAX);
	memcpy(list->topology.uuids[1], list->gpus[0].uuid, GPU_UUID_MAX);
	gpu_topology_set(&list->topology, 0, 1, GPU_LINK_NVLINK);
	json = gpu_list_to_json(list);
	assert_int_equal(gpu_list_from_json(json, &back, NULL), 0);
	assert_int_equal(gpu_list_link(back, &back->gpus[1], &back->gpus[0]), GPU_LINK_NVLINK);
	assert_int_equal(gpu_list_link(back, &back->gpus[1], &back->gpus[1]), GPU_LINK_UNKNOWN);

	/* Two instances of one GPU and another GPU; a sample that knows no links keeps those known.
	 */
	next = gpu_list_create();
	next->state = GPU_SOURCE_OK;
	for (unsigned i = 0; i < 2; i++) {
		instance = add(next, GPU_MIG_INDEX(0, i), i ? "MIG-b" : "MIG-a", "a slice");
		memcpy(instance->parent_uuid, back->gpus[0].uuid, GPU_UUID_MAX);
	}
	add(next, 1, back->gpus[1].uuid, "NVIDIA RTX A400");
	gpu_list_carry_over(next, back);
	a = gpu_list_find(next, "MIG-a");
	other = gpu_list_find(next, back->gpus[1].uuid);
	assert_int_equal(gpu_list_link(next, a, gpu_list_find(next, "MIG-b")), GPU_LINK_BOARD);
	assert_int_equal(gpu_list_link(next, a, other), GPU_LINK_NVLINK);
	assert_int_equal(gpu_list_link(next, other, a), GPU_LINK_NVLINK);
}

static void bad_topology_is_refused(void **state)
{
	static const char *const texts[] = {
	    "{\"gpus\": [\"a\", \"b\"], \"links\": [[null, \"nvlink\"]]}",
	    "{\"gpus\": [\"a\", \"b\"], \"links\": [[null, \"nvlink\"], [null, null]]}",
	    "{\"gpus\": [\"a\", \"b\"], \"links\": [[null, \"usb\"], [\"usb\", null]]}",
	    "{\"gpus\": [\"a\"], \"links\": [[\"board\"]]}",
	    "{\"gpus\": [1], \"links\": [[null]]}",
	    "{\"gpus\": [\"a\"], \"links\": [7]}",
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(texts); i++) {
		auto_json json_t *json = json_loads(texts[i], 0, NULL);
		struct gpu_topology topology = {};

		assert_non_null(json);
		if (gpu_topology_from_json(json, &topology, NULL) != -EBADMSG)
			fail_msg("taken: %s", texts[i]);
		gpu_topology_finish(&topology);
	}
}

static void a_model_without_its_maker(void **state)
{
	assert_string_equal(gpu_short_name("NVIDIA RTX A5500"), "RTX A5500");
	assert_string_equal(gpu_short_name("Tesla T4"), "Tesla T4");
	assert_string_equal(gpu_short_name(""), "");
}

static void details_travel_and_what_is_unknown_stays_so(void **state)
{
	auto_gpu_list struct gpu_list *list = gpu_list_create(), *back = NULL;
	auto_free struct gpu_details *told = NULL;
	struct gpu_details details[2] = {
	    {.valid = GPU_D_ECC | GPU_D_REMAP | GPU_D_CLOCK_REASONS | GPU_D_MIG,
	     .ecc_enabled = true,
	     .remapped_uncorrectable = 2,
	     .remap_pending = true,
	     .clock_reasons = 0x48,
	     .mig_pending = true},
	    {},
	};
	auto_json json_t *json = NULL;

	gpu_list_append(list)->index = 0;
	gpu_list_append(list)->index = 1;
	json = gpu_details_list_to_json(list, details);
	/* Of what goes together, one that is missing makes all of it unknown. */
	(void)json_object_set_new(
	    json_object_get(json_array_get(json_object_get(json, "gpus"), 0), "details"),
	    "mig_enabled", json_null());
	assert_int_equal(gpu_details_list_from_json(json, &back, &told, NULL), 0);
	assert_int_equal(told[0].valid, GPU_D_ECC | GPU_D_REMAP | GPU_D_CLOCK_REASONS);
	assert_true(told[0].ecc_enabled && told[0].remap_pending && !told[0].remap_failed);
	assert_int_equal(told[0].remapped_uncorrectable, 2);
	assert_int_equal(told[0].clock_reasons, 0x48);
	assert_int_equal(told[1].valid, 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(json_keeps_everything),
	    cmocka_unit_test(unknown_is_null_and_comes_back_unknown),
	    cmocka_unit_test(bad_json_is_refused),
	    cmocka_unit_test(too_many_and_too_long_are_refused),
	    cmocka_unit_test(details_travel_and_what_is_unknown_stays_so),
	    cmocka_unit_test(events_travel),
	    cmocka_unit_test(topology_travels_and_is_found_by_uuid),
	    cmocka_unit_test(bad_topology_is_refused),
	    cmocka_unit_test(resolve_understands_people),
	    cmocka_unit_test(resolve_without_gpus_tells_why),
	    cmocka_unit_test(copies_grow_on_their_own),
	    cmocka_unit_test(lost_handle_gets_its_name_back),
	    cmocka_unit_test(vanished_with_renumbering_is_named_lost),
	    cmocka_unit_test(lost_stays_lost_and_comes_back),
	    cmocka_unit_test(newcomer_is_not_taken_for_the_missing),
	    cmocka_unit_test(instances_go_with_their_gpu_only),
	    cmocka_unit_test(mismatch_leaves_the_gpus_stale),
	    cmocka_unit_test(stale_since_is_the_first_time),
	    cmocka_unit_test(a_model_without_its_maker),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
