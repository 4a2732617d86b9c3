/*
 * HTTP over a Unix socket, one request at a time, for an engine that may hang, trickle or never
 * end: a request costs its deadline and ENGINE_ANSWER_MAX bytes at most.
 */
#pragma once

#include "util/error.h"
#include "util/text.h"

#include <stdbool.h>
#include <stdint.h>

#define ENGINE_ANSWER_MAX  ((size_t)8 << 20)
#define ENGINE_HEADERS_MAX ((size_t)64 << 10)

struct engine_http;

int engine_http_create(const char *socket, struct engine_http **ret_http,
		       struct error *err) MUST_CHECK;
void engine_http_destroy(struct engine_http *http);
const char *engine_http_socket(const struct engine_http *http);

struct engine_request {
	const char *method, *path; /* path with its query */
	int64_t deadline_ms;       /* monotonic */
	size_t answer_max;         /* 0: ENGINE_ANSWER_MAX */
	bool cut;                  /* what is beyond that is left out, and no error */
};

/* Headers of the last answer, cut to their room; "" when it had none. */
struct engine_headers {
	char server[96];     /* "Docker/20.10.24 (linux)", "Libpod/4.3.1 (linux)" */
	char libpod_api[16]; /* Libpod-API-Version */
};
const struct engine_headers *engine_http_headers(const struct engine_http *http);

/* The answer's body and status. -ENOENT, -ECONNREFUSED, -EPERM (somebody else's socket): not there;
 * -ETIMEDOUT; -EMSGSIZE; -EPROTO: no HTTP. A status of 400 or more is no error here. */
int engine_http_call(struct engine_http *http, const struct engine_request *request,
		     struct text *ret_body, long *ret_status, struct error *err) MUST_CHECK;
