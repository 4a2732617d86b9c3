/*
 * What an apply is about to do, on the disk before it does it and gone when it is done: after a
 * kill -9 or a power cut the next one can say what stands half-done, and finish it. Beside the
 * first compose file, where whoever works on the project meets it.
 */
#pragma once

#include "compose/project.h"
#include "compose/rewrite.h"

#define APPLY_JOURNAL ".plimsoll-apply"

struct apply_journal {
	char *path;
	bool found;            /* there is one of an apply that did not come to its end */
	int64_t started_at_ms; /* its */
	struct strings services, files, backups; /* its; a backup is "" for a file it made */
};

/* -EBUSY: that apply still runs. One that cannot be read counts as one that says nothing. */
int apply_journal_open(const struct compose_project *project, struct apply_journal *ret_journal,
		       struct error *err) MUST_CHECK;
/* What is about to happen, or has: `backup` NULL as long as the files are not written. */
int apply_journal_write(const struct apply_journal *journal, const struct compose_edits *edits,
			const struct strings *services, const struct compose_backup *backup,
			struct error *err) MUST_CHECK;
/* It is done. */
void apply_journal_remove(const struct apply_journal *journal);
/* A sentence or two for people, about the one that was found. */
void apply_journal_describe(const struct apply_journal *journal, struct text *text);
void apply_journal_finish(struct apply_journal *journal);
#define auto_apply_journal CLEANUP(apply_journal_finish)
