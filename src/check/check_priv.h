/*
 * What the files of checks share. Each check_* function looks at the whole stack and adds what it
 * finds; none depends on what another found, but for check_add() leaving out what was said already.
 */
#pragma once

#include "check/check.h"

/* In the order of check_rules[]. */
enum check_code {
	CHECK_OVER_GPU_SIZE,
	CHECK_OVER_LOAD_LINE,
	CHECK_OVER_LOAD_LINE_NOW,
	CHECK_DOES_NOT_FIT,
	CHECK_FIT_UNKNOWN,
	CHECK_RAM_OVER_HOST,
	CHECK_RAM_OVER_HOST_NOW,
	CHECK_IDLE_GPU,
	CHECK_GPU_NOT_THERE,
	CHECK_GPU_UNUSABLE,
	CHECK_AGAINST_NEED,
	CHECK_NEED_NOT_THERE,
	CHECK_NEED_WITHOUT_REQUEST,
	CHECK_REPLICAS_SHARE,
	CHECK_COMMENTED_OUT,
	CHECK_DEFAULT_IN_FORCE,
	CHECK_WRONG_DEFAULT,
	CHECK_VARIABLE_NOT_SET,
	CHECK_UNUSED_VARIABLE,
	CHECK_SHARED_SOURCE,
	CHECK_INDEX_NOT_UUID,
	CHECK_COUNT_ALL,
	CHECK_FIRST_GPU_CROWDED,
	CHECK_COUNT_FIRST,
	CHECK_COUNT_AND_IDS,
	CHECK_CAPABILITIES_MISSING,
	CHECK_CAPABILITIES_WITHOUT_GPU,
	CHECK_REFUSED,
	CHECK_DUPLICATE_REQUEST,
	CHECK_OVERRIDES_VISIBLE_DEVICES,
	CHECK_FILTER_OUT_OF_RANGE,
	CHECK_FILTER_ALONE,
	CHECK_IDS_IN_ONE_STRING,
	CHECK_DRIVER_MISSING,
	CHECK_GPUS_KEY,
	CHECK_DEVICE_NODE,
	CHECK_NO_VRAM,
	CHECK_PROFILE_OFF,
	CHECK_MEASURED_ABOVE,
	CHECK_MEASURED_BELOW,
	CHECK_DRIFT,
	CHECK_UNKNOWN_CODE,
	CHECK_COUNT
};

struct check {
	const struct stack *stack;
	const struct compose_files *beside; /* NULL: none */
	struct findings *findings;
	const struct check_use *uses; /* sources.c: of variables, while it looks */
	size_t n_uses;
};

/* Take note. Takes message and fix, fills in code, severity, line and column. Without a span: where
 * the service is defined. */
void check_add(struct check *check, enum check_code code, const struct finding *what);

/* The subjects, a file each or two. */
void check_capacity(struct check *check);   /* sizes, load lines, what cannot fit */
void check_ram(struct check *check);        /* the host's RAM */
void check_profiles(struct check *check);   /* services of profiles that are off */
void check_now(struct check *check);        /* GPUs above their line as they are measured */
void check_placement(struct check *check);  /* GPUs that are not there, idle, against x-plimsoll */
void check_needs(struct check *check);      /* what x-plimsoll names and is not there */
void check_sources(struct check *check);    /* defaults, commented-out and missing variables */
void check_variables(struct check *check);  /* variables nobody uses; one that decides for many */
void check_requests(struct check *check);   /* how a request is written */
void check_visible(struct check *check);    /* the variables of the container */
void check_containers(struct check *check); /* what runs, against what is written */

/* `# plimsoll: ignore ...`: takes the findings away that it names, adds one for each code that is
 * none. */
void check_suppress(struct check *check);
/* Many findings of one kind that are one thing to do become one. Of the sorted findings. */
void check_fold(struct check *check);

/* ---- small helpers (help.c) ---- */

/* "GPU 1 (NVIDIA RTX A400, 4 GiB)"; arena memory. */
const char *check_gpu_name(const struct check *check, size_t gpu);
/* How compose files name it: "1", "0:1" of a MIG instance; its UUID where `like` (may be NULL) is
 * one; arena memory. */
const char *check_device(const struct check *check, size_t gpu, const struct compose_value *like);
/* "GPU 0 (...), GPU 1 (...)". */
const char *check_gpu_names(const struct check *check);
/* "0", "0 and 1", "all GPUs". */
const char *check_gpu_numbers(const struct check *check, const size_t *gpus, size_t n);
/* Bytes below the load line that are not foreign. 0 when unknown. */
uint64_t check_capacity_of(const struct check *check, size_t gpu);
bool check_capacity_known(const struct check *check, size_t gpu);

/* It wants a GPU, its VRAM is known, and it is said which GPUs it uses: it counts on them. */
bool check_counts(const struct stack_service *service);
/* What it takes on each of its GPUs, all replicas together; 0 for one that loads on demand. */
uint64_t check_load_of(const struct stack_service *service);
/* The sum of that of all on this GPU, but of `except` (may be NULL). */
uint64_t check_load_on(const struct check *check, size_t gpu, const struct stack_service *except);
/* The GPU with the least room that takes it beside what is there, else the smallest it fits alone
 * (*ret_alone); SIZE_MAX: none. Its x-plimsoll is kept. */
size_t check_better_gpu(const struct check *check, const struct stack_service *service,
			bool *ret_alone);
/* May it be there: pin, forbid, compute capability? Otherwise *ret_why (may be NULL) says why not;
 * arena memory. */
bool check_may_use(const struct check *check, const struct stack_service *service, size_t gpu,
		   const char **ret_why);

/* The value that says where a service goes; NULL when nothing does. */
const struct compose_value *check_value(const struct stack_service *service);
/* "set GPU_CLIP=1 in .env:12", "write '1' here instead of '0'": how to say `device` instead of
 * a value of the request (NULL: it has none); arena
 * memory. */
const char *check_how_to_say(const struct check *check, const struct compose_request *request,
			     const struct compose_value *value, const char *device);
/* The file to add a variable to: the last env file, else ".env". */
const char *check_env_name(const struct check *check);
/* What a list of devices ("0,1", "all", "GPU-5f"), or a count, would mean instead of what this
 * service asks for; its CUDA_VISIBLE_DEVICES stays. False: one is not there. */
struct check_devices {
	size_t gpus[PLAN_GPUS_MAX], n; /* of the list, in its order */
	const char *missing;           /* arena memory */
};
bool check_devices(const struct check *check, const struct compose_gpus *like, const char *text,
		   struct check_devices *ret_devices);
/* What its variable has to be set to for what its default says, "GPU_CLIP=0"; arena memory. */
const char *check_assignment(const struct check *check, const struct compose_value *value);
/* As x-plimsoll takes it, up to the next MiB: "6G", "666M"; arena memory. */
const char *check_size(const struct check *check, uint64_t bytes);
/* A GPU for it, to be named in a fix: the one it is assigned to, where it is one; else where it
 * would go; else the first. Arena memory. */
const char *check_some_device(const struct check *check, const struct stack_service *service);
/* How a service asks for what it asks for so that all programs understand it; arena memory. */
const char *check_reservation(const struct check *check, const struct stack_service *service);
/* "FILE:LINE". */
const char *check_place(const struct check *check, const struct compose_span *span);
