/*
 * See node.h: compose_parse(). libyaml's events become a tree as they come, so that the limits hold
 * while reading. A collection is built on the C stack's recursion, at most COMPOSE_LEVELS_MAX deep.
 *
 * An alias is a copy of what it stands for, as deep as that goes: every node then knows the alias
 * it was reached through, and a bomb of aliases meets the limit of nodes like any other large file.
 * Merge keys are applied when their map ends.
 *
 * libyaml tells places in characters, counted after a byte order mark; they are looked up in a
 * table of every 64th character's byte. It tells where a value's anchor or tag begins, not where
 * the value does; and the end of a block collection as where the next thing begins. Both are put
 * right here.
 */
#include "compose/node.h"

#include "util/yamlx.h"

#include <errno.h>
#include <string.h>
#include <yaml.h>

#define STRIDE 64 /* characters between two marks of the table */

#define ANCHOR_BUCKETS 1024

struct anchor {
	struct anchor *next;
	const char *name;
	struct compose_node *node;
	bool open; /* it is still being read: an alias to it would hold itself */
};

struct reader {
	yaml_parser_t parser;
	const struct compose_file *file;
	struct arena *arena;
	struct error *err;
	size_t *bytes; /* of character i * STRIDE; NULL: all characters are one byte */
	size_t n_bytes, bom;
	size_t nodes;
	struct anchor *anchors[ANCHOR_BUCKETS];
	struct compose_node *spare; /* a key's, that nothing points to any more */
};

/* What a map has for `<<`, until it ends. */
struct merge {
	struct compose_node *value; /* NULL: it has none */
	struct compose_span key_span;
};

static bool is_continuation(char c)
{
	return (c & 0xc0) == 0x80;
}

static void characters_count(struct reader *rd)
{
	const struct compose_file *file = rd->file;
	size_t characters = 0, ascii = 1, room = 0;

	rd->bom = file->len >= 3 && memcmp(file->text, "\xef\xbb\xbf", 3) == 0 ? 3 : 0;
	for (size_t i = rd->bom; ascii && i < file->len; i++)
		ascii = (file->text[i] & 0x80) == 0;
	for (size_t i = rd->bom; !ascii && i < file->len; i++) {
		if (is_continuation(file->text[i]))
			continue;
		if (characters++ % STRIDE != 0)
			continue;
		ARRAY_GROW(rd->bytes, rd->n_bytes, room);
		rd->bytes[rd->n_bytes++] = i;
	}
}

static size_t byte_of(const struct reader *rd, yaml_mark_t mark)
{
	const struct compose_file *file = rd->file;
	size_t at, left;

	if (!rd->bytes)
		return MIN_OF(rd->bom + mark.index, file->len);
	if (mark.index / STRIDE >= rd->n_bytes)
		return file->len;
	at = rd->bytes[mark.index / STRIDE];
	for (left = mark.index % STRIDE; left > 0 && at < file->len; left--) {
		at++;
		while (at < file->len && is_continuation(file->text[at]))
			at++;
	}
	return at;
}

static struct compose_span span_of(const struct reader *rd, size_t begin, size_t end)
{
	return (struct compose_span){rd->file, MIN_OF(begin, end), end};
}

static int fail_at(struct reader *rd, size_t at, const char *text)
{
	struct compose_span span = {rd->file, at, at};

	return compose_error(&span, -EBADMSG, rd->err, "%s", text);
}

/* libyaml's own complaint. The reader's (bytes that are no text) has a place in bytes. */
static int fail_yaml(struct reader *rd)
{
	const yaml_parser_t *parser = &rd->parser;
	const char *problem = parser->problem ? parser->problem : "not valid YAML";
	struct compose_span span = {rd->file, 0, 0};
	unsigned line, column;

	if (parser->error == YAML_READER_ERROR) {
		span.begin = span.end = MIN_OF(parser->problem_offset + rd->bom, rd->file->len);
		return compose_error(&span, -EBADMSG, rd->err, "%s", problem);
	}
	span.begin = span.end = byte_of(rd, parser->problem_mark);
	if (!parser->context)
		return compose_error(&span, -EBADMSG, rd->err, "%s", problem);
	compose_file_position(rd->file, byte_of(rd, parser->context_mark), &line, &column);
	return compose_error(&span, -EBADMSG, rd->err, "%s (%s that begins in line %u)", problem,
			     parser->context, line);
}

static void event_finish(yaml_event_t *event)
{
	yaml_event_delete(event);
}
#define auto_event CLEANUP(event_finish)

static int event_next(struct reader *rd, yaml_event_t *event)
{
	return yaml_parser_parse(&rd->parser, event) ? 0 : fail_yaml(rd);
}

static int node_count(struct reader *rd, size_t at, unsigned level, bool alias)
{
	struct compose_span span = {rd->file, at, at};

	if (level > COMPOSE_LEVELS_MAX)
		return compose_error(&span, -EBADMSG, rd->err, "more than %d levels deep",
				     COMPOSE_LEVELS_MAX);
	if (++rd->nodes <= COMPOSE_NODES_MAX)
		return 0;
	return compose_error(&span, -EBADMSG, rd->err, "more than %d values%s", COMPOSE_NODES_MAX,
			     alias ? ", what aliases stand for counted each time" : "");
}

static struct anchor **anchor_slot(struct reader *rd, const char *name)
{
	size_t hash = 5381;
	struct anchor **slot;

	for (const char *p = name; *p; p++)
		hash = hash * 33 + (unsigned char)*p;
	slot = &rd->anchors[hash % ANCHOR_BUCKETS];
	while (*slot && strcmp((*slot)->name, name) != 0)
		slot = &(*slot)->next;
	return slot;
}

/* A name may be given anew; aliases after that mean the new one. */
static struct anchor *anchor_open(struct reader *rd, const yaml_char_t *name)
{
	struct anchor **slot;

	if (!name)
		return NULL;
	slot = anchor_slot(rd, (const char *)name);
	if (!*slot) {
		*slot = arena_alloc(rd->arena, sizeof **slot);
		(*slot)->name = arena_strdup(rd->arena, (const char *)name);
	}
	(*slot)->open = true;
	(*slot)->node = NULL;
	return *slot;
}

/* Where the value begins, after its anchor and tag, and what is between them and it. */
static size_t properties_skip(const struct reader *rd, size_t at, size_t end, unsigned count)
{
	const char *text = rd->file->text;

	while (at < end && count-- > 0 && (text[at] == '&' || text[at] == '!')) {
		at += strcspn(text + at, text[at] == '&' ? " \t\r\n,[]{}" : " \t\r\n");
		for (;;) {
			at += strspn(text + at, " \t\r\n");
			if (text[at] != '#')
				break;
			at += strcspn(text + at, "\r\n");
		}
	}
	return MIN_OF(at, end);
}

/* Where what ends at `end` really ends: without the blanks and line ends after it. */
static size_t blanks_trim(const struct reader *rd, size_t begin, size_t end)
{
	while (end > begin && strchr(" \t\r\n", rd->file->text[end - 1]))
		end--;
	return end;
}

static bool tag_is(const yaml_char_t *tag, const char *name)
{
	return tag && strcmp((const char *)tag, name) == 0;
}

static enum compose_mark mark_of(const yaml_char_t *tag)
{
	return tag_is(tag, "!reset")      ? COMPOSE_RESET
	       : tag_is(tag, "!override") ? COMPOSE_OVERRIDE
					  : COMPOSE_UNMARKED;
}

/* With a tag of YAML's own a value is what the tag says; else quotes make it a string. */
static void scalar_resolve(struct compose_node *node, const yaml_char_t *tag)
{
	static const char core[] = "tag:yaml.org,2002:";
	bool own = tag && strncmp((const char *)tag, core, sizeof core - 1) == 0;

	if (own)
		node->tagged_string =
		    tag_is(tag, "tag:yaml.org,2002:str") || tag_is(tag, "tag:yaml.org,2002:binary");
	else
		node->tagged_string = node->style != COMPOSE_PLAIN;
	if (tag_is(tag, "tag:yaml.org,2002:null") ||
	    (!node->tagged_string && node->style == COMPOSE_PLAIN && yamlx_is_null_word(node->raw)))
		node->type = COMPOSE_NULL;
}

static enum compose_style style_of(yaml_scalar_style_t style)
{
	switch (style) {
	case YAML_SINGLE_QUOTED_SCALAR_STYLE:
		return COMPOSE_SINGLE;
	case YAML_DOUBLE_QUOTED_SCALAR_STYLE:
		return COMPOSE_DOUBLE;
	case YAML_LITERAL_SCALAR_STYLE:
	case YAML_FOLDED_SCALAR_STYLE:
		return COMPOSE_BLOCK;
	case YAML_ANY_SCALAR_STYLE:
	case YAML_PLAIN_SCALAR_STYLE:
		break;
	}
	return COMPOSE_PLAIN;
}

static void scalar_read(struct reader *rd, const yaml_event_t *event, struct compose_node *node)
{
	const char *value = (const char *)event->data.scalar.value;
	size_t len = event->data.scalar.length, quotes;

	node->type = COMPOSE_SCALAR;
	node->style = style_of(event->data.scalar.style);
	/* "\0" in double quotes: C strings end there, and no value of a container may hold one. */
	len = strnlen(value, len);
	node->raw = node->text = arena_strndup(rd->arena, value, len);
	if (node->style == COMPOSE_BLOCK)
		node->span.end = blanks_trim(rd, node->span.begin, node->span.end);
	quotes = node->style == COMPOSE_SINGLE || node->style == COMPOSE_DOUBLE;
	node->exact = node->span.end - node->span.begin == len + 2 * quotes &&
		      memcmp(rd->file->text + node->span.begin + quotes, value, len) == 0;
	node->lead = (unsigned)quotes;
	scalar_resolve(node, event->data.scalar.tag);
}

/* What an alias stands for, as often as it is used. An alias inside of it stays the last one. */
static int node_share(struct reader *rd, const struct compose_node *node, unsigned level,
		      const struct compose_span *via, struct compose_node **ret_node)
{
	struct compose_node *copy, *child = NULL;
	int r = node_count(rd, via->begin, level, true);

	if (r < 0)
		return r;
	copy = arena_alloc(rd->arena, sizeof *copy);
	*copy = *node;
	copy->entries = NULL;
	copy->items = NULL;
	copy->index = NULL;
	copy->n = copy->room = 0;
	if (!copy->via.file)
		copy->via = *via;
	for (size_t i = 0; i < node->n; i++) {
		r = node_share(rd,
			       node->type == COMPOSE_MAP ? node->entries[i].value : node->items[i],
			       level + 1, via, &child);
		if (r < 0)
			return r;
		if (node->type == COMPOSE_MAP)
			compose_map_put(rd->arena, copy, node->entries[i].key,
					&node->entries[i].key_span, child);
		else
			compose_list_add(rd->arena, copy, child);
	}
	*ret_node = copy;
	return 0;
}

static int alias_read(struct reader *rd, const yaml_event_t *event, unsigned level,
		      struct compose_node **ret_node)
{
	const char *name = (const char *)event->data.alias.anchor;
	const struct anchor *anchor = *anchor_slot(rd, name);
	struct compose_span span =
	    span_of(rd, byte_of(rd, event->start_mark), byte_of(rd, event->end_mark));

	if (!anchor)
		return compose_error(&span, -EBADMSG, rd->err, "no anchor &%.64s above this alias",
				     name);
	if (anchor->open)
		return compose_error(&span, -EBADMSG, rd->err,
				     "this alias stands inside the anchor &%.64s it refers to",
				     name);
	return node_share(rd, anchor->node, level, &span, ret_node);
}

/* Keys that are not there yet; what stands in the map itself and what came earlier wins. A key
 * that stands there as `!reset` is taken out before `<<` is looked at: it takes away what earlier
 * files said, and lets this one in. */
static int map_merge(struct reader *rd, struct compose_node *map, const struct merge *merge,
		     const struct compose_node *from)
{
	if (from->type != COMPOSE_MAP)
		return compose_error(&merge->key_span, -EBADMSG, rd->err,
				     "<< takes a map, an alias of one, or a list of these");
	for (size_t i = 0; i < from->n; i++) {
		struct compose_entry *entry = &from->entries[i];
		const struct compose_node *own = compose_get(map, entry->key);

		if (own && own->mark != COMPOSE_RESET)
			continue;
		if (own && entry->value->mark == COMPOSE_UNMARKED)
			entry->value->mark = COMPOSE_OVERRIDE;
		if (!entry->value->via.file)
			entry->value->via = merge->key_span;
		compose_map_put(rd->arena, map, entry->key, &entry->key_span, entry->value);
	}
	return 0;
}

static int merge_apply(struct reader *rd, struct compose_node *map, const struct merge *merge)
{
	int r = 0;

	if (!merge->value)
		return 0;
	if (merge->value->type != COMPOSE_LIST)
		return map_merge(rd, map, merge, merge->value);
	for (size_t i = 0; r == 0 && i < merge->value->n; i++)
		r = map_merge(rd, map, merge, merge->value->items[i]);
	return r;
}

static int node_read(struct reader *rd, const yaml_event_t *event, unsigned level,
		     struct compose_node **ret_node);

static int value_read(struct reader *rd, unsigned level, struct compose_node **ret_node)
{
	auto_event yaml_event_t event = {};
	int r = event_next(rd, &event);

	return r < 0 ? r : node_read(rd, &event, level, ret_node);
}

static int key_twice(struct reader *rd, const char *key, const struct compose_span *first,
		     const struct compose_span *second)
{
	unsigned line, column;

	compose_file_position(rd->file, first->begin, &line, &column);
	return compose_error(second, -EBADMSG, rd->err,
			     "the key \"%.64s\" stands here again; it was first in line %u", key,
			     line);
}

/* Where a child ends in its own file: what an alias stands for is elsewhere. */
static size_t written_end(const struct compose_node *child)
{
	return child->via.file ? child->via.end : child->span.end;
}

/* Of a key only its text and place are kept. */
static void key_done(struct reader *rd, const yaml_event_t *event, struct compose_node *key)
{
	if (event->type != YAML_SCALAR_EVENT || event->data.scalar.anchor)
		return;
	*key = (struct compose_node){};
	rd->spare = key;
}

/* One key, known by its event, and its value. */
static int entry_read(struct reader *rd, const yaml_event_t *event, unsigned level,
		      struct compose_node *map, struct merge *merge)
{
	struct compose_node *key = NULL, *value = NULL;
	const struct compose_entry *first;
	struct compose_span key_span;
	const char *name;
	bool is_merge;
	int r = node_read(rd, event, level, &key);

	if (r < 0)
		return r;
	if (key->type != COMPOSE_SCALAR && key->type != COMPOSE_NULL)
		return fail_at(rd, key->span.begin, "a key must be a single word, no list or map");
	key_span = key->via.file ? key->via : key->span;
	name = key->raw;
	is_merge = !key->tagged_string && !key->via.file && strcmp(name, "<<") == 0;
	if (is_merge && merge->value)
		return key_twice(rd, "<<", &merge->key_span, &key_span);
	first = is_merge ? NULL : compose_entry(map, name);
	if (first)
		return key_twice(rd, name, &first->key_span, &key_span);
	key_done(rd, event, key);
	r = value_read(rd, level, &value);
	if (r < 0)
		return r;
	if (is_merge)
		*merge = (struct merge){value, key_span};
	else
		compose_map_put(rd->arena, map, name, &key_span, value);
	map->span.end = MAX_OF(key_span.end, written_end(value));
	return 0;
}

/* The children of a collection, up to its end event, whose end counts in flow style. */
static int children_read(struct reader *rd, struct compose_node *node, bool flow, unsigned level)
{
	struct merge merge = {};

	for (;;) {
		auto_event yaml_event_t event = {};
		struct compose_node *item = NULL;
		int r = event_next(rd, &event);

		if (r < 0)
			return r;
		if (event.type == YAML_SEQUENCE_END_EVENT || event.type == YAML_MAPPING_END_EVENT) {
			if (flow)
				node->span.end = byte_of(rd, event.end_mark);
			return merge_apply(rd, node, &merge);
		}
		if (node->type == COMPOSE_MAP) {
			r = entry_read(rd, &event, level + 1, node, &merge);
		} else {
			r = node_read(rd, &event, level + 1, &item);
			if (r == 0) {
				compose_list_add(rd->arena, node, item);
				node->span.end = written_end(item);
			}
		}
		if (r < 0)
			return r;
	}
}

static int node_fill(struct reader *rd, const yaml_event_t *event, unsigned level,
		     struct compose_node *node)
{
	switch ((int)event->type) {
	case YAML_SCALAR_EVENT:
		node->mark = mark_of(event->data.scalar.tag);
		scalar_read(rd, event, node);
		return 0;
	case YAML_SEQUENCE_START_EVENT:
		node->type = COMPOSE_LIST;
		node->mark = mark_of(event->data.sequence_start.tag);
		return children_read(
		    rd, node, event->data.sequence_start.style == YAML_FLOW_SEQUENCE_STYLE, level);
	case YAML_MAPPING_START_EVENT:
		node->type = COMPOSE_MAP;
		node->mark = mark_of(event->data.mapping_start.tag);
		return children_read(
		    rd, node, event->data.mapping_start.style == YAML_FLOW_MAPPING_STYLE, level);
	default:
		return fail_at(rd, node->span.begin, "a value is missing here");
	}
}

static const yaml_char_t *event_anchor(const yaml_event_t *event)
{
	return event->type == YAML_SCALAR_EVENT           ? event->data.scalar.anchor
	       : event->type == YAML_SEQUENCE_START_EVENT ? event->data.sequence_start.anchor
	       : event->type == YAML_MAPPING_START_EVENT  ? event->data.mapping_start.anchor
							  : NULL;
}

/* Anchor and tag a value has at most: what follows a collection's own may be its first entry's. No
 * scalar begins with their signs (and the tag `!` is not told). */
static unsigned event_properties(const yaml_event_t *event)
{
	if (event->type == YAML_SEQUENCE_START_EVENT)
		return !!event->data.sequence_start.anchor + !!event->data.sequence_start.tag;
	if (event->type == YAML_MAPPING_START_EVENT)
		return !!event->data.mapping_start.anchor + !!event->data.mapping_start.tag;
	return 2;
}

static int node_read(struct reader *rd, const yaml_event_t *event, unsigned level,
		     struct compose_node **ret_node)
{
	size_t begin = byte_of(rd, event->start_mark), end = byte_of(rd, event->end_mark);
	struct compose_node *node;
	struct anchor *anchor;
	int r;

	if (event->type == YAML_ALIAS_EVENT)
		return alias_read(rd, event, level, ret_node);
	r = node_count(rd, begin, level, false);
	if (r < 0)
		return r;
	begin = properties_skip(rd, begin, event->type == YAML_SCALAR_EVENT ? end : rd->file->len,
				event_properties(event));
	node = rd->spare ? TAKE(rd->spare) : arena_alloc(rd->arena, sizeof *node);
	node->span = span_of(rd, begin, MAX_OF(begin, end));
	anchor = anchor_open(rd, event_anchor(event));
	r = node_fill(rd, event, level, node);
	if (r < 0)
		return r;
	/* Unless an anchor of the same name inside of it has taken its place. */
	if (anchor && anchor->open) {
		anchor->open = false;
		anchor->node = node;
	}
	*ret_node = node;
	return 0;
}

static int documents_read(struct reader *rd, struct compose_node *roots)
{
	for (;;) {
		auto_event yaml_event_t event = {};
		struct compose_node *root = NULL;
		int r = event_next(rd, &event);

		if (r < 0 || event.type == YAML_STREAM_END_EVENT)
			return r;
		if (event.type == YAML_STREAM_START_EVENT || event.type == YAML_DOCUMENT_END_EVENT)
			continue;
		if (event.type == YAML_DOCUMENT_START_EVENT) {
			memset(rd->anchors, 0, sizeof rd->anchors);
			continue;
		}
		r = node_read(rd, &event, 1, &root);
		if (r < 0)
			return r;
		compose_list_add(rd->arena, roots, root);
	}
}

int compose_parse(const struct compose_file *file, struct arena *arena,
		  struct compose_node ***ret_roots, size_t *ret_n, struct error *err)
{
	struct reader rd = {.file = file, .arena = arena, .err = err};
	struct compose_node roots = {};
	int r;

	if (file->len > COMPOSE_FILE_MAX)
		return error_set(err, -EBADMSG, "%s: larger than %zu MiB", file->shown,
				 COMPOSE_FILE_MAX >> 20);
	if (!yaml_parser_initialize(&rd.parser))
		return error_set(err, -ENOMEM, "%s: cannot start the YAML parser", file->shown);
	/* Spans are bytes of this text: no other encoding is guessed. */
	yaml_parser_set_encoding(&rd.parser, YAML_UTF8_ENCODING);
	characters_count(&rd);
	yaml_parser_set_input_string(&rd.parser, (const unsigned char *)file->text + rd.bom,
				     file->len - rd.bom);
	r = documents_read(&rd, &roots);
	yaml_parser_delete(&rd.parser);
	free(rd.bytes);
	if (r < 0)
		return r;
	*ret_roots = roots.items;
	*ret_n = roots.n;
	return 0;
}
