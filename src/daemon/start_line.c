/* The ledger knows the counts after all starts of the turn; they are taken off and put back one by
 * one. */
#include "daemon/start_line.h"

#include "util/text.h"

#include <string.h>

static void count(struct start_lines *lines, const struct sched_attempt *attempt, bool add)
{
	for (unsigned g = 0; attempt && g < attempt->n_gpus; g++)
		for (size_t i = 0; lines->ledger && i < lines->ledger->n_gpus; i++)
			if (strcmp(lines->ledger->gpus[i].uuid, attempt->gpus[g].uuid) == 0) {
				if (add)
					lines->counts[i]++;
				else if (lines->counts[i] > 0)
					lines->counts[i]--;
			}
}

void start_lines_init(struct start_lines *lines, const struct sched *sched,
		      const struct sched_action *actions, size_t n)
{
	*lines = (struct start_lines){.list = sched_gpus(sched), .ledger = sched_ledger(sched)};
	if (!lines->ledger)
		return;
	lines->counts = mem_calloc(lines->ledger->n_gpus + 1, sizeof *lines->counts);
	for (size_t i = 0; i < lines->ledger->n_gpus; i++)
		lines->counts[i] = lines->ledger->gpus[i].n_tasks;
	for (size_t i = 0; i < n; i++) {
		const struct sched_task *task = sched_find(sched, actions[i].task);

		if (actions[i].type == SCHED_START && task)
			count(lines, sched_task_attempt(task), false);
	}
}

void start_lines_finish(struct start_lines *lines)
{
	ledger_destroy(lines->ledger);
	free(lines->counts);
}

static void add_gpu(struct text *line, const struct ledger_gpu *gpu, unsigned n,
		    const struct place_request *request)
{
	unsigned long long max = request->max_per_gpu;
	uint64_t vram = place_request_vram(request, gpu->load_line_bytes);

	if (max == 0 && gpu->vram_known && vram > 0)
		max = gpu->load_line_bytes / vram;
	/* Smaller tasks may be there already: more than there would be room for of this size. */
	max = max > 0 ? MAX_OF(max, (unsigned long long)n) : 0;
	text_printf(line, "%sGPU %u: %u", line->len ? " | " : "", gpu->index, n);
	if (max > 0)
		text_printf(line, "/%llu", max);
	text_printf(line, " task%s, ", max == 0 && n == 1 ? "" : "s");
	if (gpu->utilization_known)
		text_printf(line, "%u%% util", gpu->utilization_percent);
	else
		text_add(line, "util unknown");
}

char *start_lines_next(struct start_lines *lines, const struct sched_task *task,
		       const struct sched_attempt *attempt)
{
	struct text line = {};

	count(lines, attempt, true);
	/* How the GPUs do is not what somebody asks about it. */
	for (size_t i = 0; attempt->n_gpus > 0 && lines->ledger && i < lines->ledger->n_gpus; i++)
		add_gpu(&line, &lines->ledger->gpus[i], lines->counts[i], &task->spec.request);
	if (line.len == 0)
		text_add(&line, "on the CPU");
	return text_take(&line);
}
