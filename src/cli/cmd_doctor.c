/* plimsoll doctor: is this machine fit for GPU work, and if not, what to do. Changes nothing. */
#include "cli/doctorimages.h"
#include "cli/doctorview.h"
#include "cli/term.h"
#include "cli/verbs.h"
#include "util/file.h"
#include "util/size.h"
#include "util/timestamp.h"

#include "config.h"

#include <errno.h>
#include <string.h>

/* "training", or how much VRAM a model needs: "18G". */
static int read_purpose(const char *text, struct doctor *doctor, struct error *err)
{
	doctor->purpose = DOCTOR_FOR_ANY;
	if (!text)
		return 0;
	for (unsigned i = 0; i < DOCTOR_PURPOSES; i++)
		if (strcmp(text, doctor_purpose_name((enum doctor_purpose)i)) == 0) {
			doctor->purpose = (enum doctor_purpose)i;
			return 0;
		}
	doctor->purpose = DOCTOR_FOR_INFERENCE;
	if (size_parse(text, &doctor->model_vram_bytes, NULL) == 0 && doctor->model_vram_bytes > 0)
		return 0;
	return error_set(err, -EINVAL,
			 "--for %.64s: training, inference, none, any, or the VRAM a model needs, "
			 "as 18G",
			 text);
}

/* Each word of each --only: they may be given as "a,b" and several times. */
static void read_only(const struct strings *given, struct strings *only)
{
	for (size_t i = 0; i < given->n; i++) {
		auto_free char *copy = mem_strdup(given->items[i]);
		char *rest = copy;

		for (char *word; (word = strsep(&rest, ", "));)
			if (*word)
				strings_add(only, word);
	}
}

static int write_report(const char *path, struct root *root, const struct doctor_results *results,
			struct error *err)
{
	auto_text struct text head = {}, bundle = {};
	int r;

	text_printf(&head,
		    "plimsoll %s doctor, %s\n"
		    "What was read of this machine, and not there; names of users and hosts, "
		    "serials, UUIDs\nand MAC addresses are blanked. Read it again with `plimsoll "
		    "doctor --root FILE`.\n\n",
		    PLIMSOLL_VERSION, TIMESTAMP_TEXT(timestamp_now_ms()));
	doctorview_render(results, true, NULL, 80, &head);
	root_bundle(root, head.data, &bundle);
	r = file_replace(path, bundle.data, bundle.len, 0600, err);
	if (r == 0)
		(void)fprintf(
		    stderr, "plimsoll: written to %s: look through it before you send it\n", path);
	return r;
}

static int look(struct doctor *doctor, struct root *root, const struct options *options,
		struct error *err)
{
	const char *report = options_text(options, "report", NULL);
	auto_machine struct machine *machine = NULL;
	auto_doctor_results struct doctor_results results = {};
	auto_strings struct strings only = {};
	auto_json json_t *json = NULL;
	auto_text struct text text = {};
	int r;

	read_only(options_list(options, "only"), &only);
	r = machine_look(root, &machine, err);
	doctor->machine = machine;
	if (r == 0)
		r = doctor_run(doctor, only.items, &results, err);
	if (r == 0 && report)
		r = write_report(report, root, &results, err);
	if (r < 0)
		return r;
	if (options_flag(options, "json")) {
		json = doctorview_json(&results, doctor->purpose);
		term_print_json(stdout, json);
	} else {
		doctorview_render(&results, options_flag(options, "verbose"), stdout,
				  term_columns(stdout), &text);
		(void)fputs(text.data, stdout);
	}
	return (int)doctor_count(&results, DOCTOR_FAIL);
}

static int look_at_images(struct doctor *doctor, struct root *root, const struct options *options,
			  struct error *err)
{
	auto_machine struct machine *machine = NULL;
	auto_images struct image_uses uses = {};
	auto_json json_t *json = NULL;
	auto_text struct text text = {};
	int r = doctorimages_collect(&options->operands, &uses, err);

	if (r == 0)
		r = machine_look(root, &machine, err);
	if (r < 0)
		return r;
	doctor->machine = machine;
	images_judge(doctor, &uses);
	if (options_flag(options, "json")) {
		json = doctorimages_json(&uses);
		term_print_json(stdout, json);
	} else {
		doctorimages_render(&uses, options_flag(options, "verbose"), stdout,
				    term_columns(stdout), &text);
		(void)fputs(text.data, stdout);
	}
	return (int)doctorimages_count(&uses, DOCTOR_FAIL);
}

static int run(const struct options *options)
{
	auto_root struct root *root = NULL;
	auto_compat struct compat *compat = NULL;
	struct needs needs = {};
	struct doctor doctor = {.needs = &needs};
	struct error err = {};
	int r = read_purpose(options_text(options, "for", NULL), &doctor, &err);

	if (r < 0)
		return verb_complain(EXIT_USAGE, "doctor: %s", error_text(&err));
	if (options->operands.n > 0 && !options_flag(options, "images"))
		return verb_complain(EXIT_USAGE, "doctor: files are looked at with --images");
	r = needs_load(NULL, &needs, &err);
	if (r == 0)
		r = compat_load(NULL, &compat, &err);
	doctor.compat = compat;
	if (r == 0 && compat_is_old(compat, timestamp_now_ms()))
		(void)fprintf(stderr,
			      "plimsoll: what is known of CUDA, drivers and images (cuda.yaml) is "
			      "of %s, over a year old: a newer plimsoll knows more\n",
			      compat_date(compat));
	if (r == 0)
		r = root_open(options_text(options, "root", NULL), &root, &err);
	if (r < 0)
		return verb_complain(EXIT_CANNOT, "%s", error_text(&err));
	if (options_flag(options, "images"))
		r = look_at_images(&doctor, root, options, &err);
	else
		r = look(&doctor, root, options, &err);
	if (r < 0)
		return verb_fail(&err);
	return r > 0 ? EXIT_PROBLEM : EXIT_DONE;
}

static const struct option_spec doctor_options[] = {
    {"for", 0, OPTION_STRING, "PURPOSE",
     .help = "training, inference, none, or the VRAM a model needs, as 18G: is it enough"},
    {"only", 0, OPTION_STRING, "ID", .repeats = true,
     .help = "these checks, or this group of them: driver, gpus, ..."},
    {"verbose", 'v', OPTION_FLAG, NULL, .help = "what is well, too"},
    {"images", 0, OPTION_FLAG, NULL,
     .help =
	 "base images of these Dockerfiles, compose files, folders (default: this one) instead"},
    {"root", 0, OPTION_STRING, "DIR|FILE",
     .help = "look at a folder with the files of a machine, or at a report, instead"},
    {"report", 0, OPTION_STRING, "FILE",
     .help = "write what was read, names blanked, to be sent with a bug report"},
    {"json", 0, OPTION_FLAG, NULL, .help = "as one JSON document"},
    {},
};

const struct verb verb_doctor = {
    .name = "doctor",
    .summary = "is this machine fit for GPU work, and what to do if not",
    .usage = "[--for PURPOSE] [--only ID]... [-v] [--root DIR|FILE] [--images [FILE]...]",
    .description =
	"Looks at the GPUs, their driver and its libraries, containers and the machine, and says\n"
	"what keeps GPU work from running or makes it slow: what was seen, why that is a fault,\n"
	"and the commands that mend it. It changes nothing, loads nothing into itself, makes no\n"
	"device node, and asks the driver with a deadline: one that hangs is a finding.\n"
	"docs/doctor.md lists the checks.\n"
	"\n"
	"--for says what the machine is to be fit for: training wants more than inference; with\n"
	"none, a machine without any GPU is in order too.\n"
	"\n"
	"--report FILE writes what the checks have read into one text file, with names of users\n"
	"and hosts, serials, UUIDs and MAC addresses blanked; `--root FILE` reads it again, on "
	"any\n"
	"machine.\n"
	"\n"
	"--images looks at the base images that Dockerfiles and compose files name, and pulls "
	"none:\n"
	"is the driver new enough, have their CUDA and torch code for these GPUs, will they be "
	"let\n"
	"start, is the tag still there.\n"
	"\n"
	"Status 1 when something fails, 2 when an option is wrong, 3 when it could not look.\n",
    .examples =
	"  plimsoll doctor\n"
	"  plimsoll doctor --for training\n"
	"  plimsoll doctor --only driver -v\n"
	"  plimsoll doctor --report machine.txt\n"
	"  plimsoll doctor --images compose.yaml app/Dockerfile\n"
	"  plimsoll doctor --json | jq -r '.checks[] | select(.status == \"fail\") | .id'\n",
    .style = OPTIONS_OPERANDS,
    .operands_max = 256,
    .options = doctor_options,
    .run = run,
};
