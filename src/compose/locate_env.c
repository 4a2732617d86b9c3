/*
 * Requests that stand in a container's environment: NVIDIA_VISIBLE_DEVICES for nvidia's runtime,
 * CUDA_VISIBLE_DEVICES for CUDA.
 *
 * What the files say of a variable is in the service's settings (project.h). The image may say it,
 * too, which no file tells: images made from nvidia/cuda have NVIDIA_VISIBLE_DEVICES=all, so that
 * `runtime: nvidia` and nothing else is every GPU there.
 *
 * NVIDIA_VISIBLE_DEVICES without `runtime:` works where nvidia is the engine's default runtime,
 * which no file tells either.
 *
 * CUDA reads CUDA_VISIBLE_DEVICES up to the first entry that is no device: "-1", "" and "all" are
 * no GPU. Its numbers count what the container sees, not the machine's GPUs.
 */
#include "compose/locate_ways.h"

#include <errno.h>
#include <string.h>

#define NVIDIA "NVIDIA_VISIBLE_DEVICES"
#define CUDA   "CUDA_VISIBLE_DEVICES"

/* The last `NAME=value` of a file with `format: raw`, where nothing else means anything. */
static const struct compose_assignment *raw_assignment(struct locating *locating,
						       const struct compose_file *file,
						       const char *name)
{
	struct compose_assignment *found = NULL;
	size_t len = strlen(name);

	for (size_t at = 0, end; at < file->len; at = end + 1) {
		const char *line = file->text + at;
		size_t value = at + len + 1, stop;

		end = at + strcspn(line, "\n");
		stop = end > at && file->text[end - 1] == '\r' ? end - 1 : end;
		if (stop < value || strncmp(line, name, len) != 0 || line[len] != '=')
			continue;
		found = found ?: arena_alloc(locating->arena, sizeof *found);
		*found = (struct compose_assignment){
		    .name = name,
		    .value = arena_strndup(locating->arena, file->text + value, stop - value),
		    .span = {file, at, stop},
		    .value_span = {file, value, stop},
		};
	}
	return found;
}

/* A text that no file holds, or none that can be edited. */
static const struct compose_node *unwritten(struct locating *locating, const char *text)
{
	struct compose_node *node = compose_node_scalar(locating->arena, NULL, text);

	node->tagged_string = true;
	return node;
}

static struct locate_part assigned(struct locating *locating,
				   const struct compose_assignment *assignment)
{
	struct locate_part part = locate_part_all(locate_assigned(locating->arena, assignment));

	part.variable = assignment->name;
	part.source = COMPOSE_ENV_FILE;
	part.assignment = assignment;
	return part;
}

static struct locate_part part_of(struct locating *locating, const struct compose_setting *setting)
{
	const struct compose_variable *variable = setting->variable;
	struct locate_part part;

	if (setting->node && !variable)
		return (struct locate_part){.node = setting->node,
					    .begin = setting->begin,
					    .end = setting->end,
					    .source = COMPOSE_LITERAL};
	if (variable && variable->source == COMPOSE_ENV_FILE && variable->assignment)
		return assigned(locating, variable->assignment);
	if (setting->assignment && !variable)
		return assigned(locating, setting->assignment);
	if (setting->file && !variable) {
		const struct compose_assignment *found =
		    raw_assignment(locating, setting->file, setting->name);

		if (found)
			return assigned(locating, found);
	}
	part = locate_part_all(unwritten(locating, setting->value));
	part.variable = setting->name;
	part.source = variable ? variable->source : COMPOSE_ENV_FILE;
	return part;
}

/* Where the service says so: in its `environment`, else its `env_file`. */
static struct compose_span place_of(const struct locating *locating,
				    const struct compose_setting *setting)
{
	const struct compose_node *service = locating->service->node;
	const struct compose_node *files = compose_get(service, "env_file");
	const struct compose_entry *entry =
	    compose_entry(compose_get(service, "environment"), setting->name);

	if (entry && entry->value == setting->node)
		return locate_entry_span(entry);
	if (setting->node)
		return setting->node->span;
	return files ? files->span : service->span;
}

static void read_setting(struct locating *locating, const struct compose_setting *setting,
			 struct compose_request *request)
{
	struct locate_part part = part_of(locating, setting);

	if (locate_values(locating, &part, request) < 0)
		locate_problem(locating, request, &request->key_span,
			       "%s: too long, or more than %d devices", request->key,
			       COMPOSE_VALUES_MAX);
	for (size_t i = 0; i < request->n_values; i++) {
		const char *equals = strchr(request->values[i].text, '=');

		/* The runtime in CDI mode takes their names, too. */
		if (equals && strchr(request->values[i].text, '/'))
			request->values[i].device = equals + 1;
	}
}

void locate_runtime(struct locating *locating)
{
	const struct compose_entry *entry = compose_entry(locating->service->node, "runtime");
	const char *runtime = entry ? compose_text(entry->value) : NULL;
	const struct compose_setting *setting = compose_service_setting(locating->service, NVIDIA);
	struct compose_request request = {.key = NVIDIA, .is_nvidia = true};

	if (setting)
		request.key_span = place_of(locating, setting);
	if (runtime && strncmp(runtime, "nvidia", strlen("nvidia")) == 0) {
		request.how = COMPOSE_RUNTIME;
		request.span = locate_entry_span(entry);
		request.node = entry->value;
		request.by_image = request.all = !setting;
	} else if (setting) {
		request.how = COMPOSE_ENVIRONMENT;
		request.span = request.key_span;
		request.node = setting->node;
		request.if_default_runtime = !runtime;
	} else {
		return;
	}
	if (setting) {
		read_setting(locating, setting, &request);
		locate_visible(&request);
	}
	locate_add(locating, &request);
}

static bool is_cuda_device(const char *text)
{
	size_t digits = strspn(text, "0123456789");

	return (digits > 0 && !text[digits]) || strncmp(text, "GPU-", 4) == 0 ||
	       strncmp(text, "MIG-", 4) == 0;
}

void locate_cuda(struct locating *locating)
{
	const struct compose_setting *setting = compose_service_setting(locating->service, CUDA);
	struct compose_request request = {
	    .how = COMPOSE_ENVIRONMENT, .key = CUDA, .is_nvidia = true};

	if (!setting)
		return;
	request.span = request.key_span = place_of(locating, setting);
	request.node = setting->node;
	read_setting(locating, setting, &request);
	request.none = request.n_values == 0 || !is_cuda_device(request.values[0].text);
	if (request.none && request.n_values > 0 && strcmp(request.values[0].text, "all") == 0)
		locate_problem(locating, &request, &request.span,
			       CUDA "=all: CUDA knows numbers and UUIDs, and sees no GPU");
	locate_add(locating, &request);
}
