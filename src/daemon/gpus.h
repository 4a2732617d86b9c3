/* GET /v1/gpus: what GPUs there are, what holds their VRAM, what may still be promised. */
#pragma once

#include "api/server.h"

void handle_gpus(void *data, struct api_request *request);
