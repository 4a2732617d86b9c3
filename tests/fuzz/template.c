/* Any text as a template over a fixed row: what comes out for the daemon holds no brace that is
 * neither doubled nor one of its own placeholders, and a value of the row never becomes one. */
#include "cli/template.h"

#include <stdint.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static const char row[] = "[{\"file\": \"a.wav\", \"evil\": \"{gpu}}{\", \"n\": {\"x\": 1}}]";

static void check_daemon_can_read(const char *text)
{
	static const char *const names[] = {"{device}", "{gpu}", "{uuid}", "{vram_mib}",
					    "{batch_size}"};

	for (const char *p = text; (p = strpbrk(p, "{}"));) {
		size_t known = 0;

		for (size_t i = 0; i < ARRAY_LEN(names); i++)
			if (strncmp(p, names[i], strlen(names[i])) == 0)
				known = strlen(names[i]);
		if (p[1] == p[0])
			known = 2;
		if (known == 0)
			abort();
		p += known;
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	auto_free char *text = mem_strndup((const char *)data, size);
	auto_free char *command = NULL, *value = NULL, *literal = NULL;
	auto_rows struct rows *rows = NULL;
	struct error err = {};

	if (rows_parse(row, strlen(row), "row", ROWS_JSON, &rows, &err) < 0)
		abort();
	if (template_fill(text, TEMPLATE_COMMAND, rows, 0, &command, &err) == 0)
		check_daemon_can_read(command);
	/* What was refused must not be half done. */
	if (template_fill(text, TEMPLATE_VALUE, rows, 0, &value, &err) < 0 && value)
		abort();
	literal = template_literal(text);
	check_daemon_can_read(literal);
	return 0;
}
