/*
 * The services of a merged project: which are on, how many replicas they have, what they depend on
 * (compose-go: types/project.go WithProfiles, loader/normalize.go, loader/validate.go, graph/).
 * What compose refuses of a service that is on is refused here, with the place.
 */
#include "compose/project_priv.h"

#include <errno.h>
#include <limits.h>
#include <string.h>

static bool is_active(const struct loader *loader, const struct compose_node *service)
{
	const struct compose_node *profiles = compose_get(service, "profiles");

	if (!profiles || profiles->type != COMPOSE_LIST || profiles->n == 0)
		return true;
	if (compose_entry(loader->profiles, "*"))
		return true;
	for (size_t i = 0; i < profiles->n; i++) {
		const char *profile = compose_text(profiles->items[i]);

		if (profile && compose_entry(loader->profiles, profile))
			return true;
	}
	return false;
}

/* -1: nothing is said. */
static int read_count(const struct compose_node *node, const char *service, int64_t *ret_count,
		      struct error *err)
{
	*ret_count = -1;
	if (!node || node->type == COMPOSE_NULL)
		return 0;
	if (!compose_integer(node, ret_count) || *ret_count < 0 ||
	    *ret_count > COMPOSE_REPLICAS_MAX)
		return compose_error(&node->span, -EINVAL, err,
				     "services.%s: how many replicas must be a number from 0 to %d",
				     service, COMPOSE_REPLICAS_MAX);
	return 0;
}

static int read_replicas(struct compose_service *service, struct error *err)
{
	const struct compose_node *scale = compose_get(service->node, "scale");
	const struct compose_node *replicas =
	    compose_path(service->node, "deploy", "replicas", NULL);
	int64_t one, other;
	int r = read_count(scale, service->name, &one, err);

	if (r == 0)
		r = read_count(replicas, service->name, &other, err);
	if (r < 0)
		return r;
	if (service->active && one >= 0 && other >= 0 && one != other)
		return compose_error(&scale->span, -EINVAL, err,
				     "services.%s: can't set distinct values on 'scale' and "
				     "'deploy.replicas'",
				     service->name);
	service->replicas = one >= 0 ? (unsigned)one : other >= 0 ? (unsigned)other : 1;
	if (service->active && service->replicas > 1 && service->container_name)
		return compose_error(
		    &compose_get(service->node, "container_name")->span, -EINVAL, err,
		    "services.%s: %u replicas cannot all have the container_name \"%s\"",
		    service->name, service->replicas, service->container_name);
	return 0;
}

/* What a service depends on while it is gathered. */
struct dependencies {
	struct loader *loader;
	struct compose_service *service;
	const struct compose_node *all; /* services of the project */
	struct compose_dependency *items;
	size_t n, room;
	struct compose_node *known; /* names that are in it */
	struct error *err;
};

static int add(struct dependencies *d, const struct compose_dependency *dependency,
	       const struct compose_span *at)
{
	const struct compose_entry *entry = compose_entry(d->all, dependency->service);

	if (compose_entry(d->known, dependency->service))
		return 0;
	compose_map_put(&d->loader->project->arena, d->known, dependency->service, NULL, NULL);
	if (d->service->active && !entry)
		return compose_error(at, -ENOENT, d->err,
				     "service \"%s\" depends on undefined service \"%s\"",
				     d->service->name, dependency->service);
	if (d->service->active && dependency->required && !is_active(d->loader, entry->value))
		return compose_error(at, -ENOENT, d->err,
				     "service \"%s\" depends on undefined service \"%s\": it is "
				     "disabled, as none of its profiles is on",
				     d->service->name, dependency->service);
	if (!entry)
		return 0;
	ARRAY_GROW(d->items, d->n, d->room);
	d->items[d->n] = *dependency;
	d->items[d->n++].service = entry->key;
	return 0;
}

static int add_written(struct dependencies *d, const struct compose_entry *entry)
{
	static const char *const conditions[] = {
	    [COMPOSE_STARTED] = "service_started",
	    [COMPOSE_HEALTHY] = "service_healthy",
	    [COMPOSE_COMPLETED] = "service_completed_successfully",
	};
	const struct compose_node *node = compose_get(entry->value, "condition");
	const char *condition = compose_text(node);
	struct compose_dependency dependency = {.service = entry->key, .required = true};

	(void)compose_bool(compose_get(entry->value, "required"), &dependency.required);
	for (size_t i = 0; condition && i < ARRAY_LEN(conditions); i++)
		if (strcmp(condition, conditions[i]) == 0) {
			dependency.condition = (enum compose_condition)i;
			condition = NULL;
		}
	if (condition)
		return compose_error(&node->span, -EINVAL, d->err,
				     "services.%s.depends_on.%s.condition is none of %s, %s, %s",
				     d->service->name, entry->key, conditions[0], conditions[1],
				     conditions[2]);
	return add(d, &dependency, &entry->key_span);
}

static int add_implicit(struct dependencies *d, const char *name, const struct compose_node *at)
{
	struct compose_dependency dependency = {
	    .service = name, .required = true, .implicit = true};

	return add(d, &dependency, &at->span);
}

/* "db:alias" of links and "db:ro" of volumes_from; "container:x" of the latter is no service. */
static int add_list(struct dependencies *d, const char *key)
{
	const struct compose_node *list = compose_get(d->service->node, key);

	for (size_t i = 0; list && list->type == COMPOSE_LIST && i < list->n; i++) {
		const char *text = compose_text(list->items[i]);
		int r;

		if (!text ||
		    (text_starts_with(text, "container:") && strcmp(key, "volumes_from") == 0))
			continue;
		r = add_implicit(
		    d, arena_strndup(&d->loader->project->arena, text, strcspn(text, ":")),
		    list->items[i]);
		if (r < 0)
			return r;
	}
	return 0;
}

static int compare_dependencies(const void *a, const void *b)
{
	const struct compose_dependency *one = a, *other = b;

	return strcmp(one->service, other->service);
}

static int gather(struct dependencies *d)
{
	static const char *const namespaces[] = {"network_mode", "ipc", "pid", "uts", "cgroup"};
	const struct compose_node *written = compose_get(d->service->node, "depends_on");
	int r = 0;

	for (size_t i = 0; r == 0 && written && written->type == COMPOSE_MAP && i < written->n; i++)
		r = add_written(d, &written->entries[i]);
	if (r == 0)
		r = add_list(d, "links");
	for (size_t i = 0; r == 0 && i < ARRAY_LEN(namespaces); i++) {
		const struct compose_node *node = compose_get(d->service->node, namespaces[i]);
		const char *text = compose_text(node);

		if (text && text_starts_with(text, "service:"))
			r = add_implicit(d, text + strlen("service:"), node);
	}
	if (r == 0)
		r = add_list(d, "volumes_from");
	return r;
}

static int read_depends(struct loader *loader, struct compose_service *service, struct error *err)
{
	struct arena *arena = &loader->project->arena;
	struct dependencies d = {.loader = loader,
				 .service = service,
				 .all = compose_get(loader->project->root, "services"),
				 .known = compose_node_map(arena, NULL),
				 .err = err};
	int r = gather(&d);

	if (r == 0 && d.n > 0) {
		service->depends = arena_alloc(arena, d.n * sizeof *service->depends);
		memcpy(service->depends, d.items, d.n * sizeof *service->depends);
		service->n_depends = d.n;
		qsort(service->depends, d.n, sizeof *service->depends, compare_dependencies);
	}
	free(d.items);
	return r;
}

/* A walk down the dependencies, without recursion: a chain may be as long as there are services. */
struct walk {
	const struct compose_project *project;
	enum { NEW, ON_PATH, DONE } * state;
	size_t *path; /* services from where it began */
	size_t *next; /* of each on the path: its dependency to look at */
	size_t n;
};

static int dependency_cycle(const struct walk *walk, size_t again, struct error *err)
{
	const struct compose_service *services = walk->project->services;
	const struct compose_service *last = &services[walk->path[walk->n - 1]];
	const struct compose_node *node = compose_get(last->node, "depends_on");
	const struct compose_entry *entry = compose_entry(node, services[again].name);
	auto_text struct text names = {};
	bool within = false;

	for (size_t i = 0; i < walk->n; i++) {
		within = within || walk->path[i] == again;
		if (within && names.len < ERROR_TEXT_MAX)
			text_printf(&names, "%s -> ", services[walk->path[i]].name);
	}
	return compose_error(entry ? &entry->key_span : &last->span, -ELOOP, err,
			     "dependency cycle detected: %s%s", names.data, services[again].name);
}

static int walk_from(struct walk *walk, size_t service, struct error *err)
{
	const struct compose_project *project = walk->project;

	walk->n = 0;
	walk->path[walk->n] = service;
	walk->next[walk->n++] = 0;
	walk->state[service] = ON_PATH;
	while (walk->n > 0) {
		size_t on = walk->path[walk->n - 1], next = walk->next[walk->n - 1]++, to;
		const struct compose_service *from = &project->services[on];

		if (next == from->n_depends) {
			walk->state[on] = DONE;
			walk->n--;
			continue;
		}
		to = (size_t)(compose_project_find(project, from->depends[next].service) -
			      project->services);
		if (!project->services[to].active || walk->state[to] == DONE)
			continue;
		if (walk->state[to] == ON_PATH)
			return dependency_cycle(walk, to, err);
		walk->state[to] = ON_PATH;
		walk->path[walk->n] = to;
		walk->next[walk->n++] = 0;
	}
	return 0;
}

static int check_cycles(struct compose_project *project, struct error *err)
{
	struct walk walk = {.project = project};
	int r = 0;

	walk.state = mem_calloc(project->n + 1, sizeof *walk.state);
	walk.path = mem_calloc(project->n + 1, sizeof *walk.path);
	walk.next = mem_calloc(project->n + 1, sizeof *walk.next);
	for (size_t i = 0; r == 0 && i < project->n; i++)
		if (project->services[i].active && walk.state[i] == NEW)
			r = walk_from(&walk, i, err);
	free(walk.state);
	free(walk.path);
	free(walk.next);
	return r;
}

/* As compose reads them, before it looks at anything else of the request. Where a variable that is
 * not set leaves nothing the request is looked at all the same: what is missing is told there. */
static int check_counts(const char *service, const char *path, const struct compose_node *list,
			struct error *err)
{
	for (size_t i = 0; list && list->type == COMPOSE_LIST && i < list->n; i++) {
		const struct compose_node *count = compose_get(list->items[i], "count");
		int64_t number;

		if (compose_text(count) && *compose_text(count) &&
		    !compose_device_count(count, &number))
			return compose_error(
			    &count->span, -EINVAL, err,
			    "services.%s.%s.%zu.count: invalid value \"%.64s\", the "
			    "only value allowed is 'all' or a number",
			    service, path, i, count->text);
	}
	return 0;
}

static int check_requests(const struct compose_service *service, struct error *err)
{
	int r = check_counts(
	    service->name, "deploy.resources.reservations.devices",
	    compose_path(service->node, "deploy", "resources", "reservations", "devices", NULL),
	    err);

	return r < 0 ? r
		     : check_counts(service->name, "gpus", compose_get(service->node, "gpus"), err);
}

int services_create(struct loader *loader, struct error *err)
{
	struct compose_project *project = loader->project;
	const struct compose_node *all = compose_get(project->root, "services");
	int r = 0;

	if (!all || all->type != COMPOSE_MAP)
		return 0;
	if (all->n > COMPOSE_SERVICES_MAX)
		return compose_error(&all->entries[COMPOSE_SERVICES_MAX].key_span, -E2BIG, err,
				     "%zu services; at most %d are read", all->n,
				     COMPOSE_SERVICES_MAX);
	project->services = arena_alloc(&project->arena, all->n * sizeof *project->services);
	project->n = all->n;
	for (size_t i = 0; r == 0 && i < all->n; i++) {
		const struct compose_entry *entry = &all->entries[i];
		struct compose_service *service = &project->services[i];

		service->name = entry->key;
		service->span = entry->key_span;
		service->node = entry->value;
		service->active = is_active(loader, entry->value);
		service->image = compose_text(compose_get(entry->value, "image"));
		service->container_name = compose_text(compose_get(entry->value, "container_name"));
		r = read_replicas(service, err);
		if (r == 0)
			r = check_requests(service, err);
		if (r == 0)
			r = read_depends(loader, service, err);
		if (r == 0)
			r = settings_create(loader, service, err);
		if (r == 0)
			r = loader_check_memory(loader, &service->span, err);
	}
	return r == 0 ? check_cycles(project, err) : r;
}
