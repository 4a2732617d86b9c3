/*
 * How GPUs reach each other. A GPU has one NVLink for each GPU it is linked to so, in the order of
 * their indices, and one to the NVSwitch when it has one; GPUs with NVLink between them meet, by
 * PCIe, in the host bridge.
 */
#include "sim/nvml_lib.h"

#include <stdio.h>

#define LINKS_MAX      18
#define TYPE_GPU       0
#define TYPE_SWITCH    2
#define SWITCH_PCI_BUS 0xf0
#define TO_SWITCH      (-1)
#define TO_NOTHING     (-2)

/* Where a link of a GPU leads: the index of a GPU, TO_SWITCH or TO_NOTHING. */
static int link_end(const struct nvml_call *call, uint link)
{
	const uint8_t *links = call->state->links[call->index];
	bool to_switch = false;
	uint n = 0;

	for (uint i = 0; i < call->state->n_gpus; i++) {
		if (links[i] == SIM_LINK_NVLINK && n++ == link)
			return (int)i;
		to_switch |= links[i] == SIM_LINK_NVSWITCH;
	}
	return to_switch && n == link ? TO_SWITCH : TO_NOTHING;
}

/* Enter done: what a call about a link answers before it looks at it. */
static int check_link(const struct nvml_call *call, uint link, const void *output)
{
	if (!output || link >= LINKS_MAX)
		return NVML_INVALID_ARGUMENT;
	return link_end(call, 0) == TO_NOTHING ? NVML_NOT_SUPPORTED : NVML_OK;
}

int nvmlDeviceGetTopologyCommonAncestor(struct nvml_device *device, struct nvml_device *other,
					uint *level)
{
	static const uint levels[SIM_LINK_COUNT] = {
	    [SIM_LINK_BOARD] = 0,   [SIM_LINK_NVLINK] = 30,   [SIM_LINK_NVSWITCH] = 30,
	    [SIM_LINK_SWITCH] = 10, [SIM_LINK_SWITCHES] = 20, [SIM_LINK_HOST_BRIDGE] = 30,
	    [SIM_LINK_NODE] = 40,   [SIM_LINK_SYSTEM] = 50,
	};
	int mig_index, index = nvml_handle_decode(other, &mig_index);
	uint8_t link;

	CALL_BOARD_OR_RETURN(call, device);
	if (!level || index < 0 || (uint)index >= call.state->n_gpus || index == call.index)
		return NVML_INVALID_ARGUMENT;
	link = call.state->links[call.index][index];
	if (link == SIM_LINK_UNKNOWN)
		return NVML_NOT_SUPPORTED;
	*level = levels[link];
	return NVML_OK;
}

int nvmlDeviceGetNvLinkState(struct nvml_device *device, uint link, uint *active)
{
	int code;

	CALL_BOARD_OR_RETURN(call, device);
	code = check_link(&call, link, active);
	if (code == NVML_OK)
		*active = link_end(&call, link) != TO_NOTHING;
	return code;
}

int nvmlDeviceGetNvLinkRemoteDeviceType(struct nvml_device *device, uint link, uint *type)
{
	int code, end;

	CALL_BOARD_OR_RETURN(call, device);
	code = check_link(&call, link, type);
	end = link_end(&call, link);
	if (code == NVML_OK && end == TO_NOTHING)
		code = NVML_NOT_SUPPORTED;
	if (code == NVML_OK)
		*type = end == TO_SWITCH ? TYPE_SWITCH : TYPE_GPU;
	return code;
}

int nvmlDeviceGetNvLinkRemotePciInfo_v2(struct nvml_device *device, uint link, struct nvml_pci *pci)
{
	int code, end;

	CALL_BOARD_OR_RETURN(call, device);
	code = check_link(&call, link, pci);
	end = link_end(&call, link);
	if (code == NVML_OK && end == TO_NOTHING)
		code = NVML_NOT_SUPPORTED;
	if (code != NVML_OK)
		return code;
	*pci = (struct nvml_pci){.bus = SWITCH_PCI_BUS};
	if (end != TO_SWITCH) {
		const struct sim_gpu *gpu = &call.state->gpus[end];

		*pci = (struct nvml_pci){.domain = gpu->pci_domain,
					 .bus = gpu->pci_bus,
					 .device = gpu->pci_device,
					 .device_id = gpu->pci_id};
	}
	(void)snprintf(pci->bus_id, sizeof pci->bus_id, "%08X:%02X:%02X.0", pci->domain,
		       pci->bus & 0xff, pci->device & 0xff);
	return NVML_OK;
}
