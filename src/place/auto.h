/* The policy `auto`: see auto.c. */
#pragma once

#include "place/fit.h"

/* The next start among the waiting tasks whose policy is auto. False: none can, or none should. */
bool auto_choose(const struct place_view *view, const struct fit_counts *counts,
		 struct place_decision *ret_decision);

/* Why `auto` leaves a task waiting although it would fit: false when it would start it. */
bool auto_explain(const struct place_view *view, const struct fit_counts *counts, size_t waiting,
		  char reason[PLACE_REASON_MAX]);
