/* Names of simulated GPUs for requests, which borrow theirs. */
#pragma once

#include <stdio.h>

static inline const char *gpu_name(unsigned i)
{
	static char names[64][16];

	(void)snprintf(names[i % 64], sizeof names[0], "GPU-%u", i);
	return names[i % 64];
}
