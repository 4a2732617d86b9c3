/* See suggest.h. Optimal string alignment distance over three rolling rows; names are short, longer
 * ones than NAME_MAX_LEN are never suggested. */
#include "util/suggest.h"

#include "util/cleanup.h"

#include <stdint.h>
#include <string.h>

#define NAME_MAX_LEN 64

static size_t distance(const char *a, size_t n, const char *b, size_t m)
{
	size_t rows[3][NAME_MAX_LEN + 1];

	for (size_t j = 0; j <= m; j++)
		rows[0][j] = j;
	for (size_t i = 1; i <= n; i++) {
		size_t *row = rows[i % 3], *above = rows[(i + 2) % 3], *above2 = rows[(i + 1) % 3];

		row[0] = i;
		for (size_t j = 1; j <= m; j++) {
			size_t best = above[j - 1] + (a[i - 1] != b[j - 1]);

			best = MIN_OF(best, above[j] + 1);
			best = MIN_OF(best, row[j - 1] + 1);
			if (i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1])
				best = MIN_OF(best, above2[j - 2] + 1);
			row[j] = best;
		}
	}
	return rows[n % 3][m];
}

const char *suggest_nearest(const char *wrong, size_t n,
			    const char *(*name_at)(const void *data, size_t i), const void *data)
{
	size_t len = strlen(wrong), best = len / 3 + 2;
	const char *nearest = NULL;

	if (len == 0 || len > NAME_MAX_LEN)
		return NULL;
	for (size_t i = 0; i < n; i++) {
		const char *name = name_at(data, i);
		size_t name_len = strlen(name), d;

		if (name_len > NAME_MAX_LEN)
			continue;
		/* What was typed so far may be all of it: "que" for "queue". */
		d = len >= 3 && strncmp(name, wrong, len) == 0
			? 1
			: distance(wrong, len, name, name_len);
		if (d < best && d < MAX_OF(len, name_len)) {
			best = d;
			nearest = name;
		}
	}
	return nearest;
}

size_t suggest_distance(const char *a, const char *b)
{
	size_t n = strlen(a), m = strlen(b);

	return n > NAME_MAX_LEN || m > NAME_MAX_LEN ? SIZE_MAX : distance(a, n, b, m);
}
