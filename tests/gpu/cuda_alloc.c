/*
 * cuda-alloc SIZE [--busy]: a real CUDA program by the driver API alone (libcuda.so.1 by dlopen,
 * our own declarations), for tests on real GPUs. It takes the first device it is shown, allocates
 * SIZE of VRAM, writes to all of it, prints one JSON line about itself and holds on until its input
 * ends; with
 * --busy it keeps writing. Out of memory: exit 1 with the text PyTorch users know. No driver: 77.
 */
#include "util/jsonx.h"
#include "util/size.h"

#include <dlfcn.h>
#include <poll.h>
#include <string.h>
#include <unistd.h>

#define CUDA_OUT_OF_MEMORY 2
#define EXIT_SKIP          77

typedef unsigned long long cuda_pointer;
struct cuda_context;
struct cuda_uuid {
	unsigned char bytes[16];
};

static struct {
	int (*init)(unsigned flags);
	int (*device_get)(int *device, int ordinal);
	int (*device_name)(char *name, int len, int device);
	int (*device_uuid)(struct cuda_uuid *uuid, int device);
	int (*context_retain)(struct cuda_context **context, int device);
	int (*context_set)(struct cuda_context *context);
	int (*context_wait)(void);
	int (*memory_info)(size_t *free, size_t *total);
	int (*memory_alloc)(cuda_pointer *pointer, size_t size);
	int (*memory_set)(cuda_pointer pointer, unsigned char value, size_t size);
	int (*error_name)(int error, const char **name);
} cuda;

static const struct {
	const char *symbol;
	void *slot;
} symbols[] = {
    {"cuInit", &cuda.init},
    {"cuDeviceGet", &cuda.device_get},
    {"cuDeviceGetName", &cuda.device_name},
    {"cuDeviceGetUuid", &cuda.device_uuid},
    {"cuDevicePrimaryCtxRetain", &cuda.context_retain},
    {"cuCtxSetCurrent", &cuda.context_set},
    {"cuCtxSynchronize", &cuda.context_wait},
    {"cuMemGetInfo_v2", &cuda.memory_info},
    {"cuMemAlloc_v2", &cuda.memory_alloc},
    {"cuMemsetD8_v2", &cuda.memory_set},
    {"cuGetErrorName", &cuda.error_name},
};

static void load(void)
{
	void *library = dlopen("libcuda.so.1", RTLD_NOW);

	if (!library) {
		(void)fprintf(stderr, "no CUDA driver: %s\n", dlerror());
		_exit(EXIT_SKIP);
	}
	for (size_t i = 0; i < ARRAY_LEN(symbols); i++) {
		void *symbol = dlsym(library, symbols[i].symbol);

		if (!symbol) {
			(void)fprintf(stderr, "libcuda.so.1 has no %s\n", symbols[i].symbol);
			_exit(3);
		}
		memcpy(symbols[i].slot, &symbol, sizeof symbol);
	}
}

static void must(int error, const char *what)
{
	const char *name = "unknown";

	if (error == 0)
		return;
	(void)cuda.error_name(error, &name);
	(void)fprintf(stderr, "%s: %s (%d)\n", what, name, error);
	_exit(3);
}

static void print_ready(int device, uint64_t size)
{
	char name[128] = "", uuid[48];
	size_t free_bytes = 0, total_bytes = 0;
	struct cuda_uuid raw = {};
	auto_json json_t *json = NULL;
	auto_free char *text = NULL;
	int n = snprintf(uuid, sizeof uuid, "GPU-");

	must(cuda.device_name(name, sizeof name, device), "cuDeviceGetName");
	must(cuda.device_uuid(&raw, device), "cuDeviceGetUuid");
	must(cuda.memory_info(&free_bytes, &total_bytes), "cuMemGetInfo");
	for (int i = 0; i < 16; i++)
		n += snprintf(uuid + n, sizeof uuid - (size_t)n, "%s%02x",
			      i == 4 || i == 6 || i == 8 || i == 10 ? "-" : "", raw.bytes[i]);
	json = json_pack("{s:i, s:s, s:s, s:o, s:o, s:o}", "pid", (int)getpid(), "name", name,
			 "uuid", uuid, "allocated_bytes", jsonx_u64(size), "free_bytes",
			 jsonx_u64(free_bytes), "total_bytes", jsonx_u64(total_bytes));
	text = jsonx_dump(json);
	(void)printf("%s\n", text);
	(void)fflush(stdout);
}

/* Until the end of input; busy: with the GPU at work all the while. */
static void hold(cuda_pointer pointer, size_t size, bool busy)
{
	struct pollfd fd = {.fd = STDIN_FILENO, .events = POLLIN};
	char buf[256];

	for (;;) {
		if (poll(&fd, 1, busy ? 0 : -1) > 0 && read(STDIN_FILENO, buf, sizeof buf) <= 0)
			return;
		for (int i = 0; busy && i < 16; i++)
			must(cuda.memory_set(pointer, (unsigned char)i, size), "cuMemsetD8");
		must(cuda.context_wait(), "cuCtxSynchronize");
	}
}

int main(int argc, char **argv)
{
	bool busy = argc == 3 && strcmp(argv[2], "--busy") == 0;
	struct cuda_context *context = NULL;
	cuda_pointer pointer = 0;
	struct error err = {};
	uint64_t size = 0;
	int device = 0, error;

	if ((argc != 2 && !busy) || size_parse(argv[1], &size, &err) < 0) {
		(void)fprintf(stderr, "usage: cuda-alloc SIZE [--busy]\n%s\n", err.text);
		return 2;
	}
	load();
	must(cuda.init(0), "cuInit");
	must(cuda.device_get(&device, 0), "cuDeviceGet");
	must(cuda.context_retain(&context, device), "cuDevicePrimaryCtxRetain");
	must(cuda.context_set(context), "cuCtxSetCurrent");
	error = cuda.memory_alloc(&pointer, size);
	if (error == CUDA_OUT_OF_MEMORY) {
		(void)fprintf(stderr,
			      "torch.cuda.OutOfMemoryError: CUDA out of memory. Tried to "
			      "allocate %s.\n",
			      SIZE_TEXT(size));
		return 1;
	}
	must(error, "cuMemAlloc");
	must(cuda.memory_set(pointer, 1, size), "cuMemsetD8");
	must(cuda.context_wait(), "cuCtxSynchronize");
	print_ready(device, size);
	hold(pointer, size, busy);
	return 0;
}
