/*
 * A copy of a shared library that lacks some of its functions: drivers of different ages export
 * different names, and a client must be shown really missing symbols, not functions that fail.
 */
#pragma once

#include "util/error.h"

/* Copy `from` to `to` with the exported symbols that match one of `n` fnmatch patterns made
 * undefined: dlsym() no longer finds them. 64-bit ELF. -ENOENT: a pattern matched nothing. */
int libhide_copy(const char *from, const char *to, const char (*patterns)[64], unsigned n,
		 struct error *err) MUST_CHECK;
