/*
 * What users had of the machine lately, kept in the store: fair share must not start anew with
 * every daemon. Stored with a turn of the tick, at most once a minute: a kill -9 loses at most that
 * minute of it.
 */
#pragma once

#include "daemon/daemon.h"

struct fairshare;

/* Restores what was kept. */
int fairshare_create(struct daemon *daemon, struct fairshare **ret_fairshare,
		     struct error *err) MUST_CHECK;
void fairshare_destroy(struct fairshare *fairshare);

/* For the tick, as in rules.h. */
bool fairshare_is_due(const struct fairshare *fairshare);
int fairshare_put(struct fairshare *fairshare, struct error *err) MUST_CHECK;

/* [{"uid", "user", "running", "queued", "usage_gpu_seconds", "usage_share_percent"}] */
json_t *fairshare_to_json(struct fairshare *fairshare);
