/*
 * CSV after RFC 4180, and plain lines. A quoted field may hold commas, newlines and doubled quotes;
 * a quote inside a field that did not begin with one is an error rather than a guess.
 */
#include "cli/rows_priv.h"

#include <errno.h>
#include <string.h>

#define COLUMNS_MAX 4096

static char peek(const struct rows_reader *reader)
{
	return reader->at < reader->len ? reader->data[reader->at] : '\n';
}

static bool at_line_end(const struct rows_reader *reader)
{
	if (peek(reader) == '\n')
		return true;
	return peek(reader) == '\r' &&
	       (reader->at + 1 == reader->len || reader->data[reader->at + 1] == '\n');
}

static int read_quoted(struct rows_reader *reader, struct text *field, struct error *err)
{
	unsigned opened = reader->line;

	for (reader->at++; reader->at < reader->len; reader->at++) {
		char c = reader->data[reader->at];

		if (c == '"') {
			if (reader->at + 1 == reader->len || reader->data[reader->at + 1] != '"') {
				reader->at++;
				if (peek(reader) != ',' && !at_line_end(reader))
					return rows_error(
					    reader, -EINVAL, err,
					    "a closing quote must be followed by a comma or the "
					    "end of the line");
				return 0;
			}
			reader->at++;
		}
		reader->line += c == '\n';
		text_add_bytes(field, &c, 1);
	}
	reader->line = opened;
	return rows_error(reader, -EINVAL, err, "a quote is opened and never closed");
}

static int read_plain(struct rows_reader *reader, struct text *field, struct error *err)
{
	size_t begin = reader->at;

	for (; peek(reader) != ',' && !at_line_end(reader); reader->at++)
		if (peek(reader) == '"')
			return rows_error(
			    reader, -EINVAL, err,
			    "a quote inside a field; put the whole field in quotes and double "
			    "the inner one");
	text_add_bytes(field, reader->data + begin, reader->at - begin);
	return 0;
}

/* The fields of one record; the reader stands at the next one after it. */
static int read_record(struct rows_reader *reader, struct strings *fields, struct error *err)
{
	for (;;) {
		auto_text struct text field = {};
		int r;

		r = peek(reader) == '"' && reader->at < reader->len
			? read_quoted(reader, &field, err)
			: read_plain(reader, &field, err);
		if (r < 0)
			return r;
		if (memchr(field.data ? field.data : "", '\0', field.len))
			return rows_error(reader, -EINVAL, err,
					  "a zero byte; this is not CSV text");
		if (fields->n == COLUMNS_MAX)
			return rows_error(reader, -E2BIG, err, "more than %d columns", COLUMNS_MAX);
		strings_take(fields, text_take(&field));
		if (peek(reader) == ',' && reader->at < reader->len) {
			reader->at++;
			continue;
		}
		break;
	}
	if (peek(reader) == '\r')
		reader->at++;
	if (reader->at < reader->len) {
		reader->at++;
		reader->line++;
	}
	return 0;
}

static int check_header(const struct rows_reader *reader, const struct strings *columns,
			struct error *err)
{
	struct rows_reader header = *reader;

	header.line = 1;
	for (size_t i = 0; i < columns->n; i++) {
		if (columns->items[i][0] == '\0')
			return rows_error(&header, -EINVAL, err,
					  "the header's column %zu has no name", i + 1);
		for (size_t k = 0; k < i; k++)
			if (strcmp(columns->items[i], columns->items[k]) == 0)
				return rows_error(&header, -EINVAL, err,
						  "the header names \"%.64s\" twice",
						  columns->items[i]);
	}
	return 0;
}

int rows_read_csv(struct rows_reader *reader, struct error *err)
{
	struct rows *rows = reader->rows;
	int r;

	if (reader->at == reader->len)
		return 0;
	r = read_record(reader, &rows->columns, err);
	if (r == 0)
		r = check_header(reader, &rows->columns, err);
	while (r == 0 && reader->at < reader->len) {
		auto_strings struct strings fields = {};
		struct rows_reader begin = *reader;
		bool blank = at_line_end(reader); /* "" is a record, nothing is none */
		struct row *row;

		r = read_record(reader, &fields, err);
		if (r < 0)
			break;
		if (blank)
			continue;
		if (fields.n != rows->columns.n)
			return rows_error(&begin, -EINVAL, err, "%zu field%s, the header has %zu",
					  fields.n, PLURAL(fields.n), rows->columns.n);
		r = rows_append(&begin, &row, err);
		if (r == 0)
			row->fields = TAKE(fields.items), fields.n = 0;
	}
	return r;
}

int rows_read_lines(struct rows_reader *reader, struct error *err)
{
	const char *line;
	size_t len;

	strings_add(&reader->rows->columns, "line");
	while (rows_next_line(reader, &line, &len)) {
		struct rows_reader here = *reader;
		struct strings fields = {};
		struct row *row;
		int r;

		if (len == 0)
			continue;
		here.line--;
		if (memchr(line, '\0', len))
			return rows_error(&here, -EINVAL, err, "a zero byte; this is not text");
		r = rows_append(&here, &row, err);
		if (r < 0)
			return r;
		strings_take(&fields, mem_strndup(line, len));
		row->fields = fields.items;
	}
	return 0;
}
