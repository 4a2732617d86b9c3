/*
 * See locate.h. A table of ways; each looks at one service's merged tree and adds the requests it
 * finds (locate_device.c, locate_env.c). Then they are brought in order and weighed:
 *
 *	device requests (reservations, gpus, CDI)	reach the container, all of them: the engine
 *							takes none away for being there twice
 *	runtime: nvidia and its variable		unless a device request is there: the engine
 *							appends its own NVIDIA_VISIBLE_DEVICES, or
 *							the CDI specification sets it to void
 *	/dev/nvidiaN					always; nothing but the node comes with it
 *	NVIDIA_VISIBLE_DEVICES alone			when nothing else asks, and only where
 *nvidia is the engine's default runtime
 *
 * generic_resources are Swarm's and ignored, as docker compose does.
 */
#include "compose/locate_ways.h"

#include <assert.h>
#include <errno.h>
#include <stdarg.h>
#include <string.h>

static const char *const how_names[] = {
    [COMPOSE_RESERVATION] = "reservation", [COMPOSE_GPUS] = "gpus",
    [COMPOSE_RUNTIME] = "runtime",         [COMPOSE_CDI] = "cdi",
    [COMPOSE_ENVIRONMENT] = "environment", [COMPOSE_DEVICE_NODE] = "device-node",
};
static_assert(ARRAY_LEN(how_names) == COMPOSE_HOW_COUNT, "a name for each");

const char *compose_how_name(enum compose_how how)
{
	return how_names[how];
}

static void (*const ways[])(struct locating *) = {
    locate_reservations, locate_gpus, locate_runtime, locate_devices, locate_cuda,
};

void locate_add(struct locating *locating, const struct compose_request *request)
{
	if (locating->n == COMPOSE_REQUESTS_MAX) {
		locating->too_many = true;
		return;
	}
	ARRAY_GROW(locating->items, locating->n, locating->room);
	locating->items[locating->n++] = *request;
}

void locate_problem(struct locating *locating, struct compose_request *request,
		    const struct compose_span *span, const char *fmt, ...)
{
	auto_free char *text = NULL;
	va_list args;

	if (request->problem)
		return;
	va_start(args, fmt);
	if (vasprintf(&text, fmt, args) < 0)
		text = NULL;
	va_end(args);
	request->problem = arena_strdup(locating->arena, text ?: fmt);
	request->problem_span = *span;
}

struct compose_span locate_entry_span(const struct compose_entry *entry)
{
	struct compose_span span = entry->value->span;

	if (span.file && span.file == entry->key_span.file && entry->key_span.begin <= span.begin)
		span.begin = entry->key_span.begin;
	return span.file ? span : entry->key_span;
}

static bool is_filter(const struct compose_request *request)
{
	return request->how == COMPOSE_ENVIRONMENT &&
	       strcmp(request->key, "CUDA_VISIBLE_DEVICES") == 0;
}

/* How strong a request is; 0: it is none of ours, or asks for nothing. */
static unsigned strength(const struct compose_request *request)
{
	if (!request->is_nvidia || request->none || is_filter(request))
		return 0;
	switch (request->how) {
	case COMPOSE_RESERVATION:
	case COMPOSE_GPUS:
	case COMPOSE_CDI:
		return 3;
	case COMPOSE_RUNTIME:
	case COMPOSE_DEVICE_NODE:
		return 2;
	case COMPOSE_ENVIRONMENT:
	case COMPOSE_HOW_COUNT:
		break;
	}
	return request->if_default_runtime ? 1 : 0;
}

static void weigh(struct compose_gpus *gpus)
{
	unsigned strongest = 0;

	for (size_t i = 0; i < gpus->n; i++)
		strongest = MAX_OF(strongest, strength(&gpus->requests[i]));
	for (size_t i = 0; i < gpus->n; i++) {
		struct compose_request *request = &gpus->requests[i];
		unsigned own = strength(request);

		if (is_filter(request))
			gpus->filter = request;
		request->in_force =
		    own > 0 && (own == strongest || request->how == COMPOSE_DEVICE_NODE);
		if (request->in_force && own == strongest && !gpus->decides)
			gpus->decides = request;
	}
}

/* In the order of the ways; those of one way as they were found. */
static void take_in_order(const struct locating *locating, struct compose_gpus *gpus)
{
	gpus->requests = arena_alloc(locating->arena, locating->n * sizeof *gpus->requests);
	for (int how = 0; how < COMPOSE_HOW_COUNT; how++)
		for (size_t i = 0; i < locating->n; i++)
			if (locating->items[i].how == (enum compose_how)how)
				gpus->requests[gpus->n++] = locating->items[i];
}

static int locate_service(struct compose_project *project, const struct compose_service *service,
			  struct compose_gpus *ret_gpus, struct error *err)
{
	struct locating locating = {
	    .project = project, .arena = &project->arena, .service = service};

	for (size_t i = 0; i < ARRAY_LEN(ways); i++)
		ways[i](&locating);
	*ret_gpus = (struct compose_gpus){.service = service};
	take_in_order(&locating, ret_gpus);
	weigh(ret_gpus);
	free(locating.items);
	if (locating.too_many)
		return compose_error(&service->span, -E2BIG, err,
				     "service \"%s\": more than %d requests for GPUs",
				     service->name, COMPOSE_REQUESTS_MAX);
	return 0;
}

int compose_locate(struct compose_project *project, struct compose_gpus **ret_gpus,
		   struct error *err)
{
	struct compose_gpus *gpus = arena_alloc(&project->arena, (project->n + 1) * sizeof *gpus);

	for (size_t i = 0; i < project->n; i++) {
		int r = locate_service(project, &project->services[i], &gpus[i], err);

		if (r < 0)
			return r;
		if (project->arena.used > COMPOSE_PROJECT_MEMORY_MAX)
			return error_set(err, -E2BIG,
					 "service \"%s\": its requests for GPUs take the project "
					 "above %zu MiB",
					 project->services[i].name,
					 COMPOSE_PROJECT_MEMORY_MAX >> 20);
	}
	*ret_gpus = gpus;
	return 0;
}

bool compose_value_is_unset(const struct compose_value *value)
{
	return value->device[0] == '\0' && value->variable && value->use &&
	       (value->source == COMPOSE_ABSENT || value->source == COMPOSE_COMMENTED) &&
	       !value->use->argument_used && !strchr(value->use->operator_, '+');
}

static bool is_count(const struct compose_request *request)
{
	return request->has_count && request->n_values > 0 && request->values[0].node &&
	       request->values[0].node->span.begin == request->count_span.begin;
}

void compose_request_text(const struct compose_request *request, struct text *text)
{
	size_t len = text->len, n = 0;

	text_add(text, is_count(request) ? "count " : "");
	for (size_t i = 0; i < request->n_values; i++)
		if (!compose_value_is_unset(&request->values[i]))
			text_printf(text, "%s%s", n++ ? "," : "", request->values[i].text);
	if (text->len == len)
		text_add(text, request->none ? "none" : request->all ? "all" : "unknown");
}

enum compose_source compose_request_source(const struct compose_request *request)
{
	return request->n_values ? request->values[0].source : COMPOSE_ABSENT;
}

struct compose_span compose_request_place(const struct compose_request *request)
{
	const struct compose_value *value = request->values;

	/* A value of env_file or of a bare KEY stands elsewhere. */
	if (request->n_values && value->node && value->node->span.file &&
	    (value->use || value->source == COMPOSE_LITERAL))
		return value->node->span;
	return request->key_span.file ? request->key_span : request->span;
}
