/* util/pidref: a process is (pid, start time), and an ended one is never mistaken for another. */
#include "util/pidref.h"

#include "unit.h"

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

static pid_t child_create(const char *name)
{
	pid_t pid = fork();

	assert_true(pid >= 0);
	if (pid == 0) {
		(void)prctl(PR_SET_NAME, name);
		(void)prctl(PR_SET_PDEATHSIG, SIGKILL);
		for (;;)
			(void)pause();
	}
	return pid;
}

static void child_reap(pid_t pid)
{
	int status = 0;

	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_true(WIFSIGNALED(status));
}

static void knows_itself(void **state)
{
	uint64_t start = 0;

	assert_int_equal(pid_start_time(getpid(), &start), 0);
	assert_true(start > 0);
	assert_true(pid_is_alive(getpid(), start));
	assert_true(pid_is_alive(getpid(), 0));
	assert_false(pid_is_alive(getpid(), start + 1));
}

static void names_with_parentheses_do_not_confuse_it(void **state)
{
	pid_t pid = child_create(") R 1 (x");
	uint64_t start = 0, own = 0;

	assert_int_equal(pid_start_time(pid, &start), 0);
	assert_int_equal(pid_start_time(getpid(), &own), 0);
	assert_true(start >= own);
	assert_true(pid_is_alive(pid, start));
	assert_int_equal(kill(pid, SIGKILL), 0);
	child_reap(pid);
}

static void signals_reach_that_process_and_no_other(void **state)
{
	pid_t pid = child_create("child");
	struct pidref ref = PIDREF_NONE;
	struct pollfd ended;
	uint64_t start = 0;

	assert_int_equal(pid_start_time(pid, &start), 0);
	assert_int_equal(pidref_open(pid, start + 1, &ref), -ESRCH);
	assert_int_equal(ref.fd, -1);
	assert_int_equal(pidref_open(pid, start, &ref), 0);
	assert_int_equal(ref.pid, pid);
	assert_int_equal(ref.start_time, start);
	assert_int_equal(pidref_signal(&ref, 0), 0);
	assert_int_equal(pidref_signal(&ref, SIGKILL), 0);
	ended = (struct pollfd){.fd = ref.fd, .events = POLLIN};
	assert_int_equal(poll(&ended, 1, 10000), 1);
	assert_false(pid_is_alive(pid, start)); /* a zombie counts as ended */
	child_reap(pid);
	assert_false(pid_is_alive(pid, start));
	assert_int_equal(pidref_signal(&ref, SIGKILL), -ESRCH);
	pidref_finish(&ref);
	assert_int_equal(ref.fd, -1);
	assert_int_equal(pidref_signal(&ref, SIGKILL), -ESRCH);
	pidref_finish(&ref);
}

static void nobody_is_not_somebody(void **state)
{
	struct pidref ref = PIDREF_NONE;
	uint64_t start = 77;

	/* Above the kernel's largest pid, 2^22. */
	assert_int_equal(pid_start_time(1 << 23, &start), -ESRCH);
	assert_int_equal(start, 77);
	assert_int_equal(pidref_open(1 << 23, 0, &ref), -ESRCH);
	assert_true(pidref_open(-1, 0, &ref) < 0);
	assert_false(pid_is_alive(1 << 23, 0));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(knows_itself),
	    cmocka_unit_test(names_with_parentheses_do_not_confuse_it),
	    cmocka_unit_test(signals_reach_that_process_and_no_other),
	    cmocka_unit_test(nobody_is_not_somebody),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
