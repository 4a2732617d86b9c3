/*
 * What doctor asks of NVML once (gpu/details.h), one row of a table a question. What a GPU does not
 * support, or the library does not have, stays unknown; none of it says anything about its health.
 */
#include "gpu/nvml.h"

#include "gpu/nvml_calls.h"

#define ECC_UNCORRECTED   1
#define ECC_VOLATILE      0
#define FIELD_RECOVERY    230 /* NVML_FI_DEV_GET_GPU_RECOVERY_ACTION */
#define INSTANCES_PER_GPU (GPU_MIG_INDEX(1, 0) - GPU_MIG_INDEX(0, 0))

/* As CALL() takes it. */
struct asked {
	struct functions f;
};

static bool ask_persistence(const struct asked *a, struct nvml_device *device,
			    struct gpu_details *details)
{
	unsigned on = 0;
	int code = CALL(a, persistence, device, &on);

	details->persistence = on == 1;
	return code == NVML_SUCCESS;
}

static bool ask_ecc(const struct asked *a, struct nvml_device *device, struct gpu_details *details)
{
	unsigned now = 0, after_reset = 0;
	int code = CALL(a, ecc_mode, device, &now, &after_reset);

	details->ecc_enabled = now == 1;
	return code == NVML_SUCCESS;
}

static bool ask_ecc_errors(const struct asked *a, struct nvml_device *device,
			   struct gpu_details *details)
{
	return CALL(a, ecc_errors, device, ECC_UNCORRECTED, ECC_VOLATILE,
		    &details->ecc_uncorrected) == NVML_SUCCESS &&
	       details->ecc_uncorrected <= INT64_MAX;
}

static bool ask_remap(const struct asked *a, struct nvml_device *device,
		      struct gpu_details *details)
{
	unsigned pending = 0, failed = 0;
	int code = CALL(a, remapped_rows, device, &details->remapped_correctable,
			&details->remapped_uncorrectable, &pending, &failed);

	details->remap_pending = pending == 1;
	details->remap_failed = failed == 1;
	return code == NVML_SUCCESS;
}

/* Renamed about driver 535; both are exported. */
static bool ask_clock_reasons(const struct asked *a, struct nvml_device *device,
			      struct gpu_details *details)
{
	return CALL2(a, clock_reasons, clock_reasons_old, device, &details->clock_reasons) ==
		   NVML_SUCCESS &&
	       details->clock_reasons <= INT64_MAX;
}

static bool ask_pcie(const struct asked *a, struct nvml_device *device, struct gpu_details *details)
{
	return CALL(a, pcie_generation, device, &details->pcie_generation) == NVML_SUCCESS &&
	       CALL(a, pcie_width, device, &details->pcie_width) == NVML_SUCCESS;
}

static bool ask_pcie_max(const struct asked *a, struct nvml_device *device,
			 struct gpu_details *details)
{
	return CALL(a, pcie_generation_max, device, &details->pcie_generation_max) ==
		   NVML_SUCCESS &&
	       CALL(a, pcie_width_max, device, &details->pcie_width_max) == NVML_SUCCESS;
}

static bool ask_power_default(const struct asked *a, struct nvml_device *device,
			      struct gpu_details *details)
{
	return CALL(a, power_default, device, &details->power_default_milliwatts) == NVML_SUCCESS;
}

static bool ask_mig(const struct asked *a, struct nvml_device *device, struct gpu_details *details)
{
	unsigned now = 0, after_reset = 0;
	int code = CALL(a, mig_mode, device, &now, &after_reset);

	details->mig_enabled = now == 1;
	details->mig_pending = after_reset == 1;
	return code == NVML_SUCCESS;
}

static bool ask_compute_mode(const struct asked *a, struct nvml_device *device,
			     struct gpu_details *details)
{
	return CALL(a, compute_mode, device, &details->compute_mode) == NVML_SUCCESS;
}

static bool ask_display(const struct asked *a, struct nvml_device *device,
			struct gpu_details *details)
{
	unsigned active = 0;
	int code = CALL(a, display_active, device, &active);

	details->display_active = active == 1;
	return code == NVML_SUCCESS;
}

static bool ask_recovery(const struct asked *a, struct nvml_device *device,
			 struct gpu_details *details)
{
	struct nvml_field field = {.id = FIELD_RECOVERY, .code = NVML_NOT_SUPPORTED};
	int code = CALL(a, field_values, device, 1, &field);

	details->recovery = field.value.u32;
	return code == NVML_SUCCESS && field.code == NVML_SUCCESS;
}

static const struct {
	unsigned bit; /* enum gpu_details_FLAGS */
	bool (*ask)(const struct asked *, struct nvml_device *, struct gpu_details *);
} questions[] = {
    {GPU_D_PERSISTENCE, ask_persistence},
    {GPU_D_ECC, ask_ecc},
    {GPU_D_ECC_ERRORS, ask_ecc_errors},
    {GPU_D_REMAP, ask_remap},
    {GPU_D_CLOCK_REASONS, ask_clock_reasons},
    {GPU_D_PCIE, ask_pcie},
    {GPU_D_PCIE_MAX, ask_pcie_max},
    {GPU_D_POWER_DEFAULT, ask_power_default},
    {GPU_D_MIG, ask_mig},
    {GPU_D_COMPUTE_MODE, ask_compute_mode},
    {GPU_D_DISPLAY, ask_display},
    {GPU_D_RECOVERY, ask_recovery},
};

void nvml_details(struct nvml *nvml, const struct gpu_list *list, struct gpu_details *details)
{
	const struct functions *functions = nvml_functions(nvml);
	struct asked asked;

	if (!functions)
		return;
	asked.f = *functions;
	for (size_t i = 0; i < list->n; i++) {
		const struct gpu *gpu = &list->gpus[i];
		unsigned index = gpu->index < INSTANCES_PER_GPU
				     ? gpu->index
				     : gpu->index / INSTANCES_PER_GPU - 1;
		struct nvml_device *device = NULL;

		if (gpu->health == GPU_HEALTH_LOST || gpu->health == GPU_HEALTH_STALE ||
		    CALL2(&asked, handle_v2, handle, index, &device) != NVML_SUCCESS || !device)
			continue;
		for (size_t k = 0; k < ARRAY_LEN(questions); k++)
			if (questions[k].ask(&asked, device, &details[i]))
				details[i].valid |= questions[k].bit;
	}
}
