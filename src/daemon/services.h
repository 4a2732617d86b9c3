/*
 * Names of the services whose containers hold VRAM. The container engine is asked on a thread of
 * libuv's pool with a deadline, and only when a container is met whose name is not known: the loop
 * never waits for it. One request may wait for the answer, as long as the deadline at most.
 */
#pragma once

#include "daemon/daemon.h"

struct services *services_create(struct daemon *daemon);
void services_destroy(struct services *services);

/* True: names are being asked for, `handle` will be called with the request later. False: what can
 * be known of the GPUs' containers is known, go on. */
bool services_park(struct services *services, struct api_request *request,
		   void (*handle)(void *data, struct api_request *request));

/* For who needs the names with each sample: asked now and then, and when one is unknown. */
void services_look(struct services *services);

/* "PROJECT/SERVICE" or the container's name; NULL: not known. */
const char *services_name(const struct services *services, const char *container);
