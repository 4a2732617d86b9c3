/*
 * Which task a process on a GPU belongs to. A task's process is the leader of a session of its own,
 * so its descendants carry its pid as their session, or descend from it.
 */
#pragma once

#include "daemon/daemon.h"

/* With what was kept of whose the processes were (they may be a leftover by now). */
struct usage *usage_create(struct daemon *daemon);
void usage_destroy(struct usage *usage);

/* The leader of a task's processes; the task's earlier one is forgotten. */
void usage_set_leader(struct usage *usage, uint64_t task, pid_t pid, uint64_t start_time);
void usage_remove(struct usage *usage, uint64_t task);

/* Whose is a process of the last sample, as it was when the sample came (so this and the ledger are
 * of one mind). */
enum usage_owner {
	USAGE_FOREIGN,
	USAGE_TASK,     /* of a task that has not ended */
	USAGE_GONE,     /* of one that has ended since the sample */
	USAGE_LEFTOVER, /* of one that had ended before: its memory has not come back */
};
enum usage_owner usage_owner(const struct usage *usage, const struct gpu_process *process,
			     uint64_t *ret_task);

/* For the tick: is there something to store; store it (in its unit); it is stored. */
bool usage_is_new(const struct usage *usage);
int usage_put(struct usage *usage, struct error *err) MUST_CHECK;
void usage_stored(struct usage *usage);

/* Tell sched what its running attempts use, from this sample. */
void usage_sample(struct usage *usage, const struct gpu_list *list, int64_t now_ms);
