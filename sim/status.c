/* See status.h. */
#include "sim/status.h"

#include "sim/timeline.h"
#include "util/size.h"

static json_t *process_json(const struct sim_proc *proc)
{
	return json_pack("{s:i, s:s, s:o, s:i, s:o}", "pid", proc->pid, "name", proc->name,
			 "used_bytes", jsonx_u64(proc->used_bytes), "percent", (int)proc->percent,
			 "done_seconds", jsonx_real_if(proc->working, proc->done_s, 3));
}

static json_t *gpu_json(const struct sim_state *state, int index)
{
	const struct sim_gpu *gpu = &state->gpus[index];
	json_t *processes = json_array();

	for (uint32_t i = 0; i < state->procs_end; i++)
		if (state->procs[i].pid != 0 && state->procs[i].gpu == index)
			(void)json_array_append_new(processes, process_json(&state->procs[i]));
	return json_pack(
	    "{s:i, s:s, s:s, s:o, s:o, s:o, s:o, s:o, s:o, s:o, s:i, s:b, s:b, s:o}", "index",
	    index, "uuid", gpu->uuid, "name", gpu->name, "total_bytes", jsonx_u64(gpu->total_bytes),
	    "reserved_bytes", jsonx_u64(gpu->reserved_bytes), "used_bytes",
	    jsonx_u64(state_used_bytes(state, index, -1)), "peak_used_bytes",
	    jsonx_u64(gpu->peak_used_bytes), "peak_at_seconds",
	    jsonx_real_if(true, (double)gpu->peak_at_ns / SIM_NS_PER_S, 3), "oom_count",
	    jsonx_u64(gpu->oom_count), "tasks_started", jsonx_u64(gpu->tasks_started),
	    "utilization_percent", (int)timeline_busy_percent(state, gpu), "lost", (int)gpu->lost,
	    "hung", (int)gpu->hung, "processes", processes);
}

static void peaks_begin(struct sim_state *state)
{
	for (uint32_t i = 0; i < state->n_gpus; i++) {
		state->gpus[i].peak_used_bytes = state_used_bytes(state, (int)i, -1);
		state->gpus[i].peak_at_ns = state->advanced_ns;
	}
}

json_t *status_json(struct sim_state *state, bool new_peaks)
{
	json_t *gpus = json_array();
	json_t *status;

	state_lock(state);
	for (uint32_t i = 0; i < state->n_gpus; i++)
		(void)json_array_append_new(gpus, gpu_json(state, (int)i));
	status = json_pack("{s:o, s:f, s:o}", "time_seconds",
			   jsonx_real_if(true, (double)state->advanced_ns / SIM_NS_PER_S, 3),
			   "time_scale", state->time_scale, "gpus", gpus);
	if (new_peaks)
		peaks_begin(state);
	state_unlock(state);
	return status;
}

void status_text(struct sim_state *state, struct text *to)
{
	state_lock(state);
	text_printf(to, "%.1f s of simulated time, %g wall seconds each\n",
		    (double)state->advanced_ns / SIM_NS_PER_S, state->time_scale);
	for (uint32_t i = 0; i < state->n_gpus; i++) {
		const struct sim_gpu *gpu = &state->gpus[i];

		text_printf(
		    to, "GPU %u %s%s: %s of %s used, peak %s, %u %%, out of memory %llu times\n", i,
		    gpu->name, gpu->lost ? " (lost)" : "",
		    SIZE_TEXT(state_used_bytes(state, (int)i, -1)), SIZE_TEXT(gpu->total_bytes),
		    SIZE_TEXT(gpu->peak_used_bytes), timeline_busy_percent(state, gpu),
		    (unsigned long long)gpu->oom_count);
		for (uint32_t p = 0; p < state->procs_end; p++)
			if (state->procs[p].pid != 0 && state->procs[p].gpu == (int32_t)i)
				text_printf(to, "  pid %d %s: %s, %u %%\n", state->procs[p].pid,
					    state->procs[p].name,
					    SIZE_TEXT(state->procs[p].used_bytes),
					    state->procs[p].percent);
	}
	state_unlock(state);
}
