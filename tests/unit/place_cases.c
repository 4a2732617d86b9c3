/*
 * Placing, as data: every file of tests/cases/place/ is a machine, what runs on it, what waits, and
 * what must come of it. A new case needs no C. The folder is argv[1] (or $PLACE_CASES).
 *
 *	gpus		[{uuid, model, total, used, utilization, speed, health, compute 86; its
 *rule: reserve, max_request, max_tasks, closed: why}]; sizes are "8G"
 *	links		[[0, 1, "nvlink"]...]: those not said are unknown
 *	host		{ram, available, cpus}
 *	users		[{uid, max_running, max_gpus, max_vram}]
 *	stagger, reserve_after	seconds
 *	estimates	[{kind, model, speed, vram, work, utilization, samples}]
 *	running, waiting [{id, batch, kind, policy, vram, fraction, ram, cpus, gpus, exclusive, pin,
 *cpu_only, max_per_gpu, threads, weight_memory, hint, prefer, avoid, forbid, models
 *[...], compute_min, compute_max, start_lock, stagger, line_above, fallback, on_cpu {ram, cpus},
 *uid, waited, hard_limit; running: on
 *[index], used, done, settled}] expect		[{task, gpus [index], reason [text...]}]: all
 *starts, in order, and no more explain		{id: [text...]}: after the starts check
 *{id: {code: 0 | "E2BIG" | "ENODEV", text [text...]}}: before them room [size...]: of
 *the ledger before the starts
 */
#include "place/place.h"
#include "util/jsonx.h"
#include "util/size.h"

#include <assert.h>
#include <dirent.h>
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#define TASKS_MAX 700

struct scene {
	json_t *json;
	struct gpu gpus[32];
	struct ledger_rule rules[32];
	size_t n_rules;
	struct place_user users[8];
	struct ledger *ledger;
	struct estimates *estimates;
	struct place_request requests[2 * TASKS_MAX];
	size_t n_requests;
	struct place_wishes wishes[2 * TASKS_MAX];
	struct place_task waiting[TASKS_MAX];
	bool taken[TASKS_MAX];
	struct place_view view;
};

static uint64_t get_size(const json_t *object, const char *key, uint64_t otherwise)
{
	const char *text = jsonx_get_string(object, key, NULL);
	struct error err = {};
	uint64_t bytes;

	if (!text)
		return otherwise;
	if (size_parse(text, &bytes, &err) < 0)
		fail_msg("%s: %s", key, error_text(&err));
	return bytes;
}

static enum gpu_health get_health(const json_t *object)
{
	const char *health = jsonx_get_string(object, "health", "ok");

	if (strcmp(health, "ok") == 0)
		return GPU_HEALTH_OK;
	if (strcmp(health, "stale") == 0)
		return GPU_HEALTH_STALE;
	assert_string_equal(health, "lost");
	return GPU_HEALTH_LOST;
}

static void read_rule(struct scene *scene, const char *uuid, const json_t *json)
{
	struct ledger_rule *rule = &scene->rules[scene->n_rules++];

	*rule = (struct ledger_rule){
	    .has_reserve = jsonx_has(json, "reserve"),
	    .reserve_bytes = get_size(json, "reserve", 0),
	    .max_request_bytes = get_size(json, "max_request", 0),
	    .max_tasks = (unsigned)jsonx_get_u64(json, "max_tasks", 0),
	    .closed = jsonx_has(json, "closed"),
	};
	snprintf(rule->uuid, sizeof rule->uuid, "%s", uuid);
	snprintf(rule->text, sizeof rule->text, "%s", jsonx_get_string(json, "closed", ""));
}

static void read_gpu(struct scene *scene, size_t i, const json_t *json)
{
	struct gpu *gpu = &scene->gpus[i];

	gpu->index = (unsigned)i;
	snprintf(gpu->uuid, sizeof gpu->uuid, "%s", jsonx_get_string(json, "uuid", ""));
	if (!gpu->uuid[0])
		snprintf(gpu->uuid, sizeof gpu->uuid, "GPU-%zu", i);
	snprintf(gpu->name, sizeof gpu->name, "%s", jsonx_get_string(json, "model", "a GPU"));
	gpu->health = get_health(json);
	if (jsonx_has(json, "total")) {
		gpu->valid |= GPU_TOTAL | GPU_USED;
		gpu->vram.total_bytes = get_size(json, "total", 0);
		gpu->vram.used_bytes = get_size(json, "used", 0);
	}
	if (jsonx_has(json, "utilization")) {
		gpu->valid |= GPU_UTILIZATION;
		gpu->utilization_percent = (unsigned)jsonx_get_u64(json, "utilization", 0);
	}
	if (jsonx_has(json, "compute")) {
		gpu->valid |= GPU_COMPUTE_CAPABILITY;
		gpu->compute_capability = (unsigned)jsonx_get_u64(json, "compute", 0);
	}
	read_rule(scene, gpu->uuid, json);
}

static double speed_of(void *data, const char *model)
{
	const struct scene *scene = data;
	size_t i;
	json_t *json;

	json_array_foreach (json_object_get(scene->json, "gpus"), i, json)
		if (strcmp(jsonx_get_string(json, "model", "a GPU"), model) == 0)
			return jsonx_get_real(json, "speed", 0);
	return 0;
}

static size_t read_texts(const json_t *json, const char *key, char (*texts)[GPU_UUID_MAX])
{
	json_t *text;
	size_t i, n = 0;

	json_array_foreach (json_object_get(json, key), i, text)
		snprintf(texts[n++], GPU_UUID_MAX, "%s", json_string_value(text));
	return n;
}

static const struct place_wishes *read_wishes(struct scene *scene, const json_t *json)
{
	struct place_wishes *wishes = &scene->wishes[scene->n_requests - 1];
	static const char *const keys[] = {"prefer", "avoid",       "forbid",
					   "models", "compute_min", "compute_max"};
	bool any = false;

	for (size_t i = 0; i < ARRAY_LEN(keys); i++)
		any |= jsonx_has(json, keys[i]);
	if (!any)
		return NULL;
	static_assert(sizeof wishes->models[0] == GPU_UUID_MAX, "read by one function");
	wishes->n_prefer = read_texts(json, "prefer", wishes->prefer);
	wishes->n_avoid = read_texts(json, "avoid", wishes->avoid);
	wishes->n_forbid = read_texts(json, "forbid", wishes->forbid);
	wishes->n_models = read_texts(json, "models", wishes->models);
	wishes->compute_min = (unsigned)jsonx_get_u64(json, "compute_min", 0);
	wishes->compute_max = (unsigned)jsonx_get_u64(json, "compute_max", 0);
	return wishes;
}

static const struct place_request *read_on_cpu(struct scene *scene, const json_t *json)
{
	struct place_request *request = &scene->requests[scene->n_requests++];

	*request = (struct place_request){
	    .cpu = PLACE_CPU_ONLY,
	    .ram_bytes = get_size(json, "ram", 0),
	    .cpu_milli = (unsigned)(jsonx_get_real(json, "cpus", 0) * 1000),
	};
	return request;
}

static void read_task(struct scene *scene, struct place_task *task, const json_t *json)
{
	struct place_request *request = &scene->requests[scene->n_requests++];
	struct error err = {};

	assert_true(scene->n_requests <= ARRAY_LEN(scene->requests));
	*request = (struct place_request){
	    .vram_bytes = get_size(json, "vram", 0),
	    .fraction_milli = (unsigned)(jsonx_get_real(json, "fraction", 0) * 1000 + 0.5),
	    .ram_bytes = get_size(json, "ram", 0),
	    .cpu_milli = (unsigned)(jsonx_get_real(json, "cpus", 0) * 1000),
	    .cpu = jsonx_get_bool(json, "cpu_only", false) ? PLACE_CPU_ONLY : PLACE_CPU_NEVER,
	    .exclusive = jsonx_get_bool(json, "exclusive", false),
	    .max_per_gpu = (unsigned)jsonx_get_u64(json, "max_per_gpu", 0),
	    .threads = (unsigned)jsonx_get_u64(json, "threads", 0),
	    .start_lock = jsonx_get_bool(json, "start_lock", false),
	    .stagger_ms = (unsigned)(jsonx_get_real(json, "stagger", 0) * 1000),
	};
	request->line_above_bytes = get_size(json, "line_above", 0);
	if (jsonx_has(json, "fallback"))
		request->cpu = PLACE_CPU_FALLBACK;
	request->wishes = read_wishes(scene, json);
	request->gpus =
	    request->cpu == PLACE_CPU_ONLY ? 0 : (unsigned)jsonx_get_u64(json, "gpus", 1);
	request->pin_uuid = jsonx_get_string(json, "pin", NULL);
	*task = (struct place_task){
	    .id = jsonx_get_u64(json, "id", 0),
	    .batch = jsonx_get_u64(json, "batch", 0),
	    .priority = (int)jsonx_get_i64(json, "priority", 0),
	    .kind = jsonx_get_string(json, "kind", ""),
	    .request = request,
	    .weight_memory = jsonx_get_real(json, "weight_memory", 0),
	    .work_hint = jsonx_get_real(json, "hint", 0),
	    .uid = (uid_t)jsonx_get_u64(json, "uid", 0),
	    .waited_seconds = jsonx_get_real(json, "waited", 0),
	    .hard_limit_seconds = jsonx_get_real(json, "hard_limit", 0),
	};
	if (jsonx_has(json, "on_cpu"))
		task->on_cpu = read_on_cpu(scene, json_object_get(json, "on_cpu"));
	if (place_policy_parse(jsonx_get_string(json, "policy", "auto"), &task->policy, &err) < 0)
		fail_msg("%s", error_text(&err));
}

static void read_running(struct scene *scene, struct ledger_allocation **ret_allocations,
			 size_t *ret_n)
{
	json_t *json, *list = json_object_get(scene->json, "running");
	size_t i, room = 0;

	json_array_foreach (list, i, json) {
		struct place_task *task;
		json_t *on;
		size_t k;

		ARRAY_GROW(scene->view.running, scene->view.n_running, scene->view.running_room);
		task = &scene->view.running[scene->view.n_running++];
		read_task(scene, task, json);
		task->work_done_seconds = task->elapsed_seconds = jsonx_get_real(json, "done", 0);
		json_array_foreach (json_object_get(json, "on"), k, on) {
			struct ledger_allocation *a;

			ARRAY_GROW(*ret_allocations, *ret_n, room);
			a = &(*ret_allocations)[(*ret_n)++];
			*a = (struct ledger_allocation){
			    .vram_bytes = task->request->vram_bytes,
			    .used_known = jsonx_has(json, "used"),
			    .used_bytes = get_size(json, "used", 0),
			    .ram_bytes = k == 0 ? task->request->ram_bytes : 0,
			    .cpu_milli = k == 0 ? task->request->cpu_milli : 0,
			    .exclusive = task->request->exclusive,
			    .start_lock = task->request->start_lock,
			    .settled = jsonx_get_bool(json, "settled", true),
			    .seconds_since_start = task->elapsed_seconds,
			};
			task->gpus[task->n_gpus] = (size_t)json_integer_value(on);
			snprintf(a->uuid, sizeof a->uuid, "%s",
				 scene->gpus[task->gpus[task->n_gpus++]].uuid);
		}
	}
}

static void read_estimates(struct scene *scene)
{
	json_t *json;
	size_t i;

	scene->estimates = estimates_create();
	json_array_foreach (json_object_get(scene->json, "estimates"), i, json) {
		struct estimates_sample sample = {
		    .kind = jsonx_get_string(json, "kind", ""),
		    .model = jsonx_get_string(json, "model", ""),
		    .speed = speed_of(scene, jsonx_get_string(json, "model", "")),
		    .vram_request_bytes = get_size(json, "vram", 0),
		    .work_seconds = jsonx_get_real(json, "work", 0),
		    .utilization_percent = jsonx_get_real(json, "utilization", -1),
		    .work_hint = jsonx_get_real(json, "hint", 0),
		};

		for (uint64_t n = jsonx_get_u64(json, "samples", 8); n > 0; n--)
			estimates_learn(scene->estimates, &sample);
	}
}

static void read_links(struct gpu_list *list, const json_t *json)
{
	json_t *entry;
	size_t i;

	if (!json)
		return;
	gpu_topology_init(&list->topology, list->n);
	for (i = 0; i < list->n; i++)
		memcpy(list->topology.uuids[i], list->gpus[i].uuid, GPU_UUID_MAX);
	json_array_foreach (json, i, entry) {
		const char *name = json_string_value(json_array_get(entry, 2));
		enum gpu_link link = GPU_LINK_UNKNOWN;

		while (link < GPU_LINK_COUNT && strcmp(gpu_link_name(link), name) != 0)
			link++;
		assert_true(link < GPU_LINK_COUNT);
		gpu_topology_set(&list->topology,
				 (size_t)json_integer_value(json_array_get(entry, 0)),
				 (size_t)json_integer_value(json_array_get(entry, 1)), link);
	}
}

static void read_users(struct scene *scene)
{
	json_t *json;
	size_t i;

	json_array_foreach (json_object_get(scene->json, "users"), i, json)
		scene->users[i] = (struct place_user){
		    .uid = (uid_t)jsonx_get_u64(json, "uid", 0),
		    .max_running = (unsigned)jsonx_get_u64(json, "max_running", 0),
		    .max_gpus = (unsigned)jsonx_get_u64(json, "max_gpus", 0),
		    .max_vram_bytes = get_size(json, "max_vram", 0),
		};
	scene->view.users = scene->users;
	scene->view.n_users = i;
}

static void scene_load(struct scene *scene, const char *path)
{
	struct gpu_list list = {.state = GPU_SOURCE_OK};
	struct ledger_options options = {.speed = speed_of, .data = scene};
	struct ledger_host host = {};
	auto_free struct ledger_allocation *allocations = NULL;
	size_t n_allocations = 0, i;
	json_error_t error;
	json_t *json;

	scene->json = json_load_file(path, JSON_REJECT_DUPLICATES, &error);
	if (!scene->json)
		fail_msg("%s:%d: %s", path, error.line, error.text);
	json_array_foreach (json_object_get(scene->json, "gpus"), i, json)
		read_gpu(scene, i, json);
	list.gpus = scene->gpus;
	list.n = i;
	if (list.n == 0) {
		list.state = GPU_SOURCE_NO_DRIVER;
		snprintf(list.text, sizeof list.text, "no driver");
	}
	read_links(&list, json_object_get(scene->json, "links"));
	json = json_object_get(scene->json, "host");
	if (json) {
		host.ram_known = jsonx_has(json, "ram");
		host.ram_total_bytes = get_size(json, "ram", 0);
		host.ram_available_bytes = get_size(json, "available", host.ram_total_bytes);
		host.cpu_milli = (unsigned)(jsonx_get_real(json, "cpus", 0) * 1000);
	}
	read_running(scene, &allocations, &n_allocations);
	options.rules = scene->rules;
	options.n_rules = scene->n_rules;
	options.stagger_ms = (unsigned)(jsonx_get_real(scene->json, "stagger", 0) * 1000);
	scene->ledger = ledger_create(&list, allocations, n_allocations, &host, &options);
	gpu_topology_finish(&list.topology);
	read_estimates(scene);
	read_users(scene);
	json_array_foreach (json_object_get(scene->json, "waiting"), i, json)
		read_task(scene, &scene->waiting[i], json);
	scene->view.ledger = scene->ledger;
	scene->view.estimates = scene->estimates;
	scene->view.waiting = scene->waiting;
	scene->view.n_waiting = i;
	scene->view.taken = scene->taken;
	scene->view.reserve_after_seconds = jsonx_get_real(scene->json, "reserve_after", 0);
	scene->view.round_robin = jsonx_get_u64(scene->json, "round_robin", 0);
}

static size_t find_waiting(const struct scene *scene, uint64_t id)
{
	for (size_t i = 0; i < scene->view.n_waiting; i++)
		if (scene->waiting[i].id == id)
			return i;
	fail_msg("no waiting task %llu", (unsigned long long)id);
	return 0;
}

static void assert_mentions(const char *path, const char *text, const json_t *parts)
{
	json_t *part;
	size_t i;

	json_array_foreach (parts, i, part)
		if (!strstr(text, json_string_value(part)))
			fail_msg("%s: '%s' does not mention '%s'", path, text,
				 json_string_value(part));
}

static void check_ledger(const struct scene *scene, const char *path)
{
	json_t *room;
	size_t i;

	json_array_foreach (json_object_get(scene->json, "room"), i, room) {
		struct error err = {};
		uint64_t bytes;

		if (size_parse(json_string_value(room), &bytes, &err) < 0)
			fail_msg("%s: %s", path, error_text(&err));
		if (scene->ledger->gpus[i].room_bytes != bytes)
			fail_msg("%s: room of GPU %zu is %s", path, i,
				 SIZE_TEXT(scene->ledger->gpus[i].room_bytes));
	}
}

static void check_checks(const struct scene *scene, const char *path)
{
	const char *id;
	json_t *json;

	json_object_foreach (json_object_get(scene->json, "check"), id, json) {
		size_t i = find_waiting(scene, strtoull(id, NULL, 10));
		const char *code = jsonx_get_string(json, "code", "0");
		int want = strcmp(code, "E2BIG") == 0    ? -E2BIG
			   : strcmp(code, "ENODEV") == 0 ? -ENODEV
							 : 0;
		struct error err = {};
		int r = place_check(scene->ledger, scene->waiting[i].request, &err);

		if (r != want)
			fail_msg("%s: check of %s gives %d: %s", path, id, r, error_text(&err));
		assert_mentions(path, err.text, json_object_get(json, "text"));
	}
}

static void check_start(struct scene *scene, const char *path, const json_t *json)
{
	struct place_decision decision;
	const json_t *gpus = json_object_get(json, "gpus");
	uint64_t want = jsonx_get_u64(json, "task", 0);

	if (place_next(&scene->view, &decision) != 1)
		fail_msg("%s: nothing starts, expected task %llu", path, (unsigned long long)want);
	if (scene->waiting[decision.waiting].id != want)
		fail_msg("%s: task %llu starts, expected %llu: %s", path,
			 (unsigned long long)scene->waiting[decision.waiting].id,
			 (unsigned long long)want, decision.reason);
	if (gpus && json_array_size(gpus) != decision.n_gpus)
		fail_msg("%s: task %llu on %zu GPUs", path, (unsigned long long)want,
			 decision.n_gpus);
	for (size_t g = 0; gpus && g < decision.n_gpus; g++)
		if ((size_t)json_integer_value(json_array_get(gpus, g)) != decision.gpus[g])
			fail_msg("%s: task %llu on GPU %zu: %s", path, (unsigned long long)want,
				 decision.gpus[g], decision.reason);
	assert_true(decision.reason[0] != '\0');
	assert_mentions(path, decision.reason, json_object_get(json, "reason"));
	place_book(&scene->view, &decision);
}

static void run_case(void **state)
{
	const char *path = *state, *id;
	struct scene *scene = mem_calloc(1, sizeof *scene);
	struct place_decision decision;
	json_t *json;
	size_t i;

	scene_load(scene, path);
	check_ledger(scene, path);
	check_checks(scene, path);
	json_array_foreach (json_object_get(scene->json, "expect"), i, json)
		check_start(scene, path, json);
	if (place_next(&scene->view, &decision) != 0)
		fail_msg("%s: task %llu starts too: %s", path,
			 (unsigned long long)scene->waiting[decision.waiting].id, decision.reason);
	if (jsonx_has(scene->json, "wake") &&
	    place_wake_seconds(&scene->view) != jsonx_get_real(scene->json, "wake", 0))
		fail_msg("%s: wakes in %g s", path, place_wake_seconds(&scene->view));
	json_object_foreach (json_object_get(scene->json, "explain"), id, json) {
		char reason[PLACE_REASON_MAX];

		place_explain(&scene->view, find_waiting(scene, strtoull(id, NULL, 10)), reason);
		assert_mentions(path, reason, json);
	}
	ledger_destroy(scene->ledger);
	estimates_destroy(scene->estimates);
	free(scene->view.running);
	json_decref(scene->json);
	free(scene);
}

int main(int argc, char **argv)
{
	const char *folder = argc > 1 ? argv[1] : getenv("PLACE_CASES");
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
	failed = _cmocka_run_group_tests("place cases", tests, n_tests, NULL, NULL);
	for (size_t i = 0; i < n_tests; i++)
		free(tests[i].initial_state);
	for (int i = 0; i < n; i++)
		free(entries[i]);
	free(entries);
	free(tests);
	return failed > 0 || n_tests == 0;
}
