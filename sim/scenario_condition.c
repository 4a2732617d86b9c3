/* `condition` of a GPU in a scenario: a row of a table each, all of them numbers. */
#include "sim/scenario.h"

#include <errno.h>
#include <stddef.h>

static const struct {
	const char *name;
	int64_t max;
	size_t offset;
} rows[] = {
    {"no_persistence", 1, offsetof(struct sim_condition, no_persistence)},
    {"compute_mode", 3, offsetof(struct sim_condition, compute_mode)},
    {"ecc_errors", 1000000, offsetof(struct sim_condition, ecc_errors)},
    {"remapped", 512, offsetof(struct sim_condition, remapped)},
    {"remap_pending", 1, offsetof(struct sim_condition, remap_pending)},
    {"remap_failed", 1, offsetof(struct sim_condition, remap_failed)},
    {"clock_reasons", 0x1ff, offsetof(struct sim_condition, clock_reasons)},
    {"recovery", 5, offsetof(struct sim_condition, recovery)},
    {"pcie_width", 32, offsetof(struct sim_condition, pcie_width)},
    {"power_default", 5000, offsetof(struct sim_condition, power_default)},
};

int scenario_parse_condition(const struct yamlx *doc, const struct yamlx_node *node,
			     struct sim_condition *ret_condition, struct error *err)
{
	const char *names[ARRAY_LEN(rows) + 1] = {};
	int r;

	for (size_t i = 0; i < ARRAY_LEN(rows); i++)
		names[i] = rows[i].name;
	if (node->type != YAMLX_MAPPING)
		return yamlx_error(doc, node, -EINVAL, err, "condition is a mapping of numbers");
	r = yamlx_check_keys(doc, node, names, err);
	for (size_t i = 0; r == 0 && i < ARRAY_LEN(rows); i++) {
		const struct yamlx_node *value = yamlx_get(node, rows[i].name);
		int64_t number = 0;

		if (!value)
			continue;
		r = scenario_parse_int(doc, value, 0, rows[i].max, &number, err);
		*(uint32_t *)(void *)((char *)ret_condition + rows[i].offset) = (uint32_t)number;
	}
	return r;
}
