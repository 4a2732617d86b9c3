/*
 * The files of a project as they are read, and the documents in them: filled in with the variables
 * of their level, completed by what they include and extend, merged in compose-go's order
 * (loader/loader.go). A file is parsed once for each level (the project, an included one) that
 * reads it: the variables of a level are filled into its trees.
 */
#include "compose/merge.h"
#include "compose/project_priv.h"

#include "util/file.h"
#include "util/paths.h"

#include <errno.h>
#include <string.h>
#include <sys/stat.h>

char *loader_join(struct loader *loader, const char *dir, const char *path)
{
	auto_free char *joined = compose_path_join(dir ? dir : loader->standing, path);

	return arena_strdup(loader_arena(loader), joined);
}

char *loader_dirname(struct loader *loader, const char *path)
{
	auto_free char *folder = paths_folder_of(path);

	return arena_strdup(loader_arena(loader), folder);
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

int loader_given_file(struct loader *loader, const char *path, const struct compose_file **ret_file,
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
		compose_map_put(loader_arena(loader), loader->unset, use->name, NULL, NULL);
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

int loader_parse(struct loader *loader, const struct compose_file *file, struct parsed *ret_parsed,
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
	return compose_parse(file, loader_arena(loader), &ret_parsed->roots, &ret_parsed->n, err);
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
	int r = loader_parse(loader, file, &parsed, err);

	if (r < 0)
		return r;
	note_file(loader, file);
	documents = arena_alloc(loader_arena(loader), parsed.n * sizeof *documents);
	for (size_t i = 0; i < parsed.n; i++) {
		struct compose_node *root = parsed.roots[i];

		if (root->type != COMPOSE_MAP)
			return compose_error(&root->span, -EINVAL, err,
					     "the top of a document must be a mapping");
		documents[i].file = file;
		documents[i].marks = may_be_marked(file) && compose_marked(root) ? root : NULL;
		documents[i].root =
		    documents[i].marks ? compose_without_resets(loader_arena(loader), root) : root;
		r = compose_interpolate_tree(env, loader_arena(loader), documents[i].root, err);
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
		int r = old ? compose_merge_settle(loader_arena(loader), name, old, &new, err) : 0;

		if (r < 0)
			return r;
		if (new == old)
			continue;
		if (!copy)
			copy = compose_node_copy(loader_arena(loader), services);
		compose_map_put(loader_arena(loader), copy, name, NULL, new);
	}
	if (copy) {
		*model = compose_node_copy(loader_arena(loader), *model);
		compose_map_put(loader_arena(loader), *model, "services", NULL, copy);
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

		merge.base = compose_reset(loader_arena(loader), *model, document->marks);
		r = compose_merge(loader_arena(loader), &merge, &merged, err);
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
	full = compose_node_scalar(loader_arena(loader), path, env_file_path(loader, dir, text));
	if (item == path)
		return full;
	item = compose_node_copy(loader_arena(loader), item);
	compose_map_put(loader_arena(loader), item, "path", NULL, full);
	return item;
}

static struct compose_node *absolute_env_files(struct loader *loader, struct compose_node *node,
					       const char *dir)
{
	struct compose_node *copy;

	if (node->type != COMPOSE_LIST)
		return absolute_entry(loader, node, dir);
	copy = compose_node_list(loader_arena(loader), node);
	for (size_t i = 0; i < node->n; i++)
		compose_list_add(loader_arena(loader), copy,
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
		service = compose_node_copy(loader_arena(loader), service);
		compose_map_put(loader_arena(loader), service, "env_file", NULL,
				absolute_env_files(loader, files, dir));
		if (!all)
			all = compose_node_copy(loader_arena(loader), services);
		compose_map_put(loader_arena(loader), all, services->entries[i].key, NULL, service);
	}
	if (!all)
		return;
	document->root = compose_node_copy(loader_arena(loader), document->root);
	compose_map_put(loader_arena(loader), document->root, "services", NULL, all);
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
