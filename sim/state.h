/*
 * The state of one simulation: a file, mapped by every process that takes part (the NVML library in
 * any client, plimsoll-simtask, plimsoll-sim), under one robust mutex. Its layout has a version;
 * a reader of another version refuses it. Times inside are nanoseconds of simulated time since the
 * start: wall time divided by the time scale. Everything that changes by itself (the timeline, the
 * progress of tasks, processes that died) is brought up to date by whoever takes the lock.
 */
#pragma once

#include "util/error.h"

#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#define SIM_STATE_ENV   "PLIMSOLL_SIM_STATE"
#define SIM_MAGIC       0x4d53304c4d494c50ULL /* "PLIML0SM" */
#define SIM_LAYOUT      5U
#define SIM_GPUS_MAX    16
#define SIM_MIGS_MAX    8
#define SIM_PROCS_MAX   1024
#define SIM_EVENTS_MAX  512
#define SIM_XIDS_MAX    64
#define SIM_FAULTS_MAX  16
#define SIM_MISSING_MAX 32
#define SIM_HELPERS_MAX 64
#define SIM_PATTERN_MAX 64
#define SIM_NAME_MAX    96
#define SIM_NS_PER_S    1000000000LL
#define SIM_GPU_ALL     (-1)
#define SIM_TIME_NEVER  INT64_MAX

/* Answer `code` to the functions whose names match `pattern` (fnmatch). */
struct sim_fault {
	char pattern[SIM_PATTERN_MAX];
	int32_t code;
};

enum sim_listing {                       /* what becomes of a lost GPU in the list of devices */
		   SIM_LISTING_KEEP,     /* it keeps its index, its handle fails */
		   SIM_LISTING_SMALLER,  /* the same, and the count is one less */
		   SIM_LISTING_RENUMBER, /* it is gone, those behind it move up */
};

enum sim_memory_v2 {
	SIM_MEMORY_V2_REAL,    /* 13 to version = 2, as real drivers answer */
	SIM_MEMORY_V2_LENIENT, /* takes version = 2 too */
	SIM_MEMORY_V2_REFUSED, /* 13 to everyone */
};

enum SIM_QUIRK_FLAGS {
	SIM_QUIRK_MEMORY_UNSUPPORTED = 1 << 0,     /* unified memory: both memory calls say so */
	SIM_QUIRK_MEMORY_ZERO = 1 << 1,            /* total, free and used read 0 */
	SIM_QUIRK_PROCESS_MEMORY_UNKNOWN = 1 << 2, /* WSL: ~0 per process */
	SIM_QUIRK_LIST_GROWS = 1 << 3, /* between the size query and the reading one more came */
	SIM_QUIRK_SIZE_ALWAYS_100 = 1 << 4, /* the size query of process samples answers 100 */
	SIM_QUIRK_STALE_SAMPLES = 1 << 5,   /* samples of a dead pid, old, above 100 % */
	SIM_QUIRK_DEAD_PROCESSES = 1 << 6,  /* a dead pid stays in the process list */
};

struct sim_mig {
	bool there; /* false: a hole in the list */
	char name[SIM_NAME_MAX];
	char uuid[SIM_NAME_MAX];
	uint64_t total_bytes;
	uint32_t gpu_instance;
	uint32_t compute_instance;
	uint32_t multiprocessors;
	uint32_t slices;
};

/* How it is set and how it is, as `condition` of a scenario says; all 0: as it should be. */
struct sim_condition {
	uint32_t no_persistence;
	uint32_t compute_mode; /* NVML's: 0 default, 2 prohibited, 3 exclusive process */
	uint32_t ecc_errors;   /* uncorrected, since the last reset */
	uint32_t remapped, remap_pending, remap_failed;
	uint32_t clock_reasons; /* NVML's bits, beside those that follow from the load */
	uint32_t recovery;      /* NVML's action */
	uint32_t pcie_width;    /* lanes now; 0: all */
	uint32_t power_default; /* W; 0: the limit is the default */
};

struct sim_gpu {
	/* what it is */
	char model[SIM_NAME_MAX]; /* catalogue name, "" when explicit */
	char name[SIM_NAME_MAX];
	char uuid[SIM_NAME_MAX];
	char serial[32]; /* "" = not reported */
	uint32_t pci_domain, pci_bus, pci_device, pci_id;
	uint32_t minor;
	uint32_t cc_major, cc_minor;
	uint32_t cores, multiprocessors;
	uint32_t bus_width_bits, clock_mhz, memory_clock_mhz;
	uint32_t pcie_generation, pcie_width;
	uint32_t power_limit_mw;
	uint64_t total_bytes, reserved_bytes;
	uint64_t other_bytes; /* used by no process in the list */
	bool has_fan, ecc, display;
	struct sim_condition condition;
	double speed;
	bool mig_mode;
	uint32_t n_migs; /* length of the list, holes included */
	struct sim_mig migs[SIM_MIGS_MAX];

	/* how it misbehaves */
	uint32_t quirks;      /* SIM_QUIRK_FLAGS */
	int32_t error;        /* every call on the device answers this; 0 = none */
	int32_t handle_error; /* so does asking for its handle */
	uint32_t n_faults;
	struct sim_fault faults[SIM_FAULTS_MAX];
	bool lost;
	int32_t lost_code;     /* 15 or 999: what the handle and the calls answer once it is lost */
	uint32_t lost_listing; /* enum sim_listing */
	bool hung;             /* calls on it do not return */
	int64_t delay_ms;      /* every call on it takes this long (wall time) */
	uint32_t size_queries; /* for SIM_QUIRK_LIST_GROWS */

	/* what its sensors show; -1 = follows from the load */
	int32_t temperature_c, power_mw, fan_percent;
	int32_t ramp_from_c; /* the temperature climbs from here to temperature_c … */
	int64_t ramp_start_ns, ramp_end_ns; /* … between these times */
	uint32_t other_percent;             /* load by no task */
	double throttle;                    /* factor on the speed */
	int64_t energy_mj;

	/* what happened, for tests */
	uint64_t peak_used_bytes;
	int64_t peak_at_ns;
	uint64_t oom_count;
	uint64_t tasks_started;
};

/* How two GPUs reach each other. */
enum sim_link {
	SIM_LINK_UNKNOWN, /* the library does not support the question */
	SIM_LINK_BOARD,
	SIM_LINK_NVLINK,
	SIM_LINK_NVSWITCH,
	SIM_LINK_SWITCH,
	SIM_LINK_SWITCHES,
	SIM_LINK_HOST_BRIDGE,
	SIM_LINK_NODE,
	SIM_LINK_SYSTEM,
	SIM_LINK_COUNT,
};

enum sim_kind { SIM_KIND_COMPUTE = 1, SIM_KIND_GRAPHICS = 2, SIM_KIND_MPS = 4 }; /* bits */

struct sim_proc {
	int32_t pid; /* 0 = free slot */
	uint64_t start_time;
	bool fixed; /* a pid given by the scenario: stays listed whether it lives or not */
	int32_t gpu;
	int32_t mig; /* -1 = the whole GPU */
	uint32_t kind;
	char name[SIM_NAME_MAX];
	uint64_t used_bytes;
	uint32_t percent;
	int64_t ends_ns;   /* foreign: leaves then */
	int64_t active_ns; /* last time it kept the GPU busy */
	bool working;      /* takes part in the sharing of the GPU */
	double done_s;     /* seconds of work done, of a speed 1.0 otherwise idle GPU */
};

enum sim_event_type {
	SIM_EVENT_LOST,
	SIM_EVENT_BACK,
	SIM_EVENT_XID,
	SIM_EVENT_HANG,
	SIM_EVENT_UNHANG,
	SIM_EVENT_SLOW,
	SIM_EVENT_TEMPERATURE,
	SIM_EVENT_POWER,
	SIM_EVENT_FAN,
	SIM_EVENT_UTILIZATION,
	SIM_EVENT_SPEED,
	SIM_EVENT_ERROR,
	SIM_EVENT_FOREIGN,
	SIM_EVENT_MISMATCH,
	SIM_EVENT_NO_DRIVER,
	SIM_EVENT_DRIVER_OK,
	SIM_EVENT_COUNT,
};

struct sim_event {
	int64_t at_ns;
	int32_t type;    /* enum sim_event_type */
	int32_t gpu;     /* SIM_GPU_ALL: all of them */
	int64_t number;  /* XID, degrees, mW, percent, ms, return code; its meaning goes by type */
	int64_t to;      /* target of a ramp */
	int64_t over_ns; /* length of a ramp, 0 = at once */
	double factor;
	uint32_t listing;
	/* foreign */
	int32_t pid;
	uint64_t start_time;
	bool fixed;
	uint32_t kind;
	uint64_t bytes;
	int64_t ends_ns;
	char name[SIM_NAME_MAX];
};

struct sim_xid {
	uint64_t sequence; /* from 1 */
	int32_t gpu;
	int64_t xid;
};

struct sim_helper {
	int32_t pid;
	uint64_t start_time;
};

struct sim_state {
	uint64_t magic;
	uint32_t layout;
	uint32_t size;
	pthread_mutex_t mutex;
	uint32_t generation; /* futex word: bumped at every change a waiting task may care about */
	int64_t start_ns;    /* CLOCK_MONOTONIC */
	double time_scale;   /* wall seconds per simulated second */
	int64_t advanced_ns; /* up to here everything has been brought up to date */
	char driver_version[80];
	char nvml_version[80];
	int32_t cuda_version; /* 12060 */

	int32_t init_error; /* 0, 9, 18, … */
	bool hung;          /* every call hangs, init too */
	int64_t delay_ms;
	uint32_t process_stride; /* 24 or 32 */
	uint32_t memory_v2;      /* enum sim_memory_v2 */
	uint32_t n_missing;
	char missing[SIM_MISSING_MAX][SIM_PATTERN_MAX]; /* names the library does not export */

	uint32_t n_gpus;
	struct sim_gpu gpus[SIM_GPUS_MAX];
	uint8_t links[SIM_GPUS_MAX][SIM_GPUS_MAX]; /* enum sim_link, the same both ways */
	uint32_t n_events, next_event; /* sorted by time; those before next_event have happened */
	struct sim_event events[SIM_EVENTS_MAX];
	uint64_t n_xids; /* ever; the last SIM_XIDS_MAX are kept */
	struct sim_xid xids[SIM_XIDS_MAX];
	uint32_t procs_end; /* slots from here on are free */
	struct sim_proc procs[SIM_PROCS_MAX];
	int64_t reaped_ns; /* CLOCK_MONOTONIC of the last look into /proc */
	uint32_t n_helpers;
	struct sim_helper helpers[SIM_HELPERS_MAX]; /* stand-ins for foreign processes */
};

/* Write `image` (filled by scenario.h) as a fresh state file, mode 0600; the clock starts now. */
int state_create(const char *path, struct sim_state *image, struct error *err) MUST_CHECK;

/* Map the file; it stays mapped for the life of the process. -ENOENT, -EPROTO: not a state file or
 * of another layout. */
int state_open(const char *path, struct sim_state **ret_state, struct error *err) MUST_CHECK;

/* state_open() of $PLIMSOLL_SIM_STATE; -ENOENT when it is not set. */
int state_open_environment(struct sim_state **ret_state, struct error *err) MUST_CHECK;

/* Take the lock and bring the state up to date. An owner that died is survived. */
void state_lock(struct sim_state *state);
void state_unlock(struct sim_state *state);

/* Simulated time since the start. */
int64_t state_now_ns(const struct sim_state *state);

/* Wait until somebody called state_notify() or `wall_ns` passed. The lock must not be held;
 * `generation` is the value seen under it. */
void state_wait(struct sim_state *state, uint32_t generation, int64_t wall_ns);
void state_notify(struct sim_state *state); /* lock held */

/* All below: lock held. */

/* Bytes used by the processes on a GPU (mig -1) or an instance, and what no process explains;
 * without the reserved part. */
uint64_t state_used_bytes(const struct sim_state *state, int gpu, int mig);
uint64_t state_free_bytes(const struct sim_state *state, int gpu, int mig);

/* Sum of the loads on a GPU or an instance, not cut at 100. */
uint32_t state_load_percent(const struct sim_state *state, int gpu, int mig);

/* Simulated seconds of work a task on it gets done in one simulated second. */
double state_rate(const struct sim_state *state, int gpu, int mig);

/* Enter a process with no memory yet. NULL: all slots taken. */
struct sim_proc *state_attach(struct sim_state *state, pid_t pid, uint64_t start_time, int gpu,
			      int mig);

/* Set what a process holds. -ENOMEM (and the GPU's count of such failures goes up): no room. */
int state_resize(struct sim_state *state, struct sim_proc *proc, uint64_t bytes) MUST_CHECK;

void state_detach(struct sim_state *state, struct sim_proc *proc);

/* Add an event, kept sorted. -ENOSPC when the timeline is full. */
int state_add_event(struct sim_state *state, const struct sim_event *event) MUST_CHECK;

static inline void state_lock_cleanup(struct sim_state **state)
{
	if (*state)
		state_unlock(*state);
}
/* `auto_unlock struct sim_state *locked = state;` after state_lock(state). */
#define auto_unlock CLEANUP(state_lock_cleanup)
