/*
 * See client.h.
 *
 * One entry per attempt that is not over: what the daemon asked for and whether the supervisor has
 * confirmed it. On every connection the supervisor first tells all it knows (each attempt seen is
 * marked), then says "synced"; only then is the entry table compared with it: a start that was
 * not seen is sent (again), an expected attempt not seen is unknown, a confirmed one not seen is
 * lost. Between two connections nothing needs to be kept but the entries.
 *
 * Requests are gathered and written once per turn of the loop, so that a thousand starts are a few
 * writes, and reach the supervisor as a few batches with one fdatasync each.
 */
#include "run/client.h"

#include "run/idtable.h"
#include "run/protocol.h"
#include "util/paths.h"
#include "util/unixsock.h"

#include <errno.h>
#include <signal.h>
#include <string.h>

#define DELAY_FIRST_MS 50
#define DELAY_MAX_MS   2000
#define EVENT_LINE_MAX ((size_t)16 << 20)

struct entry {
	struct idtable_node node;
	char *attempt;
	char *line;     /* the start request; NULL: only expected, or confirmed */
	bool sent;      /* on some connection: the supervisor may have had it */
	bool confirmed; /* the supervisor had it */
	bool seen;      /* reported on this connection */
	int signal;     /* to be sent after the next sync; 0: none */
};

struct connection {
	uv_pipe_t pipe;
	struct supervisor_client *client; /* NULL: given up */
	struct text in;
	char chunk[65536];
};

struct supervisor_client {
	uv_loop_t *loop;
	char *socket_path, *runtime_dir, *state_dir, *program;
	struct supervisor_callbacks cb;
	struct idtable entries;
	struct connection *connection; /* NULL: none */
	uv_process_t *process;         /* the program being started */
	uv_timer_t timer;              /* next try */
	uv_prepare_t flush;
	struct text out;
	uint64_t delay_ms;
	unsigned handles; /* open handles of the client itself */
	bool connected, synced, troubled, closing, just_spawned;
	bool records_lost; /* said on this connection */
};

static void client_connect(struct supervisor_client *client);

static void entry_free(struct entry *entry)
{
	free(entry->attempt);
	free(entry->line);
	free(entry);
}

static struct entry *entry_find(struct supervisor_client *client, const char *attempt)
{
	struct idtable_node *node = idtable_find(&client->entries, attempt);

	return node ? IDTABLE_OF(node, struct entry, node) : NULL;
}

static struct entry *entry_get(struct supervisor_client *client, const char *attempt)
{
	struct entry *entry = entry_find(client, attempt);

	if (entry)
		return entry;
	entry = mem_calloc(1, sizeof *entry);
	entry->attempt = mem_strdup(attempt);
	entry->node.id = entry->attempt;
	idtable_add(&client->entries, &entry->node);
	return entry;
}

static void entry_remove(struct supervisor_client *client, struct entry *entry)
{
	idtable_remove(&client->entries, &entry->node);
	entry_free(entry);
}

/* The supervisor has it: the request need not be kept. */
static void entry_confirm(struct supervisor_client *client, const char *attempt)
{
	struct entry *entry = entry_get(client, attempt);

	entry->confirmed = entry->seen = true;
	free(TAKE(entry->line));
}

static void client_trouble(struct supervisor_client *client, const char *text)
{
	if (client->troubled || client->closing)
		return;
	client->troubled = true;
	if (client->cb.on_trouble)
		client->cb.on_trouble(client->cb.arg, text);
}

/* --- sending --- */

static void on_written(uv_write_t *req, int status)
{
	/* A failed write is followed by a failed read, which ends the connection. */
	(void)status;
	free(req->data);
	free(req);
}

static void on_flush(uv_prepare_t *handle)
{
	struct supervisor_client *client = handle->data;
	uv_write_t *req;
	uv_buf_t buf;

	(void)uv_prepare_stop(handle);
	if (!client->connected || client->out.len == 0)
		return;
	req = mem_calloc(1, sizeof *req);
	buf = uv_buf_init(NULL, (unsigned)client->out.len);
	buf.base = req->data = text_take(&client->out);
	if (uv_write(req, (uv_stream_t *)&client->connection->pipe, &buf, 1, on_written) < 0)
		on_written(req, -1);
}

static void client_send(struct supervisor_client *client, const char *line)
{
	text_add(&client->out, line);
	text_add(&client->out, "\n");
	(void)uv_prepare_start(&client->flush, on_flush);
}

static void client_send_json(struct supervisor_client *client, json_t *json)
{
	auto_free char *line = jsonx_dump(json);

	json_decref(json);
	client_send(client, line);
}

static void send_signal(struct supervisor_client *client, const char *attempt, int signal)
{
	client_send_json(client, json_pack("{s:s, s:s, s:i}", "op", "signal", "attempt", attempt,
					   "signal", signal));
}

/* --- the connection --- */

static void on_connection_closed(uv_handle_t *handle)
{
	struct connection *connection = handle->data;

	text_finish(&connection->in);
	free(connection);
}

static void connection_drop(struct supervisor_client *client)
{
	struct connection *connection = client->connection;

	client->connection = NULL;
	client->connected = client->synced = false;
	text_clear(&client->out);
	if (!connection)
		return;
	connection->client = NULL;
	uv_close((uv_handle_t *)&connection->pipe, on_connection_closed);
}

static void on_timer(uv_timer_t *timer)
{
	client_connect(timer->data);
}

static void client_retry(struct supervisor_client *client)
{
	if (client->closing)
		return;
	(void)uv_timer_start(&client->timer, on_timer, client->delay_ms, 0);
	client->delay_ms = MIN_OF(client->delay_ms * 2, DELAY_MAX_MS);
}

static void client_lost(struct supervisor_client *client, const char *text)
{
	connection_drop(client);
	client_trouble(client, text);
	client_retry(client);
}

static void sync_entry(struct supervisor_client *client, const char *attempt)
{
	struct entry *entry = entry_find(client, attempt);

	if (!entry)
		return;
	if (!entry->seen && entry->line && !(client->records_lost && entry->sent)) {
		client_send(client, entry->line);
		entry->sent = true;
	} else if (!entry->seen && (entry->confirmed || client->records_lost)) {
		struct supervisor_ended ended = {
		    .attempt = attempt, .how = SUPERVISOR_LOST, .may_run_on = true};

		entry_remove(client, entry);
		if (client->cb.on_ended)
			client->cb.on_ended(client->cb.arg, &ended);
		return;
	} else if (!entry->seen) {
		entry_remove(client, entry);
		if (client->cb.on_unknown)
			client->cb.on_unknown(client->cb.arg, attempt);
		return;
	}
	if (entry->signal != 0)
		send_signal(client, attempt, entry->signal);
	entry->signal = 0;
}

static void event_synced(struct supervisor_client *client, const json_t *event)
{
	auto_free struct idtable_node **list = idtable_list(&client->entries);
	auto_strings struct strings attempts = {};

	(void)event;
	/* Callbacks may add and remove entries: go by name. */
	for (struct idtable_node **node = list; *node; node++)
		strings_add(&attempts, (*node)->id);
	client->synced = true;
	client->troubled = false;
	client->delay_ms = DELAY_FIRST_MS;
	for (size_t i = 0; i < attempts.n && !client->closing && client->synced; i++)
		sync_entry(client, attempts.items[i]);
	if (!client->closing && client->synced && client->cb.on_synced)
		client->cb.on_synced(client->cb.arg);
}

static void event_hello(struct supervisor_client *client, const json_t *event)
{
	uint64_t version = jsonx_get_u64(event, "version", 0);
	auto_free struct idtable_node **list = idtable_list(&client->entries);

	for (struct idtable_node **node = list; *node; node++)
		IDTABLE_OF(*node, struct entry, node)->seen = false;
	client->records_lost = jsonx_get_bool(event, "records_lost", false);
	if (client->records_lost)
		client_trouble(client, "its records were damaged or taken away: what was running "
				       "and is not in them is lost, and may run on unwatched");
	if (version != PROTOCOL_VERSION)
		client_lost(client,
			    "the supervisor that is running speaks another version; it leaves "
			    "when its tasks have ended");
}

static void event_started(struct supervisor_client *client, const json_t *event)
{
	struct supervisor_started started = {
	    .attempt = jsonx_get_string(event, "attempt", ""),
	    .pid = (pid_t)jsonx_get_i64(event, "pid", 0),
	    .start_time = jsonx_get_u64(event, "start_time", 0),
	    .started_at = jsonx_get_i64(event, "started_at", 0),
	    .adopted = jsonx_get_bool(event, "adopted", false),
	    .bounds = jsonx_get_string(event, "bounds", NULL),
	};

	entry_confirm(client, started.attempt);
	if (client->cb.on_started)
		client->cb.on_started(client->cb.arg, &started);
}

static void entry_over(struct supervisor_client *client, const char *attempt)
{
	struct entry *entry = entry_find(client, attempt);

	if (entry)
		entry_remove(client, entry);
}

static void event_ended(struct supervisor_client *client, const json_t *event)
{
	struct supervisor_ended ended = {
	    .attempt = jsonx_get_string(event, "attempt", ""),
	    .how = SUPERVISOR_LOST,
	    .exit_code = (int)jsonx_get_i64(event, "exit_code", 0),
	    .signal = (int)jsonx_get_i64(event, "signal", 0),
	    .started_at = jsonx_get_i64(event, "started_at", 0),
	    .ended_at = jsonx_get_i64(event, "ended_at", 0),
	    .has_peak_ram = jsonx_has(event, "peak_ram_bytes"),
	    .has_cpu = jsonx_has(event, "cpu_seconds"),
	    .has_cgroup_peak = jsonx_has(event, "cgroup_peak_bytes"),
	    .cgroup_peak_bytes = jsonx_get_u64(event, "cgroup_peak_bytes", 0),
	    .peak_ram_bytes = jsonx_get_u64(event, "peak_ram_bytes", 0),
	    .cpu_seconds = jsonx_get_real(event, "cpu_seconds", 0),
	    .stragglers = (unsigned)jsonx_get_u64(event, "stragglers", 0),
	    .oom_kills = (unsigned)jsonx_get_u64(event, "oom_kills", 0),
	    .has_oom_kills = jsonx_has(event, "oom_kills"),
	};

	if (jsonx_has(event, "exit_code"))
		ended.how = SUPERVISOR_EXITED;
	else if (jsonx_has(event, "signal"))
		ended.how = SUPERVISOR_SIGNALED;
	entry_over(client, ended.attempt);
	if (client->cb.on_ended)
		client->cb.on_ended(client->cb.arg, &ended);
}

static void event_failed(struct supervisor_client *client, const json_t *event)
{
	int code = (int)jsonx_get_i64(event, "errno", EIO);
	struct supervisor_failed failed = {
	    .attempt = jsonx_get_string(event, "attempt", ""),
	    .code = code,
	    .text = jsonx_get_string(event, "text", "could not be started"),
	    .transient = jsonx_get_bool(event, "transient", protocol_is_transient(code)),
	    .as_task = jsonx_get_bool(event, "as_task", false),
	    .never_ran = jsonx_get_bool(event, "never_ran", false),
	};

	entry_over(client, failed.attempt);
	if (client->cb.on_failed)
		client->cb.on_failed(client->cb.arg, &failed);
}

static void event_usage(struct supervisor_client *client, const json_t *event)
{
	const json_t *item;
	size_t i;

	json_array_foreach (json_object_get(event, "attempts"), i, item) {
		struct supervisor_usage usage = {
		    .attempt = jsonx_get_string(item, "attempt", ""),
		    .ram_bytes = jsonx_get_u64(item, "ram_bytes", 0),
		    .cpu_seconds = jsonx_get_real(item, "cpu_seconds", 0),
		    .processes = (unsigned)jsonx_get_u64(item, "processes", 0),
		};

		if (client->cb.on_usage && !client->closing)
			client->cb.on_usage(client->cb.arg, &usage);
	}
}

/* The supervisor refused a request of ours. For a start it means: it will never run. */
static void event_error(struct supervisor_client *client, const json_t *event)
{
	const char *attempt = jsonx_get_string(event, "attempt", NULL);
	struct entry *entry = attempt ? entry_find(client, attempt) : NULL;

	if (!entry || entry->confirmed || !entry->line ||
	    strcmp(jsonx_get_string(event, "op", ""), "start") != 0)
		return;
	event_failed(client, event);
}

static const struct {
	const char *name;
	void (*handle)(struct supervisor_client *client, const json_t *event);
} events[] = {
    {"hello", event_hello}, {"synced", event_synced}, {"started", event_started},
    {"ended", event_ended}, {"failed", event_failed}, {"usage", event_usage},
    {"error", event_error},
};

static void client_event(struct supervisor_client *client, const char *line, size_t len)
{
	auto_json json_t *event = NULL;
	const char *name;

	if (jsonx_parse(line, len, "supervisor", &event, NULL) < 0) {
		client_lost(client, "the supervisor sent what is no JSON");
		return;
	}
	name = jsonx_get_string(event, "event", "");
	for (size_t i = 0; i < ARRAY_LEN(events); i++)
		if (strcmp(events[i].name, name) == 0)
			events[i].handle(client, event);
}

static void on_chunk_alloc(uv_handle_t *handle, size_t suggested, uv_buf_t *buf)
{
	struct connection *connection = handle->data;

	(void)suggested;
	*buf = uv_buf_init(connection->chunk, sizeof connection->chunk);
}

static void on_read(uv_stream_t *stream, ssize_t n, const uv_buf_t *buf)
{
	struct connection *connection = stream->data;
	struct text *in = &connection->in;
	size_t at = 0;
	char *end;

	if (n == 0 || !connection->client)
		return;
	if (n < 0) {
		client_lost(connection->client, "the supervisor has gone; starting it again");
		return;
	}
	text_add_bytes(in, buf->base, (size_t)n);
	/* A callback may end this connection: its memory stays until the loop's next turn. */
	while (connection->client && (end = memchr(in->data + at, '\n', in->len - at)) != NULL) {
		size_t len = (size_t)(end - (in->data + at));

		client_event(connection->client, in->data + at, len);
		at += len + 1;
	}
	if (!connection->client)
		return;
	memmove(in->data, in->data + at, in->len - at + 1);
	in->len -= at;
	if (in->len > EVENT_LINE_MAX)
		client_lost(connection->client, "the supervisor sent a line without an end");
}

/* --- starting the program --- */

static void on_process_closed(uv_handle_t *handle)
{
	free(handle);
}

/* It has put itself into the background and listens (status 0), or has said why not on standard
 * error. */
static void on_process_exit(uv_process_t *process, int64_t status, int signal)
{
	struct supervisor_client *client = process->data;

	uv_close((uv_handle_t *)process, on_process_closed);
	if (!client)
		return;
	client->process = NULL;
	if (status != 0 || signal != 0) {
		auto_free char *text = mem_printf(
		    "%s ended with status %d on start; its reason is in the daemon's log",
		    client->program, signal ? 128 + signal : (int)status);

		client_trouble(client, text);
		client_retry(client);
		return;
	}
	client->just_spawned = true;
	client_connect(client);
}

static void client_spawn(struct supervisor_client *client)
{
	const char *words[] = {client->program,     "--background", "--runtime-dir",
			       client->runtime_dir, "--state-dir",  client->state_dir};
	auto_strings struct strings args = {};
	uv_stdio_container_t stdio[3] = {
	    {.flags = UV_IGNORE},
	    {.flags = UV_IGNORE},
	    {.flags = UV_INHERIT_FD, .data.fd = 2},
	};
	uv_process_options_t options = {
	    .file = client->program,
	    .flags = UV_PROCESS_DETACHED,
	    .stdio = stdio,
	    .stdio_count = 3,
	    .exit_cb = on_process_exit,
	};
	uv_process_t *process = mem_calloc(1, sizeof *process);
	int r;

	for (size_t i = 0; i < ARRAY_LEN(words); i++)
		strings_add(&args, words[i]);
	options.args = args.items;
	process->data = client;
	r = uv_spawn(client->loop, process, &options);
	if (r < 0) {
		auto_free char *text =
		    mem_printf("cannot start %s: %s", client->program, uv_strerror(r));

		process->data = NULL;
		uv_close((uv_handle_t *)process, on_process_closed);
		client_trouble(client, text);
		client_retry(client);
		return;
	}
	client->process = process;
}

static void on_connected(uv_connect_t *req, int status)
{
	struct connection *connection = req->data;
	struct supervisor_client *client = connection->client;

	free(req);
	if (!client)
		return;
	if (status < 0) {
		bool nobody = status == UV_ENOENT || status == UV_ECONNREFUSED;

		connection_drop(client);
		if (nobody && !client->just_spawned) {
			client_spawn(client);
			return;
		}
		client->just_spawned = false;
		client_trouble(client, uv_strerror(status));
		client_retry(client);
		return;
	}
	client->just_spawned = false;
	client->connected = true;
	(void)uv_read_start((uv_stream_t *)&connection->pipe, on_chunk_alloc, on_read);
	client_send_json(client, json_pack("{s:s, s:i, s:b}", "op", "hello", "version",
					   PROTOCOL_VERSION, "usage", client->cb.on_usage != NULL));
}

static void client_connect(struct supervisor_client *client)
{
	struct error err;
	uv_connect_t *req;
	int r = unixsock_check_owner(client->socket_path, &err);

	if (r == -ENOENT && !client->just_spawned) {
		client_spawn(client);
		return;
	}
	client->just_spawned = client->just_spawned && r != -ENOENT;
	if (r < 0) {
		client_trouble(client, err.text);
		client_retry(client);
		return;
	}
	client->connection = mem_calloc(1, sizeof *client->connection);
	client->connection->client = client;
	(void)uv_pipe_init(client->loop, &client->connection->pipe, 0);
	client->connection->pipe.data = client->connection;
	req = mem_calloc(1, sizeof *req);
	req->data = client->connection;
	uv_pipe_connect(req, &client->connection->pipe, client->socket_path, on_connected);
}

/* --- the header's functions --- */

static void client_free(struct supervisor_client *client)
{
	auto_free struct idtable_node **list = idtable_list(&client->entries);

	for (struct idtable_node **node = list; *node; node++)
		entry_free(IDTABLE_OF(*node, struct entry, node));
	idtable_finish(&client->entries);
	text_finish(&client->out);
	free(client->socket_path);
	free(client->runtime_dir);
	free(client->state_dir);
	free(client->program);
	free(client);
}

int supervisor_client_create(uv_loop_t *loop, const struct supervisor_options *options,
			     struct supervisor_client **ret_client, struct error *err)
{
	auto_free char *program = options->program ? mem_strdup(options->program) : NULL;
	struct supervisor_client *client;
	int r = program ? 0 : paths_find_helper(SUPERVISOR_PROGRAM, &program, err);

	if (r < 0)
		return r;
	client = mem_calloc(1, sizeof *client);
	client->loop = loop;
	client->cb = options->callbacks;
	client->program = TAKE(program);
	client->runtime_dir =
	    options->runtime_dir ? mem_strdup(options->runtime_dir) : paths_runtime_dir();
	client->state_dir = options->state_dir ? mem_strdup(options->state_dir) : paths_state_dir();
	client->socket_path = mem_printf("%s/%s", client->runtime_dir, SUPERVISOR_SOCKET);
	client->delay_ms = DELAY_FIRST_MS;
	client->handles = 2;
	(void)uv_timer_init(loop, &client->timer);
	(void)uv_prepare_init(loop, &client->flush);
	client->timer.data = client->flush.data = client;
	(void)uv_timer_start(&client->timer, on_timer, 0, 0);
	*ret_client = client;
	return 0;
}

static void on_handle_closed(uv_handle_t *handle)
{
	struct supervisor_client *client = handle->data;

	if (--client->handles == 0)
		client_free(client);
}

void supervisor_client_destroy(struct supervisor_client *client)
{
	if (!client || client->closing)
		return;
	client->closing = true;
	connection_drop(client);
	if (client->process) {
		client->process->data = NULL;
		uv_close((uv_handle_t *)client->process, on_process_closed);
	}
	uv_close((uv_handle_t *)&client->timer, on_handle_closed);
	uv_close((uv_handle_t *)&client->flush, on_handle_closed);
}

int supervisor_client_start(struct supervisor_client *client, const struct supervisor_start *start,
			    struct error *err)
{
	auto_free char *line = NULL;
	struct entry *entry;
	int r = protocol_start_encode(start, &line, err);

	if (r < 0)
		return r;
	if (entry_find(client, start->attempt))
		return error_set(err, -EEXIST, "attempt %s was started already", start->attempt);
	entry = entry_get(client, start->attempt);
	entry->line = TAKE(line);
	entry->sent = client->synced;
	if (client->synced)
		client_send(client, entry->line);
	return 0;
}

void supervisor_client_expect(struct supervisor_client *client, const char *attempt)
{
	(void)entry_get(client, attempt);
}

void supervisor_client_signal(struct supervisor_client *client, const char *attempt, int signal)
{
	struct entry *entry = entry_find(client, attempt);

	if (!entry)
		return;
	if (client->synced)
		send_signal(client, attempt, signal);
	else if (entry->signal != SIGKILL)
		entry->signal = signal;
}

void supervisor_client_ack(struct supervisor_client *client, const char *attempt)
{
	/* Without a connection it is dropped: the end is reported again, and acknowledged then. */
	if (client->connected)
		client_send_json(client, json_pack("{s:s, s:s}", "op", "ack", "attempt", attempt));
}
