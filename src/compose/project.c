/*
 * See project.h. Which files make up a project, and in what order they are read: as compose-go's
 * cli/options.go and loader/loader.go, with the order of steps of docker compose's own
 * cmd/compose/compose.go. All of it works on one arena; what is found wrong ends the load.
 *
 * A file is parsed once for each level (the project, an included one) that reads it: the variables
 * of a level are filled into its trees.
 */
#include "compose/merge.h"
#include "compose/project_priv.h"

#include "util/file.h"
#include "util/paths.h"

#include <ctype.h>
#include <errno.h>
#include <string.h>
#include <sys/stat.h>

#define PROFILES_MAX 1000

/* In the order compose looks for them. */
static const char *const default_names[] = {"compose.yaml", "compose.yml", "docker-compose.yml",
					    "docker-compose.yaml"};
static const char *const override_names[] = {"compose.override.yml", "compose.override.yaml",
					     "docker-compose.override.yml",
					     "docker-compose.override.yaml"};

static struct arena *arena_of(struct loader *loader)
{
	return &loader->project->arena;
}

char *loader_join(struct loader *loader, const char *dir, const char *path)
{
	auto_free char *joined = compose_path_join(dir ? dir : loader->standing, path);

	return arena_strdup(arena_of(loader), joined);
}

char *loader_dirname(struct loader *loader, const char *path)
{
	auto_free char *folder = paths_folder_of(path);

	return arena_strdup(arena_of(loader), folder);
}

bool loader_exists(const struct loader *loader, const char *path)
{
	const struct compose_options *options = loader->options;
	struct stat st;

	for (size_t i = 0; i < options->n_memory; i++)
		if (strcmp(options->memory[i].path, path) == 0)
			return true;
	return !options->memory && stat(path, &st) == 0 && !S_ISDIR(st.st_mode);
}

int loader_check_memory(const struct loader *loader, const struct compose_span *span,
			struct error *err)
{
	if (loader->project->arena.used <= COMPOSE_PROJECT_MEMORY_MAX)
		return 0;
	return compose_error(span, -E2BIG, err,
			     "the project takes more than %zu MiB of memory here",
			     COMPOSE_PROJECT_MEMORY_MAX >> 20);
}

static int memory_file(struct loader *loader, const char *path,
		       const struct compose_file **ret_file, struct error *err)
{
	const struct compose_memory_file *all = loader->options->memory;

	for (size_t i = 0; i < loader->options->n_memory; i++) {
		if (strcmp(all[i].path, path) != 0)
			continue;
		if (!loader->memory_files[i])
			loader->memory_files[i] = compose_files_add(
			    &loader->project->files, all[i].path, all[i].text, all[i].len);
		*ret_file = loader->memory_files[i];
		return 0;
	}
	return error_set(err, -ENOENT, "%s: no such file", path);
}

static int standard_input(struct loader *loader, const struct compose_file **ret_file,
			  struct error *err)
{
	auto_text struct text text = {};
	int r = file_read("-", COMPOSE_FILE_MAX, true, &text, err);

	if (r == 0)
		*ret_file = compose_files_add(&loader->project->files, "-",
					      text.data ? text.data : "", text.len);
	return r;
}

/* Named on the command line: <(...) of a shell, /dev/null. Nothing that a file names is read so, it
 * could block. */
static bool is_stream(const struct loader *loader, const char *path)
{
	auto_free char *full = compose_path_join(loader->standing, path);
	struct stat st;

	return !loader->options->memory && strcmp(path, "-") != 0 && stat(full, &st) == 0 &&
	       (S_ISCHR(st.st_mode) || S_ISFIFO(st.st_mode));
}

static int stream_file(struct loader *loader, const char *path,
		       const struct compose_file **ret_file, struct error *err)
{
	auto_free char *full = compose_path_join(loader->standing, path);
	auto_text struct text text = {};
	int r;

	if (loader->project->files.n >= COMPOSE_FILES_MAX)
		return error_set(err, -E2BIG, "%s: more than %d files in one project", path,
				 COMPOSE_FILES_MAX);
	r = file_read(full, COMPOSE_FILE_MAX, true, &text, err);
	if (r == 0)
		*ret_file = compose_files_add(&loader->project->files, path,
					      text.data ? text.data : "", text.len);
	return r;
}

/* A file that the command line names. */
static int given_file(struct loader *loader, const char *path, const struct compose_file **ret_file,
		      struct error *err)
{
	return is_stream(loader, path) ? stream_file(loader, path, ret_file, err)
				       : loader_file(loader, NULL, path, ret_file, err);
}

int loader_file(struct loader *loader, const char *dir, const char *path,
		const struct compose_file **ret_file, struct error *err)
{
	auto_free char *full = compose_path_join(dir ? dir : loader->standing, path);
	size_t known = loader->project->files.n;
	struct compose_span begin = {};
	int r;

	if (loader->options->memory)
		r = memory_file(loader, strcmp(path, "-") == 0 ? path : full, ret_file, err);
	else if (strcmp(path, "-") == 0)
		r = standard_input(loader, ret_file, err);
	else
		r = compose_files_load(&loader->project->files, NULL, full, ret_file, err);
	if (r < 0 || loader->project->files.n == known)
		return r;
	begin.file = *ret_file;
	loader->n_text += (*ret_file)->len;
	if (loader->n_text > COMPOSE_PROJECT_TEXT_MAX || known >= COMPOSE_FILES_MAX)
		return compose_error(&begin, -E2BIG, err,
				     "the project has more than %zu MiB or %d files",
				     COMPOSE_PROJECT_TEXT_MAX >> 20, COMPOSE_FILES_MAX);
	return 0;
}

static void warn_unset(struct loader *loader, const struct compose_node *node)
{
	for (size_t i = 0; i < node->n_uses; i++) {
		const struct compose_use *use = &node->uses[i];
		struct error text = {};
		struct compose_span at;

		if (use->source != COMPOSE_ABSENT || use->unused || *use->operator_ ||
		    compose_entry(loader->unset, use->name))
			continue;
		compose_map_put(arena_of(loader), loader->unset, use->name, NULL, NULL);
		(void)compose_part_span(node, use->begin, use->end, &at);
		(void)compose_error(&at, -ENOENT, &text,
				    "The \"%s\" variable is not set. Defaulting to a blank string.",
				    use->name);
		strings_add(&loader->project->warnings, text.text);
	}
	for (size_t i = 0; i < node->n; i++)
		warn_unset(loader,
			   node->type == COMPOSE_MAP ? node->entries[i].value : node->items[i]);
}

static int parse(struct loader *loader, const struct compose_file *file, struct parsed *ret_parsed,
		 struct error *err)
{
	struct parsed *ahead = loader->ahead;

	for (; ahead && ahead->file != file; ahead = ahead->next)
		;
	if (ahead) {
		*ret_parsed = *ahead;
		ahead->file = NULL; /* what is filled into these trees is one level's */
		return 0;
	}
	ret_parsed->file = file;
	return compose_parse(file, arena_of(loader), &ret_parsed->roots, &ret_parsed->n, err);
}

static void note_file(struct loader *loader, const struct compose_file *file)
{
	for (size_t i = 0; i < loader->compose_files.n; i++)
		if (loader->compose_files.items[i] == file)
			return;
	ARRAY_GROW(loader->compose_files.items, loader->compose_files.n,
		   loader->compose_files.room);
	loader->compose_files.items[loader->compose_files.n++] = file;
}

/* Most files are not, and their trees need not be gone through. */
static bool may_be_marked(const struct compose_file *file)
{
	return strstr(file->text, "!reset") || strstr(file->text, "!override") ||
	       strstr(file->text, "%TAG");
}

int loader_documents(struct loader *loader, const struct compose_file *file,
		     const struct compose_env *env, struct documents *ret_documents,
		     struct error *err)
{
	struct compose_span begin = {file, 0, 0};
	struct document *documents;
	struct parsed parsed = {};
	int r = parse(loader, file, &parsed, err);

	if (r < 0)
		return r;
	note_file(loader, file);
	documents = arena_alloc(arena_of(loader), parsed.n * sizeof *documents);
	for (size_t i = 0; i < parsed.n; i++) {
		struct compose_node *root = parsed.roots[i];

		if (root->type != COMPOSE_MAP)
			return compose_error(&root->span, -EINVAL, err,
					     "the top of a document must be a mapping");
		documents[i].file = file;
		documents[i].marks = may_be_marked(file) && compose_marked(root) ? root : NULL;
		documents[i].root =
		    documents[i].marks ? compose_without_resets(arena_of(loader), root) : root;
		r = compose_interpolate_tree(env, arena_of(loader), documents[i].root, err);
		if (r < 0)
			return r;
		warn_unset(loader, documents[i].root);
		ARRAY_GROW(loader->documents.items, loader->documents.n, loader->documents.room);
		loader->documents.items[loader->documents.n++] = documents[i].root;
	}
	*ret_documents = (struct documents){documents, parsed.n};
	return loader_check_memory(loader, &begin, err);
}

/* Bring the services a document has touched into form. */
static int settle(struct loader *loader, const struct document *document,
		  struct compose_node **model, struct error *err)
{
	const struct compose_node *touched = compose_get(document->root, "services");
	const struct compose_node *services = compose_get(*model, "services");
	struct compose_node *copy = NULL;

	if (!services || services->type == COMPOSE_NULL)
		return 0;
	if (services->type != COMPOSE_MAP)
		return compose_error(&services->span, -EINVAL, err, "services must be a mapping");
	for (size_t i = 0; touched && touched->type == COMPOSE_MAP && i < touched->n; i++) {
		const char *name = touched->entries[i].key;
		struct compose_node *old = compose_get(services, name), *new = old;
		int r = old ? compose_merge_settle(arena_of(loader), name, old, &new, err) : 0;

		if (r < 0)
			return r;
		if (new == old)
			continue;
		if (!copy)
			copy = compose_node_copy(arena_of(loader), services);
		compose_map_put(arena_of(loader), copy, name, NULL, new);
	}
	if (copy) {
		*model = compose_node_copy(arena_of(loader), *model);
		compose_map_put(arena_of(loader), *model, "services", NULL, copy);
	}
	return 0;
}

int loader_merge(struct loader *loader, const struct document *document,
		 struct compose_node **model, struct error *err)
{
	struct compose_node *merged = document->root;
	int r;

	if (*model) {
		struct compose_merge merge = {.over = document->root};

		merge.base = compose_reset(arena_of(loader), *model, document->marks);
		r = compose_merge(arena_of(loader), &merge, &merged, err);
		if (r < 0)
			return r;
	}
	r = settle(loader, document, &merged, err);
	if (r < 0)
		return r;
	*model = merged;
	return loader_check_memory(loader, &document->root->span, err);
}

/* "~/x" is below the home of whom the shell belongs to. */
static char *env_file_path(struct loader *loader, const char *dir, const char *path)
{
	if (*path == '~' && (path[1] == '/' || path[1] == '\0')) {
		for (char *const *i = loader->options->shell; i && *i; i++)
			if (text_starts_with(*i, "HOME=/"))
				return loader_join(loader, *i + strlen("HOME="),
						   path + 1 + strspn(path + 1, "/"));
	}
	return loader_join(loader, dir, path);
}

/* One entry of env_file, in either form. */
static struct compose_node *absolute_entry(struct loader *loader, struct compose_node *item,
					   const char *dir)
{
	struct compose_node *path = item->type == COMPOSE_MAP ? compose_get(item, "path") : item;
	const char *text = compose_text(path);
	struct compose_node *full;

	if (!text || !*text || *text == '/')
		return item;
	full = compose_node_scalar(arena_of(loader), path, env_file_path(loader, dir, text));
	if (item == path)
		return full;
	item = compose_node_copy(arena_of(loader), item);
	compose_map_put(arena_of(loader), item, "path", NULL, full);
	return item;
}

static struct compose_node *absolute_env_files(struct loader *loader, struct compose_node *node,
					       const char *dir)
{
	struct compose_node *copy;

	if (node->type != COMPOSE_LIST)
		return absolute_entry(loader, node, dir);
	copy = compose_node_list(arena_of(loader), node);
	for (size_t i = 0; i < node->n; i++)
		compose_list_add(arena_of(loader), copy,
				 absolute_entry(loader, node->items[i], dir));
	return copy;
}

void loader_absolute(struct loader *loader, struct document *document, const char *dir)
{
	const struct compose_node *services = compose_get(document->root, "services");
	struct compose_node *all = NULL;

	for (size_t i = 0; services && services->type == COMPOSE_MAP && i < services->n; i++) {
		struct compose_node *service = services->entries[i].value;
		struct compose_node *files = compose_get(service, "env_file");

		if (!files || files->type == COMPOSE_NULL)
			continue;
		service = compose_node_copy(arena_of(loader), service);
		compose_map_put(arena_of(loader), service, "env_file", NULL,
				absolute_env_files(loader, files, dir));
		if (!all)
			all = compose_node_copy(arena_of(loader), services);
		compose_map_put(arena_of(loader), all, services->entries[i].key, NULL, service);
	}
	if (!all)
		return;
	document->root = compose_node_copy(arena_of(loader), document->root);
	compose_map_put(arena_of(loader), document->root, "services", NULL, all);
}

int level_read(struct loader *loader, struct level *level, struct compose_node **ret_root,
	       struct error *err)
{
	const struct level_files *files = level->files;
	struct compose_node *root = NULL;

	for (size_t i = 0; i < files->n; i++) {
		struct documents documents = {};
		int r;

		level->reading = files->items[i];
		r = loader_documents(loader, files->items[i], level->env, &documents, err);
		for (size_t j = 0; r == 0 && j < documents.n; j++) {
			r = include_apply(loader, level, &documents.items[j], err);
			if (r == 0)
				r = extends_apply(loader, level, &documents.items[j], err);
			loader_absolute(loader, &documents.items[j], level->dir);
			if (r == 0)
				r = loader_merge(loader, &documents.items[j], &root, err);
		}
		if (r < 0)
			return r;
	}
	*ret_root = root;
	return 0;
}

/* What -f, COMPOSE_FILE or the search gave. */
struct found {
	struct strings files; /* as given, relative to where one stands */
	const char *dir;      /* of the project */
};

static void found_finish(struct found *found)
{
	strings_finish(&found->files);
}

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

static const char *variable(const struct compose_env *env, const char *name)
{
	const struct compose_variable *found = compose_env_get(env, name);

	return found && found->value && *found->value ? found->value : NULL;
}

static int files_of_variable(struct loader *loader, const struct compose_env *env,
			     struct found *found, struct error *err)
{
	const char *list = variable(env, "COMPOSE_FILE");
	const char *separator = variable(env, "COMPOSE_PATH_SEPARATOR");

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
	const struct compose_file **files = arena_alloc(arena_of(loader), names->n * sizeof *files);

	for (size_t i = 0; i < names->n; i++) {
		struct error cause = {};
		int r = given_file(loader, names->items[i], &files[i], &cause);

		if (r == -ENOENT)
			return error_set(err, r, "couldn't find env file: %s",
					 loader_join(loader, NULL, names->items[i]));
		if (r < 0)
			return error_set(err, r, "%s", cause.text);
	}
	return compose_env_create(arena_of(loader), loader->options->shell, files, names->n,
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
		r = compose_env_nested(arena_of(loader), env, &file, 1, &below, err);
	if (r < 0)
		return r;
	/* Both are the project's; what was read before wins. */
	files = arena_alloc(arena_of(loader), (env->n_files + below.n_files) * sizeof *files);
	memcpy(files, below.files, below.n_files * sizeof *files);
	if (env->n_files > 0)
		memcpy(files + below.n_files, env->files, env->n_files * sizeof *files);
	below.files = files;
	below.n_files += env->n_files;
	*ret_env = below;
	return 0;
}

/* The files and the variables: COMPOSE_FILE may stand in the .env of the folder one stands in, and
 * the files it names may have another folder with another .env. */
static int find(struct loader *loader, struct found *found, struct compose_env *ret_env,
		struct error *err)
{
	const struct strings *given = loader->options->files, *envs = loader->options->env_files;
	bool own = !envs || envs->n == 0, disabled = false;
	const char *first_dir;
	int r = compose_env_create(arena_of(loader), loader->options->shell, NULL, 0, ret_env, err);

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
		return error_set(
		    err, -ENOENT,
		    "no configuration file provided: there is no compose.yaml in %s or "
		    "above; name one with -f",
		    found->dir);
	found->dir = project_dir(loader, &found->files);
	if (own && !disabled && strcmp(found->dir, first_dir) != 0)
		r = env_of_dir(loader, found->dir, ret_env, ret_env, err);
	return r;
}

/* compose-go: NormalizeProjectName. */
static char *normal_name(struct loader *loader, const char *name)
{
	char *normal = arena_strdup(arena_of(loader), name), *to = normal;

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
	loader->project->name = arena_strdup(arena_of(loader), name);
	return 0;
}

/* The last `name:` of the files, whose trees are kept for when they are read. */
static int name_of_files(struct loader *loader, const struct level_files *files,
			 const struct compose_node **ret_name, struct error *err)
{
	for (size_t i = 0; i < files->n; i++) {
		struct parsed *ahead = arena_alloc(arena_of(loader), sizeof *ahead);
		int r = parse(loader, files->items[i], ahead, err);

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
	const char *set = variable(env, "COMPOSE_PROJECT_NAME"), *text = NULL;
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
		r = compose_interpolate(env, arena_of(loader), named->raw, &text, NULL, &cause);
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
	variables = arena_alloc(arena_of(loader), (env->n + 1) * sizeof *variables);
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
	const char *list = variable(env, "COMPOSE_PROFILES");

	loader->profiles = compose_node_map(arena_of(loader), NULL);
	for (size_t i = 0; given && i < given->n; i++)
		compose_map_put(arena_of(loader), loader->profiles,
				arena_strdup(arena_of(loader), given->items[i]), NULL, NULL);
	if (given && given->n > 0)
		return 0;
	list = list ? list : "";
	for (bool more = true; more;) {
		size_t to = strcspn(list, ","), from = MIN_OF(strspn(list, " \t"), to);
		const char *next = list + to;

		while (to > from && isspace((unsigned char)list[to - 1]))
			to--;
		compose_map_put(arena_of(loader), loader->profiles,
				arena_strndup(arena_of(loader), list + from, to - from), NULL,
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
	const struct compose_file **files = arena_alloc(arena_of(loader), names->n * sizeof *files);
	const struct strings *given = loader->options->files;

	for (size_t i = 0; i < names->n; i++) {
		/* Also from COMPOSE_FILE, which a file may say: then only files. */
		int r = given && given->n > 0
			    ? given_file(loader, names->items[i], &files[i], err)
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
	struct arena *arena = arena_of(loader);
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
	struct level *level = arena_alloc(arena_of(loader), sizeof *level);
	struct compose_env *env = arena_alloc(arena_of(loader), sizeof *env);
	struct level_files files = {};
	struct compose_node *root = NULL;
	int r = find(loader, found, env, err);

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
	found_finish(&found);
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
