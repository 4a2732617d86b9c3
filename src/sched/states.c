/*
 * See states.h. A pair of state and event that is not in the table cannot happen: sched.c refuses
 * it (a repeated report, a cancel of what has ended) and nothing changes.
 */
#include "sched/states.h"

#include <errno.h>
#include <string.h>

#define MOVE(next, effect)             \
	{                              \
		true, (next), (effect) \
	}

static const struct sched_move table[SCHED_STATE_COUNT][SCHED_EVENT_COUNT] = {
    [SCHED_WAITING] =
	{
	    [SCHED_EV_PLACE] = MOVE(SCHED_STARTING, SCHED_DO_GRANT),
	    [SCHED_EV_CANCEL] = MOVE(SCHED_CANCELED, SCHED_DO_DEQUEUE),
	    [SCHED_EV_HOLD] = MOVE(SCHED_HELD, SCHED_DO_DEQUEUE),
	},
    [SCHED_HELD] =
	{
	    [SCHED_EV_CANCEL] = MOVE(SCHED_CANCELED, SCHED_DO_NOTHING),
	    [SCHED_EV_RELEASE] = MOVE(SCHED_WAITING, SCHED_DO_ENQUEUE),
	},
    /* The end may be heard of before the start: both ends of STARTING and RUNNING are the same. */
    [SCHED_STARTING] =
	{
	    [SCHED_EV_STARTED] = MOVE(SCHED_RUNNING, SCHED_DO_NOTHING),
	    [SCHED_EV_OK] = MOVE(SCHED_DONE, SCHED_DO_FREE),
	    [SCHED_EV_FAIL] = MOVE(SCHED_FAILED, SCHED_DO_FREE),
	    [SCHED_EV_AGAIN] = MOVE(SCHED_WAITING, SCHED_DO_REPEAT),
	    [SCHED_EV_STOPPED] = MOVE(SCHED_CANCELED, SCHED_DO_FREE),
	    [SCHED_EV_VANISHED] = MOVE(SCHED_LOST, SCHED_DO_FREE),
	    [SCHED_EV_CANCEL] = MOVE(SCHED_STARTING, SCHED_DO_STOP),
	},
    [SCHED_RUNNING] =
	{
	    [SCHED_EV_OK] = MOVE(SCHED_DONE, SCHED_DO_FREE),
	    [SCHED_EV_FAIL] = MOVE(SCHED_FAILED, SCHED_DO_FREE),
	    [SCHED_EV_AGAIN] = MOVE(SCHED_WAITING, SCHED_DO_REPEAT),
	    [SCHED_EV_STOPPED] = MOVE(SCHED_CANCELED, SCHED_DO_FREE),
	    [SCHED_EV_VANISHED] = MOVE(SCHED_LOST, SCHED_DO_FREE),
	    [SCHED_EV_CANCEL] = MOVE(SCHED_RUNNING, SCHED_DO_STOP),
	},
    [SCHED_FAILED] = {[SCHED_EV_RETRY] = MOVE(SCHED_WAITING, SCHED_DO_ENQUEUE)},
    [SCHED_CANCELED] = {[SCHED_EV_RETRY] = MOVE(SCHED_WAITING, SCHED_DO_ENQUEUE)},
    [SCHED_LOST] = {[SCHED_EV_RETRY] = MOVE(SCHED_WAITING, SCHED_DO_ENQUEUE)},
};

static const char *const state_names[SCHED_STATE_COUNT] = {
    [SCHED_WAITING] = "waiting",   [SCHED_HELD] = "held", [SCHED_STARTING] = "starting",
    [SCHED_RUNNING] = "running",   [SCHED_DONE] = "done", [SCHED_FAILED] = "failed",
    [SCHED_CANCELED] = "canceled", [SCHED_LOST] = "lost",
};

static const char *const outcome_names[SCHED_OUTCOME_COUNT] = {
    [SCHED_OUTCOME_NONE] = "",
    [SCHED_OK] = "ok",
    [SCHED_ERROR] = "error",
    [SCHED_OOM] = "oom",
    [SCHED_HOST_OOM] = "host-oom",
    [SCHED_TIMEOUT] = "timeout",
    [SCHED_OUTCOME_CANCELED] = "canceled",
    [SCHED_GPU_LOST] = "gpu-lost",
    [SCHED_OUTCOME_LOST] = "lost",
};

static const struct {
	const char *name, *meaning;
} events[SCHED_EVENT_COUNT] = {
    [SCHED_EV_PLACE] = {"place", "the placer granted it GPUs (or the CPU)"},
    [SCHED_EV_STARTED] = {"started", "its process exists"},
    [SCHED_EV_OK] = {"ok", "the attempt ended well"},
    [SCHED_EV_FAIL] = {"fail", "the attempt failed and is not to be repeated"},
    [SCHED_EV_AGAIN] = {"again", "the attempt failed, its GPU was lost or the machine could not "
				 "start it; it is to be repeated"},
    [SCHED_EV_STOPPED] =
	{"stopped", "the attempt ended after a cancel, or never began and its batch is canceled"},
    [SCHED_EV_VANISHED] = {"vanished", "the attempt ended and nobody knows how"},
    [SCHED_EV_CANCEL] =
	{"cancel",
	 "somebody asked to cancel it, its batch stops, or what it waits for can never come"},
    [SCHED_EV_HOLD] = {"hold", "somebody asked to hold it"},
    [SCHED_EV_RELEASE] = {"release", "somebody asked to release it"},
    [SCHED_EV_RETRY] = {"retry", "somebody asked to run it once more"},
};

static const char *const effect_names[SCHED_EFFECT_COUNT] = {
    [SCHED_DO_NOTHING] = "",
    [SCHED_DO_ENQUEUE] = "into the queue",
    [SCHED_DO_DEQUEUE] = "out of the queue",
    [SCHED_DO_GRANT] = "out of the queue, new attempt with its allocation, start",
    [SCHED_DO_STOP] = "SIGTERM, after the grace SIGKILL",
    [SCHED_DO_FREE] = "attempt closed, allocation freed",
    [SCHED_DO_REPEAT] = "attempt closed, allocation freed, into the queue",
};

struct sched_move sched_move(enum sched_state state, enum sched_event event)
{
	return table[state][event];
}

const char *sched_state_name(enum sched_state state)
{
	return state_names[state];
}

const char *sched_outcome_name(enum sched_outcome outcome)
{
	return outcome_names[outcome];
}

int sched_state_parse(const char *name, enum sched_state *ret_state, struct error *err)
{
	for (unsigned i = 0; i < SCHED_STATE_COUNT; i++) {
		if (strcmp(name, state_names[i]) == 0) {
			*ret_state = (enum sched_state)i;
			return 0;
		}
	}
	return error_set(err, -EINVAL,
			 "unknown state '%s'; there are waiting, held, starting, running, done, "
			 "failed, canceled, lost",
			 name);
}

int sched_outcome_parse(const char *name, enum sched_outcome *ret_outcome, struct error *err)
{
	for (unsigned i = 0; i < SCHED_OUTCOME_COUNT; i++) {
		if (strcmp(name, outcome_names[i]) == 0) {
			*ret_outcome = (enum sched_outcome)i;
			return 0;
		}
	}
	return error_set(err, -EINVAL,
			 "unknown outcome '%s'; there are ok, error, oom, host-oom, timeout, "
			 "canceled, gpu-lost, lost",
			 name);
}

void sched_table_print(FILE *out)
{
	fprintf(out, "# The states of a task\n\n"
		     "Printed from the table in `src/sched/states.c` by "
		     "`build/src/sched/states-doc`; a test "
		     "compares the two.\n"
		     "What is not listed cannot happen: it is refused and changes nothing.\n\n"
		     "| state | event | next | does |\n| --- | --- | --- | --- |\n");
	for (unsigned s = 0; s < SCHED_STATE_COUNT; s++) {
		bool any = false;

		for (unsigned e = 0; e < SCHED_EVENT_COUNT; e++) {
			const struct sched_move *move = &table[s][e];

			if (!move->allowed)
				continue;
			any = true;
			fprintf(out, "| %s | %s | %s | %s |\n", state_names[s], events[e].name,
				state_names[move->next], effect_names[move->effect]);
		}
		if (!any)
			fprintf(out, "| %s | | | final |\n", state_names[s]);
	}
	fprintf(out, "\n| event | means |\n| --- | --- |\n");
	for (unsigned e = 0; e < SCHED_EVENT_COUNT; e++)
		fprintf(out, "| %s | %s |\n", events[e].name, events[e].meaning);
}
