/* users.c: shares and limits. A part of sched_priv.h, which includes it last. */
#pragma once

#include "sched/sched_priv.h"

struct user_node *user_get(struct sched *sched, uid_t uid);
void users_weigh(struct sched *sched, int64_t now_ms); /* offsets, as of now */
bool users_compete(const struct sched *sched);         /* two or more have something waiting */
void users_configure(struct sched *sched);
void users_forget(struct sched *sched);
/* Those with limits, for the placer; the caller frees the array. */
struct place_user *users_limited(const struct sched *sched, size_t *ret_n);
void users_destroy(struct sched *sched);
void users_clock_moved(struct sched *sched, int64_t by);
void users_clock_clamp(struct sched *sched, int64_t now_ms); /* nothing is of later */
/* Of a task that comes to or leaves its GPUs: `by` is 1 or -1. */
void user_run(struct sched *sched, struct task_node *t, int by, int64_t now_ms);
void users_weigh_runs(struct sched *sched, int64_t now_ms); /* sizes of GPUs got known */
/* Which limit of his keeps a task from starting now; and how it is said. */
enum user_limit { USER_FREE, USER_RUNNING, USER_GPUS, USER_VRAM };
/* The VRAM it may take at most, on all its GPUs together, wherever it lands. */
uint64_t request_vram_most(const struct sched *sched, const struct place_request *request);
enum user_limit user_limit_met(const struct sched *sched, const struct user_node *user,
			       const struct place_request *request);
int user_check(const struct sched *sched, const struct user_node *user,
	       const struct place_request *request, size_t n, struct error *err);
