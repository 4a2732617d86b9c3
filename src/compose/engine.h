/*
 * The container engine, over its Docker-compatible API on a Unix socket (docker, podman): which
 * containers a project has, what they were given, which processes are theirs. Asked with a
 * deadline; an engine that is not there or does not answer is an error of the caller's choice,
 * never a wait.
 */
#pragma once

#include "util/error.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

struct engine;

enum engine_kind { ENGINE_DOCKER, ENGINE_PODMAN };
const char *engine_kind_name(enum engine_kind kind);

struct engine_container {
	char id[65];
	char *name;      /* without the leading slash */
	char *project;   /* com.docker.compose.project or io.podman.compose.project; NULL: none */
	char *service;   /* com.docker.compose.service; NULL: none */
	unsigned number; /* of the replica, from 1 */
	bool running;
	bool restarting;
	bool has_health;
	enum engine_health { ENGINE_STARTING, ENGINE_HEALTHY, ENGINE_UNHEALTHY } health;
	int exit_code; /* when it does not run */
	pid_t pid;     /* of its first process, in our pid namespace; 0: none */
	/* What it was given: device ids of its requests, NVIDIA_VISIBLE_DEVICES, CDI names; as
	 * written, comma-separated. NULL: nothing that asks for a GPU. */
	char *devices;
	bool all_devices;
};

struct engine_containers {
	struct engine_container *items;
	size_t n;
};

/* Where an engine may be: $DOCKER_HOST or $CONTAINER_HOST (unix:// only), then the usual sockets,
 * rootless ones too. -ENOENT: none answers. `socket` not NULL: that one. */
int engine_open(const char *socket, unsigned deadline_ms, struct engine **ret_engine,
		struct error *err) MUST_CHECK;
void engine_close(struct engine *engine);
static inline void engine_cleanup(struct engine **engine)
{
	engine_close(*engine);
}
#define auto_engine CLEANUP(engine_cleanup)
enum engine_kind engine_kind(const struct engine *engine);
const char *engine_socket(const struct engine *engine);
const char *engine_version(const struct engine *engine);

/* Containers of a project, ended ones too; `project` NULL: of all. */
int engine_list(struct engine *engine, const char *project,
		struct engine_containers *ret_containers, struct error *err) MUST_CHECK;
void engine_containers_finish(struct engine_containers *containers);
