/*
 * Devices. What a container was given is in four places, depending on who started it how:
 * HostConfig.DeviceRequests (docker), NVIDIA_VISIBLE_DEVICES in Config.Env (the nvidia runtime, and
 * podman with NVIDIA's OCI hook), CDI names and device nodes in HostConfig.Devices (podman lists
 * the nodes a CDI name stood for, not the name), and `--device` in podman's Config.CreateCommand,
 * which still has the name. A device request wins over the variable, as it does in dockerd (it is
 * put behind it). The variable may come from the image (nvidia/cuda has
 * NVIDIA_VISIBLE_DEVICES=all): with docker it does something only under the nvidia runtime, and
 * "all" under podman, too.
 */
#include "container/json.h"

#include <errno.h>
#include <limits.h>
#include <string.h>

/* Borrowed; NULL: not there, or nothing to be shown to people. */
static const char *clean(const char *s)
{
	size_t len = s ? strlen(s) : 0;

	if (len == 0 || len > CONTAINER_TEXT_MAX)
		return NULL;
	for (size_t i = 0; i < len; i++)
		if ((unsigned char)s[i] < 0x20 || s[i] == 0x7f)
			return NULL;
	return s;
}

static const char *get_text(const json_t *object, const char *key)
{
	return clean(jsonx_get_string(object, key, NULL));
}

static char *get_copy(const json_t *object, const char *key)
{
	const char *s = get_text(object, key);

	return s ? mem_strdup(s) : NULL;
}

static bool is_id(const char *s)
{
	size_t len = s ? strspn(s, "0123456789abcdef") : 0;

	return len >= 12 && len <= 64 && !s[len];
}

/* --- who it is --- */

static void set_libpod_api(struct container_engine_about *about, const char *api)
{
	/* It goes into paths. */
	if (strlen(api) < sizeof about->libpod_api && strspn(api, "0123456789.") == strlen(api))
		(void)snprintf(about->libpod_api, sizeof about->libpod_api, "%s", api);
}

bool container_parse_server(const char *server, const char *libpod_api,
			    struct container_engine_about *ret_about)
{
	bool is_podman = text_starts_with(server, "Libpod/");
	struct container_engine_about about = {.kind =
						   is_podman ? CONTAINER_PODMAN : CONTAINER_DOCKER};

	if (!is_podman && !text_starts_with(server, "Docker/"))
		return false;
	if (is_podman)
		set_libpod_api(&about, libpod_api);
	*ret_about = about;
	return true;
}

int container_parse_version(const json_t *json, struct container_engine_about *ret_about,
			    struct error *err)
{
	const char *part, *api;
	const json_t *components = json_object_get(json, "Components"), *component;
	struct container_engine_about about = {.kind = CONTAINER_DOCKER};
	size_t i;

	if (!get_text(json, "Version") || !jsonx_has(json, "ApiVersion"))
		return error_set(err, -EPROTO, "what listens there is no container engine");
	json_array_foreach (components, i, component) {
		part = get_text(component, "Name");
		if (!part || !text_starts_with(part, "Podman"))
			continue;
		about.kind = CONTAINER_PODMAN;
		api = jsonx_get_string(json_object_get(component, "Details"), "APIVersion", "");
		set_libpod_api(&about, api);
	}
	*ret_about = about;
	return 0;
}

/* --- /containers/json --- */

static void parse_labels(const json_t *labels, struct container *c)
{
	unsigned long long number;
	const char *s;

	c->project = get_copy(labels, "com.docker.compose.project");
	c->by_podman_compose = jsonx_has(labels, "io.podman.compose.project");
	if (!c->project)
		c->project = get_copy(labels, "io.podman.compose.project");
	c->service = get_copy(labels, "com.docker.compose.service");
	s = get_text(labels, "com.docker.compose.container-number");
	c->number = s && text_to_u64(s, 1, UINT_MAX, &number) ? (unsigned)number : 1;
	s = get_text(labels, "com.docker.compose.oneoff");
	c->oneoff = s && strcmp(s, "True") == 0;
	c->compose_version = get_copy(labels, c->by_podman_compose ? "io.podman.compose.version"
								   : "com.docker.compose.version");
}

static bool parse_entry(const json_t *json, struct container *ret_container)
{
	const char *id = jsonx_get_string(json, "Id", NULL);
	const char *name =
	    clean(json_string_value(json_array_get(json_object_get(json, "Names"), 0)));
	const char *state = jsonx_get_string(json, "State", "");
	struct container c = {};

	if (!is_id(id))
		return false;
	(void)snprintf(c.id, sizeof c.id, "%s", id);
	c.name = mem_strdup(name ? name + (*name == '/') : id);
	c.running = strcmp(state, "running") == 0 || strcmp(state, "paused") == 0;
	c.restarting = strcmp(state, "restarting") == 0;
	parse_labels(json_object_get(json, "Labels"), &c);
	*ret_container = c;
	return true;
}

static int by_name(const void *a, const void *b)
{
	const struct container *x = a, *y = b;
	int r = strcmp(x->name, y->name);

	return r ? r : strcmp(x->id, y->id);
}

int container_parse_list(const json_t *json, struct containers *ret_containers, struct error *err)
{
	auto_containers struct containers list = {};
	const json_t *entry;
	size_t i;

	if (!json_is_array(json))
		return error_set(err, -EPROTO, "the container engine's list is no list");
	if (json_array_size(json) > CONTAINERS_MAX)
		return error_set(err, -E2BIG,
				 "the container engine has %zu containers, more than %d",
				 json_array_size(json), CONTAINERS_MAX);
	list.items = mem_calloc(MAX_OF(json_array_size(json), 1), sizeof *list.items);
	json_array_foreach (json, i, entry)
		list.n += parse_entry(entry, &list.items[list.n]);
	if (list.n > 1)
		qsort(list.items, list.n, sizeof *list.items, by_name);
	*ret_containers = list;
	list = (struct containers){};
	return 0;
}

/* --- /containers/ID/json --- */

static void devices_add(struct text *devices, const char *device)
{
	if (!clean(device) || devices->len + strlen(device) > CONTAINER_TEXT_MAX)
		return;
	text_printf(devices, "%s%s", devices->len > 0 ? "," : "", device);
}

/* {"Driver", "Count", "DeviceIDs", "Capabilities": [[...]]}: a count means the first so many. */
static void devices_of_request(const json_t *request, struct text *devices, bool *all)
{
	const json_t *ids = json_object_get(request, "DeviceIDs");
	int64_t count = jsonx_get_i64(request, "Count", 0);
	const json_t *id;
	size_t i;

	json_array_foreach (ids, i, id)
		devices_add(devices, json_string_value(id));
	if (json_array_size(ids) > 0)
		return;
	if (count < 0)
		*all = true;
	for (int64_t n = 0; n < MIN_OF(count, 64); n++) {
		char index[8];

		(void)snprintf(index, sizeof index, "%d", (int)n);
		devices_add(devices, index);
	}
}

/* vendor.com/class=name */
static bool is_cdi(const char *s)
{
	const char *slash = s ? strchr(s, '/') : NULL;

	return slash && slash != s && *s != '/' && strchr(slash, '=');
}

static void devices_of_node(const json_t *device, struct text *devices)
{
	const char *path = get_text(device, "PathOnHost");

	if (is_cdi(path) ||
	    (path && text_starts_with(path, "/dev/nvidia") && path[11] >= '0' && path[11] <= '9'))
		devices_add(devices, path);
}

/* The `--device NAME` of the command podman was called with, up to the image: options only. */
static void devices_of_command(const json_t *command, struct text *devices)
{
	const char *before = "", *word;
	const json_t *item;
	size_t i;

	json_array_foreach (command, i, item) {
		word = clean(json_string_value(item));
		if (word && strcmp(before, "--device") == 0 && is_cdi(word))
			devices_add(devices, word);
		else if (word && text_starts_with(word, "--device=") && is_cdi(word + 9))
			devices_add(devices, word + 9);
		before = word ? word : "";
	}
}

/* NVIDIA_VISIBLE_DEVICES; the last one counts. */
/* Where a word stands in a comma-separated list; NULL: it does not. */
static const char *list_place(const char *list, const char *word)
{
	size_t len = strlen(word);

	for (const char *at = list; at; at = strchr(at, ',')) {
		at += strspn(at, ", ");
		if (strncmp(at, word, len) == 0 && strchr(",", at[len + strspn(at + len, " ")]))
			return at;
	}
	return NULL;
}

static void devices_of_environment(const json_t *env, bool all_counts, struct text *devices,
				   bool *all)
{
	static const char name[] = "NVIDIA_VISIBLE_DEVICES=";
	const char *value = "", *item, *every, *none;
	const json_t *entry;
	size_t i;

	json_array_foreach (env, i, entry) {
		item = json_string_value(entry);
		if (item && text_starts_with(item, name))
			value = item + sizeof name - 1;
	}
	/* `void` anywhere in the list wins, then the first of the other two. */
	if (list_place(value, "void"))
		return;
	every = list_place(value, "all");
	none = list_place(value, "none");
	if (every && (!none || every < none))
		*all = all_counts;
	else if (!none)
		devices_add(devices, value);
}

static void parse_devices(const json_t *json, enum container_engine_kind kind, struct container *c)
{
	const json_t *host = json_object_get(json, "HostConfig");
	const json_t *config = json_object_get(json, "Config");
	const char *runtime = jsonx_get_string(host, "Runtime", "");
	bool is_nvidia = strstr(runtime, "nvidia") != NULL;
	auto_text struct text devices = {};
	const json_t *item;
	size_t i;

	json_array_foreach (json_object_get(host, "DeviceRequests"), i, item)
		devices_of_request(item, &devices, &c->all_devices);
	if (devices.len == 0)
		devices_of_command(json_object_get(config, "CreateCommand"), &devices);
	if (devices.len == 0)
		json_array_foreach (json_object_get(host, "Devices"), i, item)
			devices_of_node(item, &devices);
	if (devices.len == 0 && !c->all_devices && (is_nvidia || kind == CONTAINER_PODMAN))
		devices_of_environment(json_object_get(config, "Env"), is_nvidia, &devices,
				       &c->all_devices);
	if (devices.len > 0)
		c->devices = text_take(&devices);
}

static void parse_state(const json_t *state, struct container *c)
{
	const json_t *health = json_object_get(state, "Health");
	const char *status;

	if (!health) /* podman 3 */
		health = json_object_get(state, "Healthcheck");
	status = jsonx_get_string(health, "Status", "");
	c->running = jsonx_get_bool(state, "Running", false);
	c->restarting = jsonx_get_bool(state, "Restarting", false);
	c->exit_code = (int)jsonx_get_i64(state, "ExitCode", 0);
	c->pid = (pid_t)MIN_OF(jsonx_get_u64(state, "Pid", 0), (uint64_t)INT_MAX);
	/* "none" and "": it has no check. Anything else that is not known is not healthy yet. */
	c->has_health = *status && strcmp(status, "none") != 0;
	c->health = strcmp(status, "healthy") == 0     ? CONTAINER_HEALTHY
		    : strcmp(status, "unhealthy") == 0 ? CONTAINER_UNHEALTHY
						       : CONTAINER_STARTING;
}

/* Nanoseconds there; 30 s unless it says. */
static int64_t health_interval(const json_t *config)
{
	uint64_t ns = jsonx_get_u64(json_object_get(config, "Healthcheck"), "Interval", 0);

	return ns > 0 ? (int64_t)MAX_OF(ns / 1000000, 1) : 30000;
}

int container_parse_inspect(const json_t *json, enum container_engine_kind kind,
			    struct container *ret_container, struct error *err)
{
	const char *id = jsonx_get_string(json, "Id", NULL), *name = get_text(json, "Name");
	struct container c = {};

	if (!is_id(id))
		return error_set(err, -EPROTO,
				 "the container engine describes a container without id");
	(void)snprintf(c.id, sizeof c.id, "%s", id);
	c.name = mem_strdup(name ? name + (*name == '/') : id);
	c.restarts = (int)MIN_OF(jsonx_get_u64(json, "RestartCount", 0), (uint64_t)INT_MAX);
	parse_labels(json_object_get(json_object_get(json, "Config"), "Labels"), &c);
	parse_state(json_object_get(json, "State"), &c);
	c.health_interval_ms = health_interval(json_object_get(json, "Config"));
	parse_devices(json, kind, &c);
	*ret_container = c;
	return 0;
}

/* --- logs and errors --- */

static void add_printable(struct text *text, const char *s, size_t len)
{
	size_t before = text->len;

	for (size_t i = 0; i < len; i++)
		if (s[i] != '\r')
			text_add_bytes(text, s + i, 1);
	if (text->data)
		text_hide_controls(text->data + before, text->len - before);
}

void container_parse_logs(const char *data, size_t len, struct text *ret_text)
{
	while (len > 0) {
		const unsigned char *head = (const unsigned char *)data;
		size_t size;

		/* A frame: stream, three zeros, length in four bytes, big end first. */
		if (len < 8 || head[0] > 2 || head[1] || head[2] || head[3]) {
			add_printable(ret_text, data, len);
			return;
		}
		size =
		    (size_t)head[4] << 24 | (size_t)head[5] << 16 | (size_t)head[6] << 8 | head[7];
		size = MIN_OF(size, len - 8);
		add_printable(ret_text, data + 8, size);
		data += 8 + size;
		len -= 8 + size;
	}
}

void container_parse_error(const char *data, size_t len, char *ret_text, size_t size)
{
	auto_json json_t *json = NULL;
	const char *message = NULL;

	if (data && jsonx_parse(data, len, "answer", &json, NULL) == 0)
		message = get_text(json, "message");
	(void)snprintf(ret_text, size, "%s", message ? message : "");
}
