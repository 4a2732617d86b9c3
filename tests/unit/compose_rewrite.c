/* compose/rewrite, diff, write: only the bytes asked for, diffs that patch(1) takes, all or none.
 */
#include "compose/node.h"
#include "compose/rewrite.h"

#include "util/file.h"

#include "folder.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#define NOW_MS ((int64_t)1795284246123) /* 2026-11-21T18:04:06.123Z */

/* The tests are linked with --wrap=rename and the like: the `fail_rename`th call from now on fails.
 */
static int fail_rename;
/* The file system knows no RENAME_NOREPLACE; no second names either. */
static bool old_rename, no_links;
/* Somebody makes the file in the last moment. */
static bool somebody_first;

static bool fails(void)
{
	errno = EBUSY;
	return fail_rename > 0 && --fail_rename == 0;
}

int __real_rename(const char *from, const char *to);
int __wrap_rename(const char *from, const char *to);
int __wrap_rename(const char *from, const char *to)
{
	return fails() ? -1 : __real_rename(from, to);
}

int __real_renameat2(int from_dir, const char *from, int to_dir, const char *to, unsigned flags);
int __wrap_renameat2(int from_dir, const char *from, int to_dir, const char *to, unsigned flags);
int __wrap_renameat2(int from_dir, const char *from, int to_dir, const char *to, unsigned flags)
{
	int fd = somebody_first ? open(to, O_WRONLY | O_CREAT | O_CLOEXEC, 0644) : -1;

	if (fd >= 0) {
		assert_int_equal(write(fd, "theirs\n", 7), 7);
		(void)close(fd);
	}
	if (old_rename) {
		errno = EINVAL;
		return -1;
	}
	return fails() ? -1 : __real_renameat2(from_dir, from, to_dir, to, flags);
}

int __real_link(const char *from, const char *to);
int __wrap_link(const char *from, const char *to);
int __wrap_link(const char *from, const char *to)
{
	errno = EPERM;
	return no_links ? -1 : __real_link(from, to);
}

struct world {
	struct compose_files files;
	struct compose_edits edits;
	const char *folder;
};

static void world_finish(struct world *w)
{
	compose_edits_finish(&w->edits);
	compose_files_finish(&w->files);
}
#define auto_world CLEANUP(world_finish)

static void put(const char *folder, const char *name, const char *text, mode_t mode)
{
	auto_free char *path = mem_printf("%s/%s", folder, name);
	struct error err = {};

	if (file_replace(path, text, strlen(text), mode, &err) < 0)
		fail_msg("%s", err.text);
}

static char *got(const char *folder, const char *name)
{
	auto_free char *path = mem_printf("%s/%s", folder, name);
	struct text text = {};

	return file_read(path, 1 << 20, false, &text, NULL) < 0 ? mem_strdup("<nothing>")
								: text_take(&text);
}

static void check_file(const char *folder, const char *name, const char *wanted)
{
	auto_free char *text = got(folder, name);

	assert_string_equal(text, wanted);
}

static const struct compose_file *load(struct world *w, const char *name)
{
	const struct compose_file *file = NULL;
	struct error err = {};

	w->files.standing = w->folder;
	if (compose_files_load_or_new(&w->files, w->folder, name, &file, &err) < 0)
		fail_msg("%s", err.text);
	return file;
}

static void edit(struct world *w, const struct compose_file *file, size_t begin, size_t end,
		 const char *text)
{
	struct compose_span span = {file, begin, end};
	struct error err = {};

	if (compose_edits_add(&w->edits, &span, text, &err) < 0)
		fail_msg("%s", err.text);
}

/* The first place of `from` becomes `to`. */
static void replace(struct world *w, const struct compose_file *file, const char *from,
		    const char *to)
{
	const char *at = strstr(file->text, from);

	assert_non_null(at);
	edit(w, file, (size_t)(at - file->text), (size_t)(at - file->text) + strlen(from), to);
}

static int count_files(const char *folder, const char *containing)
{
	DIR *dir = opendir(folder);
	int n = 0;

	assert_non_null(dir);
	for (struct dirent *entry; (entry = readdir(dir));)
		n += entry->d_name[0] != '.' || entry->d_name[1] == 'e'
			 ? strstr(entry->d_name, containing) != NULL
			 : 0;
	(void)closedir(dir);
	return n;
}

static void edits_touch_and_do_not_overlap(void **state)
{
	auto_world struct world w = {.folder = *state};
	const struct compose_file *file;
	auto_text struct text text = {};
	struct compose_span span;
	struct error err = {};

	put(w.folder, "f", "one two\nthree\n", 0644);
	file = load(&w, "f");
	edit(&w, file, 4, 7, "TWO");
	edit(&w, file, 4, 7, "TWO");
	edit(&w, file, 0, 3, "one");
	assert_int_equal(w.edits.n, 1);
	edit(&w, file, 4, 4, "<");
	edit(&w, file, 4, 4, "(");
	edit(&w, file, 7, 7, ">");
	edit(&w, file, 3, 4, "_");
	edit(&w, file, file->len, file->len, "end\n");
	compose_edits_apply(&w.edits, file, &text);
	assert_string_equal(text.data, "one_<(TWO>\nthree\nend\n");
	span = (struct compose_span){file, 5, 9};
	assert_int_equal(compose_edits_add(&w.edits, &span, "x", &err), -EINVAL);
	assert_string_equal(err.text, "f:1:6: two changes of one place: to \"x\", and (in line 1) "
				      "to \"TWO\"");
	span = (struct compose_span){file, 5, 5};
	assert_int_equal(compose_edits_add(&w.edits, &span, "x", &err), -EINVAL);
	span = (struct compose_span){file, 4, 7};
	assert_int_equal(compose_edits_add(&w.edits, &span, "2", &err), -EINVAL);
	span.file = compose_files_add(&w.files, "-", "abcdefghi", 9);
	assert_int_equal(compose_edits_add(&w.edits, &span, "x", &err), -EINVAL);
	assert_string_equal(err.text,
			    "-:1:5: this has to be changed, and it was read from no file on a "
			    "disk: name the file itself, with -f or --env-file");
}

static void all_of_a_try_or_none(void **state)
{
	auto_world struct world w = {.folder = *state}, try = {.folder = *state};
	const struct compose_file *file;
	auto_text struct text text = {};
	struct error err = {};

	put(w.folder, "f", "one two three\n", 0644);
	file = load(&w, "f");
	edit(&w, file, 4, 7, "2");
	edit(&try, file, 0, 3, "1");
	edit(&try, file, 5, 5, "x");
	assert_int_equal(compose_edits_add_all(&w.edits, &try.edits, &err), -EINVAL);
	assert_int_equal(w.edits.n, 1);
	compose_edits_finish(&try.edits);
	edit(&try, file, 0, 3, "1");
	assert_int_equal(compose_edits_add_all(&w.edits, &try.edits, &err), 0);
	compose_edits_apply(&w.edits, file, &text);
	assert_string_equal(text.data, "1 2 three\n");
}

static void a_file_of_two_paths_is_one(void **state)
{
	auto_world struct world w = {.folder = *state};
	auto_free char *link = mem_printf("%s/link", w.folder);
	auto_text struct text text = {};
	const struct compose_file *a, *b;

	put(w.folder, "f", "one two\n", 0644);
	assert_int_equal(symlink("f", link), 0);
	a = load(&w, "f");
	b = load(&w, "link");
	assert_true(a != b);
	edit(&w, a, 0, 3, "1");
	edit(&w, b, 4, 7, "2");
	edit(&w, b, 0, 3, "1");
	assert_int_equal(w.edits.n, 2);
	compose_edits_apply(&w.edits, b, &text);
	assert_string_equal(text.data, "1 2\n");
}

static void check_diff(const char *old, const char *from, const char *to, const char *wanted)
{
	char *folder = NULL;
	auto_text struct text diff = {};

	assert_int_equal(folder_create((void **)&folder), 0);
	{
		auto_world struct world w = {.folder = folder};

		put(folder, "f", old, 0644);
		replace(&w, load(&w, "f"), from, to);
		compose_edits_diff(&w.edits, &diff);
	}
	assert_string_equal(diff.data, wanted);
	assert_int_equal(folder_destroy((void **)&folder), 0);
}

static void diffs_as_people_know_them(void **state)
{
	auto_world struct world w = {.folder = *state};
	auto_text struct text diff = {};
	const struct compose_file *file;

	check_diff("a\nb\nc\nd\ne\nf\ng\nh\ni\n", "e", "E",
		   "--- a/f\n+++ b/f\n@@ -2,7 +2,7 @@\n b\n c\n d\n-e\n+E\n f\n g\n h\n");
	check_diff("a\nb", "b", "c",
		   "--- a/f\n+++ b/f\n@@ -1,2 +1,2 @@\n a\n-b\n\\ No newline at end of file\n+c\n"
		   "\\ No newline at end of file\n");
	check_diff("a", "a", "a\nb\n",
		   "--- a/f\n+++ b/f\n@@ -1 +1,2 @@\n-a\n\\ No newline at end of file\n+a\n+b\n");
	check_diff("a\r\nb\r\n", "b", "c", "--- a/f\n+++ b/f\n@@ -1,2 +1,2 @@\n a\r\n-b\r\n+c\r\n");
	check_diff("a\nb\nc\n", "b\n", "b\nb2\n",
		   "--- a/f\n+++ b/f\n@@ -1,3 +1,4 @@\n a\n b\n+b2\n c\n");
	check_diff("a\nb\nc\n", "b\n", "", "--- a/f\n+++ b/f\n@@ -1,3 +1,2 @@\n a\n-b\n c\n");
	check_diff("a\n", "a\n", "", "--- a/f\n+++ b/f\n@@ -1 +0,0 @@\n-a\n");
	file = load(&w, "new file");
	assert_true(file->missing);
	edit(&w, file, 0, 0, "x=1\n");
	compose_edits_diff(&w.edits, &diff);
	assert_string_equal(diff.data, "--- /dev/null\n+++ b/new file\t\n@@ -0,0 +1 @@\n+x=1\n");
	text_clear(&diff);
	compose_edits_finish(&w.edits);
	compose_edits_diff(&w.edits, &diff);
	assert_string_equal(diff.data, "");
}

static void lines_that_follow_each_other_are_one_change(void **state)
{
	auto_world struct world w = {.folder = *state};
	auto_text struct text diff = {};
	const struct compose_file *file;

	put(w.folder, "f", "a=1\nb=1\nc=1\n", 0644);
	file = load(&w, "f");
	edit(&w, file, 2, 3, "2");
	edit(&w, file, 6, 7, "2");
	edit(&w, file, 10, 11, "2");
	compose_edits_diff(&w.edits, &diff);
	assert_string_equal(diff.data, "--- a/f\n+++ b/f\n@@ -1,3 +1,3 @@\n"
				       "-a=1\n-b=1\n-c=1\n+a=2\n+b=2\n+c=2\n");
}

static bool patch_is_here(void)
{
	return system("patch --version >/dev/null 2>&1") == 0;
}

/* What patch(1) makes of the diff is what is written. */
static void check_patch(struct world *w, const char *name)
{
	auto_text struct text diff = {}, wanted = {};
	auto_free char *command = mem_printf("cd '%s' && patch -s -p1 <diff >log 2>&1", w->folder);

	compose_edits_diff(&w->edits, &diff);
	put(w->folder, "diff", diff.data, 0644);
	compose_edits_apply(&w->edits, load(w, name), &wanted);
	if (system(command) != 0) {
		auto_free char *log = got(w->folder, "log");

		fail_msg("%s\n%s", log, diff.data);
	}
	check_file(w->folder, name, wanted.data);
}

static unsigned random_below(uint64_t *state, unsigned n)
{
	*state ^= *state << 13;
	*state ^= *state >> 7;
	*state ^= *state << 17;
	return (unsigned)(*state >> 16) % n;
}

static void random_text(uint64_t *seed, struct text *text, unsigned lines)
{
	static const char *const pieces[] = {"a", "bb", "- x", "", "same", "same", "k: v", "\r"};

	for (unsigned i = 0; i < lines; i++)
		text_printf(text, "%s\n", pieces[random_below(seed, ARRAY_LEN(pieces))]);
	if (text->len > 0 && random_below(seed, 3) == 0)
		text->data[--text->len] = '\0';
}

static void random_edits_are_taken_by_patch(void **state)
{
	uint64_t seed = 88172645463325252;

	if (!patch_is_here())
		skip();
	for (int round = 0; round < 150; round++) {
		auto_world struct world w = {.folder = *state};
		auto_text struct text old = {};
		auto_free char *name = mem_printf("f%d", round);
		const struct compose_file *file;
		size_t at = 0;

		random_text(&seed, &old, 1 + random_below(&seed, 40));
		if (old.len == 0)
			continue;
		put(w.folder, name, old.data, 0644);
		file = load(&w, name);
		while (at < file->len) {
			auto_text struct text new = {};
			size_t begin = at + random_below(&seed, 60);
			size_t end = begin + random_below(&seed, 12);

			if (end > file->len)
				break;
			random_text(&seed, &new, random_below(&seed, 4));
			edit(&w, file, begin, end, new.data ? new.data : "");
			at = end + 1;
		}
		if (w.edits.n > 0)
			check_patch(&w, name);
	}
}

static void odd_names_are_taken_by_patch(void **state)
{
	static const char *const names[] = {"with blank", "quo\"te",   "back\\slash",
					    "ünï",        "tab\there", "sub/.env"};

	if (!patch_is_here())
		skip();
	for (size_t i = 0; i < ARRAY_LEN(names); i++) {
		auto_world struct world w = {.folder = *state};
		auto_free char *sub = mem_printf("%s/sub", w.folder);

		(void)mkdir(sub, 0755);
		put(w.folder, names[i], "a\nb\nc\n", 0644);
		replace(&w, load(&w, names[i]), "b", "B");
		check_patch(&w, names[i]);
	}
	{
		auto_world struct world w = {.folder = *state};

		edit(&w, load(&w, ".env"), 0, 0, "A=1\n");
		check_patch(&w, ".env");
	}
}

static void all_files_are_written(void **state)
{
	auto_world struct world w = {.folder = *state};
	auto_compose_backup struct compose_backup *backup = NULL;
	auto_free char *link = mem_printf("%s/link", w.folder);
	auto_free char *sub = mem_printf("%s/sub", w.folder);
	auto_free char *real = mem_printf("%s/sub/real", w.folder);
	auto_free char *bare = mem_printf("%s/a", w.folder);
	struct error err = {};
	struct stat st;

	assert_int_equal(mkdir(sub, 0700), 0);
	put(w.folder, "a", "one\r\n", 0604);
	put(w.folder, "sub/real", "two\n", 0600);
	assert_int_equal(symlink("sub/real", link), 0);
	replace(&w, load(&w, "a"), "one", "ONE");
	replace(&w, load(&w, "link"), "two", "TWO");
	edit(&w, load(&w, "sub/new"), 0, 0, "new\n");
	if (compose_edits_write(&w.edits, NOW_MS, &backup, &err) < 0)
		fail_msg("%s", err.text);
	check_file(w.folder, "a", "ONE\r\n");
	check_file(w.folder, "link", "TWO\n");
	check_file(w.folder, "sub/new", "new\n");
	check_file(w.folder, "a.plimsoll-20261121T180406.12300Z", "one\r\n");
	check_file(w.folder, "sub/real.plimsoll-20261121T180406.12300Z", "two\n");
	assert_int_equal(stat(bare, &st), 0);
	assert_int_equal(st.st_mode & 07777, 0604);
	assert_int_equal(stat(real, &st), 0);
	assert_int_equal(st.st_mode & 07777, 0600);
	assert_int_equal(lstat(link, &st), 0);
	assert_true(S_ISLNK(st.st_mode));
	assert_non_null(strstr(compose_backup_name(backup, 1), "/sub/real.plimsoll-"));
	assert_null(compose_backup_name(backup, 2)); /* it was not there */
	assert_null(compose_backup_name(backup, 3));
	assert_string_equal(compose_edits_file(&w.edits, 0)->shown, "a");
	assert_non_null(compose_edits_file(&w.edits, 2));
	assert_null(compose_edits_file(&w.edits, 3));
	assert_int_equal(count_files(sub, ""), 3);
	if (compose_backup_restore(backup, &err) < 0)
		fail_msg("%s", err.text);
	check_file(w.folder, "a", "one\r\n");
	check_file(w.folder, "link", "two\n");
	check_file(w.folder, "sub/new", "<nothing>");
	assert_int_equal(stat(bare, &st), 0);
	assert_int_equal(st.st_mode & 07777, 0604);
	/* What is as it was needs no copy. */
	assert_int_equal(count_files(w.folder, "a.plimsoll-"), 1);
	compose_backup_remove(backup);
	assert_int_equal(count_files(w.folder, "a.plimsoll-"), 0);
	assert_null(compose_backup_name(backup, 0));
	/* A second time there is nothing to put back. */
	put(w.folder, "a", "mine\n", 0600);
	assert_int_equal(compose_backup_restore(backup, &err), 0);
	check_file(w.folder, "a", "mine\n");
}

static void a_new_file_has_the_umask(void **state)
{
	auto_world struct world w = {.folder = *state};
	auto_compose_backup struct compose_backup *backup = NULL;
	auto_free char *path = mem_printf("%s/.env", w.folder);
	struct error err = {};
	mode_t mask = umask(027);
	struct stat st;

	edit(&w, load(&w, ".env"), 0, 0, "A=1\n");
	assert_int_equal(compose_edits_write(&w.edits, NOW_MS, &backup, &err), 0);
	(void)umask(mask);
	assert_int_equal(stat(path, &st), 0);
	assert_int_equal(st.st_mode & 07777, 0640);
}

static void what_others_wrote_is_left(void **state)
{
	auto_world struct world w = {.folder = *state};
	auto_compose_backup struct compose_backup *backup = NULL;
	auto_free char *path = mem_printf("%s/b", w.folder);
	const struct compose_file *a, *b, *new;
	struct error err = {};

	put(w.folder, "a", "one\n", 0644);
	put(w.folder, "b", "two\n", 0644);
	a = load(&w, "a");
	b = load(&w, "b");
	new = load(&w, "new");
	edit(&w, a, 0, 3, "ONE");
	edit(&w, b, 0, 3, "TWO");
	put(w.folder, "b", "2wo\n", 0644);
	assert_int_equal(compose_edits_write(&w.edits, NOW_MS, &backup, &err), -ESTALE);
	assert_string_equal(err.text, "b was changed by somebody in the meantime: nothing was "
				      "written, run this again");
	check_file(w.folder, "a", "one\n");
	assert_int_equal(unlink(path), 0);
	assert_int_equal(compose_edits_write(&w.edits, NOW_MS, &backup, &err), -ESTALE);
	put(w.folder, "b", "two\n", 0644);
	edit(&w, new, 0, 0, "x");
	put(w.folder, "new", "theirs", 0644);
	assert_int_equal(compose_edits_write(&w.edits, NOW_MS, &backup, &err), -ESTALE);
	assert_int_equal(count_files(w.folder, ""), 3);
	put(w.folder, "gone", "", 0644);
	free(TAKE(path));
	path = mem_printf("%s/new", w.folder);
	assert_int_equal(unlink(path), 0);
	assert_int_equal(compose_edits_write(&w.edits, NOW_MS, &backup, &err), 0);
	put(w.folder, "a", "ONE and more\n", 0644);
	assert_int_equal(compose_backup_restore(backup, &err), -ESTALE);
	assert_string_equal(err.text,
			    "a was changed by somebody in the meantime: it is left as it is");
	check_file(w.folder, "a", "ONE and more\n");
	check_file(w.folder, "b", "two\n");
	check_file(w.folder, "new", "<nothing>");
}

static void each_that_is_not_put_back_is_named(void **state)
{
	auto_world struct world w = {.folder = *state};
	auto_compose_backup struct compose_backup *backup = NULL;
	struct error err = {};

	put(w.folder, "a", "one\n", 0644);
	put(w.folder, "b", "two\n", 0644);
	put(w.folder, "c", "three\n", 0644);
	replace(&w, load(&w, "a"), "one", "ONE");
	replace(&w, load(&w, "b"), "two", "TWO");
	replace(&w, load(&w, "c"), "three", "THREE");
	assert_int_equal(compose_edits_write(&w.edits, NOW_MS, &backup, &err), 0);
	put(w.folder, "c", "theirs\n", 0644);
	put(w.folder, "a", "theirs, too\n", 0644);
	/* And of the one between them the disk wants no more. */
	fail_rename = 1;
	assert_int_equal(compose_backup_restore(backup, &err), -ESTALE);
	{
		auto_free char *wanted = mem_printf(
		    "c was changed by somebody in the meantime: it is left as it is; cannot write "
		    "b: Device or resource busy (what was there before is in "
		    "%s/b.plimsoll-20261121T180406.12300Z); a was changed by somebody in the "
		    "meantime: it is left as it is",
		    w.folder);

		assert_string_equal(err.text, wanted);
	}
	check_file(w.folder, "b", "TWO\n");
	/* Nothing but the three and their backups. */
	assert_int_equal(count_files(w.folder, "plimsoll~"), 0);
	assert_int_equal(count_files(w.folder, ""), 6);
	/* What could not be put back can be tried again. */
	assert_int_equal(compose_backup_restore(backup, &err), -ESTALE);
	check_file(w.folder, "b", "two\n");
}

static void a_new_file_replaces_nobody_s(void **state)
{
	for (int how = 0; how < 2; how++) {
		auto_world struct world w = {.folder = *state};
		auto_compose_backup struct compose_backup *backup = NULL;
		auto_free char *path = mem_printf("%s/.env", w.folder);
		struct error err = {};

		put(w.folder, "a", "one\n", 0644);
		replace(&w, load(&w, "a"), "one", "ONE");
		edit(&w, load(&w, ".env"), 0, 0, "A=1\n");
		somebody_first = true;
		old_rename = how == 1;
		assert_int_equal(compose_edits_write(&w.edits, NOW_MS, &backup, &err), -ESTALE);
		somebody_first = old_rename = false;
		assert_string_equal(err.text, ".env was not there and is now: nothing was written, "
					      "run this again");
		check_file(w.folder, ".env", "theirs\n");
		check_file(w.folder, "a", "one\n");
		assert_int_equal(count_files(w.folder, ""), 2);
		assert_int_equal(unlink(path), 0);
	}
}

static void a_new_file_on_old_file_systems(void **state)
{
	for (int how = 0; how < 2; how++) {
		auto_world struct world w = {.folder = *state};
		auto_compose_backup struct compose_backup *backup = NULL;
		struct error err = {};

		edit(&w, load(&w, ".env"), 0, 0, "A=1\n");
		old_rename = true;
		no_links = how == 1;
		assert_int_equal(compose_edits_write(&w.edits, NOW_MS, &backup, &err), 0);
		old_rename = no_links = false;
		check_file(w.folder, ".env", "A=1\n");
		assert_int_equal(count_files(w.folder, ""), 1);
		assert_int_equal(compose_backup_restore(backup, &err), 0);
		assert_int_equal(count_files(w.folder, ""), 0);
	}
}

static void one_that_fails_puts_all_back(void **state)
{
	struct error err = {};

	for (int nth = 1; nth <= 3; nth++) {
		auto_world struct world w = {.folder = *state};
		auto_compose_backup struct compose_backup *backup = NULL;

		put(w.folder, "a", "one\n", 0644);
		put(w.folder, "b", "two\n", 0644);
		replace(&w, load(&w, "a"), "one", "ONE");
		edit(&w, load(&w, "new"), 0, 0, "x");
		replace(&w, load(&w, "b"), "two", "TWO");
		fail_rename = nth;
		assert_int_equal(compose_edits_write(&w.edits, NOW_MS, &backup, &err), -EBUSY);
		assert_null(backup);
		assert_non_null(strstr(err.text, nth == 1   ? "cannot write a:"
						 : nth == 2 ? "cannot write new:"
							    : "cannot write b:"));
		check_file(w.folder, "a", "one\n");
		check_file(w.folder, "b", "two\n");
		assert_int_equal(count_files(w.folder, ""), 2);
	}
}

/* As a child that may not: root may write everywhere, and what a child is forbidden stays its own.
 */
static int in_child(struct world *w, void (*forbid)(const char *folder), char *text, size_t size)
{
	int fds[2], status = 0;
	pid_t pid;
	ssize_t n;

	assert_int_equal(pipe(fds), 0);
	pid = fork();
	if (pid == 0) {
		struct compose_backup *backup = NULL;
		struct error err = {};
		int r;

		forbid(w->folder);
		r = compose_edits_write(&w->edits, NOW_MS, &backup, &err);
		(void)!write(fds[1], err.text, strlen(err.text));
		_exit(-r);
	}
	(void)close(fds[1]);
	n = read(fds[0], text, size - 1);
	text[n > 0 ? n : 0] = '\0';
	(void)close(fds[0]);
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_true(WIFEXITED(status));
	return -WEXITSTATUS(status);
}

static void forbid_folder(const char *folder)
{
	if (chmod(folder, 0555) < 0 || (geteuid() == 0 && seteuid(65534) < 0))
		_exit(0);
}

static void forbid_size(const char *folder)
{
	struct rlimit limit = {2, 2};

	(void)signal(SIGXFSZ, SIG_IGN);
	if (setrlimit(RLIMIT_FSIZE, &limit) < 0)
		_exit(0);
}

static void forbid_owner(const char *folder)
{
	if (seteuid(65534) < 0)
		_exit(0);
}

static void where_one_may_not_write(void **state)
{
	auto_world struct world w = {.folder = *state};
	char told[1024];

	put(w.folder, "a", "one\n", 0644);
	put(w.folder, "b", "two\n", 0644);
	replace(&w, load(&w, "a"), "one", "ONE");
	replace(&w, load(&w, "b"), "two", "TWO");
	assert_int_equal(in_child(&w, forbid_size, told, sizeof told), -EFBIG);
	assert_int_equal(count_files(w.folder, ""), 2);
	assert_int_equal(chmod(w.folder, 0755), 0);
	assert_int_equal(in_child(&w, forbid_folder, told, sizeof told), -EACCES);
	assert_string_equal(told, "nothing was written: cannot write beside a: Permission denied");
	if (geteuid() == 0) {
		assert_int_equal(chmod(w.folder, 0777), 0);
		assert_int_equal(in_child(&w, forbid_owner, told, sizeof told), -EPERM);
		assert_non_null(strstr(told, "a belongs to user 0 and group 0"));
	}
	assert_int_equal(chmod(w.folder, 0755), 0);
	assert_int_equal(count_files(w.folder, ""), 2);
	check_file(w.folder, "a", "one\n");
	check_file(w.folder, "b", "two\n");
}

static void owners_stay(void **state)
{
	auto_world struct world w = {.folder = *state};
	auto_compose_backup struct compose_backup *backup = NULL;
	auto_free char *path = mem_printf("%s/a", w.folder);
	struct error err = {};
	struct stat st;

	if (geteuid() != 0)
		skip();
	put(w.folder, "a", "one\n", 0644);
	assert_int_equal(chown(path, 1234, 2345), 0);
	assert_int_equal(chmod(path, 04640), 0);
	replace(&w, load(&w, "a"), "one", "ONE");
	assert_int_equal(compose_edits_write(&w.edits, NOW_MS, &backup, &err), 0);
	for (int i = 0; i < 2; i++) {
		assert_int_equal(stat(i ? compose_backup_name(backup, 0) : path, &st), 0);
		assert_int_equal(st.st_uid, 1234);
		assert_int_equal(st.st_gid, 2345);
		/* The backup is nobody else's to read. */
		assert_int_equal(st.st_mode & 07777, i ? 0600 : 04640);
	}
}

static void ten_backups_are_kept(void **state)
{
	static const char *const others[] = {
	    "a.plimsoll-0-keep", "a.plimsoll-2026-golden", "a.plimsoll-20200101T000000.00000Z.old",
	    "a.plimsoll-20200101T000000.0000Z", "a.plimsoll-20200101-000000.00000Z"};
	const char *folder = *state;
	struct error err = {};

	put(folder, "a", "0\n", 0644);
	put(folder, "a.plimsoll", "not one", 0644);
	for (size_t i = 0; i < ARRAY_LEN(others); i++)
		put(folder, others[i], "somebody's", 0644);
	for (int i = 1; i <= 14; i++) {
		auto_world struct world w = {.folder = folder};
		auto_compose_backup struct compose_backup *backup = NULL;
		auto_free char *number = mem_printf("%d\n", i);
		const struct compose_file *file = load(&w, "a");

		edit(&w, file, 0, file->len, number);
		/* Three in each millisecond. */
		assert_int_equal(compose_edits_write(&w.edits, NOW_MS + i / 3, &backup, &err), 0);
	}
	assert_int_equal(count_files(folder, "a.plimsoll-"), 10 + ARRAY_LEN(others));
	for (size_t i = 0; i < ARRAY_LEN(others); i++)
		check_file(folder, others[i], "somebody's");
	check_file(folder, "a.plimsoll-20261121T180406.12702Z", "13\n");
	check_file(folder, "a.plimsoll-20261121T180406.12402Z", "4\n"); /* before the fifth */
	check_file(folder, "a.plimsoll-20261121T180406.12401Z", "<nothing>");
	check_file(folder, "a.plimsoll", "not one");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    folder_test(edits_touch_and_do_not_overlap),
	    folder_test(all_of_a_try_or_none),
	    folder_test(a_file_of_two_paths_is_one),
	    folder_test(diffs_as_people_know_them),
	    folder_test(lines_that_follow_each_other_are_one_change),
	    folder_test(random_edits_are_taken_by_patch),
	    folder_test(odd_names_are_taken_by_patch),
	    folder_test(all_files_are_written),
	    folder_test(a_new_file_has_the_umask),
	    folder_test(what_others_wrote_is_left),
	    folder_test(each_that_is_not_put_back_is_named),
	    folder_test(a_new_file_replaces_nobody_s),
	    folder_test(a_new_file_on_old_file_systems),
	    folder_test(one_that_fails_puts_all_back),
	    folder_test(where_one_may_not_write),
	    folder_test(owners_stay),
	    folder_test(ten_backups_are_kept),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
