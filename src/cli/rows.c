/* See rows.h. Text rows keep one string for each column; JSON rows keep their value, and a path is
 * looked up when a template asks for it. */
#include "cli/rows_priv.h"

#include "util/file.h"

#include <errno.h>
#include <string.h>

const char *const rows_format_names[] = {"auto", "json", "jsonl", "csv", "lines", NULL};

/* Longer than any sensible number as text. */
#define NUMBER_TEXT_MAX 64

int rows_error(const struct rows_reader *reader, int code, struct error *err, const char *fmt, ...)
{
	char text[512];
	va_list ap;

	va_start(ap, fmt);
	(void)vsnprintf(text, sizeof text, fmt, ap);
	va_end(ap);
	return error_set(err, code, "%s:%u: row %zu: %s", reader->rows->name, reader->line,
			 reader->rows->n + 1, text);
}

int rows_append(struct rows_reader *reader, struct row **ret_row, struct error *err)
{
	struct rows *rows = reader->rows;

	if (rows->n == ROWS_MAX)
		return rows_error(reader, -E2BIG, err,
				  "more than %d rows; cut the file into several batches", ROWS_MAX);
	ARRAY_GROW(rows->items, rows->n, rows->room);
	rows->items[rows->n] = (struct row){.line = reader->line};
	*ret_row = &rows->items[rows->n++];
	return 0;
}

bool rows_next_line(struct rows_reader *reader, const char **ret_line, size_t *ret_len)
{
	const char *begin = reader->data + reader->at, *end;
	size_t len = reader->len - reader->at;

	if (len == 0)
		return false;
	end = memchr(begin, '\n', len);
	if (end)
		len = (size_t)(end - begin);
	reader->at += len + (end != NULL);
	reader->line++;
	*ret_line = begin;
	*ret_len = len > 0 && begin[len - 1] == '\r' ? len - 1 : len;
	return true;
}

/* By extension, else by content: [ is an array, { at the start of the first line is JSON lines,
 * a .csv says so by its name only (a plain line may well hold commas). */
static enum rows_format detect(const char *name, const char *data, size_t len)
{
	static const struct {
		const char *extension;
		enum rows_format format;
	} known[] = {{".jsonl", ROWS_JSONL}, {".ndjson", ROWS_JSONL}, {".csv", ROWS_CSV},
		     {".txt", ROWS_LINES},   {".lst", ROWS_LINES},    {".list", ROWS_LINES}};
	size_t i = 0;

	for (size_t k = 0; k < ARRAY_LEN(known); k++)
		if (text_ends_with(name, known[k].extension))
			return known[k].format;
	while (i < len && strchr(" \t\r\n", data[i]) && data[i])
		i++;
	if (i < len && data[i] == '[')
		return ROWS_JSON;
	if (i < len && data[i] == '{') {
		/* One object a line, or one object over many lines (which is an error worth the
		 * right words)? */
		const char *eol = memchr(data + i, '\n', len - i);
		size_t n = eol ? (size_t)(eol - data) - i : len - i;
		auto_json json_t *first = json_loadb(data + i, n, 0, NULL);

		return first ? ROWS_JSONL : ROWS_JSON;
	}
	return text_ends_with(name, ".json") ? ROWS_JSON : ROWS_LINES;
}

static bool is_blank(const char *data, size_t len)
{
	for (size_t i = 0; i < len; i++)
		if (!data[i] || !strchr(" \t\r\n", data[i]))
			return false;
	return true;
}

int rows_parse(const char *data, size_t len, const char *name, enum rows_format format,
	       struct rows **ret_rows, struct error *err)
{
	static int (*const readers[])(struct rows_reader *, struct error *) = {
	    [ROWS_JSON] = rows_read_json,
	    [ROWS_JSONL] = rows_read_jsonl,
	    [ROWS_CSV] = rows_read_csv,
	    [ROWS_LINES] = rows_read_lines,
	};
	auto_rows struct rows *rows = NULL;
	struct rows_reader reader = {.data = data, .len = len, .line = 1};
	int r;

	if (strcmp(name, "-") == 0)
		name = "standard input";

	if (len > ROWS_BYTES_MAX)
		return error_set(err, -EFBIG,
				 "%s: larger than %zu MiB; cut it into several batches", name,
				 ROWS_BYTES_MAX >> 20);
	if (len >= 3 && memcmp(data, "\xef\xbb\xbf", 3) == 0) {
		reader.data += 3;
		reader.len -= 3;
	}
	rows = mem_calloc(1, sizeof *rows);
	rows->name = mem_strdup(name);
	reader.rows = rows;
	if (is_blank(reader.data, reader.len))
		return error_set(err, -ENODATA, "%s: is empty; a batch needs at least one row",
				 name);
	if (format == ROWS_AUTO)
		format = detect(name, reader.data, reader.len);
	r = readers[format](&reader, err);
	if (r < 0)
		return r;
	if (rows->n == 0)
		return error_set(err, -ENODATA,
				 "%s: there is no row in it (read as %s; --format says "
				 "otherwise)",
				 rows->name, rows_format_names[format]);
	*ret_rows = TAKE(rows);
	return 0;
}

int rows_load(const char *path, enum rows_format format, struct rows **ret_rows, struct error *err)
{
	auto_text struct text data = {};
	int r;

	r = file_read(path, ROWS_BYTES_MAX, true, &data, err);
	if (r < 0)
		return r;
	return rows_parse(data.data ? data.data : "", data.len, path, format, ret_rows, err);
}

void rows_destroy(struct rows *rows)
{
	if (!rows)
		return;
	for (size_t i = 0; i < rows->n; i++) {
		json_decref(rows->items[i].json);
		for (char **field = rows->items[i].fields; field && *field; field++)
			free(*field);
		free(rows->items[i].fields);
	}
	free(rows->items);
	free(rows->name);
	strings_finish(&rows->columns);
	free(rows);
}

const char *rows_name(const struct rows *rows)
{
	return rows->name;
}

size_t rows_count(const struct rows *rows)
{
	return rows->n;
}

unsigned rows_line(const struct rows *rows, size_t i)
{
	return rows->items[i].line;
}

/* Walk `path` down from `json`: at each level the longest name wins, so that a key that holds a dot
 * itself is found too. Borrowed. */
static const json_t *json_walk(const json_t *json, const char *path)
{
	const json_t *whole = json_object_get(json, path);

	if (whole)
		return whole;
	for (const char *dot = strrchr(path, '.'); dot;
	     dot = memrchr(path, '.', (size_t)(dot - path))) {
		auto_free char *head = mem_strndup(path, (size_t)(dot - path));
		const json_t *below = json_object_get(json, head), *found;
		unsigned long long index;

		if (!below && json_is_array(json) && text_to_u64(head, 0, ROWS_MAX, &index))
			below = json_array_get(json, index);
		found = below ? json_walk(below, dot + 1) : NULL;
		if (found)
			return found;
	}
	if (json_is_array(json)) {
		unsigned long long index;

		if (text_to_u64(path, 0, ROWS_MAX, &index))
			return json_array_get(json, index);
	}
	return NULL;
}

/* The shortest decimal that reads back as the same number: 0.1, not 0.10000000000000001. */
static void add_real(struct text *text, double value)
{
	char buf[NUMBER_TEXT_MAX];

	for (int digits = 1; digits <= 17; digits++) {
		(void)snprintf(buf, sizeof buf, "%.*g", digits, value);
		if (strtod(buf, NULL) == value)
			break;
	}
	text_add(text, buf);
}

static int add_json(struct text *text, const json_t *json)
{
	switch (json_typeof(json)) {
	case JSON_STRING:
		text_add_bytes(text, json_string_value(json), json_string_length(json));
		return 0;
	case JSON_INTEGER:
		text_printf(text, "%" JSON_INTEGER_FORMAT, json_integer_value(json));
		return 0;
	case JSON_REAL:
		add_real(text, json_real_value(json));
		return 0;
	case JSON_TRUE:
	case JSON_FALSE:
		text_add(text, json_is_true(json) ? "true" : "false");
		return 0;
	case JSON_NULL:
		return -ENODATA;
	case JSON_OBJECT:
	case JSON_ARRAY: {
		auto_free char *dump = json_dumps(json, JSON_COMPACT | JSON_SORT_KEYS);

		text_add(text, dump ? dump : "");
		return 0;
	}
	}
	return -ENOENT;
}

int rows_value(const struct rows *rows, size_t i, const char *key, struct text *text)
{
	const struct row *row = &rows->items[i];
	const json_t *json = NULL;

	if (json_is_object(row->json))
		json = json_walk(row->json, key);
	else if (row->json && strcmp(key, "line") == 0)
		json = row->json;
	if (json)
		return add_json(text, json);
	for (size_t c = 0; row->fields && c < rows->columns.n; c++) {
		if (strcmp(rows->columns.items[c], key) == 0) {
			text_add(text, row->fields[c]);
			return 0;
		}
	}
	if (strcmp(key, "row") == 0) {
		text_printf(text, "%zu", i + 1);
		return 0;
	}
	return -ENOENT;
}

void rows_keys(const struct rows *rows, size_t i, size_t max, struct strings *keys)
{
	const struct row *row = &rows->items[i];

	if (json_is_object(row->json)) {
		const char *key;
		json_t *value;

		json_object_foreach (row->json, key, value)
			if (keys->n < max)
				strings_add(keys, key);
	} else if (row->json) {
		strings_add(keys, "line");
	}
	for (size_t c = 0; row->fields && c < rows->columns.n && keys->n < max; c++)
		strings_add(keys, rows->columns.items[c]);
}
