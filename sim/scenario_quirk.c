/* Quirks of a scenario: one row of a table each, for a GPU or for the whole library. */
#include "sim/nvml_abi.h"
#include "sim/scenario.h"
#include "util/text.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#define DELAY_MAX_MS 3600000

static const struct code_name {
	const char *name;
	int32_t code;
} code_names[] = {
    {"ok", NVML_OK},
    {"invalid-argument", NVML_INVALID_ARGUMENT},
    {"not-supported", NVML_NOT_SUPPORTED},
    {"no-permission", NVML_NO_PERMISSION},
    {"not-found", NVML_NOT_FOUND},
    {"no-driver", NVML_DRIVER_NOT_LOADED},
    {"timeout", NVML_TIMEOUT},
    {"function-not-found", NVML_FUNCTION_NOT_FOUND},
    {"lost", NVML_GPU_IS_LOST},
    {"reset-required", NVML_RESET_REQUIRED},
    {"mismatch", NVML_LIB_RM_VERSION_MISMATCH},
    {"no-data", NVML_NO_DATA},
    {"unknown", NVML_UNKNOWN},
};

/* Fields a driver may not support, and the calls that read them. */
static const struct field_name {
	const char *name;
	const char *pattern;
} field_names[] = {
    {"memory", "nvmlDeviceGetMemoryInfo*"},
    {"utilization", "nvmlDeviceGetUtilizationRates"},
    {"temperature", "nvmlDeviceGetTemperature*"},
    {"power", "nvmlDeviceGetPowerUsage"},
    {"power_limit", "nvmlDeviceGet*PowerL*imit"},
    {"fan", "nvmlDeviceGetFanSpeed*"},
    {"processes", "nvmlDeviceGet*RunningProcesses*"},
    {"process_utilization", "nvmlDeviceGetProcess*Utilization*"},
    {"clocks", "nvmlDeviceGet*Clock*"},
    {"pcie", "nvmlDeviceGet*Pcie*"},
    {"encoder", "nvmlDeviceGetEncoder*"},
    {"decoder", "nvmlDeviceGetDecoder*"},
    {"ecc", "nvmlDeviceGet*Ecc*"},
    {"performance_state", "nvmlDeviceGetP*State"},
    {"serial", "nvmlDeviceGetSerial"},
    {"minor", "nvmlDeviceGetMinorNumber"},
    {"affinity", "nvmlDeviceGetCpuAffinity"},
    {"capability", "nvmlDeviceGetCudaComputeCapability"},
    {"mig", "nvmlDeviceGet*Mig*"},
    {"events", "nvmlDevice*Event*"},
    {"index", "nvmlDeviceGetIndex"},
    {"pci", "nvmlDeviceGetPciInfo*"},
    {"uuid", "nvmlDeviceGetUUID"},
    {"name", "nvmlDeviceGetName"},
};

int scenario_parse_code(const struct yamlx *doc, const struct yamlx_node *node, int32_t *ret_code,
			struct error *err)
{
	int64_t number = 0;
	int r;

	for (size_t i = 0; node->type == YAMLX_SCALAR && i < ARRAY_LEN(code_names); i++)
		if (strcmp(node->text, code_names[i].name) == 0) {
			*ret_code = code_names[i].code;
			return 0;
		}
	r = scenario_parse_int(doc, node, 0, 999, &number, NULL);
	if (r < 0)
		return yamlx_error(doc, node, -EINVAL, err,
				   "not an NVML return code: a number, or lost, reset-required, "
				   "unknown, timeout, not-supported, …");
	*ret_code = (int32_t)number;
	return 0;
}

struct choice {
	const char *word;
	uint32_t value;
};

static int parse_choice(const struct yamlx *doc, const struct yamlx_node *node,
			const struct choice *choices, uint32_t *ret_value, struct error *err)
{
	auto_text struct text list = {};

	for (const struct choice *c = choices; c->word; c++) {
		if (node->type == YAMLX_SCALAR && strcmp(node->text, c->word) == 0) {
			*ret_value = c->value;
			return 0;
		}
		text_printf(&list, "%s%s", c == choices ? "" : ", ", c->word);
	}
	return yamlx_error(doc, node, -EINVAL, err, "must be one of %s", list.data);
}

int scenario_parse_listing(const struct yamlx *doc, const struct yamlx_node *node,
			   uint32_t *ret_listing, struct error *err)
{
	static const struct choice choices[] = {{"keep", SIM_LISTING_KEEP},
						{"smaller", SIM_LISTING_SMALLER},
						{"renumber", SIM_LISTING_RENUMBER},
						{}};

	return parse_choice(doc, node, choices, ret_listing, err);
}

static int add_fault(const struct yamlx *doc, const struct yamlx_node *at, struct sim_gpu *gpu,
		     int32_t code, struct error *err)
{
	const char *pattern = at->text;

	if (gpu->n_faults == SIM_FAULTS_MAX)
		return yamlx_error(doc, at, -ENOSPC, err, "more than %d faults", SIM_FAULTS_MAX);
	for (size_t i = 0; i < ARRAY_LEN(field_names); i++)
		if (strcmp(pattern, field_names[i].name) == 0)
			pattern = field_names[i].pattern;
	if (strncmp(pattern, "nvml", 4) != 0 || strlen(pattern) >= SIM_PATTERN_MAX)
		return yamlx_error(
		    doc, at, -EINVAL, err,
		    "\"%.64s\" is neither a field (memory, utilization, temperature, "
		    "power, …) nor the name of an NVML function (nvmlDeviceGet…, * "
		    "allowed)",
		    pattern);
	gpu->faults[gpu->n_faults].code = code;
	(void)snprintf(gpu->faults[gpu->n_faults++].pattern, SIM_PATTERN_MAX, "%s", pattern);
	return 0;
}

typedef int (*gpu_quirk_f)(const struct yamlx *doc, const struct yamlx_node *node,
			   struct sim_gpu *gpu, struct error *err);

static int quirk_not_supported(const struct yamlx *doc, const struct yamlx_node *node,
			       struct sim_gpu *gpu, struct error *err)
{
	if (node->type != YAMLX_SEQUENCE)
		return yamlx_error(doc, node, -EINVAL, err, "a list of fields or functions");
	for (size_t i = 0; i < node->n; i++) {
		const char *text = NULL;
		int r = yamlx_string(doc, node->items[i], &text, err);

		if (r == 0)
			r = add_fault(doc, node->items[i], gpu, NVML_NOT_SUPPORTED, err);
		if (r < 0)
			return r;
	}
	return 0;
}

static int quirk_fail(const struct yamlx *doc, const struct yamlx_node *node, struct sim_gpu *gpu,
		      struct error *err)
{
	if (node->type != YAMLX_MAPPING)
		return yamlx_error(doc, node, -EINVAL, err, "a mapping from functions to codes");
	for (size_t i = 0; i < node->n; i++) {
		int32_t code = 0;
		int r = scenario_parse_code(doc, node->items[i], &code, err);

		if (r == 0)
			r = add_fault(doc, node->keys[i], gpu, code, err);
		if (r < 0)
			return r;
	}
	return 0;
}

static int quirk_memory(const struct yamlx *doc, const struct yamlx_node *node, struct sim_gpu *gpu,
			struct error *err)
{
	static const struct choice choices[] = {
	    {"unsupported", SIM_QUIRK_MEMORY_UNSUPPORTED}, {"zero", SIM_QUIRK_MEMORY_ZERO}, {}};
	uint32_t flag = 0;
	int r = parse_choice(doc, node, choices, &flag, err);

	if (r == 0)
		gpu->quirks |= flag;
	return r;
}

static int quirk_error(const struct yamlx *doc, const struct yamlx_node *node, struct sim_gpu *gpu,
		       struct error *err)
{
	return scenario_parse_code(doc, node, &gpu->error, err);
}

static int quirk_handle_error(const struct yamlx *doc, const struct yamlx_node *node,
			      struct sim_gpu *gpu, struct error *err)
{
	return scenario_parse_code(doc, node, &gpu->handle_error, err);
}

static int quirk_lost(const struct yamlx *doc, const struct yamlx_node *node, struct sim_gpu *gpu,
		      struct error *err)
{
	static const char *const keys[] = {"code", "listing", NULL};
	const struct yamlx_node *value;
	int r;

	gpu->lost = true;
	gpu->lost_code = NVML_GPU_IS_LOST;
	if (node->type == YAMLX_SCALAR)
		return yamlx_bool(doc, node, &gpu->lost, err);
	r = yamlx_check_keys(doc, node, keys, err);
	if (r < 0)
		return r;
	value = yamlx_get(node, "code");
	if (value && (r = scenario_parse_code(doc, value, &gpu->lost_code, err)) < 0)
		return r;
	value = yamlx_get(node, "listing");
	return value ? scenario_parse_listing(doc, value, &gpu->lost_listing, err) : 0;
}

static int parse_delay(const struct yamlx *doc, const struct yamlx_node *node, int64_t *ret_ms,
		       struct error *err)
{
	int r = yamlx_duration(doc, node, ret_ms, err);

	if (r == 0 && *ret_ms > DELAY_MAX_MS)
		return yamlx_error(doc, node, -EINVAL, err, "more than an hour; use hang");
	return r;
}

static int quirk_delay(const struct yamlx *doc, const struct yamlx_node *node, struct sim_gpu *gpu,
		       struct error *err)
{
	return parse_delay(doc, node, &gpu->delay_ms, err);
}

static int quirk_hang(const struct yamlx *doc, const struct yamlx_node *node, struct sim_gpu *gpu,
		      struct error *err)
{
	return yamlx_bool(doc, node, &gpu->hung, err);
}

static const struct gpu_quirk {
	const char *name;
	gpu_quirk_f read; /* NULL: a switch for `flag` */
	uint32_t flag;
} gpu_quirks[] = {
    {"not_supported", quirk_not_supported, 0},
    {"fail", quirk_fail, 0},
    {"memory", quirk_memory, 0},
    {"error", quirk_error, 0},
    {"handle_error", quirk_handle_error, 0},
    {"lost", quirk_lost, 0},
    {"delay", quirk_delay, 0},
    {"hang", quirk_hang, 0},
    {"process_memory_unknown", NULL, SIM_QUIRK_PROCESS_MEMORY_UNKNOWN},
    {"list_grows", NULL, SIM_QUIRK_LIST_GROWS},
    {"size_always_100", NULL, SIM_QUIRK_SIZE_ALWAYS_100},
    {"stale_samples", NULL, SIM_QUIRK_STALE_SAMPLES},
    {"dead_processes", NULL, SIM_QUIRK_DEAD_PROCESSES},
};

int scenario_parse_gpu_quirks(const struct yamlx *doc, const struct yamlx_node *node,
			      struct sim_gpu *gpu, struct error *err)
{
	const char *names[ARRAY_LEN(gpu_quirks) + 1] = {};
	int r;

	for (size_t i = 0; i < ARRAY_LEN(gpu_quirks); i++)
		names[i] = gpu_quirks[i].name;
	if (node->type != YAMLX_MAPPING)
		return yamlx_error(doc, node, -EINVAL, err, "quirks is a mapping");
	r = yamlx_check_keys(doc, node, names, err);
	if (r < 0)
		return r;
	for (size_t i = 0; i < ARRAY_LEN(gpu_quirks); i++) {
		const struct yamlx_node *value = yamlx_get(node, gpu_quirks[i].name);
		bool on = false;

		if (!value)
			continue;
		if (gpu_quirks[i].read)
			r = gpu_quirks[i].read(doc, value, gpu, err);
		else
			r = yamlx_bool(doc, value, &on, err);
		if (r < 0)
			return r;
		if (on)
			gpu->quirks |= gpu_quirks[i].flag;
	}
	return 0;
}

static int add_missing(const struct yamlx *doc, const struct yamlx_node *at, const char *pattern,
		       struct sim_state *image, struct error *err)
{
	if (image->n_missing == SIM_MISSING_MAX)
		return yamlx_error(doc, at, -ENOSPC, err, "more than %d patterns", SIM_MISSING_MAX);
	if ((strncmp(pattern, "nvml", 4) != 0 && pattern[0] != '*') ||
	    strlen(pattern) >= SIM_PATTERN_MAX)
		return yamlx_error(doc, at, -EINVAL, err,
				   "\"%.64s\" is not the name of an NVML function (* allowed)",
				   pattern);
	(void)snprintf(image->missing[image->n_missing++], SIM_PATTERN_MAX, "%s", pattern);
	return 0;
}

typedef int (*quirk_f)(const struct yamlx *doc, const struct yamlx_node *node,
		       struct sim_state *image, struct error *err);

static int quirk_stride(const struct yamlx *doc, const struct yamlx_node *node,
			struct sim_state *image, struct error *err)
{
	static const struct choice choices[] = {{"24", 24}, {"32", 32}, {}};

	return parse_choice(doc, node, choices, &image->process_stride, err);
}

static int quirk_memory_v2(const struct yamlx *doc, const struct yamlx_node *node,
			   struct sim_state *image, struct error *err)
{
	static const struct choice choices[] = {{"real", SIM_MEMORY_V2_REAL},
						{"lenient", SIM_MEMORY_V2_LENIENT},
						{"refused", SIM_MEMORY_V2_REFUSED},
						{"missing", 99},
						{}};
	uint32_t value = 0;
	int r = parse_choice(doc, node, choices, &value, err);

	if (r < 0)
		return r;
	if (value == 99)
		return add_missing(doc, node, "nvmlDeviceGetMemoryInfo_v2", image, err);
	image->memory_v2 = value;
	return 0;
}

static int quirk_missing(const struct yamlx *doc, const struct yamlx_node *node,
			 struct sim_state *image, struct error *err)
{
	if (node->type != YAMLX_SEQUENCE)
		return yamlx_error(doc, node, -EINVAL, err, "a list of function names");
	for (size_t i = 0; i < node->n; i++) {
		const char *text = NULL;
		int r = yamlx_string(doc, node->items[i], &text, err);

		if (r == 0)
			r = add_missing(doc, node->items[i], text, image, err);
		if (r < 0)
			return r;
	}
	return 0;
}

static int quirk_init_error(const struct yamlx *doc, const struct yamlx_node *node,
			    struct sim_state *image, struct error *err)
{
	return scenario_parse_code(doc, node, &image->init_error, err);
}

static int quirk_all_delay(const struct yamlx *doc, const struct yamlx_node *node,
			   struct sim_state *image, struct error *err)
{
	return parse_delay(doc, node, &image->delay_ms, err);
}

static int quirk_all_hang(const struct yamlx *doc, const struct yamlx_node *node,
			  struct sim_state *image, struct error *err)
{
	return yamlx_bool(doc, node, &image->hung, err);
}

static const struct quirk {
	const char *name;
	quirk_f read;
} quirks[] = {
    {"process_stride", quirk_stride},   {"memory_v2", quirk_memory_v2},
    {"missing_symbols", quirk_missing}, {"init_error", quirk_init_error},
    {"delay", quirk_all_delay},         {"hang", quirk_all_hang},
};

int scenario_parse_quirks(const struct yamlx *doc, const struct yamlx_node *node,
			  struct sim_state *image, struct error *err)
{
	const char *names[ARRAY_LEN(quirks) + 1] = {};
	int r;

	for (size_t i = 0; i < ARRAY_LEN(quirks); i++)
		names[i] = quirks[i].name;
	if (node->type != YAMLX_MAPPING)
		return yamlx_error(doc, node, -EINVAL, err, "quirks is a mapping");
	r = yamlx_check_keys(doc, node, names, err);
	for (size_t i = 0; r == 0 && i < ARRAY_LEN(quirks); i++) {
		const struct yamlx_node *value = yamlx_get(node, quirks[i].name);

		if (value)
			r = quirks[i].read(doc, value, image, err);
	}
	return r;
}
