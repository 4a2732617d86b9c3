/*
 * Where things lie. A daemon and its clients agree on these. Of a user's own daemon:
 *
 *	runtime	$XDG_RUNTIME_DIR/plimsoll, else /run/user/<uid>/plimsoll, else /tmp/plimsoll-<uid>
 *	state	$XDG_STATE_HOME/plimsoll, else ~/.local/state/plimsoll
 *
 * Of the daemon for the whole machine (`serve --system`):
 *
 *	runtime	$PLIMSOLL_SYSTEM_RUNTIME_DIR, else /run/plimsoll
 *	state	$PLIMSOLL_SYSTEM_STATE_DIR, else /var/lib/plimsoll
 *
 * Strings are new; the caller frees.
 */
#pragma once

#include "util/error.h"

char *paths_runtime_dir(void);
char *paths_state_dir(void);
char *paths_in_runtime(const char *name); /* "<runtime>/<name>" */

char *paths_system_runtime_dir(void);
char *paths_system_state_dir(void);

/* The folder that holds what a path names: "/a" of "/a/b", "/" of "/a", "." of "a". New. */
char *paths_folder_of(const char *path);

/* The full path of this executable. */
int paths_self(char **ret_path, struct error *err) MUST_CHECK;

/* A program of ours: beside this executable, else in the installed libexec folder. */
int paths_find_helper(const char *name, char **ret_path, struct error *err) MUST_CHECK;

/* A data file of ours (`name` such as "catalogue.yaml"): `data/` in the source tree beside the
 * build folder, else the installed data folder. $PLIMSOLL_DATADIR, when set, comes first. */
int paths_find_data(const char *name, char **ret_path, struct error *err) MUST_CHECK;
