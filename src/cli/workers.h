/* --workers-per-gpu of `run` and `batch`: the workers are a batch without rows, which is stood by
 * as any other. What they print is in their logs. */
#pragma once

#include "cli/options.h"

/* Send them and return the verb's exit code; `detach`: print the batch's id and do not wait. */
int workers_run(const struct options *options, const char *on_failure, bool detach, bool as_json);
