/*
 * libcurl's easy interface with everything that could surprise turned off: no proxy, no redirect,
 * no signal, no other protocol. The deadline is libcurl's own timeout for the whole transfer; body
 * and headers are counted as they come, and one byte too many ends it.
 */
#include "container/http.h"

#include "container/curl.h"
#include "util/timestamp.h"
#include "util/unixsock.h"

#include <errno.h>
#include <stdbool.h>
#include <string.h>
#include <strings.h>

#define URL_BASE "http://engine"

struct container_http {
	char *socket;
	const struct curl_calls *curl; /* NULL: nothing was asked yet */
	CURL *easy;
	struct container_headers headers;
};

struct answer {
	struct container_headers *headers;
	struct text *body;
	size_t max, header_bytes;
	bool cut, too_long;
};

struct container_http *container_http_create(const char *socket)
{
	struct container_http *http = mem_calloc(1, sizeof *http);

	http->socket = mem_strdup(socket);
	return http;
}

static int begin(struct container_http *http, struct error *err)
{
	int r = http->easy ? 0 : container_curl_load(&http->curl, err);

	if (r == 0 && !http->easy)
		http->easy = http->curl->easy_init();
	if (r == 0 && !http->easy)
		r = error_set(err, -ENOMEM, "cannot set up libcurl");
	return r;
}

void container_http_destroy(struct container_http *http)
{
	if (!http)
		return;
	if (http->easy)
		http->curl->easy_cleanup(http->easy);
	free(http->socket);
	free(http);
}

const char *container_http_socket(const struct container_http *http)
{
	return http->socket;
}

static size_t on_body(char *bytes, size_t size, size_t n, void *data)
{
	struct answer *answer = data;
	size_t len = size * n, room = answer->max - answer->body->len;

	answer->too_long = len > room;
	text_add_bytes(answer->body, bytes, MIN_OF(len, room));
	return answer->too_long ? 0 : len;
}

const struct container_headers *container_http_headers(const struct container_http *http)
{
	return &http->headers;
}

/* "NAME: value\r\n"; control characters end it. */
static void header_take(const char *line, size_t len, const char *name, char *value, size_t room)
{
	size_t at = strlen(name), n = 0;

	if (len <= at || strncasecmp(line, name, at) != 0)
		return;
	while (at < len && line[at] == ' ')
		at++;
	while (at < len && n + 1 < room && (unsigned char)line[at] >= ' ' && line[at] != 0x7f)
		value[n++] = line[at++];
	value[n] = '\0';
}

static size_t on_header(char *bytes, size_t size, size_t n, void *data)
{
	struct answer *answer = data;
	struct container_headers *headers = answer->headers;

	header_take(bytes, size * n, "Server:", headers->server, sizeof headers->server);
	header_take(bytes, size * n, "Libpod-API-Version:", headers->libpod_api,
		    sizeof headers->libpod_api);
	answer->header_bytes += size * n;
	if (answer->header_bytes <= CONTAINER_HEADERS_MAX)
		return size * n;
	answer->too_long = true;
	answer->cut = false;
	return 0;
}

static int call_error(const struct container_http *http, CURLcode code, const struct answer *answer,
		      struct error *err)
{
	long os_code = 0;

	if (answer->too_long)
		return error_set(err, -EMSGSIZE,
				 "the container engine at %s answers with more than %zu KiB",
				 http->socket, answer->max >> 10);
	if (code == CURLE_OPERATION_TIMEDOUT)
		return error_set(err, -ETIMEDOUT,
				 "the container engine at %s does not answer in time",
				 http->socket);
	(void)http->curl->easy_getinfo(http->easy, CURLINFO_OS_ERRNO, &os_code);
	if (code == CURLE_COULDNT_CONNECT && os_code == EACCES)
		return error_set(err, -EACCES,
				 "no right to talk to the container engine at %s (is this user in "
				 "its group?)",
				 http->socket);
	if (code == CURLE_COULDNT_CONNECT)
		return error_set(err, -ECONNREFUSED, "no container engine listens on %s",
				 http->socket);
	return error_set(err, -EPROTO, "the container engine at %s does not answer properly (%s)",
			 http->socket, http->curl->easy_strerror(code));
}

static CURLcode perform(struct container_http *http, const struct container_request *request,
			const char *url, struct answer *answer)
{
	int64_t left_ms = request->deadline_ms - monotonic_now_ms();
	const struct curl_calls *curl = http->curl;
	CURL *easy = http->easy;

	if (left_ms <= 0)
		return CURLE_OPERATION_TIMEDOUT;
	curl->easy_reset(easy);
	(void)curl->easy_setopt(easy, CURLOPT_UNIX_SOCKET_PATH, http->socket);
	(void)curl->easy_setopt(easy, CURLOPT_URL, url);
	(void)curl->easy_setopt(easy, CURLOPT_PROTOCOLS_STR, "http");
	(void)curl->easy_setopt(easy, CURLOPT_NOPROXY, "*");
	(void)curl->easy_setopt(easy, CURLOPT_NOSIGNAL, 1L);
	(void)curl->easy_setopt(easy, CURLOPT_TIMEOUT_MS, (long)left_ms);
	(void)curl->easy_setopt(easy, CURLOPT_CUSTOMREQUEST, request->method);
	/* A POST of nothing has to say that it is of nothing. */
	if (strcmp(request->method, "POST") == 0) {
		(void)curl->easy_setopt(easy, CURLOPT_POST, 1L);
		(void)curl->easy_setopt(easy, CURLOPT_POSTFIELDSIZE, 0L);
		(void)curl->easy_setopt(easy, CURLOPT_POSTFIELDS, "");
	}
	(void)curl->easy_setopt(easy, CURLOPT_WRITEFUNCTION, on_body);
	(void)curl->easy_setopt(easy, CURLOPT_WRITEDATA, answer);
	(void)curl->easy_setopt(easy, CURLOPT_HEADERFUNCTION, on_header);
	(void)curl->easy_setopt(easy, CURLOPT_HEADERDATA, answer);
	return curl->easy_perform(easy);
}

int container_http_call(struct container_http *http, const struct container_request *request,
			struct text *ret_body, long *ret_status, struct error *err)
{
	auto_free char *url = mem_printf(URL_BASE "%s", request->path);
	auto_text struct text body = {};
	struct answer answer = {
	    .headers = &http->headers,
	    .body = &body,
	    .max = request->answer_max ? request->answer_max : CONTAINER_ANSWER_MAX,
	    .cut = request->cut,
	};
	CURLcode code;
	int r;

	r = unixsock_check_owner(http->socket, err);
	if (r == 0)
		r = begin(http, err);
	if (r < 0)
		return r;
	http->headers = (struct container_headers){};
	code = perform(http, request, url, &answer);
	if (code != CURLE_OK && !(answer.too_long && answer.cut))
		return call_error(http, code, &answer, err);
	(void)http->curl->easy_getinfo(http->easy, CURLINFO_RESPONSE_CODE, ret_status);
	text_finish(ret_body);
	*ret_body = body;
	body = (struct text){};
	return 0;
}
