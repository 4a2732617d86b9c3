/* util/file: whole reads with a bound, replacement that is never half, folders of one's own. */
#include "util/file.h"

#include "folder.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/fs.h>
#include <linux/magic.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/vfs.h>
#include <sys/wait.h>
#include <unistd.h>

static void reads_back_what_was_written(void **state)
{
	auto_free char *path = mem_printf("%s/a", (char *)*state);
	auto_text struct text text = {};
	struct error err = {};
	struct stat st;

	assert_int_equal(file_replace(path, "one\0two", 7, 0640, &err), 0);
	assert_int_equal(file_read(path, 100, false, &text, &err), 0);
	assert_int_equal(text.len, 7);
	assert_memory_equal(text.data, "one\0two", 8);
	assert_int_equal(stat(path, &st), 0);
	assert_int_equal(st.st_mode & 07777, 0640);
}

static void an_empty_file_is_an_empty_text(void **state)
{
	auto_free char *path = mem_printf("%s/a", (char *)*state);
	auto_text struct text text = {};

	assert_int_equal(file_replace(path, "", 0, 0600, NULL), 0);
	assert_int_equal(file_read(path, 0, false, &text, NULL), 0);
	assert_string_equal(text.data, "");
}

static void refuses_more_than_the_bound(void **state)
{
	auto_free char *path = mem_printf("%s/big", (char *)*state);
	auto_free char *data = mem_calloc(2, 1 << 20);
	struct text text = {};
	struct error err = {};

	assert_int_equal(file_replace(path, data, 2 << 20, 0600, NULL), 0);
	assert_int_equal(file_read(path, 1 << 20, false, &text, &err), -EFBIG);
	assert_non_null(strstr(err.text, "is larger than 1 MiB"));
	assert_null(text.data);
	assert_int_equal(file_read(path, 2 << 20, false, &text, &err), 0);
	text_finish(&text);
}

static void names_the_file_it_cannot_read(void **state)
{
	struct text text = {};
	struct error err = {};

	assert_int_equal(file_read("/nowhere/at.all", 10, false, &text, &err), -ENOENT);
	assert_string_equal(err.text, "cannot open /nowhere/at.all: No such file or directory");
	assert_int_equal(file_read(*state, 10, false, &text, &err), -EISDIR);
	assert_int_equal(file_read("-", 10, false, &text, &err), -ENOENT);
}

/* A pipe that nobody writes to is not waited for (the daemon reads its configuration so). */
static void only_plain_files_are_read(void **state)
{
	auto_free char *path = mem_printf("%s/pipe", (char *)*state);
	struct text text = {};
	struct error err = {};
	char buf[8];

	assert_int_equal(mkfifo(path, 0600), 0);
	(void)alarm(20);
	assert_int_equal(file_read(path, 10, false, &text, &err), -EINVAL);
	assert_non_null(strstr(err.text, "/pipe: it is a pipe, a socket or a device; put a plain"));
	assert_int_equal(file_read("/dev/zero", 10, false, &text, &err), -EINVAL);
	assert_int_equal(file_read_small(path, buf, sizeof buf), -EINVAL);
	(void)alarm(0);
}

static void dash_is_standard_input_where_allowed(void **state)
{
	auto_text struct text text = {};
	int ends[2], saved = dup(STDIN_FILENO);

	assert_int_equal(pipe(ends), 0);
	assert_int_equal(write(ends[1], "rows", 4), 4);
	(void)close(ends[1]);
	assert_int_equal(dup2(ends[0], STDIN_FILENO), STDIN_FILENO);
	assert_int_equal(file_read("-", 10, true, &text, NULL), 0);
	assert_string_equal(text.data, "rows");
	if (saved >= 0)
		(void)dup2(saved, STDIN_FILENO);
}

static void small_reads_cut_and_drop_the_newline(void **state)
{
	auto_free char *path = mem_printf("%s/a", (char *)*state);
	char buf[8];

	assert_int_equal(file_replace(path, "12345\n", 6, 0600, NULL), 0);
	assert_int_equal(file_read_small(path, buf, sizeof buf), 0);
	assert_string_equal(buf, "12345");
	assert_int_equal(file_read_small(path, buf, 4), 0);
	assert_string_equal(buf, "123");
	assert_int_equal(file_read_small("/nowhere", buf, sizeof buf), -ENOENT);
}

static void a_failed_replacement_leaves_the_old_file_and_nothing_beside(void **state)
{
	auto_free char *folder = mem_printf("%s/a", (char *)*state);
	auto_free char *missing = mem_printf("%s/no/such", (char *)*state);
	struct error err = {};

	assert_int_equal(mkdir(folder, 0700), 0);
	assert_int_equal(file_replace(folder, "x", 1, 0600, &err), -EISDIR);
	assert_int_equal(rmdir(folder), 0);
	assert_int_equal(file_replace(missing, "x", 1, 0600, &err), -ENOENT);
	assert_non_null(strstr(err.text, "/no/such"));
	/* The folder is empty again: rmdir() would refuse otherwise. */
	assert_int_equal(rmdir(*state), 0);
	assert_int_equal(mkdir(*state, 0700), 0);
}

static void folders_are_made_with_their_parents(void **state)
{
	auto_free char *path = mem_printf("%s/x/y/z", (char *)*state);
	auto_free char *file = mem_printf("%s/f", (char *)*state);
	auto_free char *below = mem_printf("%s/f/g", (char *)*state);
	struct stat st;
	struct error err = {};

	assert_int_equal(dir_create(path, &err), 0);
	assert_int_equal(dir_create(path, &err), 0);
	assert_int_equal(stat(path, &st), 0);
	assert_int_equal(st.st_mode & 07777, 0700);
	assert_int_equal(file_replace(file, "", 0, 0600, NULL), 0);
	assert_int_equal(dir_create(below, &err), -ENOTDIR);
}

/* Whoever reads the error knows the folder that was asked for, not the parent that is in the way.
 */
static int unreachable_child(const char *path)
{
	struct error err = {};

	if (setgid(65534) < 0 || setuid(65534) < 0)
		return 77;
	if (dir_create(path, &err) != -EACCES)
		return 1;
	return strstr(err.text, path) ? 0 : 2;
}

static void names_the_folder_it_cannot_create(void **state)
{
	if (geteuid() != 0)
		skip(); /* only root can become somebody who may not */

	auto_free char *deep = mem_printf("%s/shut/there/wanted", (char *)*state);
	int status = 0;
	pid_t pid;

	assert_int_equal(dir_create(deep, NULL), 0);
	pid = fork();
	assert_true(pid >= 0);
	if (pid == 0) {
		status = unreachable_child(deep);
		free(TAKE(deep));
		_exit(status);
	}
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_true(WIFEXITED(status));
	assert_int_equal(WEXITSTATUS(status), 0);
}

static void private_folders_are_refused_when_they_are_not(void **state)
{
	auto_free char *open_to_all = mem_printf("%s/open", (char *)*state);
	auto_free char *file = mem_printf("%s/f", (char *)*state);
	auto_free char *link = mem_printf("%s/link", (char *)*state);
	auto_free char *foreign = mem_printf("%s/foreign", (char *)*state);
	struct error err = {};

	assert_int_equal(mkdir(open_to_all, 0700), 0);
	assert_int_equal(dir_create_private(open_to_all, &err), 0);
	assert_int_equal(chmod(open_to_all, 0777), 0);
	assert_int_equal(dir_create_private(open_to_all, &err), -EPERM);
	assert_non_null(strstr(err.text, "run chmod 700"));
	assert_int_equal(file_replace(file, "", 0, 0600, NULL), 0);
	assert_int_equal(dir_create_private(file, &err), -ENOTDIR);
	assert_int_equal(symlink(*state, link), 0);
	assert_int_equal(dir_create_private(link, &err), -ENOTDIR);
	if (geteuid() == 0) {
		assert_int_equal(mkdir(foreign, 0700), 0);
		assert_int_equal(chown(foreign, 12345, 12345), 0);
		assert_int_equal(dir_create_private(foreign, &err), -EPERM);
		assert_non_null(strstr(err.text, "belongs to user 12345, not to you (0)"));
	}
}

static void a_folder_is_spread_where_the_file_system_can(void **state)
{
	auto_free char *path = mem_printf("%s/many", (char *)*state);
	auto_free char *below = mem_printf("%s/many/0", (char *)*state);
	auto_close int fd = -1;
	struct statfs fs;
	int flags = 0;

	dir_spread(path);
	assert_int_equal(access(path, F_OK), -1);
	assert_int_equal(dir_create(path, NULL), 0);
	dir_spread(path);
	dir_spread(path);
	assert_int_equal(dir_create(below, NULL), 0);
	fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	assert_int_equal(fstatfs(fd, &fs), 0);
	if (fs.f_type != EXT4_SUPER_MAGIC)
		skip();
	assert_int_equal(ioctl(fd, FS_IOC_GETFLAGS, &flags), 0);
	assert_true(flags & FS_TOPDIR_FL);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    folder_test(reads_back_what_was_written),
	    folder_test(an_empty_file_is_an_empty_text),
	    folder_test(refuses_more_than_the_bound),
	    folder_test(names_the_file_it_cannot_read),
	    folder_test(only_plain_files_are_read),
	    folder_test(dash_is_standard_input_where_allowed),
	    folder_test(small_reads_cut_and_drop_the_newline),
	    folder_test(a_failed_replacement_leaves_the_old_file_and_nothing_beside),
	    folder_test(folders_are_made_with_their_parents),
	    folder_test(names_the_folder_it_cannot_create),
	    folder_test(private_folders_are_refused_when_they_are_not),
	    folder_test(a_folder_is_spread_where_the_file_system_can),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
