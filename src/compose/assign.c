/*
 * See assign.h. For each target: what decides is found, the devices that are right already keep
 * their places, the others are named anew (assign_seat.c); where the number of devices changes, or
 * none is named, the list is written anew (assign_yaml.c). Bytes that other services read, too, are
 * changed only when all of them go along; else the service gets a request of its own.
 *
 * All is gathered in edits of its own, which the caller gets when every target could be written.
 */
#include "compose/assign_priv.h"

#include <errno.h>
#include <stdarg.h>
#include <string.h>
#include <strings.h>

int assign_fail(const struct compose_target *target, const struct compose_span *at,
		struct error *err, const char *fmt, ...)
{
	char text[ERROR_TEXT_MAX / 2];
	va_list args;

	va_start(args, fmt);
	(void)vsnprintf(text, sizeof text, fmt, args);
	va_end(args);
	return compose_error(at, -ENOTSUP, err, "service \"%s\": %s", target->gpus->service->name,
			     text);
}

void assign_note(struct assigning *a, const struct compose_target *target, const char *fmt, ...)
{
	auto_free char *text = NULL;
	va_list args;

	va_start(args, fmt);
	if (vasprintf(&text, fmt, args) < 0)
		text = NULL;
	va_end(args);
	strings_take(&a->notes, mem_printf("%s: %s", target->gpus->service->name, text ?: fmt));
}

void assign_goes_along(struct assigning *a, const struct compose_target *target,
		       const struct compose_gpus *other, const char *variable)
{
	assign_note(a, target, "%s, which is not active, goes along%s%s", other->service->name,
		    variable ? " with " : "", variable ?: "");
	if (a->options->ret_along)
		strings_add(a->options->ret_along, other->service->name);
}

int assign_edit(struct assigning *a, const struct compose_span *span, const char *text,
		struct error *err)
{
	return compose_edits_add(&a->edits, span, text, err);
}

bool assign_sets_equal(const struct assign_set *one, const struct assign_set *other)
{
	return memcmp(one, other, sizeof *one) == 0;
}

struct assign_set assign_wanted(const struct assigning *a, const struct compose_target *target)
{
	struct assign_set set = {};

	for (size_t i = 0; i < target->n_devices; i++)
		for (size_t k = 0; k < a->list->n; k++)
			if (strcmp(a->list->gpus[k].uuid, target->devices[i]->uuid) == 0 &&
			    a->list->gpus[k].index == target->devices[i]->index)
				set.in[k] = true;
	return set;
}

/* Where its files put it. */
static bool set_now(const struct assigning *a, const struct compose_gpus *gpus,
		    struct assign_set *ret_set)
{
	const struct compose_value *missing;
	size_t indices[GPU_LIST_MAX], n = 0;

	*ret_set = (struct assign_set){};
	if (compose_resolve(gpus, a->list, indices, ARRAY_LEN(indices), &n, &missing, NULL) < 0)
		return false;
	for (size_t i = 0; i < n; i++)
		ret_set->in[indices[i]] = true;
	return true;
}

bool assign_final(const struct assigning *a, const struct compose_gpus *gpus,
		  struct assign_set *ret_set)
{
	for (size_t i = 0; i < a->n; i++)
		if (a->targets[i].gpus->service == gpus->service) {
			*ret_set = assign_wanted(a, &a->targets[i]);
			return true;
		}
	return set_now(a, gpus, ret_set);
}

const char *assign_why(const struct assigning *a, const struct compose_target *target,
		       const struct assign_set *set)
{
	auto_text struct text text = {};
	const char *before = " on the ";

	if (!target->why)
		return NULL;
	text_add(&text, target->why);
	for (size_t i = 0; i < a->list->n; i++) {
		const char *name = gpu_short_name(a->list->gpus[i].name);

		if (!set->in[i] || !*name)
			continue;
		text_printf(&text, "%s%s", before, name);
		before = " and on the ";
	}
	return arena_strdup(a->arena, text.data ?: "");
}

bool assign_meant(const struct assigning *a, const char *device, struct assign_set *ret_set)
{
	struct compose_value value = {.text = device, .device = device};
	struct compose_node nowhere = {.type = COMPOSE_SCALAR, .raw = device, .text = device};
	struct compose_service service = {.name = ""};
	struct compose_request request = {
	    .in_force = true, .is_nvidia = true, .values = &value, .n_values = 1};
	struct compose_gpus gpus = {.service = &service, .requests = &request, .n = 1};

	value.node = &nowhere;
	return *device && set_now(a, &gpus, ret_set);
}

static bool is_uuid(const char *device)
{
	return strncasecmp(device, "GPU-", 4) == 0 || strncasecmp(device, "MIG-", 4) == 0;
}

/* How a GPU is named where `like` stood (NULL: nothing did). */
static const char *assign_device(const struct assigning *a, const struct gpu *gpu, const char *like)
{
	bool uuid = a->options->by_uuid || (like && is_uuid(like));

	if (uuid && gpu->uuid[0])
		return gpu->uuid;
	if (like && strchr(like, '.') && strchr(like, ':') && gpu->pci_bus_id[0])
		return gpu->pci_bus_id;
	if (gpu->parent_uuid[0])
		return arena_printf(a->arena, "%u:%u", gpu->index / 1000 - 1, gpu->index % 1000);
	return arena_printf(a->arena, "%u", gpu->index);
}

/* A value's text with another device in it: "nvidia.com/gpu=0" has more than that. */
static const char *value_text(const struct assigning *a, const struct compose_value *value,
			      enum compose_how how, const struct gpu *gpu)
{
	size_t before = strlen(value->text) - strlen(value->device);
	const char *device = how == COMPOSE_DEVICE_NODE ? arena_printf(a->arena, "%u", gpu->index)
							: assign_device(a, gpu, value->device);

	return arena_printf(a->arena, "%.*s%s", (int)before, value->text, device);
}

/* A value that may stay, as a request and a scalar have it. */
struct slot {
	const struct compose_request *request;
	const struct compose_value *value;
	const char *text; /* what it is to be; NULL: not known yet */
	size_t gpu;       /* of the list; with a text */
};

struct slots {
	struct slot *items;
	size_t n, room;
};

static void slots_finish(struct slots *slots)
{
	free(slots->items);
}
#define auto_slots CLEANUP(slots_finish)

/* Devices that are named and wanted stay where they are; the others get what is left, in order. */
static void slots_fill(const struct assigning *a, const struct compose_target *target,
		       struct slots *slots)
{
	struct assign_set left = assign_wanted(a, target);

	for (size_t i = 0; i < slots->n; i++) {
		struct slot *slot = &slots->items[i];
		struct assign_set meant;
		size_t gpu = 0;

		if (!assign_meant(a, slot->value->device, &meant))
			continue;
		while (gpu < a->list->n && !(meant.in[gpu] && left.in[gpu]))
			gpu++;
		if (gpu == a->list->n)
			continue;
		left.in[gpu] = false;
		slot->gpu = gpu;
		slot->text =
		    a->options->by_uuid && !is_uuid(slot->value->device)
			? value_text(a, slot->value, slot->request->how, &a->list->gpus[gpu])
			: slot->value->text;
	}
	for (size_t i = 0, gpu = 0; i < slots->n; i++) {
		struct slot *slot = &slots->items[i];

		if (slot->text)
			continue;
		while (!left.in[gpu])
			gpu++;
		slot->gpu = gpu;
		slot->text = value_text(a, slot->value, slot->request->how, &a->list->gpus[gpu++]);
	}
}

/* One thing says both: they have to be changed together. */
static bool said_together(const struct slot *one, const struct slot *other)
{
	return one->value->node == other->value->node && one->value->variable &&
	       other->value->variable && one->value->use == other->value->use &&
	       one->value->assignment == other->value->assignment;
}

/* The name in the container goes with the name outside: a CDI device is none when they differ, and
 * the driver knows a node by its number. */
static int slot_write_inside(struct assigning *a, const struct slot *slot, struct error *err)
{
	const struct compose_node *inside = compose_get(slot->request->node, "target");
	const struct compose_value *value = slot->value;
	const char *text = value->node->text, *old = value->text;
	struct compose_span span;

	if (slot->request->how == COMPOSE_CDI && inside && inside->n_uses == 0 &&
	    compose_text(inside) && strcmp(compose_text(inside), old) == 0)
		return assign_yaml_scalar(a, inside, slot->text, err);
	if (slot->request->how != COMPOSE_DEVICE_NODE || value->node->n_uses > 0 ||
	    text[value->end] != ':' || strncmp(text + value->end + 1, old, strlen(old)) != 0 ||
	    !compose_part_span(value->node, value->end + 1, value->end + 1 + strlen(old), &span))
		return 0;
	return assign_yaml_part(a, value->node, &span, slot->text, err);
}

/* Values that one variable says are one region: the commas between them are its own. `there`: they
 * are right, and only the defaults are looked at. */
static int slots_write(struct assigning *a, const struct compose_target *target,
		       const struct slots *slots, bool there, struct error *err)
{
	int r = 0;

	for (size_t i = 0, n; r == 0 && i < slots->n; i += n) {
		const struct slot *first = &slots->items[i];
		struct assign_region region;
		struct assign_set named = {};
		auto_text struct text text = {};
		bool same = true;

		for (n = 0; i + n < slots->n && (n == 0 || said_together(first, first + n)); n++) {
			struct assign_set meant = {};

			if (first[n].text)
				named.in[first[n].gpu] = true;
			else if (assign_meant(a, first[n].value->device, &meant))
				for (size_t g = 0; g < ARRAY_LEN(meant.in); g++)
					named.in[g] = named.in[g] || meant.in[g];
			text_printf(&text, "%s%s", n ? "," : "", first[n].text ?: "");
			same = there || (same && strcmp(first[n].text, first[n].value->text) == 0);
		}
		assign_region_find(a, target, first->request, first->value, first[n - 1].value,
				   &region);
		region.why = assign_why(a, target, &named);
		r = same ? assign_region_keep(a, &region, err)
			 : assign_region_set(a, &region, arena_strdup(a->arena, text.data), err);
		if (r == 0 && !same)
			r = slot_write_inside(a, first, err);
	}
	return r;
}

static bool has_ids(const struct compose_request *request)
{
	const struct compose_node *list = compose_get(request->node, "device_ids");

	if (request->node && request->node->type == COMPOSE_MAP &&
	    (request->how == COMPOSE_RESERVATION || request->how == COMPOSE_GPUS))
		return list && list->type == COMPOSE_LIST && list->n > 0;
	return request->n_values > 0;
}

/* The names of the target's devices, for a list that is written anew. */
static const char *const *ids_of(const struct assigning *a, const struct compose_target *target,
				 const struct compose_request *request)
{
	struct assign_set wanted = assign_wanted(a, target);
	const char **ids = arena_alloc(a->arena, (GPU_LIST_MAX + 1) * sizeof *ids);
	const struct compose_value *like =
	    has_ids(request) && request->n_values ? &request->values[0] : NULL;
	size_t n = 0;

	for (size_t i = 0; i < a->list->n; i++) {
		const struct gpu *gpu = &a->list->gpus[i];

		if (!wanted.in[i])
			continue;
		ids[n++] =
		    like ? value_text(a, like, request->how, gpu)
		    : request->how == COMPOSE_CDI
			? arena_printf(a->arena, "nvidia.com/gpu=%s", assign_device(a, gpu, NULL))
			: assign_device(a, gpu, NULL);
	}
	return ids;
}

/* All devices in one variable of the container. */
static int set_environment(struct assigning *a, const struct compose_target *target,
			   const struct compose_request *request, const char *const *ids, size_t n,
			   struct error *err)
{
	struct assign_region region;
	auto_text struct text text = {};
	int r;

	for (size_t i = 0; i < n; i++)
		text_printf(&text, "%s%s", i ? "," : "", ids[i]);
	if (request->n_values == 0) {
		assign_note(a, target, "%s=%s in its environment", request->key, text.data);
		r = assign_yaml_environment(a, target, request->key, text.data, err);
		return r == -EXDEV
			   ? assign_fail(target, &request->span, err,
					 "%s stands in its environment without a value: give it %s",
					 request->key, text.data)
			   : r;
	}
	assign_region_find(a, target, request, &request->values[0],
			   &request->values[request->n_values - 1], &region);
	return assign_region_set(a, &region, arena_strdup(a->arena, text.data), err);
}

/* What the service says in bytes that are not its own it says itself. -EXDEV: they are its own. */
static int say_itself(struct assigning *a, const struct compose_target *target,
		      const struct compose_request *request, struct error *err)
{
	const char *const *ids = ids_of(a, target, request);
	auto_text struct text text = {};
	int r = -EXDEV;

	for (size_t i = 0; i < target->n_devices; i++)
		text_printf(&text, "%s%s", i ? "," : "", ids[i]);
	if (assign_is_in_environment(request))
		r = assign_yaml_environment(a, target, request->key, text.data, err);
	else if (request->how != COMPOSE_DEVICE_NODE && request->node->type == COMPOSE_MAP)
		r = assign_yaml_own(a, target, request, ids, target->n_devices, err);
	if (r < 0)
		return r;
	assign_left_request(a, target->gpus->service, request);
	assign_note(a, target, "a request of its own with %s, no more shared", text.data);
	return 0;
}

/* What decides, when each is an entry of one list: then one request can stand for them all. */
static bool is_one_list(const struct compose_request *const *requests, size_t n)
{
	for (size_t i = 0; i < n; i++)
		if (requests[i]->how != requests[0]->how ||
		    (requests[i]->how != COMPOSE_RESERVATION && requests[i]->how != COMPOSE_GPUS))
			return n == 1;
	return true;
}

/* The bytes are the service's own, and others share them: these get requests of their own. */
static int others_part(struct assigning *a, const struct compose_target *target,
		       const struct compose_request *const *requests, size_t n, struct error *err)
{
	for (size_t i = 0; i < a->project->n; i++) {
		const struct compose_gpus *other = &a->all[i];
		const struct compose_request *shared = NULL, *request = requests[0];
		const struct gpu *devices[GPU_LIST_MAX];
		struct compose_target there = {.gpus = other, .devices = devices};
		struct assign_set final;
		int r = -EXDEV;

		for (size_t k = 0; k < n && !shared; k++)
			shared = assign_sharing(a, target, request = requests[k], other);
		if (!shared)
			continue;
		if (assign_final(a, other, &final)) {
			for (size_t k = 0; k < a->list->n; k++)
				if (final.in[k])
					devices[there.n_devices++] = &a->list->gpus[k];
			r = there.n_devices > 0 ? say_itself(a, &there, shared, err) : -EXDEV;
		}
		if (r == -EXDEV)
			return assign_fail(target, &request->span, err,
					   "\"%s\" takes its GPUs from here, too, and is to be "
					   "elsewhere: give one of them a request of its own",
					   other->service->name);
		if (r < 0)
			return r;
	}
	return 0;
}

static int set_request(struct assigning *a, const struct compose_target *target,
		       const struct compose_request *request, struct error *err)
{
	const char *const *ids = ids_of(a, target, request);
	bool is_list = request->node && request->node->type == COMPOSE_MAP &&
		       !assign_is_in_environment(request) &&
		       compose_get(request->node, "source") == NULL;
	int r;

	if (assign_is_in_environment(request))
		return set_environment(a, target, request, ids, target->n_devices, err);
	if (!is_list)
		return assign_fail(target, &request->span, err,
				   "it asks for one device here and is to have %zu: write them as "
				   "device_ids of a reservation",
				   target->n_devices);
	r = assign_yaml_ids(a, target, request, ids, target->n_devices, err);
	if (r == 0) {
		auto_text struct text text = {};

		assign_left_request(a, NULL, request);
		for (size_t i = 0; i < target->n_devices; i++)
			text_printf(&text, "%s%s", i ? ", " : "", ids[i]);
		assign_note(a, target, "device_ids %s in its request", text.data);
	}
	return r;
}

/* The requests that decide together: those in force, device nodes only when nothing else is. When
 * none is, the one that would if it named a device. */
static size_t deciding(const struct compose_gpus *gpus, const struct compose_request **requests)
{
	size_t n = 0;

	for (size_t i = 0; i < gpus->n && !gpus->decides && n == 0; i++)
		if (gpus->requests[i].is_nvidia && &gpus->requests[i] != gpus->filter)
			requests[n++] = &gpus->requests[i];

	for (size_t i = 0; i < gpus->n; i++) {
		const struct compose_request *request = &gpus->requests[i];

		if (request->in_force && (request->how != COMPOSE_DEVICE_NODE ||
					  gpus->decides->how == COMPOSE_DEVICE_NODE))
			requests[n++] = request;
	}
	return n;
}

/* One whose profile is off is not kept where it was: it is told of. Of variables assign_seat.c
 * tells.
 */
static void note_going_along(struct assigning *a, const struct compose_target *target,
			     const struct compose_request *const *requests, size_t n)
{
	for (size_t i = 0; i < a->project->n; i++) {
		const struct compose_gpus *other = &a->all[i];
		struct assign_set wanted = assign_wanted(a, target), final;
		bool shares = false;

		for (size_t k = 0; k < n; k++)
			for (size_t m = 0; m < other->n; m++)
				shares |= (requests[k]->n_values == 0 ||
					   !requests[k]->values[0].variable) &&
					  assign_share_bytes(requests[k], &other->requests[m]);
		if (other->service != target->gpus->service && !other->service->active && shares &&
		    !(assign_final(a, other, &final) && assign_sets_equal(&final, &wanted)))
			assign_goes_along(a, target, other, NULL);
	}
}

/* What decides is to name these devices; when it does, the defaults are looked at. */
static int set_devices(struct assigning *a, const struct compose_target *target, bool there,
		       struct error *err)
{
	auto_free const struct compose_request **requests =
	    mem_calloc(target->gpus->n + 1, sizeof *requests);
	size_t n = deciding(target->gpus, requests);
	auto_slots struct slots slots = {};
	bool named = true, shared = false;
	int r;

	for (size_t i = 0; i < n; i++) {
		named = named && has_ids(requests[i]);
		shared = shared || (!there && assign_is_shared(a, target, requests[i]));
		for (size_t k = 0; k < requests[i]->n_values; k++) {
			ARRAY_GROW(slots.items, slots.n, slots.room);
			slots.items[slots.n++] =
			    (struct slot){requests[i], &requests[i]->values[k], NULL};
		}
	}
	if (there)
		return slots_write(a, target, &slots, true, err);
	if (shared) {
		r = is_one_list(requests, n) ? say_itself(a, target, requests[0], err) : -EXDEV;
		if (r != -EXDEV)
			return r;
		r = others_part(a, target, requests, n, err);
		if (r < 0)
			return r;
	}
	note_going_along(a, target, requests, n);
	if (named && slots.n == target->n_devices) {
		slots_fill(a, target, &slots);
		return slots_write(a, target, &slots, false, err);
	}
	if (n == 0)
		return assign_fail(target, &target->gpus->service->span, err,
				   "it asks for no GPU that is NVIDIA's");
	if (n > 1)
		return assign_fail(target, &requests[1]->span, err,
				   "it asks for GPUs in %zu places: leave one of them", n);
	return set_request(a, target, requests[0], err);
}

/* What the container would see without its filter. */
static bool set_visible(const struct assigning *a, const struct compose_gpus *gpus,
			struct assign_set *ret_set)
{
	struct compose_gpus unfiltered = *gpus;

	unfiltered.filter = NULL;
	return set_now(a, &unfiltered, ret_set);
}

/* CUDA_VISIBLE_DEVICES: numbers of what the container sees, or UUIDs as before. */
static int set_filter(struct assigning *a, const struct compose_target *target,
		      const struct assign_set *visible, struct error *err)
{
	const struct compose_request *filter = target->gpus->filter;
	struct assign_set wanted = assign_wanted(a, target);
	auto_text struct text text = {};
	struct assign_region region;
	unsigned position = 0;

	for (size_t i = 0; i < a->list->n; i++) {
		if (visible->in[i] && wanted.in[i]) {
			text_add(&text, text.len ? "," : "");
			if (filter->n_values && is_uuid(filter->values[0].device))
				text_add(&text, a->list->gpus[i].uuid);
			else
				text_printf(&text, "%u", position);
		}
		position += visible->in[i];
	}
	if (filter->n_values == 0)
		return assign_fail(target, &filter->span, err,
				   "%s names no GPU that could be changed: write %s, or take it "
				   "away",
				   filter->key, text.data);
	assign_region_find(a, target, filter, &filter->values[0],
			   &filter->values[filter->n_values - 1], &region);
	if (strcmp(region.value.text, text.data) != 0)
		assign_note(a, target, "%s=%s, counted among the GPUs it sees", filter->key,
			    text.data);
	return assign_region_set(a, &region, arena_strdup(a->arena, text.data), err);
}

static bool contains(const struct assign_set *all, const struct assign_set *some)
{
	for (size_t i = 0; i < ARRAY_LEN(all->in); i++)
		if (some->in[i] && !all->in[i])
			return false;
	return true;
}

static int set_filtered(struct assigning *a, const struct compose_target *target, bool there,
			struct error *err)
{
	struct assign_set wanted = assign_wanted(a, target), visible;
	bool known = set_visible(a, target->gpus, &visible);
	int r;

	if (there)
		return set_devices(a, target, true, err);
	if (known && contains(&visible, &wanted) && !assign_sets_equal(&visible, &wanted))
		return set_filter(a, target, &visible, err);
	r = set_devices(a, target, known && assign_sets_equal(&visible, &wanted), err);
	return r < 0 ? r : set_filter(a, target, &wanted, err);
}

/* Does every device named say which card it is, whatever its number? */
static bool names_uuids(const struct compose_gpus *gpus)
{
	for (size_t i = 0; i < gpus->n; i++) {
		const struct compose_request *request = &gpus->requests[i];

		if (!request->in_force || request->how == COMPOSE_DEVICE_NODE)
			continue;
		if (!has_ids(request))
			return false;
		for (size_t k = 0; k < request->n_values; k++)
			if (!is_uuid(request->values[k].device))
				return false;
	}
	return true;
}

/* `count` beside device_ids goes, whatever it says. */
static int drop_counts(struct assigning *a, const struct compose_target *target, struct error *err)
{
	int r = 0;

	for (size_t i = 0; r == 0 && i < target->gpus->n; i++) {
		const struct compose_request *request = &target->gpus->requests[i];

		if (request->count_span.file && !assign_is_in_environment(request) &&
		    compose_get(request->node, "count") && has_ids(request))
			r = assign_yaml_drop_count(a, target, request, err);
	}
	return r;
}

/* Names of CDI devices are those of a specification, which has UUIDs only when it was told to. */
static void note_uuids(struct assigning *a, const struct compose_target *target)
{
	for (size_t i = 0; i < target->gpus->n; i++)
		if (target->gpus->requests[i].in_force &&
		    target->gpus->requests[i].how == COMPOSE_CDI) {
			assign_note(a, target,
				    "CDI devices by UUID are there only when the specification was "
				    "made with `nvidia-ctk cdi generate "
				    "--device-name-strategy=uuid`; `nvidia-ctk cdi list` tells");
			return;
		}
}

static int assign_target(struct assigning *a, const struct compose_target *target,
			 struct error *err)
{
	const struct compose_gpus *gpus = target->gpus;
	struct assign_set wanted = assign_wanted(a, target), now;
	bool there;
	int r;

	if (target->n_devices == 0)
		return assign_fail(target, &gpus->service->span, err,
				   "it is to have no GPU: take its request away");
	if (gpus->n == (gpus->filter ? 1 : 0))
		return assign_fail(target, &gpus->service->span, err,
				   "it asks for no GPU: add a reservation with device_ids");
	there = set_now(a, gpus, &now) && assign_sets_equal(&now, &wanted) &&
		(!a->options->by_uuid || names_uuids(gpus));
	r = drop_counts(a, target, err);
	if (r < 0)
		return r;
	if (a->options->by_uuid && !there)
		note_uuids(a, target);
	return gpus->filter ? set_filtered(a, target, there, err)
			    : set_devices(a, target, there, err);
}

int compose_assign(struct compose_project *project, const struct compose_target *targets, size_t n,
		   const struct gpu_list *list, const struct compose_assign_options *options,
		   struct compose_edits *edits, struct strings *ret_notes, struct error *err)
{
	static const struct compose_assign_options none;
	struct assigning a = {.project = project,
			      .arena = &project->arena,
			      .list = list,
			      .options = options ?: &none,
			      .targets = targets,
			      .n = n};
	int r = compose_locate(project, &a.all, err);

	for (size_t i = 0; r == 0 && i < n; i++)
		r = assign_target(&a, &targets[i], err);
	if (r == 0)
		r = assign_hold_finish(&a, err);
	if (r == 0)
		r = assign_env_finish(&a, err);
	if (r == 0)
		r = compose_edits_add_all(edits, &a.edits, err);
	if (r == 0)
		for (size_t i = 0; i < a.notes.n; i++)
			strings_add(ret_notes, a.notes.items[i]);
	strings_finish(&a.notes);
	compose_edits_finish(&a.edits);
	free(a.additions);
	free(a.holds);
	free(a.left);
	free(a.lines);
	return r;
}
