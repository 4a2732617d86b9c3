/*
 * Runs tests/cases/check (see its README): each case is a project, a machine and the findings there
 * must be, no more and no fewer. Besides: every rule is shown by some case.
 */
#include "check/check.h"
#include "unit.h"
#include "util/file.h"
#include "util/size.h"

#include <glob.h>
#include <string.h>

#define FOLDER "/p/" /* where the files of a case are; none of them is on disk */

struct section {
	const char *name;
	char *text;
};

struct scene {
	const char *path;
	char *all;
	struct section sections[16];
	size_t n;
	struct gpu_list *list;
	struct ledger *ledger;
	struct container containers[16];
	struct stack_process processes[16];
	uint64_t ram[16]; /* of each container */
	size_t n_containers;
};

/* Told unless a case speaks of them: they are true of nearly every project. */
static const char *const usual[] = {"index-not-uuid", "no-vram", "profile-off"};

static bool shown[64];
static unsigned n_failed;

static char *section(struct scene *scene, const char *name)
{
	for (size_t i = 0; i < scene->n; i++)
		if (strcmp(scene->sections[i].name, name) == 0)
			return scene->sections[i].text;
	return NULL;
}

/* "== NAME" begins one. */
static void cut(struct scene *scene)
{
	char *rest = scene->all, *at = rest;

	while (at) {
		char *head = strncmp(at, "== ", 3) == 0 ? at : strstr(at, "\n== ");

		if (!head)
			break;
		if (*head == '\n')
			*head++ = '\0';
		/* The text before it keeps its last newline: it was cut there. */
		at = strchr(head, '\n');
		assert_non_null(at);
		*at++ = '\0';
		assert_true(scene->n < ARRAY_LEN(scene->sections));
		scene->sections[scene->n++] = (struct section){head + 3, at};
	}
}

static char *next_line(char **rest)
{
	char *line;

	while ((line = strsep(rest, "\n")))
		if (line[0] && line[0] != '#')
			return line;
	return NULL;
}

/* "24G NVIDIA RTX A5500", then any of: reserve=SIZE used=SIZE lost compute=N mig=PARENT. */
static void add_gpu(struct scene *scene, char *line)
{
	struct gpu *gpu = gpu_list_append(scene->list);
	char *size = strsep(&line, " "), *name = line, *options = strchr(line, ';');

	gpu->index = (unsigned)scene->list->n - 1;
	gpu->valid = GPU_TOTAL | GPU_USED | GPU_FREE | GPU_COMPUTE_CAPABILITY;
	gpu->compute_capability = 86;
	assert_int_equal(size_parse(size, &gpu->vram.total_bytes, NULL), 0);
	(void)snprintf(gpu->uuid, sizeof gpu->uuid, "GPU-%08u-0000-0000-0000-000000000000",
		       gpu->index);
	if (options)
		*options++ = '\0';
	(void)snprintf(gpu->name, sizeof gpu->name, "%s", name);
	for (char *option; options && (option = strsep(&options, " "));) {
		if (strncmp(option, "used=", 5) == 0)
			assert_int_equal(size_parse(option + 5, &gpu->vram.used_bytes, NULL), 0);
		else if (strncmp(option, "compute=", 8) == 0)
			gpu->compute_capability = (unsigned)atoi(option + 8);
		else if (strcmp(option, "lost") == 0)
			gpu->health = GPU_HEALTH_LOST;
		else if (strncmp(option, "mig=", 4) == 0) {
			unsigned instance = (unsigned)atoi(option + 6);

			(void)snprintf(gpu->uuid, sizeof gpu->uuid, "MIG-%u", instance);
			(void)snprintf(gpu->parent_uuid, sizeof gpu->parent_uuid, "GPU-of-%c",
				       option[4]);
			gpu->index = GPU_MIG_INDEX((unsigned)(option[4] - '0'), instance);
		}
	}
	gpu->vram.free_bytes = gpu->vram.total_bytes - gpu->vram.used_bytes;
}

/* "SERVICE GPU SIZE [RAM]": a container that runs there. */
static void add_container(struct scene *scene, char *line)
{
	struct container *container = &scene->containers[scene->n_containers];
	struct stack_process *process = &scene->processes[scene->n_containers++];
	char *service = strsep(&line, " "), *gpu = strsep(&line, " ");
	char *size = strsep(&line, " ");
	uint64_t bytes;

	assert_int_equal(size_parse(size, &bytes, NULL), 0);
	if (line)
		assert_int_equal(size_parse(line, &scene->ram[scene->n_containers - 1], NULL), 0);
	*container =
	    (struct container){.name = service, .service = service, .number = 1, .running = true};
	(void)snprintf(container->id, sizeof container->id, "id-%zu", scene->n_containers);
	*process = (struct stack_process){.gpu = (size_t)atoi(gpu),
					  .pid = 100 + (pid_t)scene->n_containers,
					  .used_known = true,
					  .used_bytes = bytes};
	(void)snprintf(process->container, sizeof process->container, "id-%zu",
		       scene->n_containers);
	scene->list->gpus[process->gpu].vram.used_bytes += bytes;
}

static void make_machine(struct scene *scene)
{
	static const char two[] = "24G NVIDIA RTX A5500\n4G NVIDIA RTX A400";
	auto_free char *text = mem_strdup(section(scene, "gpus") ? section(scene, "gpus") : two);
	char *rest = text, *containers = section(scene, "containers"), *line;

	scene->list = gpu_list_create();
	scene->list->state = GPU_SOURCE_OK;
	while ((line = next_line(&rest)))
		add_gpu(scene, line);
	while (containers && (line = next_line(&containers)))
		add_container(scene, line);
	scene->ledger = ledger_create(scene->list, NULL, 0, &(struct ledger_host){},
				      &(struct ledger_options){});
}

/* "TOTAL AVAILABLE" of RAM; nothing: it is not known. */
static struct stack_host host_of(struct scene *scene)
{
	struct stack_host host = {};
	char *text = section(scene, "host"), *total;

	if (!text)
		return host;
	total = strsep(&text, " ");
	host.total_known = host.available_known = true;
	assert_int_equal(size_parse(total, &host.total_bytes, NULL), 0);
	assert_int_equal(size_parse(strsep(&text, "\n"), &host.available_bytes, NULL), 0);
	return host;
}

static struct compose_project *load(struct scene *scene)
{
	struct compose_memory_file files[16];
	auto_strings struct strings mains = {}, shell = {};
	struct compose_options options = {.memory = files, .dir = FOLDER "."};
	struct compose_project *project = NULL;
	struct error err = {};
	char *lines = section(scene, "shell"), *line;
	char *held[16];

	for (size_t i = 0; i < scene->n; i++) {
		const struct section *s = &scene->sections[i];

		if (!strstr(s->name, ".y") && !strstr(s->name, "env"))
			continue;
		held[options.n_memory] = mem_printf(FOLDER "%s", s->name);
		files[options.n_memory] =
		    (struct compose_memory_file){held[options.n_memory], s->text, strlen(s->text)};
		options.n_memory++;
		if (strstr(s->name, ".y"))
			strings_add(&mains, s->name);
	}
	while (lines && (line = next_line(&lines)))
		strings_add(&shell, line);
	options.files = &mains;
	options.shell = shell.items;
	if (compose_project_load(&options, &project, &err) < 0)
		fail_msg("%s: %s", scene->path, err.text);
	for (size_t i = 0; i < options.n_memory; i++)
		free(held[i]);
	return project;
}

static bool names(const char *expected, const char *code)
{
	const size_t len = strlen(code);

	for (const char *at = expected; (at = strstr(at, code)); at++)
		if ((at == expected || at[-1] == '\n') && at[len] == ' ')
			return true;
	return false;
}

/* "CODE FILE:LINE SERVICE MESSAGE | FIX", files without their folder. New. */
static char *line_of(const struct finding *finding)
{
	char *line =
	    mem_printf("%s %s:%u %s %s | %s", finding->code,
		       finding->span.file ? finding->span.file->shown : "-", finding->line,
		       finding->service ? finding->service : "-", finding->message, finding->fix);

	for (char *at = line; (at = strstr(at, FOLDER));)
		memmove(at, at + strlen(FOLDER), strlen(at + strlen(FOLDER)) + 1);
	return line;
}

/* Does the finding of a line have all of "CODE FILE:LINE SERVICE", and the words after it? */
static bool is_told(const struct strings *told, const char *head, const char *words)
{
	const size_t len = strlen(head);

	for (size_t i = 0; i < told->n; i++)
		if (strncmp(told->items[i], head, len) == 0 && told->items[i][len] == ' ' &&
		    (!words || strstr(told->items[i] + len, words)))
			return true;
	return false;
}

/* Each line of `expect` is "CODE FILE:LINE SERVICE", and then maybe words of message or fix. */
static void compare(struct scene *scene, const struct findings *findings)
{
	char *expected = section(scene, "expect"), *line, *rest;
	auto_strings struct strings told = {};
	auto_free char *copy = NULL;
	size_t wanted = 0, found = 0;

	assert_non_null(expected);
	copy = rest = mem_strdup(expected);
	for (size_t i = 0; i < findings->n; i++) {
		const struct finding *finding = &findings->items[i];
		bool is_usual = false;

		for (size_t k = 0; k < ARRAY_LEN(usual); k++)
			is_usual |= strcmp(usual[k], finding->code) == 0;
		shown[check_rule_find(finding->code)] = true;
		assert_non_null(finding->fix);
		assert_null(strchr(finding->message, '\n'));
		if (!is_usual || names(expected, finding->code))
			strings_take(&told, line_of(finding));
	}
	while ((line = next_line(&rest))) {
		char *words = line;

		wanted++;
		for (int i = 0; i < 3 && words; i++)
			words = strchr(words + 1, ' ');
		if (words)
			*words++ = '\0';
		found += is_told(&told, line, words);
	}
	if (found == wanted && told.n == wanted)
		return;
	n_failed++;
	print_error("%s: %zu of %zu expected are told; told are\n", scene->path, found, wanted);
	for (size_t i = 0; i < told.n; i++)
		print_error("  %s\n", told.items[i]);
}

static void run_case(const char *path)
{
	struct scene scene = {.path = path};
	auto_text struct text text = {};
	auto_project struct compose_project *project = NULL;
	auto_stack struct stack *stack = NULL;
	auto_findings struct findings findings = {};
	struct containers containers = {.items = scene.containers};
	struct compose_files beside = {};
	struct stack_facts facts = {};
	struct error err = {};

	assert_int_equal(file_read(path, 1 << 20, false, &text, &err), 0);
	scene.all = text.data;
	cut(&scene);
	make_machine(&scene);
	project = load(&scene);
	containers.n = scene.n_containers;
	facts = (struct stack_facts){.project = project,
				     .list = scene.list,
				     .ledger = scene.ledger,
				     .containers = &containers,
				     .processes = scene.processes,
				     .n_processes = scene.n_containers,
				     .host = host_of(&scene),
				     .ram_used_bytes = scene.ram};
	if (stack_create(&facts, &stack, &err) < 0)
		fail_msg("%s: %s", path, err.text);
	if (section(&scene, "beside"))
		(void)compose_files_add(&beside, "other.yml", section(&scene, "beside"),
					strlen(section(&scene, "beside")));
	check_run(stack, &beside, &findings);
	compare(&scene, &findings);
	compose_files_finish(&beside);
	ledger_destroy(scene.ledger);
	gpu_list_destroy(scene.list);
}

static void test_cases(void **state)
{
	auto_free char *pattern = mem_printf("%s/check/*.case", getenv("PLIMSOLL_CASES"));
	glob_t found;

	assert_int_equal(glob(pattern, 0, NULL, &found), 0);
	assert_true(found.gl_pathc > 40);
	for (size_t i = 0; i < found.gl_pathc; i++)
		run_case(found.gl_pathv[i]);
	globfree(&found);
	assert_int_equal(n_failed, 0);
}

/* After test_cases(). */
static void test_every_rule_is_shown(void **state)
{
	for (size_t i = 0; check_rules[i].code; i++)
		if (!shown[i])
			fail_msg("no case of tests/cases/check shows %s", check_rules[i].code);
}

static void test_rules(void **state)
{
	for (size_t i = 0; check_rules[i].code; i++) {
		assert_int_equal(check_rule_find(check_rules[i].code), (int)i);
		assert_true(check_rules[i].title[0] && check_rules[i].text[0]);
	}
	assert_int_equal(check_rule_find("no-such-check"), -1);
}

static void test_page(void **state)
{
	const char *root = getenv("PLIMSOLL_SOURCE");
	auto_free char *path = mem_printf("%s/docs/checks.md", root);
	auto_text struct text page = {}, printed = {};

	assert_int_equal(file_read(path, 1 << 20, false, &page, NULL), 0);
	check_describe(&printed);
	assert_string_equal(page.data, printed.data);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_cases),
	    cmocka_unit_test(test_every_rule_is_shown),
	    cmocka_unit_test(test_rules),
	    cmocka_unit_test(test_page),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
