/*
 * Statements and errors. Every statement is prepared once, kept in the context, and reset by its
 * cleanup attribute on every path: a statement left in the middle would hold its transaction open.
 * All results of SQLite go through one mapping, so that a full disk reads the same wherever it is
 * met.
 */
#include "store/store_priv.h"

#include <errno.h>
#include <unistd.h>

/* Word for word the condition of the index `task_ended`, else it is not used. */
#define IS_ENDED "(state = 'done' OR state = 'failed' OR state = 'canceled' OR state = 'lost')"

static const char *const texts[STMT_COUNT] = {
    [STMT_BEGIN] = "BEGIN IMMEDIATE",
    [STMT_COMMIT] = "COMMIT",
    [STMT_PUT_BATCH] =
	"INSERT INTO batch (id, name, uid, state, on_failure, submitted_at, first_start, ended_at, "
	"total, summary) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10) "
	"ON CONFLICT (id) DO UPDATE SET state = excluded.state, on_failure = excluded.on_failure, "
	"first_start = excluded.first_start, ended_at = excluded.ended_at, total = excluded.total, "
	"summary = coalesce(excluded.summary, summary)",
    [STMT_PUT_TASK] =
	"INSERT INTO task (id, batch, row, name, kind, state, reason, fingerprint, priority, uid, "
	"environment, submitted_at, updated_at, spec, more) "
	"VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15) "
	"ON CONFLICT (id) DO UPDATE SET state = excluded.state, reason = excluded.reason, "
	"priority = excluded.priority, updated_at = excluded.updated_at, more = excluded.more",
    [STMT_PUT_ATTEMPT] =
	"INSERT OR REPLACE INTO attempt (task, number, device, policy, reason, gpus, started_at, "
	"ended_at, outcome, exit_code, signal, peak_vram, peak_ram, more) "
	"VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14)",
    [STMT_PUT_PROFILE] =
	"INSERT OR REPLACE INTO profile (kind, model, speed, vram_request, work, variance, "
	"utilization, peak_vram, peak_ram, samples, hint_mean, hint_variance, hint_covariance, "
	"hint_samples, runs, peaks, oom_vram, batch_size, first_at, last_at) VALUES (?1, ?2, ?3, "
	"?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15, ?16, ?17, ?18, ?19, ?20)",
    [STMT_DROP_PROFILE] = "DELETE FROM profile WHERE kind = ?1",
    [STMT_PUT_META] = "INSERT OR REPLACE INTO meta (key, value) VALUES (?1, ?2)",
    [STMT_PUT_SUBMIT] = "INSERT INTO submit (key, is_batch, id, skipped) VALUES (?1, ?2, ?3, ?4)",
    [STMT_FIND_SUBMIT] = "SELECT is_batch, id, skipped FROM submit WHERE key = ?1",
    [STMT_GET_META] = "SELECT value FROM meta WHERE key = ?1",
    [STMT_ADD_ENVIRONMENT] = "INSERT INTO environment (hash, text) VALUES (?1, ?2)",
    [STMT_FIND_ENVIRONMENT] = "SELECT id FROM environment WHERE hash = ?1 AND text = ?2",
    [STMT_GET_ENVIRONMENT] = "SELECT text FROM environment WHERE id = ?1",
    [STMT_EACH_BATCH] =
	"SELECT id, name, uid, state, on_failure, submitted_at, first_start, ended_at, total, "
	"summary FROM batch WHERE (?1 = 0 OR id = ?1) AND (?2 = 0 OR ended_at = 0) ORDER BY id",
    [STMT_EACH_PROFILE] =
	"SELECT kind, model, speed, vram_request, work, variance, utilization, peak_vram, "
	"peak_ram, samples, hint_mean, hint_variance, hint_covariance, hint_samples, runs, peaks, "
	"oom_vram, batch_size, first_at, last_at FROM profile ORDER BY kind, model",
    [STMT_LAST_IDS] =
	"SELECT max((SELECT coalesce(max(id), 0) FROM task), "
	"(SELECT coalesce(max(id), 0) FROM archive), "
	"(SELECT coalesce(max(CAST(value AS INTEGER)), 0) FROM meta WHERE key = 'last_task')), "
	"max((SELECT coalesce(max(id), 0) FROM batch), "
	"(SELECT coalesce(max(CAST(value AS INTEGER)), 0) FROM meta WHERE key = 'last_batch'))",
    [STMT_ID_BOUNDS] =
	"SELECT min(coalesce((SELECT min(id) FROM task), 9223372036854775807), "
	"coalesce((SELECT min(id) FROM archive), 9223372036854775807)), "
	"max(coalesce((SELECT max(id) FROM task), 0), coalesce((SELECT max(id) FROM archive), 0))",
    [STMT_FIND_DONE] =
	"SELECT max(coalesce((SELECT max(id) FROM task WHERE fingerprint = ?1 AND state = 'done'), "
	"0), coalesce((SELECT max(id) FROM archive WHERE fingerprint = ?1 AND state = 'done'), 0))",
    [STMT_COUNT_ENDED] = "SELECT count(*) FROM task WHERE " IS_ENDED,
    [STMT_OLDEST_ENDED] =
	"SELECT id FROM task INDEXED BY task_ended WHERE " IS_ENDED " AND updated_at < ?1 "
	"AND batch NOT IN (SELECT id FROM batch WHERE ended_at = 0) ORDER BY updated_at LIMIT ?2",
    [STMT_ARCHIVE_COPY] =
	"INSERT OR REPLACE INTO archive (id, batch, row, name, kind, state, reason, fingerprint, "
	"priority, uid, submitted_at, updated_at, spec, number, device, policy, gpus, started_at, "
	"ended_at, outcome, exit_code, signal, peak_vram, peak_ram, more, logs) "
	"SELECT t.id, t.batch, t.row, t.name, t.kind, t.state, t.reason, t.fingerprint, "
	"t.priority, t.uid, t.submitted_at, t.updated_at, "
	"json_object('command', CASE WHEN length(t.spec -> '$.command') <= ?2 "
	"THEN json(t.spec -> '$.command') END, "
	"'private', json(CASE WHEN t.spec ->> '$.private' THEN 'true' ELSE 'false' END)), "
	"coalesce(a.number, 0), a.device, a.policy, a.gpus, a.started_at, a.ended_at, a.outcome, "
	"a.exit_code, a.signal, a.peak_vram, a.peak_ram, a.more, "
	"CASE WHEN t.spec ->> '$.log' IS NULL THEN coalesce(a.number, 0) ELSE 0 END "
	"FROM task t LEFT JOIN attempt a ON a.task = t.id "
	"AND a.number = (SELECT max(number) FROM attempt WHERE task = t.id) "
	"WHERE t.id = ?1 AND " IS_ENDED,
    [STMT_ARCHIVE_ATTEMPTS] = "DELETE FROM attempt WHERE task = ?1",
    [STMT_ARCHIVE_SUBMIT] = "DELETE FROM submit WHERE is_batch = 0 AND id = ?1",
    [STMT_ARCHIVE_TASK] = "DELETE FROM task WHERE id = ?1",
    [STMT_COUNT_ARCHIVED] = "SELECT count(*) FROM archive",
    [STMT_OLDEST_ARCHIVED] = "SELECT id, batch FROM archive WHERE logs = 0 ORDER BY id LIMIT ?1",
    [STMT_DROP_ARCHIVED] = "DELETE FROM archive WHERE id = ?1",
    [STMT_DROP_BATCH] = "DELETE FROM batch WHERE id = ?1 AND ended_at > 0 "
			"AND NOT EXISTS (SELECT 1 FROM archive WHERE batch = ?1 AND batch <> 0) "
			"AND NOT EXISTS (SELECT 1 FROM task WHERE batch = ?1 AND batch <> 0)",
    [STMT_DROP_BATCH_SUBMIT] = "DELETE FROM submit WHERE is_batch = 1 AND id = ?1 "
			       "AND NOT EXISTS (SELECT 1 FROM batch WHERE id = ?1)",
    [STMT_LOGS_TO_REMOVE] = "SELECT id, logs FROM archive WHERE logs > 0 ORDER BY id LIMIT ?1",
    [STMT_LOGS_REMOVED] = "UPDATE archive SET logs = 0 WHERE id = ?1",
    [STMT_ENVIRONMENTS_AFTER] =
	"SELECT max(id) FROM (SELECT id FROM environment WHERE id > ?1 ORDER BY id LIMIT ?2)",
    /* The largest stays whatever it is: its number must not be given out again. */
    [STMT_DROP_ENVIRONMENTS] =
	"DELETE FROM environment WHERE id > ?1 AND id <= ?2 "
	"AND id < (SELECT max(id) FROM environment) AND NOT EXISTS (SELECT 1 FROM task "
	"WHERE task.environment = environment.id AND task.environment <> 0)",
    [STMT_FREE_PAGES] = "PRAGMA freelist_count",
};

sqlite3_stmt *store_statement(struct store *store, enum store_statement which, struct error *err)
{
	sqlite3_stmt **slot = &store->statements[which];

	if (!*slot && sqlite3_prepare_v3(store->db, texts[which], -1, SQLITE_PREPARE_PERSISTENT,
					 slot, NULL) != SQLITE_OK) {
		(void)store_error(store, err, "preparing a statement");
		return NULL;
	}
	return *slot;
}

/* The kernel's word where SQLite only says "I/O error": quotas and file size limits. */
static int code_of(struct store *store)
{
	int code = store->db ? sqlite3_errcode(store->db) : SQLITE_NOMEM;

	if (code != SQLITE_IOERR)
		return code;
	/* What it did after the failed call may have changed errno. */
	if (access(store->path, W_OK) < 0 && errno == EROFS)
		return SQLITE_READONLY;
	switch (sqlite3_system_errno(store->db)) {
	case ENOSPC:
	case EDQUOT:
	case EFBIG:
		return SQLITE_FULL;
	case EROFS:
		return SQLITE_READONLY;
	default:
		return code;
	}
}

int store_damaged(const struct store *store, struct error *err, const char *doing, const char *how)
{
	return error_set(err, -EUCLEAN,
			 "%s: %s is damaged (%s): stop the daemon, try `sqlite3 %s .recover`, or "
			 "move the file away to start with an empty queue",
			 doing, store->path, how, store->path);
}

int store_error(struct store *store, struct error *err, const char *doing)
{
	int code = code_of(store);
	const char *path = store->path;

	switch (code) {
	case SQLITE_FULL:
		return error_set(
		    err, -ENOSPC,
		    "%s: the disk (or the quota, or the file size limit) of %s is full: "
		    "nothing of this was accepted; make room, it goes on by itself",
		    doing, path);
	case SQLITE_READONLY:
	case SQLITE_PERM:
		return error_set(err, -EROFS,
				 "%s: %s cannot be written (%s): check its owner, its mode and "
				 "whether its file system is mounted read-only",
				 doing, path, sqlite3_errmsg(store->db));
	case SQLITE_BUSY:
	case SQLITE_LOCKED:
		return error_set(err, -EBUSY,
				 "%s: another program holds %s locked (a database browser or a "
				 "backup?): close it",
				 doing, path);
	case SQLITE_CORRUPT:
	case SQLITE_NOTADB:
		return store_damaged(store, err, doing, sqlite3_errmsg(store->db));
	case SQLITE_TOOBIG:
		return error_set(err, -EFBIG, "%s: a value is too large for %s", doing, path);
	case SQLITE_CANTOPEN:
		return error_set(err, -EACCES,
				 "%s: cannot open %s: check the owner and mode of its folder",
				 doing, path);
	case SQLITE_NOMEM:
		return error_set(err, -ENOMEM, "%s: out of memory", doing);
	default:
		return error_set(err, -EIO, "%s: %s: %s (SQLite %d)", doing, path,
				 sqlite3_errmsg(store->db), sqlite3_extended_errcode(store->db));
	}
}

int store_run(struct store *store, sqlite3_stmt *statement, const char *doing, struct error *err)
{
	if (sqlite3_step(statement) == SQLITE_DONE)
		return 0;
	store->broken = true;
	return store_error(store, err, doing);
}
