/*
 * What the ladder (ladder.h) is told of an attempt that ran out of memory: what it had and what the
 * machine could give it.
 */
#include "sched/ladder.h"
#include "sched/sched_priv.h"

/* Of the GPUs it ran on: the smallest load line, and whether it may have larger ones. */
static void fall_gpus(struct sched *sched, const struct task_node *t, struct ladder_fall *fall)
{
	const struct sched_attempt *attempt = &t->pub.attempts[t->pub.n_attempts - 1];
	struct place_request request = t->pub.spec.request;
	struct ledger *ledger = ledger_now(sched, NULL);

	fall->most_bytes = place_most(ledger, &request, false);
	if (t->user->limits.max_vram_bytes > 0)
		fall->most_bytes =
		    MIN_OF(fall->most_bytes ? fall->most_bytes : UINT64_MAX,
			   t->user->limits.max_vram_bytes / MAX_OF(request.gpus, 1U));
	for (unsigned g = 0; g < attempt->n_gpus; g++) {
		const struct sched_grant *grant = &attempt->gpus[g];
		size_t i = gpu_position(sched, grant->uuid);
		uint64_t line = i != SIZE_MAX ? ledger->gpus[i].load_line_bytes : 0;

		if (line > 0 && (fall->line_bytes == 0 || line < fall->line_bytes))
			fall->line_bytes = line;
	}
	request.line_above_bytes = fall->line_bytes;
	fall->larger_gpus = fall->line_bytes > 0 && place_most(ledger, &request, false) > 0;
	ledger_destroy(ledger);
}

bool climb(struct sched *sched, struct task_node *t, const struct sched_end *end,
	   enum sched_outcome outcome, char *said)
{
	const struct sched_attempt *attempt = task_current(t);
	struct ladder_fall fall = {
	    .outcome = outcome,
	    .on_cpu = attempt->n_gpus == 0,
	    .alone = t->run->ask.exclusive,
	    .granted_bytes = attempt->n_gpus > 0 ? attempt->gpus[0].vram_bytes : 0,
	    .used_bytes = attempt->peak_vram_bytes,
	    .requested_bytes = end->oom_requested_bytes,
	    .own_bytes = end->oom_used_bytes,
	    .granted_ram_bytes = attempt->ram_bytes,
	    .used_ram_bytes = attempt->peak_ram_bytes,
	    .most_ram_bytes = sched->host.ram_known ? sched->host.ram_total_bytes : 0,
	    .batch_size = attempt->batch_size,
	};

	if (attempt->n_gpus > 0)
		fall_gpus(sched, t, &fall);
	if (!t->pub.ladder)
		t->pub.ladder = mem_calloc(1, sizeof *t->pub.ladder);
	return ladder_climb(&t->pub.spec, t->pub.ladder, &fall, said);
}
