/* See notify.h. Whether anybody hears it does not matter to us: who waits for it has a timeout of
 * his own. */
#include "daemon/notify.h"

#include "util/cleanup.h"

#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

void notify_ready(void)
{
	static const char ready[] = "READY=1";
	struct sockaddr_un address = {.sun_family = AF_UNIX};
	const char *path = getenv("NOTIFY_SOCKET");
	size_t len = path ? strlen(path) : 0;
	auto_close int fd = -1;

	if (len > 1 && len < sizeof address.sun_path && (path[0] == '/' || path[0] == '@')) {
		memcpy(address.sun_path, path, len);
		if (path[0] == '@')
			address.sun_path[0] = '\0'; /* the abstract namespace */
		fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
		if (fd >= 0)
			(void)!sendto(fd, ready, sizeof ready - 1, MSG_NOSIGNAL,
				      (const struct sockaddr *)&address,
				      (socklen_t)(offsetof(struct sockaddr_un, sun_path) + len));
	}
	(void)unsetenv("NOTIFY_SOCKET");
}
