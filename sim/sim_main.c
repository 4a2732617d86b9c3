/* plimsoll-sim, what the verb `plimsoll sim` runs: a table of its own few verbs and the run itself.
 */
#include "sim/catalogue.h"
#include "sim/scenario.h"
#include "sim/session.h"
#include "sim/status.h"

#include <errno.h>
#include <getopt.h>
#include <math.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#define EXIT_USAGE     2
#define EXIT_CANNOT    3
#define DEFAULT_GPUS   "rtx-5070-ti,rtx-2080-super"
#define EVENT_MAX      4096
#define TIME_SCALE_MIN 0.0001
#define TIME_SCALE_MAX 1000.0

static const char usage_text[] =
    "usage: plimsoll sim [--gpus LIST | --scenario FILE] [--time-scale X] [--state DIR] -- CMD...\n"
    "       plimsoll sim status [--json [--new-peaks]]\n"
    "                                         how the simulation around this command stands;\n"
    "                                         peaks count anew from here\n"
    "       plimsoll sim inject EVENT         let something happen now\n"
    "       plimsoll sim check FILE           read a scenario, start nothing\n"
    "       plimsoll sim models               the GPUs of the catalogue\n"
    "\n"
    "Runs a command on simulated GPUs, with a Plimsoll of its own that ends with it.\n"
    "\n"
    "  --gpus LIST      catalogue names, or name:vram[:speed]; index 0 first\n"
    "                   (default " DEFAULT_GPUS ")\n"
    "  --scenario FILE  GPUs, quirks and a timeline of events (YAML)\n"
    "  --time-scale X   wall seconds per simulated second (0.1: ten times as fast)\n"
    "  --state DIR      keep everything in DIR instead of a temporary folder\n"
    "\n"
    "examples:\n"
    "  plimsoll sim --gpus rtx-a5500,rtx-a400 -- plimsoll gpus\n"
    "  plimsoll sim --gpus big:23.57G:1.0,small:8G:0.4 -- nvtop\n"
    "  plimsoll sim -- sh -c 'plimsoll-simtask --vram 2.5G --seconds 30 & plimsoll gpus'\n"
    "  plimsoll sim inject 'gpu: 1, event: lost, xid: 79'\n";

static int fail(int code, const struct error *err)
{
	(void)fprintf(stderr, "plimsoll sim: %s\n", error_text(err));
	return code;
}

struct options {
	const char *gpus, *scenario, *dir;
	double time_scale; /* 0: as the scenario says */
};

static int load_image(const struct options *options, struct sim_state **ret_image,
		      struct error *err)
{
	auto_yamlx struct yamlx *catalogue = NULL, *doc = NULL;
	int r = catalogue_load(&catalogue, err);

	if (r < 0)
		return r;
	if (options->scenario) {
		r = yamlx_load(options->scenario, &doc, err);
		if (r == 0)
			r = scenario_parse(doc, catalogue, ret_image, err);
	} else {
		r = scenario_parse_gpus(options->gpus ? options->gpus : DEFAULT_GPUS, catalogue,
					ret_image, err);
	}
	if (r == 0 && options->time_scale > 0)
		(*ret_image)->time_scale = options->time_scale;
	return r;
}

/* -1: go on; else the exit status. */
static int parse_arguments(int argc, char **argv, struct options *options)
{
	static const struct option long_options[] = {{"gpus", required_argument, NULL, 'g'},
						     {"scenario", required_argument, NULL, 's'},
						     {"time-scale", required_argument, NULL, 't'},
						     {"state", required_argument, NULL, 'd'},
						     {"help", no_argument, NULL, 'h'},
						     {}};
	struct error err = {};
	char *end = NULL;
	int key;

	while ((key = getopt_long(argc, argv, "+h", long_options, NULL)) != -1) {
		switch (key) {
		case 'g':
			options->gpus = optarg;
			break;
		case 's':
			options->scenario = optarg;
			break;
		case 'd':
			options->dir = optarg;
			break;
		case 't':
			options->time_scale = strtod(optarg, &end);
			if (end == optarg || *end || !(options->time_scale >= TIME_SCALE_MIN) ||
			    options->time_scale > TIME_SCALE_MAX) {
				(void)error_set(
				    &err, -EINVAL,
				    "--time-scale: \"%.32s\" is not a number from %g to %g", optarg,
				    TIME_SCALE_MIN, TIME_SCALE_MAX);
				return fail(EXIT_USAGE, &err);
			}
			break;
		case 'h':
			(void)fputs(usage_text, stdout);
			return 0;
		default:
			return EXIT_USAGE;
		}
	}
	if (options->gpus && options->scenario) {
		(void)error_set(&err, -EINVAL, "--gpus and --scenario exclude each other");
		return fail(EXIT_USAGE, &err);
	}
	return -1;
}

static int run(int argc, char **argv)
{
	auto_free struct sim_state *image = NULL;
	struct options options = {};
	struct session *session = NULL;
	struct error err = {};
	int code = parse_arguments(argc, argv, &options);

	if (code >= 0)
		return code;
	if (optind >= argc) {
		(void)error_set(&err, -EINVAL, "no command to run; --help shows how");
		return fail(EXIT_USAGE, &err);
	}
	if (load_image(&options, &image, &err) < 0)
		return fail(EXIT_USAGE, &err);
	if (session_create(options.dir, image, &session, &err) < 0)
		return fail(EXIT_CANNOT, &err);
	code = session_run(session, argv + optind, &err);
	session_destroy(session);
	return code < 0 ? fail(EXIT_CANNOT, &err) : code;
}

static int verb_status(int argc, char **argv)
{
	auto_text struct text text = {};
	struct sim_state *state = NULL;
	struct error err = {};
	bool json_wanted = false, new_peaks = false, known = true;

	for (int i = 1; i < argc; i++) {
		json_wanted |= strcmp(argv[i], "--json") == 0;
		new_peaks |= strcmp(argv[i], "--new-peaks") == 0;
		known &= strcmp(argv[i], "--json") == 0 || strcmp(argv[i], "--new-peaks") == 0;
	}
	if (!known || (new_peaks && !json_wanted)) {
		(void)error_set(&err, -EINVAL, "usage: plimsoll sim status [--json [--new-peaks]]");
		return fail(EXIT_USAGE, &err);
	}
	if (state_open_environment(&state, &err) < 0)
		return fail(EXIT_CANNOT, &err);
	if (json_wanted) {
		auto_json json_t *json = status_json(state, new_peaks);
		auto_free char *line = jsonx_dump(json);

		(void)printf("%s\n", line);
	} else {
		status_text(state, &text);
		(void)fputs(text.data, stdout);
	}
	return 0;
}

/* A foreign process without a pid gets one that lives. */
static int inject_stand_in(struct sim_state *state, struct sim_event *event, struct error *err)
{
	pid_t pid = 0;
	int r;

	if (event->type != SIM_EVENT_FOREIGN || event->pid != 0)
		return 0;
	r = session_stand_in(event->name, false, &pid, &event->start_time, err);
	if (r < 0)
		return r;
	event->pid = pid;
	state_lock(state);
	if (state->n_helpers < SIM_HELPERS_MAX)
		state->helpers[state->n_helpers++] =
		    (struct sim_helper){.pid = pid, .start_time = event->start_time};
	state_unlock(state);
	return 0;
}

static int inject(struct sim_state *state, const char *text, struct error *err)
{
	auto_yamlx struct yamlx *doc = NULL;
	auto_free char *mapping = NULL;
	struct sim_event event;
	int r;

	if (strlen(text) > EVENT_MAX)
		return error_set(err, -EINVAL, "an event longer than %d characters", EVENT_MAX);
	/* `gpu: 1, event: lost` is the inside of a flow mapping. */
	mapping = text[0] == '{' ? mem_strdup(text) : mem_printf("{%s}", text);
	r = yamlx_parse(mapping, strlen(mapping), "event", &doc, err);
	if (r == 0)
		r = scenario_parse_event(doc, doc->root, state, state_now_ns(state), &event, err);
	if (r == 0)
		r = inject_stand_in(state, &event, err);
	if (r < 0)
		return r;
	state_lock(state);
	r = state_add_event(state, &event);
	state_notify(state);
	state_unlock(state);
	state_lock(state); /* what is due now happens before we say done */
	state_unlock(state);
	return r < 0 ? error_set(err, r, "the timeline is full") : 0;
}

static int verb_inject(int argc, char **argv)
{
	struct sim_state *state = NULL;
	struct error err = {};

	if (argc != 2) {
		(void)error_set(&err, -EINVAL, "usage: plimsoll sim inject 'gpu: 1, event: lost'");
		return fail(EXIT_USAGE, &err);
	}
	if (state_open_environment(&state, &err) < 0)
		return fail(EXIT_CANNOT, &err);
	return inject(state, argv[1], &err) < 0 ? fail(EXIT_USAGE, &err) : 0;
}

static int verb_check(int argc, char **argv)
{
	auto_free struct sim_state *image = NULL;
	struct options options = {.scenario = argc == 2 ? argv[1] : NULL};
	struct error err = {};

	if (argc != 2) {
		(void)error_set(&err, -EINVAL, "usage: plimsoll sim check FILE");
		return fail(EXIT_USAGE, &err);
	}
	if (load_image(&options, &image, &err) < 0)
		return fail(EXIT_USAGE, &err);
	(void)printf("%s: %u GPU%s, %u event%s\n", argv[1], image->n_gpus, PLURAL(image->n_gpus),
		     image->n_events, PLURAL(image->n_events));
	return 0;
}

static int verb_models(int argc, char **argv)
{
	auto_yamlx struct yamlx *catalogue = NULL;
	const struct yamlx_node *models;
	struct error err = {};

	if (catalogue_load(&catalogue, &err) < 0)
		return fail(EXIT_CANNOT, &err);
	models = yamlx_get(catalogue->root, "gpus");
	for (size_t i = 0; models && i < models->n; i++) {
		struct sim_gpu gpu = {};

		if (catalogue_fill(catalogue, models->keys[i]->text, &gpu, &err) < 0)
			return fail(EXIT_CANNOT, &err);
		(void)printf("%-16s %-36s %6llu MiB  %u.%u  speed %.2f\n", gpu.model, gpu.name,
			     (unsigned long long)(gpu.total_bytes >> 20), gpu.cc_major,
			     gpu.cc_minor, gpu.speed);
	}
	return 0;
}

static const struct verb {
	const char *name;
	int (*run)(int argc, char **argv);
} verbs[] = {{"status", verb_status},
	     {"inject", verb_inject},
	     {"check", verb_check},
	     {"models", verb_models}};

int main(int argc, char **argv)
{
	for (size_t i = 0; argc > 1 && i < ARRAY_LEN(verbs); i++)
		if (strcmp(argv[1], verbs[i].name) == 0)
			return verbs[i].run(argc - 1, argv + 1);
	return run(argc, argv);
}
