/* See outcome.h. */
#include "daemon/outcome.h"

#include <signal.h>
#include <string.h>

void outcome_classify(const struct supervisor_ended *ended, const char *log_path,
		      struct outcome *ret_outcome)
{
	(void)log_path;
	*ret_outcome = (struct outcome){.outcome = SCHED_ERROR};
	if (ended->how == SUPERVISOR_LOST) {
		ret_outcome->outcome = SCHED_OUTCOME_LOST;
		return;
	}
	if (ended->how == SUPERVISOR_EXITED && ended->exit_code == 0) {
		ret_outcome->outcome = SCHED_OK;
		return;
	}
	if (ended->how == SUPERVISOR_SIGNALED && ended->signal == SIGKILL && ended->oom_kills > 0) {
		ret_outcome->outcome = SCHED_HOST_OOM;
		(void)snprintf(ret_outcome->text, sizeof ret_outcome->text,
			       "killed by the kernel: the host ran out of memory");
	}
}
