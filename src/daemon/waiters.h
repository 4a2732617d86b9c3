/* Requests that are answered when something has happened: a task's end, the first GPU sample. */
#pragma once

#include "daemon/daemon.h"

struct waiters *waiters_create(struct daemon *daemon);
void waiters_destroy(struct waiters *waiters);

/* Answer `{"task": task}` once it has ended. */
void waiters_add(struct waiters *waiters, struct api_request *request, uint64_t task);
/* The task changed. */
void waiters_task(struct waiters *waiters, const struct sched_task *task);

/* Until the GPUs are known, or known not to be knowable, requests that need them wait here. */
struct parked *parked_create(struct daemon *daemon);
void parked_destroy(struct parked *parked);
/* True: `handle` will be called with the request later. False: the GPUs are known, go on. */
bool parked_add(struct parked *parked, struct api_request *request,
		void (*handle)(void *data, struct api_request *request));
void parked_release(struct parked *parked);
