/* Handlers of what is submitted. Each is answered after the commit. */
#pragma once

#include "api/server.h"

void handle_submit_task(void *data, struct api_request *request);
void handle_submit_batch(void *data, struct api_request *request);
