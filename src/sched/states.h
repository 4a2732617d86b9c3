/*
 * The states of a task and what moves between them, as one table. docs/states.md is printed from
 * it (build/src/sched/states-doc) and a test compares the two.
 */
#pragma once

#include "util/error.h"

#include <stdbool.h>
#include <stdio.h>

enum sched_state {
	SCHED_WAITING,
	SCHED_HELD,     /* waits for a release */
	SCHED_STARTING, /* granted; its process may or may not exist */
	SCHED_RUNNING,
	SCHED_DONE,
	SCHED_FAILED,
	SCHED_CANCELED,
	SCHED_LOST, /* ended, how is unknown */
	SCHED_STATE_COUNT,
};

enum sched_outcome {
	SCHED_OUTCOME_NONE, /* goes on */
	SCHED_OK,
	SCHED_ERROR,
	SCHED_OOM, /* GPU memory */
	SCHED_HOST_OOM,
	SCHED_TIMEOUT,
	SCHED_OUTCOME_CANCELED,
	SCHED_GPU_LOST,
	SCHED_OUTCOME_LOST, /* unknown how */
	SCHED_OUTCOME_COUNT,
};

enum sched_event {
	SCHED_EV_PLACE,    /* the placer granted GPUs */
	SCHED_EV_STARTED,  /* its process exists */
	SCHED_EV_OK,       /* the attempt ended well */
	SCHED_EV_FAIL,     /* it failed, and is not to be repeated */
	SCHED_EV_AGAIN,    /* it failed or was lost, and is to be repeated */
	SCHED_EV_STOPPED,  /* it ended after a cancel */
	SCHED_EV_VANISHED, /* it ended and nobody knows how */
	SCHED_EV_CANCEL,
	SCHED_EV_HOLD,
	SCHED_EV_RELEASE,
	SCHED_EV_RETRY,
	SCHED_EVENT_COUNT,
};

/* What the move does besides changing the state. */
enum sched_effect {
	SCHED_DO_NOTHING,
	SCHED_DO_ENQUEUE, /* into the order of the waiting */
	SCHED_DO_DEQUEUE, /* out of it */
	SCHED_DO_GRANT,   /* out of it, a new attempt with its allocation, START */
	SCHED_DO_STOP,    /* SIGTERM, after the grace SIGKILL */
	SCHED_DO_FREE,    /* close the attempt, free its allocation */
	SCHED_DO_REPEAT, /* close the attempt, free its allocation, into the order of the waiting */
	SCHED_EFFECT_COUNT,
};

struct sched_move {
	bool allowed;
	enum sched_state next;
	enum sched_effect effect;
};

/* The table. */
struct sched_move sched_move(enum sched_state state, enum sched_event event);

/* As Markdown. */
void sched_table_print(FILE *out);

/* It has ended: nothing but a retry by hand changes it any more. */
static inline bool sched_state_is_final(enum sched_state state)
{
	return state >= SCHED_DONE;
}

/* "waiting", "ok", ...: the names of DESIGN §7. An outcome of NONE has the name "". */
const char *sched_state_name(enum sched_state state);
const char *sched_outcome_name(enum sched_outcome outcome);
int sched_state_parse(const char *name, enum sched_state *ret_state, struct error *err) MUST_CHECK;
int sched_outcome_parse(const char *name, enum sched_outcome *ret_outcome,
			struct error *err) MUST_CHECK;
