/* The API as one table: docs/api.md says the same in words. */
#include "daemon/change.h"
#include "daemon/daemon.h"
#include "daemon/gpus.h"
#include "daemon/hub.h"
#include "daemon/logs.h"
#include "daemon/placed.h"
#include "daemon/profiles.h"
#include "daemon/queries.h"
#include "daemon/record.h"
#include "daemon/rules.h"
#include "daemon/submit.h"
#include "daemon/waiters.h"

#include <errno.h>

static void handle_wait(void *data, struct api_request *request)
{
	struct daemon *daemon = data;
	const struct sched_task *task = sched_find(daemon->sched, api_request_id(request));

	if (task && !sched_state_is_final(task->state))
		waiters_add(daemon->waiters, request, task->id);
	else
		handle_task(data, request);
}

static void handle_events(void *data, struct api_request *request)
{
	struct daemon *daemon = data;
	struct error err = {};
	auto_json json_t *known = NULL;
	uint64_t batch;
	int r = api_request_query_u64(request, "batch", INT64_MAX, 0, &batch, &err);

	if (r == 0 && batch > 0) {
		known = query_batch(daemon, batch);
		if (!known)
			r = error_set(&err, -ENOENT, "there is no batch %llu",
				      (unsigned long long)batch);
	}
	if (r < 0)
		api_reply_error(request, r, &err);
	else
		hub_listen(daemon->hub, request, batch);
}

static void handle_shutdown(void *data, struct api_request *request)
{
	api_reply(request, 200, json_pack("{s:b}", "ending", 1));
	daemon_stop(data);
}

#define LIST_MEMBERS "state batch kind user name since until limit offset ended order after format"

#define VIEW    API_ROLE_VIEW
#define OPERATE API_ROLE_OPERATE
#define ADMIN   API_ROLE_ADMIN

/* clang-format off */
const struct api_route ROUTES[] = {
	/* method, path, role, scope, query, body, handler, lasts */
	{"GET",  "/v1/status", VIEW, API_OPEN, NULL, 0, handle_status},
	{"GET",  "/v1/gpus", VIEW, API_OPEN, NULL, 0, handle_gpus},
	{"POST", "/v1/gpus/drain", ADMIN, API_OPEN, NULL, API_BODY_SMALL, handle_gpu_drain},
	{"POST", "/v1/gpus/resume", ADMIN, API_OPEN, NULL, API_BODY_SMALL, handle_gpu_resume},
	{"POST", "/v1/queue/pause", ADMIN, API_OPEN, NULL, API_BODY_SMALL, handle_queue_pause},
	{"POST", "/v1/queue/resume", ADMIN, API_OPEN, NULL, 0, handle_queue_resume},
	{"POST", "/v1/queue/cancel-all", OPERATE, API_OPEN, NULL, 0, handle_cancel_all},
	{"GET",  "/v1/tasks", VIEW, API_OPEN, LIST_MEMBERS, 0, handle_tasks},
	{"POST", "/v1/tasks", OPERATE, API_OPEN, NULL, API_BODY_SMALL, handle_submit_task},
	{"GET",  "/v1/tasks/{id}", VIEW, API_OPEN, NULL, 0, handle_task},
	{"GET",  "/v1/tasks/{id}/why", VIEW, API_OWN_TASK, NULL, 0, handle_why},
	{"GET",  "/v1/tasks/{id}/log", VIEW, API_OWN_TASK, "attempt tail follow", 0, handle_log, true},
	{"GET",  "/v1/tasks/{id}/wait", VIEW, API_OPEN, NULL, 0, handle_wait, true},
	{"POST", "/v1/tasks/{id}/cancel", OPERATE, API_OWN_TASK, NULL, 0, handle_cancel},
	{"POST", "/v1/tasks/{id}/hold", OPERATE, API_OWN_TASK, NULL, 0, handle_hold},
	{"POST", "/v1/tasks/{id}/release", OPERATE, API_OWN_TASK, NULL, 0, handle_release},
	{"POST", "/v1/tasks/{id}/retry", OPERATE, API_OWN_TASK, NULL, 0, handle_retry},
	{"POST", "/v1/tasks/{id}/priority", OPERATE, API_OWN_TASK, NULL, API_BODY_SMALL, handle_priority},
	{"GET",  "/v1/batches", VIEW, API_OPEN, NULL, 0, handle_batches},
	{"POST", "/v1/batches", OPERATE, API_OPEN, NULL, API_BODY_MAX, handle_submit_batch},
	{"GET",  "/v1/batches/{id}", VIEW, API_OPEN, "limit state", 0, handle_batch},
	{"POST", "/v1/batches/{id}/cancel", OPERATE, API_OWN_BATCH, NULL, 0, handle_batch_cancel},
	{"POST", "/v1/batches/{id}/continue", OPERATE, API_OWN_BATCH, NULL, API_BODY_SMALL, handle_batch_continue},
	{"POST", "/v1/batches/{id}/hold", OPERATE, API_OWN_BATCH, NULL, 0, handle_batch_hold},
	{"POST", "/v1/batches/{id}/release", OPERATE, API_OWN_BATCH, NULL, 0, handle_batch_release},
	{"POST", "/v1/batches/{id}/retry", OPERATE, API_OWN_BATCH, NULL, 0, handle_batch_retry},
	{"POST", "/v1/batches/{id}/priority", OPERATE, API_OWN_BATCH, NULL, API_BODY_SMALL, handle_batch_priority},
	{"GET",  "/v1/services", ADMIN, API_OPEN, NULL, 0, handle_services},
	{"PUT",  "/v1/services/{name}", ADMIN, API_OPEN, NULL, API_BODY_SMALL, handle_services_put},
	{"DELETE", "/v1/services/{name}", ADMIN, API_OPEN, NULL, 0, handle_services_delete},
	{"GET",  "/v1/profiles", VIEW, API_OPEN, NULL, 0, handle_profiles},
	{"DELETE", "/v1/profiles", ADMIN, API_OPEN, NULL, 0, handle_profiles_forget},
	{"GET",  "/v1/profiles/{name}", VIEW, API_OPEN, NULL, 0, handle_profile},
	{"DELETE", "/v1/profiles/{name}", ADMIN, API_OPEN, NULL, 0, handle_profile_forget},
	{"GET",  "/v1/events", VIEW, API_OPEN, "batch", 0, handle_events, true},
	{"POST", "/v1/shutdown", ADMIN, API_OPEN, NULL, API_BODY_SMALL, handle_shutdown},
};
/* clang-format on */
const size_t N_ROUTES = ARRAY_LEN(ROUTES);
