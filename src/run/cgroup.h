/*
 * A cgroup (v2) for each attempt, where we may make some: then a process of a task is found however
 * often it has forked and whatever session it has gone into, all of them end with one write, and
 * what they used is counted by the kernel. Where there is none (no cgroup2 mounted, or our own
 * cgroup belongs to somebody else), sessions and process groups have to do. For the supervisor; the
 * daemon only asks to be let out.
 *
 * <our own cgroup>/plimsoll.<state folder>/task-<attempt>: the first is the cgroup we were started
 * in, the second is ours alone (named by device and inode of the state folder, so that the next
 * supervisor on it finds the same), the third is found again through the journal.
 *
 * No controller is needed for any of this; where the memory controller is handed down to us, its
 * peak and its out-of-memory kills are read as well, and attempts are held to what they were
 * granted (bound.h).
 *
 * A cgroup that hands controllers down may hold no process itself. Where the one we were started in
 * is called CGROUP_LEAF, the folder is made beside it and not in it, and the one above both hands
 * memory and dmem down, if it has them: systemd does that for a unit that says
 * DelegateSubgroup=plimsoll.leaf (254 and later).
 */
#pragma once

#include "util/error.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#define CGROUP_LEAF "plimsoll.leaf"

struct cgroups {
	char *path;  /* of our folder, there while an attempt needs it; NULL: no cgroups here */
	int lock_fd; /* on our folder, locked: in use; -1: it is not there */
	bool swept;  /* no folder is known to be left over because somebody was still in it */
};

/* Of the path of our own cgroup: that of the one our folder goes into. The caller frees it. */
char *cgroup_base(const char *own);

/* The path in the file system of our own cgroup, or NULL. The arguments are the texts of
 * /proc/self/cgroup and /proc/self/mountinfo. The caller frees it. */
char *cgroup_own_path(const char *cgroup_text, const char *mountinfo_text);

/* Of the path of a cgroup in or below that of a task: the cgroup which that task's supervisor has
 * its folder in, of the innermost task where there are several. NULL: it is of no task. The caller
 * frees it. */
char *cgroup_outside_task(const char *path);

/* The path in the file system of our own cgroup; NULL: there is none. The caller frees it. */
char *cgroup_own(void);

/* Does this controller ("memory", "dmem") reach the attempts of a supervisor whose own cgroup is at
 * `own`? */
bool cgroup_hands_down(const char *own, const char *controller);

/* A daemon or a supervisor that was started by a task (a verb in it needed one) would end with that
 * task: move this process out of the task's cgroup. Nothing where it is in none, or may not. */
void cgroup_leave_task(void);

/* Never fails: without cgroups the struct is empty. Leaves the cgroup of a task first. What
 * supervisors that were killed have left behind empty, on whatever state folder, is removed. */
void cgroups_init(struct cgroups *cgroups, const char *state_dir);
void cgroups_finish(struct cgroups *cgroups);

/* Remove the folders nobody is in any more, ours last. */
void cgroups_sweep(struct cgroups *cgroups);

/* A new cgroup for an attempt, with a descriptor to fork into it. -ENOENT: no cgroups here. */
int cgroups_add(struct cgroups *cgroups, const char *attempt, char **ret_path,
		int *ret_fd) MUST_CHECK;

/* --- one cgroup, by its path; one that is gone counts as empty --- */

/* True: nobody was in it, and it is gone now. */
bool cgroup_remove(const char *path);

/* Everybody in it and below, from kernel 5.14 on at once. */
void cgroup_kill(const char *path);

/* The processes in it and below: their pids, sorted; the caller frees them. */
size_t cgroup_pids(const char *path, pid_t **ret_pids);

/* Send `signal` (0: none) to those who are neither in the session nor in the group of `leader`, and
 * count them. */
unsigned cgroup_signal_others(const char *path, pid_t leader, int signal);

/* What the kernel has counted for it, ended processes included. False: not known here. */
bool cgroup_cpu_seconds(const char *path, double *ret_seconds);
bool cgroup_memory_peak(const char *path, uint64_t *ret_bytes); /* with its file cache */
bool cgroup_oom_kills(const char *path, uint64_t *ret_kills);
