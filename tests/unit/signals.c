/* util/signals: a process that was given every signal ignored and blocked begins afresh. */
#include "util/signals.h"

#include "unit.h"
#include "util/file.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

static unsigned long long mask_of(const char *status, const char *name)
{
	const char *line = strstr(status, name);

	assert_non_null(line);
	return strtoull(line + strlen(name), NULL, 16);
}

static void ignore_everything(void)
{
	/* As the kernel wants it: SIG_IGN first, flags and mask empty. */
	unsigned long action[8] = {1};
	unsigned long long all = ~0ull;

	for (int number = 1; number < NSIG; number++)
		(void)syscall(SYS_rt_sigaction, number, action, NULL, sizeof all);
	(void)syscall(SYS_rt_sigprocmask, SIG_SETMASK, &all, NULL, sizeof all);
}

/* 0 when all is as it should be, else which check failed. */
static int child_check(void)
{
	char status[8192];

	ignore_everything();
	if (file_read_small("/proc/self/status", status, sizeof status) < 0)
		return 1;
	if (mask_of(status, "SigIgn:") == 0 || mask_of(status, "SigBlk:") == 0)
		return 2;
	signals_reset();
	if (file_read_small("/proc/self/status", status, sizeof status) < 0)
		return 3;
	if (mask_of(status, "SigIgn:") != 0)
		return 4;
	return mask_of(status, "SigBlk:") != 0 ? 5 : 0;
}

static void resets_what_was_ignored_and_blocked(void **state)
{
	pid_t pid = fork();
	int status;

	assert_true(pid >= 0);
	if (pid == 0)
		_exit(child_check());
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_true(WIFEXITED(status));
	assert_int_equal(WEXITSTATUS(status), 0);
}

static void names_and_numbers(void **state)
{
	static const char *const alike[] = {"SIGUSR1", "USR1", "usr1", "SigUsr1", "10"};
	static const char *const wrong[] = {"", "SIG", "SIGNOTHING", "0", "65", "-1", "10x"};
	int number;

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(alike); i++) {
		number = 0;
		assert_int_equal(signal_parse(alike[i], &number, NULL), 0);
		assert_int_equal(number, SIGUSR1);
	}
	for (size_t i = 0; i < ARRAY_LEN(wrong); i++)
		assert_int_equal(signal_parse(wrong[i], &number, NULL), -EINVAL);
	for (number = 1; number < NSIG; number++) {
		int back = 0;

		assert_int_equal(signal_parse(SIGNAL_NAME(number), &back, NULL), 0);
		assert_int_equal(back, number);
	}
	assert_string_equal(SIGNAL_NAME(SIGTERM), "SIGTERM");
	assert_string_equal(SIGNAL_NAME(40), "40");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(resets_what_was_ignored_and_blocked),
	    cmocka_unit_test(names_and_numbers),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
