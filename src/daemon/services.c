/*
 * All names are fetched at once and replace those known before: what has gone
 * is forgotten with them. A container that stays unknown (of an engine we have
 * no access to, or one that hangs) is asked for again after ASK_MS, so that it
 * costs one thread one deadline in that time.
 */
#include "daemon/services.h"

#include "container/names.h"
#include "daemon/placed.h"
#include "host/process.h"
#include "util/timestamp.h"

#include <string.h>

#define DEADLINE_MS 1000
#define ASK_MS      15000
#define LOOK_MS     60000 /* and anyway, while anything is placed */
#define PARKED_MAX  64

/* What the thread works on: its own, so that it does not matter when services
 * are destroyed. */
struct job {
	uv_work_t work;
	struct services *services; /* NULL: nobody waits any more */
	struct container_names *names;
};

struct services {
	struct daemon *daemon;
	struct container_names *names;
	struct job *job;  /* under way */
	int64_t asked_ms; /* monotonic; 0: never */
	struct {
		struct api_request *request;
		void (*handle)(void *data, struct api_request *request);
	} parked[PARKED_MAX];
	size_t n_parked;
};

struct services *services_create(struct daemon *daemon)
{
	struct services *services = mem_calloc(1, sizeof *services);

	services->daemon = daemon;
	return services;
}

void services_destroy(struct services *services)
{
	if (!services)
		return;
	for (size_t i = 0; i < services->n_parked; i++)
		api_request_on_gone(services->parked[i].request, NULL, NULL);
	if (services->job)
		services->job->services = NULL;
	container_names_destroy(services->names);
	free(services);
}

const char *services_name(const struct services *services, const char *container)
{
	return container_names_find(services->names, container);
}

/* --- asking --- */

static void on_work(uv_work_t *work)
{
	struct job *job = work->data;

	job->names = container_names_load(DEADLINE_MS);
}

static void release_parked(struct services *services)
{
	size_t n = services->n_parked;

	/* What is parked meanwhile waits for the next answer. */
	services->n_parked = 0;
	for (size_t i = 0; i < n; i++) {
		struct api_request *request = services->parked[i].request;

		api_request_on_gone(request, NULL, NULL);
		services->parked[i].handle(services->daemon, request);
	}
}

static void on_done(uv_work_t *work, int status)
{
	struct job *job = work->data;
	struct services *services = job->services;

	(void)status;
	if (services) {
		/* Nothing learnt: the engine did not answer in time, and what was known is
		 * still true of what is still there. */
		if (container_names_count(job->names) > 0) {
			container_names_destroy(services->names);
			services->names = TAKE(job->names);
		}
		placed_names(services->daemon->placed, job->names ? job->names : services->names);
		services->job = NULL;
		release_parked(services);
	}
	container_names_destroy(job->names);
	free(job);
}

static bool ask(struct services *services)
{
	struct job *job = mem_calloc(1, sizeof *job);

	job->services = services;
	job->work.data = job;
	if (uv_queue_work(&services->daemon->loop, &job->work, on_work, on_done) < 0) {
		free(job);
		return false;
	}
	services->job = job;
	services->asked_ms = monotonic_now_ms();
	return true;
}

/* --- when --- */

static bool is_unknown(const struct services *services, pid_t pid)
{
	struct host_container container;

	return host_process_container(services->daemon->host, pid, &container) == 0 &&
	       (container.runtime == HOST_RUNTIME_DOCKER ||
		container.runtime == HOST_RUNTIME_PODMAN) &&
	       !services_name(services, container.id);
}

static bool has_unknown(const struct services *services)
{
	const struct gpu_list *list = sched_gpus(services->daemon->sched);

	for (size_t g = 0; list && g < list->n; g++)
		for (size_t i = 0; i < list->gpus[g].n_processes; i++)
			if (is_unknown(services, list->gpus[g].processes[i].pid))
				return true;
	return false;
}

void services_look(struct services *services)
{
	int64_t since_ms = monotonic_now_ms() - services->asked_ms;

	if (services->job || (services->asked_ms > 0 && since_ms < ASK_MS))
		return;
	if (services->asked_ms == 0 || since_ms >= LOOK_MS || has_unknown(services))
		(void)ask(services);
}

static void on_gone(void *data, struct api_request *request)
{
	struct services *services = data;

	for (size_t i = 0; i < services->n_parked; i++) {
		if (services->parked[i].request != request)
			continue;
		services->parked[i] = services->parked[--services->n_parked];
		return;
	}
}

bool services_park(struct services *services, struct api_request *request,
		   void (*handle)(void *data, struct api_request *request))
{
	int64_t now_ms = monotonic_now_ms();
	size_t at = services->n_parked;

	if (at == PARKED_MAX)
		return false;
	if (!services->job && services->asked_ms > 0 && now_ms - services->asked_ms < ASK_MS)
		return false;
	if (!has_unknown(services) || (!services->job && !ask(services)))
		return false;
	services->parked[at].request = request;
	services->parked[at].handle = handle;
	services->n_parked++;
	api_request_on_gone(request, on_gone, services);
	return true;
}
