/* The simulated libnvidia-ml.so.1, loaded as a client loads it. Switches are set in the shared
 * state, from outside the library, as a scenario does. */
#include "sim/libhide.h"
#include "sim/nvml_abi.h"
#include "sim/scenario.h"
#include "sim/state.h"
#include "util/file.h"
#include "util/pidref.h"
#include "util/size.h"

#include "unit.h"

#include <dlfcn.h>
#include <pthread.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#define LIBRARY TEST_BUILD "/libnvidia-ml.so.1"

static void *library;
static char path[64];
static struct sim_state *sim, pristine;

/* FUNCTION(nvmlX)(…): the prototype of nvml_abi.h, the address of the loaded library. */
#define FUNCTION(name) ((typeof(&name))symbol(#name))

static void *symbol(const char *name)
{
	void *address = dlsym(library, name);

	if (!address)
		fail_msg("no %s", name);
	return address;
}

static const char scenario[] =
    "driver: 550.163.01\ncuda: '12.4'\n"
    "gpus:\n"
    "  - {name: NVIDIA RTX A5500, vram: 24G, reserved: 300M, uuid: GPU-a, serial: '77', pci: "
    "'0000:4e:00.0'}\n"
    "  - {name: A100, vram: 80G, uuid: GPU-b, pci: '0001:01:00.0', mig: [{vram: 40G, slices: 3, "
    "uuid: MIG-1}, hole, {vram: 10G, uuid: MIG-2}]}\n"
    "  - {name: small, vram: 4G, uuid: GPU-c, pci: '0002:01:00.0', fan: false}\n";

static int setup(void **unused)
{
	auto_yamlx struct yamlx *doc = NULL, *catalogue = NULL;
	auto_free struct sim_state *image = NULL;
	struct error err = {};

	if (yamlx_parse("gpus: {}", 8, "catalogue", &catalogue, &err) < 0 ||
	    yamlx_parse(scenario, sizeof scenario - 1, "scenario", &doc, &err) < 0 ||
	    scenario_parse(doc, catalogue, &image, &err) < 0) {
		(void)fprintf(stderr, "%s\n", err.text);
		return -1;
	}
	(void)snprintf(path, sizeof path, "/tmp/sim-nvml-%d", (int)getpid());
	(void)unlink(path);
	(void)unsetenv(SIM_STATE_ENV);
	library = dlopen(LIBRARY, RTLD_NOW | RTLD_LOCAL);
	if (!library || FUNCTION(nvmlInit_v2)() != NVML_DRIVER_NOT_LOADED)
		return -1; /* without a simulation: as the real one without a driver */
	if (state_create(path, image, &err) < 0 || state_open(path, &sim, &err) < 0)
		return -1;
	pristine = *sim;
	return setenv(SIM_STATE_ENV, path, 1);
}

static int teardown(void **unused)
{
	(void)unlink(path);
	return dlclose(library);
}

/* Each test starts from the scenario, with one session open. */
static int begin(void **unused)
{
	state_lock(sim);
	memcpy(sim->gpus, pristine.gpus, sizeof sim->gpus);
	sim->init_error = 0;
	sim->hung = false;
	sim->delay_ms = 0;
	sim->process_stride = 24;
	sim->memory_v2 = SIM_MEMORY_V2_REAL;
	sim->n_events = sim->next_event = 0;
	for (uint32_t i = 0; i < SIM_PROCS_MAX; i++)
		sim->procs[i].pid = 0;
	sim->procs_end = 0;
	state_unlock(sim);
	return FUNCTION(nvmlInit_v2)();
}

static int end(void **unused)
{
	return FUNCTION(nvmlShutdown)();
}

static struct nvml_device *gpu(uint index)
{
	struct nvml_device *device = NULL;

	assert_int_equal(FUNCTION(nvmlDeviceGetHandleByIndex_v2)(index, &device), NVML_OK);
	return device;
}

/* A process of a fixed pid that need not exist. */
static void hold(int index, int mig, int pid, uint64_t bytes, uint32_t kind)
{
	struct sim_proc *proc;

	state_lock(sim);
	proc = state_attach(sim, pid, 1, index, mig);
	proc->fixed = true;
	proc->kind = kind;
	assert_int_equal(state_resize(sim, proc, bytes), 0);
	state_unlock(sim);
}

static void every_name_is_exported_and_says_uninitialized(void **unused)
{
	auto_text struct text names = {};
	unsigned n = 0;

	assert_int_equal(FUNCTION(nvmlShutdown)(), NVML_OK);
	assert_int_equal(file_read(TEST_SOURCE "/sim/nvml-names.txt", MIB, false, &names, NULL), 0);
	for (char *rest = names.data, *name; (name = strsep(&rest, "\n"));)
		if (*name) {
			(void)symbol(name);
			n++;
		}
	assert_int_equal(n, 416);
	assert_int_equal(((int (*)(void))symbol("nvmlDeviceGetBridgeChipInfo"))(),
			 NVML_UNINITIALIZED);
	assert_int_equal(FUNCTION(nvmlDeviceGetCount_v2)(&n), NVML_UNINITIALIZED);
	assert_int_equal(n, 416);                            /* untouched */
	assert_int_equal(FUNCTION(nvmlShutdown)(), NVML_OK); /* once too often is fine */
	assert_int_equal(FUNCTION(nvmlInit_v2)(), NVML_OK);
	assert_int_equal(((int (*)(void))symbol("nvmlDeviceGetBridgeChipInfo"))(),
			 NVML_NOT_SUPPORTED);
}

static void texts_and_versions(void **unused)
{
	char text[96];
	int cuda = 0;

	assert_string_equal(FUNCTION(nvmlErrorString)(0), "Success");
	assert_string_equal(FUNCTION(nvmlErrorString)(15), "GPU is lost");
	assert_string_equal(FUNCTION(nvmlErrorString)(18), "Driver/library version mismatch");
	assert_string_equal(FUNCTION(nvmlErrorString)(999), "Unknown Error");
	assert_string_equal(FUNCTION(nvmlErrorString)(-1), "Unknown Error");
	assert_int_equal(FUNCTION(nvmlSystemGetDriverVersion)(text, 80), NVML_OK);
	assert_string_equal(text, "550.163.01");
	assert_int_equal(FUNCTION(nvmlSystemGetDriverVersion)(text, 10), NVML_INSUFFICIENT_SIZE);
	assert_int_equal(FUNCTION(nvmlSystemGetNVMLVersion)(text, 80), NVML_OK);
	assert_string_equal(text, "12.550.163.01");
	assert_int_equal(FUNCTION(nvmlSystemGetCudaDriverVersion_v2)(&cuda), NVML_OK);
	assert_int_equal(cuda, 12040);
}

static void devices_by_every_name(void **unused)
{
	struct nvml_device *device = NULL;
	struct nvml_pci pci;
	char text[96];
	uint n = 0;

	assert_int_equal(FUNCTION(nvmlDeviceGetCount_v2)(&n), NVML_OK);
	assert_int_equal(n, 3);
	assert_int_equal(FUNCTION(nvmlDeviceGetHandleByIndex_v2)(3, &device),
			 NVML_INVALID_ARGUMENT);
	assert_int_equal(FUNCTION(nvmlDeviceGetHandleByUUID)("GPU-c", &device), NVML_OK);
	assert_ptr_equal(device, gpu(2));
	assert_int_equal(FUNCTION(nvmlDeviceGetHandleByUUID)("GPU-x", &device), NVML_NOT_FOUND);
	assert_int_equal(FUNCTION(nvmlDeviceGetHandleByPciBusId_v2)("0000:4E:00.0", &device),
			 NVML_OK);
	assert_ptr_equal(device, gpu(0));
	assert_int_equal(FUNCTION(nvmlDeviceGetPciInfo_v3)(device, &pci), NVML_OK);
	assert_string_equal(pci.bus_id, "00000000:4E:00.0");
	assert_string_equal(pci.bus_id_legacy, "0000:4E:00.0");
	assert_int_equal(FUNCTION(nvmlDeviceGetName)(device, text, 96), NVML_OK);
	assert_string_equal(text, "NVIDIA RTX A5500");
	assert_int_equal(FUNCTION(nvmlDeviceGetSerial)(device, text, 30), NVML_OK);
	assert_int_equal(FUNCTION(nvmlDeviceGetSerial)(gpu(2), text, 30), NVML_NOT_SUPPORTED);
	assert_int_equal(FUNCTION(nvmlDeviceGetFanSpeed)(gpu(2), &n), NVML_NOT_SUPPORTED);
	assert_int_equal(FUNCTION(nvmlDeviceGetName)((struct nvml_device *)(void *)text, text, 96),
			 NVML_INVALID_ARGUMENT);
}

static void memory_with_and_without_the_reserved_part(void **unused)
{
	struct nvml_memory v1;
	struct nvml_memory_v2 v2 = {.version = NVML_MEMORY_V2};

	hold(0, -1, 100, 2 * GIB, SIM_KIND_COMPUTE);
	assert_int_equal(FUNCTION(nvmlDeviceGetMemoryInfo)(gpu(0), &v1), NVML_OK);
	assert_int_equal(v1.total, 24 * GIB);
	assert_int_equal(v1.used, 2 * GIB + 300 * MIB);
	assert_int_equal(v1.used + v1.free, v1.total);
	assert_int_equal(FUNCTION(nvmlDeviceGetMemoryInfo_v2)(gpu(0), &v2), NVML_OK);
	assert_int_equal(v2.used, 2 * GIB);
	assert_int_equal(v2.reserved, 300 * MIB);
	assert_int_equal(v2.total, v2.used + v2.reserved + v2.free);
	assert_int_equal(v2.free, v1.free);
	v2.version = 2;
	assert_int_equal(FUNCTION(nvmlDeviceGetMemoryInfo_v2)(gpu(0), &v2),
			 NVML_FUNCTION_NOT_FOUND);
	sim->memory_v2 = SIM_MEMORY_V2_LENIENT;
	assert_int_equal(FUNCTION(nvmlDeviceGetMemoryInfo_v2)(gpu(0), &v2), NVML_OK);
	sim->memory_v2 = SIM_MEMORY_V2_REFUSED;
	v2.version = NVML_MEMORY_V2;
	assert_int_equal(FUNCTION(nvmlDeviceGetMemoryInfo_v2)(gpu(0), &v2),
			 NVML_FUNCTION_NOT_FOUND);
	sim->gpus[0].quirks = SIM_QUIRK_MEMORY_ZERO;
	assert_int_equal(FUNCTION(nvmlDeviceGetMemoryInfo)(gpu(0), &v1), NVML_OK);
	assert_int_equal(v1.total, 0);
	sim->gpus[0].quirks = SIM_QUIRK_MEMORY_UNSUPPORTED;
	assert_int_equal(FUNCTION(nvmlDeviceGetMemoryInfo)(gpu(0), &v1), NVML_NOT_SUPPORTED);
}

static void process_lists_of_every_layout(void **unused)
{
	struct nvml_process_v1 one[4] = {};
	struct nvml_process three[4] = {};
	uint n = 0;

	assert_int_equal(FUNCTION(nvmlDeviceGetComputeRunningProcesses_v3)(gpu(0), &n, NULL),
			 NVML_OK);
	assert_int_equal(n, 0);
	hold(0, -1, 100, GIB, SIM_KIND_COMPUTE);
	hold(0, -1, 200, 2 * GIB, SIM_KIND_COMPUTE | SIM_KIND_GRAPHICS);
	assert_int_equal(FUNCTION(nvmlDeviceGetComputeRunningProcesses_v3)(gpu(0), &n, NULL),
			 NVML_INSUFFICIENT_SIZE);
	assert_int_equal(n, 2);
	n = 4;
	assert_int_equal(FUNCTION(nvmlDeviceGetComputeRunningProcesses)(gpu(0), &n, one), NVML_OK);
	assert_int_equal(n, 2);
	assert_int_equal(one[1].pid, 200);
	assert_int_equal(one[1].used_bytes, 2 * GIB);
	n = 4;
	assert_int_equal(FUNCTION(nvmlDeviceGetComputeRunningProcesses_v3)(gpu(0), &n, three),
			 NVML_OK);
	assert_int_equal(three[1].pid, 200);
	assert_int_equal(three[1].gpu_instance, NVML_ID_NONE);
	n = 4;
	assert_int_equal(FUNCTION(nvmlDeviceGetGraphicsRunningProcesses_v2)(gpu(0), &n, three),
			 NVML_OK);
	assert_int_equal(n, 1);
	assert_int_equal(three[0].pid, 200);
	n = 4;
	assert_int_equal(FUNCTION(nvmlDeviceGetMPSComputeRunningProcesses_v3)(gpu(0), &n, three),
			 NVML_OK);
	assert_int_equal(n, 0);
	n = 1;
	assert_int_equal(FUNCTION(nvmlDeviceGetComputeRunningProcesses_v3)(gpu(0), &n, three),
			 NVML_INSUFFICIENT_SIZE);
}

static void odd_process_lists(void **unused)
{
	struct nvml_process_detail wide[4] = {};
	struct nvml_process plain[4] = {};
	uint n = 4;

	hold(0, -1, 100, GIB, SIM_KIND_COMPUTE);
	hold(0, -1, 200, 2 * GIB, SIM_KIND_COMPUTE);
	sim->process_stride = 32;
	assert_int_equal(FUNCTION(nvmlDeviceGetComputeRunningProcesses_v3)(gpu(0), &n, wide),
			 NVML_OK);
	assert_int_equal(wide[1].pid, 200); /* eight bytes further on than its callers think */
	n = 4;
	assert_int_equal(FUNCTION(nvmlDeviceGetComputeRunningProcesses_v2)(gpu(0), &n, plain),
			 NVML_OK);
	assert_int_equal(plain[1].pid, 200); /* the older name was right */
	sim->process_stride = 24;
	sim->gpus[0].quirks = SIM_QUIRK_PROCESS_MEMORY_UNKNOWN | SIM_QUIRK_DEAD_PROCESSES;
	n = 4;
	assert_int_equal(FUNCTION(nvmlDeviceGetComputeRunningProcesses_v3)(gpu(0), &n, plain),
			 NVML_OK);
	assert_int_equal(n, 3);
	assert_true(plain[0].used_bytes == NVML_VALUE_UNKNOWN);
	assert_false(pid_is_alive((pid_t)plain[2].pid, 0));
	sim->gpus[0].quirks = SIM_QUIRK_LIST_GROWS;
	n = 0;
	assert_int_equal(FUNCTION(nvmlDeviceGetComputeRunningProcesses_v3)(gpu(0), &n, NULL),
			 NVML_INSUFFICIENT_SIZE);
	assert_int_equal(n, 1);
	assert_int_equal(FUNCTION(nvmlDeviceGetComputeRunningProcesses_v3)(gpu(0), &n, plain),
			 NVML_INSUFFICIENT_SIZE);
	assert_int_equal(n, 2);
	assert_int_equal(FUNCTION(nvmlDeviceGetComputeRunningProcesses_v3)(gpu(0), &n, plain),
			 NVML_OK);
}

static void process_samples(void **unused)
{
	struct nvml_process_sample samples[4];
	uint n = 0;

	hold(0, -1, 100, GIB, SIM_KIND_COMPUTE);
	n = 4;
	assert_int_equal(FUNCTION(nvmlDeviceGetProcessUtilization)(gpu(0), samples, &n, 0),
			 NVML_NOT_FOUND);
	state_lock(sim);
	sim->procs[0].percent = 60;
	state_unlock(sim);
	n = 0;
	assert_int_equal(FUNCTION(nvmlDeviceGetProcessUtilization)(gpu(0), NULL, &n, 0),
			 NVML_INSUFFICIENT_SIZE);
	assert_int_equal(n, 1);
	assert_int_equal(FUNCTION(nvmlDeviceGetProcessUtilization)(gpu(0), samples, &n, 0),
			 NVML_OK);
	assert_int_equal(samples[0].pid, 100);
	assert_int_equal(samples[0].sm, 60);
	assert_int_equal(FUNCTION(nvmlDeviceGetProcessUtilization)(gpu(0), samples, &n,
								   samples[0].time_us + 60000000),
			 NVML_NOT_FOUND);
	sim->gpus[0].quirks = SIM_QUIRK_SIZE_ALWAYS_100 | SIM_QUIRK_STALE_SAMPLES;
	n = 0;
	assert_int_equal(FUNCTION(nvmlDeviceGetProcessUtilization)(gpu(0), NULL, &n, 0),
			 NVML_INSUFFICIENT_SIZE);
	assert_int_equal(n, 100);
	n = 4;
	assert_int_equal(FUNCTION(nvmlDeviceGetProcessUtilization)(gpu(0), samples, &n, 0),
			 NVML_OK);
	assert_int_equal(n, 2);
	assert_true(samples[1].sm > 100);
	assert_true(samples[1].time_us + 3000000000ULL < samples[0].time_us);
}

static void mig_instances_are_devices(void **unused)
{
	struct nvml_device *mig = NULL, *parent = NULL;
	struct nvml_attributes attributes;
	struct nvml_utilization load;
	struct nvml_process list[4];
	struct nvml_memory memory;
	uint n = 0, current = 0, pending = 0, found = 0;

	assert_int_equal(FUNCTION(nvmlDeviceGetMigMode)(gpu(0), &current, &pending),
			 NVML_NOT_SUPPORTED);
	assert_int_equal(FUNCTION(nvmlDeviceGetMigMode)(gpu(1), &current, &pending), NVML_OK);
	assert_int_equal(current, 1);
	assert_int_equal(FUNCTION(nvmlDeviceGetMaxMigDeviceCount)(gpu(1), &n), NVML_OK);
	for (uint i = 0; i < n; i++) {
		int code = FUNCTION(nvmlDeviceGetMigDeviceHandleByIndex)(gpu(1), i, &mig);

		assert_true(code == NVML_OK || code == NVML_NOT_FOUND);
		found += code == NVML_OK;
	}
	assert_int_equal(found, 2); /* index 1 is a hole */
	assert_int_equal(FUNCTION(nvmlDeviceGetHandleByUUID)("MIG-2", &mig), NVML_OK);
	assert_int_equal(FUNCTION(nvmlDeviceIsMigDeviceHandle)(mig, &n), NVML_OK);
	assert_int_equal(n, 1);
	assert_int_equal(FUNCTION(nvmlDeviceGetDeviceHandleFromMigDeviceHandle)(mig, &parent),
			 NVML_OK);
	assert_ptr_equal(parent, gpu(1));
	hold(1, 2, 100, 3 * GIB, SIM_KIND_COMPUTE);
	assert_int_equal(FUNCTION(nvmlDeviceGetMemoryInfo)(mig, &memory), NVML_OK);
	assert_int_equal(memory.total, 10 * GIB);
	assert_int_equal(memory.used, 3 * GIB);
	n = 4;
	assert_int_equal(FUNCTION(nvmlDeviceGetComputeRunningProcesses_v3)(gpu(1), &n, list),
			 NVML_OK);
	assert_int_equal(list[0].gpu_instance, 3);
	assert_int_equal(FUNCTION(nvmlDeviceGetAttributes_v2)(mig, &attributes), NVML_OK);
	assert_int_equal(attributes.memory_mib, 10240);
	assert_int_equal(FUNCTION(nvmlDeviceGetUtilizationRates)(mig, &load), NVML_NOT_SUPPORTED);
	assert_int_equal(FUNCTION(nvmlDeviceGetUtilizationRates)(gpu(1), &load),
			 NVML_NOT_SUPPORTED);
	sim->gpus[1].migs[2].there = false; /* the instance is destroyed */
	assert_int_equal(FUNCTION(nvmlDeviceGetMemoryInfo)(mig, &memory), NVML_INVALID_ARGUMENT);
}

static void a_lost_gpu_in_every_listing(void **unused)
{
	struct nvml_device *device = gpu(0), *now = NULL;
	char text[96];
	uint n = 0;

	sim->gpus[0].lost = true;
	sim->gpus[0].lost_code = NVML_GPU_IS_LOST;
	assert_int_equal(FUNCTION(nvmlDeviceGetName)(device, text, 96), NVML_GPU_IS_LOST);
	assert_int_equal(FUNCTION(nvmlDeviceGetHandleByIndex_v2)(0, &now), NVML_GPU_IS_LOST);
	assert_int_equal(FUNCTION(nvmlDeviceGetCount_v2)(&n), NVML_OK);
	assert_int_equal(n, 3);
	assert_int_equal(FUNCTION(nvmlInit)(), NVML_GPU_IS_LOST); /* the first version gives up */
	sim->gpus[0].lost_code = NVML_UNKNOWN;
	sim->gpus[0].lost_listing = SIM_LISTING_SMALLER;
	assert_int_equal(FUNCTION(nvmlDeviceGetHandleByIndex_v2)(0, &now), NVML_UNKNOWN);
	assert_int_equal(FUNCTION(nvmlDeviceGetCount_v2)(&n), NVML_OK);
	assert_int_equal(n, 2);
	sim->gpus[0].lost_listing = SIM_LISTING_RENUMBER;
	assert_int_equal(FUNCTION(nvmlDeviceGetUUID)(gpu(0), text, 96), NVML_OK);
	assert_string_equal(text, "GPU-b");
	assert_int_equal(FUNCTION(nvmlDeviceGetIndex)(gpu(1), &n), NVML_OK);
	assert_int_equal(n, 1);
	assert_int_equal(FUNCTION(nvmlDeviceGetHandleByUUID)("GPU-a", &now), NVML_NOT_FOUND);
}

static void faults_by_function_and_by_device(void **unused)
{
	uint n = 0;

	sim->gpus[0].n_faults = 2;
	sim->gpus[0].faults[0] =
	    (struct sim_fault){"nvmlDeviceGetTemperature*", NVML_NOT_SUPPORTED};
	sim->gpus[0].faults[1] = (struct sim_fault){"nvmlDeviceGetPowerUsage", NVML_UNKNOWN};
	assert_int_equal(FUNCTION(nvmlDeviceGetTemperature)(gpu(0), 0, &n), NVML_NOT_SUPPORTED);
	assert_int_equal(FUNCTION(nvmlDeviceGetPowerUsage)(gpu(0), &n), NVML_UNKNOWN);
	assert_int_equal(FUNCTION(nvmlDeviceGetEnforcedPowerLimit)(gpu(0), &n), NVML_OK);
	assert_int_equal(FUNCTION(nvmlDeviceGetTemperature)(gpu(2), 0, &n), NVML_OK);
	sim->gpus[0].error = NVML_RESET_REQUIRED;
	assert_int_equal(FUNCTION(nvmlDeviceGetEnforcedPowerLimit)(gpu(0), &n),
			 NVML_RESET_REQUIRED);
}

static void the_driver_goes_away(void **unused)
{
	uint n = 0;

	sim->init_error = NVML_LIB_RM_VERSION_MISMATCH;
	assert_int_equal(FUNCTION(nvmlInit_v2)(), NVML_LIB_RM_VERSION_MISMATCH);
	assert_int_equal(FUNCTION(nvmlDeviceGetCount_v2)(&n), NVML_OK); /* who has it keeps it */
	sim->init_error = NVML_DRIVER_NOT_LOADED;
	assert_int_equal(FUNCTION(nvmlInit_v2)(), NVML_DRIVER_NOT_LOADED);
	assert_int_equal(FUNCTION(nvmlDeviceGetCount_v2)(&n), NVML_UNKNOWN);
	sim->init_error = 0;
}

static void events_are_waited_for(void **unused)
{
	struct nvml_event_set *set = NULL;
	struct nvml_event event = {};
	struct sim_event xid = {.type = SIM_EVENT_XID, .gpu = 2, .number = 119};

	assert_int_equal(FUNCTION(nvmlEventSetCreate)(&set), NVML_OK);
	assert_int_equal(FUNCTION(nvmlDeviceRegisterEvents)(gpu(2), NVML_EVENT_XID, set), NVML_OK);
	assert_int_equal(FUNCTION(nvmlDeviceRegisterEvents)(gpu(2), 0x2, set), NVML_NOT_SUPPORTED);
	assert_int_equal(FUNCTION(nvmlEventSetWait_v2)(set, &event, 0), NVML_TIMEOUT);
	assert_int_equal(FUNCTION(nvmlEventSetWait_v2)(set, &event, 30), NVML_TIMEOUT);
	state_lock(sim);
	xid.at_ns = sim->advanced_ns + 50000000; /* due while the call waits */
	assert_int_equal(state_add_event(sim, &xid), 0);
	xid.gpu = 0; /* nobody listens to that one */
	assert_int_equal(state_add_event(sim, &xid), 0);
	state_unlock(sim);
	assert_int_equal(FUNCTION(nvmlEventSetWait_v2)(set, &event, 5000), NVML_OK);
	assert_ptr_equal(event.device, gpu(2));
	assert_int_equal(event.data, 119);
	assert_int_equal(event.type, NVML_EVENT_XID);
	assert_int_equal(FUNCTION(nvmlEventSetWait_v2)(set, &event, 30), NVML_TIMEOUT);
	sim->gpus[2].lost = true; /* without an XID */
	assert_int_equal(FUNCTION(nvmlEventSetWait_v2)(set, &event, 5000), NVML_GPU_IS_LOST);
	assert_int_equal(FUNCTION(nvmlEventSetFree)(set), NVML_OK);
}

static void *call_once(void *returned)
{
	uint n = 0;

	(void)FUNCTION(nvmlDeviceGetMinorNumber)(gpu(0), &n);
	__atomic_store_n((bool *)returned, true, __ATOMIC_SEQ_CST);
	return NULL;
}

static void a_hung_call_returns_when_the_hang_ends(void **unused)
{
	struct timespec rest = {.tv_nsec = 200000000};
	bool returned = false;
	pthread_t thread;
	uint n = 0;

	sim->gpus[0].hung = true;
	assert_int_equal(pthread_create(&thread, NULL, call_once, &returned), 0);
	(void)nanosleep(&rest, NULL); /* longer than it looks up */
	assert_false(__atomic_load_n(&returned, __ATOMIC_SEQ_CST));
	assert_int_equal(FUNCTION(nvmlDeviceGetMinorNumber)(gpu(2), &n), NVML_OK); /* others work */
	state_lock(sim);
	sim->gpus[0].hung = false;
	state_notify(sim);
	state_unlock(sim);
	assert_int_equal(pthread_join(thread, NULL), 0);
	assert_true(returned);
}

static void a_slow_call_takes_its_time(void **unused)
{
	struct timespec before, after;
	uint n = 0;

	sim->gpus[2].delay_ms = 60;
	(void)clock_gettime(CLOCK_MONOTONIC, &before);
	assert_int_equal(FUNCTION(nvmlDeviceGetMinorNumber)(gpu(2), &n), NVML_OK);
	(void)clock_gettime(CLOCK_MONOTONIC, &after);
	assert_true((after.tv_sec - before.tv_sec) * 1000 +
			(after.tv_nsec - before.tv_nsec) / 1000000 >=
		    119);
}

static void hidden_symbols_are_really_missing(void **unused)
{
	static const char patterns[][64] = {"*_v3", "nvmlDeviceGetMemoryInfo_v2"};
	static const char nothing[][64] = {"nvmlNoSuch*"};
	char copy[80];
	void *old;

	(void)snprintf(copy, sizeof copy, "%s.so", path);
	assert_int_equal(libhide_copy(LIBRARY, copy, patterns, 2, NULL), 0);
	old = dlopen(copy, RTLD_NOW | RTLD_LOCAL);
	assert_non_null(old);
	assert_null(dlsym(old, "nvmlDeviceGetComputeRunningProcesses_v3"));
	assert_null(dlsym(old, "nvmlDeviceGetMemoryInfo_v2"));
	assert_non_null(dlsym(old, "nvmlDeviceGetMemoryInfo"));
	assert_non_null(dlsym(old, "nvmlDeviceGetComputeRunningProcesses_v2"));
	(void)dlclose(old);
	assert_int_equal(libhide_copy(LIBRARY, copy, nothing, 1, NULL), -2);
	assert_int_equal(libhide_copy(path, copy, patterns, 1, NULL), -8);
	(void)unlink(copy);
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, begin, end)

int main(void)
{
	const struct CMUnitTest tests[] = {
	    TEST(every_name_is_exported_and_says_uninitialized),
	    TEST(texts_and_versions),
	    TEST(devices_by_every_name),
	    TEST(memory_with_and_without_the_reserved_part),
	    TEST(process_lists_of_every_layout),
	    TEST(odd_process_lists),
	    TEST(process_samples),
	    TEST(mig_instances_are_devices),
	    TEST(a_lost_gpu_in_every_listing),
	    TEST(faults_by_function_and_by_device),
	    TEST(the_driver_goes_away),
	    TEST(events_are_waited_for),
	    TEST(a_hung_call_returns_when_the_hang_ends),
	    TEST(a_slow_call_takes_its_time),
	    TEST(hidden_symbols_are_really_missing),
	};

	return cmocka_run_group_tests_name("sim_nvml", tests, setup, teardown);
}
