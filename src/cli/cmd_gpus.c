/*
 * plimsoll gpus: asks the daemon when one runs, since it knows the tasks; else looks for itself. It
 * starts no daemon: looking must change nothing.
 */
#include "cli/control.h"
#include "cli/gpusview.h"
#include "cli/session.h"
#include "cli/term.h"
#include "config/rule.h"
#include "container/names.h"
#include "gpu/sampler.h"
#include "host/json.h"
#include "host/process.h"
#include "place/gpus_json.h"
#include "util/timestamp.h"

#include <errno.h>
#include <poll.h>
#include <string.h>

/* The first look may have to initialise the driver, which takes seconds on a large machine. */
#define DEADLINE_MS 10000
#define WATCH_MS    2000
#define ENGINE_MS   1000

struct looker {
	struct host *host; /* NULL: there is no /proc */
	/* Asked for when the first container is met. */
	struct container_names *names;
};

static const char *name_of(struct looker *looker, const struct host_container *container)
{
	if (container->runtime != HOST_RUNTIME_DOCKER && container->runtime != HOST_RUNTIME_PODMAN)
		return NULL;
	if (!looker->names)
		looker->names = container_names_load(ENGINE_MS);
	return container_names_find(looker->names, container->id);
}

static uint64_t owner(void *data, const struct gpu_process *process,
		      char service[GPUS_JSON_SERVICE_MAX], bool *ret_leftover)
{
	struct looker *looker = data;
	struct host_container container;
	const char *name = NULL;

	if (process->container[0]) {
		(void)snprintf(service, GPUS_JSON_SERVICE_MAX, "%s", process->container);
		return 0;
	}
	if (!looker->host || host_process_container(looker->host, process->pid, &container) < 0 ||
	    container.runtime == HOST_RUNTIME_NONE)
		return 0;
	name = name_of(looker, &container);
	if (name)
		(void)snprintf(service, GPUS_JSON_SERVICE_MAX, "%.*s", GPUS_JSON_SERVICE_MAX - 1,
			       name);
	else if (container.name[0])
		(void)snprintf(service, GPUS_JSON_SERVICE_MAX, "%s", container.name);
	else
		(void)snprintf(service, GPUS_JSON_SERVICE_MAX, "%s %.12s",
			       host_runtime_name(container.runtime), container.id);
	return 0;
}

/* What plimsoll.yaml says counts here too. */
static int rules_of(const struct gpu_list *list, struct ledger_rule **ret_rules, struct error *err)
{
	auto_config struct config *config = NULL;
	char **paths = config_paths(false);
	int r = config_load((const char *const *)paths, &config, err);

	config_paths_free(paths);
	if (r < 0)
		return r;
	*ret_rules = mem_calloc(list->n + 1, sizeof **ret_rules);
	for (size_t i = 0; i < list->n; i++)
		config_rule(config, list, i, config_week_minute(timestamp_now_ms()),
			    &(*ret_rules)[i]);
	return 0;
}

/* As the daemon tells it; nothing is promised to tasks when there is none. */
static json_t *host_of(const struct host *host)
{
	struct host_info info = {};
	struct error ignored;
	uint64_t available = 0;
	json_t *json;

	if (host && host_sample(host, &info, &ignored) < 0)
		info = (struct host_info){};
	json = host_info_to_json(&info);
	(void)json_object_set_new(json, "ram_room_bytes",
				  jsonx_u64_if(host_ram_available(&info, &available), available));
	return json;
}

static int look(int64_t deadline_ms, json_t **ret_gpus, struct error *err)
{
	auto_gpu_list struct gpu_list *list = NULL;
	auto_host struct host *host = NULL;
	struct looker looker = {};
	auto_free struct ledger_rule *rules = NULL;
	struct ledger_options options = {};
	struct ledger *ledger;
	int r = gpu_sample_once((unsigned)deadline_ms, &list, err);

	if (r == 0)
		r = rules_of(list, &rules, err);
	if (r < 0)
		return r;
	/* Without /proc, processes have no container; that is all. */
	if (host_open(NULL, NULL, &host, NULL) < 0)
		host = NULL;
	looker.host = host;
	options.rules = rules;
	options.n_rules = list->n;
	ledger = ledger_create(list, NULL, 0, &(struct ledger_host){}, &options);
	*ret_gpus = gpus_to_json(
	    list, ledger,
	    &(struct gpus_json_options){.all_processes = host && host_sees_all_processes(host),
					.owner = owner,
					.data = &looker});
	(void)json_object_set_new(*ret_gpus, "host", host_of(host));
	container_names_destroy(looker.names);
	ledger_destroy(ledger);
	return 0;
}

static int ask_or_look(int64_t deadline_ms, json_t **ret_gpus, struct error *err)
{
	auto_api_client struct api_client *client = NULL;
	int r = session_join(&client, err);

	if (r == 0)
		r = session_try(client, "GET", NULL, ret_gpus, err, "/v1/gpus");
	return session_is_gone(r) ? look(deadline_ms, ret_gpus, err) : r;
}

static int show(const struct options *options, bool watching, bool *ret_problem)
{
	const struct option_value *deadline = options_get(options, "deadline");
	auto_json json_t *gpus = NULL;
	auto_text struct text text = {};
	struct error err = {};

	if (ask_or_look(deadline->given ? deadline->ms : DEADLINE_MS, &gpus, &err) < 0)
		return verb_complain(EXIT_CANNOT, "%s", error_text(&err));
	*ret_problem = gpusview_is_problem(gpus);
	if (options_flag(options, "json")) {
		term_print_json(stdout, gpus);
	} else {
		if (watching && term_is_terminal(stdout))
			text_add(&text, "\033[H\033[2J");
		gpusview_render(gpus, stdout, term_columns(stdout), &text);
		(void)fputs(text.data, stdout);
	}
	(void)fflush(stdout);
	return EXIT_DONE;
}

static int run(const struct options *options)
{
	const struct option_value *watch = options_get(options, "watch");
	int64_t every_ms = watch->given && watch->text ? watch->ms : WATCH_MS;
	bool problem = false;
	int code;

	if (options->operands.n > 0)
		return control_gpus(options);
	if (options_flag(options, "reason"))
		return verb_complain(EXIT_USAGE, "gpus: --reason goes with drain");
	do {
		code = show(options, watch->given, &problem);
	} while (watch->given && code == EXIT_DONE && !ferror(stdout) &&
		 poll(NULL, 0, (int)every_ms) == 0);
	return code == EXIT_DONE && problem ? EXIT_PROBLEM : code;
}

static const struct option_spec gpus_options[] = {
    {"watch", 'w', OPTION_DURATION, "SECONDS", .value_optional = true,
     .help = "again every so often (2 s), until Ctrl-C"},
    {"deadline", 0, OPTION_DURATION, "TIME",
     .help = "how long the driver may take to answer (10s)"},
    {"reason", 0, OPTION_STRING, "TEXT", .help = "of a drain: shown wherever it makes tasks wait"},
    {"json", 0, OPTION_FLAG, NULL, .help = "print as JSON"},
    {},
};

const struct verb verb_gpus = {
    .name = "gpus",
    .summary = "what GPUs there are and what holds their memory",
    .usage = "[--watch [SECONDS]] [--json] | " CONTROL_GPUS_USAGE,
    .operands_max = 257,
    .description =
	"For each GPU its memory (# is used, | is the load line, which nothing is started above),\n"
	"what was promised to tasks, what foreign processes use, the reserve and the room left;\n"
	"then who holds it; below them what holds tasks to their grants here. Sizes are in GiB. "
	"Called out: CRITICAL (95 % used or more, or above\n"
	"the load line), IDLE (half of it free while another GPU is critical), LOST, STALE.\n"
	"A drained GPU gets nothing new until it is resumed; what runs there goes on.\n"
	"Status 1 when there is no GPU, no driver, or one of them does not answer as it should.\n",
    .examples = "  plimsoll gpus\n"
		"  plimsoll gpus --watch 5\n"
		"  plimsoll gpus drain 1 --reason 'fan is loud'\n"
		"  plimsoll gpus --json | jq '.gpus[] | {name, room: .vram.room_bytes}'\n",
    .style = OPTIONS_OPERANDS,
    .options = gpus_options,
    .run = run,
};
