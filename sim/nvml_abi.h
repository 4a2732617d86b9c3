/*
 * The binary interface of libnvidia-ml.so.1 as the simulator answers it: numbers, layouts and
 * prototypes, in our own words. Layouts are those of the x86-64 library; the static_asserts in
 * nvml_lib.c pin every size. A handle is a pointer the caller never looks behind.
 */
#pragma once

#include <assert.h>
#include <stddef.h>
#include <stdint.h>

#define NVML_EXPORT __attribute__((visibility("default")))

enum nvml_code {
	NVML_OK = 0,
	NVML_UNINITIALIZED = 1,
	NVML_INVALID_ARGUMENT = 2,
	NVML_NOT_SUPPORTED = 3,
	NVML_NO_PERMISSION = 4,
	NVML_NOT_FOUND = 6,
	NVML_INSUFFICIENT_SIZE = 7,
	NVML_DRIVER_NOT_LOADED = 9,
	NVML_TIMEOUT = 10,
	NVML_FUNCTION_NOT_FOUND = 13,
	NVML_GPU_IS_LOST = 15,
	NVML_RESET_REQUIRED = 16,
	NVML_LIB_RM_VERSION_MISMATCH = 18,
	NVML_NO_DATA = 21,
	NVML_ARGUMENT_VERSION_MISMATCH = 25,
	NVML_UNKNOWN = 999,
};

#define NVML_VALUE_UNKNOWN     (~0ULL)     /* a size nobody can tell */
#define NVML_ID_NONE           0xffffffffU /* GPU or compute instance id without MIG */
#define NVML_MEMORY_V2         0x02000028U /* sizeof | 2 << 24 */
#define NVML_TEMPERATURE_V1    0x0100000cU
#define NVML_PROCESS_DETAIL_V1 0x01000018U
#define NVML_PROCESS_UTIL_V1   0x01000018U
#define NVML_EVENT_XID         0x8ULL
#define NVML_FEATURE_OFF       0U
#define NVML_FEATURE_ON        1U

enum nvml_clock_type { NVML_CLOCK_GRAPHICS, NVML_CLOCK_SM, NVML_CLOCK_MEMORY, NVML_CLOCK_VIDEO };
enum nvml_threshold {
	NVML_THRESHOLD_SHUTDOWN,
	NVML_THRESHOLD_SLOWDOWN,
	NVML_THRESHOLD_MEMORY_MAX,
	NVML_THRESHOLD_GPU_MAX,
};
enum nvml_value_type {
	NVML_VALUE_DOUBLE,
	NVML_VALUE_U32,
	NVML_VALUE_ULONG,
	NVML_VALUE_U64,
	NVML_VALUE_I64,
	NVML_VALUE_I32,
	NVML_VALUE_U16,
};

struct nvml_device; /* behind the handle */
struct nvml_event_set;

struct nvml_pci {
	char bus_id_legacy[16]; /* "0000:4E:00.0" */
	uint32_t domain;
	uint32_t bus;
	uint32_t device;
	uint32_t device_id;    /* device << 16 | vendor */
	uint32_t subsystem_id; /* since _v2 */
	char bus_id[32];       /* since _v3: "00000000:4E:00.0" */
};

struct nvml_pci_v2 { /* the first two versions of GetPciInfo */
	char bus_id[16];
	uint32_t domain;
	uint32_t bus;
	uint32_t device;
	uint32_t device_id;
	uint32_t subsystem_id; /* the unversioned call stops before this */
};

struct nvml_memory {
	uint64_t total;
	uint64_t free;
	uint64_t used; /* includes what the driver reserved */
};

struct nvml_memory_v2 {
	uint32_t version; /* in: NVML_MEMORY_V2 */
	uint64_t total;
	uint64_t reserved;
	uint64_t free;
	uint64_t used; /* without the reserved part */
};

struct nvml_utilization {
	uint32_t gpu;
	uint32_t memory;
};

struct nvml_process_v1 {
	uint32_t pid;
	uint64_t used_bytes;
};

struct nvml_process { /* v2 and v3 */
	uint32_t pid;
	uint64_t used_bytes;
	uint32_t gpu_instance;
	uint32_t compute_instance;
};

struct nvml_process_detail {
	uint32_t pid;
	uint64_t used_bytes;
	uint32_t gpu_instance;
	uint32_t compute_instance;
	uint64_t protected_bytes;
};

struct nvml_process_detail_list {
	uint32_t version;
	uint32_t mode; /* 0 compute, 1 graphics, 2 MPS */
	uint32_t count;
	struct nvml_process_detail *processes;
};

struct nvml_process_sample {
	uint32_t pid;
	uint64_t time_us;
	uint32_t sm;
	uint32_t memory;
	uint32_t encoder;
	uint32_t decoder;
};

struct nvml_process_utilization {
	uint64_t time_us;
	uint32_t pid;
	uint32_t sm;
	uint32_t memory;
	uint32_t encoder;
	uint32_t decoder;
	uint32_t jpeg;
	uint32_t ofa;
};

struct nvml_process_utilization_list {
	uint32_t version;
	uint32_t count;
	uint64_t last_seen_us;
	struct nvml_process_utilization *processes;
};

struct nvml_event {
	struct nvml_device *device;
	uint64_t type;
	uint64_t data; /* the XID */
	uint32_t gpu_instance;
	uint32_t compute_instance;
};

struct nvml_field_value {
	uint32_t field;
	uint32_t scope;
	int64_t time_us;
	int64_t latency_us;
	uint32_t type; /* enum nvml_value_type */
	int32_t code;
	union {
		double real;
		uint32_t u32;
		uint64_t u64;
		int64_t i64;
	} value;
};

struct nvml_attributes {
	uint32_t multiprocessors;
	uint32_t copy_engines;
	uint32_t decoders;
	uint32_t encoders;
	uint32_t jpegs;
	uint32_t ofas;
	uint32_t gpu_instance_slices;
	uint32_t compute_instance_slices;
	uint64_t memory_mib;
};

struct nvml_conf_compute_memory {
	uint64_t protected_kib;
	uint64_t unprotected_kib;
};

struct nvml_temperature {
	uint32_t version;
	uint32_t sensor;
	int32_t celsius;
};

typedef unsigned int uint; /* shorter prototypes below */

/* nvml_lib.c: a session, opened as often as it is closed */
NVML_EXPORT int nvmlInit(void);
NVML_EXPORT int nvmlInit_v2(void);
NVML_EXPORT int nvmlInitWithFlags(uint flags);
NVML_EXPORT int nvmlShutdown(void);

/* nvml_system.c */
NVML_EXPORT const char *nvmlErrorString(int code);
NVML_EXPORT int nvmlSystemGetDriverVersion(char *version, uint size);
NVML_EXPORT int nvmlSystemGetNVMLVersion(char *version, uint size);
NVML_EXPORT int nvmlSystemGetCudaDriverVersion(int *version);
NVML_EXPORT int nvmlSystemGetCudaDriverVersion_v2(int *version);
NVML_EXPORT int nvmlSystemGetProcessName(uint pid, char *name, uint size);
NVML_EXPORT int nvmlInternalGetExportTable(const void **table, const void *id);

/* nvml_device.c: which devices there are and what they are */
NVML_EXPORT int nvmlDeviceGetCount(uint *count);
NVML_EXPORT int nvmlDeviceGetCount_v2(uint *count);
NVML_EXPORT int nvmlDeviceGetHandleByIndex(uint index, struct nvml_device **device);
NVML_EXPORT int nvmlDeviceGetHandleByIndex_v2(uint index, struct nvml_device **device);
NVML_EXPORT int nvmlDeviceGetHandleByUUID(const char *uuid, struct nvml_device **device);
NVML_EXPORT int nvmlDeviceGetHandleByPciBusId(const char *id, struct nvml_device **device);
NVML_EXPORT int nvmlDeviceGetHandleByPciBusId_v2(const char *id, struct nvml_device **device);
NVML_EXPORT int nvmlDeviceGetHandleBySerial(const char *serial, struct nvml_device **device);
NVML_EXPORT int nvmlDeviceGetIndex(struct nvml_device *device, uint *index);
NVML_EXPORT int nvmlDeviceGetName(struct nvml_device *device, char *name, uint size);
NVML_EXPORT int nvmlDeviceGetUUID(struct nvml_device *device, char *uuid, uint size);
NVML_EXPORT int nvmlDeviceGetSerial(struct nvml_device *device, char *serial, uint size);
NVML_EXPORT int nvmlDeviceGetMinorNumber(struct nvml_device *device, uint *minor);
NVML_EXPORT int nvmlDeviceGetPciInfo(struct nvml_device *device, struct nvml_pci_v2 *pci);
NVML_EXPORT int nvmlDeviceGetPciInfo_v2(struct nvml_device *device, struct nvml_pci_v2 *pci);
NVML_EXPORT int nvmlDeviceGetPciInfo_v3(struct nvml_device *device, struct nvml_pci *pci);
NVML_EXPORT int nvmlDeviceGetCudaComputeCapability(struct nvml_device *device, int *major,
						   int *minor);
NVML_EXPORT int nvmlDeviceGetCpuAffinity(struct nvml_device *device, uint words,
					 unsigned long *set);
NVML_EXPORT int nvmlDeviceGetComputeMode(struct nvml_device *device, uint *mode);
NVML_EXPORT int nvmlDeviceGetPersistenceMode(struct nvml_device *device, uint *mode);
NVML_EXPORT int nvmlDeviceGetDisplayActive(struct nvml_device *device, uint *active);
NVML_EXPORT int nvmlDeviceGetDriverModel(struct nvml_device *device, uint *current, uint *pending);
NVML_EXPORT int nvmlDeviceGetVirtualizationMode(struct nvml_device *device, uint *mode);
NVML_EXPORT int nvmlDeviceGetEccMode(struct nvml_device *device, uint *current, uint *pending);
NVML_EXPORT int nvmlDeviceGetTotalEccErrors(struct nvml_device *device, uint kind, uint counter,
					    unsigned long long *count);
NVML_EXPORT int nvmlDeviceValidateInforom(struct nvml_device *device);
NVML_EXPORT int nvmlDeviceGetArchitecture(struct nvml_device *device, uint *architecture);
NVML_EXPORT int nvmlDeviceGetBrand(struct nvml_device *device, uint *brand);
NVML_EXPORT int nvmlDeviceGetNumGpuCores(struct nvml_device *device, uint *cores);
NVML_EXPORT int nvmlDeviceGetMemoryBusWidth(struct nvml_device *device, uint *bits);

/* nvml_link.c */
NVML_EXPORT int nvmlDeviceGetTopologyCommonAncestor(struct nvml_device *device,
						    struct nvml_device *other, uint *level);
NVML_EXPORT int nvmlDeviceGetNvLinkState(struct nvml_device *device, uint link, uint *active);
NVML_EXPORT int nvmlDeviceGetNvLinkRemoteDeviceType(struct nvml_device *device, uint link,
						    uint *type);
NVML_EXPORT int nvmlDeviceGetNvLinkRemotePciInfo_v2(struct nvml_device *device, uint link,
						    struct nvml_pci *pci);

/* nvml_memory.c */
NVML_EXPORT int nvmlDeviceGetMemoryInfo(struct nvml_device *device, struct nvml_memory *memory);
NVML_EXPORT int nvmlDeviceGetMemoryInfo_v2(struct nvml_device *device,
					   struct nvml_memory_v2 *memory);
NVML_EXPORT int nvmlDeviceGetBAR1MemoryInfo(struct nvml_device *device, struct nvml_memory *memory);
NVML_EXPORT int nvmlDeviceGetConfComputeMemSizeInfo(struct nvml_device *device,
						    struct nvml_conf_compute_memory *memory);

/* nvml_process.c: `count` is the room on entry, the number there is on return; `processes` has the
 * layout of the version, hence void */
#define NVML_PROCESS_LISTS(f)                                                                      \
	f(Compute, , 1) f(Compute, _v2, 2) f(Compute, _v3, 3) f(Graphics, , 1) f(Graphics, _v2, 2) \
	    f(Graphics, _v3, 3) f(MPSCompute, , 1) f(MPSCompute, _v2, 2) f(MPSCompute, _v3, 3)
#define NVML_DECLARE_PROCESS_LIST(kind, suffix, version)               \
	NVML_EXPORT int nvmlDeviceGet##kind##RunningProcesses##suffix( \
	    struct nvml_device *device, uint *count, void *processes);
NVML_PROCESS_LISTS(NVML_DECLARE_PROCESS_LIST)
NVML_EXPORT int nvmlDeviceGetRunningProcessDetailList(struct nvml_device *device,
						      struct nvml_process_detail_list *list);
NVML_EXPORT int nvmlDeviceGetProcessUtilization(struct nvml_device *device,
						struct nvml_process_sample *samples, uint *count,
						unsigned long long last_seen_us);
NVML_EXPORT int nvmlDeviceGetProcessesUtilizationInfo(struct nvml_device *device,
						      struct nvml_process_utilization_list *list);

/* nvml_sensor.c: load, temperature, power, clocks, PCIe */
NVML_EXPORT int nvmlDeviceGetUtilizationRates(struct nvml_device *device,
					      struct nvml_utilization *utilization);
NVML_EXPORT int nvmlDeviceGetEncoderUtilization(struct nvml_device *device, uint *percent,
						uint *period_us);
NVML_EXPORT int nvmlDeviceGetDecoderUtilization(struct nvml_device *device, uint *percent,
						uint *period_us);
NVML_EXPORT int nvmlDeviceGetTemperature(struct nvml_device *device, uint sensor, uint *celsius);
NVML_EXPORT int nvmlDeviceGetTemperatureV(struct nvml_device *device,
					  struct nvml_temperature *temperature);
NVML_EXPORT int nvmlDeviceGetTemperatureThreshold(struct nvml_device *device, uint which,
						  uint *celsius);
NVML_EXPORT int nvmlDeviceGetFanSpeed(struct nvml_device *device, uint *percent);
NVML_EXPORT int nvmlDeviceGetPowerUsage(struct nvml_device *device, uint *milliwatts);
NVML_EXPORT int nvmlDeviceGetPowerManagementDefaultLimit(struct nvml_device *device,
							 uint *milliwatts);
NVML_EXPORT int nvmlDeviceGetRemappedRows(struct nvml_device *device, uint *correctable,
					  uint *uncorrectable, uint *pending, uint *failed);
NVML_EXPORT int nvmlDeviceGetPowerManagementLimit(struct nvml_device *device, uint *milliwatts);
NVML_EXPORT int nvmlDeviceGetEnforcedPowerLimit(struct nvml_device *device, uint *milliwatts);
NVML_EXPORT int nvmlDeviceGetTotalEnergyConsumption(struct nvml_device *device,
						    unsigned long long *millijoules);
NVML_EXPORT int nvmlDeviceGetPerformanceState(struct nvml_device *device, uint *state);
NVML_EXPORT int nvmlDeviceGetPowerState(struct nvml_device *device, uint *state);
NVML_EXPORT int nvmlDeviceGetClockInfo(struct nvml_device *device, uint type, uint *mhz);
NVML_EXPORT int nvmlDeviceGetMaxClockInfo(struct nvml_device *device, uint type, uint *mhz);
NVML_EXPORT int nvmlDeviceGetApplicationsClock(struct nvml_device *device, uint type, uint *mhz);
NVML_EXPORT int nvmlDeviceSetApplicationsClocks(struct nvml_device *device, uint memory, uint sm);
NVML_EXPORT int nvmlDeviceResetApplicationsClocks(struct nvml_device *device);
NVML_EXPORT int nvmlDeviceSetGpuLockedClocks(struct nvml_device *device, uint min, uint max);
NVML_EXPORT int nvmlDeviceResetGpuLockedClocks(struct nvml_device *device);
NVML_EXPORT int nvmlDeviceSetMemoryLockedClocks(struct nvml_device *device, uint min, uint max);
NVML_EXPORT int nvmlDeviceResetMemoryLockedClocks(struct nvml_device *device);
NVML_EXPORT int nvmlDeviceGetSupportedMemoryClocks(struct nvml_device *device, uint *count,
						   uint *mhz);
NVML_EXPORT int nvmlDeviceGetSupportedGraphicsClocks(struct nvml_device *device, uint memory,
						     uint *count, uint *mhz);
NVML_EXPORT int nvmlDeviceGetCurrentClocksEventReasons(struct nvml_device *device,
						       unsigned long long *reasons);
NVML_EXPORT int nvmlDeviceGetCurrentClocksThrottleReasons(struct nvml_device *device,
							  unsigned long long *reasons);
NVML_EXPORT int nvmlDeviceGetSupportedClocksEventReasons(struct nvml_device *device,
							 unsigned long long *reasons);
NVML_EXPORT int nvmlDeviceGetSupportedClocksThrottleReasons(struct nvml_device *device,
							    unsigned long long *reasons);
NVML_EXPORT int nvmlDeviceGetMaxPcieLinkGeneration(struct nvml_device *device, uint *generation);
NVML_EXPORT int nvmlDeviceGetMaxPcieLinkWidth(struct nvml_device *device, uint *width);
NVML_EXPORT int nvmlDeviceGetCurrPcieLinkGeneration(struct nvml_device *device, uint *generation);
NVML_EXPORT int nvmlDeviceGetCurrPcieLinkWidth(struct nvml_device *device, uint *width);
NVML_EXPORT int nvmlDeviceGetPcieThroughput(struct nvml_device *device, uint counter, uint *kib_s);

/* nvml_field.c */
NVML_EXPORT int nvmlDeviceGetFieldValues(struct nvml_device *device, int count,
					 struct nvml_field_value *values);

/* nvml_mig.c */
NVML_EXPORT int nvmlDeviceGetMigMode(struct nvml_device *device, uint *current, uint *pending);
NVML_EXPORT int nvmlDeviceGetMaxMigDeviceCount(struct nvml_device *device, uint *count);
NVML_EXPORT int nvmlDeviceGetMigDeviceHandleByIndex(struct nvml_device *device, uint index,
						    struct nvml_device **mig);
NVML_EXPORT int nvmlDeviceGetDeviceHandleFromMigDeviceHandle(struct nvml_device *mig,
							     struct nvml_device **device);
NVML_EXPORT int nvmlDeviceIsMigDeviceHandle(struct nvml_device *device, uint *is_mig);
NVML_EXPORT int nvmlDeviceGetGpuInstanceId(struct nvml_device *device, uint *id);
NVML_EXPORT int nvmlDeviceGetComputeInstanceId(struct nvml_device *device, uint *id);
NVML_EXPORT int nvmlDeviceGetAttributes_v2(struct nvml_device *device,
					   struct nvml_attributes *attributes);

/* nvml_event.c */
NVML_EXPORT int nvmlEventSetCreate(struct nvml_event_set **set);
NVML_EXPORT int nvmlEventSetFree(struct nvml_event_set *set);
NVML_EXPORT int nvmlEventSetWait(struct nvml_event_set *set, struct nvml_event *event,
				 uint timeout_ms);
NVML_EXPORT int nvmlEventSetWait_v2(struct nvml_event_set *set, struct nvml_event *event,
				    uint timeout_ms);
NVML_EXPORT int nvmlDeviceRegisterEvents(struct nvml_device *device, unsigned long long types,
					 struct nvml_event_set *set);
NVML_EXPORT int nvmlDeviceGetSupportedEventTypes(struct nvml_device *device,
						 unsigned long long *types);
