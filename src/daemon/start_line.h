/*
 * The line said at each start: "GPU 0: 3/5 tasks, 45% util | GPU 1: 2/5 tasks, 32% util". The
 * second number is the batch's --max-per-gpu or, without one, how many such tasks the load line
 * holds.
 */
#pragma once

#include "sched/sched.h"

/* Several tasks may start in one turn; each line counts those up to its own. */
struct start_lines {
	const struct gpu_list *list;
	struct ledger *ledger;
	unsigned *counts; /* of tasks, by GPU of the ledger */
};

void start_lines_init(struct start_lines *lines, const struct sched *sched,
		      const struct sched_action *actions, size_t n);
void start_lines_finish(struct start_lines *lines);

/* In the order of the actions. The caller frees the line. */
char *start_lines_next(struct start_lines *lines, const struct sched_task *task,
		       const struct sched_attempt *attempt);
