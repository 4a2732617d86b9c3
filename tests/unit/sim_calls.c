/*
 * The simple calls of the simulated library as one table: what each answers on a healthy board,
 * with a NULL in place of every pointer, on a GPU that is lost, on a MIG instance and after
 * nvmlShutdown().
 */
#include "sim/nvml_abi.h"
#include "sim/scenario.h"
#include "sim/state.h"
#include "unit.h"
#include "util/size.h"

#include <dlfcn.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

enum shape {
	NUMBER,  /* (device, uint *) */
	WIDE,    /* (device, unsigned long long *) */
	OF,      /* (device, which, uint *) */
	PAIR,    /* (device, uint *, uint *) */
	TEXT_OF, /* (device, char *, size) */
};

/* Where it can be asked. */
enum scope {
	BOARD,  /* not of a MIG instance */
	DEVICE, /* of a MIG instance too */
};

static const struct call {
	const char *name;
	enum shape shape;
	enum scope scope;
	unsigned which; /* OF: its argument */
	int code;       /* on the first GPU */
	unsigned long long min, max;
} calls[] = {
    {"nvmlDeviceGetIndex", NUMBER, DEVICE, 0, NVML_OK, 0, 0},
    {"nvmlDeviceGetMinorNumber", NUMBER, BOARD, 0, NVML_OK, 0, 0},
    {"nvmlDeviceGetComputeMode", NUMBER, BOARD, 0, NVML_OK, 0, 0},
    {"nvmlDeviceGetPersistenceMode", NUMBER, BOARD, 0, NVML_OK, 1, 1},
    {"nvmlDeviceGetDisplayActive", NUMBER, BOARD, 0, NVML_OK, 0, 0},
    {"nvmlDeviceGetVirtualizationMode", NUMBER, BOARD, 0, NVML_OK, 0, 0},
    {"nvmlDeviceGetFanSpeed", NUMBER, BOARD, 0, NVML_OK, 0, 100},
    {"nvmlDeviceGetPowerUsage", NUMBER, BOARD, 0, NVML_OK, 1000, 700000},
    {"nvmlDeviceGetPowerManagementLimit", NUMBER, BOARD, 0, NVML_OK, 50000, 1200000},
    {"nvmlDeviceGetEnforcedPowerLimit", NUMBER, BOARD, 0, NVML_OK, 50000, 1200000},
    {"nvmlDeviceGetPerformanceState", NUMBER, BOARD, 0, NVML_OK, 0, 15},
    {"nvmlDeviceGetPowerState", NUMBER, BOARD, 0, NVML_OK, 0, 15},
    {"nvmlDeviceGetMaxPcieLinkGeneration", NUMBER, BOARD, 0, NVML_OK, 1, 6},
    {"nvmlDeviceGetMaxPcieLinkWidth", NUMBER, BOARD, 0, NVML_OK, 1, 16},
    {"nvmlDeviceGetCurrPcieLinkGeneration", NUMBER, BOARD, 0, NVML_OK, 1, 6},
    {"nvmlDeviceGetCurrPcieLinkWidth", NUMBER, BOARD, 0, NVML_OK, 1, 16},
    {"nvmlDeviceGetNumGpuCores", NUMBER, BOARD, 0, NVML_OK, 1, 30000},
    {"nvmlDeviceGetMemoryBusWidth", NUMBER, BOARD, 0, NVML_OK, 32, 8192},
    {"nvmlDeviceGetArchitecture", NUMBER, DEVICE, 0, NVML_OK, 2, 10},
    {"nvmlDeviceGetBrand", NUMBER, DEVICE, 0, NVML_OK, 13, 13},
    {"nvmlDeviceGetTotalEnergyConsumption", WIDE, BOARD, 0, NVML_OK, 0, UINT64_MAX},
    {"nvmlDeviceGetCurrentClocksEventReasons", WIDE, BOARD, 0, NVML_OK, 1, 1},
    {"nvmlDeviceGetCurrentClocksThrottleReasons", WIDE, BOARD, 0, NVML_OK, 1, 1},
    {"nvmlDeviceGetSupportedClocksEventReasons", WIDE, BOARD, 0, NVML_OK, 1, UINT64_MAX},
    {"nvmlDeviceGetSupportedClocksThrottleReasons", WIDE, BOARD, 0, NVML_OK, 1, UINT64_MAX},
    {"nvmlDeviceGetTemperature", OF, BOARD, 0, NVML_OK, 10, 95},
    {"nvmlDeviceGetTemperatureThreshold", OF, BOARD, NVML_THRESHOLD_SHUTDOWN, NVML_OK, 85, 120},
    {"nvmlDeviceGetTemperatureThreshold", OF, BOARD, NVML_THRESHOLD_SLOWDOWN, NVML_OK, 80, 110},
    {"nvmlDeviceGetTemperatureThreshold", OF, BOARD, 99, NVML_NOT_SUPPORTED, 0, 0},
    {"nvmlDeviceGetClockInfo", OF, BOARD, 0, NVML_OK, 100, 4000},
    {"nvmlDeviceGetClockInfo", OF, BOARD, 2, NVML_OK, 100, 20000},
    {"nvmlDeviceGetMaxClockInfo", OF, BOARD, 0, NVML_OK, 300, 4000},
    {"nvmlDeviceGetPcieThroughput", OF, BOARD, 0, NVML_OK, 0, 0},
    {"nvmlDeviceGetPcieThroughput", OF, BOARD, 1, NVML_OK, 0, 0},
    {"nvmlDeviceGetEncoderUtilization", PAIR, BOARD, 0, NVML_OK, 0, 0},
    {"nvmlDeviceGetDecoderUtilization", PAIR, BOARD, 0, NVML_OK, 0, 0},
    {"nvmlDeviceGetMigMode", PAIR, BOARD, 0, NVML_NOT_SUPPORTED, 0, 0},
    {"nvmlDeviceGetName", TEXT_OF, DEVICE, 0, NVML_OK, 0, 0},
    {"nvmlDeviceGetUUID", TEXT_OF, DEVICE, 0, NVML_OK, 0, 0},
    {"nvmlDeviceGetSerial", TEXT_OF, BOARD, 0, NVML_OK, 0, 0},
};

static void *library;
static struct sim_state *sim;
static char path[64];

static const char scenario[] =
    "gpus:\n"
    "  - {name: NVIDIA RTX A5500, vram: 24G, serial: '77', pci: '0000:4e:00.0'}\n"
    "  - {name: A100, vram: 80G, pci: '0001:01:00.0', mig: [{vram: 40G, slices: 3}]}\n";

static void *symbol(const char *name)
{
	void *address = dlsym(library, name);

	if (!address)
		fail_msg("no %s", name);
	return address;
}

struct answer {
	union {
		unsigned number;
		unsigned long long wide;
		char text[96];
	} first;
	unsigned second;
};

/* `outputs`: which of its pointers are given. */
static int ask(const struct call *call, struct nvml_device *device, unsigned outputs, unsigned size,
	       struct answer *answer)
{
	void *f = symbol(call->name), *first = outputs & 1 ? &answer->first : NULL;
	unsigned *second = outputs & 2 ? &answer->second : NULL;

	memset(answer, 0, sizeof *answer);
	switch (call->shape) {
	case NUMBER:
	case WIDE:
		return ((int (*)(struct nvml_device *, void *))f)(device, first);
	case OF:
		return ((int (*)(struct nvml_device *, unsigned, void *))f)(device, call->which,
									    first);
	case PAIR:
		return ((int (*)(struct nvml_device *, void *, unsigned *))f)(device, first,
									      second);
	case TEXT_OF:
		return ((int (*)(struct nvml_device *, void *, unsigned))f)(device, first, size);
	}
	return -1;
}

#define ASSERT_CODE(call, is, wanted)                                                           \
	do {                                                                                    \
		int code_ = (is);                                                               \
		if (code_ != (wanted))                                                          \
			fail_msg("%s: line %d: code %d, not %d", (call)->name, __LINE__, code_, \
				 (wanted));                                                     \
	} while (0)

static struct nvml_device *device_of(unsigned index)
{
	struct nvml_device *device = NULL;
	int (*get)(unsigned, struct nvml_device **) = symbol("nvmlDeviceGetHandleByIndex_v2");

	assert_int_equal(get(index, &device), NVML_OK);
	return device;
}

static void on_a_healthy_board(void **state)
{
	struct nvml_device *device = device_of(0);

	for (size_t i = 0; i < ARRAY_LEN(calls); i++) {
		const struct call *call = &calls[i];
		struct answer a;
		unsigned long long value;

		ASSERT_CODE(call, ask(call, device, 3, sizeof a.first.text, &a), call->code);
		value = call->shape == WIDE ? a.first.wide : a.first.number;
		if (call->code == NVML_OK && call->shape != TEXT_OF &&
		    (value < call->min || value > call->max))
			fail_msg("%s answers %llu", call->name, value);
		if (call->shape == TEXT_OF)
			assert_true(strlen(a.first.text) > 0);
	}
}

static void with_nothing_to_write_to(void **state)
{
	struct nvml_device *device = device_of(0);

	for (size_t i = 0; i < ARRAY_LEN(calls); i++) {
		const struct call *call = &calls[i];
		struct answer a;

		ASSERT_CODE(call, ask(call, device, 0, 96, &a), NVML_INVALID_ARGUMENT);
		ASSERT_CODE(call, ask(call, NULL, 3, 96, &a), NVML_INVALID_ARGUMENT);
		if (call->shape == PAIR && call->code == NVML_OK) {
			ASSERT_CODE(call, ask(call, device, 1, 0, &a), NVML_INVALID_ARGUMENT);
			ASSERT_CODE(call, ask(call, device, 2, 0, &a), NVML_INVALID_ARGUMENT);
		}
		if (call->shape == TEXT_OF) {
			size_t len;

			(void)ask(call, device, 3, 96, &a);
			len = strlen(a.first.text);
			/* The end of a text is part of it; what is too short is not written to. */
			ASSERT_CODE(call, ask(call, device, 3, (unsigned)len, &a),
				    NVML_INSUFFICIENT_SIZE);
			assert_int_equal(a.first.text[len], '\0');
			ASSERT_CODE(call, ask(call, device, 3, (unsigned)len + 1, &a), NVML_OK);
		}
	}
}

static void on_a_lost_gpu(void **state)
{
	struct nvml_device *device = device_of(0);

	state_lock(sim);
	sim->gpus[0].error = NVML_GPU_IS_LOST;
	state_unlock(sim);
	for (size_t i = 0; i < ARRAY_LEN(calls); i++) {
		struct answer a;

		ASSERT_CODE(&calls[i], ask(&calls[i], device, 3, 96, &a), NVML_GPU_IS_LOST);
	}
	state_lock(sim);
	sim->gpus[0].error = 0;
	state_unlock(sim);
}

static void of_a_mig_instance(void **state)
{
	int (*get)(struct nvml_device *, unsigned, struct nvml_device **) =
	    symbol("nvmlDeviceGetMigDeviceHandleByIndex");
	struct nvml_device *mig = NULL;

	assert_int_equal(get(device_of(1), 0, &mig), NVML_OK);
	for (size_t i = 0; i < ARRAY_LEN(calls); i++) {
		struct answer a;
		int code = ask(&calls[i], mig, 3, 96, &a);

		if (calls[i].scope == DEVICE)
			ASSERT_CODE(&calls[i], code, NVML_OK);
		else if (code != NVML_NOT_SUPPORTED && code != NVML_INVALID_ARGUMENT)
			fail_msg("%s: code %d of an instance", calls[i].name, code);
	}
}

static void after_the_last_shutdown(void **state)
{
	struct nvml_device *device = device_of(0);

	assert_int_equal(((int (*)(void))symbol("nvmlShutdown"))(), NVML_OK);
	for (size_t i = 0; i < ARRAY_LEN(calls); i++) {
		struct answer a;

		ASSERT_CODE(&calls[i], ask(&calls[i], device, 3, 96, &a), NVML_UNINITIALIZED);
	}
	assert_int_equal(((int (*)(void))symbol("nvmlInit_v2"))(), NVML_OK);
}

static int setup(void **state)
{
	auto_yamlx struct yamlx *doc = NULL, *catalogue = NULL;
	auto_free struct sim_state *image = NULL;

	if (yamlx_parse("gpus: {}", 8, "catalogue", &catalogue, NULL) < 0 ||
	    yamlx_parse(scenario, sizeof scenario - 1, "scenario", &doc, NULL) < 0 ||
	    scenario_parse(doc, catalogue, &image, NULL) < 0)
		return -1;
	(void)snprintf(path, sizeof path, "/tmp/sim-calls-%d", (int)getpid());
	(void)unlink(path);
	library = dlopen(TEST_BUILD "/libnvidia-ml.so.1", RTLD_NOW | RTLD_LOCAL);
	if (!library || state_create(path, image, NULL) < 0 || state_open(path, &sim, NULL) < 0 ||
	    setenv(SIM_STATE_ENV, path, 1) < 0)
		return -1;
	return ((int (*)(void))symbol("nvmlInit_v2"))();
}

static int teardown(void **state)
{
	(void)unlink(path);
	return dlclose(library);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(on_a_healthy_board),      cmocka_unit_test(with_nothing_to_write_to),
	    cmocka_unit_test(on_a_lost_gpu),           cmocka_unit_test(of_a_mig_instance),
	    cmocka_unit_test(after_the_last_shutdown),
	};

	return cmocka_run_group_tests(tests, setup, teardown);
}
