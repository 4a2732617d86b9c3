/*
 * The bodies of POST /v1/tasks and /v1/batches, read into what sched takes. Every member is known
 * or refused by name; every size has its limit; errors name the row. Nothing of the machine is
 * looked at here, save the GPU list a pin is resolved with.
 */
#pragma once

#include "daemon/wishes.h"
#include "sched/sched.h"
#include "util/jsonx.h"
#include "util/text.h"

#define SUBMIT_TASKS_MAX    200000
#define SUBMIT_ARGS_MAX     4096
#define SUBMIT_ARG_MAX      ((size_t)128 << 10) /* bytes; execve's own limit for one string */
#define SUBMIT_ENV_MAX      4096
#define SUBMIT_NAME_MAX     256
#define SUBMIT_KEY_MAX      64
#define SUBMIT_PRIORITY_MAX 1000000 /* and as far below 0 */
/* Different ones in one batch: each takes 5 KiB. */
#define SUBMIT_WISHES_MAX 4096
/* What all tasks of one batch together may name to wait for: each may have to be looked up. */
#define SUBMIT_AFTER_ITEMS_MAX 100000

/* Strings are borrowed from the body and from the GPU list, save argv's arrays. Ready for
 * sched_submit*(): specs lack only their environment's id and owner. */
struct submit {
	bool is_batch;
	const char *name;
	enum sched_on_failure on_failure;
	bool resume;
	unsigned workers_per_gpu; /* 0 = they are not workers (workers.h) */
	bool is_private;          /* one of its specs is */
	const char *key;          /* the client's name for this submit, or NULL */
	const json_t *env;        /* array of "K=V", or NULL */
	struct sched_spec *specs;
	size_t n;
	struct strings scoped; /* texts of the specs that are not in the body */
	bool needs_gpus;       /* one of them does: worth waiting for the first sample */
	/* What the specs point to. What they wait for is as written: neither is it known whether it
	 * is there, nor whether it has ended. */
	struct sched_after **afters;
	size_t n_afters, room_afters, n_after_items;
	struct submit_rungs {
		struct sched_rung rungs[SCHED_RUNGS_MAX];
		size_t n;
	} * *rungs;
	size_t n_rungs, room_rungs;
	struct wishes_list wishes;
	struct place_wishes wish; /* being read */
	bool has_wish;
};

/* `gpus` may be NULL (nothing known yet: a pin is an error then). */
int submit_parse_task(const json_t *body, const struct gpu_list *gpus, struct submit *ret_submit,
		      struct error *err) MUST_CHECK;
int submit_parse_batch(const json_t *body, const struct gpu_list *gpus, struct submit *ret_submit,
		       struct error *err) MUST_CHECK;
void submit_finish(struct submit *submit);

/* Does any task in the body need a GPU? A look without judging. */
bool submit_needs_gpus(const json_t *body);

/* Refuse members of `object` that are not in the NULL-terminated list. */
int submit_check_members(const json_t *object, const char *const *known, const char *what,
			 struct error *err) MUST_CHECK;
