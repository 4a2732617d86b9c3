/*
 * libmicrohttpd runs in its external-epoll mode: it keeps an epoll set of its own, whose descriptor
 * the loop polls; after every turn its next timeout goes into a timer. So nothing here runs outside
 * the loop and there are no threads.
 *
 * A request that cannot be answered yet, and a stream with nothing to send, are *suspended*:
 * microhttpd takes them out of its set and does not look at their socket, so a client that leaves
 * meanwhile is noticed by the sweep, once a second, while there are connections at all. The same
 * sweep ends connections whose request does not arrive whole in time, which microhttpd's own
 * inactivity timeout would let trickle in for ever.
 *
 * When API_CONNECTIONS_MAX are open, the next one takes the place of the one that has been waited
 * for longest: half a request, or none. So a crowd that says nothing keeps nobody out, and only
 * connections that are being answered are a limit.
 *
 * While tasks run, requests have a small share of the loop (pace.h). Beyond it a request waits,
 * suspended, until there is credit: first that of the connection that has cost least, so that a
 * flood delays itself and hardly others. In deep debt (a flood of connections, of bytes) the
 * sockets are not looked at for a while. A large body that was refused shuts the door for large
 * ones for a while: nothing smaller would make up for the time it took. Requests that stay (event
 * streams) may have three quarters of the places.
 *
 * Order of ends: microhttpd calls request_completed() exactly once for each request it announced;
 * that is where a request is freed, and nowhere else.
 */
#include "api/server_priv.h"

#include "util/text.h"
#include "util/timestamp.h"
#include "util/unixsock.h"

#include <errno.h>
#include <fcntl.h>
#include <microhttpd.h>
#include <poll.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#define ARRIVAL_MS           30000 /* for a request to arrive whole */
#define PROGRESS_SECONDS     60u   /* without a byte taken while an answer is sent */
#define SWEEP_MS             1000
#define BODY_THROWN_AWAY_MAX (2 * API_BODY_MAX)
#define CONNECTIONS_SPARE    8  /* beyond the limit: told so, or being closed */
#define FDS_FOR_OTHERS       32 /* the store, the supervisor, the sampler, logs being read ... */
#define CONNECTIONS_MIN      4
#define REST_ABOVE_MS        100               /* of debt */
#define BODY_BEARABLE_MAX    ((size_t)4 << 20) /* read and thrown away */
/* A request or answer above this leaves several times as much behind in freed pieces of JSON. */
#define BODY_LARGE             ((size_t)1 << 20)
#define BODY_REFUSED_US(bytes) ((int64_t)(bytes) / 100) /* 100 MB/s: read, copied, parsed */
#define DOOR_SHUT_MAX_MS       20000

static void on_timer(uv_timer_t *timer);

/* microhttpd looks at a resumed connection when it runs next. Inside a run its end sees to that;
 * outside of one nothing else would before the last timeout known, so a run is had at once. */
void server_wake(struct api_server *server)
{
	if (!server->running && !server->ending && !server->resting && server->n_handles > 0)
		(void)uv_timer_start(&server->timer, on_timer, 0, 0);
}

/* A request's way in. */

struct query_check {
	const char *known;
	char unknown[65];
};

static bool word_in(const char *words, const char *word)
{
	size_t len = strlen(word);

	for (const char *at = words; at && *at; at += strspn(at, " ")) {
		size_t n = strcspn(at, " ");

		if (n == len && memcmp(at, word, n) == 0)
			return true;
		at += n;
	}
	return false;
}

static enum MHD_Result query_check_one(void *cls, enum MHD_ValueKind kind, const char *key,
				       const char *value)
{
	struct query_check *check = cls;

	(void)kind;
	(void)value;
	if (word_in(check->known, key))
		return MHD_YES;
	(void)snprintf(check->unknown, sizeof check->unknown, "%s", key);
	return MHD_NO;
}

static int query_check(struct api_request *request, struct error *err)
{
	struct query_check check = {.known = request->route->query};

	(void)MHD_get_connection_values(request->connection->mhd, MHD_GET_ARGUMENT_KIND,
					query_check_one, &check);
	if (check.unknown[0])
		return error_set(err, -EINVAL, "unknown query parameter \"%s\" (known: %s)",
				 check.unknown, check.known ? check.known : "none");
	return 0;
}

static int peer_admit(const struct api_request *request, const char *path, struct error *err)
{
	const struct api_server_options *options = &request->server->options;
	const struct api_peer *peer = &request->connection->peer;
	const struct api_route *route = request->route;

	if (peer->role < route->role)
		return error_set(err, -EPERM, "%s %.200s is for root and the daemon's own user",
				 route->method, path);
	if (peer->role == API_ROLE_ADMIN || route->scope == API_OPEN)
		return 0;
	if (!options->admit)
		return error_set(err, -EPERM, "%s %.200s is not yours to ask", route->method, path);
	return options->admit(options->data, peer, route, request->id, err);
}

/* What stands in the place of {name}, which only fixed text comes before. */
static void name_take(struct api_request *request, const char *path)
{
	const char *at = strstr(request->route->path, "{name}");

	if (at)
		request->name = mem_strdup(path + (at - request->route->path));
}

/* All that can be said before the body has arrived. */
static int request_admit(struct api_request *request, const char *method, const char *path,
			 struct error *err)
{
	struct connection *connection = request->connection;
	const char *length = MHD_lookup_connection_value(connection->mhd, MHD_HEADER_KIND,
							 MHD_HTTP_HEADER_CONTENT_LENGTH);
	unsigned long long bytes = 0;
	int r;

	if (connection->over_limit)
		return error_set(err, -EUSERS, "%zu connections are open already",
				 connection->server->max_connections);
	if (connection->over_share)
		return error_set(err, -EUSERS, "user %u has %d connections open already",
				 (unsigned)connection->peer.uid, API_CONNECTIONS_PER_USER);
	if (connection->peer.role == API_ROLE_NONE)
		return error_set(err, -EPERM,
				 "this daemon answers user %u and root only; start one of your own",
				 (unsigned)geteuid());
	r = api_route_find(request->server->options.routes, request->server->options.n_routes,
			   method, path, &request->route, &request->id);
	if (r == -ENOTSUP)
		return error_set(err, r, "%s does not know %.16s", path, method);
	if (r < 0)
		return error_set(err, r, "no such thing: %.200s", path);
	r = peer_admit(request, path, err);
	if (r < 0)
		return r;
	name_take(request, path);
	if (length &&
	    (!text_to_u64(length, 0, UINT64_MAX, &bytes) || bytes > request->route->body_max))
		return error_set(err, -EMSGSIZE, "the body has %s bytes, %s takes at most %zu",
				 length, path, request->route->body_max);
	if (length && bytes >= BODY_LARGE && monotonic_now_ms() < request->server->large_from_ms)
		return error_set(err, -EUSERS,
				 "a large request was wrong and took long: none before %d s have "
				 "passed, tasks are running",
				 DOOR_SHUT_MAX_MS / 1000);
	return query_check(request, err);
}

static int request_parse(struct api_request *request, struct error *err)
{
	int r;

	if (request->body_bytes > request->route->body_max)
		return error_set(err, -EMSGSIZE, "the body is larger than %zu bytes",
				 request->route->body_max);
	if (request->body.len == 0)
		return 0;
	r = jsonx_parse(request->body.data, request->body.len, "body", &request->json, err);
	text_finish(&request->body);
	if (r == 0 && !json_is_object(request->json))
		r = error_set(err, -EBADMSG, "the body is not a JSON object");
	return r;
}

static enum MHD_Result request_queue(struct api_request *request)
{
	enum MHD_Result r;

	if (request->queued)
		return MHD_YES;
	request->queued = true;
	r = MHD_queue_response(request->connection->mhd, request->status, request->response);
	return r;
}

/* Pace. */

static int64_t clock_us(clockid_t clock)
{
	struct timespec ts;

	(void)clock_gettime(clock, &ts);
	return (int64_t)ts.tv_sec * 1000000 + ts.tv_nsec / 1000;
}

static bool server_is_busy(const struct api_server *server)
{
	return server->options.is_busy && server->options.is_busy(server->options.data);
}

static void on_pacer(uv_timer_t *timer);

/* True: the request was put aside until there is credit. */
static bool request_pace(struct api_request *request)
{
	struct api_server *server = request->server;
	uint64_t wait_ms;

	if (request->its_turn || !server_is_busy(server))
		return false;
	wait_ms = pace_wait_ms(&server->pace, clock_us(CLOCK_MONOTONIC));
	if (wait_ms == 0)
		return false;
	request->paced = request->suspended = true;
	request->connection->quiet_since_ms = 0;
	MHD_suspend_connection(request->connection->mhd);
	if (!uv_is_active((uv_handle_t *)&server->pacer))
		(void)uv_timer_start(&server->pacer, on_pacer, wait_ms, 0);
	return true;
}

static struct api_request *request_next_paced(const struct api_server *server)
{
	struct connection *found = NULL;

	/* The list is newest first: among equals the oldest. */
	for (struct connection *c = server->connections; c; c = c->next)
		if (c->request && c->request->paced && (!found || c->used_us <= found->used_us))
			found = c;
	return found ? found->request : NULL;
}

/* No more places for requests that stay? */
static int request_settle(struct api_request *request, struct error *err)
{
	struct api_server *server = request->server;

	if (!request->route->lasts)
		return 0;
	if (server->n_lasting >= server->max_connections * API_LASTING_MAX_PERCENT / 100)
		return error_set(err, -EUSERS,
				 "%u streams and waiting requests are open already: close some",
				 server->n_lasting);
	server->n_lasting++;
	request->lasting = true;
	return 0;
}

/* A large body came to nothing: what it cost is not to be had again soon. */
static void large_body_refused(struct api_request *request)
{
	struct api_server *server = request->server;
	int64_t shut_ms = BODY_REFUSED_US(request->body_bytes) / 1000 * 100 / PACE_SHARE_PERCENT;

	if (request->body_bytes >= BODY_LARGE && server_is_busy(server))
		server->large_from_ms = monotonic_now_ms() + MIN_OF(shut_ms, DOOR_SHUT_MAX_MS);
}

static enum MHD_Result request_handle(struct api_request *request)
{
	struct connection *connection = request->connection;
	int64_t began_us = clock_us(CLOCK_THREAD_CPUTIME_ID);
	struct error err = {};
	int r;

	connection->quiet_since_ms = 0;
	connection->had_request = true;
	r = request_parse(request, &err);
	/* Once more: the body may have taken its time, and what {id} names may have gone with a
	 * commit that failed, and its number to somebody else. */
	if (r == 0)
		r = peer_admit(request, request->route->path, &err);
	if (r == 0)
		r = request_settle(request, &err);
	request->state = REQUEST_WAITING;
	if (r < 0)
		api_reply_error(request, r, &err);
	else
		request->route->handle(request->server->options.data, request);
	/* What changed something is answered by the turn that stores it: this was the queue's work.
	 */
	if (request->state == REQUEST_WAITING && !request->route->lasts)
		request->server->useful++;
	else
		request->server->others++;
	if (request->state == REQUEST_REPLIED && request->status >= 400)
		large_body_refused(request);
	connection->used_us += clock_us(CLOCK_THREAD_CPUTIME_ID) - began_us;
	if (request->state == REQUEST_WAITING) {
		request->suspended = true;
		MHD_suspend_connection(request->connection->mhd);
		return MHD_YES;
	}
	return request_queue(request);
}

static bool body_is_bearable(struct MHD_Connection *mhd)
{
	const char *length =
	    MHD_lookup_connection_value(mhd, MHD_HEADER_KIND, MHD_HTTP_HEADER_CONTENT_LENGTH);
	unsigned long long bytes;

	return length && text_to_u64(length, 1, BODY_BEARABLE_MAX, &bytes);
}

/* All that a user is sending now is in memory. */
static int body_share_check(const struct api_request *request, struct error *err)
{
	const struct api_peer *peer = &request->connection->peer;
	size_t bytes = 0;

	if (peer->role == API_ROLE_ADMIN || request->body.len <= API_BODY_SMALL)
		return 0;
	for (const struct connection *c = request->server->connections; c; c = c->next)
		bytes += c->request && c->peer.uid == peer->uid ? c->request->body.len : 0;
	if (bytes > API_BODIES_PER_USER)
		return error_set(err, -EUSERS, "user %u sends more than %zu MiB at once",
				 (unsigned)peer->uid, API_BODIES_PER_USER >> 20);
	return 0;
}

static void body_add(struct api_request *request, const char *bytes, size_t len)
{
	struct error err = {};
	int r;

	if (request->state != REQUEST_ARRIVING || request->body_bytes > request->route->body_max)
		return;
	text_add_bytes(&request->body, bytes, len);
	r = body_share_check(request, &err);
	if (r < 0) {
		text_finish(&request->body);
		api_reply_error(request, r, &err);
	}
}

static enum MHD_Result on_request(void *cls, struct MHD_Connection *mhd, const char *url,
				  const char *method, const char *version, const char *upload,
				  size_t *upload_size, void **request_cls)
{
	struct connection *connection =
	    MHD_get_connection_info(mhd, MHD_CONNECTION_INFO_SOCKET_CONTEXT)->socket_context;
	struct api_request *request = *request_cls;
	struct error err = {};
	int r;

	(void)cls;
	(void)version;
	if (!request) {
		request = mem_calloc(1, sizeof *request);
		*request =
		    (struct api_request){.server = connection->server, .connection = connection};
		*request_cls = connection->request = request;
		r = request_admit(request, method, url, &err);
		if (r == 0)
			return MHD_YES;
		api_reply_error(request, r, &err);
		/* Who is answered in the middle of sending sees a broken pipe, not the answer: what
		 * is not too long is read and thrown away first. */
		return body_is_bearable(mhd) ? MHD_YES : request_queue(request);
	}
	if (*upload_size > 0) {
		request->body_bytes += *upload_size;
		if (request->body_bytes > BODY_THROWN_AWAY_MAX)
			return MHD_NO;
		body_add(request, upload, *upload_size);
		*upload_size = 0;
		return MHD_YES;
	}
	if (request->state == REQUEST_ARRIVING)
		return request_pace(request) ? MHD_YES : request_handle(request);
	if (request->state == REQUEST_CUT && !request->queued)
		return MHD_NO;
	return request_queue(request);
}

static void on_request_completed(void *cls, struct MHD_Connection *mhd, void **request_cls,
				 enum MHD_RequestTerminationCode code)
{
	struct api_request *request = *request_cls;
	bool was_large;

	(void)cls;
	(void)mhd;
	(void)code;
	if (!request)
		return;
	was_large = request->body_bytes + request->reply_bytes > BODY_LARGE;
	request->suspended = request->paced = false;
	request->server->n_lasting -= request->lasting;
	/* The handler has it still: in WAITING and STREAMING, or when it was cut from those. */
	if (request->state == REQUEST_WAITING || request->state == REQUEST_STREAMING ||
	    request->state == REQUEST_CUT) {
		request->state = REQUEST_CUT;
		if (request->on_gone)
			request->on_gone(request->gone_data, request);
	}
	if (request->response)
		MHD_destroy_response(request->response);
	request->connection->request = NULL;
	request->connection->quiet_since_ms = monotonic_now_ms();
	json_decref(request->json);
	free(request->name);
	text_finish(&request->body);
	text_finish(&request->out);
	free(request);
	*request_cls = NULL;
	if (was_large)
		mem_give_back();
}

/* Connections. */

static struct api_peer peer_identify(const struct api_server *server, int fd)
{
	struct api_peer peer = {};

	if (unixsock_peer_all(fd, &peer.uid, &peer.gid, &peer.pid) < 0)
		return (struct api_peer){.uid = (uid_t)-1, .gid = (gid_t)-1};
	if (peer.uid == geteuid() || peer.uid == 0)
		peer.role = API_ROLE_ADMIN;
	else if (server->options.for_all && peer.uid != (uid_t)-1)
		peer.role = API_ROLE_OPERATE;
	return peer;
}

/* One user cannot keep the others out. */
static bool share_is_used_up(const struct api_server *server, const struct api_peer *peer)
{
	unsigned n = 0;

	if (peer->role == API_ROLE_ADMIN)
		return false;
	for (const struct connection *c = server->connections; c; c = c->next)
		n += c->peer.uid == peer->uid && !c->closing;
	return n >= API_CONNECTIONS_PER_USER;
}

/* Who gives way: first who is one too many of his user, then who has not even begun a request, then
 * who has been at it for longest. NULL: all are being answered. */
static int willingness(const struct connection *c)
{
	return c->over_share ? 2 : !c->request;
}

static struct connection *connection_to_close(const struct api_server *server)
{
	struct connection *found = NULL;

	for (struct connection *c = server->connections; c; c = c->next) {
		if (c->closing || c->quiet_since_ms == 0)
			continue;
		/* The list is newest first. */
		if (!found || willingness(c) > willingness(found) ||
		    (willingness(c) == willingness(found) &&
		     c->quiet_since_ms <= found->quiet_since_ms))
			found = c;
	}
	return found;
}

/* A place for one more; false: it is one too many. */
static bool connection_make_room(struct api_server *server)
{
	struct connection *oldest;

	if (server->n_connections < server->max_connections)
		return true;
	oldest = connection_to_close(server);
	if (!oldest)
		return false;
	oldest->closing = true;
	server->n_connections--;
	(void)shutdown(oldest->fd, SHUT_RDWR);
	return !oldest->over_limit;
}

static void connection_open(struct api_server *server, struct MHD_Connection *mhd, void **context)
{
	struct connection *connection = mem_calloc(1, sizeof *connection);
	bool has_place = connection_make_room(server);

	*connection = (struct connection){
	    .next = server->connections,
	    .link = &server->connections,
	    .server = server,
	    .mhd = mhd,
	    .fd = MHD_get_connection_info(mhd, MHD_CONNECTION_INFO_CONNECTION_FD)->connect_fd,
	    .quiet_since_ms = monotonic_now_ms(),
	    .over_limit = !has_place,
	};
	connection->peer = peer_identify(server, connection->fd);
	connection->over_share = share_is_used_up(server, &connection->peer);
	if (connection->next)
		connection->next->link = &connection->next;
	server->connections = connection;
	server->n_connections++;
	server->n_open++;
	*context = connection;
}

static void connection_close(struct connection *connection)
{
	*connection->link = connection->next;
	if (connection->next)
		connection->next->link = connection->link;
	connection->server->others += !connection->had_request;
	if (!connection->closing)
		connection->server->n_connections--;
	connection->server->n_open--;
	free(connection);
}

static void on_connection(void *cls, struct MHD_Connection *mhd, void **context,
			  enum MHD_ConnectionNotificationCode code)
{
	if (code == MHD_CONNECTION_NOTIFY_STARTED) {
		connection_open(cls, mhd, context);
	} else if (*context) {
		connection_close(*context);
		*context = NULL;
	}
}

static void server_run(struct api_server *server);

static bool peer_is_gone(int fd)
{
	struct pollfd p = {.fd = fd, .events = POLLRDHUP};

	return poll(&p, 1, 0) > 0 && (p.revents & (POLLHUP | POLLERR | POLLRDHUP));
}

static void on_sweep(uv_timer_t *timer)
{
	struct api_server *server = timer->data;
	int64_t now = monotonic_now_ms();

	for (struct connection *c = server->connections; c; c = c->next) {
		if (c->quiet_since_ms > 0 && now - c->quiet_since_ms > ARRIVAL_MS)
			(void)shutdown(c->fd, SHUT_RDWR);
		else if (c->request && c->request->suspended && peer_is_gone(c->fd))
			api_request_cut(c->request);
	}
	server_run(server);
}

/* The loop. */

static void on_timer(uv_timer_t *timer)
{
	server_run(timer->data);
}

static void on_poll(uv_poll_t *poll, int status, int events)
{
	(void)status;
	(void)events;
	server_run(poll->data);
}

/* The next that waits has its turn, and the sockets are looked at again. */
static void on_pacer(uv_timer_t *timer)
{
	struct api_server *server = timer->data;
	uint64_t wait_ms = pace_wait_ms(&server->pace, clock_us(CLOCK_MONOTONIC));
	struct api_request *request = request_next_paced(server);

	if (wait_ms > 0 && server_is_busy(server)) {
		(void)uv_timer_start(timer, on_pacer, wait_ms, 0);
		return;
	}
	if (server->resting)
		(void)uv_poll_start(&server->poll, UV_READABLE, on_poll);
	server->resting = false;
	if (request) {
		request->paced = false;
		request->its_turn = true;
		api_request_resume(request);
	}
	server_run(server);
	if (request_next_paced(server) && !uv_is_active((uv_handle_t *)timer))
		(void)uv_timer_start(timer, on_pacer, 0, 0);
}

/* Run, and count what it cost of the share. */
static void server_run_counted(struct api_server *server)
{
	int64_t began_us = clock_us(CLOCK_THREAD_CPUTIME_ID), now_us, cost_us;
	uint64_t wait_ms;

	server->useful = server->others = 0;
	server->running = true;
	(void)MHD_run(server->mhd);
	server->running = false;
	cost_us = clock_us(CLOCK_THREAD_CPUTIME_ID) - began_us;
	if (server->useful > 0)
		cost_us = cost_us * server->others / (server->useful + server->others);
	now_us = clock_us(CLOCK_MONOTONIC);
	pace_charge(&server->pace, cost_us, now_us);
	wait_ms = pace_wait_ms(&server->pace, now_us);
	if (wait_ms < REST_ABOVE_MS || !server_is_busy(server))
		return;
	server->resting = true;
	(void)uv_poll_stop(&server->poll);
	(void)uv_timer_start(&server->pacer, on_pacer, wait_ms, 0);
}

static void server_run(struct api_server *server)
{
	MHD_UNSIGNED_LONG_LONG timeout;
	size_t all = server->max_connections + CONNECTIONS_SPARE;
	bool was_full = server->n_open >= all;

	if (server->running || server->ending || server->resting)
		return;
	server_run_counted(server);
	if (server->resting) {
		(void)uv_timer_stop(&server->timer);
		return;
	}
	/* Full, microhttpd does not listen, and begins to again only in its next run. */
	if (was_full && server->n_open < all)
		(void)uv_timer_start(&server->timer, on_timer, 0, 0);
	else if (MHD_get_timeout(server->mhd, &timeout) == MHD_YES)
		(void)uv_timer_start(&server->timer, on_timer, timeout, 0);
	else
		(void)uv_timer_stop(&server->timer);
	if (server->n_open == 0)
		(void)uv_timer_stop(&server->sweep);
	else if (!uv_is_active((uv_handle_t *)&server->sweep))
		(void)uv_timer_start(&server->sweep, on_sweep, SWEEP_MS, SWEEP_MS);
}

static int handles_start(struct api_server *server, uv_loop_t *loop, struct error *err)
{
	const union MHD_DaemonInfo *info =
	    MHD_get_daemon_info(server->mhd, MHD_DAEMON_INFO_EPOLL_FD);
	int r;

	if (!info)
		return error_set(err, -ENOTSUP, "libmicrohttpd was built without epoll");
	r = uv_poll_init(loop, &server->poll, info->epoll_fd);
	if (r < 0)
		return error_sys(err, r, "cannot watch the API socket");
	(void)uv_timer_init(loop, &server->timer);
	(void)uv_timer_init(loop, &server->sweep);
	(void)uv_timer_init(loop, &server->pacer);
	server->n_handles = 4;
	server->poll.data = server->timer.data = server->sweep.data = server->pacer.data = server;
	return uv_poll_start(&server->poll, UV_READABLE, on_poll);
}

/* Clients must not take the descriptors that the daemon needs for its own work. */
static size_t connections_max(void)
{
	struct rlimit limit;
	rlim_t taken = FDS_FOR_OTHERS + CONNECTIONS_SPARE;

	if (getrlimit(RLIMIT_NOFILE, &limit) < 0 ||
	    limit.rlim_cur >= taken + API_CONNECTIONS_MAX) /* RLIM_INFINITY is the largest */
		return API_CONNECTIONS_MAX;
	return limit.rlim_cur < taken + CONNECTIONS_MIN ? CONNECTIONS_MIN : limit.rlim_cur - taken;
}

int api_server_create(uv_loop_t *loop, const struct api_server_options *options,
		      struct api_server **ret_server, struct error *err)
{
	struct api_server *server = mem_calloc(1, sizeof *server);
	int r, listen_fd = fcntl(options->listen_fd, F_DUPFD_CLOEXEC, 3);

	*server = (struct api_server){.options = *options, .max_connections = connections_max()};
	server->mhd = MHD_start_daemon(
	    MHD_USE_EPOLL | MHD_ALLOW_SUSPEND_RESUME, 0, NULL, NULL, on_request, server,
	    MHD_OPTION_LISTEN_SOCKET, listen_fd, MHD_OPTION_CONNECTION_LIMIT,
	    (unsigned)(server->max_connections + CONNECTIONS_SPARE),
	    MHD_OPTION_CONNECTION_MEMORY_LIMIT, 4 * API_HEADER_MAX, MHD_OPTION_CONNECTION_TIMEOUT,
	    PROGRESS_SECONDS, MHD_OPTION_NOTIFY_COMPLETED, on_request_completed, NULL,
	    MHD_OPTION_NOTIFY_CONNECTION, on_connection, server, MHD_OPTION_END);
	if (!server->mhd) {
		fd_close(listen_fd);
		free(server);
		return error_set(err, -EIO, "cannot start the HTTP server");
	}
	r = handles_start(server, loop, err);
	if (r < 0) {
		api_server_destroy(server);
		return r;
	}
	*ret_server = server;
	return 0;
}

static void on_handle_closed(uv_handle_t *handle)
{
	struct api_server *server = handle->data;

	if (--server->n_handles == 0)
		free(server);
}

void api_server_destroy(struct api_server *server)
{
	if (!server)
		return;
	for (struct connection *c = server->connections; c; c = c->next)
		if (c->request && (c->request->state == REQUEST_WAITING ||
				   c->request->state == REQUEST_STREAMING))
			api_request_cut(c->request);
	/* Replies given just now still go out, as far as the sockets take them without waiting. */
	(void)MHD_run(server->mhd);
	server->ending = true;
	if (server->n_handles == 0) {
		MHD_stop_daemon(server->mhd);
		free(server);
		return;
	}
	(void)uv_poll_stop(&server->poll);
	MHD_stop_daemon(server->mhd);
	uv_close((uv_handle_t *)&server->poll, on_handle_closed);
	uv_close((uv_handle_t *)&server->timer, on_handle_closed);
	uv_close((uv_handle_t *)&server->sweep, on_handle_closed);
	uv_close((uv_handle_t *)&server->pacer, on_handle_closed);
}
