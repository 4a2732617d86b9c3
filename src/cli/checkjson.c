/*
 * The JSON of `check`, and SARIF 2.1.0 (OASIS) for code hosts: one run; every rule, so that a host
 * can tell a fault that is mended from a check that was not made; columns count characters, as ours
 * do, which `columnKind` says.
 */
#include "cli/checkview.h"
#include "config.h"

#include <ctype.h>
#include <string.h>

static json_t *number_if(unsigned number)
{
	return number > 0 ? json_integer(number) : json_null();
}

static void set_place(json_t *json, const struct compose_span *span)
{
	unsigned line = 0, column = 0;

	if (span->file)
		compose_file_position(span->file, span->begin, &line, &column);
	(void)json_object_set_new(json, "file",
				  jsonx_string_if(span->file ? span->file->shown : NULL));
	(void)json_object_set_new(json, "line", number_if(line));
	(void)json_object_set_new(json, "column", number_if(column));
}

static json_t *service_to_json(const struct stack *stack, const struct stack_service *service)
{
	const struct compose_request *decides = service->gpus->decides;
	const struct compose_span place = compose_request_place(decides);
	json_t *json = json_object(), *gpus = json_array();
	auto_text struct text value = {};

	for (size_t i = 0; i < service->n_assigned; i++)
		(void)json_array_append_new(
		    gpus, json_integer(stack->list->gpus[service->assigned[i]].index));
	compose_request_text(decides, &value);
	(void)json_object_set_new(json, "service", json_string(service->service->name));
	(void)json_object_set_new(json, "gpus", gpus);
	(void)json_object_set_new(json, "all_gpus", json_boolean(decides->all));
	(void)json_object_set_new(json, "how", json_string(compose_how_name(decides->how)));
	(void)json_object_set_new(json, "value", jsonx_string_if(value.data));
	(void)json_object_set_new(
	    json, "variable",
	    jsonx_string_if(decides->n_values > 0 ? decides->values[0].variable : NULL));
	(void)json_object_set_new(
	    json, "source", json_string(compose_source_name(compose_request_source(decides))));
	set_place(json, &place);
	(void)json_object_set_new(json, "vram_bytes",
				  jsonx_u64_if(service->vram_known, service->vram_bytes));
	return json;
}

static json_t *finding_to_json(const struct finding *finding)
{
	json_t *json = json_object();

	(void)json_object_set_new(json, "code", json_string(finding->code));
	(void)json_object_set_new(json, "severity",
				  json_string(finding_severity_name(finding->severity)));
	set_place(json, &finding->span);
	(void)json_object_set_new(json, "service", jsonx_string_if(finding->service));
	(void)json_object_set_new(json, "message", json_string(finding->message));
	(void)json_object_set_new(json, "fix", jsonx_string_if(finding->fix));
	return json;
}

json_t *checkview_json(const struct stack *stack, const struct findings *findings)
{
	json_t *json = json_object(), *services = json_array(), *list = json_array();

	for (size_t i = 0; i < stack->n; i++)
		if (stack->services[i].wants_gpu)
			(void)json_array_append_new(services,
						    service_to_json(stack, &stack->services[i]));
	for (size_t i = 0; i < findings->n; i++)
		(void)json_array_append_new(list, finding_to_json(&findings->items[i]));
	(void)json_object_set_new(json, "services", services);
	(void)json_object_set_new(json, "findings", list);
	(void)json_object_set_new(json, "suppressed", jsonx_u64(findings->n_suppressed));
	return json;
}

/* SARIF. */

static json_t *sarif_text(const char *text)
{
	json_t *json = json_object();

	(void)json_object_set_new(json, "text", json_string(text));
	return json;
}

static json_t *sarif_level(enum finding_severity severity)
{
	return json_string(severity == FINDING_INFO ? "note" : finding_severity_name(severity));
}

static json_t *sarif_rule(const struct check_rule *rule)
{
	json_t *json = json_object(), *defaults = json_object();

	(void)json_object_set_new(defaults, "level", sarif_level(rule->severity));
	(void)json_object_set_new(json, "id", json_string(rule->code));
	(void)json_object_set_new(json, "shortDescription", sarif_text(rule->title));
	(void)json_object_set_new(json, "fullDescription", sarif_text(rule->text));
	(void)json_object_set_new(json, "help", sarif_text(rule->text));
	(void)json_object_set_new(json, "defaultConfiguration", defaults);
	return json;
}

/* A relative path as a URI reference; an absolute one as file://. */
static json_t *sarif_uri(const char *path)
{
	auto_text struct text uri = {};

	if (path[0] == '/')
		text_add(&uri, "file://");
	text_add_uri(&uri, path, "/");
	return json_string(uri.data ? uri.data : "");
}

static json_t *sarif_region(const struct finding *finding)
{
	json_t *region = json_object();
	unsigned line, column;

	(void)json_object_set_new(region, "startLine", json_integer(finding->line));
	(void)json_object_set_new(region, "startColumn", json_integer(finding->column));
	if (finding->span.end > finding->span.begin) {
		compose_file_position(finding->span.file, finding->span.end, &line, &column);
		(void)json_object_set_new(region, "endLine", json_integer(line));
		(void)json_object_set_new(region, "endColumn", json_integer(column));
	}
	return region;
}

static json_t *sarif_location(const struct finding *finding)
{
	json_t *location = json_object(), *physical = json_object(), *artifact = json_object();

	(void)json_object_set_new(artifact, "uri", sarif_uri(finding->span.file->shown));
	(void)json_object_set_new(physical, "artifactLocation", artifact);
	(void)json_object_set_new(physical, "region", sarif_region(finding));
	(void)json_object_set_new(location, "physicalLocation", physical);
	if (finding->service) {
		json_t *logical = json_array(), *service = json_object();

		(void)json_object_set_new(service, "name", json_string(finding->service));
		(void)json_object_set_new(service, "kind", json_string("object"));
		(void)json_array_append_new(logical, service);
		(void)json_object_set_new(location, "logicalLocations", logical);
	}
	return location;
}

/* SARIF's own `fixes` are edits; ours are for people to read and stand in the message. */
static json_t *sarif_result(const struct finding *finding)
{
	json_t *json = json_object(), *locations = json_array();
	auto_free char *text = finding->fix
				   ? mem_printf("%s. Fix: %s.", finding->message, finding->fix)
				   : mem_printf("%s.", finding->message);

	(void)json_object_set_new(json, "ruleId", json_string(finding->code));
	(void)json_object_set_new(json, "ruleIndex", json_integer(check_rule_find(finding->code)));
	(void)json_object_set_new(json, "level", sarif_level(finding->severity));
	(void)json_object_set_new(json, "message", sarif_text(text));
	if (finding->span.file)
		(void)json_array_append_new(locations, sarif_location(finding));
	(void)json_object_set_new(json, "locations", locations);
	return json;
}

static json_t *sarif_tool(void)
{
	json_t *tool = json_object(), *driver = json_object(), *rules = json_array();

	for (const struct check_rule *rule = check_rules; rule->code; rule++)
		(void)json_array_append_new(rules, sarif_rule(rule));
	(void)json_object_set_new(driver, "name", json_string("plimsoll"));
	(void)json_object_set_new(driver, "version", json_string(PLIMSOLL_VERSION));
	(void)json_object_set_new(driver, "rules", rules);
	(void)json_object_set_new(tool, "driver", driver);
	return tool;
}

json_t *checkview_sarif(const struct findings *findings)
{
	json_t *log = json_object(), *runs = json_array(), *run = json_object();
	json_t *results = json_array();

	for (size_t i = 0; i < findings->n; i++)
		(void)json_array_append_new(results, sarif_result(&findings->items[i]));
	(void)json_object_set_new(run, "tool", sarif_tool());
	(void)json_object_set_new(run, "columnKind", json_string("unicodeCodePoints"));
	(void)json_object_set_new(run, "results", results);
	(void)json_array_append_new(runs, run);
	(void)json_object_set_new(
	    log, "$schema",
	    json_string("https://docs.oasis-open.org/sarif/sarif/v2.1.0/errata01/os/schemas/"
			"sarif-schema-2.1.0.json"));
	(void)json_object_set_new(log, "version", json_string("2.1.0"));
	(void)json_object_set_new(log, "runs", runs);
	return log;
}
