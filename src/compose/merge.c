/*
 * See merge.h. One table says, path by path, how two values become one, by what the items of a list
 * are told apart, and which form the attribute gets (compose-go: override/merge.go, override/
 * uncity.go, transform/canonical.go). Where it says nothing, maps are merged, lists appended, and
 * of two scalars the later one stands; a null says nothing.
 *
 * While two trees are walked down, the place knows the rules for what is below it, so that most of
 * a model, which no rule is about, costs no look-up at all.
 */
#include "compose/merge.h"

#include "compose/unique.h"
#include "util/text.h"

#include <errno.h>
#include <string.h>

struct place;

struct merging {
	struct arena *arena;
	struct error *err;
};

typedef int merge_f(struct merging *m, const struct place *at, struct compose_node *base,
		    struct compose_node *over, struct compose_node **ret_node);
typedef int form_f(struct merging *m, const struct place *at, struct compose_node *node,
		   struct compose_node **ret_node);

struct rule {
	const char *key; /* "*": any */
	merge_f *merge;
	compose_key_f *unique;
	form_f *form;
	const struct rule *below; /* of its entries, ended by a NULL key */
};

struct place {
	const struct place *up; /* NULL: the root */
	const char *key;
	const struct rule *rule; /* NULL: none is about it */
};

static merge_f merge_replace, merge_sequence, merge_hosts, merge_mapping, merge_build,
    merge_depends, merge_logging;
static form_f form_build, form_depends, form_env_file, form_gpus, form_mapping;

static const struct rule build_rules[] = {
    {"additional_contexts", merge_sequence, compose_key_setting},
    {"args", merge_sequence, compose_key_setting},
    {"extra_hosts", merge_hosts},
    {"labels", merge_sequence, compose_key_setting},
    {"platform", .unique = compose_key_setting},
    {"tags", .unique = compose_key_setting},
    {},
};
static const struct rule deploy_rules[] = {
    {"labels", merge_sequence, compose_key_setting},
    {},
};
static const struct rule healthcheck_rules[] = {{"test", merge_replace}, {}};
static const struct rule ulimits_rules[] = {{"*", merge_replace}, {}};
static const struct rule service_network_rules[] = {
    {"aliases", .unique = compose_key_setting},
    {"link_local_ips", .unique = compose_key_setting},
    {},
};
static const struct rule service_networks_rules[] = {{"*", .below = service_network_rules}, {}};
static const struct rule service_rules[] = {
    {"annotations", merge_sequence, compose_key_setting},
    {"build", merge_build, .form = form_build, .below = build_rules},
    {"cap_add", .unique = compose_key_setting},
    {"cap_drop", .unique = compose_key_setting},
    {"command", merge_replace},
    {"configs", .unique = compose_key_config},
    {"depends_on", merge_depends, .form = form_depends},
    {"deploy", .below = deploy_rules},
    {"devices", .unique = compose_key_device},
    {"dns", merge_sequence, compose_key_setting},
    {"dns_opt", merge_sequence, compose_key_setting},
    {"dns_search", merge_sequence, compose_key_setting},
    {"entrypoint", merge_replace},
    {"env_file", merge_sequence, compose_key_env_file, form_env_file},
    {"environment", merge_sequence, compose_key_setting},
    {"expose", .unique = compose_key_text},
    {"extra_hosts", merge_hosts},
    {"gpus", .form = form_gpus},
    {"healthcheck", .below = healthcheck_rules},
    {"label_file", merge_sequence},
    {"labels", merge_sequence, compose_key_setting},
    {"links", .unique = compose_key_setting},
    {"logging", merge_logging},
    {"models", merge_mapping, .form = form_mapping},
    {"networks", merge_mapping, .form = form_mapping, .below = service_networks_rules},
    {"ports", .unique = compose_key_port},
    {"profiles", .unique = compose_key_setting},
    {"secrets", .unique = compose_key_secret},
    {"sysctls", merge_sequence, compose_key_setting},
    {"tmpfs", merge_sequence, compose_key_setting},
    {"ulimits", .below = ulimits_rules},
    {"volumes", .unique = compose_key_volume},
    {},
};
static const struct rule services_rules[] = {{"*", .below = service_rules}, {}};
static const struct rule labelled_rules[] = {
    {"labels", merge_sequence, compose_key_setting},
    {},
};
static const struct rule resources_rules[] = {{"*", .below = labelled_rules}, {}};
static const struct rule root_rules[] = {
    {"networks", .below = resources_rules},
    {"services", .below = services_rules},
    {"volumes", .below = resources_rules},
    {},
};
static const struct rule root_rule = {"", .below = root_rules};
static const struct place root_place = {.rule = &root_rule};

static struct place place_below(const struct place *at, const char *key)
{
	struct place below = {.up = at, .key = key};
	const struct rule *rule = at->rule ? at->rule->below : NULL;

	for (; rule && rule->key; rule++)
		if (*rule->key == '*' || (*rule->key == *key && strcmp(rule->key, key) == 0)) {
			below.rule = rule;
			break;
		}
	return below;
}

static void place_name(const struct place *at, struct text *name)
{
	if (!at->up)
		return;
	place_name(at->up, name);
	text_printf(name, "%s%s", name->len > 0 ? "." : "", at->key);
}

static const char *kind(const struct compose_node *node)
{
	static const char *const kinds[] = {[COMPOSE_NULL] = "nothing",
					    [COMPOSE_SCALAR] = "a value",
					    [COMPOSE_LIST] = "a list",
					    [COMPOSE_MAP] = "a map"};

	return kinds[node->type];
}

static int cannot_override(struct merging *m, const struct place *at,
			   const struct compose_node *base, const struct compose_node *over)
{
	auto_text struct text name = {}, where = {};
	unsigned line, column;

	place_name(at, &name);
	if (base->span.file) {
		compose_file_position(base->span.file, base->span.begin, &line, &column);
		text_printf(&where, " at %s:%u:%u", base->span.file->shown, line, column);
	}
	return compose_error(&over->span, -EINVAL, m->err,
			     "cannot override %s: it is %s here and %s%s", name.data, kind(over),
			     kind(base), where.data ? where.data : "");
}

static int merge_values(struct merging *m, const struct place *at, struct compose_node *base,
			struct compose_node *over, struct compose_node **ret_node);

static int merge_maps(struct merging *m, const struct place *at, struct compose_node *base,
		      struct compose_node *over, struct compose_node **ret_node)
{
	struct compose_node *merged;

	if (over->n == 0) {
		*ret_node = base;
		return 0;
	}
	merged = compose_node_copy(m->arena, base);
	for (size_t i = 0; i < over->n; i++) {
		const struct compose_entry *mine = &over->entries[i];
		const struct compose_entry *theirs = compose_entry(base, mine->key);
		struct place below = place_below(at, mine->key);
		struct compose_node *value = NULL;
		int r;

		if (!theirs) {
			compose_map_put(m->arena, merged, mine->key, &mine->key_span, mine->value);
			continue;
		}
		r = merge_values(m, &below, theirs->value, mine->value, &value);
		if (r < 0)
			return r;
		compose_map_put(m->arena, merged, mine->key, NULL, value);
	}
	*ret_node = merged;
	return 0;
}

static struct compose_node *append(struct merging *m, struct compose_node *base,
				   struct compose_node *over)
{
	struct compose_node *list;

	if (!base || base->n == 0)
		return over ? over : base;
	if (!over || over->n == 0)
		return base;
	list = compose_node_copy(m->arena, base);
	for (size_t i = 0; i < over->n; i++)
		compose_list_add(m->arena, list, over->items[i]);
	return list;
}

static int merge_values(struct merging *m, const struct place *at, struct compose_node *base,
			struct compose_node *over, struct compose_node **ret_node)
{
	if (at->rule && at->rule->merge)
		return at->rule->merge(m, at, base, over, ret_node);
	if (over->type == COMPOSE_NULL) {
		*ret_node = base;
		return 0;
	}
	if (base->type != COMPOSE_MAP && base->type != COMPOSE_LIST) {
		*ret_node = over;
		return 0;
	}
	if (over->type != base->type)
		return cannot_override(m, at, base, over);
	if (base->type == COMPOSE_MAP)
		return merge_maps(m, at, base, over, ret_node);
	*ret_node = append(m, base, over);
	return 0;
}

static int merge_replace(struct merging *m, const struct place *at, struct compose_node *base,
			 struct compose_node *over, struct compose_node **ret_node)
{
	(void)m;
	(void)at;
	(void)base;
	*ret_node = over;
	return 0;
}

/* An entry of a map as an item of a list: NAME, or a map of it alone, whose value keeps its place
 * in the file. */
static void sequence_add(struct merging *m, struct compose_node *list,
			 const struct compose_node *map, const struct compose_entry *entry)
{
	struct compose_node where = {.span = entry->key_span, .via = map->via}, *item;
	struct compose_node *value = entry->value;

	if (value->type == COMPOSE_NULL) {
		compose_list_add(m->arena, list, compose_node_scalar(m->arena, &where, entry->key));
		return;
	}
	for (size_t i = 0; i < (value->type == COMPOSE_LIST ? value->n : 1); i++) {
		item = compose_node_map(m->arena, &where);
		compose_map_put(m->arena, item, entry->key, &entry->key_span,
				value->type == COMPOSE_LIST ? value->items[i] : value);
		compose_list_add(m->arena, list, item);
	}
}

/* NULL: nothing is said. */
static struct compose_node *to_sequence(struct merging *m, struct compose_node *node)
{
	struct compose_node *list;

	if (node->type == COMPOSE_NULL)
		return NULL;
	if (node->type == COMPOSE_LIST)
		return node;
	list = compose_node_list(m->arena, node);
	if (node->type == COMPOSE_SCALAR)
		compose_list_add(m->arena, list, node);
	for (size_t i = 0; node->type == COMPOSE_MAP && i < node->n; i++)
		sequence_add(m, list, node, &node->entries[i]);
	return list;
}

static int merge_sequence(struct merging *m, const struct place *at, struct compose_node *base,
			  struct compose_node *over, struct compose_node **ret_node)
{
	struct compose_node *list = to_sequence(m, base), *more = to_sequence(m, over);

	(void)at;
	*ret_node = list || more ? append(m, list, more) : base;
	return 0;
}

/* The whole line, for entries of maps too. */
static const char *host_line(struct merging *m, const struct compose_node *item)
{
	const char *value;

	if (item->type != COMPOSE_MAP || item->n != 1)
		return compose_text(item);
	value = compose_text(item->entries[0].value);
	return arena_printf(m->arena, "%s=%s", item->entries[0].key, value ? value : "");
}

static int merge_hosts(struct merging *m, const struct place *at, struct compose_node *base,
		       struct compose_node *over, struct compose_node **ret_node)
{
	struct compose_node *list = to_sequence(m, base), *more = to_sequence(m, over);
	struct compose_node *lines, *other;

	(void)at;
	*ret_node = list ? list : base;
	if (!more)
		return 0;
	lines = compose_node_map(m->arena, base);
	for (size_t i = 0; list && i < list->n; i++) {
		const char *line = host_line(m, list->items[i]);

		if (line)
			compose_map_put(m->arena, lines, line, NULL, list->items[i]);
	}
	other = compose_node_list(m->arena, over);
	for (size_t i = 0; i < more->n; i++) {
		const char *line = host_line(m, more->items[i]);

		if (!line || !compose_get(lines, line))
			compose_list_add(m->arena, other, more->items[i]);
	}
	*ret_node = append(m, list, other);
	return 0;
}

/* A list of names as a map of them to `value`. What is neither stays what it is. */
static struct compose_node *to_mapping(struct merging *m, struct compose_node *node,
				       struct compose_node *value)
{
	struct compose_node *map;

	if (node->type != COMPOSE_LIST)
		return node;
	map = compose_node_map(m->arena, node);
	for (size_t i = 0; i < node->n; i++) {
		struct compose_node *item = node->items[i];
		const char *name = compose_text(item);
		struct compose_node *one;

		if (!name)
			continue;
		one = compose_node_copy(m->arena, value);
		one->span = item->span;
		one->via = item->via;
		compose_map_put(m->arena, map, name, &item->span, one);
	}
	return map;
}

static int merge_either(struct merging *m, const struct place *at, struct compose_node *base,
			struct compose_node *over, struct compose_node **ret_node)
{
	if (over->type == COMPOSE_NULL)
		*ret_node = base;
	else if (base->type == COMPOSE_NULL)
		*ret_node = over;
	else if (base->type == COMPOSE_MAP && over->type == COMPOSE_MAP)
		return merge_maps(m, at, base, over, ret_node);
	else
		return cannot_override(m, at, base, over);
	return 0;
}

static int merge_mapping(struct merging *m, const struct place *at, struct compose_node *base,
			 struct compose_node *over, struct compose_node **ret_node)
{
	struct compose_node nothing = {.type = COMPOSE_NULL};

	return merge_either(m, at, to_mapping(m, base, &nothing), to_mapping(m, over, &nothing),
			    ret_node);
}

/* What a bare name in depends_on means. */
static struct compose_node *dependency(struct merging *m)
{
	struct compose_node *map = compose_node_map(m->arena, NULL);

	compose_map_put(m->arena, map, "condition", NULL,
			compose_node_scalar(m->arena, NULL, "service_started"));
	compose_map_put(m->arena, map, "required", NULL,
			compose_node_scalar(m->arena, NULL, "true"));
	return map;
}

static int merge_depends(struct merging *m, const struct place *at, struct compose_node *base,
			 struct compose_node *over, struct compose_node **ret_node)
{
	struct compose_node *value = dependency(m);

	return merge_either(m, at, to_mapping(m, base, value), to_mapping(m, over, value),
			    ret_node);
}

static struct compose_node *to_build(struct merging *m, struct compose_node *node)
{
	struct compose_node *map;

	if (node->type != COMPOSE_SCALAR)
		return node;
	map = compose_node_map(m->arena, node);
	compose_map_put(m->arena, map, "context", &node->span, node);
	return map;
}

static int merge_build(struct merging *m, const struct place *at, struct compose_node *base,
		       struct compose_node *over, struct compose_node **ret_node)
{
	return merge_either(m, at, to_build(m, base), to_build(m, over), ret_node);
}

/* The options belong to a driver: those of another one are not kept. */
static int merge_logging(struct merging *m, const struct place *at, struct compose_node *base,
			 struct compose_node *over, struct compose_node **ret_node)
{
	const char *theirs = compose_text(compose_get(base, "driver"));
	const char *mine = compose_text(compose_get(over, "driver"));

	if (over->type == COMPOSE_MAP && theirs && mine && strcmp(theirs, mine) != 0) {
		*ret_node = over;
		return 0;
	}
	return merge_either(m, at, base, over, ret_node);
}

int compose_merge(struct arena *arena, const struct compose_merge *merge,
		  struct compose_node **ret_node, struct error *err)
{
	struct merging m = {arena, err};
	struct place section, name;

	if (!merge->section)
		return merge_values(&m, &root_place, merge->base, merge->over, ret_node);
	section = place_below(&root_place, merge->section);
	name = place_below(&section, merge->name);
	return merge_values(&m, &name, merge->base, merge->over, ret_node);
}

static int invalid_type(struct merging *m, const struct place *at, const struct compose_node *node,
			const char *wanted)
{
	auto_text struct text name = {};

	place_name(at, &name);
	return compose_error(&node->span, -EINVAL, m->err, "%s is %s, not %s", name.data,
			     kind(node), wanted);
}

static int form_build(struct merging *m, const struct place *at, struct compose_node *node,
		      struct compose_node **ret_node)
{
	if (node->type == COMPOSE_LIST)
		return invalid_type(m, at, node, "a path or a map");
	*ret_node = to_build(m, node);
	return 0;
}

static int form_mapping(struct merging *m, const struct place *at, struct compose_node *node,
			struct compose_node **ret_node)
{
	struct compose_node nothing = {.type = COMPOSE_NULL};

	if (node->type == COMPOSE_SCALAR)
		return invalid_type(m, at, node, "a list or a map");
	*ret_node = to_mapping(m, node, &nothing);
	return 0;
}

static int form_depends(struct merging *m, const struct place *at, struct compose_node *node,
			struct compose_node **ret_node)
{
	if (node->type == COMPOSE_SCALAR)
		return invalid_type(m, at, node, "a list or a map");
	for (size_t i = 0; i < node->n; i++) {
		const struct compose_node *value =
		    node->type == COMPOSE_MAP ? node->entries[i].value : node->items[i];
		bool wrong = node->type == COMPOSE_MAP ? value->type != COMPOSE_MAP
						       : value->type != COMPOSE_SCALAR;
		struct place below =
		    place_below(at, node->type == COMPOSE_MAP ? node->entries[i].key : "[]");

		if (wrong)
			return invalid_type(m, &below, value,
					    node->type == COMPOSE_MAP ? "a map with a condition"
								      : "the name of a service");
	}
	*ret_node = node->type == COMPOSE_LIST ? to_mapping(m, node, dependency(m)) : node;
	return 0;
}

static int form_env_file(struct merging *m, const struct place *at, struct compose_node *node,
			 struct compose_node **ret_node)
{
	struct compose_node *list;

	if (node->type == COMPOSE_NULL) {
		*ret_node = node;
		return 0;
	}
	if (node->type == COMPOSE_MAP)
		return invalid_type(m, at, node, "a path or a list");
	node = to_sequence(m, node);
	list = compose_node_list(m->arena, node);
	for (size_t i = 0; i < node->n; i++) {
		struct compose_node *item = node->items[i], *map = item;

		if (item->type != COMPOSE_MAP) {
			map = compose_node_map(m->arena, item);
			compose_map_put(m->arena, map, "path", &item->span, item);
		}
		if (!compose_text(compose_get(map, "path")))
			return invalid_type(m, at, item, "the path of a file");
		compose_list_add(m->arena, list, map);
	}
	*ret_node = list;
	return 0;
}

static int form_gpus(struct merging *m, const struct place *at, struct compose_node *node,
		     struct compose_node **ret_node)
{
	struct compose_node *map;

	*ret_node = node;
	if (node->type == COMPOSE_LIST || node->type == COMPOSE_NULL)
		return 0;
	if (node->type != COMPOSE_SCALAR || strcmp(node->text, "all") != 0)
		return invalid_type(m, at, node, "`all` or a list");
	map = compose_node_map(m->arena, node);
	compose_map_put(m->arena, map, "count", &node->span, node);
	*ret_node = compose_node_list(m->arena, node);
	compose_list_add(m->arena, *ret_node, map);
	return 0;
}

static int settle(struct merging *m, const struct place *at, struct compose_node *node,
		  struct compose_node **ret_node)
{
	struct compose_node *copy = NULL;
	int r;

	if (!at->rule) {
		*ret_node = node;
		return 0;
	}
	if (at->rule->unique && node->type == COMPOSE_LIST)
		node = compose_unique(m->arena, node, at->rule->unique);
	if (at->rule->form) {
		r = at->rule->form(m, at, node, &node);
		if (r < 0)
			return r;
	}
	for (size_t i = 0; at->rule->below && node->type == COMPOSE_MAP && i < node->n; i++) {
		struct place below = place_below(at, node->entries[i].key);
		struct compose_node *old = node->entries[i].value, *new = old;

		r = settle(m, &below, old, &new);
		if (r < 0)
			return r;
		if (new == old)
			continue;
		if (!copy)
			copy = compose_node_copy(m->arena, node);
		compose_map_put(m->arena, copy, node->entries[i].key, NULL, new);
	}
	*ret_node = copy ? copy : node;
	return 0;
}

int compose_merge_settle(struct arena *arena, const char *name, struct compose_node *service,
			 struct compose_node **ret_node, struct error *err)
{
	struct merging m = {arena, err};
	struct place services = place_below(&root_place, "services");
	struct place place = place_below(&services, name);

	return settle(&m, &place, service, ret_node);
}
