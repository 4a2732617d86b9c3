/*
 * The walk down the queue. A task whose policy is simple is placed where that policy says as soon
 * as one is reached that fits; tasks under `auto` are looked at together, once, when the first of
 * them is reached, because their order is part of the decision. Work for the CPU goes out as soon
 * as the host has room: it never waits for a GPU.
 */
#include "place/place.h"

#include "place/auto.h"
#include "place/fit.h"
#include "place/policies.h"
#include "util/size.h"

#include <errno.h>
#include <string.h>

static const char *const cpu_modes[] = {
    [PLACE_CPU_NEVER] = "never",
    [PLACE_CPU_ONLY] = "only",
    [PLACE_CPU_FALLBACK] = "fallback",
    [PLACE_CPU_WHEN_IDLE] = "when-idle",
};

const char *place_cpu_mode_name(enum place_cpu_mode mode)
{
	return cpu_modes[mode];
}

int place_cpu_mode_parse(const char *name, enum place_cpu_mode *ret_mode, struct error *err)
{
	for (size_t i = 0; i < ARRAY_LEN(cpu_modes); i++)
		if (strcmp(name, cpu_modes[i]) == 0) {
			*ret_mode = (enum place_cpu_mode)i;
			return 0;
		}
	return error_set(
	    err, -EINVAL,
	    "must be \"never\", \"fallback\", \"when-idle\" or \"only\", not \"%.64s\"", name);
}

bool place_runs_on(const struct place_task *task, size_t gpu)
{
	for (size_t g = 0; g < task->n_gpus; g++)
		if (task->gpus[g] == gpu)
			return true;
	return false;
}

/* `why` it is not on a GPU. */
static void choose_cpu(const struct place_view *view, size_t waiting,
		       const struct place_request *request, const char *why,
		       struct place_decision *ret_decision)
{
	const struct ledger *ledger = view->ledger;
	struct reason reason = {.text = ret_decision->reason, .room = sizeof ret_decision->reason};

	*ret_decision = (struct place_decision){
	    .waiting = waiting,
	    .policy = view->waiting[waiting].policy,
	};
	reason_add(&reason, "CPU: %s", why);
	if (request->ram_bytes > 0 && ledger->ram_known)
		reason_add(&reason, ", %s RAM of %s free", SIZE_TEXT(request->ram_bytes),
			   SIZE_TEXT(ledger->ram_room_bytes));
	if (request->cpu_milli > 0 && ledger->cpu_milli_total > 0)
		reason_add(&reason, ", %.10g CPUs of %.10g free", request->cpu_milli / 1000.0,
			   ledger->cpu_milli_room / 1000.0);
}

/* Those that may do without a GPU when none would start them now. */
static bool choose_idle_cpu(const struct place_view *view, const struct fit_counts *counts,
			    struct place_decision *ret_decision)
{
	for (size_t i = 0; i < view->n_waiting; i++) {
		const struct place_task *task = &view->waiting[i];

		if (!task->on_cpu || (view->taken && view->taken[i]) ||
		    !fit_on_cpu(view->ledger, counts, task))
			continue;
		choose_cpu(view, i, task->on_cpu, "no GPU takes it now (--cpu when-idle)",
			   ret_decision);
		return true;
	}
	return false;
}

int place_next(const struct place_view *view, struct place_decision *ret_decision)
{
	auto_fit_counts struct fit_counts *counts = fit_counts_create(view);
	bool auto_done = false;

	for (size_t i = 0; i < view->n_waiting; i++) {
		const struct place_task *task = &view->waiting[i];
		bool on_gpu = !fit_is_cpu_only(task->request);

		if (view->taken && view->taken[i])
			continue;
		if (on_gpu && task->policy == PLACE_AUTO) {
			if (!auto_done && auto_choose(view, counts, ret_decision))
				return 1;
			auto_done = true;
			continue;
		}
		if (fit_host(view->ledger, counts, task) != FIT_OK)
			continue;
		if (!on_gpu) {
			choose_cpu(view, i, task->request,
				   task->cpu_why ? task->cpu_why : "asks for no GPU", ret_decision);
			return 1;
		}
		if (policy_choose(view, counts, i, task->policy, ret_decision))
			return 1;
	}
	return choose_idle_cpu(view, counts, ret_decision);
}

double place_wake_seconds(const struct place_view *view)
{
	auto_fit_counts struct fit_counts *counts = NULL;
	double soonest = -1;

	for (size_t i = 0; i < view->n_waiting; i++) {
		const struct place_task *task = &view->waiting[i];

		if ((view->taken && view->taken[i]) || fit_is_cpu_only(task->request) ||
		    MAX_OF(task->request->stagger_ms, view->ledger->stagger_ms) == 0)
			continue;
		if (!counts)
			counts = fit_counts_create(view);
		for (size_t gpu = 0; gpu < view->ledger->n_gpus; gpu++) {
			double seconds;

			if (fit_gpu(view->ledger, counts, task, gpu) != FIT_STAGGER)
				continue;
			seconds = fit_moment_seconds(view->ledger, task->request, gpu);
			if (soonest < 0 || seconds < soonest)
				soonest = seconds;
		}
	}
	return soonest;
}

void place_book(struct place_view *view, const struct place_decision *decision)
{
	const struct place_task *task = &view->waiting[decision->waiting];
	const struct place_request *request =
	    decision->n_gpus == 0 && task->on_cpu ? task->on_cpu : task->request;
	struct place_task *running;

	ledger_book(view->ledger, decision->gpus, decision->n_gpus, request);
	ARRAY_GROW(view->running, view->n_running, view->running_room);
	running = &view->running[view->n_running++];
	*running = *task;
	running->request = request;
	running->on_cpu = NULL;
	running->n_gpus = decision->n_gpus;
	memcpy(running->gpus, decision->gpus, sizeof running->gpus);
	running->elapsed_seconds = running->work_done_seconds = 0;
	if (view->taken)
		view->taken[decision->waiting] = true;
	if (decision->policy == PLACE_ROUND_ROBIN && decision->n_gpus > 0)
		view->round_robin = decision->gpus[decision->n_gpus - 1] + 1;
}
