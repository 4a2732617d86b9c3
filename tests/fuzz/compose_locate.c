/*
 * Requests for GPUs in whatever project: a compose file, an override and a .env, "\n%%\n" between
 * them. What is located lies where it says: values inside their scalars, edits inside their files,
 * and bytes that are to be edited are the part of the text they stand for.
 */
#include "compose/locate.h"
#include "gpu/gpu.h"

#include <errno.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define ROOM 4

static void check_span(const struct compose_span *span)
{
	if (span->file && (span->begin > span->end || span->end > span->file->len))
		abort();
}

static void check_value(const struct compose_value *value)
{
	size_t len = strlen(value->node->text);

	if (value->begin > value->end || value->end > len)
		abort();
	if (value->edit_begin > value->edit_end || value->edit_end > len)
		abort();
	if (strlen(value->text) != value->end - value->begin)
		abort();
	check_span(&value->edit);
	check_span(&value->fallback_span);
	/* What one variable or the file itself says is written there as it is. */
	if (value->edit.file && !value->edit_whole && value->source == COMPOSE_LITERAL &&
	    value->edit.end - value->edit.begin == value->edit_end - value->edit_begin &&
	    !memchr(value->edit.file->text + value->edit.begin, '$',
		    value->edit.end - value->edit.begin) &&
	    memcmp(value->edit.file->text + value->edit.begin,
		   value->node->text + value->edit_begin, value->edit_end - value->edit_begin) != 0)
		abort();
}

static void check_gpus(const struct compose_gpus *gpus)
{
	bool decides = !gpus->decides;

	for (size_t i = 0; i < gpus->n; i++) {
		const struct compose_request *request = &gpus->requests[i];
		struct compose_span place = compose_request_place(request);
		struct text text = {};

		if (request->n_values > COMPOSE_VALUES_MAX || !place.file)
			abort();
		if (i > 0 && request[-1].how > request->how)
			abort();
		if (request->in_force && (request->none || !request->is_nvidia))
			abort();
		decides |= gpus->decides == request && request->in_force;
		check_span(&place);
		check_span(&request->span);
		for (size_t k = 0; k < request->n_values; k++)
			check_value(&request->values[k]);
		compose_request_text(request, &text);
		if (text.len == 0)
			abort();
		text_finish(&text);
	}
	if (!decides)
		abort();
}

static struct gpu_list *machine(void)
{
	static const unsigned indices[ROOM] = {0, 1, GPU_MIG_INDEX(2, 0), GPU_MIG_INDEX(2, 1)};
	struct gpu_list *list = gpu_list_create();

	for (size_t i = 0; i < ROOM; i++) {
		struct gpu *gpu = gpu_list_append(list);

		gpu->index = indices[i];
		(void)snprintf(gpu->uuid, sizeof gpu->uuid, i < 2 ? "GPU-a%zu" : "MIG-a%zu", i);
		if (i >= 2)
			(void)snprintf(gpu->parent_uuid, sizeof gpu->parent_uuid, "GPU-c");
	}
	return list;
}

static void check_project(struct compose_project *project, const struct compose_gpus *gpus,
			  const struct gpu_list *list)
{
	auto_compose_sharing struct compose_sharing *sharing =
	    compose_sharing_create(gpus, project->n);

	for (size_t i = 0; i < project->n; i++) {
		const struct compose_value *missing;
		size_t found[ROOM], n = 0;
		int r;

		check_gpus(&gpus[i]);
		r = compose_resolve(&gpus[i], list, found, ROOM, &n, &missing, NULL);
		if (r < 0 && (r != -ENODEV || !missing))
			abort();
		if (r == 0 && (n > ROOM || (!gpus[i].decides && n > 0)))
			abort();
		for (size_t k = 0; i < 8 && k < project->n; k++)
			if (compose_shares(sharing, i, k) != compose_shares(sharing, k, i))
				abort();
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static const char *const paths[] = {"/p/compose.yaml", "/p/compose.override.yaml",
					    "/p/.env"};
	struct compose_memory_file files[ARRAY_LEN(paths)];
	struct compose_options options = {.dir = "/p", .memory = files};
	struct compose_project *project = NULL;
	struct compose_gpus *gpus = NULL;
	struct gpu_list *list = machine();
	struct error err = {};
	char *text = mem_strndup((const char *)data, size), *at = text;
	int r;

	while (at && options.n_memory < ARRAY_LEN(paths)) {
		char *next = strstr(at, "\n%%\n");

		files[options.n_memory] = (struct compose_memory_file){
		    .path = paths[options.n_memory],
		    .text = at,
		    .len = next ? (size_t)(next + 1 - at) : strlen(at),
		};
		options.n_memory++;
		at = next ? next + 4 : NULL;
	}
	r = compose_project_load(&options, &project, &err);
	if (r == 0)
		r = compose_locate(project, &gpus, &err);
	if (r < 0 && !err.text[0])
		abort();
	if (r == 0)
		check_project(project, gpus, list);
	compose_project_destroy(project);
	gpu_list_destroy(list);
	free(text);
	return 0;
}
