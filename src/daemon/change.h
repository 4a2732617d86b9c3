/* Handlers of what is asked of tasks and batches that are there: hold, release, retry, priority,
 * cancel, go on after a failure. Each is answered after the commit. */
#pragma once

#include "api/server.h"

void handle_hold(void *data, struct api_request *request);
void handle_release(void *data, struct api_request *request);
void handle_retry(void *data, struct api_request *request);
void handle_priority(void *data, struct api_request *request);
void handle_batch_hold(void *data, struct api_request *request);
void handle_batch_release(void *data, struct api_request *request);
void handle_batch_retry(void *data, struct api_request *request);
void handle_batch_priority(void *data, struct api_request *request);
void handle_cancel(void *data, struct api_request *request);
void handle_cancel_all(void *data, struct api_request *request);
void handle_batch_cancel(void *data, struct api_request *request);
void handle_batch_continue(void *data, struct api_request *request);
