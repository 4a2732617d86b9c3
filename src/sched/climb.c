/*
 * What the ladder (ladder.h) is told of an attempt that ran out of memory: what it had and what the
 * machine could give it.
 */
#include "sched/ask.h"
#include "sched/ladder.h"
#include "sched/sched_priv.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Of the GPUs it ran on: the smallest load line, and whether it may have larger ones. */
static void fall_gpus(struct sched *sched, const struct task_node *t, struct ladder_fall *fall)
{
	const struct sched_attempt *attempt = &t->pub.attempts[t->pub.n_attempts - 1];
	struct place_request request = t->pub.spec.request;
	struct ledger *ledger = ledger_now(sched, NULL);
	size_t pinned;

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
	pinned = request.pin_uuid ? gpu_position(sched, request.pin_uuid) : SIZE_MAX;
	if (!fall->larger_gpus && fall->line_bytes > 0 && pinned != SIZE_MAX) {
		fall->pin_index = ledger->gpus[pinned].index;
		request.pin_uuid = NULL;
		fall->larger_elsewhere = place_most(ledger, &request, false) > 0;
	}
	ledger_destroy(ledger);
}

const char *task_kind(const struct task_node *t)
{
	if (t->run)
		return t->run->kind;
	return t->pub.ladder && t->pub.ladder->kind ? t->pub.ladder->kind : t->pub.spec.kind;
}

/* So much of a name tells kinds apart (struct estimates_row). */
#define KIND_MAX 128

void ladder_kind_renew(struct sched *sched, struct task_node *t)
{
	struct sched_ladder *ladder = t->pub.ladder;
	const char *kind = t->pub.spec.kind;
	char size[32], name[KIND_MAX];

	if (!ladder)
		return;
	string_pool_put(&sched->strings, ladder->kind);
	ladder->kind = NULL;
	if (!kind[0] || ladder->batch_size == 0 || ladder->batch_size >= t->pub.spec.batch_size)
		return;
	(void)snprintf(size, sizeof size, " (batch %u)", ladder->batch_size);
	(void)snprintf(name, sizeof name, "%.*s%s", (int)(sizeof name - 1 - strlen(size)), kind,
		       size);
	ladder->kind = string_pool_get(&sched->strings, name);
}

void ladder_drop(struct sched *sched, struct task_node *t)
{
	if (t->pub.ladder)
		string_pool_put(&sched->strings, t->pub.ladder->kind);
	free(t->pub.ladder);
	t->pub.ladder = NULL;
}

bool climb(struct sched *sched, struct task_node *t, const struct sched_end *end,
	   enum sched_outcome outcome, char *said)
{
	const struct sched_attempt *attempt = task_current(t);
	struct ladder_fall fall = {
	    .outcome = outcome,
	    .on_cpu = attempt->n_gpus == 0,
	    .alone = t->run->ask.exclusive,
	    .growing = overrun_was_growing(sched, t),
	    .settled = overrun_had_settled(t),
	    .granted_bytes = attempt->n_gpus > 0 ? attempt->gpus[0].vram_bytes : 0,
	    .used_bytes = attempt->peak_vram_bytes,
	    .requested_bytes = oom_size(sched, end->oom_requested_bytes),
	    .own_bytes = end->oom_used_bytes,
	    .granted_ram_bytes = attempt->ram_bytes,
	    .used_ram_bytes = attempt->peak_ram_bytes,
	    .most_ram_bytes = sched->host.ram_known ? sched->host.ram_total_bytes : 0,
	    .batch_size = attempt->batch_size,
	};
	bool climbed;

	if (attempt->n_gpus > 0)
		fall_gpus(sched, t, &fall);
	if (!t->pub.ladder)
		t->pub.ladder = mem_calloc(1, sizeof *t->pub.ladder);
	climbed = ladder_climb(&t->pub.spec, t->pub.ladder, &fall, said);
	ladder_kind_renew(sched, t);
	return climbed;
}
