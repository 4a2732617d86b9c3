/*
 * Was it out of memory, and whose? From how an attempt ended and the last lines of its log. The
 * texts are data (data/oom-patterns.yaml: each with its source and date), the order of the decision
 * is here:
 *
 *	1. exit status 0: ok, whatever the log says (programs catch it and go on).
 *	2. killed by SIGKILL (or exit status 137) while the kernel's out-of-memory killer struck in
 *its cgroup: host-oom. SIGKILL alone proves nothing.
 *	3. one of the last 200 lines matches a pattern of the GPU's memory: oom (host-oom when the
 *	   pattern fits both and the task ran on the CPU).
 *	4. one of them matches a pattern of RAM: host-oom.
 *	5. otherwise error; lost when nobody knows how it ended and nothing of 3 or 4 matched.
 */
#pragma once

#include "util/error.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct oom_patterns;

/* `path` NULL: data/oom-patterns.yaml as found by paths_find_data(). Errors name file and line. */
int oom_patterns_load(const char *path, struct oom_patterns **ret_patterns,
		      struct error *err) MUST_CHECK;
void oom_patterns_destroy(struct oom_patterns *patterns);

enum oom_outcome { OOM_OK, OOM_ERROR, OOM_GPU, OOM_HOST, OOM_LOST };

/* "ok", "error", "oom", "host-oom", "lost": the outcomes of docs and JSON. */
const char *oom_outcome_name(enum oom_outcome outcome);

struct oom_evidence {
	bool lost;          /* how it ended is unknown */
	int exit_code;      /* valid when signal is 0 and not lost */
	int signal;         /* 0: it exited */
	unsigned oom_kills; /* see struct supervisor_ended */
	bool on_cpu;        /* it had no GPU */
	const char *log;    /* the end of its log, OOM_LOG_BYTES of it are plenty; may be NULL */
	size_t log_len;
};

#define OOM_LOG_BYTES ((size_t)64 << 10)

struct oom_verdict {
	enum oom_outcome outcome;
	char pattern[64];   /* id of the pattern that decided; "" none */
	char line[512];     /* the line it was found in, without colours; "" none */
	bool has_requested; /* "Tried to allocate 8.84 GiB" */
	uint64_t requested_bytes;
};

void oom_classify(const struct oom_patterns *patterns, const struct oom_evidence *evidence,
		  struct oom_verdict *ret_verdict);

/* oom_classify() with the last OOM_LOG_BYTES of the file at `log_path` (NULL, unreadable or no
 * plain file: no log). */
void oom_classify_file(const struct oom_patterns *patterns, const struct oom_evidence *evidence,
		       const char *log_path, struct oom_verdict *ret_verdict);
