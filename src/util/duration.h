/*
 * Spans of time: `300ms`, `5s`, `1.5m`, `2h`, `5.5h`, `1d`; sums as `1h30m`. Stored as
 * milliseconds. A number without a unit is refused, except by duration_parse_seconds().
 */
#pragma once

#include "util/error.h"

#include <stdint.h>

#define DURATION_TEXT_MAX 32

/* Parse all of `text`. -EINVAL: not a duration, no unit, negative, or above 100 years. */
int duration_parse(const char *text, int64_t *ret_ms, struct error *err) MUST_CHECK;

/* The same, but a bare number alone means seconds (for options named `--seconds` and the like). */
int duration_parse_seconds(const char *text, int64_t *ret_ms, struct error *err) MUST_CHECK;

/* "850 ms", "12.3 s", "4 min 05 s", "2 h 07 min", "3 d 04 h". Returns `buf`. */
const char *duration_format(char buf[DURATION_TEXT_MAX], int64_t ms);

#define DURATION_TEXT(ms) duration_format((char[DURATION_TEXT_MAX]){0}, (ms))
