/*
 * The ladder of a task that runs out of memory (task.h says what each rung does). Pure: what it
 * fell from goes in, what it asks for next comes out.
 */
#pragma once

#include "sched/task.h"

/* How an attempt ran out of memory, and what the machine has. 0 = not known. */
struct ladder_fall {
	enum sched_outcome outcome; /* SCHED_OOM or SCHED_HOST_OOM */
	bool on_cpu;
	bool alone;            /* it had its GPUs for itself */
	bool growing, settled; /* as in oom_facts */
	/* VRAM on each GPU: granted, used at the most, and what it asked for on top when it fell.
	 */
	uint64_t granted_bytes, used_bytes, requested_bytes;
	uint64_t own_bytes; /* what it had when it asked, by its own words */
	uint64_t granted_ram_bytes, used_ram_bytes;
	uint64_t line_bytes;     /* load line of the smallest of its GPUs */
	uint64_t most_bytes;     /* the most that the GPUs it may have can ever give it */
	uint64_t most_ram_bytes; /* ... and the host */
	bool larger_gpus;        /* enough GPUs it may have are larger than line_bytes */
	bool larger_elsewhere;   /* ... were it not for its pin, to the GPU of this index */
	unsigned pin_index;
	unsigned batch_size; /* it ran with */
};

#define LADDER_TEXT_MAX 320

/* The rungs of a task: what it said, else the default. */
size_t ladder_rungs(const struct sched_spec *spec, struct sched_rung rungs[SCHED_RUNGS_MAX]);

/*
 * Up from where it stands to the next rung that can help; false: there is none, it has failed.
 * `text` says which, and what was passed over: "rung 1 of 4, retry with 15.6 GiB".
 */
bool ladder_climb(const struct sched_spec *spec, struct sched_ladder *ladder,
		  const struct ladder_fall *fall, char text[LADDER_TEXT_MAX]);

/* What the rung it stands on makes of the attempt that starts, `next`, in words: "retry: 15.6 GiB
 * instead of 6 GiB"; `last` is the attempt it fell from (NULL: not known). The caller frees; NULL
 * on the ground. */
char *ladder_text(const struct sched_spec *spec, const struct sched_ladder *ladder,
		  const struct sched_attempt *next, const struct sched_attempt *last);
