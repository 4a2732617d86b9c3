/*
 * What checks ask again and again: what a GPU is called, how much is on it, where else a service
 * could go, and how to say so in these files. Texts are in the project's arena: findings copy what
 * they keep.
 */
#include "check/check_priv.h"

#include "util/size.h"

#include <string.h>

static struct arena *arena_of(const struct check *check)
{
	return &check->stack->project->arena;
}

const char *check_gpu_name(const struct check *check, size_t gpu)
{
	const struct gpu *g = &check->stack->list->gpus[gpu];
	const char *name = gpu_short_name(g->name);

	if (g->parent_uuid[0])
		name = arena_printf(arena_of(check), "MIG %s, %s", check_device(check, gpu, NULL),
				    name);
	if (!gpu_has(g, GPU_TOTAL))
		return arena_printf(arena_of(check), "GPU %u (%s)", g->index, name);
	return arena_printf(arena_of(check), "GPU %u (%s, %s)", g->index, name,
			    SIZE_TEXT(g->vram.total_bytes));
}

const char *check_device(const struct check *check, size_t gpu, const struct compose_value *like)
{
	const struct gpu *g = &check->stack->list->gpus[gpu];

	if (like && text_starts_with(like->device, "GPU-"))
		return g->uuid;
	if (g->parent_uuid[0])
		return arena_printf(arena_of(check), "%u:%u", g->index / 1000 - 1, g->index % 1000);
	return arena_printf(arena_of(check), "%u", g->index);
}

const char *check_gpu_names(const struct check *check)
{
	const struct gpu_list *list = check->stack->list;
	auto_text struct text text = {};

	for (size_t i = 0; i < list->n; i++)
		text_printf(&text, "%s%s", text_and(i, list->n), check_gpu_name(check, i));
	return arena_strdup(arena_of(check), text.data ? text.data : "no GPU");
}

const char *check_gpu_numbers(const struct check *check, const size_t *gpus, size_t n)
{
	const struct gpu_list *list = check->stack->list;
	auto_text struct text text = {};

	if (n == 0)
		return "no GPU";
	if (n == list->n && n > 1)
		return "all GPUs";
	text_printf(&text, "GPU%s ", PLURAL(n));
	for (size_t i = 0; i < n; i++)
		text_printf(&text, "%s%u", text_and(i, n), list->gpus[gpus[i]].index);
	return arena_strdup(arena_of(check), text.data);
}

bool check_capacity_known(const struct check *check, size_t gpu)
{
	return check->stack->ledger->gpus[gpu].vram_known;
}

uint64_t check_capacity_of(const struct check *check, size_t gpu)
{
	const struct ledger_gpu *line = &check->stack->ledger->gpus[gpu];
	uint64_t foreign = check->stack->foreign_bytes[gpu];

	return line->vram_known && line->load_line_bytes > foreign ? line->load_line_bytes - foreign
								   : 0;
}

bool check_counts(const struct stack_service *service)
{
	return service->wants_gpu && service->vram_known && service->assigned_known &&
	       service->n_assigned > 0 &&
	       (!service->gpus->decides->all || stack_gpus_asked(service) >= service->n_assigned);
}

uint64_t check_load_of(const struct stack_service *service)
{
	return service->need.on_demand ? 0 : service->vram_bytes * service->service->replicas;
}

uint64_t check_load_on(const struct check *check, size_t gpu, const struct stack_service *except)
{
	const struct gpu *g = &check->stack->list->gpus[gpu];
	uint64_t bytes = 0;

	for (size_t i = 0; i < check->stack->n; i++) {
		const struct stack_service *service = &check->stack->services[i];

		/* One that is larger than the GPU is a fault of its own and will not stay. */
		if (service == except || !check_counts(service) ||
		    !stack_is_among(service->assigned, service->n_assigned, gpu) ||
		    (gpu_has(g, GPU_TOTAL) && service->vram_bytes > g->vram.total_bytes))
			continue;
		bytes += check_load_of(service);
	}
	return bytes;
}

bool check_may_use(const struct check *check, const struct stack_service *service, size_t gpu,
		   const char **ret_why)
{
	const struct need *need = &service->need;
	const struct ledger_gpu *line = &check->stack->ledger->gpus[gpu];
	const char *why = NULL;
	bool which[PLAN_GPUS_MAX];

	if (need->gpu && stack_match_gpus(check->stack->list, need->gpu, which) > 0 && !which[gpu])
		why = arena_printf(arena_of(check), "gpu: %s", need->gpu);
	for (size_t i = 0; !why && i < need->forbid.n; i++) {
		(void)stack_match_gpus(check->stack->list, need->forbid.items[i], which);
		if (which[gpu])
			why = arena_printf(arena_of(check), "forbid: %s", need->forbid.items[i]);
	}
	if (!why && need->compute_min > 0 && line->compute_known &&
	    line->compute < need->compute_min)
		why = arena_printf(arena_of(check),
				   "min-compute-capability: %u.%u, and this one has %u.%u",
				   need->compute_min / 10, need->compute_min % 10,
				   line->compute / 10, line->compute % 10);
	if (ret_why)
		*ret_why = why;
	return !why;
}

size_t check_better_gpu(const struct check *check, const struct stack_service *service,
			bool *ret_alone)
{
	const struct gpu_list *list = check->stack->list;
	const uint64_t load = service->vram_bytes * service->service->replicas;
	size_t beside = SIZE_MAX, alone = SIZE_MAX;
	uint64_t least_room = UINT64_MAX, smallest = UINT64_MAX;

	for (size_t g = 0; g < list->n; g++) {
		uint64_t capacity = check_capacity_of(check, g),
			 there = check_load_on(check, g, service);

		if (!gpu_is_usable(&list->gpus[g]) || capacity < load ||
		    !check_may_use(check, service, g, NULL))
			continue;
		if (capacity < smallest) {
			smallest = capacity;
			alone = g;
		}
		if (capacity >= there + load && capacity - there < least_room) {
			least_room = capacity - there;
			beside = g;
		}
	}
	*ret_alone = beside == SIZE_MAX;
	return beside != SIZE_MAX ? beside : alone;
}

const char *check_some_device(const struct check *check, const struct stack_service *service)
{
	bool alone;
	size_t g = SIZE_MAX;

	if (service->assigned_known && service->n_assigned == 1)
		g = service->assigned[0];
	else if (service->vram_known)
		g = check_better_gpu(check, service, &alone);
	/* Nothing there is to be named where there is no GPU. */
	if (check->stack->list->n == 0)
		return "0";
	return check_device(check, g == SIZE_MAX ? 0 : g, NULL);
}

/* What its files name, as they would in a list: "'0', '1'"; else some device, quoted. Arena memory.
 */
static const char *some_ids(const struct check *check, const struct stack_service *service)
{
	auto_text struct text text = {};

	for (size_t i = 0; service->assigned_known && i < service->n_assigned; i++)
		text_printf(&text, "%s'%s'", i ? ", " : "",
			    check_device(check, service->assigned[i], check_value(service)));
	if (text.len == 0)
		text_printf(&text, "'%s'", check_some_device(check, service));
	return arena_strdup(arena_of(check), text.data);
}

const char *check_reservation(const struct check *check, const struct stack_service *service)
{
	const struct compose_request *decides = service->gpus->decides;
	const bool all = decides && decides->all;

	return arena_printf(
	    arena_of(check),
	    "deploy: {resources: {reservations: {devices: [{driver: nvidia, %s%s%s, "
	    "capabilities: [gpu]}]}}}",
	    all ? "count: all" : "device_ids: [", all ? "" : some_ids(check, service),
	    all ? "" : "]");
}

const struct compose_value *check_value(const struct stack_service *service)
{
	const struct compose_request *decides = service->gpus->decides;

	return decides && decides->n_values > 0 ? &decides->values[0] : NULL;
}

const char *check_place(const struct check *check, const struct compose_span *span)
{
	unsigned line, column;

	if (!span->file)
		return "";
	compose_file_position(span->file, span->begin, &line, &column);
	return arena_printf(arena_of(check), "%s:%u", span->file->shown, line);
}

const char *check_env_name(const struct check *check)
{
	const struct compose_env *env = &check->stack->project->env;

	return env->n_files > 0 ? env->files[env->n_files - 1].file->shown : ".env";
}

const char *check_assignment(const struct check *check, const struct compose_value *value)
{
	const char *said =
	    value->fallback && !strchr(value->fallback, '$') ? value->fallback : value->text;

	return arena_printf(arena_of(check), "%s=%s", value->variable, said);
}

const char *check_size(const struct check *check, uint64_t bytes)
{
	uint64_t mib = bytes / MIB + (bytes % MIB > 0);

	if (mib % 1024 == 0)
		return arena_printf(arena_of(check), "%juG", (uintmax_t)(mib / 1024));
	return arena_printf(arena_of(check), "%juM", (uintmax_t)mib);
}

const char *check_how_to_say(const struct check *check, const struct compose_request *request,
			     const struct compose_value *value, const char *device)
{
	struct arena *arena = arena_of(check);
	const struct compose_span span = compose_request_place(request);
	const char *at = check_place(check, &span);

	if (!value || request->has_count || request->all)
		return arena_printf(arena, "say device_ids: ['%s']%s%s%s", device,
				    request->count_span.file ? " instead of count" : "",
				    *at ? " in " : "", at);
	switch (value->source) {
	case COMPOSE_ENV_FILE:
		if (value->assignment)
			return arena_printf(arena, "set %s=%s in %s", value->variable, device,
					    check_place(check, &value->assignment->span));
		break;
	case COMPOSE_SHELL:
		return arena_printf(arena, "set %s=%s in the shell (it wins over env files)",
				    value->variable, device);
	case COMPOSE_COMMENTED:
		if (value->commented)
			return arena_printf(arena, "write %s=%s in %s", value->variable, device,
					    check_place(check, &value->commented->span));
		break;
	case COMPOSE_DEFAULT:
	case COMPOSE_ABSENT:
		if (value->variable)
			return arena_printf(arena, "add %s=%s to %s", value->variable, device,
					    check_env_name(check));
		break;
	case COMPOSE_LITERAL:
	case COMPOSE_SOURCE_COUNT:
		break;
	}
	return arena_printf(arena, "write '%s' instead of '%s'%s%s", device, value->device,
			    *at ? " in " : "", at);
}

/* One value of a list of devices. */
static void add_value(struct compose_request *request, const char *text)
{
	static const struct compose_node nowhere = {.type = COMPOSE_SCALAR};
	struct compose_value *value = &request->values[request->n_values++];
	const char *equals = strchr(text, '=');

	*value = (struct compose_value){
	    .text = text, .device = equals ? equals + 1 : text, .node = &nowhere};
	if (strcasecmp(text, "all") == 0)
		request->all = true;
	if (strcmp(text, "none") == 0 || strcmp(text, "void") == 0)
		request->none = true;
}

bool check_devices(const struct check *check, const struct compose_gpus *like, const char *text,
		   struct check_devices *ret_devices)
{
	struct arena *arena = arena_of(check);
	struct compose_request request = {.is_nvidia = true, .in_force = true};
	struct compose_gpus gpus = {
	    .service = like->service, .requests = &request, .n = 1, .filter = like->filter};
	const struct compose_value *missing = NULL;
	char *rest = arena_strdup(arena, text);
	unsigned long long count;
	int r;

	*ret_devices = (struct check_devices){};
	request.values = arena_alloc(arena, (strlen(text) + 1) * sizeof *request.values);
	for (char *item; (item = strsep(&rest, ","));) {
		item += strspn(item, " \t");
		item[strcspn(item, " \t")] = '\0';
		if (item[0])
			add_value(&request, item);
	}
	if (request.none || request.n_values == 0)
		return true;
	if (like->decides && like->decides->has_count && !request.all) {
		request.has_count = text_to_u64(text, 1, UINT64_MAX, &count);
		request.count = request.has_count ? count : 0;
	}
	r = compose_resolve(&gpus, check->stack->list, ret_devices->gpus, PLAN_GPUS_MAX,
			    &ret_devices->n, &missing, NULL);
	if (r < 0)
		ret_devices->missing = missing ? missing->device : text;
	return r == 0;
}
