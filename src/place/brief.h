/* Tasks under `auto` that are over sooner than a plan for them pays: see brief.c. */
#pragma once

#include "place/fit.h"

/* Is every waiting task that `auto` looks at of a kind known to end within BRIEF_SECONDS? False
 * when there is none. */
bool brief_is_all(const struct place_view *view);

/* The next start among them: the first in the queue's order that fits, where it ends soonest. */
bool brief_choose(const struct place_view *view, const struct fit_counts *counts,
		  struct place_decision *ret_decision);
