/*
 * The schema. PRAGMA user_version holds the version of a file; a step takes it from one version to
 * the next. All steps run in one transaction: a file is either of the old version or of this one.
 * Steps are never edited once released: a new one is added and STORE_SCHEMA_VERSION raised.
 */
#include "store/store_priv.h"

#include <assert.h>
#include <errno.h>

/* Step i takes version i to i + 1; version 0 is the empty file. Ids are never used again: `last` of
 * sqlite_sequence is not needed: who deletes the row of a largest id keeps the number in `meta`.
 * `task_batch` serves a batch's tasks in order, `task_done` the fingerprints of --resume,
 * `task_ended` what is to be archived. `archive` holds what is remembered of tasks that ended long
 * ago, with their last attempt; `logs` = so many log files of it are still to be removed. */
static const char *const steps[] = {
    "CREATE TABLE meta (key TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;"
    "CREATE TABLE environment (id INTEGER PRIMARY KEY, hash INTEGER NOT NULL, text BLOB NOT NULL);"
    "CREATE INDEX environment_hash ON environment (hash);"
    "CREATE TABLE batch (id INTEGER PRIMARY KEY, name TEXT NOT NULL, uid INTEGER NOT NULL,"
    " state TEXT NOT NULL, on_failure TEXT NOT NULL, submitted_at INTEGER NOT NULL,"
    " first_start INTEGER NOT NULL, ended_at INTEGER NOT NULL, total INTEGER NOT NULL,"
    " summary TEXT);"
    "CREATE INDEX batch_open ON batch (id) WHERE ended_at = 0;"
    "CREATE TABLE task (id INTEGER PRIMARY KEY, batch INTEGER NOT NULL, row INTEGER NOT NULL,"
    " name TEXT NOT NULL, kind TEXT NOT NULL, state TEXT NOT NULL, reason TEXT, fingerprint TEXT,"
    " priority INTEGER NOT NULL, uid INTEGER NOT NULL, environment INTEGER NOT NULL,"
    " submitted_at INTEGER NOT NULL, updated_at INTEGER NOT NULL, spec TEXT NOT NULL, more TEXT);"
    "CREATE INDEX task_batch ON task (batch, id) WHERE batch <> 0;"
    "CREATE INDEX task_open ON task (state, id)"
    " WHERE state IN ('waiting', 'held', 'starting', 'running');"
    "CREATE INDEX task_done ON task (fingerprint)"
    " WHERE fingerprint IS NOT NULL AND state = 'done';"
    "CREATE TABLE attempt (task INTEGER NOT NULL, number INTEGER NOT NULL, device TEXT NOT NULL,"
    " policy TEXT NOT NULL, reason TEXT, gpus TEXT NOT NULL, started_at INTEGER NOT NULL,"
    " ended_at INTEGER NOT NULL, outcome TEXT, exit_code INTEGER, signal INTEGER,"
    " peak_vram INTEGER, peak_ram INTEGER, PRIMARY KEY (task, number)) WITHOUT ROWID;"
    "CREATE TABLE profile (kind TEXT NOT NULL, model TEXT NOT NULL, speed REAL NOT NULL,"
    " vram_request INTEGER NOT NULL, work REAL NOT NULL, variance REAL NOT NULL,"
    " utilization REAL NOT NULL, peak_vram INTEGER NOT NULL, peak_ram INTEGER NOT NULL,"
    " samples INTEGER NOT NULL, hint_mean REAL NOT NULL, hint_variance REAL NOT NULL,"
    " hint_covariance REAL NOT NULL, hint_samples INTEGER NOT NULL,"
    " PRIMARY KEY (kind, model)) WITHOUT ROWID;",
    /* 2: a submit that is sent again is known by its key. */
    "CREATE TABLE submit (key TEXT PRIMARY KEY, is_batch INTEGER NOT NULL, id INTEGER NOT NULL,"
    " skipped INTEGER NOT NULL) WITHOUT ROWID;",
    /* 3: what ended long ago moves to a place of its own. `task_open` is replaced by one whose
     * condition says what a query for all that has not ended says. */
    "CREATE TABLE archive (id INTEGER PRIMARY KEY, batch INTEGER NOT NULL, row INTEGER NOT NULL,"
    " name TEXT NOT NULL, kind TEXT NOT NULL, state TEXT NOT NULL, reason TEXT, fingerprint TEXT,"
    " priority INTEGER NOT NULL, uid INTEGER NOT NULL, submitted_at INTEGER NOT NULL,"
    " updated_at INTEGER NOT NULL, spec TEXT NOT NULL, number INTEGER NOT NULL, device TEXT,"
    " policy TEXT, gpus TEXT, started_at INTEGER, ended_at INTEGER, outcome TEXT,"
    " exit_code INTEGER, signal INTEGER, peak_vram INTEGER, peak_ram INTEGER,"
    " logs INTEGER NOT NULL);"
    "CREATE INDEX archive_batch ON archive (batch, id) WHERE batch <> 0;"
    "CREATE INDEX archive_done ON archive (fingerprint)"
    " WHERE fingerprint IS NOT NULL AND state = 'done';"
    "CREATE INDEX archive_logs ON archive (id) WHERE logs > 0;"
    "CREATE INDEX task_ended ON task (updated_at, batch)"
    " WHERE state IN ('done', 'failed', 'canceled', 'lost');"
    "CREATE INDEX task_environment ON task (environment) WHERE environment <> 0;"
    "DROP INDEX task_open;"
    "CREATE INDEX task_open ON task (id)"
    " WHERE state IN ('waiting', 'held', 'starting', 'running');"
    "CREATE INDEX submit_id ON submit (is_batch, id);",
    /* 4: the condition of `task_ended` is looked at in every change of a task: with more than two
     * values IN builds a table of them each time, which took longer than all the rest. No query
     * used `task_open`. */
    "DROP INDEX task_open;"
    "DROP INDEX task_ended;"
    "CREATE INDEX task_ended ON task (updated_at, batch)"
    " WHERE state = 'done' OR state = 'failed' OR state = 'canceled' OR state = 'lost';",
    /* 5: what a kind's need of memory stands on. The largest peak that an earlier version saw is
     * the first of them: it was of a run that ended well. */
    "ALTER TABLE attempt ADD COLUMN more TEXT;"
    "ALTER TABLE archive ADD COLUMN more TEXT;"
    "ALTER TABLE profile ADD COLUMN runs INTEGER NOT NULL DEFAULT 0;"
    "ALTER TABLE profile ADD COLUMN peaks TEXT;"
    "ALTER TABLE profile ADD COLUMN oom_vram INTEGER NOT NULL DEFAULT 0;"
    "ALTER TABLE profile ADD COLUMN batch_size INTEGER NOT NULL DEFAULT 0;"
    "ALTER TABLE profile ADD COLUMN first_at INTEGER NOT NULL DEFAULT 0;"
    "ALTER TABLE profile ADD COLUMN last_at INTEGER NOT NULL DEFAULT 0;"
    "UPDATE profile SET runs = samples, peaks = json_object("
    "'vram', CASE WHEN peak_vram > 0 THEN json_array(peak_vram) ELSE json_array() END,"
    "'ram', CASE WHEN peak_ram > 0 THEN json_array(peak_ram) ELSE json_array() END);",
};
static_assert(ARRAY_LEN(steps) == STORE_SCHEMA_VERSION, "one step for each version");

static int exec(struct store *store, const char *sql, struct error *err)
{
	if (sqlite3_exec(store->db, sql, NULL, NULL, NULL) != SQLITE_OK)
		return store_error(store, err, "preparing the state database");
	return 0;
}

static int version_get(struct store *store, int *ret_version, struct error *err)
{
	sqlite3_stmt *statement = NULL;
	int r = 0;

	if (sqlite3_prepare_v2(store->db, "PRAGMA user_version", -1, &statement, NULL) ==
		SQLITE_OK &&
	    sqlite3_step(statement) == SQLITE_ROW)
		*ret_version = sqlite3_column_int(statement, 0);
	else
		r = store_error(store, err, "reading the state database");
	(void)sqlite3_finalize(statement);
	return r;
}

static int steps_run(struct store *store, int version, struct error *err)
{
	char pragma[64];
	int r = 0;

	for (int i = version; r == 0 && i < STORE_SCHEMA_VERSION; i++)
		r = exec(store, steps[i], err);
	if (r < 0)
		return r;
	(void)snprintf(pragma, sizeof pragma, "PRAGMA user_version = %d", STORE_SCHEMA_VERSION);
	return exec(store, pragma, err);
}

int store_migrate(struct store *store, struct error *err)
{
	int version = 0;
	int r = version_get(store, &version, err);

	if (r < 0)
		return r;
	if (version > STORE_SCHEMA_VERSION)
		return error_set(err, -EPROTO,
				 "%s was written by a newer plimsoll (schema %d, this one knows "
				 "%d): run that one, or set XDG_STATE_HOME to another folder",
				 store->path, version, STORE_SCHEMA_VERSION);
	if (version == STORE_SCHEMA_VERSION)
		return 0;
	r = exec(store, "BEGIN IMMEDIATE", err);
	if (r < 0)
		return r;
	r = steps_run(store, version, err);
	if (r == 0)
		r = exec(store, "COMMIT", err);
	if (r < 0)
		(void)sqlite3_exec(store->db, "ROLLBACK", NULL, NULL, NULL);
	return r;
}
