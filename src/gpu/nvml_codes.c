/* Tables: code → name, code → state of the source with advice. See nvml_codes.h. */
#include "gpu/nvml_codes.h"

static const struct {
	int code;
	const char *name;
} names[] = {
    {0, "success"},
    {1, "not initialised"},
    {2, "invalid argument"},
    {3, "not supported"},
    {4, "no permission"},
    {5, "already initialised"},
    {6, "not found"},
    {7, "insufficient size"},
    {8, "external power cables are not attached"},
    {9, "driver not loaded"},
    {10, "time-out"},
    {11, "interrupt request issue"},
    {12, "NVML library not found"},
    {13, "function not found"},
    {14, "corrupted infoROM"},
    {15, "GPU is lost"},
    {16, "GPU requires reset"},
    {17, "blocked by the operating system"},
    {18, "driver/library version mismatch"},
    {19, "in use by another client"},
    {20, "out of memory"},
    {21, "no data"},
    {23, "insufficient resources"},
    {25, "argument version mismatch"},
    {26, "deprecated"},
    {27, "system not ready"},
    {28, "no GPU found"},
    {29, "invalid state"},
    {999, "unknown error"},
};

static const struct {
	int code;
	enum gpu_source_state state;
	const char *text;
} sources[] = {
    {NVML_DRIVER_NOT_LOADED, GPU_SOURCE_NO_DRIVER,
     "the NVIDIA driver is not loaded (NVML 9); load it with `modprobe nvidia`, and if that fails "
     "see `dmesg | grep -i nvrm`"},
    {NVML_LIBRARY_NOT_FOUND, GPU_SOURCE_NO_LIBRARY,
     "a library of the NVIDIA driver is missing (NVML 12); install the driver again, in a "
     "container "
     "start it with `--gpus all` and NVIDIA_DRIVER_CAPABILITIES=compute,utility"},
    {NVML_NO_PERMISSION, GPU_SOURCE_ERROR,
     "no permission to use the NVIDIA driver (NVML 4); see `ls -l /dev/nvidia*` and the groups of "
     "this user"},
    {NVML_OPERATING_SYSTEM, GPU_SOURCE_ERROR,
     "the operating system blocks the NVIDIA driver (NVML 17); in a container or unit allow the "
     "/dev/nvidia* devices (`--gpus all`, DeviceAllow=)"},
    {28, GPU_SOURCE_NO_GPUS, "the NVIDIA driver finds no GPU it supports (NVML 28)"},
};

/* "GPU is lost"; "error 77" for a number nobody has named. */
static const char *nvml_code_name(int code, char buf[32])
{
	for (size_t i = 0; i < ARRAY_LEN(names); i++) {
		if (names[i].code == code)
			return names[i].name;
	}
	(void)snprintf(buf, 32, "error %d", code);
	return buf;
}

bool nvml_code_ends_session(int code)
{
	return code == NVML_UNINITIALIZED || code == NVML_DRIVER_NOT_LOADED ||
	       code == NVML_MISMATCH || code == NVML_LIBRARY_NOT_FOUND;
}

static void describe_mismatch(const char *library_version, const char *module_version,
			      struct gpu_list *list)
{
	list->state = GPU_SOURCE_MISMATCH;
	(void)snprintf(list->text, sizeof list->text,
		       "driver/library version mismatch (NVML 18): kernel module %s, NVML library "
		       "%s. What runs on the GPUs goes on, nothing new can start. Reboot; or stop "
		       "all users of /dev/nvidia* and `rmmod nvidia_drm nvidia_modeset nvidia_uvm "
		       "nvidia`",
		       module_version[0] ? module_version : "unknown",
		       library_version[0] ? library_version : "unknown");
}

void nvml_code_describe_source(int code, const char *library_version, const char *module_version,
			       struct gpu_list *list)
{
	char buf[32];

	if (code == NVML_MISMATCH) {
		describe_mismatch(library_version, module_version, list);
		return;
	}
	for (size_t i = 0; i < ARRAY_LEN(sources); i++) {
		if (sources[i].code == code) {
			list->state = sources[i].state;
			(void)snprintf(list->text, sizeof list->text, "%s", sources[i].text);
			return;
		}
	}
	list->state = GPU_SOURCE_ERROR;
	(void)snprintf(list->text, sizeof list->text,
		       "NVML cannot be initialised: %s (NVML %d); see `dmesg | grep -i nvrm`, a "
		       "reboot often helps",
		       nvml_code_name(code, buf), code);
}

enum gpu_health nvml_code_health(int code, bool identity)
{
	switch (code) {
	case NVML_GPU_IS_LOST:
		return GPU_HEALTH_LOST;
	case NVML_RESET_REQUIRED:
		return GPU_HEALTH_NEEDS_RESET;
	case NVML_UNKNOWN:
		return identity ? GPU_HEALTH_LOST : GPU_HEALTH_ERROR;
	case NVML_TIMEOUT:
	case NVML_IRQ_ISSUE:
	case 8: /* power cables */
		return GPU_HEALTH_ERROR;
	default:
		/* No handle or no name: nothing can be said of the GPU or started on it. */
		return code == NVML_SUCCESS || !identity ? GPU_HEALTH_OK : GPU_HEALTH_ERROR;
	}
}

void nvml_code_describe_gpu(int code, const char *call, struct gpu *gpu)
{
	const char *advice = "see `dmesg | grep -i nvrm`";
	char buf[32];

	if (gpu->health == GPU_HEALTH_LOST)
		advice = "it fell off the bus: reboot, look at `dmesg | grep Xid`";
	else if (gpu->health == GPU_HEALTH_NEEDS_RESET)
		advice = "end its processes, then `nvidia-smi --gpu-reset` or reboot";
	else if (code == NVML_NO_PERMISSION)
		advice = "see `ls -l /dev/nvidia*`";
	(void)snprintf(gpu->health_text, sizeof gpu->health_text, "%s (NVML %d, %s); %s",
		       nvml_code_name(code, buf), code, call, advice);
}

enum gpu_link nvml_code_link(unsigned level)
{
	static const enum gpu_link links[] = {GPU_LINK_BOARD,    GPU_LINK_SWITCH,
					      GPU_LINK_SWITCHES, GPU_LINK_HOST_BRIDGE,
					      GPU_LINK_NODE,     GPU_LINK_SYSTEM};

	return level % 10 == 0 && level / 10 < ARRAY_LEN(links) ? links[level / 10]
								: GPU_LINK_UNKNOWN;
}
