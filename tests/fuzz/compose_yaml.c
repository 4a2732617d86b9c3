/*
 * Any bytes as a compose file: a tree whose every node stands inside the file, exact scalars byte
 * for byte, keys that are found again; or an error with a place. Within the limits of memory.
 */
#include "compose/node.h"

#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check(bool holds)
{
	if (!holds)
		abort();
}

static void span_check(const struct compose_file *file, const struct compose_span *span)
{
	unsigned line, column;

	check(span->file == file && span->begin <= span->end && span->end <= file->len);
	compose_file_position(file, span->begin, &line, &column);
	check(line > 0 && column > 0 && line <= file->n_lines);
}

static void visit(const struct compose_file *file, const struct compose_node *node, unsigned level)
{
	int64_t number;
	bool truth;

	check(level <= COMPOSE_LEVELS_MAX);
	span_check(file, &node->span);
	if (node->via.file)
		span_check(file, &node->via);
	if (node->type == COMPOSE_SCALAR || node->type == COMPOSE_NULL) {
		check(node->raw && node->text == node->raw && node->n == 0);
		if (node->exact)
			check(memcmp(file->text + node->span.begin + node->lead, node->raw,
				     strlen(node->raw)) == 0);
		(void)compose_bool(node, &truth);
		(void)compose_integer(node, &number);
		return;
	}
	for (size_t i = 0; i < node->n; i++) {
		if (node->type == COMPOSE_MAP) {
			span_check(file, &node->entries[i].key_span);
			check(compose_entry(node, node->entries[i].key) == &node->entries[i]);
			visit(file, node->entries[i].value, level + 1);
		} else {
			visit(file, node->items[i], level + 1);
		}
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct compose_files files = {};
	auto_arena struct arena arena = {};
	const struct compose_file *file =
	    compose_files_add(&files, "fuzz.yaml", (const char *)data, size);
	struct compose_node **roots = NULL;
	struct error err = {};
	size_t n = 0;

	if (compose_parse(file, &arena, &roots, &n, &err) < 0)
		check(strncmp(err.text, "fuzz.yaml:", 10) == 0);
	for (size_t i = 0; i < n; i++)
		visit(file, roots[i], 1);
	check(arena.used < (size_t)80 << 20);
	compose_files_finish(&files);
	return 0;
}
