/*
 * Limits of time. They count from the moment its process is known to run. At the soft limit its
 * group gets one signal and may use what is left to end well; at the hard one it is killed. An
 * error after either is a timeout; a good end is a good end, with a remark.
 */
#include "sched/sched_priv.h"

#include "util/duration.h"

#include <signal.h>
#include <string.h>

static int soft_signal(const struct task_node *t)
{
	return t->pub.spec.soft_signal > 0 ? t->pub.spec.soft_signal : SIGTERM;
}

void limits_signal(struct sched *sched, struct task_node *t, int64_t now_ms)
{
	const struct sched_spec *spec = &t->pub.spec;
	struct run *run = t->run;

	if (run->since_ms == 0 || t->pub.stopping)
		return;
	if (spec->hard_limit_ms > 0 && now_ms - run->since_ms >= spec->hard_limit_ms) {
		if (run->kill_at_ms > now_ms)
			return;
		run->out_of_time = true;
		run->kill_at_ms = now_ms + sched->stop_grace_ms;
		action_add(sched, SCHED_SIGNAL, t, SIGKILL);
		return;
	}
	if (spec->soft_limit_ms > 0 && !t->pub.overtime &&
	    now_ms - run->since_ms >= spec->soft_limit_ms) {
		t->pub.overtime = true;
		task_changed(sched, t);
		action_add(sched, SCHED_SIGNAL, t, soft_signal(t));
	}
}

int64_t limits_deadline(const struct task_node *t)
{
	const struct sched_spec *spec = &t->pub.spec;
	const struct run *run = t->run;

	if (run->since_ms == 0 || t->pub.stopping || run->out_of_time)
		return 0;
	if (spec->soft_limit_ms > 0 && !t->pub.overtime)
		return run->since_ms + (spec->hard_limit_ms > 0
					    ? MIN_OF(spec->soft_limit_ms, spec->hard_limit_ms)
					    : spec->soft_limit_ms);
	return spec->hard_limit_ms > 0 ? run->since_ms + spec->hard_limit_ms : 0;
}

bool limits_judge(const struct task_node *t, const struct sched_end *end, char *text, size_t size)
{
	const struct sched_spec *spec = &t->pub.spec;
	const struct run *run = t->run;
	int64_t ran = run->since_ms > 0 && end->ended_at_ms > run->since_ms
			  ? end->ended_at_ms - run->since_ms
			  : 0;
	bool killed = spec->hard_limit_ms > 0 && end->signal == SIGKILL &&
		      (run->out_of_time || ran >= spec->hard_limit_ms);

	text[0] = '\0';
	if (killed)
		(void)snprintf(text, size, "killed at its time limit of %s",
			       DURATION_TEXT(spec->hard_limit_ms));
	else if (t->pub.overtime)
		(void)snprintf(text, size,
			       "ran %s; at its soft time limit of %s it got signal %d (%s)",
			       DURATION_TEXT(ran), DURATION_TEXT(spec->soft_limit_ms),
			       soft_signal(t), strsignal(soft_signal(t)));
	return killed || t->pub.overtime;
}
