/* After a start: what the store knows, back into sched, and what was running asked of the
 * supervisor. */
#pragma once

#include "daemon/daemon.h"

int restore_all(struct daemon *daemon, struct error *err) MUST_CHECK;

/* What has ended and is no more in memory, back into it, so that it can be tried again: a task (of
 * a batch, the whole of that), or a batch with all its tasks. Nothing to do for what is there.
 * -ENOENT: there is none, or only its line in the archive is left. */
int restore_task(struct daemon *daemon, uint64_t id, struct error *err) MUST_CHECK;
int restore_batch(struct daemon *daemon, uint64_t id, struct error *err) MUST_CHECK;
