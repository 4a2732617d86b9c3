/*
 * NVML's types and functions, declared by ourselves: names, numbers and layouts as measured on
 * nvml.h 13.3. For nvml.c and nvml_details.c alone; nothing of it leaves those files.
 */
#pragma once

#include <assert.h>
#include <stdint.h>

struct nvml_device; /* nvmlDevice_t points to it */
struct nvml_event_set;

struct nvml_pci {
	char bus_id_legacy[16];
	unsigned domain, bus, device, device_id, subsystem_id;
	char bus_id[32];
};
struct nvml_memory_v1 {
	uint64_t total, free, used; /* used includes the driver's reserve */
};
struct nvml_memory_v2 {
	unsigned version;
	uint64_t total, reserved, free, used;
};
struct nvml_utilization {
	unsigned gpu, memory;
};
struct nvml_temperature_v1 {
	unsigned version, sensor;
	int temperature;
};
struct nvml_process_sample {
	unsigned pid;
	uint64_t time_us;
	unsigned sm, memory, encoder, decoder; /* percent */
};
struct nvml_event {
	struct nvml_device *device;
	uint64_t type, data;
	unsigned gpu_instance, compute_instance;
};

struct nvml_field {
	unsigned id, scope;
	int64_t timestamp, latency_us;
	int type; /* of `value`: 0 double, 1 u32, 2 unsigned long, 3 u64, ... */
	int code;
	union {
		unsigned u32;
		uint64_t u64;
	} value;
};

static_assert(sizeof(struct nvml_field) == 40, "ABI");
static_assert(sizeof(struct nvml_pci) == 68, "ABI");
static_assert(sizeof(struct nvml_memory_v1) == 24, "ABI");
static_assert(sizeof(struct nvml_memory_v2) == 40, "ABI");
static_assert(sizeof(struct nvml_temperature_v1) == 12, "ABI");
static_assert(sizeof(struct nvml_process_sample) == 32, "ABI");
static_assert(sizeof(struct nvml_event) == 32, "ABI");

/* The version word of a struct is its size and, above 24 bits, its number. nvml.h's comment says 2
 * for memory; the real library answers that with FUNCTION_NOT_FOUND. */
#define VERSION_WORD(type, number) ((unsigned)sizeof(type) | (number) << 24)

/* member, NVML's name, arguments. The result is always a code. */
#define FUNCTIONS(X)                                                                               \
	X(init_v2, "nvmlInit_v2", (void))                                                          \
	X(init, "nvmlInit", (void))                                                                \
	X(shutdown, "nvmlShutdown", (void))                                                        \
	X(driver_version, "nvmlSystemGetDriverVersion", (char *, unsigned))                        \
	X(nvml_version, "nvmlSystemGetNVMLVersion", (char *, unsigned))                            \
	X(cuda_version_v2, "nvmlSystemGetCudaDriverVersion_v2", (int *))                           \
	X(cuda_version, "nvmlSystemGetCudaDriverVersion", (int *))                                 \
	X(count_v2, "nvmlDeviceGetCount_v2", (unsigned *))                                         \
	X(count, "nvmlDeviceGetCount", (unsigned *))                                               \
	X(handle_v2, "nvmlDeviceGetHandleByIndex_v2", (unsigned, struct nvml_device **))           \
	X(handle, "nvmlDeviceGetHandleByIndex", (unsigned, struct nvml_device **))                 \
	X(uuid, "nvmlDeviceGetUUID", (struct nvml_device *, char *, unsigned))                     \
	X(name, "nvmlDeviceGetName", (struct nvml_device *, char *, unsigned))                     \
	X(pci_v3, "nvmlDeviceGetPciInfo_v3", (struct nvml_device *, struct nvml_pci *))            \
	X(pci_v2, "nvmlDeviceGetPciInfo_v2", (struct nvml_device *, struct nvml_pci *))            \
	X(capability, "nvmlDeviceGetCudaComputeCapability", (struct nvml_device *, int *, int *))  \
	X(memory_v2, "nvmlDeviceGetMemoryInfo_v2",                                                 \
	  (struct nvml_device *, struct nvml_memory_v2 *))                                         \
	X(memory, "nvmlDeviceGetMemoryInfo", (struct nvml_device *, struct nvml_memory_v1 *))      \
	X(utilization, "nvmlDeviceGetUtilizationRates",                                            \
	  (struct nvml_device *, struct nvml_utilization *))                                       \
	X(process_utilization, "nvmlDeviceGetProcessUtilization",                                  \
	  (struct nvml_device *, struct nvml_process_sample *, unsigned *, uint64_t))              \
	X(temperature, "nvmlDeviceGetTemperature", (struct nvml_device *, int, unsigned *))        \
	X(temperature_v, "nvmlDeviceGetTemperatureV",                                              \
	  (struct nvml_device *, struct nvml_temperature_v1 *))                                    \
	X(power, "nvmlDeviceGetPowerUsage", (struct nvml_device *, unsigned *))                    \
	X(power_limit, "nvmlDeviceGetEnforcedPowerLimit", (struct nvml_device *, unsigned *))      \
	X(power_limit_set, "nvmlDeviceGetPowerManagementLimit",                                    \
	  (struct nvml_device *, unsigned *))                                                      \
	X(clock, "nvmlDeviceGetClockInfo", (struct nvml_device *, int, unsigned *))                \
	X(mig_mode, "nvmlDeviceGetMigMode", (struct nvml_device *, unsigned *, unsigned *))        \
	X(mig_count, "nvmlDeviceGetMaxMigDeviceCount", (struct nvml_device *, unsigned *))         \
	X(mig_handle, "nvmlDeviceGetMigDeviceHandleByIndex",                                       \
	  (struct nvml_device *, unsigned, struct nvml_device **))                                 \
	X(compute_v3, "nvmlDeviceGetComputeRunningProcesses_v3",                                   \
	  (struct nvml_device *, unsigned *, void *))                                              \
	X(compute_v2, "nvmlDeviceGetComputeRunningProcesses_v2",                                   \
	  (struct nvml_device *, unsigned *, void *))                                              \
	X(compute_v1, "nvmlDeviceGetComputeRunningProcesses",                                      \
	  (struct nvml_device *, unsigned *, void *))                                              \
	X(mps_v3, "nvmlDeviceGetMPSComputeRunningProcesses_v3",                                    \
	  (struct nvml_device *, unsigned *, void *))                                              \
	X(mps_v2, "nvmlDeviceGetMPSComputeRunningProcesses_v2",                                    \
	  (struct nvml_device *, unsigned *, void *))                                              \
	X(mps_v1, "nvmlDeviceGetMPSComputeRunningProcesses",                                       \
	  (struct nvml_device *, unsigned *, void *))                                              \
	X(graphics_v3, "nvmlDeviceGetGraphicsRunningProcesses_v3",                                 \
	  (struct nvml_device *, unsigned *, void *))                                              \
	X(graphics_v2, "nvmlDeviceGetGraphicsRunningProcesses_v2",                                 \
	  (struct nvml_device *, unsigned *, void *))                                              \
	X(graphics_v1, "nvmlDeviceGetGraphicsRunningProcesses",                                    \
	  (struct nvml_device *, unsigned *, void *))                                              \
	X(common_ancestor, "nvmlDeviceGetTopologyCommonAncestor",                                  \
	  (struct nvml_device *, struct nvml_device *, unsigned *))                                \
	X(nvlink_state, "nvmlDeviceGetNvLinkState", (struct nvml_device *, unsigned, unsigned *))  \
	X(nvlink_remote_type, "nvmlDeviceGetNvLinkRemoteDeviceType",                               \
	  (struct nvml_device *, unsigned, unsigned *))                                            \
	X(nvlink_remote_pci, "nvmlDeviceGetNvLinkRemotePciInfo_v2",                                \
	  (struct nvml_device *, unsigned, struct nvml_pci *))                                     \
	X(event_set_create, "nvmlEventSetCreate", (struct nvml_event_set **))                      \
	X(event_set_free, "nvmlEventSetFree", (struct nvml_event_set *))                           \
	X(event_register, "nvmlDeviceRegisterEvents",                                              \
	  (struct nvml_device *, uint64_t, struct nvml_event_set *))                               \
	X(event_wait, "nvmlEventSetWait_v2",                                                       \
	  (struct nvml_event_set *, struct nvml_event *, unsigned))                                \
	X(persistence, "nvmlDeviceGetPersistenceMode", (struct nvml_device *, unsigned *))         \
	X(ecc_mode, "nvmlDeviceGetEccMode", (struct nvml_device *, unsigned *, unsigned *))        \
	X(ecc_errors, "nvmlDeviceGetTotalEccErrors", (struct nvml_device *, int, int, uint64_t *)) \
	X(remapped_rows, "nvmlDeviceGetRemappedRows",                                              \
	  (struct nvml_device *, unsigned *, unsigned *, unsigned *, unsigned *))                  \
	X(clock_reasons, "nvmlDeviceGetCurrentClocksEventReasons",                                 \
	  (struct nvml_device *, uint64_t *))                                                      \
	X(clock_reasons_old, "nvmlDeviceGetCurrentClocksThrottleReasons",                          \
	  (struct nvml_device *, uint64_t *))                                                      \
	X(pcie_generation, "nvmlDeviceGetCurrPcieLinkGeneration",                                  \
	  (struct nvml_device *, unsigned *))                                                      \
	X(pcie_width, "nvmlDeviceGetCurrPcieLinkWidth", (struct nvml_device *, unsigned *))        \
	X(pcie_generation_max, "nvmlDeviceGetMaxPcieLinkGeneration",                               \
	  (struct nvml_device *, unsigned *))                                                      \
	X(pcie_width_max, "nvmlDeviceGetMaxPcieLinkWidth", (struct nvml_device *, unsigned *))     \
	X(power_default, "nvmlDeviceGetPowerManagementDefaultLimit",                               \
	  (struct nvml_device *, unsigned *))                                                      \
	X(compute_mode, "nvmlDeviceGetComputeMode", (struct nvml_device *, unsigned *))            \
	X(display_active, "nvmlDeviceGetDisplayActive", (struct nvml_device *, unsigned *))        \
	X(field_values, "nvmlDeviceGetFieldValues",                                                \
	  (struct nvml_device *, int, struct nvml_field *))
