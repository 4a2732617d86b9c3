/*
 * `links` of a scenario: a list of `{between: [0, 1], link: nvlink}`. Pairs that are not named are
 * as far from each other as can be; without the key the library does not know.
 */
#include "sim/scenario.h"

#include <errno.h>
#include <string.h>

static const char *const names[SIM_LINK_COUNT] = {
    [SIM_LINK_UNKNOWN] = "unknown",         [SIM_LINK_BOARD] = "board",
    [SIM_LINK_NVLINK] = "nvlink",           [SIM_LINK_NVSWITCH] = "nvswitch",
    [SIM_LINK_SWITCH] = "switch",           [SIM_LINK_SWITCHES] = "switches",
    [SIM_LINK_HOST_BRIDGE] = "host-bridge", [SIM_LINK_NODE] = "node",
    [SIM_LINK_SYSTEM] = "system",
};

static int parse_name(const struct yamlx *doc, const struct yamlx_node *node, uint8_t *ret_link,
		      struct error *err)
{
	const char *name = NULL;
	int r = yamlx_string(doc, node, &name, err);

	if (r < 0)
		return r;
	for (unsigned i = 0; i < SIM_LINK_COUNT; i++)
		if (strcmp(names[i], name) == 0) {
			*ret_link = (uint8_t)i;
			return 0;
		}
	return yamlx_error(doc, node, -EINVAL, err,
			   "no such link; there are board, nvlink, nvswitch, switch, switches, "
			   "host-bridge, node, system and unknown");
}

static int parse_link(const struct yamlx *doc, const struct yamlx_node *node,
		      struct sim_state *image, struct error *err)
{
	static const char *const keys[] = {"between", "link", NULL};
	const struct yamlx_node *between, *link;
	int64_t ends[2] = {};
	uint8_t value = SIM_LINK_UNKNOWN;
	int r;

	if (node->type != YAMLX_MAPPING)
		return yamlx_error(doc, node, -EINVAL, err,
				   "a link is a mapping: {between: [0, 1], link: nvlink}");
	r = yamlx_check_keys(doc, node, keys, err);
	if (r < 0)
		return r;
	between = yamlx_get(node, "between");
	link = yamlx_get(node, "link");
	if (!link || !between || between->type != YAMLX_SEQUENCE || between->n != 2)
		return yamlx_error(doc, node, -EINVAL, err,
				   "a link needs `between`, a list of two GPUs, and `link`");
	for (int i = 0; r == 0 && i < 2; i++)
		r = scenario_parse_int(doc, between->items[i], 0, (int64_t)image->n_gpus - 1,
				       &ends[i], err);
	if (r == 0 && ends[0] == ends[1])
		r = yamlx_error(doc, between, -EINVAL, err, "a GPU has no link to itself");
	if (r == 0)
		r = parse_name(doc, link, &value, err);
	if (r == 0)
		image->links[ends[0]][ends[1]] = image->links[ends[1]][ends[0]] = value;
	return r;
}

int scenario_parse_links(const struct yamlx *doc, const struct yamlx_node *node,
			 struct sim_state *image, struct error *err)
{
	if (node->type != YAMLX_SEQUENCE)
		return yamlx_error(doc, node, -EINVAL, err, "links is a list");
	for (unsigned a = 0; a < image->n_gpus; a++)
		for (unsigned b = 0; b < image->n_gpus; b++)
			image->links[a][b] = a == b ? SIM_LINK_UNKNOWN : SIM_LINK_SYSTEM;
	for (size_t i = 0; i < node->n; i++) {
		int r = parse_link(doc, node->items[i], image, err);

		if (r < 0)
			return r;
	}
	return 0;
}
