/* What the configuration says about one GPU of a list, as a rule of the ledger. Pure. */
#pragma once

#include "config/config.h"
#include "gpu/gpu.h"
#include "place/ledger.h"

/* Is this entry about GPU `i` of the list? */
bool config_gpu_is_about(const struct config_gpu *entry, const struct gpu_list *list, size_t i);

/* The minute of the week (hours.h) at that time, by the clock on the wall. */
unsigned config_week_minute(int64_t now_ms);

/* All entries about GPU `i` together: of each key what the last of them says that names it.
 * `minute` of the week, for its hours. */
void config_rule(const struct config *config, const struct gpu_list *list, size_t i,
		 unsigned minute, struct ledger_rule *ret_rule);
