/* See file.h. */
#include "compose/file.h"

#include "util/file.h"

#include <errno.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define STRIDE 256 /* bytes between two places whose characters before them are known */

static void file_destroy(struct compose_file *file)
{
	if (!file)
		return;
	free(file->path);
	free(file->shown);
	free(file->text);
	free(file->lines);
	free(file->characters);
	free(file);
}

void compose_files_finish(struct compose_files *files)
{
	for (size_t i = 0; i < files->n; i++)
		file_destroy(files->items[i]);
	free(files->items);
	*files = (struct compose_files){};
}

/* Append the parts of a path to an absolute one; ".." takes one away. */
static void path_append(struct text *path, const char *parts)
{
	while (*parts) {
		size_t len = strcspn(parts, "/");

		if (len == 2 && memcmp(parts, "..", 2) == 0) {
			while (path->len > 0 && path->data[path->len - 1] != '/')
				path->len--;
			if (path->len > 0)
				path->len--;
			if (path->data)
				path->data[path->len] = '\0';
		} else if (len > 0 && !(len == 1 && *parts == '.')) {
			text_add(path, "/");
			text_add_bytes(path, parts, len);
		}
		parts += len + (parts[len] == '/');
	}
}

char *compose_path_join(const char *dir, const char *path)
{
	auto_text struct text joined = {};

	if (*path != '/') {
		auto_free char *here = dir && *dir == '/' ? NULL : getcwd(NULL, 0);

		path_append(&joined, here ? here : "");
		path_append(&joined, dir ? dir : "");
	}
	path_append(&joined, path);
	if (joined.len == 0)
		text_add(&joined, "/");
	return text_take(&joined);
}

/* The path as seen from `standing`, when it is below that. */
static char *path_shown(const char *standing, const char *path)
{
	auto_free char *here = compose_path_join(standing, "");
	size_t len = strlen(here);

	if (strncmp(path, here, len) == 0 && path[len] == '/' && path[len + 1])
		return mem_strdup(path + len + 1);
	return mem_strdup(path);
}

static void lines_find(struct compose_file *file)
{
	size_t room = 0;

	for (size_t at = 0;;) {
		const char *end;

		ARRAY_GROW(file->lines, file->n_lines, room);
		file->lines[file->n_lines++] = at;
		end = memchr(file->text + at, '\n', file->len - at);
		if (!end)
			return;
		at = (size_t)(end - file->text) + 1;
	}
}

static bool is_inside_character(char c)
{
	return (c & 0xc0) == 0x80;
}

/* A line may be all of a file: its columns are not counted from its begin each time. */
static void characters_count(struct compose_file *file)
{
	size_t count = 0;

	file->characters = mem_calloc(file->len / STRIDE + 1, sizeof *file->characters);
	for (size_t at = 0; at < file->len; at++) {
		if (at % STRIDE == 0)
			file->characters[at / STRIDE] = count;
		count += !is_inside_character(file->text[at]);
	}
	if (file->len % STRIDE == 0)
		file->characters[file->len / STRIDE] = count;
}

static size_t characters_before(const struct compose_file *file, size_t at)
{
	size_t count = file->characters[at / STRIDE];

	for (size_t i = at - at % STRIDE; i < at; i++)
		count += !is_inside_character(file->text[i]);
	return count;
}

/* How many bytes the UTF-8 character at `s` has; 0: it is none. Longer forms than needed, halves of
 * surrogate pairs and what is above U+10FFFF are none. */
static size_t character_length(const unsigned char *s, size_t room)
{
	size_t len = *s < 0x80   ? 1
		     : *s < 0xc2 ? 0
		     : *s < 0xe0 ? 2
		     : *s < 0xf0 ? 3
		     : *s < 0xf5 ? 4
				 : 0;

	if (len == 0 || len > room)
		return 0;
	for (size_t i = 1; i < len; i++)
		if ((s[i] & 0xc0) != 0x80)
			return 0;
	if ((*s == 0xe0 && s[1] < 0xa0) || (*s == 0xed && s[1] > 0x9f) ||
	    (*s == 0xf0 && s[1] < 0x90) || (*s == 0xf4 && s[1] > 0x8f))
		return 0;
	return len;
}

/* What is not text would come back as nonsense in messages, and JSON cannot hold it. */
static int text_check(const struct compose_file *file, struct error *err)
{
	const unsigned char *s = (const unsigned char *)file->text;

	for (size_t at = 0; at < file->len;) {
		size_t len = character_length(s + at, file->len - at);
		struct compose_span span = {file, at, at};

		if (len == 0)
			return compose_error(&span, -EINVAL, err,
					     "this byte (0x%02x) is not UTF-8: save the file as "
					     "UTF-8",
					     s[at]);
		if (s[at] == '\0')
			return compose_error(&span, -EINVAL, err,
					     "a NUL byte: this is not a text file");
		at += len;
	}
	return 0;
}

/* Takes over path, shown and text. */
static struct compose_file *file_create(char *path, char *shown, char *text, size_t len)
{
	struct compose_file *file = mem_calloc(1, sizeof *file);

	*file = (struct compose_file){
	    .path = path, .shown = shown, .text = text, .len = len, .mode = 0644};
	lines_find(file);
	characters_count(file);
	return file;
}

static const struct compose_file *file_add(struct compose_files *files, struct compose_file *file)
{
	ARRAY_GROW(files->items, files->n, files->room);
	files->items[files->n++] = file;
	return file;
}

const struct compose_file *compose_files_add(struct compose_files *files, const char *name,
					     const char *text, size_t len)
{
	char *copy = mem_alloc(len + 1);
	struct compose_file *file;

	memcpy(copy, text, len);
	copy[len] = '\0';
	file = file_create(mem_strdup(name), mem_strdup(name), copy, len);
	file->unwritten = true;
	return file_add(files, file);
}

static int file_load(struct compose_files *files, const char *dir, const char *path, bool or_new,
		     const struct compose_file **ret_file, struct error *err)
{
	auto_free char *full = compose_path_join(dir, path), *shown = NULL;
	auto_text struct text text = {};
	struct compose_file *file;
	struct stat st = {};
	size_t len;
	bool missing;
	int r;

	for (size_t i = 0; i < files->n; i++)
		if (strcmp(files->items[i]->path, full) == 0 && !files->items[i]->unwritten &&
		    (or_new || !files->items[i]->missing)) {
			*ret_file = files->items[i];
			return 0;
		}
	shown = path_shown(files->standing, full);
	if (files->n == COMPOSE_FILES_MAX)
		return error_set(err, -E2BIG, "%s: more than %d files in one project", shown,
				 COMPOSE_FILES_MAX);
	missing = stat(full, &st) < 0 && errno == ENOENT && or_new;
	r = missing ? 0 : file_read(full, COMPOSE_FILE_MAX, false, &text, err);
	if (r < 0)
		return r;
	len = text.len;
	file = file_create(TAKE(full), TAKE(shown), text_take(&text), len);
	file->mode = missing ? 0644 : st.st_mode & 07777;
	file->device = st.st_dev;
	file->inode = st.st_ino;
	file->missing = missing;
	r = text_check(file, err);
	if (r < 0) {
		file_destroy(file);
		return r;
	}
	*ret_file = file_add(files, file);
	return 0;
}

int compose_files_load(struct compose_files *files, const char *dir, const char *path,
		       const struct compose_file **ret_file, struct error *err)
{
	return file_load(files, dir, path, false, ret_file, err);
}

int compose_files_load_or_new(struct compose_files *files, const char *dir, const char *path,
			      const struct compose_file **ret_file, struct error *err)
{
	return file_load(files, dir, path, true, ret_file, err);
}

const char *compose_file_newline(const struct compose_file *file)
{
	const char *end = strchr(file->text, '\n');

	return end && end > file->text && end[-1] == '\r' ? "\r\n" : "\n";
}

void compose_file_position(const struct compose_file *file, size_t at, unsigned *ret_line,
			   unsigned *ret_column)
{
	size_t low = 0, high = file->n_lines;
	unsigned column = 1;

	at = MIN_OF(at, file->len);
	while (high - low > 1) {
		size_t middle = low + (high - low) / 2;

		if (file->lines[middle] <= at)
			low = middle;
		else
			high = middle;
	}
	if (at - file->lines[low] > STRIDE) {
		column += (unsigned)(characters_before(file, at) -
				     characters_before(file, file->lines[low]));
	} else {
		for (size_t i = file->lines[low]; i < at; i++)
			column += !is_inside_character(file->text[i]);
	}
	/* A byte order mark is no character of the first line. */
	if (low == 0 && at >= 3 && memcmp(file->text, "\xef\xbb\xbf", 3) == 0)
		column--;
	*ret_line = (unsigned)low + 1;
	*ret_column = column;
}

int compose_error(const struct compose_span *at, int code, struct error *err, const char *fmt, ...)
{
	char text[ERROR_TEXT_MAX];
	unsigned line, column;
	va_list args;

	va_start(args, fmt);
	(void)vsnprintf(text, sizeof text, fmt, args);
	va_end(args);
	if (!at->file)
		return error_set(err, code, "%s", text);
	compose_file_position(at->file, at->begin, &line, &column);
	return error_set(err, code, "%s:%u:%u: %s", at->file->shown, line, column, text);
}
