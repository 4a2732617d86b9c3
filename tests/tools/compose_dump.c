/*
 * A compose project as src/compose reads it, as JSON: what tests compare with `docker-compose
 *config` and podman-compose, and what tests/cases/projects/ expects. Not part of the product.
 *
 *	compose-dump [-f FILE]... [--env-file FILE]... [--profile NAME]...
 *		     [--project-directory DIR] [-p NAME]
 *
 * {"name", "dir", "files": [of -f], "model": the merged tree (scalars are strings, null is null),
 * "services": {NAME: {"active", "replicas", "depends": [names], "environment": {NAME: value},
 * "requests": [{"how", "says", "source", "decides", "in_force", "driver", "capabilities",
 * "problem", "place": "FILE:LINE:COLUMN", "values": [{"text", "device", "source", "variable",
 * "edit": {"place", "text"}, "fallback", "commented"}]}]}}, "warnings": [...]}. Exit 1 and the
 *error on stderr when it cannot be read.
 */
#include "compose/locate.h"
#include "util/jsonx.h"

#include <getopt.h>
#include <unistd.h>

static json_t *string_or_null(const char *s)
{
	return s ? json_string(s) : json_null();
}

static json_t *dump_node(const struct compose_node *node)
{
	json_t *json;

	switch (node->type) {
	case COMPOSE_NULL:
		return json_null();
	case COMPOSE_SCALAR:
		return json_string(node->text);
	case COMPOSE_LIST:
		json = json_array();
		for (size_t i = 0; i < node->n; i++)
			json_array_append_new(json, dump_node(node->items[i]));
		return json;
	case COMPOSE_MAP:
		json = json_object();
		for (size_t i = 0; i < node->n; i++)
			json_object_set_new(json, node->entries[i].key,
					    dump_node(node->entries[i].value));
		return json;
	}
	return NULL;
}

/* "FILE:LINE:COLUMN" of where the range begins; null for nowhere. */
static json_t *dump_place(const struct compose_span *span)
{
	unsigned line, column;

	if (!span->file)
		return json_null();
	compose_file_position(span->file, span->begin, &line, &column);
	return json_sprintf("%s:%u:%u", span->file->shown, line, column);
}

/* {"place", "text": the bytes}. */
static json_t *dump_bytes(const struct compose_span *span)
{
	if (!span->file)
		return json_null();
	return json_pack("{so so}", "place", dump_place(span), "text",
			 json_stringn(span->file->text + span->begin, span->end - span->begin));
}

static json_t *dump_value(const struct compose_value *value)
{
	json_t *json = json_object();

	json_object_set_new(json, "text", string_or_null(value->text));
	json_object_set_new(json, "device", string_or_null(value->device));
	json_object_set_new(json, "source", json_string(compose_source_name(value->source)));
	json_object_set_new(json, "variable", string_or_null(value->variable));
	json_object_set_new(json, "edit", dump_bytes(&value->edit));
	json_object_set_new(json, "fallback", string_or_null(value->fallback));
	json_object_set_new(json, "commented",
			    value->commented ? dump_bytes(&value->commented->span) : json_null());
	return json;
}

static json_t *dump_request(const struct compose_gpus *gpus, const struct compose_request *request)
{
	struct compose_span place = compose_request_place(request);
	json_t *json = json_object(), *values = json_array();
	auto_text struct text says = {};

	compose_request_text(request, &says);
	json_object_set_new(json, "how", json_string(compose_how_name(request->how)));
	json_object_set_new(json, "says", string_or_null(says.data));
	json_object_set_new(json, "source",
			    json_string(compose_source_name(compose_request_source(request))));
	json_object_set_new(json, "place", dump_place(&place));
	json_object_set_new(json, "decides", json_boolean(gpus->decides == request));
	json_object_set_new(json, "in_force", json_boolean(request->in_force));
	json_object_set_new(json, "driver", string_or_null(request->driver));
	json_object_set_new(json, "capabilities", string_or_null(request->capabilities));
	json_object_set_new(json, "problem", string_or_null(request->problem));
	for (size_t i = 0; i < request->n_values; i++)
		json_array_append_new(values, dump_value(&request->values[i]));
	json_object_set_new(json, "values", values);
	return json;
}

static json_t *dump_service(const struct compose_service *service, const struct compose_gpus *gpus)
{
	json_t *json = json_object(), *depends = json_array(), *environment = json_object(),
	       *requests = json_array();

	json_object_set_new(json, "active", json_boolean(service->active));
	json_object_set_new(json, "replicas", json_integer(service->replicas));
	for (size_t i = 0; i < service->n_depends; i++)
		json_array_append_new(depends, json_string(service->depends[i].service));
	json_object_set_new(json, "depends", depends);
	for (size_t i = 0; i < service->n_settings; i++)
		json_object_set_new(environment, service->settings[i].name,
				    string_or_null(service->settings[i].value));
	json_object_set_new(json, "environment", environment);
	for (size_t i = 0; i < gpus->n; i++)
		json_array_append_new(requests, dump_request(gpus, &gpus->requests[i]));
	json_object_set_new(json, "requests", requests);
	return json;
}

static json_t *dump_project(struct compose_project *project, const struct compose_gpus *gpus)
{
	json_t *json = json_object(), *files = json_array(), *services = json_object();

	json_object_set_new(json, "name", json_string(project->name));
	json_object_set_new(json, "dir", json_string(project->dir));
	for (size_t i = 0; i < project->n_main_files; i++)
		json_array_append_new(files, json_string(project->main_files[i]->shown));
	json_object_set_new(json, "files", files);
	json_object_set_new(json, "model", dump_node(project->root));
	for (size_t i = 0; i < project->n; i++)
		json_object_set_new(services, project->services[i].name,
				    dump_service(&project->services[i], &gpus[i]));
	json_object_set_new(json, "services", services);
	json_object_set_new(json, "warnings", jsonx_strv(project->warnings.items));
	return json;
}

static void read_options(int argc, char **argv, struct strings *files, struct strings *env_files,
			 struct strings *profiles, struct compose_options *options)
{
	static const struct option known[] = {
	    {"file", required_argument, NULL, 'f'},
	    {"env-file", required_argument, NULL, 'e'},
	    {"profile", required_argument, NULL, 'P'},
	    {"project-directory", required_argument, NULL, 'd'},
	    {"project-name", required_argument, NULL, 'p'},
	    {},
	};

	for (int c; (c = getopt_long(argc, argv, "f:p:", known, NULL)) != -1;) {
		if (c == 'f')
			strings_add(files, optarg);
		else if (c == 'e')
			strings_add(env_files, optarg);
		else if (c == 'P')
			strings_add(profiles, optarg);
		else if (c == 'd')
			options->project_dir = optarg;
		else if (c == 'p')
			options->project_name = optarg;
		else
			exit(2);
	}
}

int main(int argc, char **argv)
{
	auto_strings struct strings files = {}, env_files = {}, profiles = {};
	struct compose_options options = {
	    .files = &files, .env_files = &env_files, .profiles = &profiles, .shell = environ};
	auto_project struct compose_project *project = NULL;
	auto_json json_t *json = NULL;
	struct compose_gpus *gpus;
	struct error err = {};

	read_options(argc, argv, &files, &env_files, &profiles, &options);
	if (compose_project_load(&options, &project, &err) < 0 ||
	    compose_locate(project, &gpus, &err) < 0) {
		(void)fprintf(stderr, "%s\n", error_text(&err));
		return 1;
	}
	json = dump_project(project, gpus);
	return json_dumpf(json, stdout, JSON_INDENT(1)) < 0;
}
