/*
 * Changing files by ranges of bytes: what is not in a range stays as it was, byte for byte. Edits
 * are gathered, shown as a unified diff, and written all or none: each file is compared with what
 * was read, backed up and replaced atomically; when one cannot be, those before it are put back.
 */
#pragma once

#include "compose/file.h"
#include "util/text.h"

struct compose_edit {
	struct compose_span span; /* begin == end: insert there */
	char *text;               /* instead of it; owned */
};

/* By file (the first one edited first), then by place. */
struct compose_edits {
	struct compose_edit *items;
	size_t n, room;
};

/* Take note of an edit. Ranges may touch and not overlap (-EINVAL; the same edit twice is one). A
 * replacement that is what stands there is left out. Insertions at one place keep their order. A
 * file reached by two paths is one. What is no file on a disk cannot be changed (-EINVAL). */
int compose_edits_add(struct compose_edits *edits, const struct compose_span *span,
		      const char *text, struct error *err) MUST_CHECK;
/* All of `more`, or, when one of them overlaps, none. */
int compose_edits_add_all(struct compose_edits *edits, const struct compose_edits *more,
			  struct error *err) MUST_CHECK;
void compose_edits_finish(struct compose_edits *edits);

/* The files that are changed: i = 0, 1, ... until NULL. */
const struct compose_file *compose_edits_file(const struct compose_edits *edits, size_t i);

/* The file's text with its edits. */
void compose_edits_apply(const struct compose_edits *edits, const struct compose_file *file,
			 struct text *ret_text);
/* A unified diff of all files with edits, three lines of context, as patch(1) takes it with -p1;
 * "" for none. */
void compose_edits_diff(const struct compose_edits *edits, struct text *ret_diff);

struct compose_backup; /* what was there before */

/* May the files be replaced? -EACCES: one is read-only; -EMLINK: one has several names (hard
 * links). The text says what to do. */
int compose_edits_check_writable(const struct compose_edits *edits, struct error *err) MUST_CHECK;
/* Remove what a writer of ours that was killed has left in the folder: new content that did not
 * come to take its place, "<file>.plimsoll~<pid>.<6 characters>". */
void compose_leftovers_remove(const char *folder);

/* Write all files, or none. Backups "<file>.plimsoll-<time>" stay beside them (the last 10 of each
 * are kept; nobody but the owner may read them); a file that was not there has none. Mode and owner
 * stay; symbolic links are followed, the file they lead to is replaced. Two writers at once are the
 * caller's to prevent: comparing and replacing are two steps. -ESTALE: a file is not what was read;
 * -EPERM: its owner could not be kept; or what compose_edits_check_writable() says. Nothing was
 * written then. */
int compose_edits_write(const struct compose_edits *edits, int64_t now_ms,
			struct compose_backup **ret_backup, struct error *err) MUST_CHECK;
/* Where the edits' i-th file is as it was; NULL for one that was not there. `backup` NULL: nothing
 * was written. */
const char *compose_backup_name(const struct compose_backup *backup, size_t i);
/* Put back what was there, files that somebody has written since excepted (-ESTALE). The text names
 * every file that could not be put back; the code is the first one's. */
int compose_backup_restore(struct compose_backup *backup, struct error *err) MUST_CHECK;
/* The copies of files that are as they were again, which nobody needs. */
void compose_backup_remove(struct compose_backup *backup);
void compose_backup_destroy(struct compose_backup *backup);
static inline void compose_backup_cleanup(struct compose_backup **backup)
{
	compose_backup_destroy(*backup);
}
#define auto_compose_backup CLEANUP(compose_backup_cleanup)
