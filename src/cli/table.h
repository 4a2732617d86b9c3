/* Columns for people: as wide as their widest cell, one of them (or more) giving way when the line
 * would not fit. No header is printed for a table without rows. */
#pragma once

#include "util/text.h"

struct table_column {
	const char *title;
	bool right;     /* numbers */
	bool shrinks;   /* is cut ("...") when the line is too long; at least 6 columns stay */
	bool wide_only; /* left out when the line is too long even so; the last such column goes
			   first */
};

struct table;

struct table *table_create(const struct table_column *columns, size_t n_columns);
void table_destroy(struct table *table);
static inline void table_cleanup(struct table **table)
{
	table_destroy(*table);
}
#define auto_table CLEANUP(table_cleanup)

/* The next cell of the row (left to right, row by row). */
void table_add(struct table *table, const char *fmt, ...) PRINTF(2, 3);

/* Append the lines to `text`, at most `width` columns wide where that can be done. */
void table_render(const struct table *table, unsigned width, struct text *text);
