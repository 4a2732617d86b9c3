/* Sums of sizes that stop at the ends instead of wrapping. */
#pragma once

#include <stdint.h>

static inline uint64_t saturate_sub(uint64_t a, uint64_t b)
{
	return a > b ? a - b : 0;
}

static inline uint64_t saturate_add(uint64_t a, uint64_t b)
{
	uint64_t sum;

	return __builtin_add_overflow(a, b, &sum) ? UINT64_MAX : sum;
}

static inline uint64_t saturate_add_percent(uint64_t a, unsigned percent)
{
	return saturate_add(a, a / 100 * percent);
}
