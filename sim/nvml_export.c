/*
 * nvidia-smi asks here for a table of private functions. The simulator has none, so nvidia-smi, and
 * it alone, says that its version does not match the library's; public clients never call this.
 */
#include "sim/nvml_lib.h"

int nvmlInternalGetExportTable(const void **table, const void *id)
{
	return nvml_stub();
}
