/*
 * The queue: tasks and batches as a state machine. Pure: what happened comes in (with the time, in
 * realtime milliseconds, as an argument), and two lists come out: what changed (for the store) and
 * what to do (start this attempt, signal that one). The daemon's turn is
 *
 *	sched_...() for everything that happened; sched_step();
 *	store what sched_changes() lists, commit, sched_changes_clear();
 *	answer the clients; do what sched_actions() lists, sched_actions_clear();
 *
 * in that order: an allocation is durable before its process exists. When the commit fails, nothing
 * is cleared and nothing is done; submits of this turn are taken back by sched_withdraw().
 *
 * Everything read through const pointers stays valid until the next call that is not const.
 * The states and what moves between them are one table (states.h), printed in docs/states.md.
 */
#pragma once

#include "sched/task.h"
#include "util/text.h"

#define SCHED_TASKS_MAX 1000000 /* not ended; submits beyond are refused with -EDQUOT */

struct sched;

struct sched_options {
	struct ledger_options ledger; /* rules are copied; `speed` and its data are borrowed */
	int64_t stop_grace_ms;        /* from SIGTERM to SIGKILL; 0 = 10 s */
};

/* What one user may have at once; 0 = no limit. */
struct sched_user_limits {
	unsigned max_running;    /* tasks starting and running */
	unsigned max_queued;     /* tasks that have not ended; a submit beyond is -EDQUOT */
	unsigned max_gpus;       /* GPUs granted, counted once for each task */
	uint64_t max_vram_bytes; /* granted, on all GPUs together */
	double weight;           /* of his share beside the others'; 0 = 1 */
};

/* How the queue goes. Copied by sched_configure(). */
struct sched_config {
	int64_t ageing_ms;         /* a wait that is worth one point of priority; 0 = 1 h,
				      negative = none */
	int64_t fair_half_life_ms; /* use of this age counts half; 0 = 24 h, negative = users are
				      not told apart */
	int64_t reserve_after_ms;  /* a task at the head of the queue that has waited this long gets
				      a reservation; 0 = 5 min, negative = never */
	unsigned stagger_ms;       /* between starts on one GPU, for all tasks */
	bool prove; /* kinds that were never measured do not start in a crowd (place/fit.h) */
	uint64_t overrun_tolerance_bytes; /* above a grant, nothing yet (or 5 % of it, whichever is
					     more); 0 = 128 MiB */
	unsigned overrun_samples;         /* in a row above it, until it is one; 0 = 2 */
	struct sched_user_limits limits;  /* of users who are not in the list */
	const struct sched_user_config {
		uid_t uid;
		struct sched_user_limits limits;
	} * users;
	size_t n_users;
};

struct sched *sched_create(const struct sched_options *options);
void sched_destroy(struct sched *sched);
static inline void sched_cleanup(struct sched **sched)
{
	sched_destroy(*sched);
}
#define auto_sched CLEANUP(sched_cleanup)

/*
 * Both clocks, read at the same moment, ahead of any call with this now_ms. It tells when the clock
 * of the wall was set, by more than SCHED_CLOCK_STEP_MS in either direction: then everything that
 * means a duration (time a task has run, pauses, graces, waits) moves with it, and a time of day
 * (spec.not_before_ms) does not. `monotonic_ms` is of CLOCK_MONOTONIC, which stands still while the
 * machine sleeps: a limit counts the time in which a task could run. Who never calls it is
 * protected from a clock set back only.
 */
#define SCHED_CLOCK_STEP_MS 1000
void sched_clock(struct sched *sched, int64_t now_ms, int64_t monotonic_ms);
/* Realtime less monotonic time, as last seen: of use until the machine boots. Kept, and given back
 * to a new sched right after all that is restored, it tells of a clock that was set between the
 * two. Without it, one set back is noticed by what was restored being of later, and one set forward
 * is not. */
int64_t sched_clock_offset(const struct sched *sched);
void sched_restore_clock(struct sched *sched, int64_t offset_ms);

/* Before the first step, and again whenever it changed. */
void sched_configure(struct sched *sched, const struct sched_config *config, int64_t now_ms);
/* The rules of all GPUs that have some, by UUID (also of GPUs that are not there); replaces those
 * before. */
void sched_set_rules(struct sched *sched, const struct ledger_rule *rules, size_t n_rules,
		     int64_t now_ms);
/* Nothing new starts until it is called with NULL. `why` is for reasons: "paused since 12:03". */
void sched_set_pause(struct sched *sched, const char *why, int64_t now_ms);

/* A user as fair share sees him: everybody who has tasks in memory or used something lately. */
struct sched_user {
	uid_t uid;
	unsigned running, queued; /* queued: not ended, running ones included */
	unsigned gpus;            /* granted now */
	uint64_t vram_bytes;      /* granted now */
	double usage_gpu_seconds; /* whole GPUs x seconds, decayed to `at_ms` */
	double usage_share;       /* of all users', 0..1 */
	int64_t at_ms;
};
/* In order of uid; the caller frees the array. Changes nothing that is to be stored, whatever
 * now_ms says of the clock. */
size_t sched_users(struct sched *sched, int64_t now_ms, struct sched_user **ret_users);
/* On start: what was kept of it. */
void sched_restore_user(struct sched *sched, uid_t uid, double usage_gpu_seconds, int64_t at_ms);

/* What was learned; owned by sched. Load into it before the first step. */
struct estimates *sched_estimates(struct sched *sched);

/*
 * Facts of the machine. The list is copied. GPUs that vanish from an OK list count as lost. A task
 * on a lost GPU runs on until its process ends; then it is put back (SCHED_REQUEUES_MAX times).
 */
void sched_set_gpus(struct sched *sched, const struct gpu_list *list, int64_t now_ms);
/* An XID. One that tells of a fault of the GPU itself explains an error of its tasks that ends them
 * within SCHED_XID_WINDOW_MS; one that a program causes does not. */
#define SCHED_XID_WINDOW_MS 10000
void sched_gpu_event(struct sched *sched, const struct gpu_event *event, int64_t now_ms);
/* What is kept on GPUs for others, as of the last sample; replaces what was said before. */
void sched_set_holds(struct sched *sched, const struct ledger_hold *holds, size_t n);
/* What processes of tasks that have ended hold still, likewise. */
void sched_set_leftovers(struct sched *sched, const struct ledger_leftover *leftovers, size_t n);
void sched_set_host(struct sched *sched, const struct ledger_host *host, int64_t now_ms);
const struct gpu_list *sched_gpus(const struct sched *sched); /* the last, NULL before the first */

/* Measured use of one running attempt on one GPU. Call for each after sched_set_gpus(), with the
 * numbers of the same sample; 0 bytes and known for a task without a process there. -ESRCH: no such
 * running task or not on that GPU (harmless). */
struct sched_usage {
	uint64_t task;
	const char *uuid;
	bool vram_known;
	uint64_t vram_bytes;
	bool utilization_known; /* of this task's processes alone */
	unsigned utilization_percent;
};
int sched_set_usage(struct sched *sched, const struct sched_usage *usage, int64_t now_ms);
/* Something has ended, and what it held is not free before a sample that begins from now on has
 * shown it; after an out of memory nothing starts on that GPU before. Take one soon. */
bool sched_wants_sample(const struct sched *sched);
/*
 * Overruns. A task that uses more VRAM than it was granted, by 5 % and at least
 * config.overrun_tolerance_bytes, for config.overrun_samples in a row is one: it is said (its
 * attempt's `overrun`), and what follows is spec.on_overrun's. AUTO: nothing while the GPU's load
 * line is kept; when what all on it use and were promised goes above it, the overrunning tasks of
 * that GPU are stopped, the largest excess first, at once (without waiting for more samples), until
 * the rest keeps the line. Its end is then SCHED_OOM with the use that was measured, and its ladder
 * goes on. Of host RAM the same: AUTO stops one when the host runs short, and its end is
 * SCHED_HOST_OOM.
 */
/* Is there anybody whose use has not settled, or who overruns? Then sample fast. */
bool sched_wants_fast_samples(const struct sched *sched);

/* What the people of the machine should know and nobody waits for: "task 17 uses 5.1 GiB of 2.0 GiB
 * granted on GPU 0". For the log; until sched_remarks_clear(). */
const struct strings *sched_remarks(const struct sched *sched);
void sched_remarks_clear(struct sched *sched);

/* Its host RAM now. */
int sched_set_ram(struct sched *sched, uint64_t task, uint64_t ram_bytes, int64_t now_ms);

/*
 * Submit one task. -E2BIG / -ENODEV from place_check() (with the largest room in the text), -EDQUOT
 * when there are SCHED_TASKS_MAX or its user has all his limits allow, or it asks for more than
 * they ever will; -ESRCH when it is to run after something that is not there; -EINVAL. What can
 * never be met any more is accepted and canceled at once, as it would be had it come earlier.
 * Before the first GPU list, and while NVML is stale, requests are accepted unchecked: they wait.
 */
int sched_submit(struct sched *sched, const struct sched_spec *spec, int64_t now_ms,
		 uint64_t *ret_id, struct error *err) MUST_CHECK;

struct sched_batch_spec {
	const char *name;
	uid_t uid;
	bool is_private;
	enum sched_on_failure on_failure;
	const struct sched_spec *tasks;
	size_t n_tasks; /* 0 = everything was skipped: the batch is done at once */
};
/* All or nothing; the error names the row. Task ids are consecutive from *ret_first_task. */
int sched_submit_batch(struct sched *sched, const struct sched_batch_spec *spec, int64_t now_ms,
		       uint64_t *ret_batch, uint64_t *ret_first_task, struct error *err) MUST_CHECK;

/* Take back submits that could not be stored: the task, or the batch and all its tasks, as if they
 * had never been (START actions not yet cleared included). The newest first: then their ids are
 * given out again. -EBUSY once it was stored. */
int sched_withdraw_task(struct sched *sched, uint64_t id);
int sched_withdraw_batch(struct sched *sched, uint64_t id);

/* On start, before anything else: batches, then tasks in id order, as the store had them (`spec`,
 * attempts and all; copied; unchanged for sched_changes()). Running ones keep their allocations. */
int sched_restore_batch(struct sched *sched, const struct sched_batch *batch,
			struct error *err) MUST_CHECK;
int sched_restore_task(struct sched *sched, const struct sched_task *task,
		       struct error *err) MUST_CHECK;
/* All that was stored is here: who runs after others is linked to them, so that from now on an end
 * and what it means for others are in one list of changes. To be called before the first of these
 * is stored; the first step does it, too. */
void sched_restored(struct sched *sched, int64_t now_ms);
/* Ids below these were given out before (ended tasks need not be restored). */
void sched_restore_ids(struct sched *sched, uint64_t last_task, uint64_t last_batch);

/* What became of an attempt. -ESTALE: that attempt is not the one starting or running (a repeated
 * report): ignore. `sched_ended` may come without `sched_started`. */
int sched_started(struct sched *sched, uint64_t task, unsigned attempt, int64_t now_ms);

/* Something more holds the attempt to its grants: `words` go behind what its `limits` say already,
 * once each. */
int sched_set_limits(struct sched *sched, uint64_t task, unsigned attempt, const char *words,
		     int64_t now_ms);

/* It could not be started, and whose fault is that? */
enum sched_fault {
	/* The task's own (no such command): it has failed. */
	SCHED_FAULT_TASK,
	/* The task's or its user's, and may pass (his limit of processes, his quota): put back
	 * alone, SCHED_REFUSALS_MAX times; the others start as ever. */
	SCHED_FAULT_PASSING,
	/* The machine's (no process can be had at all): put back for as long as the cause lasts,
	 * and until a start succeeds only one task at a time is tried, after a pause of 1 s doubled
	 * to SCHED_START_PAUSE_MAX_MS. */
	SCHED_FAULT_MACHINE,
};
int sched_start_failed(struct sched *sched, uint64_t task, unsigned attempt, const char *text,
		       enum sched_fault fault, int64_t now_ms);

struct sched_end {
	uint64_t task;
	unsigned attempt;
	enum sched_outcome outcome; /* not NONE; a canceled task's is set by sched; an error on a
				       lost GPU becomes GPU_LOST */
	bool exit_known;
	bool may_run_on; /* nobody can tell whether it is over: it is not repeated */
	int exit_code, signal;
	uint64_t peak_vram_bytes, peak_ram_bytes; /* 0 = unknown: the largest sample is taken */
	int64_t ended_at_ms;                      /* as the supervisor wrote it; 0 = now */
	const char *text; /* for the reason: "CUDA out of memory: ..."; NULL = made from the rest */
	uint64_t oom_requested_bytes; /* "Tried to allocate 8.84 GiB"; 0 = not said */
	uint64_t oom_used_bytes;      /* see struct sched_attempt */
};
/*
 * A CUDA program dies within milliseconds of its GPU, long before a sample says "lost". So an error
 * on a GPU is judged by a sample that began after the end: until there is one (or, without one,
 * for SCHED_JUDGE_MS; not at all while NVML cannot be asked) the attempt stays open and holds its
 * grant. Ask for a sample at each end; the end is on record once the attempt has an ended_at_ms.
 */
#define SCHED_JUDGE_MS 5000
int sched_ended(struct sched *sched, const struct sched_end *end, int64_t now_ms);

/* What people ask for. -ESRCH no such task or batch; -EALREADY not possible in its state (the text
 * says which it is). */
int sched_cancel(struct sched *sched, uint64_t task, int64_t now_ms, struct error *err) MUST_CHECK;
int sched_hold(struct sched *sched, uint64_t task, int64_t now_ms, struct error *err) MUST_CHECK;
int sched_release(struct sched *sched, uint64_t task, int64_t now_ms, struct error *err) MUST_CHECK;
int sched_batch_cancel(struct sched *sched, uint64_t batch, int64_t now_ms,
		       struct error *err) MUST_CHECK;
/* All that waits, then all that runs: in this order nothing starts because something else is ended.
 * `uid`: only what this user sent; NULL = everybody's. Batches go as wholes. */
struct sched_canceled {
	unsigned waiting; /* tasks that were taken out: they waited or were held */
	unsigned running; /* tasks that are being ended from now on */
	unsigned batches; /* that they belonged to */
};
void sched_cancel_all(struct sched *sched, const uid_t *uid, int64_t now_ms,
		      struct sched_canceled *ret_canceled);
/* Once more: of a task that failed, was canceled or got lost. Its counts of failures start anew. A
 * batch that has ended goes on. Of a task or batch that is no more in memory, restore it first. Of
 * what it was to run after, it waits for what has not ended; who retries knows about the rest. What
 * was canceled because of it stays canceled: retry that too. */
int sched_retry(struct sched *sched, uint64_t task, int64_t now_ms, struct error *err) MUST_CHECK;
/* Of a task that has not started. */
int sched_set_priority(struct sched *sched, uint64_t task, int priority, int64_t now_ms,
		       struct error *err) MUST_CHECK;
/* All tasks of a batch it is possible for; how many is told. -EALREADY when for none. */
int sched_batch_hold(struct sched *sched, uint64_t batch, int64_t now_ms, unsigned *ret_n,
		     struct error *err) MUST_CHECK;
int sched_batch_release(struct sched *sched, uint64_t batch, int64_t now_ms, unsigned *ret_n,
			struct error *err) MUST_CHECK;
int sched_batch_retry(struct sched *sched, uint64_t batch, int64_t now_ms, unsigned *ret_n,
		      struct error *err) MUST_CHECK;
/* Go on after a failure; `all`: do not ask again. */
int sched_batch_continue(struct sched *sched, uint64_t batch, bool all, int64_t now_ms,
			 struct error *err) MUST_CHECK;

/* Decide. Cheap when nothing happened since the last call. Returns how many tasks it started. */
size_t sched_step(struct sched *sched, int64_t now_ms);

/* Time has passed: what was put off until now waits in the queue from here on. A part of
 * sched_step(), for when nothing can be decided yet and before somebody asks for reasons. */
void sched_time(struct sched *sched, int64_t now_ms);

/* When sched_step() wants to be called even if nothing happens; 0 = never. */
int64_t sched_deadline(const struct sched *sched);

enum sched_action_type {
	SCHED_START,  /* the task's last attempt: GPUs, device and bytes are in it */
	SCHED_SIGNAL, /* to the whole process group of the attempt */
};
struct sched_action {
	enum sched_action_type type;
	uint64_t task;
	unsigned attempt;
	int signal;
};
const struct sched_action *sched_actions(const struct sched *sched, size_t *ret_n);
void sched_actions_clear(struct sched *sched);

/* Each task and batch at most once, in the order of their first change. Of a task, the attempts
 * with `changed` are to be stored too. `is_new`-ness does not matter: rows are replaced. */
struct sched_changes {
	const struct sched_task *const *tasks;
	size_t n_tasks;
	const struct sched_batch *const *batches;
	size_t n_batches;
};
struct sched_changes sched_changes(const struct sched *sched);
void sched_changes_clear(struct sched *sched);

/* Reading. NULL when there is no such thing. */
const struct sched_task *sched_find(const struct sched *sched, uint64_t id);
const struct sched_batch *sched_find_batch(const struct sched *sched, uint64_t id);
/* In id order: all of the queue or of one batch. NULL after the last. */
const struct sched_task *sched_first(const struct sched *sched);
const struct sched_task *sched_next(const struct sched_task *task);
const struct sched_task *sched_first_after(const struct sched *sched, uint64_t id);
const struct sched_task *sched_batch_first(const struct sched *sched, uint64_t batch);
const struct sched_task *sched_batch_next(const struct sched_task *task);
const struct sched_batch *sched_first_batch(const struct sched *sched);
const struct sched_batch *sched_next_batch(const struct sched_batch *batch);
/* Starting and running ones only, in no order. */
const struct sched_task *sched_first_active(const struct sched *sched);
const struct sched_task *sched_next_active(const struct sched_task *task);
const unsigned *sched_counts(const struct sched *sched); /* [SCHED_STATE_COUNT], all in memory */

/* What it asks for at this moment, by what it said, its ladder and what was learned of its kind; of
 * one that runs, what it was granted. Before the first GPU list as it said. */
struct sched_ask {
	struct place_request request; /* its texts are the task's */
	enum sched_vram_source source;
};
void sched_ask(struct sched *sched, const struct sched_task *task, struct sched_ask *ret_ask);

/* Where that VRAM comes from, in words: "learned from 4 runs of 'train.py' (p95 5 GiB)"; the caller
 * frees it. NULL: none is asked for. */
char *sched_ask_reason(const struct sched *sched, const struct sched_task *task,
		       enum sched_vram_source source);

/* Why it is in its state: of a waiting task in numbers, worked out now. Returns `reason`. */
const char *sched_reason(struct sched *sched, const struct sched_task *task,
			 char reason[SCHED_REASON_MAX]);

/* The ledger as it is now, allocations and all, for showing; the caller destroys it. NULL before
 * the first GPU list. */
struct ledger *sched_ledger(const struct sched *sched);

/* Drop ended tasks (and ended batches) beyond the newest `keep` from memory; the store has them.
 * Tasks of a batch that goes on stay. Nothing that is not stored yet is dropped.
 * Walks the whole queue: for now and then, not for every turn. */
void sched_forget(struct sched *sched, size_t keep);

/* The whole of a batch. */
#define SCHED_OVERRAN_MAX 8
struct sched_summary_gpu {
	char uuid[GPU_UUID_MAX], name[GPU_NAME_MAX];
	unsigned index;
	unsigned tasks; /* attempts that ended well here */
	bool utilization_known;
	double mean_utilization_percent; /* over the time the batch ran */
	uint64_t peak_vram_bytes;        /* largest device use while it ran; 0 = unknown */
	uint64_t load_line_bytes;        /* 0 = unknown */
};
struct sched_summary {
	unsigned total, done, failed, canceled;  /* failed: with the lost ones */
	unsigned oom_recovered;                  /* done after an attempt ran out of memory ... */
	unsigned recovered_by[SCHED_RUNG_COUNT]; /* ... by the rung of its ladder it stood on */
	unsigned on_cpu;
	unsigned overran; /* ended ones that used more than they were granted; */
	uint64_t overran_tasks[SCHED_OVERRAN_MAX]; /* the first of them */
	double wall_seconds;                       /* from the submit to the last end, or to now; */
	struct place_yardsticks yardsticks;        /* negative = cannot be said */
	double eta_seconds;                        /* negative = unknown; 0 when ended */
	struct sched_summary_gpu *gpus;            /* all there were while it ran, by index;
						       none when it is for the CPU alone */
	size_t n_gpus;
};
int sched_summarize(struct sched *sched, uint64_t batch, int64_t now_ms,
		    struct sched_summary *ret_summary) MUST_CHECK; /* -ESRCH */
void sched_summary_finish(struct sched_summary *summary);

/* Seconds until the batch is through at the rate seen so far; negative = unknown. O(running). */
double sched_batch_eta(const struct sched *sched, const struct sched_batch *batch, int64_t now_ms);
