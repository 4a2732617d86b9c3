/*
 * The ledger: what each GPU and the host have left to promise. DESIGN §2:
 *
 *	load line = total - reserve
 *	room      = load line - foreign - sum over ours of max(allocated, used)
 *		    - sum over holds of max(held, used)
 *
 * reserve: default max(5 % of total, 256 MiB, what the driver keeps for itself), per GPU.
 * foreign: used by processes that are not ours. Where per-process use is known it is the device's
 *used minus ours; where it is not, ours are taken to use what they were allocated. Unknown VRAM
 *(unified memory, a GPU that does not tell): room is unknown; only requests that promise no VRAM
 *are placed there. A stale or lost GPU has no room for anything.
 *
 * The host's RAM and CPUs are resources too: RAM room = available - sum over ours of what is
 *promised and not yet used, bounded by the cgroup limit.
 *
 * Pure: built from a sample and a list of allocations.
 */
#pragma once

#include "gpu/gpu.h"
#include "place/request.h"

struct ledger_gpu {
	char uuid[GPU_UUID_MAX];
	char model[GPU_NAME_MAX];
	unsigned index;
	bool usable;     /* healthy and fresh */
	bool vram_known; /* the sizes below mean something */
	uint64_t total_bytes, reserve_bytes, load_line_bytes;
	uint64_t allocated_bytes; /* sum of what ours were promised */
	uint64_t ours_bytes;      /* sum of max(allocated, used) of ours */
	uint64_t foreign_bytes;   /* without what holds explain */
	uint64_t held_bytes;      /* sum of max(held, used) of the holds ... */
	uint64_t held_owed_bytes; /* ... and of what of it is not used yet */
	uint64_t leaving_bytes;   /* the part of held_bytes that is about to come back */
	/* The part of foreign_bytes that processes of tasks which have ended still hold, and one of
	 * those processes. */
	uint64_t leftover_bytes, leftover_task;
	int leftover_pid;
	unsigned n_leftovers;
	uint64_t room_bytes; /* 0 when overdrawn */
	unsigned n_tasks;    /* ours, running or starting */
	bool held_exclusive; /* by one of ours */
	bool utilization_known;
	unsigned utilization_percent;
	double speed; /* relative throughput, prior from the catalogue; 0 = unknown */
	bool compute_known;
	unsigned compute; /* major * 10 + minor */
	/* Of ours: started, and what they use has not settled yet; and one of those sizes itself
	 * from the memory that is free. */
	unsigned n_unsettled;
	bool start_locked;
	/* Of ours: nothing of their kind was ever measured and they have not settled; and what they
	 * may need beyond what is counted for them. */
	unsigned n_unproven;
	uint64_t unproven_bytes;
	bool hold_closed; /* a hold lets nothing start */
	/* Since the last start here; negative: none is known. Whoever knows of a task that started
	 * here and has ended already writes it in. */
	double seconds_since_start;
	/* Of the rule for it, when there is one (struct ledger_rule). */
	uint64_t max_request_bytes;
	unsigned max_tasks;
	bool closed;
	char closed_text[160];
	char unusable_reason[160];
};

/* What the people of the machine said about a GPU: plimsoll.yaml, `gpus drain`. */
struct ledger_rule {
	char uuid[GPU_UUID_MAX];
	bool has_reserve;
	uint64_t reserve_bytes;     /* instead of the default */
	uint64_t max_request_bytes; /* only requests of at most this much VRAM; 0 = of any size. A
				       request that promises none is not taken then */
	unsigned max_tasks;         /* of ours at once; 0 = any number */
	bool closed;                /* nothing new starts here ... */
	char text[160];             /* ... why: "drained since 12:03", "opens at 22:00" */
};

/* A grant that is in force: one per (task, GPU). */
struct ledger_allocation {
	char uuid[GPU_UUID_MAX]; /* "" for a task on the CPU */
	uint64_t vram_bytes;     /* granted */
	bool used_known;
	uint64_t used_bytes; /* measured, all its processes on that GPU */
	uint64_t ram_bytes;  /* granted host RAM; counted once per task: 0 on its second GPU */
	uint64_t ram_used_bytes;
	unsigned cpu_milli;
	bool exclusive;
	bool start_lock;            /* as requested */
	bool unproven;              /* nothing of its kind was ever measured, nor of itself */
	bool settled;               /* what it uses does not grow any more */
	double seconds_since_start; /* negative: not known */
};

/* Room on a GPU that is kept for somebody who is none of our tasks: a service that was placed there
 * and may be idle, a task that has ended and whose memory has not come back. */
struct ledger_hold {
	char uuid[GPU_UUID_MAX];
	uint64_t bytes;
	uint64_t used_bytes; /* of it, in this sample: foreign otherwise */
	bool is_closed;      /* and nothing starts there while it is held */
	bool is_leaving;     /* of a task that has ended */
};

/* A process of a task that has ended holds memory still. Counted as foreign; for the reasons. */
struct ledger_leftover {
	char uuid[GPU_UUID_MAX];
	uint64_t bytes, task;
	int pid;
};

struct ledger_host {
	bool ram_known;
	uint64_t ram_total_bytes;     /* or the cgroup limit when that is less */
	uint64_t ram_available_bytes; /* now */
	unsigned cpu_milli;           /* all CPUs we may use; 0 = unknown */
};

struct ledger_options {
	/* By UUID, at most one for each; of GPUs that are not there too. */
	const struct ledger_rule *rules;
	size_t n_rules;
	const struct ledger_hold *holds;
	size_t n_holds;
	const struct ledger_leftover *leftovers;
	size_t n_leftovers;
	unsigned stagger_ms; /* between starts on one GPU, for every request; 0 = none */
	bool prove;          /* kinds that were never measured do not start in a crowd (fit.h) */
	/* Relative speed by GPU model; NULL or a return of 0 = unknown. */
	double (*speed)(void *data, const char *model);
	void *data;
};

struct ledger {
	struct ledger_gpu *gpus; /* same order as the list it was built from */
	size_t n_gpus;
	enum gpu_source_state source; /* why there is no GPU, when n_gpus is 0 */
	char source_text[320];
	bool ram_known;
	uint64_t ram_total_bytes, ram_room_bytes;
	unsigned cpu_milli_total, cpu_milli_room; /* total 0 = unknown */
	unsigned stagger_ms;
	bool prove;
	unsigned char *links; /* enum gpu_link, [a * n_gpus + b]; NULL: not known */
};

struct ledger *ledger_create(const struct gpu_list *list,
			     const struct ledger_allocation *allocations, size_t n_allocations,
			     const struct ledger_host *host, const struct ledger_options *options);
void ledger_destroy(struct ledger *ledger);
struct ledger *ledger_copy(const struct ledger *ledger);

/* How two of ledger->gpus reach each other. */
static inline enum gpu_link ledger_link(const struct ledger *ledger, size_t a, size_t b)
{
	return ledger->links ? (enum gpu_link)ledger->links[a * ledger->n_gpus + b]
			     : GPU_LINK_UNKNOWN;
}

/* What tasks of ours can have of a GPU at all: its load line less what is others'. */
static inline uint64_t ledger_capacity(const struct ledger_gpu *gpu)
{
	uint64_t left = gpu->load_line_bytes > gpu->foreign_bytes
			    ? gpu->load_line_bytes - gpu->foreign_bytes
			    : 0;

	return left > gpu->held_bytes ? left - gpu->held_bytes : 0;
}

/* What services keep of a GPU. */
static inline uint64_t ledger_services(const struct ledger_gpu *gpu)
{
	return gpu->held_bytes > gpu->leaving_bytes ? gpu->held_bytes - gpu->leaving_bytes : 0;
}

/* The most that something may need which was never measured, by its word: that may be too small by
 * 60 %. */
static inline uint64_t ledger_doubt(uint64_t word_bytes)
{
	return word_bytes > UINT64_MAX / 5 ? UINT64_MAX / 2 : word_bytes * 5 / 2;
}

/* The default reserve of a GPU. */
uint64_t ledger_default_reserve(const struct gpu *gpu);

/* Book one more grant (a decision just taken) into it. `gpu` indexes ledger->gpus. */
void ledger_book(struct ledger *ledger, const size_t *gpus, size_t n_gpus,
		 const struct place_request *request);
