/*
 * See merge.h. !reset and !override: what an override marks so is taken out of what it overrides,
 * and out of the override itself, before the two are merged.
 */
#include "compose/merge.h"

bool compose_marked(const struct compose_node *node)
{
	if (node->mark != COMPOSE_UNMARKED)
		return true;
	for (size_t i = 0; i < node->n; i++)
		if (compose_marked(node->type == COMPOSE_MAP ? node->entries[i].value
							     : node->items[i]))
			return true;
	return false;
}

struct compose_node *compose_without_resets(struct arena *arena, struct compose_node *node)
{
	struct compose_node *copy;

	if (!compose_marked(node))
		return node;
	copy = arena_alloc(arena, sizeof *copy);
	*copy = *node;
	if (node->type != COMPOSE_MAP && node->type != COMPOSE_LIST)
		return copy;
	copy = node->type == COMPOSE_MAP ? compose_node_map(arena, node)
					 : compose_node_list(arena, node);
	for (size_t i = 0; i < node->n; i++) {
		const struct compose_entry *entry =
		    node->type == COMPOSE_MAP ? &node->entries[i] : NULL;
		struct compose_node *value = entry ? entry->value : node->items[i];

		if (value->mark == COMPOSE_RESET)
			continue;
		value = compose_without_resets(arena, value);
		if (entry)
			compose_map_put(arena, copy, entry->key, &entry->key_span, value);
		else
			compose_list_add(arena, copy, value);
	}
	return copy;
}

struct compose_node *compose_reset(struct arena *arena, struct compose_node *base,
				   const struct compose_node *marks)
{
	struct compose_node *copy = NULL;

	if (!marks || marks->type != COMPOSE_MAP || base->type != COMPOSE_MAP)
		return base;
	for (size_t i = 0; i < marks->n; i++) {
		const struct compose_node *mark = marks->entries[i].value;
		const char *key = marks->entries[i].key;
		struct compose_node *old = compose_get(base, key), *new = NULL;

		if (!old)
			continue;
		if (mark->mark == COMPOSE_UNMARKED)
			new = compose_reset(arena, old, mark);
		if (new == old)
			continue;
		if (!copy)
			copy = compose_node_copy(arena, base);
		if (new)
			compose_map_put(arena, copy, key, NULL, new);
		else
			compose_map_remove(copy, key);
	}
	return copy ? copy : base;
}
