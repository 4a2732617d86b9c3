/*
 * Hours of the week in which something is open: "22:00-08:00", "mon-fri 19:00-07:00", "sat,sun",
 * or several of these. A span that ends before it begins goes on into the next day. Pure: which
 * minute of the week it is, is the caller's business.
 */
#pragma once

#include "util/error.h"

#include <stdbool.h>
#include <stdint.h>

#define HOURS_WEEK (7 * 24 * 60) /* minutes; minute 0 is Monday 00:00 */

struct hours {
	uint64_t open[(HOURS_WEEK + 63) / 64]; /* a bit for each minute */
};

/* Add what `text` says. -EINVAL: what it should look like. `hours` is unchanged then. */
int hours_add(struct hours *hours, const char *text, struct error *err) MUST_CHECK;

bool hours_is_open(const struct hours *hours, unsigned minute);

/* Minutes from `minute` until it opens or closes; 0 = it never does. */
unsigned hours_until_change(const struct hours *hours, unsigned minute);
