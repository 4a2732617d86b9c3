/*
 * Processes on a device. All lists are written by one function that knows the layouts; the count
 * goes in as room and comes out as number. The odd ways of real drivers (32-byte entries under the
 * _v3 name, memory unknown, dead pids, old samples, lists that grow under the reader) are switched
 * on by the scenario.
 */
#include "sim/nvml_lib.h"
#include "util/size.h"

#include <string.h>
#include <time.h>

#define LIST_MAX      (SIM_PROCS_MAX + 1)
#define DEAD_PID      4194303U /* above the pids a kernel gives out by default */
#define DEAD_BYTES    (64 * MIB)
#define STALE_AGE_US  3600000000ULL
#define STALE_PERCENT 255U
#define ALWAYS_100    100U
#define NO_ID         NVML_ID_NONE

static uint64_t now_us(void)
{
	struct timespec now;

	(void)clock_gettime(CLOCK_REALTIME, &now);
	return (uint64_t)now.tv_sec * 1000000 + (uint64_t)now.tv_nsec / 1000;
}

static bool belongs(const struct nvml_call *call, const struct sim_proc *proc)
{
	return proc->pid != 0 && proc->gpu == call->index &&
	       (call->mig_index < 0 || proc->mig == call->mig_index);
}

static uint64_t shown_bytes(const struct sim_gpu *gpu, uint64_t bytes)
{
	return gpu->quirks & SIM_QUIRK_PROCESS_MEMORY_UNKNOWN ? NVML_VALUE_UNKNOWN : bytes;
}

static unsigned collect(const struct nvml_call *call, uint32_t kind,
			struct nvml_process_detail *list)
{
	unsigned n = 0;

	for (uint32_t i = 0; i < call->state->procs_end; i++) {
		const struct sim_proc *proc = &call->state->procs[i];
		const struct sim_mig *mig = NULL;

		if (!belongs(call, proc) || !(proc->kind & kind))
			continue;
		if (proc->mig >= 0)
			mig = &call->gpu->migs[proc->mig];
		list[n++] = (struct nvml_process_detail){
		    .pid = (uint32_t)proc->pid,
		    .used_bytes = shown_bytes(call->gpu, proc->used_bytes),
		    .gpu_instance = mig ? mig->gpu_instance : NO_ID,
		    .compute_instance = mig ? mig->compute_instance : NO_ID,
		    .protected_bytes = NVML_VALUE_UNKNOWN};
	}
	if (kind == SIM_KIND_COMPUTE && call->gpu->quirks & SIM_QUIRK_DEAD_PROCESSES)
		list[n++] =
		    (struct nvml_process_detail){.pid = DEAD_PID,
						 .used_bytes = shown_bytes(call->gpu, DEAD_BYTES),
						 .gpu_instance = NO_ID,
						 .compute_instance = NO_ID,
						 .protected_bytes = NVML_VALUE_UNKNOWN};
	return n;
}

/* The layouts are prefixes of one another; only the distance differs. */
static void write_list(const struct nvml_process_detail *list, unsigned n, size_t stride, void *to)
{
	for (unsigned i = 0; i < n; i++)
		memcpy((char *)to + i * stride, &list[i], stride);
}

static int running(struct nvml_call *call, uint32_t kind, int version, uint *count, void *to)
{
	struct nvml_process_detail list[LIST_MAX];
	size_t stride = version == 1 ? sizeof(struct nvml_process_v1) : sizeof(struct nvml_process);
	unsigned n, room;

	if (!count || (*count > 0 && !to))
		return NVML_INVALID_ARGUMENT;
	if (version == 3)
		stride = call->state->process_stride;
	room = *count;
	n = collect(call, kind, list);
	if (room < n && call->gpu->quirks & SIM_QUIRK_LIST_GROWS && n > 1 &&
	    call->gpu->size_queries++ % 2 == 0)
		n--; /* the last of them came only after this answer */
	*count = n;
	if (room < n)
		return NVML_INSUFFICIENT_SIZE;
	write_list(list, n, stride, to);
	return NVML_OK;
}

#define KIND_Compute    SIM_KIND_COMPUTE
#define KIND_Graphics   SIM_KIND_GRAPHICS
#define KIND_MPSCompute SIM_KIND_MPS

#define DEFINE_PROCESS_LIST(kind, suffix, version)                                                 \
	int nvmlDeviceGet##kind##RunningProcesses##suffix(struct nvml_device *device, uint *count, \
							  void *processes)                         \
	{                                                                                          \
		CALL_DEVICE_OR_RETURN(call, device);                                               \
		return running(&call, KIND_##kind, version, count, processes);                     \
	}
NVML_PROCESS_LISTS(DEFINE_PROCESS_LIST)

int nvmlDeviceGetRunningProcessDetailList(struct nvml_device *device,
					  struct nvml_process_detail_list *list)
{
	static const uint32_t kinds[] = {SIM_KIND_COMPUTE, SIM_KIND_GRAPHICS, SIM_KIND_MPS};
	struct nvml_process_detail found[LIST_MAX];
	unsigned n, room;

	CALL_DEVICE_OR_RETURN(call, device);
	if (!list || list->mode >= ARRAY_LEN(kinds))
		return NVML_INVALID_ARGUMENT;
	if (list->version != NVML_PROCESS_DETAIL_V1)
		return NVML_ARGUMENT_VERSION_MISMATCH;
	room = list->processes ? list->count : 0;
	n = collect(&call, kinds[list->mode], found);
	list->count = n;
	if (room < n)
		return NVML_INSUFFICIENT_SIZE;
	write_list(found, n, sizeof found[0], list->processes);
	return NVML_OK;
}

/* When the process last kept the GPU busy, on the CPU clock. */
static uint64_t active_us(const struct nvml_call *call, const struct sim_proc *proc)
{
	double wall_s = (double)(call->state->advanced_ns - proc->active_ns) / SIM_NS_PER_S *
			call->state->time_scale;

	return now_us() - (uint64_t)(wall_s * 1e6);
}

static unsigned sample(const struct nvml_call *call, uint64_t last_seen_us,
		       struct nvml_process_sample *list)
{
	uint32_t load = state_load_percent(call->state, call->index, -1);
	unsigned n = 0;

	for (uint32_t i = 0; i < call->state->procs_end; i++) {
		const struct sim_proc *proc = &call->state->procs[i];
		uint32_t percent = load > 100 ? proc->percent * 100 / load : proc->percent;

		if (!belongs(call, proc) || proc->active_ns < 0 ||
		    active_us(call, proc) <= last_seen_us)
			continue;
		list[n++] = (struct nvml_process_sample){.pid = (uint32_t)proc->pid,
							 .time_us = active_us(call, proc),
							 .sm = percent,
							 .memory = percent / 2};
	}
	if (call->gpu->quirks & SIM_QUIRK_STALE_SAMPLES)
		list[n++] = (struct nvml_process_sample){.pid = DEAD_PID,
							 .time_us = now_us() - STALE_AGE_US,
							 .sm = STALE_PERCENT,
							 .memory = STALE_PERCENT};
	return n;
}

int nvmlDeviceGetProcessUtilization(struct nvml_device *device, struct nvml_process_sample *samples,
				    uint *count, unsigned long long last_seen_us)
{
	struct nvml_process_sample list[LIST_MAX];
	unsigned n, room;

	CALL_BOARD_OR_RETURN(call, device);
	if (!count)
		return NVML_INVALID_ARGUMENT;
	if (call.gpu->mig_mode)
		return NVML_NOT_SUPPORTED;
	room = samples ? *count : 0;
	if (room == 0 && call.gpu->quirks & SIM_QUIRK_SIZE_ALWAYS_100) {
		*count = ALWAYS_100;
		return NVML_INSUFFICIENT_SIZE;
	}
	n = sample(&call, last_seen_us, list);
	*count = n;
	if (n == 0)
		return NVML_NOT_FOUND; /* nobody was active since */
	if (room < n)
		return NVML_INSUFFICIENT_SIZE;
	memcpy(samples, list, n * sizeof list[0]);
	return NVML_OK;
}

int nvmlDeviceGetProcessesUtilizationInfo(struct nvml_device *device,
					  struct nvml_process_utilization_list *info)
{
	struct nvml_process_sample list[LIST_MAX];
	unsigned n, room;

	CALL_BOARD_OR_RETURN(call, device);
	if (!info)
		return NVML_INVALID_ARGUMENT;
	if (info->version != NVML_PROCESS_UTIL_V1)
		return NVML_ARGUMENT_VERSION_MISMATCH;
	if (call.gpu->mig_mode)
		return NVML_NOT_SUPPORTED;
	room = info->processes ? info->count : 0;
	n = sample(&call, info->last_seen_us, list);
	info->count = n;
	if (n == 0)
		return NVML_NOT_FOUND;
	if (room < n)
		return NVML_INSUFFICIENT_SIZE;
	for (unsigned i = 0; i < n; i++)
		info->processes[i] = (struct nvml_process_utilization){.time_us = list[i].time_us,
								       .pid = list[i].pid,
								       .sm = list[i].sm,
								       .memory = list[i].memory};
	return NVML_OK;
}
