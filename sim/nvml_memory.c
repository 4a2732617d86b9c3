/*
 * Memory. The first call counts what the driver reserved as used; the second tells it apart and
 * wants its version word right: the number 2 alone is refused with FUNCTION_NOT_FOUND.
 */
#include "sim/nvml_lib.h"
#include "util/size.h"

#define BAR1_BYTES (256 * MIB)

struct figures {
	uint64_t total, reserved, used;
};

static int figures_read(const struct nvml_call *call, struct figures *ret_figures)
{
	if (call->gpu->quirks & SIM_QUIRK_MEMORY_UNSUPPORTED)
		return NVML_NOT_SUPPORTED;
	*ret_figures = (struct figures){};
	if (call->gpu->quirks & SIM_QUIRK_MEMORY_ZERO)
		return NVML_OK;
	ret_figures->total = call->mig ? call->mig->total_bytes : call->gpu->total_bytes;
	ret_figures->reserved = call->mig ? 0 : call->gpu->reserved_bytes;
	ret_figures->used = state_used_bytes(call->state, call->index, call->mig_index);
	return NVML_OK;
}

int nvmlDeviceGetMemoryInfo(struct nvml_device *device, struct nvml_memory *memory)
{
	struct figures figures;
	int code;

	CALL_DEVICE_OR_RETURN(call, device);
	if (!memory)
		return NVML_INVALID_ARGUMENT;
	code = figures_read(&call, &figures);
	if (code != NVML_OK)
		return code;
	memory->total = figures.total;
	memory->used = figures.used + figures.reserved;
	memory->free = figures.total - memory->used;
	return NVML_OK;
}

int nvmlDeviceGetMemoryInfo_v2(struct nvml_device *device, struct nvml_memory_v2 *memory)
{
	struct figures figures;
	int code;

	CALL_DEVICE_OR_RETURN(call, device);
	if (!memory)
		return NVML_INVALID_ARGUMENT;
	if (call.state->memory_v2 == SIM_MEMORY_V2_REFUSED)
		return NVML_FUNCTION_NOT_FOUND;
	if (memory->version != NVML_MEMORY_V2 &&
	    !(call.state->memory_v2 == SIM_MEMORY_V2_LENIENT && memory->version == 2))
		return NVML_FUNCTION_NOT_FOUND;
	code = figures_read(&call, &figures);
	if (code != NVML_OK)
		return code;
	memory->total = figures.total;
	memory->reserved = figures.reserved;
	memory->used = figures.used;
	memory->free = figures.total - figures.reserved - figures.used;
	return NVML_OK;
}

int nvmlDeviceGetBAR1MemoryInfo(struct nvml_device *device, struct nvml_memory *memory)
{
	CALL_DEVICE_OR_RETURN(call, device);
	if (!memory)
		return NVML_INVALID_ARGUMENT;
	*memory = (struct nvml_memory){
	    .total = BAR1_BYTES, .used = 2 * MIB, .free = BAR1_BYTES - 2 * MIB};
	return NVML_OK;
}

int nvmlDeviceGetConfComputeMemSizeInfo(struct nvml_device *device,
					struct nvml_conf_compute_memory *memory)
{
	CALL_DEVICE_OR_RETURN(call, device);
	if (!memory)
		return NVML_INVALID_ARGUMENT;
	*memory = (struct nvml_conf_compute_memory){.unprotected_kib = call.gpu->total_bytes / KIB};
	return NVML_OK;
}
