/*
 * HTTP over a Unix socket, one request at a time, for an engine that may hang, trickle or never
 * end: a request costs its deadline and CONTAINER_ANSWER_MAX bytes at most.
 */
#pragma once

#include "util/error.h"
#include "util/text.h"

#include <stdbool.h>
#include <stdint.h>

#define CONTAINER_ANSWER_MAX  ((size_t)8 << 20)
#define CONTAINER_HEADERS_MAX ((size_t)64 << 10)

struct container_http;

struct container_http *container_http_create(const char *socket);
void container_http_destroy(struct container_http *http);
const char *container_http_socket(const struct container_http *http);

struct container_request {
	const char *method, *path; /* path with its query */
	int64_t deadline_ms;       /* monotonic */
	size_t answer_max;         /* 0: CONTAINER_ANSWER_MAX */
	bool cut;                  /* what is beyond that is left out, and no error */
};

/* Headers of the last answer, cut to their room; "" when it had none. */
struct container_headers {
	char server[96];     /* "Docker/20.10.24 (linux)", "Libpod/4.3.1 (linux)" */
	char libpod_api[16]; /* Libpod-API-Version */
};
const struct container_headers *container_http_headers(const struct container_http *http);

/* The answer's body and status. -ENOENT, -ECONNREFUSED, -EPERM (somebody else's socket): not there;
 * -ETIMEDOUT; -EMSGSIZE; -EPROTO: no HTTP; -ENOSYS: no
 * libcurl. A status of 400 or more is no error here. */
int container_http_call(struct container_http *http, const struct container_request *request,
			struct text *ret_body, long *ret_status, struct error *err) MUST_CHECK;
