/* The decision is run/oom.c's; here it is put into sched's words. */
#include "daemon/outcome.h"

#include "util/text.h"

#include <string.h>

static const enum sched_outcome OUTCOMES[] = {
    [OOM_OK] = SCHED_OK,         [OOM_ERROR] = SCHED_ERROR,       [OOM_GPU] = SCHED_OOM,
    [OOM_HOST] = SCHED_HOST_OOM, [OOM_LOST] = SCHED_OUTCOME_LOST,
};

#define LINE_MAX_SHOWN 280

/* What follows "out of GPU memory on GPU 0, granted 6.0 GiB (exit code 1): ". A long line loses its
 * middle, never the pattern. */
static void outcome_tell(const struct oom_verdict *verdict, char *text, size_t size)
{
	char by[128], told[sizeof verdict->line + sizeof by];
	int n = snprintf(by, sizeof by, "[%s%s]", verdict->pattern,
			 verdict->gpu_full ? ", and the GPU's memory was full" : "");

	if (verdict->line[0]) {
		(void)snprintf(told, sizeof told, "%s %s", verdict->line, by);
		text_repair(told);
		text_cut_middle(text, MIN_OF(size, (size_t)LINE_MAX_SHOWN), told, (size_t)n);
	} else {
		(void)snprintf(text, size, "%s",
			       verdict->gpu_full ? "it aborted while the GPU's memory was full"
						 : "the kernel's out-of-memory killer ended it");
	}
}

void outcome_classify(const struct oom_patterns *patterns, const struct supervisor_ended *ended,
		      const struct outcome_facts *facts, struct outcome *ret_outcome)
{
	struct oom_evidence evidence = {
	    .lost = ended->how == SUPERVISOR_LOST,
	    .exit_code = ended->exit_code,
	    .signal = ended->how == SUPERVISOR_SIGNALED ? ended->signal : 0,
	    .oom_kills = ended->oom_kills,
	    .oom_kills_known = ended->has_oom_kills,
	    .on_cpu = facts->on_cpu,
	    .gpu_peak_bytes = facts->gpu_peak_bytes,
	    .gpu_total_bytes = facts->gpu_total_bytes,
	    .own_peak_bytes = facts->own_peak_bytes,
	    .own_limit_bytes = facts->own_limit_bytes,
	};
	struct oom_verdict verdict = {};

	oom_classify_file(patterns, &evidence, facts->log_path, &verdict);
	*ret_outcome = (struct outcome){
	    .outcome = OUTCOMES[verdict.outcome],
	    .requested_bytes = verdict.has_requested ? verdict.requested_bytes : 0,
	    .used_bytes = verdict.has_used ? verdict.used_bytes : 0,
	};
	if (verdict.outcome == OOM_GPU || verdict.outcome == OOM_HOST)
		outcome_tell(&verdict, ret_outcome->text, sizeof ret_outcome->text);
	else if (verdict.killed)
		(void)snprintf(ret_outcome->text, sizeof ret_outcome->text,
			       "killed by SIGKILL; nothing says why");
}
