/* What an attempt's end means: ok, error, out of memory, lost. */
#pragma once

#include "run/client.h"
#include "run/oom.h"
#include "sched/sched.h"

struct outcome {
	enum sched_outcome outcome;
	char text[256]; /* for the reason; "" = nothing beyond the exit status is known */
};

/* `patterns` may be NULL (the data file is not there): then no output is looked at. `log_path`: the
 * attempt's output, whose end is read for out-of-memory messages. */
void outcome_classify(const struct oom_patterns *patterns, const struct supervisor_ended *ended,
		      const char *log_path, bool on_cpu, struct outcome *ret_outcome);
