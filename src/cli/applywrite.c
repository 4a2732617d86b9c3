/*
 * The edits, written all or none, and read again: what the files then say has to be what was
 * planned, or they are put back.
 */
#include "cli/apply.h"

#include "util/timestamp.h"

static void tell_written(const struct apply *apply)
{
	const struct compose_file *file;

	for (size_t i = 0; (file = compose_edits_file(&apply->edits, i)); i++) {
		const char *backup = compose_backup_name(apply->backup, i);

		if (backup)
			apply_tell("wrote %s (before: %s)", file->shown, backup);
		else
			apply_tell("wrote %s", file->shown);
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
