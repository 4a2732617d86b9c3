/*
 * Services that cannot be changed apart: they reach the same bytes through an anchor, a merge key
 * or extends, or their value comes from one variable.
 *
 * A service may name tens of thousands of devices, so that not each value is held against each of
 * another's: what a service touches is sorted once, and looked up from the one that touches less.
 */
#include "compose/locate.h"

#include <string.h>

/* Spans in the order of their files and bytes; reach[i]: the largest end of all up to i that are in
 * the same file. */
struct spans {
	struct compose_span *items;
	size_t *reach;
	size_t n, room;
};

struct names {
	const char **items;
	size_t n, room;
	uint64_t bits; /* one for each name, by its hash: what has none in common has no name */
};

/* What a service's requests that are in force touch. */
struct touched {
	struct spans requests, edits;
	struct names variables;
	/* Bytes all its spans are within; file NULL: there are none, or they are in several files.
	 */
	struct compose_span all;
	bool several;
};

struct compose_sharing {
	const struct compose_gpus *gpus;
	size_t n;
	struct touched *touched; /* of each */
};

static int compare_spans(const void *a, const void *b)
{
	const struct compose_span *one = a, *other = b;
	uintptr_t file = (uintptr_t)one->file, other_file = (uintptr_t)other->file;

	if (file != other_file)
		return file < other_file ? -1 : 1;
	if (one->begin != other->begin)
		return one->begin < other->begin ? -1 : 1;
	return one->end < other->end ? -1 : one->end > other->end;
}

static int compare_names(const void *a, const void *b)
{
	return strcmp(*(const char *const *)a, *(const char *const *)b);
}

static void spans_add(struct spans *spans, const struct compose_span *span)
{
	const struct compose_span *last = spans->n ? &spans->items[spans->n - 1] : NULL;

	if (!span->file || (last && compare_spans(last, span) == 0))
		return;
	ARRAY_GROW(spans->items, spans->n, spans->room);
	spans->items[spans->n++] = *span;
}

static unsigned hash_of(const char *name)
{
	unsigned hash = 2166136261u;

	for (; *name; name++)
		hash = (hash ^ (unsigned char)*name) * 16777619u;
	return hash ^ hash >> 16;
}

static void names_add(struct names *names, const char *name)
{
	if (!name || (names->n && strcmp(names->items[names->n - 1], name) == 0))
		return;
	ARRAY_GROW(names->items, names->n, names->room);
	names->items[names->n++] = name;
	names->bits |= UINT64_C(1) << (hash_of(name) & 63);
}

static void spans_sort(struct spans *spans)
{
	if (spans->n == 0)
		return;
	qsort(spans->items, spans->n, sizeof *spans->items, compare_spans);
	spans->reach = mem_calloc(spans->n, sizeof *spans->reach);
	for (size_t i = 0; i < spans->n; i++) {
		bool goes_on = i > 0 && spans->items[i - 1].file == spans->items[i].file;

		spans->reach[i] =
		    MAX_OF(spans->items[i].end, goes_on ? spans->reach[i - 1] : (size_t)0);
	}
}

static void names_sort(struct names *names)
{
	size_t n = 0;

	if (names->n == 0)
		return;
	qsort(names->items, names->n, sizeof *names->items, compare_names);
	for (size_t i = 0; i < names->n; i++)
		if (n == 0 || strcmp(names->items[n - 1], names->items[i]) != 0)
			names->items[n++] = names->items[i];
	names->n = n;
}

static void touched_add(struct touched *touched, const struct compose_request *request)
{
	spans_add(&touched->requests, &request->span);
	for (size_t i = 0; i < request->n_values; i++) {
		spans_add(&touched->edits, &request->values[i].edit);
		names_add(&touched->variables, request->values[i].variable);
	}
}

static void span_all(struct touched *touched, const struct spans *spans)
{
	struct compose_span *all = &touched->all;

	for (size_t i = 0; i < spans->n; i++) {
		const struct compose_span *span = &spans->items[i];

		touched->several |= all->file && all->file != span->file;
		all->begin = all->file ? MIN_OF(all->begin, span->begin) : span->begin;
		all->end = MAX_OF(all->end, span->end);
		all->file = span->file;
	}
}

static void touched_sort(struct touched *touched)
{
	spans_sort(&touched->requests);
	spans_sort(&touched->edits);
	names_sort(&touched->variables);
	span_all(touched, &touched->requests);
	span_all(touched, &touched->edits);
}

static void touched_finish(struct touched *touched)
{
	free(touched->requests.items);
	free(touched->requests.reach);
	free(touched->edits.items);
	free(touched->edits.reach);
	free(touched->variables.items);
}
#define auto_touched CLEANUP(touched_finish)

/* How many of them begin before this byte of the file. */
static size_t begin_before(const struct spans *spans, const struct compose_file *file, size_t byte)
{
	const struct compose_span key = {file, byte, 0};
	size_t low = 0, high = spans->n;

	while (low < high) {
		size_t middle = low + (high - low) / 2;

		if (compare_spans(&spans->items[middle], &key) < 0)
			low = middle + 1;
		else
			high = middle;
	}
	return low;
}

/* Do they have bytes in common; of an empty span: is it inside? */
static bool overlaps(const struct spans *spans, const struct compose_span *span)
{
	/* All that begin before the span ends, and among them is one that ends after its begin. */
	size_t n = begin_before(spans, span->file, span->end);

	return n > 0 && spans->items[n - 1].file == span->file && spans->reach[n - 1] > span->begin;
}

static bool is_among(const struct spans *spans, const struct compose_span *span)
{
	return spans->n > 0 &&
	       bsearch(span, spans->items, spans->n, sizeof *spans->items, compare_spans);
}

/* All of one's bytes before all of the other's? */
static bool apart(const struct spans *a, const struct spans *b)
{
	const struct compose_span *last = &a->items[a->n - 1];
	struct compose_span end = {last->file, a->reach[a->n - 1], a->reach[a->n - 1]};

	return compare_spans(&end, &b->items[0]) < 0;
}

static bool spans_share(const struct spans *a, const struct spans *b, bool whole)
{
	const struct spans *few = a->n < b->n ? a : b, *many = few == a ? b : a;

	if (few->n == 0 || apart(a, b) || apart(b, a))
		return false;
	for (size_t i = 0; i < few->n; i++)
		if (is_among(many, &few->items[i]) || (!whole && overlaps(many, &few->items[i])))
			return true;
	return false;
}

static bool names_share(const struct names *a, const struct names *b)
{
	const struct names *few = a->n < b->n ? a : b, *many = few == a ? b : a;

	if (few->n == 0 || !(a->bits & b->bits))
		return false;
	for (size_t i = 0; i < few->n; i++)
		if (bsearch(&few->items[i], many->items, many->n, sizeof *many->items,
			    compare_names))
			return true;
	return false;
}

static bool share(const struct touched *a, const struct touched *b)
{
	return spans_share(&a->requests, &b->requests, true) ||
	       spans_share(&a->edits, &b->edits, false) ||
	       names_share(&a->variables, &b->variables);
}

struct compose_sharing *compose_sharing_create(const struct compose_gpus *gpus, size_t n)
{
	struct compose_sharing *sharing = mem_calloc(1, sizeof *sharing);

	sharing->gpus = gpus;
	sharing->n = n;
	sharing->touched = mem_calloc(n + 1, sizeof *sharing->touched);
	for (size_t i = 0; i < n; i++) {
		for (size_t k = 0; k < gpus[i].n; k++)
			if (gpus[i].requests[k].in_force)
				touched_add(&sharing->touched[i], &gpus[i].requests[k]);
		touched_sort(&sharing->touched[i]);
	}
	return sharing;
}

void compose_sharing_destroy(struct compose_sharing *sharing)
{
	if (!sharing)
		return;
	for (size_t i = 0; i < sharing->n; i++)
		touched_finish(&sharing->touched[i]);
	free(sharing->touched);
	free(sharing);
}

bool compose_shares(const struct compose_sharing *sharing, size_t one, size_t other)
{
	const struct touched *a = &sharing->touched[one], *b = &sharing->touched[other];

	/* What most pairs of many services come to, and soon. */
	if (!a->several && !b->several && (a->all.end < b->all.begin || b->all.end < a->all.begin))
		return names_share(&a->variables, &b->variables);
	return share(a, b);
}
