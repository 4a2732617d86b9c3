/* util/unixsock: who may listen, who is talked to, and what happens to what lies at the path. */
#include "util/unixsock.h"

#include "util/file.h"

#include "folder.h"

#include <errno.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

static void a_client_reaches_the_listener_and_is_known(void **state)
{
	auto_free char *path = mem_printf("%s/s", (char *)*state);
	auto_close int listener = -1, client = -1, served = -1;
	struct error err = {};
	struct stat st;
	uid_t uid = 0;
	pid_t pid = 0;

	assert_int_equal(unixsock_listen(path, 4, &listener, &err), 0);
	assert_int_equal(stat(path, &st), 0);
	assert_int_equal(st.st_mode & 07777, 0600);
	assert_int_equal(unixsock_connect(path, &client, &err), 0);
	served = accept(listener, NULL, NULL);
	assert_true(served >= 0);
	assert_int_equal(unixsock_peer(served, &uid, &pid), 0);
	assert_int_equal(uid, geteuid());
	assert_int_equal(pid, getpid());
}

static void a_living_listener_is_not_replaced(void **state)
{
	auto_free char *path = mem_printf("%s/s", (char *)*state);
	auto_close int first = -1, second = -1;
	struct error err = {};

	assert_int_equal(unixsock_listen(path, 4, &first, &err), 0);
	assert_int_equal(unixsock_listen(path, 4, &second, &err), -EADDRINUSE);
	assert_int_equal(second, -1);
	assert_non_null(strstr(err.text, "somebody already listens on"));
}

static void a_dead_listeners_socket_is_replaced(void **state)
{
	auto_free char *path = mem_printf("%s/s", (char *)*state);
	auto_close int listener = -1, client = -1;
	struct error err = {};

	assert_int_equal(unixsock_listen(path, 4, &listener, &err), 0);
	listener = fd_close(listener);
	assert_int_equal(unixsock_connect(path, &client, &err), -ECONNREFUSED);
	assert_int_equal(unixsock_listen(path, 4, &listener, &err), 0);
	assert_int_equal(unixsock_connect(path, &client, &err), 0);
}

static void a_file_at_the_path_is_left_alone(void **state)
{
	auto_free char *path = mem_printf("%s/s", (char *)*state);
	auto_text struct text text = {};
	struct error err = {};
	int fd = -1;

	assert_int_equal(file_replace(path, "precious", 8, 0600, NULL), 0);
	assert_int_equal(unixsock_listen(path, 4, &fd, &err), -EEXIST);
	assert_non_null(strstr(err.text, "is not a socket"));
	assert_int_equal(unixsock_connect(path, &fd, &err), -ENOTSOCK);
	assert_int_equal(file_read(path, 100, false, &text, NULL), 0);
	assert_string_equal(text.data, "precious");
	assert_int_equal(fd, -1);
}

static void nobody_there_is_said(void **state)
{
	auto_free char *path = mem_printf("%s/s", (char *)*state);
	struct error err = {};
	int fd = -1;

	assert_int_equal(unixsock_connect(path, &fd, &err), -ENOENT);
	assert_non_null(strstr(err.text, path));
}

static void a_strangers_socket_is_refused(void **state)
{
	auto_free char *path = mem_printf("%s/s", (char *)*state);
	auto_close int listener = -1;
	struct error err = {};
	int fd = -1;

	assert_int_equal(unixsock_listen(path, 4, &listener, &err), 0);
	if (geteuid() != 0 || chown(path, 12345, 12345) < 0)
		skip(); /* only root can give a file away */
	assert_int_equal(unixsock_check_owner(path, &err), -EPERM);
	assert_non_null(strstr(err.text, "belongs to user 12345, neither you nor root"));
	assert_int_equal(unixsock_connect(path, &fd, &err), -EPERM);
	assert_int_equal(fd, -1);
}

static void a_path_too_long_is_refused_not_cut(void **state)
{
	char path[200];
	struct error err = {};
	int fd = -1;

	memset(path, 'x', sizeof path - 1);
	path[sizeof path - 1] = '\0';
	assert_int_equal(unixsock_listen(path, 4, &fd, &err), -ENAMETOOLONG);
	assert_non_null(strstr(err.text, "set XDG_RUNTIME_DIR to a shorter one"));
	assert_int_equal(unixsock_connect(path, &fd, &err), -ENAMETOOLONG);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    folder_test(a_client_reaches_the_listener_and_is_known),
	    folder_test(a_living_listener_is_not_replaced),
	    folder_test(a_dead_listeners_socket_is_replaced),
	    folder_test(a_file_at_the_path_is_left_alone),
	    folder_test(nobody_there_is_said),
	    folder_test(a_strangers_socket_is_refused),
	    folder_test(a_path_too_long_is_refused_not_cut),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
