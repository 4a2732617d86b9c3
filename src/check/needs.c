/*
 * What services say of themselves under x-plimsoll, or in plimsoll.yaml, and what is not there to
 * be meant: GPUs, other services, and a request for the GPU whose VRAM they speak of.
 */
#include "check/check_priv.h"

#include "util/size.h"
#include "util/suggest.h"

#include <string.h>

/* What one key of it names. */
struct said {
	const struct stack_service *service;
	const char *key, *name;
};

/* Where it stands in the compose file; file NULL: it does not, but in plimsoll.yaml. */
static struct compose_span place_of(const struct said *said)
{
	const struct compose_node *all = compose_get(said->service->service->node, "x-plimsoll");
	const struct compose_node *value = compose_get(all, said->key);
	const char *text = compose_text(value);

	if (text && strcmp(text, said->name) == 0)
		return value->span;
	for (size_t i = 0; value && value->type == COMPOSE_LIST && i < value->n; i++) {
		text = compose_text(value->items[i]);
		if (text && strcmp(text, said->name) == 0)
			return value->items[i]->span;
	}
	return (struct compose_span){};
}

/* "ai says `gpu: 7`", and where, when it is not the place that is shown. New. */
static char *says(const struct said *said, const struct compose_span *place)
{
	const char *where = said->service->need.where;

	return mem_printf("%s says `%s: %s`%s%s%s", said->service->service->name, said->key,
			  said->name, !place->file && where ? " (" : "",
			  !place->file && where ? where : "", !place->file && where ? ")" : "");
}

static void no_gpu(struct check *check, const struct said *said, enum check_code code)
{
	const struct gpu_list *list = check->stack->list;
	const struct compose_span place = place_of(said);
	const char *device = check_device(check, 0, NULL);
	auto_free char *says_so = says(said, &place);

	check_add(check, code,
		  &(struct finding){
		      .span = place,
		      .service = said->service->service->name,
		      .message = mem_printf("%s, and no such GPU is there: here %s %s", says_so,
					    list->n == 1 ? "is" : "are", check_gpu_names(check)),
		      .fix = mem_printf("write `%s: %s` for GPU %u, or whichever is meant; or take "
					"it out",
					said->key, device, list->gpus[0].index),
		  });
}

static void gpus(struct check *check, const struct stack_service *service)
{
	const struct need *need = &service->need;
	const struct {
		const char *key;
		const struct strings *names;
	} lists[] = {{"prefer", &need->prefer}, {"avoid", &need->avoid}, {"forbid", &need->forbid}};
	const struct gpu_list *list = check->stack->list;
	bool which[PLAN_GPUS_MAX];

	if (need->gpu && stack_match_gpus(list, need->gpu, which) == 0)
		no_gpu(check, &(struct said){service, "gpu", need->gpu}, CHECK_GPU_NOT_THERE);
	for (size_t i = 0; i < ARRAY_LEN(lists); i++)
		for (size_t k = 0; k < lists[i].names->n; k++)
			if (stack_match_gpus(list, lists[i].names->items[k], which) == 0)
				no_gpu(
				    check,
				    &(struct said){service, lists[i].key, lists[i].names->items[k]},
				    CHECK_NEED_NOT_THERE);
}

static const char *service_at(const void *data, size_t i)
{
	const struct stack *stack = data;

	return stack->services[i].service->name;
}

static void services(struct check *check, const struct stack_service *service)
{
	const struct strings *names = &service->need.not_with;
	const struct stack *stack = check->stack;

	for (size_t i = 0; i < names->n; i++) {
		const struct said said = {service, "not-with", names->items[i]};
		const bool itself = strcmp(said.name, service->service->name) == 0;
		const struct compose_span place = place_of(&said);
		auto_free char *says_so = says(&said, &place);
		const char *nearest;

		if (!itself && compose_project_find(stack->project, said.name))
			continue;
		nearest = suggest_nearest(said.name, stack->n, service_at, stack);
		check_add(check, CHECK_NEED_NOT_THERE,
			  &(struct finding){
			      .span = place,
			      .service = service->service->name,
			      .message = mem_printf("%s, %s", says_so,
						    itself ? "which is itself"
							   : "and no service is called so"),
			      .fix = itself    ? mem_strdup("take it out; `exclusive: true` keeps "
							       "all others away")
				     : nearest ? mem_printf("write %s, if that is meant", nearest)
					       : mem_strdup("take it out, or write the name of a "
							    "service of this project"),
			  });
	}
}

static void no_request(struct check *check, const struct stack_service *service)
{
	/* Of a request that is there and brings nothing in there are findings of its own. */
	if (!service->need.has_vram || service->gpus->n > 0)
		return;
	check_add(
	    check, CHECK_NEED_WITHOUT_REQUEST,
	    &(struct finding){
		.service = service->service->name,
		.message = mem_printf("%s says it needs %s of VRAM, and asks for no GPU",
				      service->service->name, SIZE_TEXT(service->need.vram_bytes)),
		.fix = mem_printf("add `%s`; `plimsoll plan` then says which GPU",
				  check_reservation(check, service)),
	    });
}

void check_needs(struct check *check)
{
	for (size_t i = 0; i < check->stack->n; i++) {
		const struct stack_service *service = &check->stack->services[i];

		if (!service->service->active || service->service->replicas == 0)
			continue;
		no_request(check, service);
		if (!service->wants_gpu || check->stack->list->n == 0)
			continue;
		gpus(check, service);
		services(check, service);
	}
}
