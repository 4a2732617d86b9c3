/*
 * Versions of drivers and of CUDA, compared component by component as numbers: 580.126.09 is after
 * 580.95.05, and 550.135 has two. And what goes with what (data/cuda.yaml: each fact with its
 * source and date).
 */
#pragma once

#include "util/error.h"
#include "util/text.h"

#include <stdint.h>

#define VERSION_PARTS 4
struct version {
	unsigned parts[VERSION_PARTS];
	unsigned char digits[VERSION_PARTS]; /* as each was written: the "06" of 450.36.06 */
	unsigned n;                          /* 0: unknown */
};

/* The version at the start of `text`: at least two components ("550.135", "12.6"); what follows it
 * is left. Unknown when there is none. */
struct version version_parse(const char *text);
/* The first token after "Module" of /proc/driver/nvidia/version that is one; `ret_open`: the open
 * kernel module. */
struct version version_of_module(const char *text, bool *ret_open);
/* < 0, 0, > 0; a missing component is 0. */
int version_compare(const struct version *a, const struct version *b);
/* Are they the same release: equal in all components that both have (NVML says 610.57 of
 * 610.57.04)? */
bool version_agrees(const struct version *a, const struct version *b);

#define VERSION_TEXT_MAX 48
/* As it was written; "unknown". Returns `buf`. */
const char *version_format(char buf[VERSION_TEXT_MAX], const struct version *version);
/* version_format() into a buffer that lives until the end of the enclosing expression's block. */
#define VERSION_TEXT(version) version_format((char[VERSION_TEXT_MAX]){0}, (version))
