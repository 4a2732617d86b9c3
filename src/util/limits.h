/*
 * Resource limits (getrlimit(2)) as data: one table of names, which are those of limits.conf(5) in
 * lower case ("nofile", "nproc", "core"...).
 *
 * As JSON: {"nofile": [1024, 4096], "core": [0, null]}, soft then hard, null = no limit.
 */
#pragma once

#include "util/error.h"
#include "util/jsonx.h"

#include <stdint.h>
#include <sys/resource.h>

#define LIMITS_MAX  16 /* RLIMIT_NLIMITS of Linux */
#define LIMITS_NONE UINT64_MAX

struct limits {
	unsigned set; /* bit RLIMIT_x: of[RLIMIT_x] is valid */
	struct {
		uint64_t soft, hard; /* in the unit of setrlimit(2); LIMITS_NONE: none */
	} of[LIMITS_MAX];
};

/* The name of RLIMIT_x; NULL: there is no such limit. */
const char *limits_name(int resource);

/* -EINVAL with a text: an unknown name (a limit left out is a limit not kept), or no pair of
 * numbers. */
int limits_decode(json_t *json, struct limits *ret_limits, struct error *err) MUST_CHECK;
json_t *limits_encode(const struct limits *limits);

/* Set those of this process. A hard limit is never raised above the one it has, a soft one is cut
 * to its hard one. Negative errno, and the RLIMIT_x it failed at. Safe between fork and exec. */
int limits_apply(const struct limits *limits, int *ret_resource) MUST_CHECK;
