/*
 * What holds a task to the VRAM it was granted through its environment, where its machine has it:
 *
 *	MPS		the pinned-memory limit of CUDA's Multi-Process Service, when a control
 *			daemon serves the task's user. It holds for each process, not for all of
 *			them together: of a task with several GPUs, which has several processes
 *			as a rule, nothing is said.
 *	HAMi-core	where plimsoll.yaml names its library (`limits: hami`): it is loaded
 *			before all others and counts what the process allocates.
 *
 * What the user has set himself stays as it is.
 */
#pragma once

#include "daemon/expand.h"

#include <sys/types.h>

struct guards {
	const char *root; /* "" = the file system as it is; where /proc and /tmp lie for tests */
	const char *hami; /* NULL = not wanted */
	uid_t uid;        /* the task's */
};

/* Change the environment of a task; what was done is added to `words`: "MPS pinned-memory limit
 * (for each process)", "HAMi-core". A grant of 0 is none. */
void guards_add(const struct guards *guards, const struct expand_grant *grant, struct strings *env,
		struct text *words);

/* Do these words, all that hold an attempt (guards_add(), bound_apply()), name something that
 * refuses it more VRAM than its grant? memory.max is RAM; NULL: it is only watched, and gets what
 * it asks for. */
bool guards_refuse(const char *limits);

/* Away with what such an attempt has left behind. */
void guards_sweep(uint64_t task, unsigned attempt);
