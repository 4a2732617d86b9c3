/* See catalogue.h. Numbers of an entry are rows of one table: key, bounds, where they go. */
#include "sim/catalogue.h"

#include "util/file.h"
#include "util/paths.h"
#include "util/size.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

/* Framebuffer the driver keeps: about 1.3 % on the cards seen (311 of 24564 MiB). */
#define RESERVED_DIVISOR 79

struct numbers {
	double vram_mib, reserved_mib, speed, bandwidth_gb_s, power_w, cores, bus_bits, clock_mhz,
	    memory_clock_mhz, pcie_generation;
};

static const struct field {
	const char *key;
	size_t offset;
	double min, max;
	bool optional;
} fields[] = {
    {"vram_mib", offsetof(struct numbers, vram_mib), 256, 4e6, false},
    {"reserved_mib", offsetof(struct numbers, reserved_mib), 0, 1e5, true},
    {"speed", offsetof(struct numbers, speed), 0.001, 1000, false},
    {"bandwidth_gb_s", offsetof(struct numbers, bandwidth_gb_s), 1, 1e5, false},
    {"power_w", offsetof(struct numbers, power_w), 1, 5000, false},
    {"cores", offsetof(struct numbers, cores), 1, 1e6, false},
    {"bus_bits", offsetof(struct numbers, bus_bits), 32, 16384, false},
    {"clock_mhz", offsetof(struct numbers, clock_mhz), 100, 10000, false},
    {"memory_clock_mhz", offsetof(struct numbers, memory_clock_mhz), 100, 20000, false},
    {"pcie_generation", offsetof(struct numbers, pcie_generation), 1, 7, false},
};

static const char *const known_keys[] = {"name",
					 "compute_capability",
					 "vram_mib",
					 "reserved_mib",
					 "speed",
					 "bandwidth_gb_s",
					 "power_w",
					 "cores",
					 "bus_bits",
					 "clock_mhz",
					 "memory_clock_mhz",
					 "pcie_generation",
					 "fan",
					 "ecc",
					 "pci_id",
					 "source",
					 "date",
					 NULL};

int catalogue_load(struct yamlx **ret_catalogue, struct error *err)
{
	auto_free char *path = NULL;
	int r = paths_find_data("gpus.yaml", &path, err);

	return r < 0 ? r : yamlx_load(path, ret_catalogue, err);
}

int catalogue_parse_capability(const char *text, uint32_t *ret_major, uint32_t *ret_minor)
{
	unsigned major, minor;
	int end = 0;

	if (sscanf(text, "%2u.%1u%n", &major, &minor, &end) != 2 || text[end] != '\0')
		return -EINVAL;
	*ret_major = major;
	*ret_minor = minor;
	return 0;
}

/* Multiprocessors of a GPU with so many cores: 64 a piece on 7.x and 8.0, else 128. */
static uint32_t catalogue_multiprocessors(uint32_t cores, uint32_t major, uint32_t minor)
{
	uint32_t each = major == 7 || (major == 8 && minor == 0) ? 64 : 128;

	return MAX_OF(cores / each, 1U);
}

static int unknown_model(const struct yamlx_node *models, const char *model, struct error *err)
{
	auto_text struct text list = {};

	for (size_t i = 0; models && i < models->n; i++)
		text_printf(&list, "%s%s", i ? ", " : "", models->keys[i]->text);
	return error_set(err, -ENOENT,
			 "no GPU \"%.64s\" in the catalogue; there are %s; or give its memory: "
			 "%.64s:8G[:speed]",
			 model, list.data ? list.data : "none", model);
}

static int read_numbers(const struct yamlx *doc, const struct yamlx_node *entry,
			struct numbers *ret_numbers, struct error *err)
{
	for (size_t i = 0; i < ARRAY_LEN(fields); i++) {
		const struct field *field = &fields[i];
		const struct yamlx_node *node = yamlx_get(entry, field->key);
		double *value = (double *)(void *)((char *)ret_numbers + field->offset);
		int r;

		if (!node && field->optional)
			continue;
		if (!node)
			return yamlx_error(doc, entry, -EINVAL, err, "\"%s\" is missing",
					   field->key);
		r = yamlx_real(doc, node, field->min, field->max, value, err);
		if (r < 0)
			return r;
	}
	return 0;
}

static void use_numbers(const struct numbers *n, struct sim_gpu *gpu)
{
	gpu->total_bytes = (uint64_t)n->vram_mib * MIB;
	gpu->reserved_bytes = n->reserved_mib >= 0 ? (uint64_t)n->reserved_mib * MIB
						   : (uint64_t)n->vram_mib / RESERVED_DIVISOR * MIB;
	gpu->speed = n->speed;
	gpu->power_limit_mw = (uint32_t)(n->power_w * 1000);
	gpu->cores = (uint32_t)n->cores;
	gpu->bus_width_bits = (uint32_t)n->bus_bits;
	gpu->clock_mhz = (uint32_t)n->clock_mhz;
	gpu->memory_clock_mhz = (uint32_t)n->memory_clock_mhz;
	gpu->pcie_generation = (uint32_t)n->pcie_generation;
	gpu->pcie_width = 16;
	gpu->multiprocessors = catalogue_multiprocessors(gpu->cores, gpu->cc_major, gpu->cc_minor);
	gpu->throttle = 1.0;
	gpu->temperature_c = gpu->power_mw = gpu->fan_percent = -1;
}

int catalogue_fill(const struct yamlx *catalogue, const char *model, struct sim_gpu *gpu,
		   struct error *err)
{
	const struct yamlx_node *models = yamlx_get(catalogue->root, "gpus");
	const struct yamlx_node *entry = models ? yamlx_get(models, model) : NULL;
	const struct yamlx_node *node;
	struct numbers numbers = {.reserved_mib = -1};
	const char *text = NULL;
	int r;

	if (!entry)
		return unknown_model(models, model, err);
	if (entry->type != YAMLX_MAPPING)
		return yamlx_error(catalogue, entry, -EINVAL, err, "a GPU is a mapping");
	r = yamlx_check_keys(catalogue, entry, known_keys, err);
	if (r < 0)
		return r;
	node = yamlx_get(entry, "name");
	if (!node)
		return yamlx_error(catalogue, entry, -EINVAL, err, "\"name\" is missing");
	r = yamlx_string(catalogue, node, &text, err);
	if (r < 0)
		return r;
	(void)snprintf(gpu->name, sizeof gpu->name, "%s", text);
	(void)snprintf(gpu->model, sizeof gpu->model, "%s", model);
	node = yamlx_get(entry, "compute_capability");
	if (!node || node->type != YAMLX_SCALAR ||
	    catalogue_parse_capability(node->text, &gpu->cc_major, &gpu->cc_minor) < 0)
		return yamlx_error(catalogue, node ? node : entry, -EINVAL, err,
				   "\"compute_capability\" reads like \"8.6\"");
	node = yamlx_get(entry, "fan");
	if (node && (r = yamlx_bool(catalogue, node, &gpu->has_fan, err)) < 0)
		return r;
	node = yamlx_get(entry, "ecc");
	if (node && (r = yamlx_bool(catalogue, node, &gpu->ecc, err)) < 0)
		return r;
	node = yamlx_get(entry, "pci_id");
	if (node && node->type == YAMLX_SCALAR)
		gpu->pci_id = (uint32_t)strtoul(node->text, NULL, 16);
	r = read_numbers(catalogue, entry, &numbers, err);
	if (r < 0)
		return r;
	use_numbers(&numbers, gpu);
	return 0;
}

void catalogue_fill_generic(const char *name, struct sim_gpu *gpu)
{
	static const struct numbers generic = {.vram_mib = 8192,
					       .reserved_mib = -1,
					       .speed = 1.0,
					       .bandwidth_gb_s = 448,
					       .power_w = 200,
					       .cores = 4608,
					       .bus_bits = 256,
					       .clock_mhz = 1700,
					       .memory_clock_mhz = 7000,
					       .pcie_generation = 4};

	(void)snprintf(gpu->name, sizeof gpu->name, "%s", name);
	gpu->cc_major = 8;
	gpu->cc_minor = 6;
	gpu->has_fan = true;
	use_numbers(&generic, gpu);
}
