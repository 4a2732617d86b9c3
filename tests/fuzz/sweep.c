/* Any text as a sweep: rows within the limit, each with a value of its key, or an error. */
#include "cli/rows.h"

#include <stdint.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void try_one(const char *text)
{
	auto_strings struct strings sweeps = {};
	auto_text struct text label = {};
	struct rows *rows = NULL;
	struct error err = {};

	strings_add(&sweeps, text);
	if (rows_sweep(NULL, &sweeps, &rows, &err) < 0) {
		if (rows || !err.text[0])
			abort();
		return;
	}
	if (rows_count(rows) < 1 || rows_count(rows) > ROWS_SWEEP_MAX)
		abort();
	rows_sweep_label(rows, rows_count(rows) - 1, &label);
	if (!strchr(label.data, '='))
		abort();
	rows_destroy(rows);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	auto_free char *text = mem_strndup((const char *)data, size);
	auto_free char *array = rows_array_sweep(text);

	try_one(text);
	try_one(array);
	return 0;
}
