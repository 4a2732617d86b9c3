/* The inside of the server, shared by server.c (connections, requests on their way in, pace) and
 * answer.c (what handlers say and ask). */
#pragma once

#include "api/pace.h"
#include "api/server.h"
#include "util/text.h"

#include <microhttpd.h>

struct connection {
	struct connection *next, **link;
	struct api_server *server;
	struct MHD_Connection *mhd;
	int fd;
	struct api_peer peer;
	bool over_limit;
	bool over_share;        /* his user has API_CONNECTIONS_PER_USER others */
	bool closing;           /* its place was given to another */
	int64_t quiet_since_ms; /* when it began to wait for a request; 0 = one is being answered */
	int64_t used_us;        /* CPU time of its requests */
	bool had_request;
	struct api_request *request;
};

enum request_state {
	REQUEST_ARRIVING,
	REQUEST_WAITING,   /* the handler has it */
	REQUEST_REPLIED,   /* `response` waits to be queued, or is */
	REQUEST_STREAMING, /* the same, and the handler still has it */
	REQUEST_ENDED,     /* the stream's last byte is in `out` */
	REQUEST_CUT,       /* to be ended without an answer */
};

struct api_request {
	struct api_server *server;
	struct connection *connection;
	const struct api_route *route;
	uint64_t id;
	char *name; /* of a route with {name}; else NULL */
	enum request_state state;
	bool suspended, queued;
	bool paced;    /* waits for credit */
	bool its_turn; /* has waited for it */
	bool lasting;  /* counted in n_lasting */
	struct text body;
	size_t body_bytes; /* arrived, also what was not kept */
	size_t reply_bytes;
	json_t *json;
	struct MHD_Response *response;
	unsigned status;
	struct text out; /* of a stream; from out_at on not yet taken by microhttpd */
	size_t out_at;
	void (*on_drain)(void *data, struct api_request *request);
	void *drain_data;
	void (*on_gone)(void *data, struct api_request *request);
	void *gone_data;
};

struct api_server {
	struct MHD_Daemon *mhd;
	struct api_server_options options;
	struct connection *connections;
	size_t n_connections; /* without those that are closing */
	size_t n_open;
	size_t max_connections; /* API_CONNECTIONS_MAX, or what the limit of descriptors leaves */
	uv_poll_t poll;
	uv_timer_t timer; /* microhttpd's next timeout */
	uv_timer_t sweep;
	uv_timer_t pacer; /* when there is credit again */
	unsigned n_handles;
	bool running, ending;
	struct pace pace;
	bool resting; /* the sockets are not looked at */
	unsigned n_lasting;
	unsigned useful, others; /* what the run under way was about */
	int64_t large_from_ms;   /* large bodies are taken from then on */
};

/* A connection was resumed: microhttpd is to be run. */
void server_wake(struct api_server *server);
/* A suspended request is to be looked at again; no-op when it is not suspended. */
void api_request_resume(struct api_request *request);
