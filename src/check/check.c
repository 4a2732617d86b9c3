/*
 * See check.h. The checks are functions by subject (check_*.c), the kinds of finding are the table
 * here: a finding's severity and what the docs say of it come from nowhere else. Findings are added
 * in whatever order they are found, then silenced ones leave, then they are sorted.
 *
 * What is only a habit that works (one default, one index) is "info": it is told and never fails a
 * build. "warning" is for what will surprise somebody, "error" for what cannot work as written.
 */
#include "check/check_priv.h"

#include <assert.h>
#include <string.h>

#define RULE(code_) [CHECK_##code_]

const struct check_rule check_rules[] = {
    RULE(OVER_GPU_SIZE) =
	{"over-gpu-size", FINDING_ERROR, false, "service larger than its GPU",
	 "The service needs more VRAM than the GPU it is assigned to has. It will run out of "
	 "memory, whatever else is there. Assign it to a GPU it fits on, or make it smaller."},
    RULE(OVER_LOAD_LINE) =
	{"over-load-line", FINDING_ERROR, false, "GPU loaded above its line",
	 "The services assigned to this GPU, and what others use of it, are more than its load "
	 "line (total less reserve). Each starts alone; together they do not. Move one, or let one "
	 "load on demand. Counted are services whose VRAM is known."},
    RULE(OVER_LOAD_LINE_NOW) =
	{"over-load-line-now", FINDING_WARNING, false, "GPU above its line now",
	 "What is measured on the GPU is more than its load line: the next allocation there may "
	 "fail. Told with what uses it, and with the GPU that stands idle (less than 10 % used) "
	 "meanwhile. A CUDA context of 200 to 300 MiB a process is in what is measured and seldom "
	 "in what x-plimsoll says, so this may happen though no sum is above the line."},
    RULE(DOES_NOT_FIT) =
	{"does-not-fit", FINDING_ERROR, false, "no assignment fits",
	 "However the services are put on the GPUs, one of them has no room: the planner has "
	 "proved it. The fix is the smallest change that helps; `plimsoll plan` lists the others."},
    RULE(FIT_UNKNOWN) =
	{"fit-unknown", FINDING_INFO, false, "not proved whether all fits",
	 "There are too many services for the planner, or it found neither an assignment nor the "
	 "proof that there is none in the time a check takes. Only sums were compared: what all "
	 "need with what all GPUs have below their load lines, and each service with the largest "
	 "GPU."},
    RULE(RAM_OVER_HOST) =
	{"ram-over-host", FINDING_ERROR, false, "more RAM than the host has",
	 "What the services say they need of the host's RAM (`ram:` under x-plimsoll), all "
	 "replicas together, is more than the host has: with all of them at work it swaps, or the "
	 "kernel ends one of them."},
    RULE(RAM_OVER_HOST_NOW) =
	{"ram-over-host-now", FINDING_WARNING, false, "more RAM than there is now",
	 "What the services say they need of the host's RAM is more than what is available now and "
	 "what they use already: something else on the host has it. Asked only where containers "
	 "are looked at, not of an --inventory."},
    RULE(IDLE_GPU) =
	{"idle-gpu", FINDING_WARNING, false, "GPU idle while another is shared",
	 "Two services or more are pinned to one GPU while no service is assigned to another one, "
	 "and one of them there would lower the highest use of any GPU, which is what `plan` goes "
	 "by. A GPU that is kept free on purpose can be said so: "
	 "`avoid` or `forbid` under x-plimsoll."},
    RULE(GPU_NOT_THERE) =
	{"gpu-not-there", FINDING_ERROR, false, "GPU that does not exist",
	 "The request names a GPU (or more GPUs) than the machine has; the container will not "
	 "start. GPUs are named by index, UUID, or the name of a MIG instance."},
    RULE(GPU_UNUSABLE) =
	{"gpu-unusable", FINDING_ERROR, false, "GPU out of order",
	 "The GPU that the service is assigned to is lost, needs a reset or does not answer."},
    RULE(AGAINST_NEED) =
	{"against-need", FINDING_ERROR, false, "assignment against x-plimsoll",
	 "What the service says it needs (gpu, forbid, min-compute-capability, not-with, "
	 "exclusive) and where the files put it do not go together."},
    RULE(NEED_NOT_THERE) =
	{"need-not-there", FINDING_WARNING, false, "x-plimsoll names what is not there",
	 "A GPU under `prefer`, `avoid` or `forbid`, or a service under `not-with`, that there is "
	 "not, or the service itself: it does nothing. GPUs are named by index, UUID or part of "
	 "their model name. (One under `gpu` is an error: gpu-not-there.)"},
    RULE(NEED_WITHOUT_REQUEST) =
	{"need-without-request", FINDING_WARNING, false, "VRAM said, no GPU asked for",
	 "The service says how much VRAM it needs and nothing in the compose files asks for a GPU: "
	 "its container gets none, and what runs in it fails or uses the CPU."},
    RULE(REPLICAS_SHARE) =
	{"replicas-share", FINDING_WARNING, false, "replicas on one GPU",
	 "Compose gives every replica the same devices: replicas do not spread over GPUs "
	 "(docker/compose#11863). One service for each GPU does."},
    RULE(COMMENTED_OUT) =
	{"commented-out", FINDING_WARNING, true, "assignment hangs on a commented-out variable",
	 "A line of the env file that would assign the GPU is commented out, so the default in the "
	 "compose file is in force. What was meant and what happens may differ; an explicit value "
	 "says which."},
    RULE(DEFAULT_IN_FORCE) =
	{"default-in-force", FINDING_INFO, true, "assignment hangs on a default",
	 "No env file and no variable of the shell says which GPU: the default in the compose file "
	 "does. Whoever sets the variable elsewhere changes it unseen. On a machine with several "
	 "GPUs an explicit value in the env file is safer. More than two are told as one, with the "
	 "lines to add."},
    RULE(WRONG_DEFAULT) =
	{"wrong-default", FINDING_WARNING, true, "hidden default is wrong",
	 "An env file (or the shell) hides a default that could not work: its GPU is not there, is "
	 "smaller than the service, or has no room for it below its load line beside what is "
	 "assigned there. It strikes when the variable is missing: a fresh checkout, another "
	 "shell, a cron job. `plimsoll apply` corrects it."},
    RULE(VARIABLE_NOT_SET) =
	{"variable-not-set", FINDING_ERROR, true, "GPU variable that is not set",
	 "The variable that says which GPU is set nowhere and has no default: compose puts in "
	 "nothing, which names no GPU."},
    RULE(UNUSED_VARIABLE) =
	{"unused-variable", FINDING_WARNING, true, "variable that nothing uses",
	 "The env file sets a variable that looks like a GPU assignment, or nearly like one that "
	 "chooses a GPU here, and no compose file uses it: it does nothing. Often a typo, or left "
	 "over from a renaming."},
    RULE(SHARED_SOURCE) =
	{"shared-source", FINDING_INFO, true, "one value for several services",
	 "Several services take their GPU from the same variable or the same YAML anchor: they can "
	 "only move together. A variable each lets them part."},
    RULE(INDEX_NOT_UUID) = {"index-not-uuid", FINDING_INFO, false, "GPUs named by index",
			    "Indices may change with a reboot, a driver or a card; UUIDs do not. "
			    "`plimsoll apply --ids "
			    "uuid` writes UUIDs."},
    RULE(COUNT_ALL) =
	{"count-all", FINDING_WARNING, false, "all GPUs of a machine with several",
	 "The service gets every GPU (`count: all`, `gpus: all`, or nothing said, which is the "
	 "same). Most programs then use the first one, some take memory on each. Say which one, or "
	 "`gpus: N` under x-plimsoll when it does use several."},
    RULE(FIRST_GPU_CROWDED) =
	{"first-gpu-crowded", FINDING_WARNING, false, "all on the first GPU they see",
	 "Services that get every GPU mostly use the first one they see. Together with what is "
	 "assigned to it they need more than its load line."},
    RULE(COUNT_FIRST) =
	{"count-first", FINDING_WARNING, false, "count means the first GPUs",
	 "`count: N` is not \"any N that are free\": it is always GPU 0 to N-1. Name the devices."},
    RULE(COUNT_AND_IDS) = {"count-and-ids", FINDING_ERROR, true, "count together with device_ids",
			   "Compose and the engine refuse a request with both."},
    RULE(CAPABILITIES_MISSING) =
	{"capabilities-missing", FINDING_ERROR, true, "reservation without capabilities",
	 "Compose requires `capabilities` in every entry of reservations.devices."},
    RULE(CAPABILITIES_WITHOUT_GPU) =
	{"capabilities-without-gpu", FINDING_WARNING, true, "capabilities without \"gpu\"",
	 "podman-compose passes over an entry whose capabilities have no \"gpu\", and docker finds "
	 "no driver for one that only has names it does not know."},
    RULE(REFUSED) = {"refused", FINDING_ERROR, true, "request that is refused",
		     "Compose, the engine or CUDA refuses the request as it is written."},
    RULE(DUPLICATE_REQUEST) =
	{"duplicate-request", FINDING_WARNING, false, "two requests for one service",
	 "Lists of devices are appended when files are merged, and `gpus:` comes on top of a "
	 "reservation; nothing removes duplicates. `!override` replaces a list."},
    RULE(OVERRIDES_VISIBLE_DEVICES) =
	{"overrides-visible-devices", FINDING_WARNING, true,
	 "NVIDIA_VISIBLE_DEVICES without effect",
	 "The engine writes the devices of the request over NVIDIA_VISIBLE_DEVICES: what "
	 "`environment` says there does nothing."},
    RULE(FILTER_OUT_OF_RANGE) =
	{"filter-out-of-range", FINDING_ERROR, true, "CUDA_VISIBLE_DEVICES beyond what is there",
	 "Inside the container GPUs are counted from 0 among those it was given. An index beyond "
	 "them hides all that follow: with one GPU only 0 is right."},
    RULE(FILTER_ALONE) =
	{"filter-alone", FINDING_INFO, true, "device variables without a request",
	 "CUDA_VISIBLE_DEVICES and NVIDIA_VISIBLE_DEVICES bring no GPU into a container by "
	 "themselves; they count only where nvidia is the engine's default runtime."},
    RULE(IDS_IN_ONE_STRING) =
	{"ids-in-one-string", FINDING_WARNING, true, "several devices in one string",
	 "A string such as \"0,1\" in device_ids works with docker's older hook only: with CDI "
	 "(docker 29.2, podman) it names a device that does not exist. One string each."},
    RULE(DRIVER_MISSING) =
	{"driver-missing", FINDING_INFO, true, "reservation without a driver",
	 "podman-compose passes over reservations that do not say `driver: nvidia`. docker finds "
	 "the driver by itself."},
    RULE(GPUS_KEY) = {"gpus-key", FINDING_INFO, true, "`gpus:` and older programs",
		      "`gpus:` needs docker compose 2.30; podman-compose ignores it: the container "
		      "starts without a GPU there."},
    RULE(DEVICE_NODE) =
	{"device-node", FINDING_INFO, false, "bare device node",
	 "/dev/nvidia0 under `devices` brings the node and none of the driver's libraries, and "
	 "the engine does not know that the container uses a GPU."},
    RULE(NO_VRAM) =
	{"no-vram", FINDING_INFO, false, "VRAM not known",
	 "Nothing says how much VRAM the service needs, and it does not run here: it is not "
	 "counted, and `plan` leaves it out."},
    RULE(PROFILE_OFF) =
	{"profile-off", FINDING_INFO, false, "services that were not looked at",
	 "Services of profiles that are not on ask for a GPU. They are in no sum and no other "
	 "finding; --profile NAME checks them with the rest, --profile '*' all of them."},
    RULE(MEASURED_ABOVE) =
	{"measured-above", FINDING_WARNING, false, "uses more than declared",
	 "The running container uses more VRAM than x-plimsoll says. Plans are made with what is "
	 "said."},
    RULE(MEASURED_BELOW) =
	{"measured-below", FINDING_INFO, false, "uses far less than declared",
	 "The running container uses far less VRAM than x-plimsoll says: it has not loaded all, or "
	 "the number is too careful and keeps others out."},
    RULE(DRIFT) =
	{"drift", FINDING_WARNING, false, "container on another GPU",
	 "A running container is on another GPU than the files say: they changed after it was "
	 "made, or it was started with other variables."},
    RULE(UNKNOWN_CODE) = {"unknown-code", FINDING_WARNING, false, "comment silences no check",
			  "A `# plimsoll: ignore` comment names a code that no check has."},
    RULE(COUNT) = {},
};

const char *finding_severity_name(enum finding_severity severity)
{
	static const char *const names[] = {
	    [FINDING_INFO] = "info",
	    [FINDING_WARNING] = "warning",
	    [FINDING_ERROR] = "error",
	};

	return names[severity];
}

int check_rule_find(const char *code)
{
	for (int i = 0; check_rules[i].code; i++)
		if (strcmp(check_rules[i].code, code) == 0)
			return i;
	return -1;
}

/* Where to look for, or put, what is said of a place: open addressing, never full. */
static size_t *seat_of(const struct findings *findings, const struct finding *wanted)
{
	const uint64_t key = (uint64_t)(uintptr_t)wanted->code * 31 +
			     (uint64_t)(uintptr_t)wanted->span.file * 17 + wanted->span.begin;
	size_t at = (size_t)((key * UINT64_C(0x9e3779b97f4a7c15)) >> 32);

	for (;; at++) {
		size_t *seat = &findings->places[at & (findings->n_places - 1)];
		const struct finding *there = *seat > 0 ? &findings->items[*seat - 1] : NULL;

		if (!there ||
		    (there->code == wanted->code && there->span.file == wanted->span.file &&
		     there->span.begin == wanted->span.begin))
			return seat;
	}
}

/* Has the finding been told of this place? Else the next one added is it: thousands of services may
 * take what they have from as many places. */
static bool is_told(struct findings *findings, const struct finding *finding)
{
	size_t *seat;

	if (2 * (findings->n + 1) > findings->n_places) {
		free(findings->places);
		for (findings->n_places = 64; findings->n_places < 4 * (findings->n + 1);)
			findings->n_places *= 2;
		findings->places = mem_calloc(findings->n_places, sizeof *findings->places);
		for (size_t i = 0; i < findings->n; i++)
			*seat_of(findings, &findings->items[i]) = i + 1;
	}
	seat = seat_of(findings, finding);
	if (*seat > 0)
		return true;
	*seat = findings->n + 1;
	return false;
}

void check_add(struct check *check, enum check_code code, const struct finding *what)
{
	struct findings *findings = check->findings;
	struct finding finding = *what;

	assert(what->message);
	finding.code = check_rules[code].code;
	finding.severity = check_rules[code].severity;
	if (!finding.span.file && finding.service) {
		const struct compose_service *service =
		    compose_project_find(check->stack->project, finding.service);

		if (service)
			finding.span = service->span;
	}
	if (finding.span.file)
		compose_file_position(finding.span.file, finding.span.begin, &finding.line,
				      &finding.column);
	if (check_rules[code].per_place && is_told(findings, &finding)) {
		free(finding.message);
		free(finding.fix);
		return;
	}
	ARRAY_GROW(findings->items, findings->n, findings->room);
	findings->items[findings->n++] = finding;
}

/* Which file of the project, in the order they were read; nowhere comes last. */
static size_t file_order(const struct compose_project *project, const struct compose_file *file)
{
	for (size_t i = 0; i < project->files.n; i++)
		if (project->files.items[i] == file)
			return i;
	return SIZE_MAX;
}

static int compare(const void *a, const void *b, void *project)
{
	const struct finding *left = a, *right = b;
	size_t i = file_order(project, left->span.file), j = file_order(project, right->span.file);

	if (i != j)
		return i < j ? -1 : 1;
	if (left->line != right->line)
		return left->line < right->line ? -1 : 1;
	if (left->column != right->column)
		return left->column < right->column ? -1 : 1;
	if (left->severity != right->severity)
		return left->severity > right->severity ? -1 : 1;
	return strcmp(left->code, right->code);
}

void check_run(const struct stack *stack, const struct compose_files *beside,
	       struct findings *ret_findings)
{
	static void (*const subjects[])(struct check *) = {
	    check_capacity,  check_ram,     check_profiles,   check_now,
	    check_placement, check_needs,   check_sources,    check_variables,
	    check_requests,  check_visible, check_containers, check_suppress,
	};
	struct check check = {.stack = stack, .beside = beside, .findings = ret_findings};

	*ret_findings = (struct findings){};
	for (size_t i = 0; i < ARRAY_LEN(subjects); i++)
		subjects[i](&check);
	if (ret_findings->n > 0)
		qsort_r(ret_findings->items, ret_findings->n, sizeof *ret_findings->items, compare,
			stack->project);
	check_fold(&check);
}

size_t findings_count(const struct findings *findings, enum finding_severity severity)
{
	size_t n = 0;

	for (size_t i = 0; i < findings->n; i++)
		n += findings->items[i].severity == severity;
	return n;
}

void findings_finish(struct findings *findings)
{
	for (size_t i = 0; i < findings->n; i++) {
		free(findings->items[i].message);
		free(findings->items[i].fix);
	}
	free(findings->items);
	free(findings->places);
	*findings = (struct findings){};
}

void check_describe(struct text *text)
{
	text_add(text,
		 "# What `plimsoll check` finds\n\n"
		 "Printed from the table in `src/check/check.c` by "
		 "`build/src/check/checks-doc`; a test compares the two.\n"
		 "`# plimsoll: ignore CODE` at the end of a line, or alone on the line above, "
		 "silences a check there; in the first line of a\n"
		 "file it silences it in the whole file. Several codes are separated by commas; "
		 "what follows them is for people.\n\n"
		 "A machine without GPUs, in CI say, checks for another one's:\n\n"
		 "```sh\n"
		 "plimsoll gpus --json > gpus.json                        # once, there\n"
		 "plimsoll check --inventory gpus.json                    # status 1 for an error\n"
		 "plimsoll check --inventory gpus.json --format sarif     # for code hosts\n"
		 "```\n\n"
		 "| code | severity | finds | means |\n| --- | --- | --- | --- |\n");
	for (const struct check_rule *rule = check_rules; rule->code; rule++)
		text_printf(text, "| `%s` | %s | %s | %s |\n", rule->code,
			    finding_severity_name(rule->severity), rule->title, rule->text);
}
