/*
 * x-plimsoll of a service, read by the parser of plimsoll.yaml: the merged tree is turned into its
 * nodes, with the text after interpolation and each node's own file, line and column, so that
 * errors name the place in the compose file whatever was merged, included or anchored.
 */
#include "stack/stack_priv.h"

#include <string.h>

static struct yamlx_node *node_of(const struct compose_node *from);

static struct yamlx_node *key_of(const struct compose_entry *entry)
{
	struct yamlx_node *key = mem_calloc(1, sizeof *key);

	key->type = YAMLX_SCALAR;
	key->text = mem_strdup(entry->key);
	key->plain = true;
	if (entry->key_span.file) {
		key->file = entry->key_span.file->shown;
		compose_file_position(entry->key_span.file, entry->key_span.begin, &key->line,
				      &key->column);
	}
	return key;
}

static void children(struct yamlx_node *to, const struct compose_node *from)
{
	to->items = mem_calloc(from->n + 1, sizeof(struct yamlx_node *));
	if (from->type == COMPOSE_MAP)
		to->keys = mem_calloc(from->n + 1, sizeof(struct yamlx_node *));
	for (size_t i = 0; i < from->n; i++) {
		if (from->type == COMPOSE_MAP)
			to->keys[i] = key_of(&from->entries[i]);
		to->items[i] =
		    node_of(from->type == COMPOSE_MAP ? from->entries[i].value : from->items[i]);
		to->n++;
	}
}

/* Not deeper than compose_parse() lets a file be; null is an empty plain scalar there. */
static struct yamlx_node *node_of(const struct compose_node *from)
{
	struct yamlx_node *to = mem_calloc(1, sizeof *to);

	to->type = from->type == COMPOSE_MAP    ? YAMLX_MAPPING
		   : from->type == COMPOSE_LIST ? YAMLX_SEQUENCE
						: YAMLX_SCALAR;
	if (from->span.file) {
		to->file = from->span.file->shown;
		compose_file_position(from->span.file, from->span.begin, &to->line, &to->column);
	}
	if (to->type == YAMLX_SCALAR) {
		const char *text = compose_text(from);

		to->text = mem_strdup(text ? text : "");
		to->plain = from->style == COMPOSE_PLAIN;
	} else {
		children(to, from);
	}
	return to;
}

struct yamlx *stack_yamlx(const struct compose_node *node)
{
	struct yamlx *doc = mem_calloc(1, sizeof *doc);

	doc->name = mem_strdup("x-plimsoll");
	doc->root = node_of(node);
	return doc;
}

int stack_read_need(const struct stack_facts *facts, const struct compose_service *service,
		    struct need *ret_need, struct error *err)
{
	const struct compose_node *said = compose_get(service->node, "x-plimsoll");
	struct need need = {};

	if (said) {
		auto_yamlx struct yamlx *doc = stack_yamlx(said);
		int r = need_parse(doc, doc->root, &need, err);

		if (r < 0)
			return r;
	}
	for (size_t i = 0; i < facts->n_needs; i++)
		if (strcmp(facts->need_names[i], service->name) == 0)
			need_merge(&need, &facts->needs[i]);
	*ret_need = need;
	return 0;
}
