/* Strings that many tasks share (kind, folder, a GPU's UUID), kept once and counted. */
#pragma once

#include <stddef.h>

struct string_pool {
	struct string_entry **buckets;
	size_t n_buckets, n;
};

/* The pool's copy of `s` ("" for NULL), one reference more. Same text, same pointer. */
const char *string_pool_get(struct string_pool *pool, const char *s);
/* One reference less. NULL is a no-op. */
void string_pool_put(struct string_pool *pool, const char *s);
void string_pool_finish(struct string_pool *pool);
