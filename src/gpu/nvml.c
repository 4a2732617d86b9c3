/*
 * NVML is loaded at run time, with declarations of our own (nvml_abi.h and nvml_calls.h, used by
 * this file and nvml_details.c alone).
 * Functions come from one table; one that the library lacks answers "function not found" like the
 * library itself would, and the older version of the call is tried. What a code means is in
 * nvml_codes.c, process-list layouts in proclist.c.
 *
 * A session lasts from nvmlInit to nvmlShutdown and is kept over samples, since initialising costs
 * up to seconds. Per GPU the order of calls goes from identity to detail, and a lost GPU ends it:
 * each further call on it may take long.
 */
#include "gpu/nvml.h"

#include "gpu/library_file.h"
#include "gpu/nvml_calls.h"
#include "gpu/nvml_codes.h"
#include "gpu/procfs.h"
#include "gpu/proclist.h"
#include "util/timestamp.h"

#include <dlfcn.h>
#include <pthread.h>
#include <stdatomic.h>
#include <string.h>
#include <unistd.h>

#define NOT_AVAILABLE       UINT64_MAX
#define SENSOR_GPU          0
#define CLOCK_GRAPHICS      0
#define CLOCK_MEMORY        2
#define EVENT_XID           0x8
#define EVENT_WAIT_MS       500
#define PERCENT_MAX         100
#define PROCESS_SAMPLES_MAX 256
#define MIG_INSTANCE_MAX    64
#define NVLINKS_MAX         18 /* of one GPU */
#define REMOTE_IS_SWITCH    2

struct watched {
	struct nvml_device *device;
	char uuid[GPU_UUID_MAX];
};

struct nvml {
	struct nvml_options options;
	void *library;
	struct library_file library_file;
	struct functions f;
	bool up;
	char driver_version[80], nvml_version[80];
	int cuda_version;

	/* The failure that answers stand for while not up, and when to try again. */
	struct gpu_list *failure;
	int64_t retry_at_ms; /* monotonic */
	unsigned retry_ms;
	int64_t renew_at_ms; /* a new session for the sake of an unhealthy GPU; 0 = none */
	unsigned renew_ms;

	struct gpu_list *last;

	/* Links between GPUs are asked for once a session, with its first sample. */
	bool topology_read;
	struct gpu_topology topology;
	struct board {
		struct nvml_device *device;
		char uuid[GPU_UUID_MAX], pci_bus_id[GPU_PCI_MAX];
	} * boards; /* whole GPUs, while the topology is not read */
	size_t n_boards, boards_room;

	/* The newest time stamp of process utilisation seen on each GPU, in the driver's clock. */
	struct stamp {
		char uuid[GPU_UUID_MAX];
		uint64_t time_us;
	} * stamps;
	size_t n_stamps, stamps_room;

	/* The thread that waits for XIDs. */
	bool watching;
	atomic_bool stop;
	pthread_t watcher;
	struct nvml_event_set *set;
	struct watched *watched;
	size_t n_watched;
};

#define RETRY_FIRST_MS 500
#define RETRY_LAST_MS  30000
#define RENEW_FIRST_MS 10000
#define RENEW_LAST_MS  300000

static const struct {
	size_t offset;
	const char *symbol;
} function_table[] = {
#define ROW(member, symbol, args) {offsetof(struct functions, member), symbol},
    FUNCTIONS(ROW)
#undef ROW
};

const struct functions *nvml_functions(const struct nvml *nvml)
{
	return nvml->up ? &nvml->f : NULL;
}

/* ---- the session ---- */

static int library_load(struct nvml *nvml, struct gpu_list *failure)
{
	const char *why;

	nvml->library = dlopen("libnvidia-ml.so.1", RTLD_NOW | RTLD_LOCAL);
	why = nvml->library ? NULL : dlerror();
	if (!nvml->library) {
		/* Of the two reasons the first is told: it is about the name the driver installs.
		 */
		failure->state = GPU_SOURCE_NO_LIBRARY;
		(void)snprintf(
		    failure->text, sizeof failure->text,
		    "NVIDIA's management library cannot be loaded (%.120s): no driver is "
		    "installed, or in a container it was started without `--gpus all`",
		    why ? why : "unknown");
		nvml->library = dlopen("libnvidia-ml.so", RTLD_NOW | RTLD_LOCAL);
	}
	if (!nvml->library)
		return -1;
	library_file_remember(&nvml->library_file, nvml->library);
	for (size_t i = 0; i < ARRAY_LEN(function_table); i++) {
		void *symbol = dlsym(nvml->library, function_table[i].symbol);

		memcpy((char *)&nvml->f + function_table[i].offset, &symbol, sizeof symbol);
	}
	return 0;
}

static void session_close(struct nvml *nvml)
{
	if (nvml->watching) {
		atomic_store(&nvml->stop, true);
		(void)pthread_join(nvml->watcher, NULL);
		(void)CALL(nvml, event_set_free, nvml->set);
		nvml->watching = false;
	}
	nvml->set = NULL;
	nvml->n_watched = 0;
	free(TAKE(nvml->watched));
	if (nvml->up)
		(void)CALL(nvml, shutdown);
	nvml->up = nvml->topology_read = false;
	gpu_topology_finish(&nvml->topology);
	/* A driver that was upgraded brings a new library file: load it anew next time. */
	if (nvml->library)
		(void)dlclose(nvml->library);
	nvml->library = NULL;
	nvml->f = (struct functions){};
}

/* Remember the failure, and when to look again. */
static void session_fail(struct nvml *nvml, struct gpu_list *failure_take)
{
	session_close(nvml);
	gpu_list_destroy(nvml->failure);
	nvml->failure = failure_take;
	nvml->retry_ms =
	    nvml->retry_ms ? MIN_OF(nvml->retry_ms * 2, RETRY_LAST_MS) : RETRY_FIRST_MS;
	nvml->retry_at_ms = monotonic_now_ms() + nvml->retry_ms;
}

static void session_fail_code(struct nvml *nvml, int code)
{
	struct gpu_list *failure = gpu_list_create();
	char module[80];

	procfs_module_version(module, sizeof module);
	nvml_code_describe_source(code, nvml->nvml_version, module, failure);
	session_fail(nvml, failure);
}

/* NVML's strings: what a failed or odd call left is "". */
static void read_version(char *buf, size_t size, int (*get)(char *, unsigned))
{
	memset(buf, 0, size);
	if (!get || get(buf, (unsigned)size - 1) != NVML_SUCCESS)
		buf[0] = '\0';
}

static void session_open(struct nvml *nvml)
{
	auto_gpu_list struct gpu_list *failure = gpu_list_create();
	int code;

	if (library_load(nvml, failure) < 0) {
		session_fail(nvml, TAKE(failure));
		return;
	}
	/* Works without initialisation: it names the library in a mismatch. */
	read_version(nvml->nvml_version, sizeof nvml->nvml_version, nvml->f.nvml_version);
	code = CALL2(nvml, init_v2, init);
	if (code != NVML_SUCCESS) {
		session_fail_code(nvml, code);
		return;
	}
	nvml->up = true;
	read_version(nvml->driver_version, sizeof nvml->driver_version, nvml->f.driver_version);
	if (CALL2(nvml, cuda_version_v2, cuda_version, &nvml->cuda_version) != NVML_SUCCESS)
		nvml->cuda_version = 0;
}

/* ---- events ---- */

/* An XID of a GPU. The thread ends by itself where events are not supported. */
static void *watch(void *arg)
{
	struct nvml *nvml = arg;

	while (!atomic_load(&nvml->stop)) {
		struct nvml_event event = {};
		struct gpu_event ours = {.type = GPU_EVENT_XID, .at_ms = timestamp_now_ms()};
		int code = CALL(nvml, event_wait, nvml->set, &event, EVENT_WAIT_MS);

		if (code == NVML_TIMEOUT)
			continue;
		if (code == NVML_NOT_SUPPORTED || code == NVML_FUNCTION_NOT_FOUND)
			break;
		if (code != NVML_SUCCESS) {
			/* A lost GPU makes every wait return at once. */
			(void)usleep(EVENT_WAIT_MS * 1000);
			continue;
		}
		if (event.type != EVENT_XID)
			continue;
		for (size_t i = 0; i < nvml->n_watched; i++) {
			if (nvml->watched[i].device == event.device)
				memcpy(ours.uuid, nvml->watched[i].uuid, sizeof ours.uuid);
		}
		ours.xid = (unsigned)event.data;
		nvml->options.on_event(&ours);
	}
	return NULL;
}

static void watch_add(struct nvml *nvml, struct nvml_device *device, const char *uuid)
{
	struct watched *watched;

	if (!nvml->options.on_event || nvml->watching)
		return;
	nvml->watched = mem_realloc(nvml->watched, nvml->n_watched + 1, sizeof *nvml->watched);
	watched = &nvml->watched[nvml->n_watched++];
	watched->device = device;
	(void)snprintf(watched->uuid, sizeof watched->uuid, "%s", uuid);
}

/* After the first sample of a session, with the GPUs it found. XIDs are an extra: failing here is
 * no failure of the sample. */
static void watch_start(struct nvml *nvml)
{
	size_t registered = 0;

	if (nvml->watching || nvml->n_watched == 0 || nvml->set ||
	    CALL(nvml, event_set_create, &nvml->set) != NVML_SUCCESS)
		return;
	for (size_t i = 0; i < nvml->n_watched; i++)
		registered += CALL(nvml, event_register, nvml->watched[i].device, EVENT_XID,
				   nvml->set) == NVML_SUCCESS;
	atomic_store(&nvml->stop, false);
	nvml->watching = registered > 0 && pthread_create(&nvml->watcher, NULL, watch, nvml) == 0;
	if (!nvml->watching)
		(void)CALL(nvml, event_set_free, nvml->set);
}

/* ---- one GPU ---- */

/* Take note of a call's code. True when the GPU is beyond further calls. */
static bool note(struct gpu *gpu, int code, const char *call, bool identity)
{
	enum gpu_health health = nvml_code_health(code, identity);

	if (health == GPU_HEALTH_OK)
		return false;
	/* "lost" says more than an error noted before. */
	if (gpu->health == GPU_HEALTH_OK || health == GPU_HEALTH_LOST) {
		gpu->health = health;
		nvml_code_describe_gpu(code, call, gpu);
	}
	return gpu->health == GPU_HEALTH_LOST;
}

static void set_memory(struct gpu *gpu, uint64_t total, uint64_t used, uint64_t free)
{
	gpu->vram.total_bytes = total;
	gpu->vram.used_bytes = used;
	gpu->vram.free_bytes = free;
	gpu->valid |= GPU_TOTAL | (used <= total ? GPU_USED : 0) | (free <= total ? GPU_FREE : 0);
}

static bool is_amount(uint64_t total)
{
	return total != 0 && total != NOT_AVAILABLE;
}

/* Integrated GPUs (GB10, Jetson) share the host's memory: they answer "not supported", total 0 or
 * "not available", and their VRAM stays unknown. */
static int sample_memory(struct nvml *nvml, struct nvml_device *device, struct gpu *gpu)
{
	struct nvml_memory_v2 v2 = {.version = VERSION_WORD(struct nvml_memory_v2, 2u)};
	struct nvml_memory_v1 v1 = {};
	int code = CALL(nvml, memory_v2, device, &v2);

	/* Driver 510.39 had v2 broken: figures that cannot be are no answer. */
	if (code == NVML_SUCCESS && is_amount(v2.total) && v2.free <= v2.total &&
	    v2.used <= v2.total) {
		set_memory(gpu, v2.total, v2.used, v2.free);
		if (v2.reserved <= v2.total) {
			gpu->vram.driver_reserved_bytes = v2.reserved;
			gpu->valid |= GPU_DRIVER_RESERVED;
		}
		return code;
	}
	if (code != NVML_SUCCESS && !code_means_no_such_version(code) &&
	    code != NVML_NOT_SUPPORTED && code != NVML_INVALID_ARGUMENT)
		return code;
	code = CALL(nvml, memory, device, &v1);
	if (code == NVML_SUCCESS && is_amount(v1.total))
		set_memory(gpu, v1.total, v1.used, v1.free);
	else if (code == NVML_SUCCESS || code == NVML_NOT_SUPPORTED)
		gpu->unified_memory = true;
	return code;
}

/* Memory and the processes cannot be read in one moment. A program that came in between would be in
 * the list and not in the figure, one that went only in the figure: taking the list off would then
 * take off what others use. The larger of the figures before and after covers both. */
static int sample_memory_again(struct nvml *nvml, struct nvml_device *device, struct gpu *gpu)
{
	struct gpu later = *gpu;
	int code;

	if (!gpu_has(gpu, GPU_USED | GPU_PROCESSES) || gpu->n_processes == 0)
		return NVML_SUCCESS;
	code = sample_memory(nvml, device, &later);
	if (code == NVML_SUCCESS && gpu_has(&later, GPU_USED) &&
	    later.vram.used_bytes > gpu->vram.used_bytes)
		gpu->vram = later.vram;
	return code;
}

static int sample_temperature(struct nvml *nvml, struct nvml_device *device, struct gpu *gpu)
{
	struct nvml_temperature_v1 newer = {.version = VERSION_WORD(struct nvml_temperature_v1, 1u),
					    .sensor = SENSOR_GPU};
	unsigned celsius = 0;
	int code = CALL(nvml, temperature, device, SENSOR_GPU, &celsius);

	if (code == NVML_FUNCTION_NOT_FOUND || code == 26 /* deprecated */) {
		code = CALL(nvml, temperature_v, device, &newer);
		celsius = (unsigned)newer.temperature;
	}
	if (code == NVML_SUCCESS) {
		gpu->temperature_celsius = (int)celsius;
		gpu->valid |= GPU_TEMPERATURE;
	}
	return code;
}

static int sample_utilization(struct nvml *nvml, struct nvml_device *device, struct gpu *gpu)
{
	struct nvml_utilization rates = {};
	int code = CALL(nvml, utilization, device, &rates);

	if (code == NVML_SUCCESS && rates.gpu <= PERCENT_MAX) {
		gpu->utilization_percent = rates.gpu;
		gpu->valid |= GPU_UTILIZATION;
	}
	return code;
}

static int sample_power(struct nvml *nvml, struct nvml_device *device, struct gpu *gpu)
{
	int code = CALL(nvml, power, device, &gpu->power_milliwatts);

	if (code == NVML_SUCCESS)
		gpu->valid |= GPU_POWER;
	if (CALL(nvml, power_limit, device, &gpu->power_limit_milliwatts) == NVML_SUCCESS ||
	    CALL(nvml, power_limit_set, device, &gpu->power_limit_milliwatts) == NVML_SUCCESS)
		gpu->valid |= GPU_POWER_LIMIT;
	return code;
}

static int sample_clocks(struct nvml *nvml, struct nvml_device *device, struct gpu *gpu)
{
	int code = CALL(nvml, clock, device, CLOCK_GRAPHICS, &gpu->clock_graphics_mhz);

	if (code == NVML_SUCCESS)
		code = CALL(nvml, clock, device, CLOCK_MEMORY, &gpu->clock_memory_mhz);
	if (code == NVML_SUCCESS)
		gpu->valid |= GPU_CLOCKS;
	return code;
}

static int sample_capability(struct nvml *nvml, struct nvml_device *device, struct gpu *gpu)
{
	int major = 0, minor = 0;
	int code = CALL(nvml, capability, device, &major, &minor);

	if (code == NVML_SUCCESS && major > 0 && minor >= 0 && minor < 10) {
		gpu->compute_capability = (unsigned)(major * 10 + minor);
		gpu->valid |= GPU_COMPUTE_CAPABILITY;
	}
	return code;
}

/* Ask until the list fits. It may grow between two calls, so "too small" is answered with more than
 * was asked for; and it is asked for with a buffer from the start, as some drivers answer the size
 * query with a constant. The buffer is zeroed, and larger than the driver is told: 32 bytes an
 * entry even where it should write 24 or 16. */
static int read_list(process_list_f get, struct nvml_device *device, void **ret_buf,
		     unsigned *ret_count)
{
	unsigned room = 64;
	int code = NVML_FUNCTION_NOT_FOUND;

	for (int i = 0; get && i < 8; i++) {
		auto_free void *buf = mem_calloc(room, PROCLIST_ENTRY_MAX);
		unsigned count = room;

		code = get(device, &count, buf);
		if (code == NVML_SUCCESS) {
			*ret_count = MIN_OF(count, room);
			*ret_buf = TAKE(buf);
			return code;
		}
		if (code != NVML_INSUFFICIENT_SIZE || room == GPU_PROCESSES_MAX)
			return code;
		room = MIN_OF(MAX_OF(count, room) + 64, (unsigned)GPU_PROCESSES_MAX);
	}
	return code;
}

static int sample_list(struct nvml_device *device, const process_list_f versions[3], bool graphics,
		       struct gpu *gpu)
{
	int code = NVML_FUNCTION_NOT_FOUND;

	for (int i = 0; i < 3; i++) {
		auto_free void *buf = NULL;
		unsigned count = 0;
		size_t stride = 16;

		code = read_list(versions[i], device, &buf, &count);
		if (code_means_no_such_version(code))
			continue;
		if (code != NVML_SUCCESS)
			return code;
		if (i < 2)
			stride = proclist_detect_stride(buf, count, procfs_pid_exists);
		proclist_merge(gpu, buf, stride, count, graphics);
		return code;
	}
	return code;
}

static uint64_t *stamp_of(struct nvml *nvml, const char *uuid)
{
	for (size_t i = 0; i < nvml->n_stamps; i++)
		if (strcmp(nvml->stamps[i].uuid, uuid) == 0)
			return &nvml->stamps[i].time_us;
	ARRAY_GROW(nvml->stamps, nvml->n_stamps, nvml->stamps_room);
	nvml->stamps[nvml->n_stamps] = (struct stamp){};
	memcpy(nvml->stamps[nvml->n_stamps].uuid, uuid, GPU_UUID_MAX);
	return &nvml->stamps[nvml->n_stamps++].time_us;
}

/*
 * Who keeps the GPU busy. The call answers with what happened since a time stamp of its own clock;
 * "since 0" is all of history, averaged (nvtop#91), so the first answer only tells the time.
 * Samples of the dead, of an older time and above 100 % are known to come and are dropped
 * (nvtop#110).
 */
static int sample_process_utilization(struct nvml *nvml, struct nvml_device *device,
				      struct gpu *gpu)
{
	struct nvml_process_sample samples[PROCESS_SAMPLES_MAX] = {};
	unsigned count = ARRAY_LEN(samples);
	uint64_t *stamp, since;
	int code;

	if (gpu->n_processes == 0 || !gpu->uuid[0])
		return NVML_SUCCESS;
	stamp = stamp_of(nvml, gpu->uuid);
	since = *stamp;
	code = CALL(nvml, process_utilization, device, samples, &count, since);
	for (unsigned i = 0; code == NVML_SUCCESS && i < MIN_OF(count, ARRAY_LEN(samples)); i++) {
		*stamp = MAX_OF(*stamp, samples[i].time_us);
		if (since == 0 || samples[i].time_us <= since || samples[i].sm > PERCENT_MAX)
			continue;
		for (size_t p = 0; p < gpu->n_processes; p++)
			if ((unsigned)gpu->processes[p].pid == samples[i].pid) {
				gpu->processes[p].utilization_known = true;
				gpu->processes[p].utilization_percent = samples[i].sm;
			}
	}
	/* "Not found": nobody was active since. Refused, too many, not on MIG: nice to have, no
	 * reason to call the GPU unhealthy. */
	return code == NVML_GPU_IS_LOST || nvml_code_ends_session(code) ? code : NVML_SUCCESS;
}

static int sample_processes(struct nvml *nvml, struct nvml_device *device, struct gpu *gpu)
{
	const process_list_f compute[] = {nvml->f.compute_v3, nvml->f.compute_v2,
					  nvml->f.compute_v1};
	const process_list_f mps[] = {nvml->f.mps_v3, nvml->f.mps_v2, nvml->f.mps_v1};
	const process_list_f graphics[] = {nvml->f.graphics_v3, nvml->f.graphics_v2,
					   nvml->f.graphics_v1};
	int code = sample_list(device, compute, false, gpu);

	/* Without the compute list nothing is known; the others only add to it. */
	if (code != NVML_SUCCESS)
		return code;
	gpu->valid |= GPU_PROCESSES;
	(void)sample_list(device, mps, false, gpu);
	(void)sample_list(device, graphics, true, gpu);
	procfs_describe(gpu);
	return code;
}

static const struct {
	const char *call;
	int (*sample)(struct nvml *, struct nvml_device *, struct gpu *);
} steps[] = {
    {"GetMemoryInfo", sample_memory},
    {"GetCudaComputeCapability", sample_capability},
    {"GetUtilizationRates", sample_utilization},
    {"GetTemperature", sample_temperature},
    {"GetPowerUsage", sample_power},
    {"GetClockInfo", sample_clocks},
    {"GetComputeRunningProcesses", sample_processes},
    {"GetMemoryInfo", sample_memory_again},
    {"GetProcessUtilization", sample_process_utilization},
};

/* Everything but the identity. Returns a code that ends the session, or success. */
static int sample_details(struct nvml *nvml, struct nvml_device *device, struct gpu *gpu)
{
	for (size_t i = 0; i < ARRAY_LEN(steps); i++) {
		int code = steps[i].sample(nvml, device, gpu);

		if (nvml_code_ends_session(code))
			return code;
		if (note(gpu, code, steps[i].call, false))
			break;
	}
	return NVML_SUCCESS;
}

static void pci_address(const struct nvml_pci *pci, char address[GPU_PCI_MAX])
{
	/* From the numbers, not from bus_id: the older call leaves that empty. */
	(void)snprintf(address, GPU_PCI_MAX, "%08X:%02X:%02X.0", pci->domain, pci->bus,
		       pci->device);
}

/* UUID, address and name. A GPU that does not even tell its UUID is nameless (see gpu_carry.c). */
static int sample_identity(struct nvml *nvml, struct nvml_device *device, struct gpu *gpu)
{
	struct nvml_pci pci = {};
	int code = CALL(nvml, uuid, device, gpu->uuid, sizeof gpu->uuid - 1);

	if (nvml_code_ends_session(code))
		return code;
	if (code != NVML_SUCCESS)
		gpu->uuid[0] = '\0';
	if (note(gpu, code, "GetUUID", true))
		return NVML_SUCCESS;
	code = CALL2(nvml, pci_v3, pci_v2, device, &pci);
	if (code == NVML_SUCCESS)
		pci_address(&pci, gpu->pci_bus_id);
	if (note(gpu, code, "GetPciInfo", false))
		return NVML_SUCCESS;
	code = CALL(nvml, name, device, gpu->name, sizeof gpu->name - 1);
	if (code != NVML_SUCCESS)
		gpu->name[0] = '\0';
	(void)note(gpu, code, "GetName", false);
	return NVML_SUCCESS;
}

/* ---- MIG ---- */

/* An instance says little of itself: what it does not answer is its GPU's, where that is the same
 * for both. The power is the whole card's and stays unknown. */
static void inherit(struct gpu *instance, const struct gpu *parent)
{
	unsigned missing = ~instance->valid & parent->valid;

	memcpy(instance->parent_uuid, parent->uuid, sizeof instance->parent_uuid);
	memcpy(instance->pci_bus_id, parent->pci_bus_id, sizeof instance->pci_bus_id);
	if (!instance->name[0])
		memcpy(instance->name, parent->name, sizeof instance->name);
	if (missing & GPU_COMPUTE_CAPABILITY)
		instance->compute_capability = parent->compute_capability;
	if (missing & GPU_TEMPERATURE)
		instance->temperature_celsius = parent->temperature_celsius;
	instance->valid |= missing & (GPU_COMPUTE_CAPABILITY | GPU_TEMPERATURE);
	instance->valid &= ~(unsigned)(GPU_POWER | GPU_POWER_LIMIT);
	/* Integrated memory is a matter of the chip, not of a slice of it. */
	instance->unified_memory = instance->unified_memory && parent->unified_memory;
}

static bool mig_is_on(struct nvml *nvml, struct nvml_device *device)
{
	unsigned current = 0, pending = 0;

	return CALL(nvml, mig_mode, device, &current, &pending) == NVML_SUCCESS && current == 1;
}

/* The instances in place of their GPU. Their list has holes, which answer "not found" or "invalid
 * argument". Without any instance the GPU itself is listed, as one that can run nothing. */
static int sample_instances(struct nvml *nvml, struct nvml_device *device, struct gpu *parent,
			    struct gpu_list *list)
{
	size_t before = list->n;
	unsigned max = 0;
	int code = CALL(nvml, mig_count, device, &max);

	if (code != NVML_SUCCESS)
		max = 0;
	for (unsigned i = 0; i < MIN_OF(max, MIG_INSTANCE_MAX) && list->n < GPU_LIST_MAX; i++) {
		struct nvml_device *handle = NULL;
		struct gpu *gpu;

		if (CALL(nvml, mig_handle, device, i, &handle) != NVML_SUCCESS || !handle)
			continue;
		gpu = gpu_list_append(list);
		gpu->index = GPU_MIG_INDEX(parent->index, i);
		code = sample_identity(nvml, handle, gpu);
		if (code == NVML_SUCCESS && gpu->health != GPU_HEALTH_LOST)
			code = sample_details(nvml, handle, gpu);
		inherit(gpu, parent);
		if (nvml_code_ends_session(code))
			return code;
	}
	if (list->n == before) {
		parent->health = GPU_HEALTH_ERROR;
		(void)snprintf(parent->health_text, sizeof parent->health_text,
			       "MIG is on and there is no instance: make some with `nvidia-smi mig "
			       "-cgi ... -C`, or turn it off with `nvidia-smi -mig 0`");
		*gpu_list_append(list) = *parent;
	}
	return NVML_SUCCESS;
}

/* ---- links between GPUs ---- */

/* Mark whom a GPU reaches over its NVLinks in `reached` (one place for each board). True when some
 * of them go to a switch: that leads to all GPUs that have such links. */
static bool read_nvlinks(struct nvml *nvml, const struct board *board, bool *reached)
{
	bool switched = false;

	for (unsigned link = 0; link < NVLINKS_MAX; link++) {
		struct nvml_pci pci = {};
		unsigned active = 0, type = 0;
		char address[GPU_PCI_MAX];

		if (CALL(nvml, nvlink_state, board->device, link, &active) != NVML_SUCCESS)
			break; /* no NVLink, or no more of them */
		if (!active)
			continue;
		if (CALL(nvml, nvlink_remote_type, board->device, link, &type) == NVML_SUCCESS)
			switched |= type == REMOTE_IS_SWITCH;
		if (CALL(nvml, nvlink_remote_pci, board->device, link, &pci) != NVML_SUCCESS)
			continue;
		pci_address(&pci, address);
		for (size_t i = 0; i < nvml->n_boards; i++)
			reached[i] |= strcmp(nvml->boards[i].pci_bus_id, address) == 0;
	}
	return switched;
}

static void read_topology(struct nvml *nvml)
{
	size_t n = nvml->n_boards;
	auto_free bool *reached = mem_calloc(n * n + 1, sizeof *reached);
	auto_free bool *switched = mem_calloc(n + 1, sizeof *switched);

	nvml->topology_read = true;
	gpu_topology_init(&nvml->topology, n > 1 ? n : 0);
	for (size_t a = 0; n > 1 && a < n; a++) {
		memcpy(nvml->topology.uuids[a], nvml->boards[a].uuid, GPU_UUID_MAX);
		switched[a] = read_nvlinks(nvml, &nvml->boards[a], &reached[a * n]);
		for (size_t b = 0; b < a; b++) {
			bool nvlink = reached[a * n + b] || reached[b * n + a] ||
				      (switched[a] && switched[b]);
			enum gpu_link link = GPU_LINK_UNKNOWN;
			unsigned level = 0;

			if (CALL(nvml, common_ancestor, nvml->boards[a].device,
				 nvml->boards[b].device, &level) == NVML_SUCCESS)
				link = nvml_code_link(level);
			if (nvlink && link != GPU_LINK_BOARD)
				link = GPU_LINK_NVLINK;
			gpu_topology_set(&nvml->topology, a, b, link);
		}
	}
}

/* ---- the sample ---- */

static int sample_device(struct nvml *nvml, struct nvml_device *device, struct gpu *gpu,
			 struct gpu_list *list)
{
	int code = sample_identity(nvml, device, gpu);

	if (nvml_code_ends_session(code))
		return code;
	if (gpu->uuid[0])
		watch_add(nvml, device, gpu->uuid);
	if (gpu->uuid[0] && !nvml->topology_read) {
		struct board *board;

		ARRAY_GROW(nvml->boards, nvml->n_boards, nvml->boards_room);
		board = &nvml->boards[nvml->n_boards++];
		board->device = device;
		memcpy(board->uuid, gpu->uuid, sizeof board->uuid);
		memcpy(board->pci_bus_id, gpu->pci_bus_id, sizeof board->pci_bus_id);
	}
	if (gpu->health == GPU_HEALTH_OK && mig_is_on(nvml, device)) {
		(void)sample_capability(nvml, device, gpu);
		(void)sample_temperature(nvml, device, gpu);
		return sample_instances(nvml, device, gpu, list);
	}
	if (gpu->health != GPU_HEALTH_LOST)
		code = sample_details(nvml, device, gpu);
	*gpu_list_append(list) = *gpu;
	return code;
}

/* All GPUs. A lost one may be missing from the count and keep its index: then the count ends before
 * a healthy one. So for each handle that fails one more index is tried; behind the real end that
 * answers "invalid argument", which is no news. */
static int sample_devices(struct nvml *nvml, unsigned count, struct gpu_list *list)
{
	unsigned end = count;

	nvml->n_boards = 0;
	for (unsigned i = 0; i < end && list->n < GPU_LIST_MAX; i++) {
		struct gpu gpu = {.index = i};
		struct nvml_device *device = NULL;
		int code = CALL2(nvml, handle_v2, handle, i, &device);

		if (nvml_code_ends_session(code))
			return code;
		if (code == NVML_SUCCESS && device) {
			code = sample_device(nvml, device, &gpu, list);
			if (code != NVML_SUCCESS)
				return code;
		} else if (i < count) {
			(void)note(&gpu, code == NVML_SUCCESS ? NVML_UNKNOWN : code,
				   "GetHandleByIndex", true);
			*gpu_list_append(list) = gpu;
			end++;
		}
	}
	return NVML_SUCCESS;
}

static int sample_all(struct nvml *nvml, struct gpu_list *list)
{
	unsigned count = 0;
	int64_t began_at_ms = timestamp_now_ms();
	int code = CALL2(nvml, count_v2, count, &count);

	if (code == NVML_SUCCESS)
		code = sample_devices(nvml, MIN_OF(count, (unsigned)GPU_LIST_MAX), list);
	if (code != NVML_SUCCESS)
		return code;
	list->state = list->n > 0 ? GPU_SOURCE_OK : GPU_SOURCE_NO_GPUS;
	if (list->n == 0)
		(void)snprintf(list->text, sizeof list->text,
			       "the NVIDIA driver %s is loaded and has no GPU",
			       nvml->driver_version);
	list->sampled_at_ms = began_at_ms;
	gpu_list_sort(list);
	return NVML_SUCCESS;
}

/* A GPU that is lost or was reset is seen healthy again only by a new session. */
static void plan_renewal(struct nvml *nvml, const struct gpu_list *list)
{
	int64_t now_ms = monotonic_now_ms();
	bool unhealthy = false;

	for (size_t i = 0; i < list->n; i++)
		unhealthy = unhealthy || list->gpus[i].health != GPU_HEALTH_OK;
	if (!unhealthy) {
		nvml->renew_at_ms = 0;
		nvml->renew_ms = 0;
	} else if (nvml->renew_at_ms == 0) {
		nvml->renew_ms =
		    nvml->renew_ms ? MIN_OF(nvml->renew_ms * 2, RENEW_LAST_MS) : RENEW_FIRST_MS;
		nvml->renew_at_ms = now_ms + nvml->renew_ms;
	} else if (now_ms >= nvml->renew_at_ms) {
		session_close(nvml);
		nvml->renew_at_ms = 0;
	}
}

/* A session that fails may have outlived its driver: only a new one tells what is the matter, so
 * that is tried at once. */
static struct gpu_list *sample_session(struct nvml *nvml)
{
	auto_gpu_list struct gpu_list *list = gpu_list_create();
	int code = sample_all(nvml, list);

	if (code != NVML_SUCCESS) {
		gpu_list_destroy(list);
		list = gpu_list_create();
		session_close(nvml);
		session_open(nvml);
		code = nvml->up ? sample_all(nvml, list) : NVML_UNINITIALIZED;
	}
	if (nvml->up && code != NVML_SUCCESS)
		session_fail_code(nvml, code);
	if (!nvml->up)
		return gpu_list_copy(nvml->failure);
	if (!nvml->topology_read)
		read_topology(nvml);
	gpu_topology_copy(&list->topology, &nvml->topology);
	nvml->retry_ms = 0;
	memcpy(list->driver_version, nvml->driver_version, sizeof list->driver_version);
	memcpy(list->nvml_version, nvml->nvml_version, sizeof list->nvml_version);
	list->cuda_version = nvml->cuda_version;
	watch_start(nvml);
	return TAKE(list);
}

struct gpu_list *nvml_sample(struct nvml *nvml)
{
	struct gpu_list *list;

	/* Only a new session tells of the mismatch that follows. */
	if (nvml->up && library_file_was_replaced(&nvml->library_file)) {
		session_close(nvml);
		nvml->retry_at_ms = 0;
	}
	if (!nvml->up && (!nvml->failure || monotonic_now_ms() >= nvml->retry_at_ms))
		session_open(nvml);
	list = nvml->up ? sample_session(nvml) : gpu_list_copy(nvml->failure);
	gpu_list_carry_over(list, nvml->last);
	if (nvml->up)
		plan_renewal(nvml, list);
	/* What was renewed must be opened by the next sample, not after a failure's back-off. */
	if (!nvml->up && list->state == GPU_SOURCE_OK)
		nvml->retry_at_ms = 0;
	gpu_list_destroy(nvml->last);
	nvml->last = gpu_list_copy(list);
	return list;
}

struct nvml *nvml_create(const struct nvml_options *options)
{
	struct nvml *nvml = mem_calloc(1, sizeof *nvml);

	nvml->options = *options;
	return nvml;
}

void nvml_destroy(struct nvml *nvml)
{
	if (!nvml)
		return;
	session_close(nvml);
	gpu_list_destroy(nvml->failure);
	gpu_list_destroy(nvml->last);
	free(nvml->stamps);
	free(nvml->boards);
	free(nvml);
}
