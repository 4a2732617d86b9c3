/*
 * Reading rows. Queries with conditions are put together from fixed pieces (values are always
 * bound, never written into the text) and prepared when asked for: they serve people, not the
 * daemon's turn. What a callback gets points into SQLite's row and is gone after it.
 */
#include "store/store_priv.h"

#include <errno.h>
#include <string.h>

static void statement_finish(sqlite3_stmt **statement)
{
	(void)sqlite3_finalize(*statement);
}
#define auto_query CLEANUP(statement_finish)

static const char *column_text(sqlite3_stmt *statement, int column)
{
	const unsigned char *text = sqlite3_column_text(statement, column);

	return (const char *)text;
}

static uint64_t column_size(sqlite3_stmt *statement, int column)
{
	int64_t value = sqlite3_column_int64(statement, column);

	return value > 0 ? (uint64_t)value : 0;
}

/* What a query's conditions are bound to, by number: they may stand in the text twice. */
enum {
	BIND_ID = 1,
	BIND_BATCH,
	BIND_KIND,
	BIND_NAME,
	BIND_UID,
	BIND_SINCE,
	BIND_UNTIL,
	BIND_ABOVE,
	BIND_BELOW,
	BIND_LIMIT,
	BIND_OFFSET,
	BIND_STATES /* and those after it */
};

#define IS_OPEN "state IN ('waiting', 'held', 'starting', 'running')"

static void text_where(const struct store_query *query, struct text *text)
{
	text_add(text, " WHERE 1");
	if (query->id > 0)
		text_printf(text, " AND id = ?%d", BIND_ID);
	if (query->batch > 0)
		text_printf(text, " AND batch = ?%d AND batch <> 0", BIND_BATCH);
	if (query->kind)
		text_printf(text, " AND kind = ?%d", BIND_KIND);
	if (query->name)
		text_printf(text, " AND name GLOB ?%d", BIND_NAME);
	if (query->has_uid)
		text_printf(text, " AND uid = ?%d", BIND_UID);
	if (query->since_ms > 0)
		text_printf(text, " AND (updated_at >= ?%d OR " IS_OPEN ")", BIND_SINCE);
	if (query->until_ms > 0)
		text_printf(text, " AND submitted_at < ?%d", BIND_UNTIL);
	if (query->unended)
		text_add(text, " AND (" IS_OPEN " OR batch IN (SELECT id FROM batch WHERE "
			       "ended_at = 0))");
	if (query->above_id > 0)
		text_printf(text, " AND id > ?%d", BIND_ABOVE);
	if (query->below_id > 0)
		text_printf(text, " AND id < ?%d", BIND_BELOW);
	if (query->states && query->states[0]) {
		text_printf(text, " AND state IN (?%d", BIND_STATES);
		for (int i = 1; query->states[i]; i++)
			text_printf(text, ", ?%d", BIND_STATES + i);
		text_add(text, ")");
	}
}

/* The tasks of a query: "SELECT <columns> FROM task WHERE ...", and the same of the archive. */
static void text_select(const struct store_query *query, const char *columns,
			const char *archive_columns, struct text *text)
{
	text_printf(text, "SELECT %s FROM task", columns);
	text_where(query, text);
	if (!query->archived)
		return;
	text_printf(text, " UNION ALL SELECT %s FROM archive", archive_columns);
	text_where(query, text);
}

static void text_order(const struct store_query *query, struct text *text)
{
	text_add(text, query->newest_first ? " ORDER BY id DESC" : " ORDER BY id");
	if (query->limit > 0 || query->offset > 0)
		text_printf(text, " LIMIT ?%d OFFSET ?%d", BIND_LIMIT, BIND_OFFSET);
}

/* A number that the text does not have is an error of its own, and none to us. */
static void query_bind(sqlite3_stmt *statement, const struct store_query *query)
{
	(void)sqlite3_bind_int64(statement, BIND_ID, (int64_t)query->id);
	(void)sqlite3_bind_int64(statement, BIND_BATCH, (int64_t)query->batch);
	(void)sqlite3_bind_text(statement, BIND_KIND, query->kind, -1, SQLITE_STATIC);
	(void)sqlite3_bind_text(statement, BIND_NAME, query->name, -1, SQLITE_STATIC);
	(void)sqlite3_bind_int64(statement, BIND_UID, query->uid);
	(void)sqlite3_bind_int64(statement, BIND_SINCE, query->since_ms);
	(void)sqlite3_bind_int64(statement, BIND_UNTIL, query->until_ms);
	(void)sqlite3_bind_int64(statement, BIND_ABOVE, (int64_t)query->above_id);
	(void)sqlite3_bind_int64(statement, BIND_BELOW, (int64_t)query->below_id);
	(void)sqlite3_bind_int64(statement, BIND_LIMIT,
				 query->limit > 0 ? (int64_t)query->limit : -1);
	(void)sqlite3_bind_int64(statement, BIND_OFFSET, (int64_t)query->offset);
	for (int i = 0; query->states && query->states[i]; i++)
		(void)sqlite3_bind_text(statement, BIND_STATES + i, query->states[i], -1,
					SQLITE_STATIC);
}

static int query_prepare(struct store *store, const struct text *text,
			 const struct store_query *query, sqlite3_stmt **ret_statement,
			 struct error *err)
{
	if (sqlite3_prepare_v2(store->db, text->data, -1, ret_statement, NULL) != SQLITE_OK)
		return store_error(store, err, "preparing a query");
	query_bind(*ret_statement, query);
	return 0;
}

/* One row of a query into the caller's callback. */
typedef int row_f(sqlite3_stmt *statement, void *callback);

static int rows_each(struct store *store, sqlite3_stmt *statement, row_f *row, void *callback,
		     const char *doing, struct error *err)
{
	for (;;) {
		int step = sqlite3_step(statement);
		int r;

		if (step == SQLITE_DONE)
			return 0;
		if (step != SQLITE_ROW)
			return store_error(store, err, doing);
		r = row(statement, callback);
		if (r < 0)
			return r;
	}
}

struct task_callback {
	store_task_f *f;
	void *data;
};

static int task_row(sqlite3_stmt *s, void *callback)
{
	const struct task_callback *c = callback;
	const struct store_task task = {
	    .id = column_size(s, 0),
	    .batch = column_size(s, 1),
	    .row = (unsigned)sqlite3_column_int64(s, 2),
	    .name = column_text(s, 3),
	    .kind = column_text(s, 4),
	    .state = column_text(s, 5),
	    .reason = column_text(s, 6),
	    .fingerprint = column_text(s, 7),
	    .priority = sqlite3_column_int(s, 8),
	    .uid = (uid_t)sqlite3_column_int64(s, 9),
	    .environment = sqlite3_column_int64(s, 10),
	    .submitted_at_ms = sqlite3_column_int64(s, 11),
	    .updated_at_ms = sqlite3_column_int64(s, 12),
	    .spec = column_text(s, 13),
	    .more = column_text(s, 14),
	    .archived = sqlite3_column_int(s, 15) != 0,
	};

	return c->f(c->data, &task);
}

static const struct store_query everything;

int store_each_task(struct store *store, const struct store_query *query, store_task_f *f,
		    void *data, struct error *err)
{
	auto_query sqlite3_stmt *statement = NULL;
	auto_text struct text text = {};
	struct task_callback callback = {f, data};
	int r;

	query = query ? query : &everything;
	text_select(query,
		    "id, batch, row, name, kind, state, reason, fingerprint, priority, uid, "
		    "environment, submitted_at, updated_at, spec, more, 0",
		    "id, batch, row, name, kind, state, reason, fingerprint, priority, uid, "
		    "0, submitted_at, updated_at, spec, NULL, 1",
		    &text);
	text_order(query, &text);
	r = query_prepare(store, &text, query, &statement, err);
	return r < 0 ? r : rows_each(store, statement, task_row, &callback, "reading tasks", err);
}

int store_count_tasks(struct store *store, const struct store_query *query, uint64_t *ret_n,
		      struct error *err)
{
	auto_query sqlite3_stmt *statement = NULL;
	auto_text struct text text = {};
	uint64_t n = 0;
	int r, step;

	query = query ? query : &everything;
	text_select(query, "count(*)", "count(*)", &text);
	r = query_prepare(store, &text, query, &statement, err);
	if (r < 0)
		return r;
	while ((step = sqlite3_step(statement)) == SQLITE_ROW)
		n += column_size(statement, 0);
	if (step != SQLITE_DONE)
		return store_error(store, err, "counting tasks");
	*ret_n = n;
	return 0;
}

struct attempt_callback {
	store_attempt_f *f;
	void *data;
};

static int attempt_row(sqlite3_stmt *s, void *callback)
{
	const struct attempt_callback *c = callback;
	const struct store_attempt attempt = {
	    .task = column_size(s, 0),
	    .number = (unsigned)sqlite3_column_int64(s, 1),
	    .device = column_text(s, 2),
	    .policy = column_text(s, 3),
	    .reason = column_text(s, 4),
	    .gpus = column_text(s, 5),
	    .started_at_ms = sqlite3_column_int64(s, 6),
	    .ended_at_ms = sqlite3_column_int64(s, 7),
	    .outcome = column_text(s, 8),
	    .exit_known = sqlite3_column_type(s, 9) != SQLITE_NULL,
	    .exit_code = sqlite3_column_int(s, 9),
	    .signal = sqlite3_column_int(s, 10),
	    .peak_vram_bytes = column_size(s, 11),
	    .peak_ram_bytes = column_size(s, 12),
	    .more = column_text(s, 13),
	};

	return c->f(c->data, &attempt);
}

int store_each_attempt(struct store *store, const struct store_query *query, store_attempt_f *f,
		       void *data, struct error *err)
{
	auto_query sqlite3_stmt *statement = NULL;
	auto_text struct text text = {}, ids = {};
	struct attempt_callback callback = {f, data};
	int r;

	query = query ? query : &everything;
	text_select(query, "id", "id", &ids);
	text_order(query, &ids);
	text_printf(&text,
		    "SELECT task, number, device, policy, reason, gpus, started_at, ended_at, "
		    "outcome, exit_code, signal, peak_vram, peak_ram, more FROM attempt WHERE task "
		    "IN (%s)",
		    ids.data);
	if (query->archived)
		text_printf(&text,
			    " UNION ALL SELECT id, number, device, policy, NULL, gpus, started_at, "
			    "ended_at, outcome, exit_code, signal, peak_vram, peak_ram, more "
			    "FROM archive WHERE number > 0 AND id IN (%s)",
			    ids.data);
	text_add(&text, " ORDER BY 1, 2");
	r = query_prepare(store, &text, query, &statement, err);
	if (r < 0)
		return r;
	return rows_each(store, statement, attempt_row, &callback, "reading attempts", err);
}

int store_each_batch(struct store *store, uint64_t id, bool open_only, store_batch_f *f, void *data,
		     struct error *err)
{
	auto_statement sqlite3_stmt *s = store_statement(store, STMT_EACH_BATCH, err);
	int r = 0;

	if (!s)
		return store_error(store, err, "reading batches");
	(void)sqlite3_bind_int64(s, 1, (int64_t)id);
	(void)sqlite3_bind_int(s, 2, open_only);
	while (r >= 0 && (r = sqlite3_step(s)) == SQLITE_ROW) {
		const struct store_batch batch = {
		    .id = column_size(s, 0),
		    .name = column_text(s, 1),
		    .uid = (uid_t)sqlite3_column_int64(s, 2),
		    .state = column_text(s, 3),
		    .on_failure = column_text(s, 4),
		    .submitted_at_ms = sqlite3_column_int64(s, 5),
		    .first_start_ms = sqlite3_column_int64(s, 6),
		    .ended_at_ms = sqlite3_column_int64(s, 7),
		    .total = (unsigned)sqlite3_column_int64(s, 8),
		    .summary = column_text(s, 9),
		};

		r = f(data, &batch);
		if (r < 0)
			return r;
	}
	return r == SQLITE_DONE ? 0 : store_error(store, err, "reading batches");
}

int store_each_profile(struct store *store, store_profile_f *f, void *data, struct error *err)
{
	auto_statement sqlite3_stmt *s = store_statement(store, STMT_EACH_PROFILE, err);
	int r = 0;

	if (!s)
		return store_error(store, err, "reading profiles");
	while (r >= 0 && (r = sqlite3_step(s)) == SQLITE_ROW) {
		const struct store_profile profile = {
		    .kind = column_text(s, 0),
		    .model = column_text(s, 1),
		    .speed = sqlite3_column_double(s, 2),
		    .vram_request_bytes = column_size(s, 3),
		    .work_seconds = sqlite3_column_double(s, 4),
		    .variance = sqlite3_column_double(s, 5),
		    .utilization_percent = sqlite3_column_double(s, 6),
		    .peak_vram_bytes = column_size(s, 7),
		    .peak_ram_bytes = column_size(s, 8),
		    .samples = (unsigned)sqlite3_column_int64(s, 9),
		    .hint_mean = sqlite3_column_double(s, 10),
		    .hint_variance = sqlite3_column_double(s, 11),
		    .hint_covariance = sqlite3_column_double(s, 12),
		    .hint_samples = (unsigned)sqlite3_column_int64(s, 13),
		    .runs = (unsigned)sqlite3_column_int64(s, 14),
		    .peaks = column_text(s, 15),
		    .oom_vram_bytes = column_size(s, 16),
		    .batch_size = (unsigned)sqlite3_column_int64(s, 17),
		    .first_at_ms = sqlite3_column_int64(s, 18),
		    .last_at_ms = sqlite3_column_int64(s, 19),
		};

		r = f(data, &profile);
		if (r < 0)
			return r;
	}
	return r == SQLITE_DONE ? 0 : store_error(store, err, "reading profiles");
}

int store_get_environment(struct store *store, int64_t id, struct text *ret_text, struct error *err)
{
	auto_statement sqlite3_stmt *statement = store_statement(store, STMT_GET_ENVIRONMENT, err);
	struct text text = {};
	int r;

	if (!statement)
		return store_error(store, err, "reading an environment");
	(void)sqlite3_bind_int64(statement, 1, id);
	r = sqlite3_step(statement);
	if (r == SQLITE_DONE)
		return error_set(err, -ENOENT, "no environment %lld in %s", (long long)id,
				 store->path);
	if (r != SQLITE_ROW)
		return store_error(store, err, "reading an environment");
	if (sqlite3_column_bytes(statement, 0) > 0)
		text_add_bytes(&text, sqlite3_column_blob(statement, 0),
			       (size_t)sqlite3_column_bytes(statement, 0));
	else
		text_add(&text, "");
	*ret_text = text;
	return 0;
}

int store_get_meta(struct store *store, const char *key, char **ret_value, struct error *err)
{
	auto_statement sqlite3_stmt *statement = store_statement(store, STMT_GET_META, err);
	int r;

	if (!statement)
		return store_error(store, err, key);
	(void)sqlite3_bind_text(statement, 1, key, -1, SQLITE_STATIC);
	r = sqlite3_step(statement);
	if (r == SQLITE_DONE)
		return error_set(err, -ENOENT, "nothing stored under '%s'", key);
	if (r != SQLITE_ROW)
		return store_error(store, err, key);
	*ret_value = mem_strdup(column_text(statement, 0) ? column_text(statement, 0) : "");
	return 0;
}

int store_find_submit(struct store *store, const char *key, struct store_submit *ret_submit,
		      struct error *err)
{
	auto_statement sqlite3_stmt *statement = store_statement(store, STMT_FIND_SUBMIT, err);
	int r;

	if (!statement)
		return store_error(store, err, "looking for the key of a submit");
	(void)sqlite3_bind_text(statement, 1, key, -1, SQLITE_STATIC);
	r = sqlite3_step(statement);
	if (r == SQLITE_DONE)
		return 0;
	if (r != SQLITE_ROW)
		return store_error(store, err, "looking for the key of a submit");
	ret_submit->is_batch = sqlite3_column_int(statement, 0) != 0;
	ret_submit->id = column_size(statement, 1);
	ret_submit->skipped = column_size(statement, 2);
	return 1;
}

int store_id_bounds(struct store *store, uint64_t *ret_first, uint64_t *ret_last, struct error *err)
{
	auto_statement sqlite3_stmt *statement = store_statement(store, STMT_ID_BOUNDS, err);

	if (!statement || sqlite3_step(statement) != SQLITE_ROW)
		return store_error(store, err, "reading the ids there are");
	*ret_last = column_size(statement, 1);
	*ret_first = *ret_last > 0 ? column_size(statement, 0) : 0;
	return 0;
}

int store_last_ids(struct store *store, uint64_t *ret_task, uint64_t *ret_batch, struct error *err)
{
	auto_statement sqlite3_stmt *statement = store_statement(store, STMT_LAST_IDS, err);

	if (!statement || sqlite3_step(statement) != SQLITE_ROW)
		return store_error(store, err, "reading the last ids");
	*ret_task = column_size(statement, 0);
	*ret_batch = column_size(statement, 1);
	return 0;
}

int store_find_done(struct store *store, const char *fingerprint, uint64_t *ret_task,
		    struct error *err)
{
	auto_statement sqlite3_stmt *statement = store_statement(store, STMT_FIND_DONE, err);
	uint64_t id;
	int r;

	if (!statement)
		return store_error(store, err, "looking for a finished task");
	(void)sqlite3_bind_text(statement, 1, fingerprint, -1, SQLITE_STATIC);
	r = sqlite3_step(statement);
	if (r != SQLITE_ROW)
		return store_error(store, err, "looking for a finished task");
	id = column_size(statement, 0);
	if (ret_task && id > 0)
		*ret_task = id;
	return id > 0;
}
