/*
 * Keeping the file in bounds. A task goes from `task` and `attempt` to `archive` in one unit, so a
 * power cut leaves it in one of the two. Its log files are removed after that: the archived row
 * says how many there are until somebody says they are gone.
 *
 * Numbers are never given out twice: before rows with the largest ids can go, these ids are written
 * to `meta` (store_last_ids()); of the environments the newest is left.
 */
#include "store/store_priv.h"

#include "util/text.h"

#include <errno.h>
#include <stdio.h>

#define ARCHIVED_KEY "archived_tasks"

/* The first column of the only row. */
static int count_read(struct store *store, enum store_statement which, uint64_t *ret_n,
		      struct error *err)
{
	auto_statement sqlite3_stmt *statement = store_statement(store, which, err);

	if (!statement || sqlite3_step(statement) != SQLITE_ROW)
		return store_error(store, err, "counting tasks");
	*ret_n = (uint64_t)sqlite3_column_int64(statement, 0);
	return 0;
}

int store_count_ended(struct store *store, uint64_t *ret_n, struct error *err)
{
	return count_read(store, STMT_COUNT_ENDED, ret_n, err);
}

uint64_t store_count_archived(const struct store *store)
{
	int64_t n = (int64_t)store->n_archived + store->archived_moved;

	return (uint64_t)MAX_OF(n, 0);
}

int store_archived_load(struct store *store, struct error *err)
{
	auto_free char *text = NULL;
	unsigned long long n;
	int r = store_get_meta(store, ARCHIVED_KEY, &text, err);

	if (r < 0 && r != -ENOENT)
		return r;
	if (r < 0 || !text_to_u64(text, 0, INT64_MAX, &n))
		return count_read(store, STMT_COUNT_ARCHIVED, &store->n_archived, err);
	store->n_archived = n;
	return 0;
}

int store_archived_put(struct store *store, struct error *err)
{
	char text[32];

	(void)snprintf(text, sizeof text, "%llu", (unsigned long long)store_count_archived(store));
	return store_put_meta(store, ARCHIVED_KEY, text, err);
}

int store_oldest_ended(struct store *store, int64_t before_ms, uint64_t *ids, size_t max,
		       struct error *err)
{
	auto_statement sqlite3_stmt *statement = store_statement(store, STMT_OLDEST_ENDED, err);
	int n = 0, r;

	if (!statement)
		return store_error(store, err, "looking for tasks to archive");
	(void)sqlite3_bind_int64(statement, 1, before_ms);
	(void)sqlite3_bind_int64(statement, 2, (int64_t)max);
	while ((r = sqlite3_step(statement)) == SQLITE_ROW)
		ids[n++] = (uint64_t)sqlite3_column_int64(statement, 0);
	return r == SQLITE_DONE ? n : store_error(store, err, "looking for tasks to archive");
}

/* One write with an id as its first value. */
static int write_by_id(struct store *store, enum store_statement which, uint64_t id,
		       struct error *err)
{
	auto_statement sqlite3_stmt *statement = store_statement(store, which, err);
	char doing[64];

	(void)snprintf(doing, sizeof doing, "archiving (%llu)", (unsigned long long)id);
	if (!store->in_unit)
		return error_set(err, -EINVAL, "writing outside a unit of work");
	if (!statement) {
		store->broken = true;
		return store_error(store, err, doing);
	}
	(void)sqlite3_bind_int64(statement, 1, (int64_t)id);
	if (which == STMT_ARCHIVE_COPY)
		(void)sqlite3_bind_int(statement, 2, STORE_COMMAND_KEPT);
	return store_run(store, statement, doing, err);
}

int store_archive_task(struct store *store, uint64_t id, struct error *err)
{
	static const enum store_statement rest[] = {STMT_ARCHIVE_ATTEMPTS, STMT_ARCHIVE_SUBMIT,
						    STMT_ARCHIVE_TASK};
	int r = write_by_id(store, STMT_ARCHIVE_COPY, id, err);

	if (r == 0 && sqlite3_changes(store->db) != 1)
		return error_set(err, -ESRCH, "there is no task %llu that has ended",
				 (unsigned long long)id);
	for (size_t i = 0; r == 0 && i < ARRAY_LEN(rest); i++)
		r = write_by_id(store, rest[i], id, err);
	store->archived_moved += r == 0;
	return r;
}

/* What store_last_ids() is to remember when the rows are gone. */
static int last_ids_keep(struct store *store, struct error *err)
{
	uint64_t task, batch;
	char text[32];
	int r = store_last_ids(store, &task, &batch, err);

	if (r < 0)
		return r;
	(void)snprintf(text, sizeof text, "%llu", (unsigned long long)task);
	r = store_put_meta(store, "last_task", text, err);
	if (r < 0)
		return r;
	(void)snprintf(text, sizeof text, "%llu", (unsigned long long)batch);
	return store_put_meta(store, "last_batch", text, err);
}

struct dropped {
	uint64_t id, batch;
};

static int dropped_choose(struct store *store, struct dropped *rows, size_t max, struct error *err)
{
	auto_statement sqlite3_stmt *statement = store_statement(store, STMT_OLDEST_ARCHIVED, err);
	int n = 0, r;

	if (!statement)
		return store_error(store, err, "looking for tasks to forget");
	(void)sqlite3_bind_int64(statement, 1, (int64_t)max);
	while ((r = sqlite3_step(statement)) == SQLITE_ROW)
		rows[n++] = (struct dropped){(uint64_t)sqlite3_column_int64(statement, 0),
					     (uint64_t)sqlite3_column_int64(statement, 1)};
	return r == SQLITE_DONE ? n : store_error(store, err, "looking for tasks to forget");
}

int store_drop_archived(struct store *store, size_t max, struct error *err)
{
	auto_free struct dropped *rows = mem_calloc(max + 1, sizeof *rows);
	int n = dropped_choose(store, rows, max, err), r = 0;

	if (n <= 0)
		return n;
	r = last_ids_keep(store, err);
	for (int i = 0; r == 0 && i < n; i++)
		r = write_by_id(store, STMT_DROP_ARCHIVED, rows[i].id, err);
	store->archived_moved -= r == 0 ? n : 0;
	for (int i = 0; r == 0 && i < n; i++) {
		/* Rows of a batch are neighbours: asked once, after the last of them. */
		if (rows[i].batch == 0 || (i + 1 < n && rows[i + 1].batch == rows[i].batch))
			continue;
		r = write_by_id(store, STMT_DROP_BATCH, rows[i].batch, err);
		if (r == 0)
			r = write_by_id(store, STMT_DROP_BATCH_SUBMIT, rows[i].batch, err);
	}
	return r < 0 ? r : n;
}

int store_logs_to_remove(struct store *store, struct store_logs *logs, size_t max,
			 struct error *err)
{
	auto_statement sqlite3_stmt *statement = store_statement(store, STMT_LOGS_TO_REMOVE, err);
	int n = 0, r;

	if (!statement)
		return store_error(store, err, "looking for logs to remove");
	(void)sqlite3_bind_int64(statement, 1, (int64_t)max);
	while ((r = sqlite3_step(statement)) == SQLITE_ROW)
		logs[n++] = (struct store_logs){(uint64_t)sqlite3_column_int64(statement, 0),
						(unsigned)sqlite3_column_int64(statement, 1)};
	return r == SQLITE_DONE ? n : store_error(store, err, "looking for logs to remove");
}

int store_logs_removed(struct store *store, uint64_t task, struct error *err)
{
	return write_by_id(store, STMT_LOGS_REMOVED, task, err);
}

/* The id up to which `max` environments after `at` go; 0 = there are none. */
static int environments_after(struct store *store, int64_t at, size_t max, int64_t *ret_to,
			      struct error *err)
{
	auto_statement sqlite3_stmt *statement =
	    store_statement(store, STMT_ENVIRONMENTS_AFTER, err);

	if (!statement)
		return store_error(store, err, "looking for environments");
	(void)sqlite3_bind_int64(statement, 1, at);
	(void)sqlite3_bind_int64(statement, 2, (int64_t)max);
	if (sqlite3_step(statement) != SQLITE_ROW)
		return store_error(store, err, "looking for environments");
	*ret_to = sqlite3_column_int64(statement, 0);
	return 0;
}

int store_drop_environments(struct store *store, int64_t *at, size_t max, struct error *err)
{
	auto_statement sqlite3_stmt *statement =
	    store_statement(store, STMT_DROP_ENVIRONMENTS, err);
	int64_t to = 0;
	int r = environments_after(store, *at, max, &to, err);

	if (r < 0)
		return r;
	if (!store->in_unit)
		return error_set(err, -EINVAL, "writing outside a unit of work");
	if (!statement) {
		store->broken = true;
		return store_error(store, err, "dropping environments");
	}
	(void)sqlite3_bind_int64(statement, 1, *at);
	(void)sqlite3_bind_int64(statement, 2, to);
	r = store_run(store, statement, "dropping environments", err);
	if (r == 0)
		*at = to;
	return r;
}

int store_compact(struct store *store, unsigned pages, struct error *err)
{
	char sql[64];
	uint64_t left;
	int r = count_read(store, STMT_FREE_PAGES, &left, err);

	if (r < 0 || left == 0)
		return r;
	(void)snprintf(sql, sizeof sql, "PRAGMA incremental_vacuum(%u)", pages);
	if (sqlite3_exec(store->db, sql, NULL, NULL, NULL) != SQLITE_OK)
		return store_error(store, err, "compacting");
	r = count_read(store, STMT_FREE_PAGES, &left, err);
	return r < 0 ? r : (int)MIN_OF(left, (uint64_t)INT32_MAX);
}
