/*
 * The GPU model: what is known of each GPU at one moment. A GPU is known by its UUID; the index is
 * for people. A MIG instance is a GPU of its own. Every measured field has a validity bit: unknown
 * is a value of its own and never 0. This header is pure data (src/place uses it); how it is
 * sampled is in gpu/sampler.h.
 */
#pragma once

#include "util/error.h"
#include "util/jsonx.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#define GPU_UUID_MAX 96 /* NVML's NVML_DEVICE_UUID_V2_BUFFER_SIZE */
/* Of memory of one GPU, and so of what is wanted of it: more than any has, and the sums of all that
 * can be said stay far below 2^64. Who reads a size checks it, and says where it stood. */
#define GPU_BYTES_MAX     ((uint64_t)1 << 48)
#define GPU_NAME_MAX      96
#define GPU_PCI_MAX       32
#define GPU_LIST_MAX      256  /* more devices than this are an error, not a surprise */
#define GPU_PROCESSES_MAX 4096 /* processes of one GPU */

/* The index of a MIG instance: GPU 0's are 1000, 1001, ...; GPU 1's 2000, ... It cannot collide
 * with a whole GPU's (GPU_LIST_MAX). People may also write "0:1", as for nvidia-smi. While a GPU
 * has instances, they are listed in its place. */
#define GPU_MIG_INDEX(parent, instance) (1000 * ((parent) + 1) + (instance))

enum gpu_field_FLAGS {
	GPU_TOTAL = 1 << 0,           /* vram.total_bytes */
	GPU_USED = 1 << 1,            /* vram.used_bytes */
	GPU_FREE = 1 << 2,            /* vram.free_bytes */
	GPU_DRIVER_RESERVED = 1 << 3, /* vram.driver_reserved_bytes: only the v2 call tells */
	GPU_UTILIZATION = 1 << 4,
	GPU_TEMPERATURE = 1 << 5,
	GPU_POWER = 1 << 6,
	GPU_POWER_LIMIT = 1 << 7,
	GPU_COMPUTE_CAPABILITY = 1 << 8,
	GPU_PROCESSES = 1 << 9, /* the process list could be read (it may be empty) */
	GPU_CLOCKS = 1 << 10,
};

enum gpu_health {
	GPU_HEALTH_OK,
	GPU_HEALTH_LOST,        /* NVML says "GPU is lost", or it fell off the bus */
	GPU_HEALTH_NEEDS_RESET, /* "GPU requires reset" */
	GPU_HEALTH_ERROR,       /* another error from its calls; see health_text */
	GPU_HEALTH_STALE, /* the sample is older than the deadline; numbers are the last good ones
			   */
};

struct gpu_process {
	pid_t pid;
	uint64_t
	    start_time; /* as in util/pidref.h; 0 when the pid is not in our /proc: it has ended and
			   the driver still lists it, or it is of another pid namespace */
	bool used_known; /* false under WSL2, WDDM and for some foreign processes */
	uint64_t used_bytes;
	/* Its share of the GPU's time since the sample before; on a full GPU less than it would
	 * take alone. Unknown for a process that was idle, and on MIG instances. */
	bool utilization_known;
	unsigned utilization_percent;
	bool graphics;      /* only in the graphics list */
	char name[64];      /* command name, "" when unknown */
	char container[64]; /* container name or short id, "" when none or unknown */
};

struct gpu {
	unsigned index; /* NVML's, at the time of the sample: not stable over reboots or losses. A
			   lost GPU keeps its own unless another has it now */
	char uuid[GPU_UUID_MAX]; /* "" only for a lost GPU that was never seen healthy */
	char
	    name[GPU_NAME_MAX]; /* the GPU model: "NVIDIA RTX A5500"; profiles are kept per model */
	char pci_bus_id[GPU_PCI_MAX];
	char parent_uuid[GPU_UUID_MAX]; /* of a MIG instance, else "" */
	unsigned valid;                 /* enum gpu_field_FLAGS */
	enum gpu_health health;
	char health_text[160];  /* why it is not OK, in words with the NVML code; "" when OK */
	int64_t stale_since_ms; /* realtime, when health is STALE */

	/* used_bytes is what processes hold, without the driver's own reserve (v2 semantics). When
	 * only the v1 call answered, the reserve is in it and GPU_DRIVER_RESERVED is not set.
	 * free_bytes is the same number in both. */
	struct {
		uint64_t total_bytes, used_bytes, free_bytes, driver_reserved_bytes;
	} vram;
	bool unified_memory; /* NVML does not report memory: total is unknown unless read from the
				host */
	unsigned compute_capability; /* major * 10 + minor: 86 */
	unsigned utilization_percent;
	int temperature_celsius;
	unsigned power_milliwatts, power_limit_milliwatts;
	unsigned clock_graphics_mhz, clock_memory_mhz;

	struct gpu_process *processes; /* owned by the list */
	size_t n_processes;
};

/* How two GPUs reach each other, nearest first: a larger one is farther. */
enum gpu_link {
	GPU_LINK_UNKNOWN,
	GPU_LINK_BOARD,       /* on one board, or MIG instances of one GPU */
	GPU_LINK_NVLINK,      /* straight over NVLink, or through an NVSwitch */
	GPU_LINK_SWITCH,      /* one PCIe switch */
	GPU_LINK_SWITCHES,    /* several PCIe switches, no host bridge */
	GPU_LINK_HOST_BRIDGE, /* the host bridge of one CPU */
	GPU_LINK_NODE,        /* host bridges of one NUMA node */
	GPU_LINK_SYSTEM,      /* the link between NUMA nodes */
	GPU_LINK_COUNT,
};
const char *gpu_link_name(enum gpu_link link); /* "board", "nvlink", "switch", ... */

/* Links between whole GPUs, as found when they were discovered. */
struct gpu_topology {
	size_t n;
	char (*uuids)[GPU_UUID_MAX];
	unsigned char *links; /* enum gpu_link, [a * n + b], the same both ways */
};

enum gpu_source_state {
	GPU_SOURCE_OK,
	GPU_SOURCE_NO_LIBRARY, /* libnvidia-ml.so(.1) is not there */
	GPU_SOURCE_NO_DRIVER,  /* NVML 9 */
	GPU_SOURCE_MISMATCH,   /* NVML 18: driver and library versions differ */
	GPU_SOURCE_NO_GPUS,    /* initialised, count 0 */
	GPU_SOURCE_ERROR,      /* any other NVML error of initialisation */
	GPU_SOURCE_STALE,      /* the last call hangs: the list is the last good one */
	GPU_SOURCE_UNKNOWN,    /* no sample yet */
};

/* One sample of the whole machine. */
struct gpu_list {
	enum gpu_source_state state;
	char text[320];         /* what is wrong and what to do; "" when OK */
	int64_t sampled_at_ms;  /* realtime when the last good sample began, 0 = never */
	int64_t stale_since_ms; /* when state is STALE */
	char driver_version[80], nvml_version[80];
	int cuda_version; /* 12060 = 12.6; 0 unknown */
	struct gpu *gpus; /* sorted by index */
	size_t n;
	struct gpu_topology topology; /* n 0: nothing is known of it. Owned */
};

static inline bool gpu_has(const struct gpu *gpu, unsigned fields)
{
	return (gpu->valid & fields) == fields;
}

/* May new work be placed on it (healthy and fresh)? Its VRAM may still be unknown. */
static inline bool gpu_is_usable(const struct gpu *gpu)
{
	return gpu->health == GPU_HEALTH_OK;
}

const char *gpu_health_name(
    enum gpu_health health); /* "ok", "lost", "needs-reset", "error", "stale" */
const char *gpu_source_name(enum gpu_source_state state); /* "ok", "no-library", "no-driver", ... */
/* The enum's value, or -EINVAL. NULL is fine. */
int gpu_source_from_name(const char *name);
int gpu_health_from_name(const char *name);

struct gpu_list *gpu_list_create(void);
struct gpu_list *gpu_list_copy(const struct gpu_list *list);
void gpu_list_destroy(struct gpu_list *list);
static inline void gpu_list_cleanup(struct gpu_list **list)
{
	gpu_list_destroy(*list);
}
#define auto_gpu_list CLEANUP(gpu_list_cleanup)

/* Append an empty GPU; the pointer is valid until the next append. */
struct gpu *gpu_list_append(struct gpu_list *list);
struct gpu_process *gpu_append_process(struct gpu *gpu);

/* Sort by index. */
void gpu_list_sort(struct gpu_list *list);

/* Take over from the sample before what `next` cannot say: a GPU that answers no more is named and
 * reported lost instead of vanishing; when NVML itself cannot be asked (state neither OK nor
 * NO_GPUS) the GPUs of `prev` follow as stale. NULL `prev` is a no-op. Pure. */
void gpu_list_carry_over(struct gpu_list *next, const struct gpu_list *prev);

/* State STALE since the last good sample (since `now_ms` when there was none), healthy GPUs too. */
void gpu_list_mark_stale(struct gpu_list *list, int64_t now_ms, const char *text);

/* By UUID; NULL when not there. */
const struct gpu *gpu_list_find(const struct gpu_list *list, const char *uuid);

/* MIG instances are as near as their GPUs, and instances of one GPU on one board. UNKNOWN for a GPU
 * and itself too. */
enum gpu_link gpu_list_link(const struct gpu_list *list, const struct gpu *a, const struct gpu *b);

/* Room for the links between n GPUs, all unknown; what was there is freed. */
void gpu_topology_init(struct gpu_topology *topology, size_t n);
void gpu_topology_finish(struct gpu_topology *topology);
void gpu_topology_copy(struct gpu_topology *to, const struct gpu_topology *from);
/* Both ways. */
void gpu_topology_set(struct gpu_topology *topology, size_t a, size_t b, enum gpu_link link);

/* A model without whose it is: "RTX A5500". */
const char *gpu_short_name(const char *model);

/* What a person wrote: "1", "cuda:1", "0:1" (MIG instance), a PCI bus id, a UUID or a unique prefix
 * of one. -ENOENT / -EINVAL with a text that names the GPUs there are. */
int gpu_list_resolve(const struct gpu_list *list, const char *text, const struct gpu **ret_gpu,
		     struct error *err) MUST_CHECK;

/* Events beside the samples. A fault inside a MIG instance names the whole GPU. */
enum gpu_event_type { GPU_EVENT_XID };
struct gpu_event {
	enum gpu_event_type type;
	char uuid[GPU_UUID_MAX];
	unsigned xid; /* 999: unknown */
	int64_t at_ms;
};
json_t *gpu_event_to_json(const struct gpu_event *event);
int gpu_event_from_json(const json_t *json, struct gpu_event *ret_event,
			struct error *err) MUST_CHECK;

/* The helper process speaks this JSON; it is also what the API's raw sample is made of. */
/* {"gpus": [uuid...], "links": [[name or null...]...]}, null when nothing is known. */
json_t *gpu_topology_to_json(const struct gpu_topology *topology);
/* Into an empty one; it is to be finished on failure too. */
int gpu_topology_from_json(const json_t *json, struct gpu_topology *topology,
			   struct error *err) MUST_CHECK;
json_t *gpu_list_to_json(const struct gpu_list *list);
int gpu_list_from_json(const json_t *json, struct gpu_list **ret_list,
		       struct error *err) MUST_CHECK;
