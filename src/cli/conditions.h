/*
 * The conditions a task is sent with: when it may start, how long it may take, how often it is
 * tried, and which GPUs it takes and likes. Part of what submission.h sends.
 */
#pragma once

#include "cli/options.h"
#include "util/jsonx.h"

extern const char *const conditions_after_on[];

/* Of all verbs that send tasks. */
#define CONDITIONS_OPTIONS                                                                         \
	{"after",                                                                                  \
	 0,                                                                                        \
	 OPTION_STRING,                                                                            \
	 "ID[,ID]",                                                                                \
	 .repeats = true,                                                                          \
	 .help = "start after these have ended well: tasks (17, 12-20) and batches (b3)"},         \
	    {"after-any", 0, OPTION_FLAG, NULL, .help = "one of them is enough"},                  \
	    {"after-on",                                                                           \
	     0,                                                                                    \
	     OPTION_CHOICE,                                                                        \
	     "HOW",                                                                                \
	     .choices = conditions_after_on,                                                       \
	     .help = "start after their success (the default), failure, or end, however it is"},   \
	    {"time-limit", 0, OPTION_DURATION, "TIME",                                             \
	     .help = "SIGKILL to all of it so long after its start (6h, 90m)"},                    \
	    {"soft-time-limit", 0, OPTION_DURATION, "TIME",                                        \
	     .help = "SIGTERM, or --soft-signal, so long after its start: time to save its work"}, \
	    {"soft-signal", 0, OPTION_STRING, "NAME",                                              \
	     .help = "the signal at the soft time limit: USR1, SIGINT, 10"},                       \
	    {"retries",                                                                            \
	     0,                                                                                    \
	     OPTION_INT,                                                                           \
	     "N",                                                                                  \
	     .min = 0,                                                                             \
	     .max = 100,                                                                           \
	     .help = "times it is started again after a failure of its own (0), at most 100"},     \
	    {"retry-delay", 0, OPTION_DURATION, "TIME",                                            \
	     .help = "before the first repetition, doubled each time up to 10m (1s, at most 10m; " \
		     "0 is 1s)"},                                                                  \
	    {"private", 0, OPTION_FLAG, NULL, .help = "other users do not see its name"},          \
	    {"prefer",                                                                             \
	     0,                                                                                    \
	     OPTION_STRING,                                                                        \
	     "GPU[,GPU]",                                                                          \
	     .repeats = true,                                                                      \
	     .help = "of the GPUs that can start it now, these first, in this order"},             \
	    {"avoid",         0,                                                                   \
	     OPTION_STRING,   "GPU[,GPU]",                                                         \
	     .repeats = true, .help = "these only when no other can start it now"},                \
	    {"forbid", 0, OPTION_STRING, "GPU[,GPU]", .repeats = true, .help = "never these"},     \
	    {"model",         0,                                                                   \
	     OPTION_STRING,   "TEXT[,TEXT]",                                                       \
	     .repeats = true, .help = "only GPUs whose model name holds one of these (A100)"},     \
	    {"compute-capability", 0, OPTION_STRING, "MIN[-MAX]",                                  \
	     .help = "only GPUs of this compute capability or above (8.0), or within (8.0-9.0)"},  \
	    {"start-lock", 0, OPTION_FLAG, NULL,                                                   \
	     .help = "it sizes itself from the memory it finds free: start it where nothing "      \
		     "else is just starting, and nothing beside it until its use has settled"},    \
	{                                                                                          \
		"stagger", 0, OPTION_DURATION, "TIME",                                             \
		    .help = "no start on a GPU sooner than this after the one before"              \
	}

/* Of those that do not wait for its end on the spot. */
#define CONDITIONS_LATER_OPTIONS                                                                   \
	{"at", 0, OPTION_STRING, "WHEN",                                                           \
	 .help = "not before: 17:30, \"tomorrow 06:00\", +2h, \"2026-11-22 06:00\" (local time)"}, \
	{                                                                                          \
		"hold", 0, OPTION_FLAG, NULL, .help = "keep it until `plimsoll release`"           \
	}

/* Of those that do: known, and refused with the reason. */
#define CONDITIONS_NOT_LATER_OPTIONS                                                           \
	{"at", 0, OPTION_STRING, "WHEN",                                                       \
	 .refused = "run waits for the end on the spot; `plimsoll submit --at` queues it for " \
		    "later"},                                                                  \
	{                                                                                      \
		"hold", 0, OPTION_FLAG, NULL,                                                  \
		    .refused = "run waits for the end on the spot; `plimsoll submit --hold` "  \
			       "queues it until a release"                                     \
	}

/* When, how long, how often: members of the task's or the batch's body. */
int conditions_add(const struct options *options, json_t *body, struct error *err) MUST_CHECK;

/* Which GPUs: members of the request. `where` is "" or the option that says already where it runs
 * ("--device 1"): then no wish may be there beside it. */
int conditions_add_wishes(const struct options *options, const char *where, json_t *request,
			  struct error *err) MUST_CHECK;

/* The members of the body that the daemon's words begin with, and the options behind them. */
struct conditions_name {
	const char *member, *option;
};
extern const struct conditions_name conditions_names[]; /* ended by NULL */
