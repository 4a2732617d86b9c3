/*
 * One run of `plimsoll sim`: a private folder with the state file, the library and the XDG folders
 * of a Plimsoll of its own; the command in it; and the end of whatever was started inside.
 */
#pragma once

#include "sim/state.h"

struct session;

/* Make the folder (`dir`, kept at the end; NULL: a temporary one) and the state file from `image`.
 */
int session_create(const char *dir, struct sim_state *image, struct session **ret_session,
		   struct error *err) MUST_CHECK;

/* Run the command, passing signals on. Its exit status, 128 + signal, or a negative errno. */
int session_run(struct session *session, char **argv, struct error *err) MUST_CHECK;

/* End the Plimsoll and the tasks left inside; remove the folder unless it was given. Takes NULL. */
void session_destroy(struct session *session);

/* Start a process that stands for a foreign one named `name`; fills in pid and start time. It
 * bears the name when this returns. When `bound` it dies with its parent. */
int session_stand_in(const char *name, bool bound, pid_t *ret_pid, uint64_t *ret_start_time,
		     struct error *err) MUST_CHECK;
