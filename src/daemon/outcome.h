/* What an attempt's end means: ok, error, out of memory, lost. */
#pragma once

#include "run/client.h"
#include "run/oom.h"
#include "sched/sched.h"

struct outcome {
	enum sched_outcome outcome;
	char text[384];           /* for the reason; "" = nothing beyond the exit status is known */
	uint64_t requested_bytes; /* what it tried to allocate when memory ran out; 0 = not said */
	uint64_t used_bytes;      /* what it had then, by its own words; 0 = not said */
};

/* What is known of an attempt beside its end; bytes 0 = unknown. */
struct outcome_facts {
	const char *log_path; /* its output, whose end is read for out-of-memory messages */
	bool on_cpu;          /* it had no GPU */
	uint64_t gpu_peak_bytes, gpu_total_bytes; /* of the fullest of its GPUs, while it ran */
	uint64_t own_peak_bytes, own_limit_bytes; /* the limit only where something enforces it */
};

/* `patterns` may be NULL (the data file is not there): then no output is looked at. */
void outcome_classify(const struct oom_patterns *patterns, const struct supervisor_ended *ended,
		      const struct outcome_facts *facts, struct outcome *ret_outcome);
