/*
 * What was learned of kinds of tasks, for people: listed, shown, forgotten, and held against what
 * somebody asks for. What is forgotten leaves the store with the next turn of the tick, and if the
 * disk is full then, with the first that can be written.
 */
#pragma once

#include "api/server.h"
#include "daemon/daemon.h"

struct profiles;

struct profiles *profiles_create(struct daemon *daemon);
void profiles_destroy(struct profiles *profiles);

/* For the tick, as in rules.h; before what was learned is put. */
bool profiles_are_due(const struct profiles *profiles);
int profiles_put(struct profiles *profiles, struct error *err) MUST_CHECK;
void profiles_stored(struct profiles *profiles);

void handle_profiles(void *data, struct api_request *request);
void handle_profile(void *data, struct api_request *request);
void handle_profile_forget(void *data, struct api_request *request);
void handle_profiles_forget(void *data, struct api_request *request);

/* [{"kind", "tasks", "text"}]: of a task, or of the tasks of a batch that are in memory, one for
 * each kind, of which `tasks` say what is wrong. No batch, no task: []. */
#define PROFILES_WARNINGS_MAX 20
json_t *profiles_warn_task(struct daemon *daemon, const struct sched_task *task);
json_t *profiles_warn_batch(struct daemon *daemon, uint64_t batch);
