/*
 * Small linear programs: maximise c·x subject to A x <= b, x >= 0, with b >= 0 (so x = 0 is a
 * start). Dense, for tens of rows and hundreds of columns.
 */
#pragma once

#include <stddef.h>

struct lp {
	size_t n_rows, n_columns;
	double *a; /* [row][column] */
	double *b, *c;
};

struct lp *lp_create(size_t n_rows, size_t n_columns); /* all zero */
void lp_destroy(struct lp *lp);

/* Solve; `ret_x` (columns) and `ret_prices` (rows, >= 0) may be NULL. The caller must not rest a
 * proof on the numbers: it checks what it derives from the prices. Negative errno: -ERANGE
 * unbounded, -ELOOP no end within the limit of pivots. A is used up. */
int lp_solve(struct lp *lp, double *ret_x, double *ret_prices);
