/* The resource limits of this process, as getrlimit(2) tells them. */
#pragma once

#include "util/limits.h"

static inline struct limits own_limits(void)
{
	struct limits limits = {};

	for (int i = 0; i < LIMITS_MAX; i++) {
		struct rlimit limit;

		if (getrlimit((__rlimit_resource_t)i, &limit) < 0)
			continue;
		limits.set |= 1u << i;
		limits.of[i].soft =
		    limit.rlim_cur == RLIM_INFINITY ? LIMITS_NONE : (uint64_t)limit.rlim_cur;
		limits.of[i].hard =
		    limit.rlim_max == RLIM_INFINITY ? LIMITS_NONE : (uint64_t)limit.rlim_max;
	}
	return limits;
}
