/*
 * See root.h. A folder is read through openat2(2), which keeps every link within it; this machine
 * is read with plain paths, as its /proc holds links that lead nowhere else. Whatever was asked for
 * is kept as an entry of a bundle, so that a report is what the checks saw, no more.
 */
#include "doctor/root_priv.h"

#include "util/file.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <fnmatch.h>
#include <linux/openat2.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#define ROOT_NAMES_MAX 65536 /* in one folder */

static int open_recorded(const char *path, struct root *root, struct error *err)
{
	auto_text struct text text = {};
	struct stat st;
	int r;

	if (stat(path, &st) < 0)
		return error_sys(err, -errno, "cannot read %s", path);
	if (S_ISDIR(st.st_mode)) {
		root->folder = open(path, O_PATH | O_DIRECTORY | O_CLOEXEC);
		return root->folder < 0 ? error_sys(err, -errno, "cannot open %s", path) : 0;
	}
	r = file_read(path, ROOT_BUNDLE_MAX, false, &text, err);
	return r < 0 ? r : bundle_parse(text.data, text.len, path, &root->entries, err);
}

int root_open(const char *path, struct root **ret_root, struct error *err)
{
	auto_root struct root *root = mem_calloc(1, sizeof *root);
	int r;

	root->live = !path;
	root->folder = -1;
	r = path ? open_recorded(path, root, err) : 0;
	if (r < 0)
		return r;
	*ret_root = TAKE(root);
	return 0;
}

int root_open_bundle(const char *text, size_t len, const char *name, struct root **ret_root,
		     struct error *err)
{
	auto_root struct root *root = mem_calloc(1, sizeof *root);
	int r;

	root->folder = -1;
	r = bundle_parse(text, len, name, &root->entries, err);
	if (r < 0)
		return r;
	*ret_root = TAKE(root);
	return 0;
}

void root_close(struct root *root)
{
	if (!root)
		return;
	(void)fd_close(root->folder);
	entries_finish(&root->entries);
	entries_finish(&root->seen);
	free(root);
}

static bool is_bundle(const struct root *root)
{
	return !root->live && root->folder < 0;
}

/* --- what was seen --- */

/* Keep what came back: `r` 0 and a text, or why not. */
static void see(struct root *root, const char *path, int r, enum entry_kind kind, const char *text)
{
	path += strspn(path, "/");
	if (r == 0)
		entries_put(&root->seen, path, kind, text);
	else if (!entries_find(&root->seen, path))
		entries_put(&root->seen, path,
			    r == -EACCES || r == -EPERM ? ENTRY_DENIED : ENTRY_ABSENT, "");
}

/* Names that were listed by several patterns are all in the folder. */
static void see_names(struct root *root, const char *path, const struct strings *names)
{
	const struct entry *before = entries_find(&root->seen, path + strspn(path, "/"));
	auto_text struct text text = {};

	if (before && before->kind == ENTRY_FOLDER && *before->text)
		text_printf(&text, "%s\n", before->text);
	for (size_t i = 0; i < names->n; i++)
		text_printf(&text, "%s%s", i ? "\n" : "", names->items[i]);
	see(root, path, 0, ENTRY_FOLDER, text.data ? text.data : "");
}

/* --- files --- */

static int open_in(const struct root *root, const char *path, int flags)
{
	struct open_how how = {.flags = (unsigned)(flags | O_CLOEXEC), .resolve = RESOLVE_IN_ROOT};
	int fd;

	if (root->live)
		fd = open(path, flags | O_CLOEXEC);
	else
		fd = (int)syscall(SYS_openat2, root->folder, path, &how, sizeof how);
	return fd < 0 ? -errno : fd;
}

char *root_text_of(const char *bytes, size_t len)
{
	struct text text = {};

	for (size_t i = 0; i < len; i++) {
		unsigned char c = (unsigned char)bytes[i];

		if (c == '\0')
			text_add(&text, "\n");
		else if ((c < 0x20 && c != '\t' && c != '\n') || c == 0x7f)
			text_printf(&text, "\\x%02x", c);
		else
			text_add_bytes(&text, bytes + i, 1);
	}
	while (text.len > 0 && text.data[text.len - 1] == '\n')
		text.data[--text.len] = '\0';
	return text_take(&text);
}

static int read_file(const struct root *root, const char *path, char **ret_text)
{
	auto_close int fd = open_in(root, path, O_RDONLY | O_NONBLOCK | O_NOCTTY);
	auto_text struct text bytes = {};
	struct stat st;

	if (fd < 0)
		return fd;
	if (fstat(fd, &st) < 0)
		return -errno;
	if (!S_ISREG(st.st_mode))
		return S_ISDIR(st.st_mode) ? -EISDIR : -EINVAL;
	for (;;) {
		char buf[16384];
		ssize_t n = read(fd, buf, sizeof buf);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return -errno;
		if (n == 0)
			break;
		if (bytes.len + (size_t)n > ROOT_FILE_MAX)
			return -EFBIG;
		text_add_bytes(&bytes, buf, (size_t)n);
	}
	*ret_text = root_text_of(bytes.data, bytes.len);
	return 0;
}

int root_read(struct root *root, const char *path, char **ret_text)
{
	auto_free char *text = NULL;
	const char *recorded;
	int r;

	if (is_bundle(root)) {
		r = bundle_read(&root->entries, path, &recorded);
		if (r == 0 && strlen(recorded) > ROOT_FILE_MAX)
			r = -EFBIG;
		text = r == 0 ? root_text_of(recorded, strlen(recorded)) : NULL;
	} else {
		r = read_file(root, path, &text);
	}
	see(root, path, r, ENTRY_FILE, text);
	if (r == 0)
		*ret_text = TAKE(text);
	return r;
}

static int by_name(const void *a, const void *b)
{
	return strcmp(*(char *const *)a, *(char *const *)b);
}

static int list_folder(const struct root *root, const char *path, struct strings *ret_names)
{
	int fd = open_in(root, path, O_RDONLY | O_DIRECTORY | O_NONBLOCK);
	const struct dirent *entry;
	DIR *dir = fd < 0 ? NULL : fdopendir(fd);

	if (!dir) {
		int r = fd < 0 ? fd : -errno;

		(void)fd_close(fd);
		return r;
	}
	while (ret_names->n < ROOT_NAMES_MAX && (entry = readdir(dir)))
		if (strcmp(entry->d_name, ".") != 0 && strcmp(entry->d_name, "..") != 0)
			strings_add(ret_names, entry->d_name);
	(void)closedir(dir);
	if (ret_names->n > 1)
		qsort(ret_names->items, ret_names->n, sizeof *ret_names->items, by_name);
	return 0;
}

int root_list(struct root *root, const char *path, const char *pattern, struct strings *ret_names)
{
	auto_strings struct strings all = {};
	struct strings names = {};
	int r = is_bundle(root) ? bundle_list(&root->entries, path, &all)
				: list_folder(root, path, &all);

	if (r < 0) {
		see(root, path, r, ENTRY_FOLDER, "");
		return r;
	}
	for (size_t i = 0; i < all.n; i++)
		if (fnmatch(pattern, all.items[i], FNM_PERIOD) == 0)
			strings_add(&names, all.items[i]);
	see_names(root, path, &names);
	*ret_names = names;
	return 0;
}

static int read_link(const struct root *root, const char *path, char **ret_target)
{
	auto_close int fd = open_in(root, path, O_PATH | O_NOFOLLOW);
	char target[ROOT_PATH_MAX];
	struct stat st;
	ssize_t n;

	if (fd < 0)
		return fd;
	if (fstat(fd, &st) < 0)
		return -errno;
	if (!S_ISLNK(st.st_mode))
		return -EINVAL;
	n = readlinkat(fd, "", target, sizeof target);
	if (n < 0)
		return -errno;
	if ((size_t)n == sizeof target)
		return -ENAMETOOLONG;
	*ret_target = root_text_of(target, (size_t)n);
	return 0;
}

int root_link(struct root *root, const char *path, char **ret_target)
{
	auto_free char *target = NULL;
	const char *recorded;
	int r;

	if (is_bundle(root)) {
		r = bundle_link(&root->entries, path, &recorded);
		target = r == 0 ? mem_strdup(recorded) : NULL;
	} else {
		r = read_link(root, path, &target);
	}
	if (r == -EINVAL)
		(void)root_exists(root, path);
	else
		see(root, path, r, ENTRY_LINK, target);
	if (r == 0)
		*ret_target = TAKE(target);
	return r;
}

bool root_exists(struct root *root, const char *path)
{
	auto_close int fd = -1;
	struct stat st = {};
	bool exists;

	if (is_bundle(root)) {
		exists = bundle_exists(&root->entries, path);
		if (exists && !entries_find(&root->entries, path + strspn(path, "/")))
			st.st_mode = S_IFDIR;
	} else {
		fd = open_in(root, path, O_PATH);
		exists = fd >= 0 && fstat(fd, &st) == 0;
	}
	if (!entries_find(&root->seen, path + strspn(path, "/")))
		see(root, path, exists ? 0 : -ENOENT,
		    S_ISDIR(st.st_mode) ? ENTRY_FOLDER : ENTRY_FILE, "");
	return exists;
}

/* --- answers --- */

static const char *answer_path(enum root_answer answer)
{
	static const char *const paths[ROOT_ANSWER_COUNT] = {
	    [ROOT_NVML] = "/.plimsoll/nvml.json",
	    [ROOT_DEVICES] = "/.plimsoll/devices.json",
	    [ROOT_KERNEL_LOG] = "/.plimsoll/kernel.log",
	    [ROOT_MODINFO] = "/.plimsoll/modinfo.txt",
	    [ROOT_ENGINE] = "/.plimsoll/engine.json",
	    [ROOT_CONTAINERS] = "/.plimsoll/containers.json",
	    [ROOT_CTK] = "/.plimsoll/ctk.txt",
	    [ROOT_DISKS] = "/.plimsoll/disks.json",
	    [ROOT_USER] = "/.plimsoll/user.json",
	};

	return paths[answer];
}

int root_ask(struct root *root, enum root_answer answer, char **ret_text)
{
	const char *path = answer_path(answer);
	const struct entry *before = entries_find(&root->seen, path + 1);
	auto_free char *text = NULL;
	int r;

	if (!root->live)
		return root_read(root, path, ret_text);
	if (before && before->kind != ENTRY_FILE)
		return before->kind == ENTRY_DENIED ? -EACCES : -ENOENT;
	if (!before) {
		r = ask_live(answer, &text);
		see(root, path, r, ENTRY_FILE, text);
		if (r < 0)
			return r == -EACCES || r == -EPERM ? -EACCES : -ENOENT;
		before = entries_find(&root->seen, path + 1);
	}
	*ret_text = mem_strdup(before->text);
	return 0;
}
