/* The verbs' way to the daemon: connect (starting it if need be), call, print what went wrong. */
#pragma once

#include "api/client.h"
#include "cli/verbs.h"

/*
 * Connects: to the user's own daemon when it runs, else to the machine's (`serve --system`) when
 * root listens on its socket, else to one's own, which is started. PLIMSOLL_SYSTEM=1 asks for the
 * machine's and no other, =0 for one's own. What was found first is kept for the life of the
 * process. EXIT_DONE, or the error is printed and its exit code returned.
 */
int session_open(struct api_client **ret_client);

/* The same, but starts none: -ECONNREFUSED when none runs. */
int session_join(struct api_client **ret_client, struct error *err) MUST_CHECK;

/* One call; `path` is formatted. EXIT_DONE, or the error is printed and its exit code returned. */
int session_call(struct api_client *client, const char *method, const json_t *body,
		 json_t **ret_json, const char *path, ...) PRINTF(5, 6);

/* The same, but the error is handed back: a negative errno. */
int session_try(struct api_client *client, const char *method, const json_t *body,
		json_t **ret_json, struct error *err, const char *path, ...) PRINTF(6, 7);

/* POST of a task or batch. When the daemon goes away before it has answered, it is started again
 * and asked again, under the same key: accepted once, however often it is sent. `client` may be
 * replaced. Returns a negative errno. */
int session_submit(struct api_client **client, const char *path, const json_t *body,
		   json_t **ret_json, struct error *err) MUST_CHECK;

/* Connect again after the daemon went away: tried for `patience_ms`, starting it when it does not
 * come back by itself. */
int session_reopen(struct api_client **client, int patience_ms, struct error *err) MUST_CHECK;

/* Is this the error of a daemon that went away (and not of one that refused)? */
bool session_is_gone(int code);
