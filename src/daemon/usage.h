/*
 * Which task a process on a GPU belongs to. A task's process is the leader of a session of its own,
 * so its descendants carry its pid as their session, or descend from it.
 */
#pragma once

#include "daemon/daemon.h"

struct usage *usage_create(struct daemon *daemon);
void usage_destroy(struct usage *usage);

/* The leader of a task's processes; the task's earlier one is forgotten. */
void usage_set_leader(struct usage *usage, uint64_t task, pid_t pid, uint64_t start_time);
void usage_remove(struct usage *usage, uint64_t task);

/* The task a process of the last sample belongs to, as it was when the sample came (so this and the
 * ledger are of one mind). 0 = none of ours. USAGE_GONE: it was one of an ended task's; what it
 * used is free. */
#define USAGE_GONE UINT64_MAX
uint64_t usage_owner(const struct usage *usage, const struct gpu_process *process);

/* Tell sched what its running attempts use, from this sample. */
void usage_sample(struct usage *usage, const struct gpu_list *list, int64_t now_ms);
