/*
 * Connections of the supervisor. Each has a buffer of what came in (at most one line of the largest
 * size) and one of what is to go out, written once per turn of the loop. Whatever a peer sends
 * costs at most its own connection; a peer that does not read is dropped when 16 MiB wait for it
 * (it learns all it missed when it says hello again).
 */
#include "run/supervisor.h"

#include "util/pidref.h"
#include "util/unixsock.h"

#include <errno.h>
#include <string.h>
#include <unistd.h>

#define OUT_MAX ((size_t)16 << 20)

struct conn {
	struct conn *next;
	struct supervisor *supervisor;
	uv_pipe_t pipe;
	struct text in, out;
	bool hello, usage, closing, last_words;
};

/* Shared by all connections: libuv fills and hands it over before it asks for the next. */
static char chunk[65536];

static void on_closed(uv_handle_t *handle)
{
	struct conn *conn = handle->data;

	text_finish(&conn->in);
	text_finish(&conn->out);
	free(conn);
}

static void conn_close(struct conn *conn)
{
	struct supervisor *supervisor = conn->supervisor;

	if (conn->closing)
		return;
	conn->closing = true;
	for (struct conn **at = &supervisor->conns; *at; at = &(*at)->next) {
		if (*at == conn) {
			*at = conn->next;
			break;
		}
	}
	supervisor->n_conns--;
	uv_close((uv_handle_t *)&conn->pipe, on_closed);
	supervisor_settle(supervisor);
}

/* --- out --- */

struct write_request {
	uv_write_t req;
	char *data;
};

static void on_written(uv_write_t *req, int status)
{
	struct write_request *request = (struct write_request *)req;
	struct conn *conn = req->handle->data;

	free(request->data);
	free(request);
	if (status < 0 || conn->last_words)
		conn_close(conn);
}

static void conn_write(struct conn *conn)
{
	struct write_request *request;
	uv_buf_t buf;

	if (conn->out.len == 0)
		return;
	if (conn->out.len + uv_stream_get_write_queue_size((uv_stream_t *)&conn->pipe) > OUT_MAX) {
		conn_close(conn);
		return;
	}
	request = mem_calloc(1, sizeof *request);
	buf = uv_buf_init(NULL, (unsigned)conn->out.len);
	buf.base = request->data = text_take(&conn->out);
	if (uv_write(&request->req, (uv_stream_t *)&conn->pipe, &buf, 1, on_written) < 0) {
		free(request->data);
		free(request);
		conn_close(conn);
	}
}

void conn_flush(struct supervisor *supervisor)
{
	for (struct conn *conn = supervisor->conns, *next; conn; conn = next) {
		next = conn->next;
		conn_write(conn);
	}
}

static void conn_send(struct conn *conn, json_t *event)
{
	auto_free char *line = jsonx_dump(event);

	json_decref(event);
	text_add(&conn->out, line);
	text_add(&conn->out, "\n");
}

void conn_broadcast(struct supervisor *supervisor, json_t *event)
{
	auto_free char *line = supervisor->conns ? jsonx_dump(event) : NULL;

	json_decref(event);
	for (struct conn *conn = supervisor->conns; conn; conn = conn->next) {
		if (!conn->hello)
			continue;
		text_add(&conn->out, line);
		text_add(&conn->out, "\n");
	}
}

bool conn_wants_usage(const struct supervisor *supervisor)
{
	for (const struct conn *conn = supervisor->conns; conn; conn = conn->next)
		if (conn->usage)
			return true;
	return false;
}

void conn_broadcast_usage(struct supervisor *supervisor, json_t *event)
{
	for (struct conn *conn = supervisor->conns; conn; conn = conn->next)
		if (conn->usage)
			conn_send(conn, json_incref(event));
	json_decref(event);
}

static void conn_error(struct conn *conn, const char *op, const char *attempt,
		       const struct error *err)
{
	conn_send(conn, json_pack("{s:s, s:s*, s:s*, s:i, s:o}", "event", "error", "op", op,
				  "attempt", attempt, "errno", -err->code, "text",
				  jsonx_string_if(error_text(err))));
}

/* --- in --- */

static void op_hello(struct conn *conn, struct protocol_request *request)
{
	struct supervisor *supervisor = conn->supervisor;
	auto_free struct idtable_node **list = idtable_list(&supervisor->attempts);
	uint64_t start_time = 0;

	if (pid_start_time(getpid(), &start_time) < 0)
		start_time = 0;
	conn->hello = true;
	conn->usage = request->wants_usage;
	conn_send(conn, json_pack("{s:s, s:i, s:i, s:o, s:b}", "event", "hello", "version",
				  PROTOCOL_VERSION, "pid", (int)getpid(), "start_time",
				  jsonx_u64(start_time), "records_lost", supervisor->records_lost));
	supervisor->records_lost = false;
	for (struct idtable_node **node = list; *node; node++) {
		json_t *event = attempt_event(IDTABLE_OF(*node, struct attempt, by_id));

		if (event)
			conn_send(conn, event);
	}
	conn_send(conn, json_pack("{s:s}", "event", "synced"));
}

static void op_start(struct conn *conn, struct protocol_request *request)
{
	auto_free char *id = mem_strdup(request->attempt);
	struct attempt *known = NULL;
	struct error err;
	json_t *event;

	if (supervisor_start(conn->supervisor, request, &known, &err) < 0) {
		conn_error(conn, "start", id, &err);
		return;
	}
	event = known ? attempt_event(known) : NULL;
	if (event)
		conn_send(conn, event);
}

static void op_signal(struct conn *conn, struct protocol_request *request)
{
	supervisor_signal(conn->supervisor, request->attempt, request->signal);
}

static void op_ack(struct conn *conn, struct protocol_request *request)
{
	supervisor_ack(conn->supervisor, request->attempt);
}

static void op_list(struct conn *conn, struct protocol_request *request)
{
	auto_free struct idtable_node **list = idtable_list(&conn->supervisor->attempts);
	json_t *attempts = json_array();

	(void)request;
	for (struct idtable_node **node = list; *node; node++)
		(void)json_array_append_new(
		    attempts, attempt_list_item(IDTABLE_OF(*node, struct attempt, by_id)));
	conn_send(conn, json_pack("{s:s, s:o}", "event", "list", "attempts", attempts));
}

static void op_quit(struct conn *conn, struct protocol_request *request)
{
	struct supervisor *supervisor = conn->supervisor;

	(void)request;
	supervisor->quitting = true;
	conn_send(conn, json_pack("{s:s, s:I}", "event", "quitting", "running",
				  (json_int_t)supervisor->n_live));
	supervisor_settle(supervisor);
}

static void (*const handlers[])(struct conn *conn, struct protocol_request *request) = {
    [PROTOCOL_HELLO] = op_hello, [PROTOCOL_START] = op_start, [PROTOCOL_SIGNAL] = op_signal,
    [PROTOCOL_ACK] = op_ack,     [PROTOCOL_LIST] = op_list,   [PROTOCOL_QUIT] = op_quit,
};

static void conn_line(struct conn *conn, const char *line, size_t len)
{
	CLEANUP(protocol_request_finish) struct protocol_request request = {};
	struct error err;

	if (protocol_request_parse(line, len, &request, &err) < 0)
		conn_error(conn, NULL, NULL, &err);
	else
		handlers[request.op](conn, &request);
}

static void on_alloc(uv_handle_t *handle, size_t suggested, uv_buf_t *buf)
{
	(void)handle;
	(void)suggested;
	*buf = uv_buf_init(chunk, sizeof chunk);
}

/* Say why and close once it is written. */
static void conn_refuse(struct conn *conn)
{
	struct error err;

	(void)error_set(&err, -EMSGSIZE, "a line longer than %zu bytes", PROTOCOL_LINE_MAX);
	(void)uv_read_stop((uv_stream_t *)&conn->pipe);
	conn_error(conn, NULL, NULL, &err);
	conn->last_words = true;
}

static void on_read(uv_stream_t *stream, ssize_t n, const uv_buf_t *buf)
{
	struct conn *conn = stream->data;
	struct text *in = &conn->in;
	size_t at = 0, searched = in->len;
	char *end;

	if (n == 0)
		return;
	if (n < 0) {
		conn_close(conn);
		return;
	}
	text_add_bytes(in, buf->base, (size_t)n);
	while (!conn->closing &&
	       (end = memchr(in->data + searched, '\n', in->len - searched)) != NULL) {
		size_t len = (size_t)(end - (in->data + at));

		if (len > PROTOCOL_LINE_MAX) {
			conn_refuse(conn);
			return;
		}
		conn_line(conn, in->data + at, len);
		at = searched = (size_t)(end - in->data) + 1;
	}
	if (conn->closing)
		return;
	memmove(in->data, in->data + at, in->len - at + 1);
	in->len -= at;
	if (in->len > PROTOCOL_LINE_MAX)
		conn_refuse(conn);
	/* A large request must not keep its memory for as long as the daemon lives. */
	if (in->len == 0)
		text_finish(in);
}

static void on_connection(uv_stream_t *listener, int status)
{
	struct supervisor *supervisor = listener->data;
	struct conn *conn;
	uv_os_fd_t fd;
	uid_t uid;
	pid_t pid;

	if (status < 0)
		return;
	conn = mem_calloc(1, sizeof *conn);
	conn->supervisor = supervisor;
	(void)uv_pipe_init(&supervisor->loop, &conn->pipe, 0);
	conn->pipe.data = conn;
	conn->next = supervisor->conns;
	supervisor->conns = conn;
	supervisor->n_conns++;
	if (uv_accept(listener, (uv_stream_t *)&conn->pipe) < 0 ||
	    supervisor->n_conns > SUPERVISOR_CONNECTIONS_MAX ||
	    uv_fileno((uv_handle_t *)&conn->pipe, &fd) < 0 || unixsock_peer(fd, &uid, &pid) < 0 ||
	    (uid != geteuid() && uid != 0) ||
	    uv_read_start((uv_stream_t *)&conn->pipe, on_alloc, on_read) < 0) {
		conn_close(conn);
		return;
	}
	supervisor_settle(supervisor);
}

int conn_listen(struct supervisor *supervisor, int listen_fd, struct error *err)
{
	int r = uv_pipe_init(&supervisor->loop, &supervisor->listener, 0);

	if (r == 0)
		r = uv_pipe_open(&supervisor->listener, listen_fd);
	supervisor->listener.data = supervisor;
	if (r == 0)
		r = uv_listen((uv_stream_t *)&supervisor->listener, 64, on_connection);
	return r < 0 ? error_sys(err, r, "cannot listen for the daemon") : 0;
}

void conn_close_all(struct supervisor *supervisor)
{
	while (supervisor->conns)
		conn_close(supervisor->conns);
}
