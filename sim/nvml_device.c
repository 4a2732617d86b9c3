/*
 * Which devices there are, and what they are. The list is that of the scenario in PCI order; a GPU
 * that was lost leaves it in one of the ways seen in the field (enum sim_listing).
 */
#include "sim/nvml_lib.h"

#include <stdio.h>
#include <string.h>
#include <strings.h>
#include <unistd.h>

static bool is_listed(const struct sim_gpu *gpu)
{
	return !(gpu->lost && gpu->lost_listing == SIM_LISTING_RENUMBER);
}

/* The GPU an index means now; -1: none. */
static int at_index(const struct sim_state *state, uint index)
{
	for (uint32_t i = 0; i < state->n_gpus; i++)
		if (is_listed(&state->gpus[i]) && index-- == 0)
			return (int)i;
	return -1;
}

int nvmlDeviceGetCount_v2(uint *count)
{
	CALL_SYSTEM_OR_RETURN(call);
	if (!count)
		return NVML_INVALID_ARGUMENT;
	*count = 0;
	for (uint32_t i = 0; i < call.state->n_gpus; i++)
		if (!call.state->gpus[i].lost ||
		    call.state->gpus[i].lost_listing == SIM_LISTING_KEEP)
			(*count)++;
	return NVML_OK;
}

int nvmlDeviceGetCount(uint *count)
{
	return nvmlDeviceGetCount_v2(count);
}

/* What asking for the handle of a GPU answers. */
static int give_handle(struct nvml_call *call, int index, struct nvml_device **device)
{
	const struct sim_gpu *gpu = &call->state->gpus[index];

	nvml_call_suffer(call, gpu);
	if (gpu->lost)
		return gpu->lost_code;
	if (gpu->handle_error)
		return gpu->handle_error;
	*device = nvml_handle(index, -1);
	return NVML_OK;
}

int nvmlDeviceGetHandleByIndex_v2(uint index, struct nvml_device **device)
{
	int place;

	CALL_SYSTEM_OR_RETURN(call);
	place = at_index(call.state, index);
	if (place < 0 || !device)
		return NVML_INVALID_ARGUMENT;
	return give_handle(&call, place, device);
}

int nvmlDeviceGetHandleByIndex(uint index, struct nvml_device **device)
{
	return nvmlDeviceGetHandleByIndex_v2(index, device);
}

int nvmlDeviceGetHandleByUUID(const char *uuid, struct nvml_device **device)
{
	CALL_SYSTEM_OR_RETURN(call);
	if (!uuid || !device)
		return NVML_INVALID_ARGUMENT;
	for (uint32_t i = 0; i < call.state->n_gpus; i++) {
		const struct sim_gpu *gpu = &call.state->gpus[i];

		if (is_listed(gpu) && strcmp(gpu->uuid, uuid) == 0)
			return give_handle(&call, (int)i, device);
		for (uint32_t m = 0; m < gpu->n_migs; m++) {
			if (!gpu->migs[m].there || strcmp(gpu->migs[m].uuid, uuid) != 0)
				continue;
			*device = nvml_handle((int)i, (int)m);
			return NVML_OK;
		}
	}
	return NVML_NOT_FOUND;
}

int nvmlDeviceGetHandleBySerial(const char *serial, struct nvml_device **device)
{
	CALL_SYSTEM_OR_RETURN(call);
	if (!serial || !device)
		return NVML_INVALID_ARGUMENT;
	for (uint32_t i = 0; i < call.state->n_gpus; i++)
		if (call.state->gpus[i].serial[0] &&
		    strcmp(call.state->gpus[i].serial, serial) == 0)
			return give_handle(&call, (int)i, device);
	return NVML_NOT_FOUND;
}

int nvmlDeviceGetHandleByPciBusId_v2(const char *id, struct nvml_device **device)
{
	unsigned domain, bus, number;

	CALL_SYSTEM_OR_RETURN(call);
	if (!id || !device || sscanf(id, "%8x:%2x:%2x.0", &domain, &bus, &number) != 3)
		return NVML_INVALID_ARGUMENT;
	for (uint32_t i = 0; i < call.state->n_gpus; i++) {
		const struct sim_gpu *gpu = &call.state->gpus[i];

		if (gpu->pci_domain == domain && gpu->pci_bus == bus && gpu->pci_device == number)
			return give_handle(&call, (int)i, device);
	}
	return NVML_NOT_FOUND;
}

int nvmlDeviceGetHandleByPciBusId(const char *id, struct nvml_device **device)
{
	return nvmlDeviceGetHandleByPciBusId_v2(id, device);
}

int nvmlDeviceGetIndex(struct nvml_device *device, uint *index)
{
	CALL_DEVICE_OR_RETURN(call, device);
	if (!index)
		return NVML_INVALID_ARGUMENT;
	*index = 0;
	if (call.mig) {
		*index = (uint)call.mig_index;
		return NVML_OK;
	}
	for (int i = 0; i < call.index; i++)
		*index += is_listed(&call.state->gpus[i]);
	return NVML_OK;
}

int nvmlDeviceGetName(struct nvml_device *device, char *name, uint size)
{
	CALL_DEVICE_OR_RETURN(call, device);
	return nvml_copy(name, size, call.mig ? call.mig->name : call.gpu->name);
}

int nvmlDeviceGetUUID(struct nvml_device *device, char *uuid, uint size)
{
	CALL_DEVICE_OR_RETURN(call, device);
	return nvml_copy(uuid, size, call.mig ? call.mig->uuid : call.gpu->uuid);
}

int nvmlDeviceGetSerial(struct nvml_device *device, char *serial, uint size)
{
	CALL_BOARD_OR_RETURN(call, device);
	if (!call.gpu->serial[0])
		return NVML_NOT_SUPPORTED; /* boards of the GeForce line report none */
	return nvml_copy(serial, size, call.gpu->serial);
}

int nvmlDeviceGetMinorNumber(struct nvml_device *device, uint *minor)
{
	CALL_BOARD_OR_RETURN(call, device);
	if (!minor)
		return NVML_INVALID_ARGUMENT;
	*minor = call.gpu->minor;
	return NVML_OK;
}

int nvmlDeviceGetPciInfo_v3(struct nvml_device *device, struct nvml_pci *pci)
{
	CALL_DEVICE_OR_RETURN(call, device);
	if (!pci)
		return NVML_INVALID_ARGUMENT;
	*pci = (struct nvml_pci){.domain = call.gpu->pci_domain,
				 .bus = call.gpu->pci_bus,
				 .device = call.gpu->pci_device,
				 .device_id = call.gpu->pci_id,
				 .subsystem_id = call.gpu->pci_id};
	(void)snprintf(pci->bus_id, sizeof pci->bus_id, "%08X:%02X:%02X.0", pci->domain,
		       pci->bus & 0xff, pci->device & 0xff);
	(void)snprintf(pci->bus_id_legacy, sizeof pci->bus_id_legacy, "%04X:%02X:%02X.0",
		       pci->domain & 0xffff, pci->bus & 0xff, pci->device & 0xff);
	return NVML_OK;
}

static int pci_old(struct nvml_device *device, struct nvml_pci_v2 *ret_pci)
{
	struct nvml_pci pci;
	int code = nvmlDeviceGetPciInfo_v3(device, &pci);

	if (code != NVML_OK)
		return code;
	*ret_pci = (struct nvml_pci_v2){.domain = pci.domain,
					.bus = pci.bus,
					.device = pci.device,
					.device_id = pci.device_id,
					.subsystem_id = pci.subsystem_id};
	memcpy(ret_pci->bus_id, pci.bus_id_legacy, sizeof ret_pci->bus_id);
	return NVML_OK;
}

int nvmlDeviceGetPciInfo(struct nvml_device *device, struct nvml_pci_v2 *pci)
{
	struct nvml_pci_v2 all;
	int code = pci ? pci_old(device, &all) : NVML_INVALID_ARGUMENT;

	if (code == NVML_OK) /* the caller's struct may end before the subsystem */
		memcpy(pci, &all, offsetof(struct nvml_pci_v2, subsystem_id));
	return code;
}

int nvmlDeviceGetPciInfo_v2(struct nvml_device *device, struct nvml_pci_v2 *pci)
{
	return pci ? pci_old(device, pci) : NVML_INVALID_ARGUMENT;
}

int nvmlDeviceGetCudaComputeCapability(struct nvml_device *device, int *major, int *minor)
{
	CALL_DEVICE_OR_RETURN(call, device);
	if (!major || !minor)
		return NVML_INVALID_ARGUMENT;
	*major = (int)call.gpu->cc_major;
	*minor = (int)call.gpu->cc_minor;
	return NVML_OK;
}

int nvmlDeviceGetCpuAffinity(struct nvml_device *device, uint words, unsigned long *set)
{
	long cpus = sysconf(_SC_NPROCESSORS_CONF);
	unsigned bits = 8 * sizeof *set;

	CALL_BOARD_OR_RETURN(call, device);
	if (!set || words == 0)
		return NVML_INVALID_ARGUMENT;
	memset(set, 0, words * sizeof *set);
	for (unsigned cpu = 0; cpu < (unsigned)MAX_OF(cpus, 1L) && cpu < words * bits; cpu++)
		set[cpu / bits] |= 1UL << cpu % bits;
	return NVML_OK;
}

/* A fact of every simulated board that no scenario changes. */
static int constant(struct nvml_device *device, const char *function, uint value, uint *to)
{
	CALL_OR_RETURN(call, nvml_call_board(&call, device, function));
	if (!to)
		return NVML_INVALID_ARGUMENT;
	*to = value;
	return NVML_OK;
}

int nvmlDeviceGetComputeMode(struct nvml_device *device, uint *mode)
{
	CALL_BOARD_OR_RETURN(call, device);
	if (!mode)
		return NVML_INVALID_ARGUMENT;
	*mode = call.gpu->condition.compute_mode;
	return NVML_OK;
}

int nvmlDeviceGetPersistenceMode(struct nvml_device *device, uint *mode)
{
	CALL_BOARD_OR_RETURN(call, device);
	if (!mode)
		return NVML_INVALID_ARGUMENT;
	*mode = call.gpu->condition.no_persistence ? NVML_FEATURE_OFF : NVML_FEATURE_ON;
	return NVML_OK;
}

int nvmlDeviceGetVirtualizationMode(struct nvml_device *device, uint *mode)
{
	return constant(device, __func__, 0, mode); /* none */
}

int nvmlDeviceGetDisplayActive(struct nvml_device *device, uint *active)
{
	CALL_BOARD_OR_RETURN(call, device);
	if (!active)
		return NVML_INVALID_ARGUMENT;
	*active = call.gpu->display;
	return NVML_OK;
}

int nvmlDeviceGetDriverModel(struct nvml_device *device, uint *current, uint *pending)
{
	CALL_BOARD_OR_RETURN(call, device);
	return NVML_NOT_SUPPORTED; /* Windows only */
}

int nvmlDeviceGetEccMode(struct nvml_device *device, uint *current, uint *pending)
{
	CALL_BOARD_OR_RETURN(call, device);
	if (!current || !pending)
		return NVML_INVALID_ARGUMENT;
	if (!call.gpu->ecc)
		return NVML_NOT_SUPPORTED;
	*current = *pending = NVML_FEATURE_ON;
	return NVML_OK;
}

int nvmlDeviceGetTotalEccErrors(struct nvml_device *device, uint kind, uint counter,
				unsigned long long *count)
{
	CALL_BOARD_OR_RETURN(call, device);
	if (!count || kind > 1 || counter > 1)
		return NVML_INVALID_ARGUMENT;
	if (!call.gpu->ecc)
		return NVML_NOT_SUPPORTED;
	*count = kind == 1 ? call.gpu->condition.ecc_errors : 0;
	return NVML_OK;
}

int nvmlDeviceGetRemappedRows(struct nvml_device *device, uint *correctable, uint *uncorrectable,
			      uint *pending, uint *failed)
{
	const struct sim_condition *condition;

	CALL_BOARD_OR_RETURN(call, device);
	if (!correctable || !uncorrectable || !pending || !failed)
		return NVML_INVALID_ARGUMENT;
	if (!call.gpu->ecc)
		return NVML_NOT_SUPPORTED;
	condition = &call.gpu->condition;
	*correctable = 0;
	*uncorrectable = condition->remapped;
	*pending = condition->remap_pending;
	*failed = condition->remap_failed;
	return NVML_OK;
}

int nvmlDeviceValidateInforom(struct nvml_device *device)
{
	CALL_BOARD_OR_RETURN(call, device);
	return NVML_OK;
}

int nvmlDeviceGetArchitecture(struct nvml_device *device, uint *architecture)
{
	static const struct {
		uint32_t major, minor_from;
		uint architecture;
	} known[] = {{12, 0, 10}, {10, 0, 10}, {9, 0, 9}, {8, 9, 8}, {8, 0, 7},
		     {7, 5, 6},   {7, 0, 5},   {6, 0, 4}, {5, 0, 3}, {3, 0, 2}};

	CALL_DEVICE_OR_RETURN(call, device);
	if (!architecture)
		return NVML_INVALID_ARGUMENT;
	*architecture = NVML_ID_NONE;
	for (size_t i = 0; i < ARRAY_LEN(known); i++)
		if (call.gpu->cc_major == known[i].major &&
		    call.gpu->cc_minor >= known[i].minor_from) {
			*architecture = known[i].architecture;
			break;
		}
	return NVML_OK;
}

int nvmlDeviceGetBrand(struct nvml_device *device, uint *brand)
{
	static const struct {
		const char *word;
		uint brand;
	} words[] = {
	    {"GeForce RTX", 15}, {"GeForce", 5}, {"Tesla", 2}, {"NVIDIA RTX", 13}, {"NVIDIA", 14}};

	CALL_DEVICE_OR_RETURN(call, device);
	if (!brand)
		return NVML_INVALID_ARGUMENT;
	*brand = 0;
	for (size_t i = 0; i < ARRAY_LEN(words); i++)
		if (strstr(call.gpu->name, words[i].word)) {
			*brand = words[i].brand;
			break;
		}
	return NVML_OK;
}

int nvmlDeviceGetNumGpuCores(struct nvml_device *device, uint *cores)
{
	CALL_BOARD_OR_RETURN(call, device);
	if (!cores)
		return NVML_INVALID_ARGUMENT;
	*cores = call.gpu->cores;
	return NVML_OK;
}

int nvmlDeviceGetMemoryBusWidth(struct nvml_device *device, uint *bits)
{
	CALL_BOARD_OR_RETURN(call, device);
	if (!bits)
		return NVML_INVALID_ARGUMENT;
	*bits = call.gpu->bus_width_bits;
	return NVML_OK;
}
