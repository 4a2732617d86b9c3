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
	struct strings options;     /* its: what has to be said again for the same plan */
	struct strings own_options; /* of the apply that writes it now; the caller fills it */
	pid_t pid;                  /* that still runs; 0: none */
	char *found_text;           /* as it was found; NULL: none was */
};

/* Where it is, or would be. */
char *apply_journal_path(const struct compose_project *project);
/* `services` is empty when that apply had not begun with the containers. One that cannot be read
 * counts as one that says nothing. -EBUSY: that apply still runs, as where a file system knows no
 * locks it can. */
int apply_journal_open(const struct compose_project *project, struct apply_journal *ret_journal,
		       struct error *err) MUST_CHECK;
/* What is about to happen, or has: `backup` NULL as long as the files are not written. */
int apply_journal_write(const struct apply_journal *journal, const struct compose_edits *edits,
			const struct strings *services, const struct compose_backup *backup,
			struct error *err) MUST_CHECK;
/* What stands half-done, and the cure, as a warning for those who only look; NULL: nothing does. */
char *apply_journal_warning(const struct compose_project *project);
/* What a killed apply has left beside the project's files and its own: new content, with whatever
 * secrets are in it, that did not come to take its place. Under the lock. */
void apply_journal_sweep(const struct apply_journal *journal,
			 const struct compose_project *project);
/* Nothing came of it, and all is as it was: so is what the one that was found says. */
void apply_journal_restore(const struct apply_journal *journal);
/* It is done. */
void apply_journal_remove(const struct apply_journal *journal);
/* The command that comes to the same plan: "plimsoll apply --way-out 1 --up". */
void apply_journal_command(const struct strings *options, bool up, struct text *text);
/* A sentence or two for people, about the one that was found. */
void apply_journal_describe(const struct apply_journal *journal, struct text *text);
void apply_journal_finish(struct apply_journal *journal);
#define auto_apply_journal CLEANUP(apply_journal_finish)
