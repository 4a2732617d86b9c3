/* Where our cgroup is, in the worlds there are; what is read from one; real ones where we may make
 * some. */
#include "run/cgroup.h"

#include "unit.h"
#include "util/cleanup.h"
#include "util/file.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#define MOUNT_V2     "30 23 0:26 / /sys/fs/cgroup rw,nosuid - cgroup2 cgroup2 rw,nsdelegate\n"
#define MOUNT_HYBRID "41 31 0:38 / /sys/fs/cgroup/unified rw,relatime - cgroup2 cgroup2 rw\n"
#define MOUNT_V1     "35 31 0:32 / /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory\n"
#define MOUNT_BOX    "30 23 0:26 /docker/abc /sys/fs/cgroup ro - cgroup2 cgroup rw\n"
#define MOUNT_BLANK  "30 23 0:26 / /mnt/a\\040b\\134c rw shared:9 master:1 - cgroup2 none rw\n"
#define USER         "/user.slice/user-1000.slice/user@1000.service/app.slice/a.service"

static void test_own_path(void **state)
{
	static const struct {
		const char *cgroup, *mounts, *path;
	} cases[] = {
	    {"0::" USER "\n", MOUNT_V2, "/sys/fs/cgroup" USER},
	    {"9:name=systemd:/a\n4:memory:/x/y\n0::/\n", MOUNT_V1 MOUNT_HYBRID,
	     "/sys/fs/cgroup/unified"},
	    {"4:memory:/x\n0::/z\n", MOUNT_HYBRID MOUNT_V1, "/sys/fs/cgroup/unified/z"},
	    {"0::/x", MOUNT_BLANK, "/mnt/a b\\c/x"},
	    /* A container that sees the names of the host. */
	    {"0::/docker/abc/in\n", MOUNT_BOX, "/sys/fs/cgroup/in"},
	    {"0::/docker/abc\n", MOUNT_BOX, "/sys/fs/cgroup"},
	    {"0::/docker/abcdef\n", MOUNT_BOX, NULL},
	    {"0::/\n", MOUNT_BOX, NULL},
	    /* Outside of our cgroup namespace. */
	    {"0::/../other\n", MOUNT_V2, NULL},
	    /* No v2 at all. */
	    {"4:memory:/x\n", MOUNT_V1, NULL},
	    {"0::/\n", MOUNT_V1, NULL},
	    {"", "", NULL},
	    {"0::", "- cgroup2 ", NULL},
	    {"0::/\n", "x - cgroup2 y\n\n", NULL},
	};

	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		auto_free char *path = cgroup_own_path(cases[i].cgroup, cases[i].mounts);

		if (cases[i].path)
			assert_string_equal(path, cases[i].path);
		else
			assert_null(path);
	}
}

/* Only a task is left, never our own unit, whatever it is called. */
static void test_outside_task(void **state)
{
	static const struct {
		const char *path, *outside;
	} cases[] = {
	    {"/sys/fs/cgroup/system.slice/plimsoll.service", NULL},
	    {"/c/system.slice/plimsoll.service/task-1.1", NULL},
	    {"/c/system.slice/plimsoll.service/plimsoll.fe01.1a2b/task-1.1",
	     "/c/system.slice/plimsoll.service"},
	    {"/c/system.slice/plimsoll.service/plimsoll.fe01.1a2b/task-1.1/own/deep",
	     "/c/system.slice/plimsoll.service"},
	    {"/plimsoll.1.2/task-1.1", ""},
	    {"/c/a.service/plimsoll.1.2", NULL},
	    {"/c/a.service/plimsoll.1.2/tasks", NULL},
	    {"/c/a.service/plimsoll.1./task-1.1", NULL},
	    {"/c/a.service/plimsoll..2/task-1.1", NULL},
	    {"/c/a.service/plimsoll.1.2.3/task-1.1", NULL},
	    {"/c/plimsoll.ab.service/task-1.1", NULL},
	    {"/c/xplimsoll.1.2/task-1.1", NULL},
	    /* A whole machine in a task, with a daemon and tasks of its own. */
	    {"/c/plimsoll.1.2/task-7.1/in/plimsoll.3.4/task-1.1", "/c/plimsoll.1.2/task-7.1/in"},
	    {"", NULL},
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		auto_free char *outside = cgroup_outside_task(cases[i].path);

		if (cases[i].outside) {
			assert_non_null(outside);
			assert_string_equal(outside, cases[i].outside);
		} else if (outside) {
			fail_msg("%s: left for %s", cases[i].path, outside);
		}
	}
}

static void put(const char *folder, const char *name, const char *text)
{
	auto_free char *path = mem_printf("%s/%s", folder, name);

	assert_int_equal(file_replace(path, text, strlen(text), 0600, NULL), 0);
}

static void test_counts(void **state)
{
	char folder[] = "/tmp/plimsoll-cgroup-XXXXXX";
	auto_free char *remove = NULL;
	uint64_t value = 0;
	double seconds = 0;

	assert_non_null(mkdtemp(folder));
	assert_false(cgroup_cpu_seconds(folder, &seconds));
	assert_false(cgroup_memory_peak(folder, &value));
	assert_false(cgroup_oom_kills(folder, &value));
	put(folder, "cpu.stat", "usage_usec 2500000\nuser_usec 1\n");
	put(folder, "memory.peak", "123456789012\n");
	put(folder, "memory.events", "low 0\nhigh 3\nmax 2\noom 1\noom_kill 4\noom_group_kill 0\n");
	assert_true(cgroup_cpu_seconds(folder, &seconds));
	assert_true(seconds > 2.49 && seconds < 2.51);
	assert_true(cgroup_memory_peak(folder, &value));
	assert_true(value == 123456789012);
	assert_true(cgroup_oom_kills(folder, &value));
	assert_int_equal(value, 4);
	put(folder, "memory.events", "oom_kills 4\n");
	assert_false(cgroup_oom_kills(folder, &value));
	remove = mem_printf("rm -rf %s", folder);
	assert_int_equal(system(remove), 0);
}

static void test_one_that_is_gone(void **state)
{
	pid_t *pids = NULL;

	assert_int_equal(cgroup_pids("/no/such/cgroup", &pids), 0);
	assert_null(pids);
	assert_true(cgroup_remove("/no/such/cgroup"));
	assert_int_equal(cgroup_signal_others("/no/such/cgroup", 0, SIGKILL), 0);
	cgroup_kill("/no/such/cgroup");
}

static pid_t sleeper(const char *cgroup)
{
	auto_free char *procs = mem_printf("%s/cgroup.procs", cgroup);
	int ready[2];
	char byte;
	pid_t pid;

	assert_int_equal(pipe(ready), 0);
	pid = fork();
	assert_true(pid >= 0);
	if (pid == 0) {
		int fd = open(procs, O_WRONLY | O_CLOEXEC);

		if (fd < 0 || write(fd, "0", 1) != 1 || write(ready[1], "", 1) != 1)
			_exit(9);
		(void)pause();
		_exit(0);
	}
	assert_int_equal(read(ready[0], &byte, 1), 1);
	(void)close(ready[0]);
	(void)close(ready[1]);
	return pid;
}

static int ended_by(pid_t pid)
{
	int status = 0;

	assert_int_equal(waitpid(pid, &status, 0), pid);
	return WIFSIGNALED(status) ? WTERMSIG(status) : 0;
}

static void test_a_real_one(void **state)
{
	char folder[] = "/tmp/plimsoll-cgroup-XXXXXX";
	struct cgroups cgroups, stranger;
	auto_free char *path = NULL, *below = NULL;
	auto_free pid_t *pids = NULL;
	pid_t one, two;
	int fd = -1, r;

	assert_non_null(mkdtemp(folder));
	cgroups_init(&cgroups, folder);
	r = cgroups_add(&cgroups, "1.1", &path, &fd);
	(void)rmdir(folder);
	if (r < 0) {
		cgroups_finish(&cgroups);
		skip();
	}
	(void)close(fd);
	/* Empty, but of somebody who lives: another one's sweep leaves it alone. */
	cgroups_init(&stranger, "/");
	assert_int_equal(access(path, F_OK), 0);
	cgroups_finish(&stranger);
	below = mem_printf("%s/below", path);
	assert_int_equal(mkdir(below, 0755), 0);
	one = sleeper(path);
	two = sleeper(below);
	assert_int_equal(cgroup_pids(path, &pids), 2);
	assert_true(pids[0] < pids[1]);
	assert_false(cgroup_remove(path));
	/* Both are in our session, but only if that is the one asked for. */
	assert_int_equal(cgroup_signal_others(path, getsid(0), SIGKILL), 0);
	assert_int_equal(cgroup_signal_others(path, 0, 0), 2);
	assert_int_equal(cgroup_signal_others(path, 0, SIGUSR1), 2);
	assert_int_equal(ended_by(one), SIGUSR1);
	assert_int_equal(ended_by(two), SIGUSR1);
	one = sleeper(below);
	cgroup_kill(path);
	assert_int_equal(ended_by(one), SIGKILL);
	assert_true(cgroup_remove(path));
	assert_int_equal(access(path, F_OK), -1);
	cgroups_finish(&cgroups);
	assert_true(cgroups.swept);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_own_path),   cmocka_unit_test(test_outside_task),
	    cmocka_unit_test(test_counts),     cmocka_unit_test(test_one_that_is_gone),
	    cmocka_unit_test(test_a_real_one),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
