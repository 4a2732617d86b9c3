/*
 * What `plan`, `check` and `apply` begin with: the project of the files that were named, the
 * machine (or an inventory of another one), its containers; put together as a stack.
 */
#pragma once

#include "cli/options.h"
#include "config/config.h"
#include "stack/stack.h"

/* The options they share; the first rows of their tables. */
#define WORKSPACE_OPTIONS                                                                       \
	{.name = "file",                                                                        \
	 .letter = 'f',                                                                         \
	 .kind = OPTION_STRING,                                                                 \
	 .value = "FILE",                                                                       \
	 .repeats = true,                                                                       \
	 .help = "a compose file; several are merged (default: as docker compose finds them)"}, \
	    {.name = "env-file",                                                                \
	     .kind = OPTION_STRING,                                                             \
	     .value = "FILE",                                                                   \
	     .repeats = true,                                                                   \
	     .help = "instead of .env"},                                                        \
	    {.name = "profile",                                                                 \
	     .kind = OPTION_STRING,                                                             \
	     .value = "NAME",                                                                   \
	     .repeats = true,                                                                   \
	     .help = "with the services of this profile; * is all"},                            \
	    {.name = "project-directory",                                                       \
	     .kind = OPTION_STRING,                                                             \
	     .value = "DIR",                                                                    \
	     .help = "where .env and relative paths are (default: the first file's folder)"},   \
	    {.name = "project-name",                                                            \
	     .letter = 'p',                                                                     \
	     .kind = OPTION_STRING,                                                             \
	     .value = "NAME",                                                                   \
	     .help = "the project's name"},                                                     \
	{                                                                                       \
		.name = "inventory", .kind = OPTION_STRING, .value = "FILE",                    \
		.help = "the machine of this file (`plimsoll gpus --json`) instead of this one" \
	}

struct workspace {
	struct config *config;
	struct compose_project *project;
	struct gpu_list *list;
	struct ledger *ledger;
	struct stack_host ram;
	bool is_elsewhere;               /* the machine is an inventory's: nothing runs here */
	struct container_engine *engine; /* NULL: none answers, or the machine is elsewhere */
	/* Of the project. Elsewhere: those that hold memory there, as their names tell; only id,
	 * name, service and that they run is known then. */
	struct containers containers;
	bool containers_known; /* an engine has told, or the inventory has */
	/* Why the engine that is here, or that the environment names, does not tell; NULL: it does,
	 * or there is none. */
	char *engine_failure;
	struct stack *stack;
	struct strings warnings; /* of the machine: beside the project's and the stack's own */
	/* Its own. */
	struct ledger_rule *rules;
	struct catalogue *catalogue;
	struct host *host;
};

/* Open it all. plimsoll.yaml is read as config_paths() says, and beside the first compose file;
 * with an inventory only there, since the others are about this machine. An engine that does not
 * answer is a warning, GPUs that cannot be sampled are an error. The caller closes it, after an
 * error too. */
int workspace_open(const struct options *options, struct workspace *ret_workspace,
		   struct error *err) MUST_CHECK;
/* What to say before anything else when an engine should have told what runs, and did not, while
 * processes are on the GPUs: those of the project cannot be told from others'. NULL: all is well.
 */
char *workspace_mistakes_own(const struct workspace *workspace);
/* Sample GPUs and containers again. */
int workspace_refresh(struct workspace *workspace, struct error *err) MUST_CHECK;
void workspace_close(struct workspace *workspace);
#define auto_workspace CLEANUP(workspace_close)
