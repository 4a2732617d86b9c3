/*
 * The requests for GPUs of a compose project, one JSON object a line, for tests/e2e:
 *
 *	compose_requests [-C DIR] [-f FILE]... [--env-file FILE]... [--set NAME=VALUE]... [--change]
 *
 * The shell's environment is what --set says and nothing else. With --change each value that can be
 * changed in place is, one at a time and in memory only, and the project read anew: the new value
 * must be there, all that does not share it must be as before, and no byte beside the edit may
 * differ. What does not hold is told on stderr, and the exit status is 1.
 */
#include "compose/interpolate.h"
#include "compose/locate.h"
#include "compose/rewrite.h"
#include "util/jsonx.h"

#include <errno.h>
#include <getopt.h>
#include <string.h>

struct given {
	struct strings files, env_files, shell;
	const char *dir;
	bool change;
};

struct located {
	struct compose_project *project;
	struct compose_gpus *gpus;
};

static void located_finish(struct located *located)
{
	compose_project_destroy(located->project);
}
#define auto_located CLEANUP(located_finish)

static int load(const struct given *given, const struct compose_memory_file *memory,
		size_t n_memory, struct located *ret_located, struct error *err)
{
	struct strings all = {};
	struct compose_options options = {
	    .files = &given->files,
	    .env_files = &given->env_files,
	    .dir = given->dir,
	    .shell = given->shell.items,
	    .memory = memory,
	    .n_memory = n_memory,
	};
	int r;

	strings_add(&all, "*");
	options.profiles = &all;
	r = compose_project_load(&options, &ret_located->project, err);
	if (r == 0)
		r = compose_locate(ret_located->project, &ret_located->gpus, err);
	strings_finish(&all);
	return r;
}

static json_t *place_json(const struct compose_span *span)
{
	unsigned line, column;

	if (!span->file)
		return json_null();
	compose_file_position(span->file, span->begin, &line, &column);
	return json_pack("{s:s, s:i, s:i, s:I, s:I}", "file", span->file->shown, "line", (int)line,
			 "column", (int)column, "begin", (json_int_t)span->begin, "end",
			 (json_int_t)span->end);
}

static json_t *value_json(const struct compose_value *value)
{
	return json_pack("{s:s, s:s, s:s, s:s?, s:o, s:b, s:s?, s:o, s:o}", "text", value->text,
			 "device", value->device, "source", compose_source_name(value->source),
			 "variable", value->variable, "edit", place_json(&value->edit),
			 "edit_whole", value->edit_whole, "fallback", value->fallback,
			 "fallback_at", place_json(&value->fallback_span), "commented_at",
			 value->commented ? place_json(&value->commented->span) : json_null());
}

static json_t *request_json(const struct compose_gpus *gpus, const struct compose_request *request)
{
	auto_text struct text text = {};
	struct compose_span place = compose_request_place(request);
	json_t *values = json_array();

	compose_request_text(request, &text);
	for (size_t i = 0; i < request->n_values; i++)
		json_array_append_new(values, value_json(&request->values[i]));
	return json_pack("{s:s, s:s, s:s, s:s, s:o, s:b, s:b, s:b, s:b, s:b, s:s?, s:o}", "service",
			 gpus->service->name, "how", compose_how_name(request->how), "value",
			 text.data, "source", compose_source_name(compose_request_source(request)),
			 "at", place_json(&place), "in_force", request->in_force, "decides",
			 gpus->decides == request, "filter", gpus->filter == request, "none",
			 request->none, "nvidia", request->is_nvidia, "problem", request->problem,
			 "values", values);
}

static void print(const struct located *located)
{
	for (size_t i = 0; i < located->project->n; i++)
		for (size_t k = 0; k < located->gpus[i].n; k++) {
			json_t *json =
			    request_json(&located->gpus[i], &located->gpus[i].requests[k]);

			(void)json_dumpf(json, stdout, JSON_COMPACT);
			(void)putchar('\n');
			json_decref(json);
		}
}

/* Another value of its kind. */
static char *another(const char *old)
{
	if (strspn(old, "0123456789") == strlen(old) || strcasecmp(old, "all") == 0)
		return mem_strdup(strcmp(old, "7") == 0 ? "8" : "7");
	return mem_printf("%s7", old);
}

/* The files of a project as memory, one of them changed. Texts are the project's, but that one. */
struct changed {
	struct compose_memory_file *files;
	size_t n;
	char *text;
};

static void changed_finish(struct changed *changed)
{
	free(changed->files);
	free(changed->text);
}
#define auto_changed CLEANUP(changed_finish)

/* By the edits that `apply` writes with. False: a byte beside the edit is not what it was. */
static bool change_file(const struct compose_project *project, const struct compose_span *edit,
			const char *to, struct changed *changed)
{
	const struct compose_file *old = edit->file;
	struct compose_edits edits = {};
	struct text text = {};
	size_t tail = old->len - edit->end;
	bool sound = compose_edits_add(&edits, edit, to, NULL) == 0;

	changed->files = mem_calloc(project->files.n + 1, sizeof *changed->files);
	for (size_t i = 0; i < project->files.n; i++) {
		const struct compose_file *file = project->files.items[i];
		struct text same = {};

		changed->files[changed->n++] = (struct compose_memory_file){
		    .path = file->path, .text = file->text, .len = file->len};
		compose_edits_apply(&edits, file, file == old ? &text : &same);
		if (file == old) {
			changed->files[i].text = text.data;
			changed->files[i].len = text.len;
		} else {
			sound &= same.len == file->len &&
				 (file->len == 0 || memcmp(same.data, file->text, file->len) == 0);
		}
		text_finish(&same);
	}
	sound &= text.len == edit->begin + strlen(to) + tail &&
		 memcmp(text.data, old->text, edit->begin) == 0 &&
		 memcmp(text.data + edit->begin, to, strlen(to)) == 0 &&
		 memcmp(text.data + text.len - tail, old->text + edit->end, tail) == 0;
	changed->text = text_take(&text);
	compose_edits_finish(&edits);
	return sound;
}

/* What a value is after `to` stands where its edit was. */
static char *expected(const struct compose_value *value, const char *to)
{
	const char *text = value->node->text;
	struct text all = {};

	text_add_bytes(&all, text, value->edit_begin);
	text_add(&all, to);
	text_add(&all, text + value->edit_end);
	return text_take(&all);
}

struct trial {
	const struct located *was;
	size_t service, request, value;
	unsigned long tried, failed;
};

static const struct compose_value *trial_value(const struct trial *trial,
					       const struct located *located)
{
	const struct compose_gpus *gpus = &located->gpus[trial->service];

	if (trial->request >= gpus->n || trial->value >= gpus->requests[trial->request].n_values)
		return NULL;
	return &gpus->requests[trial->request].values[trial->value];
}

static bool shares(const struct compose_value *a, const struct compose_value *b)
{
	struct compose_value copies[2] = {*a, *b};
	struct compose_request requests[2] = {
	    {.n_values = 1, .values = &copies[0], .in_force = true},
	    {.n_values = 1, .values = &copies[1], .in_force = true},
	};
	struct compose_gpus gpus[2] = {{.requests = &requests[0], .n = 1},
				       {.requests = &requests[1], .n = 1}};
	auto_compose_sharing struct compose_sharing *sharing = compose_sharing_create(gpus, 2);

	return compose_shares(sharing, 0, 1) ||
	       (a->edit.file == b->edit.file && a->node == b->node);
}

/* All values that do not share the one that was changed. */
static bool rest_is_same(const struct trial *trial, const struct located *now)
{
	const struct compose_value *changed = trial_value(trial, trial->was);

	if (!changed)
		return false;
	for (size_t i = 0; i < trial->was->project->n; i++) {
		const struct compose_gpus *a = &trial->was->gpus[i], *b = &now->gpus[i];

		if (a->n != b->n)
			return false;
		for (size_t r = 0; r < a->n; r++) {
			const struct compose_request *one = &a->requests[r], *two = &b->requests[r];

			for (size_t v = 0; v < one->n_values; v++)
				if (!shares(changed, &one->values[v]) &&
				    (v >= two->n_values ||
				     strcmp(one->values[v].text, two->values[v].text) != 0))
					return false;
		}
	}
	return true;
}

static void try_change(const struct given *given, struct trial *trial,
		       const struct compose_value *value)
{
	const struct compose_value *now;
	auto_free char *part =
	    mem_strndup(value->node->text + value->edit_begin, value->edit_end - value->edit_begin);
	auto_free char *to = another(part), *want = expected(value, to);
	auto_free char *written = value->edit_whole ? mem_printf("\"%s\"", to) : mem_strdup(to);
	auto_changed struct changed changed = {};
	auto_located struct located again = {};
	const char *fault = NULL;
	struct error err = {};

	if (!change_file(trial->was->project, &value->edit, written, &changed))
		fault = "other bytes changed, too";
	else if (load(given, changed.files, changed.n, &again, &err) < 0)
		fault = error_text(&err);
	else if (again.project->n != trial->was->project->n)
		fault = "other services";
	else if (!(now = trial_value(trial, &again)))
		fault = "it is gone";
	else if (strcmp(now->node->text, want) != 0)
		fault = now->node->text;
	else if (!rest_is_same(trial, &again))
		fault = "others changed, too";
	trial->tried++;
	trial->failed += fault != NULL;
	if (fault)
		(void)fprintf(stderr, "service %s, request %zu, value %zu: \"%s\" to \"%s\": %s\n",
			      trial->was->gpus[trial->service].service->name, trial->request,
			      trial->value, value->node->text, want, fault);
}

static int change_all(const struct given *given, const struct located *located)
{
	struct trial trial = {.was = located};

	for (trial.service = 0; trial.service < located->project->n; trial.service++) {
		const struct compose_gpus *gpus = &located->gpus[trial.service];

		for (trial.request = 0; trial.request < gpus->n; trial.request++) {
			const struct compose_request *request = &gpus->requests[trial.request];

			for (trial.value = 0; trial.value < request->n_values; trial.value++)
				if (request->values[trial.value].edit.file)
					try_change(given, &trial, &request->values[trial.value]);
		}
	}
	(void)printf("{\"tried\": %lu, \"failed\": %lu}\n", trial.tried, trial.failed);
	return trial.failed ? 1 : 0;
}

static int parse(int argc, char **argv, struct given *ret_given)
{
	static const struct option options[] = {
	    {"env-file", required_argument, NULL, 'e'},
	    {"set", required_argument, NULL, 's'},
	    {"change", no_argument, NULL, 'c'},
	    {},
	};
	int c;

	while ((c = getopt_long(argc, argv, "C:f:", options, NULL)) != -1) {
		switch (c) {
		case 'C':
			ret_given->dir = optarg;
			break;
		case 'f':
			strings_add(&ret_given->files, optarg);
			break;
		case 'e':
			strings_add(&ret_given->env_files, optarg);
			break;
		case 's':
			strings_add(&ret_given->shell, optarg);
			break;
		case 'c':
			ret_given->change = true;
			break;
		default:
			return -EINVAL;
		}
	}
	return optind == argc ? 0 : -EINVAL;
}

static int run(int argc, char **argv, struct given *given)
{
	auto_located struct located located = {};
	struct error err = {};

	if (parse(argc, argv, given) < 0)
		return 2;
	if (load(given, NULL, 0, &located, &err) < 0) {
		(void)fprintf(stderr, "%s\n", error_text(&err));
		return 3;
	}
	if (given->change)
		return change_all(given, &located);
	print(&located);
	return 0;
}

int main(int argc, char **argv)
{
	struct given given = {};
	int status = run(argc, argv, &given);

	strings_finish(&given.files);
	strings_finish(&given.env_files);
	strings_finish(&given.shell);
	return status;
}
