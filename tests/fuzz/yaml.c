/* Any bytes as a YAML document: a tree whose every node can be visited and named, or an error. */
#include "util/yamlx.h"

#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void visit(const struct yamlx *doc, const struct yamlx_node *node)
{
	uint64_t bytes = 0;
	int64_t ms = 0;
	double real = 0;
	bool flag = false;
	struct error err = {};

	if (node->line == 0 || node->column == 0)
		abort();
	(void)!yamlx_size(doc, node, &bytes, &err);
	(void)!yamlx_duration(doc, node, &ms, &err);
	(void)!yamlx_bool(doc, node, &flag, &err);
	if (yamlx_real(doc, node, -1, 1, &real, &err) == 0 && (real < -1 || real > 1))
		abort();
	for (size_t i = 0; i < node->n; i++) {
		visit(doc, node->items[i]);
		if (node->keys && yamlx_get(node, node->keys[i]->text) != node->items[i])
			abort();
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	auto_yamlx struct yamlx *doc = NULL;
	struct error err = {};

	if (yamlx_parse((const char *)data, size, "fuzz.yaml", &doc, &err) < 0) {
		if (!strstr(err.text, "fuzz.yaml"))
			abort();
		return 0;
	}
	visit(doc, doc->root);
	return 0;
}
