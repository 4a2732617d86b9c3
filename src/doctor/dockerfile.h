/*
 * The base images of a Dockerfile: its FROM lines, with the ARGs before the first one filled in.
 * Continued lines, comments, `# escape=` and heredocs are read as BuildKit does; what is in a stage
 * is not looked at.
 */
#pragma once

#include "util/error.h"
#include "util/text.h"

#define DOCKERFILE_MAX      ((size_t)1 << 20) /* bytes */
#define DOCKERFILE_FROM_MAX 256
#define DOCKERFILE_ARG_MAX  256
#define DOCKERFILE_REF_MAX  1024 /* bytes of an image's name, variables filled in */

struct dockerfile_from {
	char *image;    /* "nvidia/cuda:12.4.1-base-ubuntu22.04"; "" when a variable has no value */
	char *written;  /* as it stands there */
	char *platform; /* "linux/arm64"; NULL: not said */
	unsigned line;  /* from 1 */
};

struct dockerfile {
	struct dockerfile_from *items; /* images alone: not scratch, not an earlier stage */
	size_t n, room;
};

/* `args`: "NAME=value" that the build gives, over the defaults; NULL-terminated, or NULL. -EBADMSG:
 * NAME:LINE and why; -E2BIG. */
int dockerfile_parse(const char *text, size_t len, const char *name, char *const *args,
		     struct dockerfile *ret_file, struct error *err) MUST_CHECK;
void dockerfile_finish(struct dockerfile *file);
#define auto_dockerfile CLEANUP(dockerfile_finish)
