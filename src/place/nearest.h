/*
 * The GPUs a task gets, of those that fit it now. Whoever chose the task, and whichever policy it
 * goes by, the same two things refine where it starts: what it prefers and avoids, and, on several
 * GPUs, how near they are to each other (who shares a link talks over it).
 */
#pragma once

#include "place/ledger.h"

/* Choose `want` of `ranked` (GPUs that fit, the policy's best first): those liked best; of these
 * the ones nearest to each other; of these the policy's. `ret_gpus` has room for want. n_ranked >=
 * want
 * >= 1. */
void nearest_choose(const struct ledger *ledger, const struct place_request *request,
		    const size_t *ranked, size_t n_ranked, size_t want, size_t *ret_gpus);

/* The farthest link among them; GPU_LINK_UNKNOWN when one is not known or it is one GPU. */
enum gpu_link nearest_farthest(const struct ledger *ledger, const size_t *gpus, size_t n);
