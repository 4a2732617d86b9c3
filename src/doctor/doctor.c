/* Running the table, and what checks say: see doctor.h. The checks are in checks_GROUP.c. */
#include "doctor/doctor.h"

#include "doctor/checks.h"

#include "util/suggest.h"

#include <errno.h>
#include <string.h>

static const struct doctor_check *const *const groups[] = {
    checks_driver, checks_cuda, checks_gpus, checks_log, checks_containers, checks_host, NULL,
};

const char *doctor_status_name(enum doctor_status status)
{
	static const char *const names[] = {[DOCTOR_OK] = "ok",
					    [DOCTOR_SKIPPED] = "skipped",
					    [DOCTOR_UNKNOWN] = "unknown",
					    [DOCTOR_WARN] = "warn",
					    [DOCTOR_FAIL] = "fail"};

	return names[status];
}

/* --- what checks say --- */

static void PRINTF(2, 0) add_line(struct text *text, const char *fmt, va_list args)
{
	char line[1024];

	(void)vsnprintf(line, sizeof line, fmt, args);
	text_printf(text, "%s%s", text->len ? "\n" : "", line);
}

void doctor_say(struct doctor_result *result, enum doctor_status status, const char *fmt, ...)
{
	va_list args;

	result->status = MAX_OF(result->status, status);
	va_start(args, fmt);
	add_line(&result->evidence, fmt, args);
	va_end(args);
}

void doctor_because(struct doctor_result *result, const char *fmt, ...)
{
	auto_text struct text line = {};
	va_list args;

	va_start(args, fmt);
	add_line(&line, fmt, args);
	va_end(args);
	if (result->cause.len > 0 && strstr(result->cause.data, line.data))
		return;
	text_printf(&result->cause, "%s%s", result->cause.len ? "\n" : "", line.data);
}

void doctor_fix(struct doctor_result *result, const char *fmt, ...)
{
	auto_text struct text line = {};
	va_list args;

	va_start(args, fmt);
	add_line(&line, fmt, args);
	va_end(args);
	for (size_t i = 0; i < result->fix.n; i++)
		if (strcmp(result->fix.items[i], line.data) == 0)
			return;
	strings_take(&result->fix, text_take(&line));
}

/* --- running --- */

static const char *id_at(const void *data, size_t i)
{
	const struct doctor_check *const *checks = data;

	return checks[i]->id;
}

/* All of them; the caller frees the list. */
static size_t list_checks(const struct doctor_check ***ret_checks)
{
	const struct doctor_check **checks = NULL;
	size_t n = 0, room = 0;

	for (const struct doctor_check *const *const *group = groups; *group; group++)
		for (const struct doctor_check *const *check = *group; *check; check++) {
			ARRAY_GROW(checks, n, room);
			checks[n++] = *check;
		}
	*ret_checks = checks;
	return n;
}

static int check_ids(const struct doctor_check *const *checks, size_t n, char *const *only,
		     struct error *err)
{
	for (; only && *only; only++) {
		const char *nearest;
		bool known = false;

		for (size_t i = 0; i < n; i++)
			known |= strcmp(checks[i]->id, *only) == 0 ||
				 strcmp(checks[i]->group, *only) == 0;
		if (known)
			continue;
		nearest = suggest_nearest(*only, n, id_at, checks);
		return error_set(err, -EINVAL, "there is no check \"%.64s\"%s%s%s", *only,
				 nearest ? "; did you mean \""
					 : "; `plimsoll doctor -v` lists them",
				 nearest ? nearest : "", nearest ? "\"?" : "");
	}
	return 0;
}

static bool is_wanted(const struct doctor_check *check, char *const *only)
{
	if (!only || !*only)
		return true;
	for (; *only; only++)
		if (strcmp(check->id, *only) == 0 || strcmp(check->group, *only) == 0)
			return true;
	return false;
}

static void run_check(const struct doctor *doctor, const struct doctor_check *check,
		      struct doctor_result *result)
{
	result->check = check;
	check->look(doctor, result);
	if (result->evidence.len == 0)
		doctor_say(result, DOCTOR_SKIPPED, "does not apply here");
	/* Of something that is no fault there is nothing to mend. */
	if (result->status < DOCTOR_WARN) {
		text_finish(&result->cause);
		strings_finish(&result->fix);
		result->fix = (struct strings){};
	}
}

int doctor_run(const struct doctor *doctor, char *const *only, struct doctor_results *ret_results,
	       struct error *err)
{
	auto_free const struct doctor_check **checks = NULL;
	struct doctor_results results = {};
	size_t n = list_checks(&checks);
	int r = check_ids(checks, n, only, err);

	if (r < 0)
		return r;
	results.items = mem_calloc(n, sizeof *results.items);
	for (size_t i = 0; i < n; i++)
		if (is_wanted(checks[i], only))
			run_check(doctor, checks[i], &results.items[results.n++]);
	*ret_results = results;
	return 0;
}

void doctor_results_finish(struct doctor_results *results)
{
	for (size_t i = 0; i < results->n; i++) {
		text_finish(&results->items[i].evidence);
		text_finish(&results->items[i].cause);
		strings_finish(&results->items[i].fix);
	}
	free(results->items);
	*results = (struct doctor_results){};
}

size_t doctor_count(const struct doctor_results *results, enum doctor_status status)
{
	size_t n = 0;

	for (size_t i = 0; i < results->n; i++)
		n += results->items[i].status == status;
	return n;
}

/* --- telling --- */

static json_t *lines_to_json(const struct text *text)
{
	json_t *lines = json_array();

	for (const char *line = text->data; line && *line;) {
		size_t len = strcspn(line, "\n");

		/* A file of the machine may be no UTF-8; such a line is told without its letters.
		 */
		json_t *string = json_stringn(line, len);

		(void)json_array_append_new(lines, string ? string : json_string("?"));
		line += len + (line[len] == '\n');
	}
	return lines;
}

json_t *doctor_result_to_json(const struct doctor_result *result)
{
	json_t *json = json_object();

	if (result->check) {
		(void)json_object_set_new(json, "id", json_string(result->check->id));
		(void)json_object_set_new(json, "group", json_string(result->check->group));
		(void)json_object_set_new(json, "title", json_string(result->check->title));
	}
	(void)json_object_set_new(json, "status", json_string(doctor_status_name(result->status)));
	(void)json_object_set_new(json, "evidence", lines_to_json(&result->evidence));
	(void)json_object_set_new(json, "cause", jsonx_string_if(result->cause.data));
	(void)json_object_set_new(json, "fix",
				  result->fix.items ? jsonx_strv(result->fix.items) : json_array());
	return json;
}

json_t *doctor_to_json(const struct doctor_results *results)
{
	json_t *checks = json_array();

	for (size_t i = 0; i < results->n; i++)
		(void)json_array_append_new(checks, doctor_result_to_json(&results->items[i]));
	return json_pack("{s:o}", "checks", checks);
}

void doctor_describe(struct text *text)
{
	auto_free const struct doctor_check **checks = NULL;
	size_t n = list_checks(&checks);

	text_add(text,
		 "# What `plimsoll doctor` looks at\n\n"
		 "Printed from the tables in `src/doctor/checks_*.c` by "
		 "`build/src/doctor/doctor-doc`; a test compares the two.\n"
		 "Each check says `ok`, `skipped` (does not apply here), `unknown` (it cannot be "
		 "told), `warn` or `fail` (GPU work is kept from\n"
		 "running, or goes wrong), with what was seen, the cause, and commands that mend "
		 "it.\n\n"
		 "```sh\n"
		 "plimsoll doctor                           # what is wrong; status 1 for a fail\n"
		 "plimsoll doctor -v                        # what is well, too\n"
		 "plimsoll doctor --for training            # is it enough for that\n"
		 "plimsoll doctor --report machine.txt      # what was read of it, names blanked, "
		 "to be sent\n"
		 "plimsoll doctor --root machine.txt        # the same of somebody else's\n"
		 "plimsoll doctor --images                  # base images of Dockerfiles and "
		 "compose files\n"
		 "```\n\n"
		 "| check | group | looks at | what a fault means |\n| --- | --- | --- | --- |\n");
	for (size_t i = 0; i < n; i++)
		text_printf(text, "| `%s` | %s | %s | %s |\n", checks[i]->id, checks[i]->group,
			    checks[i]->title, checks[i]->text);
	text_add(
	    text,
	    "\n## Images\n\n"
	    "`plimsoll doctor --images [FILE...]` looks at the base images that Dockerfiles "
	    "(`FROM`, "
	    "with `ARG`s and compose's\n"
	    "`build.args` filled in) and compose files name, without pulling any: `nvidia/cuda`, "
	    "`pytorch/pytorch`, `nvcr.io`, and\n"
	    "any tag with `cuda12.4` or `cu124` in it. Each is held against this machine's driver "
	    "and GPUs (or `--root`'s):\n\n"
	    "| what | says |\n| --- | --- |\n"
	    "| the driver is older than the image's CUDA can run on | fail |\n"
	    "| it is, and a data-centre GPU can have forward compatibility (cuda-compat) | warn |\n"
	    "| `NVIDIA_REQUIRE_CUDA` of nvidia/cuda keeps it from starting, though CUDA would run "
	    "| "
	    "fail; warn with a container toolkit of 1.18 or newer, which hands GPUs over by CDI |\n"
	    "| its CUDA, or its torch, has no code for a GPU | fail |\n"
	    "| its CUDA is older than a GPU: only what carries PTX runs | warn |\n"
	    "| the tag is at its end of life, and deleted within months | warn |\n"
	    "| the tag was never made (`nvidia/cuda:latest`, another OS) | fail |\n"
	    "| `latest` of the others | warn |\n\n"
	    "What goes with what is `cuda.yaml`, each table with its source and date; when it is "
	    "over a year old, doctor says so.\n");
}
