/*
 * Reading a project: the cases of tests/cases/compose/project; the real projects of compose-corpus,
 * where it lies beside the checkout, with what compose-go makes of them; hostile ones, which end
 * within a second and 100 MB; a large one, with the time it takes.
 */
#include "compose_scene.h"

#include "util/file.h"

#include <dirent.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>

#ifdef __SANITIZE_ADDRESS__
#define SLOWER 6 /* times, under AddressSanitizer */
#else
#define SLOWER 1
#endif

#define CORPUS "/corpus/" /* where it lies in memory */

static double cpu_seconds(void)
{
	struct timespec now;

	(void)clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &now);
	return (double)now.tv_sec + (double)now.tv_nsec / 1e9;
}

/* All files below `path` as CORPUS<name>. */
static void corpus_add(struct scene *scene, const char *path, const char *name)
{
	struct dirent **entries = NULL;
	int n = scandir(path, &entries, NULL, alphasort);

	for (int i = 0; i < n; i++) {
		auto_free char *full = mem_printf("%s/%s", path, entries[i]->d_name);
		auto_free char *as = mem_printf("%s/%s", name, entries[i]->d_name);
		auto_text struct text text = {};
		struct stat st;

		if (strcmp(entries[i]->d_name, ".") == 0 || strcmp(entries[i]->d_name, "..") == 0 ||
		    stat(full, &st) < 0) {
			free(entries[i]);
			continue;
		}
		if (S_ISDIR(st.st_mode))
			corpus_add(scene, full, as);
		else if (file_read(full, COMPOSE_FILE_MAX, false, &text, NULL) == 0)
			scene_file(scene, as, text.data ? text.data : "", text.len);
		free(entries[i]);
	}
	free(entries);
}

static char *corpus_path(void)
{
	return mem_printf("%s/../shared/compose-corpus", getenv("PLIMSOLL_SOURCE"));
}

static const struct compose_memory_file *in_memory(const struct scene *scene, const char *path)
{
	for (size_t i = 0; i < scene->n_memory; i++)
		if (strcmp(scene->memory[i].path, path) == 0)
			return &scene->memory[i];
	return NULL;
}

/* "+.env=.env.example": that file, as a copy of another or empty. */
static void corpus_make(struct scene *scene, const char *dir, const char *word)
{
	const char *equals = strchr(word, '=');
	auto_free char *name = mem_strndup(word, strcspn(word, "="));
	auto_free char *path = compose_path_join(dir, name);
	auto_free char *from = equals ? compose_path_join(dir, equals + 1) : NULL;
	const struct compose_memory_file *file = from ? in_memory(scene, from) : NULL;

	assert_null(in_memory(scene, path));
	assert_true(!from || file);
	scene_file(scene, path, file ? file->text : "", file ? file->len : 0);
}

static size_t count(const struct compose_node *list)
{
	return list && list->type == COMPOSE_LIST ? list->n : 0;
}

static char *corpus_summary(const struct compose_project *project)
{
	size_t on = 0, requests = 0, variables = 0;

	for (size_t i = 0; i < project->n; i++) {
		const struct compose_service *service = &project->services[i];

		requests += count(compose_path(service->node, "deploy", "resources", "reservations",
					       "devices", NULL)) +
			    count(compose_get(service->node, "gpus"));
		on += service->active;
		variables += service->active ? service->n_settings : 0;
	}
	return mem_printf("%zu on, %zu off, %zu requests, %zu variables", on, project->n - on,
			  requests, variables);
}

static char *without(const char *text, const char *part)
{
	struct text out = {};

	while (*text) {
		const char *next = strstr(text, part);

		if (!next)
			next = text + strlen(text);
		text_add_bytes(&out, text, (size_t)(next - text));
		text = *next ? next + strlen(part) : next;
	}
	return text_take(&out);
}

/* One line of corpus.txt. */
static void test_corpus(void **state)
{
	const char *line = *state, *colon = strchr(line, ':'), *arrow = strstr(line, " => ");
	auto_free char *folder = mem_strndup(line, (size_t)(colon - line));
	auto_free char *dir = mem_printf(CORPUS "%s", folder), *prefix = mem_printf("%s/", dir);
	auto_free char *words = mem_strndup(colon + 1, (size_t)(arrow - colon - 1));
	auto_free char *corpus = corpus_path(), *result = NULL;
	auto_scene struct scene scene = {.options = {.dir = dir}};
	auto_project struct compose_project *project = NULL;
	struct error err = {};
	char *saved = NULL;

	corpus_add(&scene, corpus, "/corpus");
	for (size_t i = 0; i < scene.n_memory; i++)
		assert_true(text_starts_with(scene.memory[i].path, CORPUS));
	for (char *word = strtok_r(words, " ", &saved); word; word = strtok_r(NULL, " ", &saved)) {
		auto_free char *pair = NULL;
		char *value = *word == '-' ? strtok_r(NULL, " ", &saved) : NULL;

		pair = value ? mem_printf("%s %s", word, value) : mem_strdup(word);
		if (*word == '+')
			corpus_make(&scene, dir, word + 1);
		else
			scene_args(&scene, pair);
	}
	arrow += strlen(" => ");
	if (scene_load(&scene, &project, &err) < 0) {
		auto_free char *text = without(err.text, prefix);

		result = mem_printf("refused: %s", text);
	} else {
		result = corpus_summary(project);
	}
	if (!text_starts_with(arrow[0] == 'r' ? result : arrow, arrow[0] == 'r' ? arrow : result))
		fail_msg("%s\n  %s\nnot\n  %s", line, result, arrow);
}

static void test_no_corpus(void **state)
{
	(void)state;
	print_message("compose-corpus does not lie beside the checkout: not read\n");
	skip();
}

/* A hostile project: it is refused, at a place, soon, and with little memory. */
static void refused(struct scene *scene, const char *text)
{
	auto_project struct compose_project *project = NULL;
	double begin = cpu_seconds(), taken;
	unsigned line = 0, column = 0;
	struct error err = {};
	const char *colon;

	assert_true(scene_load(scene, &project, &err) < 0);
	taken = cpu_seconds() - begin;
	if (!strstr(err.text, text))
		fail_msg("%s\nsays nothing of %s", err.text, text);
	colon = strchr(err.text, ':');
	if (!colon || sscanf(colon, ":%u:%u:", &line, &column) != 2 || line == 0 || column == 0)
		fail_msg("no place in: %s", err.text);
	print_message("# %.0f ms: %.100s\n", taken * 1000, err.text);
	assert_true(taken < 1.0 * SLOWER);
}

static void put_text(struct scene *scene, const char *path, struct text *text)
{
	scene_file(scene, path, text->data, text->len);
	text_finish(text);
}

static void test_include_circle(void **state)
{
	auto_scene struct scene scene = {};
	struct text text = {};

	(void)state;
	for (unsigned i = 0; i < 20; i++) {
		auto_free char *path = i ? mem_printf("%u.yaml", i) : mem_strdup("compose.yaml");

		text_printf(&text, "include:\n  - %s%s\n", i == 19 ? "compose" : "",
			    i == 19 ? ".yaml" : "");
		if (i < 19) {
			text_clear(&text);
			text_printf(&text, "include:\n  - %u.yaml\n", i + 1);
		}
		put_text(&scene, path, &text);
	}
	refused(&scene, "include cycle detected");
}

/* Each file includes the next one twice: 2^40 projects. */
static void test_include_bomb(void **state)
{
	auto_scene struct scene scene = {};
	struct text text = {};

	(void)state;
	for (unsigned i = 0; i < 40; i++) {
		auto_free char *path = i ? mem_printf("%u.yaml", i) : mem_strdup("compose.yaml");

		text_printf(&text, "include: [%u.yaml, ./%u.yaml]\nservices: {s%u: {image: x}}\n",
			    i + 1, i + 1, i);
		put_text(&scene, path, &text);
	}
	scene_file(&scene, "40.yaml", "services: {}\n", 13);
	refused(&scene, "include: more than");
}

/* The same with only twenty levels, which are allowed: the number of projects ends it. */
static void test_include_wide(void **state)
{
	auto_scene struct scene scene = {};
	struct text text = {};

	(void)state;
	for (unsigned i = 0; i < 20; i++) {
		auto_free char *path = i ? mem_printf("%u.yaml", i) : mem_strdup("compose.yaml");

		text_printf(&text, "include: [%u.yaml, ./%u.yaml]\n", i + 1, i + 1);
		put_text(&scene, path, &text);
	}
	scene_file(&scene, "20.yaml", "services: {a: {image: x}}\n", 26);
	refused(&scene, "include: more than");
}

static void test_extends_chain(void **state)
{
	auto_scene struct scene scene = {};
	struct text text = {};

	(void)state;
	text_add(&text, "services:\n  s0: {image: x}\n");
	for (unsigned i = 1; i < 20000; i++)
		text_printf(&text, "  s%u: {extends: s%u}\n", i, i - 1);
	put_text(&scene, "compose.yaml", &text);
	refused(&scene, "extends: a chain of more than");
}

static void test_extends_chain_backwards(void **state)
{
	auto_scene struct scene scene = {};
	struct text text = {};

	(void)state;
	text_add(&text, "services:\n");
	for (unsigned i = 20000; i > 0; i--)
		text_printf(&text, "  s%u: {extends: s%u}\n", i, i - 1);
	text_add(&text, "  s0: {image: x}\n");
	put_text(&scene, "compose.yaml", &text);
	refused(&scene, "extends: a chain of more than");
}

/* A few thousand services extend one with a long list, each adding to it. */
static void test_extends_wide(void **state)
{
	auto_scene struct scene scene = {};
	struct text text = {};

	(void)state;
	text_add(&text, "services:\n  base:\n    image: x\n    environment:\n");
	for (unsigned i = 0; i < 40000; i++)
		text_printf(&text, "      - A%u=1\n", i);
	for (unsigned i = 0; i < 8000; i++)
		text_printf(&text, "  s%u: {extends: base, environment: [B=1]}\n", i);
	put_text(&scene, "compose.yaml", &text);
	refused(&scene, "the project takes more than");
}

static void test_extends_files(void **state)
{
	auto_scene struct scene scene = {};
	struct text text = {};

	(void)state;
	for (unsigned i = 0; i < 100; i++) {
		auto_free char *path = i ? mem_printf("%u.yaml", i) : mem_strdup("compose.yaml");

		text_printf(&text, "services: {a: {extends: {file: %u.yaml, service: a}}}\n",
			    i == 99 ? 1 : i + 1);
		put_text(&scene, path, &text);
	}
	refused(&scene, "extends: a chain of more than");
}

static void test_dependency_chain(void **state)
{
	auto_scene struct scene scene = {};
	struct text text = {};
	const unsigned n = COMPOSE_SERVICES_MAX;

	(void)state;
	text_add(&text, "services:\n");
	for (unsigned i = 0; i < n; i++)
		text_printf(&text, "  s%u: {image: x, depends_on: [s%u]}\n", i, (i + 1) % n);
	put_text(&scene, "compose.yaml", &text);
	refused(&scene, "dependency cycle detected");
}

/* Every file names every service anew. */
static void test_many_files(void **state)
{
	auto_scene struct scene scene = {};
	struct text text = {};

	(void)state;
	for (unsigned i = 0; i < 120; i++) {
		auto_free char *path = mem_printf("%u.yaml", i), *args = mem_printf("-f %s", path);

		text_add(&text, "services:\n");
		for (unsigned j = 0; j < 5000; j++)
			text_printf(&text, "  s%u: {image: x, labels: [a%u=1]}\n", j, i);
		put_text(&scene, path, &text);
		scene_args(&scene, args);
	}
	refused(&scene, "the project");
}

static void test_alias_bomb(void **state)
{
	auto_scene struct scene scene = {};
	struct text text = {};

	(void)state;
	text_add(&text, "x-0: &a0 [x, x, x, x, x, x, x, x, x]\n");
	for (unsigned i = 1; i < 12; i++)
		text_printf(&text, "x-%u: &a%u [*a%u, *a%u, *a%u, *a%u, *a%u, *a%u, *a%u]\n", i, i,
			    i - 1, i - 1, i - 1, i - 1, i - 1, i - 1, i - 1);
	text_add(&text, "services: {a: {image: x, security_opt: *a11}}\n");
	put_text(&scene, "compose.yaml", &text);
	refused(&scene, "compose.yaml");
}

/* Thousands of services with an env file of thousands of lines. */
static void check_env_files(const char *entry, unsigned services, const char *wanted)
{
	auto_scene struct scene scene = {};
	struct text text = {};

	text_add(&text, "services:\n");
	for (unsigned i = 0; i < services; i++)
		text_printf(&text, "  s%u: {image: x, env_file: %s}\n", i, entry);
	put_text(&scene, "compose.yaml", &text);
	for (unsigned i = 0; i < 50000; i++)
		text_printf(&text, "A%u=1\n", i);
	put_text(&scene, "a.env", &text);
	refused(&scene, wanted);
}

static void test_env_files(void **state)
{
	(void)state;
	check_env_files("a.env", 10000, "the project's values grow beyond 64 MiB");
	check_env_files("[{path: a.env, format: raw}]", 1000, "the project takes more than 68 MiB");
}

static void test_too_much_text(void **state)
{
	auto_scene struct scene scene = {};
	struct text text = {};

	(void)state;
	text_add(&text, "services:\n  a:\n    image: x\n    env_file:\n");
	for (unsigned i = 0; i < 8; i++)
		text_printf(&text, "      - %u.env\n", i);
	put_text(&scene, "compose.yaml", &text);
	for (unsigned i = 0; i < 8; i++) {
		auto_free char *path = mem_printf("%u.env", i);

		while (text.len < 3 << 20)
			text_add(&text, "# a long comment, of which there may be some megabytes\n");
		put_text(&scene, path, &text);
	}
	refused(&scene, "the project has more than");
}

static void put_large_service(struct text *text, unsigned i)
{
	text_printf(text,
		    "  service-%u:\n"
		    "    image: registry.example/stack/service-%u:${TAG:-latest}\n"
		    "    restart: unless-stopped\n"
		    "    environment:\n"
		    "      - NVIDIA_VISIBLE_DEVICES=${GPU_%u:-0}\n"
		    "      - LOG_LEVEL=${LOG_LEVEL}\n"
		    "    volumes: [./models:/models:ro, ./data/%u:/data]\n"
		    "    healthcheck:\n"
		    "      test: [CMD, curl, -fs, http://localhost:8080/health]\n"
		    "      interval: 15s\n"
		    "    deploy:\n"
		    "      resources:\n"
		    "        reservations:\n"
		    "          devices:\n"
		    "            - driver: nvidia\n"
		    "              device_ids: ['${GPU_%u:-0}']\n"
		    "              capabilities: [gpu]\n",
		    i, i, i, i, i);
}

/* Sixty files of 50 KB, half of which change the services of the others. */
static void test_large(void **state)
{
	auto_scene struct scene scene = {};
	auto_project struct compose_project *project = NULL;
	struct text text = {};
	double begin, taken;
	size_t services = 0;
	struct error err = {};

	(void)state;
	for (unsigned i = 0; i < 60; i++) {
		auto_free char *path = mem_printf("%u.yaml", i), *args = mem_printf("-f %s", path);

		text_add(&text, "services:\n");
		for (unsigned j = 0; text.len < 50000; j++) {
			put_large_service(&text, i / 2 * 1000 + j);
			services += i % 2 == 0;
		}
		put_text(&scene, path, &text);
		scene_args(&scene, args);
	}
	text_add(&text, "LOG_LEVEL=info\n");
	put_text(&scene, ".env", &text);
	begin = cpu_seconds();
	if (scene_load(&scene, &project, &err) < 0)
		fail_msg("%s", err.text);
	taken = cpu_seconds() - begin;
	print_message("# 60 files of 50 KB, %zu services: %.1f ms, %zu KiB of trees\n", project->n,
		      taken * 1000, project->arena.used >> 10);
	assert_int_equal(project->n, services);
	assert_int_equal(count(compose_path(project->services[0].node, "deploy", "resources",
					    "reservations", "devices", NULL)),
			 2);
	assert_true(taken < 1.0 * SLOWER);
}

int main(void)
{
	static const struct CMUnitTest fixed[] = {
	    cmocka_unit_test(test_include_circle),
	    cmocka_unit_test(test_include_bomb),
	    cmocka_unit_test(test_include_wide),
	    cmocka_unit_test(test_extends_chain),
	    cmocka_unit_test(test_extends_chain_backwards),
	    cmocka_unit_test(test_extends_wide),
	    cmocka_unit_test(test_extends_files),
	    cmocka_unit_test(test_dependency_chain),
	    cmocka_unit_test(test_many_files),
	    cmocka_unit_test(test_alias_bomb),
	    cmocka_unit_test(test_env_files),
	    cmocka_unit_test(test_too_much_text),
	    cmocka_unit_test(test_large),
	};
	auto_free char *table =
	    mem_printf("%s/compose/project/corpus.txt", getenv("PLIMSOLL_CASES"));
	auto_free char *corpus = corpus_path();
	auto_text struct text lines = {};
	struct CMUnitTest tests[400];
	size_t n = ARRAY_LEN(fixed);
	char *saved = NULL;
	struct stat st;

	memcpy(tests, fixed, sizeof fixed);
	if (file_read(table, 1 << 20, false, &lines, NULL) < 0)
		return 1;
	if (stat(corpus, &st) < 0) {
		tests[n++] = (struct CMUnitTest)cmocka_unit_test(test_no_corpus);
		text_clear(&lines);
		text_add(&lines, "#\n");
	}
	for (char *line = strtok_r(lines.data, "\n", &saved); line && n < ARRAY_LEN(tests);
	     line = strtok_r(NULL, "\n", &saved))
		if (*line != '#')
			tests[n++] = (struct CMUnitTest){
			    .name = line, .test_func = test_corpus, .initial_state = line};
	return scene_run("project", tests, n);
}
