/*
 * The supervisor's memory on disk: one JSON object a line, appended; what is in it decides after a
 * crash which attempts exist.
 *
 *	{"record": "open", "version": 1, "boot": "<boot id>",
 *		"folder": "<device>:<inode>", "gate": N}	first line; no gate above N before
 *	{"record": "start", "attempt", "pid", "start_time", "started_at", "gate", "log",
 *		"log_cap_bytes", "left": starts of the same gate that follow}
 *		fdatasync'd before the process may become the command
 *	{"record": "end", ...}, {"record": "fail", ...}		as the protocol's events
 *	{"record": "ack", "attempt"}				may be forgotten
 *	{"record": "gate", "gate": N}		of earlier versions: passed over up to N
 *
 * A last line without its end (a crash while writing) is cut off; another line that cannot be read
 * is reported and skipped. The file is written anew, without what was acknowledged, when it is
 * opened and whenever it has grown much. Private to the supervisor.
 */
#pragma once

#include "run/attempt.h"

struct journal;

/* Read what is there into `attempts` (which owns them from then on, and is what is written when the
 * file has to be written anew; it outlives the journal): running ones are marked adopted, and lost
 * when the machine has been restarted since or the folder is a copy. `ret_warnings`: one text per
 * line that had to be skipped. */
int journal_open(const char *path, struct idtable *attempts, struct journal **ret_journal,
		 struct strings *ret_warnings, struct error *err) MUST_CHECK;
void journal_close(struct journal *journal);

/* Attempts may have been started that are not known here: nothing was read, a line had to be
 * skipped, or gate `opened` (not 0) was opened and no start is there for it, nor for a later one.
 */
bool journal_is_incomplete(const struct journal *journal, uint64_t opened);

/* The largest number of a gate that any start was given, as far as is known here. */
uint64_t journal_last_gate(const struct journal *journal);

/* Remember a record; it is written by the next commit, and by the one after that if the disk is
 * full meanwhile. */
void journal_note_end(struct journal *journal, const struct attempt *attempt);
void journal_note_ack(struct journal *journal, const struct attempt *attempt);

/* Write what was noted. */
int journal_commit(struct journal *journal, struct error *err) MUST_CHECK;

/* Write what was noted and the starts of these attempts, and make it durable. On failure none of
 * the starts counts: their gate is not opened. */
int journal_commit_starts(struct journal *journal, struct attempt *const *attempts, size_t n,
			  struct error *err) MUST_CHECK;

/* Write the file anew if it has grown much beyond what is alive. */
int journal_compact(struct journal *journal, const struct idtable *attempts,
		    struct error *err) MUST_CHECK;
