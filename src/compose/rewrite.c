/* See rewrite.h: gathering edits and applying them. Edits are kept sorted, so that overlaps are
 * seen when they are added, with the place of both. Writing is in write.c, the diff in diff.c. */
#include "compose/rewrite.h"

#include <errno.h>
#include <string.h>

static bool same_file(const struct compose_file *a, const struct compose_file *b)
{
	return a == b || (a->inode != 0 && a->inode == b->inode && a->device == b->device &&
			  a->len == b->len && memcmp(a->text, b->text, a->len) == 0);
}

static bool same_edit(const struct compose_edit *edit, const struct compose_span *span,
		      const char *text)
{
	return edit->span.begin == span->begin && edit->span.end == span->end &&
	       strcmp(edit->text, text) == 0;
}

static bool overlap(const struct compose_span *a, const struct compose_span *b)
{
	if (a->begin == a->end && b->begin == b->end)
		return false;
	return a->begin < b->end && b->begin < a->end;
}

/* An insertion comes before what is replaced after it, and after what came to its place before. */
static bool goes_before(const struct compose_span *a, const struct compose_span *b)
{
	return a->begin != b->begin ? a->begin < b->begin : a->end < b->end;
}

static void edit_insert(struct compose_edits *edits, size_t at, const struct compose_span *span,
			const char *text)
{
	ARRAY_GROW(edits->items, edits->n, edits->room);
	memmove(&edits->items[at + 1], &edits->items[at], (edits->n - at) * sizeof *edits->items);
	edits->n++;
	edits->items[at] = (struct compose_edit){*span, mem_strdup(text)};
}

int compose_edits_add(struct compose_edits *edits, const struct compose_span *span,
		      const char *text, struct error *err)
{
	struct compose_span wanted = *span;
	size_t first = 0, at, len = span->end - span->begin;
	unsigned line, column;

	if (!span->file || span->file->unwritten)
		return compose_error(span, -EINVAL, err,
				     span->file
					 ? "this has to be changed, and it was read from no "
					   "file on a disk: name the file itself, with -f or "
					   "--env-file"
					 : "this is no file that can be changed");
	if (strlen(text) == len && memcmp(span->file->text + span->begin, text, len) == 0)
		return 0;
	while (first < edits->n && !same_file(edits->items[first].span.file, span->file))
		first++;
	if (first < edits->n)
		wanted.file = edits->items[first].span.file;
	at = first;
	for (size_t i = first; i < edits->n && edits->items[i].span.file == wanted.file; i++) {
		const struct compose_edit *edit = &edits->items[i];

		if (same_edit(edit, &wanted, text))
			return 0;
		if (overlap(&edit->span, &wanted)) {
			compose_file_position(wanted.file, edit->span.begin, &line, &column);
			return compose_error(&wanted, -EINVAL, err,
					     "two changes of one place: to \"%.80s\", and (in line "
					     "%u) to \"%.80s\"",
					     text, line, edit->text);
		}
		if (!goes_before(&wanted, &edit->span))
			at = i + 1;
	}
	edit_insert(edits, at, &wanted, text);
	return 0;
}

int compose_edits_add_all(struct compose_edits *edits, const struct compose_edits *more,
			  struct error *err)
{
	struct compose_edits all = {};
	int r = 0;

	for (size_t i = 0; r == 0 && i < edits->n; i++)
		r = compose_edits_add(&all, &edits->items[i].span, edits->items[i].text, err);
	for (size_t i = 0; r == 0 && i < more->n; i++)
		r = compose_edits_add(&all, &more->items[i].span, more->items[i].text, err);
	if (r < 0) {
		compose_edits_finish(&all);
		return r;
	}
	compose_edits_finish(edits);
	*edits = all;
	return 0;
}

const struct compose_file *compose_edits_file(const struct compose_edits *edits, size_t i)
{
	for (size_t k = 0; k < edits->n; k++) {
		const struct compose_file *file = edits->items[k].span.file;

		if ((k == 0 || file != edits->items[k - 1].span.file) && i-- == 0)
			return file;
	}
	return NULL;
}

void compose_edits_finish(struct compose_edits *edits)
{
	for (size_t i = 0; i < edits->n; i++)
		free(edits->items[i].text);
	free(edits->items);
	*edits = (struct compose_edits){};
}

void compose_edits_apply(const struct compose_edits *edits, const struct compose_file *file,
			 struct text *ret_text)
{
	size_t at = 0;

	text_add(ret_text, "");
	for (size_t i = 0; i < edits->n; i++) {
		const struct compose_edit *edit = &edits->items[i];

		if (!same_file(edit->span.file, file))
			continue;
		text_add_bytes(ret_text, file->text + at, edit->span.begin - at);
		text_add(ret_text, edit->text);
		at = edit->span.end;
	}
	text_add_bytes(ret_text, file->text + at, file->len - at);
}
