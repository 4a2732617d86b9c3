/* What was promised, compared with what the GPUs and the engine say. Pure. */
#include "rollout/rollout.h"

#include "util/size.h"

#include <errno.h>
#include <string.h>

static const struct stack_service *service_of(const struct stack *stack, const char *name)
{
	for (size_t i = 0; i < stack->n; i++)
		if (strcmp(stack->services[i].service->name, name) == 0)
			return &stack->services[i];
	return NULL;
}

static int verify_place(const struct stack *stack, const struct rollout_place *place,
			struct error *err)
{
	const struct stack_service *service = service_of(stack, place->service);
	auto_text struct text is = {}, planned = {};

	if (!service || !service->running)
		return error_set(err, -ESRCH, "%s does not run", place->service);
	stack_add_gpu_words(stack, service->today, service->n_today, &is);
	stack_add_gpu_words(stack, place->gpus, place->n, &planned);
	for (size_t i = 0; i < service->n_today; i++)
		if (!stack_is_among(place->gpus, place->n, service->today[i]))
			return error_set(err, -ENXIO, "%s is on %s, planned is %s", place->service,
					 is.data, planned.data);
	for (size_t i = 0; i < place->n && !place->may_wait; i++)
		if (!service->measured ||
		    !stack_is_among(service->today, service->n_today, place->gpus[i]))
			return error_set(err, -EAGAIN, "%s has nothing on %s yet", place->service,
					 planned.data);
	return 0;
}

static int verify_line(const struct stack *stack, size_t gpu, struct error *err)
{
	const struct gpu *g = &stack->list->gpus[gpu];
	const struct ledger_gpu *line = &stack->ledger->gpus[gpu];

	if (!gpu_has(g, GPU_USED) || !line->vram_known ||
	    g->vram.used_bytes <= line->load_line_bytes)
		return 0;
	return error_set(err, -ENOSPC, "GPU %u holds %s, its load line is %s", g->index,
			 SIZE_TEXT(g->vram.used_bytes), SIZE_TEXT(line->load_line_bytes));
}

/* Is it ours to answer for? Jobs of others may have had a GPU above its line before we came, and
 * nothing that is done here could change that. */
static bool is_held(const struct stack *stack, const struct stack *before,
		    const struct rollout_place *places, size_t n, size_t gpu)
{
	const struct gpu *g = &stack->list->gpus[gpu];

	for (size_t i = 0; i < n; i++)
		if (stack_is_among(places[i].gpus, places[i].n, gpu))
			return true;
	for (size_t i = 0; before && i < before->list->n; i++)
		if (strcmp(before->list->gpus[i].uuid, g->uuid) == 0 &&
		    (g->uuid[0] || before->list->gpus[i].index == g->index))
			return verify_line(before, i, NULL) == 0;
	return true;
}

int rollout_verify(const struct stack *stack, const struct stack *before,
		   const struct rollout_place *places, size_t n, struct error *err)
{
	struct error waiting = {};
	int r = 0;

	for (size_t i = 0; i < n && (r == 0 || r == -EAGAIN); i++) {
		struct error one = {};

		r = verify_place(stack, &places[i], &one);
		if (r == -EAGAIN && waiting.code == 0)
			waiting = one;
		else if (r < 0 && r != -EAGAIN)
			return error_set(err, r, "%s", error_text(&one));
	}
	for (size_t i = 0; i < stack->list->n; i++) {
		r = is_held(stack, before, places, n, i) ? verify_line(stack, i, err) : 0;
		if (r < 0)
			return r;
	}
	return waiting.code < 0 ? error_set(err, waiting.code, "%s", error_text(&waiting)) : 0;
}
