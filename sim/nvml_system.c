/* Calls about the driver and the library itself. */
#include "sim/nvml_lib.h"
#include "util/file.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#define NVML_VERSION_OUTSIDE "12.550.163.01" /* asked without a simulation */

static const char *const error_texts[] = {
    "Success",
    "Uninitialized",
    "Invalid Argument",
    "Not Supported",
    "Insufficient Permissions",
    "Already Initialized",
    "Not Found",
    "Insufficient Size",
    "Insufficient External Power",
    "Driver Not Loaded",
    "Timeout",
    "Interrupt Request Issue",
    "NVML Shared Library Not Found",
    "Function Not Found",
    "Corrupted infoROM",
    "GPU is lost",
    "GPU requires reset",
    "GPU access blocked by the operating system",
    "Driver/library version mismatch",
    "In use by another client",
    "Insufficient Memory",
    "No data",
    "vGPU ECC not supported",
    "Insufficient Resources",
    "Invalid Frequency",
    "Argument version mismatch",
    "Requested functionality has been deprecated",
    "System is not in ready state",
    "No supported GPUs were found",
    "Resource not in correct state to perform requested operation",
};

const char *nvmlErrorString(int code)
{
	return code >= 0 && code < (int)ARRAY_LEN(error_texts) ? error_texts[code]
							       : "Unknown Error";
}

int nvmlSystemGetDriverVersion(char *version, uint size)
{
	CALL_SYSTEM_OR_RETURN(call);
	return nvml_copy(version, size, call.state->driver_version);
}

/* Answers without a session, like the real one: "<CUDA major>.<driver version>". */
int nvmlSystemGetNVMLVersion(char *version, uint size)
{
	struct sim_state *state = nvml_state();
	char text[96];

	if (!state)
		return nvml_copy(version, size, NVML_VERSION_OUTSIDE);
	if (state->nvml_version[0])
		return nvml_copy(version, size, state->nvml_version);
	(void)snprintf(text, sizeof text, "%d.%s", state->cuda_version / 1000,
		       state->driver_version);
	return nvml_copy(version, size, text);
}

int nvmlSystemGetCudaDriverVersion(int *version)
{
	CALL_SYSTEM_OR_RETURN(call);
	if (!version)
		return NVML_INVALID_ARGUMENT;
	*version = call.state->cuda_version;
	return NVML_OK;
}

int nvmlSystemGetCudaDriverVersion_v2(int *version)
{
	return nvmlSystemGetCudaDriverVersion(version);
}

int nvmlSystemGetProcessName(uint pid, char *name, uint size)
{
	char path[64], text[256];

	CALL_SYSTEM_OR_RETURN(call);
	for (uint32_t i = 0; i < call.state->procs_end; i++)
		if (call.state->procs[i].pid == (int32_t)pid && call.state->procs[i].name[0])
			return nvml_copy(name, size, call.state->procs[i].name);
	(void)snprintf(path, sizeof path, "/proc/%u/cmdline", pid);
	if (file_read_small(path, text, sizeof text) < 0)
		return NVML_NOT_FOUND;
	return nvml_copy(name, size, text);
}
