/* util/users: names of users and back. */
#include "util/users.h"

#include "unit.h"

#include <errno.h>
#include <pwd.h>
#include <string.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

/* The user database and the clock, as this program has them: in place of the C library's. */
static unsigned n_asked;
static int64_t later_ms, asking_takes_ms;
static const char *named; /* all from 5000 on; NULL: the server is not there */

int getpwuid_r(uid_t uid, struct passwd *pw, char *buf, size_t size, struct passwd **ret)
{
	const char *name = uid == 0 ? "root" : uid >= 4000000000u ? "" : named;

	n_asked++;
	later_ms += asking_takes_ms;
	*ret = NULL;
	if (!name)
		return EIO;
	if (!*name)
		return 0;
	(void)snprintf(buf, size, "%s", name);
	*pw = (struct passwd){.pw_name = buf, .pw_uid = uid};
	*ret = pw;
	return 0;
}

int clock_gettime(clockid_t clock, struct timespec *ts)
{
	/* Not the machine's: a busy one must not look like a slow server. */
	if (clock == CLOCK_MONOTONIC) {
		*ts = (struct timespec){.tv_sec = (time_t)(1000 + later_ms / 1000),
					.tv_nsec = (long)(later_ms % 1000) * 1000000};
		return 0;
	}
	return (int)syscall(SYS_clock_gettime, clock, ts);
}

static void check_name(uid_t uid, const char *expected)
{
	char name[USER_NAME_MAX];

	later_ms++;
	assert_string_equal(user_name(uid, name), expected);
}

static void names_and_numbers(void **state)
{
	char name[USER_NAME_MAX];
	struct error err = {};
	uid_t uid = 99;

	assert_string_equal(user_name(0, name), "root");
	assert_int_equal(user_parse("root", &uid, &err), 0);
	assert_int_equal(uid, 0);
	assert_int_equal(user_parse("4294967290", &uid, &err), 0);
	assert_int_equal(uid, 4294967290u);
	assert_int_equal(user_parse("no such user", &uid, &err), -ENOENT);
	assert_non_null(strstr(err.text, "no such user"));
	assert_int_equal(uid, 4294967290u);
}

/* Asked once; again after ten minutes, when another name may be his; and rarely while it takes long
 * or there is no answer. */
static void asked_now_and_then(void **state)
{
	(void)state;
	named = "ann";
	n_asked = 0;
	for (int i = 0; i < 100; i++)
		for (uid_t uid = 5000; uid < 8000; uid++)
			check_name(uid, "ann");
	assert_int_equal(n_asked, 3000);
	named = "eve";
	check_name(5000, "ann");
	later_ms += 601 * 1000;
	check_name(5000, "eve");
	assert_int_equal(n_asked, 3001);
	/* The server hangs: one waits for it, and for a while nobody else. */
	named = NULL;
	asking_takes_ms = 30 * 1000;
	for (uid_t uid = 5001; uid < 8000; uid++)
		check_name(uid, "ann");
	assert_int_equal(n_asked, 3002);
	later_ms += 24 * 60 * 1000;
	check_name(5002, "ann");
	assert_int_equal(n_asked, 3002);
	later_ms += 2 * 60 * 1000;
	named = "eve";
	check_name(5002, "eve");
	asking_takes_ms = 0;
	/* Nobody has ever heard of him, nor can be asked. */
	named = NULL;
	check_name(9000, "9000");
	check_name(9000, "9000");
	assert_int_equal(n_asked, 3004);
}

/* More users than are remembered: each is right, the first time and the second. */
static void each_has_his_own(void **state)
{
	for (int round = 0; round < 2; round++)
		for (uid_t uid = 4000000000u; uid < 4000006000u; uid++) {
			char name[USER_NAME_MAX], expected[USER_NAME_MAX];

			later_ms++;
			(void)snprintf(expected, sizeof expected, "%u", (unsigned)uid);
			assert_string_equal(user_name(uid, name), expected);
			assert_string_equal(user_name(0, name), "root");
		}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(names_and_numbers),
	    cmocka_unit_test(each_has_his_own),
	    cmocka_unit_test(asked_now_and_then),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
