/* Growing text and lists of strings. */
#pragma once

#include "util/cleanup.h"

#include <stdbool.h>
#include <stddef.h>

/* A growing buffer, always ended by '\0' once something was added. `struct text t = {};` is empty.
 */
struct text {
	char *data; /* NULL while empty */
	size_t len;
	size_t room;
};

void text_add(struct text *t, const char *s);
void text_add_bytes(struct text *t, const char *s, size_t len);
/* The end, with room for `more` bytes and the NUL. Who writes there adds them to `len` himself. */
char *text_room(struct text *t, size_t more);
void text_printf(struct text *t, const char *fmt, ...) PRINTF(2, 3);
void text_clear(struct text *t);  /* empty, keeps its memory */
void text_finish(struct text *t); /* frees */
char *text_take(struct text *t);  /* the string (never NULL), the caller frees it; t is empty */
#define auto_text CLEANUP(text_finish)

/* A NULL-terminated list of strings it owns, as execve() wants it. `struct strings s = {};` is
 * empty. */
struct strings {
	char **items; /* NULL while empty */
	size_t n;
	size_t room;
};

void strings_add(struct strings *s, const char *item);
void strings_take(struct strings *s, char *item); /* takes ownership */
void strings_finish(struct strings *s);
#define auto_strings CLEANUP(strings_finish)

/* "%zu task%s", n, PLURAL(n). */
#define PLURAL(n) ((n) == 1 ? "" : "s")

bool text_starts_with(const char *s, const char *prefix);
bool text_ends_with(const char *s, const char *suffix);

/* Parse all of `s` as a decimal number in [min, max]; false otherwise. */
bool text_to_u64(const char *s, unsigned long long min, unsigned long long max,
		 unsigned long long *ret_value);

/* What stands before item `i` of `n` of a list in words, "0, 1 and 2": "", ", " or " and ". */
const char *text_and(size_t i, size_t n);

/* `s` percent-encoded for a URI: all but letters, digits, -._~ and what is in `keep`. */
void text_add_uri(struct text *t, const char *s, const char *keep);

/* Every control character but tabs and line ends becomes '?'. */
void text_hide_controls(char *s, size_t len);

/* Every byte that is no part of a letter in UTF-8 becomes '?'. */
void text_repair(char *s);

/* `s` in at most `size` - 1 bytes. Where it is longer its last `tail` bytes stay, and " [...] "
 * stands for what was left out before them; no letter is cut. */
void text_cut_middle(char *buf, size_t size, const char *s, size_t tail);

/* The number of terminal columns `s` takes (UTF-8; wcwidth). */
size_t text_columns(const char *s);
