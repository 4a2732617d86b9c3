/*
 * Who listens to GET /v1/events. A listener that is slow gets the newest state of each task, not
 * every state in between: what waits for it is a list of ids, the lines are written when it has
 * room for them.
 */
#pragma once

#include "daemon/daemon.h"

struct hub *hub_create(struct daemon *daemon);
void hub_destroy(struct hub *hub);

/* The request becomes a stream of events, of one batch (0 = all). */
void hub_listen(struct hub *hub, struct api_request *request, uint64_t batch);

void hub_task(struct hub *hub, const struct sched_task *task);
void hub_batch(struct hub *hub, const struct sched_batch *batch);
/* The starts among the actions, each with its line "GPU 0: 3/5 tasks, 45% util | ...". */
void hub_starts(struct hub *hub, const struct sched_action *actions, size_t n);
void hub_gpus(struct hub *hub, const struct gpu_list *list);
void hub_gpu_event(struct hub *hub, const struct gpu_event *event);

/* A process of a task that has ended still holds memory there. */
void hub_leftover(struct hub *hub, const struct gpu *gpu, const struct gpu_process *process,
		  uint64_t task, const char *text);

/* Write what waits. The tick does so at its end. */
void hub_flush(struct hub *hub);
