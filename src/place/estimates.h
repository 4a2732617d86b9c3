/*
 * What was learned about kinds of tasks: how long they take on each GPU model, how much of the GPU
 * they keep busy, how much VRAM and RAM they peaked at. Durations are kept as *work*: the seconds
 * the task would take alone on that GPU model; contention is taken out before learning (a task that
 * ran t seconds while the utilisations on its GPU added up to u > 100 % did t x 100 / u of work).
 *
 * On a GPU that is full, the share of its time that a task gets tells its work x utilisation, but
 * not the two apart. Until the kind is seen on a GPU with time to spare, its utilisation is taken
 * to be the largest share seen, a floor; what is learned later moves work so that the product
 * stays.
 *
 * Where a kind was never seen on a model, its work there follows from another model by the ratio of
 * relative speeds (catalogue prior, refined by kinds seen on both); where it was never seen at all,
 * from the kinds around it by VRAM request; else it is unknown. Nothing is ever derived between a
 * GPU and the CPU: no prior says how much slower that is.
 *
 * A task may carry a hint of its size relative to the others of its kind (the size of its input
 * file, say). What a unit of it costs is learned with the rest; a hint that turns out to say
 * nothing about durations comes to count for nothing.
 *
 * Pure data; saved and loaded as profiles by the store.
 */
#pragma once

#include "gpu/gpu.h"

#include <stdbool.h>
#include <stdint.h>

struct estimates;

struct estimate {
	bool known; /* seen, or derived from something seen */
	bool seen;  /* on this very model */
	double
	    work_seconds; /* alone on the GPU; mean of what was learned, recent ones weigh more */
	double deviation_seconds;
	bool utilization_known;     /* may be so before `known`: it is measured while they run */
	bool utilization_is_floor;  /* only seen on full GPUs: it is that or more */
	double utilization_percent; /* of one such task alone; 100 when unknown */
	uint64_t peak_vram_bytes, peak_ram_bytes; /* largest seen; 0 = unknown */
	unsigned samples;
	double hint_mean;        /* of the hints learned from; 0 = none came with one */
	double seconds_per_hint; /* more work for each unit of hint above the mean */
};

/*
 * What one of a kind needs of memory, by what was measured: the 95th percentile (nearest rank) of
 * the last ESTIMATES_PEAKS peaks, on this model or, where fewer than ESTIMATES_FEW were seen there,
 * on all; with a margin of 10 % (at least 256 MiB) up to nine peaks, of 5 % (at least 128 MiB)
 * above. A peak of a task that ran out of memory is a floor: it counts while no other is larger.
 * Where runs that used nearly all of their grant ended well, as those do that size themselves by
 * it, the margin stops at that grant.
 */
#define ESTIMATES_PEAKS 32
#define ESTIMATES_FEW   3

/* The last peaks of one kind on one model, the oldest first. */
struct estimates_peaks {
	uint64_t bytes[ESTIMATES_PEAKS];
	uint16_t permille[ESTIMATES_PEAKS]; /* of what it said it needs; of a floor, that of what
					       it wanted. 0 = it said nothing, or not known */
	uint32_t floors; /* bit i: bytes[i] was of a task that ran out of memory */
	unsigned n;
	uint64_t open_bytes;    /* the largest of those that have not ended well; 0 = none, or one
				   ended well since */
	uint16_t open_permille; /* of that; as above */
};

struct estimates_need {
	bool oom_stopped; /* that of oom_vram_bytes was stopped: it was beyond its grant */
	unsigned peaks;   /* of VRAM (on the CPU: of RAM) that count, at most ESTIMATES_PEAKS
			     for each model */
	unsigned floors;  /* of those, peaks of runs that ran out of memory */
	unsigned ram_peaks;
	bool known;          /* ESTIMATES_FEW or more: good for a request */
	bool proven;         /* one has ended, or its use has settled: no stranger any more */
	uint64_t vram_bytes; /* with its margin; 0 = nothing measured */
	uint64_t ram_bytes;
	uint64_t p95_vram_bytes, p95_ram_bytes, max_vram_bytes; /* as measured */
	uint64_t oom_vram_bytes; /* the most that one which ran out of memory wanted at least
				    (place/oom.h), as long as no run ended well with less; 0 =
				    none. Measured; vram_bytes is above it */
	bool guessed;   /* vram_bytes is what is worth a try after an out of memory, and more than
			   what was measured; until one has ended well */
	unsigned ended; /* of `peaks`: ended well */
	uint64_t ended_p95_vram_bytes; /* of these alone; 0 = none */
	/* What they said and what they took, where those go together: the 95th percentile of
	 * measured / said. 0: nobody said anything, or all took about the same whatever they
	 * said. */
	unsigned said_permille;
	uint64_t small_said_bytes; /* the largest that was said and was too little; 0 = none */
};

/* One kind may be of all sizes: what was measured is of the sizes that were said. So what is said
 * counts by how wrong others were, and no further than the largest measured. Of a task that says
 * `said` (0 = nothing: what any of its kind takes): */
/* Measured to be needed; at most `said` where others got along with what they said. */
uint64_t estimates_measured_for(const struct estimates_need *need, uint64_t said);
/* That with its margin, or with the guess. */
uint64_t estimates_need_for(const struct estimates_need *need, uint64_t said);
/* What would do, for one that says more than any before as well. */
uint64_t estimates_enough_for(const struct estimates_need *need, uint64_t said);
/* Is what it says too little, by what was measured? */
bool estimates_is_too_small(const struct estimates_need *need, uint64_t said);

/* `model` NULL: whichever GPU; "": on the CPU, where only RAM counts. Quick: nothing is computed.
 */
struct estimates_need estimates_need_get(const struct estimates *estimates, const char *kind,
					 const char *model);

/* One finished attempt, or what is known of one that runs. */
struct estimates_sample {
	const char *kind, *model; /* model "" = on the CPU */
	double speed;             /* prior of the model, 0 = unknown */
	uint64_t vram_request_bytes;
	uint64_t said_bytes; /* of VRAM that it needs, in its own words; 0 = nothing */
	double work_seconds; /* contention taken out; <= 0 = not to be learned, it still runs */
	double utilization_percent; /* alone; < 0 = unknown */
	bool utilization_is_floor;  /* its share of a full GPU: alone it takes that or more */
	uint64_t peak_vram_bytes, peak_ram_bytes; /* 0 = unknown */
	double work_hint;                         /* place_task.work_hint of it; 0 = it had none */
	bool ended;         /* its peaks are final; else it runs and they may still grow: they count
			       for the need as long as no final one is there */
	bool out_of_memory; /* it ran out of the GPU's memory at peak_vram_bytes: a floor */
	bool stopped; /* it did not: it was stopped there, for it used more than it was granted */
	bool growing, settled;        /* as in oom_facts */
	uint64_t oom_requested_bytes; /* it asked for so much more then; 0 = not known */
	uint64_t oom_used_bytes;      /* and had so much, by its own words; 0 = not said */
	bool out_of_ram;              /* it ran out of the host's, at peak_ram_bytes */
	uint64_t granted_bytes;       /* of VRAM; 0 = all there was, or not said */
	unsigned batch_size;          /* it ran with; 0 = not known. Kept for people to see */
	int64_t at_ms;                /* realtime, for people to see; 0 = not said */
};

struct estimates *estimates_create(void);
void estimates_destroy(struct estimates *estimates);
void estimates_learn(struct estimates *estimates, const struct estimates_sample *sample);

struct estimate estimates_get(const struct estimates *estimates, const char *kind,
			      const char *model, double speed, uint64_t vram_request_bytes);

/* Work of one task with this hint (0 = none); 0 when the estimate is not known. */
double estimate_work(const struct estimate *estimate, double work_hint);

/* For the store: one row per (kind, model). */
struct estimates_row {
	char kind[128], model[GPU_NAME_MAX];
	double speed;
	uint64_t vram_request_bytes;
	double work_seconds, variance;
	double utilization_percent; /* < 0 = unknown (floors are not kept) */
	uint64_t peak_vram_bytes, peak_ram_bytes;
	unsigned samples;
	double hint_mean, hint_variance, hint_covariance; /* of hints, and of hint with work */
	unsigned hint_samples;
	unsigned runs; /* ended, however */
	struct estimates_peaks vram, ram;
	bool oom_stopped;      /* that of oom_vram_bytes was stopped for it */
	uint16_t oom_permille; /* of what that one said; 0 = nothing, or not known */
	uint64_t oom_vram_bytes, enough_vram_bytes; /* see struct estimates_need; 0 = none */
	uint64_t oom_next_bytes; /* what to try after an out of memory; 0 = one ended well since */
	unsigned batch_size;     /* of the last that had one */
	int64_t first_at_ms, last_at_ms;
};
/* All, or those that changed since estimates_stored(); the caller frees the array. */
size_t estimates_rows(const struct estimates *estimates, bool changed_only,
		      struct estimates_row **ret_rows);
/* What changed is on the disk. */
void estimates_stored(struct estimates *estimates);
/* Of one kind; returns how many. */
size_t estimates_kind_rows(const struct estimates *estimates, const char *kind,
			   struct estimates_row **ret_rows);
/* Nothing is known of this kind (NULL: of any) any more; false: nothing was. What runs is learned
 * from anew. */
bool estimates_forget(struct estimates *estimates, const char *kind);
void estimates_load(struct estimates *estimates, const struct estimates_row *rows, size_t n);
