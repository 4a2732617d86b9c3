/*
 * One error: a negative errno for the program, a text for the person. It lives on the caller's
 *stack; every fallible function takes it last and accepts NULL. A failure is one line:
 *
 *	return error_set(err, -E2BIG, "asks %s, the largest load line is %s", asked, line);
 */
#pragma once

#include "util/cleanup.h"

#include <stdarg.h>

#define ERROR_TEXT_MAX 1024

struct error {
	int code;                  /* negative errno, 0 = none */
	char text[ERROR_TEXT_MAX]; /* what, where, what to do; no final newline; may be cut */
};

/* Set the text and return `code` (must be negative). `err` may be NULL. */
int error_set(struct error *err, int code, const char *fmt, ...) PRINTF(3, 4);

/* The same with ": <strerror(-code)>" appended. */
int error_sys(struct error *err, int code, const char *fmt, ...) PRINTF(3, 4);

/* Put "<prefix>: " before the text already there; returns err's code (or `code` when err is NULL).
 */
int error_prefix(struct error *err, int code, const char *fmt, ...) PRINTF(3, 4);

/* The text, never NULL; strerror of the code when no text was set. */
const char *error_text(const struct error *err);
