/* GET /v1/tasks/ID/log: what the attempts wrote, followed while they run. */
#pragma once

#include "daemon/daemon.h"

struct logs *logs_create(struct daemon *daemon);
void logs_destroy(struct logs *logs);

void handle_log(void *data, struct api_request *request);
