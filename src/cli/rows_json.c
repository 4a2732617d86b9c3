/*
 * JSON rows. An array is walked element by element (jansson parses one value and says where it
 * ended), so that an error and a row know their line, and the array never exists twice.
 */
#include "cli/rows_priv.h"

#include <errno.h>
#include <string.h>

static void skip_space(struct rows_reader *reader)
{
	for (; reader->at < reader->len; reader->at++) {
		char c = reader->data[reader->at];

		if (c == '\n')
			reader->line++;
		else if (c != ' ' && c != '\t' && c != '\r')
			return;
	}
}

static char peek(const struct rows_reader *reader)
{
	return reader->at < reader->len ? reader->data[reader->at] : '\0';
}

static const char *type_name(const json_t *json)
{
	switch (json_typeof(json)) {
	case JSON_OBJECT:
		return "an object";
	case JSON_ARRAY:
		return "an array";
	case JSON_STRING:
		return "a string";
	case JSON_INTEGER:
	case JSON_REAL:
		return "a number";
	case JSON_TRUE:
	case JSON_FALSE:
		return "true or false";
	case JSON_NULL:
		return "null";
	}
	return "something else";
}

/* One row from the value that begins here; `len` bounds it. */
static int read_value(struct rows_reader *reader, size_t len, size_t flags, struct error *err)
{
	auto_json json_t *json = NULL;
	json_error_t where;
	struct row *row;
	int r;

	json = json_loadb(reader->data + reader->at, len,
			  flags | JSON_DECODE_ANY | JSON_REJECT_DUPLICATES, &where);
	if (!json) {
		enum json_error_code code = json_error_code(&where);

		reader->line += where.line > 0 ? (unsigned)where.line - 1 : 0;
		if (code == json_error_null_character || code == json_error_null_byte_in_key)
			return rows_error(reader, -EINVAL, err,
					  "a zero character (\\u0000), which no command can be "
					  "given (column %d)",
					  where.column);
		return rows_error(reader, -EINVAL, err, "%s (column %d)", where.text, where.column);
	}
	if (!json_is_object(json) && !json_is_string(json))
		return rows_error(reader, -EINVAL, err, "%s; a row is an object or a string",
				  type_name(json));
	r = rows_append(reader, &row, err);
	if (r < 0)
		return r;
	row->json = TAKE(json);
	for (size_t i = 0; i < (size_t)where.position && i < len; i++)
		reader->line += reader->data[reader->at + i] == '\n';
	reader->at += MIN_OF((size_t)where.position, len);
	return 0;
}

int rows_read_json(struct rows_reader *reader, struct error *err)
{
	int r;

	skip_space(reader);
	if (peek(reader) == '{')
		return rows_error(
		    reader, -EINVAL, err,
		    "a JSON object where an array of rows is meant; if it holds the array under a "
		    "key, take it out: jq .KEY FILE | plimsoll batch -");
	if (peek(reader) != '[')
		return rows_error(reader, -EINVAL, err, "a JSON array of rows begins with [");
	reader->at++;
	skip_space(reader);
	while (peek(reader) != ']') {
		r = read_value(reader, reader->len - reader->at, JSON_DISABLE_EOF_CHECK, err);
		if (r < 0)
			return r;
		skip_space(reader);
		if (peek(reader) == ',') {
			reader->at++;
			skip_space(reader);
			if (peek(reader) == ']')
				return rows_error(reader, -EINVAL, err,
						  "a comma before the closing ]");
		} else if (peek(reader) != ']') {
			return rows_error(reader, -EINVAL, err,
					  "a comma or the closing ] is missing here");
		}
	}
	reader->at++;
	skip_space(reader);
	if (reader->at < reader->len)
		return rows_error(reader, -EINVAL, err, "something comes after the closing ]");
	return 0;
}

static bool is_blank(const char *line, size_t len)
{
	for (size_t i = 0; i < len; i++)
		if (!strchr(" \t\r", line[i]) || !line[i])
			return false;
	return true;
}

int rows_read_jsonl(struct rows_reader *reader, struct error *err)
{
	const char *line;
	size_t len;

	while (rows_next_line(reader, &line, &len)) {
		struct rows_reader one = *reader;
		int r;

		if (is_blank(line, len))
			continue;
		/* The reader stands after the line; the value is read where the line began. */
		one.at = (size_t)(line - reader->data);
		one.line = reader->line - 1;
		r = read_value(&one, len, 0, err);
		if (r < 0)
			return r;
	}
	return 0;
}
