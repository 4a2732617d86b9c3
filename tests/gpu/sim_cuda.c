/*
 * libcuda.so.1 for machines without a GPU: as much of the driver API as the programs of tests/gpu
 * call, on the simulated GPUs of `plimsoll sim`. What it cannot do is compute: memory is counted
 * and not there. With it the tests that need a real GPU are played here too, so that nothing but
 * the driver is new to them where there is one.
 */
#include "sim/state.h"
#include "sim/visible.h"
#include "util/pidref.h"
#include "util/size.h"
#include "util/text.h"

#include <errno.h>
#include <string.h>
#include <unistd.h>

#define EXPORT        __attribute__((visibility("default")))
#define CONTEXT_BYTES (256 * MIB)
#define ADDRESS       0x700000000000ULL

enum {
	SUCCESS,
	INVALID_VALUE,
	OUT_OF_MEMORY,
	NOT_INITIALIZED,
	NO_DEVICE = 100,
	NOT_PERMITTED = 800
};

static struct {
	struct sim_state *state;
	struct sim_proc *proc; /* of the one context; NULL before */
	struct visible_device visible[VISIBLE_MAX];
	int n_visible;
} driver;

/* The driver's own names and signatures: nothing else declares them. */
int cuInit(unsigned flags);
int cuDeviceGet(int *device, int ordinal);
int cuDeviceGetName(char *name, int len, int device);
int cuDeviceGetUuid(void *uuid, int device);
int cuDevicePrimaryCtxRetain(void **context, int device);
int cuCtxSetCurrent(void *context);
int cuCtxSynchronize(void);
int cuMemGetInfo_v2(size_t *free_bytes, size_t *total_bytes);
int cuMemAlloc_v2(unsigned long long *address, size_t size);
int cuMemsetD8_v2(unsigned long long address, unsigned char value, size_t size);
int cuGetErrorName(int error, const char **name);
int cuGetErrorString(int error, const char **text);

EXPORT int cuInit(unsigned flags)
{
	auto_unlock struct sim_state *locked = NULL;

	if (!driver.state && state_open_environment(&driver.state, NULL) < 0)
		return NO_DEVICE;
	state_lock(driver.state);
	locked = driver.state;
	driver.n_visible =
	    visible_resolve(driver.state, getenv("CUDA_VISIBLE_DEVICES"), driver.visible);
	return driver.n_visible > 0 ? SUCCESS : NO_DEVICE;
}

EXPORT int cuDeviceGet(int *device, int ordinal)
{
	if (ordinal < 0 || ordinal >= driver.n_visible)
		return INVALID_VALUE;
	*device = ordinal;
	return SUCCESS;
}

static const struct sim_gpu *gpu_of(int device)
{
	return &driver.state->gpus[driver.visible[device].gpu];
}

EXPORT int cuDeviceGetName(char *name, int len, int device)
{
	(void)snprintf(name, (size_t)len, "%s", gpu_of(device)->name);
	return SUCCESS;
}

/* 16 bytes of "GPU-3b010c31-…". */
EXPORT int cuDeviceGetUuid(void *uuid, int device)
{
	unsigned char *bytes = uuid;
	const char *hex = gpu_of(device)->uuid + strlen("GPU-");

	for (int i = 0; i < 16; i++, hex += 2) {
		char pair[3];

		hex += *hex == '-';
		memcpy(pair, hex, 2);
		pair[2] = '\0';
		bytes[i] = (unsigned char)strtoul(pair, NULL, 16);
	}
	return SUCCESS;
}

EXPORT int cuDevicePrimaryCtxRetain(void **context, int device)
{
	auto_unlock struct sim_state *locked = NULL;
	uint64_t start_time = 0;

	if (pid_start_time(getpid(), &start_time) < 0)
		return NOT_PERMITTED;
	state_lock(driver.state);
	locked = driver.state;
	if (!driver.proc)
		driver.proc = state_attach(driver.state, getpid(), start_time,
					   driver.visible[device].gpu, driver.visible[device].mig);
	if (!driver.proc)
		return NOT_PERMITTED;
	(void)snprintf(driver.proc->name, sizeof driver.proc->name, "%s",
		       program_invocation_short_name);
	*context = driver.proc;
	return state_resize(driver.state, driver.proc, CONTEXT_BYTES) < 0 ? OUT_OF_MEMORY : SUCCESS;
}

EXPORT int cuCtxSetCurrent(void *context)
{
	return context ? SUCCESS : INVALID_VALUE;
}

EXPORT int cuCtxSynchronize(void)
{
	return driver.proc ? SUCCESS : NOT_INITIALIZED;
}

EXPORT int cuMemGetInfo_v2(size_t *free_bytes, size_t *total_bytes)
{
	auto_unlock struct sim_state *locked = NULL;
	const struct sim_gpu *gpu;

	if (!driver.proc)
		return NOT_INITIALIZED;
	state_lock(driver.state);
	locked = driver.state;
	gpu = &driver.state->gpus[driver.proc->gpu];
	*free_bytes = state_free_bytes(driver.state, driver.proc->gpu, driver.proc->mig);
	*total_bytes = gpu->total_bytes - gpu->reserved_bytes;
	return SUCCESS;
}

EXPORT int cuMemAlloc_v2(unsigned long long *address, size_t size)
{
	auto_unlock struct sim_state *locked = NULL;
	uint64_t before;

	if (!driver.proc)
		return NOT_INITIALIZED;
	state_lock(driver.state);
	locked = driver.state;
	before = driver.proc->used_bytes;
	if (state_resize(driver.state, driver.proc, before + size) < 0)
		return OUT_OF_MEMORY;
	*address = ADDRESS + before;
	return SUCCESS;
}

EXPORT int cuMemsetD8_v2(unsigned long long address, unsigned char value, size_t size)
{
	return address >= ADDRESS ? SUCCESS : INVALID_VALUE;
}

static const struct {
	int error;
	const char *name, *text;
} errors[] = {
    {SUCCESS, "CUDA_SUCCESS", "no error"},
    {INVALID_VALUE, "CUDA_ERROR_INVALID_VALUE", "invalid argument"},
    {OUT_OF_MEMORY, "CUDA_ERROR_OUT_OF_MEMORY", "out of memory"},
    {NOT_INITIALIZED, "CUDA_ERROR_NOT_INITIALIZED", "initialization error"},
    {NO_DEVICE, "CUDA_ERROR_NO_DEVICE", "no CUDA-capable device is detected"},
    {NOT_PERMITTED, "CUDA_ERROR_NOT_PERMITTED", "operation not permitted"},
};

static int find(int error, const char **ret, bool name)
{
	for (size_t i = 0; i < ARRAY_LEN(errors); i++) {
		if (errors[i].error != error)
			continue;
		*ret = name ? errors[i].name : errors[i].text;
		return SUCCESS;
	}
	return INVALID_VALUE;
}

EXPORT int cuGetErrorName(int error, const char **name)
{
	return find(error, name, true);
}

EXPORT int cuGetErrorString(int error, const char **text)
{
	return find(error, text, false);
}
