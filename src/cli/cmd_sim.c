/* plimsoll sim: hands over to the simulator's own program, which is no part of this one. */
#include "cli/verbs.h"
#include "util/paths.h"

#include <errno.h>
#include <string.h>
#include <unistd.h>

#define HELPER "plimsoll-sim"

static const char *const forwarded[] = {"gpus", "scenario", "time-scale"};

static int run(const struct options *options)
{
	auto_strings struct strings argv = {};
	auto_free char *path = NULL;
	struct error err = {};

	if (paths_find_helper(HELPER, &path, &err) < 0)
		return verb_complain(EXIT_CANNOT, "%s", error_text(&err));
	strings_add(&argv, HELPER);
	for (size_t i = 0; i < ARRAY_LEN(forwarded); i++) {
		const char *value = options_text(options, forwarded[i], NULL);

		if (value) {
			strings_take(&argv, mem_printf("--%s", forwarded[i]));
			strings_add(&argv, value);
		}
	}
	if (options->command.n > 0)
		strings_add(&argv, "--");
	for (size_t i = 0; i < options->command.n; i++)
		strings_add(&argv, options->command.items[i]);
	(void)fflush(stdout);
	(void)execv(path, argv.items);
	return verb_complain(EXIT_CANNOT, "cannot run %s: %s", path, strerror(errno));
}

static const struct option_spec sim_options[] = {
    {"gpus", 'g', OPTION_STRING, "LIST",
     .help = "catalogue names or name:vram[:speed], comma-separated, index 0 first"},
    {"scenario", 's', OPTION_STRING, "FILE",
     .help = "GPUs and a timeline of what happens to them (YAML)"},
    {"time-scale", 0, OPTION_REAL, "FACTOR", .help = "run time faster: 0.1 is ten times as fast",
     .max = 1000},
    {},
};

const struct verb verb_sim = {
    .name = "sim",
    .summary = "run a command on simulated GPUs",
    .usage = "[--gpus LIST | --scenario FILE] [--time-scale FACTOR] -- CMD...",
    .description =
	"The command, and whatever it starts, sees simulated NVIDIA GPUs through a drop-in\n"
	"libnvidia-ml.so.1. plimsoll-simtask is a program that behaves on them as a CUDA\n"
	"program would.\n",
    .examples = "  plimsoll sim --gpus rtx-a5500,rtx-a400 -- plimsoll gpus\n"
		"  plimsoll sim --gpus big:23.57G:1.0,small:8G:0.4 -- bash\n"
		"  plimsoll sim --scenario gpu-lost.yaml --time-scale 0.1 -- make check\n",
    .style = OPTIONS_COMMAND,
    .options = sim_options,
    .needs_command = true,
    .run = run,
};
