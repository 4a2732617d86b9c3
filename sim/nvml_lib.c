/*
 * The simulated libnvidia-ml: sessions, handles, and the way into every call. A handle points into
 * a table of bytes, one per GPU and MIG instance; the byte's place is the identity, so that
 * handles are the same in every session of a process and a foreign pointer is told apart.
 */
#include "sim/nvml_lib.h"

#include <errno.h>
#include <fnmatch.h>
#include <stdatomic.h>
#include <string.h>
#include <time.h>

#define HANDLES_PER_GPU (SIM_MIGS_MAX + 1)
#define HANG_LOOK_NS    (100 * 1000000LL) /* how often a hung call looks up; it is also woken */

static_assert(sizeof(struct nvml_pci) == 68, "nvmlPciInfo_t");
static_assert(sizeof(struct nvml_pci_v2) == 36, "head of the older nvmlPciInfo_t");
static_assert(sizeof(struct nvml_memory) == 24, "nvmlMemory_t");
static_assert(sizeof(struct nvml_memory_v2) == 40, "nvmlMemory_v2_t");
static_assert(sizeof(struct nvml_process_v1) == 16, "nvmlProcessInfo_v1_t");
static_assert(sizeof(struct nvml_process) == 24, "nvmlProcessInfo_t");
static_assert(sizeof(struct nvml_process_detail) == 32, "nvmlProcessDetail_v1_t");
static_assert(sizeof(struct nvml_process_detail_list) == 24, "nvmlProcessDetailList_v1_t");
static_assert(sizeof(struct nvml_process_sample) == 32, "nvmlProcessUtilizationSample_t");
static_assert(sizeof(struct nvml_process_utilization) == 40, "nvmlProcessUtilizationInfo_v1_t");
static_assert(sizeof(struct nvml_process_utilization_list) == 24, "nvmlProcessesUtilizationInfo");
static_assert(sizeof(struct nvml_event) == 32, "nvmlEventData_t");
static_assert(sizeof(struct nvml_field_value) == 40, "nvmlFieldValue_t");
static_assert(sizeof(struct nvml_attributes) == 40, "nvmlDeviceAttributes_t");
static_assert(sizeof(struct nvml_temperature) == 12, "nvmlTemperature_v1_t");

static char handles[SIM_GPUS_MAX * HANDLES_PER_GPU];
static pthread_mutex_t open_mutex = PTHREAD_MUTEX_INITIALIZER;
static struct sim_state *the_state; /* mapped once, for the life of the process */
static atomic_int sessions;

struct nvml_device *nvml_handle(int index, int mig_index)
{
	return (struct nvml_device *)(void *)&handles[index * HANDLES_PER_GPU + mig_index + 1];
}

int nvml_handle_decode(const struct nvml_device *device, int *ret_mig_index)
{
	const char *place = (const char *)device;

	if (place < handles || place >= handles + sizeof handles)
		return -1;
	*ret_mig_index = (int)((place - handles) % HANDLES_PER_GPU) - 1;
	return (int)((place - handles) / HANDLES_PER_GPU);
}

struct sim_state *nvml_state(void)
{
	(void)pthread_mutex_lock(&open_mutex);
	if (!the_state && state_open_environment(&the_state, NULL) < 0)
		the_state = NULL;
	(void)pthread_mutex_unlock(&open_mutex);
	return the_state;
}

static void sleep_ms(int64_t ms)
{
	struct timespec rest = {.tv_sec = ms / 1000, .tv_nsec = ms % 1000 * 1000000};

	while (ms > 0 && nanosleep(&rest, &rest) < 0 && errno == EINTR)
		;
}

/* Lock held on entry and on return; `gpu` may be NULL. A hang has no end but the event that ends
 * it: the caller is stuck, as in a driver call that does not come back. */
static void suffer(struct sim_state *state, const struct sim_gpu *gpu)
{
	int64_t delay_ms = state->delay_ms + (gpu ? gpu->delay_ms : 0);

	if (delay_ms > 0) {
		state_unlock(state);
		sleep_ms(delay_ms);
		state_lock(state);
	}
	while (state->hung || (gpu && gpu->hung)) {
		uint32_t generation = state->generation;

		state_unlock(state);
		state_wait(state, generation, HANG_LOOK_NS);
		state_lock(state);
	}
}

void nvml_call_leave(struct nvml_call *call)
{
	if (call->state)
		state_unlock(call->state);
	call->state = NULL;
}

static void enter(struct nvml_call *call, struct sim_state *state)
{
	*call = (struct nvml_call){.state = state, .mig_index = -1};
	state_lock(state);
}

int nvml_call_system(struct nvml_call *call)
{
	if (atomic_load(&sessions) <= 0)
		return NVML_UNINITIALIZED;
	enter(call, the_state);
	suffer(call->state, NULL);
	/* The driver went away under an open session. */
	return call->state->init_error == NVML_DRIVER_NOT_LOADED ? NVML_UNKNOWN : NVML_OK;
}

void nvml_call_suffer(struct nvml_call *call, const struct sim_gpu *gpu)
{
	suffer(call->state, gpu);
}

int nvml_call_device(struct nvml_call *call, struct nvml_device *device, const char *function)
{
	int mig_index = -1;
	int index = nvml_handle_decode(device, &mig_index);
	int code = nvml_call_system(call);

	if (code != NVML_OK)
		return code;
	if (index < 0 || index >= (int)call->state->n_gpus)
		return NVML_INVALID_ARGUMENT;
	call->index = index;
	call->gpu = &call->state->gpus[index];
	call->mig_index = mig_index;
	suffer(call->state, call->gpu);
	if (mig_index >= 0) {
		call->mig = &call->gpu->migs[mig_index];
		if (!call->mig->there)
			return NVML_INVALID_ARGUMENT; /* the instance is gone, its handle with it */
	}
	if (call->gpu->lost)
		return call->gpu->lost_code;
	if (call->gpu->error)
		return call->gpu->error;
	for (uint32_t i = 0; i < call->gpu->n_faults; i++)
		if (fnmatch(call->gpu->faults[i].pattern, function, 0) == 0)
			return call->gpu->faults[i].code;
	return NVML_OK;
}

int nvml_call_board(struct nvml_call *call, struct nvml_device *device, const char *function)
{
	int code = nvml_call_device(call, device, function);

	return code == NVML_OK && call->mig ? NVML_NOT_SUPPORTED : code;
}

int nvml_copy(char *to, unsigned size, const char *from)
{
	size_t len = strlen(from);

	if (!to)
		return NVML_INVALID_ARGUMENT;
	if (len >= size)
		return NVML_INSUFFICIENT_SIZE;
	memcpy(to, from, len + 1);
	return NVML_OK;
}

int nvml_stub(void)
{
	return atomic_load(&sessions) > 0 ? NVML_NOT_SUPPORTED : NVML_UNINITIALIZED;
}

/* A bad GPU makes the first version of init fail; _v2 leaves it to the handle. */
static int session_open(bool all_must_work)
{
	struct sim_state *state = nvml_state();
	auto_call struct nvml_call call = {};

	if (!state)
		return NVML_DRIVER_NOT_LOADED;
	enter(&call, state);
	suffer(state, NULL);
	if (state->init_error)
		return state->init_error;
	for (uint32_t i = 0; all_must_work && i < state->n_gpus; i++)
		if (state->gpus[i].lost)
			return state->gpus[i].lost_code;
	(void)atomic_fetch_add(&sessions, 1);
	return NVML_OK;
}

int nvmlInit(void)
{
	return session_open(true);
}

int nvmlInit_v2(void)
{
	return session_open(false);
}

int nvmlInitWithFlags(uint flags)
{
	return session_open(false);
}

int nvmlShutdown(void)
{
	int now = atomic_load(&sessions);

	/* More often than init is fine: the real library allows it on purpose. */
	while (now > 0 && !atomic_compare_exchange_weak(&sessions, &now, now - 1))
		;
	return NVML_OK;
}
