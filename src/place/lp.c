/*
 * The simplex method on a dense tableau, slack variables as the first basis. Dantzig's rule (the
 * column that promises most), and Bland's (the first one) once the value has not risen for a while,
 * which cannot cycle. Column j < n is x_j, column n + i the slack of row i; the tableau keeps only
 * columns of variables outside the basis, the pivot swaps them (a "condensed" tableau), so it never
 * grows beyond rows x columns.
 */
#include "place/lp.h"

#include "util/cleanup.h"

#include <errno.h>
#include <math.h>
#include <stdbool.h>

#define EPSILON      1e-10
#define PIVOT_MIN    1e-9
#define PIVOTS_MAX   20000
#define STALLED_MANY 50

struct lp *lp_create(size_t n_rows, size_t n_columns)
{
	struct lp *lp = mem_calloc(1, sizeof *lp);

	lp->n_rows = n_rows;
	lp->n_columns = n_columns;
	lp->a = mem_calloc(n_rows * n_columns + 1, sizeof *lp->a);
	lp->b = mem_calloc(n_rows + 1, sizeof *lp->b);
	lp->c = mem_calloc(n_columns + 1, sizeof *lp->c);
	return lp;
}

void lp_destroy(struct lp *lp)
{
	if (!lp)
		return;
	free(lp->a);
	free(lp->b);
	free(lp->c);
	free(lp);
}

/* The column to enter: its reduced gain is positive. n_columns = none: solved. */
static size_t choose_column(const struct lp *lp, const size_t *outside, bool first)
{
	size_t best = lp->n_columns;

	for (size_t j = 0; j < lp->n_columns; j++) {
		if (lp->c[j] <= EPSILON)
			continue;
		if (best == lp->n_columns ||
		    (first ? outside[j] < outside[best] : lp->c[j] > lp->c[best]))
			best = j;
	}
	return best;
}

/* The row that bounds it most; lowest variable on ties. n_rows = none: unbounded. */
static size_t choose_row(const struct lp *lp, const size_t *basis, size_t column)
{
	size_t best = lp->n_rows;
	double least = HUGE_VAL;

	for (size_t i = 0; i < lp->n_rows; i++) {
		double a = lp->a[i * lp->n_columns + column], ratio;

		if (a <= PIVOT_MIN)
			continue;
		ratio = lp->b[i] / a;
		if (ratio < least - 1e-15 ||
		    (ratio <= least + 1e-15 && best < lp->n_rows && basis[i] < basis[best])) {
			least = ratio;
			best = i;
		}
	}
	return best;
}

static void pivot(struct lp *lp, size_t row, size_t column)
{
	size_t n = lp->n_columns;
	double *r = &lp->a[row * n];
	double p = 1 / r[column];

	r[column] = 1;
	for (size_t j = 0; j < n; j++)
		r[j] *= p;
	lp->b[row] *= p;
	for (size_t i = 0; i < lp->n_rows; i++) {
		double *to = &lp->a[i * n], factor = to[column];

		if (i == row || factor == 0)
			continue;
		to[column] = 0;
		for (size_t j = 0; j < n; j++)
			to[j] -= factor * r[j];
		lp->b[i] = MAX_OF(lp->b[i] - factor * lp->b[row], 0.0);
	}
	p = lp->c[column];
	lp->c[column] = 0;
	for (size_t j = 0; j < n; j++)
		lp->c[j] -= p * r[j];
}

static void read_out(const struct lp *lp, const size_t *basis, const size_t *outside, double *ret_x,
		     double *ret_prices)
{
	for (size_t j = 0; ret_x && j < lp->n_columns; j++)
		ret_x[j] = 0;
	for (size_t i = 0; ret_prices && i < lp->n_rows; i++)
		ret_prices[i] = 0;
	for (size_t i = 0; ret_x && i < lp->n_rows; i++)
		if (basis[i] < lp->n_columns)
			ret_x[basis[i]] = lp->b[i];
	/* What a unit more of a row is worth: the cost at which its slack stays outside. */
	for (size_t j = 0; ret_prices && j < lp->n_columns; j++)
		if (outside[j] >= lp->n_columns)
			ret_prices[outside[j] - lp->n_columns] = MAX_OF(-lp->c[j], 0.0);
}

int lp_solve(struct lp *lp, double *ret_x, double *ret_prices)
{
	auto_free size_t *basis = mem_calloc(lp->n_rows + 1, sizeof *basis);
	auto_free size_t *outside = mem_calloc(lp->n_columns + 1, sizeof *outside);
	unsigned stalled = 0;

	for (size_t i = 0; i < lp->n_rows; i++)
		basis[i] = lp->n_columns + i;
	for (size_t j = 0; j < lp->n_columns; j++)
		outside[j] = j;
	for (unsigned n = 0; n < PIVOTS_MAX; n++) {
		size_t column = choose_column(lp, outside, stalled > STALLED_MANY), row, variable;

		if (column == lp->n_columns) {
			read_out(lp, basis, outside, ret_x, ret_prices);
			return 0;
		}
		row = choose_row(lp, basis, column);
		if (row == lp->n_rows)
			return -ERANGE;
		stalled = lp->b[row] > EPSILON ? 0 : stalled + 1;
		pivot(lp, row, column);
		variable = basis[row];
		basis[row] = outside[column];
		outside[column] = variable;
	}
	return -ELOOP;
}
