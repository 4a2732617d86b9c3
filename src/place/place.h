/*
 * Placing: which waiting task starts next, and where. Pure: a view of the world goes in, one
 *decision with its reasons comes out; the caller books it into the view and asks again until
 *nothing can start.
 *
 * Policies (all obey room, load line, limits, pins and exclusiveness; they differ in the choice
 *among what fits):
 *
 *	balance		lowest score active/max x 50 + utilisation/100 x 50 (DESIGN S2, exactly);
 *			with weight_memory w > 0 + w x allocated share of the load line
 *	best-fit	the GPU with least room left over
 *	earliest-finish	where its estimated end, contention included, is soonest
 *	spread		most room left over
 *	round-robin	the next GPU in turn
 *	first-fit	lowest index
 *	auto		the default: the best of them, see place/auto.c
 *
 * Decisions of `auto` may take a task before earlier ones of the same batch and priority (longest
 *first), and may leave a GPU idle when waiting for a faster one ends sooner. The other policies
 *take tasks in queue order; one that does not fit now does not keep those behind it from starting.
 */
#pragma once

#include "place/estimates.h"
#include "place/ledger.h"
#include "place/request.h"

#include <sys/types.h>

enum place_policy {
	PLACE_AUTO,
	PLACE_BALANCE,
	PLACE_BEST_FIT,
	PLACE_EARLIEST_FINISH,
	PLACE_SPREAD,
	PLACE_ROUND_ROBIN,
	PLACE_FIRST_FIT,
	PLACE_POLICY_COUNT,
};

const char *place_cpu_mode_name(enum place_cpu_mode mode); /* "never", "only", "fallback" ... */
int place_cpu_mode_parse(const char *name, enum place_cpu_mode *ret_mode,
			 struct error *err) MUST_CHECK;

const char *place_policy_name(enum place_policy policy); /* "auto", "best-fit", ... */
int place_policy_parse(const char *name, enum place_policy *ret_policy,
		       struct error *err) MUST_CHECK;

/* A task as placing sees it. Strings are borrowed. */
struct place_task {
	uint64_t id;
	uint64_t batch;   /* 0 = none */
	int priority;     /* higher first; waiting tasks come sorted by the queue */
	const char *kind; /* what durations are learned by; "" = unknown */
	const struct place_request *request;
	/* Waiting ones that may do without a GPU when none would start them now
	 * (PLACE_CPU_WHEN_IDLE): what they ask of the host then, gpus 0; NULL = it needs a GPU. */
	const struct place_request *on_cpu;
	const char
	    *cpu_why; /* why a request that wanted a GPU asks for none; NULL = it never did */
	const char *alone_why; /* why its request is exclusive although nobody said so; NULL = it
				  was said, or is not */
	enum place_policy policy;
	double weight_memory; /* of balance; 0 = the plain score */
	double work_hint;  /* its size relative to others of its kind (bytes of its input file, say;
			      any unit); 0 = unknown */
	double work_scale; /* yardsticks only: its true work / its kind's mean, when it has ended;
			      0 = unknown, the estimate is taken */
	uid_t uid;         /* whose it is */
	double waited_seconds;     /* waiting tasks: since it might have started */
	double hard_limit_seconds; /* counted from its start it ends at the latest then; 0 = none */
	/* Running tasks only: */
	size_t gpus[PLACE_GPUS_MAX]; /* indices into ledger->gpus; n_gpus = 0: on the CPU */
	size_t n_gpus;
	double elapsed_seconds;
	double work_done_seconds; /* of its work (estimates.h); <= elapsed where contention slowed
				     it */
};

bool place_runs_on(const struct place_task *task, size_t gpu);

/* What one user may have running; 0 = no limit. */
struct place_user {
	uid_t uid;
	unsigned max_running;
	unsigned max_gpus;       /* granted, counted once for each task */
	uint64_t max_vram_bytes; /* granted, on all GPUs together */
};

struct place_view {
	struct ledger *ledger; /* place_book() writes into it */
	const struct estimates *estimates;
	struct place_task *running;
	size_t n_running, running_room;   /* grown by place_book() with mem_realloc */
	const struct place_task *waiting; /* queue order; the caller bounds it (PLACE_WINDOW) */
	size_t n_waiting;
	bool *taken; /* n_waiting flags, set by place_book(): already started in this round */
	uint64_t round_robin;           /* turn counter, advanced by place_book() */
	const struct place_user *users; /* who has limits; what runs is counted here */
	size_t n_users;
	/* The first waiting task that cannot start and has waited this long gets a reservation
	 * (reserve.h); 0 = none ever does. */
	double reserve_after_seconds;
};

/* How many waiting tasks the caller need not exceed: what lies behind has no say in the decision.
 */
#define PLACE_WINDOW 512

#define PLACE_REASON_MAX 640

struct place_decision {
	size_t waiting; /* index into view->waiting */
	size_t gpus[PLACE_GPUS_MAX];
	size_t n_gpus; /* 0: on the CPU */
	enum place_policy policy;
	char reason[PLACE_REASON_MAX]; /* "GPU 0: ends in 12 s here, in 21 s on GPU 1; room 4.1 GiB"
					*/
};

/* The next start. 1 = *ret_decision holds one; 0 = nothing can (or should) start now. */
int place_next(const struct place_view *view, struct place_decision *ret_decision);

/* Seconds after which place_next() may have another answer although nothing happened: the pause
 * between starts on a GPU is over. Negative: nothing waits for that. */
double place_wake_seconds(const struct place_view *view);

/* Book a decision into the view: ledger, running, taken, round-robin turn. */
void place_book(struct place_view *view, const struct place_decision *decision);

/*
 * The most VRAM that each of the GPUs it asks for can give it: of the GPUs that its pin, wishes and
 * the rules leave it, the smallest load line (or limit of a request) it has to do with. 0: there
 * are too few, or that is not known. `now`: less what is used there by others than us.
 */
uint64_t place_most(const struct ledger *ledger, const struct place_request *request, bool now);

/* The same of the room that is there now, beside tasks of ours; what is about to come back of those
 * that have ended counts as room. */
uint64_t place_most_room(const struct ledger *ledger, const struct place_request *request);

/* Is there a GPU, or are there as many as it asks for, that can ever hold it, or of which that
 * cannot be said now? */
bool place_has_gpus_for(const struct ledger *ledger, const struct place_request *request);

/* Can it ever run on this machine? 0; -E2BIG when no GPU, all of it free of ours, could hold it, or
 * its own wishes or the rules for GPUs leave too few; -ENODEV when it needs a GPU and there is
 * none, or the pinned one is not there; neither of what may fall back to the CPU. The text names
 * the largest room there is and what the others are ruled out by. Says nothing against a GPU that
 * is only stale, lost or closed for the moment. */
int place_check(const struct ledger *ledger, const struct place_request *request,
		struct error *err) MUST_CHECK;

/* Why is waiting task `index` not running, in numbers: "needs 5 GiB; GPU 0 has room for 1.2 GiB (2
 * tasks hold 9.9), GPU 1 for 0.4; next expected end in 40 s". */
void place_explain(const struct place_view *view, size_t index, char reason[PLACE_REASON_MAX]);

/*
 * The yardsticks of a batch, in the same model of execution as place/auto.c: for the summary.
 * `tasks` are all tasks of the batch (waiting ones, n_gpus unused), `ledger` the machine with
 * nothing of the batch on it. Seconds; negative when it cannot be said (a duration, or how busy a
 * kind keeps a GPU, was never measured).
 */
struct place_yardsticks {
	double lower_bound_seconds; /* no schedule can be shorter: throughput, VRAM x time, longest
				       task */
	double even_split_seconds; /* half the rows on each GPU in order, as many at once as fit: by
				      hand */
	double one_gpu_seconds;    /* all on the best single GPU that can hold them */
};
void place_yardsticks_compute(const struct ledger *ledger, const struct estimates *estimates,
			      const struct place_task *tasks, size_t n_tasks,
			      struct place_yardsticks *ret_yardsticks);
