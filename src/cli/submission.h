/*
 * What `run`, `submit` and `batch` send: the request and the command from the options, the same for
 * all three, and for a batch once for each row.
 */
#pragma once

#include "cli/conditions.h"
#include "cli/options.h"
#include "cli/rows.h"
#include "util/jsonx.h"

extern const char *const submission_policies[];
extern const char *const submission_cpu_modes[];
extern const char *const submission_on_overrun[];

/* The options all three verbs know, beside those of conditions.h; goes into their tables. */
#define SUBMISSION_OPTIONS                                                                         \
	{"vram",                                                                                   \
	 0,                                                                                        \
	 OPTION_SIZE,                                                                              \
	 "SIZE",                                                                                   \
	 .placeholders = true,                                                                     \
	 .help = "GPU memory the task will hold at most, per GPU"},                                \
	    {"ram",                                                                                \
	     0,                                                                                    \
	     OPTION_SIZE,                                                                          \
	     "SIZE",                                                                               \
	     .placeholders = true,                                                                 \
	     .help = "host memory the task will hold at most"},                                    \
	    {"cpus",   0,           OPTION_REAL,          "N",                                     \
	     .min = 0, .max = 4096, .placeholders = true, .help = "CPUs the task keeps busy"},     \
	    {"on-oom",                                                                             \
	     0,                                                                                    \
	     OPTION_STRING,                                                                        \
	     "LIST",                                                                               \
	     .placeholders = true,                                                                 \
	     .help =                                                                               \
		 "what to do when it runs out of memory, one after the other: retry (a larger "    \
		 "request), bigger-gpu, alone (nobody else on its GPU), smaller-batch (half of "   \
		 "--batch-size), cpu (with --cpu fallback), fail; retry:3 is three times "         \
		 "(retry:2,bigger-gpu,alone,fail)"},                                               \
	    {"batch-size",                                                                         \
	     0,                                                                                    \
	     OPTION_INT,                                                                           \
	     "N",                                                                                  \
	     .min = 1,                                                                             \
	     .max = 1000000000,                                                                    \
	     .placeholders = true,                                                                 \
	     .help = "its batch size, {batch_size} in the command and PLIMSOLL_BATCH_SIZE in its " \
		     "environment"},                                                               \
	    {"vram-default", 0, OPTION_SIZE, "SIZE",                                               \
	     .help = "its VRAM while nothing is known of its kind (it gets a GPU alone)"},         \
	    {"gpus",                                                                               \
	     0,                                                                                    \
	     OPTION_REAL,                                                                          \
	     "N",                                                                                  \
	     .min = 0,                                                                             \
	     .max = 16,                                                                            \
	     .help = "GPUs the task needs (1); 0.5 is half of one"},                               \
	    {"fraction",                                                                           \
	     0,                                                                                    \
	     OPTION_REAL,                                                                          \
	     "F",                                                                                  \
	     .min = 0,                                                                             \
	     .max = 1,                                                                             \
	     .placeholders = true,                                                                 \
	     .help = "instead of --vram: this share of each GPU it gets (0.4)"},                   \
	    {"workers-per-gpu",                                                                    \
	     0,                                                                                    \
	     OPTION_INT,                                                                           \
	     "N",                                                                                  \
	     .min = 1,                                                                             \
	     .max = 256,                                                                           \
	     .help = "run N copies on each GPU it may have, each with its share of it; {rank} "    \
		     "and {workers}, PLIMSOLL_WORKER_RANK and PLIMSOLL_WORKERS tell which one"},   \
	    {"device",                                                                             \
	     'd',                                                                                  \
	     OPTION_STRING,                                                                        \
	     "GPU",                                                                                \
	     .placeholders = true,                                                                 \
	     .help = "this GPU and no other: cuda:1, 1, or a UUID; cpu for none"},                 \
	    {"cpu",                                                                                \
	     0,                                                                                    \
	     OPTION_CHOICE,                                                                        \
	     "MODE",                                                                               \
	     .choices = submission_cpu_modes,                                                      \
	     .placeholders = true,                                                                 \
	     .help =                                                                               \
		 "never: it needs a GPU (the default); fallback: it may run without one when no "  \
		 "GPU "                                                                            \
		 "here can ever hold it, or its --on-oom has come to cpu; when-idle: also when "   \
		 "no GPU takes it now and the machine has CPUs to spare; only: it runs without "   \
		 "one"},                                                                           \
	    {"exclusive", 0, OPTION_FLAG, NULL, .help = "no other task of ours on its GPU"},       \
	    {"policy",                                                                             \
	     0,                                                                                    \
	     OPTION_CHOICE,                                                                        \
	     "NAME",                                                                               \
	     .choices = submission_policies,                                                       \
	     .help = "how to choose among GPUs with room: auto (the default), balance, best-fit, " \
		     "earliest-finish, spread, round-robin, first-fit"},                           \
	    {"weight-memory",                                                                      \
	     0,                                                                                    \
	     OPTION_REAL,                                                                          \
	     "W",                                                                                  \
	     .min = 0,                                                                             \
	     .max = 1000,                                                                          \
	     .help = "what a full GPU memory adds to balance's score (0)"},                        \
	    {"priority",                                                                           \
	     0,                                                                                    \
	     OPTION_INT,                                                                           \
	     "N",                                                                                  \
	     .min = -1000,                                                                         \
	     .max = 1000,                                                                          \
	     .help = "higher starts first (0)"},                                                   \
	    {"work",                                                                               \
	     0,                                                                                    \
	     OPTION_REAL,                                                                          \
	     "N",                                                                                  \
	     .min = 0,                                                                             \
	     .max = 1e18,                                                                          \
	     .placeholders = true,                                                                 \
	     .help = "its length beside others of its kind, in any unit (default: the bytes of "   \
		     "the files its row names)"},                                                  \
	    {"kind",                                                                               \
	     0,                                                                                    \
	     OPTION_STRING,                                                                        \
	     "TEXT",                                                                               \
	     .placeholders = true,                                                                 \
	     .help = "tasks of one kind are alike: what time and memory are learned by (default: " \
		     "program, its model and batch size; plimsoll profile)"},                      \
	    {"on-overrun",                                                                         \
	     0,                                                                                    \
	     OPTION_CHOICE,                                                                        \
	     "HOW",                                                                                \
	     .choices = submission_on_overrun,                                                     \
	     .placeholders = true,                                                                 \
	     .help =                                                                               \
		 "when it uses more VRAM or RAM than it was granted: auto stops it when others "   \
		 "are in danger (the default), warn never does, stop at once"},                    \
	    {"log",                                                                                \
	     0,                                                                                    \
	     OPTION_STRING,                                                                        \
	     "FILE",                                                                               \
	     .placeholders = true,                                                                 \
	     .help = "append its output to this file, whole (default: a log of the daemon's, "     \
		     "with a cap)"},                                                               \
	{                                                                                          \
		"name", 0, OPTION_STRING, "TEXT", .placeholders = true,                            \
						  .help = "what it is called in lists"             \
	}

/* Members that a task and a batch share: cwd, env, umask, priority, policy, weight_memory, and the
 * conditions. */
int submission_shared(const struct options *options, json_t **ret_object,
		      struct error *err) MUST_CHECK;

/* command, name, kind, work, request of one task; with `rows`, of row `i`, plus row and
 * fingerprint. */
int submission_task(const struct options *options, const struct rows *rows, size_t i,
		    const char *cwd, json_t **ret_object, struct error *err) MUST_CHECK;

/* The body of POST /v1/tasks: the two above together. */
int submission_build(const struct options *options, json_t **ret_body,
		     struct error *err) MUST_CHECK;

/* --workers-per-gpu: the body of POST /v1/batches instead, of one task. */
int submission_build_workers(const struct options *options, const char *on_failure,
			     json_t **ret_body, struct error *err) MUST_CHECK;

/* The daemon's words about such a body name its members ("request: pin: ..."): put the options
 * there instead. */
void submission_explain(struct error *err);

/* What the daemon has to say of a submit it accepted, on standard error: a line for each kind. */
void submission_warn(const json_t *answer);

/* The program a command is about: its base name, or the script's when it is an interpreter (python3
 * transcribe.py, bash run.sh, python3 -m module). The caller frees. */
char *submission_program(char *const *command);

/* `base` is the name of one that runs scripts; a version may follow. */
bool submission_is_interpreter(const char *base);

/* 128 bits over folder and argv, as 32 hex digits; the same on every machine. The caller frees. */
char *submission_fingerprint(const char *cwd, const json_t *command);
