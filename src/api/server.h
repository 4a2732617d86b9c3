/*
 * The HTTP server: libmicrohttpd driven by the daemon's libuv loop, on a Unix socket. It knows
 * HTTP, JSON and limits; what a route does is the business of whoever handed in the table.
 *
 * Who may ask is decided here, once, before any handler: by the peer's credentials (SO_PEERCRED),
 * the route's role and, through `admit`, its scope. What a peer who is no ADMIN gets to see of an
 * answer is decided here too: every JSON reply goes through `filter`. No handler can forget either.
 * A handler either replies before it returns, or keeps the request and replies later
 * (from the loop), or begins a stream. After api_reply*() or api_stream_end() the request is no
 * longer the handler's; when the client goes away before that, `on_gone` is called and it is no
 * longer the handler's either.
 *
 * Limits: API_CONNECTIONS_MAX (being answered; who only keeps a place gives it to the next),
 * API_CONNECTIONS_PER_USER and API_BODIES_PER_USER of each user who is no ADMIN,
 * API_HEADER_MAX, the route's body_max, API_UNREAD_MAX of a stream, 30 s for a request to arrive,
 * 60 s without progress while an answer is sent.
 */
#pragma once

#include "util/error.h"
#include "util/jsonx.h"

#include <uv.h>

#define API_CONNECTIONS_MAX      64
#define API_CONNECTIONS_PER_USER 24
#define API_HEADER_MAX           ((size_t)16 << 10)
#define API_BODY_MAX             ((size_t)64 << 20) /* a batch of 100,000 tasks is about 30 MiB */
#define API_BODY_SMALL           ((size_t)2 << 20)
#define API_BODIES_PER_USER      ((size_t)128 << 20) /* of one user who is no ADMIN, at once */
#define API_UNREAD_MAX           ((size_t)4 << 20)

struct api_server;
struct api_request;

enum api_role {
	API_ROLE_NONE,    /* nothing: not the daemon's user and not root */
	API_ROLE_VIEW,    /* may look */
	API_ROLE_OPERATE, /* may submit, and do to his own what he likes */
	API_ROLE_ADMIN,   /* the daemon's user and root: everything, to everybody's */
};

/* Who is at the other end. */
struct api_peer {
	uid_t uid;
	gid_t gid;
	pid_t pid; /* who connected; may have ended since; 0 = of another pid namespace */
	enum api_role role;
};

/* What a route is about; says which peers of its role may use it (api_server_options.admit). */
enum api_scope {
	API_SCOPE_UNSET, /* forgotten: for ADMIN alone */
	API_OPEN,        /* all of the role; what they see in the answer `filter` decides */
	API_OWN_TASK,    /* {id} is a task: its owner and ADMIN */
	API_OWN_BATCH,   /* {id} is a batch: its owner and ADMIN */
};

struct api_route {
	const char *method;
	const char *path;   /* "/v1/tasks/{id}/why"; {id} matches a decimal number; "/{name}" at
			       the end, with no {id} before it, all that follows, slashes too */
	enum api_role role; /* the least that is needed */
	enum api_scope scope;
	const char *query; /* known query parameters, "state batch limit"; NULL = none */
	size_t body_max;   /* 0 = no body is accepted */
	void (*handle)(void *data, struct api_request *request);
	bool lasts; /* its answer may take for ever */
};

#define API_LASTING_MAX_PERCENT 75 /* of the connections for requests that stay */

struct api_server_options {
	int listen_fd; /* stays the caller's, who may close it at once */
	const struct api_route *routes;
	size_t n_routes;
	void *data;   /* for the handlers and the functions below */
	bool for_all; /* other users are answered too, as API_ROLE_OPERATE */
	/* May this peer, who is no ADMIN, use this route, of another scope than API_OPEN, on this
	 * id? A negative errno is answered instead of asking the handler. NULL: no. */
	int (*admit)(void *data, const struct api_peer *peer, const struct api_route *route,
		     uint64_t id, struct error *err);
	/* Take out of an answer what this peer, who is no ADMIN, is not to see. NULL: he sees all.
	 * Streams are the handlers' own business. */
	void (*filter)(void *data, const struct api_peer *peer, json_t *json);
	/* Would time that requests take be missed elsewhere? Then they are paced (pace.h). NULL:
	 * never. */
	bool (*is_busy)(void *data);
};

int api_server_create(uv_loop_t *loop, const struct api_server_options *options,
		      struct api_server **ret_server, struct error *err) MUST_CHECK;

/* Ends all connections (their on_gone is called); memory is freed by the loop's next turns. NULL is
 * fine. */
void api_server_destroy(struct api_server *server);

/* The route for a method and path, for the server and tests. *ret_id is the number of {id}.
 * -ENOENT: no such path; -ENOTSUP: the path knows other methods. */
int api_route_find(const struct api_route *routes, size_t n_routes, const char *method,
		   const char *path, const struct api_route **ret_route, uint64_t *ret_id);

/* Of the request; borrowed, valid as long as it is the handler's. */
const struct api_peer *api_request_peer(const struct api_request *request);
uint64_t api_request_id(const struct api_request *request);
const char *api_request_name(const struct api_request *request); /* of {name}; never empty */
const char *api_request_query(const struct api_request *request, const char *name); /* or NULL */
const json_t *api_request_body(const struct api_request *request); /* an object, or NULL */

/* A number from the query. `otherwise` when absent; -EINVAL when it is no number up to `max`. */
int api_request_query_u64(const struct api_request *request, const char *name, uint64_t max,
			  uint64_t otherwise, uint64_t *ret_value, struct error *err) MUST_CHECK;

/* Called when the client went away before the answer was complete. */
void api_request_on_gone(struct api_request *request,
			 void (*on_gone)(void *data, struct api_request *request), void *data);

/* `json` is consumed. */
void api_reply(struct api_request *request, unsigned status, json_t *json);

/* `code` is a negative errno, see api_status_of(); the text comes from `err`. */
void api_reply_error(struct api_request *request, int code, const struct error *err);

/* A body without a known length. `on_drain` (may be NULL) is called when everything written so far
 * has gone out: the place to write more of something long. */
void api_stream_begin(struct api_request *request, const char *content_type,
		      void (*on_drain)(void *data, struct api_request *request), void *data);
void api_stream_write(struct api_request *request, const char *data, size_t len);
void api_stream_end(struct api_request *request);
/* Written and not yet taken by the connection. */
size_t api_stream_unread(const struct api_request *request);

/* End it without an answer; on_gone is called later, from the loop. */
void api_request_cut(struct api_request *request);

/* The HTTP status and the "code" of an error answer. */
unsigned api_status_of(int code, const char **ret_name);
/* The way back, for clients. */
int api_code_of(unsigned status, const char *name);
