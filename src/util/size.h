/*
 * Sizes of memory. Stored as bytes; written `6G`, `6GB`, `6GiB`, `1536M`, `2.5g`: K, M, G and T are
 * all binary (as in docker and nvidia-smi). A number without a unit is refused.
 */
#pragma once

#include "util/error.h"

#include <stdint.h>

#define KIB           ((uint64_t)1 << 10)
#define MIB           ((uint64_t)1 << 20)
#define GIB           ((uint64_t)1 << 30)
#define GIB_OF(bytes) ((double)(bytes) / (double)GIB)

#define SIZE_TEXT_MAX 32

/* Parse all of `text`. -EINVAL: not a size, no unit, negative, or above 2^63 - 1 bytes. */
int size_parse(const char *text, uint64_t *ret_bytes, struct error *err) MUST_CHECK;

/* "23.7 GiB", "512 MiB", "0 MiB": GiB with at most two decimals from 1 GiB on, else whole MiB (KiB
 * and B below 1 MiB). Returns `buf`. */
const char *size_format(char buf[SIZE_TEXT_MAX], uint64_t bytes);

/* size_format() into a buffer that lives until the end of the enclosing expression's block. */
#define SIZE_TEXT(bytes) size_format((char[SIZE_TEXT_MAX]){0}, (bytes))
