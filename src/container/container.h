/*
 * The container engine, over its Docker-compatible API on a Unix socket (docker, podman): which
 * containers a project has, what they were given, which processes are theirs. Asked with a
 * deadline for each call, whatever number of requests that takes; an engine that is not there or
 * does not answer is an error of the caller's choice, never a wait. What it says is bounded in
 * size and taken as hostile: names and labels with control characters in them are not there.
 */
#pragma once

#include "util/error.h"
#include "util/jsonx.h"
#include "util/text.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

struct container_engine;

enum container_engine_kind { CONTAINER_DOCKER, CONTAINER_PODMAN };

struct container {
	char id[65];
	char *name;      /* without the leading slash */
	char *project;   /* com.docker.compose.project or io.podman.compose.project; NULL: none */
	char *service;   /* com.docker.compose.service; NULL: none */
	unsigned number; /* of the replica, from 1 */
	bool oneoff;     /* of `run`, not of `up` */
	bool running;
	bool restarting;
	bool has_health;
	enum container_health { CONTAINER_STARTING, CONTAINER_HEALTHY, CONTAINER_UNHEALTHY } health;
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

struct containers {
	struct container *items;
	size_t n;
};

#define CONTAINER_DEADLINE_MS 5000

/* Where an engine may be: $DOCKER_HOST or $CONTAINER_HOST (unix:// only), when one is set; else the
 * usual sockets, rootless ones too. -ENOENT: none answers. `socket` not NULL: that one.
 * `deadline_ms` is that of every later call, too, unless it says otherwise. */
int container_engine_open(const char *socket, unsigned deadline_ms,
			  struct container_engine **ret_engine, struct error *err) MUST_CHECK;
/* Of several engines the one that has containers of the project; none has: the first that
 * answers. */
int container_engine_open_project(const char *project, unsigned deadline_ms,
				  struct container_engine **ret_engine,
				  struct error *err) MUST_CHECK;
/* All that answer, at most `room`, within the deadline together. */
size_t container_engine_open_all(unsigned deadline_ms, struct container_engine **ret_engines,
				 size_t room);
#define CONTAINER_ENGINES_MAX 8
void container_engine_close(struct container_engine *engine);
static inline void container_engine_cleanup(struct container_engine **engine)
{
	container_engine_close(*engine);
}
#define auto_container_engine CLEANUP(container_engine_cleanup)
enum container_engine_kind container_engine_kind(const struct container_engine *engine);
const char *container_engine_socket(const struct container_engine *engine);
void container_engine_set_deadline(struct container_engine *engine, unsigned deadline_ms);

/* Containers of a project, ended ones too, by name; `project` NULL: of all. */
int container_engine_list(struct container_engine *engine, const char *project,
			  struct containers *ret_containers, struct error *err) MUST_CHECK;
/* The same in one request: id, name, labels and whether they run; nothing else is known. */
int container_engine_list_names(struct container_engine *engine, const char *project,
				struct containers *ret_containers, struct error *err) MUST_CHECK;
void container_finish(struct container *container);
void containers_finish(struct containers *containers);
#define auto_containers CLEANUP(containers_finish)

/* Where engines are looked for, in that order; as container_engine_open() says. */
int container_engine_sockets(struct strings *ret_sockets, struct error *err) MUST_CHECK;
/* What it answers to a GET ("/info", "/version", "/containers/json"), as it says it: nothing of it
 * was looked at. -EPROTO: an answer of 400 or more, or no JSON; -ENOENT: 404. */
int container_engine_get(struct container_engine *engine, const char *path, json_t **ret_json,
			 struct error *err) MUST_CHECK;

/* Is the image here, by the name a compose file has for it? 1: it is, 0: it is not. */
int container_engine_has_image(struct container_engine *engine, const char *image,
			       struct error *err) MUST_CHECK;

/* podman leaves health checks to timers of systemd, and where there is none they never run: run the
 * container's now. Docker does it itself, nothing is done then. */
void container_engine_check_health(struct container_engine *engine, const char *id);
/* The last lines a container wrote, stdout and stderr as they came, control characters as '?'. */
int container_engine_logs(struct container_engine *engine, const char *id, unsigned lines,
			  struct text *ret_text, struct error *err) MUST_CHECK;
/* Stop it (SIGKILL after `stop_seconds`). One that has stopped or is gone is a success. */
int container_engine_stop(struct container_engine *engine, const char *id, unsigned stop_seconds,
			  struct error *err) MUST_CHECK;
/* Stop it (SIGKILL after `stop_seconds`), then remove it with its anonymous volumes kept. One that
 * is gone already is a success. */
int container_engine_remove(struct container_engine *engine, const char *id, unsigned stop_seconds,
			    struct error *err) MUST_CHECK;
