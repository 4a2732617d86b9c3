/*
 * What is remembered: SQLite in the state folder, WAL, synchronous=FULL: what store_commit() said 0
 * to is on the disk. One writer, who holds <folder>/lock for as long as the store is open.
 *
 * Work is done in units: store_begin(), any number of store_put_...(), store_commit(). A unit that
 * fails at any point leaves the store as it was before it (store_commit() and store_rollback() end
 * the unit whatever happens). Reading needs no unit.
 *
 * The store knows rows, not meaning: states and outcomes are names, the rest of a task is JSON of
 * the caller. Times are realtime milliseconds, 0 = not yet; texts may be NULL where said.
 *
 * Errors: -ENOSPC disk full, -EROFS read-only, -EBUSY another process has it (the text names the
 * pid), -EUCLEAN damaged, -EFBIG file limit, -EIO; each text says what to do.
 */
#pragma once

#include "util/error.h"
#include "util/text.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#define STORE_SCHEMA_VERSION 5

struct store;

/* Open (create, migrate) the store in `folder` (created with mode 0700; NULL = paths_state_dir()).
 * -EBUSY: another daemon runs on it. -EPROTO: written by a newer version. */
int store_open(const char *folder, struct store **ret_store, struct error *err) MUST_CHECK;
void store_close(struct store *store);
static inline void store_cleanup(struct store **store)
{
	store_close(*store);
}
#define auto_store CLEANUP(store_cleanup)

int store_begin(struct store *store, struct error *err) MUST_CHECK;
int store_commit(struct store *store, struct error *err) MUST_CHECK;
void store_rollback(struct store *store);
bool store_in_unit(const struct store *store);

struct store_batch {
	uint64_t id;
	const char *name;
	uid_t uid;
	const char *state, *on_failure;
	int64_t submitted_at_ms, first_start_ms, ended_at_ms;
	unsigned total;
	const char *summary; /* JSON, written when it has ended; NULL before */
};

struct store_task {
	uint64_t id, batch; /* batch 0 = none */
	unsigned row;
	const char *name, *kind, *state;
	const char *reason;      /* NULL = none */
	const char *fingerprint; /* NULL = none */
	int priority;
	uid_t uid;
	int64_t environment; /* 0 = none */
	int64_t submitted_at_ms, updated_at_ms;
	const char *spec; /* JSON: argv, cwd, request, policy, ...; what never changes */
	const char *more; /* JSON: counters and the like, what changes; NULL = none */
	bool archived;    /* read only: of its spec there is at most "command", no environment */
};

struct store_attempt {
	uint64_t task;
	unsigned number;
	const char *device, *policy, *reason;
	const char *gpus; /* JSON */
	int64_t started_at_ms, ended_at_ms;
	const char *outcome; /* NULL = goes on */
	bool exit_known;
	int exit_code, signal;
	uint64_t peak_vram_bytes, peak_ram_bytes; /* 0 = unknown */
	const char *more; /* JSON: its rung, batch size and the like; NULL = none */
};

/* One kind of task on one GPU model (place/estimates.h). */
struct store_profile {
	const char *kind, *model;
	double speed;
	uint64_t vram_request_bytes;
	double work_seconds, variance, utilization_percent;
	uint64_t peak_vram_bytes, peak_ram_bytes;
	unsigned samples;
	double hint_mean, hint_variance, hint_covariance;
	unsigned hint_samples;
	unsigned runs;           /* that ended, however */
	const char *peaks;       /* JSON: the last ones measured; NULL = none */
	uint64_t oom_vram_bytes; /* 0 = none */
	unsigned batch_size;     /* of the last run; 0 = not known */
	int64_t first_at_ms, last_at_ms;
};

/* Insert or replace, by id / (task, number) / (kind, model). Only inside a unit. Of a task that is
 * there already only state, reason, priority, updated_at_ms and more change. */
int store_put_batch(struct store *store, const struct store_batch *batch,
		    struct error *err) MUST_CHECK;
int store_put_task(struct store *store, const struct store_task *task,
		   struct error *err) MUST_CHECK;
int store_put_attempt(struct store *store, const struct store_attempt *attempt,
		      struct error *err) MUST_CHECK;
int store_put_profile(struct store *store, const struct store_profile *profile,
		      struct error *err) MUST_CHECK;
/* All of a kind, on whatever model; none is no error. Only inside a unit. */
int store_drop_profile(struct store *store, const char *kind, struct error *err) MUST_CHECK;

/* The id of an environment text (stored once, however many tasks share it). Only inside a unit. */
int store_intern_environment(struct store *store, const char *text, size_t len, int64_t *ret_id,
			     struct error *err) MUST_CHECK;
/* -ENOENT: no such id. */
int store_get_environment(struct store *store, int64_t id, struct text *ret_text,
			  struct error *err) MUST_CHECK;

/* What became of the submit its client calls `key`. */
struct store_submit {
	const char *key;
	bool is_batch;
	uint64_t id;      /* of the batch or the task */
	uint64_t skipped; /* rows of a batch that were done already */
};

/* A key is put once, in the unit of what it stands for. */
int store_put_submit(struct store *store, const struct store_submit *submit,
		     struct error *err) MUST_CHECK;
/* 1 found (all but the key is filled in), 0 never put. Sees what the open unit has put. */
int store_find_submit(struct store *store, const char *key, struct store_submit *ret_submit,
		      struct error *err) MUST_CHECK;

/* Small facts by key: put inside a unit; get gives -ENOENT when absent. */
int store_put_meta(struct store *store, const char *key, const char *value,
		   struct error *err) MUST_CHECK;
int store_get_meta(struct store *store, const char *key, char **ret_value,
		   struct error *err) MUST_CHECK;

/* Which tasks; zero = no condition. Conditions beside id, batch and the bounds of the ids look at
 * every row between these bounds: who asks a large store in turns of a loop sets them narrow. */
struct store_query {
	uint64_t id;
	uint64_t batch;
	const char *const *states; /* NULL-terminated names */
	const char *kind;
	const char *name; /* with * ? [] as in a shell */
	bool has_uid;     /* `uid` is a condition */
	uid_t uid;
	int64_t since_ms;            /* not ended yet, or ended at or after this */
	int64_t until_ms;            /* submitted before this */
	uint64_t above_id, below_id; /* id > this, id < this */
	bool unended;  /* not ended yet, or of a batch that goes on: what a daemon begins with */
	bool archived; /* those of the archive too; else only the others */
	bool newest_first;
	uint64_t limit, offset; /* limit 0 = all */
};

/* Rows one by one; what the callback gets is valid during it. A negative return ends the loop and
 * is returned. The callback may not call the store. */
typedef int store_task_f(void *data, const struct store_task *task);
typedef int store_batch_f(void *data, const struct store_batch *batch);
typedef int store_attempt_f(void *data, const struct store_attempt *attempt);
typedef int store_profile_f(void *data, const struct store_profile *profile);

int store_each_task(struct store *store, const struct store_query *query, store_task_f *f,
		    void *data, struct error *err) MUST_CHECK;
int store_count_tasks(struct store *store, const struct store_query *query, uint64_t *ret_n,
		      struct error *err) MUST_CHECK;
/* Of the tasks of the query (its order, limit and offset too), by task and number. Of an archived
 * task there is the last one, without the reason of its placement. */
int store_each_attempt(struct store *store, const struct store_query *query, store_attempt_f *f,
		       void *data, struct error *err) MUST_CHECK;
/* `id` 0 = all, oldest first; `open_only` = those with ended_at_ms 0. */
int store_each_batch(struct store *store, uint64_t id, bool open_only, store_batch_f *f, void *data,
		     struct error *err) MUST_CHECK;
int store_each_profile(struct store *store, store_profile_f *f, void *data,
		       struct error *err) MUST_CHECK;

/* The smallest and the largest id of a task there is, of the archive too; 0 and 0 = there is none.
 */
int store_id_bounds(struct store *store, uint64_t *ret_first, uint64_t *ret_last,
		    struct error *err) MUST_CHECK;

/* The largest ids ever given out, 0 = none. */
int store_last_ids(struct store *store, uint64_t *ret_task, uint64_t *ret_batch,
		   struct error *err) MUST_CHECK;

/* Is there a task in state "done" with this fingerprint? 1 yes (*ret_task, may be NULL), 0 no. */
int store_find_done(struct store *store, const char *fingerprint, uint64_t *ret_task,
		    struct error *err) MUST_CHECK;

/*
 * Keeping in bounds what has ended (archive.c). Each does a little, in the open unit where it
 * writes, so that a loop can do other things between.
 */

/* Tasks that have ended and are not archived. */
int store_count_ended(struct store *store, uint64_t *ret_n, struct error *err) MUST_CHECK;

/* Those of them that ended longest ago, and before `before_ms`; not of batches that go on. Their
 * ids go to `ids`; returns how many, at most `max`. */
int store_oldest_ended(struct store *store, int64_t before_ms, uint64_t *ids, size_t max,
		       struct error *err) MUST_CHECK;

/* Of one ended task keep what `queue` and `show` tell: names, state, reason, a command of up to
 * STORE_COMMAND_KEPT bytes of JSON, fingerprint and the last attempt. Its log files, where the
 * daemon chose their place, are to be removed then. */
#define STORE_COMMAND_KEPT 256
int store_archive_task(struct store *store, uint64_t id, struct error *err) MUST_CHECK;
/* How many there are; not counted, known. */
uint64_t store_count_archived(const struct store *store);

/* Forget the archived tasks of the smallest ids, at most `max`, and batches of which no task is
 * left; those whose logs are still to be removed stay. Returns how many. */
int store_drop_archived(struct store *store, size_t max, struct error *err) MUST_CHECK;

/* Archived tasks with logs to remove: attempts 1 to `attempts`. At most `max` ids; returns how
 * many. */
struct store_logs {
	uint64_t task;
	unsigned attempts;
};
int store_logs_to_remove(struct store *store, struct store_logs *logs, size_t max,
			 struct error *err) MUST_CHECK;
int store_logs_removed(struct store *store, uint64_t task, struct error *err) MUST_CHECK;

/* Drop environments no task has, among the `max` after the id *at, which moves on; 0 at the end. */
int store_drop_environments(struct store *store, int64_t *at, size_t max,
			    struct error *err) MUST_CHECK;

/* Give up to `pages` free pages of the file back to the file system. Returns how many are left.
 * Outside of units. */
int store_compact(struct store *store, unsigned pages, struct error *err) MUST_CHECK;
