/*
 * The tasks' processes: sched's actions go to the supervisor, what the supervisor reports goes to
 * sched. An end is acknowledged to the supervisor only after it was committed.
 */
#pragma once

#include "daemon/daemon.h"

int runner_create(struct daemon *daemon, struct runner **ret_runner, struct error *err) MUST_CHECK;
void runner_destroy(struct runner *runner);

/* Its texts of out of memory, before the built-in ones, from now on. */
struct config;
void runner_configure(struct runner *runner, const struct config *config);

/* May tasks be started: has the supervisor told what became of everything known to it? */
bool runner_is_ready(const struct runner *runner);

/* An attempt the store holds as started and not ended. Before the loop runs. */
void runner_expect(struct runner *runner, uint64_t task, unsigned attempt);

/* Do what sched asked for; committed already. A start that cannot be made is reported to sched. */
void runner_act(struct runner *runner, const struct sched_action *action);

/* All that was reported so far is committed: acknowledge the ends. */
void runner_committed(struct runner *runner);

/* Where an attempt's output goes: the task's own choice, or <state>/logs/<1000s>/<task>.<n>.log.
 * The caller frees it. */
#define RUNNER_LOGS_PER_FOLDER 1000
char *runner_log_path(const struct daemon *daemon, const struct sched_task *task, unsigned attempt);
