/* `oom` of plimsoll.yaml: texts of the machine's own programs, before the built-in ones of
 * run/oom.h. */
#pragma once

#include "util/yamlx.h"

struct config_pattern {
	char *id, *kind, *text;
	char *where; /* "file:line:column" of its entry */
};

#define CONFIG_PATTERNS_MAX 200

/* {patterns: [{id, kind, text}, ...]}: added to the list. On failure some may be in. */
int config_patterns_read(const struct yamlx *doc, const struct yamlx_node *node,
			 struct config_pattern **list, size_t *n, struct error *err) MUST_CHECK;
void config_patterns_destroy(struct config_pattern *list, size_t n);
