/* YAML as it is written anew: scalars in quotes, lists in one line, nodes in block style. */
#pragma once

#include "compose/node.h"
#include "util/text.h"

#define ASSIGN_STEP 2 /* blanks of one level of what is written anew */

/* The quotes this file prefers. */
char assign_print_quote(const struct compose_file *file);
/* Would it mean something else without quotes, anywhere? */
bool assign_print_needs_quotes(const char *text);
/* A scalar in these quotes; '\0': without any where that goes. */
void assign_print_scalar(struct text *out, const char *text, char quote);
/* ["0", "1"] */
void assign_print_ids(struct text *out, const char *const *ids, size_t n, char quote);
/* A node in one line, in flow style, as the template was. */
void assign_print_node(struct text *out, const struct compose_node *node);
/* What follows `key:`, which is indented by less: a node in block style where that goes. */
void assign_print_block(struct text *out, const struct compose_node *node, int indent,
			const char *newline);
