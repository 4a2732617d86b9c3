/*
 * See workspace.h. The order is that of what names what: the project (its folder may hold a
 * plimsoll.yaml), the configuration, the machine, the containers, the stack of them all. An
 * inventory stands for machine and containers together.
 */
#include "cli/workspace.h"

#include "cli/inventory.h"
#include "cli/session.h"
#include "config/rule.h"
#include "gpu/catalogue.h"
#include "gpu/sampler.h"
#include "host/process.h"
#include "util/jsonx.h"
#include "util/when.h"

#include <ctype.h>
#include <errno.h>
#include <string.h>
#include <unistd.h>

/* The first look may have to initialise the driver, which takes seconds on a large machine. */
#define GPUS_DEADLINE_MS 10000

/* The project and the configuration. */

static int open_project(const struct options *options, struct workspace *w, struct error *err)
{
	const struct compose_options compose = {
	    .files = options_list(options, "file"),
	    .env_files = options_list(options, "env-file"),
	    .profiles = options_list(options, "profile"),
	    .project_dir = options_text(options, "project-directory", NULL),
	    .project_name = options_text(options, "project-name", NULL),
	    .shell = environ,
	};

	return compose_project_load(&compose, &w->project, err);
}

/* plimsoll.yaml beside the first compose file, as people know it; for one from standard input it is
 * in the project's folder. */
static char *path_beside(const struct compose_project *project)
{
	const struct compose_file *first =
	    project->n_main_files > 0 ? project->main_files[0] : NULL;
	const char *slash = first ? strrchr(first->shown, '/') : NULL;

	if (!first || first->path[0] != '/')
		return mem_printf("%s/plimsoll.yaml", project->dir);
	return mem_printf("%.*splimsoll.yaml", slash ? (int)(slash - first->shown + 1) : 0,
			  first->shown);
}

/* A name beside or in the project that is none of its services is a slip of the pen; one in the
 * machine's files is another project's. */
static bool is_ours(const struct workspace *w, const char *beside, const char *where)
{
	if (text_starts_with(where, beside) && where[strlen(beside)] == ':')
		return true;
	for (size_t i = 0; i < w->project->n_compose_files; i++) {
		const char *shown = w->project->compose_files[i]->shown;

		if (text_starts_with(where, shown) && where[strlen(shown)] == ':')
			return true;
	}
	return false;
}

static void warn_unknown_services(struct workspace *w, const char *beside)
{
	for (size_t i = 0; i < w->config->n_services; i++) {
		const struct config_service *service = &w->config->services[i];

		if (service->need.where && is_ours(w, beside, service->need.where) &&
		    !compose_project_find(w->project, service->name))
			strings_take(&w->warnings,
				     mem_printf("%s: the project has no service \"%s\"",
						service->need.where, service->name));
	}
}

/* `x-plimsoll:` of the project itself, not of a service: what plimsoll.yaml may say about it. */
static int add_project_keys(struct workspace *w, struct error *err)
{
	static const char *const sections[] = {"gpus", "services", NULL};
	const struct compose_node *said = compose_get(w->project->root, "x-plimsoll");
	auto_yamlx struct yamlx *doc = said ? stack_yamlx(said) : NULL;

	return doc ? config_add(w->config, doc, sections, err) : 0;
}

static int add_beside(struct workspace *w, const char *path, struct error *err)
{
	auto_yamlx struct yamlx *doc = NULL;
	int r;

	if (access(path, F_OK) < 0 && (errno == ENOENT || errno == ENOTDIR))
		return 0;
	r = yamlx_load(path, &doc, err);
	return r < 0 ? r : config_add(w->config, doc, NULL, err);
}

static int open_config(struct workspace *w, struct error *err)
{
	auto_free char *beside = path_beside(w->project);
	char **machine = w->is_elsewhere ? NULL : config_paths(false);
	int r = config_load(machine ? (const char *const *)machine : (const char *const[]){NULL},
			    &w->config, err);

	config_paths_free(machine);
	if (r == 0)
		r = add_project_keys(w, err);
	if (r == 0)
		r = add_beside(w, beside, err);
	if (r == 0)
		warn_unknown_services(w, beside);
	return r;
}

/* The machine. */

static double speed_of(void *data, const char *model)
{
	double speed = 0;

	return catalogue_speed(data, model, &speed) ? speed : 0;
}

/* What plimsoll.yaml says about a GPU comes before what its inventory says. */
static void make_rules(struct workspace *w, struct ledger_rule *own)
{
	for (size_t i = 0; i < w->list->n; i++) {
		struct ledger_rule said;

		config_rule(w->config, w->list, i, CONFIG_NO_HOURS, &said);
		if (said.has_reserve) {
			own[i].has_reserve = true;
			own[i].reserve_bytes = said.reserve_bytes;
		}
		if (said.closed) {
			own[i].closed = true;
			memcpy(own[i].text, said.text, sizeof own[i].text);
		}
		memcpy(own[i].uuid, said.uuid, sizeof own[i].uuid);
	}
	free(w->rules);
	w->rules = own;
}

static void make_ledger(struct workspace *w)
{
	const struct ledger_options options = {
	    .rules = w->rules, .n_rules = w->list->n, .speed = speed_of, .data = w->catalogue};

	ledger_destroy(w->ledger);
	w->ledger = ledger_create(w->list, NULL, 0, &(struct ledger_host){}, &options);
}

/* What was drained by hand is the daemon's to know. None is started for it, and one that does not
 * answer is a warning: a plan is a proposal. */
static void add_drains(struct workspace *w, struct ledger_rule *rules)
{
	auto_api_client struct api_client *client = NULL;
	auto_json json_t *status = NULL;
	struct error why = {};
	const json_t *drain;
	size_t i;
	int r = session_join(&client, &why);

	if (r == 0)
		r = session_try(client, "GET", NULL, &status, &why, "/v1/status");
	if (r < 0 && !session_is_gone(r))
		strings_take(&w->warnings,
			     mem_printf("which GPUs are drained is not known: %s", why.text));
	json_array_foreach (json_object_get(json_object_get(status, "rules"), "drained"), i,
			    drain) {
		const char *uuid = jsonx_get_string(drain, "uuid", "");
		const char *reason = jsonx_get_string(drain, "reason", "");
		const struct gpu *gpu = gpu_list_find(w->list, uuid);
		struct ledger_rule *rule = gpu ? &rules[gpu - w->list->gpus] : NULL;

		if (!rule)
			continue;
		rule->closed = true;
		(void)snprintf(rule->text, sizeof rule->text, "drained since %s%s%.100s",
			       WHEN_TEXT(jsonx_get_time(drain, "since")), *reason ? ": " : "",
			       reason);
	}
}

/* Of the machine, whatever our own cgroup may use: containers are in another one. */
static void sample_ram(struct workspace *w)
{
	struct host_info info = {};
	struct error ignored;

	if (!w->host || host_sample(w->host, &info, &ignored) < 0)
		info = (struct host_info){};
	w->ram = (struct stack_host){
	    .total_known = host_info_has(&info, HOST_RAM_TOTAL),
	    .total_bytes = info.ram_total_bytes,
	    .available_known = host_info_has(&info, HOST_RAM_AVAILABLE),
	    .available_bytes = info.ram_available_bytes,
	};
}

static int sample(struct workspace *w, struct error *err)
{
	struct ledger_rule *rules;
	auto_gpu_list struct gpu_list *list = NULL;
	int r = gpu_sample_once(GPUS_DEADLINE_MS, &list, err);

	if (r < 0)
		return r;
	if (list->state != GPU_SOURCE_OK || list->n == 0)
		return error_set(err, -ENXIO, "%s; --inventory FILE takes the GPUs of a file",
				 list->text[0] ? list->text : "there is no GPU here");
	gpu_list_destroy(w->list);
	w->list = TAKE(list);
	sample_ram(w);
	rules = mem_calloc(w->list->n + 1, sizeof *rules);
	add_drains(w, rules);
	make_rules(w, rules);
	make_ledger(w);
	return 0;
}

/* Containers. */

static bool is_number(const char *text)
{
	const char *p = text;

	while (isdigit((unsigned char)*p))
		p++;
	return p > text && !*p;
}

/* "SERVICE-1" after the project's name and the same sign: docker compose writes "-", podman-compose
 * and older ones "_". ret_number says which of the replicas. */
static bool is_replica_of(const struct compose_service *service, const char *rest, char sign,
			  unsigned *ret_number)
{
	const size_t of_service = strlen(service->name);

	if (strncmp(rest, service->name, of_service) != 0 || rest[of_service] != sign ||
	    !is_number(rest + of_service + 1))
		return false;
	*ret_number = (unsigned)strtoul(rest + of_service + 1, NULL, 10);
	return true;
}

/* As `gpus` tells it, "PROJECT/SERVICE", where it could ask the engine; else the container's name.
 */
static bool is_container_of(const struct compose_project *project,
			    const struct compose_service *service, const char *name,
			    unsigned *ret_number)
{
	const size_t of_project = strlen(project->name);
	const char sign = strncmp(name, project->name, of_project) == 0 ? name[of_project] : '\0';

	*ret_number = 1;
	if ((service->container_name && strcmp(service->container_name, name) == 0) ||
	    strcmp(service->name, name) == 0)
		return true;
	if (sign == '/')
		return strcmp(name + of_project + 1, service->name) == 0 ||
		       is_replica_of(service, name + of_project + 1, ' ', ret_number);
	return (sign == '-' || sign == '_') &&
	       is_replica_of(service, name + of_project + 1, sign, ret_number);
}

static void add_named(struct workspace *w, const char *name)
{
	struct containers *containers = &w->containers;
	unsigned number = 0;

	for (size_t i = 0; i < containers->n; i++)
		if (strcmp(containers->items[i].name, name) == 0)
			return;
	for (size_t i = 0; i < w->project->n; i++) {
		struct container *container;

		if (!is_container_of(w->project, &w->project->services[i], name, &number))
			continue;
		containers->items =
		    mem_realloc(containers->items, containers->n + 1, sizeof *containers->items);
		container = &containers->items[containers->n++];
		*container = (struct container){
		    .name = mem_strdup(name),
		    .project = mem_strdup(w->project->name),
		    .service = mem_strdup(w->project->services[i].name),
		    .number = number,
		    .running = true,
		};
		(void)snprintf(container->id, sizeof container->id, "%s", name);
		return;
	}
}

static int open_inventory(struct workspace *w, const char *path, struct error *err)
{
	auto_inventory struct inventory inventory = {};
	int r = inventory_load(path, &inventory, err);

	if (r < 0)
		return r;
	if (inventory.list->state != GPU_SOURCE_OK)
		strings_take(&w->warnings, mem_printf("%s: the machine was not well: %s", path,
						      inventory.list->text));
	if (inventory.note)
		strings_take(&w->warnings, TAKE(inventory.note));
	w->list = TAKE(inventory.list);
	w->ram = inventory.host;
	make_rules(w, TAKE(inventory.rules));
	make_ledger(w);
	for (size_t g = 0; g < w->list->n; g++)
		for (size_t i = 0; i < w->list->gpus[g].n_processes; i++)
			if (w->list->gpus[g].processes[i].container[0])
				add_named(w, w->list->gpus[g].processes[i].container);
	w->containers_known = true;
	return 0;
}

/* Is there an engine that ought to have told? A socket nobody listens on is none. */
static bool is_engine_expected(int code)
{
	const char *docker = getenv("DOCKER_HOST"), *podman = getenv("CONTAINER_HOST");

	return (docker && *docker) || (podman && *podman) ||
	       (code != -ENOENT && code != -ECONNREFUSED);
}

char *workspace_mistakes_own(const struct workspace *w)
{
	size_t n = 0;

	for (size_t g = 0; g < w->list->n; g++)
		n += w->list->gpus[g].n_processes;
	if (!w->engine_failure || n == 0)
		return NULL;
	return mem_printf("the container engine does not tell what runs, so processes of this "
			  "project that are on the GPUs count as others', beside what its services "
			  "need: %s",
			  w->engine_failure);
}

/* The engine is looked for once; one that has gone is looked for again. */
static void list_containers(struct workspace *w)
{
	struct error why = {};
	int r = 0;

	containers_finish(&w->containers);
	w->containers = (struct containers){};
	if (!w->engine)
		r = container_engine_open_project(w->project->name, CONTAINER_DEADLINE_MS,
						  &w->engine, &why);
	if (r == 0)
		r = container_engine_list(w->engine, w->project->name, &w->containers, &why);
	w->containers_known = r == 0;
	free(w->engine_failure);
	w->engine_failure = r < 0 && is_engine_expected(r) ? mem_strdup(why.text) : NULL;
	if (r < 0)
		strings_take(&w->warnings, mem_printf("what runs is not known: %s", why.text));
}

/* The stack. */

static struct stack_process process_of(const struct workspace *w, size_t gpu,
				       const struct gpu_process *from)
{
	struct stack_process process = {
	    .gpu = gpu,
	    .pid = from->pid,
	    .used_known = from->used_known,
	    .used_bytes = from->used_bytes,
	};
	struct host_container container;

	if (w->is_elsewhere)
		(void)snprintf(process.container, sizeof process.container, "%s", from->container);
	else if (w->host && host_process_container(w->host, from->pid, &container) == 0)
		(void)snprintf(process.container, sizeof process.container, "%.64s", container.id);
	return process;
}

/* Does any service say how much RAM it needs? Else nobody wants to know what is used. */
static bool says_ram(const struct workspace *w)
{
	for (size_t i = 0; i < w->config->n_services; i++)
		if (w->config->services[i].need.has_ram)
			return true;
	for (size_t i = 0; i < w->project->n; i++)
		if (compose_get(compose_get(w->project->services[i].node, "x-plimsoll"), "ram"))
			return true;
	return false;
}

struct ram_sum {
	const struct workspace *workspace;
	uint64_t *bytes; /* of each container */
};

static int add_resident(const struct host_process *process, void *arg)
{
	const struct ram_sum *sum = arg;
	const struct containers *containers = &sum->workspace->containers;
	struct host_container container;

	if (host_process_container(sum->workspace->host, process->pid, &container) < 0 ||
	    !container.id[0])
		return 0;
	for (size_t i = 0; i < containers->n; i++)
		if (strcmp(containers->items[i].id, container.id) == 0)
			sum->bytes[i] += process->rss_bytes;
	return 0;
}

/* What each container's processes have of the RAM, pages they share counted for each. NULL: it is
 * not known, or nobody asks. */
static uint64_t *sum_ram(const struct workspace *w)
{
	struct ram_sum sum = {.workspace = w};

	if (w->is_elsewhere || !w->containers_known || !w->host || !says_ram(w))
		return NULL;
	sum.bytes = mem_calloc(w->containers.n + 1, sizeof *sum.bytes);
	if (w->containers.n > 0)
		(void)host_process_each(w->host, add_resident, &sum);
	return sum.bytes;
}

static int make_stack(struct workspace *w, struct error *err)
{
	auto_free uint64_t *ram = sum_ram(w);
	auto_free struct stack_process *processes = NULL;
	auto_free const char **names = NULL;
	auto_free struct need *needs = NULL;
	struct stack *stack = NULL;
	struct stack_facts facts = {.project = w->project, .list = w->list, .ledger = w->ledger};
	size_t n = 0;
	int r;

	for (size_t g = 0; g < w->list->n; g++)
		n += w->list->gpus[g].n_processes;
	processes = mem_calloc(n + 1, sizeof *processes);
	for (size_t g = 0; g < w->list->n; g++)
		for (size_t i = 0; i < w->list->gpus[g].n_processes; i++)
			processes[facts.n_processes++] =
			    process_of(w, g, &w->list->gpus[g].processes[i]);
	facts.processes = processes;
	facts.containers = w->containers_known ? &w->containers : NULL;
	facts.host = w->ram;
	facts.ram_used_bytes = ram;
	facts.n_needs = w->config->n_services;
	names = mem_calloc(facts.n_needs + 1, sizeof *names);
	needs = mem_calloc(facts.n_needs + 1, sizeof *needs);
	for (size_t i = 0; i < facts.n_needs; i++) {
		names[i] = w->config->services[i].name;
		needs[i] = w->config->services[i].need;
	}
	facts.need_names = names;
	facts.needs = needs;
	r = stack_create(&facts, &stack, err);
	if (r < 0)
		return r;
	stack_destroy(w->stack);
	w->stack = stack;
	return 0;
}

int workspace_open(const struct options *options, struct workspace *ret_workspace,
		   struct error *err)
{
	struct workspace *w = ret_workspace;
	const char *inventory = options_text(options, "inventory", NULL);
	int r;

	*w = (struct workspace){.is_elsewhere = inventory != NULL};
	r = open_project(options, w, err);
	if (r == 0)
		r = open_config(w, err);
	/* Without them the prior of speed, or whose a process is, is not known; that is all. */
	if (r == 0 && catalogue_load(&w->catalogue, NULL) < 0)
		w->catalogue = NULL;
	if (r == 0 && host_open(NULL, NULL, &w->host, NULL) < 0)
		w->host = NULL;
	if (r == 0)
		r = inventory ? open_inventory(w, inventory, err) : sample(w, err);
	if (r == 0 && !inventory)
		list_containers(w);
	return r < 0 ? r : make_stack(w, err);
}

int workspace_refresh(struct workspace *w, struct error *err)
{
	int r;

	if (w->is_elsewhere)
		return 0;
	/* The stack points into what is made anew. */
	stack_destroy(w->stack);
	w->stack = NULL;
	r = sample(w, err);
	if (r < 0)
		return r;
	list_containers(w);
	return make_stack(w, err);
}

void workspace_close(struct workspace *w)
{
	stack_destroy(w->stack);
	containers_finish(&w->containers);
	container_engine_close(w->engine);
	free(w->engine_failure);
	ledger_destroy(w->ledger);
	gpu_list_destroy(w->list);
	compose_project_destroy(w->project);
	config_destroy(w->config);
	catalogue_destroy(w->catalogue);
	host_close(w->host);
	strings_finish(&w->warnings);
	free(w->rules);
	*w = (struct workspace){};
}
