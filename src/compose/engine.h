/*
 * The container engine, over its Docker-compatible API on a Unix socket (docker, podman): which
 * containers a project has, what they were given, which processes are theirs. Asked with a
 * deadline for each call, whatever number of requests that takes; an engine that is not there or
 * does not answer is an error of the caller's choice, never a wait. What it says is bounded in
 * size and taken as hostile: names and labels with control characters in them are not there.
 */
#pragma once

#include "util/error.h"
#include "util/text.h"

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
	bool oneoff;     /* of `run`, not of `up` */
	bool running;
	bool restarting;
	bool has_health;
	enum engine_health { ENGINE_STARTING, ENGINE_HEALTHY, ENGINE_UNHEALTHY } health;
	int64_t health_interval_ms; /* between its checks */
	int exit_code;              /* when it does not run */
	pid_t pid;                  /* of its first process, in our pid namespace; 0: none */
	int restarts;               /* by its restart policy, since it was started */
	/* What it was given: device ids of its requests, NVIDIA_VISIBLE_DEVICES, CDI names, device
	 * nodes; as written, comma-separated. NULL: nothing that asks for a GPU. */
	char *devices;
	bool all_devices;
	bool by_podman_compose; /* io.podman.compose.project */
	char *compose_version;  /* of the program that made it; podman-compose: "0.0.1" always */
};

struct engine_containers {
	struct engine_container *items;
	size_t n;
};

#define ENGINE_DEADLINE_MS 5000

/* Where an engine may be: $DOCKER_HOST or $CONTAINER_HOST (unix:// only), when one is set; else the
 * usual sockets, rootless ones too. -ENOENT: none answers. `socket` not NULL: that one.
 * `deadline_ms` is that of every later call, too, unless it says otherwise. */
int engine_open(const char *socket, unsigned deadline_ms, struct engine **ret_engine,
		struct error *err) MUST_CHECK;
/* Of several engines the one that has containers of the project; none has: the first that
 * answers. */
int engine_open_project(const char *project, unsigned deadline_ms, struct engine **ret_engine,
			struct error *err) MUST_CHECK;
/* All that answer, at most `room`, within the deadline together. */
size_t engine_open_all(unsigned deadline_ms, struct engine **ret_engines, size_t room);
#define ENGINES_MAX 8
void engine_close(struct engine *engine);
static inline void engine_cleanup(struct engine **engine)
{
	engine_close(*engine);
}
#define auto_engine CLEANUP(engine_cleanup)
enum engine_kind engine_kind(const struct engine *engine);
const char *engine_socket(const struct engine *engine);
const char *engine_version(const struct engine *engine);
void engine_set_deadline(struct engine *engine, unsigned deadline_ms);

/* Containers of a project, ended ones too, by name; `project` NULL: of all. */
int engine_list(struct engine *engine, const char *project,
		struct engine_containers *ret_containers, struct error *err) MUST_CHECK;
/* The same in one request: id, name, labels and whether they run; nothing else is known. */
int engine_list_names(struct engine *engine, const char *project,
		      struct engine_containers *ret_containers, struct error *err) MUST_CHECK;
/* How one is now. -ENOENT: it is gone. */
int engine_inspect(struct engine *engine, const char *id, struct engine_container *ret_container,
		   struct error *err) MUST_CHECK;
void engine_container_finish(struct engine_container *container);
void engine_containers_finish(struct engine_containers *containers);
#define auto_engine_containers CLEANUP(engine_containers_finish)

/* podman leaves health checks to timers of systemd, and where there is none they never run: run the
 * container's now. Docker does it itself, nothing is done then. */
void engine_check_health(struct engine *engine, const char *id);
/* The last lines a container wrote, stdout and stderr as they came, control characters as '?'. */
int engine_logs(struct engine *engine, const char *id, unsigned lines, struct text *ret_text,
		struct error *err) MUST_CHECK;
/* Stop it (SIGKILL after `stop_seconds`). One that has stopped or is gone is a success. */
int engine_stop(struct engine *engine, const char *id, unsigned stop_seconds,
		struct error *err) MUST_CHECK;
/* Stop it (SIGKILL after `stop_seconds`), then remove it with its anonymous volumes kept. One that
 * is gone already is a success. */
int engine_remove(struct engine *engine, const char *id, unsigned stop_seconds,
		  struct error *err) MUST_CHECK;
