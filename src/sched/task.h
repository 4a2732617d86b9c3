/*
 * Tasks and batches: what was asked for, what was granted, what became of it. Part of sched.h,
 * which says who owns what.
 */
#pragma once

#include "place/place.h"
#include "sched/states.h"

#include <sys/types.h>

#define SCHED_REQUEUES_MAX       3 /* GPUs it may lose before it fails */
#define SCHED_REASON_MAX         (PLACE_REASON_MAX + 128)
#define SCHED_STATE_BIT(s)       (1u << (s))
#define SCHED_START_PAUSE_MAX_MS 30000 /* between starts the machine cannot do; 1 s at first */
/* Starts in a row that fail for what is the task's or its user's and may pass, before it fails.
 * With pauses of 1 s doubled to five minutes that takes close to three hours. */
#define SCHED_REFUSALS_MAX         40
#define SCHED_REFUSAL_PAUSE_MAX_MS 300000
#define SCHED_RETRY_DELAY_MS       1000
#define SCHED_RETRY_DELAY_MAX_MS   600000
#define SCHED_RETRY_AT_ONCE        (-1)

enum sched_on_failure {
	SCHED_STOP,     /* what waits is canceled */
	SCHED_ASK,      /* no new starts until sched_batch_continue() or a cancel */
	SCHED_CONTINUE, /* go on */
	SCHED_ON_FAILURE_COUNT,
};
const char *sched_on_failure_name(enum sched_on_failure on_failure);
int sched_on_failure_parse(const char *name, enum sched_on_failure *ret_on_failure,
			   struct error *err) MUST_CHECK;

/* What a task waits for before it may start. */
enum sched_after_on {
	SCHED_AFTER_SUCCESS, /* it ended well; a batch: every task of it did */
	SCHED_AFTER_FAILURE, /* it ended otherwise; a batch: at least one task did, all have ended
			      */
	SCHED_AFTER_END,     /* it ended, however */
	SCHED_AFTER_ON_COUNT,
};
const char *sched_after_on_name(enum sched_after_on on); /* "success", "failure", "end" */
int sched_after_on_parse(const char *name, enum sched_after_on *ret_on,
			 struct error *err) MUST_CHECK;

/*
 * What is done when a task runs out of memory: a ladder of rungs, each tried so many times, from
 * the first on; the last is always FAIL. Climbing uses up none of spec.retries. A rung that cannot
 * help is passed over and said: no GPU is larger, there is no batch to make smaller, the CPU is not
 * allowed. Which rung each attempt stood on is in its `rung`, in words.
 *
 *	retry		with a larger request: what it had when it failed and what it asked for then
 *			("Tried to allocate 8.84 GiB"), else 1.5 times what it was granted or used;
 *			bounded by the largest load line
 *	bigger-gpu	only where the load line is above that of the GPU it failed on
 *	alone		nobody else of ours on its GPU, which is none smaller than the last
 *	smaller-batch	{batch_size} is halved, and with it what it is said to have wanted, down to
 *what it was granted. Nothing that was learned with the larger batch counts
 *	cpu		without a GPU; only where request.cpu allows it
 *	fail		the end
 *
 * Out of host memory: retry (a larger RAM request), alone and smaller-batch count; the others are
 * passed over.
 */
enum sched_rung_type {
	SCHED_RUNG_RETRY,
	SCHED_RUNG_BIGGER_GPU,
	SCHED_RUNG_ALONE,
	SCHED_RUNG_SMALLER_BATCH,
	SCHED_RUNG_CPU,
	SCHED_RUNG_FAIL,
	SCHED_RUNG_COUNT,
};
const char *sched_rung_name(enum sched_rung_type type); /* "retry", "bigger-gpu" ... */

#define SCHED_RUNGS_MAX 16
struct sched_rung {
	enum sched_rung_type type;
	unsigned times; /* 1 to 100 */
};
/* "retry:2,bigger-gpu,alone,fail": how many it read, at most SCHED_RUNGS_MAX; -EINVAL. */
int sched_rungs_parse(const char *text, struct sched_rung rungs[SCHED_RUNGS_MAX],
		      struct error *err) MUST_CHECK;
/* retry:2, bigger-gpu, alone, fail; with "cpu" before the end where the request allows it. */
size_t sched_rungs_default(enum place_cpu_mode cpu, struct sched_rung rungs[SCHED_RUNGS_MAX]);

/* When a task uses more VRAM than it was granted (sched.h, "overruns"). */
enum sched_on_overrun {
	SCHED_OVERRUN_AUTO, /* warn while it fits the GPU's room, stop when others are in danger */
	SCHED_OVERRUN_WARN, /* never stop it */
	SCHED_OVERRUN_STOP, /* stop it at once */
	SCHED_OVERRUN_COUNT,
};
const char *sched_on_overrun_name(enum sched_on_overrun on); /* "auto", "warn", "stop" */
int sched_on_overrun_parse(const char *name, enum sched_on_overrun *ret_on,
			   struct error *err) MUST_CHECK;

/* How far a task has climbed, and what it asks for since. */
struct sched_ladder {
	unsigned rung;       /* index into its rungs: the one it stands on */
	unsigned times;      /* it has stood there, the present one included; 0 = on the ground */
	unsigned climbs;     /* in all */
	uint64_t vram_bytes; /* instead of request.vram_bytes; 0 = as it was */
	uint64_t ram_bytes;
	uint64_t line_above_bytes; /* as in struct place_request */
	bool alone, cpu;
	unsigned batch_size; /* instead of spec.batch_size; 0 = as it was */
	/* Kept by sched, ignored on restore: with a smaller batch it is work of another kind, "B
	 * (batch 8)", which is learned and asked for as such. NULL = spec.kind. */
	const char *kind;
};

#define SCHED_AFTER_MAX 1000 /* items of one task */

struct sched_after_item {
	uint64_t id;
	bool is_batch;
	/* It ended and is not in memory any more: how, from the store. sched looks for the others
	 * itself; an id that is neither there nor ended is refused. */
	bool ended, ended_well;
};

struct sched_after {
	const struct sched_after_item *items;
	size_t n;
	enum sched_after_on on;
	bool any; /* one of them does; else all of them are needed */
};

/* What was asked for. Strings are copied by sched_submit*(). */
struct sched_spec {
	const char *name;        /* for people */
	const char *kind;        /* durations are learned by it; "" = unknown */
	const char *const *argv; /* NULL-terminated, at least one; placeholders not yet replaced */
	const char *cwd;
	const char *log_path;    /* NULL = the daemon's choice */
	const char *fingerprint; /* for --resume; NULL = none */
	int64_t environment;     /* the store's id of the text; 0 = none */
	uid_t uid;
	gid_t gid;        /* of the sender */
	bool has_account; /* the sender had one in the system's database */
	mode_t umask;
	unsigned row; /* of its batch, from 1; 0 = none */
	int priority; /* higher first */
	struct place_request request;
	enum place_policy policy;
	unsigned retries; /* failures of its own it may repeat */
	double weight_memory;
	double work_hint;       /* its size beside others of its kind (place_task); 0 = none */
	int64_t retry_delay_ms; /* pause before the first repetition, doubled each time, at most
				   SCHED_RETRY_DELAY_MAX_MS; 0 = not said: SCHED_RETRY_DELAY_MS;
				   SCHED_RETRY_AT_ONCE = none */
	int64_t not_before_ms;  /* realtime; 0 = any time */
	const struct sched_after *after; /* NULL = nothing */
	bool held;                       /* submitted as held */
	bool is_private;                 /* other users do not even see its name */
	/* Counted from its start: at the soft limit its group gets soft_signal, at the hard one
	 * SIGKILL. 0 = no limit. */
	int soft_signal; /* 0 = SIGTERM */
	int64_t soft_limit_ms, hard_limit_ms;
	const char *tty;     /* "/dev/pts/N" its standard streams are; NULL = none */
	const char *rlimits; /* of the sender, as the daemon's JSON text; NULL = the daemon's own */
	const struct sched_rung *on_oom; /* copied; NULL = sched_rungs_default() */
	size_t n_on_oom;
	enum sched_on_overrun on_overrun;
	uint64_t vram_default_bytes; /* for a task that says nothing of its VRAM and whose kind has
					not been measured enough: this; 0 = it gets a GPU alone */
	unsigned batch_size;         /* {batch_size} and PLIMSOLL_BATCH_SIZE; 0 = not said */
	/* One of `workers` processes that share a job; its number among them from 0. 0 workers:
	 * it is none. */
	unsigned workers, worker_rank;
};

/* Where the VRAM a task asks for comes from. */
enum sched_vram_source {
	SCHED_VRAM_NONE,     /* it asks for none: no GPU, or max_per_gpu on one */
	SCHED_VRAM_SAID,     /* request.vram_bytes */
	SCHED_VRAM_LEARNED,  /* what others of its kind were measured to need */
	SCHED_VRAM_DEFAULT,  /* vram_default_bytes */
	SCHED_VRAM_ALONE,    /* nothing is known: a GPU for itself */
	SCHED_VRAM_LADDER,   /* it ran out of memory */
	SCHED_VRAM_FRACTION, /* request.fraction_milli */
	SCHED_VRAM_SOURCE_COUNT,
};
const char *sched_vram_source_name(enum sched_vram_source source); /* "said" ...; NULL for NONE */

/* One GPU of an attempt. */
struct sched_grant {
	const char *uuid;
	unsigned index;      /* at the time of the start */
	uint64_t vram_bytes; /* granted */
	bool used_known;     /* false: this GPU does not tell */
	uint64_t used_bytes; /* last measured */
	uint64_t peak_bytes; /* largest measured; 0 = never measured */
};

struct sched_task;

struct sched_attempt {
	unsigned number; /* from 1 */
	bool changed;    /* since the last sched_changes_clear() */
	struct sched_grant *gpus;
	unsigned n_gpus;          /* 0: on the CPU */
	enum place_policy policy; /* that chose */
	char *reason;             /* of the placement */
	int64_t started_at_ms;    /* when it was granted */
	int64_t ended_at_ms;      /* 0 = goes on */
	enum sched_outcome outcome;
	bool exit_known;                          /* exit_code and signal mean something */
	int exit_code;                            /* -1 when it died of a signal */
	int signal;                               /* 0 when it exited */
	uint64_t peak_vram_bytes, peak_ram_bytes; /* 0 = unknown */
	char *rung;              /* of its ladder it stands on, in words: "retry: 9.7 GiB instead of
				    6.0"; NULL = the ground */
	uint64_t ram_bytes;      /* granted */
	unsigned batch_size;     /* it was started with; 0 = none */
	bool overrun;            /* it used more than it was granted */
	int64_t overrun_at_ms;   /* since when; 0 = not, or not known */
	uint64_t used_ram_bytes; /* last measured while it runs; 0 = not yet. Not stored */
	char *stopped; /* and was stopped for that: "used 2 GiB of 1 GiB granted (--on-overrun
			  stop)". Its outcome is OOM or HOST_OOM then. NULL = it was not */
	/* What it asked for when it failed, by its own words ("Tried to allocate"); 0 = unknown. */
	uint64_t oom_requested_bytes;
	uint64_t oom_used_bytes; /* what it had then, by its own words ("this process has 6.25 GiB
				    memory in use"); 0 = not said, and peak_vram_bytes is what is
				    known. Never above it: peak_vram_bytes takes it in */
	char *vram_reason; /* where the VRAM it was granted comes from (sched_ask_reason()); NULL =
			      not known */
	char *evidence; /* what told its outcome beyond its exit status: the line of its log and, in
			   brackets, the id of the pattern ("torch.OutOfMemoryError: ...
			   [pytorch-allocator]"); NULL = nothing did */
	char *limits; /* what holds it to its grant, in words ("cgroup dmem.max", "watched"); NULL =
			 nothing was said */
};

/*
 * What it uses (used, once it has ended) beyond its grants, in words: "uses 7.8 GiB of 1 GiB
 * granted on GPU 0; warned: its GPU has room". Where several of its grants are overrun, all of
 * them. False and "" when it is no overrun.
 */
bool sched_overrun_text(const struct sched_task *task, const struct sched_attempt *attempt,
			char text[SCHED_REASON_MAX]);

/* The host RAM it is held to: what it or its ladder said. 0 = nobody did; what was learned of its
 * kind is kept free for it, no more. */
uint64_t sched_ram_promise(const struct sched_task *task, const struct sched_attempt *attempt);

/* "cuda:0" (the task sees its GPU as number 0), or "cpu". */
const char *sched_attempt_device(const struct sched_attempt *attempt);

struct sched_task {
	uint64_t id;
	uint64_t batch; /* 0 = none */
	struct sched_spec spec;
	enum sched_state state;
	unsigned n_attempts;
	struct sched_attempt *attempts;
	char *reason; /* of an ended task: why; NULL = none. Of a waiting one see sched_reason() */
	int64_t submitted_at_ms, updated_at_ms;
	int64_t queued_at_ms;  /* its place in the queue and its ageing count from here: its submit,
				  its spec.not_before_ms or its last retry by hand. Restored with 0:
				  worked out from the others */
	int64_t not_before_ms; /* 0 = any time */
	unsigned failures;     /* of its own, counted against spec.retries */
	unsigned requeues;     /* put back because its GPU was lost */
	unsigned start_failures; /* starts in a row that the machine could not do */
	unsigned start_refusals; /* starts in a row that failed for what is the task's or its
				    user's, and may pass */
	bool stopping;           /* a cancel was asked for while it ran */
	bool overtime;           /* its soft limit passed in the present attempt: it was signaled */
	/* What of spec.after is still to come, allocated; NULL when nothing. Changes are stored;
	 * a task is restored with what was left. */
	struct sched_after_item *after;
	size_t n_after;
	struct sched_ladder *ladder; /* NULL: it never ran out of memory */
};

/* The attempt that is starting or running, else the last; NULL when there was none. */
const struct sched_attempt *sched_task_attempt(const struct sched_task *task);

enum sched_batch_state {
	SCHED_BATCH_RUNNING,  /* started or not, more may start */
	SCHED_BATCH_ASKING,   /* something failed: nothing starts until an answer */
	SCHED_BATCH_CANCELED, /* nothing starts any more; ended_at_ms says when the last one ended
			       */
	SCHED_BATCH_DONE,
	SCHED_BATCH_STATE_COUNT,
};
const char *sched_batch_state_name(enum sched_batch_state state);
int sched_batch_state_parse(const char *name, enum sched_batch_state *ret_state,
			    struct error *err) MUST_CHECK;

struct sched_batch {
	uint64_t id;
	const char *name;
	uid_t uid;
	bool is_private; /* one of its tasks is */
	enum sched_on_failure on_failure;
	enum sched_batch_state state;
	int64_t submitted_at_ms;
	int64_t first_start_ms; /* 0 = nothing started yet */
	int64_t ended_at_ms;    /* 0 = goes on */
	unsigned total;
	unsigned counts[SCHED_STATE_COUNT]; /* of its tasks; kept by sched, ignored on restore */
};
