/* The bodies of POST /v1/tasks and /v1/batches: whatever comes in is a submit or an error with a
 * text. With the GPU list and without, what is accepted keeps its bounds. */
#include "daemon/submit_parse.h"

#include <stdint.h>
#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static bool is_sound(const struct sched_spec *spec)
{
	const struct place_wishes *wishes = spec->request.wishes;

	if (!spec->argv || !spec->argv[0])
		return false;
	if (spec->soft_limit_ms < 0 || spec->hard_limit_ms < 0 || spec->not_before_ms < 0)
		return false;
	if (spec->hard_limit_ms > 0 && spec->soft_limit_ms >= spec->hard_limit_ms)
		return false;
	if (spec->after && (spec->after->n == 0 || spec->after->n > SCHED_AFTER_MAX))
		return false;
	for (size_t i = 0; spec->after && i < spec->after->n; i++)
		if (spec->after->items[i].id == 0)
			return false;
	return !wishes || (spec->request.gpus > 0 && wishes->n_prefer <= PLACE_WISHES_GPUS_MAX &&
			   wishes->n_models <= PLACE_WISHES_MODELS_MAX);
}

static void try_one(const json_t *body, const struct gpu_list *gpus,
		    int (*parse)(const json_t *, const struct gpu_list *, struct submit *,
				 struct error *))
{
	struct submit submit = {};
	struct error err = {};
	int r = parse(body, gpus, &submit, &err);

	if (r < 0 && !err.text[0])
		abort();
	for (size_t i = 0; r == 0 && i < submit.n; i++)
		if (!is_sound(&submit.specs[i]))
			abort();
	submit_finish(&submit);
}

static struct gpu_list *two_gpus(void)
{
	struct gpu_list *list = gpu_list_create();

	list->state = GPU_SOURCE_OK;
	for (unsigned i = 0; i < 2; i++) {
		struct gpu *gpu = gpu_list_append(list);

		gpu->index = i;
		(void)snprintf(gpu->uuid, sizeof gpu->uuid, "GPU-aa%u", i);
	}
	return list;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	auto_gpu_list struct gpu_list *gpus = NULL;
	auto_json json_t *body = NULL;

	if (jsonx_parse((const char *)data, size, "body", &body, NULL) < 0)
		return 0;
	gpus = two_gpus();
	(void)submit_needs_gpus(body);
	try_one(body, NULL, submit_parse_task);
	try_one(body, gpus, submit_parse_task);
	try_one(body, NULL, submit_parse_batch);
	try_one(body, gpus, submit_parse_batch);
	return 0;
}
