/* See arena.h. Blocks of 64 KiB, larger ones for what does not fit. */
#include "compose/arena.h"

#include "util/text.h"

#include <stdalign.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#define BLOCK_SIZE ((size_t)64 << 10)

struct arena_block {
	struct arena_block *next;
	size_t used, room;
	alignas(max_align_t) char data[];
};

void *arena_alloc(struct arena *arena, size_t size)
{
	size_t need = (size + alignof(max_align_t) - 1) & ~(alignof(max_align_t) - 1);
	struct arena_block *block = arena->blocks;

	if (!block || block->room - block->used < need) {
		size_t room = MAX_OF(need, BLOCK_SIZE);

		block = mem_calloc(1, sizeof *block + room);
		block->room = room;
		block->next = arena->blocks;
		arena->blocks = block;
	}
	block->used += need;
	arena->used += need;
	return block->data + block->used - need;
}

char *arena_strndup(struct arena *arena, const char *s, size_t len)
{
	char *copy = arena_alloc(arena, len + 1);

	memcpy(copy, s, len);
	return copy;
}

char *arena_strdup(struct arena *arena, const char *s)
{
	return arena_strndup(arena, s, strlen(s));
}

char *arena_printf(struct arena *arena, const char *fmt, ...)
{
	auto_free char *text = NULL;
	va_list args;
	int len;

	va_start(args, fmt);
	len = vasprintf(&text, fmt, args);
	va_end(args);
	return len < 0 ? arena_strdup(arena, "") : arena_strndup(arena, text, (size_t)len);
}

void arena_finish(struct arena *arena)
{
	for (struct arena_block *block = arena->blocks, *next; block; block = next) {
		next = block->next;
		free(block);
	}
	*arena = (struct arena){};
}
