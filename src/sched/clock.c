/*
 * Clocks are set: by hand, by NTP after a boot, by a machine that wakes up. Times are kept in
 * realtime, because people and the store read them; what a duration is worked out from must not
 * notice. So when the clock is set, all of that moves with it: the time a task has run, is to wait,
 * has waited stays what it was. A time of day that somebody asked for stays what it is, and so
 * does the record of what has ended.
 *
 * How far the clock of the wall is ahead of the monotonic one tells both directions. Who gives no
 * monotonic time is believed until the time goes back.
 */
#include "sched/sched_priv.h"

static void move(int64_t *at_ms, int64_t by)
{
	if (*at_ms > 0)
		*at_ms = MAX_OF(*at_ms + by, 1);
}

static void run_move(struct task_node *t, int64_t by)
{
	struct run *run = t->run;
	struct sched_attempt *attempt = task_current(t);

	move(&attempt->started_at_ms, by);
	attempt->changed = true;
	move(&run->since_ms, by);
	move(&run->kill_at_ms, by);
	move(&run->accounted_ms, by);
	move(&run->share_ms, by);
	move(&run->fault_ms, by);
	move(&run->judge_until_ms, by);
	move(&run->end.ended_at_ms, by);
	for (unsigned g = 0; g < attempt->n_gpus; g++) {
		move(&run->ramps[g].since_ms, by);
		move(&run->ramps[g].mark_ms, by);
	}
}

static void task_move_times(struct sched *sched, struct task_node *t, int64_t by)
{
	int64_t day_ms = t->pub.spec.not_before_ms;
	bool is_waiting = t->lane || t->delayed || t->blocked;

	if (sched_state_is_final(t->pub.state))
		return;
	/* Each stands by its rank: that changes only while it stands nowhere. */
	if (is_waiting)
		waiting_remove(sched, t);
	if (t->pub.not_before_ms != day_ms)
		move(&t->pub.not_before_ms, by);
	/* One that comes into the queue at a time of day to come comes then. */
	if (t->pub.queued_at_ms != day_ms || day_ms <= sched->last_ms)
		move(&t->pub.queued_at_ms, by);
	if (is_waiting)
		waiting_add(sched, t);
	if (t->run)
		run_move(t, by);
	task_changed(sched, t);
}

static void clock_moved(struct sched *sched, int64_t by)
{
	for (struct task_node *t = sched->first; t; t = t->next)
		task_move_times(sched, t, by);
	for (struct batch_node *b = sched->first_batch; b; b = b->next) {
		move(&b->sampled_ms, by);
		if (b->pub.ended_at_ms > 0 || b->pub.first_start_ms == 0)
			continue;
		move(&b->pub.first_start_ms, by);
		batch_changed(sched, b);
	}
	/* What is older or newer than the last sample stays that. */
	move(&sched->gpus->sampled_at_ms, by);
	for (size_t i = 0; i < sched->n_leaving; i++)
		move(&sched->leaving[i].ended_ms, by);
	move(&sched->population_ms, by);
	move(&sched->last_queued_ms, by);
	move(&sched->restored_ms, by);
	move(&sched->brake_until_ms, by);
	move(&sched->stagger_wake_ms, by);
	for (size_t i = 0; i < sched->n_gpu_notes; i++)
		move(&sched->gpu_notes[i].start_ms, by);
	users_clock_moved(sched, by);
	sched_touch(sched);
}

/* A clock set back while nobody looked: what was kept is in the future. */
static void restored_seen(struct sched *sched, int64_t now_ms)
{
	sched->last_ms = MAX_OF(sched->last_ms, sched->restored_ms);
	sched->restored_ms = 0;
	users_clock_clamp(sched, MAX_OF(sched->last_ms, now_ms));
}

void time_seen(struct sched *sched, int64_t now_ms)
{
	int64_t back;

	if (sched->restored_ms > 0)
		restored_seen(sched, now_ms);
	back = sched->last_ms - now_ms;
	if (back > 0) {
		clock_moved(sched, -back);
		sched->clock_offset_ms -= back;
	}
	sched->last_ms = now_ms;
}

void sched_clock(struct sched *sched, int64_t now_ms, int64_t monotonic_ms)
{
	int64_t offset = now_ms - monotonic_ms, by = offset - sched->clock_offset_ms;

	if (sched->clock_known && (by > SCHED_CLOCK_STEP_MS || by < -SCHED_CLOCK_STEP_MS)) {
		clock_moved(sched, by);
		sched->last_ms = MIN_OF(sched->last_ms + by, now_ms);
	}
	sched->clock_known = true;
	time_seen(sched, now_ms);
	/* As it is now: what drifts is never taken for a step. */
	sched->clock_offset_ms = offset;
}

int64_t sched_clock_offset(const struct sched *sched)
{
	return sched->clock_offset_ms;
}

void sched_restore_clock(struct sched *sched, int64_t offset_ms)
{
	sched->clock_offset_ms = offset_ms;
	sched->clock_known = true;
}
