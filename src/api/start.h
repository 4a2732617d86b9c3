/*
 * Starting the daemon from a client, and the daemon's word that it is ready. The client hands the
 * write end of a pipe to "serve --background --ready-fd N"; the daemon writes "ready\n" when it
 * answers requests, or a line of text saying why it will not, and closes it.
 */
#pragma once

#include "api/client.h"

#define DAEMON_LOG        "daemon.log" /* in the state folder */
#define DAEMON_READY      "ready"      /* the line that means so */
#define DAEMON_START_LOCK "start.lock" /* in the runtime folder: one starter at a time */

/* Returns when somebody listens on the socket, whoever started it. -ETIMEDOUT and others carry the
 * end of the daemon's log. */
int daemon_start(const char *socket_path, const struct api_client_options *options,
		 struct error *err) MUST_CHECK;
