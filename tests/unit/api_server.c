/*
 * The server on a loop in this thread, spoken to by the client library and by raw sockets in
 * another.
 */
#include "api/client.h"
#include "api/server.h"
#include "util/text.h"
#include "util/timestamp.h"
#include "util/unixsock.h"

#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

#define WAIT_MS   10000
#define PROMPT_MS 600 /* a busy machine, and still no waiting for a timer of a second */

static char dir[] = "/tmp/plimsoll-api-XXXXXX";
static char socket_path[64];
static atomic_int n_gone;
static struct api_request *parked;

static void handle_echo(void *data, struct api_request *request)
{
	(void)data;
	api_reply(request, 200, json_pack("{s:O?}", "body", api_request_body(request)));
}

static void handle_number(void *data, struct api_request *request)
{
	struct error err = {};
	uint64_t limit;
	int r = api_request_query_u64(request, "limit", 100, 7, &limit, &err);

	(void)data;
	if (r < 0)
		api_reply_error(request, r, &err);
	else
		api_reply(request, 200,
			  json_pack("{s:I,s:I}", "id", (json_int_t)api_request_id(request), "limit",
				    (json_int_t)limit));
}

static void on_gone(void *data, struct api_request *request)
{
	(void)data;
	if (parked == request)
		parked = NULL;
	n_gone++;
}

/* Answered by handle_release(), or never. */
static void handle_park(void *data, struct api_request *request)
{
	(void)data;
	parked = request;
	api_request_on_gone(request, on_gone, NULL);
}

static void handle_release(void *data, struct api_request *request)
{
	bool there = parked;

	(void)data;
	if (parked)
		api_reply(parked, 200, json_pack("{s:s}", "late", "yes"));
	parked = NULL;
	api_reply(request, 200, json_pack("{s:b}", "released", there));
}

static unsigned drained;

static void on_drain(void *data, struct api_request *request)
{
	char line[32];

	(void)data;
	if (drained++ == 1000) {
		api_stream_end(request);
		return;
	}
	(void)snprintf(line, sizeof line, "line %u\n", drained);
	api_stream_write(request, line, strlen(line));
}

static void handle_lines(void *data, struct api_request *request)
{
	(void)data;
	drained = 0;
	api_stream_begin(request, "text/plain", on_drain, NULL);
}

/* Answered, and written to, by the loop and not by a request: as all of the daemon that waits for
 * a commit, a log or an event. */
static uv_timer_t later;
static unsigned n_later;

static void on_later(uv_timer_t *timer)
{
	struct api_request *request = timer->data;
	char line[32];

	(void)snprintf(line, sizeof line, "line %u\n", ++n_later);
	api_stream_write(request, line, strlen(line));
	if (n_later < 10)
		return;
	api_stream_end(request);
	(void)uv_timer_stop(timer);
}

static void handle_slow_lines(void *data, struct api_request *request)
{
	(void)data;
	n_later = 0;
	later.data = request;
	api_stream_begin(request, "text/plain", NULL, NULL);
	(void)uv_timer_start(&later, on_later, 5, 5);
}

static void on_reply(uv_timer_t *timer)
{
	api_reply(timer->data, 200, json_object());
}

static void handle_later(void *data, struct api_request *request)
{
	(void)data;
	later.data = request;
	(void)uv_timer_start(&later, on_reply, 5, 0);
}

/* Pours more than anybody may leave unread. */
static void handle_flood(void *data, struct api_request *request)
{
	static char block[65536];

	(void)data;
	memset(block, 'x', sizeof block);
	api_request_on_gone(request, on_gone, NULL);
	api_stream_begin(request, "text/plain", NULL, NULL);
	for (size_t sent = 0; sent <= 2 * API_UNREAD_MAX; sent += sizeof block)
		api_stream_write(request, block, sizeof block);
}

static void handle_hold(void *data, struct api_request *request)
{
	(void)data;
	api_stream_begin(request, "text/plain", NULL, NULL);
	api_stream_write(request, "held\n", 5);
}

static const struct api_route ROUTES[] = {
    {"POST", "/echo", API_ROLE_OPERATE, API_OPEN, NULL, 4 << 20, handle_echo},
    {"GET", "/number/{id}", API_ROLE_VIEW, API_OPEN, "limit", 0, handle_number},
    {"GET", "/park", API_ROLE_VIEW, API_OPEN, NULL, 0, handle_park},
    {"POST", "/release", API_ROLE_OPERATE, API_OPEN, NULL, 0, handle_release},
    {"GET", "/lines", API_ROLE_VIEW, API_OPEN, NULL, 0, handle_lines},
    {"GET", "/flood", API_ROLE_VIEW, API_OPEN, NULL, 0, handle_flood},
    {"GET", "/hold", API_ROLE_VIEW, API_OPEN, NULL, 0, handle_hold},
    {"GET", "/later", API_ROLE_VIEW, API_OPEN, NULL, 0, handle_later},
    {"GET", "/slow-lines", API_ROLE_VIEW, API_OPEN, NULL, 0, handle_slow_lines},
};

/* The other thread: one scenario; its failures are counted, cmocka's asserts belong to the main
 * thread. */
static atomic_int n_wrong;
static uv_async_t done;

#define WANT(condition)                                                             \
	do {                                                                        \
		if (!(condition)) {                                                 \
			print_error("%s:%d: %s\n", __FILE__, __LINE__, #condition); \
			n_wrong++;                                                  \
		}                                                                   \
	} while (0)

static bool wait_gone(int n)
{
	for (int i = 0; i < WAIT_MS / 10 && n_gone < n; i++)
		(void)poll(NULL, 0, 10);
	return n_gone >= n;
}

static int raw_open(void)
{
	int fd = -1;

	WANT(unixsock_connect(socket_path, &fd, NULL) == 0);
	return fd;
}

/* All that comes until the server closes or `want` has been seen. */
static bool raw_expect(int fd, const char *want)
{
	auto_text struct text got = {};
	char buf[4096];
	ssize_t n;

	for (;;) {
		struct pollfd p = {.fd = fd, .events = POLLIN};

		if (poll(&p, 1, WAIT_MS) <= 0)
			return false;
		n = read(fd, buf, sizeof buf);
		if (n <= 0)
			return want[0] == '\0';
		text_add_bytes(&got, buf, (size_t)n);
		if (want[0] && strstr(got.data, want))
			return true;
	}
}

static void *run_calls(void *arg)
{
	auto_api_client struct api_client *client = NULL;
	auto_json json_t *body = json_object(), *answer = NULL, *number = NULL;
	auto_free char *big = mem_calloc(1, (5 << 20) + 1);
	struct error err = {};
	struct api_client_options options = {.socket_path = socket_path};

	(void)arg;
	WANT(api_client_create(&options, &client, &err) == 0);
	memset(big, 'a', 3 << 20);
	(void)json_object_set_new(body, "text", json_string(big));
	WANT(api_client_call(client, "POST", "/echo", body, &answer, &err) == 0);
	WANT(json_equal(json_object_get(answer, "body"), body));
	memset(big, 'a', 5 << 20);
	(void)json_object_set_new(body, "text", json_string(big));
	WANT(api_client_call(client, "POST", "/echo", body, NULL, &err) == -EMSGSIZE);
	WANT(api_client_call(client, "GET", "/number/12?limit=9", NULL, &number, &err) == 0);
	WANT(jsonx_get_u64(number, "id", 0) == 12 && jsonx_get_u64(number, "limit", 0) == 9);
	WANT(api_client_call(client, "GET", "/number/12?limit=101", NULL, NULL, &err) == -EINVAL);
	WANT(api_client_call(client, "GET", "/number/12?limits=1", NULL, NULL, &err) == -EINVAL);
	WANT(strstr(err.text, "\"limits\""));
	WANT(api_client_call(client, "GET", "/nothing", NULL, NULL, &err) == -ENOENT);
	WANT(api_client_call(client, "POST", "/number/1", NULL, NULL, &err) == -ENOTSUP);
	uv_async_send(&done);
	return NULL;
}

static bool count_line(void *data, const char *line)
{
	unsigned *n = data;
	char want[32];

	(void)snprintf(want, sizeof want, "line %u", ++*n);
	WANT(strcmp(line, want) == 0);
	return *n < 2000;
}

static bool stop_at_tick(void *data)
{
	return ++*(unsigned *)data < 3;
}

static void *run_streams(void *arg)
{
	auto_api_client struct api_client *client = NULL;
	struct error err = {};
	unsigned lines = 0, ticks = 0;
	struct api_client_options options = {.socket_path = socket_path};
	struct api_stream_options stream = {.data = &lines, .on_line = count_line};
	struct api_stream_options parked_stream = {
	    .data = &ticks, .on_tick = stop_at_tick, .tick_ms = 20};

	(void)arg;
	WANT(api_client_create(&options, &client, &err) == 0);
	WANT(api_client_stream(client, "/lines", &stream, &err) == 0);
	WANT(lines == 1000);
	/* The client gives up on what is never answered: the handler hears of it. */
	WANT(api_client_stream(client, "/park", &parked_stream, &err) == 0);
	WANT(ticks == 3);
	WANT(wait_gone(1));
	uv_async_send(&done);
	return NULL;
}

static bool line_is_prompt(void *data, const char *line)
{
	int64_t *last_ms = data, now_ms = monotonic_now_ms();

	(void)line;
	WANT(now_ms - *last_ms < PROMPT_MS);
	*last_ms = now_ms;
	return true;
}

/* The server's sweep, once a second, is not what answers are sent by. */
static void *run_prompt(void *arg)
{
	auto_api_client struct api_client *client = NULL;
	struct error err = {};
	struct api_client_options options = {.socket_path = socket_path};
	int64_t at_ms;
	struct api_stream_options stream = {.data = &at_ms, .on_line = line_is_prompt};

	(void)arg;
	WANT(api_client_create(&options, &client, &err) == 0);
	for (int i = 0; i < 5; i++) {
		at_ms = monotonic_now_ms();
		WANT(api_client_call(client, "GET", "/later", NULL, NULL, &err) == 0);
		WANT(monotonic_now_ms() - at_ms < PROMPT_MS);
	}
	at_ms = monotonic_now_ms();
	WANT(api_client_stream(client, "/slow-lines", &stream, &err) == 0);
	WANT(n_later == 10);
	uv_async_send(&done);
	return NULL;
}

static void *run_late(void *arg)
{
	auto_api_client struct api_client *client = NULL;
	auto_close int fd = raw_open();
	struct error err = {};
	struct api_client_options options = {.socket_path = socket_path};
	static const char request[] = "GET /park HTTP/1.1\r\nHost: x\r\n\r\n";

	(void)arg;
	WANT(api_client_create(&options, &client, &err) == 0);
	WANT(write(fd, request, strlen(request)) == (ssize_t)strlen(request));
	for (int i = 0; i < WAIT_MS / 10; i++) {
		auto_json json_t *answer = NULL;

		WANT(api_client_call(client, "POST", "/release", NULL, &answer, &err) == 0);
		if (jsonx_get_bool(answer, "released", false))
			break;
	}
	WANT(raw_expect(fd, "{\"late\":\"yes\"}"));
	uv_async_send(&done);
	return NULL;
}

static void *run_hostile(void *arg)
{
	static const char half[] = "POST /echo HTTP/1.1\r\nHost: x\r\nContent-Le";
	static const char bad_json[] =
	    "POST /echo HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\n{\"a\":";
	static const char array[] = "POST /echo HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n\r\n[]";
	static const char huge[] =
	    "POST /echo HTTP/1.1\r\nHost: x\r\nContent-Length: 99999999999999\r\n\r\n";
	static const char flood[] = "GET /flood HTTP/1.1\r\nHost: x\r\n\r\n";
	auto_api_client struct api_client *client = NULL;
	auto_json json_t *number = NULL;
	struct api_client_options options = {.socket_path = socket_path};
	static char garbage[1 << 20];
	int fds[8], before = n_gone;

	(void)arg;
	for (size_t i = 0; i < ARRAY_LEN(fds); i++)
		fds[i] = raw_open();
	WANT(write(fds[0], half, strlen(half)) > 0);
	memset(garbage, 0xa5, sizeof garbage);
	(void)send(fds[1], garbage, sizeof garbage, MSG_NOSIGNAL | MSG_DONTWAIT);
	WANT(write(fds[2], bad_json, strlen(bad_json)) > 0);
	WANT(raw_expect(fds[2], "bad-json"));
	WANT(write(fds[3], array, strlen(array)) > 0);
	WANT(raw_expect(fds[3], "not a JSON object"));
	WANT(write(fds[4], huge, strlen(huge)) > 0);
	WANT(raw_expect(fds[4], "body-too-large"));
	WANT(write(fds[5], flood, strlen(flood)) > 0);
	WANT(wait_gone(before + 1));
	memset(garbage, 'h', sizeof garbage);
	(void)send(fds[6], "GET /", 5, MSG_NOSIGNAL);
	(void)send(fds[6], garbage, sizeof garbage, MSG_NOSIGNAL | MSG_DONTWAIT);
	/* All that open and half done, the next one is served. */
	WANT(api_client_create(&options, &client, NULL) == 0);
	WANT(api_client_call(client, "GET", "/number/3", NULL, &number, NULL) == 0);
	WANT(jsonx_get_u64(number, "limit", 0) == 7);
	for (size_t i = 0; i < ARRAY_LEN(fds); i++)
		close(fds[i]);
	uv_async_send(&done);
	return NULL;
}

/* All are being answered: the next one is told so, whoever else waits. */
static void *run_crowd(void *arg)
{
	static const char request[] = "GET /hold HTTP/1.1\r\nHost: x\r\n\r\n";
	int fds[API_CONNECTIONS_MAX + 1], last = API_CONNECTIONS_MAX;

	(void)arg;
	for (int i = 0; i <= last; i++) {
		fds[i] = raw_open();
		WANT(write(fds[i], request, strlen(request)) > 0);
		WANT(raw_expect(fds[i], i < last ? "held" : "too-many"));
	}
	for (int i = 0; i <= last; i++)
		close(fds[i]);
	uv_async_send(&done);
	return NULL;
}

/* Who says nothing, or half of something, gives way to who has something to say. */
static void *run_silent_crowd(void *arg)
{
	static const char half[] = "POST /echo HTTP/1.1\r\nHost: x\r\nContent-Le";
	static const char hold[] = "GET /hold HTTP/1.1\r\nHost: x\r\n\r\n";
	static const char body[] = "POST /echo HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n\r\n{";
	struct api_client_options options = {.socket_path = socket_path};
	int fds[200], held = raw_open(), sending = raw_open();

	(void)arg;
	WANT(write(held, hold, strlen(hold)) > 0);
	WANT(raw_expect(held, "held"));
	WANT(write(sending, body, strlen(body)) > 0);
	for (size_t i = 0; i < ARRAY_LEN(fds); i++) {
		fds[i] = raw_open();
		if (i % 2 == 0)
			(void)send(fds[i], half, strlen(half), MSG_NOSIGNAL);
		if (i % 20 == 0) {
			auto_api_client struct api_client *client = NULL;
			int64_t began_ms = monotonic_now_ms();

			WANT(api_client_create(&options, &client, NULL) == 0);
			WANT(api_client_call(client, "GET", "/number/3", NULL, NULL, NULL) == 0);
			WANT(monotonic_now_ms() - began_ms < PROMPT_MS);
		}
	}
	/* The first of them are closed, what was being answered is not, nor what had begun. */
	WANT(raw_expect(fds[0], ""));
	WANT(send(sending, "\"a\":123}", 8, MSG_NOSIGNAL) == 8);
	WANT(raw_expect(sending, "{\"body\":{\"a\":123}}"));
	WANT(poll(&(struct pollfd){.fd = held, .events = POLLIN}, 1, 0) == 0);
	close(held);
	close(sending);
	for (size_t i = 0; i < ARRAY_LEN(fds); i++)
		close(fds[i]);
	uv_async_send(&done);
	return NULL;
}

static void on_done(uv_async_t *async)
{
	uv_stop(async->loop);
}

static void run(void *(*scenario)(void *))
{
	auto_close int fd = -1;
	struct api_server *server = NULL;
	struct error err = {};
	pthread_t thread;
	uv_loop_t loop;

	n_wrong = 0;
	n_gone = 0;
	assert_int_equal(uv_loop_init(&loop), 0);
	assert_int_equal(uv_async_init(&loop, &done, on_done), 0);
	assert_int_equal(uv_timer_init(&loop, &later), 0);
	assert_int_equal(unixsock_listen(socket_path, 128, &fd, &err), 0);
	assert_int_equal(
	    api_server_create(&loop,
			      &(struct api_server_options){
				  .listen_fd = fd, .routes = ROUTES, .n_routes = ARRAY_LEN(ROUTES)},
			      &server, &err),
	    0);
	assert_int_equal(pthread_create(&thread, NULL, scenario, NULL), 0);
	(void)uv_run(&loop, UV_RUN_DEFAULT);
	(void)pthread_join(thread, NULL);
	api_server_destroy(server);
	uv_close((uv_handle_t *)&done, NULL);
	uv_close((uv_handle_t *)&later, NULL);
	(void)uv_run(&loop, UV_RUN_DEFAULT);
	assert_int_equal(uv_loop_close(&loop), 0);
	(void)unlink(socket_path);
	assert_int_equal(n_wrong, 0);
}

static void test_calls(void **state)
{
	(void)state;
	run(run_calls);
}

static void test_streams(void **state)
{
	(void)state;
	run(run_streams);
}

static void test_prompt(void **state)
{
	(void)state;
	run(run_prompt);
}

static void test_late(void **state)
{
	(void)state;
	run(run_late);
}

static void test_hostile(void **state)
{
	(void)state;
	run(run_hostile);
}

static void test_crowd(void **state)
{
	(void)state;
	run(run_crowd);
}

static void test_silent_crowd(void **state)
{
	(void)state;
	run(run_silent_crowd);
}

static void test_nobody(void **state)
{
	struct api_client_options options = {.socket_path = socket_path};
	struct api_client *client = NULL;
	struct error err = {};

	(void)state;
	assert_int_equal(api_client_create(&options, &client, &err), -ECONNREFUSED);
	assert_null(client);
	assert_non_null(strstr(err.text, "no daemon runs"));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_calls),   cmocka_unit_test(test_streams),
	    cmocka_unit_test(test_prompt),  cmocka_unit_test(test_late),
	    cmocka_unit_test(test_hostile), cmocka_unit_test(test_crowd),
	    cmocka_unit_test(test_nobody),  cmocka_unit_test(test_silent_crowd),
	};
	int failed;

	if (!mkdtemp(dir))
		return 1;
	(void)snprintf(socket_path, sizeof socket_path, "%s/api.sock", dir);
	failed = cmocka_run_group_tests(tests, NULL, NULL);
	(void)rmdir(dir);
	return failed;
}
