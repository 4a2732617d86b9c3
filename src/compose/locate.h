/*
 * Every way a service can ask for a GPU, found in its merged tree: what is asked for, where the
 * value has come from, and which bytes to change to ask for another one. Facts: facts of
 * compose-go's schema, moby's daemon and the NVIDIA container toolkit, as told beside each rule in
 * locate.c.
 */
#pragma once

#include "compose/project.h"

enum compose_how {
	COMPOSE_RESERVATION, /* deploy.resources.reservations.devices[] */
	COMPOSE_GPUS,        /* gpus: */
	COMPOSE_RUNTIME,     /* runtime: nvidia + NVIDIA_VISIBLE_DEVICES */
	COMPOSE_CDI,         /* devices: vendor/class=name, or a reservation with driver: cdi */
	COMPOSE_ENVIRONMENT, /* CUDA_VISIBLE_DEVICES, or NVIDIA_VISIBLE_DEVICES without the runtime
			      */
	COMPOSE_DEVICE_NODE, /* devices: /dev/nvidia0 */
	COMPOSE_HOW_COUNT,
};
const char *compose_how_name(enum compose_how how); /* "reservation", ..., "device-node" */

#define COMPOSE_VALUES_MAX       256  /* devices one request may name */
#define COMPOSE_REQUESTS_MAX     256  /* requests of one service */
#define COMPOSE_VALUE_LENGTH_MAX 8192 /* characters of a scalar that says devices or a count */

/* One device a request names, or its count. */
struct compose_value {
	const char *text;           /* in force: "0", "GPU-5f...", "all", "nvidia.com/gpu=1" */
	const char *device;         /* what it means: "0" of nvidia.com/gpu=0; text otherwise */
	enum compose_source source; /* where it comes from */
	/* The scalar it stands in: of a compose file, or (env_file:, a bare KEY of `environment`)
	 * the value in an env file. */
	const struct compose_node *node;
	size_t begin, end; /* its part of node->text: of "0,1" one of them */
	/* The variable that decides: of ${A:-${B}} with B set it is B. NULL: literal. */
	const char *variable;
	const struct compose_use *use; /* its place in the template; NULL: none, or a bare KEY */
	/* Of an env file: what gives it, or says the variable is empty; NULL: none. */
	const struct compose_assignment *assignment;
	/* What to change for another value: the assignment's value in an env file, the default, or
	 * the literal. file NULL: it cannot be changed in place (shell, absent, `gpus: all`, which
	 * has to become a list). */
	struct compose_span edit;
	/* The part of node->text these bytes stand for: in "nvidia.com/gpu=${X:-0}" only the "0".
	 * Wider than [begin, end) when they cannot be told apart. */
	size_t edit_begin, edit_end;
	bool edit_whole; /* the bytes have quotes or escapes of their own: write the whole scalar */
	/* The commented-out assignment that would have set it. */
	const struct compose_assignment *commented;
	/* The default in the compose file for all the variable stands for, also when an env file
	 * hides it; NULL: there is none. */
	const char *fallback;
	struct compose_span fallback_span;
};

struct compose_request {
	enum compose_how how;
	struct compose_span span;        /* of the request: the list entry; the key and its value */
	const struct compose_node *node; /* NULL: an env_file says it */
	const char *driver;              /* NULL: not said */
	const char *key; /* RUNTIME, ENVIRONMENT: the variable, "NVIDIA_VISIBLE_DEVICES" */
	struct compose_span key_span; /* where the service says it; file NULL: nowhere */
	bool all;                     /* count: all, nothing said, gpus: all, ... */
	bool has_count;
	uint64_t count;                 /* the first N GPUs, whatever else is there */
	struct compose_span count_span; /* of `count:`, also beside device_ids */
	bool none;                      /* void, none, empty, -1: it asks for no GPU */
	bool is_nvidia;                 /* false: driver rocm, /dev/kfd: not ours to place */
	/* What it says reaches the container; several can (two entries, a CDI device). False: none,
	 * not ours, or something stronger hides it. */
	bool in_force;
	/* NVIDIA_VISIBLE_DEVICES without `runtime:`: counts only where nvidia is the engine's
	 * default runtime. */
	bool if_default_runtime;
	bool by_image; /* `runtime: nvidia` and no variable: the image's own says it; "all" in
			  nvidia/cuda's */
	struct compose_value *values; /* devices named, or the one that says the count; none when
					 nothing is said */
	size_t n_values;
	const char *capabilities; /* "gpu,utility"; NULL: none */
	struct compose_span capabilities_span;
	/* Why compose, the engine or CUDA refuses it; NULL: they do not. */
	const char *problem;
	struct compose_span problem_span;
};

/* A variable was to name the device, is set nowhere and has no default: a GPU is asked for, and
 * nothing says which. */
bool compose_value_is_unset(const struct compose_value *value);

/* What a service asks for, all ways together. */
struct compose_gpus {
	const struct compose_service *service;
	struct compose_request
	    *requests; /* in the order of DESIGN's list of ways, then of the file */
	size_t n;
	/* The one that decides (a reservation's devices win over NVIDIA_VISIBLE_DEVICES), the first
	 * of those in force; NULL: it gets no GPU. CUDA_VISIBLE_DEVICES only filters what the
	 * container sees. */
	const struct compose_request *decides;
	const struct compose_request *filter; /* CUDA_VISIBLE_DEVICES, when it is said */
};

/* Of all services, active or not; in the project's order; memory of the project's arena. -E2BIG:
 * beyond the limits above. */
int compose_locate(struct compose_project *project, struct compose_gpus **ret_gpus,
		   struct error *err) MUST_CHECK;

/* What a request says, as people would: "0,1", "all", "count 2", "none"; "unknown" when nothing
 * can be made of it. */
void compose_request_text(const struct compose_request *request, struct text *text);
/* Where that comes from: of its first value; ABSENT when nothing is said. */
enum compose_source compose_request_source(const struct compose_request *request);
/* Where in the compose files it stands: its first value, else the request. */
struct compose_span compose_request_place(const struct compose_request *request);

/* Who shares with whom, of the services of compose_locate(), which stay borrowed: would changing
 * what one says change the other, too, by the same bytes (an anchor, an extended service), or the
 * same variable? */
struct compose_sharing *compose_sharing_create(const struct compose_gpus *gpus, size_t n);
void compose_sharing_destroy(struct compose_sharing *sharing);
static inline void compose_sharing_cleanup(struct compose_sharing **sharing)
{
	compose_sharing_destroy(*sharing);
}
#define auto_compose_sharing CLEANUP(compose_sharing_cleanup)
/* Do the requests in force of these two, by their number? */
bool compose_shares(const struct compose_sharing *sharing, size_t one, size_t other);

/* Which GPUs of a machine that means, after CUDA_VISIBLE_DEVICES: indices into `list`, each once,
 * n = 0 for none. Numbers are NVML's, as docker's and the default CDI names are. -ENODEV: one it
 * names is not there, *ret_missing says which value; -E2BIG: more than `room`. Of a request made by
 * hand it looks at in_force, all, none, has_count, count and the values' `device`. */
struct gpu_list;
int compose_resolve(const struct compose_gpus *gpus, const struct gpu_list *list, size_t *ret_gpus,
		    size_t room, size_t *ret_n, const struct compose_value **ret_missing,
		    struct error *err) MUST_CHECK;
