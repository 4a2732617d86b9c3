/* Contents that many tasks share (kind, folder, a GPU's UUID, wishes), kept once and counted. */
#pragma once

#include <stddef.h>

struct string_pool {
	struct string_entry **buckets;
	size_t n_buckets, n;
};

/* The pool's copy of `s` ("" for NULL), one reference more. Same text, same pointer. */
const char *string_pool_get(struct string_pool *pool, const char *s);
/* The same of any bytes, all of which count (padding too: clear it). Aligned for any type. */
const void *string_pool_get_bytes(struct string_pool *pool, const void *bytes, size_t size);
/* One reference more of what the pool gave. */
const void *string_pool_get_again(struct string_pool *pool, const void *bytes);
/* One reference less of what the pool gave. NULL is a no-op. */
void string_pool_put(struct string_pool *pool, const void *bytes);
void string_pool_finish(struct string_pool *pool);
