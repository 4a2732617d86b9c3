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

/* One device a request names, or its count. */
struct compose_value {
	const char *text;           /* in force: "0", "GPU-5f...", "all", "nvidia.com/gpu=1" */
	const char *device;         /* what it means: "0" of nvidia.com/gpu=0; text otherwise */
	enum compose_source source; /* where it comes from */
	const struct compose_node *node; /* the scalar it stands in */
	size_t begin, end;               /* its part of node->text: of "0,1" one of them */
	const struct compose_use *use;   /* the variable that decides; NULL: literal */
	/* What to change for another value: the assignment's value in an env file, the default, or
	 * the literal. file NULL: it cannot be changed in place (shell, absent, escapes). */
	struct compose_span edit;
	/* The commented-out assignment that would have set it. */
	const struct compose_assignment *commented;
	/* The default in the compose file, also when an env file hides it; NULL: there is none. */
	const char *fallback;
	struct compose_span fallback_span;
};

struct compose_request {
	enum compose_how how;
	struct compose_span span; /* of the request: the list entry, the key */
	const struct compose_node *node;
	const char *driver; /* NULL: not said */
	bool all;           /* count: all, nothing said, gpus: all, ... */
	bool has_count;
	uint64_t count;               /* the first N GPUs, whatever else is there */
	bool none;                    /* void, none, empty, -1: it asks for no GPU */
	bool is_nvidia;               /* false: driver rocm, /dev/kfd: not ours to place */
	struct compose_value *values; /* devices named, or the one that says the count */
	size_t n_values;
	const char *capabilities; /* "gpu,utility"; NULL: none */
	struct compose_span capabilities_span;
};

/* What a service asks for, all ways together. */
struct compose_gpus {
	const struct compose_service *service;
	struct compose_request
	    *requests; /* in the order of DESIGN's list of ways, then of the file */
	size_t n;
	/* The one that decides (a reservation's devices win over NVIDIA_VISIBLE_DEVICES); NULL: it
	 * gets no GPU. CUDA_VISIBLE_DEVICES only filters what the container sees. */
	const struct compose_request *decides;
	const struct compose_request *filter; /* CUDA_VISIBLE_DEVICES, when it is said */
};

/* Of all services, active or not; in the project's order; memory of the project's arena. */
int compose_locate(struct compose_project *project, struct compose_gpus **ret_gpus,
		   struct error *err) MUST_CHECK;

/* Which GPUs of a machine that means: indices into `list`, n = 0 for none. -ENODEV: one it names is
 * not there, *ret_missing says which value. */
struct gpu_list;
int compose_resolve(const struct compose_gpus *gpus, const struct gpu_list *list, size_t *ret_gpus,
		    size_t room, size_t *ret_n, const struct compose_value **ret_missing,
		    struct error *err) MUST_CHECK;
