/*
 * See cgroup.h.
 *
 * A pid read from cgroup.procs may be somebody else's a moment later. Before one is signalled its
 * pidfd is opened and the list is read again: who is in the second list while the pidfd still names
 * the same process is of the task.
 *
 * Sources: Documentation/admin-guide/cgroup-v2.rst of the kernel; proc(5) on mountinfo.
 */
#include "run/cgroup.h"

#include "util/cleanup.h"
#include "util/file.h"
#include "util/pidref.h"
#include "util/text.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <signal.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#define FOLDER_PREFIX "plimsoll."
#define TASK_PREFIX   "task-"
#define PROCS_MAX     ((size_t)4 << 20) /* of one cgroup.procs */
#define DEPTH_MAX     16                /* of the cgroups a task makes below its own */
#define SIGNAL_BATCH  128               /* descriptors open at once */
#define TEXT_MAX      ((size_t)1 << 20)

/* --- where we are --- */

/* mountinfo writes blanks and backslashes as \ooo. */
static void unescape(char *s)
{
	char *to = s;

	for (; *s; s++) {
		unsigned byte;

		if (s[0] == '\\' && sscanf(s + 1, "%3o", &byte) == 1) {
			*to++ = (char)byte;
			s += 3;
		} else {
			*to++ = *s;
		}
	}
	*to = '\0';
}

/* "36 35 98:0 ROOT POINT options ... - cgroup2 source options" */
static bool mount_parse(char *line, char **ret_root, char **ret_point)
{
	char *rest = NULL, *words[5] = {}, *dash = strstr(line, " - ");

	if (!dash || strncmp(dash + 3, "cgroup2 ", 8) != 0)
		return false;
	for (size_t i = 0; i < ARRAY_LEN(words); i++) {
		words[i] = strtok_r(i == 0 ? line : NULL, " ", &rest);
		if (!words[i])
			return false;
	}
	unescape(words[3]);
	unescape(words[4]);
	*ret_root = words[3];
	*ret_point = words[4];
	return true;
}

static char *own_group(const char *cgroup_text)
{
	for (const char *line = cgroup_text; line && *line;) {
		const char *end = strchrnul(line, '\n');

		if (strncmp(line, "0::/", 4) == 0)
			return mem_strndup(line + 3, (size_t)(end - line - 3));
		line = *end ? end + 1 : NULL;
	}
	return NULL;
}

char *cgroup_own_path(const char *cgroup_text, const char *mountinfo_text)
{
	auto_free char *group = own_group(cgroup_text), *mounts = mem_strdup(mountinfo_text);
	char *rest = NULL;

	/* "/../x": it lies outside of what our cgroup namespace shows. */
	if (!group || strstr(group, "/.."))
		return NULL;
	for (char *line = strtok_r(mounts, "\n", &rest); line; line = strtok_r(NULL, "\n", &rest)) {
		char *root, *point;
		size_t len;

		if (!mount_parse(line, &root, &point))
			continue;
		len = strcmp(root, "/") == 0 ? 0 : strlen(root);
		if (strncmp(group, root, len) != 0 || (group[len] != '/' && group[len] != '\0'))
			continue;
		return mem_printf("%s%s", point, strcmp(group + len, "/") == 0 ? "" : group + len);
	}
	return NULL;
}

static int file_write(const char *folder, const char *name, const char *text)
{
	auto_free char *path = mem_printf("%s/%s", folder, name);
	auto_close int fd = open(path, O_WRONLY | O_CLOEXEC);

	return fd < 0 ? -errno : fd_write_all(fd, text, strlen(text));
}

/* "plimsoll.<hex>.<hex>/task-", and nothing else of that name: plimsoll.service is our own unit. */
static bool is_of_task(const char *name)
{
	static const char hex[] = "0123456789abcdef";
	size_t len;

	if (!text_starts_with(name, FOLDER_PREFIX))
		return false;
	name += strlen(FOLDER_PREFIX);
	len = strspn(name, hex);
	if (len == 0 || name[len] != '.')
		return false;
	name += len + 1;
	len = strspn(name, hex);
	return len > 0 && text_starts_with(name + len, "/" TASK_PREFIX);
}

char *cgroup_outside_task(const char *path)
{
	const char *found = NULL;

	for (const char *at = strchr(path, '/'); at; at = strchr(at + 1, '/'))
		if (is_of_task(at + 1))
			found = at;
	return found ? mem_strndup(path, (size_t)(found - path)) : NULL;
}

char *cgroup_base(const char *own)
{
	const char *last = strrchr(own, '/');

	return last && last > own && strcmp(last + 1, CGROUP_LEAF) == 0
		   ? mem_strndup(own, (size_t)(last - own))
		   : mem_strdup(own);
}

/* Into a cgroup, or into the leaf of one that may hold no process itself. */
static int move_into(const char *path)
{
	auto_free char *leaf = mem_printf("%s/" CGROUP_LEAF, path);

	return file_write(access(leaf, F_OK) == 0 ? leaf : path, "cgroup.procs", "0");
}

char *cgroup_own(void)
{
	auto_text struct text group = {}, mounts = {};

	if (file_read("/proc/self/cgroup", TEXT_MAX, false, &group, NULL) < 0 ||
	    file_read("/proc/self/mountinfo", TEXT_MAX, false, &mounts, NULL) < 0)
		return NULL;
	return cgroup_own_path(group.data ? group.data : "", mounts.data ? mounts.data : "");
}

bool cgroup_hands_down(const char *own, const char *controller)
{
	auto_free char *base = cgroup_base(own);
	/* Beside the leaf all that is there can be; one with processes in it hands down what it
	 * does already. */
	auto_free char *file =
	    mem_printf("%s/%s", base,
		       strcmp(base, own) != 0 ? "cgroup.controllers" : "cgroup.subtree_control");
	char text[512], *rest = NULL;

	if (access(base, W_OK) < 0 || file_read_small(file, text, sizeof text) < 0)
		return false;
	for (char *word = strtok_r(text, " \n", &rest); word; word = strtok_r(NULL, " \n", &rest))
		if (strcmp(word, controller) == 0)
			return true;
	return false;
}

/* Our own cgroup, once we are out of that of a task; NULL: there is none, or we cannot get out. */
static char *own_path(void)
{
	auto_free char *own = cgroup_own();
	auto_free char *outside = own ? cgroup_outside_task(own) : NULL;

	if (!own)
		return NULL;
	if (!outside)
		return TAKE(own);
	return move_into(outside) < 0 ? NULL : TAKE(outside);
}

void cgroup_leave_task(void)
{
	free(own_path());
}

/* Call `visit` for the folders in `path` whose name begins so. True: each call returned true. */
static bool folders_each(const char *path, const char *prefix, bool (*visit)(const char *path))
{
	DIR *dir = opendir(path);
	struct dirent *entry;
	bool all = true;

	while (dir && (entry = readdir(dir)) != NULL) {
		auto_free char *folder = mem_printf("%s/%s", path, entry->d_name);

		if (text_starts_with(entry->d_name, prefix) && !visit(folder))
			all = false;
	}
	if (dir)
		(void)closedir(dir);
	return all;
}

static bool folder_sweep(const char *path)
{
	bool all = folders_each(path, TASK_PREFIX, cgroup_remove);

	/* Whoever needs it makes it anew. */
	(void)rmdir(path);
	return all;
}

/* What is not there, or may not be, is left out: each by itself. */
static void hand_down(const char *path)
{
	(void)file_write(path, "cgroup.subtree_control", "+memory");
	(void)file_write(path, "cgroup.subtree_control", "+dmem");
}

/* The lock says that a supervisor lives which may just be about to fork into one that is empty. */
static int folder_lock(const char *path)
{
	auto_close int fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);

	return fd < 0 || flock(fd, LOCK_EX | LOCK_NB) < 0 ? -1 : TAKE_FD(fd);
}

static bool stranger_sweep(const char *path)
{
	auto_close int fd = folder_lock(path);

	return fd >= 0 && folder_sweep(path);
}

void cgroups_init(struct cgroups *cgroups, const char *state_dir)
{
	auto_free char *own = own_path(), *base = NULL, *path = NULL;
	struct stat st;

	*cgroups = (struct cgroups){.lock_fd = -1};
	if (!own || stat(state_dir, &st) < 0)
		return;
	base = cgroup_base(own);
	if (strcmp(base, own) != 0)
		hand_down(base);
	path = mem_printf("%s/" FOLDER_PREFIX "%jx.%jx", base, (uintmax_t)st.st_dev,
			  (uintmax_t)st.st_ino);
	(void)folders_each(base, FOLDER_PREFIX, stranger_sweep);
	if (mkdir(path, 0755) < 0 && errno != EEXIST)
		return;
	cgroups->path = TAKE(path);
	cgroups->lock_fd = folder_lock(cgroups->path);
	cgroups_sweep(cgroups);
}

void cgroups_finish(struct cgroups *cgroups)
{
	cgroups_sweep(cgroups);
	cgroups->lock_fd = fd_close(cgroups->lock_fd);
	free(TAKE(cgroups->path));
}

void cgroups_sweep(struct cgroups *cgroups)
{
	cgroups->swept = !cgroups->path || folder_sweep(cgroups->path);
	if (cgroups->path && access(cgroups->path, F_OK) < 0)
		cgroups->lock_fd = fd_close(cgroups->lock_fd);
}

/* Attempt ids are any text; ours are digits and a dot, and stay readable. */
static char *folder_name(const char *attempt)
{
	uint64_t hash = 14695981039346656037u; /* FNV-1a */

	if (attempt[strspn(attempt, "0123456789."
				    "abcdefghijklmnopqrstuvwxyz"
				    "ABCDEFGHIJKLMNOPQRSTUVWXYZ_-")] == '\0')
		return mem_printf(TASK_PREFIX "%s", attempt);
	for (const unsigned char *p = (const unsigned char *)attempt; *p; p++)
		hash = (hash ^ *p) * 1099511628211u;
	return mem_printf(TASK_PREFIX "~%016" PRIx64, hash);
}

/* Our folder, while an attempt needs it. Another supervisor may sweep it until it is locked. */
static void parent_make(struct cgroups *cgroups)
{
	cgroups->lock_fd = fd_close(cgroups->lock_fd);
	if (mkdir(cgroups->path, 0755) < 0 && errno != EEXIST)
		return;
	cgroups->lock_fd = folder_lock(cgroups->path);
	/* Only where they were handed down to our folder; nobody is in there, so it may be. */
	hand_down(cgroups->path);
}

static int folder_make(struct cgroups *cgroups, const char *path)
{
	for (int i = 0; i < 3; i++) {
		if (mkdir(path, 0755) == 0)
			return 0;
		if (errno == ENOENT)
			parent_make(cgroups);
		/* Left behind by a start that was never let through its gate. */
		else if (errno != EEXIST || !cgroup_remove(path))
			return -errno;
	}
	return -EAGAIN;
}

int cgroups_add(struct cgroups *cgroups, const char *attempt, char **ret_path, int *ret_fd)
{
	auto_free char *name = NULL, *path = NULL;
	int fd, r;

	if (!cgroups->path)
		return -ENOENT;
	name = folder_name(attempt);
	path = mem_printf("%s/%s", cgroups->path, name);
	r = folder_make(cgroups, path);
	if (r < 0)
		return r;
	fd = open(path, O_PATH | O_DIRECTORY | O_CLOEXEC);
	if (fd < 0) {
		r = -errno;
		(void)rmdir(path);
		return r;
	}
	*ret_path = TAKE(path);
	*ret_fd = fd;
	return 0;
}

/* --- one cgroup --- */

/* Call `each` for the cgroups right below. */
static void below_each(const char *path, unsigned depth,
		       void (*each)(const char *path, unsigned depth, void *arg), void *arg)
{
	struct dirent *entry;
	struct stat st;
	DIR *dir;

	/* A folder has a link from each folder in it: most have none. */
	if (depth == 0 || stat(path, &st) < 0 || st.st_nlink <= 2)
		return;
	dir = opendir(path);
	while (dir && (entry = readdir(dir)) != NULL) {
		auto_free char *below = NULL;

		if (entry->d_type != DT_DIR || entry->d_name[0] == '.')
			continue;
		below = mem_printf("%s/%s", path, entry->d_name);
		each(below, depth - 1, arg);
	}
	if (dir)
		(void)closedir(dir);
}

static void remove_below(const char *path, unsigned depth, void *arg)
{
	below_each(path, depth, remove_below, arg);
	(void)rmdir(path);
}

bool cgroup_remove(const char *path)
{
	if (rmdir(path) == 0 || errno == ENOENT)
		return true;
	below_each(path, DEPTH_MAX, remove_below, NULL);
	return rmdir(path) == 0 || errno == ENOENT;
}

void cgroup_kill(const char *path)
{
	/* Before 5.14: one by one, until nobody is left who could fork once more. */
	for (int i = 0; i < 100 && file_write(path, "cgroup.kill", "1") == -ENOENT; i++)
		if (cgroup_signal_others(path, 0, SIGKILL) == 0)
			return;
}

struct pid_list {
	pid_t *items;
	size_t n, room;
};

static void pids_add(const char *path, unsigned depth, void *arg)
{
	auto_free char *procs = mem_printf("%s/cgroup.procs", path);
	auto_text struct text text = {};
	struct pid_list *list = arg;
	char *rest = NULL;

	if (file_read(procs, PROCS_MAX, false, &text, NULL) == 0 && text.len > 0)
		for (char *word = strtok_r(text.data, "\n", &rest); word;
		     word = strtok_r(NULL, "\n", &rest)) {
			ARRAY_GROW(list->items, list->n, list->room);
			list->items[list->n++] = (pid_t)strtol(word, NULL, 10);
		}
	below_each(path, depth, pids_add, arg);
}

static int by_number(const void *a, const void *b)
{
	const pid_t *x = a, *y = b;

	return (*x > *y) - (*x < *y);
}

size_t cgroup_pids(const char *path, pid_t **ret_pids)
{
	struct pid_list list = {};

	pids_add(path, DEPTH_MAX, &list);
	if (list.n > 0)
		qsort(list.items, list.n, sizeof *list.items, by_number);
	*ret_pids = list.items;
	return list.n;
}

/* Pids of other pid namespaces are told as 0; ourselves are never meant. */
static bool is_other(pid_t pid, pid_t leader)
{
	return pid > 1 && pid != getpid() &&
	       (leader == 0 || (getsid(pid) != leader && getpgid(pid) != leader));
}

/* Some of them, see above. */
static unsigned signal_some(const char *path, const pid_t *pids, size_t n, pid_t leader, int signal)
{
	struct pidref refs[SIGNAL_BATCH];
	auto_free pid_t *again = NULL;
	size_t n_again, n_refs = 0;
	unsigned found = 0;

	for (size_t i = 0; i < n; i++) {
		int r = is_other(pids[i], leader) ? pidref_open(pids[i], 0, &refs[n_refs]) : -ESRCH;

		n_refs += r == 0;
		/* No descriptor for it: it is there, and its turn comes. */
		found += r < 0 && r != -ESRCH;
	}
	if (n_refs == 0)
		return found;
	n_again = cgroup_pids(path, &again);
	for (size_t i = 0; i < n_refs; i++) {
		if (n_again > 0 &&
		    bsearch(&refs[i].pid, again, n_again, sizeof *again, by_number)) {
			found++;
			if (signal != 0)
				(void)!pidref_signal(&refs[i], signal);
		}
		pidref_finish(&refs[i]);
	}
	return found;
}

unsigned cgroup_signal_others(const char *path, pid_t leader, int signal)
{
	auto_free pid_t *pids = NULL;
	size_t n = cgroup_pids(path, &pids);
	unsigned found = 0;

	for (size_t at = 0; at < n; at += SIGNAL_BATCH)
		found += signal_some(path, pids + at, MIN_OF(n - at, (size_t)SIGNAL_BATCH), leader,
				     signal);
	return found;
}

/* --- what was counted --- */

/* The number behind `key` and a blank at the start of a line; key "": the file is a number. */
static bool number_read(const char *path, const char *name, const char *key, uint64_t *ret_value)
{
	auto_free char *file = mem_printf("%s/%s", path, name);
	char text[4096];
	size_t len = strlen(key);

	if (file_read_small(file, text, sizeof text) < 0)
		return false;
	for (const char *line = text; line; line = strchr(line, '\n')) {
		line += *line == '\n';
		if (len == 0 || (strncmp(line, key, len) == 0 && line[len] == ' '))
			return sscanf(line + len, "%" SCNu64, ret_value) == 1;
	}
	return false;
}

bool cgroup_cpu_seconds(const char *path, double *ret_seconds)
{
	uint64_t us;

	if (!number_read(path, "cpu.stat", "usage_usec", &us))
		return false;
	*ret_seconds = (double)us / 1e6;
	return true;
}

bool cgroup_memory_peak(const char *path, uint64_t *ret_bytes)
{
	return number_read(path, "memory.peak", "", ret_bytes);
}

bool cgroup_oom_kills(const char *path, uint64_t *ret_kills)
{
	return number_read(path, "memory.events", "oom_kill", ret_kills);
}
