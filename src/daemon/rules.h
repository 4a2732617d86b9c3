/*
 * What the people of the machine say: plimsoll.yaml (read at the start and at SIGHUP), GPUs taken
 * out of service by hand (`gpus drain`), the pause of the whole queue. All of it is handed to
 * sched as rules of GPUs, limits of users and a pause; hours are looked at as they come and go.
 *
 * Drains and the pause outlive the daemon: the tick stores them with what else happened in the
 * turn, and they are taken back when that fails. Said twice, the first time and reason stay.
 *
 * What holds while GPUs come and go:
 * - Until there is a first list of GPUs nothing starts on any, and who wants to drain one waits for
 *   the list. The pause needs none.
 * - A drain is of the UUID: it holds while the GPU is gone, and when it is back under another
 *   index. Of one that is gone, `resume` takes the whole UUID. One without a UUID is refused.
 * - Entries of plimsoll.yaml are about whichever GPU they name now: an index is of the order NVML
 *   counts in today, a UUID is for good. They are looked at again with every other list.
 * - Hours close a GPU for what starts, and never open one that is off or drained.
 * - Users are looked up when the configuration is read: one who is not known then has the limits of
 *   `default` until the next SIGHUP.
 */
#pragma once

#include "config/config.h"
#include "daemon/daemon.h"

struct rules;

/* Reads the configuration: an error of it is the daemon's. Drains and pause come from the store. */
int rules_create(struct daemon *daemon, struct rules **ret_rules, struct error *err) MUST_CHECK;
void rules_destroy(struct rules *rules);

const struct config *rules_config(const struct rules *rules);

/* There is a new list of GPUs. */
void rules_gpus(struct rules *rules, const struct gpu_list *list);

/* For the tick: is there something to store; store it (in its unit); how that went. */
bool rules_are_new(const struct rules *rules);
int rules_put(struct rules *rules, struct error *err) MUST_CHECK;
void rules_stored(struct rules *rules);
void rules_take_back(struct rules *rules);

/* {"paused": {"since", "reason"} or null, "drained": [{"uuid", "index", "since", "reason"}]} */
json_t *rules_to_json(const struct rules *rules);

/* "closed" of GPUs in the object of GET /v1/gpus: why nothing new starts there; null = it may. */
void rules_mark_gpus(const struct rules *rules, json_t *gpus);

void handle_queue_pause(void *data, struct api_request *request);
void handle_queue_resume(void *data, struct api_request *request);
void handle_gpu_drain(void *data, struct api_request *request);
void handle_gpu_resume(void *data, struct api_request *request);
