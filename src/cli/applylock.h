/*
 * One apply of a project at a time, from reading to the end: flock() on the folders themselves that
 * hold its files, so that nothing is left behind and a kill lets go of it.
 */
#pragma once

#include "compose/project.h"

struct apply_lock {
	int folder, journal_folder; /* negative: none, or the same one */
};

#define APPLY_LOCK_NONE ((struct apply_lock){-1, -1})

/* Wait a moment for another apply; then -EBUSY, and which process it is. `shared`: to read only.
 * `*ret_stale`: a file of the project is not what was read any more: it has to be read again. Where
 * a file system knows no locks there is none. */
int apply_lock_take(const struct compose_project *project, const char *journal, bool shared,
		    struct apply_lock *ret_lock, bool *ret_stale, struct error *err) MUST_CHECK;
void apply_lock_release(struct apply_lock *lock);
