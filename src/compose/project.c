/*
 * See project.h. The steps of reading a project, in docker compose's order: its files and variables
 * (find.c), profiles, its name, the documents (documents.c), services. All of it works on one
 * arena; what is found wrong ends the load.
 */
#include "compose/project_priv.h"

#include <ctype.h>
#include <errno.h>
#include <string.h>

#define PROFILES_MAX 1000

/* compose-go: NormalizeProjectName. */
static char *normal_name(struct loader *loader, const char *name)
{
	char *normal = arena_strdup(loader_arena(loader), name), *to = normal;

	for (const char *c = name; *c; c++) {
		int lower = tolower((unsigned char)*c);

		if ((lower >= 'a' && lower <= 'z') || (*c >= '0' && *c <= '9') ||
		    ((*c == '_' || *c == '-') && to > normal))
			*to++ = (char)lower;
	}
	*to = '\0';
	return normal;
}

static int given_name(struct loader *loader, const char *name, const char *from, struct error *err)
{
	if (strcmp(normal_name(loader, name), name) != 0)
		return error_set(
		    err, -EINVAL,
		    "invalid project name \"%s\" (%s): must consist only of lowercase "
		    "alphanumeric characters, hyphens, and underscores as well as start "
		    "with a letter or number",
		    name, from);
	loader->project->name = arena_strdup(loader_arena(loader), name);
	return 0;
}

/* The last `name:` of the files, whose trees are kept for when they are read. */
static int name_of_files(struct loader *loader, const struct level_files *files,
			 const struct compose_node **ret_name, struct error *err)
{
	for (size_t i = 0; i < files->n; i++) {
		struct parsed *ahead = arena_alloc(loader_arena(loader), sizeof *ahead);
		int r = loader_parse(loader, files->items[i], ahead, err);

		if (r < 0)
			return r;
		ahead->next = loader->ahead;
		loader->ahead = ahead;
		for (size_t j = 0; j < ahead->n; j++) {
			const struct compose_node *name = compose_get(ahead->roots[j], "name");

			if (compose_text(name) && *name->raw)
				*ret_name = name;
		}
	}
	return 0;
}

/* -p, COMPOSE_PROJECT_NAME, `name:` of the files, the folder. */
static int find_name_of_project(struct loader *loader, const struct level_files *files,
				const struct compose_env *env, const char *dir, struct error *err)
{
	const char *given = loader->options->project_name;
	const char *set = compose_env_text(env, "COMPOSE_PROJECT_NAME"), *text = NULL;
	const struct compose_node *named = NULL;
	struct compose_span begin = {files->items[0], 0, 0};
	struct error cause = {};
	int r = name_of_files(loader, files, &named, err);

	if (r < 0)
		return r;
	if (given && *given)
		return given_name(loader, given, "-p", err);
	if (set)
		return given_name(loader, set, "COMPOSE_PROJECT_NAME", err);
	text = strrchr(dir, '/') + 1;
	if (named) {
		begin = named->span;
		r = compose_interpolate(env, loader_arena(loader), named->raw, &text, NULL, &cause);
		if (r < 0)
			return compose_error(&begin, r, err, "name: %s", cause.text);
	}
	loader->project->name = normal_name(loader, text);
	if (*loader->project->name == '\0')
		return compose_error(&begin, -EINVAL, err,
				     "project name must not be empty: give one with -p or `name:`");
	return 0;
}

/* Compose gives the files one variable more: the name of the project. */
static void env_add_name(struct loader *loader, struct compose_env *env)
{
	struct compose_variable name = {.name = "COMPOSE_PROJECT_NAME",
					.value = loader->project->name,
					.source = COMPOSE_SHELL};
	struct compose_variable *variables;
	size_t at = 0;
	const struct compose_variable *known = compose_env_get(env, name.name);

	if (known && strcmp(known->value, name.value) == 0)
		return;
	variables = arena_alloc(loader_arena(loader), (env->n + 1) * sizeof *variables);
	while (at < env->n && strcmp(env->variables[at].name, name.name) < 0)
		at++;
	memcpy(variables, env->variables, at * sizeof *variables);
	variables[at] = name;
	if (at < env->n && strcmp(env->variables[at].name, name.name) == 0) {
		memcpy(variables + at, env->variables + at, (env->n - at) * sizeof *variables);
		variables[at] = name;
	} else {
		memcpy(variables + at + 1, env->variables + at, (env->n - at) * sizeof *variables);
		env->n++;
	}
	env->variables = variables;
}

/* An empty name is one too: a service may have it, and it is on when nothing else was chosen, as
 * compose-go splits a COMPOSE_PROFILES that is not there. */
static int find_profiles(struct loader *loader, const struct compose_env *env, struct error *err)
{
	const struct strings *given = loader->options->profiles;
	const char *list = compose_env_text(env, "COMPOSE_PROFILES");

	loader->profiles = compose_node_map(loader_arena(loader), NULL);
	for (size_t i = 0; given && i < given->n; i++)
		compose_map_put(loader_arena(loader), loader->profiles,
				arena_strdup(loader_arena(loader), given->items[i]), NULL, NULL);
	if (given && given->n > 0)
		return 0;
	list = list ? list : "";
	for (bool more = true; more;) {
		size_t to = strcspn(list, ","), from = MIN_OF(strspn(list, " \t"), to);
		const char *next = list + to;

		while (to > from && isspace((unsigned char)list[to - 1]))
			to--;
		compose_map_put(loader_arena(loader), loader->profiles,
				arena_strndup(loader_arena(loader), list + from, to - from), NULL,
				NULL);
		more = *next == ',';
		list = next + 1;
		if (loader->profiles->n > PROFILES_MAX)
			return error_set(err, -E2BIG, "COMPOSE_PROFILES names more than %d",
					 PROFILES_MAX);
	}
	return 0;
}

static int load_files(struct loader *loader, const struct strings *names,
		      struct level_files *ret_files, struct error *err)
{
	const struct compose_file **files =
	    arena_alloc(loader_arena(loader), names->n * sizeof *files);
	const struct strings *given = loader->options->files;

	for (size_t i = 0; i < names->n; i++) {
		/* Also from COMPOSE_FILE, which a file may say: then only files. */
		int r = given && given->n > 0
			    ? loader_given_file(loader, names->items[i], &files[i], err)
			    : loader_file(loader, NULL, names->items[i], &files[i], err);

		if (r < 0)
			return r;
	}
	*ret_files = (struct level_files){files, names->n};
	return 0;
}

/* Hand over what the loader has gathered. */
static void hand_over(struct loader *loader, const struct level *level)
{
	struct compose_project *project = loader->project;
	struct arena *arena = loader_arena(loader);
	size_t n = 0;

	project->dir = arena_strdup(arena, level->dir);
	project->env = *level->env;
	project->main_files = level->files->items;
	project->n_main_files = level->files->n;
	project->n_compose_files = loader->compose_files.n;
	project->compose_files =
	    arena_alloc(arena, loader->compose_files.n * sizeof *project->compose_files);
	memcpy(project->compose_files, loader->compose_files.items,
	       loader->compose_files.n * sizeof *project->compose_files);
	project->n_documents = loader->documents.n;
	project->documents = arena_alloc(arena, loader->documents.n * sizeof *project->documents);
	memcpy(project->documents, loader->documents.items,
	       loader->documents.n * sizeof *project->documents);
	for (const struct level *i = loader->levels; i; i = i->next)
		n += i->up != NULL;
	project->included_envs = arena_alloc(arena, n * sizeof *project->included_envs);
	project->n_included_envs = n;
	for (const struct level *i = loader->levels; i; i = i->next)
		if (i->up)
			project->included_envs[--n] = *i->env;
}

static int load(struct loader *loader, struct found *found, struct error *err)
{
	struct level *level = arena_alloc(loader_arena(loader), sizeof *level);
	struct compose_env *env = arena_alloc(loader_arena(loader), sizeof *env);
	struct level_files files = {};
	struct compose_node *root = NULL;
	int r = loader_find(loader, found, env, err);

	if (r == 0)
		r = load_files(loader, &found->files, &files, err);
	if (r == 0)
		r = find_profiles(loader, env, err);
	if (r == 0)
		r = find_name_of_project(loader, &files, env, found->dir, err);
	if (r < 0)
		return r;
	env_add_name(loader, env);
	*level = (struct level){.dir = found->dir, .env = env, .files = &files};
	loader->levels = level;
	r = level_read(loader, level, &root, err);
	if (r < 0)
		return r;
	if (!root || root->n == 0)
		return error_set(err, -EINVAL, "%s: empty compose file", files.items[0]->shown);
	loader->project->root = root;
	hand_over(loader, level);
	return services_create(loader, err);
}

int compose_project_load(const struct compose_options *options,
			 struct compose_project **ret_project, struct error *err)
{
	auto_project struct compose_project *project = mem_calloc(1, sizeof *project);
	struct loader loader = {.project = project, .options = options};
	struct found found = {};
	auto_free char *standing = compose_path_join(options->dir, "");
	int r;

	loader.standing = project->files.standing = arena_strdup(&project->arena, standing);
	loader.unset = compose_node_map(&project->arena, NULL);
	loader.memory_files =
	    arena_alloc(&project->arena, options->n_memory * sizeof *loader.memory_files);
	r = load(&loader, &found, err);
	strings_finish(&found.files);
	free(loader.compose_files.items);
	free(loader.documents.items);
	if (r < 0)
		return r;
	*ret_project = TAKE(project);
	return 0;
}

void compose_project_destroy(struct compose_project *project)
{
	if (!project)
		return;
	strings_finish(&project->warnings);
	compose_files_finish(&project->files);
	arena_finish(&project->arena);
	free(project);
}

const struct compose_service *compose_project_find(const struct compose_project *project,
						   const char *name)
{
	const struct compose_node *services = compose_get(project->root, "services");
	const struct compose_entry *entry = compose_entry(services, name);

	return entry ? &project->services[entry - services->entries] : NULL;
}
