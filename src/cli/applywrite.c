/*
 * The edits, written all or none, and read again: what the files then say has to be what was
 * planned, or they are put back.
 */
#include "cli/apply.h"

#include "util/file.h"
#include "util/paths.h"
#include "util/timestamp.h"

#include <fnmatch.h>
#include <string.h>

#define IGNORE_MAX ((size_t)1 << 20)

/* Would a line of this list (.gitignore, .dockerignore) leave the file of this name out? As far as
 * patterns for names go: no folders, and `!` counts as said first. */
static bool is_ignored(const char *list, const char *name)
{
	auto_free char *copy = mem_strdup(list);
	char *rest = copy;
	bool ignored = false;

	for (char *line; (line = strsep(&rest, "\n"));) {
		bool again = *line == '!';

		line += again;
		line[strcspn(line, "\r")] = '\0';
		for (size_t n = strlen(line); n > 0 && line[n - 1] == ' '; n--)
			line[n - 1] = '\0';
		line += text_starts_with(line, "**/") ? 3 : *line == '/';
		if (*line && *line != '#' && fnmatch(line, name, 0) == 0)
			ignored = !again;
	}
	return ignored;
}

/* Whoever keeps a file out of version control or of images has secrets in it, and has not thought
 * of our backups, which hold the same. */
static void warn_of_backup(const struct compose_file *file, const char *backup)
{
	static const char *const lists[] = {".gitignore", ".dockerignore"};
	auto_free char *folder = paths_folder_of(file->path);
	const char *slash = strrchr(file->path, '/'), *name = slash ? slash + 1 : file->path;
	const char *last = strrchr(backup, '/'), *copy = last ? last + 1 : backup;

	for (size_t i = 0; i < ARRAY_LEN(lists); i++) {
		auto_free char *path = mem_printf("%s/%s", folder, lists[i]);
		auto_text struct text list = {};

		if (file_read(path, IGNORE_MAX, false, &list, NULL) == 0 &&
		    is_ignored(list.data ? list.data : "", name) && !is_ignored(list.data, copy))
			apply_tell("the backup holds what %s held, and %s leaves out only %s: add "
				   "%s.plimsoll-* to it",
				   name, lists[i], name, name);
	}
}

static void tell_written(const struct apply *apply)
{
	const struct compose_file *file;

	for (size_t i = 0; (file = compose_edits_file(&apply->edits, i)); i++) {
		const char *backup = compose_backup_name(apply->backup, i);

		if (!backup) {
			apply_tell("wrote %s", file->shown);
			continue;
		}
		apply_tell("wrote %s (before: %s)", file->shown, backup);
		warn_of_backup(file, backup);
	}
}

/* Put back at once: what was written is not what was planned. */
static int undo(struct apply *apply, int code, struct error *err)
{
	struct error why = {};

	if (compose_backup_restore(apply->backup, &why) < 0)
		return error_prefix(err, code, "%s; and the files could not all be put back",
				    why.text);
	apply->files_back = true;
	compose_backup_remove(apply->backup);
	apply_journal_restore(&apply->journal);
	return error_prefix(err, code, "the files are put back");
}

int apply_write(struct apply *apply, struct error *err)
{
	int r;

	if (apply->edits.n == 0) {
		r = workspace_open(apply->options, &apply->after, err);
		return r < 0 ? r : apply_check_written(apply, err);
	}
	r = apply_journal_write(&apply->journal, &apply->edits, &apply->journal.services, NULL,
				err);
	if (r < 0)
		return error_prefix(err, r, "nothing is written");
	r = compose_edits_write(&apply->edits, timestamp_now_ms(), &apply->backup, err);
	if (r < 0) {
		apply_journal_restore(&apply->journal);
		return r;
	}
	tell_written(apply);
	r = workspace_open(apply->options, &apply->after, err);
	if (r == 0)
		r = apply_check_written(apply, err);
	return r < 0 ? undo(apply, r, err) : 0;
}
