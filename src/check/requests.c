/*
 * How a request is written: what compose or the engine refuses, what means something else than it
 * seems to, and what works with one program and not with another.
 */
#include "check/check_priv.h"

#include <string.h>

/* A request of one service. */
struct asked {
	const struct stack_service *service;
	const struct compose_request *request;
};

static const char *name_of(const struct asked *asked)
{
	return asked->service->service->name;
}

static void count_all(struct check *check, const struct asked *asked)
{
	const struct compose_request *request = asked->request;
	const struct stack_service *service = asked->service;
	const char *how = request->n_values > 0 ? "asks for all"
			  : request->by_image   ? "says nothing, so the image does (nvidia/cuda's "
						  "say all)"
						: "says nothing, which is all";

	if (request != service->gpus->decides || !service->wants_gpu || !request->all ||
	    service->n_assigned < 2 || stack_gpus_asked(service) >= service->n_assigned)
		return;
	check_add(
	    check, CHECK_COUNT_ALL,
	    &(struct finding){
		.span = compose_request_place(request),
		.service = name_of(asked),
		.message =
		    mem_printf("%s %s: it gets %s", name_of(asked), how, check_gpu_names(check)),
		.fix = request->how == COMPOSE_RUNTIME || request->how == COMPOSE_ENVIRONMENT
			   ? mem_printf("write NVIDIA_VISIBLE_DEVICES=%s under environment, or "
					"another one",
					check_some_device(check, service))
			   : mem_printf("write device_ids: ['%s'], or another one; `gpus: %zu` "
					"under x-plimsoll when it does use them all",
					check_some_device(check, service), service->n_assigned),
	    });
}

static void count_first(struct check *check, const struct asked *asked)
{
	const struct compose_request *request = asked->request;
	const size_t n = check->stack->list->n;
	struct finding finding = {.service = name_of(asked)};

	if (!request->has_count || !request->in_force || request->count >= n)
		return;
	finding.span = compose_request_place(request);
	if (request->count == 1)
		finding.message =
		    mem_printf("%s asks for one GPU by count, which is always GPU 0 of %zu",
			       name_of(asked), n);
	else
		finding.message = mem_printf(
		    "%s asks for %ju GPUs by count, which are always GPU 0 to %ju "
		    "of %zu",
		    name_of(asked), (uintmax_t)request->count, (uintmax_t)request->count - 1, n);
	finding.fix =
	    mem_printf("write device_ids: ['%s'%s], which says which",
		       check_some_device(check, asked->service), request->count > 1 ? ", ..." : "");
	check_add(check, CHECK_COUNT_FIRST, &finding);
}

static bool has_key(const struct compose_request *request, const char *key)
{
	const struct compose_node *value = compose_get(request->node, key);

	return value && value->type != COMPOSE_NULL;
}

/* How it is written right. */
static const char *example_of(const struct compose_request *request)
{
	switch (request->how) {
	case COMPOSE_CDI:
		return "nvidia.com/gpu=0";
	case COMPOSE_RUNTIME:
		return "NVIDIA_VISIBLE_DEVICES: \"0\"";
	case COMPOSE_ENVIRONMENT:
		return "CUDA_VISIBLE_DEVICES: \"0\"";
	case COMPOSE_DEVICE_NODE:
		return "/dev/nvidia0";
	case COMPOSE_RESERVATION:
	case COMPOSE_GPUS:
	case COMPOSE_HOW_COUNT:
		break;
	}
	return "{driver: nvidia, device_ids: ['0'], capabilities: [gpu]}";
}

static void refused(struct check *check, const struct asked *asked)
{
	const struct compose_request *request = asked->request;
	bool has_both = has_key(request, "count") && has_key(request, "device_ids");
	bool has_none = request->how == COMPOSE_RESERVATION && request->node &&
			request->node->type == COMPOSE_MAP && !has_key(request, "capabilities");
	struct finding finding = {.span = request->span, .service = name_of(asked)};

	if (has_both) {
		finding.span = request->count_span.file ? request->count_span : request->span;
		finding.message = mem_printf("%s has count and device_ids in one request, which "
					     "compose refuses",
					     name_of(asked));
		finding.fix = mem_strdup("take `count` out: it only ever means the first GPUs");
		check_add(check, CHECK_COUNT_AND_IDS, &finding);
	} else if (has_none) {
		finding.message = mem_printf("%s has a reservation without capabilities, which "
					     "compose refuses",
					     name_of(asked));
		finding.fix = mem_strdup("add `capabilities: [gpu]`");
		check_add(check, CHECK_CAPABILITIES_MISSING, &finding);
	} else if (request->problem) {
		finding.span = request->problem_span;
		finding.message = mem_printf("%s: %s", name_of(asked), request->problem);
		finding.fix = mem_printf("write it as in `%s`", example_of(request));
		check_add(check, CHECK_REFUSED, &finding);
	}
}

static bool has_capability(const struct compose_request *request, const char *wanted)
{
	size_t len = strlen(wanted);

	for (const char *at = request->capabilities; at && *at;) {
		size_t n = strcspn(at, ",");

		if (n == len && strncmp(at, wanted, n) == 0)
			return true;
		at += n + (at[n] == ',');
	}
	return false;
}

static void portable(struct check *check, const struct asked *asked)
{
	const struct compose_request *request = asked->request;
	struct finding finding = {.span = request->span, .service = name_of(asked)};

	if (request->how == COMPOSE_GPUS) {
		finding.message =
		    mem_printf("%s asks with `gpus:`, which podman-compose and docker "
			       "compose before 2.30 do not know",
			       name_of(asked));
		finding.fix = mem_printf("write `%s`, which works with all",
					 check_reservation(check, asked->service));
		check_add(check, CHECK_GPUS_KEY, &finding);
		return;
	}
	if (request->how != COMPOSE_RESERVATION || !request->capabilities)
		return;
	if (!has_capability(request, "gpu")) {
		finding.span = request->capabilities_span;
		finding.message = mem_printf("the capabilities of %s (%s) have no \"gpu\"",
					     name_of(asked), request->capabilities);
		finding.fix =
		    mem_printf("write capabilities: [gpu%s%s]",
			       request->capabilities[0] ? ", " : "", request->capabilities);
		check_add(check, CHECK_CAPABILITIES_WITHOUT_GPU, &finding);
	} else if (!request->driver) {
		finding.message =
		    mem_printf("the reservation of %s names no driver: podman-compose "
			       "passes over it",
			       name_of(asked));
		finding.fix = mem_strdup("add `driver: nvidia`");
		check_add(check, CHECK_DRIVER_MISSING, &finding);
	}
}

static void one_string(struct check *check, const struct asked *asked)
{
	const struct compose_request *request = asked->request;

	if ((request->how != COMPOSE_RESERVATION && request->how != COMPOSE_GPUS) ||
	    request->has_count)
		return;
	for (size_t i = 0; i < request->n_values; i++) {
		const struct compose_node *node = request->values[i].node;
		auto_text struct text text = {};

		if (!node->text || !strchr(node->text, ','))
			continue;
		for (size_t k = 0; k < request->n_values; k++)
			if (request->values[k].node == node)
				text_printf(&text, "%s'%s'", text.len ? ", " : "",
					    request->values[k].text);
		check_add(
		    check, CHECK_IDS_IN_ONE_STRING,
		    &(struct finding){
			.span = node->span,
			.service = name_of(asked),
			.message = mem_printf("%s has \"%s\" as one device id; with CDI (docker "
					      "29.2, podman) there is no such device",
					      name_of(asked), node->text),
			.fix = mem_printf("write [%s], a string for each", text.data),
		    });
		return;
	}
}

/* Lists are merged key by key: only a list of the same key can be replaced by a later file. New. */
static char *fix_of_duplicate(const struct compose_request *first,
			      const struct compose_request *later)
{
	if (first->span.file == later->span.file || first->how != later->how)
		return mem_strdup("take one of the two out");
	return mem_printf("write `%s: !override` in the later file, which replaces the list",
			  later->how == COMPOSE_GPUS ? "gpus" : "devices");
}

static void duplicates(struct check *check, const struct stack_service *service)
{
	const struct compose_request *first = NULL;

	for (size_t i = 0; i < service->gpus->n; i++) {
		const struct compose_request *request = &service->gpus->requests[i];
		struct compose_span place;

		if (!request->in_force ||
		    (request->how != COMPOSE_RESERVATION && request->how != COMPOSE_GPUS &&
		     request->how != COMPOSE_CDI))
			continue;
		if (!first) {
			first = request;
			continue;
		}
		/* Several CDI devices are one request to the engine. */
		if (first->how == COMPOSE_CDI && request->how == COMPOSE_CDI)
			continue;
		place = compose_request_place(first);
		check_add(
		    check, CHECK_DUPLICATE_REQUEST,
		    &(struct finding){
			.span = compose_request_place(request),
			.service = service->service->name,
			.message = mem_printf("%s asks here and at %s, too: the container "
					      "gets the devices of both",
					      service->service->name, check_place(check, &place)),
			.fix = fix_of_duplicate(first, request),
		    });
		return;
	}
}

static void device_node(struct check *check, const struct stack_service *service)
{
	for (size_t i = 0; i < service->gpus->n; i++) {
		const struct compose_request *request = &service->gpus->requests[i];

		if (request->how != COMPOSE_DEVICE_NODE || !request->is_nvidia)
			continue;
		check_add(check, CHECK_DEVICE_NODE,
			  &(struct finding){
			      .span = request->span,
			      .service = service->service->name,
			      .message = mem_printf("%s gets a bare device node, and none of the "
						    "driver's libraries",
						    service->service->name),
			      .fix = mem_printf("write `%s`, or the CDI device nvidia.com/gpu=%s",
						check_reservation(check, service),
						request->values[0].device),
			  });
		return;
	}
}

void check_requests(struct check *check)
{
	static void (*const rules[])(struct check *, const struct asked *) = {
	    count_all, count_first, refused, portable, one_string,
	};

	for (size_t i = 0; i < check->stack->n; i++) {
		const struct stack_service *service = &check->stack->services[i];

		if (!service->service->active || service->service->replicas == 0)
			continue;
		for (size_t r = 0; r < service->gpus->n; r++) {
			struct asked asked = {service, &service->gpus->requests[r]};

			for (size_t k = 0; k < ARRAY_LEN(rules) && asked.request->is_nvidia; k++)
				rules[k](check, &asked);
		}
		duplicates(check, service);
		device_node(check, service);
	}
}
