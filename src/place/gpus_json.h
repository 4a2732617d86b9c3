/*
 * A sample and its ledger as the object of `gpus --json` and GET /v1/gpus (DESIGN §7): what each
 * GPU has, and who holds its VRAM. The daemon makes it with the tasks it knows, `plimsoll gpus`
 * without a daemon makes it without. Pure: who a process is, is asked of the caller.
 */
#pragma once

#include "place/ledger.h"

#define GPUS_JSON_SERVICE_MAX 128
#define GPUS_JSON_GONE        UINT64_MAX

/* A task's grant on one GPU. */
struct gpus_json_task {
	uint64_t id;
	const char *name;
	char uuid[GPU_UUID_MAX];
	uint64_t allocated_bytes;
};

/* What a service keeps on a GPU. */
struct gpus_json_hold {
	const char *name; /* "shop/clip"; NULL: not for the reader's eyes */
	char uuid[GPU_UUID_MAX];
	uint64_t allocated_bytes;
};

struct gpus_json_options {
	const struct gpus_json_hold *holds;
	size_t n_holds;
	const struct gpus_json_task *tasks; /* one for each (task, GPU) */
	size_t n_tasks;
	/* We are shown all processes of the machine: one whose start is not known has ended. */
	bool all_processes;
	/* Whose is a process: the id of a task, else 0 and, when it belongs to a service (container
	 * or unit), that one's name in `service`. GPUS_JSON_GONE: it has ended and is left out.
	 * `*ret_leftover` (false): that task has ended. NULL: everything is foreign. */
	uint64_t (*owner)(void *data, const struct gpu_process *process,
			  char service[GPUS_JSON_SERVICE_MAX], bool *ret_leftover);
	void *data;
};

/* {"source", "text", "sampled_at", "stale_since", "driver_version", "cuda_version", "gpus": [...],
 * "topology"}.
 * `ledger` is made from `list`. A new reference. */
json_t *gpus_to_json(const struct gpu_list *list, const struct ledger *ledger,
		     const struct gpus_json_options *options);
