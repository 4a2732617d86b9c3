/* What the configuration says about one GPU of a list, as a rule of the ledger. Pure. */
#pragma once

#include "config/config.h"
#include "gpu/gpu.h"
#include "place/ledger.h"

#include <limits.h>

/* Is this entry about GPU `i` of the list? */
bool config_gpu_is_about(const struct config_gpu *entry, const struct gpu_list *list, size_t i);

/* The minute of the week (hours.h) at that time, by the clock on the wall. */
unsigned config_week_minute(int64_t now_ms);

/* All entries about GPU `i` together: of each key what the last of them says that names it.
 * `minute` of the week, for its hours; CONFIG_NO_HOURS: hours do not count, which are those of new
 * tasks and not of services. */
#define CONFIG_NO_HOURS UINT_MAX
void config_rule(const struct config *config, const struct gpu_list *list, size_t i,
		 unsigned minute, struct ledger_rule *ret_rule);
