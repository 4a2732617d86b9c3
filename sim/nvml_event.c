/*
 * Event sets. The XIDs of all GPUs stand in one ring of the state with rising numbers; a set
 * remembers up to which it has read and which GPUs it listens to.
 */
#include "sim/nvml_lib.h"

#include <time.h>

#define SUPPORTED_TYPES NVML_EVENT_XID
#define LOOK_NS         (20 * 1000000LL) /* an XID of the timeline is due while nobody notifies */

struct nvml_event_set {
	uint64_t read; /* sequence of the last XID handed out or skipped */
	uint32_t gpus; /* bit per GPU */
	unsigned long long types;
};

static_assert(SIM_GPUS_MAX <= 32, "one bit a GPU");

int nvmlEventSetCreate(struct nvml_event_set **set)
{
	CALL_SYSTEM_OR_RETURN(call);
	if (!set)
		return NVML_INVALID_ARGUMENT;
	*set = mem_calloc(1, sizeof **set);
	(*set)->read = call.state->n_xids;
	return NVML_OK;
}

int nvmlEventSetFree(struct nvml_event_set *set)
{
	int code = nvml_stub();

	if (code == NVML_UNINITIALIZED)
		return code;
	if (!set)
		return NVML_INVALID_ARGUMENT;
	free(set);
	return NVML_OK;
}

int nvmlDeviceGetSupportedEventTypes(struct nvml_device *device, unsigned long long *types)
{
	CALL_BOARD_OR_RETURN(call, device);
	if (!types)
		return NVML_INVALID_ARGUMENT;
	*types = SUPPORTED_TYPES;
	return NVML_OK;
}

int nvmlDeviceRegisterEvents(struct nvml_device *device, unsigned long long types,
			     struct nvml_event_set *set)
{
	CALL_BOARD_OR_RETURN(call, device);
	if (!set)
		return NVML_INVALID_ARGUMENT;
	if (types & ~SUPPORTED_TYPES)
		return NVML_NOT_SUPPORTED;
	set->gpus |= 1U << call.index;
	set->types |= types;
	return NVML_OK;
}

/* The next XID the set listens for. Lock held. */
static bool take(struct sim_state *state, struct nvml_event_set *set, struct nvml_event *ret_event)
{
	if (state->n_xids > SIM_XIDS_MAX)
		set->read = MAX_OF(set->read, state->n_xids - SIM_XIDS_MAX);
	while (set->read < state->n_xids) {
		const struct sim_xid *xid = &state->xids[set->read++ % SIM_XIDS_MAX];

		if (!(set->gpus & 1U << xid->gpu) || !(set->types & NVML_EVENT_XID))
			continue;
		*ret_event = (struct nvml_event){.device = nvml_handle(xid->gpu, -1),
						 .type = NVML_EVENT_XID,
						 .data = (uint64_t)xid->xid,
						 .gpu_instance = NVML_ID_NONE,
						 .compute_instance = NVML_ID_NONE};
		return true;
	}
	return false;
}

/* A GPU the set listens to that fell off the bus ends the waiting, XID or not. Lock held. */
static bool one_is_lost(const struct sim_state *state, const struct nvml_event_set *set)
{
	for (uint32_t i = 0; i < state->n_gpus; i++)
		if (set->gpus & 1U << i && state->gpus[i].lost)
			return true;
	return false;
}

int nvmlEventSetWait_v2(struct nvml_event_set *set, struct nvml_event *event, uint timeout_ms)
{
	struct timespec start, now;
	int64_t left_ns;

	if (!set || !event)
		return nvml_stub() == NVML_UNINITIALIZED ? NVML_UNINITIALIZED
							 : NVML_INVALID_ARGUMENT;
	(void)clock_gettime(CLOCK_MONOTONIC, &start);
	do {
		uint32_t generation;

		CALL_SYSTEM_OR_RETURN(call);
		if (take(call.state, set, event))
			return NVML_OK;
		if (one_is_lost(call.state, set))
			return NVML_GPU_IS_LOST;
		generation = call.state->generation;
		(void)clock_gettime(CLOCK_MONOTONIC, &now);
		left_ns = timeout_ms * 1000000LL - ((now.tv_sec - start.tv_sec) * SIM_NS_PER_S +
						    now.tv_nsec - start.tv_nsec);
		nvml_call_leave(&call);
		state_wait(nvml_state(), generation, MIN_OF(left_ns, LOOK_NS));
	} while (left_ns > 0);
	return NVML_TIMEOUT;
}

int nvmlEventSetWait(struct nvml_event_set *set, struct nvml_event *event, uint timeout_ms)
{
	return nvmlEventSetWait_v2(set, event, timeout_ms);
}
