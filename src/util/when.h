/*
 * Points in time as people write them: a span before now (`2h`, `1d12h`), `now`, `today`,
 * `yesterday`, a clock time of today (`14:30`), a date (`2026-11-20`, `2026-11-20 14:30[:05]`), all
 * in local time, or RFC 3339 (`2026-11-20T14:30:00Z`).
 */
#pragma once

#include "util/error.h"

#include <stdint.h>

/* What a person reads beside a time: "Sun 2026-11-22 06:00:00", local. Returns `buf`. */
#define WHEN_TEXT_MAX 40
const char *when_format(char buf[WHEN_TEXT_MAX], int64_t ms);
#define WHEN_TEXT(ms) when_format((char[WHEN_TEXT_MAX]){0}, (ms))

/* A time to come: a span from now (`+2h`, `+1h30m`), a clock time of today (`17:30`, `today 17:30`)
 * or of tomorrow (`tomorrow 06:00`), a date with a clock time, or RFC 3339. -EINVAL: none of these;
 * it has passed, with what it was understood as; there is no such time on that day. */
int when_parse_future(const char *text, int64_t now_ms, int64_t *ret_ms,
		      struct error *err) MUST_CHECK;

/* -EINVAL: none of these, with what they are in the text. Realtime milliseconds. */
int when_parse_past(const char *text, int64_t now_ms, int64_t *ret_ms,
		    struct error *err) MUST_CHECK;
