/*
 * The other end of the API, for the verbs: one HTTP request at a time over the daemon's Unix
 * socket, with the daemon started when nobody listens there.
 *
 * Errors are the daemon's own: its error answers come back as the negative errno and the text its
 * function returned (api/server.h). -ECONNREFUSED: no daemon runs (and none was to be started);
 * -EPERM: somebody else listens there (SO_PEERCRED of every connection); -EPIPE: the daemon went
 * away in the middle.
 */
#pragma once

#include "util/error.h"
#include "util/jsonx.h"

struct api_client;

#define API_SOCKET          "api.sock" /* in the runtime folder */
#define API_START_ARGUMENTS 8

struct api_client_options {
	const char *socket_path;             /* NULL: API_SOCKET in the runtime folder */
	const char *runtime_dir, *state_dir; /* of a daemon to be started; NULL: the user's own */
	bool root_only;      /* root must be the one who listens; else: root or this user */
	bool auto_start;     /* start the daemon when nobody listens */
	const char *program; /* started as "<program> serve --background"; NULL: this one */
	const char *const *arguments; /* for its "serve", at most API_START_ARGUMENTS, ended by
					 NULL; NULL: none */
	int start_ms;                 /* how long it may take to be ready; 0 = 20 s */
};

/* Connects (and starts) at once. `options` NULL: no auto_start. */
int api_client_create(const struct api_client_options *options, struct api_client **ret_client,
		      struct error *err) MUST_CHECK;
void api_client_destroy(struct api_client *client);
static inline void api_client_cleanup(struct api_client **client)
{
	api_client_destroy(*client);
}
#define auto_api_client CLEANUP(api_client_cleanup)

/* `path` with its query, "/v1/tasks?state=waiting"; `body` may be NULL (borrowed). ret_json may be
 * NULL. Waits as long as the daemon takes: /wait may take hours. */
int api_client_call(struct api_client *client, const char *method, const char *path,
		    const json_t *body, json_t **ret_json, struct error *err) MUST_CHECK;

/* How a stream is followed. All callbacks may be NULL; a return of false from any ends the stream,
 * which is then a success. */
struct api_stream_options {
	void *data;
	bool (*on_line)(void *data, const char *line);               /* without its newline */
	bool (*on_bytes)(void *data, const char *bytes, size_t len); /* instead of lines */
	int watch_fd; /* also waited for when on_readable is set: a terminal, a signalfd */
	bool (*on_readable)(void *data);
	int tick_ms; /* on_tick is called about this often; 0 = 1000 */
	bool (*on_tick)(void *data);
};
int api_client_stream(struct api_client *client, const char *path,
		      const struct api_stream_options *options, struct error *err) MUST_CHECK;

/* Text as a value in a query: escaped. The caller frees it. */
char *api_query_escape(const char *text);
