/*
 * container/ beside a server that is a proper engine, or hangs, trickles, never ends, or talks
 * nonsense: each costs its deadline at most and ends in an error that names the socket.
 */
#include "container/container.h"
#include "container/names.h"

#include "util/timestamp.h"
#include "util/unixsock.h"

#include "folder.h"
#include "unit.h"

#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define DEADLINE_MS 300
#define SLACK_MS    3000 /* a busy machine */
#define ID_A        "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"
#define ID_B        "bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb"

static const char version[] = "{\"Version\": \"20.10.24\", \"ApiVersion\": \"1.41\", "
			      "\"Components\": [{\"Name\": \"Engine\"}]}";

enum manner {
	PODMAN,
	PROPER,
	SILENT,
	TRICKLE,
	ENDLESS_BODY,
	ENDLESS_HEADERS,
	NONSENSE,
	CLOSES,
	NO_JSON,
	REFUSES,
	DEEP,
	GONE_BETWEEN
};

struct server {
	void *dir;
	char *path;
	int fd;
	pthread_t thread;
	_Atomic(enum manner) manner;
	_Atomic(int) ended;
	char last[512]; /* the last request line; read after an answer only */
};

static bool say(int fd, const char *text)
{
	return send(fd, text, strlen(text), MSG_NOSIGNAL) == (ssize_t)strlen(text);
}

static void answer(int fd, int status, const char *body)
{
	auto_free char *text = mem_printf("HTTP/1.1 %d X\r\nContent-Length: %zu\r\n"
					  "Content-Type: application/json\r\n\r\n%s",
					  status, strlen(body), body);

	(void)say(fd, text);
}

static void be_proper(struct server *server, int fd, const char *request)
{
	static const char *const list =
	    "[{\"Id\": \"" ID_A "\", \"Names\": [\"/p_a_1\"], \"State\": \"running\", \"Labels\":"
	    " {\"com.docker.compose.project\": \"p\", \"com.docker.compose.service\": \"a\"}},"
	    " {\"Id\": \"" ID_B "\", \"Names\": [\"/p_b_1\"], \"State\": \"exited\"}]";

	if (server->manner == PODMAN && strncmp(request, "GET /_ping ", 11) == 0)
		(void)say(fd,
			  "HTTP/1.1 200 OK\r\nServer: Libpod/4.3.1 (linux)\r\nLibpod-API-Version:"
			  " 4.3.1\r\nContent-Length: 2\r\n\r\nOK");
	else if (strncmp(request, "GET /version ", 13) == 0)
		answer(fd, 200, version);
	else if (strncmp(request, "GET /containers/json?", 21) == 0)
		answer(fd, 200, list);
	else if (strstr(request, "/" ID_A "/json"))
		answer(fd, 200,
		       "{\"Id\": \"" ID_A "\", \"Name\": \"/p_a_1\", \"State\":"
		       " {\"Running\": true, \"Pid\": 42}}");
	else if (strstr(request, "/" ID_B "/json") && server->manner == GONE_BETWEEN)
		answer(fd, 404, "{\"message\": \"No such container: b\"}");
	else if (strstr(request, "/" ID_B "/json"))
		answer(fd, 200,
		       "{\"Id\": \"" ID_B "\", \"Name\": \"/p_b_1\", \"State\":"
		       " {\"Running\": false, \"ExitCode\": 3}}");
	else if (strstr(request, "/logs?"))
		answer(fd, 200, "last words\n");
	else if (strncmp(request, "POST ", 5) == 0)
		answer(fd, 304, "");
	else if (strncmp(request, "DELETE ", 7) == 0)
		answer(fd, strstr(request, ID_A) ? 204 : 404, "");
	else
		answer(fd, 500, "{\"message\": \"what?\"}");
}

static void misbehave(struct server *server, int fd)
{
	enum manner manner = server->manner;
	static char chunk[65536];
	struct pollfd gone = {.fd = fd, .events = POLLIN};

	memset(chunk, ' ', sizeof chunk - 1);
	if (manner == NONSENSE)
		(void)say(fd, "SSH-2.0-OpenSSH_9.2\r\n");
	else if (manner == NO_JSON)
		answer(fd, 200, "<html>");
	else if (manner == REFUSES)
		answer(fd, 500, "{\"message\": \"the disk is full\"}");
	else if (manner == SILENT)
		(void)poll(&gone, 1, 10 * SLACK_MS);
	else if (manner == TRICKLE || manner == ENDLESS_BODY || manner == DEEP)
		(void)say(fd, "HTTP/1.1 200 OK\r\n\r\n[");
	else if (manner == ENDLESS_HEADERS)
		(void)say(fd, "HTTP/1.1 200 OK\r\nX: ");
	if (manner == DEEP)
		memset(chunk, '[', sizeof chunk - 1);
	if (manner == DEEP)
		(void)say(fd, chunk);
	while (manner == TRICKLE && poll(&gone, 1, 20) == 0 && say(fd, " "))
		;
	if (manner == ENDLESS_HEADERS)
		memcpy(chunk + 1000, "\r\nX: ", 5);
	while ((manner == ENDLESS_BODY || manner == ENDLESS_HEADERS) && say(fd, chunk))
		;
}

static void *serve(void *arg)
{
	struct server *server = arg;
	struct pollfd ready = {.fd = server->fd, .events = POLLIN};

	while (!server->ended) {
		char request[4096] = "";
		ssize_t n = 0;
		int fd = poll(&ready, 1, 50) > 0 ? accept(server->fd, NULL, NULL) : -1;

		/* curl keeps its connection for the next request */
		while (fd >= 0 && (n = recv(fd, request, sizeof request - 1, 0)) > 0) {
			request[n] = '\0';
			(void)snprintf(server->last, sizeof server->last, "%.*s",
				       (int)strcspn(request, "\r"), request);
			if (server->manner == PROPER || server->manner == PODMAN ||
			    server->manner == GONE_BETWEEN) {
				be_proper(server, fd, request);
				continue;
			}
			misbehave(server, fd);
			break;
		}
		(void)fd_close(fd);
	}
	return NULL;
}

static int setup(void **state)
{
	struct server *server = mem_calloc(1, sizeof *server);

	assert_int_equal(folder_create(&server->dir), 0);
	server->path = mem_printf("%s/e.sock", (char *)server->dir);
	assert_int_equal(unixsock_listen(server->path, 8, &server->fd, NULL), 0);
	assert_int_equal(pthread_create(&server->thread, NULL, serve, server), 0);
	*state = server;
	return 0;
}

static int teardown(void **state)
{
	struct server *server = *state;

	server->ended = 1;
	(void)pthread_join(server->thread, NULL);
	(void)fd_close(server->fd);
	(void)folder_destroy(&server->dir);
	free(server->path);
	free(server);
	return 0;
}

static void a_proper_engine(void **state)
{
	struct server *server = *state;
	auto_containers struct containers list = {}, names = {};
	auto_container_engine struct container_engine *engine = NULL;
	auto_text struct text logs = {};
	struct error err = {};

	server->manner = PROPER;
	assert_int_equal(container_engine_open(server->path, SLACK_MS, &engine, &err), 0);
	assert_int_equal(container_engine_kind(engine), CONTAINER_DOCKER);
	assert_string_equal(container_engine_socket(engine), server->path);
	assert_int_equal(container_engine_list(engine, "p", &list, &err), 0);
	assert_int_equal(list.n, 2);
	assert_int_equal(list.items[0].pid, 42);
	assert_int_equal(list.items[1].exit_code, 3);
	assert_int_equal(container_engine_list_names(engine, "p=\"x", &names, &err), 0);
	assert_int_equal(names.n, 2);
	assert_string_equal(names.items[0].service, "a");
	assert_string_equal(server->last,
			    "GET /containers/json?all=1&filters=%7B%22label%22%3A%5B%22com.docker."
			    "compose.project%3Dp%3D%5C%22x%22%5D%7D HTTP/1.1");
	assert_int_equal(container_engine_logs(engine, ID_A, 5, &logs, &err), 0);
	assert_string_equal(logs.data, "last words\n");
	assert_int_equal(container_engine_remove(engine, ID_A, 1, &err), 0);
	assert_int_equal(container_engine_remove(engine, ID_B, 1, &err), 0); /* gone already */
}

static void podman_is_known_by_its_headers(void **state)
{
	struct server *server = *state;
	auto_containers struct containers list = {};
	auto_container_engine struct container_engine *engine = NULL;
	struct error err = {};

	server->manner = PODMAN;
	assert_int_equal(container_engine_open(server->path, SLACK_MS, &engine, &err), 0);
	assert_int_equal(container_engine_kind(engine), CONTAINER_PODMAN);
	assert_string_equal(server->last, "GET /_ping HTTP/1.1");
	/* its own path, where the command with its CDI names is */
	assert_int_equal(container_engine_list(engine, "p", &list, &err), 0);
	assert_string_equal(server->last, "GET /v4.3.1/libpod/containers/" ID_B "/json HTTP/1.1");
}

static void what_goes_away_between_is_left_out(void **state)
{
	struct server *server = *state;
	auto_containers struct containers list = {};
	auto_container_engine struct container_engine *engine = NULL;
	struct error err = {};

	server->manner = GONE_BETWEEN;
	assert_int_equal(container_engine_open(server->path, SLACK_MS, &engine, &err), 0);
	assert_int_equal(container_engine_list(engine, NULL, &list, &err), 0);
	assert_int_equal(list.n, 1);
}

static void a_bad_engine_costs_its_deadline(void **state)
{
	static const struct {
		enum manner manner;
		int code;
		const char *told;
	} cases[] = {
	    {SILENT, -ETIMEDOUT, "does not answer in time"},
	    {TRICKLE, -ETIMEDOUT, "does not answer in time"},
	    {ENDLESS_BODY, -EMSGSIZE, "more than 8192 KiB"},
	    {ENDLESS_HEADERS, -EMSGSIZE, "answers with more than"},
	    {NONSENSE, -EPROTO, "does not answer properly"},
	    {CLOSES, -EPROTO, "does not answer properly"},
	    {NO_JSON, -EPROTO, "does not answer with JSON"},
	    {DEEP, -EPROTO, "does not answer with JSON"},
	    {REFUSES, -EPROTO, "the disk is full"},
	};
	struct server *server = *state;

	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		int64_t began_ms = monotonic_now_ms();
		struct container_engine *engine = NULL;
		struct error err = {};
		int r;

		server->manner = cases[i].manner;
		/* The endless ones are to end by their size, however slow the machine. */
		r = container_engine_open(server->path,
					  cases[i].code == -ETIMEDOUT ? DEADLINE_MS : 10 * SLACK_MS,
					  &engine, &err);
		if (r != cases[i].code || !strstr(err.text, cases[i].told) ||
		    !strstr(err.text, server->path))
			fail_msg("manner %d: %d %s", cases[i].manner, r, err.text);
		if (cases[i].code == -ETIMEDOUT)
			assert_true(monotonic_now_ms() - began_ms < DEADLINE_MS + SLACK_MS);
	}
}

static void one_that_hangs_later(void **state)
{
	struct server *server = *state;
	auto_containers struct containers list = {};
	auto_container_engine struct container_engine *engine = NULL;
	struct error err = {};
	int64_t began_ms;

	server->manner = PROPER;
	assert_int_equal(container_engine_open(server->path, SLACK_MS, &engine, &err), 0);
	server->manner = SILENT;
	container_engine_set_deadline(engine, DEADLINE_MS);
	began_ms = monotonic_now_ms();
	assert_int_equal(container_engine_list(engine, "p", &list, &err), -ETIMEDOUT);
	assert_true(monotonic_now_ms() - began_ms < DEADLINE_MS + SLACK_MS);
	assert_int_equal(list.n, 0);
}

static void where_it_is_looked_for(void **state)
{
	struct server *server = *state;
	auto_free char *url = mem_printf("unix://%s", server->path);
	auto_free char *gone = mem_printf("unix://%s/none.sock", (char *)server->dir);
	struct container_engine *engines[2] = {}, *engine = NULL;
	struct error err = {};

	server->manner = PROPER;
	(void)unsetenv("CONTAINER_HOST");
	(void)setenv("DOCKER_HOST", url, 1);
	assert_int_equal(container_engine_open(NULL, SLACK_MS, &engine, &err), 0);
	container_engine_close(engine);
	assert_int_equal(container_engine_open_project("p", SLACK_MS, &engine, &err), 0);
	container_engine_close(engine);
	(void)setenv("CONTAINER_HOST", url, 1);
	assert_int_equal(container_engine_open_all(SLACK_MS, engines, 2), 1);
	container_engine_close(engines[0]);
	(void)setenv("DOCKER_HOST", gone, 1);
	assert_int_equal(container_engine_open_all(SLACK_MS, engines, 2), 1);
	container_engine_close(engines[0]);
	(void)setenv("CONTAINER_HOST", gone, 1);
	assert_int_equal(container_engine_open(NULL, SLACK_MS, &engine, &err), -ENOENT);
	assert_non_null(strstr(err.text, "none.sock"));
	assert_int_equal(container_engine_open_project("p", SLACK_MS, &engine, &err), -ENOENT);
	(void)setenv("DOCKER_HOST", "tcp://10.0.0.1:2375", 1);
	assert_int_equal(container_engine_open(NULL, SLACK_MS, &engine, &err), -ENOTSUP);
	assert_non_null(strstr(err.text, "DOCKER_HOST is tcp://10.0.0.1:2375"));
}

static void names_of_all_containers(void **state)
{
	struct server *server = *state;
	auto_free char *url = mem_printf("unix://%s", server->path);
	auto_container_names struct container_names *names = NULL, *none = NULL;
	int64_t began_ms;

	(void)unsetenv("CONTAINER_HOST");
	(void)setenv("DOCKER_HOST", url, 1);
	server->manner = PROPER;
	names = container_names_load(SLACK_MS);
	assert_int_equal(container_names_count(names), 2);
	assert_string_equal(container_names_find(names, ID_A), "p/a");
	assert_string_equal(container_names_find(names, ID_B), "p_b_1"); /* no compose program's */
	assert_null(container_names_find(names, "cc"));
	assert_null(container_names_find(NULL, ID_A));
	server->manner = SILENT;
	began_ms = monotonic_now_ms();
	none = container_names_load(DEADLINE_MS);
	assert_int_equal(container_names_count(none), 0);
	assert_true(monotonic_now_ms() - began_ms < DEADLINE_MS + SLACK_MS);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test_setup_teardown(a_proper_engine, setup, teardown),
	    cmocka_unit_test_setup_teardown(podman_is_known_by_its_headers, setup, teardown),
	    cmocka_unit_test_setup_teardown(what_goes_away_between_is_left_out, setup, teardown),
	    cmocka_unit_test_setup_teardown(a_bad_engine_costs_its_deadline, setup, teardown),
	    cmocka_unit_test_setup_teardown(one_that_hangs_later, setup, teardown),
	    cmocka_unit_test_setup_teardown(names_of_all_containers, setup, teardown),
	    cmocka_unit_test_setup_teardown(where_it_is_looked_for, setup, teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
