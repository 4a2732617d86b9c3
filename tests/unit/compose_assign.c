/*
 * compose/assign over tests/cases/assign/: a project, targets, and what the files are afterwards.
 *
 *	@@ targets	SERVICE GPU[,GPU...] [VRAM in GB, or -, then !GPU it may not be on]
 *[why...]; a line each
 *	@@ options	uuid, crlf, old PROGRAM, shell NAME=value; a line each
 *	@@ in FILE, @@ out FILE	what is not in the second is to stay as it is; "@@ out" alone: no
 *			file changes
 *	@@ notes	what was done, all lines
 *	@@ error	a part of the text: it cannot be done
 *
 * Of each case it is also seen that only the targets' GPUs are others afterwards, and that a second
 * run has nothing to do.
 */
#include "compose/assign.h"

#include "util/file.h"

#include "folder.h"

#include <dirent.h>
#include <errno.h>
#include <string.h>

#define NOW_MS     ((int64_t)1795284246123)
#define SECTIONS   32
#define TARGETS    16
#define GPUS       4
#define SHELL_SIZE 8

struct section {
	char *name;
	struct text text;
};

struct test_case {
	struct section sections[SECTIONS];
	size_t n;
	bool crlf, uuid;
	char *shell[SHELL_SIZE + 1];
	size_t n_shell;
	char *old; /* the program that cannot read !override */
};

struct world {
	struct compose_project *project;
	struct compose_gpus *gpus;
	struct compose_target targets[TARGETS];
	const struct gpu *devices[TARGETS][GPUS];
	bool allowed[TARGETS][GPUS];
	size_t n;
};

static struct gpu_list *list;
static const char *folder; /* of the case at hand */

static void world_finish(struct world *w)
{
	compose_project_destroy(w->project);
}
#define auto_world CLEANUP(world_finish)

/* Four GPUs; the second is a small one. */
static void list_fill(void)
{
	list = gpu_list_create();
	for (unsigned i = 0; i < GPUS; i++) {
		struct gpu *gpu = gpu_list_append(list);

		gpu->index = i;
		(void)snprintf(gpu->uuid, sizeof gpu->uuid,
			       "GPU-%u%u%u%u0000-0000-4000-8000-00000000000%u", i, i, i, i, i);
		(void)snprintf(gpu->pci_bus_id, sizeof gpu->pci_bus_id, "00000000:0%u:00.0", i + 1);
		gpu->vram.total_bytes = (uint64_t)(i == 1 ? 4 : 24) << 30;
		gpu->valid = GPU_TOTAL;
		gpu->health = GPU_HEALTH_OK;
	}
}

static char *read_file(const char *path)
{
	struct text text = {};
	struct error err = {};

	return file_read(path, 1 << 20, false, &text, &err) < 0 ? NULL : text_take(&text);
}

static const char *section(const struct test_case *c, const char *name)
{
	for (size_t i = 0; i < c->n; i++)
		if (strcmp(c->sections[i].name, name) == 0)
			return c->sections[i].text.data;
	return NULL;
}

/* Cut at the lines that begin with "@@ ". */
static void case_read(const char *path, struct test_case *c)
{
	auto_free char *text = read_file(path);
	char *rest = text, *line;

	*c = (struct test_case){};
	assert_non_null(text);
	while ((line = strsep(&rest, "\n"))) {
		struct section *section = &c->sections[c->n ? c->n - 1 : 0];

		if (strncmp(line, "@@ ", 3) == 0) {
			assert_true(c->n < SECTIONS);
			section = &c->sections[c->n++];
			section->name = mem_strdup(line + 3);
			text_add(&section->text, "");
		} else if (c->n > 0 && rest) {
			text_printf(&section->text, "%s\n", line);
		}
	}
}

static void case_finish(struct test_case *c)
{
	for (size_t i = 0; i < c->n; i++) {
		free(c->sections[i].name);
		text_finish(&c->sections[i].text);
	}
	for (size_t i = 0; i < c->n_shell; i++)
		free(c->shell[i]);
	free(c->old);
}

/* With CRLF for newlines where the case says so; "<no-eol>" at its end: no line end there. */
static char *section_text(const struct test_case *c, const char *name)
{
	const char *text = section(c, name) ?: "", *mark = strstr(text, "<no-eol>\n");
	struct text out = {};

	text_add(&out, "");
	for (const char *p = text; *p && p != mark; p++)
		text_add(&out, c->crlf && *p == '\n' ? "\r\n" : (char[]){*p, '\0'});
	return text_take(&out);
}

static void options_read(struct test_case *c)
{
	char *rest = section(c, "options") ? mem_strdup(section(c, "options")) : NULL;
	char *all = rest, *line;

	while ((line = strsep(&rest, "\n"))) {
		c->crlf |= strcmp(line, "crlf") == 0;
		c->uuid |= strcmp(line, "uuid") == 0;
		if (strncmp(line, "old ", 4) == 0 && !c->old)
			c->old = mem_strdup(line + 4);
		if (strncmp(line, "shell ", 6) == 0 && c->n_shell < SHELL_SIZE)
			c->shell[c->n_shell++] = mem_strdup(line + 6);
	}
	free(all);
}

static void files_write(const struct test_case *c)
{
	for (size_t i = 0; i < c->n; i++) {
		auto_free char *path = NULL, *text = NULL;
		struct error err = {};

		if (strncmp(c->sections[i].name, "in ", 3) != 0)
			continue;
		path = mem_printf("%s/%s", folder, c->sections[i].name + 3);
		text = section_text(c, c->sections[i].name);
		if (file_replace(path, text, strlen(text), 0644, &err) < 0)
			fail_msg("%s", err.text);
	}
}

static void target_read(struct world *w, char *line)
{
	struct compose_target *target = &w->targets[w->n];
	const char *name = strsep(&line, " "), *gpus = strsep(&line, " ");
	const char *vram = line ? strsep(&line, " ") : NULL;

	assert_true(w->n < TARGETS);
	for (size_t i = 0; i < w->project->n; i++)
		if (strcmp(w->project->services[i].name, name) == 0)
			target->gpus = &w->gpus[i];
	if (!target->gpus)
		fail_msg("no service %s", name);
	for (const char *p = gpus; p && *p >= '0' && *p <= '9'; p += 1 + (p[1] == ','))
		w->devices[w->n][target->n_devices++] = &list->gpus[*p - '0'];
	target->devices = w->devices[w->n];
	target->vram_bytes = vram ? strtoull(vram, NULL, 10) << 30 : 0;
	memset(w->allowed[w->n], true, sizeof w->allowed[w->n]);
	target->allowed = w->allowed[w->n];
	if (vram && strchr(vram, '!'))
		w->allowed[w->n][strchr(vram, '!')[1] - '0'] = false;
	target->why = line && *line ? arena_strdup(&w->project->arena, line) : NULL;
	w->n++;
}

static void world_load(struct test_case *c, struct world *w)
{
	struct compose_options options = {.dir = folder, .shell = c->n_shell ? c->shell : NULL};
	auto_free char *targets = mem_strdup(section(c, "targets"));
	struct error err = {};
	char *rest = targets, *line;

	if (compose_project_load(&options, &w->project, &err) < 0 ||
	    compose_locate(w->project, &w->gpus, &err) < 0)
		fail_msg("%s", err.text);
	while ((line = strsep(&rest, "\n")))
		if (*line)
			target_read(w, line);
}

static char *where(const struct compose_gpus *gpus)
{
	const struct compose_value *missing;
	size_t on[GPUS], n = 0;
	struct error err = {};
	struct text text = {};

	if (compose_resolve(gpus, list, on, GPUS, &n, &missing, &err) < 0)
		return mem_strdup("nowhere");
	for (size_t i = 0; i < n; i++)
		text_printf(&text, "%s%zu", i ? "," : "", on[i]);
	return text_take(&text);
}

static const struct compose_target *target_of(const struct world *w, const char *service)
{
	for (size_t i = 0; i < w->n; i++)
		if (strcmp(w->targets[i].gpus->service->name, service) == 0)
			return &w->targets[i];
	return NULL;
}

/* Targets are where they are wanted, the others where they were. */
static void check_places(const struct world *before, const struct world *after)
{
	for (size_t i = 0; i < after->project->n; i++) {
		const char *name = after->project->services[i].name;
		const struct compose_target *target = target_of(after, name);
		auto_free char *was = where(&before->gpus[i]), *is = where(&after->gpus[i]);
		auto_text struct text wanted = {};

		if (!after->project->services[i].active)
			continue;
		for (size_t k = 0; target && k < target->n_devices; k++)
			text_printf(&wanted, "%s%u", k ? "," : "", target->devices[k]->index);
		if (strcmp(is, target ? wanted.data : was) != 0)
			fail_msg("%s is on %s instead of %s", name, is, target ? wanted.data : was);
	}
}

static void check_files(const struct test_case *c)
{
	for (size_t i = 0; i < c->n; i++) {
		const char *name = c->sections[i].name;
		auto_free char *path = NULL, *wanted = NULL, *got = NULL, *out = NULL;

		if (strncmp(name, "in ", 3) == 0) {
			out = mem_printf("out %s", name + 3);
			wanted = section_text(c, section(c, out) ? out : name);
		} else if (strncmp(name, "out ", 4) == 0) {
			wanted = section_text(c, name);
		} else {
			continue;
		}
		path = mem_printf("%s/%s", folder, strchr(name, ' ') + 1);
		got = read_file(path);
		if (!got || strcmp(got, wanted) != 0)
			fail_msg("%s is now:\n%s", strchr(name, ' ') + 1,
				 got ? got : "(not there)");
	}
}

/* No file has come that the case does not show, backups apart. */
static void check_new_files(const struct test_case *c)
{
	DIR *dir = opendir(folder);

	assert_non_null(dir);
	for (struct dirent *entry; (entry = readdir(dir));) {
		auto_free char *in = mem_printf("in %s", entry->d_name);
		auto_free char *out = mem_printf("out %s", entry->d_name);
		auto_free char *path = mem_printf("%s/%s", folder, entry->d_name), *text = NULL;

		if (strcmp(entry->d_name, ".") == 0 || strcmp(entry->d_name, "..") == 0 ||
		    strstr(entry->d_name, ".plimsoll-") || section(c, in) || section(c, out))
			continue;
		text = read_file(path);
		fail_msg("%s is now:\n%s", entry->d_name, text);
	}
	(void)closedir(dir);
}

static int assign(const struct test_case *c, struct world *w, struct compose_edits *edits,
		  struct strings *notes, struct error *err)
{
	struct compose_assign_options options = {.by_uuid = c->uuid, .no_override = c->old};

	return compose_assign(w->project, w->targets, w->n, list, &options, edits, notes, err);
}

static void check_notes(const struct test_case *c, const struct strings *notes)
{
	auto_text struct text all = {};
	auto_free char *wanted = section(c, "notes") ? section_text(c, "notes") : NULL;

	for (size_t i = 0; i < notes->n; i++)
		text_printf(&all, "%s\n", notes->items[i]);
	if (wanted && strcmp(all.data ? all.data : "", wanted) != 0)
		fail_msg("notes:\n%s", all.data ? all.data : "");
}

static void case_run(struct test_case *c)
{
	auto_world struct world before = {}, after = {};
	struct compose_edits edits = {}, again = {};
	auto_compose_backup struct compose_backup *backup = NULL;
	auto_strings struct strings notes = {}, more = {};
	struct error err = {};
	int r;

	files_write(c);
	world_load(c, &before);
	r = assign(c, &before, &edits, &notes, &err);
	if (section(c, "error")) {
		auto_free char *told = mem_strdup(section(c, "error"));

		told[strcspn(told, "\n")] = '\0';
		if (r != -ENOTSUP || !strstr(err.text, told))
			fail_msg("%d: %s", r, r < 0 ? err.text : "no error");
		assert_int_equal(edits.n, 0);
		return;
	}
	if (r < 0)
		fail_msg("%s", err.text);
	if (compose_edits_write(&edits, NOW_MS, &backup, &err) < 0)
		fail_msg("%s", err.text);
	check_files(c);
	check_new_files(c);
	check_notes(c, &notes);
	world_load(c, &after);
	check_places(&before, &after);
	if (assign(c, &after, &again, &more, &err) < 0)
		fail_msg("the second time: %s", err.text);
	if (again.n > 0)
		fail_msg("the second time: \"%s\" (%s)", again.items[0].text,
			 more.n ? more.items[0] : "no note");
	compose_edits_finish(&edits);
}

static void one_case(void **state)
{
	struct test_case c;
	void *own = NULL;

	case_read(*state, &c);
	options_read(&c);
	assert_int_equal(folder_create(&own), 0);
	folder = own;
	case_run(&c);
	assert_int_equal(folder_destroy(&own), 0);
	case_finish(&c);
}

static int compare(const void *a, const void *b)
{
	return strcmp(((const struct CMUnitTest *)a)->name, ((const struct CMUnitTest *)b)->name);
}

int main(int argc, char **argv)
{
	auto_free char *cases = mem_printf("%s/assign", getenv("PLIMSOLL_CASES"));
	struct CMUnitTest *tests = NULL;
	size_t n = 0, room = 0;
	DIR *dir = opendir(cases);
	int failed;

	list_fill();
	for (struct dirent *entry; dir && (entry = readdir(dir));) {
		if (entry->d_name[0] == '.' || (argc > 1 && !strstr(entry->d_name, argv[1])))
			continue;
		ARRAY_GROW(tests, n, room);
		tests[n++] = (struct CMUnitTest){
		    .name = mem_strdup(entry->d_name),
		    .test_func = one_case,
		    .initial_state = mem_printf("%s/%s", cases, entry->d_name),
		};
	}
	if (n == 0)
		return 1;
	(void)closedir(dir);
	qsort(tests, n, sizeof *tests, compare);
	failed = _cmocka_run_group_tests("assign", tests, n, NULL, NULL);
	for (size_t i = 0; i < n; i++) {
		free((char *)(uintptr_t)tests[i].name);
		free(tests[i].initial_state);
	}
	free(tests);
	gpu_list_destroy(list);
	return failed;
}
