/*
 * YAML as compose files use it: a tree whose every node knows the bytes it was written as. Anchors,
 * aliases and merge keys are resolved, `!reset` and `!override` kept as marks. Values are as
 * written until compose_interpolate_tree() (interpolate.h) fills in `text`.
 *
 * Trees are shared and never changed once made; merging makes new nodes that point to old ones. All
 * of a project's are in its arena.
 *
 * Limits: 64 levels, COMPOSE_NODES_MAX nodes visited (aliases count each time: an "alias bomb" is
 * an error with its position within milliseconds). Duplicate keys are errors naming both lines.
 * libyaml counts characters in its marks; spans here are bytes.
 */
#pragma once

#include "compose/arena.h"
#include "compose/file.h"

#include <stdint.h>

#define COMPOSE_NODES_MAX  100000
#define COMPOSE_LEVELS_MAX 64

enum compose_type { COMPOSE_NULL, COMPOSE_SCALAR, COMPOSE_LIST, COMPOSE_MAP };

/* How a scalar was written. */
enum compose_style {
	COMPOSE_PLAIN,
	COMPOSE_SINGLE,
	COMPOSE_DOUBLE,
	COMPOSE_BLOCK, /* | or > */
};

enum compose_mark { COMPOSE_UNMARKED, COMPOSE_RESET, COMPOSE_OVERRIDE };

struct compose_use; /* interpolate.h */

struct compose_entry {
	const char *key;
	struct compose_span key_span;
	struct compose_node *value;
};

/* There are tens of thousands of them in a large project: small fields share a word. */
struct compose_node {
	enum compose_type type : 8;
	enum compose_mark mark : 8;
	enum compose_style style : 8;
	bool tagged_string : 1; /* written with !!str, or quoted: never a number, bool or null */
	/* Offset i of `raw` is byte span.begin + lead + i: true for scalars without escapes or
	 * folds. Then a part of it can be edited, else only the whole. */
	bool exact : 1;
	unsigned lead;
	/* All of it, quotes included; of an alias: of what it stands for. */
	struct compose_span span;
	/* The last alias or `<<` it was reached through; file NULL: none. */
	struct compose_span via;
	const char *raw;                /* scalar: decoded (quotes, escapes and folding undone) */
	const char *text;               /* scalar: after interpolation; raw before */
	const struct compose_use *uses; /* the variables in it, in order */
	size_t n_uses;
	struct compose_entry *entries; /* map */
	struct compose_node **items;   /* list */
	size_t n;
	size_t room;     /* for entries or items */
	uint32_t *index; /* of a large map, by key; node.c's */
};

/* All documents of a file, one root each (COMPOSE_NULL for an empty one); none in an empty file.
 * -EBADMSG: "FILE:LINE:COLUMN: ...". */
int compose_parse(const struct compose_file *file, struct arena *arena,
		  struct compose_node ***ret_roots, size_t *ret_n, struct error *err) MUST_CHECK;

/* The value of a key, or NULL when `map` is NULL, no map, or has none. */
struct compose_node *compose_get(const struct compose_node *map, const char *key);
/* Keys one below the other: compose_path(node, "deploy", "resources", NULL). */
struct compose_node *compose_path(const struct compose_node *map, ...) __attribute__((sentinel));
const struct compose_entry *compose_entry(const struct compose_node *map, const char *key);

/* The text of a scalar (after interpolation), NULL for anything else and for null. */
const char *compose_text(const struct compose_node *node);
/* As YAML 1.2's core schema and compose read them: compose casts the text after interpolation, so a
 * quoted "true" is one too, and so are y, yes, on, n, no, off. False: it is none. */
bool compose_bool(const struct compose_node *node, bool *ret_value);
bool compose_integer(const struct compose_node *node, int64_t *ret_value);

/* How many devices a request asks for: -1 for `all` in any case. Quoted, or from a variable, it is
 * read as decimal. */
bool compose_device_count(const struct compose_node *node, int64_t *ret_count);

/* New nodes, in the arena; they stand where `like` does (NULL: nowhere). */
struct compose_node *compose_node_map(struct arena *arena, const struct compose_node *like);
struct compose_node *compose_node_list(struct arena *arena, const struct compose_node *like);
struct compose_node *compose_node_scalar(struct arena *arena, const struct compose_node *like,
					 const char *text);
/* A copy of the node alone: its entries and items are the same ones, in a list of its own. */
struct compose_node *compose_node_copy(struct arena *arena, const struct compose_node *node);
/* Put or replace a key; append an item. Only into nodes made here. `key` stays borrowed. */
void compose_map_put(struct arena *arena, struct compose_node *map, const char *key,
		     const struct compose_span *key_span, struct compose_node *value);
void compose_map_remove(struct compose_node *map, const char *key);
void compose_list_add(struct arena *arena, struct compose_node *list, struct compose_node *item);
