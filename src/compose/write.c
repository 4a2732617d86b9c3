/*
 * See rewrite.h: writing all files or none. First everything that may fail is done beside the
 * files: each is compared with what was read, its backup and its new content are written and synced
 * to the disk. Only then the new ones take their places, by rename(), one after the other; when one
 * cannot, those before it are put back from what was read. What stands half-done at any moment is
 * complete files, old or new.
 */
#include "compose/rewrite.h"

#include "util/file.h"
#include "util/paths.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#define BACKUPS_KEPT 10
#define BACKUP_MARK  ".plimsoll-"
/* And the writer's pid, a dot, and mkostemp()'s six characters. */
#define BESIDE_MARK ".plimsoll~"
#define BESIDE_TAIL 6

/* One file that is written. */
struct piece {
	const struct compose_file *file; /* only while writing */
	char *shown;
	char *path;   /* the real one, symbolic links followed */
	char *backup; /* NULL: there was no file */
	char *beside; /* the new content, until it takes its place */
	char *old;    /* what was read */
	size_t old_len;
	struct text now; /* what is written */
	mode_t mode;
	uid_t uid;
	gid_t gid;
	bool had_file;
	bool placed; /* the new content is in its place */
};

struct compose_backup {
	struct piece *pieces;
	size_t n, room;
};

void compose_backup_destroy(struct compose_backup *backup)
{
	if (!backup)
		return;
	for (size_t i = 0; i < backup->n; i++) {
		struct piece *piece = &backup->pieces[i];

		free(piece->shown);
		free(piece->path);
		free(piece->backup);
		free(piece->beside);
		free(piece->old);
		text_finish(&piece->now);
	}
	free(backup->pieces);
	free(backup);
}

const char *compose_backup_name(const struct compose_backup *backup, size_t i)
{
	return backup && i < backup->n ? backup->pieces[i].backup : NULL;
}

/* Where a file really is; of one that is not there yet, where it will be. */
static int path_resolve(const struct compose_file *file, char **ret_path, struct error *err)
{
	auto_free char *real = realpath(file->path, NULL), *folder = NULL, *real_folder = NULL;
	struct stat st;

	if (real) {
		*ret_path = TAKE(real);
		return 0;
	}
	if (errno != ENOENT)
		return error_sys(err, -errno, "%s", file->shown);
	if (lstat(file->path, &st) == 0)
		return error_set(err, -ENOENT,
				 "%s is a symbolic link to a file that is not there: make it, or "
				 "remove the link",
				 file->shown);
	if (!file->missing)
		return error_set(err, -ESTALE,
				 "%s is not there any more: nothing was written, run this again",
				 file->shown);
	folder = paths_folder_of(file->path);
	real_folder = realpath(folder, NULL);
	if (!real_folder)
		return error_sys(err, -errno, "%s", folder);
	*ret_path = compose_path_join(real_folder, strrchr(file->path, '/') + 1);
	return 0;
}

/* Is the file what it was? `text` NULL: not there. `then` tells what that means for the caller. */
static int content_check(const struct piece *piece, const char *text, size_t len, const char *then,
			 struct error *err)
{
	auto_text struct text now = {};
	struct stat st;
	int r;

	if (lstat(piece->path, &st) < 0)
		return errno == ENOENT && !text
			   ? 0
			   : error_set(err, -ESTALE, "%s cannot be found any more: %s; %s",
				       piece->shown, strerror(errno), then);
	if (!text)
		return error_set(err, -ESTALE, "%s was not there and is now: %s", piece->shown,
				 then);
	r = file_read(piece->path, COMPOSE_FILE_MAX, false, &now, err);
	if (r == -EFBIG || (r == 0 && (now.len != len || memcmp(now.data, text, len) != 0)))
		return error_set(err, -ESTALE, "%s was changed by somebody in the meantime: %s",
				 piece->shown, then);
	return r;
}

/* A new file with this content, mode and owner, on the disk when this returns. */
static int content_write(int fd, const struct piece *piece, mode_t mode, const char *data,
			 size_t len)
{
	struct stat st;
	int r = fd_write_all(fd, data, len);

	if (r == 0 && fstat(fd, &st) < 0)
		r = -errno;
	if (r == 0 && piece->had_file && (st.st_uid != piece->uid || st.st_gid != piece->gid) &&
	    fchown(fd, piece->uid, piece->gid) < 0)
		r = -errno;
	/* The mode last: a change of owner takes bits away. */
	if (r == 0 && fchmod(fd, mode) < 0)
		r = -errno;
	if (r == 0 && fsync(fd) < 0)
		r = -errno;
	return r;
}

static int content_fail(struct error *err, int code, const struct piece *piece)
{
	if (code == -EPERM)
		return error_set(err, code,
				 "%s belongs to user %u and group %u, which only they or root can "
				 "keep so: run this as that user",
				 piece->shown, (unsigned)piece->uid, (unsigned)piece->gid);
	return error_sys(err, code, "cannot write beside %s", piece->shown);
}

static int beside_write(struct piece *piece, const char *data, size_t len, struct error *err)
{
	auto_free char *beside =
	    mem_printf("%s" BESIDE_MARK "%d.XXXXXX", piece->path, (int)getpid());
	auto_close int fd = mkostemp(beside, O_CLOEXEC);
	int r;

	if (fd < 0)
		return content_fail(err, -errno, piece);
	r = content_write(fd, piece, piece->mode, data, len);
	if (r < 0) {
		(void)unlink(beside);
		return content_fail(err, r, piece);
	}
	piece->beside = TAKE(beside);
	return 0;
}

/* "NAME.plimsoll~PID.XXXXXX", of a process that is gone. */
static bool is_left_over(const char *name)
{
	const char *mark = strstr(name, BESIDE_MARK), *next;
	char *end;
	long pid;

	while (mark && (next = strstr(mark + 1, BESIDE_MARK)))
		mark = next;
	if (!mark)
		return false;
	mark += strlen(BESIDE_MARK);
	errno = 0;
	pid = strtol(mark, &end, 10);
	if (errno != 0 || end == mark || *mark < '1' || *mark > '9' || pid > INT_MAX ||
	    *end != '.' || strlen(end + 1) != BESIDE_TAIL)
		return false;
	return kill((pid_t)pid, 0) < 0 && errno == ESRCH;
}

void compose_leftovers_remove(const char *folder)
{
	DIR *dir = opendir(folder);

	for (struct dirent *entry; dir && (entry = readdir(dir));)
		if (is_left_over(entry->d_name))
			(void)unlinkat(dirfd(dir), entry->d_name, 0);
	if (dir)
		(void)closedir(dir);
}

static int backup_write(struct piece *piece, int64_t now_ms, struct error *err)
{
	char time[32];
	struct tm tm;
	time_t seconds = (time_t)(now_ms / 1000);

	(void)gmtime_r(&seconds, &tm);
	(void)strftime(time, sizeof time, "%Y%m%dT%H%M%S", &tm);
	for (int i = 0; i < 100; i++) {
		/* Names in the order of time, also of two in one millisecond. */
		auto_free char *name = mem_printf("%s" BACKUP_MARK "%s.%03d%02dZ", piece->path,
						  time, (int)(now_ms % 1000), i);
		auto_close int fd = open(name, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
		int r;

		if (fd < 0 && errno == EEXIST)
			continue;
		/* Whatever secrets the file shows to others: an old copy need not. */
		r = fd < 0
			? -errno
			: content_write(fd, piece, piece->mode & 0600, piece->old, piece->old_len);
		if (r < 0) {
			if (fd >= 0)
				(void)unlink(name);
			return content_fail(err, r, piece);
		}
		piece->backup = TAKE(name);
		return 0;
	}
	return error_set(err, -EEXIST, "%s has too many backups of this moment", piece->shown);
}

/* What follows the mark is a time as backup_write() writes it, and nothing else: a copy that
 * somebody has made or renamed is his. */
static bool is_backup(const char *name, const char *prefix)
{
	static const char form[] = "00000000T000000.00000Z";
	size_t len = strlen(prefix);

	if (strncmp(name, prefix, len) != 0 || strlen(name + len) != strlen(form))
		return false;
	for (size_t i = 0; form[i]; i++) {
		char c = name[len + i];

		if (form[i] == '0' ? c < '0' || c > '9' : c != form[i])
			return false;
	}
	return true;
}

static int name_compare(const void *a, const void *b)
{
	return strcmp(*(char *const *)a, *(char *const *)b);
}

/* The oldest backups beyond those that are kept. Best effort: one that stays does no harm. */
static void backups_prune(const struct piece *piece)
{
	auto_free char *folder = paths_folder_of(piece->path);
	auto_free char *prefix = mem_printf("%s" BACKUP_MARK, strrchr(piece->path, '/') + 1);
	auto_strings struct strings names = {};
	DIR *dir = opendir(folder);

	for (struct dirent *entry; dir && (entry = readdir(dir));)
		if (is_backup(entry->d_name, prefix))
			strings_add(&names, entry->d_name);
	if (dir)
		(void)closedir(dir);
	if (names.n <= BACKUPS_KEPT)
		return;
	qsort(names.items, names.n, sizeof *names.items, name_compare);
	for (size_t i = 0; i < names.n - BACKUPS_KEPT; i++) {
		auto_free char *path = mem_printf("%s/%s", folder, names.items[i]);

		(void)unlink(path);
	}
}

/* A file that is to be new replaces none that somebody has made meanwhile. Where a file system
 * knows no such rename (NFS), a second name is as good; where it knows neither, there is only what
 * was looked at a moment ago. 0 or a negative errno. */
static int place_new(const char *beside, const char *path)
{
	if (renameat2(AT_FDCWD, beside, AT_FDCWD, path, RENAME_NOREPLACE) == 0)
		return 0;
	if (errno != EINVAL && errno != ENOSYS)
		return -errno;
	if (link(beside, path) == 0) {
		(void)unlink(beside);
		return 0;
	}
	if (errno != EPERM && errno != EOPNOTSUPP && errno != ENOSYS)
		return -errno;
	return rename(beside, path) < 0 ? -errno : 0;
}

/* The new content takes its place, or is gone. */
static int piece_place(struct piece *piece, struct error *err)
{
	auto_free char *beside = TAKE(piece->beside);
	int r = 0;

	if (!piece->had_file)
		r = place_new(beside, piece->path);
	else if (rename(beside, piece->path) < 0)
		r = -errno;
	if (r < 0)
		(void)unlink(beside);
	if (r == -EEXIST)
		return error_set(err, -ESTALE,
				 "%s was not there and is now: nothing was written, run this again",
				 piece->shown);
	if (r < 0)
		return error_sys(err, r, "cannot write %s", piece->shown);
	piece->placed = true;
	(void)file_sync_folder(piece->path);
	return 0;
}

static int piece_put_back(struct piece *piece, struct error *err)
{
	int r = 0;

	if (!piece->placed)
		return 0;
	if (piece->had_file)
		r = beside_write(piece, piece->old, piece->old_len, err);
	else if (unlink(piece->path) < 0)
		r = error_sys(err, -errno, "cannot remove %s", piece->shown);
	if (r == 0 && piece->had_file)
		r = piece_place(piece, err);
	if (r == 0)
		piece->placed = false;
	return r;
}

/* A new file takes the place of the old one: what its owner did not want written, and a name that
 * others share, would be lost without a word. */
static int writable_check(const struct compose_file *file, const struct stat *st, struct error *err)
{
	if ((st->st_mode & 0222) == 0 || (st->st_uid == geteuid() && (st->st_mode & 0200) == 0))
		return error_set(err, -EACCES,
				 "%s is read-only (mode %04o): nothing was written; chmod u+w %s "
				 "if it is to be changed, and run this again",
				 file->shown, (unsigned)st->st_mode & 07777, file->shown);
	if (st->st_nlink > 1)
		return error_set(err, -EMLINK,
				 "%s is one file with %lu names (hard links), which a change would "
				 "part: nothing was written; make symbolic links of the others, or "
				 "a copy of this one (cp %s %s.new && mv %s.new %s), and run this "
				 "again",
				 file->shown, (unsigned long)st->st_nlink, file->shown, file->shown,
				 file->shown, file->shown);
	return 0;
}

int compose_edits_check_writable(const struct compose_edits *edits, struct error *err)
{
	int r = 0;

	for (size_t i = 0; r == 0 && i < edits->n; i++) {
		struct stat st;

		if (stat(edits->items[i].span.file->path, &st) == 0)
			r = writable_check(edits->items[i].span.file, &st, err);
	}
	return r;
}

static int piece_create(struct compose_backup *backup, const struct compose_edits *edits,
			const struct compose_file *file, struct error *err)
{
	struct piece *piece;
	struct stat st = {};
	int r;

	ARRAY_GROW(backup->pieces, backup->n, backup->room);
	piece = &backup->pieces[backup->n++];
	*piece = (struct piece){.file = file, .shown = mem_strdup(file->shown)};
	r = path_resolve(file, &piece->path, err);
	if (r < 0)
		return r;
	piece->had_file = !file->missing;
	piece->old = mem_alloc(file->len + 1);
	memcpy(piece->old, file->text, file->len + 1);
	piece->old_len = file->len;
	compose_edits_apply(edits, file, &piece->now);
	if (piece->now.len > COMPOSE_FILE_MAX)
		return error_set(err, -EFBIG, "%s would be larger than %zu MiB", file->shown,
				 COMPOSE_FILE_MAX >> 20);
	piece->mode = file->mode;
	if (piece->had_file && stat(piece->path, &st) == 0) {
		r = writable_check(file, &st, err);
		if (r < 0)
			return r;
		piece->mode = st.st_mode & 07777;
		piece->uid = st.st_uid;
		piece->gid = st.st_gid;
	} else {
		mode_t mask = umask(022);

		(void)umask(mask);
		piece->mode &= ~mask;
	}
	return 0;
}

static int piece_check(const struct piece *piece, struct error *err)
{
	return content_check(piece, piece->had_file ? piece->old : NULL, piece->old_len,
			     "nothing was written, run this again", err);
}

static int pieces_prepare(struct compose_backup *backup, int64_t now_ms, struct error *err)
{
	int r = 0;

	for (size_t i = 0; r == 0 && i < backup->n; i++)
		r = piece_check(&backup->pieces[i], err);
	for (size_t i = 0; r == 0 && i < backup->n; i++) {
		struct piece *piece = &backup->pieces[i];

		r = piece->had_file ? backup_write(piece, now_ms, err) : 0;
		if (r == 0)
			r = beside_write(piece, piece->now.data, piece->now.len, err);
		if (r < 0)
			return error_prefix(err, r, "nothing was written");
	}
	return r;
}

/* Nothing of what was prepared is left behind; a failure's own error stays the one told, unless a
 * file could not even be put back. */
static void pieces_undo(struct compose_backup *backup, struct error *err)
{
	for (size_t i = backup->n; i-- > 0;) {
		struct piece *piece = &backup->pieces[i];
		struct error why = {};
		int r = piece->placed ? content_check(piece, piece->now.data, piece->now.len,
						      "it is left as it is", &why)
				      : 0;

		/* Somebody has written it since: that is not ours to undo. */
		if (r == 0)
			r = piece_put_back(piece, &why);
		if (r < 0) {
			(void)error_prefix(err, -EIO,
					   "%s could not be put back (%s), its old content is in "
					   "%s",
					   piece->shown, why.text,
					   piece->backup ? piece->backup : "no file");
			continue;
		}
		if (piece->beside)
			(void)unlink(piece->beside);
		if (piece->backup)
			(void)unlink(piece->backup);
	}
}

int compose_edits_write(const struct compose_edits *edits, int64_t now_ms,
			struct compose_backup **ret_backup, struct error *err)
{
	auto_compose_backup struct compose_backup *backup = mem_calloc(1, sizeof *backup);
	int r = 0;

	for (size_t i = 0; r == 0 && i < edits->n; i++)
		if (i == 0 || edits->items[i].span.file != edits->items[i - 1].span.file)
			r = piece_create(backup, edits, edits->items[i].span.file, err);
	if (r == 0)
		r = pieces_prepare(backup, now_ms, err);
	for (size_t i = 0; r == 0 && i < backup->n; i++) {
		/* Once more, in the last moment: writing the backups took a while. */
		r = piece_check(&backup->pieces[i], err);
		if (r == 0)
			r = piece_place(&backup->pieces[i], err);
	}
	if (r < 0) {
		pieces_undo(backup, err);
		return r;
	}
	for (size_t i = 0; i < backup->n; i++)
		backups_prune(&backup->pieces[i]);
	*ret_backup = TAKE(backup);
	return 0;
}

/* "A; B": every file that is not as it was before is told of, and where its old content is. */
static void tell_failed(const struct piece *piece, int code, const struct error *why,
			struct text *told)
{
	text_printf(told, "%s%s", told->len > 0 ? "; " : "", error_text(why));
	/* What somebody else has written since is his; what was there before may still be wanted.
	 */
	if (code != -ESTALE && piece->backup)
		text_printf(told, " (what was there before is in %s)", piece->backup);
}

int compose_backup_restore(struct compose_backup *backup, struct error *err)
{
	auto_text struct text told = {};
	int result = 0;

	for (size_t i = backup->n; i-- > 0;) {
		struct piece *piece = &backup->pieces[i];
		struct error why = {};
		int r;

		if (!piece->placed)
			continue;
		r = content_check(piece, piece->now.data, piece->now.len, "it is left as it is",
				  &why);
		if (r == 0)
			r = piece_put_back(piece, &why);
		if (r == 0)
			continue;
		tell_failed(piece, r, &why, &told);
		result = result == 0 ? r : result;
	}
	return result < 0 ? error_set(err, result, "%s", told.data) : 0;
}

void compose_backup_remove(struct compose_backup *backup)
{
	for (size_t i = 0; i < backup->n; i++) {
		auto_free char *copy =
		    backup->pieces[i].placed ? NULL : TAKE(backup->pieces[i].backup);

		if (copy)
			(void)unlink(copy);
	}
}
