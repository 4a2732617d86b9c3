/* Handlers of what changes the queue. Each is answered after the commit. */
#pragma once

#include "api/server.h"

void handle_submit_task(void *data, struct api_request *request);
void handle_submit_batch(void *data, struct api_request *request);
void handle_cancel(void *data, struct api_request *request);
void handle_batch_cancel(void *data, struct api_request *request);
void handle_cancel_all(void *data, struct api_request *request);
void handle_batch_continue(void *data, struct api_request *request);
