/*
 * plimsoll-simtask: a program that behaves as a CUDA program on the simulated GPUs. It finds its
 * GPU as the CUDA runtime would, allocates in the order of a PyTorch program (context, weights,
 * then the one big tensor), works until the GPU has given it what it asked for, and dies with
 * PyTorch's words when memory or the GPU is gone. Time inside is simulated time; the shared state
 * does the accounting, this process only sleeps until its work is due.
 */
#include "sim/state.h"
#include "sim/visible.h"
#include "util/duration.h"
#include "util/pidref.h"
#include "util/size.h"
#include "util/text.h"

#include <errno.h>
#include <getopt.h>
#include <inttypes.h>
#include <signal.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <time.h>
#include <unistd.h>

#define CONTEXT_BYTES (256 * MIB) /* what a CUDA context alone takes, about */
#define WAIT_MAX_NS   (100 * 1000000LL)
#define RAMP_STEP_NS  (10 * 1000000LL)
#define STAND_IN_S    1
#define EXIT_USAGE    2
#define QUARTERS      4
#define DEFAULT_VRAM  (512 * MIB)

struct options {
	uint64_t vram_bytes, tensor_bytes, ram_bytes;
	double fraction;                  /* of its GPU's memory, it takes no more; 0 = all of it */
	int64_t work_ms, ramp_ms, cpu_ms; /* cpu_ms -1: cannot run on a CPU */
	unsigned percent;
	int exit_code;
	const char *device; /* "cpu", "cuda", "cuda:1" or NULL */
	const char *name;
	struct strings prints;
	struct strings inputs;
	bool stand_in;
};

static const char usage_text[] =
    "usage: plimsoll-simtask [options] [input ...]\n"
    "  --vram SIZE         memory on the GPU (2.5G; default 512M)\n"
    "  --seconds T         time on an idle GPU of speed 1.0 (default 1)\n"
    "  --util N            how busy it keeps the GPU, percent (default 100)\n"
    "  --ramp T            memory grows to SIZE over this time\n"
    "  --tensor SIZE       the last allocation, the one that fails when there is no room\n"
    "  --keep-fraction     as JAX: no more than PLIMSOLL_VRAM_FRACTION of the GPU's memory\n"
    "  --ram SIZE          host memory, touched\n"
    "  --cpu-seconds T     time on the CPU, when told to run there; without it that fails\n"
    "  --device D          cuda, cuda:N (among the visible ones) or cpu\n"
    "  --print TEXT        print a line at the start (may be repeated)\n"
    "  --name NAME         the process name\n"
    "  --exit N            exit status at the end\n"
    "Reads CUDA_VISIBLE_DEVICES, PLIMSOLL_DEVICE and, with --keep-fraction,\n"
    "PLIMSOLL_VRAM_FRACTION. Run it under `plimsoll sim -- ...`.\n";

enum option_key {
	KEY_VRAM = 256,
	KEY_SECONDS,
	KEY_UTIL,
	KEY_RAMP,
	KEY_TENSOR,
	KEY_KEEP_FRACTION,
	KEY_RAM,
	KEY_CPU_SECONDS,
	KEY_DEVICE,
	KEY_PRINT,
	KEY_NAME,
	KEY_EXIT,
	KEY_STAND_IN,
	KEY_HELP,
};

static const struct option long_options[] = {
    {"vram", required_argument, NULL, KEY_VRAM},
    {"seconds", required_argument, NULL, KEY_SECONDS},
    {"util", required_argument, NULL, KEY_UTIL},
    {"ramp", required_argument, NULL, KEY_RAMP},
    {"tensor", required_argument, NULL, KEY_TENSOR},
    {"keep-fraction", no_argument, NULL, KEY_KEEP_FRACTION},
    {"ram", required_argument, NULL, KEY_RAM},
    {"cpu-seconds", required_argument, NULL, KEY_CPU_SECONDS},
    {"device", required_argument, NULL, KEY_DEVICE},
    {"print", required_argument, NULL, KEY_PRINT},
    {"name", required_argument, NULL, KEY_NAME},
    {"exit", required_argument, NULL, KEY_EXIT},
    {"stand-in", no_argument, NULL, KEY_STAND_IN},
    {"help", no_argument, NULL, KEY_HELP},
    {},
};

static int parse_number(const char *text, unsigned max, unsigned *ret_value, struct error *err)
{
	unsigned long long value;

	if (!text_to_u64(text, 0, max, &value))
		return error_set(err, -EINVAL, "\"%.64s\" is not a number from 0 to %u", text, max);
	*ret_value = (unsigned)value;
	return 0;
}

/* 0 where it was granted all there is. */
static int fraction_read(double *ret_fraction, struct error *err)
{
	const char *text = getenv("PLIMSOLL_VRAM_FRACTION");
	char *end = NULL;

	*ret_fraction = text ? strtod(text, &end) : 0;
	if (text && (end == text || *end || !(*ret_fraction > 0 && *ret_fraction <= 1)))
		return error_set(err, -EINVAL,
				 "PLIMSOLL_VRAM_FRACTION=\"%.32s\" is not above 0 and at most 1",
				 text);
	return 0;
}

static int parse_option(struct options *options, int key, const char *value, struct error *err)
{
	unsigned number = 0;
	int r;

	switch (key) {
	case KEY_VRAM:
		return size_parse(value, &options->vram_bytes, err);
	case KEY_TENSOR:
		return size_parse(value, &options->tensor_bytes, err);
	case KEY_RAM:
		return size_parse(value, &options->ram_bytes, err);
	case KEY_SECONDS:
		return duration_parse_seconds(value, &options->work_ms, err);
	case KEY_RAMP:
		return duration_parse_seconds(value, &options->ramp_ms, err);
	case KEY_CPU_SECONDS:
		return duration_parse_seconds(value, &options->cpu_ms, err);
	case KEY_UTIL:
		return parse_number(value, 100, &options->percent, err);
	case KEY_EXIT:
		r = parse_number(value, 255, &number, err);
		options->exit_code = (int)number;
		return r;
	case KEY_DEVICE:
		options->device = value;
		return 0;
	case KEY_PRINT:
		strings_add(&options->prints, value);
		return 0;
	case KEY_NAME:
		options->name = value;
		return 0;
	case KEY_KEEP_FRACTION:
		return fraction_read(&options->fraction, err);
	case KEY_STAND_IN:
		options->stand_in = true;
		return 0;
	default:
		return error_set(err, -EINVAL, "unknown option; --help lists them");
	}
}

/* -1: go on; else the exit status. */
static int parse_arguments(struct options *options, int argc, char **argv)
{
	static const char *names[KEY_HELP + 1];
	struct error err = {};
	int key;

	for (const struct option *o = long_options; o->name; o++)
		names[o->val] = o->name;
	while ((key = getopt_long(argc, argv, "", long_options, NULL)) != -1) {
		if (key == KEY_HELP) {
			(void)fputs(usage_text, stdout);
			return 0;
		}
		if (key == '?')
			return EXIT_USAGE; /* getopt has said why */
		if (parse_option(options, key, optarg, &err) < 0) {
			(void)fprintf(stderr, "plimsoll-simtask: --%s: %s\n", names[key], err.text);
			return EXIT_USAGE;
		}
	}
	for (int i = optind; i < argc; i++)
		strings_add(&options->inputs, argv[i]);
	return -1;
}

/* Sizes in the words of PyTorch's allocator. */
static const char *torch_size(char buf[32], uint64_t bytes)
{
	if (bytes >= GIB)
		(void)snprintf(buf, 32, "%.2f GiB", (double)bytes / (double)GIB);
	else if (bytes >= MIB)
		(void)snprintf(buf, 32, "%.2f MiB", (double)bytes / (double)MIB);
	else
		(void)snprintf(buf, 32, "%.2f KiB", (double)bytes / (double)KIB);
	return buf;
}
#define TORCH(bytes) torch_size((char[32]){0}, (bytes))

static void print_traceback(const char *where)
{
	(void)fprintf(stderr,
		      "Traceback (most recent call last):\n  File \"%s\", line 1, in <module>\n",
		      where);
}

static int fail_cuda(const char *what)
{
	print_traceback("plimsoll-simtask");
	(void)fprintf(stderr,
		      "RuntimeError: CUDA error: %s\nCUDA kernel errors might be asynchronously "
		      "reported at some other API call, so the stacktrace below might be "
		      "incorrect.\nFor debugging consider passing CUDA_LAUNCH_BLOCKING=1\n",
		      what);
	return EXIT_FAILURE;
}

static uint64_t gpu_total(const struct sim_state *state, const struct sim_proc *proc)
{
	const struct sim_gpu *gpu = &state->gpus[proc->gpu];

	return proc->mig < 0 ? gpu->total_bytes - gpu->reserved_bytes
			     : gpu->migs[proc->mig].total_bytes;
}

/* In the words of a pool that has its end and names the step that failed, nothing else. */
static void print_exhausted(uint64_t asked)
{
	print_traceback("plimsoll-simtask");
	(void)fprintf(stderr,
		      "jaxlib.xla_extension.XlaRuntimeError: RESOURCE_EXHAUSTED: Out of memory "
		      "while trying to allocate %" PRIu64 " bytes.\n",
		      asked);
}

/* Lock held: the numbers are those of the moment it failed. */
static void print_oom(const struct sim_state *state, const struct sim_proc *proc, uint64_t asked)
{
	uint64_t own = proc->used_bytes;

	print_traceback("plimsoll-simtask");
	(void)fprintf(
	    stderr,
	    "torch.OutOfMemoryError: CUDA out of memory. Tried to allocate %s. GPU 0 has a "
	    "total capacity of %s of which %s is free. ",
	    TORCH(asked), TORCH(gpu_total(state, proc)),
	    TORCH(state_free_bytes(state, proc->gpu, proc->mig)));
	for (uint32_t i = 0; i < state->procs_end; i++) {
		const struct sim_proc *other = &state->procs[i];

		if (other != proc && other->pid != 0 && other->gpu == proc->gpu &&
		    other->mig == proc->mig && other->used_bytes > 0)
			(void)fprintf(stderr, "Process %d has %s memory in use. ", other->pid,
				      TORCH(other->used_bytes));
	}
	(void)fprintf(
	    stderr,
	    "Including non-PyTorch memory, this process has %s memory in use. Of the "
	    "allocated memory %s is allocated by PyTorch, and %s is reserved by PyTorch but "
	    "unallocated. If reserved but unallocated memory is large try setting "
	    "PYTORCH_CUDA_ALLOC_CONF=expandable_segments:True to avoid fragmentation.  See "
	    "documentation for Memory Management  "
	    "(https://pytorch.org/docs/stable/notes/cuda.html#environment-variables)\n",
	    TORCH(own), TORCH(own > CONTEXT_BYTES ? own - CONTEXT_BYTES : 0), TORCH(0));
}

static int64_t wall_ns(int64_t sim_ms, double time_scale)
{
	return (int64_t)((double)sim_ms * 1e6 * time_scale);
}

static void sleep_ns(int64_t ns)
{
	struct timespec rest = {.tv_sec = ns / SIM_NS_PER_S, .tv_nsec = ns % SIM_NS_PER_S};

	while (nanosleep(&rest, &rest) < 0 && errno == EINTR)
		;
}

static void use_ram(const struct options *options)
{
	char *ram;

	if (options->ram_bytes == 0)
		return;
	ram = mmap(NULL, options->ram_bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS,
		   -1, 0);
	if (ram == MAP_FAILED) {
		(void)fprintf(stderr,
			      "RuntimeError: [enforce fail at alloc_cpu.cpp:118] err == 0. "
			      "DefaultCPUAllocator: can't allocate memory: you tried to allocate "
			      "%" PRIu64 " bytes. Error code 12 (Cannot allocate memory)\n",
			      options->ram_bytes);
		exit(EXIT_FAILURE);
	}
	memset(ram, 1, options->ram_bytes);
}

static void print_start(const struct options *options, const char *where)
{
	for (size_t i = 0; i < options->prints.n; i++)
		(void)printf("%s\n", options->prints.items[i]);
	(void)printf("loading model on %s\n", where);
	for (size_t i = 0; i < options->inputs.n; i++)
		(void)printf("input %s\n", options->inputs.items[i]);
}

static int run_on_cpu(const struct options *options)
{
	struct sim_state *state = NULL;
	double time_scale = 1.0;

	if (options->cpu_ms < 0)
		return fail_cuda("no CUDA-capable device is detected");
	if (state_open_environment(&state, NULL) == 0)
		time_scale = state->time_scale;
	print_start(options, "cpu");
	use_ram(options);
	sleep_ns(wall_ns(options->cpu_ms, time_scale));
	(void)printf("done on cpu\n");
	return options->exit_code;
}

/* Which of the visible devices; -1: none. */
static int wanted_ordinal(const struct options *options)
{
	const char *device = options->device ? options->device : getenv("PLIMSOLL_DEVICE");
	unsigned long long ordinal;

	if (!device || strcmp(device, "cuda") == 0)
		return 0;
	if (text_starts_with(device, "cuda:") &&
	    text_to_u64(device + strlen("cuda:"), 0, VISIBLE_MAX, &ordinal))
		return (int)ordinal;
	return -1;
}

/* Lock held. 0, or the exit status to end with. */
static int attach(struct sim_state *state, const struct options *options,
		  struct sim_proc **ret_proc)
{
	struct visible_device visible[VISIBLE_MAX];
	int n = visible_resolve(state, getenv("CUDA_VISIBLE_DEVICES"), visible);
	int ordinal = wanted_ordinal(options);
	uint64_t start_time = 0;

	if (state->init_error == 18)
		return fail_cuda("system has unsupported display driver / cuda driver combination");
	if (state->init_error) {
		print_traceback("plimsoll-simtask");
		(void)fprintf(
		    stderr,
		    "RuntimeError: Found no NVIDIA driver on your system. Please check that "
		    "you have an NVIDIA GPU and installed a driver from "
		    "http://www.nvidia.com/Download/index.aspx\n");
		return EXIT_FAILURE;
	}
	if (n == 0)
		return fail_cuda("no CUDA-capable device is detected");
	if (ordinal < 0 || ordinal >= n)
		return fail_cuda("invalid device ordinal");
	if (pid_start_time(getpid(), &start_time) < 0)
		return fail_cuda("initialization error");
	*ret_proc =
	    state_attach(state, getpid(), start_time, visible[ordinal].gpu, visible[ordinal].mig);
	if (!*ret_proc)
		return fail_cuda("all CUDA-capable devices are busy or unavailable");
	(void)snprintf((*ret_proc)->name, sizeof(*ret_proc)->name, "%s", options->name);
	return 0;
}

/* Take memory up to `bytes`; on failure PyTorch's words about the last tensor, if there is one,
 * else about this step; those of a pool that has its end are about the step. */
static bool grow(struct sim_state *state, struct sim_proc *proc, const struct options *options,
		 uint64_t bytes)
{
	uint64_t asked = options->tensor_bytes;

	if (bytes <= proc->used_bytes)
		return true;
	if (options->fraction > 0 &&
	    (double)bytes > options->fraction * (double)gpu_total(state, proc)) {
		print_exhausted(bytes - proc->used_bytes);
		return false;
	}
	if (asked == 0)
		asked = bytes - proc->used_bytes;
	if (state_resize(state, proc, bytes) == 0)
		return true;
	print_oom(state, proc, asked);
	return false;
}

/* What is held before the work starts: all of it, or the context alone when memory ramps up. */
static bool allocate(struct sim_state *state, struct sim_proc *proc, const struct options *options)
{
	uint64_t context = MIN_OF(CONTEXT_BYTES, options->vram_bytes / 4);
	uint64_t tensor = MIN_OF(options->tensor_bytes, options->vram_bytes - context);

	if (!grow(state, proc, options, context))
		return false;
	if (options->ramp_ms > 0)
		return true;
	return grow(state, proc, options, options->vram_bytes - tensor) &&
	       grow(state, proc, options, options->vram_bytes);
}

struct work {
	struct sim_state *state;
	struct sim_proc *proc;
	const struct options *options;
	int64_t start_ns; /* simulated */
	double seconds;
	int quarters; /* printed so far */
};

/* Lock held. Memory of a ramp at this moment. */
static bool ramp(const struct work *work)
{
	const struct options *options = work->options;
	uint64_t context = MIN_OF(CONTEXT_BYTES, options->vram_bytes / 4);
	double share =
	    (double)(work->state->advanced_ns - work->start_ns) / ((double)options->ramp_ms * 1e6);

	if (options->ramp_ms == 0)
		return true;
	share = MIN_OF(share, 1.0);
	return grow(work->state, work->proc, options,
		    context + (uint64_t)((double)(options->vram_bytes - context) * share));
}

/* Lock held. How long nothing can happen that this task must look at. */
static int64_t rest_ns(const struct work *work)
{
	double rate = state_rate(work->state, work->proc->gpu, work->proc->mig);
	double left_s = (work->seconds - work->proc->done_s) / rate * work->state->time_scale;
	int64_t rest =
	    left_s * 1e9 < (double)WAIT_MAX_NS ? (int64_t)(left_s * 1e9) + 1 : WAIT_MAX_NS;

	if (work->proc->used_bytes < work->options->vram_bytes)
		rest = MIN_OF(rest, RAMP_STEP_NS);
	return rest;
}

static void print_progress(struct work *work)
{
	double share = work->seconds > 0 ? work->proc->done_s / work->seconds : 1;

	while (work->quarters < QUARTERS - 1 && share * QUARTERS >= work->quarters + 1)
		(void)printf("%d %%\n", 100 / QUARTERS * ++work->quarters);
}

/* Lock held on entry and on return. The exit status. */
static int work_until_done(struct work *work)
{
	for (;;) {
		uint32_t generation = work->state->generation;
		int64_t rest;

		if (work->state->gpus[work->proc->gpu].lost)
			return fail_cuda("unspecified launch failure");
		if (!ramp(work))
			return EXIT_FAILURE;
		print_progress(work);
		if (work->proc->done_s >= work->seconds)
			return work->options->exit_code;
		rest = rest_ns(work);
		state_unlock(work->state);
		state_wait(work->state, generation, rest);
		state_lock(work->state);
	}
}

static int run_on_gpu(const struct options *options)
{
	auto_unlock struct sim_state *locked = NULL;
	struct sim_state *state = NULL;
	struct sim_proc *proc = NULL;
	struct work work;
	int code;

	if (state_open_environment(&state, NULL) < 0) {
		print_traceback("plimsoll-simtask");
		(void)fprintf(stderr,
			      "RuntimeError: Found no NVIDIA driver on your system. (outside "
			      "`plimsoll sim`, plimsoll-simtask has no GPU)\n");
		return EXIT_FAILURE;
	}
	use_ram(options);
	state_lock(state);
	locked = state;
	code = attach(state, options, &proc);
	if (code != 0)
		return code;
	print_start(options, state->gpus[proc->gpu].name);
	work = (struct work){.state = state,
			     .proc = proc,
			     .options = options,
			     .start_ns = state->advanced_ns,
			     .seconds = (double)options->work_ms / 1000};
	if (!allocate(state, proc, options)) {
		code = EXIT_FAILURE;
	} else {
		proc->percent = options->percent;
		proc->working = true;
		state_notify(state);
		code = work_until_done(&work);
	}
	state_detach(state, proc);
	if (code == options->exit_code)
		(void)printf("done in %.2f s\n",
			     (double)(state->advanced_ns - work.start_ns) / SIM_NS_PER_S);
	return code;
}

/* Stand for a foreign process: be alive under that name as long as the simulation is. */
static int stand_in(void)
{
	const char *path = getenv(SIM_STATE_ENV);

	/* Whoever started us reads this: the name is set. From here on nobody does. */
	(void)!write(STDOUT_FILENO, "\n", 1);
	(void)dup2(STDIN_FILENO, STDOUT_FILENO);
	while (path && access(path, F_OK) == 0)
		(void)sleep(STAND_IN_S);
	return 0;
}

static bool on_cpu(const struct options *options)
{
	const char *visible = getenv("CUDA_VISIBLE_DEVICES");
	const char *device = options->device ? options->device : getenv("PLIMSOLL_DEVICE");

	if (device && strcmp(device, "cpu") == 0)
		return true;
	return visible && (!*visible || strcmp(visible, "-1") == 0);
}

int main(int argc, char **argv)
{
	struct options options = {.vram_bytes = DEFAULT_VRAM,
				  .work_ms = 1000,
				  .cpu_ms = -1,
				  .percent = 100,
				  .name = "plimsoll-simtask"};
	int code = parse_arguments(&options, argc, argv);

	if (code < 0) {
		(void)setvbuf(stdout, NULL, _IOLBF, 0);
		if (strcmp(options.name, "plimsoll-simtask") != 0)
			(void)prctl(PR_SET_NAME, options.name);
		if (options.stand_in)
			code = stand_in();
		else
			code = on_cpu(&options) ? run_on_cpu(&options) : run_on_gpu(&options);
	}
	strings_finish(&options.prints);
	strings_finish(&options.inputs);
	return code;
}
