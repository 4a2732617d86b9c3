/*
 * What a service's container is given: `environment` above the files of `env_file`, the later of
 * those above the earlier (compose-go: types/project.go WithServicesEnvironmentResolved). In an env
 * file, variables are looked up in the project's, then in the service's environment, then in what
 * the files have said. Of a service that is off compose reads no files; here what can be read is,
 * so that its GPU request can be told.
 */
#include "compose/project_priv.h"

#include <errno.h>
#include <string.h>

struct settings {
	struct loader *loader;
	struct compose_service *service;
	struct compose_node *names; /* name -> a node whose `n` is the index of its setting */
	struct compose_setting *items;
	size_t n, room;
	struct error *err;
};

static struct arena *arena_of(const struct settings *settings)
{
	return &settings->loader->project->arena;
}

/* The setting of that name, a new one when there is none. */
static struct compose_setting *slot(struct settings *settings, const char *name)
{
	struct compose_node *known = compose_get(settings->names, name);

	if (!known) {
		known = compose_node_scalar(arena_of(settings), NULL, name);
		known->lead = (unsigned)settings->n;
		compose_map_put(arena_of(settings), settings->names, name, NULL, known);
		ARRAY_GROW(settings->items, settings->n, settings->room);
		settings->items[settings->n++] = (struct compose_setting){.name = name};
	}
	return &settings->items[known->lead];
}

/* Variables of the level whose file a node stands in: an included project has its own. */
static const struct compose_env *env_of(const struct loader *loader,
					const struct compose_node *node)
{
	for (const struct level *i = loader->levels; i; i = i->next)
		for (size_t f = 0; i->up && f < i->files->n; f++)
			if (i->files->items[f] == node->span.file)
				return i->env;
	return &loader->project->env;
}

/* YAML's own truth values come to the container as Go prints them. */
static const char *value_text(const struct compose_node *value)
{
	const char *text = compose_text(value);

	if (!text || value->tagged_string || value->style != COMPOSE_PLAIN || value->n_uses > 0)
		return text;
	if (strcmp(text, "True") == 0 || strcmp(text, "TRUE") == 0)
		return "true";
	if (strcmp(text, "False") == 0 || strcmp(text, "FALSE") == 0)
		return "false";
	return text;
}

static void add_named(struct settings *settings, const char *name, struct compose_node *value)
{
	struct compose_setting *setting = slot(settings, name);

	*setting = (struct compose_setting){.name = name, .value = value_text(value)};
	setting->node = value;
	setting->end = setting->value ? strlen(setting->value) : 0;
}

/* NAME without a value: what the project says, or a setting without a value, left out later. */
static void add_bare(struct settings *settings, const char *name, const struct compose_node *node)
{
	const struct compose_variable *variable =
	    compose_env_get(env_of(settings->loader, node), name);
	struct compose_setting *setting = slot(settings, name);

	*setting = (struct compose_setting){.name = name, .node = node, .variable = variable};
	setting->value = variable ? variable->value : NULL;
}

static void add_entry(struct settings *settings, const struct compose_entry *entry)
{
	struct compose_node where = {.span = entry->key_span};

	if (entry->value->type == COMPOSE_NULL)
		add_bare(settings, entry->key,
			 where.span.file
			     ? compose_node_scalar(arena_of(settings), &where, entry->key)
			     : entry->value);
	else
		add_named(settings, entry->key, entry->value);
}

static void add_item(struct settings *settings, struct compose_node *item)
{
	const char *text = compose_text(item), *equals = text ? strchr(text, '=') : NULL;

	if (item->type == COMPOSE_MAP) {
		for (size_t i = 0; i < item->n; i++)
			add_entry(settings, &item->entries[i]);
	} else if (equals) {
		const char *name = arena_strndup(arena_of(settings), text, (size_t)(equals - text));
		struct compose_setting *setting = slot(settings, name);

		*setting =
		    (struct compose_setting){.name = name, .value = equals + 1, .node = item};
		setting->begin = (size_t)(equals + 1 - text);
		setting->end = strlen(text);
	} else if (text) {
		add_bare(settings, text, item);
	}
}

static void add_environment(struct settings *settings)
{
	const struct compose_node *node = compose_get(settings->service->node, "environment");

	for (size_t i = 0; node && i < node->n; i++) {
		if (node->type == COMPOSE_MAP)
			add_entry(settings, &node->entries[i]);
		else
			add_item(settings, node->items[i]);
	}
}

static int compare_variables(const void *a, const void *b)
{
	const struct compose_variable *one = a, *other = b;

	return strcmp(one->name, other->name);
}

/* The project's variables, and below them what the service has so far. */
static struct compose_env scope(const struct settings *settings)
{
	const struct compose_env *env = &settings->loader->project->env;
	struct compose_env scope = {.arena = arena_of(settings)};

	scope.variables =
	    arena_alloc(scope.arena, (env->n + settings->n) * sizeof *scope.variables);
	memcpy(scope.variables, env->variables, env->n * sizeof *scope.variables);
	scope.n = env->n;
	for (size_t i = 0; i < settings->n; i++) {
		const struct compose_setting *setting = &settings->items[i];

		if (!setting->value || compose_env_get(env, setting->name))
			continue;
		scope.variables[scope.n++] = (struct compose_variable){
		    .name = setting->name,
		    .value = setting->value,
		    .source = setting->assignment ? COMPOSE_ENV_FILE : COMPOSE_LITERAL,
		    .assignment = setting->assignment};
	}
	if (scope.n > 0)
		qsort(scope.variables, scope.n, sizeof *scope.variables, compare_variables);
	return scope;
}

/* What `environment` says stands above all files, those without a value too. */
static void add_of_file(struct settings *settings, const struct compose_setting *setting)
{
	struct compose_setting *known = slot(settings, setting->name);

	if (!known->node)
		*known = *setting;
}

/* `format: raw`: NAME=value to the end of the line, nothing quoted, nothing looked up. */
static void add_raw(struct settings *settings, const struct compose_file *file,
		    const struct compose_env *env)
{
	for (size_t i = 0; i < file->n_lines; i++) {
		const char *line = file->text + file->lines[i], *equals;
		size_t len = strcspn(line, "\n"), blanks = strspn(line, " \t");
		struct compose_setting setting = {.file = file};
		char *text;

		if (len > 0 && line[len - 1] == '\r')
			len--;
		if (blanks >= len || line[blanks] == '#')
			continue;
		text = arena_strndup(arena_of(settings), line + blanks, len - blanks);
		equals = strchr(text, '=');
		setting.name = arena_strndup(arena_of(settings), text, strcspn(text, "="));
		setting.value = equals ? equals + 1 : NULL;
		if (!equals) {
			setting.variable = compose_env_get(env, setting.name);
			setting.value = setting.variable ? setting.variable->value : NULL;
		}
		if (setting.value)
			add_of_file(settings, &setting);
	}
}

static int add_file(struct settings *settings, const struct compose_node *item)
{
	const struct compose_node *path = compose_get(item, "path");
	const char *format = compose_text(compose_get(item, "format"));
	const struct compose_file *file = NULL;
	struct compose_env_file parsed = {};
	struct compose_env env = scope(settings);
	bool required = true;
	struct error cause = {};
	int r = loader_file(settings->loader, NULL, path->text, &file, &cause);

	(void)compose_bool(compose_get(item, "required"), &required);
	if (r == -ENOENT && !required)
		return 0;
	if (r < 0)
		return compose_error(&path->span, r, settings->err, "env file %s not found: %s",
				     path->text, cause.text);
	if (format && strcmp(format, "raw") == 0) {
		add_raw(settings, file, &env);
		return loader_check_memory(settings->loader, &path->span, settings->err);
	}
	r = compose_dotenv_parse(file, &env, arena_of(settings), &parsed, settings->err);
	if (r < 0)
		return r;
	for (size_t i = 0; i < parsed.n; i++) {
		const struct compose_assignment *assignment = &parsed.items[i];
		struct compose_setting setting = {.name = assignment->name,
						  .value = assignment->value,
						  .assignment = assignment,
						  .file = file};

		if (!assignment->commented && assignment->value)
			add_of_file(settings, &setting);
	}
	return loader_check_memory(settings->loader, &path->span, settings->err);
}

static int compare_settings(const void *a, const void *b)
{
	const struct compose_setting *one = a, *other = b;

	return strcmp(one->name, other->name);
}

static void keep(struct settings *settings)
{
	struct compose_service *service = settings->service;

	service->settings = arena_alloc(arena_of(settings), settings->n * sizeof *settings->items);
	for (size_t i = 0; i < settings->n; i++)
		if (settings->items[i].value)
			service->settings[service->n_settings++] = settings->items[i];
	if (service->n_settings > 0)
		qsort(service->settings, service->n_settings, sizeof *service->settings,
		      compare_settings);
}

int settings_create(struct loader *loader, struct compose_service *service, struct error *err)
{
	struct settings settings = {.loader = loader, .service = service, .err = err};
	const struct compose_node *files = compose_get(service->node, "env_file");
	struct error ignored = {};
	int r = 0;

	settings.names = compose_node_map(arena_of(&settings), NULL);
	if (!service->active)
		settings.err = &ignored;
	add_environment(&settings);
	for (size_t i = 0; files && files->type == COMPOSE_LIST && i < files->n; i++) {
		r = add_file(&settings, files->items[i]);
		if (r < 0 && service->active)
			break;
		r = 0;
	}
	keep(&settings);
	free(settings.items);
	return r;
}

const struct compose_setting *compose_service_setting(const struct compose_service *service,
						      const char *name)
{
	struct compose_setting key = {.name = name};

	if (service->n_settings == 0)
		return NULL;
	return bsearch(&key, service->settings, service->n_settings, sizeof *service->settings,
		       compare_settings);
}
