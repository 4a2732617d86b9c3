/*
 * `include:`, as compose-go's loader/include.go does it: each entry is a project of its own, with
 * its own folder and .env below ours, loaded and merged before what includes it; where both define
 * something, the local definition is merged over the included one.
 */
#include "compose/merge.h"
#include "compose/project_priv.h"

#include <errno.h>
#include <string.h>

static const char *const sections[] = {"services", "volumes", "networks",
				       "secrets",  "configs", "models"};

/* One entry of the list. */
struct include {
	const struct compose_node *node;
	const struct compose_node *paths; /* a list, or a scalar */
	const struct compose_node *env_files;
	const char *dir; /* of the included project; NULL: that of the first path */
};

static size_t list_length(const struct compose_node *node)
{
	return !node || node->type == COMPOSE_NULL ? 0 : node->type == COMPOSE_LIST ? node->n : 1;
}

static const struct compose_node *list_item(const struct compose_node *node, size_t i)
{
	return node->type == COMPOSE_LIST ? node->items[i] : node;
}

static int include_parse(const struct compose_node *node, struct include *ret_include,
			 struct error *err)
{
	struct include include = {.node = node, .paths = node};

	if (node->type == COMPOSE_MAP) {
		include.paths = compose_get(node, "path");
		include.env_files = compose_get(node, "env_file");
		include.dir = compose_text(compose_get(node, "project_directory"));
	}
	if (list_length(include.paths) == 0)
		return compose_error(&node->span, -EINVAL, err,
				     "include: `path` is missing: name a compose file");
	for (size_t i = 0; i < list_length(include.paths); i++)
		if (!compose_text(list_item(include.paths, i)))
			return compose_error(&list_item(include.paths, i)->span, -EINVAL, err,
					     "include: this is not the path of a file");
	for (size_t i = 0; i < list_length(include.env_files); i++)
		if (!compose_text(list_item(include.env_files, i)))
			return compose_error(&list_item(include.env_files, i)->span, -EINVAL, err,
					     "include: this is not the path of an env file");
	*ret_include = include;
	return 0;
}

static int cycle(const struct level *level, const struct compose_file *file,
		 const struct compose_node *at, struct error *err)
{
	auto_text struct text chain = {};
	const struct level *from = level;

	while (from->reading != file)
		from = from->up;
	for (const struct level *i = level; i != from->up; i = i->up) {
		auto_free char *rest = text_take(&chain);

		text_printf(&chain, "%s includes %s", i->reading->shown, rest);
	}
	return compose_error(&at->span, -ELOOP, err, "include cycle detected: %s%s", chain.data,
			     file->shown);
}

static int include_files(struct loader *loader, struct level *level, const struct include *include,
			 const struct compose_file **files, struct error *err)
{
	for (size_t i = 0; i < list_length(include->paths); i++) {
		const struct compose_node *path = list_item(include->paths, i);
		int r = loader_file(loader, level->dir, path->text, &files[i], err);

		if (r < 0) {
			struct error cause = err ? *err : (struct error){};

			return compose_error(&path->span, r, err, "include: %s", cause.text);
		}
		for (const struct level *up = level; up; up = up->up)
			if (up->reading == files[i])
				return cycle(level, files[i], path, err);
	}
	return 0;
}

/* Its own variables, below those of the level that includes it. */
static int include_env(struct loader *loader, const struct level *level,
		       const struct include *include, const struct compose_env **ret_env,
		       struct error *err)
{
	struct arena *arena = &loader->project->arena;
	size_t n = list_length(include->env_files), n_files = 0;
	const struct compose_file **files = arena_alloc(arena, (n + 1) * sizeof *files);
	struct compose_env *env = arena_alloc(arena, sizeof *env);
	const char *own = loader_join(loader, include->dir, ".env");
	int r;

	if (n == 0 && loader_exists(loader, own)) {
		r = loader_file(loader, NULL, own, &files[n_files++], err);
		if (r < 0)
			return r;
	}
	for (size_t i = 0; i < n; i++) {
		const struct compose_node *path = list_item(include->env_files, i);

		if (strcmp(path->text, "/dev/null") == 0)
			continue;
		r = loader_file(loader, level->dir, path->text, &files[n_files++], err);
		if (r < 0)
			return compose_error(&path->span, r, err, "couldn't find env file: %s",
					     loader_join(loader, level->dir, path->text));
	}
	r = compose_env_nested(arena, level->env, files, n_files, env, err);
	if (r < 0)
		return r;
	*ret_env = env;
	return 0;
}

/* Put what is in `from` into that section of the document; what both have is merged, ours over
 * theirs. */
static int import(struct loader *loader, struct document *document, const char *section,
		  const struct compose_node *from, struct error *err)
{
	struct arena *arena = &loader->project->arena;
	const struct compose_node *marks = compose_get(document->marks, section);
	const struct compose_node *to = compose_get(document->root, section);
	struct compose_node *all;

	if (to && to->type != COMPOSE_MAP && to->type != COMPOSE_NULL)
		return compose_error(&to->span, -EINVAL, err, "%s must be a mapping", section);
	all = to && to->type == COMPOSE_MAP ? compose_node_copy(arena, to)
					    : compose_node_map(arena, from);
	for (size_t i = 0; i < from->n; i++) {
		const struct compose_entry *entry = &from->entries[i];
		struct compose_node *ours = compose_get(all, entry->key), *merged = entry->value;
		struct compose_merge merge = {section, entry->key, entry->value, ours};
		int r;

		if (ours) {
			merge.base =
			    compose_reset(arena, entry->value, compose_get(marks, entry->key));
			r = compose_merge(arena, &merge, &merged, err);
			if (r < 0)
				return r;
		}
		compose_map_put(arena, all, entry->key, &entry->key_span, merged);
	}
	compose_map_put(arena, document->root, section, NULL, all);
	return 0;
}

static int include_one(struct loader *loader, struct level *level, struct document *document,
		       struct include *include, struct error *err)
{
	struct arena *arena = &loader->project->arena;
	size_t n = list_length(include->paths);
	struct level_files *files = arena_alloc(arena, sizeof *files);
	struct level *inner = arena_alloc(arena, sizeof *inner);
	struct compose_node *root = NULL;
	int r;

	if (level->depth + 1 > COMPOSE_INCLUDE_MAX || ++loader->n_included > COMPOSE_INCLUDES_MAX)
		return compose_error(
		    &include->node->span, -E2BIG, err,
		    "include: more than %d projects in all, or %d inside each other",
		    COMPOSE_INCLUDES_MAX, COMPOSE_INCLUDE_MAX);
	*files = (struct level_files){arena_alloc(arena, n * sizeof *files->items), n};
	r = include_files(loader, level, include, files->items, err);
	if (r < 0)
		return r;
	*inner = (struct level){
	    .next = loader->levels, .up = level, .depth = level->depth + 1, .files = files};
	include->dir =
	    include->dir ? loader_join(loader, level->dir, include->dir)
			 : loader_dirname(loader, loader_join(loader, level->dir,
							      list_item(include->paths, 0)->text));
	inner->dir = include->dir;
	r = include_env(loader, level, include, &inner->env, err);
	if (r < 0)
		return r;
	loader->levels = inner;
	r = level_read(loader, inner, &root, err);
	if (r < 0)
		return r;
	for (size_t i = 0; root && i < ARRAY_LEN(sections); i++) {
		struct compose_node *from = compose_get(root, sections[i]);

		if (!from || from->type != COMPOSE_MAP)
			continue;
		r = import(loader, document, sections[i], from, err);
		if (r < 0)
			return r;
	}
	return loader_check_memory(loader, &include->node->span, err);
}

int include_apply(struct loader *loader, struct level *level, struct document *document,
		  struct error *err)
{
	const struct compose_node *list = compose_get(document->root, "include");

	if (!list)
		return 0;
	if (list->type != COMPOSE_LIST && list->type != COMPOSE_NULL)
		return compose_error(&list->span, -EINVAL, err, "`include` must be a list");
	document->root = compose_node_copy(&loader->project->arena, document->root);
	for (size_t i = 0; i < list->n; i++) {
		struct include include = {};
		int r = include_parse(list->items[i], &include, err);

		if (r == 0)
			r = include_one(loader, level, document, &include, err);
		if (r < 0)
			return r;
	}
	compose_map_remove(document->root, "include");
	return 0;
}
