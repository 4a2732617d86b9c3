/*
 * The simple policies: each is a score, the lowest wins, ties go to the lower index. And the words
 * for reasons.
 */
#pragma once

#include "place/fit.h"

/* A text that fills up and stops: what does not fit is left out whole. */
struct reason {
	char *text;
	size_t room, len;
};
void reason_add(struct reason *reason, const char *fmt, ...) PRINTF(2, 3);

/* What the request's wishes and its need for several GPUs had to do with the GPUs it gets. */
void reason_add_wishes(struct reason *reason, const struct ledger *ledger,
		       const struct place_request *request, const size_t *gpus, size_t n);

/* Choose GPUs for a task that policy-wise may start now. False when too few fit. `policy` is not
 * PLACE_AUTO. */
bool policy_choose(const struct place_view *view, const struct fit_counts *counts, size_t waiting,
		   enum place_policy policy, struct place_decision *ret_decision);
