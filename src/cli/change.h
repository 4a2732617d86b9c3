/* What hold, release, retry and priority have in common: the same thing done to each task and batch
 * that is named, told one by one or as one JSON document. */
#pragma once

#include "cli/target.h"
#include "cli/verbs.h"

struct change {
	const char *verb;   /* last part of the route */
	const char *task;   /* "is held", of one task */
	const char *tasks;  /* "are held", of tasks of a batch */
	const json_t *body; /* NULL = none */
};

/* The targets of `words` and of --batch. -EINVAL also when there are none. */
int change_targets(const struct options *options, const struct strings *words,
		   struct targets *ret_targets, struct error *err) MUST_CHECK;

/* Returns an exit code, the worst of all. */
int change_all(const struct options *options, const struct targets *targets,
	       const struct change *change);

#define CHANGE_OPTIONS                                                                           \
	{"batch", 'b', OPTION_STRING, "BATCH", .repeats = true, .help = "all tasks of a batch"}, \
	{                                                                                        \
		"json", 0, OPTION_FLAG, NULL, .help = "print what has changed as JSON"           \
	}

#define CHANGE_IDS                                                                                 \
	"ID is a task's number (17), some that follow each other (12-20), or a batch (b3): then\n" \
	"all of its tasks it can be done to. With --json one ID gives the object of that task "    \
	"or\n"                                                                                     \
	"batch, several give {\"tasks\": [...], \"batches\": [...]}.\n"
