/*
 * Which files make up a project, where its folder is, and its variables: as compose-go's
 * cli/options.go, in the order of docker compose's own cmd/compose/compose.go.
 */
#include "compose/project_priv.h"

#include <errno.h>
#include <string.h>
#include <sys/stat.h>

/* In the order compose looks for them. */
static const char *const default_names[] = {"compose.yaml", "compose.yml", "docker-compose.yml",
					    "docker-compose.yaml"};
static const char *const override_names[] = {"compose.override.yml", "compose.override.yaml",
					     "docker-compose.override.yml",
					     "docker-compose.override.yaml"};

/* The folder of the project as far as is known: --project-directory, that of the first file, or
 * where one stands. */
static const char *project_dir(struct loader *loader, const struct strings *files)
{
	if (loader->options->project_dir && *loader->options->project_dir)
		return loader_join(loader, NULL, loader->options->project_dir);
	for (size_t i = 0; i < files->n; i++)
		if (strcmp(files->items[i], "-") != 0)
			return loader_dirname(loader, loader_join(loader, NULL, files->items[i]));
	return loader->standing;
}

/* The first of these names that is in `dir`; more than one are worth a warning. */
static const char *find_name(struct loader *loader, const char *dir, const char *const *names,
			     size_t n)
{
	const char *first = NULL;
	auto_text struct text others = {};

	for (size_t i = 0; i < n; i++) {
		const char *path = loader_join(loader, dir, names[i]);

		if (!loader_exists(loader, path))
			continue;
		if (first)
			text_printf(&others, ", %s", names[i]);
		else
			first = path;
	}
	if (others.len > 0) {
		auto_free char *warning = mem_printf(
		    "%s is used, and what else is there is not: %s", first, others.data + 2);

		strings_add(&loader->project->warnings, warning);
	}
	return first;
}

static void search_files(struct loader *loader, struct found *found)
{
	const char *dir = found->dir;

	for (;;) {
		const char *path = find_name(loader, dir, default_names, ARRAY_LEN(default_names));

		if (path) {
			strings_add(&found->files, path);
			path = find_name(loader, dir, override_names, ARRAY_LEN(override_names));
			if (path)
				strings_add(&found->files, path);
			return;
		}
		if (strcmp(dir, "/") == 0)
			return;
		dir = loader_dirname(loader, dir);
	}
}

static int files_of_variable(struct loader *loader, const struct compose_env *env,
			     struct found *found, struct error *err)
{
	const char *list = compose_env_text(env, "COMPOSE_FILE");
	const char *separator = compose_env_text(env, "COMPOSE_PATH_SEPARATOR");

	if (!separator)
		separator = ":";
	while (list) {
		const char *end = strstr(list, separator);
		auto_free char *name =
		    end ? mem_strndup(list, (size_t)(end - list)) : mem_strdup(list);

		if (strcmp(name, "-") != 0 &&
		    !loader_exists(loader, loader_join(loader, NULL, name)))
			return error_set(err, -ENOENT,
					 "COMPOSE_FILE names %s, which is no file here", name);
		strings_add(&found->files, name);
		list = end ? end + strlen(separator) : NULL;
	}
	return 0;
}

/* Of the shell only, and as Go's strconv.ParseBool reads it. */
static int env_file_disabled(const struct compose_env *shell, bool *ret_disabled, struct error *err)
{
	static const char *const words[] = {"1", "t", "T", "TRUE",  "true",  "True",
					    "0", "f", "F", "FALSE", "false", "False"};
	const struct compose_variable *found = compose_env_get(shell, "COMPOSE_DISABLE_ENV_FILE");

	*ret_disabled = false;
	for (size_t i = 0; found && i < ARRAY_LEN(words); i++)
		if (strcmp(found->value, words[i]) == 0) {
			*ret_disabled = i < ARRAY_LEN(words) / 2;
			return 0;
		}
	return found ? error_set(err, -EINVAL,
				 "COMPOSE_DISABLE_ENV_FILE=%s is neither true nor false",
				 found->value)
		     : 0;
}

/* The environment with the files of --env-file. */
static int env_of_options(struct loader *loader, struct compose_env *ret_env, struct error *err)
{
	const struct strings *names = loader->options->env_files;
	const struct compose_file **files =
	    arena_alloc(loader_arena(loader), names->n * sizeof *files);

	for (size_t i = 0; i < names->n; i++) {
		struct error cause = {};
		int r = loader_given_file(loader, names->items[i], &files[i], &cause);

		if (r == -ENOENT)
			return error_set(err, r, "couldn't find env file: %s",
					 loader_join(loader, NULL, names->items[i]));
		if (r < 0)
			return error_set(err, r, "%s", cause.text);
	}
	return compose_env_create(loader_arena(loader), loader->options->shell, files, names->n,
				  ret_env, err);
}

/* `env` with the .env of a folder, when there is one, below it. */
static int env_of_dir(struct loader *loader, const char *dir, const struct compose_env *env,
		      struct compose_env *ret_env, struct error *err)
{
	const char *path = loader_join(loader, dir, ".env");
	const struct compose_file *file = NULL;
	struct compose_env below = {};
	struct compose_env_file *files;
	int r;

	*ret_env = *env;
	if (!loader_exists(loader, path))
		return 0;
	r = loader_file(loader, NULL, path, &file, err);
	if (r == 0)
		r = compose_env_nested(loader_arena(loader), env, &file, 1, &below, err);
	if (r < 0)
		return r;
	/* Both are the project's; what was read before wins. */
	files = arena_alloc(loader_arena(loader), (env->n_files + below.n_files) * sizeof *files);
	memcpy(files, below.files, below.n_files * sizeof *files);
	if (env->n_files > 0)
		memcpy(files + below.n_files, env->files, env->n_files * sizeof *files);
	below.files = files;
	below.n_files += env->n_files;
	*ret_env = below;
	return 0;
}

/* ": compose.yaml there is a folder"; nothing when none of the names is there at all. */
static void add_what_is_there(struct loader *loader, const char *dir, struct text *text)
{
	for (size_t i = 0; i < ARRAY_LEN(default_names) && !loader->options->memory; i++) {
		const char *path = loader_join(loader, dir, default_names[i]);
		struct stat st;

		if (lstat(path, &st) < 0)
			continue;
		if (S_ISDIR(st.st_mode))
			text_printf(text, " (%s there is a folder)", default_names[i]);
		else if (stat(path, &st) < 0)
			text_printf(text, " (%s there is a link that cannot be followed: %s)",
				    default_names[i], strerror(errno));
		else if (S_ISDIR(st.st_mode))
			text_printf(text, " (%s there is a link to a folder)", default_names[i]);
	}
}

static int none_found(struct loader *loader, const char *dir, struct error *err)
{
	auto_text struct text there = {};

	add_what_is_there(loader, dir, &there);
	return error_set(err, -ENOENT,
			 "no configuration file provided: there is no compose.yaml in %s or "
			 "above%s; name one with -f",
			 dir, there.data ? there.data : "");
}

int loader_find(struct loader *loader, struct found *found, struct compose_env *ret_env,
		struct error *err)
{
	const struct strings *given = loader->options->files, *envs = loader->options->env_files;
	bool own = !envs || envs->n == 0, disabled = false;
	const char *first_dir;
	int r =
	    compose_env_create(loader_arena(loader), loader->options->shell, NULL, 0, ret_env, err);

	for (size_t i = 0; given && i < given->n; i++)
		strings_add(&found->files, given->items[i]);
	found->dir = first_dir = project_dir(loader, &found->files);
	if (r == 0 && own)
		r = env_file_disabled(ret_env, &disabled, err);
	loader->project->env_file_disabled = disabled;
	if (r == 0 && !own)
		r = env_of_options(loader, ret_env, err);
	else if (r == 0 && !disabled)
		r = env_of_dir(loader, first_dir, ret_env, ret_env, err);
	if (r == 0 && found->files.n == 0)
		r = files_of_variable(loader, ret_env, found, err);
	if (r < 0)
		return r;
	if (found->files.n == 0)
		search_files(loader, found);
	if (found->files.n == 0)
		return none_found(loader, found->dir, err);
	found->dir = project_dir(loader, &found->files);
	if (own && !disabled && strcmp(found->dir, first_dir) != 0)
		r = env_of_dir(loader, found->dir, ret_env, ret_env, err);
	return r;
}
