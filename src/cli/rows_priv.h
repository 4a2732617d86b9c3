/* What rows.c and its three readers share. */
#pragma once

#include "cli/rows.h"
#include "util/jsonx.h"

struct row {
	unsigned line;
	json_t *json;  /* object or string; NULL: it is text */
	char **fields; /* text: one value for each of rows->columns */
};

struct rows {
	char *name;
	struct strings columns; /* of csv and lines */
	struct row *items;
	size_t n, room;
	size_t swept; /* so many columns, the last ones, are axes of a sweep */
};

/* A place in the input. */
struct rows_reader {
	const char *data;
	size_t len, at;
	unsigned line;
	struct rows *rows;
};

/* Append an empty row that begins at the reader's line. -E2BIG above ROWS_MAX. */
int rows_append(struct rows_reader *reader, struct row **ret_row, struct error *err) MUST_CHECK;

/* Set the error to "name:line: row N: <text>", N being the row that would come next. */
int rows_error(const struct rows_reader *reader, int code, struct error *err, const char *fmt, ...)
    PRINTF(4, 5);

/* The next line without its end, also without a carriage return before it; false at the end. */
bool rows_next_line(struct rows_reader *reader, const char **ret_line, size_t *ret_len);

int rows_read_json(struct rows_reader *reader, struct error *err) MUST_CHECK;
int rows_read_jsonl(struct rows_reader *reader, struct error *err) MUST_CHECK;
int rows_read_csv(struct rows_reader *reader, struct error *err) MUST_CHECK;
int rows_read_lines(struct rows_reader *reader, struct error *err) MUST_CHECK;
