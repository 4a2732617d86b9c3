/*
 * What a task asks for at this moment: what it said (spec.request), raised by its ladder, by what
 * was learned of its kind, and bounded by what the machine has. Worked out anew for each view of
 * the window, so that a hundred thousand waiting tasks carry nothing of it; kept in struct run once
 * it runs.
 */
#pragma once

#include "sched/sched_priv.h"

struct ask {
	struct place_request request;
	enum sched_vram_source source;
	/* It has its GPUs for itself because it ran out of memory: it is granted all the room there
	 * is there, since what keeps to its grant can use no more. request.vram_bytes is the least.
	 */
	bool whole;
	/* A size that nobody said: it goes by the room there is, which each start changes. */
	bool by_room;
	struct place_request on_cpu; /* place_task.on_cpu, when may_cpu */
	bool may_cpu;
	const char *cpu_why; /* place_task.cpu_why */
};

/* What one kind needs, as far as it was looked up. */
struct ask_need {
	const char *kind,
	    *pin; /* of the pool: the same text is the same pointer; on the CPU "cpu" */
	struct estimates_need need;
};

/* Asks of one moment: what was learned of each kind is looked up once. */
struct asker {
	const struct sched *sched;
	const struct ledger *ledger; /* borrowed */
	struct ask_need *needs;
	size_t n_needs, needs_room;
	uint64_t ram_most_bytes; /* what would be free if all of ours had ended */
};

void asker_init(struct asker *asker, const struct sched *sched, const struct ledger *ledger);
void asker_finish(struct asker *asker);
#define auto_asker CLEANUP(asker_finish)

/* What a text said that was asked for; 0 where it is far beyond all GPUs here. */
uint64_t oom_size(const struct sched *sched, uint64_t bytes);

void ask_now(struct asker *asker, const struct task_node *t, struct ask *ret_ask);

/* Without the machine and without what was learned: what it said and what its ladder made of it. */
struct place_request ask_said(const struct task_node *t);

/* What it said it needs of VRAM; 0 = nothing, or of a batch larger than it has by now. */
uint64_t ask_said_vram(const struct task_node *t);

/* Of the attempt that has its GPUs: what that was granted. */
struct place_request ask_granted(const struct task_node *t);
