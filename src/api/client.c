/*
 * libcurl does the HTTP; a call and a stream are one loop over a multi handle, so that a stream can
 * wait for the terminal and for signals beside the socket. Each connection is asked who listens at
 * its other end before a byte is sent: in /tmp anybody may have put a socket there since the last
 * one.
 */
#include "api/client.h"

#include "api/server.h"
#include "api/start.h"
#include "util/paths.h"
#include "util/text.h"
#include "util/timestamp.h"
#include "util/unixsock.h"

#include <curl/curl.h>
#include <errno.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define TICK_MS         1000
#define URL_BASE        "http://plimsoll"
#define ANSWER_MAX      ((size_t)1 << 30)
#define STREAM_LINE_MAX ((size_t)64 << 20)

struct api_client {
	CURL *easy;
	CURLM *multi;
	char *socket_path;
	bool root_only;
	int fd;        /* libcurl's newest connection */
	int peer_code; /* negative: why its peer is not talked to */
	struct error peer_error;
};

/* One request under way. */
struct transfer {
	struct api_client *client;
	const struct api_stream_options *stream; /* NULL: collect the answer */
	struct text body; /* the answer, or the unfinished line of a stream */
	bool stopped;     /* a callback said enough */
	bool too_long;
};

/* Is it somebody we talk to who listens at the other end? */
static int peer_check(const struct api_client *client, int fd, struct error *err)
{
	uid_t uid = (uid_t)-1;
	pid_t pid;
	int r = unixsock_peer(fd, &uid, &pid);

	if (r < 0)
		return error_sys(err, r, "cannot tell who listens on %s", client->socket_path);
	if (uid == 0 || (uid == geteuid() && !client->root_only))
		return 0;
	return error_set(err, -EPERM, "user %u listens on %s, not %s: refusing to talk to it",
			 (unsigned)uid, client->socket_path,
			 client->root_only ? "root" : "you or root");
}

int api_client_create(const struct api_client_options *options, struct api_client **ret_client,
		      struct error *err)
{
	static const struct api_client_options none;
	auto_api_client struct api_client *client = mem_calloc(1, sizeof *client);
	auto_close int fd = -1;
	int r;

	options = options ? options : &none;
	client->socket_path =
	    options->socket_path ? mem_strdup(options->socket_path) : paths_in_runtime(API_SOCKET);
	client->root_only = options->root_only;
	r = unixsock_connect(client->socket_path, &fd, err);
	if (r == 0)
		r = peer_check(client, fd, err);
	if ((r == -ENOENT || r == -ECONNREFUSED) && options->auto_start)
		r = daemon_start(client->socket_path, options, err);
	else if (r == -ENOENT || r == -ECONNREFUSED)
		r = error_set(err, -ECONNREFUSED, "no daemon runs (nobody listens on %s)",
			      client->socket_path);
	if (r < 0)
		return r;
	client->easy = curl_easy_init();
	client->multi = curl_multi_init();
	if (!client->easy || !client->multi)
		return error_set(err, -ENOMEM, "cannot set up libcurl");
	*ret_client = TAKE(client);
	return 0;
}

void api_client_destroy(struct api_client *client)
{
	if (!client)
		return;
	curl_easy_cleanup(client->easy);
	if (client->multi)
		(void)curl_multi_cleanup(client->multi);
	free(client->socket_path);
	free(client);
}

static bool stream_lines(struct transfer *t, const char *bytes, size_t len)
{
	text_add_bytes(&t->body, bytes, len);
	while (!t->stopped) {
		char *end = t->body.len ? memchr(t->body.data, '\n', t->body.len) : NULL;
		size_t taken;

		if (!end)
			break;
		*end = '\0';
		taken = (size_t)(end - t->body.data) + 1;
		t->stopped = !t->stream->on_line(t->stream->data, t->body.data);
		memmove(t->body.data, end + 1, t->body.len - taken);
		t->body.len -= taken;
		t->body.data[t->body.len] = '\0';
	}
	t->too_long = t->body.len > STREAM_LINE_MAX;
	return !t->stopped && !t->too_long;
}

static size_t on_data(char *bytes, size_t size, size_t n, void *data)
{
	struct transfer *t = data;
	size_t len = size * n;
	long status = 0;

	(void)curl_easy_getinfo(t->client->easy, CURLINFO_RESPONSE_CODE, &status);
	if (!t->stream || status >= 400) {
		t->too_long = t->body.len + len > ANSWER_MAX;
		if (t->too_long)
			return 0;
		text_add_bytes(&t->body, bytes, len);
		return len;
	}
	if (t->stream->on_line)
		return stream_lines(t, bytes, len) ? len : 0;
	if (t->stream->on_bytes)
		t->stopped = !t->stream->on_bytes(t->stream->data, bytes, len);
	return t->stopped ? 0 : len;
}

/* Wait for the socket, the watched descriptor and the tick; false: a callback said enough. */
static bool transfer_wait(struct transfer *t, int64_t *next_tick_ms)
{
	const struct api_stream_options *stream = t->stream;
	int tick_ms = stream && stream->tick_ms ? stream->tick_ms : TICK_MS;
	struct curl_waitfd extra = {.events = CURL_WAIT_POLLIN};
	bool watch = stream && stream->on_readable;
	int64_t now = monotonic_now_ms();

	if (watch)
		extra.fd = stream->watch_fd;
	(void)curl_multi_poll(t->client->multi, watch ? &extra : NULL, watch ? 1 : 0,
			      (int)MAX_OF(0, MIN_OF(tick_ms, *next_tick_ms - now)), NULL);
	if (watch && extra.revents && !stream->on_readable(stream->data))
		return false;
	if (monotonic_now_ms() < *next_tick_ms)
		return true;
	*next_tick_ms = monotonic_now_ms() + tick_ms;
	return !stream || !stream->on_tick || stream->on_tick(stream->data);
}

static CURLcode transfer_run(struct transfer *t)
{
	struct api_client *client = t->client;
	int64_t next_tick_ms = monotonic_now_ms();
	int running = 1, left;
	CURLcode result = CURLE_OK;

	(void)curl_multi_add_handle(client->multi, client->easy);
	while (!t->stopped) {
		(void)curl_multi_perform(client->multi, &running);
		if (running == 0)
			break;
		if (!t->stopped && !transfer_wait(t, &next_tick_ms))
			t->stopped = true;
	}
	for (CURLMsg *m; (m = curl_multi_info_read(client->multi, &left));)
		if (m->msg == CURLMSG_DONE)
			result = m->data.result;
	(void)curl_multi_remove_handle(client->multi, client->easy);
	return result;
}

static int answer_parse(const struct transfer *t, long status, json_t **ret_json, struct error *err)
{
	auto_json json_t *json = NULL;
	const json_t *error;
	int r = 0;

	if (t->body.len > 0)
		r = jsonx_parse(t->body.data, t->body.len, "the daemon's answer", &json, err);
	if (status >= 400) {
		error = json_object_get(json, "error");
		return error_set(
		    err, api_code_of((unsigned)status, jsonx_get_string(error, "code", NULL)), "%s",
		    jsonx_get_string(error, "message", "the daemon refused without saying why"));
	}
	if (r < 0)
		return r;
	if (ret_json)
		*ret_json = json ? TAKE(json) : json_object();
	return 0;
}

static curl_socket_t on_open_socket(void *data, curlsocktype purpose, struct curl_sockaddr *address)
{
	struct api_client *client = data;

	(void)purpose;
	client->fd = socket(address->family, address->socktype | SOCK_CLOEXEC, address->protocol);
	return client->fd;
}

/* Connected; the request has not been sent. */
static int on_connected(void *data, char *ip, char *local_ip, int port, int local_port)
{
	struct api_client *client = data;

	(void)ip;
	(void)local_ip;
	(void)port;
	(void)local_port;
	client->peer_code = peer_check(client, client->fd, &client->peer_error);
	return client->peer_code < 0 ? CURL_PREREQFUNC_ABORT : CURL_PREREQFUNC_OK;
}

static int curl_error(const struct transfer *t, CURLcode code, struct error *err)
{
	if (t->client->peer_code < 0)
		return error_set(err, t->client->peer_code, "%s",
				 error_text(&t->client->peer_error));
	if (t->too_long)
		return error_set(err, -EMSGSIZE, "the daemon's answer is too large");
	if (code == CURLE_COULDNT_CONNECT)
		return error_set(err, -ECONNREFUSED, "no daemon runs (nobody listens on %s)",
				 t->client->socket_path);
	return error_set(err, -EPIPE, "the daemon went away in the middle of a request (%s)",
			 curl_easy_strerror(code));
}

struct call {
	const char *method, *path;
	const json_t *body;
	json_t **ret_json;
	const struct api_stream_options *stream;
};

static int client_perform(struct api_client *client, const struct call *call, struct error *err)
{
	struct transfer t = {.client = client, .stream = call->stream};
	auto_free char *url = mem_printf(URL_BASE "%s", call->path);
	auto_free char *payload = call->body ? jsonx_dump(call->body) : NULL;
	struct curl_slist *headers = NULL;
	CURL *easy = client->easy;
	CURLcode code;
	long status = 0;
	int r;

	client->peer_code = 0;
	headers = curl_slist_append(headers, "Content-Type: application/json");
	headers = curl_slist_append(headers, "Expect:");
	curl_easy_reset(easy);
	(void)curl_easy_setopt(easy, CURLOPT_UNIX_SOCKET_PATH, client->socket_path);
	(void)curl_easy_setopt(easy, CURLOPT_OPENSOCKETFUNCTION, on_open_socket);
	(void)curl_easy_setopt(easy, CURLOPT_OPENSOCKETDATA, client);
	(void)curl_easy_setopt(easy, CURLOPT_PREREQFUNCTION, on_connected);
	(void)curl_easy_setopt(easy, CURLOPT_PREREQDATA, client);
	(void)curl_easy_setopt(easy, CURLOPT_URL, url);
	(void)curl_easy_setopt(easy, CURLOPT_NOPROXY, "*");
	(void)curl_easy_setopt(easy, CURLOPT_NOSIGNAL, 1L);
	(void)curl_easy_setopt(easy, CURLOPT_CUSTOMREQUEST, call->method);
	(void)curl_easy_setopt(easy, CURLOPT_HTTPHEADER, headers);
	(void)curl_easy_setopt(easy, CURLOPT_WRITEFUNCTION, on_data);
	(void)curl_easy_setopt(easy, CURLOPT_WRITEDATA, &t);
	if (strcmp(call->method, "POST") == 0 || strcmp(call->method, "PUT") == 0) {
		const char *data = payload ? payload : "";

		(void)curl_easy_setopt(easy, CURLOPT_POSTFIELDSIZE_LARGE, (curl_off_t)strlen(data));
		(void)curl_easy_setopt(easy, CURLOPT_POSTFIELDS, data);
	}
	code = transfer_run(&t);
	(void)curl_easy_getinfo(easy, CURLINFO_RESPONSE_CODE, &status);
	curl_slist_free_all(headers);
	if (t.stopped)
		r = 0;
	else if (code != CURLE_OK)
		r = curl_error(&t, code, err);
	else if (call->stream && status < 400)
		r = 0;
	else
		r = answer_parse(&t, status, call->ret_json, err);
	text_finish(&t.body);
	return r;
}

int api_client_call(struct api_client *client, const char *method, const char *path,
		    const json_t *body, json_t **ret_json, struct error *err)
{
	return client_perform(
	    client,
	    &(struct call){.method = method, .path = path, .body = body, .ret_json = ret_json},
	    err);
}

int api_client_stream(struct api_client *client, const char *path,
		      const struct api_stream_options *options, struct error *err)
{
	return client_perform(
	    client, &(struct call){.method = "GET", .path = path, .stream = options}, err);
}

char *api_query_escape(const char *text)
{
	char *escaped = curl_easy_escape(NULL, text, 0), *copy = mem_strdup(escaped ? escaped : "");

	curl_free(escaped);
	return copy;
}
