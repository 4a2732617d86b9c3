/*
 * Rolling a plan out: containers are made anew by the program that runs the project (docker
 * compose, docker-compose or podman-compose), GPU services first in the order of depends_on, then
 * their dependents; waited for; and looked at on the GPUs. A table of steps; each says what it did.
 *
 *	fetch	images that are not here: nothing is touched when one cannot be had
 *	halt	when it is put back: what did not run before
 *	stop	the services that move: nobody is to wait for VRAM that another is about to leave
 *	remove	podman-compose only: it makes anew what is not there, and no more than asked for
 *	up	stage by stage: all that only needs what came before ...
 *	wait	... and is waited for, before the next
 */
#pragma once

#include "container/container.h"
#include "stack/stack.h"

enum rollout_program { ROLLOUT_DOCKER_PLUGIN, ROLLOUT_DOCKER_COMPOSE, ROLLOUT_PODMAN_COMPOSE };
const char *rollout_program_name(enum rollout_program program); /* "docker compose", ... */

struct rollout_options {
	struct compose_project *project; /* as the files are now */
	const char *const *changed;      /* services whose assignment changes; NULL-terminated */
	/* When a roll-out is put back: the containers before it. What ran then is made anew, and
	 * what did not is stopped. NULL: it is rolled out, and what runs now is what ran. */
	const struct containers *ran;
	const struct strings *profiles; /* --profile; may be NULL */
	int64_t health_timeout_ms;      /* for each stage */
	int interrupt_fd;               /* readable: enough, and -ECANCELED; negative: none */
	bool *ret_touched;              /* has any container been touched? May be NULL */
	/* Told what happens, a line each; may be NULL. */
	void (*progress)(void *data, const char *line);
	void *data;
};

/* Services and their stages: 0, 1, ... without gaps, in the order they are made anew. */
struct rollout_order {
	const struct compose_service **services; /* borrowed from the project */
	unsigned *stages;
	size_t n;
};

/* The changed services and what depends on them: in depends_on order, and within it the changed
 * ones first. -ENOENT: there is no such service; -ELOOP: they depend on each other in a circle,
 * which the text names. */
int rollout_order(const struct compose_project *project, const char *const *changed,
		  struct rollout_order *ret_order, struct error *err) MUST_CHECK;
void rollout_order_finish(struct rollout_order *order);
#define auto_rollout_order CLEANUP(rollout_order_finish)

/* Which program runs the project: what its containers' labels tell, else what is there for this
 * engine. -ENOENT: none is installed. */
int rollout_find_program(struct container_engine *engine, const struct containers *containers,
			 enum rollout_program *ret_program, struct error *err) MUST_CHECK;

/* The program that runs the project, with its version, when it cannot read `!override` and would
 * not read the file at all then: "docker-compose 1.29.2". NULL: it can, or which one it is cannot
 * be known (`engine` NULL, none installed). */
char *rollout_without_override(struct container_engine *engine,
			       const struct containers *containers);

/* All that can be known to fail before anything is touched: no program, or one without an option
 * the project needs (-ENOTSUP), an engine that does not answer, a circle of dependencies. */
int rollout_check(struct container_engine *engine, const struct rollout_options *options,
		  struct error *err) MUST_CHECK;

/* What rollout_up() would make anew, and in which order, beside these containers: dependents that
 * do not run are not in it, and all of the project is when nothing of it runs. */
int rollout_foresee(const struct rollout_options *options, const struct containers *now,
		    struct rollout_order *ret_order, struct error *err) MUST_CHECK;

/* Recreate and wait until each runs, and is healthy where it says how to tell. Dependents that do
 * not run are left alone, unless nothing of the project runs: then all of it is brought up. On
 * failure the error names the service, and the last lines of its output. What is put back is tried
 * for every service, whatever fails for another; the error is the first one. */
int rollout_up(struct container_engine *engine, const struct rollout_options *options,
	       struct error *err) MUST_CHECK;

/* Where a service is to be: GPUs of the stack's list. */
struct rollout_place {
	const char *service;
	const size_t *gpus;
	size_t n;
	bool may_wait; /* it loads on demand: nothing of it there is all right */
};

/* Is each service's container running, and are its processes on the planned GPUs and no other, and
 * no GPU above its load line, of those that something is planned on or that were not above it
 * `before` (NULL: all)? 0: so it is. -EAGAIN: not yet, a planned GPU has nothing of it so
 * far (its containers were given the right ones). -ENXIO: on another GPU; -ESRCH: it does not run;
 * -ENOSPC: a GPU is above its load line. The text says it in numbers. */
int rollout_verify(const struct stack *stack, const struct stack *before,
		   const struct rollout_place *places, size_t n, struct error *err) MUST_CHECK;
