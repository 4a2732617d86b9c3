/* The world of sched_property.c: the truth the queue only hears of, and a model of its own of why a
 * task waits. */
#pragma once

#include "sched_stored.h"
#include "util/size.h"

#define TASKS_MAX 100000
#define GPUS_MAX  4
#define USERS     3
#define KINDS     3

enum truth { ABSENT, QUIET, TO_START, PROCESS, ENDED, GONE }; /* ENDED: not judged yet */

/* How something ended, ever: a retry may change it after others went by it. */
struct fate {
	bool well, badly;
};

struct world_task {
	enum truth truth;
	unsigned attempt;
	int signaled;
	int64_t ended_ms;
	int64_t started_ms; /* its process; goes with the clock */
	bool soft_sent;     /* in this attempt */
	bool killed;        /* the same */
	bool retried;       /* by hand: whatever it was to run after may be left aside */
	bool final;
	struct fate fate;
	enum sched_state state;
};

struct world {
	struct sched *sched;
	uint64_t random;
	int64_t now_ms, latest_ms; /* the clock, and the latest it ever was */
	int64_t monotonic_ms;      /* the one nobody sets */
	bool tells_both;           /* of the two, else of the first only */
	int64_t stored_offset;
	struct gpu_list *list; /* without the tasks' use */
	uint64_t foreign[GPUS_MAX];
	struct world_task *tasks; /* by id */
	struct fate *batches;     /* by id */
	uint64_t last_task, last_batch;
	struct stored stored;
	struct sched_config config;
	struct sched_user_config users[USERS];
	bool paused, closed[GPUS_MAX];
	unsigned start_failures; /* in a row */
	size_t starts, restarts, ends, reasons, kept;
	uint64_t wanted[KINDS]; /* the most that one of the kind was seen to want, by world_kinds */
	bool wrong[KINDS];      /* one wanted as much as it said, or more */
	size_t raised;          /* asks above what was said, by what was seen */
};

extern const char *const world_kinds[KINDS]; /* the first: none */

/* Tell the queue of both clocks, in a world that does. */
void world_clock(struct world *w);
void time_passes(struct world *w, int64_t ms);
/* Somebody sets the clock; the queue is not told. */
void set_clock(struct world *w, int64_t by);

/* Was what it is to run after ever so? */
bool after_was_met(const struct world *w, const struct sched_task *t);

/* The users' limits hold, and what the queue says they have is what a count by hand gives. */
void check_users(struct world *w);
/* What the attempts of each kind were seen to want. */
void note_wanted(struct world *w);
/* Every waiting task has the reason that is found here, and what nothing keeps does not wait. None
 * that did not fall itself asks for more than it said unless one of its kind was seen to want that,
 * or more than itself had said:
 * a guess is none. */
void check_reasons(struct world *w);
/* Nothing is granted twice; what just started on a GPU keeps within its load line. */
void check_gpus(struct world *w, const bool *started_on);
void check_batches(struct world *w);
/* Would the placer not tell them apart but by their order? */
bool alike(struct world *w, const struct sched_task *a, const struct sched_task *b);
/* Each rung as often as it may be stood on, and what it made of the attempt is said. */
void check_ladder(const struct sched_task *t);
