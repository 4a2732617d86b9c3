/*
 * `extends:`, as compose-go's loader/extends.go does it: the service named, in this document or in
 * another file, with what that extends itself, is the base, and the service is merged over it. What
 * the document resets is taken out of the base first. Another file is read once per level; what it
 * includes is not looked at. A service resolved once is kept, with the length of its chain.
 */
#include "compose/merge.h"
#include "compose/project_priv.h"

#include <errno.h>
#include <limits.h>
#include <string.h>

#define BEING_RESOLVED UINT_MAX

struct extending {
	struct loader *loader;
	struct level *level;
	struct error *err;
};

/* What a chain has come through, for the message of a circle. */
struct chain {
	const struct chain *up;
	const struct base_file *in;
	const char *service;
	unsigned length;
};

static struct base_file *base_create(struct loader *loader, const struct compose_file *file,
				     const char *dir, struct compose_node *services)
{
	struct arena *arena = &loader->project->arena;
	struct base_file *base = arena_alloc(arena, sizeof *base);

	*base = (struct base_file){.file = file, .dir = dir, .services = services};
	base->resolved = arena_alloc(arena, services->n * sizeof *base->resolved);
	base->depths = arena_alloc(arena, services->n * sizeof *base->depths);
	return base;
}

static int circle(const struct chain *chain, const struct base_file *in, const char *service,
		  const struct compose_span *at, struct error *err)
{
	auto_text struct text text = {};
	const struct chain *link = chain;

	for (; link; link = link->up) {
		auto_free char *rest = text_take(&text);

		text_printf(&text, "%s in %s extends %s", link->service, link->in->file->shown,
			    rest);
		if (link->in == in && strcmp(link->service, service) == 0)
			break;
	}
	return compose_error(at, -ELOOP, err, "circular reference: %s%s in %s", text.data, service,
			     in->file->shown);
}

/* Read another file for its services: merged from its documents, nothing included or extended. */
static int base_read(struct loader *loader, struct level *level, const struct compose_file *file,
		     struct base_file **ret_base, struct error *err)
{
	const char *dir = loader_dirname(loader, file->path);
	struct compose_node *model = NULL, *services;
	struct documents documents = {};
	struct base_file *base;
	int r = loader_documents(loader, file, level->env, &documents, err);

	for (size_t i = 0; r == 0 && i < documents.n; i++) {
		loader_absolute(loader, &documents.items[i], dir);
		r = loader_merge(loader, &documents.items[i], &model, err);
	}
	if (r < 0)
		return r;
	services = compose_get(model, "services");
	if (!services || services->type != COMPOSE_MAP)
		return error_set(err, -EINVAL, "%s has no services", file->shown);
	base = base_create(loader, file, dir, services);
	base->marks = documents.items[documents.n - 1].marks;
	base->next = level->bases;
	level->bases = base;
	*ret_base = base;
	return 0;
}

static int base_find(struct loader *loader, struct level *level, const char *dir, const char *path,
		     struct base_file **ret_base, struct error *err)
{
	const struct compose_file *file = NULL;
	int r = loader_file(loader, dir, path, &file, err);

	if (r < 0)
		return r;
	for (struct base_file *base = level->bases; base; base = base->next)
		if (base->file == file) {
			*ret_base = base;
			return 0;
		}
	return base_read(loader, level, file, ret_base, err);
}

static int resolve(struct extending *x, struct base_file *in, const struct compose_entry *entry,
		   const struct chain *chain, struct compose_node **ret_node);

/* Which service of which file is extended. */
static int find_base(struct extending *x, struct base_file *in, const struct compose_entry *entry,
		     struct base_file **ret_base, const struct compose_entry **ret_entry)
{
	const struct compose_node *extends = compose_get(entry->value, "extends");
	const struct compose_node *service =
	    extends->type == COMPOSE_MAP ? compose_get(extends, "service") : extends;
	const struct compose_node *file = compose_get(extends, "file");
	const char *name = compose_text(service), *path = compose_text(file);
	struct error cause = {};
	int r;

	if (!name)
		return compose_error(&extends->span, -EINVAL, x->err,
				     "extends.%s.service is required", entry->key);
	*ret_base = in;
	if (path) {
		r = base_find(x->loader, x->level, in->dir, path, ret_base, &cause);
		if (r < 0)
			return compose_error(&file->span, r, x->err,
					     "cannot extend service \"%s\": %s", entry->key,
					     cause.text);
	}
	*ret_entry = compose_entry((*ret_base)->services, name);
	if (!*ret_entry)
		return compose_error(
		    &service->span, -ENOENT, x->err,
		    "cannot extend service \"%s\" in %s: service \"%s\" not found%s%s", entry->key,
		    in->file->shown, name, path ? " in " : "",
		    path ? (*ret_base)->file->shown : "");
	return 0;
}

static int resolve_over(struct extending *x, struct base_file *in,
			const struct compose_entry *entry, const struct chain *chain,
			struct compose_node **ret_node)
{
	struct arena *arena = &x->loader->project->arena;
	const struct compose_node *extends = compose_get(entry->value, "extends");
	const struct compose_entry *base = NULL;
	struct compose_node *merged = NULL;
	struct base_file *from = NULL;
	struct compose_merge merge = {"services", entry->key, NULL, entry->value};
	int r = find_base(x, in, entry, &from, &base);

	if (r < 0)
		return r;
	if (from->depths[base - from->services->entries] == BEING_RESOLVED)
		return circle(chain, from, base->key, &extends->span, x->err);
	r = resolve(x, from, base, chain, &merge.base);
	if (r < 0)
		return r;
	in->depths[entry - in->services->entries] =
	    1 + from->depths[base - from->services->entries];
	if (in->depths[entry - in->services->entries] > COMPOSE_EXTENDS_MAX)
		return compose_error(&extends->span, -E2BIG, x->err,
				     "extends: a chain of more than %d services",
				     COMPOSE_EXTENDS_MAX);
	if (merge.base->type == COMPOSE_MAP) {
		merge.base = compose_reset(
		    arena, merge.base, compose_get(compose_get(in->marks, "services"), entry->key));
		r = compose_merge(arena, &merge, &merged, x->err);
		if (r < 0)
			return r;
	}
	merged = compose_node_copy(arena, merged ? merged : entry->value);
	compose_map_remove(merged, "extends");
	*ret_node = merged;
	return loader_check_memory(x->loader, &extends->span, x->err);
}

static int resolve(struct extending *x, struct base_file *in, const struct compose_entry *entry,
		   const struct chain *chain, struct compose_node **ret_node)
{
	size_t i = (size_t)(entry - in->services->entries);
	const struct compose_node *extends = compose_get(entry->value, "extends");
	struct chain link = {chain, in, entry->key, chain ? chain->length + 1 : 1};
	int r;

	if (!in->resolved[i] && !extends)
		in->resolved[i] = entry->value;
	if (!in->resolved[i]) {
		if (link.length > COMPOSE_EXTENDS_MAX + 1)
			return compose_error(&extends->span, -E2BIG, x->err,
					     "extends: a chain of more than %d services",
					     COMPOSE_EXTENDS_MAX);
		in->depths[i] = BEING_RESOLVED;
		r = resolve_over(x, in, entry, &link, &in->resolved[i]);
		if (r < 0)
			return r;
	}
	*ret_node = in->resolved[i];
	return 0;
}

int extends_apply(struct loader *loader, struct level *level, struct document *document,
		  struct error *err)
{
	struct arena *arena = &loader->project->arena;
	struct compose_node *services = compose_get(document->root, "services"), *all = NULL;
	struct extending x = {loader, level, err};
	struct base_file *own;

	if (!services || services->type == COMPOSE_NULL)
		return 0;
	if (services->type != COMPOSE_MAP)
		return compose_error(&services->span, -EINVAL, err, "services must be a mapping");
	own = base_create(loader, document->file, level->dir, services);
	own->marks = document->marks;
	for (size_t i = 0; i < services->n; i++) {
		const struct compose_entry *entry = &services->entries[i];
		struct compose_node *resolved = NULL;
		int r;

		if (entry->value->type != COMPOSE_MAP)
			return compose_error(
			    entry->value->type == COMPOSE_NULL ? &entry->key_span
							       : &entry->value->span,
			    -EINVAL, err, "services.%s must be a mapping", entry->key);
		r = resolve(&x, own, entry, NULL, &resolved);
		if (r < 0)
			return r;
		if (resolved == entry->value)
			continue;
		if (!all)
			all = compose_node_copy(arena, services);
		compose_map_put(arena, all, entry->key, NULL, resolved);
	}
	if (all) {
		document->root = compose_node_copy(arena, document->root);
		compose_map_put(arena, document->root, "services", NULL, all);
	}
	return 0;
}
