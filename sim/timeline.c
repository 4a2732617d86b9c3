/*
 * See timeline.h. One function a type of event, in a table by type; each changes one GPU (or, for
 * the few that concern the driver, the whole state).
 */
#include "sim/timeline.h"

#include "sim/nvml_abi.h"

#include <errno.h>
#include <string.h>

#define IDLE_C     35
#define BUSY_C     80   /* at full load */
#define IDLE_SHARE 0.10 /* of the power limit, at no load */
#define BUSY_SHARE 0.95 /* at full load */
#define FAN_FROM_C 40   /* the fan stands still below */
#define MAX_LOAD   100U

static void happen_xid(struct sim_state *state, struct sim_gpu *gpu, const struct sim_event *event)
{
	uint64_t sequence = state->n_xids + 1;

	state->xids[state->n_xids % SIM_XIDS_MAX] = (struct sim_xid){
	    .sequence = sequence, .gpu = (int32_t)(gpu - state->gpus), .xid = event->number};
	state->n_xids = sequence;
}

static void happen_lost(struct sim_state *state, struct sim_gpu *gpu, const struct sim_event *event)
{
	gpu->lost = true;
	gpu->lost_code = (int32_t)event->to;
	gpu->lost_listing = event->listing;
	if (event->number > 0) /* a loss may come with an XID or without */
		happen_xid(state, gpu, event);
}

static void happen_back(struct sim_state *state, struct sim_gpu *gpu, const struct sim_event *event)
{
	gpu->lost = false;
	gpu->error = 0;
	gpu->handle_error = 0;
}

static void happen_hang(struct sim_state *state, struct sim_gpu *gpu, const struct sim_event *event)
{
	gpu->hung = true;
}

static void happen_unhang(struct sim_state *state, struct sim_gpu *gpu,
			  const struct sim_event *event)
{
	gpu->hung = false;
	state->hung = false;
}

static void happen_slow(struct sim_state *state, struct sim_gpu *gpu, const struct sim_event *event)
{
	gpu->delay_ms = event->number;
}

static void happen_temperature(struct sim_state *state, struct sim_gpu *gpu,
			       const struct sim_event *event)
{
	gpu->ramp_from_c = (int32_t)timeline_temperature_c(state, gpu);
	gpu->temperature_c = (int32_t)event->number;
	gpu->ramp_start_ns = event->at_ns;
	gpu->ramp_end_ns = event->at_ns + event->over_ns;
}

static void happen_power(struct sim_state *state, struct sim_gpu *gpu,
			 const struct sim_event *event)
{
	gpu->power_mw = (int32_t)event->number;
}

static void happen_fan(struct sim_state *state, struct sim_gpu *gpu, const struct sim_event *event)
{
	gpu->fan_percent = (int32_t)event->number;
}

static void happen_utilization(struct sim_state *state, struct sim_gpu *gpu,
			       const struct sim_event *event)
{
	gpu->other_percent = (uint32_t)event->number;
}

static void happen_speed(struct sim_state *state, struct sim_gpu *gpu,
			 const struct sim_event *event)
{
	gpu->throttle = event->factor;
}

static void happen_error(struct sim_state *state, struct sim_gpu *gpu,
			 const struct sim_event *event)
{
	gpu->error = (int32_t)event->number;
}

static void happen_foreign(struct sim_state *state, struct sim_gpu *gpu,
			   const struct sim_event *event)
{
	int index = (int)(gpu - state->gpus);
	struct sim_proc *proc =
	    state_attach(state, event->pid, event->start_time, index, gpu->mig_mode ? 0 : -1);

	if (!proc)
		return;
	proc->fixed = event->fixed;
	proc->kind = event->kind;
	proc->percent = (uint32_t)event->number;
	proc->ends_ns = event->ends_ns;
	memcpy(proc->name, event->name, sizeof proc->name);
	/* Somebody else's process takes what it can get. */
	if (state_resize(state, proc,
			 MIN_OF(event->bytes, state_free_bytes(state, index, proc->mig))) < 0)
		state_detach(state, proc);
}

static void happen_mismatch(struct sim_state *state, struct sim_gpu *gpu,
			    const struct sim_event *event)
{
	state->init_error = NVML_LIB_RM_VERSION_MISMATCH;
}

static void happen_no_driver(struct sim_state *state, struct sim_gpu *gpu,
			     const struct sim_event *event)
{
	state->init_error = NVML_DRIVER_NOT_LOADED;
}

static void happen_driver_ok(struct sim_state *state, struct sim_gpu *gpu,
			     const struct sim_event *event)
{
	state->init_error = 0;
}

typedef void (*happen_f)(struct sim_state *state, struct sim_gpu *gpu,
			 const struct sim_event *event);

static const struct event_type {
	const char *name;
	happen_f happen;
	bool driver; /* concerns the driver: happens once, without a GPU */
} types[SIM_EVENT_COUNT] = {
    [SIM_EVENT_LOST] = {"lost", happen_lost, false},
    [SIM_EVENT_BACK] = {"back", happen_back, false},
    [SIM_EVENT_XID] = {"xid", happen_xid, false},
    [SIM_EVENT_HANG] = {"hang", happen_hang, false},
    [SIM_EVENT_UNHANG] = {"unhang", happen_unhang, false},
    [SIM_EVENT_SLOW] = {"slow", happen_slow, false},
    [SIM_EVENT_TEMPERATURE] = {"temperature", happen_temperature, false},
    [SIM_EVENT_POWER] = {"power", happen_power, false},
    [SIM_EVENT_FAN] = {"fan", happen_fan, false},
    [SIM_EVENT_UTILIZATION] = {"utilization", happen_utilization, false},
    [SIM_EVENT_SPEED] = {"speed", happen_speed, false},
    [SIM_EVENT_ERROR] = {"error", happen_error, false},
    [SIM_EVENT_FOREIGN] = {"foreign", happen_foreign, false},
    [SIM_EVENT_MISMATCH] = {"mismatch", happen_mismatch, true},
    [SIM_EVENT_NO_DRIVER] = {"no-driver", happen_no_driver, true},
    [SIM_EVENT_DRIVER_OK] = {"driver-ok", happen_driver_ok, true},
};

const char *timeline_event_name(enum sim_event_type type)
{
	return types[type].name;
}

int timeline_event_from_name(const char *name, enum sim_event_type *ret_type)
{
	for (int i = 0; i < SIM_EVENT_COUNT; i++)
		if (strcmp(types[i].name, name) == 0) {
			*ret_type = (enum sim_event_type)i;
			return 0;
		}
	return -EINVAL;
}

void timeline_happen(struct sim_state *state, const struct sim_event *event)
{
	if (types[event->type].driver) {
		types[event->type].happen(state, NULL, event);
		return;
	}
	if (event->gpu == SIM_GPU_ALL && event->type == SIM_EVENT_HANG)
		state->hung = true; /* init and the list of devices hang too */
	for (uint32_t i = 0; i < state->n_gpus; i++)
		if (event->gpu == SIM_GPU_ALL || event->gpu == (int32_t)i)
			types[event->type].happen(state, &state->gpus[i], event);
}

uint32_t timeline_busy_percent(const struct sim_state *state, const struct sim_gpu *gpu)
{
	uint32_t load = state_load_percent(state, (int)(gpu - state->gpus), -1);

	return MIN_OF(load, MAX_LOAD);
}

uint32_t timeline_temperature_c(const struct sim_state *state, const struct sim_gpu *gpu)
{
	int64_t now_ns = state->advanced_ns;
	double share;

	if (gpu->temperature_c < 0)
		return IDLE_C + timeline_busy_percent(state, gpu) * (BUSY_C - IDLE_C) / MAX_LOAD;
	if (now_ns >= gpu->ramp_end_ns)
		return (uint32_t)gpu->temperature_c;
	share =
	    (double)(now_ns - gpu->ramp_start_ns) / (double)(gpu->ramp_end_ns - gpu->ramp_start_ns);
	return (uint32_t)(gpu->ramp_from_c + share * (gpu->temperature_c - gpu->ramp_from_c));
}

uint32_t timeline_power_mw(const struct sim_state *state, const struct sim_gpu *gpu)
{
	double busy = timeline_busy_percent(state, gpu) / 100.0;

	if (gpu->power_mw >= 0)
		return (uint32_t)gpu->power_mw;
	return (uint32_t)(gpu->power_limit_mw * (IDLE_SHARE + busy * (BUSY_SHARE - IDLE_SHARE)));
}

uint32_t timeline_fan_percent(const struct sim_state *state, const struct sim_gpu *gpu)
{
	uint32_t celsius = timeline_temperature_c(state, gpu);

	if (gpu->fan_percent >= 0)
		return (uint32_t)gpu->fan_percent;
	return celsius < FAN_FROM_C ? 0 : MIN_OF(30 + (celsius - FAN_FROM_C), MAX_LOAD);
}
