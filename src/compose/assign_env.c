/*
 * See assign_priv.h. Where .env says a variable: the value alone changes, quotes and comments stay.
 * Where it would say it if the line were no comment, the line becomes an assignment in its place; a
 * comment behind it that speaks of being commented out is no longer true and goes. Everything else
 * is added at the end, in one group with a headline, or to the group of last time.
 */
#include "compose/assign_priv.h"

#include <errno.h>
#include <string.h>
#include <strings.h>

#define HEADLINE "# GPUs of the services, by plimsoll"

/* May the value stand in an env file without quotes? */
static bool is_plain(const char *value)
{
	for (const char *p = value; *p; p++)
		if (!(((*p | 0x20) >= 'a' && (*p | 0x20) <= 'z') || (*p >= '0' && *p <= '9') ||
		      strchr("_.,:/=+-", *p)))
			return false;
	return true;
}

/* As compose reads it back: in single quotes nothing is expanded, but only `'` can be escaped. */
static const char *quoted(struct assigning *a, const char *value, char quote)
{
	auto_text struct text out = {};

	if (!quote && is_plain(value))
		return value;
	if (quote == '"' && is_plain(value))
		return arena_printf(a->arena, "\"%s\"", value);
	text_add(&out, "'");
	for (; *value; value++)
		text_add(&out, *value == '\'' ? "\\'" : (char[]){*value, '\0'});
	text_add(&out, "'");
	return arena_strdup(a->arena, out.data);
}

static size_t line_end(const struct compose_file *file, size_t at)
{
	while (at < file->len && file->text[at] != '\n' && file->text[at] != '\r')
		at++;
	return at;
}

/* Words for a comment: one line. */
static const char *one_line(struct assigning *a, const char *text)
{
	char *copy = arena_strdup(a->arena, text);

	for (char *p = copy; *p; p++)
		if ((unsigned char)*p < ' ')
			*p = ' ';
	return copy;
}

static bool speaks_of_being_commented(const char *comment, size_t len)
{
	static const char *const words[] = {"comment", "default", "disabled", "unset"};

	for (size_t i = 0; i < len; i++)
		for (size_t k = 0; k < ARRAY_LEN(words); k++)
			if (i + strlen(words[k]) <= len &&
			    strncasecmp(comment + i, words[k], strlen(words[k])) == 0)
				return true;
	return false;
}

/* Is the byte in a group of ours: the headline, and no blank line since? */
static bool is_in_group(const struct compose_file *file, size_t at)
{
	const char *headline = strstr(file->text, HEADLINE);
	const char *blank = headline ? strstr(headline, "\n\n") : NULL;
	const char *blank_crlf = headline ? strstr(headline, "\n\r\n") : NULL;
	const char *where = file->text + at;

	return headline && headline < where && (!blank || where < blank) &&
	       (!blank_crlf || where < blank_crlf);
}

/* "# 9 GiB on the X1", "# 3.3 GiB on demand on the X1", as we have written it: in our group, or of
 * a GPU that is here. What is said of a value is not true of another one. */
static bool is_our_reason(const struct assigning *a, const struct compose_file *file, size_t hash,
			  size_t end)
{
	static const char *const units[] = {"B", "KiB", "MiB", "GiB", "TiB"};
	auto_free char *comment = mem_strndup(file->text + hash, end - hash);
	const char *at = comment + 1 + strspn(comment + 1, " ");
	size_t digits = strspn(at, "0123456789."), unit = 0, len;

	while (unit < ARRAY_LEN(units) &&
	       !(at[digits] == ' ' && text_starts_with(at + digits + 1, units[unit]) &&
		 at[digits + 1 + strlen(units[unit])] == ' '))
		unit++;
	if (digits == 0 || unit == ARRAY_LEN(units))
		return false;
	at += digits + 1 + strlen(units[unit]);
	at += text_starts_with(at, " on demand") ? strlen(" on demand") : 0;
	if (!text_starts_with(at, " on the "))
		return false;
	for (size_t i = 0; i < a->list->n; i++) {
		const char *name = gpu_short_name(a->list->gpus[i].name);

		len = strlen(name);
		if (len > 0 && strlen(at) > len && strcmp(at + strlen(at) - len, name) == 0)
			return true;
	}
	return is_in_group(file, hash);
}

/* What stands behind the value on its line: kept, replaced by the reason, or dropped. `commented`:
 * it was no assignment. */
static int settle_comment(struct assigning *a, const struct compose_assignment *assignment,
			  const char *why, bool commented, struct error *err)
{
	const struct compose_file *file = assignment->span.file;
	size_t begin = assignment->span.end, end = line_end(file, begin), hash = begin;
	struct compose_span span;

	while (hash < end && (file->text[hash] == ' ' || file->text[hash] == '\t'))
		hash++;
	if (hash == end || file->text[hash] != '#')
		return 0;
	if (!is_our_reason(a, file, hash, end) &&
	    !(commented && speaks_of_being_commented(file->text + hash, end - hash)))
		return 0;
	span = (struct compose_span){file, why ? hash : begin, end};
	return assign_edit(a, &span, why ? arena_printf(a->arena, "# %s", one_line(a, why)) : "",
			   err);
}

static int uncomment(struct assigning *a, const struct assign_region *region,
		     const struct compose_assignment *assignment, const char *value,
		     struct error *err)
{
	const struct compose_file *file = assignment->span.file;
	struct compose_span mark = {file, assignment->span.begin, assignment->span.begin};
	const char *written = quoted(a, value, assignment->quote);
	bool again = false;
	int r;

	while (mark.end < assignment->span.end && strchr("# \t", file->text[mark.end]))
		mark.end++;
	/* Another service may have done it; its reason stands there then. */
	for (size_t i = 0; i < a->edits.n; i++)
		again = again || (a->edits.items[i].span.file == file &&
				  a->edits.items[i].span.begin == mark.begin);
	r = assign_edit(a, &mark, "", err);
	if (r == 0)
		r = assign_edit(a, &assignment->value_span, written, err);
	return r < 0 || again ? r : settle_comment(a, assignment, region->why, true, err);
}

/* The file that gets new variables: the last one that is read, as it wins. */
static int env_file(struct assigning *a, const struct compose_file **ret_file, struct error *err)
{
	const struct compose_env *env = &a->project->env;

	if (env->n_files > 0) {
		*ret_file = env->files[env->n_files - 1].file;
		return 0;
	}
	if (a->project->env_file_disabled)
		return error_set(err, -ENOTSUP,
				 "a variable has to be set, and no .env is read because "
				 "COMPOSE_DISABLE_ENV_FILE is set: unset it, or name a file with "
				 "--env-file");
	return compose_files_load_or_new(&a->project->files, a->project->dir, ".env", ret_file,
					 err);
}

static int add_variable(struct assigning *a, const struct assign_region *region, const char *name,
			const char *value, struct error *err)
{
	for (size_t i = 0; i < a->n_additions; i++) {
		if (strcmp(a->additions[i].name, name) != 0)
			continue;
		if (strcmp(a->additions[i].value, value) == 0)
			return 0;
		return assign_fail(region->target, &region->part.node->span, err,
				   "%s would have to be %s for one service and %s for another",
				   name, a->additions[i].value, value);
	}
	ARRAY_GROW(a->additions, a->n_additions, a->room);
	a->additions[a->n_additions++] = (struct assign_addition){name, value, region->why};
	return 0;
}

static void add_line(struct assigning *a, const char *name, const struct compose_file *file,
		     size_t at)
{
	ARRAY_GROW(a->lines, a->n_lines, a->lines_room);
	a->lines[a->n_lines++] = (struct assign_line){name, file, at};
}

/* Does the value name the variable, as $NAME or in a ${...}? */
static bool value_names(const struct compose_assignment *assignment, const char *name)
{
	const struct compose_span *span = &assignment->value_span;
	const char *text = span->file->text;
	size_t len = strlen(name);

	if (assignment->quote == '\'')
		return false;
	for (size_t i = span->begin; i + 1 + len <= span->end; i++) {
		size_t at = i + 1 + (text[i] == '$' && text[i + 1] == '{');
		unsigned char after;

		if (text[i] != '$' || at + len > span->end || strncmp(text + at, name, len) != 0)
			continue;
		after = at + len < span->end ? (unsigned char)text[at + len] : ' ';
		if (!((after | 0x20) >= 'a' && (after | 0x20) <= 'z') && after != '_' &&
		    !(after >= '0' && after <= '9'))
			return true;
	}
	return false;
}

static bool is_edited(const struct assigning *a, const struct compose_span *span)
{
	for (size_t i = 0; i < a->edits.n; i++)
		if (a->edits.items[i].span.file == span->file &&
		    a->edits.items[i].span.begin == span->begin &&
		    a->edits.items[i].span.end == span->end)
			return true;
	return false;
}

static int keep_value(struct assigning *a, const struct assign_line *line,
		      const struct compose_assignment *assignment, struct error *err)
{
	unsigned number, column;

	if (assignment->commented || assignment->inherits || !value_names(assignment, line->name) ||
	    is_edited(a, &assignment->value_span))
		return 0;
	compose_file_position(assignment->span.file, assignment->span.begin, &number, &column);
	strings_take(&a->notes,
		     mem_printf("%s=%s in line %u of %s no longer names %s: it keeps its value",
				assignment->name, assignment->value, number,
				assignment->span.file->shown, line->name));
	return assign_edit(a, &assignment->value_span,
			   quoted(a, assignment->value, assignment->quote), err);
}

/* What is said below the line by naming its variable stays what it is. */
static int keep_values_below(struct assigning *a, const struct assign_line *line, struct error *err)
{
	const struct compose_env *env = &a->project->env;
	bool below = false;
	int r = 0;

	for (size_t f = 0; f < env->n_files; f++) {
		const struct compose_env_file *file = &env->files[f];

		for (size_t i = 0; r == 0 && i < file->n; i++)
			if (below ||
			    (file->file == line->file && file->items[i].span.begin > line->at))
				r = keep_value(a, line, &file->items[i], err);
		below = below || file->file == line->file;
	}
	return r;
}

int assign_env_set(struct assigning *a, const struct assign_region *region, const char *name,
		   const char *value, struct error *err)
{
	const struct compose_value *old = &region->value;
	const struct compose_assignment *there = old->assignment;
	const struct compose_assignment *commented = there ? NULL : old->commented;
	const struct compose_assignment *line = there ?: commented;
	const struct compose_file *file = NULL;
	unsigned number, column;
	bool again;
	int r;

	if (!line) {
		r = env_file(a, &file, err);
		if (r < 0)
			return r;
		assign_note(a, region->target, "%s=%s is added to %s", name, value, file->shown);
		return add_variable(a, region, name, value, err);
	}
	add_line(a, line->name, line->span.file, line->span.begin);
	compose_file_position(line->span.file, line->span.begin, &number, &column);
	assign_note(a, region->target, "%s=%s in line %u of %s%s", line->name, value, number,
		    line->span.file->shown, commented ? ", which was commented out" : "");
	if (commented)
		return uncomment(a, region, commented, value, err);
	/* Another service that goes along has given its reason. */
	again = is_edited(a, &there->value_span) || strcmp(there->value, value) == 0;
	r = assign_edit(a, &there->value_span, quoted(a, value, there->quote), err);
	return r < 0 || again ? r : settle_comment(a, there, region->why, false, err);
}

/* Where the group of last time ends: after its last line that is not blank. Not there: false. */
static bool group_end(const struct compose_file *file, size_t *ret_at)
{
	const char *headline = strstr(file->text, HEADLINE);
	size_t at;

	if (!headline || (headline > file->text && headline[-1] != '\n'))
		return false;
	at = line_end(file, (size_t)(headline - file->text));
	for (;;) {
		size_t next = at + (file->text[at] == '\r'), end;

		next += next < file->len && file->text[next] == '\n';
		end = line_end(file, next);
		if (next >= file->len || end == next)
			break;
		at = end;
	}
	*ret_at = at;
	return true;
}

int assign_env_finish(struct assigning *a, struct error *err)
{
	const struct compose_file *file = NULL;
	auto_text struct text text = {};
	struct compose_span span;
	const char *newline;
	size_t at = 0;
	bool grouped;
	int r = 0;

	for (size_t i = 0; r == 0 && i < a->n_lines; i++)
		r = keep_values_below(a, &a->lines[i], err);
	if (r < 0 || a->n_additions == 0)
		return r;
	r = env_file(a, &file, err);
	if (r < 0)
		return r;
	newline = compose_file_newline(file);
	grouped = group_end(file, &at);
	if (!grouped) {
		at = file->len;
		if (at > 0)
			text_printf(&text, "%s%s", file->text[at - 1] == '\n' ? "" : newline,
				    newline);
		text_printf(&text, "%s%s", HEADLINE, newline);
	}
	for (size_t i = 0; i < a->n_additions; i++) {
		const struct assign_addition *addition = &a->additions[i];
		struct assign_line line = {addition->name, file, at};

		r = keep_values_below(a, &line, err);
		if (r < 0)
			return r;
		text_printf(&text, "%s%s=%s%s%s%s", grouped ? newline : "", addition->name,
			    quoted(a, addition->value, '\0'), addition->why ? " # " : "",
			    addition->why ? one_line(a, addition->why) : "",
			    grouped ? "" : newline);
	}
	span = (struct compose_span){file, at, at};
	return assign_edit(a, &span, text.data, err);
}
