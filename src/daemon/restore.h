/* After a start: what the store knows, back into sched, and what was running asked of the
 * supervisor. */
#pragma once

#include "daemon/daemon.h"

int restore_all(struct daemon *daemon, struct error *err) MUST_CHECK;
