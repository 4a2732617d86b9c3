/*
 * Points in time as people write them: a span before now (`2h`, `1d12h`), `now`, `today`,
 * `yesterday`, a clock time of today (`14:30`), a date (`2026-11-20`, `2026-11-20 14:30[:05]`), all
 * in local time, or RFC 3339 (`2026-11-20T14:30:00Z`).
 */
#pragma once

#include "util/error.h"

#include <stdint.h>

/* -EINVAL: none of these, with what they are in the text. Realtime milliseconds. */
int when_parse_past(const char *text, int64_t now_ms, int64_t *ret_ms,
		    struct error *err) MUST_CHECK;
