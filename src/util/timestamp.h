/*
 * Points in time: milliseconds since 1970 (UTC) for records and people, milliseconds of the
 * monotonic clock for deadlines. Never call these from src/place or src/sched: time is an argument
 * there.
 */
#pragma once

#include "util/error.h"

#include <stdint.h>

#define TIMESTAMP_TEXT_MAX 40

int64_t timestamp_now_ms(void); /* CLOCK_REALTIME */
int64_t monotonic_now_ms(void); /* CLOCK_MONOTONIC */
/* Both, read at the same moment, to within 10 ms where the machine lets us. */
void timestamp_now_both_ms(int64_t *ret_realtime_ms, int64_t *ret_monotonic_ms);

/* RFC 3339 with milliseconds, UTC: "2026-11-21T10:00:00.000Z". Returns `buf`. */
const char *timestamp_format(char buf[TIMESTAMP_TEXT_MAX], int64_t ms);

/* Parse what timestamp_format() writes (any number of decimals, Z or an offset). */
int timestamp_parse(const char *text, int64_t *ret_ms, struct error *err) MUST_CHECK;

#define TIMESTAMP_TEXT(ms) timestamp_format((char[TIMESTAMP_TEXT_MAX]){0}, (ms))
