/*
 * Any bytes as a whole project: files begin with a line "@@ NAME", all lie in memory, none is
 * opened. A project that can be asked about, or an error that says something.
 */
#include "compose/project.h"

#include <stdlib.h>
#include <string.h>

#define FILES_MAX 16

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check_span(const struct compose_span *span)
{
	if (span->file && (span->begin > span->end || span->end > span->file->len))
		abort();
}

/* Merged trees share parts, so that walking all of one may take for ever: some of it. */
static void visit(const struct compose_node *node, unsigned *left)
{
	if (*left == 0)
		return;
	--*left;
	check_span(&node->span);
	if (node->type == COMPOSE_SCALAR && (!node->text || !node->raw))
		abort();
	for (size_t i = 0; i < node->n; i++) {
		if (node->type == COMPOSE_MAP) {
			check_span(&node->entries[i].key_span);
			if (compose_entry(node, node->entries[i].key) != &node->entries[i])
				abort();
		}
		visit(node->type == COMPOSE_MAP ? node->entries[i].value : node->items[i], left);
	}
}

static void check_service(const struct compose_project *project,
			  const struct compose_service *service)
{
	if (compose_project_find(project, service->name) != service ||
	    service->node->type != COMPOSE_MAP || compose_get(service->node, "extends"))
		abort();
	for (size_t i = 0; i < service->n_depends; i++)
		if (!compose_project_find(project, service->depends[i].service) ||
		    (i > 0 &&
		     strcmp(service->depends[i - 1].service, service->depends[i].service) >= 0))
			abort();
	for (size_t i = 0; i < service->n_settings; i++) {
		const struct compose_setting *setting = &service->settings[i];

		if (compose_service_setting(service, setting->name) != setting ||
		    setting->begin > setting->end || (!setting->node && !setting->file) ||
		    (setting->node && setting->end > strlen(setting->node->text)))
			abort();
	}
}

static size_t split(char *text, size_t size, struct compose_memory_file *files)
{
	static const char *const names[] = {"/p/compose.yaml", "/p/compose.override.yaml",
					    "/p/.env", "/p/a.yaml", "/p/b.yaml"};
	size_t n = 0;

	for (char *at = text, *end = text + size; at < end && n < FILES_MAX;) {
		char *next = memmem(at, (size_t)(end - at), "\n@@ ", 4), *line;

		files[n] =
		    (struct compose_memory_file){n < ARRAY_LEN(names) ? names[n] : "/p/more.yaml",
						 at, (size_t)((next ? next : end) - at)};
		line = memchr(at, '\n', files[n].len);
		/* A name of its own, when it is one. */
		if (line && files[n].len > 3 && memcmp(at, "@@ ", 3) == 0) {
			*line = '\0';
			files[n].path = at + 3;
			files[n].text = line + 1;
			files[n].len -= (size_t)(line + 1 - at);
		}
		n++;
		at = next ? next + 1 : end;
	}
	return n;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static char tag[] = "TAG=7", empty[] = "EMPTY=", home[] = "HOME=/p";
	char *const shell[] = {tag, empty, home, NULL};
	struct compose_memory_file files[FILES_MAX];
	struct compose_options options = {.dir = "/p", .shell = shell, .memory = files};
	auto_project struct compose_project *project = NULL;
	char *text = mem_alloc(size + 1);
	unsigned left = 20000;
	struct error err = {};

	memcpy(text, data, size);
	text[size] = '\0';
	options.n_memory = split(text, size, files);
	if (compose_project_load(&options, &project, &err) < 0) {
		if (project || err.text[0] == '\0')
			abort();
	} else {
		visit(project->root, &left);
		for (size_t i = 0; i < project->n; i++)
			check_service(project, &project->services[i]);
	}
	free(text);
	return 0;
}
