/*
 * What the files of the simulated library share: entering a call. A call begins by finding the
 * state, sleeping the delay of the scenario or waiting out a hang (with no lock held), and taking
 * the lock; the lock goes when the `auto_call` variable leaves its scope.
 */
#pragma once

#include "sim/nvml_abi.h"
#include "sim/state.h"

struct nvml_call {
	struct sim_state *state; /* NULL: not entered */
	struct sim_gpu *gpu;     /* NULL in calls without a device */
	struct sim_mig *mig;     /* NULL on a whole GPU */
	int index;               /* of gpu in state->gpus */
	int mig_index;           /* -1 on a whole GPU */
};

void nvml_call_leave(struct nvml_call *call);
#define auto_call CLEANUP(nvml_call_leave)

/* Enter a call that names no device. NVML_OK, or what the function shall answer. */
int nvml_call_system(struct nvml_call *call) MUST_CHECK;

/* Enter a call on a device; `function` is looked up among the faults of the scenario. */
int nvml_call_device(struct nvml_call *call, struct nvml_device *device,
		     const char *function) MUST_CHECK;

/* nvml_call_device(), but NOT_SUPPORTED on a MIG instance: most sensors are the board's. */
int nvml_call_board(struct nvml_call *call, struct nvml_device *device,
		    const char *function) MUST_CHECK;

/* Wait out a delay or a hang of a GPU that has no handle yet; the lock is dropped meanwhile. */
void nvml_call_suffer(struct nvml_call *call, const struct sim_gpu *gpu);

/* Handles live as long as the process. `mig_index` -1: the GPU itself. */
struct nvml_device *nvml_handle(int index, int mig_index);
/* -1: not a handle. */
int nvml_handle_decode(const struct nvml_device *device, int *ret_mig_index);

/* Copy a string the NVML way: INSUFFICIENT_SIZE when it does not fit. */
int nvml_copy(char *to, unsigned size, const char *from);

/* The state for calls that need no session; NULL outside a simulation. */
struct sim_state *nvml_state(void);

/* What every function answers that the simulator exports without an implementation. */
int nvml_stub(void);

#define CALL_OR_RETURN(call, enter)           \
	auto_call struct nvml_call call = {}; \
	do {                                  \
		int call_code_ = (enter);     \
		if (call_code_ != NVML_OK)    \
			return call_code_;    \
	} while (0)
#define CALL_SYSTEM_OR_RETURN(call) CALL_OR_RETURN(call, nvml_call_system(&(call)))
#define CALL_DEVICE_OR_RETURN(call, device) \
	CALL_OR_RETURN(call, nvml_call_device(&(call), (device), __func__))
#define CALL_BOARD_OR_RETURN(call, device) \
	CALL_OR_RETURN(call, nvml_call_board(&(call), (device), __func__))
