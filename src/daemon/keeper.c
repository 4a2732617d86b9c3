/*
 * One timer. Some time after tasks changed (or, for what is too old, an hour) it looks whether a
 * bound was passed; at work it does a step, one unit of the store, every WORK_MS. A step never
 * joins the unit of a turn (it waits for the turn to end), and nothing waits for a step: what it
 * does can be done later just as well.
 *
 * Order: logs of what was archived, then the next tasks, then what the archive has too many of;
 * environments are swept once when all of that is done, for which all must have left `task`, and
 * the file is compacted last. Killed between any two steps, the next daemon goes on.
 */
#include "daemon/keeper.h"

#include "daemon/rules.h"
#include "daemon/runner.h"
#include "util/log.h"
#include "util/timestamp.h"

#include <errno.h>
#include <libgen.h>
#include <unistd.h>

#define LOOK_MS        2000             /* after something ended */
#define REST_MS        (60 * 60 * 1000) /* else: days pass */
#define WORK_MS        5
#define TASKS_A_STEP   100
#define DROPS_A_STEP   500
#define LOGS_A_STEP    64
#define SWEEP_A_STEP   500
#define PAGES_A_STEP   256 /* of 4 KiB */
#define PAGES_LEFT_MAX 64  /* free ones that are left: they will be used again */
#define DAY_MS         ((int64_t)24 * 60 * 60 * 1000)

enum job { JOB_LOOK, JOB_LOGS, JOB_ARCHIVE, JOB_DROP, JOB_SWEEP, JOB_COMPACT, JOB_COUNT };

struct keeper {
	struct daemon *daemon;
	uv_timer_t timer;
	enum job job;
	uint64_t too_many;  /* ended tasks beyond the bound */
	uint64_t drop_many; /* archived ones beyond theirs */
	bool moved;         /* something was archived since the last sweep */
	int64_t sweep_at;
	bool poked; /* something happened since it last looked */
	bool rests; /* the timer is the long one */
	bool in_trouble;
};

uint64_t keeper_ended(const struct daemon *daemon)
{
	uint64_t n = rules_config(daemon->rules)->keep.ended_tasks;

	return n > 0 ? n : KEEPER_ENDED;
}

/* A job does one step: 1 = there is more of it, 0 = go on with the next, negative = it failed. */
typedef int job_f(struct keeper *keeper, struct error *err);

/* What ended before this is too old. */
static int64_t oldest_ms(const struct keeper *keeper)
{
	unsigned days = rules_config(keeper->daemon->rules)->keep.days;

	return days > 0 ? timestamp_now_ms() - days * DAY_MS : 0;
}

static int job_look(struct keeper *keeper, struct error *err)
{
	struct daemon *daemon = keeper->daemon;
	uint64_t archived_max = rules_config(daemon->rules)->keep.archived_tasks;
	uint64_t ended = 0, archived, keep = keeper_ended(daemon);
	int r = store_count_ended(daemon->store, &ended, err);

	keeper->poked = false;
	archived_max = archived_max > 0 ? archived_max : KEEPER_ARCHIVED;
	keeper->too_many = ended > keep ? ended - keep : 0;
	archived = store_count_archived(daemon->store) + keeper->too_many;
	keeper->drop_many = archived > archived_max ? archived - archived_max : 0;
	return r;
}

/* May something be written into the folder of this task's logs yet? A start makes the folder first,
 * and its file in it only after a while. */
static bool log_folder_is_wanted(const struct daemon *daemon, uint64_t task)
{
	uint64_t first = task - task % RUNNER_LOGS_PER_FOLDER;

	/* Looked up one by one: what lies between in memory may be a million. */
	for (uint64_t id = first; id < first + RUNNER_LOGS_PER_FOLDER; id++) {
		const struct sched_task *t = sched_find(daemon->sched, id);

		if (t && !sched_state_is_final(t->state))
			return true;
	}
	return false;
}

static void log_remove(const struct daemon *daemon, uint64_t task, unsigned attempt,
		       bool folder_wanted)
{
	const struct sched_task named = {.id = task};
	auto_free char *path = runner_log_path(daemon, &named, attempt);

	/* It may be gone already: removed by hand, or by a daemon that was killed after it. */
	if (unlink(path) < 0 && errno != ENOENT)
		log_warning("cannot remove %s: %m", path);
	/* The folder, when that was the last one in it. */
	if (!folder_wanted)
		(void)rmdir(dirname(path));
}

static int job_logs(struct keeper *keeper, struct error *err)
{
	struct store *store = keeper->daemon->store;
	struct store_logs logs[LOGS_A_STEP];
	int n = store_logs_to_remove(store, logs, LOGS_A_STEP, err), r;
	bool wanted = false;

	if (n <= 0)
		return n;
	for (int i = 0; i < n; i++) {
		uint64_t folder = logs[i].task / RUNNER_LOGS_PER_FOLDER;

		if (i == 0 || folder != logs[i - 1].task / RUNNER_LOGS_PER_FOLDER)
			wanted = log_folder_is_wanted(keeper->daemon, logs[i].task);
		for (unsigned attempt = 1; attempt <= logs[i].attempts; attempt++)
			log_remove(keeper->daemon, logs[i].task, attempt, wanted);
	}
	r = store_begin(store, err);
	for (int i = 0; r == 0 && i < n; i++)
		r = store_logs_removed(store, logs[i].task, err);
	if (r == 0)
		r = store_commit(store, err);
	return r < 0 ? r : n == LOGS_A_STEP;
}

/* At most `max` of `ids`, none that is in memory: sched may still have something to store of it. */
static int archive_some(struct keeper *keeper, const uint64_t *ids, int n, uint64_t max,
			struct error *err)
{
	struct daemon *daemon = keeper->daemon;
	int r = store_begin(daemon->store, err), moved = 0;

	for (int i = 0; r == 0 && i < n && (uint64_t)moved < max; i++) {
		if (sched_find(daemon->sched, ids[i]))
			continue;
		r = store_archive_task(daemon->store, ids[i], err);
		moved++;
	}
	if (r == 0)
		r = store_commit(daemon->store, err);
	return r < 0 ? r : moved;
}

static int job_archive(struct keeper *keeper, struct error *err)
{
	struct store *store = keeper->daemon->store;
	bool by_number = keeper->too_many > 0;
	uint64_t ids[TASKS_A_STEP];
	int n, moved;

	if (!by_number && oldest_ms(keeper) == 0)
		return 0;
	n = store_oldest_ended(store, by_number ? INT64_MAX : oldest_ms(keeper), ids, TASKS_A_STEP,
			       err);
	if (n <= 0)
		return n;
	moved = archive_some(keeper, ids, n, by_number ? keeper->too_many : TASKS_A_STEP, err);
	if (moved <= 0)
		return moved;
	keeper->moved = true;
	keeper->too_many -= MIN_OF(keeper->too_many, (uint64_t)moved);
	/* Their logs come next, so that none of these steps makes many of them wait. */
	keeper->job = JOB_LOGS;
	return 1;
}

static int job_drop(struct keeper *keeper, struct error *err)
{
	struct store *store = keeper->daemon->store;
	int n, r;

	if (keeper->drop_many == 0)
		return 0;
	r = store_begin(store, err);
	if (r < 0)
		return r;
	n = store_drop_archived(store, (size_t)MIN_OF(keeper->drop_many, (uint64_t)DROPS_A_STEP),
				err);
	r = n < 0 ? n : store_commit(store, err);
	if (r < 0)
		return r;
	keeper->drop_many -= MIN_OF(keeper->drop_many, (uint64_t)n);
	return n > 0;
}

static int job_sweep(struct keeper *keeper, struct error *err)
{
	struct store *store = keeper->daemon->store;
	int r;

	if (!keeper->moved)
		return 0;
	r = store_begin(store, err);
	if (r == 0)
		r = store_drop_environments(store, &keeper->sweep_at, SWEEP_A_STEP, err);
	if (r == 0)
		r = store_commit(store, err);
	if (r < 0)
		return r;
	keeper->moved = keeper->sweep_at != 0;
	return keeper->moved;
}

static int job_compact(struct keeper *keeper, struct error *err)
{
	int left = store_compact(keeper->daemon->store, PAGES_A_STEP, err);

	return left < 0 ? left : left > PAGES_LEFT_MAX;
}

static job_f *const jobs[JOB_COUNT] = {
    [JOB_LOOK] = job_look, [JOB_LOGS] = job_logs,   [JOB_ARCHIVE] = job_archive,
    [JOB_DROP] = job_drop, [JOB_SWEEP] = job_sweep, [JOB_COMPACT] = job_compact,
};

static void trouble(struct keeper *keeper, const struct error *err)
{
	store_rollback(keeper->daemon->store);
	if (!keeper->in_trouble)
		log_warning("what ended long ago cannot be archived: %s", error_text(err));
	keeper->in_trouble = true;
	keeper->job = JOB_LOOK;
}

static void on_timer(uv_timer_t *timer)
{
	struct keeper *keeper = timer->data;
	struct error err = {};
	uint64_t wait_ms;
	int r;

	if (!store_in_unit(keeper->daemon->store)) {
		enum job job = keeper->job;

		r = jobs[job](keeper, &err);
		if (r == 0)
			keeper->job = (keeper->job + 1) % JOB_COUNT;
		if (r < 0)
			trouble(keeper, &err);
		else
			keeper->in_trouble = false;
	}
	wait_ms = keeper->job != JOB_LOOK               ? WORK_MS
		  : keeper->poked || keeper->in_trouble ? LOOK_MS
							: REST_MS;
	keeper->rests = wait_ms == REST_MS;
	(void)uv_timer_start(timer, on_timer, wait_ms, 0);
}

void keeper_poke(struct keeper *keeper)
{
	keeper->poked = true;
	if (!keeper->rests)
		return;
	keeper->rests = false;
	(void)uv_timer_start(&keeper->timer, on_timer, LOOK_MS, 0);
}

struct keeper *keeper_create(struct daemon *daemon)
{
	struct keeper *keeper = mem_calloc(1, sizeof *keeper);

	keeper->daemon = daemon;
	keeper->moved = true; /* a daemon killed in the middle left its sweep to this one */
	(void)uv_timer_init(&daemon->loop, &keeper->timer);
	keeper->timer.data = keeper;
	(void)uv_timer_start(&keeper->timer, on_timer, LOOK_MS / 4, 0);
	return keeper;
}

static void on_closed(uv_handle_t *handle)
{
	free(handle->data);
}

void keeper_destroy(struct keeper *keeper)
{
	if (keeper)
		uv_close((uv_handle_t *)&keeper->timer, on_closed);
}
