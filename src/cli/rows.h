/*
 * The rows of a batch. They come as
 *
 *	json	an array of objects or strings
 *	jsonl	one object or string a line
 *	csv	a header, then records (RFC 4180: quotes, doubled quotes, commas and newlines in
 *quotes) lines	plain lines, the text of each is `line`; empty lines are left out
 *
 * UTF-8 with or without a byte order mark, lines ended by LF or CRLF. A row is a set of named
 *values. A string (or plain line) is a row with one value, `line`. Every row has `row`, its number
 *from 1, unless it brings a value of that name itself. Nested JSON is reached by a path:
 *`{meta.language}`,
 * `{files.0}`; a whole object or array is its JSON text.
 */
#pragma once

#include "util/error.h"
#include "util/text.h"

#include <stdbool.h>
#include <stddef.h>

#define ROWS_MAX       1000000
#define ROWS_BYTES_MAX ((size_t)64 << 20)

enum rows_format { ROWS_AUTO, ROWS_JSON, ROWS_JSONL, ROWS_CSV, ROWS_LINES };

/* Names of the formats, in the order of the enum, for an option of kind OPTION_CHOICE. */
extern const char *const rows_format_names[];

struct rows;

/* Parse `len` bytes. `name` is the file's, for messages ("name:line: row N: ...") and, with
 * ROWS_AUTO, for its extension; where that says nothing the content decides. -EINVAL: broken,
 * -E2BIG: above ROWS_MAX, -EFBIG: above ROWS_BYTES_MAX, -ENODATA: no rows at all. */
int rows_parse(const char *data, size_t len, const char *name, enum rows_format format,
	       struct rows **ret_rows, struct error *err) MUST_CHECK;

/* The same from a file; "-" is standard input. */
int rows_load(const char *path, enum rows_format format, struct rows **ret_rows,
	      struct error *err) MUST_CHECK;
void rows_destroy(struct rows *rows);

static inline void rows_cleanup(struct rows **rows)
{
	rows_destroy(*rows);
}
#define auto_rows CLEANUP(rows_cleanup)

const char *rows_name(const struct rows *rows); /* the file's, "standard input" for "-" */
size_t rows_count(const struct rows *rows);
unsigned rows_line(const struct rows *rows, size_t i); /* where row i (from 0) begins, from 1 */

/* Append the value of `key` in row `i` as text. -ENOENT: the row has none; -ENODATA: it is null. */
int rows_value(const struct rows *rows, size_t i, const char *key, struct text *text) MUST_CHECK;

/* Append the keys row `i` has, for messages; at most `max`. */
void rows_keys(const struct rows *rows, size_t i, size_t max, struct strings *keys);

/*
 * Sweeps: each is "KEY=VALUE[,VALUE]", where a value may be a range of numbers: 0..9, 0..90:10,
 * 0.1..0.5:0.1, 009..000. The rows are all combinations, the last sweep running fastest; of `base`
 * (NULL = none) every row with each of them. -E2BIG: more than ROWS_SWEEP_MAX, found out before any
 * is made; -EINVAL.
 */
#define ROWS_SWEEP_MAX 200000 /* tasks the daemon takes in one batch */
int rows_sweep(const struct rows *base, const struct strings *sweeps, struct rows **ret_rows,
	       struct error *err) MUST_CHECK;
bool rows_is_swept(const struct rows *rows, const char *key);
/* "lr=1e-3 seed=0"; nothing when nothing is swept. */
void rows_sweep_label(const struct rows *rows, size_t i, struct text *text);
/* "0-9", "1,3,5-7" as a sweep of `index`. The caller frees. */
char *rows_array_sweep(const char *text);
