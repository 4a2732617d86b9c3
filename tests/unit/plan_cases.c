/*
 * The planner on cases kept as data: machine, services and what has to come out, in
 * tests/cases/plan/NAME.json. Defaults: 24G GPUs without a name below the usual load line, services
 * of one GPU anywhere.
 */
#include "unit.h"

#include "place/plan.h"
#include "util/jsonx.h"
#include "util/size.h"

#include <dirent.h>

struct scene {
	json_t *json;
	struct plan_gpu gpus[PLAN_GPUS_MAX];
	struct plan_service services[PLAN_SERVICES_MAX];
	struct plan_model models[PLAN_SERVICES_MAX][8];
	size_t lists[2 * PLAN_SERVICES_MAX][8], n_lists;
	struct plan_problem problem;
	const char *path;
};

static uint64_t get_size(const json_t *json, const char *key, uint64_t otherwise)
{
	const char *text = jsonx_get_string(json, key, NULL);
	struct error err = {};
	uint64_t bytes;

	if (!text)
		return otherwise;
	if (size_parse(text, &bytes, &err) < 0)
		fail_msg("%s: %s", key, error_text(&err));
	return bytes;
}

static void read_gpu(struct scene *scene, size_t g, const json_t *json)
{
	struct plan_gpu *gpu = &scene->gpus[g];
	uint64_t total = get_size(json, "total", 24 * GIB);

	*gpu = (struct plan_gpu){
	    .index = (unsigned)jsonx_get_u64(json, "index", g),
	    .total_bytes = total,
	    .foreign_bytes = get_size(json, "foreign", 0),
	    .speed = jsonx_get_real(json, "speed", 1),
	    .usable = jsonx_get_bool(json, "usable", true),
	};
	gpu->load_line_bytes =
	    get_size(json, "line", total - MIN_OF(total, MAX_OF(total / 20, 256 * MIB)));
	snprintf(gpu->uuid, sizeof gpu->uuid, "GPU-%zu", g);
}

static size_t read_gpus(struct scene *scene, const json_t *list, const size_t **ret_gpus)
{
	size_t *gpus = scene->lists[scene->n_lists++], i;
	json_t *item;

	assert_true(json_array_size(list) <= ARRAY_LEN(scene->lists[0]));
	json_array_foreach (list, i, item)
		gpus[i] = (size_t)json_integer_value(item);
	*ret_gpus = gpus;
	return json_array_size(list);
}

static size_t find_service(const struct scene *scene, const char *name)
{
	for (size_t i = 0; i < scene->problem.n_services; i++)
		if (strcmp(scene->services[i].name, name) == 0)
			return i;
	fail_msg("%s: no service %s", scene->path, name);
	return 0;
}

static void read_service(struct scene *scene, size_t i, const char *name, const json_t *json)
{
	struct plan_service *s = &scene->services[i];
	const json_t *allowed = json_object_get(json, "allowed"), *item, *value;
	const char *key;
	size_t k;

	*s = (struct plan_service){
	    .name = name,
	    .vram_bytes = get_size(json, "vram", GIB),
	    .models = scene->models[i],
	    .shared_bytes = get_size(json, "shared", 0),
	    .gpus = (unsigned)jsonx_get_u64(json, "gpus", 1),
	    .replicas = (unsigned)jsonx_get_u64(json, "replicas", 1),
	    .cpu_fallback = jsonx_get_bool(json, "cpu_fallback", false),
	    .keep = jsonx_get_bool(json, "keep", false),
	    .on_demand = jsonx_get_bool(json, "on_demand", false),
	    .exclusive = jsonx_get_bool(json, "exclusive", false),
	    .priority = (int)jsonx_get_i64(json, "priority", 0),
	};
	json_object_foreach (json_object_get(json, "models"), key, value) {
		struct plan_model *model = &scene->models[i][s->n_models++];

		model->name = key;
		assert_int_equal(size_parse(json_string_value(value), &model->bytes, NULL), 0);
	}
	for (size_t g = 0; g < scene->problem.n_gpus; g++)
		s->allowed[g] = !allowed;
	json_array_foreach (allowed, k, item)
		s->allowed[json_integer_value(item)] = true;
	json_object_foreach (json_object_get(json, "preference"), key, value)
		s->preference[strtoul(key, NULL, 10)] = (int)json_integer_value(value);
	s->n_today = read_gpus(scene, json_object_get(json, "today"), &s->today);
}

static void read_not_with(struct scene *scene, size_t i, const json_t *list)
{
	size_t *others = scene->lists[scene->n_lists++], k;
	json_t *item;

	json_array_foreach (list, k, item)
		others[k] = find_service(scene, json_string_value(item));
	scene->services[i].not_with = others;
	scene->services[i].n_not_with = json_array_size(list);
}

static void scene_load(struct scene *scene)
{
	json_error_t error;
	json_t *json;
	const char *name, *objective;
	size_t i;

	scene->json = json_load_file(scene->path, JSON_REJECT_DUPLICATES, &error);
	if (!scene->json)
		fail_msg("%s:%d: %s", scene->path, error.line, error.text);
	json_array_foreach (json_object_get(scene->json, "gpus"), i, json)
		read_gpu(scene, i, json);
	scene->problem = (struct plan_problem){
	    .gpus = scene->gpus,
	    .n_gpus = i,
	    .services = scene->services,
	    .use_steps = (unsigned)jsonx_get_u64(scene->json, "use_steps", 0),
	    .work_max = jsonx_get_u64(scene->json, "work_max", 0),
	};
	objective = jsonx_get_string(scene->json, "objective", "balance");
	while (strcmp(plan_objective_name(scene->problem.objective), objective) != 0)
		if (++scene->problem.objective == PLAN_OBJECTIVE_COUNT)
			fail_msg("%s: no objective %s", scene->path, objective);
	json_object_foreach (json_object_get(scene->json, "services"), name, json)
		read_service(scene, scene->problem.n_services++, name, json);
	i = 0;
	json_object_foreach (json_object_get(scene->json, "services"), name, json)
		read_not_with(scene, i++, json_object_get(json, "not_with"));
}

static void check_mentions(const struct scene *scene, const char *text, const json_t *parts)
{
	json_t *part;
	size_t i;

	json_array_foreach (parts, i, part)
		if (!strstr(text, json_string_value(part)))
			fail_msg("%s: '%s' does not mention '%s'", scene->path, text,
				 json_string_value(part));
}

static void check_place(const struct scene *scene, const char *name, const struct plan_place *place,
			const json_t *want)
{
	json_t *gpu;
	size_t i;

	if (json_array_size(want) != place->n)
		fail_msg("%s: %s is on %zu GPUs", scene->path, name, place->n);
	json_array_foreach (want, i, gpu)
		if ((size_t)json_integer_value(gpu) != place->gpus[i])
			fail_msg("%s: %s is on GPU %zu: %s", scene->path, name, place->gpus[i],
				 place->reason);
}

static void check_places(const struct scene *scene, const struct plan_place *places,
			 const json_t *want)
{
	const char *name;
	json_t *gpus;

	json_object_foreach ((json_t *)(uintptr_t)want, name, gpus)
		check_place(scene, name, &places[find_service(scene, name)], gpus);
}

static void check_planned(const struct scene *scene, const uint64_t *planned, const json_t *want)
{
	json_t *item;
	size_t g;

	json_array_foreach (want, g, item) {
		uint64_t bytes;

		assert_int_equal(size_parse(json_string_value(item), &bytes, NULL), 0);
		if (planned[g] != bytes)
			fail_msg("%s: %llu bytes planned on GPU %zu", scene->path,
				 (unsigned long long)planned[g], g);
	}
}

static void check_change(const struct scene *scene, const struct plan_change *change,
			 const json_t *want)
{
	const char *service = jsonx_get_string(want, "service", NULL);
	const char *model = jsonx_get_string(want, "model", NULL);

	assert_string_equal(plan_action_name(change->action), jsonx_get_string(want, "action", ""));
	if (service)
		assert_string_equal(scene->services[change->service].name, service);
	else
		assert_int_equal(change->service, SIZE_MAX);
	if (model)
		assert_string_equal(scene->services[change->service].models[change->model].name,
				    model);
	else
		assert_int_equal(change->model, SIZE_MAX);
	if (jsonx_has(want, "gpu"))
		assert_int_equal(change->gpu, jsonx_get_u64(want, "gpu", 0));
	if (jsonx_has(want, "bytes") && change->bytes != get_size(want, "bytes", 0))
		fail_msg("%s: %s by %llu bytes", scene->path, plan_action_name(change->action),
			 (unsigned long long)change->bytes);
}

static void check_ways(const struct scene *scene, const struct plan *plan, const json_t *wants)
{
	json_t *want, *change;
	size_t w, c;

	json_array_foreach (wants, w, want) {
		const struct plan_way *way = &plan->ways[w];
		const json_t *changes = json_object_get(want, "changes");

		assert_true(w < plan->n_ways);
		if (way->n_changes != json_array_size(changes))
			fail_msg("%s: way %zu: %s", scene->path, w, way->reason);
		json_array_foreach (changes, c, change)
			check_change(scene, &way->changes[c], change);
		check_places(scene, way->places, json_object_get(want, "places"));
		check_planned(scene, way->planned_bytes, json_object_get(want, "planned"));
		check_mentions(scene, way->reason, json_object_get(want, "reason"));
	}
	if (wants && plan->n_ways != json_array_size(wants))
		fail_msg("%s: %zu ways, one more is %s", scene->path, plan->n_ways,
			 plan->ways[json_array_size(wants)].reason);
}

static void check_explain(const struct scene *scene, const struct plan *plan)
{
	const char *name;
	json_t *parts;

	json_object_foreach (json_object_get(scene->json, "explain"), name, parts) {
		auto_text struct text text = {};

		plan_explain(&scene->problem, plan, find_service(scene, name), &text);
		check_mentions(scene, text.data, parts);
	}
}

static void print_plan(const struct scene *scene, const struct plan *plan)
{
	if (!getenv("PLAN_PRINT"))
		return;
	print_message("# %s: %s\n", scene->path, plan->reason);
	for (size_t i = 0; plan->feasible && i < scene->problem.n_services; i++)
		print_message("#   %s: %s\n", scene->services[i].name, plan->places[i].reason);
	for (size_t w = 0; w < plan->n_ways; w++)
		print_message("#   %zu. %s\n", w + 1, plan->ways[w].reason);
}

static void run_case(void **state)
{
	auto_free struct scene *scene = mem_calloc(1, sizeof *scene);
	auto_plan struct plan *plan = NULL;
	struct error err = {};
	const char *name;
	json_t *want, *reasons;

	scene->path = *state;
	scene_load(scene);
	if (plan_solve(&scene->problem, &plan, &err) < 0)
		fail_msg("%s: %s", scene->path, error_text(&err));
	print_plan(scene, plan);
	want = json_object_get(scene->json, "expect");
	assert_int_equal(plan->proved, jsonx_get_bool(want, "proved", true));
	if (plan->feasible != jsonx_get_bool(want, "feasible", true))
		fail_msg("%s: %s", scene->path, plan->feasible ? "feasible" : plan->reason);
	if (jsonx_has(want, "moves"))
		assert_int_equal(plan->moves, jsonx_get_u64(want, "moves", 0));
	check_mentions(scene, plan->reason, json_object_get(want, "reason"));
	if (plan->feasible) {
		check_places(scene, plan->places, json_object_get(want, "places"));
		check_planned(scene, plan->planned_bytes, json_object_get(want, "planned"));
	}
	json_object_foreach (json_object_get(want, "reasons"), name, reasons)
		check_mentions(scene, plan->places[find_service(scene, name)].reason, reasons);
	check_ways(scene, plan, json_object_get(want, "ways"));
	check_explain(scene, plan);
	json_decref(scene->json);
}

int main(int argc, char **argv)
{
	const char *folder = argc > 1 ? argv[1] : getenv("PLAN_CASES");
	struct dirent **entries = NULL;
	struct CMUnitTest *tests;
	int n = folder ? scandir(folder, &entries, NULL, alphasort) : -1;
	size_t n_tests = 0;
	int failed;

	if (n < 0) {
		fprintf(stderr, "no folder of cases: give it as the argument\n");
		return 1;
	}
	tests = mem_calloc((size_t)n, sizeof *tests);
	for (int i = 0; i < n; i++) {
		const char *name = entries[i]->d_name;
		size_t len = strlen(name);

		if (len < 6 || strcmp(name + len - 5, ".json") != 0)
			continue;
		tests[n_tests++] = (struct CMUnitTest){
		    .name = name,
		    .test_func = run_case,
		    .initial_state = mem_printf("%s/%s", folder, name),
		};
	}
	failed = _cmocka_run_group_tests("plan cases", tests, n_tests, NULL, NULL);
	for (size_t i = 0; i < n_tests; i++)
		free(tests[i].initial_state);
	for (int i = 0; i < n; i++)
		free(entries[i]);
	free(entries);
	free(tests);
	return failed > 0 || n_tests == 0;
}
