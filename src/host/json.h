/* The host as a JSON object (DESIGN §7): of `gpus --json` and GET /v1/gpus. */
#pragma once

#include "host/host.h"
#include "util/jsonx.h"

/* {"ram_total_bytes", "ram_available_bytes", "cpus"}: what tasks can count on, cgroup limits taken
 * in; null for what is not known. A new reference. */
json_t *host_info_to_json(const struct host_info *info);
