/*
 * Services that were placed (`plimsoll apply`, PUT /v1/services/NAME): each keeps the VRAM it
 * declared on its GPUs also while it uses less, or nothing yet. Kept in the store; a project is
 * dropped when it is told to be, or when no container of it is left.
 */
#pragma once

#include "container/names.h"
#include "daemon/daemon.h"

#define PLACED_PROJECTS_MAX 64
#define PLACED_SERVICES_MAX 256 /* of one project */

struct placed;

int placed_create(struct daemon *daemon, struct placed **ret_placed, struct error *err) MUST_CHECK;
void placed_destroy(struct placed *placed);

/* As with rules.h: changes are put into the unit of the turn that answers. */
bool placed_is_new(const struct placed *placed);
int placed_put(struct placed *placed, struct error *err) MUST_CHECK;
void placed_stored(struct placed *placed);
void placed_take_back(struct placed *placed);

/* Tell sched what is held, with what of it is used in this sample. */
void placed_sample(struct placed *placed, const struct gpu_list *list);

/* All containers of the engines that answered: what has none any more is dropped. */
void placed_names(struct placed *placed, const struct container_names *names);

/* One for each service and GPU, "PROJECT/SERVICE"; of the last sample. */
struct placed_hold {
	char *name;
	struct ledger_hold hold;
};
const struct placed_hold *placed_holds(const struct placed *placed, size_t *ret_n);

json_t *placed_to_json(const struct placed *placed);
void handle_services(void *data, struct api_request *request);
void handle_services_put(void *data, struct api_request *request);
void handle_services_delete(void *data, struct api_request *request);
