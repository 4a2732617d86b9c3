/*
 * Finding an engine and asking it. A call is one or more requests that share one deadline: a list
 * is one request for the list and one for each container, and a container that went away between
 * the two is left out. Who reads the answers is json.c; who carries them, http.c.
 */
#include "container/container.h"

#include "container/http.h"
#include "container/json.h"
#include "util/timestamp.h"

#include <errno.h>
#include <string.h>
#include <unistd.h>

#define LOG_BYTES_MAX ((size_t)256 << 10)

struct container_engine {
	struct container_http *http;
	struct container_engine_about about;
	unsigned deadline_ms;
};

static const char *container_engine_kind_name(enum container_engine_kind kind)
{
	return kind == CONTAINER_PODMAN ? "podman" : "docker";
}

enum container_engine_kind container_engine_kind(const struct container_engine *engine)
{
	return engine->about.kind;
}

const char *container_engine_socket(const struct container_engine *engine)
{
	return container_http_socket(engine->http);
}

void container_engine_set_deadline(struct container_engine *engine, unsigned deadline_ms)
{
	engine->deadline_ms = deadline_ms;
}

void container_engine_close(struct container_engine *engine)
{
	if (!engine)
		return;
	container_http_destroy(engine->http);
	free(engine);
}

void container_finish(struct container *c)
{
	free(c->name);
	free(c->project);
	free(c->service);
	free(c->devices);
	free(c->compose_version);
	*c = (struct container){};
}

void containers_finish(struct containers *containers)
{
	for (size_t i = 0; i < containers->n; i++)
		container_finish(&containers->items[i]);
	free(containers->items);
	*containers = (struct containers){};
}

/* --- asking --- */

static int64_t deadline_of(const struct container_engine *engine)
{
	return monotonic_now_ms() + engine->deadline_ms;
}

/* An answer of 400 or more as an error: -ENOENT for 404, -EPROTO otherwise. */
static int refused(const struct container_engine *engine, long status, const struct text *body,
		   struct error *err)
{
	char message[512];

	container_parse_error(body->data, body->len, message, sizeof message);
	return error_set(err, status == 404 ? -ENOENT : -EPROTO, "%s at %s: %s (status %ld)",
			 container_engine_kind_name(engine->about.kind),
			 container_engine_socket(engine),
			 *message ? message : "refused without saying why", status);
}

static int call(struct container_engine *engine, const struct container_request *request,
		struct text *ret_body, struct error *err)
{
	long status = 0;
	int r = container_http_call(engine->http, request, ret_body, &status, err);

	return r == 0 && status >= 400 ? refused(engine, status, ret_body, err) : r;
}

static int ask(struct container_engine *engine, const char *path, int64_t deadline_ms,
	       json_t **ret_json, struct error *err)
{
	const struct container_request request = {"GET", path, deadline_ms};
	auto_text struct text body = {};
	int r = call(engine, &request, &body, err);

	if (r < 0)
		return r;
	r = jsonx_parse(body.data ? body.data : "", body.len, "the container engine's answer",
			ret_json, err);
	return r < 0 ? error_set(err, -EPROTO, "%s at %s does not answer with JSON",
				 container_engine_kind_name(engine->about.kind),
				 container_engine_socket(engine))
		     : 0;
}

/* --- finding --- */

/* Every answer says in its headers who gave it. Not /version at once: podman runs two programs for
 * that. */
static int find_out(struct container_engine *engine, struct error *err)
{
	const struct container_request ping = {"GET", "/_ping", deadline_of(engine)};
	const struct container_headers *headers = container_http_headers(engine->http);
	auto_text struct text body = {};
	auto_json json_t *json = NULL;
	long status = 0;
	int r = container_http_call(engine->http, &ping, &body, &status, err);

	if (r < 0)
		return r;
	if (status < 400 &&
	    container_parse_server(headers->server, headers->libpod_api, &engine->about))
		return 0;
	r = ask(engine, "/version", ping.deadline_ms, &json, err);
	return r < 0 ? r : container_parse_version(json, &engine->about, err);
}

static int open_one(const char *socket, unsigned deadline_ms, struct container_engine **ret_engine,
		    struct error *err)
{
	auto_container_engine struct container_engine *engine = mem_calloc(1, sizeof *engine);
	int r;

	engine->deadline_ms = deadline_ms;
	engine->http = container_http_create(socket);
	r = find_out(engine, err);
	if (r < 0)
		return r;
	*ret_engine = TAKE(engine);
	return 0;
}

static void add_socket(struct strings *sockets, char *path)
{
	for (size_t i = 0; i < sockets->n; i++) {
		if (strcmp(sockets->items[i], path) == 0) {
			free(path);
			return;
		}
	}
	strings_take(sockets, path);
}

/* From $DOCKER_HOST and $CONTAINER_HOST; -ENOTSUP: it is set to something that is no Unix socket.
 */
static int sockets_named(struct strings *sockets, struct error *err)
{
	static const char *const names[] = {"DOCKER_HOST", "CONTAINER_HOST"};

	for (size_t i = 0; i < ARRAY_LEN(names); i++) {
		const char *value = getenv(names[i]);

		if (!value || !*value)
			continue;
		if (!text_starts_with(value, "unix://"))
			return error_set(err, -ENOTSUP,
					 "%s is %s: only an engine of this machine can be asked "
					 "(unix://...)",
					 names[i], value);
		add_socket(sockets, mem_strdup(value + strlen("unix://")));
	}
	return 0;
}

static int sockets_find(struct strings *sockets, struct error *err)
{
	const char *runtime = getenv("XDG_RUNTIME_DIR");
	auto_free char *guess = NULL;
	int r = sockets_named(sockets, err);

	if (r < 0 || sockets->n > 0)
		return r;
	if (!runtime || !*runtime)
		runtime = guess = mem_printf("/run/user/%u", (unsigned)geteuid());
	add_socket(sockets, mem_strdup("/run/docker.sock"));
	add_socket(sockets, mem_strdup("/run/podman/podman.sock"));
	add_socket(sockets, mem_printf("%s/docker.sock", runtime));
	add_socket(sockets, mem_printf("%s/podman/podman.sock", runtime));
	return 0;
}

int container_engine_sockets(struct strings *ret_sockets, struct error *err)
{
	struct strings sockets = {};
	int r = sockets_find(&sockets, err);

	if (r < 0) {
		strings_finish(&sockets);
		return r;
	}
	*ret_sockets = sockets;
	return 0;
}

/* Keep the error that tells most: a socket that is there and does not answer, over none there. */
static void error_keep(struct error *best, const struct error *other)
{
	if (best->code == 0 || best->code == -ENOENT)
		*best = *other;
}

/* Those that answer, in order; they share the deadline. */
static size_t open_all(const struct strings *sockets, unsigned deadline_ms,
		       struct container_engine **engines, size_t room, struct error *best)
{
	int64_t deadline = monotonic_now_ms() + deadline_ms;
	size_t n = 0;

	for (size_t i = 0; i < sockets->n && n < room; i++) {
		int64_t left_ms = deadline - monotonic_now_ms();
		struct error one = {};

		/* The last one gets what is left, one before it half of it at most. */
		if (i + 1 < sockets->n)
			left_ms /= 2;
		if (left_ms > 0 &&
		    open_one(sockets->items[i], (unsigned)left_ms, &engines[n], &one) == 0)
			engines[n++]->deadline_ms = deadline_ms;
		else
			error_keep(best, &one);
	}
	return n;
}

int container_engine_open(const char *socket, unsigned deadline_ms,
			  struct container_engine **ret_engine, struct error *err)
{
	auto_strings struct strings sockets = {};
	struct error best = {};
	int r = 0;

	if (socket)
		return open_one(socket, deadline_ms, ret_engine, err);
	r = sockets_find(&sockets, err);
	if (r < 0)
		return r;
	if (open_all(&sockets, deadline_ms, ret_engine, 1, &best) == 1)
		return 0;
	if (best.code != -ENOENT && best.code != 0)
		return error_set(err, best.code, "%s", error_text(&best));
	return error_set(err, -ENOENT,
			 "no container engine answers on %s%s; set DOCKER_HOST=unix://SOCKET, or "
			 "start one (podman: systemctl start podman.socket)",
			 sockets.items[0], sockets.n > 1 ? " and the other usual sockets" : "");
}

size_t container_engine_open_all(unsigned deadline_ms, struct container_engine **ret_engines,
				 size_t room)
{
	auto_strings struct strings sockets = {};
	struct error best = {};

	if (sockets_find(&sockets, NULL) < 0)
		return 0;
	return open_all(&sockets, deadline_ms, ret_engines, room, &best);
}

static bool has_project(struct container_engine *engine, const char *project)
{
	auto_containers struct containers containers = {};

	return container_engine_list_names(engine, project, &containers, NULL) == 0 &&
	       containers.n > 0;
}

int container_engine_open_project(const char *project, unsigned deadline_ms,
				  struct container_engine **ret_engine, struct error *err)
{
	struct container_engine *engines[CONTAINER_ENGINES_MAX];
	size_t n = container_engine_open_all(deadline_ms, engines, CONTAINER_ENGINES_MAX),
	       chosen = 0;

	if (n == 0)
		return container_engine_open(NULL, deadline_ms, ret_engine, err);
	for (size_t i = 0; n > 1 && i < n; i++) {
		if (has_project(engines[i], project)) {
			chosen = i;
			break;
		}
	}
	*ret_engine = engines[chosen];
	for (size_t i = 0; i < n; i++)
		if (i != chosen)
			container_engine_close(engines[i]);
	return 0;
}

/* --- containers --- */

/* {"label":["KEY=PROJECT"]}, escaped for a query. */
static char *list_path(const char *key, const char *project)
{
	auto_json json_t *filters = NULL;
	auto_free char *text = NULL, *label = NULL;
	struct text path = {};

	text_add(&path, "/containers/json?all=1");
	if (!project)
		return text_take(&path);
	label = mem_printf("%s=%s", key, project);
	filters = json_pack("{s:[s]}", "label", label);
	text = filters ? jsonx_dump(filters) : mem_strdup("{}");
	text_add(&path, "&filters=");
	text_add_uri(&path, text, "");
	return text_take(&path);
}

static int list_names(struct container_engine *engine, const char *project, int64_t deadline_ms,
		      struct containers *ret_containers, struct error *err)
{
	/* podman-compose 1.0.3 writes both labels, later ones may leave the first. */
	static const char *const keys[] = {"com.docker.compose.project",
					   "io.podman.compose.project"};
	size_t n_keys = project && engine->about.kind == CONTAINER_PODMAN ? 2 : 1;
	int r = 0;

	for (size_t i = 0; i < n_keys && r == 0; i++) {
		auto_free char *path = list_path(keys[i], project);
		auto_json json_t *json = NULL;

		containers_finish(ret_containers);
		r = ask(engine, path, deadline_ms, &json, err);
		if (r == 0)
			r = container_parse_list(json, ret_containers, err);
		if (r < 0 || ret_containers->n > 0)
			break;
	}
	return r;
}

int container_engine_list_names(struct container_engine *engine, const char *project,
				struct containers *ret_containers, struct error *err)
{
	auto_containers struct containers list = {};
	int r = list_names(engine, project, deadline_of(engine), &list, err);

	if (r < 0)
		return r;
	*ret_containers = list;
	list = (struct containers){};
	return 0;
}

int container_engine_get(struct container_engine *engine, const char *path, json_t **ret_json,
			 struct error *err)
{
	return ask(engine, path, deadline_of(engine), ret_json, err);
}

static int inspect(struct container_engine *engine, const char *id, int64_t deadline_ms,
		   struct container *ret_container, struct error *err)
{
	const struct container_engine_about *about = &engine->about;
	auto_free char *path = NULL;
	auto_json json_t *json = NULL;
	int r;

	/* podman's own answer has the command with its CDI names. */
	path = about->libpod_api[0]
		   ? mem_printf("/v%s/libpod/containers/%s/json", about->libpod_api, id)
		   : mem_printf("/containers/%s/json", id);
	r = ask(engine, path, deadline_ms, &json, err);
	if (r < 0)
		return r;
	return container_parse_inspect(json, about->kind, ret_container, err);
}

int container_engine_list(struct container_engine *engine, const char *project,
			  struct containers *ret_containers, struct error *err)
{
	auto_containers struct containers names = {}, list = {};
	int64_t deadline_ms = deadline_of(engine);
	int r = list_names(engine, project, deadline_ms, &names, err);

	if (r < 0)
		return r;
	list.items = mem_calloc(MAX_OF(names.n, 1), sizeof *list.items);
	for (size_t i = 0; i < names.n; i++) {
		r = inspect(engine, names.items[i].id, deadline_ms, &list.items[list.n], err);
		if (r < 0 && r != -ENOENT)
			return r;
		list.n += r == 0;
	}
	*ret_containers = list;
	list = (struct containers){};
	return 0;
}

int container_engine_has_image(struct container_engine *engine, const char *image,
			       struct error *err)
{
	const char *api = engine->about.libpod_api;
	struct container_request request = {"GET", NULL, deadline_of(engine)};
	auto_text struct text path = {}, body = {};
	long status = 0;
	int r;

	/* podman's own finds a short name as `podman run` does. */
	if (api[0])
		text_printf(&path, "/v%s/libpod/images/", api);
	else
		text_add(&path, "/images/");
	text_add_uri(&path, image, "/:@");
	text_add(&path, api[0] ? "/exists" : "/json");
	request.path = path.data;
	r = container_http_call(engine->http, &request, &body, &status, err);
	if (r < 0)
		return r;
	if (status == 404)
		return 0;
	return status < 400 ? 1 : refused(engine, status, &body, err);
}

void container_engine_check_health(struct container_engine *engine, const char *id)
{
	const char *api = engine->about.libpod_api;
	auto_free char *path = mem_printf("/v%s/libpod/containers/%s/healthcheck", api, id);
	auto_json json_t *json = NULL;

	if (api[0] && access("/run/systemd/system", F_OK) < 0)
		(void)ask(engine, path, deadline_of(engine), &json, NULL);
}

int container_engine_logs(struct container_engine *engine, const char *id, unsigned lines,
			  struct text *ret_text, struct error *err)
{
	auto_free char *path =
	    mem_printf("/containers/%s/logs?stdout=1&stderr=1&tail=%u", id, lines);
	const struct container_request request = {"GET", path, deadline_of(engine), LOG_BYTES_MAX,
						  true};
	auto_text struct text body = {};
	int r = call(engine, &request, &body, err);

	if (r == 0)
		container_parse_logs(body.data, body.len, ret_text);
	return r;
}

/* 304: it has stopped already. 404: it is gone. */
static int change(struct container_engine *engine, const char *method, const char *path,
		  int64_t deadline_ms, struct error *err)
{
	const struct container_request request = {method, path, deadline_ms};
	auto_text struct text body = {};
	long status = 0;
	int r = container_http_call(engine->http, &request, &body, &status, err);

	if (r < 0 || status < 400 || status == 404)
		return r;
	return refused(engine, status, &body, err);
}

int container_engine_stop(struct container_engine *engine, const char *id, unsigned stop_seconds,
			  struct error *err)
{
	auto_free char *stop = mem_printf("/containers/%s/stop?t=%u", id, stop_seconds);

	return change(engine, "POST", stop, deadline_of(engine) + (int64_t)stop_seconds * 1000,
		      err);
}

int container_engine_remove(struct container_engine *engine, const char *id, unsigned stop_seconds,
			    struct error *err)
{
	auto_free char *gone = mem_printf("/containers/%s?force=1", id);
	int r = container_engine_stop(engine, id, stop_seconds, err);

	return r < 0 ? r : change(engine, "DELETE", gone, deadline_of(engine), err);
}
