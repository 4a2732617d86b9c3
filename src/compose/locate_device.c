/*
 * Requests for devices: deploy.resources.reservations.devices, gpus and devices.
 *
 * Facts (compose-go 2.13 schema, types/device.go, transform/devices.go, validation/; moby 29.7
 * daemon/devices_nvidia_linux.go, cdi.go):
 *   - neither count nor device_ids means count "all"; both are refused;
 *   - count is a number or "all" in any case; N means the GPUs 0..N-1 and never "N free ones", 0
 *     none, -1 all;
 *   - the driver may be left out: the first that knows the capabilities is taken, and "gpu" is
 *     nvidia's before anybody's; `cdi` takes names of CDI devices and no count and options;
 *   - ids are joined by commas into NVIDIA_VISIBLE_DEVICES, so one string may hold several, and
 *     all, none and void mean what they mean there;
 *   - an entry of `devices` is a CDI device when it is vendor/class=name and is not mapped to
 *     another name; the short form is cut at colons, so that nvidia.com/gpu=0:1 (a MIG instance)
 *     is not one for docker compose.
 */
#include "compose/locate_ways.h"

#include <ctype.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#define CAPABILITIES_LENGTH_MAX 1024 /* what goes beyond is no capability of a GPU */

/* What nvidia's driver answers to when no driver is named. */
static const char *const nvidia_capabilities[] = {
    "gpu", "nvidia", "compute", "compat32", "graphics", "utility", "video", "display",
};

static const char *const request_keys[] = {"capabilities", "count", "device_ids", "driver",
					   "options"};

/* vendor/class=name. */
static bool is_cdi_name(const char *text)
{
	const char *slash = strchr(text, '/'), *equals = strchr(text, '=');

	if (!isalpha((unsigned char)text[0]) || !slash || !equals || equals < slash + 2)
		return false;
	for (const char *at = text; at < equals; at++)
		if (at != slash && !isalnum((unsigned char)*at) && !strchr("_-.", *at))
			return false;
	return true;
}

/* A name, or what a variable that is not set was to give one to. */
static bool is_cdi(const char *text, const struct compose_node *scalar)
{
	return is_cdi_name(text) && (text[strlen(text) - 1] != '=' || scalar->n_uses > 0);
}

/* nvidia.com/gpu=..., and what its toolkit makes on the fly (runtime.nvidia.com/gpu=...). */
static bool is_nvidia_name(const char *text)
{
	const char *found = strstr(text, "nvidia.com/gpu=");

	return found && (found == text || found[-1] == '.') && strchr(text, '/') == found + 10;
}

static void name_devices(struct compose_request *request)
{
	for (size_t i = 0; i < request->n_values; i++) {
		struct compose_value *value = &request->values[i];

		if (is_cdi(value->text, value->node))
			value->device = strchr(value->text, '=') + 1;
	}
}

static void read_capabilities(struct locating *locating, const struct compose_node *entry,
			      struct compose_request *request)
{
	const struct compose_node *node = compose_get(entry, "capabilities");
	auto_text struct text text = {};

	if (!node || node->type != COMPOSE_LIST) {
		if (node || request->how != COMPOSE_GPUS)
			locate_problem(locating, request, node ? &node->span : &entry->span,
				       "capabilities: a list is required, as [gpu]");
		return;
	}
	request->capabilities_span = node->span;
	for (size_t i = 0; i < node->n && text.len < CAPABILITIES_LENGTH_MAX; i++) {
		const char *item = compose_text(node->items[i]);

		if (item && strlen(item) < CAPABILITIES_LENGTH_MAX)
			text_printf(&text, "%s%s", text.len ? "," : "", item);
	}
	request->capabilities = arena_strdup(locating->arena, text.data ?: "");
}

static bool has_nvidia_capability(const struct compose_request *request)
{
	const char *at = request->capabilities ?: "gpu";

	while (*at) {
		size_t len = strcspn(at, ",");

		for (size_t i = 0; i < ARRAY_LEN(nvidia_capabilities); i++)
			if (strlen(nvidia_capabilities[i]) == len &&
			    strncmp(nvidia_capabilities[i], at, len) == 0)
				return true;
		at += len + (at[len] == ',');
	}
	return false;
}

static void read_count(struct locating *locating, const struct compose_node *node,
		       struct compose_request *request)
{
	const char *text = compose_text(node);
	struct locate_part part = locate_part_all(node);
	int64_t number = 0;

	request->count_span = node->span;
	if (request->n_values > 0 || request->how == COMPOSE_CDI) {
		locate_problem(locating, request, &node->span, "%s",
			       request->how == COMPOSE_CDI
				   ? "driver cdi takes names in device_ids and no count"
				   : "\"count\" and \"device_ids\" attributes are exclusive");
		if (request->n_values > 0)
			return;
	}
	if (!text) {
		locate_problem(locating, request, &node->span,
			       "count: a number or \"all\" is required");
		return;
	}
	if (locate_single(locating, &part, request) < 0) {
		locate_problem(locating, request, &node->span, "count: too long");
		return;
	}
	/* `gpus: all`: nothing but `all` may stand there, the whole would have to be a list. */
	if (node->span.begin == request->span.begin)
		request->values->edit = (struct compose_span){};
	if (!compose_device_count(node, &number)) {
		locate_problem(locating, request, &node->span,
			       "invalid value \"%s\", the only value allowed is 'all' or a number",
			       text);
		return;
	}
	request->has_count = number > 0;
	request->count = number > 0 ? (uint64_t)number : 0;
	request->all = number < 0;
	request->none = number == 0;
}

static void read_ids(struct locating *locating, const struct compose_node *node,
		     struct compose_request *request)
{
	if (node->type != COMPOSE_LIST) {
		locate_problem(locating, request, &node->span, "device_ids: a list is required");
		return;
	}
	for (size_t i = 0; i < node->n; i++) {
		const struct compose_node *item = node->items[i];
		struct locate_part part = locate_part_all(item);
		int64_t number;

		if (!compose_text(item)) {
			locate_problem(locating, request, &item->span,
				       "device_ids: each is a string");
			continue;
		}
		if (!item->tagged_string && item->n_uses == 0 && compose_integer(item, &number))
			locate_problem(
			    locating, request, &item->span,
			    "device_ids: %.20s is a number, docker compose wants a string: "
			    "\"%.20s\" (podman-compose takes both)",
			    item->text, item->text);
		if (locate_values(locating, &part, request) < 0)
			locate_problem(locating, request, &item->span,
				       "device_ids: too long, or more than %d devices",
				       COMPOSE_VALUES_MAX);
	}
	name_devices(request);
	locate_visible(request);
	if (request->n_values == 0)
		locate_problem(locating, request, &node->span,
			       "device_ids: empty, and no count: the engine wants one of the two");
}

static bool driver_is_nvidia(const struct compose_request *request)
{
	if (request->how == COMPOSE_CDI) {
		for (size_t i = 0; i < request->n_values; i++)
			if (!is_nvidia_name(request->values[i].text))
				return false;
		return true;
	}
	if (!request->driver)
		return has_nvidia_capability(request);
	return strncmp(request->driver, "nvidia", strlen("nvidia")) == 0;
}

/* moby's drivers are built in; a name that only begins like nvidia's is none of them. */
static void check_driver(struct locating *locating, const struct compose_node *entry,
			 struct compose_request *request)
{
	static const char *const known[] = {"nvidia", "nvidia.cdi", "nvidia.runtime-hook"};

	if (!request->driver || strncmp(request->driver, "nvidia", strlen("nvidia")) != 0)
		return;
	for (size_t i = 0; i < ARRAY_LEN(known); i++)
		if (strcmp(request->driver, known[i]) == 0)
			return;
	locate_problem(locating, request, &compose_get(entry, "driver")->span,
		       "could not select device driver \"%.64s\": there are nvidia and cdi",
		       request->driver);
}

static void check_keys(struct locating *locating, const struct compose_node *entry,
		       struct compose_request *request)
{
	for (size_t i = 0; i < entry->n; i++) {
		const char *key = entry->entries[i].key;
		bool known = strncmp(key, "x-", 2) == 0;

		for (size_t k = 0; k < ARRAY_LEN(request_keys) && !known; k++)
			known = strcmp(key, request_keys[k]) == 0;
		if (!known)
			locate_problem(locating, request, &entry->entries[i].key_span,
				       "%.64s: no key of a device request", key);
	}
	if (request->how == COMPOSE_CDI && compose_get(entry, "options"))
		locate_problem(locating, request, &entry->span, "driver cdi takes no options");
}

/* One map of reservations.devices or gpus. */
static void read_request(struct locating *locating, const struct compose_node *entry,
			 enum compose_how how)
{
	struct compose_request request = {.how = how, .span = entry->span, .node = entry};
	const struct compose_node *count = compose_get(entry, "count");
	const struct compose_node *ids = compose_get(entry, "device_ids");

	if (entry->type != COMPOSE_MAP) {
		request.is_nvidia = true;
		locate_problem(locating, &request, &entry->span,
			       "a device request is a map of capabilities, driver, count, "
			       "device_ids, options");
		locate_add(locating, &request);
		return;
	}
	request.driver = compose_text(compose_get(entry, "driver"));
	if (request.driver && !request.driver[0])
		request.driver = NULL;
	if (request.driver && strcmp(request.driver, "cdi") == 0)
		request.how = COMPOSE_CDI;
	read_capabilities(locating, entry, &request);
	if (ids && ids->type != COMPOSE_NULL)
		read_ids(locating, ids, &request);
	if (count && count->type != COMPOSE_NULL)
		read_count(locating, count, &request);
	else if (!ids || ids->type == COMPOSE_NULL) {
		request.all = true;
		if (request.how == COMPOSE_CDI)
			locate_problem(locating, &request, &entry->span,
				       "driver cdi wants names in device_ids");
	}
	check_driver(locating, entry, &request);
	check_keys(locating, entry, &request);
	request.is_nvidia = driver_is_nvidia(&request);
	locate_add(locating, &request);
}

void locate_reservations(struct locating *locating)
{
	const struct compose_node *list = compose_path(
	    locating->service->node, "deploy", "resources", "reservations", "devices", NULL);

	for (size_t i = 0; list && list->type == COMPOSE_LIST && i < list->n; i++)
		read_request(locating, list->items[i], COMPOSE_RESERVATION);
}

/* `gpus: all` is a list of one map by now, whose count is the scalar that was written. */
void locate_gpus(struct locating *locating)
{
	const struct compose_node *list = compose_get(locating->service->node, "gpus");

	for (size_t i = 0; list && list->type == COMPOSE_LIST && i < list->n; i++)
		read_request(locating, list->items[i], COMPOSE_GPUS);
}

/* Nodes of devices that are GPUs, or all of a kind's. */
static const struct {
	const char *prefix;
	bool is_nvidia;
} gpu_nodes[] = {
    {"/dev/kfd", false},  /* ROCm */
    {"/dev/dri", false},  /* what the display drivers make: AMD, Intel, Mesa */
    {"/dev/dxg", false},  /* Windows' GPUs in WSL */
    {"/dev/mali", false}, /* ARM */
};

/* "/dev/nvidia" and a number: the others of that name (nvidiactl, nvidia-uvm) are no GPU. */
static bool is_gpu_node(const char *path, size_t len, bool *ret_is_nvidia)
{
	size_t nvidia = strlen("/dev/nvidia");

	if (len > nvidia && strncmp(path, "/dev/nvidia", nvidia) == 0) {
		*ret_is_nvidia = true;
		for (size_t i = nvidia; i < len; i++)
			if (!isdigit((unsigned char)path[i]))
				return false;
		return true;
	}
	*ret_is_nvidia = false;
	for (size_t i = 0; i < ARRAY_LEN(gpu_nodes); i++)
		if (strncmp(path, gpu_nodes[i].prefix, strlen(gpu_nodes[i].prefix)) == 0)
			return true;
	return false;
}

static bool add_named(struct locating *locating, const struct compose_node *entry,
		      const struct locate_part *part, struct compose_request *request)
{
	request->span = entry->span;
	request->node = entry;
	return locate_single(locating, part, request) == 0;
}

static void read_cdi(struct locating *locating, const struct compose_node *entry,
		     const struct locate_part *part, bool cut_at_colon)
{
	struct compose_request request = {.how = COMPOSE_CDI, .driver = "cdi"};

	if (!add_named(locating, entry, part, &request))
		return;
	name_devices(&request);
	locate_visible(&request);
	request.is_nvidia = is_nvidia_name(request.values[0].text);
	if (cut_at_colon)
		locate_problem(locating, &request, &entry->span,
			       "docker compose cuts \"%s\" at its colon: write it as source: in "
			       "the long form, or as a reservation with driver: cdi",
			       request.values[0].text);
	locate_add(locating, &request);
}

static void read_node(struct locating *locating, const struct compose_node *entry,
		      const struct locate_part *part, bool is_nvidia)
{
	struct compose_request request = {.how = COMPOSE_DEVICE_NODE, .is_nvidia = is_nvidia};

	if (!add_named(locating, entry, part, &request))
		return;
	if (is_nvidia)
		request.values[0].device += strlen("/dev/nvidia");
	locate_add(locating, &request);
}

/* An entry of `devices`: "source[:target[:permissions]]", or a map of the three. */
static void read_device(struct locating *locating, const struct compose_node *entry)
{
	const struct compose_node *scalar =
	    entry->type == COMPOSE_MAP ? compose_get(entry, "source") : entry;
	const char *text = compose_text(scalar);
	const char *target = compose_text(compose_get(entry, "target"));
	struct locate_part part;
	bool is_nvidia;

	if (!text)
		return;
	part = locate_part_all(scalar);
	if (is_cdi(text, scalar)) {
		if (!target || strcmp(target, text) == 0)
			read_cdi(locating, entry, &part, scalar == entry && strchr(text, ':'));
		return;
	}
	if (scalar == entry)
		part.end = strcspn(text, ":");
	if (is_gpu_node(text, part.end, &is_nvidia))
		read_node(locating, entry, &part, is_nvidia);
}

void locate_devices(struct locating *locating)
{
	const struct compose_node *list = compose_get(locating->service->node, "devices");

	for (size_t i = 0; list && list->type == COMPOSE_LIST && i < list->n; i++)
		read_device(locating, list->items[i]);
}
