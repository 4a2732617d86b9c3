/* The decision is run/oom.c's; here it is put into sched's words. */
#include "daemon/outcome.h"

static const enum sched_outcome OUTCOMES[] = {
    [OOM_OK] = SCHED_OK,         [OOM_ERROR] = SCHED_ERROR,       [OOM_GPU] = SCHED_OOM,
    [OOM_HOST] = SCHED_HOST_OOM, [OOM_LOST] = SCHED_OUTCOME_LOST,
};

void outcome_classify(const struct oom_patterns *patterns, const struct supervisor_ended *ended,
		      const char *log_path, bool on_cpu, struct outcome *ret_outcome)
{
	struct oom_evidence evidence = {
	    .lost = ended->how == SUPERVISOR_LOST,
	    .exit_code = ended->exit_code,
	    .signal = ended->how == SUPERVISOR_SIGNALED ? ended->signal : 0,
	    .oom_kills = ended->oom_kills,
	    .on_cpu = on_cpu,
	};
	struct oom_verdict verdict = {};

	oom_classify_file(patterns, &evidence, log_path, &verdict);
	*ret_outcome = (struct outcome){.outcome = OUTCOMES[verdict.outcome]};
	if (verdict.outcome == OOM_GPU || verdict.outcome == OOM_HOST)
		(void)snprintf(
		    ret_outcome->text, sizeof ret_outcome->text, "%s: %.200s",
		    verdict.outcome == OOM_GPU ? "out of GPU memory" : "out of host memory",
		    verdict.line[0] ? verdict.line : "the kernel's out-of-memory killer ended it");
}
