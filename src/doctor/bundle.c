/*
 * Bundles: the text form of a root (root.h). Entries are kept sorted by path, so that what lies in
 * a folder is one range. A path is looked up whole first, because a recording names things as they
 * were asked for, links and all; then step by step, following the links that are recorded.
 */
#include "doctor/root_priv.h"

#include <errno.h>
#include <stdint.h>
#include <string.h>

/* --- entries --- */

/* The first whose path is not before `path`. */
static size_t entries_from(const struct entries *entries, const char *path)
{
	size_t low = 0, high = entries->n;

	while (low < high) {
		size_t middle = low + (high - low) / 2;

		if (strcmp(entries->items[middle].path, path) < 0)
			low = middle + 1;
		else
			high = middle;
	}
	return low;
}

struct entry *entries_find(const struct entries *entries, const char *path)
{
	size_t at = entries_from(entries, path);

	return at < entries->n && strcmp(entries->items[at].path, path) == 0 ? &entries->items[at]
									     : NULL;
}

void entries_put(struct entries *entries, const char *path, enum entry_kind kind, const char *text)
{
	size_t at = entries_from(entries, path);
	struct entry *entry = entries_find(entries, path);

	if (!entry) {
		ARRAY_GROW(entries->items, entries->n, entries->room);
		entry = &entries->items[at];
		memmove(entry + 1, entry, (entries->n++ - at) * sizeof *entry);
		*entry = (struct entry){.path = mem_strdup(path)};
	}
	free(entry->text);
	entry->kind = kind;
	entry->text = mem_strdup(text);
}

void entries_finish(struct entries *entries)
{
	for (size_t i = 0; i < entries->n; i++) {
		free(entries->items[i].path);
		free(entries->items[i].text);
	}
	free(entries->items);
	*entries = (struct entries){};
}

/* --- parsing --- */

#define HEAD_BEGIN "-- "
#define HEAD_END   " --"

static bool is_head(const char *line, size_t len)
{
	return len > strlen(HEAD_BEGIN HEAD_END) &&
	       memcmp(line, HEAD_BEGIN, strlen(HEAD_BEGIN)) == 0 &&
	       memcmp(line + len - strlen(HEAD_END), HEAD_END, strlen(HEAD_END)) == 0;
}

/* A head behind one backslash or more. */
static bool is_escaped(const char *line, size_t len)
{
	size_t slashes = 0;

	while (slashes < len && line[slashes] == '\\')
		slashes++;
	return slashes > 0 && is_head(line + slashes, len - slashes);
}

static bool is_path(const char *path)
{
	size_t begin = 0, len;

	if (strlen(path) >= ROOT_PATH_MAX || *path == ' ')
		return false;
	do {
		len = strcspn(path + begin, "/");
		if (len == 0 ||
		    (path[begin] == '.' && (len == 1 || (len == 2 && path[begin + 1] == '.'))))
			return false;
		begin += len + 1;
	} while (path[begin - 1] != '\0');
	return true;
}

static bool cut_suffix(char *s, const char *suffix)
{
	if (!text_ends_with(s, suffix))
		return false;
	s[strlen(s) - strlen(suffix)] = '\0';
	return true;
}

/* What stands between the dashes. */
static bool parse_head(const char *line, size_t len, struct entry *entry)
{
	auto_free char *head =
	    mem_strndup(line + strlen(HEAD_BEGIN), len - strlen(HEAD_BEGIN HEAD_END));
	char *path = head + (*head == '/'), *arrow = strstr(path, " -> ");

	entry->kind = cut_suffix(path, " !absent")   ? ENTRY_ABSENT
		      : cut_suffix(path, " !denied") ? ENTRY_DENIED
		      : arrow                        ? ENTRY_LINK
		      : cut_suffix(path, "/")        ? ENTRY_FOLDER
						     : ENTRY_FILE;
	if (entry->kind == ENTRY_LINK) {
		entry->text = mem_strdup(arrow + strlen(" -> "));
		*arrow = '\0';
	}
	if (!is_path(path) || (entry->text && !*entry->text))
		return false;
	entry->path = mem_strdup(path);
	return true;
}

static void take_content(struct entry *entry, struct text *content)
{
	while (content->len > 0 && content->data[content->len - 1] == '\n')
		content->data[--content->len] = '\0';
	if (!entry->text)
		entry->text = text_take(content);
	text_finish(content);
}

static int by_path_and_order(const void *a, const void *b)
{
	const struct entry *left = a, *right = b;
	int order = strcmp(left->path, right->path);

	return order ? order : left->order < right->order ? -1 : 1;
}

static bool is_beneath(const char *path, const char *folder)
{
	size_t len = strlen(folder);

	return len == 0 || (strncmp(path, folder, len) == 0 && path[len] == '/');
}

static void drop(struct entry *entry)
{
	free(TAKE(entry->text));
	free(TAKE(entry->path));
}

/* Leave out what was marked. */
static void sweep(struct entries *entries)
{
	size_t kept = 0;

	for (size_t i = 0; i < entries->n; i++)
		if (entries->items[i].order != SIZE_MAX)
			entries->items[kept++] = entries->items[i];
		else
			drop(&entries->items[i]);
	entries->n = kept;
}

/* Nothing beneath what was said to be absent after it, and the last of each path. */
static void settle(struct entries *entries)
{
	struct entry *items = entries->items;

	qsort(items, entries->n, sizeof *items, by_path_and_order);
	for (size_t i = 0; i < entries->n; i++) {
		auto_free char *beneath = NULL;
		bool again = false;

		if (items[i].kind != ENTRY_ABSENT || items[i].order == SIZE_MAX)
			continue;
		beneath = mem_printf("%s/", items[i].path);
		for (size_t k = entries_from(entries, beneath);
		     k < entries->n && is_beneath(items[k].path, items[i].path); k++) {
			if (items[k].order < items[i].order)
				items[k].order = SIZE_MAX;
			else if (items[k].order != SIZE_MAX && items[k].kind != ENTRY_ABSENT)
				again = true;
		}
		/* What lies in it now was said later: it is there again. */
		if (again)
			items[i].order = SIZE_MAX;
	}
	sweep(entries);
	for (size_t i = 0; i + 1 < entries->n; i++)
		if (strcmp(items[i].path, items[i + 1].path) == 0)
			items[i].order = SIZE_MAX;
	sweep(entries);
}

/* One line; `content` is that of the last entry. */
static bool parse_line(const char *line, size_t len, struct entries *entries, struct text *content)
{
	struct entry entry = {.order = entries->n};

	if (!is_head(line, len)) {
		bool escaped = is_escaped(line, len);

		text_add_bytes(content, line + escaped, len - escaped);
		text_add(content, "\n");
		return true;
	}
	if (entries->n > 0)
		take_content(&entries->items[entries->n - 1], content);
	text_clear(content);
	if (entries->n == ROOT_ENTRIES_MAX || !parse_head(line, len, &entry)) {
		free(entry.text);
		return false;
	}
	ARRAY_GROW(entries->items, entries->n, entries->room);
	entries->items[entries->n++] = entry;
	return true;
}

int bundle_parse(const char *text, size_t len, const char *name, struct entries *ret_entries,
		 struct error *err)
{
	const char *end = text + len;
	struct entries entries = {};
	auto_text struct text content = {};
	unsigned number = 1;

	for (const char *line = text; line < end; number++) {
		const char *stop = memchr(line, '\n', (size_t)(end - line));
		size_t width = (size_t)((stop ? stop : end) - line);

		if (width > 0 && line[width - 1] == '\r')
			width--;
		if (!parse_line(line, width, &entries, &content)) {
			entries_finish(&entries);
			return error_set(err, -EINVAL,
					 "%s:%u: no entry of a bundle: one reads like \"-- "
					 "proc/modules --\", with a path from the root, and there "
					 "are %d at most",
					 name, number, ROOT_ENTRIES_MAX);
		}
		line = stop ? stop + 1 : end;
	}
	if (entries.n == 0)
		return error_set(err, -EINVAL,
				 "%s has no entry like \"-- proc/modules --\": it is no bundle of "
				 "plimsoll doctor",
				 name);
	take_content(&entries.items[entries.n - 1], &content);
	settle(&entries);
	*ret_entries = entries;
	return 0;
}

/* --- looking up --- */

/* Where a path leads, links followed (the last one if `follow`). */
static int resolve(const struct entries *entries, const char *path, bool follow,
		   char ret_path[ROOT_PATH_MAX])
{
	auto_free char *rest = mem_strdup(path);
	unsigned links = 0;
	size_t at = 0;

	ret_path[0] = '\0';
	for (char *p = rest;;) {
		size_t len, before = strlen(ret_path);
		const struct entry *entry;

		p += strspn(p, "/");
		if (!*p)
			return 0;
		len = strcspn(p, "/");
		at = before;
		if (len == 2 && p[0] == '.' && p[1] == '.') {
			char *slash = strrchr(ret_path, '/');

			*(slash ? slash : ret_path) = '\0';
			p += len;
			continue;
		}
		if (len == 1 && p[0] == '.') {
			p += len;
			continue;
		}
		if (before + len + 2 > ROOT_PATH_MAX)
			return -ENAMETOOLONG;
		(void)snprintf(ret_path + before, ROOT_PATH_MAX - before, "%s%.*s",
			       before ? "/" : "", (int)len, p);
		p += len;
		entry = entries_find(entries, ret_path);
		if (entry && entry->kind == ENTRY_ABSENT)
			return -ENOENT;
		if (entry && entry->kind == ENTRY_DENIED)
			return -EACCES;
		if (entry && entry->kind == ENTRY_LINK && (follow || p[strspn(p, "/")])) {
			char *next;

			if (++links > ROOT_LINKS_MAX)
				return -ELOOP;
			if (strlen(entry->text) + strlen(p) >= ROOT_PATH_MAX)
				return -ENAMETOOLONG;
			next = mem_printf("%s%s", entry->text, p);
			ret_path[entry->text[0] == '/' ? 0 : at] = '\0';
			free(rest);
			rest = p = next;
		}
	}
}

static bool has_beneath(const struct entries *entries, const char *path)
{
	auto_free char *beneath = mem_printf("%s%s", path, *path ? "/" : "");
	size_t at = entries_from(entries, beneath);

	for (; at < entries->n && is_beneath(entries->items[at].path, path); at++)
		if (entries->items[at].kind != ENTRY_ABSENT)
			return true;
	return false;
}

static const struct entry *find_whole(const struct entries *entries, const char *path,
				      enum entry_kind kind)
{
	const struct entry *entry = entries_find(entries, path + strspn(path, "/"));

	return entry && entry->kind == kind ? entry : NULL;
}

int bundle_read(const struct entries *entries, const char *path, const char **ret_text)
{
	const struct entry *entry = find_whole(entries, path, ENTRY_FILE);
	char resolved[ROOT_PATH_MAX];

	if (!entry) {
		int r = resolve(entries, path, true, resolved);

		if (r < 0)
			return r;
		entry = entries_find(entries, resolved);
		if ((entry && entry->kind == ENTRY_FOLDER) || has_beneath(entries, resolved))
			return -EISDIR;
		if (!entry)
			return -ENOENT;
	}
	*ret_text = entry->text;
	return 0;
}

int bundle_link(const struct entries *entries, const char *path, const char **ret_target)
{
	const struct entry *entry = find_whole(entries, path, ENTRY_LINK);
	char resolved[ROOT_PATH_MAX];

	if (!entry) {
		int r = resolve(entries, path, false, resolved);

		if (r < 0)
			return r;
		entry = entries_find(entries, resolved);
		if (!entry && !has_beneath(entries, resolved))
			return -ENOENT;
		if (!entry || entry->kind != ENTRY_LINK)
			return -EINVAL;
	}
	*ret_target = entry->text;
	return 0;
}

bool bundle_exists(const struct entries *entries, const char *path)
{
	const struct entry *entry = entries_find(entries, path + strspn(path, "/"));
	char resolved[ROOT_PATH_MAX];

	if (entry && entry->kind != ENTRY_LINK)
		return entry->kind != ENTRY_ABSENT && entry->kind != ENTRY_DENIED;
	return resolve(entries, path, true, resolved) == 0 &&
	       (entries_find(entries, resolved) || has_beneath(entries, resolved));
}

/* What a folder's own entry names, but for what is said to be absent. */
static void add_named(const struct entries *entries, const struct entry *folder,
		      struct strings *names)
{
	auto_free char *copy = mem_strdup(folder->text);
	char *rest = copy;

	for (char *name; (name = strsep(&rest, "\n"));) {
		auto_free char *path = mem_printf("%s/%s", folder->path, name);
		const struct entry *entry = entries_find(entries, path);

		if (*name && !strchr(name, '/') && !(entry && entry->kind == ENTRY_ABSENT))
			strings_add(names, name);
	}
}

static int by_name(const void *a, const void *b)
{
	return strcmp(*(char *const *)a, *(char *const *)b);
}

static void sort_once(struct strings *names)
{
	size_t kept = 0;

	if (names->n > 1)
		qsort(names->items, names->n, sizeof *names->items, by_name);
	for (size_t i = 0; i < names->n; i++)
		if (kept > 0 && strcmp(names->items[kept - 1], names->items[i]) == 0)
			free(names->items[i]);
		else
			names->items[kept++] = names->items[i];
	names->n = kept;
	if (names->items)
		names->items[kept] = NULL;
}

int bundle_list(const struct entries *entries, const char *path, struct strings *ret_names)
{
	const struct entry *folder = find_whole(entries, path, ENTRY_FOLDER);
	auto_free char *beneath = NULL;
	char resolved[ROOT_PATH_MAX];
	size_t prefix;
	int r = 0;

	if (folder)
		(void)snprintf(resolved, sizeof resolved, "%s", folder->path);
	else
		r = resolve(entries, path, true, resolved);
	if (r < 0)
		return r;
	folder = entries_find(entries, resolved);
	if (folder && folder->kind != ENTRY_FOLDER)
		return -ENOTDIR;
	if (!folder && !has_beneath(entries, resolved))
		return -ENOENT;
	beneath = mem_printf("%s%s", resolved, *resolved ? "/" : "");
	prefix = strlen(beneath);
	for (size_t i = entries_from(entries, beneath);
	     i < entries->n && is_beneath(entries->items[i].path, resolved); i++) {
		const char *name = entries->items[i].path + prefix;

		if (entries->items[i].kind != ENTRY_ABSENT)
			strings_take(ret_names, mem_strndup(name, strcspn(name, "/")));
	}
	if (folder)
		add_named(entries, folder, ret_names);
	sort_once(ret_names);
	return 0;
}

/* --- writing --- */

static void write_content(const char *content, struct text *text)
{
	for (const char *line = content; *line;) {
		size_t len = strcspn(line, "\n");

		if (is_head(line, len) || is_escaped(line, len))
			text_add(text, "\\");
		text_add_bytes(text, line, len);
		text_add(text, "\n");
		line += len + (line[len] == '\n');
	}
}

void bundle_write(const struct entries *entries, struct text *text)
{
	for (size_t i = 0; i < entries->n; i++) {
		const struct entry *entry = &entries->items[i];

		/* A path that cannot be written is one that no check asks for. */
		if (!is_path(entry->path) || strpbrk(entry->path, "\n\r") ||
		    strstr(entry->path, " -> ") || strstr(entry->path, " !"))
			continue;
		switch (entry->kind) {
		case ENTRY_FILE:
			text_printf(text, "-- %s --\n", entry->path);
			write_content(entry->text, text);
			break;
		case ENTRY_FOLDER:
			text_printf(text, "-- %s/ --\n", entry->path);
			write_content(entry->text, text);
			break;
		case ENTRY_LINK:
			text_printf(text, "-- %s -> %s --\n", entry->path, entry->text);
			break;
		case ENTRY_ABSENT:
			text_printf(text, "-- %s !absent --\n", entry->path);
			break;
		case ENTRY_DENIED:
			text_printf(text, "-- %s !denied --\n", entry->path);
			break;
		}
	}
}
