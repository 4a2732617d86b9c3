/* Roots: a folder and a bundle say the same, links stay inside, a report is read again as it was.
 */
#include "doctor/root.h"

#include "folder.h"

#include "util/file.h"

#include <errno.h>
#include <string.h>
#include <unistd.h>

static struct root *bundle(const char *text)
{
	struct root *root = NULL;
	struct error err = {};

	if (root_open_bundle(text, strlen(text), "b", &root, &err) < 0)
		fail_msg("%s", err.text);
	return root;
}

static void assert_reads(struct root *root, const char *path, const char *expected)
{
	auto_free char *text = NULL;
	int r = root_read(root, path, &text);

	if (r < 0)
		fail_msg("%s: %s", path, strerror(-r));
	assert_string_equal(text, expected);
}

static void assert_fails(struct root *root, const char *path, int code)
{
	char *text = NULL;

	assert_int_equal(root_read(root, path, &text), code);
	assert_null(text);
}

static void assert_lists(struct root *root, const char *path, const char *pattern,
			 const char *expected)
{
	auto_strings struct strings names = {};
	auto_text struct text joined = {};

	assert_int_equal(root_list(root, path, pattern, &names), 0);
	for (size_t i = 0; i < names.n; i++)
		text_printf(&joined, "%s%s", i ? " " : "", names.items[i]);
	assert_string_equal(joined.data ? joined.data : "", expected);
}

static const char *const machine = "For people.\n"
				   "-- proc/modules --\n"
				   "nvidia 1 0 - Live 0x0\n"
				   "\\-- not a head --\n"
				   "\\\\-- nor this --\n"
				   "\n"
				   "-- usr/lib/libcuda.so.1 -> libcuda.so.570.86.15 --\n"
				   "-- usr/lib/libcuda.so.570.86.15 --\n"
				   "-- lib -> usr/lib --\n"
				   "-- abs -> /usr/lib --\n"
				   "-- out -> ../../../usr --\n"
				   "-- loop -> loop2 --\n"
				   "-- loop2 -> loop --\n"
				   "-- sys/module/nouveau/ --\n"
				   "-- sys/bus/ --\n"
				   "pci\n"
				   "usb\n"
				   "-- sys/bus/usb !absent --\n"
				   "-- sys/secret !denied --\n"
				   "-- .plimsoll/ctk.txt --\n"
				   "NVIDIA Container Toolkit CLI version 1.17.8\n";

static void a_bundle_is_a_tree(void **state)
{
	auto_root struct root *root = bundle(machine);
	auto_free char *target = NULL;

	assert_reads(root, "/proc/modules",
		     "nvidia 1 0 - Live 0x0\n-- not a head --\n\\-- nor this --");
	assert_reads(root, "/lib/libcuda.so.1", "");
	assert_reads(root, "/abs/libcuda.so.1", "");
	assert_reads(root, "/out/lib/../lib/./libcuda.so.1", "");
	assert_fails(root, "/proc/none", -ENOENT);
	assert_fails(root, "/proc", -EISDIR);
	assert_fails(root, "/sys/module/nouveau", -EISDIR);
	assert_fails(root, "/loop", -ELOOP);
	assert_fails(root, "/sys/secret", -EACCES);
	assert_fails(root, "/sys/secret/below", -EACCES);
	assert_int_equal(root_link(root, "/lib/libcuda.so.1", &target), 0);
	assert_string_equal(target, "libcuda.so.570.86.15");
	assert_int_equal(root_link(root, "/proc/modules", &target), -EINVAL);
	assert_int_equal(root_link(root, "/proc/none", &target), -ENOENT);
	assert_true(root_exists(root, "/sys/module/nouveau"));
	assert_true(root_exists(root, "/sys/module"));
	assert_false(root_exists(root, "/sys/module/nvidia"));
	assert_false(root_exists(root, "/loop"));
}

static void folders_list_what_is_in_them(void **state)
{
	auto_root struct root *root = bundle(machine);
	auto_strings struct strings names = {};

	assert_lists(root, "/usr/lib", "*", "libcuda.so.1 libcuda.so.570.86.15");
	assert_lists(root, "/lib", "libcuda.so.?", "libcuda.so.1");
	assert_lists(root, "/sys/bus", "*", "pci");
	assert_lists(root, "/sys/module/nouveau", "*", "");
	assert_lists(root, "/", "*", "abs lib loop loop2 out proc sys usr");
	assert_int_equal(root_list(root, "/none", "*", &names), -ENOENT);
	assert_int_equal(root_list(root, "/proc/modules", "*", &names), -ENOTDIR);
}

static void what_comes_later_counts(void **state)
{
	auto_root struct root *root = bundle("-- a/b --\none\n"
					     "-- a/c --\nc\n"
					     "-- a !absent --\n"
					     "-- a/d --\nd\n"
					     "-- a/d --\ne\n"
					     "-- a/ --\n");

	assert_fails(root, "/a/b", -ENOENT);
	assert_reads(root, "/a/d", "e");
	assert_lists(root, "/a", "*", "d");
}

static void what_was_absent_is_there_again(void **state)
{
	auto_root struct root *root = bundle("-- a/b --\none\n"
					     "-- a !absent --\n"
					     "-- a/c/d --\nd\n"
					     "-- e/f --\nf\n"
					     "-- e !absent --\n"
					     "-- e/g !absent --\n");

	assert_lists(root, "/a", "*", "c");
	assert_reads(root, "/a/c/d", "d");
	assert_false(root_exists(root, "/e"));
	assert_fails(root, "/e/f", -ENOENT);
}

static void answers_are_files_of_their_own(void **state)
{
	auto_root struct root *root = bundle(machine);
	auto_free char *text = NULL;

	assert_int_equal(root_ask(root, ROOT_CTK, &text), 0);
	assert_string_equal(text, "NVIDIA Container Toolkit CLI version 1.17.8");
	assert_int_equal(root_ask(root, ROOT_NVML, &text), -ENOENT);
}

static void refuses_what_is_no_bundle(void **state)
{
	static const struct {
		const char *text, *says;
	} rows[] = {
	    {"", "b has no entry"},
	    {"just a text\n", "b has no entry"},
	    {"-- a --\n-- ../b --\n", "b:2: no entry"},
	    {"-- a/../b --\n", "b:1: "},
	    {"x\n-- a//b --\n", "b:2: "},
	    {"-- a ->  --\n", "b:1: "},
	    {"--   --\n", "b:1: "},
	};

	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		struct root *root = NULL;
		struct error err = {};

		assert_int_equal(
		    root_open_bundle(rows[i].text, strlen(rows[i].text), "b", &root, &err),
		    -EINVAL);
		if (!strstr(err.text, rows[i].says))
			fail_msg("\"%s\" says: %s", rows[i].text, err.text);
		assert_null(root);
	}
}

static void line_ends_of_mail_do_not_matter(void **state)
{
	auto_root struct root *root = bundle("-- a --\r\none\r\ntwo\r\n-- b --\r\n");

	assert_reads(root, "/a", "one\ntwo");
	assert_reads(root, "/b", "");
}

static void put_file(const char *folder, const char *name, const char *data, size_t len)
{
	auto_free char *path = mem_printf("%s/%s", folder, name);

	assert_int_equal(file_replace(path, data, len, 0644, NULL), 0);
}

static void put_link(const char *folder, const char *name, const char *target)
{
	auto_free char *path = mem_printf("%s/%s", folder, name);

	assert_int_equal(symlink(target, path), 0);
}

static void a_folder_keeps_its_links_inside(void **state)
{
	auto_root struct root *root = NULL;
	auto_free char *inside = mem_printf("%s/etc", (char *)*state), *target = NULL;
	auto_free char *pipe = mem_printf("%s/pipe", (char *)*state);
	struct error err = {};

	assert_int_equal(dir_create(inside, NULL), 0);
	put_file(*state, "etc/passwd", "ours\n", 5);
	put_link(*state, "absolute", "/etc/passwd");
	put_link(*state, "above", "../../../../etc/passwd");
	put_link(*state, "nowhere", "/no/such/file");
	put_file(*state, "binary", "a\0b\x01\n\n", 6);
	assert_int_equal(mkfifo(pipe, 0600), 0);
	if (root_open(*state, &root, &err) < 0)
		fail_msg("%s", err.text);
	assert_reads(root, "/absolute", "ours");
	assert_reads(root, "/above", "ours");
	assert_reads(root, "/binary", "a\nb\\x01");
	assert_fails(root, "/nowhere", -ENOENT);
	assert_fails(root, "/etc", -EISDIR);
	assert_fails(root, "/pipe", -EINVAL);
	assert_false(root_exists(root, "/nowhere"));
	assert_int_equal(root_link(root, "/nowhere", &target), 0);
	assert_string_equal(target, "/no/such/file");
	assert_lists(root, "/", "[a-e]*", "above absolute binary etc");
}

static void more_than_the_bound_is_not_read(void **state)
{
	auto_root struct root *root = NULL;
	auto_free char *data = mem_calloc(ROOT_FILE_MAX, 2);

	memset(data, 'x', ROOT_FILE_MAX + 1);
	put_file(*state, "fits", data, ROOT_FILE_MAX);
	put_file(*state, "large", data, ROOT_FILE_MAX + 1);
	assert_int_equal(root_open(*state, &root, NULL), 0);
	assert_fails(root, "/large", -EFBIG);
	data[ROOT_FILE_MAX] = '\0';
	assert_reads(root, "/fits", data);
}

/* Ask the same of the report, and of the report of that. */
static void look_around(struct root *root)
{
	auto_free char *target = NULL;

	assert_reads(root, "/proc/modules",
		     "nvidia 1 0 - Live 0x0\n-- not a head --\n\\-- nor this --");
	assert_lists(root, "/usr/lib", "libcuda.so.*", "libcuda.so.1 libcuda.so.570.86.15");
	assert_lists(root, "/usr/lib", "libnvidia*", "");
	assert_lists(root, "/sys/bus", "*", "pci");
	assert_int_equal(root_link(root, "/lib/libcuda.so.1", &target), 0);
	assert_string_equal(target, "libcuda.so.570.86.15");
	assert_true(root_exists(root, "/sys/module/nouveau"));
	assert_false(root_exists(root, "/sys/module/nvidia"));
	assert_fails(root, "/sys/secret", -EACCES);
	assert_fails(root, "/proc/none", -ENOENT);
}

static void a_report_is_read_again_as_it_was(void **state)
{
	auto_root struct root *first = bundle(machine), *second = NULL, *third = NULL;
	auto_text struct text one = {}, two = {};

	look_around(first);
	root_bundle(first, "head\n", &one);
	assert_int_equal(root_open_bundle(one.data, one.len, "one", &second, NULL), 0);
	look_around(second);
	root_bundle(second, "head", &two);
	assert_string_equal(one.data, two.data);
	assert_int_equal(root_open_bundle(two.data, two.len, "two", &third, NULL), 0);
	look_around(third);
	assert_null(strstr(one.data, "ctk.txt")); /* nobody asked */
}

static void a_report_has_no_names(void **state)
{
	auto_root struct root *root =
	    bundle("-- etc/x --\n"
		   "GPU-6a2f7c1e-1111-2222-3333-444455556666 and "
		   "GPU-6A2F7C1E-1111-2222-3333-444455556666\n"
		   "GPU-0a2f7c1e-1111-2222-3333-444455556666\n"
		   "link 52:54:00:ab:cd:ef at 0000:01:00.0, 00000000:4E:00.0\n"
		   "serial: 1320221012345 \"serial\": \"1320221012345\"\n"
		   "/home"
		   "/pepper/x pepper peppermint\n");
	auto_text struct text text = {};
	char *read = NULL;
	auto_free char *copy = NULL;

	assert_int_equal(root_read(root, "/etc/x", &read), 0);
	free(read);
	root_bundle(root, "", &text);
	copy = mem_strdup(strstr(text.data, "-- etc/x --"));
	assert_non_null(strstr(copy, "GPU-00000000-0000-0000-0000-000000000001 and "
				     "GPU-00000000-0000-0000-0000-000000000001\n"
				     "GPU-00000000-0000-0000-0000-000000000002\n"));
	assert_non_null(strstr(copy, "link 00:00:00:00:00:01 at 0000:01:00.0, 00000000:4E:00.0\n"));
	assert_non_null(strstr(copy, "serial: serial1 \"serial\": \"serial1\"\n"));
	assert_null(strstr(copy, "pepper/"));
	assert_null(strstr(copy, "pepper "));
	assert_non_null(strstr(copy, " peppermint\n"));
}

/* This machine: files are read, and what was asked is in the report once. */
static void this_machine_answers(void **state)
{
	auto_root struct root *root = NULL;
	auto_free char *release = NULL, *user = NULL, *again = NULL;
	auto_text struct text text = {};

	assert_int_equal(root_open(NULL, &root, NULL), 0);
	assert_int_equal(root_read(root, "/proc/sys/kernel/osrelease", &release), 0);
	assert_true(*release >= '1' && *release <= '9');
	assert_int_equal(root_ask(root, ROOT_USER, &user), 0);
	assert_non_null(strstr(user, "\"nofile\""));
	assert_int_equal(root_ask(root, ROOT_USER, &again), 0);
	assert_string_equal(user, again);
	root_bundle(root, "head", &text);
	assert_non_null(strstr(text.data, "-- .plimsoll/user.json --\n{"));
	assert_non_null(strstr(text.data, "-- proc/sys/kernel/osrelease --\n"));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(a_bundle_is_a_tree),
	    cmocka_unit_test(folders_list_what_is_in_them),
	    cmocka_unit_test(what_comes_later_counts),
	    cmocka_unit_test(what_was_absent_is_there_again),
	    cmocka_unit_test(answers_are_files_of_their_own),
	    cmocka_unit_test(refuses_what_is_no_bundle),
	    cmocka_unit_test(line_ends_of_mail_do_not_matter),
	    folder_test(a_folder_keeps_its_links_inside),
	    folder_test(more_than_the_bound_is_not_read),
	    cmocka_unit_test(a_report_is_read_again_as_it_was),
	    cmocka_unit_test(a_report_has_no_names),
	    cmocka_unit_test(this_machine_answers),
	};

	return cmocka_run_group_tests_name("doctor_root", tests, NULL, NULL);
}
