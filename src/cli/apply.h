/* What the parts of `plimsoll apply` share: the plan, the edits it comes to, what was written. */
#pragma once

#include "cli/applyjournal.h"
#include "cli/applylock.h"
#include "cli/planview.h"
#include "cli/verbs.h"
#include "rollout/rollout.h"

struct apply {
	const struct options *options;
	struct workspace before; /* as things were found */
	struct apply_lock lock;  /* from then on to the end */
	struct stack_problem problem;
	struct plan *plan;
	struct planview view;
	struct planview_taken taken; /* where services are to be, and what they need there */
	struct compose_edits edits;
	struct strings notes;
	struct strings along; /* services that are off and go along with others */
	struct text diff;
	struct apply_journal journal;
	struct workspace after;        /* the files as they are written */
	struct compose_backup *backup; /* NULL: nothing was written */
	bool files_back;               /* it was, and is as it was before */
	struct strings changed;        /* services whose containers are to be made anew */
	struct rollout_order made;     /* those and their dependents, or all; of --up */
	int interrupt_fd; /* readable: Ctrl-C and the like; negative: signals do what they do */
	/* How it went, for --json. */
	const char *rollout; /* "none", "done", "put-back", "failed" */
	char *failure;       /* why; owned */
};

/* Lines for people beside the diff: standard error, broken at spaces on a terminal. */
void apply_tell(const char *fmt, ...) PRINTF(1, 2);

/* Notes about what moves and why, and about what a way out leaves to people: which key to write,
 * and where. */
void apply_note_plan(struct apply *apply);

/* Replicas that are to be on different GPUs cannot be said in compose, which gives all of them the
 * same ones: EXIT_PROBLEM, and the YAML to write instead is told. EXIT_DONE: there are none. */
int apply_refuse_replicas(const struct apply *apply);

/* The diff to standard output: byte for byte for patch(1), on a terminal with what would write over
 * the screen made visible (^[). */
void apply_show_diff(const struct apply *apply);

/* What --up makes anew (`would`, `will`), in which order: apply->made. */
void apply_tell_recreated(const struct apply *apply, const char *would);

/* Services whose containers are to be made anew, into apply->changed: what runs (or anything, when
 * nothing of the project does) and is to be elsewhere than the files or its containers are, and
 * what an earlier apply did not finish. */
void apply_find_changed(struct apply *apply);
/* Is there anything to roll out: services that changed, or a project that does not run at all? */
bool apply_has_to_roll_out(const struct apply *apply);
/* What is made anew then, into apply->made, and whatever can be known to fail of it before anything
 * is written; see rollout_check(). */
int apply_check_up(struct apply *apply, struct error *err) MUST_CHECK;

/* The edits that make the plan explicit, and their diff; what is worth knowing is told. */
int apply_work_out(struct apply *apply, struct error *err) MUST_CHECK;

/* Write them, all or none, and read the project again, into apply->after. On failure the files are
 * as they were, or the text says which are not. */
int apply_write(struct apply *apply, struct error *err) MUST_CHECK;

/* Does the project, read again, say what was planned, and of every other service what it said?
 * -EBADE: it does not, and what it says. */
int apply_check_written(struct apply *apply, struct error *err) MUST_CHECK;

/* A daemon that runs keeps the VRAM of the services where they are now. */
void apply_tell_daemon(const struct apply *apply);

/* From here on signals are read from apply->interrupt_fd; an apply that rolls out is not to be torn
 * apart between files and containers. */
void apply_signals_catch(struct apply *apply);
void apply_signals_release(struct apply *apply);

/* Roll it out, wait, look at the GPUs; put everything back when that fails. Returns an exit code.
 * Errors are told. */
int apply_up(struct apply *apply);
