/*
 * Was it out of memory, and whose? From how an attempt ended, the last lines of its log and what
 * NVML saw. The texts are data (data/oom-patterns.yaml: each with its source and date; more of them
 * in `oom` of plimsoll.yaml), the order of the decision is here:
 *
 *	1. exit status 0: ok, whatever the log says (programs catch it and go on).
 *	2. killed by SIGKILL (or exit status 137) while the kernel's out-of-memory killer struck in
 *	   its cgroup: host-oom. SIGKILL alone proves nothing.
 *	3. one of the last 200 lines tells of such a kill (kernel, Slurm, Kubernetes): host-oom.
 *	4. one of them says that the GPU's memory was short: oom (a text of both kinds of memory is
 *	   host-oom for a task that ran on the CPU, or beside lines that speak of RAM).
 *	5. one of them says that RAM was short: host-oom.
 *	6. one of them says "out of memory" and not whose, in a pattern's text or in words of its
 *	   own (oom_words.c): the GPU's when that was full or the line speaks of one, or others do
 *	   and the line not of RAM; else host-oom.
 *	7. what often is out of memory and often is not (CUDNN_STATUS_NOT_INITIALIZED): oom only
 *	   when the GPU's memory was full, or the task's limit reached. An abort without a word:
 *	   only when most of what filled the GPU was not its own, or its own limit was reached. A
 *	   process that it started was killed ("Killed", exit status 137): host-oom when the
 *	   kernel's killer struck in its cgroup, or where nobody counts that.
 *	8. the log ends with an allocation that failed and that programs may get over: oom.
 *	9. otherwise error; lost when nobody knows how it ended and nothing of 3 to 8 matched.
 *
 * Within one step the last line that matches counts. A line that matches an `ignore` pattern counts
 * for nothing, and what stands above a line that says that the program got over it (`recovered`) is
 * not looked at. A carriage return or a written "\n" (logs in JSON) ends a piece of a line; a text
 * may go on in the next one.
 */
#pragma once

#include "util/error.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct oom_patterns;

/* A pattern of plimsoll.yaml. Where several fit one line these come before those of the file. */
struct oom_pattern_text {
	const char *id, *kind, *text;
	const char *where; /* "file:line:column", for errors */
};

/* `path` NULL: data/oom-patterns.yaml as found by paths_find_data(). At most 1,000 of each.
 * Errors name file and line. */
int oom_patterns_load(const char *path, const struct oom_pattern_text *more, size_t n_more,
		      struct oom_patterns **ret_patterns, struct error *err) MUST_CHECK;
void oom_patterns_destroy(struct oom_patterns *patterns);

enum oom_outcome { OOM_OK, OOM_ERROR, OOM_GPU, OOM_HOST, OOM_LOST };

/* "ok", "error", "oom", "host-oom", "lost": the outcomes of docs and JSON. */
const char *oom_outcome_name(enum oom_outcome outcome);

struct oom_evidence {
	bool lost;          /* how it ended is unknown */
	int exit_code;      /* valid when signal is 0 and not lost */
	int signal;         /* 0: it exited */
	unsigned oom_kills; /* see struct supervisor_ended */
	bool oom_kills_known;
	bool on_cpu; /* it had no GPU */
	/* Of the fullest of its GPUs, by NVML; 0 = unknown. Full is what comes within 3 % or 256
	 * MiB of the end, whichever is more. */
	uint64_t gpu_peak_bytes, gpu_total_bytes;
	uint64_t own_peak_bytes, own_limit_bytes; /* the task's, where a limit is enforced */
	const char *log; /* the end of its log, OOM_LOG_BYTES of it are plenty; may be NULL */
	size_t log_len;
};

#define OOM_LOG_BYTES ((size_t)64 << 10)

struct oom_verdict {
	enum oom_outcome outcome;
	char pattern[64];   /* id of the pattern that decided; "" none */
	char line[512];     /* the line it was found in, without colours; "" none */
	bool gpu_full;      /* decided by that, too */
	bool killed;        /* by SIGKILL, and nothing says why */
	bool has_requested; /* "Tried to allocate 8.84 GiB" */
	uint64_t requested_bytes;
	/* What the process itself had then, at least 1 MiB: "this process has 6.25 GiB memory in
	 * use". Only of OOM_GPU. 1 MiB also where what it asked for is all that it wants. */
	bool has_used;
	uint64_t used_bytes;
};

void oom_classify(const struct oom_patterns *patterns, const struct oom_evidence *evidence,
		  struct oom_verdict *ret_verdict);

/* oom_classify() with the last OOM_LOG_BYTES of the file at `log_path` (NULL, unreadable or no
 * plain file: no log). */
void oom_classify_file(const struct oom_patterns *patterns, const struct oom_evidence *evidence,
		       const char *log_path, struct oom_verdict *ret_verdict);
