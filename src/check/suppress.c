/*
 * `# plimsoll: ignore CODE[, CODE]`. Read from the text of the files and not from their trees: YAML
 * drops comments, and env files have them, too. At the end of a line it is for that line; alone on
 * a line for the next line that is no comment; in the first line of a file for all of it.
 */
#include "check/check_priv.h"

#include "util/suggest.h"

#include <ctype.h>
#include <stdlib.h>
#include <string.h>

#define MARK "plimsoll:"

struct suppression {
	const struct compose_file *file;
	int rule;
	unsigned line; /* 0: all of the file */
};

struct suppressions {
	struct suppression *items;
	size_t n, room;
};

static void suppressions_finish(struct suppressions *suppressions)
{
	free(suppressions->items);
}
#define auto_suppressions CLEANUP(suppressions_finish)

static const char *rule_at(const void *data, size_t i)
{
	return check_rules[i].code;
}

static void unknown_code(struct check *check, const struct compose_file *file, size_t at,
			 const char *code)
{
	const char *nearest = suggest_nearest(code, CHECK_COUNT, rule_at, NULL);

	check_add(check, CHECK_UNKNOWN_CODE,
		  &(struct finding){
		      .span = {file, at, at + strlen(code)},
		      .message = mem_printf("there is no check \"%s\" to ignore", code),
		      .fix = nearest ? mem_printf("did you mean %s?", nearest)
				     : mem_strdup("docs/checks.md lists them"),
		  });
}

/* The codes after `ignore`, up to the first word that no comma or `ignore` leads to. */
static void add_codes(struct check *check, struct suppressions *suppressions,
		      const struct compose_file *file, size_t at, size_t end, unsigned line)
{
	for (;;) {
		size_t begin;
		char code[64];
		int rule;

		while (at < end && isblank((unsigned char)file->text[at]))
			at++;
		for (begin = at;
		     at < end && (isalnum((unsigned char)file->text[at]) || file->text[at] == '-');)
			at++;
		if (at == begin || at - begin >= sizeof code)
			return;
		(void)snprintf(code, sizeof code, "%.*s", (int)(at - begin), file->text + begin);
		rule = check_rule_find(code);
		if (rule < 0) {
			unknown_code(check, file, begin, code);
		} else {
			ARRAY_GROW(suppressions->items, suppressions->n, suppressions->room);
			suppressions->items[suppressions->n++] =
			    (struct suppression){file, rule, line};
		}
		while (at < end && isblank((unsigned char)file->text[at]))
			at++;
		if (at == end || file->text[at] != ',')
			return;
		at++;
	}
}

static bool is_comment_line(const struct compose_file *file, size_t i)
{
	size_t at = file->lines[i];

	while (isblank((unsigned char)file->text[at]))
		at++;
	return file->text[at] == '#';
}

/* The line a comment alone on line `i` speaks of. `*below`: that of the comment before it, so that
 * no line of a block is looked at twice. */
static unsigned line_below(const struct compose_file *file, size_t i, size_t *below)
{
	if (*below < i)
		*below = i;
	while (*below < file->n_lines && is_comment_line(file, *below))
		(*below)++;
	return (unsigned)*below + 1;
}

/* After the mark, and `ignore`; 0: it is no such comment. */
static size_t after_mark(const struct compose_file *file, size_t hash, size_t end)
{
	size_t at = hash + 1, len = strlen("ignore");

	while (at < end && isblank((unsigned char)file->text[at]))
		at++;
	if (end - at < strlen(MARK) || strncmp(file->text + at, MARK, strlen(MARK)) != 0)
		return 0;
	at += strlen(MARK);
	while (at < end && isblank((unsigned char)file->text[at]))
		at++;
	if (end - at < len || strncmp(file->text + at, "ignore", len) != 0 ||
	    (at + len < end && !isblank((unsigned char)file->text[at + len])))
		return 0;
	return at + len;
}

static void read_file(struct check *check, const struct compose_file *file,
		      struct suppressions *suppressions)
{
	size_t below = 0;

	/* Most files have none. */
	if (!file->text || !memmem(file->text, file->len, MARK, strlen(MARK)))
		return;
	for (size_t i = 0; i < file->n_lines; i++) {
		size_t begin = file->lines[i],
		       end = i + 1 < file->n_lines ? file->lines[i + 1] : file->len;
		bool alone = is_comment_line(file, i);

		for (size_t at = begin; at < end; at++) {
			size_t codes = file->text[at] == '#' ? after_mark(file, at, end) : 0;

			if (codes == 0)
				continue;
			add_codes(check, suppressions, file, codes, end,
				  i == 0 && alone ? 0
				  : alone         ? line_below(file, i, &below)
						  : (unsigned)i + 1);
			break;
		}
	}
}

/* By file, rule and line; one of line 0 comes first. */
static int compare(const void *a, const void *b)
{
	const struct suppression *one = a, *other = b;

	if (one->file != other->file)
		return one->file < other->file ? -1 : 1;
	if (one->rule != other->rule)
		return one->rule < other->rule ? -1 : 1;
	return (one->line > other->line) - (one->line < other->line);
}

static bool is_silenced(const struct suppressions *suppressions, const struct finding *finding)
{
	struct suppression key = {finding->span.file, check_rule_find(finding->code), 0};

	if (suppressions->n == 0)
		return false;
	for (int i = 0; i < 2; i++, key.line = finding->line)
		if (bsearch(&key, suppressions->items, suppressions->n, sizeof key, compare))
			return true;
	return false;
}

void check_suppress(struct check *check)
{
	const struct compose_files *files = &check->stack->project->files;
	struct findings *findings = check->findings;
	auto_suppressions struct suppressions suppressions = {};
	size_t kept = 0;

	for (size_t i = 0; i < files->n; i++)
		read_file(check, files->items[i], &suppressions);
	if (suppressions.n > 0)
		qsort(suppressions.items, suppressions.n, sizeof *suppressions.items, compare);
	for (size_t i = 0; i < findings->n; i++) {
		if (is_silenced(&suppressions, &findings->items[i])) {
			free(findings->items[i].message);
			free(findings->items[i].fix);
			findings->n_suppressed++;
		} else {
			findings->items[kept++] = findings->items[i];
		}
	}
	findings->n = kept;
}
