/* GetFieldValues: a row a field; the others answer NOT_SUPPORTED in their own entry. */
#include "sim/nvml_lib.h"
#include "sim/timeline.h"

#include <time.h>

enum {
	FIELD_ECC_DOUBLE_VOLATILE = 4,
	FIELD_ECC_DOUBLE_AGGREGATE = 6,
	FIELD_ENERGY = 83,
	FIELD_PCIE_REPLAY = 94,
	FIELD_REMAPPED_CORRECTABLE = 142,
	FIELD_REMAPPED_UNCORRECTABLE = 143,
	FIELD_REMAPPED_PENDING = 144,
	FIELD_REMAPPED_FAILURE = 145,
	FIELD_POWER_AVERAGE = 185,
	FIELD_POWER_INSTANT = 186,
	FIELD_RECOVERY = 230,
};

static int64_t now_us(void)
{
	struct timespec now;

	(void)clock_gettime(CLOCK_REALTIME, &now);
	return now.tv_sec * 1000000LL + now.tv_nsec / 1000;
}

static uint64_t memory_fault(const struct sim_condition *condition, unsigned field)
{
	switch (field) {
	case FIELD_ECC_DOUBLE_VOLATILE:
	case FIELD_ECC_DOUBLE_AGGREGATE:
		return condition->ecc_errors;
	case FIELD_REMAPPED_UNCORRECTABLE:
		return condition->remapped;
	case FIELD_REMAPPED_PENDING:
		return condition->remap_pending;
	case FIELD_REMAPPED_FAILURE:
		return condition->remap_failed;
	default:
		return 0;
	}
}

static void read_field(const struct nvml_call *call, struct nvml_field_value *value)
{
	value->time_us = now_us();
	value->latency_us = 0;
	value->code = NVML_OK;
	switch (value->field) {
	case FIELD_ENERGY:
		value->type = NVML_VALUE_U64;
		value->value.u64 = (uint64_t)call->gpu->energy_mj;
		break;
	case FIELD_POWER_AVERAGE:
	case FIELD_POWER_INSTANT:
		value->type = NVML_VALUE_U32;
		value->value.u32 = timeline_power_mw(call->state, call->gpu);
		break;
	case FIELD_PCIE_REPLAY:
		value->type = NVML_VALUE_U32;
		value->value.u32 = 0;
		break;
	case FIELD_RECOVERY:
		value->type = NVML_VALUE_U32;
		value->value.u32 = call->gpu->condition.recovery;
		break;
	case FIELD_ECC_DOUBLE_VOLATILE:
	case FIELD_ECC_DOUBLE_AGGREGATE:
	case FIELD_REMAPPED_CORRECTABLE:
	case FIELD_REMAPPED_UNCORRECTABLE:
	case FIELD_REMAPPED_PENDING:
	case FIELD_REMAPPED_FAILURE:
		value->type = NVML_VALUE_U64;
		value->value.u64 = memory_fault(&call->gpu->condition, value->field);
		value->code = call->gpu->ecc ? NVML_OK : NVML_NOT_SUPPORTED;
		break;
	default:
		value->code = NVML_NOT_SUPPORTED;
		break;
	}
}

int nvmlDeviceGetFieldValues(struct nvml_device *device, int count, struct nvml_field_value *values)
{
	CALL_BOARD_OR_RETURN(call, device);
	if (!values || count < 0)
		return NVML_INVALID_ARGUMENT;
	for (int i = 0; i < count; i++)
		read_field(&call, &values[i]);
	return NVML_OK;
}
