/* Details as JSON, both ways. What is unknown is null. See details.h. */
#include "gpu/details.h"

#include <errno.h>
#include <string.h>

enum type { TYPE_BOOL, TYPE_UNSIGNED, TYPE_U64 };

static const struct field {
	const char *key;
	enum type type;
	size_t offset;
	unsigned bit; /* enum gpu_details_FLAGS */
} fields[] = {
#define FIELD(key, type, member, bit)                                        \
	{                                                                    \
		key, type, offsetof(struct gpu_details, member), GPU_D_##bit \
	}
    FIELD("persistence", TYPE_BOOL, persistence, PERSISTENCE),
    FIELD("ecc_enabled", TYPE_BOOL, ecc_enabled, ECC),
    FIELD("ecc_uncorrected", TYPE_U64, ecc_uncorrected, ECC_ERRORS),
    FIELD("remapped_correctable", TYPE_UNSIGNED, remapped_correctable, REMAP),
    FIELD("remapped_uncorrectable", TYPE_UNSIGNED, remapped_uncorrectable, REMAP),
    FIELD("remap_pending", TYPE_BOOL, remap_pending, REMAP),
    FIELD("remap_failed", TYPE_BOOL, remap_failed, REMAP),
    FIELD("clock_reasons", TYPE_U64, clock_reasons, CLOCK_REASONS),
    FIELD("pcie_generation", TYPE_UNSIGNED, pcie_generation, PCIE),
    FIELD("pcie_width", TYPE_UNSIGNED, pcie_width, PCIE),
    FIELD("pcie_generation_max", TYPE_UNSIGNED, pcie_generation_max, PCIE_MAX),
    FIELD("pcie_width_max", TYPE_UNSIGNED, pcie_width_max, PCIE_MAX),
    FIELD("power_default_milliwatts", TYPE_UNSIGNED, power_default_milliwatts, POWER_DEFAULT),
    FIELD("mig_enabled", TYPE_BOOL, mig_enabled, MIG),
    FIELD("mig_pending", TYPE_BOOL, mig_pending, MIG),
    FIELD("compute_mode", TYPE_UNSIGNED, compute_mode, COMPUTE_MODE),
    FIELD("display_active", TYPE_BOOL, display_active, DISPLAY),
    FIELD("recovery", TYPE_UNSIGNED, recovery, RECOVERY),
};

static json_t *details_to_json(const struct gpu_details *details)
{
	json_t *json = json_object();

	for (size_t i = 0; i < ARRAY_LEN(fields); i++) {
		const void *at = (const char *)details + fields[i].offset;
		bool known = details->valid & fields[i].bit;
		json_t *value = json_null();

		if (known && fields[i].type == TYPE_BOOL)
			value = json_boolean(*(const bool *)at);
		else if (known && fields[i].type == TYPE_UNSIGNED)
			value = jsonx_u64(*(const unsigned *)at);
		else if (known)
			value = jsonx_u64(*(const uint64_t *)at);
		(void)json_object_set_new(json, fields[i].key, value);
	}
	return json;
}

/* False: null, or of another type. */
static bool read_field(const struct field *field, const json_t *value, struct gpu_details *details)
{
	void *at = (char *)details + field->offset;

	if (field->type == TYPE_BOOL) {
		*(bool *)at = json_is_true(value);
		return json_is_boolean(value);
	}
	if (!json_is_integer(value) || json_integer_value(value) < 0)
		return false;
	if (field->type == TYPE_U64)
		*(uint64_t *)at = (uint64_t)json_integer_value(value);
	else
		*(unsigned *)at = (unsigned)MIN_OF(json_integer_value(value), INT32_MAX);
	return true;
}

static int details_from_json(const json_t *json, struct gpu_details *ret_details, struct error *err)
{
	struct gpu_details details = {};
	unsigned missing = 0;

	if (!json_is_object(json))
		return error_set(err, -EBADMSG, "the details of a GPU are an object");
	for (size_t i = 0; i < ARRAY_LEN(fields); i++) {
		if (read_field(&fields[i], json_object_get(json, fields[i].key), &details))
			details.valid |= fields[i].bit;
		else
			missing |= fields[i].bit;
	}
	/* Of what goes together, all or nothing is known. */
	details.valid &= ~missing;
	*ret_details = details;
	return 0;
}

json_t *gpu_details_list_to_json(const struct gpu_list *list, const struct gpu_details *details)
{
	json_t *json = gpu_list_to_json(list);
	json_t *gpus = json_object_get(json, "gpus");

	for (size_t i = 0; i < list->n; i++)
		(void)json_object_set_new(json_array_get(gpus, i), "details",
					  details_to_json(&details[i]));
	return json;
}

/* Reading sorts the list; the GPU of an entry is the one of its index and UUID. */
static struct gpu_details *place_of(const struct gpu_list *list, const json_t *gpu,
				    struct gpu_details *details)
{
	for (size_t i = 0; i < list->n; i++)
		if (list->gpus[i].index == jsonx_get_u64(gpu, "index", UINT64_MAX) &&
		    strcmp(list->gpus[i].uuid, jsonx_get_string(gpu, "uuid", "")) == 0)
			return &details[i];
	return NULL;
}

int gpu_details_list_from_json(const json_t *json, struct gpu_list **ret_list,
			       struct gpu_details **ret_details, struct error *err)
{
	auto_gpu_list struct gpu_list *list = NULL;
	auto_free struct gpu_details *details = NULL;
	const json_t *gpu;
	size_t i;
	int r = gpu_list_from_json(json, &list, err);

	if (r < 0)
		return r;
	details = mem_calloc(MAX_OF(list->n, 1), sizeof *details);
	json_array_foreach (json_object_get(json, "gpus"), i, gpu) {
		const json_t *told = json_object_get(gpu, "details");
		struct gpu_details *at = place_of(list, gpu, details);

		if (!at || !told)
			continue;
		r = details_from_json(told, at, err);
		if (r < 0)
			return r;
	}
	*ret_list = TAKE(list);
	*ret_details = TAKE(details);
	return 0;
}
