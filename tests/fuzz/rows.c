/* Any bytes as rows, in each format (the first byte chooses) and detected: every row has a line
 * within the file, and each of its keys has a value that can be filled into a template. */
#include "cli/rows.h"
#include "cli/template.h"

#include <errno.h>
#include <stdint.h>

#define KEYS 8

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check_row(const struct rows *rows, size_t i, unsigned lines)
{
	auto_strings struct strings keys = {};

	if (rows_line(rows, i) < 1 || rows_line(rows, i) > lines)
		abort();
	rows_keys(rows, i, KEYS, &keys);
	for (size_t k = 0; k < keys.n; k++) {
		auto_text struct text value = {};
		int r = rows_value(rows, i, keys.items[k], &value);

		/* null is the one key without a value. */
		if (r < 0 && r != -ENODATA)
			abort();
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static const enum rows_format formats[] = {ROWS_AUTO, ROWS_JSON, ROWS_JSONL, ROWS_CSV,
						   ROWS_LINES};
	struct rows *rows = NULL;
	struct error err = {};
	unsigned lines = 1;

	if (size < 1)
		return 0;
	for (size_t i = 1; i < size; i++)
		lines += data[i] == '\n';
	if (rows_parse((const char *)data + 1, size - 1, "fuzz",
		       formats[data[0] % ARRAY_LEN(formats)], &rows, &err) < 0) {
		if (rows || !err.text[0])
			abort();
		return 0;
	}
	for (size_t i = 0; i < rows_count(rows); i++)
		check_row(rows, i, lines);
	rows_destroy(rows);
	return 0;
}
