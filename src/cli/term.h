/* The terminal: is there one, how wide, may it be coloured; JSON and tables for people. */
#pragma once

#include "util/jsonx.h"
#include "util/text.h"

#include <stdbool.h>
#include <stdio.h>

enum term_style { TERM_PLAIN, TERM_BOLD, TERM_DIM, TERM_RED, TERM_YELLOW, TERM_GREEN };

/* Columns of the terminal behind `file`: $COLUMNS when it is set to a number, else asked of the
 * terminal, else 80. */
unsigned term_columns(FILE *file);
bool term_is_terminal(FILE *file);

/* How wide tables may be: the terminal's columns; in a pipe nothing is cut. */
unsigned term_table_width(FILE *file);

/* The sequence that begins a style, and the one that ends it; "" when `file` is no terminal,
 * NO_COLOR is set or TERM is dumb. */
const char *term_style(FILE *file, enum term_style style);
const char *term_style_end(FILE *file);

/* A line of prose, cleaned as term_add_clean() does, broken at spaces where it is wider than
 * `width`, but not between a number and its unit; what follows the first break is indented by
 * `hang` columns. Ends with a newline. Appended to `text`. */
void term_add_wrapped(struct text *text, const char *line, size_t hang, unsigned width);

/* Print as JSON: indented on a terminal, one line in a pipe. */
void term_print_json(FILE *file, const json_t *json);

/* `s` without what would write over the screen (control characters, escape sequences), at most
 * `columns` wide, cut with "…". Appended to `text`. */
void term_add_clean(struct text *text, const char *s, size_t columns);

/* "#####-----" of `width` columns for parts of a whole: `share` 0 to 1, a mark at `mark` (negative
 * = none). */
void term_add_bar(struct text *text, double share, double mark, unsigned width);
