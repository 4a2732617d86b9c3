/* Reading: tasks and batches as JSON, from memory where they are, else from the store. */
#pragma once

#include "daemon/daemon.h"

/* NULL when there is no such thing. */
json_t *query_task(struct daemon *daemon, uint64_t id);
json_t *query_batch(struct daemon *daemon, uint64_t id);

/* What the store keeps of an ended batch: {"counts", "summary"}. */
json_t *batch_remember(struct daemon *daemon, const struct sched_batch *batch);

/* Handlers. */
void handle_status(void *data, struct api_request *request);
void handle_tasks(void *data, struct api_request *request);
void handle_task(void *data, struct api_request *request);
void handle_why(void *data, struct api_request *request); /* why.c */
void handle_batches(void *data, struct api_request *request);
void handle_batch(void *data, struct api_request *request);
