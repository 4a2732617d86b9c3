/*
 * Keeps the store in bounds (`keep` of plimsoll.yaml): what ended long ago is archived, what was
 * archived long ago is forgotten, logs of the daemon's own choosing and environments go with their
 * tasks, the file gives back what is free. In steps of milliseconds, when there is something to do.
 */
#pragma once

#include "daemon/daemon.h"

#define KEEPER_ENDED    100000 /* tasks, when the configuration says nothing */
#define KEEPER_ARCHIVED 1000000

struct keeper *keeper_create(struct daemon *daemon);
void keeper_destroy(struct keeper *keeper);

/* Tasks changed: look in a while. */
void keeper_poke(struct keeper *keeper);

/* So many ended tasks are kept whole. */
uint64_t keeper_ended(const struct daemon *daemon);
