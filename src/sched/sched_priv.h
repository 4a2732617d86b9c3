/*
 * What the files of src/sched share. sched.h shows the first member of each struct here; the rest
 * is links and running numbers.
 */
#pragma once

#include "sched/order.h"
#include "sched/sched.h"
#include "sched/strings.h"
#include "util/text.h"

struct ask;
struct asker;
struct task_node;

/*
 * Waiting tasks of one user and one batch (or none) that ask for alike: same kind of device, same
 * pin and wishes, same count, VRAM of the same power of two. The placer sees PLACE_WINDOW tasks;
 * taking some from every lane keeps a thousand tasks that cannot start now from hiding the one
 * behind them that can. A lane is there while it holds tasks.
 */
struct lane {
	struct batch_node *batch;
	struct user_node *user;
	struct lane *next, **slot; /* of the batch, or of the user's singles */
	enum place_cpu_mode cpu;
	bool exclusive, start_lock;
	unsigned gpus, vram_step;
	uint64_t line_above_bytes;
	const char *pin_uuid; /* its tasks' own, as are the wishes: the pool has each but once */
	const struct place_wishes *wishes;
	struct order order;
	struct lane *ready_next, *ready_prev; /* all there are */
};

/* Somebody who has or had tasks here. */
struct user_node {
	uid_t uid;
	struct sched_user_limits limits;
	unsigned tasks;         /* in memory, ended ones included */
	unsigned queued;        /* not ended */
	unsigned running, gpus; /* starting or running, and what those were granted */
	uint64_t vram_bytes;
	double usage, rate; /* whole GPUs x seconds, decayed to usage_ms; whole GPUs now */
	int64_t usage_ms;
	int64_t offset_ms;    /* added to the rank of his tasks, as of the last users_weigh() */
	double share, fair;   /* of the same */
	struct lane *singles; /* lanes of his tasks without a batch */
	bool blocked;         /* waiting_window(): a task of his waits for his limit first */
};

/* A task waits for something to end: one for each item of its `after`, in the list of that. */
struct watch {
	struct watch *next, **slot; /* slot NULL: in no list */
	struct task_node *waiter;
	uint64_t id;
	bool is_batch;
};

/* Who waits for a task; and what that waits for, pub.n_after of them at first. */
struct ties {
	struct watch *watchers;
	struct watch *watches;
	size_t n_watches;
};

/* What is kept of one GPU while a batch runs. */
struct batch_gpu {
	const char *uuid; /* of the pool */
	char name[GPU_NAME_MAX];
	unsigned index, tasks;
	double utilization_integral, seconds;
	uint64_t peak_vram_bytes;
};

struct batch_node {
	struct sched_batch pub; /* first */
	struct batch_node *next, *prev;
	struct task_node *first, *last;
	struct lane *lanes;
	struct watch *watchers;
	unsigned active; /* starting or running */
	unsigned oom_recovered, on_cpu, recovered_by[SCHED_RUNG_COUNT];
	unsigned overran; /* of those that have ended; and who was the first */
	uint64_t overran_tasks[SCHED_OVERRAN_MAX];
	struct batch_gpu *gpus;
	size_t n_gpus, gpus_room;
	int64_t sampled_ms; /* up to which the integrals go; 0 = not begun */
	struct place_yardsticks yardsticks;
	unsigned yardsticks_at; /* 1 + tasks ended when they were worked out; 0 = never */
	bool changed, stored;
};

/* Its use of one GPU (overrun.c): is it still growing, is it more than was granted? */
struct ramp {
	uint64_t level_bytes; /* last grown to */
	int64_t since_ms;     /* when that was */
	unsigned samples;     /* since then */
	bool settled;
	bool calm;                          /* for long enough to tell something of its kind */
	unsigned over;                      /* samples in a row above its grant */
	uint64_t mark_bytes, earlier_bytes; /* used at mark_ms, and a while before that */
	int64_t mark_ms;
};

/* A task that holds an allocation. */
struct run {
	struct task_node *next, *prev; /* all there are */
	struct place_request ask;      /* what it was granted (ask.h) */
	const char *kind;              /* it is learned by; of the pool */
	double work_seconds;           /* done, contention taken out */
	bool work_known;               /* false after a restart: part of it was not watched */
	int64_t accounted_ms;          /* up to which work_seconds goes */
	double load_percent; /* utilisation of one such task alone, or a floor of it; 0 = unknown */
	bool load_exact;     /* it is no floor and no guess */
	/* Its measured share of the GPU's time, percent x seconds; and of that, what was measured
	 * while the GPU had time to spare: there the share is what it takes alone. */
	double share_integral, share_seconds;
	double alone_integral, alone_seconds;
	double share_percent; /* the last */
	int64_t share_ms;     /* when that was; 0 = never */
	int64_t since_ms;     /* its process runs; 0 = not yet. Limits of time count from here */
	int64_t kill_at_ms;   /* 0 = no stop under way */
	bool out_of_time;     /* its hard limit has passed: it was killed */
	char *stop_text;  /* it is stopped for what it uses (overrun.c): why; NULL = it is not */
	char *stop_words; /* attempt->stopped then */
	enum sched_outcome stop_outcome; /* what its end is then */
	bool stop_at_once, stop_signaled;
	double share_of_gpus; /* fair share's: whole GPUs it holds */
	struct ramp *ramps;   /* one for each GPU */
	uint64_t ram_used_bytes, ram_peak_bytes;
	bool unproven;          /* nothing of its kind was ever measured, nor is of itself yet */
	unsigned ram_over;      /* measurements in a row above its grant */
	uint64_t learned_bytes; /* the VRAM its kind has heard of while it runs, and a little */
	bool gpu_lost;          /* a sample since its start said so */
	int64_t fault_ms;     /* when one of its GPUs last reported an XID of its own; 0 = never */
	bool end_waits;       /* its process has ended, `end` is not judged yet */
	struct sched_end end; /* its text is owned */
	int64_t judge_until_ms; /* when it is judged without a sample */
};

struct task_node {
	struct sched_task pub; /* first */
	struct task_node *next, *prev;
	struct task_node *batch_next, *batch_prev;
	struct task_node *hash_next;
	struct batch_node *batch; /* the singles' when it has none */
	struct user_node *user;
	struct ties *ties;       /* NULL: nobody waits for it, and it for nothing */
	struct lane *lane;       /* while it waits in one */
	struct order_node order; /* in its lane, or in sched->delayed */
	struct run *run;         /* while starting or running */
	/* Of the attempt that ended well: its work, alone; and the GPU's time it got, which is
	 * known even where work and utilisation are not to be told apart. 0 = unknown. */
	float work_seconds, busy_seconds;
	bool delayed, blocked, changed, stored;
};

/* An attempt that has ended, and no sample was taken since: what it held is not free yet. */
struct leaving {
	const char *uuid; /* of the pool */
	uint64_t bytes;   /* max(granted, used) */
	uint64_t used_bytes;
	int64_t ended_ms;
	bool out_of_memory; /* then nothing at all starts there */
};

/* The placer's view, as of the last step or question. */
struct step_view {
	bool valid;
	struct ledger *ledger;
	struct place_view view;
	struct place_task *waiting;
	struct task_node **nodes; /* of `waiting` */
	struct ask *asks;         /* of `waiting` */
	struct place_user *users;
	bool *taken;
};

/* What is kept of a GPU between samples. */
struct gpu_note {
	const char *uuid; /* of the pool */
	int64_t start_ms; /* when it was last given to somebody; 0 = never */
	bool over_line;   /* above its load line, and that was said */
};

struct ended_item {
	struct task_node *task; /* or */
	struct batch_node *batch;
};

struct sched {
	struct string_pool strings;
	struct task_node **buckets; /* by id */
	size_t n_buckets, n_tasks;
	struct task_node *first, *last;
	struct task_node *active;
	struct batch_node *first_batch, *last_batch;
	struct batch_node singles; /* of tasks without a batch */
	struct user_node **users;  /* by uid */
	size_t n_users, users_room;
	struct lane *ready;
	struct order delayed; /* waiting tasks with a not_before_ms, by it */
	uint64_t last_task_id, last_batch_id;
	unsigned counts[SCHED_STATE_COUNT];

	struct gpu_list *gpus;
	int64_t population_ms; /* when a task last came to or left a GPU */
	struct ledger_host host;
	struct ledger_options ledger_options;
	struct ledger_rule *rules;
	struct estimates *estimates;
	struct leaving *leaving;
	size_t n_leaving, leaving_room;
	struct ledger_hold *holds; /* of services */
	size_t n_holds;
	struct ledger_leftover *leftovers;
	uint64_t round_robin;
	int64_t stop_grace_ms;
	int64_t last_ms;         /* time of the last call */
	bool clock_known;        /* there is a */
	int64_t clock_offset_ms; /* realtime less monotonic time, at the last sched_clock() */
	int64_t restored_ms;     /* the latest of what was restored and has not been held against a
				    clock yet; 0 = nothing was */
	int64_t last_queued_ms;  /* the latest of all tasks: a clock set back changes no order */

	struct sched_config config; /* defaults filled in */
	struct sched_user_config *user_configs;
	char *pause; /* why nothing new starts; NULL = it does */
	/* Starts the machine could not do: in a row, and until when none is tried. */
	unsigned start_failures;
	int64_t brake_until_ms;
	uid_t brake_uid; /* whose start failed last; the text is for his eyes */
	char brake_text[PLACE_REASON_MAX];
	struct gpu_note *gpu_notes;
	size_t n_gpu_notes, gpu_notes_room;
	bool watch_due; /* there are measurements overrun_watch() has not seen */
	struct strings remarks;
	int64_t stagger_wake_ms; /* when a start that is put off becomes possible; 0 = none is */

	/* Ended, and watched: to be told to who waits. And who has not been linked yet. */
	struct ended_item *ended;
	size_t n_ended, ended_room;
	bool draining, begun; /* begun: all that was stored is here */
	uint64_t *unlinked;
	size_t n_unlinked, unlinked_room;
	/* While a batch is submitted: what its last task's wishes became. */
	const struct place_wishes *wishes_given, *wishes_kept;

	bool dirty; /* something happened since the last step */
	struct step_view view;

	struct sched_action *actions;
	size_t n_actions, actions_room;
	const struct sched_task **changed_tasks;
	size_t n_changed_tasks, changed_tasks_room;
	const struct sched_batch **changed_batches;
	size_t n_changed_batches, changed_batches_room;
};

static inline struct task_node *task_of(const struct sched_task *task)
{
	return (struct task_node *)(uintptr_t)task;
}

static inline struct batch_node *batch_of(const struct sched_batch *batch)
{
	return (struct batch_node *)(uintptr_t)batch;
}

static inline struct task_node *task_of_order(struct order_node *node)
{
	return (struct task_node *)(void *)((char *)node - offsetof(struct task_node, order));
}

static inline struct sched_attempt *task_current(struct task_node *t)
{
	return &t->pub.attempts[t->pub.n_attempts - 1];
}

/* The VRAM it asked for per GPU, as kinds are told apart by it: of one that asked for a share, what
 * that came to where it ran last. */
static inline uint64_t task_vram_asked(const struct task_node *t)
{
	const struct sched_attempt *last = sched_task_attempt(&t->pub);

	if (t->pub.spec.request.fraction_milli > 0)
		return last && last->n_gpus > 0 ? last->gpus[0].vram_bytes : 0;
	return t->pub.spec.request.vram_bytes;
}

/* tasks.c: keeping. */
struct task_node *task_find(const struct sched *sched, uint64_t id);
struct batch_node *batch_find(const struct sched *sched, uint64_t id);
struct task_node *task_create(struct sched *sched, uint64_t id, struct batch_node *batch,
			      const struct sched_spec *spec);
void task_destroy(struct sched *sched, struct task_node *t); /* out of every list, and freed */
struct batch_node *batch_create(struct sched *sched, uint64_t id, const char *name);
void batch_destroy(struct sched *sched, struct batch_node *b); /* must have no tasks */
struct sched_attempt *task_add_attempt(struct task_node *t);
void task_reason(struct task_node *t, const char *fmt, ...) PRINTF(2, 3); /* NULL clears */
void task_changed(struct sched *sched, struct task_node *t);
void batch_changed(struct sched *sched, struct batch_node *b);
void active_add(struct sched *sched, struct task_node *t, int64_t now_ms);
void active_remove(struct sched *sched, struct task_node *t);
/* It is in `state` now (1), or not any more (-1): all the counts. */
void task_count(struct sched *sched, struct task_node *t, enum sched_state state, int by);

/* spec.c: what was asked for, kept. */
void spec_keep(struct sched *sched, struct task_node *t, const struct sched_spec *spec);
void spec_drop(struct sched *sched, struct task_node *t);

/* lanes.c: the order of the waiting. */
void waiting_add(struct sched *sched, struct task_node *t);
void waiting_remove(struct sched *sched, struct task_node *t);
void waiting_wake(struct sched *sched, int64_t now_ms); /* those whose not_before_ms came */
void waiting_rank_all(struct sched *sched);             /* by a new configuration */
/* Set queued_at_ms: a clock set back puts nobody before those who are there. */
void waiting_queue(struct sched *sched, struct task_node *t, int64_t now_ms);
/* The window, in queue order; returns how many. After users_weigh(). */
size_t waiting_window(struct asker *asker, struct task_node **ret_nodes);
/* How many waiting tasks come before it; and of those, how many are of other users and come first
 * only because of their users' shares. */
size_t waiting_before(const struct sched *sched, const struct task_node *t,
		      size_t *ret_by_fairness);
/* Its priority with what its wait and its user's share make of it. */
int waiting_level(const struct sched *sched, const struct task_node *t, int64_t now_ms);
void lanes_destroy(struct sched *sched, struct lane **lanes);

/* clock.c: every call that is given a time says so, before it uses it. */
void time_seen(struct sched *sched, int64_t now_ms);

/* machine.c: GPUs, use, work. */
void work_account(struct sched *sched, int64_t now_ms); /* before anything comes or leaves */
void run_begin(struct sched *sched, struct task_node *t, int64_t now_ms);
/* Its processes have ended: what they held is free when a sample has shown it. After its end is on
 * record. */
void run_leave(struct sched *sched, struct task_node *t);
void run_end(struct sched *sched, struct task_node *t, int64_t now_ms);
/* `without`: of the tasks of that batch only what they use counts. */
struct ledger *ledger_now(const struct sched *sched, const struct batch_node *without);
size_t gpu_position(const struct sched *sched, const char *uuid);   /* SIZE_MAX: not there */
const char *gpu_model(const struct sched *sched, const char *uuid); /* "": not there */
double model_speed(const struct sched *sched, const char *model);   /* 0 = unknown */

struct gpu_note *gpu_note_get(struct sched *sched, const char *uuid); /* until the next call */
void remark_add(struct sched *sched, const char *fmt, ...) PRINTF(2, 3);

/* overrun.c: the watch over what they use. */
/* Its grant g was measured. */
void ramp_note(struct sched *sched, struct task_node *t, unsigned g, int64_t now_ms);
void ram_note(struct sched *sched, struct task_node *t); /* its RAM was */
void overrun_watch(struct sched *sched); /* stop whom the last measurements say so of */
void overrun_signal(struct sched *sched, struct task_node *t, int64_t now_ms);
/* The end of one that was stopped by it: what it is. False: it was not. */
bool overrun_judge(const struct task_node *t, struct sched_end *end);

/* step.c */
void view_drop(struct sched *sched);
void action_add(struct sched *sched, enum sched_action_type type, const struct task_node *t,
		int signal);

/* events.c: one move of the table with its effects. -EALREADY when it is not in the table. */
int task_move(struct sched *sched, struct task_node *t, enum sched_event event, int64_t now_ms);

/* events.c: the end, judged now. */
int end_apply(struct sched *sched, struct task_node *t, const struct sched_end *end,
	      int64_t now_ms);

/* batch.c */
void batch_task_ended(struct sched *sched, struct task_node *t, int64_t now_ms);
/* It ended well: was that after running out of memory? Into the sums. */
void batch_recovered(struct task_node *t);
void batch_overran(struct task_node *t); /* if one of its attempts did */
void batch_settle(struct sched *sched, struct batch_node *b, int64_t now_ms);
void batch_sample(struct sched *sched, int64_t now_ms);
struct batch_gpu *batch_gpu_get(struct sched *sched, struct batch_node *b, const char *uuid,
				unsigned index);

/* reason.c */
void view_refresh(struct sched *sched, int64_t now_ms); /* step.c: build it when it is not valid */

/* Tasks that have not ended. */
static inline size_t open_tasks(const struct sched *sched)
{
	return sched->counts[SCHED_WAITING] + sched->counts[SCHED_HELD] +
	       sched->counts[SCHED_STARTING] + sched->counts[SCHED_RUNNING];
}

/* Something happened. */
static inline void sched_touch(struct sched *sched)
{
	sched->dirty = true;
	sched->view.valid = false;
}

/* The parts of this header that are files of their own. */
#include "sched/after_priv.h"
#include "sched/ends_priv.h"
#include "sched/users_priv.h"
