/*
 * What a service needs of a GPU, as its owner says it: `x-plimsoll:` in the compose service, or
 * `services: {NAME: ...}` in plimsoll.yaml, the same keys. docs/configuration.md lists them. Plain
 * data; which GPU "0" is, is found out by whoever uses it.
 *
 *	vram: 6G			per GPU it uses; or
 *	models: {clip: 1.2G, vit: {vram: 800M, on-demand: true}}	  ... their sum, and
 *	shared: 500M			what the models have in common, loaded with the first of
 *them ram: 4G				of the host
 *	gpus: 2				so many at once, `vram` on each; default what compose asks
 *for, or 1 cpu: never | fallback		fallback: it may go without a GPU keep: true
 *it is never named as what must yield
 *	on-demand: true			it loads when it is used: nothing is planned for it but a
 *place priority: 10			what is lower yields first; -1000 to 1000, default 0 gpu: 0
 *this GPU and no other prefer, avoid, forbid: [0, a400]	GPUs as `gpus` shows them, or part
 *of a model name min-compute-capability: 8.0 not-with: [other]		never on one GPU with these
 *	exclusive: true			never on one GPU with anything
 *	replicas: spread | together	each on GPUs of its own (default), or all on the same
 */
#pragma once

#include "util/text.h"
#include "util/yamlx.h"

#define NEED_MODELS_MAX 64

struct need_model {
	char *name;
	uint64_t vram_bytes;
	bool on_demand;
};

struct need {
	char *where;         /* "FILE:LINE:COLUMN" of the first thing said; NULL: nothing was */
	bool has_vram;       /* vram, or models */
	uint64_t vram_bytes; /* shared and models that are not on demand, when models are said */
	struct need_model *models;
	size_t n_models;
	uint64_t shared_bytes;
	bool has_ram;
	uint64_t ram_bytes;
	unsigned gpus; /* 0: not said */
	bool cpu_fallback, keep, on_demand, exclusive;
	bool together; /* all replicas on the same GPUs */
	int priority;
	char *gpu; /* NULL: any */
	struct strings prefer, avoid, forbid, not_with;
	unsigned compute_min; /* major * 10 + minor; 0: any */
	unsigned given;       /* keys said, a bit each: for need_merge() */
};

/* Read the mapping. Unknown keys, values out of range, `vram` together with `models`: errors with
 * the place. */
int need_parse(const struct yamlx *doc, const struct yamlx_node *mapping, struct need *ret_need,
	       struct error *err) MUST_CHECK;
/* What `more` says replaces what `need` says, key by key. Takes nothing from `more`. */
void need_merge(struct need *need, const struct need *more);
void need_finish(struct need *need);
