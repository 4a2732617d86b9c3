/*
 * The private table nvidia-smi asks for (sections 7 and 8 of NVIDIA's own Apache-2.0 mock describe
 * its slots). It wants one table by id; slots it calls but that need no answer say NOT_SUPPORTED.
 */
#include "sim/nvml_lib.h"

int nvmlInternalGetExportTable(const void **table, const void *id)
{
	if (nvml_stub() == NVML_UNINITIALIZED)
		return NVML_UNINITIALIZED;
	return NVML_NOT_SUPPORTED;
}
