/*
 * The variables of the container. NVIDIA_VISIBLE_DEVICES is written over by a request for devices;
 * CUDA_VISIBLE_DEVICES counts what the container was given, not the machine's GPUs; and neither
 * brings a GPU in by itself.
 */
#include "check/check_priv.h"

#include <string.h>

/* What the container gets, before CUDA_VISIBLE_DEVICES. */
static bool given(const struct check *check, const struct stack_service *service,
		  struct check_devices *ret_devices)
{
	struct compose_gpus gpus = *service->gpus;
	const struct compose_value *missing;

	gpus.filter = NULL;
	return compose_resolve(&gpus, check->stack->list, ret_devices->gpus, PLAN_GPUS_MAX,
			       &ret_devices->n, &missing, NULL) == 0;
}

static void overridden(struct check *check, const struct stack_service *service,
		       const struct compose_request *request)
{
	const struct compose_request *decides = service->gpus->decides;
	struct compose_gpus like = {.service = service->service};
	struct check_devices wins, loses;
	struct compose_span place;
	auto_text struct text text = {};

	if (request->in_force || request->by_image || !decides ||
	    (decides->how != COMPOSE_RESERVATION && decides->how != COMPOSE_GPUS &&
	     decides->how != COMPOSE_CDI))
		return;
	compose_request_text(request, &text);
	if (given(check, service, &wins) &&
	    check_devices(check, &like, text.data ? text.data : "", &loses) &&
	    stack_same_gpus(wins.gpus, wins.n, loses.gpus, loses.n))
		return;
	place = compose_request_place(decides);
	check_add(
	    check, CHECK_OVERRIDES_VISIBLE_DEVICES,
	    &(struct finding){
		.span = compose_request_place(request),
		.service = service->service->name,
		.message = mem_printf(
		    "NVIDIA_VISIBLE_DEVICES=%s does nothing: the request at "
		    "%s gives %s %s",
		    text.data ? text.data : "", check_place(check, &place), service->service->name,
		    service->assigned_known ? check_gpu_numbers(check, wins.gpus, wins.n)
					    : "its devices"),
		.fix = mem_strdup("take it out; the request is what counts"),
	    });
}

static bool is_given(const struct check *check, const struct check_devices *devices,
		     const char *device)
{
	unsigned long long number;

	if (text_to_u64(device, 0, UINT64_MAX, &number))
		return number < devices->n;
	for (size_t i = 0; i < devices->n; i++) {
		const struct gpu *gpu = &check->stack->list->gpus[devices->gpus[i]];

		if (strncasecmp(gpu->uuid, device, strlen(device)) == 0 ||
		    strncasecmp(gpu->parent_uuid, device, strlen(device)) == 0)
			return true;
	}
	return false;
}

static void out_of_range(struct check *check, const struct stack_service *service,
			 const struct compose_request *filter)
{
	struct check_devices devices;

	if (!service->wants_gpu || filter->none || check->stack->list->n == 0 ||
	    !given(check, service, &devices))
		return;
	for (size_t i = 0; i < filter->n_values; i++) {
		const char *device = filter->values[i].device;

		if (!device[0] || is_given(check, &devices, device))
			continue;
		check_add(check, CHECK_FILTER_OUT_OF_RANGE,
			  &(struct finding){
			      .span = compose_request_place(filter),
			      .service = service->service->name,
			      .message = mem_printf(
				  "CUDA_VISIBLE_DEVICES names %s, but %s is given %zu GPU%s (%s), "
				  "counted from 0 inside: CUDA will see %s",
				  device, service->service->name, devices.n, PLURAL(devices.n),
				  check_gpu_numbers(check, devices.gpus, devices.n),
				  i == 0 ? "none" : "only those before it"),
			      .fix = mem_strdup(devices.n == 1
						    ? "write CUDA_VISIBLE_DEVICES=0, or take it out"
						    : "count from 0 among those it is given"),
			  });
		return;
	}
}

static void alone(struct check *check, const struct stack_service *service,
		  const struct compose_request *request)
{
	const struct compose_request *decides = service->gpus->decides;

	if (request->none || (decides && !(decides == request && request->if_default_runtime)))
		return;
	check_add(check, CHECK_FILTER_ALONE,
		  &(struct finding){
		      .span = compose_request_place(request),
		      .service = service->service->name,
		      .message = mem_printf("%s sets %s and asks for no GPU: without nvidia as the "
					    "engine's default runtime it gets none",
					    service->service->name, request->key),
		      .fix = mem_printf("add `%s`", check_reservation(check, service)),
		  });
}

void check_visible(struct check *check)
{
	for (size_t i = 0; i < check->stack->n; i++) {
		const struct stack_service *service = &check->stack->services[i];

		for (size_t r = 0; service->service->active && r < service->gpus->n; r++) {
			const struct compose_request *request = &service->gpus->requests[r];

			if (!request->is_nvidia || (request->how != COMPOSE_ENVIRONMENT &&
						    request->how != COMPOSE_RUNTIME))
				continue;
			if (request == service->gpus->filter)
				out_of_range(check, service, request);
			else
				overridden(check, service, request);
			if (request->how == COMPOSE_ENVIRONMENT)
				alone(check, service, request);
		}
	}
}
