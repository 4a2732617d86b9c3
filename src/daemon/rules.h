/*
 * What the people of the machine say: plimsoll.yaml (read at the start and at SIGHUP), GPUs taken
 * out of service by hand (`gpus drain`), the pause of the whole queue. All of it is handed to
 * sched as rules of GPUs, limits of users and a pause; hours are looked at as they come and go.
 *
 * Drains and the pause outlive the daemon: the tick stores them with what else happened in the
 * turn, and they are taken back when that fails.
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
