/* See patterns.h. What a text may hold is said again here (run/oom_patterns.c has it too): an error
 * of the file is told when the file is read, with its place. */
#include "config/patterns.h"

#include <errno.h>
#include <string.h>

#define ID_MAX    60
#define TEXT_MAX  400
#define FIRST_MIN 3

static const char *const kinds[] = {
    "host-sure",    "gpu",   "host",   "either", "weak",       "suspect",
    "host-suspect", "probe", "ignore", "advice", "recovered",  "gpu-word",
    "size",         "total", "used",   "part",   "part-first",
};

/* From here on they are there for their number. */
#define SIZES_FROM 12

/* ARRAY_LEN(kinds): it is none. */
static size_t kind_place(const char *text)
{
	size_t i = 0;

	while (i < ARRAY_LEN(kinds) && strcmp(kinds[i], text) != 0)
		i++;
	return i;
}

/* What is wrong with the text, or NULL. */
static const char *text_wrong(const char *text, const char *kind)
{
	size_t first = strcspn(text, "*");
	const char *size = strstr(text, "{size}"), *shape = strstr(text, "{shape}");

	for (const unsigned char *p = (const unsigned char *)text; *p; p++)
		if (*p < ' ')
			return "holds control characters";
	if (size)
		first = MIN_OF(first, (size_t)(size - text));
	if (shape)
		first = MIN_OF(first, (size_t)(shape - text));
	if (first < FIRST_MIN)
		return "does not begin with three characters that are no placeholder";
	if (strlen(text) > TEXT_MAX)
		return "is longer than 400 bytes";
	if (kind_place(kind) >= SIZES_FROM && !size && !shape)
		return "has no {size} or {shape}";
	return NULL;
}

static int pattern_read(const struct yamlx *doc, const struct yamlx_node *node,
			struct config_pattern *pattern, struct error *err)
{
	static const char *const keys[] = {"id", "kind", "text", NULL};
	const char *values[3] = {}, *wrong;
	int r = node->type == YAMLX_MAPPING
		    ? yamlx_check_keys(doc, node, keys, err)
		    : yamlx_error(doc, node, -EINVAL, err, "{id, kind, text} is wanted");

	for (size_t i = 0; r == 0 && keys[i]; i++) {
		const struct yamlx_node *value = yamlx_get(node, keys[i]);

		if (!value)
			return yamlx_error(doc, node, -EINVAL, err, "a pattern needs \"%s\"",
					   keys[i]);
		r = yamlx_string(doc, value, &values[i], err);
	}
	if (r < 0)
		return r;
	if (!values[0][0] || strlen(values[0]) > ID_MAX)
		return yamlx_error(doc, yamlx_get(node, "id"), -EINVAL, err,
				   "`id` has 1 to %d characters", ID_MAX);
	if (kind_place(values[1]) == ARRAY_LEN(kinds))
		return yamlx_error(
		    doc, yamlx_get(node, "kind"), -EINVAL, err,
		    "`kind` is host-sure, gpu, host, either, weak, suspect, "
		    "host-suspect, probe, ignore, advice, recovered, gpu-word, size, total, "
		    "used, part or part-first, not \"%.64s\"",
		    values[1]);
	wrong = text_wrong(values[2], values[1]);
	if (wrong)
		return yamlx_error(doc, yamlx_get(node, "text"), -EINVAL, err, "`text` %s", wrong);
	*pattern = (struct config_pattern){
	    .id = mem_strdup(values[0]),
	    .kind = mem_strdup(values[1]),
	    .text = mem_strdup(values[2]),
	    .where = mem_printf("%s:%u:%u", doc->name, node->line, node->column),
	};
	return 0;
}

/* The reason of a task names the id: it is one pattern's. */
static int id_check(const struct yamlx *doc, const struct yamlx_node *node,
		    const struct config_pattern *list, size_t n, struct error *err)
{
	for (size_t i = 0; i < n; i++)
		if (strcmp(list[i].id, list[n].id) == 0)
			return yamlx_error(doc, node, -EINVAL, err,
					   "there is a pattern with the id \"%s\" already: %s",
					   list[i].id, list[i].where);
	return 0;
}

int config_patterns_read(const struct yamlx *doc, const struct yamlx_node *node,
			 struct config_pattern **list, size_t *n, struct error *err)
{
	static const char *const keys[] = {"patterns", NULL};
	const struct yamlx_node *items;
	int r = node->type == YAMLX_MAPPING
		    ? yamlx_check_keys(doc, node, keys, err)
		    : yamlx_error(doc, node, -EINVAL, err, "`oom` is {patterns: [...]}");

	if (r < 0)
		return r;
	items = yamlx_get(node, "patterns");
	if (!items || items->type != YAMLX_SEQUENCE || items->n + *n > CONFIG_PATTERNS_MAX)
		return yamlx_error(doc, items ? items : node, -EINVAL, err,
				   "`patterns` of `oom` is a list of at most %d, of all files "
				   "together",
				   CONFIG_PATTERNS_MAX);
	if (items->n == 0)
		return 0;
	*list = mem_realloc(*list, *n + items->n, sizeof **list);
	for (size_t i = 0; i < items->n && r == 0; i++) {
		r = pattern_read(doc, items->items[i], &(*list)[*n], err);
		if (r < 0)
			break;
		/* Counted first: it is to be freed whatever is wrong with it. */
		r = id_check(doc, items->items[i], *list, (*n)++, err);
	}
	return r;
}

void config_patterns_destroy(struct config_pattern *list, size_t n)
{
	for (size_t i = 0; i < n; i++) {
		free(list[i].id);
		free(list[i].kind);
		free(list[i].text);
		free(list[i].where);
	}
	free(list);
}
