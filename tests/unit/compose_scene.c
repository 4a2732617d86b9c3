/* See compose_scene.h. */
#include "compose_scene.h"

#include "util/file.h"

#include <dirent.h>
#include <string.h>

void scene_finish(struct scene *scene)
{
	strings_finish(&scene->files);
	strings_finish(&scene->env_files);
	strings_finish(&scene->profiles);
	strings_finish(&scene->shell);
	strings_finish(&scene->texts);
}

static const char *keep(struct scene *scene, char *text)
{
	strings_take(&scene->texts, text);
	return text;
}

void scene_file(struct scene *scene, const char *path, const char *text, size_t len)
{
	struct compose_memory_file *file = &scene->memory[scene->n_memory++];

	assert_true(scene->n_memory <= SCENE_FILES_MAX);
	file->path =
	    keep(scene, *path == '/' || strcmp(path, "-") == 0 ? mem_strdup(path)
							       : mem_printf("/p/%s", path));
	file->text = keep(scene, mem_strndup(text, len));
	file->len = len;
}

void scene_args(struct scene *scene, const char *words)
{
	struct {
		const char *name;
		struct strings *list;
		const char **one;
	} options[] = {
	    {"-f", &scene->files},
	    {"--env-file", &scene->env_files},
	    {"--profile", &scene->profiles},
	    {"-p", .one = &scene->options.project_name},
	    {"-d", .one = &scene->options.project_dir},
	    {"--in", .one = &scene->options.dir},
	};
	auto_free char *copy = mem_strdup(words);
	char *state = NULL;

	for (char *word = strtok_r(copy, " ", &state); word; word = strtok_r(NULL, " ", &state)) {
		size_t i = 0;

		if (strchr(word, '=') && *word != '-') {
			strings_add(&scene->shell, word);
			continue;
		}
		while (i < ARRAY_LEN(options) && strcmp(options[i].name, word) != 0)
			i++;
		if (i == ARRAY_LEN(options))
			fail_msg("args: what is %s?", word);
		word = strtok_r(NULL, " ", &state);
		assert_non_null(word);
		if (options[i].list)
			strings_add(options[i].list, word);
		else
			*options[i].one = keep(scene, mem_strdup(word));
	}
}

int scene_load(struct scene *scene, struct compose_project **ret_project, struct error *err)
{
	struct compose_options *options = &scene->options;

	options->files = &scene->files;
	options->env_files = &scene->env_files;
	options->profiles = &scene->profiles;
	options->shell = scene->shell.items;
	options->memory = scene->memory;
	options->n_memory = scene->n_memory;
	if (!options->dir)
		options->dir = "/p";
	return compose_project_load(options, ret_project, err);
}

void scene_render(const struct compose_node *node, struct text *text)
{
	if (!node) {
		text_add(text, "absent");
	} else if (node->type == COMPOSE_NULL) {
		text_add(text, "~");
	} else if (node->type == COMPOSE_SCALAR) {
		text_add(text, node->text);
	} else {
		text_add(text, node->type == COMPOSE_MAP ? "{" : "[");
		for (size_t i = 0; i < node->n; i++) {
			text_add(text, i > 0 ? ", " : "");
			if (node->type == COMPOSE_MAP)
				text_printf(text, "%s: ", node->entries[i].key);
			scene_render(node->type == COMPOSE_MAP ? node->entries[i].value
							       : node->items[i],
				     text);
		}
		text_add(text, node->type == COMPOSE_MAP ? "}" : "]");
	}
}

static const struct compose_node *find(const struct compose_node *node, const char *path)
{
	while (node && *path) {
		size_t len = strcspn(path, ".");
		auto_free char *key = mem_strndup(path, len);
		unsigned long long at;

		if (node->type == COMPOSE_LIST)
			node = text_to_u64(key, 0, 100000, &at) && at < node->n ? node->items[at]
										: NULL;
		else
			node = compose_get(node, key);
		path += len + (path[len] == '.');
	}
	return node;
}

static const char *below(const char *path)
{
	return text_starts_with(path, "/p/") ? path + 3 : path;
}

static void put(struct text *text, const char *word)
{
	text_printf(text, "%s%s", text->len > 0 ? " " : "", word);
}

static void put_depends(const struct compose_service *service, struct text *text)
{
	static const char *const conditions[] = {"started", "healthy", "completed"};

	for (size_t i = 0; i < service->n_depends; i++) {
		const struct compose_dependency *dependency = &service->depends[i];

		put(text, dependency->service);
		text_printf(text, ":%s%s%s", conditions[dependency->condition],
			    dependency->required ? "" : ":optional",
			    dependency->implicit ? ":implicit" : "");
	}
}

static void put_where(const struct compose_node *node, struct text *text)
{
	unsigned line, column;

	if (!node || !node->span.file)
		return;
	compose_file_position(node->span.file, node->span.begin, &line, &column);
	text_printf(text, "%s:%u:%u", below(node->span.file->shown), line, column);
}

/* What a service is asked about: "settings NAME" and the like. False: nothing of that. */
static bool answer_service(const struct compose_project *project, const char *what,
			   struct text *text)
{
	const char *name = strchr(what, ' ');
	const struct compose_service *service =
	    name ? compose_project_find(project, name + 1) : NULL;

	if (!service)
		return false;
	if (text_starts_with(what, "depends "))
		put_depends(service, text);
	else if (text_starts_with(what, "replicas "))
		text_printf(text, "%u", service->replicas);
	else if (text_starts_with(what, "settings "))
		for (size_t i = 0; i < service->n_settings; i++) {
			put(text, service->settings[i].name);
			text_printf(text, "=%s", service->settings[i].value);
		}
	else
		return false;
	return true;
}

static void answer(const struct compose_project *project, const char *what, struct text *text)
{
	if (answer_service(project, what, text))
		return;
	if (strcmp(what, "name") == 0 || strcmp(what, "dir") == 0) {
		text_add(text, *what == 'n' ? project->name : project->dir);
	} else if (strcmp(what, "services") == 0) {
		for (size_t i = 0; i < project->n; i++) {
			put(text, project->services[i].name);
			text_add(text, project->services[i].active ? "" : "(off)");
		}
	} else if (strcmp(what, "files") == 0) {
		for (size_t i = 0; i < project->n_main_files; i++)
			put(text, below(project->main_files[i]->path));
	} else if (strcmp(what, "read") == 0) {
		for (size_t i = 0; i < project->n_compose_files; i++)
			put(text, below(project->compose_files[i]->path));
	} else if (strcmp(what, "warnings") == 0) {
		for (size_t i = 0; i < project->warnings.n; i++)
			put(text, below(project->warnings.items[i]));
	} else if (text_starts_with(what, "where ")) {
		put_where(find(project->root, what + strlen("where ")), text);
	} else {
		scene_render(find(project->root, what), text);
	}
}

/* One case: where its lines begin and end in the file. */
struct lines {
	const char *file;
	char *text;
};

static void expect(const struct compose_project *project, const struct error *err, const char *line)
{
	const char *equals = strstr(line, " = ");
	size_t len = equals ? (size_t)(equals - line) : strcspn(line, "=");
	auto_free char *what = mem_strndup(line, len);
	auto_text struct text text = {};

	while (*what && what[strlen(what) - 1] == ' ')
		what[strlen(what) - 1] = '\0';
	if (strcmp(what, "error") == 0)
		text_add(&text, project ? "" : err->text);
	else if (!project)
		fail_msg("it is refused: %s", err->text);
	else
		answer(project, what, &text);
	if (strcmp(text.data ? text.data : "", equals ? equals + 3 : "") != 0)
		fail_msg("%s is\n  %s\nnot\n  %s", what, text.data ? text.data : "",
			 equals ? equals + 3 : "");
}

static void test_case(void **state)
{
	const struct lines *lines = *state;
	auto_scene struct scene scene = {};
	auto_project struct compose_project *project = NULL;
	auto_strings struct strings expected = {};
	auto_free char *path = NULL;
	auto_text struct text file = {};
	struct error err = {};

	for (const char *line = lines->text; *line;) {
		size_t len = strcspn(line, "\n");
		auto_free char *copy = mem_strndup(line, len);
		bool marker = text_starts_with(copy, "@@ ") || text_starts_with(copy, "=> ");

		if (marker && path) {
			scene_file(&scene, path, file.data ? file.data : "", file.len);
			path = (free(path), NULL);
			text_clear(&file);
		}
		if (text_starts_with(copy, "@@ "))
			path = mem_strdup(copy + 3);
		else if (text_starts_with(copy, "=> "))
			strings_add(&expected, copy + 3);
		else if (path)
			text_add_bytes(&file, line, len + (line[len] == '\n'));
		else if (text_starts_with(copy, "args:"))
			scene_args(&scene, copy + strlen("args:"));
		line += len + (line[len] == '\n');
	}
	assert_true(expected.n > 0);
	(void)!scene_load(&scene, &project, &err);
	for (size_t i = 0; i < expected.n; i++)
		expect(project, &err, expected.items[i]);
}

struct tests {
	struct CMUnitTest *items;
	size_t n, room;
	struct strings memory;
};

static void add_cases(struct tests *tests, const char *path)
{
	auto_text struct text text = {};
	char *at;

	assert_int_equal(file_read(path, 1 << 20, false, &text, NULL), 0);
	at = strstr(text.data, "== ");
	while (at) {
		char *name = at + 3, *end = strstr(name, "\n== ");
		struct lines *lines = mem_alloc(sizeof *lines);
		size_t len = strcspn(name, "\n");

		strings_take(&tests->memory, (char *)lines);
		strings_take(&tests->memory,
			     mem_strndup(name + len, end ? (size_t)(end + 1 - name) - len
							 : strlen(name + len)));
		lines->text = tests->memory.items[tests->memory.n - 1];
		strings_take(&tests->memory, mem_strndup(name, len));
		ARRAY_GROW(tests->items, tests->n, tests->room);
		tests->items[tests->n++] =
		    (struct CMUnitTest){.name = tests->memory.items[tests->memory.n - 1],
					.test_func = test_case,
					.initial_state = lines};
		at = end ? end + 1 : NULL;
	}
}

int scene_run(const char *folder, const struct CMUnitTest *more, size_t n_more)
{
	struct tests tests = {};
	auto_free char *path = mem_printf("%s/compose/%s", getenv("PLIMSOLL_CASES"), folder);
	struct dirent **entries = NULL;
	int n = scandir(path, &entries, NULL, alphasort), failed;

	for (int i = 0; i < n; i++) {
		if (text_ends_with(entries[i]->d_name, ".case")) {
			auto_free char *file = mem_printf("%s/%s", path, entries[i]->d_name);

			add_cases(&tests, file);
		}
		free(entries[i]);
	}
	free(entries);
	for (size_t i = 0; i < n_more; i++) {
		ARRAY_GROW(tests.items, tests.n, tests.room);
		tests.items[tests.n++] = more[i];
	}
	failed = tests.n > n_more
		     ? _cmocka_run_group_tests(folder, tests.items, tests.n, NULL, NULL)
		     : 1;
	free(tests.items);
	strings_finish(&tests.memory);
	return failed;
}
