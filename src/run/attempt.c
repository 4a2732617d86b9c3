/* See attempt.h. */
#include "run/attempt.h"

#include "run/log.h"

#include <sys/wait.h>

static const char *const state_names[ATTEMPT_N_STATES] = {
    [ATTEMPT_STARTING] = "starting", [ATTEMPT_RUNNING] = "running", [ATTEMPT_ENDING] = "ending",
    [ATTEMPT_ENDED] = "ended",       [ATTEMPT_FAILED] = "failed",
};

/* +1, so that what is not listed is 0 = no transition. */
#define TO(state) (ATTEMPT_##state + 1)

static const int transitions[ATTEMPT_N_STATES][ATTEMPT_N_EVENTS] = {
    [ATTEMPT_STARTING] =
	{
	    [ATTEMPT_EXEC_DONE] = TO(RUNNING),
	    [ATTEMPT_EXEC_FAILED] = TO(FAILED),
	    [ATTEMPT_LEADER_OVER] = TO(ENDING),
	},
    [ATTEMPT_RUNNING] =
	{
	    [ATTEMPT_LEADER_OVER] = TO(ENDING),
	},
    [ATTEMPT_ENDING] =
	{
	    [ATTEMPT_GROUP_EMPTY] = TO(ENDED),
	},
};

int attempt_next_state(enum attempt_state state, enum attempt_event event)
{
	return transitions[state][event] - 1;
}

struct attempt *attempt_create(const char *id)
{
	struct attempt *attempt = mem_calloc(1, sizeof *attempt);

	attempt->id = mem_strdup(id);
	attempt->by_id.id = attempt->id;
	attempt->by_pid.id = attempt->pid_text;
	attempt->watch_fd = -1;
	attempt->log_owner = LOG_ANY_OWNER;
	return attempt;
}

void attempt_destroy(struct attempt *attempt)
{
	if (!attempt)
		return;
	if (attempt->request) {
		protocol_request_finish(attempt->request);
		free(attempt->request);
	}
	(void)fd_close(attempt->watch_fd);
	free(attempt->id);
	free(attempt->fail_text);
	free(attempt->log_path);
	free(attempt->bounds);
	free(attempt->cgroup);
	free(attempt);
}

static void set(json_t *object, const char *key, json_t *value)
{
	(void)json_object_set_new(object, key, value);
}

static json_t *ended_event(const struct attempt *attempt)
{
	json_t *event = json_pack("{s:s, s:s}", "event", "ended", "attempt", attempt->id);

	if (attempt->lost)
		set(event, "lost", json_true());
	else if (WIFSIGNALED(attempt->wait_status))
		set(event, "signal", json_integer(WTERMSIG(attempt->wait_status)));
	else
		set(event, "exit_code", json_integer(WEXITSTATUS(attempt->wait_status)));
	set(event, "started_at", json_integer(attempt->started_at));
	set(event, "ended_at", json_integer(attempt->ended_at));
	set(event, "peak_ram_bytes", jsonx_u64_if(attempt->has_peak_ram, attempt->peak_ram_bytes));
	set(event, "cgroup_peak_bytes",
	    jsonx_u64_if(attempt->has_cgroup_peak, attempt->cgroup_peak_bytes));
	set(event, "cpu_seconds", jsonx_real_if(attempt->has_cpu, attempt->cpu_seconds, 6));
	set(event, "stragglers", json_integer(attempt->stragglers));
	set(event, "oom_kills", jsonx_u64_if(attempt->has_oom_base, attempt->oom_kills));
	return event;
}

json_t *attempt_event(const struct attempt *attempt)
{
	switch (attempt->state) {
	case ATTEMPT_RUNNING:
	case ATTEMPT_ENDING:
		return json_pack("{s:s, s:s, s:i, s:o, s:I, s:b, s:o}", "event", "started",
				 "attempt", attempt->id, "pid", (int)attempt->pid, "start_time",
				 jsonx_u64(attempt->start_time), "started_at",
				 (json_int_t)attempt->started_at, "adopted", attempt->adopted,
				 "bounds", jsonx_string_if(attempt->bounds));
	case ATTEMPT_ENDED:
		return ended_event(attempt);
	case ATTEMPT_FAILED:
		return json_pack("{s:s, s:s, s:i, s:o, s:b, s:b, s:b, s:I}", "event", "failed",
				 "attempt", attempt->id, "errno", attempt->fail_errno, "text",
				 jsonx_string_if(attempt->fail_text), "transient",
				 attempt->fail_transient ||
				     protocol_is_transient(attempt->fail_errno),
				 "as_task", attempt->fail_as_task, "never_ran", attempt->never_ran,
				 "ended_at", (json_int_t)attempt->ended_at);
	case ATTEMPT_STARTING:
	case ATTEMPT_N_STATES:
		break;
	}
	return NULL;
}

json_t *attempt_list_item(const struct attempt *attempt)
{
	return json_pack("{s:s, s:s, s:i, s:o, s:I, s:o, s:o}", "attempt", attempt->id, "state",
			 state_names[attempt->state], "pid", (int)attempt->pid, "start_time",
			 jsonx_u64(attempt->start_time), "started_at",
			 (json_int_t)attempt->started_at, "log", jsonx_string_if(attempt->log_path),
			 "ram_bytes", jsonx_u64_if(attempt->processes > 0, attempt->ram_bytes));
}

json_t *attempt_usage_item(const struct attempt *attempt)
{
	return json_pack("{s:s, s:o, s:o, s:i}", "attempt", attempt->id, "ram_bytes",
			 jsonx_u64(attempt->ram_bytes), "cpu_seconds",
			 jsonx_real_if(attempt->has_cpu, attempt->cpu_seconds, 3), "processes",
			 (int)attempt->processes);
}
