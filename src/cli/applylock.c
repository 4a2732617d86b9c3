/*
 * See applylock.h. The folders are known only once the project is read; so it is read first, and
 * when the lock is there compared with what the files are now: whoever held it may have written
 * them. Two folders (the project's, and the one of its first compose file) are locked in the order
 * of their names. Who holds a lock stands in /proc/locks.
 */
#include "cli/applylock.h"

#include "util/file.h"
#include "util/paths.h"
#include "util/timestamp.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

/* An apply that only writes takes less than a second. */
#define WAIT_MS   5000
#define LOOK_MS   20
#define LOCKS_MAX ((size_t)4 << 20)

/* The process that has locked the folder; 0: not known. A line is
 * "7: FLOCK  ADVISORY  WRITE 1234 fd:01:5678 0 EOF", one that waits has "->" in it. */
static pid_t find_holder(int folder)
{
	auto_text struct text locks = {};
	struct stat st;
	char *rest, *line;

	if (fstat(folder, &st) < 0 || file_read("/proc/locks", LOCKS_MAX, false, &locks, NULL) < 0)
		return 0;
	rest = locks.data;
	while ((line = strsep(&rest, "\n"))) {
		unsigned major_, minor_;
		unsigned long long inode;
		int pid;

		if (sscanf(line, "%*u: FLOCK %*s %*s %d %x:%x:%llu", &pid, &major_, &minor_,
			   &inode) == 4 &&
		    pid != getpid() && inode == st.st_ino && major_ == major(st.st_dev) &&
		    minor_ == minor(st.st_dev))
			return (pid_t)pid;
	}
	return 0;
}

static int lock_folder(const char *path, bool shared, int64_t until_ms, int *ret_fd,
		       struct error *err)
{
	auto_close int fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	pid_t holder;

	if (fd < 0)
		return error_sys(err, -errno, "cannot open the folder %s", path);
	while (flock(fd, (shared ? LOCK_SH : LOCK_EX) | LOCK_NB) < 0) {
		if (errno == EINTR)
			continue;
		if (errno != EWOULDBLOCK)
			return 0; /* no locks here; files are still compared before they are
				     written */
		if (monotonic_now_ms() < until_ms) {
			(void)poll(NULL, 0, LOOK_MS);
			continue;
		}
		holder = find_holder(fd);
		if (holder > 0)
			return error_set(err, -EBUSY,
					 "another apply of this project is under way (process %d): "
					 "wait for it, or end it; nothing was written",
					 (int)holder);
		return error_set(err, -EBUSY,
				 "another apply of this project is under way (somebody holds a "
				 "lock of %s): wait for it; nothing was written",
				 path);
	}
	*ret_fd = TAKE_FD(fd);
	return 0;
}

static bool is_as_read(const struct compose_file *file)
{
	auto_text struct text now = {};
	int r;

	/* What is no file on a disk (standard input, a pipe) can be read only once. */
	if (file->unwritten || (file->inode == 0 && !file->missing))
		return true;
	r = file_read(file->path, COMPOSE_FILE_MAX, false, &now, NULL);
	if (r < 0)
		return r == -ENOENT && file->missing;
	return !file->missing && now.len == file->len && memcmp(now.data, file->text, now.len) == 0;
}

/* There was no .env, and now there is. */
static bool env_has_come(const struct compose_project *project)
{
	auto_free char *path = mem_printf("%s/.env", project->dir);

	return project->env.n_files == 0 && access(path, F_OK) == 0;
}

int apply_lock_take(const struct compose_project *project, const char *journal, bool shared,
		    struct apply_lock *ret_lock, bool *ret_stale, struct error *err)
{
	struct apply_lock lock = APPLY_LOCK_NONE;
	int64_t until_ms = monotonic_now_ms() + WAIT_MS;
	auto_free char *folder = realpath(project->dir, NULL), *other = NULL, *of_journal = NULL;
	int order, r = 0;

	of_journal = paths_folder_of(journal);
	other = realpath(of_journal, NULL);
	if (!folder || !other)
		return error_sys(err, -errno, "%s", folder ? of_journal : project->dir);
	order = strcmp(folder, other);
	if (order <= 0)
		r = lock_folder(folder, shared, until_ms, &lock.folder, err);
	if (r == 0 && order != 0)
		r = lock_folder(other, shared, until_ms, &lock.journal_folder, err);
	if (r == 0 && order > 0)
		r = lock_folder(folder, shared, until_ms, &lock.folder, err);
	if (r < 0) {
		apply_lock_release(&lock);
		return r;
	}
	*ret_stale = env_has_come(project);
	for (size_t i = 0; i < project->files.n; i++)
		*ret_stale = *ret_stale || !is_as_read(project->files.items[i]);
	*ret_lock = lock;
	return 0;
}

void apply_lock_release(struct apply_lock *lock)
{
	lock->folder = fd_close(lock->folder);
	lock->journal_folder = fd_close(lock->journal_folder);
}
