/*
 * The patterns of out-of-memory texts, see oom.h and the head of data/oom-patterns.yaml. They are
 * found by their first three bytes, so that a log is gone through once however many there are. A
 * daemon that idles holds them all the time: their strings are one block, their numbers small.
 */
#include "run/oom_priv.h"

#include "util/paths.h"
#include "util/yamlx.h"

#include <ctype.h>
#include <errno.h>
#include <string.h>

#define PATTERNS_MAX 1000
#define TEXT_MAX     400

static const char *const kind_names[] = {
    [OOM_KIND_HOST_SURE] = "host-sure",
    [OOM_KIND_GPU] = "gpu",
    [OOM_KIND_HOST] = "host",
    [OOM_KIND_EITHER] = "either",
    [OOM_KIND_WEAK] = "weak",
    [OOM_KIND_SUSPECT] = "suspect",
    [OOM_KIND_HOST_SUSPECT] = "host-suspect",
    [OOM_KIND_PROBE] = "probe",
    [OOM_KIND_IGNORE] = "ignore",
    [OOM_KIND_ADVICE] = "advice",
    [OOM_KIND_RECOVERED] = "recovered",
    [OOM_KIND_GPU_WORD] = "gpu-word",
    [OOM_KIND_SIZE] = "size",
    [OOM_KIND_TOTAL] = "total",
    [OOM_KIND_USED] = "used",
    [OOM_KIND_PART] = "part",
    [OOM_KIND_PART_FIRST] = "part-first",
};

static const struct {
	const char *name;
	char mark;
} placeholders[] = {{"{size}", OOM_SIZE_MARK},
		    {"{shape}", OOM_SHAPE_MARK},
		    {"{plus}", OOM_PLUS_MARK},
		    {"{minus}", OOM_MINUS_MARK}};

unsigned oom_chain(const char *text)
{
	unsigned hash = (unsigned char)text[0];

	hash = hash * 31 + (unsigned char)text[1];
	hash = hash * 31 + (unsigned char)text[2];
	return hash % OOM_CHAINS;
}

/* In lower case, with one byte for each placeholder; `compiled` has room for the text as it is. */
static void text_compile(const char *text, char *compiled, bool *ret_has_size)
{
	size_t n = 0;

	while (*text) {
		size_t skip = 0;

		for (size_t i = 0; i < ARRAY_LEN(placeholders) && skip == 0; i++) {
			if (strncmp(text, placeholders[i].name, strlen(placeholders[i].name)) != 0)
				continue;
			skip = strlen(placeholders[i].name);
			compiled[n++] = placeholders[i].mark;
			*ret_has_size |= i <= 1;
		}
		/* The log has one blank between two words. */
		if (skip == 0 && (*text != ' ' || n == 0 || compiled[n - 1] != ' '))
			compiled[n++] = (char)tolower((unsigned char)*text);
		text += skip > 0 ? skip : 1;
	}
	compiled[n] = '\0';
}

/* The end of a line is the blank behind it (oom.c writes one). */
static bool text_end(char *compiled)
{
	static const char end[] = "{end}";
	size_t len = strlen(compiled);

	if (len < sizeof end - 1 || strcmp(compiled + len - (sizeof end - 1), end) != 0)
		return false;
	strcpy(compiled + len - (sizeof end - 1), " ");
	return true;
}

/* What is wrong with the numbers to be added or taken off, or NULL. */
static const char *further_check(const char *compiled)
{
	const char *mark = compiled, *first = strpbrk(compiled, "\1\2");

	while ((mark = strpbrk(mark, "\3\4"))) {
		if (!first || mark < first)
			return "\"text\" has {plus} or {minus} before {size}";
		if (strchr(OOM_MARKS, mark[-1]))
			return "\"text\" has {plus} or {minus} right behind another placeholder";
		mark++;
	}
	return NULL;
}

/* Where the next string goes. */
static char *strings_end(const struct oom_patterns *patterns)
{
	return patterns->strings + patterns->strings_len;
}

/* What is wrong with it, or NULL. The strings have room for both of its own. */
static const char *pattern_add(struct oom_patterns *patterns, const char *id, const char *kind,
			       const char *text)
{
	struct oom_pattern *pattern = &patterns->items[patterns->n++];
	char *compiled = strings_end(patterns);
	const char *wrong;
	size_t i = 0;

	while (i < OOM_KIND_COUNT && strcmp(kind_names[i], kind) != 0)
		i++;
	if (i == OOM_KIND_COUNT)
		return "is not host-sure, gpu, host, either, weak, suspect, host-suspect, probe, "
		       "ignore, advice, recovered, gpu-word, size, total, used, part or "
		       "part-first";
	if (!text[0])
		return "\"text\" is empty";
	if (strlen(text) > TEXT_MAX)
		return "\"text\" is longer than 400 bytes";
	if (strpbrk(text, "\1\2\3\4\n\r"))
		return "\"text\" holds control characters";
	*pattern = (struct oom_pattern){.text = compiled, .kind = (uint8_t)i, .next = -1};
	text_compile(text, compiled, &pattern->has_size);
	pattern->at_end = text_end(compiled);
	pattern->first_len = (uint16_t)strcspn(compiled, OOM_MARKS);
	if (pattern->first_len < OOM_FIRST_MIN)
		return "\"text\" does not begin with three characters that are no placeholder";
	if (pattern->at_end && pattern->text[pattern->first_len] != '\0')
		return "\"text\" has {end} behind a placeholder";
	if (pattern->kind >= OOM_KIND_SIZE && !pattern->has_size)
		return "\"text\" has no {size} or {shape}";
	wrong = further_check(compiled);
	if (wrong)
		return wrong;
	patterns->strings_len += strlen(compiled) + 1;
	pattern->id = strcpy(strings_end(patterns), id);
	patterns->strings_len += strlen(id) + 1;
	return NULL;
}

static int pattern_load(const struct yamlx *doc, const struct yamlx_node *node,
			struct oom_patterns *patterns, struct error *err)
{
	static const char *const keys[] = {"id", "kind", "text", "source", "date", NULL};
	const char *values[5] = {}, *wrong;
	int r = yamlx_check_keys(doc, node, keys, err);

	for (size_t i = 0; r == 0 && keys[i]; i++) {
		const struct yamlx_node *value = yamlx_get(node, keys[i]);

		if (!value)
			return yamlx_error(doc, node, -EINVAL, err, "a pattern needs \"%s\"",
					   keys[i]);
		r = yamlx_string(doc, value, &values[i], err);
	}
	if (r < 0)
		return r;
	wrong = pattern_add(patterns, values[0], values[1], values[2]);
	if (!wrong)
		return 0;
	return wrong[0] == '"'
		   ? yamlx_error(doc, yamlx_get(node, "text"), -EINVAL, err, "%s", wrong)
		   : yamlx_error(doc, yamlx_get(node, "kind"), -EINVAL, err, "\"%s\" %s", values[1],
				 wrong);
}

static int more_load(const struct oom_pattern_text *more, size_t n, struct oom_patterns *patterns,
		     struct error *err)
{
	for (size_t i = 0; i < n; i++) {
		const char *wrong = pattern_add(patterns, more[i].id, more[i].kind, more[i].text);

		if (wrong)
			return error_set(err, -EINVAL, "%s: %s%s%s%s", more[i].where,
					 wrong[0] == '"' ? "" : "\"",
					 wrong[0] == '"' ? "" : more[i].kind,
					 wrong[0] == '"' ? "" : "\" ", wrong);
		patterns->items[patterns->n - 1].own = true;
	}
	return 0;
}

/* At most: of what is no pattern, too. */
static size_t strings_room(const struct yamlx_node *list, const struct oom_pattern_text *more,
			   size_t n_more)
{
	static const char *const keys[] = {"id", "text"};
	size_t room = 1;

	for (size_t i = 0; i < n_more; i++)
		room += strlen(more[i].id) + strlen(more[i].text) + 2;
	for (size_t i = 0; i < list->n; i++) {
		for (size_t k = 0; k < ARRAY_LEN(keys); k++) {
			const struct yamlx_node *value = yamlx_get(list->items[i], keys[k]);

			room += value && value->type == YAMLX_SCALAR ? strlen(value->text) + 1 : 0;
		}
	}
	return room;
}

/* In reverse: so that the chains are in the list's order. */
static void chains_fill(struct oom_patterns *patterns)
{
	memset(patterns->chains, -1, sizeof patterns->chains);
	for (size_t i = patterns->n; i-- > 0;) {
		unsigned chain = oom_chain(patterns->items[i].text);

		patterns->items[i].next = patterns->chains[chain];
		patterns->chains[chain] = (int16_t)i;
	}
}

int oom_patterns_load(const char *path, const struct oom_pattern_text *more, size_t n_more,
		      struct oom_patterns **ret_patterns, struct error *err)
{
	static const char *const keys[] = {"version", "patterns", NULL};
	auto_free char *found = NULL;
	auto_yamlx struct yamlx *doc = NULL;
	const struct yamlx_node *list;
	struct oom_patterns *patterns;
	int r = path ? 0 : paths_find_data("oom-patterns.yaml", &found, err);

	if (r == 0)
		r = yamlx_load(path ? path : found, &doc, err);
	if (r == 0)
		r = yamlx_check_keys(doc, doc->root, keys, err);
	if (r < 0)
		return r;
	list = yamlx_get(doc->root, "patterns");
	if (n_more > PATTERNS_MAX)
		return error_set(err, -E2BIG, "more than %d patterns beside the file's",
				 PATTERNS_MAX);
	if (!list || list->type != YAMLX_SEQUENCE || list->n > PATTERNS_MAX)
		return yamlx_error(doc, list ? list : doc->root, -EINVAL, err,
				   "\"patterns\" is no list of at most %d", PATTERNS_MAX);
	patterns = mem_calloc(1, sizeof *patterns);
	patterns->items = mem_calloc(list->n + n_more + 1, sizeof *patterns->items);
	patterns->strings = mem_alloc(strings_room(list, more, n_more));
	r = more_load(more, n_more, patterns, err);
	for (size_t i = 0; i < list->n && r == 0; i++)
		r = pattern_load(doc, list->items[i], patterns, err);
	if (r < 0) {
		oom_patterns_destroy(patterns);
		return r;
	}
	chains_fill(patterns);
	*ret_patterns = patterns;
	return 0;
}

void oom_patterns_destroy(struct oom_patterns *patterns)
{
	if (!patterns)
		return;
	free(patterns->strings);
	free(patterns->items);
	free(patterns);
}
