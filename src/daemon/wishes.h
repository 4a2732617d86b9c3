/* Wishes as JSON, and lists of different ones: many tasks share one (place/request.h). */
#pragma once

#include "place/request.h"
#include "util/jsonx.h"

struct wishes_list {
	struct place_wishes **items;
	size_t n, room;
};

/* One of the list that is equal to `wishes` (whose unused room is zero), added when there is none
 * among the newest; NULL for no wish at all. */
const struct place_wishes *wishes_list_keep(struct wishes_list *list,
					    const struct place_wishes *wishes);
void wishes_list_finish(struct wishes_list *list);

/* Put into a request: the lists, and the compute capabilities as "8.0". `all`: also what is not
 * wished, as [] and null. NULL = no wish. */
void wishes_to_json(const struct place_wishes *wishes, bool all, json_t *request);

/* Back, from what wishes_to_json() wrote; what does not fit is left out. False when there is no
 * wish in it. */
bool wishes_load(const json_t *request, struct place_wishes *ret_wishes);

/* "8.0" as 80; 0 when it is no compute capability. */
unsigned wishes_compute_parse(const char *text);
