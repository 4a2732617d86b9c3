/* util/users: names of users and back. */
#include "util/users.h"

#include "unit.h"

#include <errno.h>
#include <string.h>

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

/* More users than are remembered: each is right, the first time and the second. */
static void each_has_his_own(void **state)
{
	for (int round = 0; round < 2; round++)
		for (uid_t uid = 4000000000u; uid < 4000000040u; uid++) {
			char name[USER_NAME_MAX], expected[USER_NAME_MAX];

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
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
