/*
 * A listing walks the queue in memory (what has not ended), then the store, in windows of ids: a
 * window bounds how many rows SQLite looks at whatever the conditions are. Each slice begins where
 * the last one ended, so nothing is held open between them and the store may change meanwhile.
 *
 * A slice ends after SLICE_BYTES or SLICE_NS. The next is made when the connection has taken what
 * was written; one that had nothing to write (it counted) is followed by one from a timer.
 *
 * The reason of a waiting task is worked out when asked for, which costs about as much as a
 * decision: a list carries it for the first few, as people read from the top.
 */
#include "daemon/listing.h"

#include "daemon/access.h"
#include "daemon/queries.h"
#include "daemon/record.h"
#include "daemon/task_json.h"
#include "util/log.h"

#include <fnmatch.h>
#include <string.h>

#define SLICE_BYTES  ((size_t)64 << 10)
#define SLICE_NS     ((uint64_t)4 * 1000 * 1000)
#define LOOK_EVERY   64   /* tasks between two looks at the clock */
#define WINDOW_READ  2048 /* ids looked at for one page of rows */
#define WINDOW_COUNT 8192 /* and where they are only counted */
#define ROWS_AT_ONCE 64
#define REASONS_MAX  20
#define OPEN_STATES                                                     \
	(SCHED_STATE_BIT(SCHED_WAITING) | SCHED_STATE_BIT(SCHED_HELD) | \
	 SCHED_STATE_BIT(SCHED_STARTING) | SCHED_STATE_BIT(SCHED_RUNNING))

enum phase { PHASE_QUEUE, PHASE_STORE, PHASE_OVER };

struct listing {
	struct listing *next;
	struct listings *listings;
	struct api_request *request;
	struct list_query query;
	char *head, *tail;
	enum phase phase;
	uint64_t at;   /* the id last looked at */
	uint64_t last; /* where the store's part ends */
	uint64_t skip, left, total;
	bool any; /* a task was written */
	unsigned reasons_left;
	uint64_t slice_ends_ns;
	const char *states[SCHED_STATE_COUNT + 1]; /* of the store's part */
	struct text out;
};

struct listings {
	struct daemon *daemon;
	struct listing *first;
	uv_timer_t timer;
};

static void listing_pump(struct listing *listing);

static void on_timer(uv_timer_t *timer)
{
	struct listings *listings = timer->data;
	struct listing *next;

	for (struct listing *l = listings->first; l; l = next) {
		next = l->next;
		if (api_stream_unread(l->request) == 0)
			listing_pump(l);
	}
}

struct listings *listings_create(struct daemon *daemon)
{
	struct listings *listings = mem_calloc(1, sizeof *listings);

	listings->daemon = daemon;
	(void)uv_timer_init(&daemon->loop, &listings->timer);
	listings->timer.data = listings;
	return listings;
}

static void listing_destroy(struct listing *listing)
{
	struct listing **link = &listing->listings->first;

	while (*link != listing)
		link = &(*link)->next;
	*link = listing->next;
	free(listing->head);
	free(listing->tail);
	text_finish(&listing->out);
	free(listing);
}

static void on_closed(uv_handle_t *handle)
{
	free(handle->data);
}

void listings_destroy(struct listings *listings)
{
	if (!listings)
		return;
	while (listings->first) {
		api_request_on_gone(listings->first->request, NULL, NULL);
		listing_destroy(listings->first);
	}
	uv_close((uv_handle_t *)&listings->timer, on_closed);
}

static void on_gone(void *data, struct api_request *request)
{
	(void)request;
	listing_destroy(data);
}

/* Writing. */

static bool slice_is_full(const struct listing *l)
{
	return l->out.len >= SLICE_BYTES || uv_hrtime() >= l->slice_ends_ns;
}

/* Consumes `task`. */
static void task_write(struct listing *l, json_t *task)
{
	auto_free char *dumped = NULL;

	access_filter_member(api_request_peer(l->request), "task", task);
	dumped = jsonx_dump(task);
	json_decref(task);
	if (!l->query.lines)
		text_add(&l->out, l->any ? ",\n" : "\n");
	text_add(&l->out, dumped);
	if (l->query.lines)
		text_add(&l->out, "\n");
	l->any = true;
	l->left--;
}

/* The queue in memory. */

static bool task_matches(const struct listing *l, const struct sched_task *task)
{
	const struct store_query *q = &l->query.stored;
	const struct sched_spec *spec = &task->spec;

	return !sched_state_is_final(task->state) &&
	       (l->query.states == 0 || l->query.states & SCHED_STATE_BIT(task->state)) &&
	       (q->batch == 0 || task->batch == q->batch) &&
	       (!q->kind || strcmp(spec->kind ? spec->kind : "", q->kind) == 0) &&
	       (!q->has_uid || spec->uid == q->uid) &&
	       (q->until_ms == 0 || task->submitted_at_ms < q->until_ms) &&
	       (!q->name || fnmatch(q->name, spec->name ? spec->name : "", FNM_NOESCAPE) == 0);
}

static void slice_of_queue(struct listing *l)
{
	struct sched *sched = l->listings->daemon->sched;
	const struct sched_task *task = sched_first_after(sched, l->at);

	for (unsigned n = 1; task; n++, task = sched_next(task)) {
		l->at = task->id;
		if (task_matches(l, task)) {
			l->total++;
			if (l->skip > 0) {
				l->skip--;
			} else if (l->left > 0) {
				task_write(
				    l, query_live(l->listings->daemon, l->at, &l->reasons_left));
				task = sched_find(sched, l->at);
			}
		}
		if ((n % LOOK_EVERY == 0 || l->left > 0) && slice_is_full(l))
			return;
	}
	l->phase = PHASE_STORE;
	l->left = MIN_OF(l->left, l->query.ended);
	l->at = 0;
}

/* The store. */

/* Where the walk through the ids begins and ends; false: there is nothing in it. */
static int store_range_begin(struct listing *l, struct error *err)
{
	struct store *store = l->listings->daemon->store;
	const struct store_query *q = &l->query.stored;
	uint64_t first, last;
	int r = store_id_bounds(store, &first, &last, err);

	if (r < 0)
		return r;
	first = MAX_OF(first, q->above_id + 1);
	if (q->below_id > 0)
		last = MIN_OF(last, q->below_id - 1);
	if (last == 0 || first > last) {
		l->phase = PHASE_OVER;
	} else if (l->query.order == LIST_OLDEST) {
		l->at = first - 1;
		l->last = last;
	} else {
		l->at = last + 1;
		l->last = first;
	}
	return 0;
}

/* The next window of ids as bounds of the query; the walk has then come to *ret_at. */
static void window_set(const struct listing *l, struct store_query *query, uint64_t width,
		       uint64_t *ret_at)
{
	if (l->query.order == LIST_OLDEST) {
		query->above_id = l->at;
		*ret_at = MIN_OF(l->at + width, l->last);
		query->below_id = *ret_at + 1;
	} else {
		query->newest_first = true;
		query->below_id = l->at;
		*ret_at = l->at - l->last > width ? l->at - width : l->last;
		query->above_id = *ret_at - 1;
	}
}

static int window_read(struct listing *l, struct store_query *query, uint64_t window_end,
		       struct error *err)
{
	struct daemon *daemon = l->listings->daemon;
	auto_records struct records records = {};
	int r;

	query->offset = l->skip;
	query->limit = MIN_OF(l->left, (uint64_t)ROWS_AT_ONCE);
	r = records_load(daemon->store, query, &records, err);
	if (r < 0)
		return r;
	/* Reading them was the larger part: only their size ends this early, not the time. */
	for (size_t i = 0; i < records.n && l->out.len < SLICE_BYTES; i++) {
		uint64_t id = records.tasks[i].id;

		task_write(l, sched_find(daemon->sched, id)
				  ? query_live(daemon, id, &l->reasons_left)
				  : query_record(&records, i));
		l->total++;
		l->at = id;
	}
	l->total += l->skip;
	l->skip = 0;
	if (records.n < query->limit &&
	    (records.n == 0 || l->at == records.tasks[records.n - 1].id))
		l->at = window_end;
	return 0;
}

static int window_next(struct listing *l, struct error *err)
{
	struct store *store = l->listings->daemon->store;
	bool reads = l->left > 0 && l->skip == 0;
	struct store_query query = l->query.stored;
	uint64_t window_end, n;
	int r;

	query.states = l->states;
	window_set(l, &query, reads ? WINDOW_READ : WINDOW_COUNT, &window_end);
	if (reads)
		return window_read(l, &query, window_end, err);
	r = store_count_tasks(store, &query, &n, err);
	if (r < 0)
		return r;
	if (l->left > 0 && n > l->skip)
		return window_read(l, &query, window_end, err);
	l->skip -= MIN_OF(l->skip, n);
	l->total += n;
	l->at = window_end;
	return 0;
}

static int slice_of_store(struct listing *l, struct error *err)
{
	int r = 0;

	if (l->last == 0)
		r = store_range_begin(l, err);
	while (r == 0 && l->phase == PHASE_STORE) {
		if (l->at == l->last || (l->query.lines && l->left == 0))
			l->phase = PHASE_OVER;
		else
			r = window_next(l, err);
		if (slice_is_full(l))
			break;
	}
	return r;
}

/* The answer. */

static void tail_write(struct listing *l)
{
	if (l->tail)
		text_add(&l->out, l->tail);
	else if (!l->query.lines)
		text_printf(&l->out, "\n], \"total\": %llu}\n", (unsigned long long)l->total);
}

/* Make one slice, into l->out. */
static int slice_make(struct listing *l, struct error *err)
{
	int r = 0;

	l->slice_ends_ns = uv_hrtime() + SLICE_NS;
	if (l->phase == PHASE_QUEUE)
		slice_of_queue(l);
	if (l->phase == PHASE_STORE && !slice_is_full(l))
		r = slice_of_store(l, err);
	if (r == 0 && l->phase == PHASE_OVER)
		tail_write(l);
	return r;
}

static void slice_send(struct listing *l)
{
	struct api_request *request = l->request;

	api_stream_write(request, l->out.data, l->out.len);
	if (l->phase == PHASE_OVER) {
		api_request_on_gone(request, NULL, NULL);
		listing_destroy(l);
		api_stream_end(request);
	} else if (l->out.len == 0) {
		(void)uv_timer_start(&l->listings->timer, on_timer, 0, 0);
	} else {
		text_clear(&l->out);
	}
}

static void listing_pump(struct listing *l)
{
	struct error err = {};

	if (slice_make(l, &err) < 0) {
		/* The client sees an answer without an end. */
		log_warning("a list of tasks ends early: %s", error_text(&err));
		api_request_cut(l->request);
		return;
	}
	slice_send(l);
}

static void on_drain(void *data, struct api_request *request)
{
	(void)request;
	listing_pump(data);
}

static void states_of_store(struct listing *l)
{
	unsigned all = SCHED_STATE_BIT(SCHED_STATE_COUNT) - 1;
	unsigned wanted = l->query.states ? l->query.states : all;
	size_t n = 0;

	if (l->query.order == LIST_QUEUE)
		wanted &= ~OPEN_STATES;
	for (int state = 0; wanted != all && state < SCHED_STATE_COUNT; state++)
		if (wanted & SCHED_STATE_BIT(state))
			l->states[n++] = sched_state_name((enum sched_state)state);
	if (wanted == 0)
		l->states[n++] = "none"; /* which no task is in */
}

void listing_begin(struct listings *listings, struct api_request *request,
		   const struct list_query *query, char *head, char *tail)
{
	struct listing *l = mem_calloc(1, sizeof *l);
	struct error err = {};
	int r;

	*l = (struct listing){
	    .next = listings->first,
	    .listings = listings,
	    .request = request,
	    .query = *query,
	    .head = head,
	    .tail = tail,
	    .phase = query->order == LIST_QUEUE ? PHASE_QUEUE : PHASE_STORE,
	    .skip = query->offset,
	    .left = query->limit,
	    .reasons_left = REASONS_MAX,
	};
	listings->first = l;
	states_of_store(l);
	if (!query->lines)
		text_add(&l->out, head ? head : "{\"tasks\": [");
	r = slice_make(l, &err);
	if (r < 0) {
		listing_destroy(l);
		api_reply_error(request, r, &err);
		return;
	}
	api_request_on_gone(request, on_gone, l);
	api_stream_begin(request, query->lines ? "application/x-ndjson" : "application/json",
			 on_drain, l);
	slice_send(l);
}
