/* src/config/need: every key of x-plimsoll, what is refused and where, and merging key by key. */
#include "config/need.h"
#include "config/config.h"
#include "util/size.h"

#include "unit.h"

#include <string.h>

static void parse(const char *text, struct need *ret_need)
{
	auto_yamlx struct yamlx *doc = NULL;
	struct error err = {};

	assert_int_equal(yamlx_parse(text, strlen(text), "c.yaml", &doc, &err), 0);
	if (need_parse(doc, doc->root, ret_need, &err) < 0)
		fail_msg("%s: %s", text, err.text);
}

static void every_key_is_read(void **state)
{
	struct need n = {};

	(void)state;
	parse("vram: 6G\nram: 4G\ngpus: 2\ncpu: fallback\nkeep: true\non-demand: true\n"
	      "priority: -10\ngpu: 0\nprefer: [a5500, 1]\navoid: GPU-1\nforbid: [a400]\n"
	      "min-compute-capability: 8.6\nnot-with: [llm]\nexclusive: true\n",
	      &n);
	assert_true(n.has_vram && n.has_ram && n.cpu_fallback && n.keep && n.on_demand);
	assert_true(n.exclusive);
	assert_int_equal(n.vram_bytes, 6 * GIB);
	assert_int_equal(n.ram_bytes, 4 * GIB);
	assert_int_equal(n.gpus, 2);
	assert_int_equal(n.priority, -10);
	assert_int_equal(n.compute_min, 86);
	assert_string_equal(n.gpu, "0");
	assert_int_equal(n.prefer.n, 2);
	assert_string_equal(n.prefer.items[1], "1");
	assert_int_equal(n.avoid.n, 1);
	assert_string_equal(n.avoid.items[0], "GPU-1");
	assert_string_equal(n.forbid.items[0], "a400");
	assert_string_equal(n.not_with.items[0], "llm");
	assert_string_equal(n.where, "c.yaml:1:1");
	need_finish(&n);
}

static void models_are_summed_with_what_they_share(void **state)
{
	struct need n = {};

	(void)state;
	parse("models: {clip: 1.5G, vit: {vram: 512M}, x: {vram: 3G, on-demand: true}}\n"
	      "shared: 1G\n",
	      &n);
	assert_true(n.has_vram);
	assert_int_equal(n.vram_bytes, 3 * GIB); /* x loads when it is asked for */
	assert_int_equal(n.shared_bytes, GIB);
	assert_int_equal(n.n_models, 3);
	assert_string_equal(n.models[2].name, "x");
	assert_true(n.models[2].on_demand && !n.models[1].on_demand);
	need_finish(&n);
}

static void nothing_said_is_nothing_known(void **state)
{
	static const char *const texts[] = {"", "~", "null", "{}"};

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(texts); i++) {
		struct need n = {.gpus = 7};

		parse(texts[i], &n);
		assert_false(n.has_vram || n.has_ram || n.given);
		assert_null(n.where);
		assert_int_equal(n.gpus, 0);
		need_finish(&n);
	}
}

static void what_is_wrong_is_refused_by_its_place(void **state)
{
	static const struct {
		const char *text, *told;
	} cases[] = {
	    {"vram: 6G\nvrams: 1G", "c.yaml:2:1: unknown key \"vrams\"; known: vram, models"},
	    {"vram: 6", "c.yaml:1:7: size \"6\" has no unit"},
	    {"vram: 0M", "c.yaml:1:7: must be more than 0"},
	    {"vram: 1G\nmodels: {a: 1G}", "c.yaml:2:9: either `vram` or `models`"},
	    {"shared: 1G", "c.yaml:1:9: `shared` is what `models` have in common"},
	    {"vram: 1G\nshared: 1G", "c.yaml:2:9: `shared`"},
	    {"models: {}", "`models` is a mapping of 1 to 64"},
	    {"models: [a, b]", "`models` is a mapping"},
	    {"models: {a: {}}", "a model has a `vram`"},
	    {"models: {a: {vram: 1G, load: x}}", "unknown key \"load\""},
	    {"vram: 257T", "c.yaml:1:7: nothing has that much"},
	    {"models: {a: 1G}\nshared: 257T", "c.yaml:2:9: nothing has that much"},
	    {"models: {a: 200T, b: {vram: 57T, on-demand: true}}",
	     "c.yaml:1:9: no GPU has that much for all"},
	    {"gpus: 0", "c.yaml:1:7: \"0\" is not a number from 1 to 64"},
	    {"gpus: 1.5", "must be a whole number"},
	    {"cpu: maybe", "cpu \"maybe\" is neither never nor fallback"},
	    {"keep: often", "c.yaml:1:7:"},
	    {"replicas: 2", "c.yaml:1:11: replicas \"2\" are neither spread nor together"},
	    {"priority: 1001", "not a number from -1000 to 1000"},
	    {"min-compute-capability: 8.10", "\"8.10\" is no compute capability"},
	    {"min-compute-capability: 0", "is no compute capability"},
	    {"gpu: [0, 1]", "c.yaml:1:6: a single value"},
	    {"prefer: [[0]]", "c.yaml:1:10: a single value"},
	    {"gpu: ''", "a name of 1 to 128"},
	    {"[vram]", "a mapping (key: value)"},
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		auto_yamlx struct yamlx *doc = NULL;
		struct need n = {.gpus = 7};
		struct error err = {};

		assert_int_equal(
		    yamlx_parse(cases[i].text, strlen(cases[i].text), "c.yaml", &doc, &err), 0);
		assert_true(need_parse(doc, doc->root, &n, &err) < 0);
		if (!strstr(err.text, cases[i].told))
			fail_msg("%s: said \"%s\", not \"%s\"", cases[i].text, err.text,
				 cases[i].told);
		assert_int_equal(n.gpus, 7);
	}
}

static void the_later_one_counts_key_by_key(void **state)
{
	struct need n = {}, more = {};

	(void)state;
	parse("models: {a: 1G, b: 2G}\nkeep: true\nprefer: [0, 1]\ngpu: 3\n", &n);
	parse("vram: 5G\nprefer: [a400]\ncpu: fallback\n", &more);
	need_merge(&n, &more);
	need_finish(&more);
	assert_int_equal(n.vram_bytes, 5 * GIB);
	assert_int_equal(n.n_models, 0);
	assert_true(n.keep && n.cpu_fallback);
	assert_int_equal(n.prefer.n, 1);
	assert_string_equal(n.prefer.items[0], "a400");
	assert_string_equal(n.gpu, "3");

	parse("models: {c: 1G}\nshared: 1G\nkeep: false\n", &more);
	need_merge(&n, &more);
	need_finish(&more);
	assert_int_equal(n.vram_bytes, 2 * GIB);
	assert_int_equal(n.n_models, 1);
	assert_string_equal(n.models[0].name, "c");
	assert_false(n.keep);
	need_finish(&n);
}

/* `services:` of plimsoll.yaml takes the same keys, and its files add up. */
static void services_of_the_configuration(void **state)
{
	static const char text[] = "services:\n"
				   "  llm: {vram: 18G, keep: true}\n"
				   "  clip: {vram: 1.2G}\n";
	auto_config struct config *c = NULL, *bad = NULL;
	struct error err = {};

	(void)state;
	assert_int_equal(config_parse(text, strlen(text), "p.yaml", &c, &err), 0);
	assert_int_equal(c->n_services, 2);
	assert_string_equal(c->services[0].name, "llm");
	assert_true(c->services[0].need.keep);
	assert_string_equal(c->services[1].need.where, "p.yaml:3:9");
	assert_true(config_parse("services: {a: {vrm: 1G}}", 24, "p.yaml", &bad, &err) < 0);
	assert_non_null(strstr(err.text, "p.yaml:1:16: unknown key \"vrm\""));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(every_key_is_read),
	    cmocka_unit_test(models_are_summed_with_what_they_share),
	    cmocka_unit_test(nothing_said_is_nothing_known),
	    cmocka_unit_test(what_is_wrong_is_refused_by_its_place),
	    cmocka_unit_test(the_later_one_counts_key_by_key),
	    cmocka_unit_test(services_of_the_configuration),
	};

	return cmocka_run_group_tests_name("need", tests, NULL, NULL);
}
