/* Reading: tasks and batches as JSON, from memory where they are, else from the store. */
#pragma once

#include "daemon/daemon.h"
#include "daemon/record.h"

/* NULL when there is no such thing. */
json_t *query_task(struct daemon *daemon, uint64_t id);
json_t *query_batch(struct daemon *daemon, uint64_t id);

/* A task in memory. While *reasons_left is not 0, a waiting one's reason is worked out. */
json_t *query_live(struct daemon *daemon, uint64_t id, unsigned *reasons_left);
/* A task of the store, the archive's too. */
json_t *query_record(const struct records *records, size_t i);

/* What the store keeps of an ended batch: {"counts", "summary"}. */
json_t *batch_remember(struct daemon *daemon, const struct sched_batch *batch);

/* Handlers. */
void handle_status(void *data, struct api_request *request);
void handle_tasks(void *data, struct api_request *request);
void handle_task(void *data, struct api_request *request);
void handle_why(void *data, struct api_request *request); /* why.c */
void handle_batches(void *data, struct api_request *request);
void handle_batch(void *data, struct api_request *request);
