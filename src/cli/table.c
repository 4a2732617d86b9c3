/* See table.h. */
#include "cli/table.h"

#include "cli/term.h"

#include <stdarg.h>

#define GAP        2
#define SHRUNK_MIN 6

struct table {
	const struct table_column *columns;
	size_t n_columns;
	struct strings cells;
};

struct table *table_create(const struct table_column *columns, size_t n_columns)
{
	struct table *table = mem_calloc(1, sizeof *table);

	table->columns = columns;
	table->n_columns = n_columns;
	return table;
}

void table_destroy(struct table *table)
{
	if (!table)
		return;
	strings_finish(&table->cells);
	free(table);
}

void table_add(struct table *table, const char *fmt, ...)
{
	auto_text struct text clean = {};
	char cell[1024];
	va_list ap;

	va_start(ap, fmt);
	(void)vsnprintf(cell, sizeof cell, fmt, ap);
	va_end(ap);
	term_add_clean(&clean, cell, sizeof cell);
	strings_take(&table->cells, text_take(&clean));
}

static size_t line_width(const struct table *table, const size_t *widths)
{
	size_t total = 0;

	for (size_t c = 0; c < table->n_columns; c++)
		total += widths[c] > 0 ? widths[c] + GAP : 0;
	return total > GAP ? total - GAP : 0;
}

/* Take columns away until the line fits or nothing can give way any more: first from the widest of
 * those that shrink, then whole columns from the right. */
static void fit(const struct table *table, size_t *widths, size_t limit)
{
	for (;;) {
		size_t total = line_width(table, widths), widest = table->n_columns;

		if (total <= limit)
			return;
		for (size_t c = 0; c < table->n_columns; c++)
			if (table->columns[c].shrinks && widths[c] > SHRUNK_MIN &&
			    (widest == table->n_columns || widths[c] > widths[widest]))
				widest = c;
		if (widest < table->n_columns) {
			widths[widest]--;
			continue;
		}
		for (size_t c = table->n_columns; c-- > 0;)
			if (table->columns[c].wide_only && widths[c] > 0) {
				widest = c;
				break;
			}
		if (widest == table->n_columns)
			return;
		widths[widest] = 0;
	}
}

static void render_row(const struct table *table, const size_t *widths, char *const *cells,
		       struct text *text)
{
	size_t owed = 0; /* spaces that are only written before something */

	for (size_t c = 0; c < table->n_columns; c++) {
		const char *cell = cells ? cells[c] : table->columns[c].title;
		size_t used = MIN_OF(text_columns(cell), widths[c]);

		if (widths[c] == 0)
			continue;
		if (table->columns[c].right)
			owed += widths[c] - used;
		if (used > 0) {
			text_printf(text, "%*s", (int)owed, "");
			term_add_clean(text, cell, widths[c]);
			owed = 0;
		}
		owed += GAP + (table->columns[c].right ? 0 : widths[c] - used);
	}
	text_add(text, "\n");
}

void table_render(const struct table *table, unsigned width, struct text *text)
{
	size_t n_rows = table->cells.n / table->n_columns;
	auto_free size_t *widths = mem_calloc(table->n_columns, sizeof *widths);

	if (n_rows == 0)
		return;
	for (size_t c = 0; c < table->n_columns; c++) {
		widths[c] = text_columns(table->columns[c].title);
		for (size_t i = 0; i < n_rows; i++)
			widths[c] = MAX_OF(
			    widths[c], text_columns(table->cells.items[i * table->n_columns + c]));
	}
	fit(table, widths, width);
	render_row(table, widths, NULL, text);
	for (size_t i = 0; i < n_rows; i++)
		render_row(table, widths, table->cells.items + i * table->n_columns, text);
}
