/*
 * See dotenv.h. A statement is a key, `=` or `:`, and a value: to the end of the line, or between
 * quotes and then over several lines; what follows a closing quote is the next statement. The odd
 * corners (a last line without `=`, a comment after a tab, `\0` and its digits) are compose-go's
 * and are read as it reads them: what it makes of a file is what the containers get.
 *
 * compose-go knows nothing of commented-out assignments; they are read from comments that stand
 * alone on their line. Prose must not pass for one: it would be written into the file by whoever
 * uncomments it.
 */
#include "compose/dotenv.h"

#include "compose/interpolate.h"
#include "util/text.h"

#include <errno.h>
#include <search.h>
#include <stdint.h>
#include <string.h>

#define QUOTED_MAX 200 /* bytes of a line an error quotes */

struct reader {
	const struct compose_file *file;
	const struct compose_env *above;
	struct dotenv_scope *scope;
	struct arena *arena;
	const char *text;
	size_t len, at;
	struct compose_assignment *items; /* on the heap while it grows */
	size_t n, room;
};

static int fail(const struct reader *reader, size_t at, struct error *err, const char *what,
		const char *more, size_t more_len)
{
	struct compose_span span = {reader->file, at, at};

	return compose_error(&span, -EINVAL, err, "%s%.*s", what,
			     (int)MIN_OF(more_len, (size_t)QUOTED_MAX), more);
}

static int compare_names(const void *a, const void *b)
{
	const struct compose_variable *one = a, *other = b;

	return strcmp(one->name, other->name);
}

static struct compose_variable *scope_find(const struct dotenv_scope *scope, const char *name)
{
	struct compose_variable key = {.name = name},
				**found = tfind(&key, &scope->root, compare_names);

	return found ? *found : NULL;
}

static void scope_set(struct reader *reader, const char *name, const char *value)
{
	struct compose_variable *variable = scope_find(reader->scope, name);

	if (!variable) {
		variable = arena_alloc(reader->arena, sizeof *variable);
		variable->name = name;
		variable->source = COMPOSE_ENV_FILE;
		if (!tsearch(variable, &reader->scope->root, compare_names))
			abort(); /* out of memory, as mem_alloc() */
		reader->scope->n++;
	}
	variable->value = value;
}

struct gather {
	struct compose_variable **items;
	size_t n;
};

static void gather_one(const void *node, VISIT visit, void *data)
{
	struct gather *gather = data;

	if (visit == postorder || visit == leaf)
		gather->items[gather->n++] = *(struct compose_variable *const *)node;
}

struct compose_variable **dotenv_scope_sorted(const struct dotenv_scope *scope, size_t *ret_n)
{
	struct gather gather = {mem_calloc(scope->n + 1, sizeof(void *)), 0};

	twalk_r(scope->root, gather_one, &gather);
	*ret_n = gather.n;
	return gather.items;
}

static void keep_variable(void *variable)
{
	(void)variable; /* the arena's */
}

void dotenv_scope_finish(struct dotenv_scope *scope)
{
	tdestroy(scope->root, keep_variable);
	*scope = (struct dotenv_scope){};
}

static const struct compose_variable *look_up(const void *data, const char *name)
{
	const struct reader *reader = data;
	const struct compose_variable *variable = compose_env_get(reader->above, name);

	return variable ? variable : scope_find(reader->scope, name);
}

/* The character at `at` and its length; U+FFFD of length 1 for what is no UTF-8. */
static uint32_t decode(const struct reader *reader, size_t at, size_t *ret_len)
{
	const unsigned char *s = (const unsigned char *)reader->text + at;
	size_t left = reader->len - at;
	size_t len = *s < 0x80 ? 1 : *s >= 0xf0 ? 4 : *s >= 0xe0 ? 3 : *s >= 0xc2 ? 2 : 0;
	uint32_t rune = len == 1 ? *s : *s & (0xffu >> (len + 1));

	*ret_len = 1;
	if (len == 0 || len > left)
		return 0xfffd;
	for (size_t i = 1; i < len; i++) {
		if ((s[i] & 0xc0) != 0x80)
			return 0xfffd;
		rune = rune << 6 | (s[i] & 0x3fu);
	}
	*ret_len = len;
	return rune;
}

static bool is_blank(uint32_t c)
{
	return c == '\t' || c == '\v' || c == '\f' || c == '\r' || c == ' ' || c == 0x85 ||
	       c == 0xa0;
}

static bool is_space(uint32_t c)
{
	return is_blank(c) || c == '\n' || c == 0x1680 || (c >= 0x2000 && c <= 0x200a) ||
	       c == 0x2028 || c == 0x2029 || c == 0x202f || c == 0x205f || c == 0x3000;
}

static void skip_blanks(struct reader *reader)
{
	size_t len;

	while (reader->at < reader->len && is_blank(decode(reader, reader->at, &len)))
		reader->at += len;
}

/* Where the spaces before `end` begin, not before `begin`. */
static size_t trimmed_end(const struct reader *reader, size_t begin, size_t end)
{
	while (end > begin) {
		size_t at = end - 1, len;

		while (at > begin && ((unsigned char)reader->text[at] & 0xc0) == 0x80)
			at--;
		if (!is_space(decode(reader, at, &len)) || at + len != end)
			return end;
		end = at;
	}
	return end;
}

static size_t line_end(const struct reader *reader, size_t at)
{
	const char *newline = memchr(reader->text + at, '\n', reader->len - at);

	return newline ? (size_t)(newline - reader->text) : reader->len;
}

/* Letters and digits of all scripts are taken; these blocks hold none, and what people paste by
 * accident is in them: quotation marks, dashes, arrows, emoji. */
static bool is_name_char(uint32_t c)
{
	static const struct {
		uint32_t first, last;
	} no_letters[] = {
	    {0x80, 0xa9},     {0xab, 0xb1},       {0xb4, 0xb4},       {0xb6, 0xb8},
	    {0xbb, 0xbb},     {0xbf, 0xbf},       {0xd7, 0xd7},       {0xf7, 0xf7},
	    {0x2ef, 0x36f},   {0x2000, 0x206f},   {0x209d, 0x2101},   {0x218a, 0x245f},
	    {0x249c, 0x24e9}, {0x2500, 0x2775},   {0x2794, 0x2bff},   {0x3001, 0x3004},
	    {0x3008, 0x3020}, {0xd800, 0xf8ff},   {0xfe00, 0xfe6f},   {0xfeff, 0xfeff},
	    {0xffdd, 0xffff}, {0x1f10d, 0x1fbef}, {0x1fbfa, 0x1ffff}, {0xe0000, 0x10ffff},
	};

	if (c < 0x80)
		return (c >= '0' && c <= '9') || (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z') ||
		       (c && strchr("_.-[]", (int)c));
	for (size_t i = 0; i < ARRAY_LEN(no_letters); i++)
		if (c >= no_letters[i].first && c <= no_letters[i].last)
			return false;
	return true;
}

/* A copy without quotes, the quote's backslashes undone. `end`: of the closing quote. */
static void unquote(const char *text, size_t begin, size_t end, struct text *out)
{
	char mark = text[begin];

	text_add(out, "");
	for (size_t i = begin + 1; i < end; i++) {
		bool escapes = text[i] == '\\' && i + 1 < end;

		if (escapes && text[i + 1] == mark)
			i++;
		else if (escapes)
			text_add_bytes(out, text + i++, 1);
		text_add_bytes(out, text + i, 1);
	}
}

/* `\0` and three octal digits: compose-go drops the zero, and what is then no escape of Go's stays
 * that way. Returns the bytes read after the backslash; 0 for a NUL byte, which no value holds. */
static size_t expand_octal(const char *s, struct text *out)
{
	size_t digits = 0;
	unsigned value = 0;
	bool octal = true;

	while (digits < 3 && s[1 + digits] >= '0' && s[1 + digits] <= '9') {
		octal = octal && s[1 + digits] < '8';
		value = value * 8 + (unsigned)(s[1 + digits] - '0');
		digits++;
	}
	if (digits < 3 || !octal || value > 0xff) {
		text_add(out, "\\");
		text_add_bytes(out, s + 1, digits);
	} else if (value == 0) {
		return 0;
	} else if (value < 0x80) {
		text_printf(out, "%c", (int)value);
	} else {
		text_printf(out, "%c%c", (int)(0xc0 | value >> 6), (int)(0x80 | (value & 0x3f)));
	}
	return 1 + digits;
}

static bool expand_escapes(const char *s, struct text *out)
{
	text_add(out, "");
	while (*s) {
		static const char from[] = "abfnrtv\"\\", to[] = "\a\b\f\n\r\t\v\"\\";
		size_t plain = strcspn(s, "\\");
		const char *known;

		text_add_bytes(out, s, plain);
		s += plain;
		if (!*s)
			break;
		s++;
		known = *s ? strchr(from, *s) : NULL;
		if (known) {
			text_add_bytes(out, &to[known - from], 1);
			s++;
		} else if (*s == '$') {
			text_add(out, "$$");
			s++;
		} else if (*s == '0') {
			size_t read = expand_octal(s, out);

			if (read == 0)
				return false;
			s += read;
		} else {
			text_add(out, "\\");
		}
	}
	return true;
}

/* What the value written in `item->value_span` comes to. */
static int evaluate(struct reader *reader, struct compose_assignment *item, struct error *err)
{
	struct compose_lookup lookup = {look_up, NULL, reader};
	size_t begin = item->value_span.begin, end = item->value_span.end;
	auto_text struct text plain = {}, expanded = {};
	struct error problem = {};
	int r;

	if (!item->quote) {
		item->value = arena_strndup(reader->arena, reader->text + begin, end - begin);
	} else {
		unquote(reader->text, begin, end - 1, &plain);
		if (item->quote == '"' && !expand_escapes(plain.data, &expanded))
			return fail(reader, begin, err, "a value cannot hold a NUL byte", "", 0);
		item->value =
		    arena_strdup(reader->arena, item->quote == '"' ? expanded.data : plain.data);
	}
	if (item->quote == '\'')
		return 0;
	r = compose_substitute(&lookup, reader->arena, item->value, &item->value, NULL, &problem);
	if (r < 0)
		return compose_error(&item->value_span, r, err, "%s", error_text(&problem));
	return 0;
}

static int add_item(struct reader *reader, const struct compose_assignment *item, struct error *err)
{
	if (reader->n == COMPOSE_ASSIGNMENTS_MAX)
		return compose_error(&item->span, -E2BIG, err,
				     "more than %d assignments in an env file",
				     COMPOSE_ASSIGNMENTS_MAX);
	ARRAY_GROW(reader->items, reader->n, reader->room);
	reader->items[reader->n++] = *item;
	return 0;
}

/* Where the quote that opens at `at` closes; `limit` when it does not before that. */
static size_t closing_quote(const struct reader *reader, size_t at, size_t limit)
{
	char mark = reader->text[at];

	for (size_t i = at + 1; i < limit; i++) {
		if (reader->text[i] == mark)
			return i;
		if (reader->text[i] == '\\')
			i++;
	}
	return limit;
}

/* The value that begins at reader->at, after the blanks that follow the separator; with nothing
 * there, right after the separator is where one would be written. */
static int read_value(struct reader *reader, size_t after_separator,
		      struct compose_assignment *item, struct error *err)
{
	size_t begin = reader->at, end;
	char first = begin < reader->len ? reader->text[begin] : '\0';
	const char *comment;

	if (first == '"' || first == '\'') {
		end = closing_quote(reader, begin, reader->len);
		if (end == reader->len)
			return fail(reader, begin, err, "unterminated quoted value ",
				    reader->text + begin, line_end(reader, begin) - begin);
		item->quote = first;
		reader->at = ++end;
	} else {
		reader->at = end = line_end(reader, begin);
		comment = memmem(reader->text + begin, end - begin, " #", 2);
		if (comment)
			end = (size_t)(comment - reader->text);
		end = trimmed_end(reader, begin, end);
	}
	if (begin == end)
		begin = end = after_separator;
	item->span.end = end;
	item->value_span = (struct compose_span){reader->file, begin, end};
	return evaluate(reader, item, err);
}

/* "export" and blanks, before a name. */
static void skip_export(struct reader *reader)
{
	const char *s = reader->text + reader->at;

	if (reader->len - reader->at < 7 || memcmp(s, "export", 6) != 0 ||
	    !strchr("\t\n\f\r ", s[6]))
		return;
	reader->at += 6;
	skip_blanks(reader);
}

/* The name at reader->at, up to its separator: `=`, `:`, a newline, or '\0' when the file ends
 * first. */
static int read_name(struct reader *reader, const char **ret_name, char *ret_separator,
		     struct error *err)
{
	size_t begin = reader->at, at = begin, end, len;
	const char *space;

	for (; at < reader->len; at += len) {
		uint32_t c = decode(reader, at, &len);
		struct compose_span here = {reader->file, at, at};

		if (c == '=' || c == ':' || c == '\n')
			break;
		if (is_blank(c) || is_name_char(c))
			continue;
		return compose_error(
		    &here, -EINVAL, err, "unexpected character \"%.*s\" in variable name \"%.*s\"",
		    (int)len, reader->text + at,
		    (int)MIN_OF(line_end(reader, begin) - begin, (size_t)QUOTED_MAX),
		    reader->text + begin);
	}
	*ret_separator = at < reader->len ? reader->text[at] : '\0';
	end = trimmed_end(reader, begin, at);
	space = memchr(reader->text + begin, ' ', end - begin);
	if (*ret_separator && space)
		return fail(reader, (size_t)(space - reader->text), err,
			    "key cannot contain a space", "", 0);
	*ret_name = arena_strndup(reader->arena, reader->text + begin, end - begin);
	reader->at = at;
	return 0;
}

static int read_statement(struct reader *reader, struct error *err)
{
	struct compose_assignment item = {.span = {reader->file, reader->at, reader->at}};
	size_t name_begin;
	char separator = 0;
	int r;

	skip_export(reader);
	name_begin = reader->at;
	if (name_begin == reader->len)
		return fail(reader, name_begin, err, "a name is missing after export", "", 0);
	r = read_name(reader, &item.name, &separator, err);
	if (r < 0)
		return r;
	if (separator == '\n') {
		const struct compose_variable *known = look_up(reader, item.name);

		item.inherits = true;
		item.value = known ? known->value : NULL;
		item.span.end = trimmed_end(reader, item.span.begin, reader->at);
		item.value_span = (struct compose_span){reader->file, item.span.end, item.span.end};
		return *item.name ? add_item(reader, &item, err) : 0;
	}
	if (separator) {
		reader->at++;
	} else {
		/* A last line without separator or newline is the value of a variable without a
		 * name. */
		reader->at = name_begin;
		item.name = "";
	}
	name_begin = reader->at;
	skip_blanks(reader);
	r = read_value(reader, name_begin, &item, err);
	if (r == 0)
		r = add_item(reader, &item, err);
	if (r == 0)
		scope_set(reader, item.name, item.value);
	return r;
}

static size_t skip_set(const struct reader *reader, size_t at, size_t end, const char *set)
{
	while (at < end && strchr(set, reader->text[at]))
		at++;
	return at;
}

/* The end of the value of a commented-out assignment at `at`, 0 when it reads like prose. */
static size_t commented_value_end(const struct reader *reader, size_t at, size_t end)
{
	const char *text = reader->text;
	bool quoted = at < end && (text[at] == '"' || text[at] == '\'');
	size_t value_end = at, after;

	if (at < end && (text[at] == '=' || text[at] == '>'))
		return 0; /* "==", "=>": no assignment */
	if (quoted) {
		value_end = closing_quote(reader, at, end);
		if (value_end == end)
			return 0;
		value_end++;
	} else if (at < end && text[at] != '#') {
		while (value_end < end && !strchr(" \t\r", text[value_end]))
			value_end++;
	} else if (at < end && text[at - 1] == '=') {
		return 0; /* "NAME=#": neither a value nor the comment of none */
	}
	after = skip_set(reader, value_end, end, " \t\r");
	if (after == end)
		return value_end;
	/* Uncommented, a comment must still be one: not after a tab. */
	return text[after] == '#' && (quoted || text[after - 1] == ' ') ? value_end : 0;
}

/* A comment alone on its line: take note when it is an assignment. */
static int read_commented(struct reader *reader, size_t end, struct error *err)
{
	struct compose_assignment item = {.commented = true, .span = {reader->file, reader->at, 0}};
	const char *text = reader->text;
	size_t at = skip_set(reader, reader->at, end, "#"), name, equals, begin, value_end;

	at = skip_set(reader, at, end, " \t");
	if (end - at > 7 && memcmp(text + at, "export", 6) == 0 && strchr(" \t", text[at + 6]))
		at = skip_set(reader, at + 6, end, " \t");
	name = at;
	while (at < end && text[at] != '.' && text[at] != '-' && text[at] != '[' &&
	       text[at] != ']' && (unsigned char)text[at] < 0x80 &&
	       is_name_char((unsigned char)text[at]))
		at++;
	equals = skip_set(reader, at, end, " \t");
	if (at == name || (text[name] >= '0' && text[name] <= '9') || equals == end ||
	    text[equals] != '=')
		return 0;
	begin = skip_set(reader, equals + 1, end, " \t\r");
	value_end = commented_value_end(reader, begin, end);
	if (value_end == 0)
		return 0;
	item.name = arena_strndup(reader->arena, text + name, at - name);
	if (value_end == begin)
		begin = value_end = equals + 1;
	item.quote = text[begin] == '"' || text[begin] == '\'' ? text[begin] : '\0';
	item.span.end = value_end;
	item.value_span = (struct compose_span){reader->file, begin, value_end};
	if (begin == value_end)
		item.quote = '\0';
	if (evaluate(reader, &item, NULL) < 0)
		item.value = arena_strndup(reader->arena, text + begin, value_end - begin);
	return add_item(reader, &item, err);
}

/* Go to the next statement; at reader->len when there is none. */
static int skip_to_statement(struct reader *reader, bool *line_begins, struct error *err)
{
	while (reader->at < reader->len) {
		size_t len, end;
		uint32_t c = decode(reader, reader->at, &len);
		int r = 0;

		*line_begins = *line_begins || c == '\n';
		if (c == '#') {
			end = line_end(reader, reader->at);
			if (*line_begins)
				r = read_commented(reader, end, err);
			reader->at = end;
		} else if (is_space(c)) {
			reader->at += len;
		} else {
			break;
		}
		if (r < 0)
			return r;
	}
	*line_begins = false;
	return 0;
}

static int read_all(struct reader *reader, struct error *err)
{
	bool line_begins = true;
	int r;

	if (reader->len >= 3 && memcmp(reader->text, "\xef\xbb\xbf", 3) == 0)
		reader->at = 3;
	for (;;) {
		r = skip_to_statement(reader, &line_begins, err);
		if (r < 0 || reader->at == reader->len)
			return r;
		r = read_statement(reader, err);
		if (r < 0)
			return r;
	}
}

/* Tell the variables where they were set; the last one stays. */
static void scope_point(const struct dotenv_scope *scope, const struct compose_env_file *parsed)
{
	for (size_t i = 0; i < parsed->n; i++) {
		struct compose_variable *variable = scope_find(scope, parsed->items[i].name);

		if (variable && !parsed->items[i].commented && !parsed->items[i].inherits)
			variable->assignment = &parsed->items[i];
	}
}

int dotenv_read(const struct compose_file *file, const struct compose_env *above,
		struct dotenv_scope *scope, struct arena *arena,
		struct compose_env_file *ret_parsed, struct error *err)
{
	struct reader reader = {.file = file,
				.above = above,
				.scope = scope,
				.arena = arena,
				.text = file->text,
				.len = file->len};
	struct compose_env_file parsed = {.file = file};
	int r = read_all(&reader, err);

	if (r == 0 && reader.n > 0) {
		parsed.n = reader.n;
		parsed.items = arena_alloc(arena, reader.n * sizeof *reader.items);
		memcpy(parsed.items, reader.items, reader.n * sizeof *reader.items);
		scope_point(scope, &parsed);
	}
	free(reader.items);
	if (r == 0)
		*ret_parsed = parsed;
	return r;
}

int compose_dotenv_parse(const struct compose_file *file, const struct compose_env *env,
			 struct arena *arena, struct compose_env_file *ret_parsed,
			 struct error *err)
{
	auto_dotenv_scope struct dotenv_scope scope = {};

	return dotenv_read(file, env, &scope, arena, ret_parsed, err);
}
