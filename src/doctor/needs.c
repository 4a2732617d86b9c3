/* See needs.h. */
#include "doctor/needs.h"

#include "util/paths.h"
#include "util/yamlx.h"

#include <errno.h>

#define ENOUGH_PERCENT 92 /* memory.total is 1 to 6 % below the nominal size (facts: [SMI]) */

static const char *const purposes[DOCTOR_PURPOSES] = {"any", "inference", "training", "none"};

const char *doctor_purpose_name(enum doctor_purpose purpose)
{
	return purposes[purpose];
}

static const struct size_key {
	const char *name;
	size_t offset;
} size_keys[] = {
    {"vram", offsetof(struct need_of, vram_bytes)},
    {"ram", offsetof(struct need_of, ram_bytes)},
    {"disk-free", offsetof(struct need_of, disk_free_bytes)},
    {"shm", offsetof(struct need_of, shm_bytes)},
};

static int read_sizes(const struct yamlx *doc, const struct yamlx_node *node,
		      struct need_of *ret_need, struct error *err)
{
	const char *names[ARRAY_LEN(size_keys) + 1] = {};
	int r;

	for (size_t i = 0; i < ARRAY_LEN(size_keys); i++)
		names[i] = size_keys[i].name;
	if (node->type != YAMLX_MAPPING)
		return yamlx_error(doc, node, -EINVAL, err, "a mapping of sizes is expected");
	r = yamlx_check_keys(doc, node, names, err);
	for (size_t i = 0; r == 0 && i < ARRAY_LEN(size_keys); i++) {
		const struct yamlx_node *value = yamlx_get(node, size_keys[i].name);

		if (value)
			r = yamlx_size(doc, value, (void *)((char *)ret_need + size_keys[i].offset),
				       err);
	}
	return r;
}

static int read_version(const struct yamlx *doc, const struct yamlx_node *node,
			struct version *ret_version, struct error *err)
{
	if (!node || node->type != YAMLX_SCALAR)
		return yamlx_error(doc, node ? node : doc->root, -EINVAL, err,
				   "driver and compute-capability are needed, as \"6.0\"");
	*ret_version = version_parse(node->text);
	if (ret_version->n == 0)
		return yamlx_error(doc, node, -EINVAL, err, "not a version like \"6.0\"");
	return 0;
}

int needs_load(const char *path, struct needs *ret_needs, struct error *err)
{
	static const char *const keys[] = {
	    "driver", "compute-capability", "any", "inference", "training", "none", NULL};
	auto_yamlx struct yamlx *doc = NULL;
	auto_free char *found = NULL;
	struct version capability = {};
	struct needs needs = {};
	int r = path ? 0 : paths_find_data("doctor.yaml", &found, err);

	if (r == 0)
		r = yamlx_load(path ? path : found, &doc, err);
	if (r == 0 && doc->root->type != YAMLX_MAPPING)
		r = yamlx_error(doc, doc->root, -EINVAL, err, "a mapping is expected");
	if (r == 0)
		r = yamlx_check_keys(doc, doc->root, keys, err);
	if (r == 0)
		r = read_version(doc, yamlx_get(doc->root, "driver"), &needs.driver, err);
	if (r == 0)
		r = read_version(doc, yamlx_get(doc->root, "compute-capability"), &capability, err);
	needs.compute_capability = capability.parts[0] * 10 + capability.parts[1];
	for (size_t i = 0; r == 0 && i < DOCTOR_PURPOSES; i++) {
		const struct yamlx_node *node = yamlx_get(doc->root, purposes[i]);

		if (node)
			r = read_sizes(doc, node, &needs.of[i], err);
	}
	if (r < 0)
		return r;
	*ret_needs = needs;
	return 0;
}

bool needs_is_enough(uint64_t has_bytes, uint64_t needs_bytes)
{
	return has_bytes >= needs_bytes / 100 * ENOUGH_PERCENT;
}
