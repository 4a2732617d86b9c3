/* See yamlx.h. Built on libyaml's events, so that the limits hold while reading, not after. */
#include "util/yamlx.h"

#include "util/duration.h"
#include "util/file.h"
#include "util/size.h"

#include <ctype.h>
#include <errno.h>
#include <math.h>
#include <string.h>
#include <yaml.h>

#define DEPTH_MAX 64
#define NODES_MAX 100000
#define FILE_MAX  (16u << 20)

struct reader {
	yaml_parser_t parser;
	struct yamlx *doc;
	size_t nodes;
	struct error *err;
};

static void node_destroy(struct yamlx_node *node)
{
	if (!node)
		return;
	for (size_t i = 0; i < node->n; i++) {
		node_destroy(node->items[i]);
		if (node->keys)
			node_destroy(node->keys[i]);
	}
	free(node->items);
	free(node->keys);
	free(node->text);
	free(node);
}

static void node_cleanup(struct yamlx_node **node)
{
	node_destroy(*node);
}
#define auto_node CLEANUP(node_cleanup)

void yamlx_destroy(struct yamlx *doc)
{
	if (!doc)
		return;
	node_destroy(doc->root);
	free(doc->name);
	free(doc);
}

static int fail(struct reader *rd, yaml_mark_t mark, const char *text)
{
	return error_set(rd->err, -EBADMSG, "%s:%zu:%zu: %s", rd->doc->name, mark.line + 1,
			 mark.column + 1, text);
}

static int event_next(struct reader *rd, yaml_event_t *event)
{
	if (yaml_parser_parse(&rd->parser, event))
		return 0;
	return fail(rd, rd->parser.problem_mark,
		    rd->parser.problem ? rd->parser.problem : "not valid YAML");
}

static int node_read(struct reader *rd, const yaml_event_t *event, unsigned depth,
		     struct yamlx_node **ret_node);

static void node_append(struct yamlx_node *node, size_t *room, struct yamlx_node *key,
			struct yamlx_node *value)
{
	if (node->n == *room) {
		*room = *room ? *room * 2 : 4;
		node->items = mem_realloc(node->items, *room, sizeof(struct yamlx_node *));
		if (node->type == YAMLX_MAPPING)
			node->keys = mem_realloc(node->keys, *room, sizeof(struct yamlx_node *));
	}
	if (node->type == YAMLX_MAPPING)
		node->keys[node->n] = key;
	node->items[node->n++] = value;
}

static int value_read(struct reader *rd, unsigned depth, struct yamlx_node **ret_node)
{
	yaml_event_t event;
	int r = event_next(rd, &event);

	if (r < 0)
		return r;
	r = node_read(rd, &event, depth, ret_node);
	yaml_event_delete(&event);
	return r;
}

static int key_check(struct reader *rd, const struct yamlx_node *mapping,
		     const struct yamlx_node *key)
{
	yaml_mark_t mark = {.line = key->line - 1, .column = key->column - 1};

	if (key->type != YAMLX_SCALAR)
		return fail(rd, mark, "a key must be a plain word");
	if (yamlx_get(mapping, key->text))
		return fail(rd, mark, "this key stands here twice");
	return 0;
}

/* The children of a sequence or mapping, up to its end event. */
static int children_read(struct reader *rd, struct yamlx_node *node, yaml_event_type_t end,
			 unsigned depth)
{
	size_t room = 0;

	for (;;) {
		auto_node struct yamlx_node *key = NULL, *value = NULL;
		yaml_event_t event;
		bool ended;
		int r = event_next(rd, &event);

		if (r < 0)
			return r;
		ended = event.type == end;
		if (!ended)
			r = node_read(rd, &event, depth + 1,
				      node->type == YAMLX_MAPPING ? &key : &value);
		yaml_event_delete(&event);
		if (ended || r < 0)
			return r;
		if (node->type == YAMLX_MAPPING) {
			r = key_check(rd, node, key);
			if (r == 0)
				r = value_read(rd, depth + 1, &value);
			if (r < 0)
				return r;
		}
		node_append(node, &room, TAKE(key), TAKE(value));
	}
}

static int node_read(struct reader *rd, const yaml_event_t *event, unsigned depth,
		     struct yamlx_node **ret_node)
{
	auto_node struct yamlx_node *node = mem_calloc(1, sizeof *node);
	int r = 0;

	if (depth > DEPTH_MAX || ++rd->nodes > NODES_MAX)
		return fail(rd, event->start_mark, "too deep or too large");
	node->line = (unsigned)event->start_mark.line + 1;
	node->column = (unsigned)event->start_mark.column + 1;
	switch ((int)event->type) {
	case YAML_SCALAR_EVENT:
		node->type = YAMLX_SCALAR;
		node->text =
		    mem_strndup((const char *)event->data.scalar.value, event->data.scalar.length);
		node->plain = event->data.scalar.style == YAML_PLAIN_SCALAR_STYLE;
		break;
	case YAML_SEQUENCE_START_EVENT:
		node->type = YAMLX_SEQUENCE;
		r = children_read(rd, node, YAML_SEQUENCE_END_EVENT, depth);
		break;
	case YAML_MAPPING_START_EVENT:
		node->type = YAMLX_MAPPING;
		r = children_read(rd, node, YAML_MAPPING_END_EVENT, depth);
		break;
	case YAML_ALIAS_EVENT:
		return fail(rd, event->start_mark, "aliases (*name) are not supported here");
	default:
		return fail(rd, event->start_mark, "a value is missing here");
	}
	if (r < 0)
		return r;
	*ret_node = TAKE(node);
	return 0;
}

/* Stream start, document start, one node, document end; an empty file is an empty mapping. */
static int document_read(struct reader *rd)
{
	for (;;) {
		yaml_event_t event;
		yaml_event_type_t type;
		int r = event_next(rd, &event);

		if (r < 0)
			return r;
		type = event.type;
		if (type == YAML_STREAM_END_EVENT || type == YAML_STREAM_START_EVENT ||
		    type == YAML_DOCUMENT_START_EVENT || type == YAML_DOCUMENT_END_EVENT)
			r = 0;
		else if (rd->doc->root)
			r = fail(rd, event.start_mark, "a second document is not expected");
		else
			r = node_read(rd, &event, 0, &rd->doc->root);
		yaml_event_delete(&event);
		if (r < 0)
			return r;
		if (type == YAML_STREAM_END_EVENT)
			break;
	}
	if (!rd->doc->root) {
		rd->doc->root = mem_calloc(1, sizeof *rd->doc->root);
		rd->doc->root->type = YAMLX_MAPPING;
		rd->doc->root->line = rd->doc->root->column = 1;
	}
	return 0;
}

int yamlx_parse(const char *text, size_t len, const char *name, struct yamlx **ret_doc,
		struct error *err)
{
	auto_yamlx struct yamlx *doc = mem_calloc(1, sizeof *doc);
	struct reader rd = {.doc = doc, .err = err};
	int r;

	doc->name = mem_strdup(name);
	if (!yaml_parser_initialize(&rd.parser))
		return error_set(err, -ENOMEM, "%s: cannot start the YAML parser", name);
	yaml_parser_set_input_string(&rd.parser, (const unsigned char *)text, len);
	r = document_read(&rd);
	yaml_parser_delete(&rd.parser);
	if (r < 0)
		return r;
	*ret_doc = TAKE(doc);
	return 0;
}

int yamlx_load(const char *path, struct yamlx **ret_doc, struct error *err)
{
	auto_text struct text text = {};
	int r = file_read(path, FILE_MAX, false, &text, err);

	return r < 0 ? r : yamlx_parse(text.data, text.len, path, ret_doc, err);
}

bool yamlx_is_null_word(const char *text)
{
	static const char *const words[] = {"", "~", "null", "Null", "NULL"};

	for (size_t i = 0; i < ARRAY_LEN(words); i++)
		if (strcmp(text, words[i]) == 0)
			return true;
	return false;
}

const struct yamlx_node *yamlx_get(const struct yamlx_node *mapping, const char *key)
{
	if (!mapping || mapping->type != YAMLX_MAPPING)
		return NULL;
	for (size_t i = 0; i < mapping->n; i++)
		if (strcmp(mapping->keys[i]->text, key) == 0)
			return mapping->items[i];
	return NULL;
}

int yamlx_error(const struct yamlx *doc, const struct yamlx_node *at, int code, struct error *err,
		const char *fmt, ...)
{
	char text[ERROR_TEXT_MAX];
	va_list ap;

	va_start(ap, fmt);
	(void)vsnprintf(text, sizeof text, fmt, ap);
	va_end(ap);
	return error_set(err, code, "%s:%u:%u: %s", at->file ? at->file : doc->name, at->line,
			 at->column, text);
}

int yamlx_check_keys(const struct yamlx *doc, const struct yamlx_node *mapping,
		     const char *const *known, struct error *err)
{
	auto_text struct text list = {};

	if (mapping->type != YAMLX_MAPPING)
		return yamlx_error(doc, mapping, -EINVAL, err,
				   "a mapping (key: value) is expected here");
	for (size_t i = 0; i < mapping->n; i++) {
		size_t k = 0;

		while (known[k] && strcmp(known[k], mapping->keys[i]->text) != 0)
			k++;
		if (known[k])
			continue;
		for (k = 0; known[k]; k++)
			text_printf(&list, "%s%s", k ? ", " : "", known[k]);
		return yamlx_error(doc, mapping->keys[i], -EINVAL, err,
				   "unknown key \"%.64s\"; known: %s", mapping->keys[i]->text,
				   list.data ? list.data : "");
	}
	return 0;
}

int yamlx_string(const struct yamlx *doc, const struct yamlx_node *node, const char **ret_text,
		 struct error *err)
{
	if (node->type != YAMLX_SCALAR)
		return yamlx_error(doc, node, -EINVAL, err, "a single value is expected here");
	*ret_text = node->text;
	return 0;
}

int yamlx_size(const struct yamlx *doc, const struct yamlx_node *node, uint64_t *ret_bytes,
	       struct error *err)
{
	const char *text = NULL;
	struct error why = {};
	int r = yamlx_string(doc, node, &text, err);

	if (r == 0 && size_parse(text, ret_bytes, &why) < 0)
		r = yamlx_error(doc, node, -EINVAL, err, "%s", why.text);
	return r;
}

int yamlx_duration(const struct yamlx *doc, const struct yamlx_node *node, int64_t *ret_ms,
		   struct error *err)
{
	const char *text = NULL;
	struct error why = {};
	int r = yamlx_string(doc, node, &text, err);

	if (r == 0 && duration_parse(text, ret_ms, &why) < 0)
		r = yamlx_error(doc, node, -EINVAL, err, "%s", why.text);
	return r;
}

int yamlx_real(const struct yamlx *doc, const struct yamlx_node *node, double min, double max,
	       double *ret_value, struct error *err)
{
	const char *text = NULL;
	char *end = NULL;
	double value;
	int r = yamlx_string(doc, node, &text, err);

	if (r < 0)
		return r;
	value = strtod(text, &end);
	if (end == text || *end != '\0' || !isfinite(value) || value < min || value > max)
		return yamlx_error(doc, node, -EINVAL, err,
				   "\"%.64s\" is not a number from %g to %g", text, min, max);
	*ret_value = value;
	return 0;
}

int yamlx_bool(const struct yamlx *doc, const struct yamlx_node *node, bool *ret_value,
	       struct error *err)
{
	const char *text = NULL;
	int r = yamlx_string(doc, node, &text, err);

	if (r < 0)
		return r;
	if (strcmp(text, "true") == 0 || strcmp(text, "yes") == 0 || strcmp(text, "on") == 0)
		*ret_value = true;
	else if (strcmp(text, "false") == 0 || strcmp(text, "no") == 0 || strcmp(text, "off") == 0)
		*ret_value = false;
	else
		return yamlx_error(doc, node, -EINVAL, err, "\"%.64s\" is not true or false", text);
	return 0;
}
