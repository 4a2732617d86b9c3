/*
 * compose/assign over random projects whose services share variables and are to be on different
 * GPUs, or on the same ones: the files then say exactly what was asked for, and asking again
 * changes nothing.
 */
#include "compose/assign.h"

#include "util/file.h"

#include "folder.h"

#include <errno.h>
#include <string.h>

#define NOW_MS   ((int64_t)1795284246123)
#define GPUS     4
#define SERVICES 5
#define PROJECTS 300

static struct gpu_list *list;
static uint64_t state;

static unsigned below(unsigned n)
{
	state = state * 6364136223846793005u + 1442695040888963407u;
	return (unsigned)(state >> 33) % n;
}

static void list_fill(void)
{
	list = gpu_list_create();
	for (unsigned i = 0; i < GPUS; i++) {
		struct gpu *gpu = gpu_list_append(list);

		gpu->index = i;
		(void)snprintf(gpu->uuid, sizeof gpu->uuid,
			       "GPU-%u%u%u%u0000-0000-4000-8000-00000000000%u", i, i, i, i, i);
		gpu->vram.total_bytes = (uint64_t)24 << 30;
		gpu->valid = GPU_TOTAL;
		gpu->health = GPU_HEALTH_OK;
	}
}

struct plan {
	unsigned on[SERVICES][2];
	size_t n_on[SERVICES]; /* 0: it is no target */
	size_t n;
	bool by_uuid;
};

/* A device, as somebody has written it. Of V0 to V2 `is_set` says which .env gives a value. */
static void add_device(struct text *text, const bool *is_set)
{
	unsigned v = below(3), other = below(3);

	switch (below(6)) {
	case 0:
		text_printf(text, "%u", below(GPUS));
		break;
	case 1:
	case 2:
		if (is_set[v]) {
			text_printf(text, "${V%u}", v);
			break;
		}
		FALLTHROUGH;
	case 3:
	case 4:
		text_printf(text, "${V%u%s-%u}", v, below(2) ? ":" : "", below(GPUS));
		break;
	default:
		text_printf(text, "${V%u:-${V%u:-%u}}", v, other, below(GPUS));
	}
}

static void add_service(struct text *text, unsigned i, size_t n_devices, const bool *is_set)
{
	struct text devices[2] = {};
	bool twice;

	do {
		for (size_t k = 0; k < n_devices; k++) {
			devices[k].len = 0;
			add_device(&devices[k], is_set);
		}
		/* Compose refuses a list with the same entry twice. */
		twice = n_devices == 2 && strcmp(devices[0].data, devices[1].data) == 0;
	} while (twice);
	text_printf(text, "  s%u:\n    image: i\n", i);
	if (below(8) == 0)
		text_add(text, "    profiles: [off]\n");
	if (below(4) == 0) {
		text_printf(text,
			    "    runtime: nvidia\n    environment:\n      NVIDIA_VISIBLE_DEVICES: "
			    "\"%s%s%s\"\n",
			    devices[0].data, n_devices == 2 ? "," : "", devices[1].data ?: "");
	} else {
		text_printf(
		    text,
		    "    deploy: {resources: {reservations: {devices: [{capabilities: [gpu], "
		    "device_ids: [\"%s\"%s%s%s]}]}}}\n",
		    devices[0].data, n_devices == 2 ? ", \"" : "", devices[1].data ?: "",
		    n_devices == 2 ? "\"" : "");
	}
	for (size_t k = 0; k < 2; k++)
		text_finish(&devices[k]);
}

static void put(const char *folder, const char *name, const struct text *text)
{
	auto_free char *path = mem_printf("%s/%s", folder, name);
	FILE *file = fopen(path, "we");

	assert_non_null(file);
	(void)fputs(text->data ?: "", file);
	assert_int_equal(fclose(file), 0);
}

static void project_make(const char *folder, struct plan *plan)
{
	auto_text struct text yaml = {}, env = {};
	bool is_set[3];

	*plan = (struct plan){.n = 2 + below(SERVICES - 1), .by_uuid = below(5) == 0};
	for (unsigned v = 0; v < 3; v++) {
		unsigned how = below(3);

		is_set[v] = how == 0;
		if (how < 2)
			text_printf(&env, "%sV%u=%u\n", how ? "# " : "", v, below(GPUS));
	}
	text_add(&yaml, "name: p\nservices:\n");
	for (unsigned i = 0; i < plan->n; i++) {
		size_t n_devices = 1 + (below(3) == 0);

		add_service(&yaml, i, n_devices, is_set);
		if (below(5) == 0)
			continue;
		plan->n_on[i] = below(8) ? n_devices : 3 - n_devices;
		plan->on[i][0] = below(GPUS);
		plan->on[i][1] = (plan->on[i][0] + 1 + below(GPUS - 1)) % GPUS;
	}
	put(folder, "compose.yaml", &yaml);
	put(folder, ".env", &env);
}

static void where(const struct compose_gpus *gpus, bool *ret_on)
{
	const struct compose_value *missing;
	size_t on[GPUS], n = 0;

	memset(ret_on, false, GPUS);
	assert_int_equal(compose_resolve(gpus, list, on, GPUS, &n, &missing, NULL), 0);
	for (size_t i = 0; i < n; i++)
		ret_on[on[i]] = true;
}

static void load(const char *folder, struct compose_project **ret_project,
		 struct compose_gpus **ret_gpus)
{
	struct compose_options options = {.dir = folder};
	struct error err = {};

	if (compose_project_load(&options, ret_project, &err) < 0 ||
	    compose_locate(*ret_project, ret_gpus, &err) < 0)
		fail_msg("%s", err.text);
}

static unsigned number_of(const struct compose_gpus *gpus)
{
	return (unsigned)atoi(gpus->service->name + 1);
}

static int assign(struct compose_project *project, const struct compose_gpus *gpus,
		  const struct plan *plan, struct compose_edits *edits, struct strings *notes,
		  struct error *err)
{
	struct compose_assign_options options = {.by_uuid = plan->by_uuid};
	struct compose_target targets[SERVICES] = {};
	const struct gpu *devices[SERVICES][2];
	size_t n = 0;

	for (size_t i = 0; i < project->n; i++) {
		unsigned s = number_of(&gpus[i]);

		if (plan->n_on[s] == 0 || !gpus[i].service->active)
			continue;
		for (size_t k = 0; k < plan->n_on[s]; k++)
			devices[n][k] = &list->gpus[plan->on[s][k]];
		targets[n] = (struct compose_target){
		    .gpus = &gpus[i], .devices = devices[n], .n_devices = plan->n_on[s]};
		n++;
	}
	return compose_assign(project, targets, n, list, &options, edits, notes, err);
}

static void check_places(const struct compose_project *after, const struct compose_gpus *now,
			 const struct compose_gpus *before, const struct plan *plan)
{
	for (size_t i = 0; i < after->n; i++) {
		unsigned s = number_of(&now[i]);
		bool is[GPUS], wanted[GPUS];

		if (!now[i].service->active)
			continue;
		where(&now[i], is);
		where(&before[i], wanted);
		if (plan->n_on[s] > 0)
			memset(wanted, false, sizeof wanted);
		for (size_t k = 0; k < plan->n_on[s]; k++)
			wanted[plan->on[s][k]] = true;
		if (memcmp(is, wanted, sizeof is) != 0)
			fail_msg("%s is not where it was to be", now[i].service->name);
	}
}

static void show(const char *folder, const char *what)
{
	static const char *const names[] = {"compose.yaml", ".env"};

	for (size_t i = 0; i < ARRAY_LEN(names); i++) {
		auto_free char *path = mem_printf("%s/%s", folder, names[i]);
		auto_text struct text text = {};

		if (file_read(path, 1 << 20, false, &text, NULL) == 0)
			print_message("%s %s:\n%s", what, names[i], text.data);
	}
}

static void one_project(const char *folder)
{
	struct compose_project *before = NULL, *after = NULL;
	struct compose_gpus *was = NULL, *is = NULL;
	struct compose_edits edits = {}, again = {};
	auto_compose_backup struct compose_backup *backup = NULL;
	auto_strings struct strings notes = {}, more = {};
	struct error err = {};
	struct plan plan;

	project_make(folder, &plan);
	load(folder, &before, &was);
	if (getenv("SHOW"))
		show(folder, "before");
	if (assign(before, was, &plan, &edits, &notes, &err) < 0 ||
	    compose_edits_write(&edits, NOW_MS, &backup, &err) < 0)
		fail_msg("%s", err.text);
	load(folder, &after, &is);
	if (getenv("SHOW")) {
		show(folder, "after");
		for (size_t i = 0; i < plan.n; i++)
			print_message("s%zu: n %zu: %u %u\n", i, plan.n_on[i], plan.on[i][0],
				      plan.on[i][1]);
		for (size_t i = 0; i < notes.n; i++)
			print_message("%s\n", notes.items[i]);
	}
	check_places(after, is, was, &plan);
	if (assign(after, is, &plan, &again, &more, &err) < 0)
		fail_msg("the second time: %s", err.text);
	if (again.n > 0)
		fail_msg("the second time: \"%s\" (%s)", again.items[0].text,
			 more.n ? more.items[0] : "no note");
	compose_edits_finish(&edits);
	compose_project_destroy(after);
	compose_project_destroy(before);
}

static void what_is_shared_parts_as_planned(void **data)
{
	const char *first = getenv("FIRST");

	(void)data;
	for (uint64_t i = first ? strtoull(first, NULL, 10) : 0, n = 0; n < (first ? 1 : PROJECTS);
	     i++, n++) {
		void *own = NULL;

		assert_int_equal(folder_create(&own), 0);
		print_message("# project %llu\n", (unsigned long long)i);
		state = i * 7919 + 1;
		for (int k = 0; k < 4; k++)
			(void)below(2);
		one_project(own);
		assert_int_equal(folder_destroy(&own), 0);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {cmocka_unit_test(what_is_shared_parts_as_planned)};
	int failed;

	list_fill();
	failed = cmocka_run_group_tests(tests, NULL, NULL);
	gpu_list_destroy(list);
	return failed;
}
