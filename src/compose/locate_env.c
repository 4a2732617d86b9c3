/*
 * Requests that stand in a container's environment: NVIDIA_VISIBLE_DEVICES for nvidia's runtime,
 * CUDA_VISIBLE_DEVICES for CUDA.
 *
 * Where a variable comes from, highest first (compose-go types/project.go): `environment`, where a
 * KEY without a value takes the project's value and, when there is none, is taken away; env_file,
 * later ones first; the image, which no file tells. Images made from nvidia/cuda say
 * NVIDIA_VISIBLE_DEVICES=all, so that `runtime: nvidia` and nothing else is every GPU there.
 *
 * NVIDIA_VISIBLE_DEVICES without `runtime:` works where nvidia is the engine's default runtime,
 * which no file tells either.
 *
 * CUDA reads CUDA_VISIBLE_DEVICES up to the first entry that is no device: "-1", "" and "all" are
 * no GPU. Its numbers count what the container sees, not the machine's GPUs.
 */
#include "compose/locate_ways.h"

#include <ctype.h>
#include <errno.h>
#include <string.h>

#define NVIDIA "NVIDIA_VISIBLE_DEVICES"
#define CUDA   "CUDA_VISIBLE_DEVICES"

/* A variable of the container. */
struct setting {
	struct locate_part part; /* node NULL: it is taken away */
	struct compose_span span;
	const struct compose_node *node; /* where it is said: an item or a value of `environment`,
					    an entry of env_file */
};

/* A bare KEY: the project's value. */
static void take_over(struct locating *locating, const char *name, struct setting *setting)
{
	const struct compose_variable *variable = compose_env_get(&locating->project->env, name);
	struct compose_node *node;

	setting->part = (struct locate_part){};
	if (!variable)
		return;
	if (variable->assignment) {
		setting->part =
		    locate_part_all(locate_assigned(locating->arena, variable->assignment));
	} else {
		node = compose_node_scalar(locating->arena, setting->node, variable->value);
		node->span = (struct compose_span){};
		node->uses = NULL;
		node->n_uses = 0;
		node->raw = node->text;
		setting->part = locate_part_all(node);
	}
	setting->part.variable = variable->name;
	setting->part.source = variable->source;
	setting->part.assignment = variable->assignment;
}

static bool from_map(struct locating *locating, const struct compose_node *map, const char *name,
		     struct setting *ret_setting)
{
	const struct compose_entry *entry = compose_entry(map, name);

	if (!entry)
		return false;
	*ret_setting = (struct setting){.span = locate_entry_span(entry), .node = entry->value};
	if (compose_text(entry->value))
		ret_setting->part = locate_part_all(entry->value);
	else
		take_over(locating, name, ret_setting);
	return true;
}

/* Of a list the last one counts. */
static bool from_list(struct locating *locating, const struct compose_node *list, const char *name,
		      struct setting *ret_setting)
{
	size_t len = strlen(name);

	for (size_t i = list->n; i-- > 0;) {
		const struct compose_node *item = list->items[i];
		const char *text = compose_text(item);

		if (!text || strncmp(text, name, len) != 0 || (text[len] && text[len] != '='))
			continue;
		*ret_setting = (struct setting){.span = item->span, .node = item};
		if (text[len] == '=') {
			ret_setting->part = locate_part_all(item);
			ret_setting->part.begin = len + 1;
		} else {
			take_over(locating, name, ret_setting);
		}
		return true;
	}
	return false;
}

static void folder_of(const char *path, struct text *text)
{
	const char *slash = strrchr(path, '/');

	if (slash)
		text_add_bytes(text, path, slash == path ? 1 : (size_t)(slash - path));
}

/* Paths are relative to the project's folder; of an included or extended file to that file's. */
static const struct compose_file *open_env_file(struct locating *locating,
						const struct compose_node *scalar)
{
	struct compose_project *project = locating->project;
	const struct compose_file *at = scalar->span.file, *file = NULL;
	const char *dirs[2] = {project->dir, NULL};
	auto_text struct text folder = {};

	if (!scalar->text[0] || !at)
		return NULL;
	folder_of(at->path, &folder);
	dirs[1] = folder.data;
	for (size_t i = 0; i < project->n_main_files; i++)
		if (project->main_files[i] == at)
			dirs[1] = NULL;
	if (dirs[1]) {
		dirs[0] = folder.data;
		dirs[1] = project->dir;
	}
	for (size_t i = 0; i < ARRAY_LEN(dirs) && !file; i++)
		if (dirs[i] &&
		    compose_files_load(&project->files, dirs[i], scalar->text, &file, NULL) < 0)
			file = NULL;
	return file;
}

/* `format: raw`: NAME=value to the end of the line, nothing else means anything. */
static bool raw_assignment(struct locating *locating, const struct compose_file *file,
			   const char *name, struct compose_assignment *ret_assignment)
{
	size_t len = strlen(name), at = 0;
	bool found = false;

	while (at < file->len) {
		const char *line = file->text + at;
		size_t end = at + strcspn(line, "\n"), value = at + len + 1, stop = end;

		if (stop > at && file->text[stop - 1] == '\r')
			stop--;
		if (stop >= value && strncmp(line, name, len) == 0 && line[len] == '=') {
			*ret_assignment = (struct compose_assignment){
			    .name = name,
			    .value =
				arena_strndup(locating->arena, file->text + value, stop - value),
			    .span = {file, at, stop},
			    .value_span = {file, value, stop},
			};
			found = true;
		}
		at = end + 1;
	}
	return found;
}

static bool names(const struct compose_file *file, const char *name)
{
	return memmem(file->text, file->len, name, strlen(name)) != NULL;
}

/* One entry of env_file: a path, or a map of path, required and format. 1: it says it. */
static int from_env_file(struct locating *locating, const struct compose_node *entry,
			 const char *name, struct setting *ret_setting, struct error *err)
{
	const struct compose_node *scalar =
	    entry->type == COMPOSE_MAP ? compose_get(entry, "path") : entry;
	const char *format = compose_text(compose_get(entry, "format"));
	const struct compose_file *file =
	    compose_text(scalar) ? open_env_file(locating, scalar) : NULL;
	struct compose_assignment *found = NULL, raw;
	struct compose_env_file parsed = {};
	int r;

	/* A file that is not there is compose's to refuse, when it is run. */
	if (!file || !names(file, name))
		return 0;
	if (format && strcmp(format, "raw") == 0) {
		if (!raw_assignment(locating, file, name, &raw))
			return 0;
		found = arena_alloc(locating->arena, sizeof *found);
		*found = raw;
	} else {
		r = compose_dotenv_parse(file, &locating->project->env, locating->arena, &parsed,
					 err);
		if (r < 0)
			return r;
		for (size_t i = 0; i < parsed.n; i++)
			if (!parsed.items[i].commented && strcmp(parsed.items[i].name, name) == 0)
				found = &parsed.items[i];
		if (!found)
			return 0;
	}
	*ret_setting = (struct setting){.span = entry->span, .node = entry};
	if (found->inherits) {
		take_over(locating, name, ret_setting);
		return ret_setting->part.node ? 1 : 0;
	}
	ret_setting->part = locate_part_all(locate_assigned(locating->arena, found));
	ret_setting->part.variable = found->name;
	ret_setting->part.source = COMPOSE_ENV_FILE;
	ret_setting->part.assignment = found;
	return 1;
}

/* 1: something says it. */
static int look_up(struct locating *locating, const char *name, struct setting *ret_setting,
		   struct error *err)
{
	const struct compose_node *map = compose_get(locating->service->node, "environment");
	const struct compose_node *files = compose_get(locating->service->node, "env_file");
	int r = 0;

	if (map && map->type == COMPOSE_MAP && from_map(locating, map, name, ret_setting))
		return 1;
	if (map && map->type == COMPOSE_LIST && from_list(locating, map, name, ret_setting))
		return 1;
	if (files && files->type != COMPOSE_LIST)
		return from_env_file(locating, files, name, ret_setting, err);
	for (size_t i = files ? files->n : 0; i-- > 0 && r == 0;)
		r = from_env_file(locating, files->items[i], name, ret_setting, err);
	return r;
}

static void read_setting(struct locating *locating, const struct setting *setting,
			 struct compose_request *request)
{
	if (!setting->part.node) {
		request->none = true; /* taken away */
		return;
	}
	if (locate_values(locating, &setting->part, request) < 0)
		locate_problem(locating, request, &setting->span, "%s: more than %d devices",
			       request->key, COMPOSE_VALUES_MAX);
	for (size_t i = 0; i < request->n_values; i++) {
		const char *equals = strchr(request->values[i].text, '=');

		/* The runtime in CDI mode takes their names, too. */
		if (equals && strchr(request->values[i].text, '/'))
			request->values[i].device = equals + 1;
	}
}

int locate_runtime(struct locating *locating, struct error *err)
{
	const struct compose_entry *entry = compose_entry(locating->service->node, "runtime");
	const char *runtime = entry ? compose_text(entry->value) : NULL;
	struct compose_request request = {.key = NVIDIA, .is_nvidia = true};
	struct setting setting;
	int said = look_up(locating, NVIDIA, &setting, err);

	if (said < 0)
		return said;
	if (runtime && strncmp(runtime, "nvidia", strlen("nvidia")) == 0) {
		request.how = COMPOSE_RUNTIME;
		request.span = locate_entry_span(entry);
		request.node = entry->value;
		request.by_image = request.all = !said;
	} else if (said) {
		request.how = COMPOSE_ENVIRONMENT;
		request.span = setting.span;
		request.node = setting.node;
		request.if_default_runtime = !runtime;
	} else {
		return 0;
	}
	if (said) {
		read_setting(locating, &setting, &request);
		locate_visible(&request);
	}
	locate_add(locating, &request);
	return 0;
}

static bool is_cuda_device(const char *text)
{
	size_t digits = strspn(text, "0123456789");

	return (digits > 0 && !text[digits]) || strncmp(text, "GPU-", 4) == 0 ||
	       strncmp(text, "MIG-", 4) == 0;
}

int locate_cuda(struct locating *locating, struct error *err)
{
	struct compose_request request = {
	    .how = COMPOSE_ENVIRONMENT, .key = CUDA, .is_nvidia = true};
	struct setting setting;
	int said = look_up(locating, CUDA, &setting, err);

	if (said <= 0)
		return said;
	if (!setting.part.node) /* taken away: as if nobody had said it */
		return 0;
	request.span = setting.span;
	request.node = setting.node;
	read_setting(locating, &setting, &request);
	request.none = request.n_values == 0 || !is_cuda_device(request.values[0].text);
	if (request.none && request.n_values > 0 && strcmp(request.values[0].text, "all") == 0)
		locate_problem(locating, &request, &setting.span,
			       CUDA "=all: CUDA knows numbers and UUIDs, and sees no GPU");
	locate_add(locating, &request);
	return 0;
}
