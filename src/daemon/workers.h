/* `workers_per_gpu` of a batch: so many copies of its one task on each GPU it may have, each pinned
 * to its own and with its share of what can be given there now, unless it says its VRAM itself. */
#pragma once

#include "daemon/submit_parse.h"
#include "place/ledger.h"

/* Nothing where `submit->workers_per_gpu` is 0. What is pinned to is borrowed from `ledger` (NULL:
 * no GPU is known). -EINVAL, -ENODEV: no GPU takes it now. */
int workers_expand(struct submit *submit, const struct ledger *ledger,
		   struct error *err) MUST_CHECK;
