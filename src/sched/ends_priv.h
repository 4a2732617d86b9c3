/* What an end is made of: limits of time, lost GPUs, the ladder. A part of sched_priv.h, which
 * includes it last. */
#pragma once

#include "sched/sched_priv.h"

/* limits.c: of time. */
void limits_signal(struct sched *sched, struct task_node *t, int64_t now_ms);
int64_t limits_deadline(const struct task_node *t); /* 0 = none */
/* An error that is the end of its time becomes a timeout; the text says which. */
bool limits_judge(const struct task_node *t, const struct sched_end *end, char *text, size_t size);

/* overrun.c: it was stopped as one that still grew, and nothing of its kind was measured at more:
 * who knows where it would have ended? */
bool overrun_was_growing(const struct sched *sched, const struct task_node *t);
/* It was stopped when its use had settled on all of its GPUs. */
bool overrun_had_settled(const struct task_node *t);

/* loss.c: was it the GPU? */
bool loss_seen(const struct task_node *t, const struct sched_end *end);
/* Keep the end until a sample can tell. False: there is nothing to wait for. */
bool loss_await(struct sched *sched, struct task_node *t, const struct sched_end *end,
		int64_t now_ms);
/* Judge the ends that have waited long enough. */
void loss_judge(struct sched *sched, int64_t now_ms);

/* climb.c: it ran out of memory: onto the next rung that can help, said in words of at most
 * LADDER_TEXT_MAX bytes. False: there is none. */
bool climb(struct sched *sched, struct task_node *t, const struct sched_end *end,
	   enum sched_outcome outcome, char *said);
/* What it is learned by, and what was learned of it asked for. */
const char *task_kind(const struct task_node *t);
/* The name of its kind follows its ladder's batch size. */
void ladder_kind_renew(struct sched *sched, struct task_node *t);
void ladder_drop(struct sched *sched, struct task_node *t); /* on the ground */
