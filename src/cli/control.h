/* Taking GPUs and the whole queue out of service and back: `gpus drain`, `queue pause`. */
#pragma once

#include "api/client.h"
#include "cli/options.h"

/* The operands of `gpus` (ACTION GPU...) and of `queue` (ACTION); what they take as ACTION. An exit
 * code. */
#define CONTROL_GPUS_USAGE  "drain GPU... [--reason TEXT] | resume GPU..."
#define CONTROL_QUEUE_USAGE "pause [--reason TEXT] | resume | users"
int control_gpus(const struct options *options);
int control_queue(const struct options *options);

/* A line on standard error when the queue is paused. An exit code. */
int control_tell_pause(struct api_client *client);
