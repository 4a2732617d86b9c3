/*
 * Cleanup attributes for locals: a variable declared `auto_free char *p` is freed when it goes out
 * of scope, on every path. TAKE(p) hands the value out and leaves NULL (or -1) behind.
 */
#pragma once

#include <stdio.h>
#include <stdlib.h>

#define CLEANUP(f)   __attribute__((cleanup(f)))
#define UNUSED       __attribute__((unused))
#define MUST_CHECK   __attribute__((warn_unused_result))
#define PRINTF(f, a) __attribute__((format(printf, f, a)))
#define FALLTHROUGH  __attribute__((fallthrough))

#define auto_free  CLEANUP(cleanup_free)
#define auto_close CLEANUP(cleanup_close)
#define auto_file  CLEANUP(cleanup_file)

#define TAKE(p)                              \
	({                                   \
		typeof(p) take_value_ = (p); \
		(p) = NULL;                  \
		take_value_;                 \
	})
#define TAKE_FD(fd)                  \
	({                           \
		int take_fd_ = (fd); \
		(fd) = -1;           \
		take_fd_;            \
	})

#define ARRAY_LEN(a) (sizeof(a) / sizeof((a)[0]))
#define MIN_OF(a, b) ((a) < (b) ? (a) : (b))
#define MAX_OF(a, b) ((a) > (b) ? (a) : (b))

/* Close `fd` unless it is negative. Keeps errno. Returns -1, for `fd = fd_close(fd)`. */
int fd_close(int fd);

/* Memory that cannot be had ends the process with a message: there is no useful way on (it is the
 * one exception to "only the top layer exits"). Sizes that come from a user are bounded before. */
void *mem_alloc(size_t size) __attribute__((malloc, returns_nonnull));
void *mem_calloc(size_t count, size_t size) __attribute__((malloc, returns_nonnull));
void *mem_realloc(void *p, size_t count, size_t size) __attribute__((returns_nonnull));
/* What was freed goes back to the system. After work that took many MiB for a moment: malloc keeps
 * what lies between pieces still in use. Takes a while where there is much, so not for each
 * request. */
void mem_give_back(void);
char *mem_strdup(const char *s) __attribute__((malloc, returns_nonnull, nonnull));
char *mem_strndup(const char *s, size_t len) __attribute__((malloc, returns_nonnull, nonnull));
char *mem_printf(const char *fmt, ...) PRINTF(1, 2) __attribute__((malloc, returns_nonnull));

/* Make room for one more element in a growing array: `ARRAY_GROW(a->items, a->n, a->room)`. */
#define ARRAY_GROW(items, n, room)                                               \
	do {                                                                     \
		if ((n) == (room)) {                                             \
			(room) = (room) ? (room)*2 : 8;                          \
			(items) = mem_realloc((items), (room), sizeof *(items)); \
		}                                                                \
	} while (0)

static inline void cleanup_free(void *p)
{
	free(*(void **)p);
}
void cleanup_close(int *fd);
void cleanup_file(FILE **file);
