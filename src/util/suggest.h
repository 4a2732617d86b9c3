/* "Did you mean": the nearest of a list of names. */
#pragma once

#include <stddef.h>

/* The name that takes fewest changes (insert, delete, replace, swap neighbours) from `wrong`, or
 * NULL when none is near enough to be meant. `name_at(data, i)` gives the i-th of `n` names.
 * Borrowed. */
const char *suggest_nearest(const char *wrong, size_t n,
			    const char *(*name_at)(const void *data, size_t i), const void *data);

/* How many changes (insert, delete, replace, swap neighbours) make `b` of `a`; SIZE_MAX for names
 * longer than 64 bytes. */
size_t suggest_distance(const char *a, const char *b);
