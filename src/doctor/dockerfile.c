/*
 * See dockerfile.h. Lines are joined first (the escape character at a line's end; comment lines
 * within are left out), then the first word decides. Only ARGs before the first FROM count for
 * FROM; a heredoc's lines belong to the instruction that opened it, so "FROM" in a script is none.
 */
#include "doctor/dockerfile.h"

#include <ctype.h>
#include <errno.h>
#include <string.h>

struct arg {
	char *name, *value; /* value NULL: it has none */
};

struct reader {
	const char *name;
	const char *at, *end;
	unsigned line; /* of `at`, from 1 */
	char escape;
	bool in_stage;
	char *const *given;
	struct arg *args;
	size_t n_args, args_room;
	struct strings stages;
	struct strings heredocs; /* their words, in order */
	struct dockerfile file;
};

/* --- lines --- */

static bool is_blank(char c)
{
	return c == ' ' || c == '\t' || c == '\r';
}

/* The next line without its end, trimmed at the right; false: there is none. */
static bool next_line(struct reader *reader, const char **ret_line, size_t *ret_len)
{
	const char *newline;
	size_t len;

	if (reader->at >= reader->end)
		return false;
	newline = memchr(reader->at, '\n', (size_t)(reader->end - reader->at));
	len = (size_t)((newline ? newline : reader->end) - reader->at);
	*ret_line = reader->at;
	reader->at += len + (newline != NULL);
	reader->line++;
	while (len > 0 && is_blank((*ret_line)[len - 1]))
		len--;
	*ret_len = len;
	return true;
}

static size_t blanks(const char *line, size_t len)
{
	size_t n = 0;

	while (n < len && is_blank(line[n]))
		n++;
	return n;
}

/* An instruction with what continues it; empty lines and comments are left out. */
static bool next_instruction(struct reader *reader, struct text *text, unsigned *ret_line)
{
	const char *line;
	size_t len;

	text_clear(text);
	while (next_line(reader, &line, &len)) {
		size_t skip = blanks(line, len);
		bool goes_on;

		if (skip == len || line[skip] == '#')
			continue;
		if (text->len == 0)
			*ret_line = reader->line;
		goes_on = line[len - 1] == reader->escape;
		text_add_bytes(text, line + skip, len - skip - goes_on);
		if (!goes_on)
			return true;
		text_add(text, " ");
	}
	return text->len > 0;
}

/* `# escape=` counts only before anything else but other directives. */
static void read_directives(struct reader *reader)
{
	struct reader ahead = *reader;
	const char *line;
	size_t len;

	while (next_line(&ahead, &line, &len)) {
		auto_free char *copy = mem_strndup(line, len);
		char *p = copy + strspn(copy, " \t");
		char name[16] = "";
		char value = '\0';

		if (*p != '#' || sscanf(p + 1, " %15[a-zA-Z] = %c", name, &value) != 2)
			return;
		if (strcasecmp(name, "escape") == 0 && (value == '`' || value == '\\'))
			reader->escape = value;
	}
}

/* --- variables --- */

static const char *given_value(const struct reader *reader, const char *name, size_t len)
{
	for (char *const *arg = reader->given; arg && *arg; arg++)
		if (strncmp(*arg, name, len) == 0 && (*arg)[len] == '=')
			return *arg + len + 1;
	return NULL;
}

static const char *value_of(const struct reader *reader, const char *name, size_t len)
{
	for (size_t i = reader->n_args; i > 0; i--)
		if (strlen(reader->args[i - 1].name) == len &&
		    strncmp(reader->args[i - 1].name, name, len) == 0)
			return reader->args[i - 1].value;
	return NULL;
}

static size_t name_length(const char *p)
{
	size_t len = 0;

	while (isalnum((unsigned char)p[len]) || p[len] == '_')
		len++;
	return len;
}

/* $NAME, ${NAME}, ${NAME:-word}, ${NAME:+word}; words without variables of their own. Returns what
 * was read, 0: no variable begins here. */
static size_t add_variable(const struct reader *reader, const char *p, struct text *out,
			   bool *ret_known)
{
	bool braced = p[1] == '{';
	const char *name = p + 1 + braced, *value, *close;
	size_t len = name_length(name);

	if (len == 0)
		return 0;
	value = value_of(reader, name, len);
	if (!braced) {
		*ret_known &= value != NULL;
		text_add(out, value ? value : "");
		return 1 + len;
	}
	close = strchr(name, '}');
	if (!close)
		return 0;
	if (name[len] == '}') {
		*ret_known &= value != NULL;
		text_add(out, value ? value : "");
	} else {
		const char *word = name + len + (name[len] == ':');
		bool is_set = value && (name[len] != ':' || *value);

		if ((*word != '-' && *word != '+') || word >= close)
			return 0;
		if (*word == '-' && is_set)
			text_add(out, value);
		else if ((*word == '+') == is_set)
			text_add_bytes(out, word + 1, (size_t)(close - word - 1));
	}
	return (size_t)(close + 1 - p);
}

/* Quotes away, variables filled in. False: one has no value, or it is too long. */
static bool expand(const struct reader *reader, const char *word, struct text *out)
{
	bool known = true;
	char quote = '\0';

	for (const char *p = word; *p && out->len <= DOCKERFILE_REF_MAX;) {
		size_t used = 0;

		if (*p == quote || (!quote && (*p == '"' || *p == '\''))) {
			quote = quote ? '\0' : *p;
			p++;
			continue;
		}
		if (*p == '$' && quote != '\'')
			used = add_variable(reader, p, out, &known);
		if (used == 0)
			text_add_bytes(out, p, 1);
		p += used ? used : 1;
	}
	return known && out->len <= DOCKERFILE_REF_MAX;
}

/* --- instructions --- */

static int read_arg(struct reader *reader, const char *rest, unsigned line, struct error *err)
{
	auto_free char *copy = mem_strdup(rest);
	char *left = copy;

	for (char *word; (word = strsep(&left, " \t"));) {
		size_t len = name_length(word);
		auto_text struct text value = {};
		const char *given = given_value(reader, word, len);
		struct arg *arg;

		if (len == 0 || (word[len] && word[len] != '='))
			continue;
		if (reader->n_args >= DOCKERFILE_ARG_MAX)
			return error_set(err, -E2BIG, "%s:%u: more than %d ARGs", reader->name,
					 line, DOCKERFILE_ARG_MAX);
		if (word[len] == '=')
			(void)expand(reader, word + len + 1, &value);
		ARRAY_GROW(reader->args, reader->n_args, reader->args_room);
		arg = &reader->args[reader->n_args++];
		arg->name = mem_strndup(word, len);
		arg->value = given              ? mem_strdup(given)
			     : word[len] == '=' ? text_take(&value)
						: NULL;
	}
	return 0;
}

static bool is_stage(const struct reader *reader, const char *image)
{
	for (size_t i = 0; i < reader->stages.n; i++)
		if (strcasecmp(reader->stages.items[i], image) == 0)
			return true;
	return false;
}

static int read_from(struct reader *reader, const char *rest, unsigned line, struct error *err)
{
	auto_free char *copy = mem_strdup(rest);
	auto_text struct text image = {}, platform = {};
	char *left = copy, *written = NULL, *as = NULL;
	struct dockerfile_from *from;
	bool known;

	for (char *word, *before = copy; (word = strsep(&left, " \t")); before = word) {
		if (!*word)
			word = before;
		else if (!written && text_starts_with(word, "--platform="))
			(void)expand(reader, word + strlen("--platform="), &platform);
		else if (!written && !text_starts_with(word, "--"))
			written = word;
		else if (written && before != written && strcasecmp(before, "as") == 0)
			as = word;
	}
	if (!written)
		return error_set(err, -EBADMSG, "%s:%u: FROM names no image", reader->name, line);
	known = expand(reader, written, &image);
	if (!is_stage(reader, image.data ? image.data : "") &&
	    strcmp(image.data ? image.data : "", "scratch") != 0) {
		if (reader->file.n >= DOCKERFILE_FROM_MAX)
			return error_set(err, -E2BIG, "%s:%u: more than %d images", reader->name,
					 line, DOCKERFILE_FROM_MAX);
		ARRAY_GROW(reader->file.items, reader->file.n, reader->file.room);
		from = &reader->file.items[reader->file.n++];
		*from = (struct dockerfile_from){
		    .image = known ? text_take(&image) : mem_strdup(""),
		    .written = mem_strdup(written),
		    .platform = platform.len ? text_take(&platform) : NULL,
		    .line = line,
		};
	}
	if (as)
		strings_add(&reader->stages, as);
	return 0;
}

/* <<EOF, <<-"EOF" of RUN, COPY and ADD. */
static void find_heredocs(struct reader *reader, const char *rest)
{
	for (const char *p = rest; (p = strstr(p, "<<"));) {
		size_t len;

		p += strlen("<<");
		if (*p == '<') { /* <<< is the shell's */
			p += strspn(p, "<");
			continue;
		}
		p += *p == '-';
		p += *p == '"' || *p == '\'';
		len = name_length(p);
		if (len > 0)
			strings_take(&reader->heredocs, mem_strndup(p, len));
		p += len;
	}
}

static void skip_heredocs(struct reader *reader)
{
	for (size_t i = 0; i < reader->heredocs.n; i++) {
		const char *line;
		size_t len;

		while (next_line(reader, &line, &len)) {
			size_t tabs = 0;

			while (tabs < len && line[tabs] == '\t')
				tabs++;
			if (strlen(reader->heredocs.items[i]) == len - tabs &&
			    strncmp(reader->heredocs.items[i], line + tabs, len - tabs) == 0)
				break;
		}
	}
	strings_finish(&reader->heredocs);
	reader->heredocs = (struct strings){};
}

static int read_instruction(struct reader *reader, const char *text, unsigned line,
			    struct error *err)
{
	size_t len;
	const char *rest;

	text += strspn(text, " \t");
	len = strcspn(text, " \t");
	rest = text + len + strspn(text + len, " \t");
	if (len == 4 && strncasecmp(text, "FROM", len) == 0) {
		reader->in_stage = true;
		return read_from(reader, rest, line, err);
	}
	if (len == 3 && strncasecmp(text, "ARG", len) == 0)
		return reader->in_stage ? 0 : read_arg(reader, rest, line, err);
	if ((len == 3 && strncasecmp(text, "RUN", len) == 0) ||
	    (len == 4 && strncasecmp(text, "COPY", len) == 0) ||
	    (len == 3 && strncasecmp(text, "ADD", len) == 0)) {
		find_heredocs(reader, rest);
		skip_heredocs(reader);
	}
	return 0;
}

int dockerfile_parse(const char *text, size_t len, const char *name, char *const *args,
		     struct dockerfile *ret_file, struct error *err)
{
	struct reader reader = {
	    .name = name, .at = text, .end = text + len, .escape = '\\', .given = args};
	auto_text struct text instruction = {};
	unsigned line = 0;
	int r = 0;

	if (len > DOCKERFILE_MAX)
		return error_set(err, -E2BIG, "%s: more than %zu bytes", name, DOCKERFILE_MAX);
	if (len > 0 && memchr(text, '\0', len))
		return error_set(err, -EBADMSG, "%s: no text: it has a NUL byte", name);
	read_directives(&reader);
	while (r == 0 && next_instruction(&reader, &instruction, &line))
		r = read_instruction(&reader, instruction.data, line, err);
	for (size_t i = 0; i < reader.n_args; i++) {
		free(reader.args[i].name);
		free(reader.args[i].value);
	}
	free(reader.args);
	strings_finish(&reader.stages);
	strings_finish(&reader.heredocs);
	if (r < 0) {
		dockerfile_finish(&reader.file);
		return r;
	}
	*ret_file = reader.file;
	return 0;
}

void dockerfile_finish(struct dockerfile *file)
{
	for (size_t i = 0; i < file->n; i++) {
		free(file->items[i].image);
		free(file->items[i].written);
		free(file->items[i].platform);
	}
	free(file->items);
	*file = (struct dockerfile){};
}
