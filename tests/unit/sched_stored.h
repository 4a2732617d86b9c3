/* What a store would have: tasks and batches as they were when sched_changes() last listed them. */
#pragma once

#include "sched/sched.h"

struct stored {
	struct sched_task **tasks; /* by id; NULL = not there */
	size_t n_tasks;
	struct sched_batch **batches;
	size_t n_batches;
};

/* All that sched_changes() lists, as one transaction; then they are cleared. */
void stored_commit(struct stored *stored, struct sched *sched);
/* Into a queue that has just been made, all that goes on, whole batches of what does, and, where
 * `load_ended(arg)` says so, what has ended. Backwards: tasks in falling order of ids. */
void stored_restore(const struct stored *stored, struct sched *sched, bool backwards,
		    bool (*load_ended)(void *arg), void *arg);
void stored_finish(struct stored *stored);
