/*
 * The state is the JSON that is stored, {PROJECT: {"put_ms", "services":
 * [{"service", "gpus", "vram_bytes"}]}}; what sched is told is made from it
 * with each sample. Whose a process is, the container engine says
 * (daemon/services.h), which is asked now and then while anything is held.
 */
#include "daemon/placed.h"

#include "daemon/services.h"
#include "daemon/tick.h"
#include "host/process.h"
#include "util/log.h"
#include "util/timestamp.h"

#include <errno.h>
#include <string.h>

#define META_KEY "services"
/* Between being placed and being started a project has no container. */
#define YOUNG_MS       600000
#define NAME_MAX_BYTES 128

struct placed {
	struct daemon *daemon;
	json_t *state, *stored;
	struct placed_hold *holds; /* of the last sample */
	size_t n, room;
	bool told; /* sched has some */
};

/* What is held. */

static void holds_clear(struct placed *placed)
{
	for (size_t i = 0; i < placed->n; i++)
		free(placed->holds[i].name);
	placed->n = 0;
}

static void hold_add(struct placed *placed, const char *name, const char *uuid, uint64_t bytes)
{
	struct placed_hold *at;

	for (size_t i = 0; i < placed->n; i++) {
		at = &placed->holds[i];
		if (strcmp(at->name, name) == 0 && strcmp(at->hold.uuid, uuid) == 0) {
			at->hold.bytes += bytes; /* another replica */
			return;
		}
	}
	ARRAY_GROW(placed->holds, placed->n, placed->room);
	at = &placed->holds[placed->n++];
	*at = (struct placed_hold){.name = mem_strdup(name), .hold = {.bytes = bytes}};
	(void)snprintf(at->hold.uuid, sizeof at->hold.uuid, "%s", uuid);
}

static void holds_make(struct placed *placed)
{
	const char *project;
	json_t *entry, *service, *uuid;
	size_t i, k;

	holds_clear(placed);
	json_object_foreach (placed->state, project, entry)
		json_array_foreach (json_object_get(entry, "services"), i, service) {
			auto_free char *name =
			    mem_printf("%s/%s", project, jsonx_get_string(service, "service", ""));

			json_array_foreach (json_object_get(service, "gpus"), k, uuid)
				hold_add(placed, name, json_string_value(uuid),
					 jsonx_get_u64(service, "vram_bytes", 0));
		}
}

/* "shop/clip" is also "shop/clip 2". */
static bool is_of(const char *container, const char *name)
{
	size_t len = strlen(name);

	return strncmp(container, name, len) == 0 &&
	       (container[len] == '\0' || container[len] == ' ');
}

static void process_count(struct placed *placed, const struct gpu *gpu,
			  const struct gpu_process *process)
{
	struct host_container container;
	const char *name;

	if (!process->used_known ||
	    host_process_container(placed->daemon->host, process->pid, &container) < 0 ||
	    container.runtime == HOST_RUNTIME_NONE)
		return;
	name = services_name(placed->daemon->services, container.id);
	for (size_t i = 0; name && i < placed->n; i++)
		if (strcmp(placed->holds[i].hold.uuid, gpu->uuid) == 0 &&
		    is_of(name, placed->holds[i].name)) {
			placed->holds[i].hold.used_bytes += process->used_bytes;
			return;
		}
}

static void tell(struct placed *placed)
{
	auto_free struct ledger_hold *holds = mem_calloc(placed->n + 1, sizeof *holds);

	for (size_t i = 0; i < placed->n; i++)
		holds[i] = placed->holds[i].hold;
	sched_set_holds(placed->daemon->sched, holds, placed->n);
	placed->told = placed->n > 0;
}

void placed_sample(struct placed *placed, const struct gpu_list *list)
{
	if (json_object_size(placed->state) == 0 && !placed->told)
		return;
	services_look(placed->daemon->services);
	holds_make(placed);
	for (size_t g = 0; g < list->n; g++)
		for (size_t i = 0; i < list->gpus[g].n_processes; i++)
			process_count(placed, &list->gpus[g], &list->gpus[g].processes[i]);
	tell(placed);
}

const struct placed_hold *placed_holds(const struct placed *placed, size_t *ret_n)
{
	*ret_n = placed->n;
	return placed->holds;
}

/* Something of it changed: as with a new sample. */
static void changed(struct placed *placed)
{
	const struct gpu_list *list = sched_gpus(placed->daemon->sched);

	placed->told = true;
	if (list)
		placed_sample(placed, list);
	tick_request(placed->daemon->tick);
}

void placed_names(struct placed *placed, const struct container_names *names)
{
	int64_t now = timestamp_now_ms();
	const char *project;
	json_t *entry;
	void *next;

	if (!container_names_are_all(names))
		return;
	json_object_foreach_safe(placed->state, next, project, entry)
	{
		if (now - jsonx_get_i64(entry, "put_ms", 0) < YOUNG_MS ||
		    container_names_has_project(names, project))
			continue;
		log_info("project %s: no container of it is left, its GPUs are not held "
			 "any more",
			 project);
		(void)json_object_del(placed->state, project);
		placed->told = true;
	}
	if (placed_is_new(placed))
		changed(placed);
}

/* The store. */

bool placed_is_new(const struct placed *placed)
{
	return !json_equal(placed->state, placed->stored);
}

int placed_put(struct placed *placed, struct error *err)
{
	auto_free char *text = jsonx_dump(placed->state);

	return store_put_meta(placed->daemon->store, META_KEY, text, err);
}

void placed_stored(struct placed *placed)
{
	if (!placed_is_new(placed))
		return;
	json_decref(placed->stored);
	placed->stored = json_deep_copy(placed->state);
}

void placed_take_back(struct placed *placed)
{
	if (!placed_is_new(placed))
		return;
	json_decref(placed->state);
	placed->state = json_deep_copy(placed->stored);
	changed(placed);
}

int placed_create(struct daemon *daemon, struct placed **ret_placed, struct error *err)
{
	struct placed *placed = mem_calloc(1, sizeof *placed);
	auto_free char *text = NULL;
	int r;

	placed->daemon = daemon;
	*ret_placed = placed;
	r = store_get_meta(daemon->store, META_KEY, &text, err);
	if (r == 0)
		r = jsonx_parse(text, strlen(text), "services in the store", &placed->state, err);
	if (r == -ENOENT)
		placed->state = json_object();
	if (r < 0 && r != -ENOENT)
		return r;
	if (!json_is_object(placed->state))
		return error_set(err, -EUCLEAN, "services in the store: not an object");
	placed->stored = json_deep_copy(placed->state);
	return 0;
}

void placed_destroy(struct placed *placed)
{
	if (!placed)
		return;
	holds_clear(placed);
	free(placed->holds);
	json_decref(placed->state);
	json_decref(placed->stored);
	free(placed);
}

/* Handlers. */

json_t *placed_to_json(const struct placed *placed)
{
	json_t *json = json_object(), *projects = json_array(), *entry;
	const char *project;

	json_object_foreach (placed->state, project, entry)
		(void)json_array_append_new(
		    projects, json_pack("{s:s, s:o, s:O}", "project", project, "placed_at",
					jsonx_time_if(jsonx_get_i64(entry, "put_ms", 0)),
					"services", json_object_get(entry, "services")));
	(void)json_object_set_new(json, "projects", projects);
	return json;
}

void handle_services(void *data, struct api_request *request)
{
	struct daemon *daemon = data;

	api_reply(request, 200, placed_to_json(daemon->placed));
}

static int gpus_read(const struct gpu_list *list, const json_t *gpus, json_t *ret_uuids,
		     struct error *err)
{
	const json_t *gpu;
	size_t i;

	if (!json_is_array(gpus) || json_array_size(gpus) > PLACE_GPUS_MAX)
		return error_set(err, -EINVAL, "gpus: must be an array of at most %d GPUs",
				 PLACE_GPUS_MAX);
	json_array_foreach (gpus, i, gpu) {
		const char *uuid = json_string_value(gpu);

		if (!uuid || !list || !gpu_list_find(list, uuid))
			return error_set(err, -EINVAL, "gpus: item %zu is no UUID of a GPU here",
					 i);
		(void)json_array_append_new(ret_uuids, json_string(uuid));
	}
	return 0;
}

static int service_read(const struct gpu_list *list, const json_t *from, json_t *ret_services,
			struct error *err)
{
	const char *name = jsonx_get_string(from, "service", "");
	uint64_t bytes = jsonx_get_u64(from, "vram_bytes", 0);
	json_t *uuids = json_array();
	int r;

	if (!*name || strlen(name) > NAME_MAX_BYTES || bytes == 0)
		r = error_set(err, -EINVAL, "needs a `service` and its `vram_bytes`");
	else
		r = gpus_read(list, json_object_get(from, "gpus"), uuids, err);
	if (r < 0) {
		json_decref(uuids);
		return r;
	}
	(void)json_array_append_new(ret_services,
				    json_pack("{s:s, s:o, s:o}", "service", name, "gpus", uuids,
					      "vram_bytes", jsonx_u64(bytes)));
	return 0;
}

static int project_read(const struct daemon *daemon, const json_t *body, json_t *ret_services,
			struct error *err)
{
	const json_t *list = json_object_get(body, "services"), *item;
	size_t i;

	if (!json_is_array(list) || json_array_size(list) > PLACED_SERVICES_MAX)
		return error_set(err, -EINVAL, "services: must be an array of at most %d",
				 PLACED_SERVICES_MAX);
	json_array_foreach (list, i, item) {
		int r = service_read(sched_gpus(daemon->sched), item, ret_services, err);

		if (r < 0)
			return error_prefix(err, r, "services: item %zu", i);
	}
	return 0;
}

static void reply_when_stored(struct daemon *daemon, struct api_request *request)
{
	changed(daemon->placed);
	tick_reply_after(daemon->tick,
			 &(struct tick_reply){.request = request, .type = TICK_SERVICES});
}

void handle_services_put(void *data, struct api_request *request)
{
	struct daemon *daemon = data;
	json_t *state = daemon->placed->state;
	const char *project = api_request_name(request);
	json_t *services = json_array();
	struct error err = {};
	int r = project_read(daemon, api_request_body(request), services, &err);

	if (r == 0 && !json_object_get(state, project) &&
	    json_object_size(state) >= PLACED_PROJECTS_MAX)
		r = error_set(&err, -EDQUOT, "there are %d projects already: DELETE one",
			      PLACED_PROJECTS_MAX);
	if (r < 0) {
		json_decref(services);
		api_reply_error(request, r, &err);
		return;
	}
	if (json_array_size(services) == 0) {
		json_decref(services);
		(void)json_object_del(state, project);
	} else {
		(void)json_object_set_new(state, project,
					  json_pack("{s:I, s:o}", "put_ms",
						    (json_int_t)timestamp_now_ms(), "services",
						    services));
	}
	reply_when_stored(daemon, request);
}

void handle_services_delete(void *data, struct api_request *request)
{
	struct daemon *daemon = data;
	const char *project = api_request_name(request);
	struct error err = {};

	if (json_object_del(daemon->placed->state, project) < 0)
		api_reply_error(request,
				error_set(&err, -ENOENT, "no project %s is placed", project), &err);
	else
		reply_when_stored(daemon, request);
}
