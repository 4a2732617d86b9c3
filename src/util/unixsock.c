/* See unixsock.h. */
#include "util/unixsock.h"

#include <errno.h>
#include <stdbool.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

static int address_set(const char *path, struct sockaddr_un *addr, struct error *err)
{
	size_t len = strlen(path);

	*addr = (struct sockaddr_un){.sun_family = AF_UNIX};
	if (len >= sizeof addr->sun_path)
		return error_set(
		    err, -ENAMETOOLONG,
		    "socket path %s is longer than %zu bytes; set XDG_RUNTIME_DIR to a shorter one",
		    path, sizeof addr->sun_path - 1);
	memcpy(addr->sun_path, path, len + 1);
	return 0;
}

static int connect_to(const struct sockaddr_un *addr, int *ret_fd)
{
	auto_close int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

	if (fd < 0)
		return -errno;
	while (connect(fd, (const struct sockaddr *)addr, sizeof *addr) < 0)
		if (errno != EINTR)
			return -errno;
	*ret_fd = TAKE_FD(fd);
	return 0;
}

static bool is_socket(const char *path)
{
	struct stat st;

	return lstat(path, &st) == 0 && S_ISSOCK(st.st_mode);
}

int unixsock_listen(const char *path, int backlog, int *ret_fd, struct error *err)
{
	auto_close int fd = -1, probe = -1;
	struct sockaddr_un addr;
	int r = address_set(path, &addr, err);

	if (r < 0)
		return r;
	r = connect_to(&addr, &probe);
	if (r == 0)
		return error_set(err, -EADDRINUSE, "somebody already listens on %s", path);
	/* A plain file refuses connections too: only a socket may be removed. */
	if (r == -ECONNREFUSED && !is_socket(path))
		return error_set(err, -EEXIST, "%s is there and is not a socket; move it away",
				 path);
	if (r == -ECONNREFUSED && unlink(path) < 0 && errno != ENOENT)
		return error_sys(err, -errno, "cannot remove the old socket %s", path);
	fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (fd < 0)
		return error_sys(err, -errno, "cannot create a socket");
	/* On Linux the mode of the socket file comes from the socket's own mode. */
	if (fchmod(fd, 0600) < 0 || bind(fd, (struct sockaddr *)&addr, sizeof addr) < 0 ||
	    listen(fd, backlog) < 0)
		return error_sys(err, -errno, "cannot listen on %s", path);
	*ret_fd = TAKE_FD(fd);
	return 0;
}

int unixsock_check_owner(const char *path, struct error *err)
{
	struct stat st;

	if (lstat(path, &st) < 0)
		return error_sys(err, -errno, "cannot reach %s", path);
	if (!S_ISSOCK(st.st_mode))
		return error_set(err, -ENOTSOCK, "%s is not a socket", path);
	if (st.st_uid != geteuid() && st.st_uid != 0)
		return error_set(
		    err, -EPERM,
		    "socket %s belongs to user %u, neither you nor root: refusing to talk to it",
		    path, (unsigned)st.st_uid);
	return 0;
}

int unixsock_connect(const char *path, int *ret_fd, struct error *err)
{
	struct sockaddr_un addr;
	int r = address_set(path, &addr, err);

	if (r == 0)
		r = unixsock_check_owner(path, err);
	if (r < 0)
		return r;
	r = connect_to(&addr, ret_fd);
	return r < 0 ? error_sys(err, r, "cannot connect to %s", path) : 0;
}

int unixsock_peer_all(int fd, uid_t *ret_uid, gid_t *ret_gid, pid_t *ret_pid)
{
	struct ucred cred;
	socklen_t len = sizeof cred;

	if (getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &cred, &len) < 0)
		return -errno;
	*ret_uid = cred.uid;
	*ret_gid = cred.gid;
	*ret_pid = cred.pid;
	return 0;
}

int unixsock_peer(int fd, uid_t *ret_uid, pid_t *ret_pid)
{
	gid_t gid;

	return unixsock_peer_all(fd, ret_uid, &gid, ret_pid);
}
