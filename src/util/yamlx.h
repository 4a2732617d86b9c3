/*
 * A YAML document as a small tree of nodes that know their line and column, for configuration,
 * scenario and catalogue files. Anchors and aliases are refused; so are more than 64 levels or
 * 100,000 nodes. The tree belongs to the document; nothing in it may be freed on its own.
 */
#pragma once

#include "util/error.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum yamlx_type { YAMLX_SCALAR, YAMLX_SEQUENCE, YAMLX_MAPPING };

struct yamlx_node {
	enum yamlx_type type;
	unsigned line, column;     /* from 1 */
	const char *file;          /* when it is of another one than the document; borrowed */
	char *text;                /* scalar: its text */
	bool plain;                /* scalar: written without quotes */
	struct yamlx_node **items; /* sequence: its items; mapping: its values */
	struct yamlx_node **keys;  /* mapping: its keys (scalars), same order */
	size_t n;
};

struct yamlx {
	char *name; /* file name, for messages */
	struct yamlx_node *root;
};

/* Parse one document. `name` is for messages. Errors read "name:line:column: ...". */
int yamlx_parse(const char *text, size_t len, const char *name, struct yamlx **ret_doc,
		struct error *err) MUST_CHECK;
int yamlx_load(const char *path, struct yamlx **ret_doc, struct error *err) MUST_CHECK;
void yamlx_destroy(struct yamlx *doc);

static inline void yamlx_cleanup(struct yamlx **doc)
{
	yamlx_destroy(*doc);
}
#define auto_yamlx CLEANUP(yamlx_cleanup)

/* Does YAML read this plain scalar as null: "", "~", "null"? */
bool yamlx_is_null_word(const char *text);

/* The value of a key of a mapping, or NULL. */
const struct yamlx_node *yamlx_get(const struct yamlx_node *mapping, const char *key);

/* Set the error to "name:line:column: <text>", the name being the node's file when it has one of
 * its own, and return `code`. */
int yamlx_error(const struct yamlx *doc, const struct yamlx_node *at, int code, struct error *err,
		const char *fmt, ...) PRINTF(5, 6);

/* Refuse keys of `mapping` that are not in the NULL-terminated list, naming the ones that are. */
int yamlx_check_keys(const struct yamlx *doc, const struct yamlx_node *mapping,
		     const char *const *known, struct error *err) MUST_CHECK;

/* Typed values; the error names the place. */
int yamlx_size(const struct yamlx *doc, const struct yamlx_node *node, uint64_t *ret_bytes,
	       struct error *err) MUST_CHECK;
int yamlx_duration(const struct yamlx *doc, const struct yamlx_node *node, int64_t *ret_ms,
		   struct error *err) MUST_CHECK;
int yamlx_real(const struct yamlx *doc, const struct yamlx_node *node, double min, double max,
	       double *ret_value, struct error *err) MUST_CHECK;
int yamlx_bool(const struct yamlx *doc, const struct yamlx_node *node, bool *ret_value,
	       struct error *err) MUST_CHECK;
int yamlx_string(const struct yamlx *doc, const struct yamlx_node *node, const char **ret_text,
		 struct error *err) MUST_CHECK; /* borrowed */
