/* The list of tasks as `plimsoll top` shows it: filtered, sorted. Without the terminal, for tests.
 */
#pragma once

#include "util/jsonx.h"

enum toptasks_sort {
	TOPTASKS_BY_STATE, /* running, starting, waiting, then what has ended, the last one first */
	TOPTASKS_BY_ID,
	TOPTASKS_BY_NAME,
	TOPTASKS_BY_VRAM, /* largest request first */
	TOPTASKS_BY_TIME, /* longest running first */
	TOPTASKS_SORT_COUNT,
};

const char *toptasks_sort_name(enum toptasks_sort sort);

/* Pointers into `tasks` (an array) whose name, state, kind, batch ("b3") or number holds `filter`
 * ("" = all), sorted. The caller frees the array. */
size_t toptasks_select(const json_t *tasks, const char *filter, enum toptasks_sort sort,
		       int64_t now_ms, const json_t ***ret_items);
