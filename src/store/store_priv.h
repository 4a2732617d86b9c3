/* What the files of src/store share: the context, the statements, the error mapping. */
#pragma once

#include "store/store.h"

#include <sqlite3.h>

enum store_statement {
	STMT_BEGIN,
	STMT_COMMIT,
	STMT_PUT_BATCH,
	STMT_PUT_TASK,
	STMT_PUT_ATTEMPT,
	STMT_PUT_PROFILE,
	STMT_DROP_PROFILE,
	STMT_PUT_META,
	STMT_PUT_SUBMIT,
	STMT_FIND_SUBMIT,
	STMT_GET_META,
	STMT_ADD_ENVIRONMENT,
	STMT_FIND_ENVIRONMENT,
	STMT_GET_ENVIRONMENT,
	STMT_EACH_BATCH,
	STMT_EACH_PROFILE,
	STMT_LAST_IDS,
	STMT_ID_BOUNDS,
	STMT_FIND_DONE,
	STMT_COUNT_ENDED,
	STMT_OLDEST_ENDED,
	STMT_ARCHIVE_COPY,
	STMT_ARCHIVE_ATTEMPTS,
	STMT_ARCHIVE_SUBMIT,
	STMT_ARCHIVE_TASK,
	STMT_COUNT_ARCHIVED,
	STMT_OLDEST_ARCHIVED,
	STMT_DROP_ARCHIVED,
	STMT_DROP_BATCH,
	STMT_DROP_BATCH_SUBMIT,
	STMT_LOGS_TO_REMOVE,
	STMT_LOGS_REMOVED,
	STMT_ENVIRONMENTS_AFTER,
	STMT_DROP_ENVIRONMENTS,
	STMT_FREE_PAGES,
	STMT_COUNT,
};

struct store {
	char *path;
	int lock_fd;
	sqlite3 *db;
	sqlite3_stmt *statements[STMT_COUNT]; /* prepared at first use */
	bool in_unit;
	bool broken;            /* a write of this unit failed: it cannot be committed */
	uint64_t n_archived;    /* rows of `archive`, without what this unit did */
	int64_t archived_moved; /* by this unit */
};

/* How many rows `archive` has: counting a million takes long, so the number is kept in `meta`, in
 * the unit that changes it. Loaded when the file is opened. */
int store_archived_load(struct store *store, struct error *err);
int store_archived_put(struct store *store, struct error *err);

/* A cached statement, reset and without bindings. NULL: *err is set. */
sqlite3_stmt *store_statement(struct store *store, enum store_statement which, struct error *err);

/* Back to the cache, whatever state it is in. */
static inline void store_statement_done(sqlite3_stmt **statement)
{
	if (*statement) {
		(void)sqlite3_reset(*statement);
		(void)sqlite3_clear_bindings(*statement);
	}
}
#define auto_statement CLEANUP(store_statement_done)

/* SQLite's last error as negative errno, with the way out in the text. `doing`: "storing task 7".
 */
int store_error(struct store *store, struct error *err, const char *doing);
int store_damaged(const struct store *store, struct error *err, const char *doing, const char *how);

/* Run a statement that returns no rows. */
int store_run(struct store *store, sqlite3_stmt *statement, const char *doing,
	      struct error *err) MUST_CHECK;

/* Bring the schema to `STORE_SCHEMA_VERSION`. */
int store_migrate(struct store *store, struct error *err) MUST_CHECK;
