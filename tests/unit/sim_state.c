/* sim/state, sim/timeline: shared memory accounting, processor sharing, reaping, events. */
#include "sim/scenario.h"
#include "sim/state.h"
#include "sim/timeline.h"
#include "util/pidref.h"
#include "util/size.h"

#include "unit.h"

#include <errno.h>
#include <math.h>
#include <signal.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

static char path[64];

/* Two GPUs: 8 GiB at speed 1, 4 GiB at speed 0.5. Time runs a thousand times as fast. */
static struct sim_state *open_two(void)
{
	auto_free struct sim_state *image = scenario_create_empty();
	struct sim_state *state = NULL;
	struct error err = {};

	image->n_gpus = 2;
	for (int i = 0; i < 2; i++)
		image->gpus[i] = (struct sim_gpu){.total_bytes = (i ? 4 : 8) * GIB,
						  .speed = i ? 0.5 : 1.0,
						  .throttle = 1,
						  .power_limit_mw = 100000,
						  .temperature_c = -1,
						  .power_mw = -1,
						  .fan_percent = -1};
	image->gpus[0].reserved_bytes = GIB;
	image->time_scale = 0.001;
	(void)snprintf(path, sizeof path, "/tmp/sim-state-%d", (int)getpid());
	(void)unlink(path);
	assert_int_equal(state_create(path, image, &err), 0);
	assert_int_equal(state_open(path, &state, &err), 0);
	return state;
}

static struct sim_proc *enter(struct sim_state *state, int gpu, uint32_t percent)
{
	uint64_t start = 0;
	struct sim_proc *proc;

	assert_int_equal(pid_start_time(getpid(), &start), 0);
	proc = state_attach(state, getpid(), start, gpu, -1);
	assert_non_null(proc);
	proc->percent = percent;
	proc->working = true;
	return proc;
}

static void memory_is_refused_at_the_edge(void **unused)
{
	struct sim_state *state = open_two();
	struct sim_proc *first, *second;

	state_lock(state);
	first = enter(state, 0, 10);
	second = enter(state, 0, 10);
	assert_int_equal(state_resize(state, first, 4 * GIB), 0);
	assert_int_equal(state_resize(state, second, 3 * GIB), 0); /* 1 GiB is reserved */
	assert_int_equal(state_free_bytes(state, 0, -1), 0);
	assert_int_equal(state_resize(state, second, 3 * GIB + 1), -ENOMEM);
	assert_int_equal(second->used_bytes, 3 * GIB);
	assert_int_equal(state->gpus[0].oom_count, 1);
	assert_int_equal(state->gpus[0].peak_used_bytes, 7 * GIB);
	assert_int_equal(state_resize(state, first, GIB), 0);
	assert_int_equal(state->gpus[0].peak_used_bytes, 7 * GIB);
	assert_int_equal(state_used_bytes(state, 0, -1), 4 * GIB);
	state_unlock(state);
	(void)unlink(path);
}

static void an_overloaded_gpu_slows_all_alike(void **unused)
{
	struct sim_state *state = open_two();

	state_lock(state);
	(void)enter(state, 0, 60);
	assert_float_equal(state_rate(state, 0, -1), 1.0, 1e-9);
	(void)enter(state, 0, 60);
	assert_float_equal(state_rate(state, 0, -1), 100.0 / 120, 1e-9);
	(void)enter(state, 1, 100);
	assert_float_equal(state_rate(state, 1, -1), 0.5, 1e-9);
	state->gpus[1].throttle = 0.5;
	assert_float_equal(state_rate(state, 1, -1), 0.25, 1e-9);
	state_unlock(state);
	(void)unlink(path);
}

static void progress_is_the_integral_of_the_rate(void **unused)
{
	struct sim_state *state = open_two();
	struct sim_proc *proc;
	int64_t from_ns;
	double passed_s;

	state_lock(state);
	proc = enter(state, 1, 100);
	from_ns = state->advanced_ns;
	/* Halfway through, throttling halves the rate: lazily, by whoever looks afterwards. */
	assert_int_equal(state_add_event(state, &(struct sim_event){.at_ns = from_ns + SIM_NS_PER_S,
								    .type = SIM_EVENT_SPEED,
								    .gpu = 1,
								    .factor = 0.5}),
			 0);
	state_unlock(state);
	while (state_now_ns(state) < from_ns + 3 * SIM_NS_PER_S)
		state_wait(state, state->generation, 1000000);
	state_lock(state);
	passed_s = (double)(state->advanced_ns - from_ns) / SIM_NS_PER_S;
	assert_true(passed_s >= 3);
	assert_true(fabs(proc->done_s - (0.5 + (passed_s - 1) * 0.25)) < 1e-6);
	state_unlock(state);
	(void)unlink(path);
}

static void a_killed_process_leaves_at_once(void **unused)
{
	struct sim_state *state = open_two();
	uint64_t start = 0;
	struct sim_proc *proc;
	pid_t child = fork();
	int status;

	assert_true(child >= 0);
	if (child == 0)
		for (;;)
			(void)pause();
	assert_int_equal(pid_start_time(child, &start), 0);
	state_lock(state);
	proc = state_attach(state, child, start, 0, -1);
	assert_int_equal(state_resize(state, proc, GIB), 0);
	state_unlock(state);
	assert_int_equal(kill(child, SIGKILL), 0);
	assert_int_equal(waitpid(child, &status, 0), child);
	state_lock(state);
	assert_int_equal(state_used_bytes(state, 0, -1), 0);
	assert_int_equal(state->procs_end, 0);
	state_unlock(state);
	(void)unlink(path);
}

static void a_reused_pid_is_not_the_process(void **unused)
{
	struct sim_state *state = open_two();
	uint64_t start = 0;

	assert_int_equal(pid_start_time(getpid(), &start), 0);
	state_lock(state);
	assert_non_null(state_attach(state, getpid(), start - 1, 0, -1));
	state->reaped_ns = 0; /* look again */
	state_unlock(state);
	state_lock(state);
	assert_int_equal(state->procs_end, 0);
	state_unlock(state);
	(void)unlink(path);
}

static void an_owner_that_dies_does_not_block(void **unused)
{
	struct sim_state *state = open_two();
	pid_t child = fork();
	int status;

	assert_true(child >= 0);
	if (child == 0) {
		state_lock(state);
		_exit(0); /* with the lock */
	}
	assert_int_equal(waitpid(child, &status, 0), child);
	state_lock(state);
	state_unlock(state);
	state_lock(state);
	state_unlock(state);
	(void)unlink(path);
}

static void events_happen_in_order_of_their_time(void **unused)
{
	struct sim_state *state = open_two();
	struct sim_event event = {.at_ns = 2, .type = SIM_EVENT_BACK, .gpu = 1};

	state_lock(state);
	assert_int_equal(state_add_event(state, &event), 0);
	event = (struct sim_event){
	    .at_ns = 1, .type = SIM_EVENT_LOST, .gpu = 1, .to = 999, .number = 79};
	assert_int_equal(state_add_event(state, &event), 0);
	assert_int_equal(state->events[0].type, SIM_EVENT_LOST);
	state_unlock(state);
	while (state_now_ns(state) < 2)
		;
	state_lock(state);
	assert_false(state->gpus[1].lost);
	assert_int_equal(state->gpus[1].lost_code, 999);
	assert_int_equal(state->n_xids, 1);
	assert_int_equal(state->xids[0].xid, 79);
	assert_int_equal(state->xids[0].gpu, 1);
	state_unlock(state);
	(void)unlink(path);
}

static void the_timeline_has_a_limit_and_forgets_the_past(void **unused)
{
	struct sim_state *state = open_two();
	struct sim_event event = {.at_ns = INT64_MAX, .type = SIM_EVENT_BACK};

	state_lock(state);
	for (int i = 0; i < SIM_EVENTS_MAX; i++)
		assert_int_equal(state_add_event(state, &event), 0);
	assert_int_equal(state_add_event(state, &event), -ENOSPC);
	state->next_event = 10;
	assert_int_equal(state_add_event(state, &event), 0);
	assert_int_equal(state->n_events, SIM_EVENTS_MAX - 9);
	state_unlock(state);
	(void)unlink(path);
}

static void a_ramp_of_temperature_is_followed(void **unused)
{
	struct sim_state *state = open_two();
	struct sim_event event = {
	    .type = SIM_EVENT_TEMPERATURE, .gpu = 0, .number = 95, .over_ns = 60 * SIM_NS_PER_S};

	state_lock(state);
	assert_int_equal(timeline_temperature_c(state, &state->gpus[0]), 35); /* idle */
	event.at_ns = state->advanced_ns;
	timeline_happen(state, &event);
	state->advanced_ns += 30 * SIM_NS_PER_S;
	assert_int_equal(timeline_temperature_c(state, &state->gpus[0]), 65);
	state->advanced_ns += 31 * SIM_NS_PER_S;
	assert_int_equal(timeline_temperature_c(state, &state->gpus[0]), 95);
	assert_int_equal(timeline_power_mw(state, &state->gpus[0]), 10000); /* 10 % idle */
	state_unlock(state);
	(void)unlink(path);
}

static void another_layout_is_refused(void **unused)
{
	struct sim_state *state = open_two(), *other = NULL;
	struct error err = {};

	state->layout++;
	assert_int_equal(state_open(path, &other, &err), -EPROTO);
	state->layout--;
	assert_int_equal(truncate(path, 100), 0);
	assert_int_equal(state_open(path, &other, &err), -EPROTO);
	(void)unlink(path);
	assert_int_equal(state_open(path, &other, &err), -ENOENT);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(memory_is_refused_at_the_edge),
	    cmocka_unit_test(an_overloaded_gpu_slows_all_alike),
	    cmocka_unit_test(progress_is_the_integral_of_the_rate),
	    cmocka_unit_test(a_killed_process_leaves_at_once),
	    cmocka_unit_test(a_reused_pid_is_not_the_process),
	    cmocka_unit_test(an_owner_that_dies_does_not_block),
	    cmocka_unit_test(events_happen_in_order_of_their_time),
	    cmocka_unit_test(the_timeline_has_a_limit_and_forgets_the_past),
	    cmocka_unit_test(a_ramp_of_temperature_is_followed),
	    cmocka_unit_test(another_layout_is_refused),
	};

	return cmocka_run_group_tests_name("sim_state", tests, NULL, NULL);
}
