/* How the program that runs a project is called. */
#pragma once

#include "rollout/rollout.h"
#include "util/program.h"

struct rollout_command {
	enum rollout_program program;
	struct strings argv; /* up to and with the project's options; the verb follows */
	struct strings set;  /* of its environment */
};

/* The project's own -f files, --env-file, -p and folder. -ENOTSUP: the program has no option for
 * something the project needs, and which. */
int rollout_command_create(enum rollout_program program, const struct container_engine *engine,
			   const struct rollout_options *options,
			   struct rollout_command *ret_command, struct error *err) MUST_CHECK;
void rollout_command_finish(struct rollout_command *command);
#define auto_rollout_command CLEANUP(rollout_command_finish)

/* Variables that would send it to another engine than the one asked. */
extern const char *const rollout_unset[];
