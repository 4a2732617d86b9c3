/*
 * Opening, the lock, and units of work. One process writes: whoever holds flock() on <folder>/lock,
 * which the kernel lets go when that process ends however it ends, so a lock file left behind means
 * nothing. The pid in it is only for the message to a second one.
 *
 * WAL with synchronous=FULL: a commit is one fsync of the log. The daemon commits once a turn, with
 * everything that happened in it (group commit), before it answers anybody.
 */
#include "store/store_priv.h"

#include "util/file.h"
#include "util/paths.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

static int error_unwritable(struct error *err, int number, const char *path)
{
	return error_sys(err, number == EROFS || number == EACCES ? -EROFS : -number,
			 "cannot write %s; check its owner and mode and whether its file system is "
			 "mounted read-only",
			 path);
}

static int lock_take(const char *folder, int *ret_fd, struct error *err)
{
	auto_free char *path = mem_printf("%s/lock", folder);
	auto_close int fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
	char pid[32] = "";

	if (fd < 0)
		return error_unwritable(err, errno, path);
	if (flock(fd, LOCK_EX | LOCK_NB) < 0) {
		if (errno != EWOULDBLOCK)
			return error_sys(err, -errno, "cannot lock %s", path);
		(void)file_read_small(path, pid, sizeof pid);
		return error_set(err, -EBUSY,
				 "another plimsoll daemon (pid %s) already works on %s",
				 *pid ? pid : "unknown", folder);
	}
	(void)snprintf(pid, sizeof pid, "%d\n", (int)getpid());
	/* A full disk must not keep the daemon from starting: the pid is only for a message. */
	if (ftruncate(fd, 0) == 0 && fd_write_all(fd, pid, strlen(pid)) < 0)
		*pid = '\0';
	*ret_fd = TAKE_FD(fd);
	return 0;
}

/* A file that was not created by us keeps its mode; state holds environments, so others must not
 * read it. */
static int file_make_private(const char *path, struct error *err)
{
	auto_close int fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);

	if (fd < 0)
		return error_unwritable(err, errno, path);
	if (fchmod(fd, 0600) < 0)
		return error_sys(err, -errno, "cannot make %s private", path);
	return 0;
}

/* While the loop runs, waiting for a lock is everybody's waiting: the next turn tries again. */
#define BUSY_AT_OPEN_MS 2000
#define BUSY_MS         100

/* 100,000 tasks are 60 MB and take 0.2 s to look through. In a larger file a damaged page is found
 * when it is read. */
#define CHECK_BYTES_MAX ((off_t)256 << 20)

/* Found before anything is written: what could be saved of the file stays as it is. */
static int database_check(struct store *store, struct error *err)
{
	sqlite3_stmt *statement = NULL;
	const char *found;
	struct stat st;
	int r;

	if (stat(store->path, &st) == 0 && st.st_size > CHECK_BYTES_MAX)
		return 0;
	r = sqlite3_prepare_v2(store->db, "PRAGMA quick_check(1)", -1, &statement, NULL);
	if (r == SQLITE_OK && sqlite3_step(statement) == SQLITE_ROW) {
		found = (const char *)sqlite3_column_text(statement, 0);
		r = found && strcmp(found, "ok") == 0
			? 0
			: store_damaged(store, err, "opening the state database",
					found ? found : "unreadable");
	} else {
		r = store_error(store, err, "opening the state database");
	}
	(void)sqlite3_finalize(statement);
	return r;
}

/* A file of an earlier version cannot give pages back: it is written anew, once. Where there is no
 * room for that now, it works as it did, and the next start tries again. */
static void shrinking_enable(struct store *store)
{
	sqlite3_stmt *statement = NULL;
	int mode = 0;

	if (sqlite3_prepare_v2(store->db, "PRAGMA auto_vacuum", -1, &statement, NULL) ==
		SQLITE_OK &&
	    sqlite3_step(statement) == SQLITE_ROW)
		mode = sqlite3_column_int(statement, 0);
	(void)sqlite3_finalize(statement);
	if (mode == 0)
		(void)sqlite3_exec(store->db, "PRAGMA auto_vacuum = INCREMENTAL; VACUUM;", NULL,
				   NULL, NULL);
}

static int database_open(struct store *store, struct error *err)
{
	int r;
	static const char setup[] = "PRAGMA auto_vacuum = INCREMENTAL;" /* of a new file */
				    "PRAGMA journal_mode = WAL;"
				    "PRAGMA synchronous = FULL;"
				    "PRAGMA foreign_keys = OFF;"
				    "PRAGMA temp_store = MEMORY;"
				    "PRAGMA journal_size_limit = 16777216;";

	if (sqlite3_open_v2(store->path, &store->db,
			    SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE | SQLITE_OPEN_NOMUTEX,
			    NULL) != SQLITE_OK)
		return store_error(store, err, "opening the state database");
	(void)sqlite3_busy_timeout(store->db, BUSY_AT_OPEN_MS);
	r = database_check(store, err);
	if (r == 0 && sqlite3_exec(store->db, setup, NULL, NULL, NULL) != SQLITE_OK)
		r = store_error(store, err, "opening the state database");
	if (r == 0)
		r = store_migrate(store, err);
	if (r == 0)
		r = store_archived_load(store, err);
	if (r == 0)
		shrinking_enable(store);
	/* Nor may closing it move what is in the log into a damaged file. */
	if (r == -EUCLEAN)
		(void)sqlite3_db_config(store->db, SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, 1, NULL);
	(void)sqlite3_busy_timeout(store->db, BUSY_MS);
	return r;
}

int store_open(const char *folder, struct store **ret_store, struct error *err)
{
	auto_free char *own = folder ? mem_strdup(folder) : paths_state_dir();
	auto_store struct store *store = mem_calloc(1, sizeof *store);
	int r;

	store->lock_fd = -1;
	r = dir_create_private(own, err);
	if (r < 0)
		return r;
	r = lock_take(own, &store->lock_fd, err);
	if (r < 0)
		return r;
	store->path = mem_printf("%s/state.db", own);
	r = file_make_private(store->path, err);
	if (r < 0)
		return r;
	r = database_open(store, err);
	if (r < 0)
		return r;
	*ret_store = TAKE(store);
	return 0;
}

void store_close(struct store *store)
{
	if (!store)
		return;
	if (store->in_unit)
		store_rollback(store);
	for (unsigned i = 0; i < STMT_COUNT; i++)
		(void)sqlite3_finalize(store->statements[i]);
	(void)sqlite3_close(store->db);
	(void)fd_close(store->lock_fd); /* after the database: the lock guards it */
	free(store->path);
	free(store);
}

bool store_in_unit(const struct store *store)
{
	return store->in_unit;
}

int store_begin(struct store *store, struct error *err)
{
	auto_statement sqlite3_stmt *statement = store_statement(store, STMT_BEGIN, err);
	int r;

	if (!statement)
		return store_error(store, err, "beginning to store");
	if (store->in_unit)
		return error_set(err, -EALREADY, "a unit of work is already open");
	r = store_run(store, statement, "beginning to store", err);
	store->broken = false;
	store->in_unit = r == 0;
	return r;
}

int store_commit(struct store *store, struct error *err)
{
	int r;

	if (!store->in_unit)
		return error_set(err, -EINVAL, "no unit of work is open");
	if (store->broken) {
		store_rollback(store);
		return error_set(err, -EIO, "a write of this unit failed: nothing was stored");
	}
	r = store->archived_moved != 0 ? store_archived_put(store, err) : 0;
	if (r == 0) {
		auto_statement sqlite3_stmt *statement = store_statement(store, STMT_COMMIT, err);

		r = statement ? store_run(store, statement, "storing", err)
			      : store_error(store, err, "storing");
	}
	if (r < 0) {
		store_rollback(store);
		return r;
	}
	store->n_archived = store_count_archived(store);
	store->archived_moved = 0;
	store->in_unit = false;
	return 0;
}

void store_rollback(struct store *store)
{
	/* SQLite may have rolled back by itself (disk full, I/O error): nothing to do then. */
	if (!sqlite3_get_autocommit(store->db))
		(void)sqlite3_exec(store->db, "ROLLBACK", NULL, NULL, NULL);
	store->in_unit = false;
	store->broken = false;
	store->archived_moved = 0;
}
