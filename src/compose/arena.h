/*
 * Memory that lives as long as a project and is given back at once. Trees share parts after
 * merging, so no node has an owner of its own.
 */
#pragma once

#include "util/cleanup.h"

struct arena_block;

struct arena {
	struct arena_block *blocks;
	size_t used; /* bytes handed out so far */
};

void *arena_alloc(struct arena *arena, size_t size)
    __attribute__((malloc, returns_nonnull)); /* zeroed */
char *arena_strdup(struct arena *arena, const char *s) __attribute__((returns_nonnull));
char *arena_strndup(struct arena *arena, const char *s, size_t len)
    __attribute__((returns_nonnull));
char *arena_printf(struct arena *arena, const char *fmt, ...) PRINTF(2, 3)
    __attribute__((returns_nonnull));
void arena_finish(struct arena *arena);
#define auto_arena CLEANUP(arena_finish)
