/*
 * Load, temperature, power, clocks, PCIe. What no event of the scenario sets follows from the load
 * (timeline.h); clocks fall to an idle step when nothing runs.
 */
#include "sim/nvml_lib.h"
#include "sim/timeline.h"

#include <string.h>

#define IDLE_MHZ          210U
#define IDLE_MEMORY_MHZ   405U
#define SHUTDOWN_C        100U
#define SLOWDOWN_C        95U
#define GPU_MAX_C         93U
#define SAMPLE_PERIOD_US  166667U /* 1/6 s */
#define REASON_IDLE       0x1ULL
#define REASON_POWER_CAP  0x4ULL
#define REASONS_SUPPORTED 0x1ffULL
#define CLOCK_STEP_MHZ    15U
#define PCIE_IDLE_GEN     1U

/* Enter on a board, check the output, and hand out one number. */
#define BOARD_NUMBER(device, to, expression)          \
	do {                                          \
		CALL_BOARD_OR_RETURN(call, device);   \
		if (!(to))                            \
			return NVML_INVALID_ARGUMENT; \
		*(to) = (expression);                 \
		return NVML_OK;                       \
	} while (0)

static uint busy(const struct nvml_call *call)
{
	return timeline_busy_percent(call->state, call->gpu);
}

int nvmlDeviceGetUtilizationRates(struct nvml_device *device, struct nvml_utilization *utilization)
{
	CALL_BOARD_OR_RETURN(call, device);
	if (!utilization)
		return NVML_INVALID_ARGUMENT;
	if (call.gpu->mig_mode)
		return NVML_NOT_SUPPORTED;
	utilization->gpu = busy(&call);
	utilization->memory = busy(&call) / 2;
	return NVML_OK;
}

static int codec_percent(struct nvml_device *device, const char *function, uint *percent,
			 uint *period_us)
{
	CALL_OR_RETURN(call, nvml_call_board(&call, device, function));
	if (!percent || !period_us)
		return NVML_INVALID_ARGUMENT;
	*percent = 0;
	*period_us = SAMPLE_PERIOD_US;
	return NVML_OK;
}

int nvmlDeviceGetEncoderUtilization(struct nvml_device *device, uint *percent, uint *period_us)
{
	return codec_percent(device, __func__, percent, period_us);
}

int nvmlDeviceGetDecoderUtilization(struct nvml_device *device, uint *percent, uint *period_us)
{
	return codec_percent(device, __func__, percent, period_us);
}

int nvmlDeviceGetTemperature(struct nvml_device *device, uint sensor, uint *celsius)
{
	if (sensor != 0)
		return NVML_INVALID_ARGUMENT;
	BOARD_NUMBER(device, celsius, timeline_temperature_c(call.state, call.gpu));
}

int nvmlDeviceGetTemperatureV(struct nvml_device *device, struct nvml_temperature *temperature)
{
	CALL_BOARD_OR_RETURN(call, device);
	if (!temperature || temperature->sensor != 0)
		return NVML_INVALID_ARGUMENT;
	if (temperature->version != NVML_TEMPERATURE_V1)
		return NVML_ARGUMENT_VERSION_MISMATCH;
	temperature->celsius = (int32_t)timeline_temperature_c(call.state, call.gpu);
	return NVML_OK;
}

int nvmlDeviceGetTemperatureThreshold(struct nvml_device *device, uint which, uint *celsius)
{
	static const uint thresholds[] = {[NVML_THRESHOLD_SHUTDOWN] = SHUTDOWN_C,
					  [NVML_THRESHOLD_SLOWDOWN] = SLOWDOWN_C,
					  [NVML_THRESHOLD_MEMORY_MAX] = 0,
					  [NVML_THRESHOLD_GPU_MAX] = GPU_MAX_C};

	CALL_BOARD_OR_RETURN(call, device);
	if (!celsius)
		return NVML_INVALID_ARGUMENT;
	if (which >= ARRAY_LEN(thresholds) || thresholds[which] == 0)
		return NVML_NOT_SUPPORTED;
	*celsius = thresholds[which];
	return NVML_OK;
}

int nvmlDeviceGetFanSpeed(struct nvml_device *device, uint *percent)
{
	CALL_BOARD_OR_RETURN(call, device);
	if (!percent)
		return NVML_INVALID_ARGUMENT;
	if (!call.gpu->has_fan)
		return NVML_NOT_SUPPORTED;
	*percent = timeline_fan_percent(call.state, call.gpu);
	return NVML_OK;
}

int nvmlDeviceGetPowerUsage(struct nvml_device *device, uint *milliwatts)
{
	BOARD_NUMBER(device, milliwatts, timeline_power_mw(call.state, call.gpu));
}

int nvmlDeviceGetPowerManagementLimit(struct nvml_device *device, uint *milliwatts)
{
	BOARD_NUMBER(device, milliwatts, call.gpu->power_limit_mw);
}

int nvmlDeviceGetPowerManagementDefaultLimit(struct nvml_device *device, uint *milliwatts)
{
	BOARD_NUMBER(device, milliwatts,
		     call.gpu->condition.power_default ? call.gpu->condition.power_default * 1000
						       : call.gpu->power_limit_mw);
}

int nvmlDeviceGetEnforcedPowerLimit(struct nvml_device *device, uint *milliwatts)
{
	BOARD_NUMBER(device, milliwatts, call.gpu->power_limit_mw);
}

int nvmlDeviceGetTotalEnergyConsumption(struct nvml_device *device, unsigned long long *millijoules)
{
	BOARD_NUMBER(device, millijoules, (unsigned long long)call.gpu->energy_mj);
}

int nvmlDeviceGetPerformanceState(struct nvml_device *device, uint *state)
{
	BOARD_NUMBER(device, state, busy(&call) > 0 ? 0 : 8);
}

int nvmlDeviceGetPowerState(struct nvml_device *device, uint *state)
{
	BOARD_NUMBER(device, state, busy(&call) > 0 ? 0 : 8);
}

static uint max_mhz(const struct sim_gpu *gpu, uint type)
{
	return type == NVML_CLOCK_MEMORY ? gpu->memory_clock_mhz : gpu->clock_mhz;
}

int nvmlDeviceGetClockInfo(struct nvml_device *device, uint type, uint *mhz)
{
	CALL_BOARD_OR_RETURN(call, device);
	if (!mhz || type > NVML_CLOCK_VIDEO)
		return NVML_INVALID_ARGUMENT;
	if (busy(&call) > 0)
		*mhz = (uint)(max_mhz(call.gpu, type) * MIN_OF(call.gpu->throttle, 1.0));
	else
		*mhz = type == NVML_CLOCK_MEMORY ? IDLE_MEMORY_MHZ : IDLE_MHZ;
	return NVML_OK;
}

int nvmlDeviceGetMaxClockInfo(struct nvml_device *device, uint type, uint *mhz)
{
	CALL_BOARD_OR_RETURN(call, device);
	if (!mhz || type > NVML_CLOCK_VIDEO)
		return NVML_INVALID_ARGUMENT;
	*mhz = max_mhz(call.gpu, type);
	return NVML_OK;
}

int nvmlDeviceGetApplicationsClock(struct nvml_device *device, uint type, uint *mhz)
{
	return nvmlDeviceGetMaxClockInfo(device, type, mhz);
}

/* Clocks are there to be read; a simulated board has no administrator who sets them. */
static int clock_refused(struct nvml_device *device, const char *function)
{
	CALL_OR_RETURN(call, nvml_call_board(&call, device, function));
	return NVML_NO_PERMISSION;
}

int nvmlDeviceSetApplicationsClocks(struct nvml_device *device, uint memory, uint sm)
{
	return clock_refused(device, __func__);
}

int nvmlDeviceResetApplicationsClocks(struct nvml_device *device)
{
	return clock_refused(device, __func__);
}

int nvmlDeviceSetGpuLockedClocks(struct nvml_device *device, uint min, uint max)
{
	return clock_refused(device, __func__);
}

int nvmlDeviceResetGpuLockedClocks(struct nvml_device *device)
{
	return clock_refused(device, __func__);
}

int nvmlDeviceSetMemoryLockedClocks(struct nvml_device *device, uint min, uint max)
{
	return clock_refused(device, __func__);
}

int nvmlDeviceResetMemoryLockedClocks(struct nvml_device *device)
{
	return clock_refused(device, __func__);
}

int nvmlDeviceGetSupportedMemoryClocks(struct nvml_device *device, uint *count, uint *mhz)
{
	uint room;

	CALL_BOARD_OR_RETURN(call, device);
	if (!count)
		return NVML_INVALID_ARGUMENT;
	room = mhz ? *count : 0;
	*count = 2;
	if (room < 2)
		return NVML_INSUFFICIENT_SIZE;
	mhz[0] = call.gpu->memory_clock_mhz;
	mhz[1] = IDLE_MEMORY_MHZ;
	return NVML_OK;
}

int nvmlDeviceGetSupportedGraphicsClocks(struct nvml_device *device, uint memory, uint *count,
					 uint *mhz)
{
	uint room, n;

	CALL_BOARD_OR_RETURN(call, device);
	if (!count)
		return NVML_INVALID_ARGUMENT;
	if (memory != call.gpu->memory_clock_mhz && memory != IDLE_MEMORY_MHZ)
		return NVML_NOT_FOUND;
	n = memory == IDLE_MEMORY_MHZ || call.gpu->clock_mhz <= IDLE_MHZ
		? 1
		: (call.gpu->clock_mhz - IDLE_MHZ) / CLOCK_STEP_MHZ + 1;
	room = mhz ? *count : 0;
	*count = n;
	if (room < n)
		return NVML_INSUFFICIENT_SIZE;
	for (uint i = 0; i < n; i++)
		mhz[i] = n == 1 ? IDLE_MHZ : call.gpu->clock_mhz - i * CLOCK_STEP_MHZ;
	return NVML_OK;
}

static int clock_reasons(struct nvml_device *device, const char *function,
			 unsigned long long *reasons)
{
	CALL_OR_RETURN(call, nvml_call_board(&call, device, function));
	if (!reasons)
		return NVML_INVALID_ARGUMENT;
	*reasons = busy(&call) == 0 ? REASON_IDLE : call.gpu->throttle < 1 ? REASON_POWER_CAP : 0;
	*reasons |= call.gpu->condition.clock_reasons;
	return NVML_OK;
}

int nvmlDeviceGetCurrentClocksEventReasons(struct nvml_device *device, unsigned long long *reasons)
{
	return clock_reasons(device, __func__, reasons);
}

int nvmlDeviceGetCurrentClocksThrottleReasons(struct nvml_device *device,
					      unsigned long long *reasons)
{
	return clock_reasons(device, __func__, reasons);
}

int nvmlDeviceGetSupportedClocksEventReasons(struct nvml_device *device,
					     unsigned long long *reasons)
{
	BOARD_NUMBER(device, reasons, REASONS_SUPPORTED);
}

int nvmlDeviceGetSupportedClocksThrottleReasons(struct nvml_device *device,
						unsigned long long *reasons)
{
	BOARD_NUMBER(device, reasons, REASONS_SUPPORTED);
}

int nvmlDeviceGetMaxPcieLinkGeneration(struct nvml_device *device, uint *generation)
{
	BOARD_NUMBER(device, generation, call.gpu->pcie_generation);
}

int nvmlDeviceGetMaxPcieLinkWidth(struct nvml_device *device, uint *width)
{
	BOARD_NUMBER(device, width, call.gpu->pcie_width);
}

int nvmlDeviceGetCurrPcieLinkGeneration(struct nvml_device *device, uint *generation)
{
	BOARD_NUMBER(device, generation,
		     busy(&call) > 0 ? call.gpu->pcie_generation : PCIE_IDLE_GEN);
}

int nvmlDeviceGetCurrPcieLinkWidth(struct nvml_device *device, uint *width)
{
	BOARD_NUMBER(device, width,
		     call.gpu->condition.pcie_width ? call.gpu->condition.pcie_width
						    : call.gpu->pcie_width);
}

int nvmlDeviceGetPcieThroughput(struct nvml_device *device, uint counter, uint *kib_s)
{
	if (counter > 1)
		return NVML_INVALID_ARGUMENT;
	BOARD_NUMBER(device, kib_s, busy(&call) * 1024);
}
