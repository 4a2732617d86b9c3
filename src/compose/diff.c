/*
 * See rewrite.h: compose_edits_diff(). No search for what two texts have in common: the edits say
 * which lines they touch. Edits in the same lines are one change; lines that came out the same at
 * its ends are given back to the context; changes whose contexts meet are one hunk.
 */
#include "compose/rewrite.h"

#include <string.h>

#define CONTEXT 3 /* lines around a change */

/* A run of lines taken out and what stands there instead. */
struct change {
	size_t begin, end; /* lines of the old text, from 0 */
	size_t new_begin;  /* the line in the new text */
	struct text text;  /* the new lines */
	size_t skipped;    /* bytes of it that are as before, at its begin */
	size_t n_new;
};

struct changes {
	struct change *items;
	size_t n, room;
};

/* How many lines there are; one begins after the last line end only when something follows. */
static size_t lines_count(const struct compose_file *file)
{
	return file->n_lines - (file->lines[file->n_lines - 1] == file->len);
}

static size_t line_begin(const struct compose_file *file, size_t line)
{
	return line < file->n_lines ? file->lines[line] : file->len;
}

static size_t line_of(const struct compose_file *file, size_t at)
{
	unsigned line, column;

	compose_file_position(file, at, &line, &column);
	return MIN_OF((size_t)line - 1, lines_count(file));
}

/* The bytes of one line, its end included. */
static size_t line_length(const char *s, size_t room)
{
	const char *end = room > 0 ? memchr(s, '\n', room) : NULL;

	return end ? (size_t)(end - s) + 1 : room;
}

static size_t lines_in(const char *s, size_t len)
{
	size_t n = 0;

	for (size_t at = 0; at < len; n++)
		at += line_length(s + at, len - at);
	return n;
}

/* Lines that are the same at the begin of the change are none of it. */
static void change_trim_begin(const struct compose_file *file, struct change *change)
{
	while (change->begin < change->end && change->skipped < change->text.len) {
		const char *old = file->text + line_begin(file, change->begin);
		const char *new = change->text.data + change->skipped;
		size_t len = line_length(new, change->text.len - change->skipped);

		if (len != line_begin(file, change->begin + 1) - line_begin(file, change->begin) ||
		    memcmp(old, new, len) != 0)
			return;
		change->skipped += len;
		change->begin++;
	}
}

static void change_trim_end(const struct compose_file *file, struct change *change)
{
	while (change->begin < change->end && change->skipped < change->text.len) {
		size_t from = line_begin(file, change->end - 1);
		size_t len = line_begin(file, change->end) - from;
		size_t left = change->text.len - change->skipped;
		const char *new;

		if (len > left)
			return;
		new = change->text.data + change->text.len - len;
		if (memcmp(file->text + from, new, len) != 0 || (len < left && new[-1] != '\n'))
			return;
		change->text.len -= len;
		change->end--;
	}
}

/* The edits of one file, from the first one's number on; returns the number after the last. */
static size_t changes_find(const struct compose_edits *edits, size_t first, struct changes *changes)
{
	const struct compose_file *file = edits->items[first].span.file;
	size_t i = first;

	while (i < edits->n && edits->items[i].span.file == file) {
		struct change change = {.begin = line_of(file, edits->items[i].span.begin)};
		size_t at = line_begin(file, change.begin);

		do {
			const struct compose_edit *edit = &edits->items[i];
			size_t last = line_of(file, edit->span.end);

			text_add_bytes(&change.text, file->text + at, edit->span.begin - at);
			text_add(&change.text, edit->text);
			at = edit->span.end;
			change.end = MIN_OF(last + 1, lines_count(file));
			i++;
		} while (i < edits->n && edits->items[i].span.file == file &&
			 line_of(file, edits->items[i].span.begin) < change.end);
		text_add_bytes(&change.text, file->text + at, line_begin(file, change.end) - at);
		change_trim_begin(file, &change);
		change_trim_end(file, &change);
		change.n_new =
		    lines_in(change.text.data + change.skipped, change.text.len - change.skipped);
		if (change.begin == change.end && change.n_new == 0) {
			text_finish(&change.text);
			continue;
		}
		ARRAY_GROW(changes->items, changes->n, changes->room);
		changes->items[changes->n++] = change;
	}
	return i;
}

/* Each line with its sign; the last of a text that lacks a line end says so. */
static void lines_print(struct text *diff, char sign, const char *s, size_t len)
{
	for (size_t at = 0; at < len;) {
		size_t line = line_length(s + at, len - at);

		text_add_bytes(diff, &sign, 1);
		text_add_bytes(diff, s + at, line);
		if (s[at + line - 1] != '\n')
			text_add(diff, "\n\\ No newline at end of file\n");
		at += line;
	}
}

static void old_print(struct text *diff, char sign, const struct compose_file *file, size_t begin,
		      size_t end)
{
	if (begin < end)
		lines_print(diff, sign, file->text + line_begin(file, begin),
			    line_begin(file, end) - line_begin(file, begin));
}

/* "12", "12,3"; of no lines it is the one before them. */
static void range_print(struct text *diff, char sign, size_t begin, size_t n)
{
	text_printf(diff, "%c%zu", sign, n == 0 ? begin : begin + 1);
	if (n != 1)
		text_printf(diff, ",%zu", n);
}

static void hunk_print(struct text *diff, const struct compose_file *file,
		       const struct change *changes, size_t n)
{
	size_t begin = changes[0].begin - MIN_OF(changes[0].begin, CONTEXT);
	size_t end = MIN_OF(changes[n - 1].end + CONTEXT, lines_count(file));
	size_t new_begin = changes[0].new_begin - (changes[0].begin - begin);
	size_t n_new = end - begin, at = begin;

	for (size_t i = 0; i < n; i++)
		n_new += changes[i].n_new - (changes[i].end - changes[i].begin);
	text_add(diff, "@@ ");
	range_print(diff, '-', begin, end - begin);
	text_add(diff, " ");
	range_print(diff, '+', new_begin, n_new);
	text_add(diff, " @@\n");
	/* Changes of lines that follow each other: all that goes, then all that comes. */
	for (size_t i = 0, last; i < n; i = last + 1) {
		for (last = i; last + 1 < n && changes[last + 1].begin == changes[last].end;)
			last++;
		old_print(diff, ' ', file, at, changes[i].begin);
		old_print(diff, '-', file, changes[i].begin, changes[last].end);
		for (size_t k = i; k <= last; k++)
			lines_print(diff, '+', changes[k].text.data + changes[k].skipped,
				    changes[k].text.len - changes[k].skipped);
		at = changes[last].end;
	}
	old_print(diff, ' ', file, at, end);
}

/* A name as patch(1) reads it: with a blank it is ended by a tab, with odder characters quoted. */
static void name_print(struct text *diff, const char *sign, const char *prefix, const char *name)
{
	bool odd = false;

	for (const char *p = name; *p; p++)
		odd = odd || (unsigned char)*p < ' ' || *p == '"' || *p == '\\' || *p == 0x7f;
	text_printf(diff, "%s %s%s", sign, odd ? "\"" : "", *name == '/' ? "" : prefix);
	for (const char *p = name; *p; p++) {
		if (*p == '"' || *p == '\\')
			text_printf(diff, "\\%c", *p);
		else if (odd && ((unsigned char)*p < ' ' || *p == 0x7f))
			text_printf(diff, "\\%03o", (unsigned)(unsigned char)*p);
		else
			text_add_bytes(diff, p, 1);
	}
	text_printf(diff, "%s%s\n", odd ? "\"" : "", !odd && strchr(name, ' ') ? "\t" : "");
}

static void file_print(struct text *diff, const struct compose_file *file, struct changes *changes)
{
	size_t added = 0, removed = 0;

	if (file->missing)
		text_add(diff, "--- /dev/null\n");
	else
		name_print(diff, "---", "a/", file->shown);
	name_print(diff, "+++", "b/", file->shown);
	for (size_t i = 0; i < changes->n; i++) {
		changes->items[i].new_begin = changes->items[i].begin + added - removed;
		added += changes->items[i].n_new;
		removed += changes->items[i].end - changes->items[i].begin;
	}
	for (size_t i = 0, n; i < changes->n; i += n) {
		for (n = 1; i + n < changes->n; n++)
			if (changes->items[i + n].begin - changes->items[i + n - 1].end >
			    (size_t)2 * CONTEXT)
				break;
		hunk_print(diff, file, &changes->items[i], n);
	}
}

void compose_edits_diff(const struct compose_edits *edits, struct text *ret_diff)
{
	text_add(ret_diff, "");
	for (size_t i = 0; i < edits->n;) {
		const struct compose_file *file = edits->items[i].span.file;
		struct changes changes = {};

		i = changes_find(edits, i, &changes);
		if (changes.n > 0)
			file_print(ret_diff, file, &changes);
		for (size_t k = 0; k < changes.n; k++)
			text_finish(&changes.items[k].text);
		free(changes.items);
	}
}
