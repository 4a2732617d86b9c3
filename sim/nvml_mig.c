/*
 * MIG: instances are devices of their own, found by walking the places of the parent. A place may
 * be empty: NOT_FOUND, and the walker goes on.
 */
#include "sim/nvml_lib.h"
#include "util/size.h"

#define COPY_ENGINES 2U

/* Only boards of the A100, A30 and H100 kind can be cut. */
static bool can_mig(const struct sim_gpu *gpu)
{
	return gpu->mig_mode || (gpu->cc_major == 8 && gpu->cc_minor == 0) || gpu->cc_major == 9 ||
	       gpu->cc_major == 10;
}

int nvmlDeviceGetMigMode(struct nvml_device *device, uint *current, uint *pending)
{
	CALL_BOARD_OR_RETURN(call, device);
	if (!current || !pending)
		return NVML_INVALID_ARGUMENT;
	if (!can_mig(call.gpu))
		return NVML_NOT_SUPPORTED;
	*current = *pending = call.gpu->mig_mode ? NVML_FEATURE_ON : NVML_FEATURE_OFF;
	return NVML_OK;
}

int nvmlDeviceGetMaxMigDeviceCount(struct nvml_device *device, uint *count)
{
	CALL_BOARD_OR_RETURN(call, device);
	if (!count)
		return NVML_INVALID_ARGUMENT;
	*count = can_mig(call.gpu) ? SIM_MIGS_MAX - 1 : 0;
	if (call.gpu->n_migs > *count)
		*count = call.gpu->n_migs;
	return NVML_OK;
}

int nvmlDeviceGetMigDeviceHandleByIndex(struct nvml_device *device, uint index,
					struct nvml_device **mig)
{
	CALL_BOARD_OR_RETURN(call, device);
	if (!mig || index >= SIM_MIGS_MAX)
		return NVML_INVALID_ARGUMENT;
	if (!call.gpu->mig_mode || index >= call.gpu->n_migs || !call.gpu->migs[index].there)
		return NVML_NOT_FOUND;
	*mig = nvml_handle(call.index, (int)index);
	return NVML_OK;
}

int nvmlDeviceGetDeviceHandleFromMigDeviceHandle(struct nvml_device *mig,
						 struct nvml_device **device)
{
	CALL_DEVICE_OR_RETURN(call, mig);
	if (!device || !call.mig)
		return NVML_INVALID_ARGUMENT;
	*device = nvml_handle(call.index, -1);
	return NVML_OK;
}

int nvmlDeviceIsMigDeviceHandle(struct nvml_device *device, uint *is_mig)
{
	CALL_DEVICE_OR_RETURN(call, device);
	if (!is_mig)
		return NVML_INVALID_ARGUMENT;
	*is_mig = call.mig != NULL;
	return NVML_OK;
}

int nvmlDeviceGetGpuInstanceId(struct nvml_device *device, uint *id)
{
	CALL_DEVICE_OR_RETURN(call, device);
	if (!id)
		return NVML_INVALID_ARGUMENT;
	if (!call.mig)
		return NVML_NOT_SUPPORTED;
	*id = call.mig->gpu_instance;
	return NVML_OK;
}

int nvmlDeviceGetComputeInstanceId(struct nvml_device *device, uint *id)
{
	CALL_DEVICE_OR_RETURN(call, device);
	if (!id)
		return NVML_INVALID_ARGUMENT;
	if (!call.mig)
		return NVML_NOT_SUPPORTED;
	*id = call.mig->compute_instance;
	return NVML_OK;
}

int nvmlDeviceGetAttributes_v2(struct nvml_device *device, struct nvml_attributes *attributes)
{
	CALL_DEVICE_OR_RETURN(call, device);
	if (!attributes)
		return NVML_INVALID_ARGUMENT;
	if (!call.mig)
		return NVML_NOT_SUPPORTED;
	*attributes = (struct nvml_attributes){.multiprocessors = call.mig->multiprocessors,
					       .copy_engines = COPY_ENGINES,
					       .gpu_instance_slices = call.mig->slices,
					       .compute_instance_slices = call.mig->slices,
					       .memory_mib = call.mig->total_bytes / MIB};
	return NVML_OK;
}
