/*
 * compose/assign over the corpus of real projects, where it is beside the checkout; nothing is
 * written there. Every service that asks for a GPU can be put on another one; afterwards it is
 * there, the others are where they were, and a second run has nothing to do.
 */
#include "compose/assign.h"

#include "unit.h"

#include <ftw.h>
#include <string.h>
#include <sys/stat.h>

#define GPUS 4

static struct gpu_list *list;
static size_t n_projects;

struct world {
	struct compose_project *project;
	struct compose_gpus *gpus;
	struct compose_target *targets;
	size_t n;
	const struct gpu *device;
};

static void world_finish(struct world *w)
{
	compose_project_destroy(w->project);
	free(w->targets);
}
#define auto_world CLEANUP(world_finish)

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
	}
}

/* The services that ask for an NVIDIA GPU, all or the `only`th, on one GPU. */
static void targets_choose(struct world *w, int only, const struct gpu *gpu)
{
	int number = 0;

	w->device = gpu;
	w->targets = mem_calloc(w->project->n + 1, sizeof *w->targets);
	for (size_t i = 0; i < w->project->n; i++) {
		if (!w->gpus[i].decides || !w->gpus[i].decides->is_nvidia)
			continue;
		if (only >= 0 && number++ != only)
			continue;
		w->targets[w->n++] = (struct compose_target){
		    .gpus = &w->gpus[i], .devices = &w->device, .n_devices = 1};
	}
}

/* False: compose would not read it either without files or variables the corpus lacks. */
static bool world_load(struct world *w, const struct compose_options *options)
{
	return compose_project_load(options, &w->project, NULL) == 0 &&
	       compose_locate(w->project, &w->gpus, NULL) == 0;
}

static void where(const struct compose_gpus *gpus, struct text *text)
{
	const struct compose_value *missing;
	size_t on[GPUS], n = 0;

	text_add(text,
		 compose_resolve(gpus, list, on, GPUS, &n, &missing, NULL) < 0 ? "nowhere" : "");
	for (size_t i = 0; i < n; i++)
		text_printf(text, "%zu ", on[i]);
}

static bool is_target(const struct world *w, const struct compose_gpus *gpus)
{
	for (size_t i = 0; i < w->n; i++)
		if (w->targets[i].gpus == gpus)
			return true;
	return false;
}

static void check_places(const char *path, const struct world *before, const struct world *after)
{
	assert_int_equal(before->project->n, after->project->n);
	for (size_t i = 0; i < after->project->n; i++) {
		auto_text struct text was = {}, is = {};

		where(&after->gpus[i], &is);
		if (is_target(after, &after->gpus[i]))
			text_printf(&was, "%u ", after->device->index);
		else
			where(&before->gpus[i], &was);
		if (strcmp(was.data, is.data) != 0)
			fail_msg("%s: %s is on %s instead of %s", path,
				 after->project->services[i].name, is.data, was.data);
	}
}

static int assign(struct world *w, bool uuid, struct compose_edits *edits, struct error *err)
{
	struct compose_assign_options options = {.by_uuid = uuid};
	auto_strings struct strings notes = {};

	return compose_assign(w->project, w->targets, w->n, list, &options, edits, &notes, err);
}

static void project_try(const char *path, const struct compose_options *options, int only,
			unsigned to, bool uuid)
{
	auto_world struct world before = {}, after = {};
	struct compose_edits edits = {}, again = {};
	struct compose_options changed = *options;
	struct compose_memory_file memory[COMPOSE_FILES_MAX];
	struct text texts[COMPOSE_FILES_MAX] = {};
	struct error err = {};
	size_t n;

	if (!world_load(&before, options))
		return;
	targets_choose(&before, only, &list->gpus[to]);
	if (assign(&before, uuid, &edits, &err) < 0)
		fail_msg("%s: %s", path, err.text);
	n = before.project->files.n;
	for (size_t i = 0; i < n; i++) {
		const struct compose_file *file = before.project->files.items[i];

		compose_edits_apply(&edits, file, &texts[i]);
		memory[i] = (struct compose_memory_file){file->path, texts[i].data, texts[i].len};
	}
	changed.memory = memory;
	changed.n_memory = n;
	if (!world_load(&after, &changed))
		fail_msg("%s cannot be read any more", path);
	targets_choose(&after, only, &list->gpus[to]);
	assert_int_equal(before.n, after.n);
	check_places(path, &before, &after);
	if (assign(&after, uuid, &again, &err) < 0 || again.n > 0)
		fail_msg("%s: the second time: %s", path, again.n ? again.items[0].text : err.text);
	n_projects += before.n > 0;
	compose_edits_finish(&edits);
	for (size_t i = 0; i < n; i++)
		text_finish(&texts[i]);
}

static int corpus_file(const char *path, const struct stat *st, int type, struct FTW *ftw)
{
	const char *dot = strrchr(path, '.');
	auto_free char *folder = mem_strndup(path, (size_t)ftw->base - 1);
	auto_strings struct strings files = {}, profiles = {};
	struct compose_options options = {.dir = folder, .files = &files, .profiles = &profiles};

	if (type != FTW_F || !dot || (strcmp(dot, ".yml") != 0 && strcmp(dot, ".yaml") != 0))
		return 0;
	strings_add(&files, path + ftw->base);
	strings_add(&profiles, "*");
	project_try(path, &options, -1, 2, false);
	project_try(path, &options, 0, 3, false);
	project_try(path, &options, 1, 3, false);
	project_try(path, &options, -1, 1, true);
	return 0;
}

static void real_projects(void **state)
{
	auto_free char *corpus =
	    mem_printf("%s/../shared/compose-corpus", getenv("PLIMSOLL_SOURCE"));
	struct stat st;

	if (stat(corpus, &st) < 0) {
		print_message("# SKIP: no compose-corpus beside the checkout\n");
		skip();
	}
	assert_int_equal(nftw(corpus, corpus_file, 16, FTW_PHYS), 0);
	assert_true(n_projects > 150);
}

int main(void)
{
	const struct CMUnitTest tests[] = {cmocka_unit_test(real_projects)};
	int failed;

	list_fill();
	failed = cmocka_run_group_tests(tests, NULL, NULL);
	gpu_list_destroy(list);
	return failed;
}
