/*
 * Rolling a plan out: containers are made anew by the program that runs the project (docker
 * compose, docker-compose or podman-compose), GPU services first in the order of depends_on, then
 * their dependents; waited for; and looked at on the GPUs. A table of steps; each says what it did.
 */
#pragma once

#include "compose/engine.h"
#include "compose/stack.h"

struct rollout_options {
	struct compose_project *project;
	const char *const *changed; /* services whose assignment changes; NULL-terminated */
	const char *program;        /* "docker compose", ...; NULL: found out */
	int64_t health_timeout_ms;
	/* Told what happens, a line each; may be NULL. */
	void (*progress)(void *data, const char *line);
	void *data;
};

/* In the order they are made anew: the changed services and what depends on them, GPU services
 * first. New; NULL-terminated in `ret_order`. */
int rollout_order(const struct compose_project *project, const char *const *changed,
		  struct strings *ret_order, struct error *err) MUST_CHECK;

/* Recreate and wait until each runs, and is healthy where it says how to tell. On failure the error
 * names the service, and the last lines of its output. */
int rollout_up(struct engine *engine, const struct rollout_options *options,
	       struct error *err) MUST_CHECK;
