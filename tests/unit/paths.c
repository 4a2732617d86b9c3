/* util/paths: the same answer in daemon and client, whatever the environment holds. */
#include "util/paths.h"

#include "util/file.h"

#include "folder.h"

#include <errno.h>
#include <string.h>
#include <unistd.h>

static void check(char *path, const char *expected)
{
	assert_string_equal(path, expected);
	free(path);
}

static void xdg_folders_come_first(void **state)
{
	(void)setenv("XDG_RUNTIME_DIR", "/r", 1);
	(void)setenv("XDG_STATE_HOME", "/s", 1);
	check(paths_runtime_dir(), "/r/plimsoll");
	check(paths_state_dir(), "/s/plimsoll");
	check(paths_in_runtime("api.sock"), "/r/plimsoll/api.sock");
}

static void relative_ones_are_ignored_as_the_specification_says(void **state)
{
	(void)setenv("XDG_STATE_HOME", "s", 1);
	(void)setenv("HOME", "/home/ada", 1);
	check(paths_state_dir(), "/home/ada/.local/state/plimsoll");
	(void)unsetenv("XDG_STATE_HOME");
	check(paths_state_dir(), "/home/ada/.local/state/plimsoll");
}

static void the_machines_own_lie_where_all_find_them(void **state)
{
	(void)unsetenv("PLIMSOLL_SYSTEM_RUNTIME_DIR");
	(void)setenv("PLIMSOLL_SYSTEM_STATE_DIR", "state", 1); /* relative: ignored */
	check(paths_system_runtime_dir(), "/run/plimsoll");
	check(paths_system_state_dir(), "/var/lib/plimsoll");
	(void)setenv("PLIMSOLL_SYSTEM_RUNTIME_DIR", "/a", 1);
	(void)setenv("PLIMSOLL_SYSTEM_STATE_DIR", "/b", 1);
	check(paths_system_runtime_dir(), "/a");
	check(paths_system_state_dir(), "/b");
}

static void without_any_there_is_still_a_folder_per_user(void **state)
{
	auto_free char *run = mem_printf("/run/user/%u/plimsoll", (unsigned)geteuid());
	auto_free char *tmp = mem_printf("/tmp/plimsoll-%u", (unsigned)geteuid());
	auto_free char *got = NULL, *home = NULL;

	(void)setenv("XDG_RUNTIME_DIR", "", 1);
	got = paths_runtime_dir();
	assert_true(strcmp(got, run) == 0 || strcmp(got, tmp) == 0);
	(void)unsetenv("HOME");
	(void)unsetenv("XDG_STATE_HOME");
	home = paths_state_dir();
	assert_int_equal(home[0], '/');
	assert_true(strlen(home) > strlen("/.local/state/plimsoll") - 1);
}

static void helpers_lie_beside_this_program(void **state)
{
	auto_free char *self = NULL, *found = NULL;
	char *none = NULL;
	struct error err = {};

	assert_int_equal(paths_self(&self, &err), 0);
	assert_int_equal(access(self, X_OK), 0);
	assert_int_equal(paths_find_helper(strrchr(self, '/') + 1, &found, &err), 0);
	assert_string_equal(found, self);
	assert_int_equal(paths_find_helper("no-such-helper", &none, &err), -ENOENT);
	assert_null(none);
	assert_non_null(strstr(err.text, "no-such-helper is neither in"));
	assert_non_null(strstr(err.text, "the installation is incomplete"));
}

static void data_is_found_where_the_user_said(void **state)
{
	auto_free char *path = mem_printf("%s/x.yaml", (char *)*state);
	auto_free char *found = NULL;
	char *none = NULL;
	struct error err = {};

	assert_int_equal(file_replace(path, "", 0, 0600, NULL), 0);
	(void)setenv("PLIMSOLL_DATADIR", *state, 1);
	assert_int_equal(paths_find_data("x.yaml", &found, &err), 0);
	assert_string_equal(found, path);
	(void)setenv("PLIMSOLL_DATADIR", "relative", 1);
	assert_int_equal(paths_find_data("x.yaml", &none, &err), -ENOENT);
	assert_null(none);
	assert_non_null(strstr(err.text, "data file x.yaml"));
	(void)unsetenv("PLIMSOLL_DATADIR");
}

static void the_folder_of_a_path(void **state)
{
	check(paths_folder_of("/a/b"), "/a");
	check(paths_folder_of("/a"), "/");
	check(paths_folder_of("a/b/c"), "a/b");
	check(paths_folder_of("a"), ".");
	check(paths_folder_of(""), ".");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(xdg_folders_come_first),
	    cmocka_unit_test(relative_ones_are_ignored_as_the_specification_says),
	    cmocka_unit_test(the_machines_own_lie_where_all_find_them),
	    cmocka_unit_test(without_any_there_is_still_a_folder_per_user),
	    cmocka_unit_test(helpers_lie_beside_this_program),
	    folder_test(data_is_found_where_the_user_said),
	    cmocka_unit_test(the_folder_of_a_path),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
