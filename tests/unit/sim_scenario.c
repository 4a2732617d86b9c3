/* sim/scenario, sim/catalogue, sim/visible: what files and lists mean, and what they are refused
 * for. */
#include "sim/catalogue.h"
#include "sim/scenario.h"
#include "sim/visible.h"
#include "util/file.h"
#include "util/size.h"
#include "util/text.h"

#include "unit.h"

#include <errno.h>
#include <string.h>

static struct yamlx *catalogue;

static int load_catalogue(void **unused)
{
	return yamlx_load(TEST_SOURCE "/data/gpus.yaml", &catalogue, NULL);
}

static int drop_catalogue(void **unused)
{
	yamlx_destroy(catalogue);
	return 0;
}

static struct sim_state *parse(const char *text, struct error *err)
{
	auto_yamlx struct yamlx *doc = NULL;
	struct sim_state *image = NULL;

	if (yamlx_parse(text, strlen(text), "s.yaml", &doc, err) < 0 ||
	    scenario_parse(doc, catalogue, &image, err) < 0)
		return NULL;
	return image;
}

static void every_model_of_the_catalogue_is_complete(void **unused)
{
	const struct yamlx_node *models = yamlx_get(catalogue->root, "gpus");

	assert_true(models->n > 20);
	for (size_t i = 0; i < models->n; i++) {
		struct sim_gpu gpu = {};
		struct error err = {};

		if (catalogue_fill(catalogue, models->keys[i]->text, &gpu, &err) < 0)
			fail_msg("%s", err.text);
		assert_true(gpu.total_bytes > gpu.reserved_bytes);
		assert_true(gpu.speed > 0 && gpu.multiprocessors > 0 && gpu.cc_major >= 6);
	}
}

static void the_two_gpus_of_the_batch_story(void **unused)
{
	auto_free struct sim_state *image = NULL;

	assert_int_equal(scenario_parse_gpus("rtx-5070-ti,rtx-2080-super", catalogue, &image, NULL),
			 0);
	assert_int_equal(image->n_gpus, 2);
	assert_int_equal(image->gpus[0].total_bytes / MIB, 12227); /* 11.9 GiB */
	assert_int_equal(image->gpus[1].total_bytes / MIB, 8192);
	assert_float_equal(image->gpus[0].speed, 1.0, 0.001);
	assert_float_equal(image->gpus[1].speed, 0.55, 0.01);
	assert_string_not_equal(image->gpus[0].uuid, image->gpus[1].uuid);
	assert_int_equal(strlen(image->gpus[0].uuid), strlen("GPU-") + 36);
}

static void gpus_by_name_vram_and_speed(void **unused)
{
	auto_free struct sim_state *image = NULL;

	assert_int_equal(scenario_parse_gpus("big:23.57G:1.0,small:8G:0.4,rtx-3090:20G", catalogue,
					     &image, NULL),
			 0);
	assert_int_equal(image->n_gpus, 3);
	assert_string_equal(image->gpus[0].name, "big");
	assert_int_equal(image->gpus[1].total_bytes, 8 * GIB);
	assert_float_equal(image->gpus[1].speed, 0.4, 1e-9);
	assert_string_equal(image->gpus[2].name, "NVIDIA GeForce RTX 3090");
	assert_int_equal(image->gpus[2].total_bytes, 20 * GIB);
}

static void bad_lists_are_refused(void **unused)
{
	static const struct {
		const char *list, *says;
	} cases[] = {{"", "without a name"},
		     {"nosuch", "no GPU \"nosuch\""},
		     {"a:8", "unit"},
		     {"a:8G:fast", "not a speed"},
		     {"a:8G:0", "not a speed"},
		     {"a:1M", "less than 256 MiB"},
		     {"rtx-3090,", "without a name"}};

	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		struct sim_state *image = NULL;
		struct error err = {};

		assert_int_equal(scenario_parse_gpus(cases[i].list, catalogue, &image, &err),
				 -EINVAL);
		if (!strstr(err.text, cases[i].says))
			fail_msg("\"%s\": %s", cases[i].list, err.text);
	}
}

static void a_whole_scenario(void **unused)
{
	struct error err = {};
	auto_free struct sim_state *image =
	    parse("driver: 535.1\ncuda: \"12.6\"\ntime_scale: 0.1\n"
		  "quirks: {process_stride: 32, memory_v2: missing, missing_symbols: ['*_v3']}\n"
		  "gpus:\n"
		  "  - model: a100-80g\n"
		  "    mig: [{vram: 40G, slices: 3}, hole, {vram: 10G}]\n"
		  "  - {name: mine, vram: 8G, reserved: 100M, used: 1G, pci: '0000:4e:00.0'}\n"
		  "timeline:\n"
		  "  - {at: 5s, gpu: 1, event: lost, xid: 79}\n"
		  "  - {at: 1s, gpu: 0, event: foreign, name: x, vram: 1G, ends_at: 3s}\n",
		  &err);

	assert_non_null(image);
	assert_string_equal(image->driver_version, "535.1");
	assert_int_equal(image->cuda_version, 12060);
	assert_int_equal(image->process_stride, 32);
	assert_int_equal(image->n_missing, 2);
	assert_true(image->gpus[0].mig_mode);
	assert_int_equal(image->gpus[0].n_migs, 3);
	assert_false(image->gpus[0].migs[1].there);
	assert_string_equal(image->gpus[0].migs[0].name, "NVIDIA A100-SXM4-80GB MIG 3g.40gb");
	assert_int_equal(image->gpus[1].pci_bus, 0x4e);
	assert_int_equal(image->gpus[1].other_bytes, GIB);
	assert_int_equal(image->n_events, 2);
	assert_int_equal(image->events[0].type, SIM_EVENT_FOREIGN); /* sorted */
	assert_true(image->events[0].ends_ns == 3 * SIM_NS_PER_S);
	assert_int_equal(image->events[1].number, 79);
	assert_int_equal(image->events[1].to, 15);
}

static void faults_are_named_with_their_place(void **unused)
{
	static const struct {
		const char *text, *says;
	} cases[] = {
	    {"[]", "mapping"},
	    {"gpu: []", "s.yaml:1:1"},
	    {"driver: x", "`gpus` is missing"},
	    {"gpus:\n  - model: nosuch", "s.yaml:2:12: no GPU"},
	    {"gpus:\n  - name: x", "needs `model`"},
	    {"gpus:\n  - {name: x, vram: 8}", "s.yaml:2:21"},
	    {"gpus:\n  - {name: x, vram: 8G, colour: red}", "colour"},
	    {"gpus:\n  - {name: x, vram: 8G, reserved: 9G}", "exceed"},
	    {"gpus:\n  - {name: x, vram: 8G, pci: abc}", "PCI"},
	    {"gpus:\n  - {name: x, vram: 8G, mig: [{vram: 9G}]}", "together"},
	    {"gpus:\n  - {name: x, vram: 8G, uuid: U}\n  - {name: y, vram: 8G, uuid: U}",
	     "two GPUs"},
	    {"gpus:\n  - {name: x, vram: 8G, pci: '0:9:0.0'}\n  - {name: y, vram: 8G, pci: "
	     "'0:1:0.0'}",
	     "order"},
	    {"gpus:\n  - {name: x, vram: 8G, quirks: {memory: odd}}", "unsupported, zero"},
	    {"gpus:\n  - {name: x, vram: 8G, quirks: {fail: {x: 3}}}", "neither a field"},
	    {"gpus:\n  - {name: x, vram: 8G, quirks: {error: sick}}", "return code"},
	    {"gpus: []\nquirks: {process_stride: 16}", "24, 32"},
	    {"gpus: []\nquirks: {missing_symbols: [cuInit]}", "not the name"},
	    {"gpus: []\ntimeline: [{event: lost, gpu: 0}]", "no GPU 0"},
	    {"gpus: []\ntimeline: [{event: explode}]", "unknown event"},
	    {"gpus: []\ntimeline: [{event: slow}]", "needs `delay`"},
	    {"gpus: []\ntimeline: [{event: xid, xid: 79, celsius: 3}]", "celsius"},
	    {"gpus: []\ntimeline: [{at: 5, event: hang}]", "unit"},
	    {"gpus: []\ntime_scale: 0", "not a number"},
	};

	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		struct error err = {};

		assert_null(parse(cases[i].text, &err));
		if (!strstr(err.text, cases[i].says) || !strstr(err.text, "s.yaml"))
			fail_msg("%s\n-> %s", cases[i].text, err.text);
	}
}

static void visible_devices_as_cuda_reads_them(void **unused)
{
	auto_free struct sim_state *state =
	    parse("gpus:\n"
		  "  - {name: a, vram: 8G, uuid: GPU-aaaa-1}\n"
		  "  - {name: b, vram: 8G, uuid: GPU-aaab-2}\n"
		  "  - {name: c, vram: 8G, uuid: GPU-cccc-3, mig: [hole, {vram: 4G, uuid: "
		  "MIG-dddd}]}\n",
		  NULL);
	static const struct {
		const char *value;
		int n, first, first_mig;
	} cases[] = {
	    {NULL, 3, 0, -1},         {"", 0, 0, 0},           {"-1", 0, 0, 0},
	    {"1", 1, 1, -1},          {"1,0", 2, 1, -1},       {"2", 1, 2, 1},
	    {"0,7,1", 1, 0, -1},      {"7,0", 0, 0, 0},        {"0,0", 0, 0, 0},
	    {"GPU-aaab", 1, 1, -1},   {"GPU-aaa", 0, 0, 0},    {"GPU-", 0, 0, 0},
	    {"GPU-aaaa-1", 1, 0, -1}, {"MIG-dd", 1, 2, 1},     {" 1 , 0 ", 2, 1, -1},
	    {"nonsense", 0, 0, 0},    {"GPU-cccc-3", 1, 2, 1}, {"NoDevFiles", 0, 0, 0},
	};

	assert_non_null(state);
	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		struct visible_device devices[VISIBLE_MAX] = {};
		int n = visible_resolve(state, cases[i].value, devices);

		if (n != cases[i].n)
			fail_msg("\"%s\": %d, expected %d", cases[i].value, n, cases[i].n);
		if (n > 0) {
			assert_int_equal(devices[0].gpu, cases[i].first);
			assert_int_equal(devices[0].mig, cases[i].first_mig);
		}
	}
	state->gpus[0].lost = true; /* the runtime counts only what it sees */
	{
		struct visible_device devices[VISIBLE_MAX] = {};

		assert_int_equal(visible_resolve(state, "0", devices), 1);
		assert_int_equal(devices[0].gpu, 1);
	}
}

/* The blocks of tests/cases/scenario/errors.txt. */
static void check_refusal(const char *place, const char *words, const char *text)
{
	struct error err = {};
	auto_free struct sim_state *image = parse(text, &err);
	auto_text struct text wanted = {};

	if (image)
		fail_msg("taken, not refused (%s %s):\n%s", place, words, text);
	text_printf(&wanted, "s.yaml:%s%s", place, strchr(place, ':')[1] ? ": " : "");
	if (!text_starts_with(err.text, wanted.data) || !strstr(err.text, words))
		fail_msg("\"%s\" is not \"%s...%s...\" of\n%s", err.text, wanted.data, words, text);
}

static void what_is_refused_is_shown_where_it_stands(void **unused)
{
	auto_text struct text file = {};
	unsigned n = 0;
	char *at;

	assert_int_equal(
	    file_read(TEST_SOURCE "/tests/cases/scenario/errors.txt", 1 << 20, false, &file, NULL),
	    0);
	at = file.data;
	while (at && text_starts_with(at, "== ")) {
		char *place = at + 3, *text = strchr(place, '\n'), *words, *end;

		*text++ = '\0';
		end = strstr(text, "\n== ");
		if (end)
			end[1] = '\0';
		words = place + strcspn(place, " ");
		if (*words)
			*words++ = '\0';
		check_refusal(place, words, text);
		n++;
		if (end)
			end[1] = '=';
		at = end ? end + 1 : NULL;
	}
	assert_true(n > 30);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(every_model_of_the_catalogue_is_complete),
	    cmocka_unit_test(the_two_gpus_of_the_batch_story),
	    cmocka_unit_test(gpus_by_name_vram_and_speed),
	    cmocka_unit_test(bad_lists_are_refused),
	    cmocka_unit_test(a_whole_scenario),
	    cmocka_unit_test(faults_are_named_with_their_place),
	    cmocka_unit_test(visible_devices_as_cuda_reads_them),
	    cmocka_unit_test(what_is_refused_is_shown_where_it_stands),
	};

	return cmocka_run_group_tests_name("sim_scenario", tests, load_catalogue, drop_catalogue);
}
