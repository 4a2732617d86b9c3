/*
 * What runs, against what is written: where containers are, what they use, and services of which
 * neither is known.
 */
#include "check/check_priv.h"

#include "util/size.h"

static void no_vram(struct check *check, const struct stack_service *service, const char *names)
{
	check_add(
	    check, CHECK_NO_VRAM,
	    &(struct finding){
		.span = service->service->span,
		.service = names ? NULL : service->service->name,
		.message = names ? mem_printf("nothing says how much VRAM a service needs (%s): "
					      "no sum can be checked",
					      names)
				 : mem_printf("nothing says how much VRAM %s needs: it counts "
					      "nowhere",
					      service->service->name),
		.fix = mem_strdup("write `x-plimsoll: {vram: 6G}` in the service, with what it "
				  "needs; or start it here: then it is measured"),
	    });
}

/* Where nobody has declared anything it is told once. */
static void no_vrams(struct check *check)
{
	const struct stack *stack = check->stack;
	const struct stack_service *first = NULL;
	auto_text struct text names = {};
	size_t n = 0, n_known = 0;

	for (size_t i = 0; i < stack->n; i++) {
		const struct stack_service *service = &stack->services[i];

		if (!service->wants_gpu)
			continue;
		n_known += service->vram_known;
		if (service->vram_known)
			continue;
		first = first ? first : service;
		text_printf(&names, "%s%s", n++ ? ", " : "", service->service->name);
	}
	if (n > 1 && n_known == 0) {
		no_vram(check, first, names.data);
		return;
	}
	for (size_t i = 0; i < stack->n; i++)
		if (stack->services[i].wants_gpu && !stack->services[i].vram_known)
			no_vram(check, &stack->services[i], NULL);
}

static void measured(struct check *check, const struct stack_service *service)
{
	struct finding finding = {.service = service->service->name};
	const char *size = check_size(check, service->measured_bytes);
	const char *key = service->need.n_models > 0 ? "the sizes under `models`" : NULL;
	enum stack_verdict verdict = stack_compare(service);

	if (verdict == STACK_AGREES)
		return;
	finding.message =
	    mem_printf("%s uses %s; x-plimsoll says %s", service->service->name,
		       SIZE_TEXT(service->measured_bytes), SIZE_TEXT(service->need.vram_bytes));
	if (verdict == STACK_USES_MORE) {
		finding.fix = key ? mem_printf("raise %s, or `shared`, to %s together", key, size)
				  : mem_printf("write `vram: %s` or more under x-plimsoll", size);
		check_add(check, CHECK_MEASURED_ABOVE, &finding);
	} else {
		finding.fix = key ? mem_printf("nothing, if it has not loaded all yet; else lower "
					       "%s to %s together",
					       key, size)
				  : mem_printf("nothing, if it has not loaded all yet; else write "
					       "`vram: %s` under x-plimsoll",
					       size);
		check_add(check, CHECK_MEASURED_BELOW, &finding);
	}
}

/* Of several GPUs it may use only some. */
static void drift(struct check *check, const struct stack_service *service)
{
	bool moved = false;

	if (!service->running || !service->assigned_known)
		return;
	for (size_t i = 0; i < service->n_today; i++)
		moved |= !stack_is_among(service->assigned, service->n_assigned, service->today[i]);
	if (!moved)
		return;
	check_add(
	    check, CHECK_DRIFT,
	    &(struct finding){
		.span = compose_request_place(service->gpus->decides),
		.service = service->service->name,
		.message =
		    mem_printf("%s runs on %s, and the files say %s", service->service->name,
			       check_gpu_numbers(check, service->today, service->n_today),
			       check_gpu_numbers(check, service->assigned, service->n_assigned)),
		.fix = mem_printf("`docker compose up -d %s` (or podman-compose) makes it anew as "
				  "the files say",
				  service->service->name),
	    });
}

void check_containers(struct check *check)
{
	no_vrams(check);
	for (size_t i = 0; i < check->stack->n; i++) {
		const struct stack_service *service = &check->stack->services[i];

		if (!service->wants_gpu)
			continue;
		measured(check, service);
		drift(check, service);
	}
}
