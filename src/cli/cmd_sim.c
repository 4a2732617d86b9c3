/* plimsoll sim: hands over to the simulator's own program, which is no part of this one. */
#include "cli/verbs.h"
#include "util/paths.h"

#include <errno.h>
#include <string.h>
#include <unistd.h>

#define HELPER "plimsoll-sim"

static const char *const forwarded[] = {"gpus", "scenario", "time-scale", "state"};
static const char *const words[] = {"status", "inject", "check", "models"};

/* The simulator's own words; `sim -- status` is a command of that name. */
static bool is_word(const struct options *options)
{
	for (size_t i = 0; i < ARRAY_LEN(words); i++)
		if (!options->dashes && strcmp(options->command.items[0], words[i]) == 0)
			return true;
	return false;
}

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
	if (!is_word(options))
		strings_add(&argv, "--");
	else if (argv.n > 1)
		return verb_complain(EXIT_USAGE,
				     "sim %s takes no options of a run; a command of that name: "
				     "plimsoll sim ... -- %s",
				     options->command.items[0], options->command.items[0]);
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
    {"state", 0, OPTION_STRING, "DIR",
     .help = "keep everything in DIR instead of a temporary folder"},
    {},
};

const struct verb verb_sim = {
    .name = "sim",
    .summary = "run a command on simulated GPUs",
    .usage = "[--gpus LIST | --scenario FILE] [--time-scale FACTOR] [--state DIR] -- CMD... | "
	     "status [--json] | inject EVENT | check FILE | models",
    .description =
	"The command, and whatever it starts, sees simulated NVIDIA GPUs through a drop-in\n"
	"libnvidia-ml.so.1. plimsoll-simtask is a program that behaves on them as a CUDA\n"
	"program would. Of a simulation around this command, status tells how it stands and\n"
	"inject lets something happen now; check reads a scenario file and starts nothing;\n"
	"models lists the GPUs of the catalogue.\n",
    .examples = "  plimsoll sim --gpus rtx-a5500,rtx-a400 -- plimsoll gpus\n"
		"  plimsoll sim --gpus big:23.57G:1.0,small:8G:0.4 -- bash\n"
		"  plimsoll sim --scenario gpu-lost.yaml --time-scale 0.1 -- make check\n"
		"  plimsoll sim inject 'gpu: 1, event: lost, xid: 79'\n",
    .style = OPTIONS_COMMAND,
    .options = sim_options,
    .needs_command = true,
    .run = run,
};
