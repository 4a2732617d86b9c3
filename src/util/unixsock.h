/* Unix stream sockets: listening, connecting, who is at the other end. Paths too long for sun_path
 * are an error, never cut. */
#pragma once

#include "util/error.h"

#include <sys/types.h>

/* Listen at `path` (mode 0600, backlog as given), replacing a socket file nobody listens on.
 * -EADDRINUSE: somebody listens there. */
int unixsock_listen(const char *path, int backlog, int *ret_fd, struct error *err) MUST_CHECK;

/* Connect. Refuses (-EPERM) a socket file owned by neither this user nor root, before a byte is
 * sent. -ENOENT or -ECONNREFUSED: nobody there. */
int unixsock_connect(const char *path, int *ret_fd, struct error *err) MUST_CHECK;

/* The owner check alone, for clients that connect by other means (libcurl). */
int unixsock_check_owner(const char *path, struct error *err) MUST_CHECK;

/* SO_PEERCRED: as they were when it connected (of a client: when it began to listen). The pid is 0
 * when it is of another pid namespace. */
int unixsock_peer(int fd, uid_t *ret_uid, pid_t *ret_pid) MUST_CHECK;
int unixsock_peer_all(int fd, uid_t *ret_uid, gid_t *ret_gid, pid_t *ret_pid) MUST_CHECK;
