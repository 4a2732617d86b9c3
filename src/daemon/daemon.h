/*
 * The daemon is a bag of modules on one libuv loop. Each module has x_create(daemon) and
 * x_destroy(x), keeps its state to itself and registers its own timers; they find each other
 * through this struct. Nothing here blocks the loop, save SQLite's commits.
 *
 *	gpu sampler, host ──▶ sched ──▶ tick ──▶ store, then runner, hub, waiting clients
 *	supervisor ─▶ runner ──▶ sched
 *	clients ─▶ api ─▶ routes (submit, queries, streams) ──▶ sched
 */
#pragma once

#include "api/server.h"
#include "daemon/serve.h"
#include "gpu/catalogue.h"
#include "gpu/sampler.h"
#include "host/host.h"
#include "sched/sched.h"
#include "store/store.h"

#include <uv.h>

#define DAEMON_PID "daemon.pid" /* in the runtime folder: "<pid> <start_time>\n" */

struct clock;
struct fairshare;
struct hub;
struct keeper;
struct listings;
struct logs;
struct parked;
struct profiles;
struct placed;
struct rules;
struct runner;
struct services;
struct tick;
struct usage;
struct waiters;

struct daemon {
	struct daemon_options options;
	uv_loop_t loop;
	char *runtime_dir, *state_dir;
	int64_t started_at_ms;
	struct host *host;
	struct host_info host_info; /* the last sample */
	struct store *store;
	struct catalogue *catalogue;
	struct sched *sched;
	struct clock *clock; /* the time, as sched is told it */
	struct gpu_sampler *sampler;
	struct runner *runner;       /* the tasks' processes */
	struct usage *usage;         /* whose is a process on a GPU */
	struct services *services;   /* names of containers */
	struct placed *placed;       /* services that hold their place */
	struct rules *rules;         /* configuration, drained GPUs, the pause */
	struct fairshare *fairshare; /* what users had lately */
	struct tick *tick;           /* decide, store, act */
	struct hub *hub;             /* who listens to events */
	struct waiters *waiters;     /* who waits for a task's end */
	struct profiles *profiles;   /* what was learned, for people */
	struct parked *parked;       /* who waits for the first GPU sample */
	struct logs *logs;           /* who follows a log */
	struct keeper *keeper;       /* archives what ended long ago */
	struct listings *listings;   /* who reads a list of tasks */
	struct api_server *api;
};

/* The table of routes.c. */
extern const struct api_route ROUTES[];
extern const size_t N_ROUTES;

/* Ends the loop after what is under way. */
void daemon_stop(struct daemon *daemon);
