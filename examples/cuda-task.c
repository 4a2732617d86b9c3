/*
 * A real CUDA program for the demo and for tests/gpu: `cuda-task --vram 1.5G --seconds 3 [--device
 * cuda|cpu] [NAME]` allocates that much VRAM on the first GPU it sees, fills and copies it for that
 * long, and checks what it reads back. It loads the driver's libcuda.so.1 at run time and declares
 * the ten functions it calls itself, so that it builds without the CUDA toolkit and on machines
 * without a GPU. Out of memory ends it with status 1 and the words a CUDA program would use.
 */
#include "util/duration.h"
#include "util/size.h"
#include "util/timestamp.h"

#include <dlfcn.h>
#include <getopt.h>
#include <string.h>

#define CUDA_OUT_OF_MEMORY 2
/* What a context itself takes on the GPU, roughly; --vram means the whole process, as Plimsoll
 * counts it. */
#define CONTEXT_BYTES (400 * MIB)
#define PATTERN       0x504c494du

typedef uint64_t device_address; /* CUdeviceptr on a 64-bit machine */

static struct {
	int (*init)(unsigned flags);
	int (*device_get)(int *device, int ordinal);
	int (*device_name)(char *name, int size, int device);
	int (*context_create)(void **context, unsigned flags, int device);
	int (*context_destroy)(void *context);
	int (*alloc)(device_address *address, size_t bytes);
	int (*fill)(device_address address, unsigned value, size_t words);
	int (*copy)(device_address to, device_address from, size_t bytes);
	int (*read)(void *to, device_address from, size_t bytes);
	int (*error_text)(int code, const char **text);
	int (*synchronize)(void);
} cuda;

static const struct {
	const char *name;
	void *slot;
} cuda_functions[] = {
    {"cuInit", &cuda.init},
    {"cuDeviceGet", &cuda.device_get},
    {"cuDeviceGetName", &cuda.device_name},
    {"cuCtxCreate_v2", &cuda.context_create},
    {"cuCtxDestroy_v2", &cuda.context_destroy},
    {"cuMemAlloc_v2", &cuda.alloc},
    {"cuMemsetD32_v2", &cuda.fill},
    {"cuMemcpyDtoD_v2", &cuda.copy},
    {"cuMemcpyDtoH_v2", &cuda.read},
    {"cuGetErrorString", &cuda.error_text},
    {"cuCtxSynchronize", &cuda.synchronize},
};

static int cuda_load(void)
{
	void *library = dlopen("libcuda.so.1", RTLD_NOW);

	if (!library) {
		(void)fprintf(stderr, "cuda-task: no CUDA driver: %s\n", dlerror());
		return -1;
	}
	for (size_t i = 0; i < ARRAY_LEN(cuda_functions); i++) {
		void *function = dlsym(library, cuda_functions[i].name);

		if (!function) {
			(void)fprintf(stderr, "cuda-task: the driver has no %s\n",
				      cuda_functions[i].name);
			return -1;
		}
		/* POSIX: a data pointer from dlsym() may be stored as a function's address. */
		memcpy(cuda_functions[i].slot, &function, sizeof function);
	}
	return 0;
}

static int cuda_failed(int code, const char *what)
{
	const char *text = NULL;

	if (code == 0)
		return 0;
	(void)cuda.error_text(code, &text);
	if (code == CUDA_OUT_OF_MEMORY)
		(void)fprintf(stderr, "CUDA error: out of memory (%s)\n", what);
	else
		(void)fprintf(stderr, "cuda-task: %s: %s\n", what, text ? text : "unknown error");
	return -1;
}

/* Two halves of the memory, filled and copied to and fro until the time is up. */
static int work(uint64_t bytes, int64_t ms)
{
	size_t half = bytes / 2 / 4 * 4;
	device_address first = 0, second = 0;
	int64_t until = monotonic_now_ms() + ms;
	unsigned long rounds = 0;
	uint32_t back = 0;

	if (cuda_failed(cuda.alloc(&first, half), "allocating the first half") < 0 ||
	    cuda_failed(cuda.alloc(&second, half), "allocating the second half") < 0)
		return -1;
	do {
		if (cuda_failed(cuda.fill(first, PATTERN + (uint32_t)rounds, half / 4), "filling") <
			0 ||
		    cuda_failed(cuda.copy(second, first, half), "copying") < 0 ||
		    cuda_failed(cuda.synchronize(), "waiting") < 0)
			return -1;
		rounds++;
	} while (monotonic_now_ms() < until);
	if (cuda_failed(cuda.read(&back, second + half - 4, 4), "reading back") < 0)
		return -1;
	if (back != PATTERN + (uint32_t)(rounds - 1)) {
		(void)fprintf(stderr, "cuda-task: the GPU gave back %08x\n", back);
		return -1;
	}
	printf("%lu rounds of %s, what came back is right\n", rounds, SIZE_TEXT(half));
	return 0;
}

static int run(uint64_t bytes, int64_t ms)
{
	char name[128] = "";
	void *context = NULL;
	int device = 0, r;

	if (cuda_load() < 0 || cuda_failed(cuda.init(0), "starting CUDA") < 0 ||
	    cuda_failed(cuda.device_get(&device, 0), "finding a GPU") < 0 ||
	    cuda_failed(cuda.device_name(name, sizeof name, device), "asking its name") < 0 ||
	    cuda_failed(cuda.context_create(&context, 0, device), "creating a context") < 0)
		return -1;
	printf("on %s\n", name);
	(void)fflush(stdout);
	r = work(bytes > CONTEXT_BYTES + MIB ? bytes - CONTEXT_BYTES : MIB, ms);
	(void)cuda.context_destroy(context);
	return r;
}

int main(int argc, char **argv)
{
	static const struct option options[] = {
	    {"vram", required_argument, NULL, 'v'},
	    {"seconds", required_argument, NULL, 's'},
	    {"device", required_argument, NULL, 'd'},
	    {},
	};
	uint64_t bytes = GIB;
	int64_t ms = 1000;
	struct error err = {};
	int option, r = 0;

	while (r == 0 && (option = getopt_long(argc, argv, "", options, NULL)) != -1) {
		if (option == 'v')
			r = size_parse(optarg, &bytes, &err);
		else if (option == 's')
			r = duration_parse_seconds(optarg, &ms, &err);
		else if (option != 'd')
			return 2;
		else if (strcmp(optarg, "cpu") == 0)
			r = error_set(&err, -1, "this program has no work for a CPU");
	}
	if (r < 0) {
		(void)fprintf(stderr, "cuda-task: %s\n", error_text(&err));
		return 2;
	}
	return run(bytes, ms) < 0 ? 1 : 0;
}
