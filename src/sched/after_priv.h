/* after.c: what waits for what. A part of sched_priv.h, which includes it last. */
#pragma once

#include "sched/sched_priv.h"

int after_check(const struct sched *sched, const struct sched_after *after, struct error *err);
/* What is still to come of spec.after goes into pub.after. False: it can never come. */
bool after_begin(struct sched *sched, struct task_node *t, bool again, char *ret_why, size_t size);
/* Watch what pub.after holds, at the next after_settle(). */
void after_link(struct sched *sched, struct task_node *t);
void after_unlink(struct sched *sched, struct task_node *t); /* it waits for nothing any more */
void after_task_ended(struct sched *sched, struct task_node *t);
void after_batch_ended(struct sched *sched, struct batch_node *b);
/* Tell those who wait for what has ended. No recursion, however long the chain. */
void after_settle(struct sched *sched, int64_t now_ms);
void after_forget_task(struct sched *sched, struct task_node *t); /* it goes away */
void after_forget_batch(struct sched *sched, struct batch_node *b);
void after_reason(const struct sched *sched, const struct task_node *t, char *buf, size_t size);
void after_finish(struct sched *sched);
