/* The store: what was committed is there, what was not is not, whatever happens in between. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include "store/store.h"
#include "util/file.h"

#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <sched.h>
#include <signal.h>
#include <sqlite3.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

struct folder {
	char path[64];
};

static int folder_create(void **state)
{
	struct folder *folder = mem_calloc(1, sizeof *folder);

	(void)snprintf(folder->path, sizeof folder->path, "/tmp/plimsoll-store-XXXXXX");
	*state = folder;
	return mkdtemp(folder->path) ? 0 : -1;
}

static int remove_one(const char *path, const struct stat *st, int type, struct FTW *ftw)
{
	(void)st;
	(void)type;
	(void)ftw;
	return remove(path);
}

static int folder_destroy(void **state)
{
	struct folder *folder = *state;

	(void)chmod(folder->path, 0700);
	(void)nftw(folder->path, remove_one, 8, FTW_DEPTH | FTW_PHYS);
	free(folder);
	return 0;
}

static struct store *open_store(const struct folder *folder)
{
	struct store *store = NULL;
	struct error err = {};

	if (store_open(folder->path, &store, &err) < 0)
		fail_msg("%s", err.text);
	return store;
}

static struct store_task task_of(uint64_t id, const char *state)
{
	return (struct store_task){.id = id,
				   .batch = 1,
				   .row = (unsigned)id,
				   .name = "row",
				   .kind = "k",
				   .state = state,
				   .uid = 1000,
				   .submitted_at_ms = 1000,
				   .updated_at_ms = 1000 + (int64_t)id,
				   .spec = "{\"command\":[\"true\"]}"};
}

static void put(struct store *store, const struct store_task *task)
{
	struct error err = {};

	if (store_put_task(store, task, &err) < 0)
		fail_msg("%s", err.text);
}

static uint64_t count(struct store *store)
{
	uint64_t n = 0;
	struct error err;

	assert_int_equal(store_count_tasks(store, NULL, &n, &err), 0);
	return n;
}

struct seen {
	uint64_t ids[64];
	size_t n;
	struct store_attempt attempt;
	char state[16], reason[64], more[64], gpus[64], outcome[16], summary[64];
	char attempt_more[64], peaks[80];
	unsigned runs;
	double work, hint;
};

static int see_task(void *data, const struct store_task *task)
{
	struct seen *seen = data;

	seen->ids[seen->n++ % 64] = task->id;
	(void)snprintf(seen->state, sizeof seen->state, "%s", task->state);
	(void)snprintf(seen->reason, sizeof seen->reason, "%s", task->reason ? task->reason : "-");
	(void)snprintf(seen->more, sizeof seen->more, "%s", task->more ? task->more : "-");
	return 0;
}

static int see_attempt(void *data, const struct store_attempt *attempt)
{
	struct seen *seen = data;

	seen->n++;
	seen->attempt = *attempt;
	(void)snprintf(seen->gpus, sizeof seen->gpus, "%s", attempt->gpus);
	(void)snprintf(seen->outcome, sizeof seen->outcome, "%s",
		       attempt->outcome ? attempt->outcome : "-");
	(void)snprintf(seen->attempt_more, sizeof seen->attempt_more, "%s",
		       attempt->more ? attempt->more : "-");
	return 0;
}

static int see_batch(void *data, const struct store_batch *batch)
{
	struct seen *seen = data;

	seen->ids[seen->n++] = batch->id;
	(void)snprintf(seen->state, sizeof seen->state, "%s", batch->state);
	(void)snprintf(seen->summary, sizeof seen->summary, "%s",
		       batch->summary ? batch->summary : "-");
	return 0;
}

static int see_profile(void *data, const struct store_profile *profile)
{
	struct seen *seen = data;

	seen->n++;
	seen->work = profile->work_seconds;
	seen->hint = profile->hint_covariance;
	seen->runs = profile->runs;
	(void)snprintf(seen->peaks, sizeof seen->peaks, "%s",
		       profile->peaks ? profile->peaks : "-");
	return 0;
}

static int refuse(void *data, const struct store_task *task)
{
	(void)data;
	(void)task;
	return -ECANCELED;
}

static void test_rows_come_back(void **state)
{
	auto_store struct store *store = open_store(*state);
	struct seen seen = {};
	struct store_task task = task_of(7, "waiting");
	struct store_batch batch = {
	    .id = 1, .name = "b", .state = "running", .on_failure = "ask", .total = 1};
	struct store_attempt attempt = {.task = 7,
					.number = 1,
					.device = "cuda:0",
					.policy = "auto",
					.gpus = "[{\"index\":1}]",
					.started_at_ms = 5};
	struct error err;

	assert_int_equal(store_put_task(store, &task, &err), -EINVAL); /* no unit */
	assert_int_equal(store_begin(store, &err), 0);
	assert_int_equal(store_begin(store, &err), -EALREADY);
	assert_int_equal(store_put_batch(store, &batch, &err), 0);
	put(store, &task);
	assert_int_equal(store_put_attempt(store, &attempt, &err), 0);
	assert_int_equal(store_commit(store, &err), 0);
	assert_int_equal(store_each_attempt(store, NULL, see_attempt, &seen, &err), 0);
	assert_int_equal(seen.n, 1);
	assert_false(seen.attempt.exit_known);
	assert_int_equal(seen.attempt.peak_vram_bytes, 0);
	assert_string_equal(seen.outcome, "-");
	assert_string_equal(seen.attempt_more, "-");
	assert_string_equal(seen.gpus, "[{\"index\":1}]");

	assert_int_equal(store_begin(store, &err), 0);
	task.state = "failed";
	task.reason = "exit code 3";
	task.more = "{\"requeues\":1}";
	task.spec = "changed"; /* what never changes does not */
	put(store, &task);
	attempt.exit_known = true;
	attempt.exit_code = 3;
	attempt.outcome = "error";
	attempt.peak_vram_bytes = 1ull << 40;
	attempt.more = "{\"rung\":\"alone\"}";
	assert_int_equal(store_put_attempt(store, &attempt, &err), 0);
	batch.state = "done";
	batch.ended_at_ms = 9;
	batch.summary = "{}";
	assert_int_equal(store_put_batch(store, &batch, &err), 0);
	batch.summary = NULL; /* NULL leaves it */
	assert_int_equal(store_put_batch(store, &batch, &err), 0);
	assert_int_equal(store_commit(store, &err), 0);

	seen = (struct seen){};
	assert_int_equal(store_each_task(store, NULL, see_task, &seen, &err), 0);
	assert_int_equal(seen.n, 1);
	assert_string_equal(seen.state, "failed");
	assert_string_equal(seen.reason, "exit code 3");
	assert_string_equal(seen.more, "{\"requeues\":1}");
	assert_int_equal(store_each_task(store, NULL, refuse, NULL, &err), -ECANCELED);
	seen = (struct seen){};
	assert_int_equal(store_each_attempt(store, NULL, see_attempt, &seen, &err), 0);
	assert_int_equal(seen.n, 1);
	assert_true(seen.attempt.exit_known);
	assert_int_equal(seen.attempt.exit_code, 3);
	assert_int_equal(seen.attempt.peak_vram_bytes, 1ull << 40);
	assert_string_equal(seen.attempt_more, "{\"rung\":\"alone\"}");
	seen = (struct seen){};
	assert_int_equal(store_each_batch(store, 0, true, see_batch, &seen, &err), 0);
	assert_int_equal(seen.n, 0);
	assert_int_equal(store_each_batch(store, 1, false, see_batch, &seen, &err), 0);
	assert_int_equal(seen.n, 1);
	assert_string_equal(seen.summary, "{}");
}

static void test_queries(void **state)
{
	auto_store struct store *store = open_store(*state);
	static const char *const waiting[] = {"waiting", "held", NULL};
	struct seen seen = {};
	uint64_t n, task = 0, batch = 99;
	struct error err;

	assert_int_equal(store_last_ids(store, &task, &batch, &err), 0);
	assert_int_equal(task, 0);
	assert_int_equal(batch, 0);
	assert_int_equal(store_begin(store, &err), 0);
	for (uint64_t id = 1; id <= 20; id++) {
		struct store_task t = task_of(id, id % 2 ? "waiting" : "done");

		t.batch = id > 10 ? 2 : 0;
		t.fingerprint = id == 4 || id == 5 ? "same" : NULL;
		put(store, &t);
	}
	assert_int_equal(store_commit(store, &err), 0);
	assert_int_equal(
	    store_each_task(
		store,
		&(struct store_query){
		    .states = waiting, .batch = 2, .newest_first = true, .limit = 2, .offset = 1},
		see_task, &seen, &err),
	    0);
	assert_int_equal(seen.n, 2);
	assert_int_equal(seen.ids[0], 17);
	assert_int_equal(seen.ids[1], 15);
	assert_int_equal(store_count_tasks(store,
					   &(struct store_query){.since_ms = 1019, .above_id = 12},
					   &n, &err),
			 0);
	assert_int_equal(n, 5); /* 13, 15, 17, 19 wait; 20 ended since; 14, 16, 18 before */
	assert_int_equal(store_find_done(store, "same", &task, &err), 1);
	assert_int_equal(task, 4); /* 5 has it too, but waits */
	assert_int_equal(store_find_done(store, "other", NULL, &err), 0);
	assert_int_equal(store_last_ids(store, &task, &batch, &err), 0);
	assert_int_equal(task, 20);
}

static void test_environments_are_kept_once(void **state)
{
	auto_store struct store *store = open_store(*state);
	static const char text[] = "PATH=/bin\0HOME=/root";
	int64_t one, two, three;
	auto_text struct text back = {};
	struct error err;

	assert_int_equal(store_begin(store, &err), 0);
	assert_int_equal(store_intern_environment(store, text, sizeof text, &one, &err), 0);
	assert_int_equal(store_intern_environment(store, text, sizeof text, &two, &err), 0);
	assert_int_equal(store_intern_environment(store, text, 9, &three, &err), 0);
	assert_int_equal(store_commit(store, &err), 0);
	assert_int_equal(one, two);
	assert_int_not_equal(one, three);
	assert_int_equal(store_get_environment(store, one, &back, &err), 0);
	assert_int_equal(back.len, sizeof text);
	assert_memory_equal(back.data, text, sizeof text);
	assert_int_equal(store_get_environment(store, 77, &back, &err), -ENOENT);
}

static void test_meta_and_profiles(void **state)
{
	auto_store struct store *store = open_store(*state);
	const struct store_profile profile = {.kind = "whisper",
					      .model = "RTX",
					      .work_seconds = 12.5,
					      .hint_covariance = 0.25,
					      .runs = 7,
					      .peaks = "{\"vram\":[1,-2]}"};
	auto_free char *value = NULL;
	struct seen seen = {};
	struct error err;

	assert_int_equal(store_get_meta(store, "boot", &value, &err), -ENOENT);
	assert_int_equal(store_begin(store, &err), 0);
	assert_int_equal(store_put_meta(store, "boot", "one", &err), 0);
	assert_int_equal(store_put_meta(store, "boot", "two", &err), 0);
	assert_int_equal(store_put_profile(store, &profile, &err), 0);
	assert_int_equal(store_put_profile(store, &profile, &err), 0);
	assert_int_equal(store_commit(store, &err), 0);
	assert_int_equal(store_get_meta(store, "boot", &value, &err), 0);
	assert_string_equal(value, "two");
	assert_int_equal(store_each_profile(store, see_profile, &seen, &err), 0);
	assert_int_equal(seen.n, 1);
	assert_true(seen.work == 12.5 && seen.hint == 0.25);
	assert_int_equal(seen.runs, 7);
	assert_string_equal(seen.peaks, "{\"vram\":[1,-2]}");

	assert_int_equal(store_drop_profile(store, "whisper", &err), -EINVAL); /* no unit */
	assert_int_equal(store_begin(store, &err), 0);
	assert_int_equal(store_drop_profile(store, "nobody", &err), 0);
	assert_int_equal(store_drop_profile(store, "whisper", &err), 0);
	assert_int_equal(store_commit(store, &err), 0);
	seen.n = 0;
	assert_int_equal(store_each_profile(store, see_profile, &seen, &err), 0);
	assert_int_equal(seen.n, 0);
}

static void test_rollback(void **state)
{
	auto_store struct store *store = open_store(*state);
	const struct store_task task = task_of(1, "waiting");
	struct error err;

	assert_int_equal(store_begin(store, &err), 0);
	put(store, &task);
	store_rollback(store);
	assert_false(store_in_unit(store));
	assert_int_equal(count(store), 0);
	assert_int_equal(store_commit(store, &err), -EINVAL);
	assert_int_equal(store_begin(store, &err), 0);
	assert_int_equal(store_commit(store, &err), 0);
}

static void test_second_daemon_is_refused(void **state)
{
	struct store *store = open_store(*state), *second = NULL;
	char pid[32];
	auto_free char *database = mem_printf("%s/state.db", ((struct folder *)*state)->path);
	struct stat st;
	struct error err;

	(void)snprintf(pid, sizeof pid, "pid %d", (int)getpid());
	assert_int_equal(store_open(((struct folder *)*state)->path, &second, &err), -EBUSY);
	assert_non_null(strstr(err.text, pid));
	assert_null(second);
	assert_int_equal(stat(database, &st), 0);
	assert_int_equal(st.st_mode & 0777, 0600);
	store_close(store);
	store_close(open_store(*state)); /* the lock goes with its holder */
}

/* Each child dies in the middle of a unit, at another place; what was committed before stays. */
static void test_killed_in_a_unit(void **state)
{
	uint64_t committed = 0;

	for (int round = 0; round < 6; round++) {
		int status, ready[2];
		char byte;
		pid_t pid;

		assert_int_equal(pipe(ready), 0);
		pid = fork();
		if (pid == 0) {
			struct store *store = open_store(*state);
			uint64_t id = committed + 1;
			struct store_task task = task_of(id, "waiting");
			struct error err;

			if (store_begin(store, &err) < 0)
				_exit(1);
			put(store, &task);
			if (store_commit(store, &err) < 0 || store_begin(store, &err) < 0)
				_exit(2);
			/* Enough for SQLite to spill uncommitted pages into the log. */
			for (int i = 1; i < 40000 / (1 << round); i++) {
				task = task_of(id + (uint64_t)i, "waiting");
				put(store, &task);
			}
			(void)!write(ready[1], "x", 1);
			if (round % 2)
				_exit(0);
			(void)pause();
		}
		(void)close(ready[1]);
		assert_int_equal(read(ready[0], &byte, 1), 1);
		(void)close(ready[0]);
		(void)kill(pid, SIGKILL);
		assert_int_equal(waitpid(pid, &status, 0), pid);
		committed++;
		{
			auto_store struct store *store = open_store(*state);

			assert_int_equal(count(store), committed);
		}
	}
}

/* Run `f` in a child; returns what it returns, -1 when it died. */
static int in_child(int (*f)(const struct folder *folder), const struct folder *folder)
{
	int status;
	pid_t pid = fork();

	if (pid == 0)
		_exit(f(folder));
	assert_int_equal(waitpid(pid, &status, 0), pid);
	return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

#define CHECK(condition)                                                                        \
	do {                                                                                    \
		if (!(condition)) {                                                             \
			printf("# line %d: %s (%s)\n", __LINE__, #condition, error_text(&err)); \
			(void)fflush(stdout);                                                   \
			return 1;                                                               \
		}                                                                               \
	} while (0)

/* Write until it fails; then nothing of the unit is there, and with room again it goes on. */
static int fill(struct store *store, int code)
{
	struct error err = {};
	uint64_t before, after;
	int r = 0;

	CHECK(store_count_tasks(store, NULL, &before, &err) == 0);
	CHECK(store_begin(store, &err) == 0);
	for (uint64_t id = before + 1; r == 0 && id < 200000; id++) {
		const struct store_task task = task_of(id, "waiting");

		r = store_put_task(store, &task, &err);
	}
	if (r == 0)
		r = store_commit(store, &err);
	else
		CHECK(store_commit(store, NULL) < 0);
	CHECK(r == code);
	CHECK(strstr(err.text, "full"));
	CHECK(!store_in_unit(store));
	CHECK(store_count_tasks(store, NULL, &after, &err) == 0);
	CHECK(after == before);
	return 0;
}

static int file_limit_child(const struct folder *folder)
{
	struct store *store = open_store(folder);
	struct rlimit limit;
	struct store_task task = task_of(1, "waiting");
	struct error err = {};

	CHECK(getrlimit(RLIMIT_FSIZE, &limit) == 0);
	CHECK(store_begin(store, &err) == 0 && store_put_task(store, &task, &err) == 0 &&
	      store_commit(store, &err) == 0);
	(void)signal(SIGXFSZ, SIG_IGN);
	limit.rlim_cur = 1 << 20;
	CHECK(setrlimit(RLIMIT_FSIZE, &limit) == 0);
	if (fill(store, -ENOSPC) != 0)
		return 1;
	limit.rlim_cur = limit.rlim_max;
	CHECK(setrlimit(RLIMIT_FSIZE, &limit) == 0);
	task.state = "done";
	CHECK(store_begin(store, &err) == 0 && store_put_task(store, &task, &err) == 0 &&
	      store_commit(store, &err) == 0);
	store_close(store);
	return 0;
}

static void test_file_size_limit(void **state)
{
	assert_int_equal(in_child(file_limit_child, *state), 0);
}

static int full_disk_child(const struct folder *folder)
{
	auto_free char *inside = mem_printf("%s/state", folder->path);
	struct folder there;
	struct store *store;
	struct error err = {};

	/* A disk of its own, seen by this process only; needs root, or user namespaces. */
	if (geteuid() != 0 ? unshare(CLONE_NEWUSER | CLONE_NEWNS) < 0 : unshare(CLONE_NEWNS) < 0)
		return 77;
	if (mount("none", "/", "none", MS_REC | MS_PRIVATE, NULL) < 0 ||
	    mount("none", folder->path, "tmpfs", 0, "size=2m,mode=0700") < 0)
		return 77;
	(void)snprintf(there.path, sizeof there.path, "%s", inside);
	store = open_store(&there);
	if (fill(store, -ENOSPC) != 0)
		return 1;
	store_close(store);
	/* It can be opened, and read, on the full disk too. */
	store = open_store(&there);
	CHECK(count(store) == 0);
	store_close(store);
	return 0;
}

static void test_full_disk(void **state)
{
	int r = in_child(full_disk_child, *state);

	if (r == 77)
		skip();
	assert_int_equal(r, 0);
}

static int read_only_child(const struct folder *folder)
{
	struct store *store = NULL;
	struct error err = {};

	if (geteuid() == 0 && (setgid(65534) < 0 || setuid(65534) < 0))
		return 77;
	CHECK(store_open(folder->path, &store, &err) < 0);
	CHECK(err.code == -EACCES || err.code == -EROFS);
	CHECK(strstr(err.text, folder->path));
	return 0;
}

static void make_read_only(const struct folder *folder)
{
	auto_free char *path = mem_printf("%s/state.db", folder->path);
	auto_free char *lock = mem_printf("%s/lock", folder->path);

	store_close(open_store(folder));
	if (geteuid() == 0) {
		assert_int_equal(chown(folder->path, 65534, 65534), 0);
		assert_int_equal(chown(path, 65534, 65534), 0);
		assert_int_equal(chown(lock, 65534, 65534), 0);
	}
	assert_int_equal(chmod(path, 0400), 0);
	assert_int_equal(chmod(folder->path, 0500), 0);
}

static void test_read_only(void **state)
{
	int r;

	make_read_only(*state);
	r = in_child(read_only_child, *state);
	if (r == 77)
		skip();
	assert_int_equal(r, 0);
}

static void test_damaged(void **state)
{
	const struct folder *folder = *state;
	auto_free char *path = mem_printf("%s/state.db", folder->path);
	struct store *store = NULL;
	struct error err;
	char garbage[4096];

	memset(garbage, 'x', sizeof garbage);
	assert_int_equal(file_replace(path, garbage, sizeof garbage, 0600, &err), 0);
	assert_int_equal(store_open(folder->path, &store, &err), -EUCLEAN);
	assert_non_null(strstr(err.text, "damaged"));
}

/* Another program with the file locked: said so, nothing stored, and it goes on after. */
static void test_locked_by_another_program(void **state)
{
	auto_free char *database = mem_printf("%s/state.db", ((struct folder *)*state)->path);
	auto_store struct store *store = open_store(*state);
	sqlite3 *other;
	struct error err;

	assert_int_equal(sqlite3_open(database, &other), SQLITE_OK);
	assert_int_equal(sqlite3_exec(other, "BEGIN IMMEDIATE", NULL, NULL, NULL), SQLITE_OK);
	assert_int_equal(store_begin(store, &err), -EBUSY);
	assert_non_null(strstr(err.text, "locked"));
	assert_int_equal(sqlite3_exec(other, "COMMIT", NULL, NULL, NULL), SQLITE_OK);
	assert_int_equal(sqlite3_close(other), SQLITE_OK);
	assert_int_equal(store_begin(store, &err), 0);
	assert_int_equal(store_commit(store, &err), 0);
}

static void exec_file(const char *database, const char *sql)
{
	sqlite3 *db;
	char *message = NULL;

	assert_int_equal(sqlite3_open(database, &db), SQLITE_OK);
	if (sqlite3_exec(db, sql, NULL, NULL, &message) != SQLITE_OK)
		fail_msg("%s", message);
	assert_int_equal(sqlite3_close(db), SQLITE_OK);
	assert_int_equal(chmod(database, 0600), 0);
}

/* Keys of submits: since version 2; a file of any version takes new ones. */
static void check_submit_key(struct store *store, bool there)
{
	const struct store_submit put = {.key = "new", .id = 42};
	struct store_submit found = {};
	struct error err;

	assert_int_equal(store_find_submit(store, "5ca1ab1e", &found, &err), there);
	if (there) {
		assert_true(found.is_batch);
		assert_int_equal(found.id, 3);
		assert_int_equal(found.skipped, 7);
	}
	assert_int_equal(store_find_submit(store, "new", &found, &err), 0);
	assert_int_equal(store_begin(store, &err), 0);
	assert_int_equal(store_put_submit(store, &put, &err), 0);
	assert_int_equal(store_find_submit(store, "new", &found, &err), 1);
	store_rollback(store);
	assert_int_equal(store_find_submit(store, "new", &found, &err), 0);
	assert_int_equal(store_begin(store, &err), 0);
	assert_int_equal(store_put_submit(store, &put, &err), 0);
	assert_int_equal(store_commit(store, &err), 0);
	assert_int_equal(store_find_submit(store, "new", &found, &err), 1);
	assert_false(found.is_batch);
	assert_int_equal(found.id, 42);
}

/* tests/cases/store/v<N>.sql is a file as version N wrote it, with task 41 running in batch 3; it
 * must open as the present version with everything in it. */
static void test_every_earlier_version(void **state)
{
	const char *root = getenv("PLIMSOLL_SOURCE");

	if (!root)
		skip();
	for (int version = 1; version <= STORE_SCHEMA_VERSION; version++) {
		auto_free char *path = mem_printf("%s/tests/cases/store/v%d.sql", root, version);
		auto_free char *database =
		    mem_printf("%s/state.db", ((struct folder *)*state)->path);
		auto_text struct text sql = {};
		struct seen seen = {};
		struct error err;

		(void)unlink(database);
		assert_int_equal(file_read(path, 1 << 20, false, &sql, &err), 0);
		exec_file(database, sql.data);
		{
			auto_store struct store *store = open_store(*state);

			assert_int_equal(store_each_task(store, NULL, see_task, &seen, &err), 0);
			assert_int_equal(seen.n, 1);
			assert_int_equal(seen.ids[0], 41);
			assert_string_equal(seen.state, "running");
			seen.n = 0;
			assert_int_equal(store_each_batch(store, 3, true, see_batch, &seen, &err),
					 0);
			assert_int_equal(seen.n, 1);
			seen.n = 0;
			assert_int_equal(store_each_attempt(store, NULL, see_attempt, &seen, &err),
					 0);
			assert_int_equal(seen.n, 1);
			seen.n = 0;
			assert_string_equal(seen.attempt_more,
					    version >= 5 ? "{\"batch_size\":8}" : "-");
			seen.n = 0;
			assert_int_equal(store_each_profile(store, see_profile, &seen, &err), 0);
			assert_int_equal(seen.n, 1);
			assert_int_equal(seen.runs, version >= 5 ? 13 : 12);
			assert_string_equal(seen.peaks,
					    "{\"vram\":[4800000000],\"ram\":[7000000000]}");
			check_submit_key(store, version >= 2);
		}
	}
}

static int see_archived(void *data, const struct store_task *task)
{
	struct seen *seen = data;

	(void)snprintf(seen->more, sizeof seen->more, "%s%s", task->archived ? "archived " : "",
		       task->spec);
	return see_task(data, task);
}

static void end_task(struct store *store, uint64_t id, const char *fingerprint, const char *spec)
{
	struct store_task task = task_of(id, "done");
	const struct store_attempt attempt = {.task = id,
					      .number = 2,
					      .device = "cuda:0",
					      .policy = "auto",
					      .gpus = "[]",
					      .started_at_ms = 5,
					      .ended_at_ms = 6,
					      .outcome = "ok",
					      .exit_known = true,
					      .more = "{\"batch_size\":4}"};
	struct error err;

	task.fingerprint = fingerprint;
	task.spec = spec;
	assert_int_equal(
	    store_intern_environment(store, spec, strlen(spec), &task.environment, &err), 0);
	put(store, &task);
	assert_int_equal(store_put_attempt(store, &attempt, &err), 0);
}

static uint64_t archived_count(struct store *store)
{
	uint64_t n = store_count_archived(store);
	auto_free char *kept = NULL;
	struct error err;

	/* What the next one to open the file will take it for. */
	if (store_get_meta(store, "archived_tasks", &kept, &err) == 0)
		assert_int_equal(strtoull(kept, NULL, 10), n);
	else
		assert_int_equal(n, 0);
	return n;
}

static void check_kept(struct store *store, const char *value)
{
	auto_free char *kept = NULL;
	struct error err;

	assert_int_equal(store_get_meta(store, "archived_tasks", &kept, &err), 0);
	assert_string_equal(kept, value);
}

/* A file of the version before the number was kept: it is counted, once. */
static void test_archive_uncounted(void **state)
{
	struct error err;

	for (int round = 0; round < 3; round++) {
		auto_store struct store *store = open_store(*state);

		assert_int_equal(store_count_archived(store), round);
		assert_int_equal(store_begin(store, &err), 0);
		end_task(store, (uint64_t)round + 1, NULL, "{}");
		assert_int_equal(store_archive_task(store, (uint64_t)round + 1, &err), 0);
		assert_int_equal(store_commit(store, &err), 0);
		check_kept(store, (const char *[]){"1", "2", "3"}[round]);
		assert_int_equal(store_begin(store, &err), 0);
		assert_int_equal(store_put_meta(store, "archived_tasks", "none", &err), 0);
		assert_int_equal(store_commit(store, &err), 0);
	}
}

/* From `task` to `archive`, and out of that: what is kept at each step, and that numbers of tasks
 * and environments are never given out again. */
static void test_archive(void **state)
{
	const struct store_query one = {.id = 1, .archived = true};
	struct seen seen = {};
	struct store_logs logs[4];
	uint64_t ids[8], n = 0, task = 0, batch = 0;
	int64_t at = 0, environment = 0;
	struct text text = {};
	struct error err;

	{
		auto_store struct store *store = open_store(*state);

		assert_int_equal(store_begin(store, &err), 0);
		end_task(store, 1, "one", "{\"command\":[\"a\"],\"cwd\":\"/\"}");
		end_task(store, 2, "two",
			 "{\"command\":[\"b\"],\"log\":\"/mine\",\"private\":true}");
		put(store, &(struct store_task){.id = 3, .state = "waiting", .spec = "{}"});
		assert_int_equal(store_commit(store, &err), 0);
		assert_int_equal(store_count_ended(store, &n, &err), 0);
		assert_int_equal(n, 2);
		assert_int_equal(store_oldest_ended(store, 1002, ids, 8, &err), 1);
		assert_int_equal(store_oldest_ended(store, INT64_MAX, ids, 8, &err), 2);
		assert_int_equal(ids[0], 1);
		assert_int_equal(store_archive_task(store, 1, &err), -EINVAL); /* no unit */
		assert_int_equal(store_begin(store, &err), 0);
		assert_int_equal(store_archive_task(store, 1, &err), 0);
		assert_int_equal(store_archive_task(store, 2, &err), 0);
		assert_int_equal(store_count_archived(store), 2);
		store_rollback(store);
		assert_int_equal(archived_count(store), 0);
		assert_int_equal(store_begin(store, &err), 0);
		assert_int_equal(store_archive_task(store, 3, &err), -ESRCH); /* it waits */
		assert_int_equal(store_archive_task(store, 1, &err), 0);
		assert_int_equal(store_archive_task(store, 2, &err), 0);
		assert_int_equal(store_commit(store, &err), 0);
		assert_int_equal(archived_count(store), 2);
	}
	{
		auto_store struct store *store = open_store(*state);

		assert_int_equal(count(store), 1);
		assert_int_equal(archived_count(store), 2);
		assert_int_equal(store_each_task(store, &one, see_archived, &seen, &err), 0);
		assert_int_equal(seen.n, 1);
		assert_string_equal(seen.state, "done");
		assert_int_equal(store_each_attempt(store, &one, see_attempt, &seen, &err), 0);
		assert_int_equal(seen.attempt.number, 2);
		assert_string_equal(seen.attempt_more, "{\"batch_size\":4}");
		assert_int_equal(store_find_done(store, "one", &task, &err), 1);
		assert_int_equal(task, 1);
		/* The second has a log of its user's choice: that stays. */
		assert_int_equal(store_logs_to_remove(store, logs, 4, &err), 1);
		assert_int_equal(logs[0].task, 1);
		assert_int_equal(logs[0].attempts, 2);
		assert_int_equal(store_begin(store, &err), 0);
		assert_int_equal(store_drop_archived(store, 8, &err), 1); /* not before its logs */
		assert_int_equal(store_logs_removed(store, 1, &err), 0);
		assert_int_equal(store_drop_environments(store, &at, 8, &err), 0);
		assert_int_equal(store_drop_archived(store, 8, &err), 1);
		assert_int_equal(store_commit(store, &err), 0);
		assert_int_equal(archived_count(store), 0);
		check_kept(store, "0");
		assert_int_equal(store_find_done(store, "one", &task, &err), 0);
		assert_int_equal(store_get_environment(store, 1, &text, &err), -ENOENT);
		assert_int_equal(store_begin(store, &err), 0);
		assert_int_equal(store_intern_environment(store, "new", 3, &environment, &err), 0);
		assert_int_equal(environment, 3);
		assert_int_equal(store_archive_task(store, 3, &err), -ESRCH);
		assert_int_equal(store_commit(store, &err), 0);
		assert_int_equal(store_last_ids(store, &task, &batch, &err), 0);
		assert_int_equal(task, 3);
		assert_true(store_compact(store, 100, &err) >= 0);
	}
}

/* A migration that fails in the middle leaves the file as it was. */
static void test_migration_is_all_or_nothing(void **state)
{
	auto_free char *database = mem_printf("%s/state.db", ((struct folder *)*state)->path);
	struct store *store = NULL;
	struct error err;
	sqlite3 *db;
	sqlite3_stmt *statement;

	exec_file(database, "CREATE TABLE task (mine TEXT);");
	assert_true(store_open(((struct folder *)*state)->path, &store, &err) < 0);
	assert_int_equal(sqlite3_open(database, &db), SQLITE_OK);
	assert_int_equal(
	    sqlite3_prepare_v2(db, "SELECT count(*) FROM sqlite_master", -1, &statement, NULL),
	    SQLITE_OK);
	assert_int_equal(sqlite3_step(statement), SQLITE_ROW);
	assert_int_equal(sqlite3_column_int(statement, 0), 1);
	(void)sqlite3_finalize(statement);
	assert_int_equal(sqlite3_close(db), SQLITE_OK);
}

static void test_newer_version_is_refused(void **state)
{
	auto_free char *database = mem_printf("%s/state.db", ((struct folder *)*state)->path);
	struct store *store = NULL;
	struct error err;

	exec_file(database, "PRAGMA user_version = 999;");
	assert_int_equal(store_open(((struct folder *)*state)->path, &store, &err), -EPROTO);
	assert_non_null(strstr(err.text, "newer"));
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, folder_create, folder_destroy)

int main(void)
{
	const struct CMUnitTest tests[] = {
	    TEST(test_rows_come_back),
	    TEST(test_queries),
	    TEST(test_environments_are_kept_once),
	    TEST(test_meta_and_profiles),
	    TEST(test_rollback),
	    TEST(test_second_daemon_is_refused),
	    TEST(test_killed_in_a_unit),
	    TEST(test_file_size_limit),
	    TEST(test_full_disk),
	    TEST(test_read_only),
	    TEST(test_damaged),
	    TEST(test_locked_by_another_program),
	    TEST(test_every_earlier_version),
	    TEST(test_archive),
	    TEST(test_archive_uncounted),
	    TEST(test_migration_is_all_or_nothing),
	    TEST(test_newer_version_is_refused),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
